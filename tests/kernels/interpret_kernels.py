"""Run the Triton kernels under Triton's interpreter, on the CPU, and print their errors as JSON.

Run by `test_triton.py` in a process of its own with TRITON_INTERPRET=1.  With names of mutants, those wrong kernels
run instead of the right ones, one after the other in one process, which starts more slowly than they run.  bfloat16 is
left out: the interpreter computes it wrongly without saying so.
"""

from __future__ import annotations

import json
import sys

import torch
from crossmodal.kernels import coalition_head, pair_lse, segment_attention
from crossmodal.kernels.ops.coalition_head import CoalitionHead
from crossmodal.kernels.ops.coalition_head import triton as head
from crossmodal.kernels.ops.pair_lse import triton as pair
from crossmodal.kernels.ops.segment_attention import triton as segment
from crossmodal.theory.errors import InputError
from mutate import contracted, mutant


def error(found, expected) -> float:
    """Largest error relative to the largest finite value; infinite where infinities or NaN differ."""
    worst = 0.0
    for x, y in zip(found, expected, strict=True):
        if not isinstance(y, torch.Tensor) or not y.numel():
            continue
        x, y = x.double(), y.double()
        finite = torch.isfinite(y)
        if not torch.equal(x[~finite], y[~finite]) or not torch.isfinite(x[finite]).all():
            return float("inf")
        if finite.any():
            worst = max(worst, float((x - y)[finite].abs().max() / y[finite].abs().max().clamp_min(1)))
    return worst


def unit(n: int, d: int, dtype: torch.dtype, spread: float = 1e9) -> torch.Tensor:
    x = torch.nn.functional.normalize(torch.ones(d), dim=0) + spread * torch.randn(n, d) / d**0.5
    return torch.nn.functional.normalize(x, dim=1).to(dtype)


def pairs(n, m, d, dtype=torch.float32, scale=100.0, spread=1e9, sign=1, stripe=None, **keep) -> float:
    u, v = unit(n, d, dtype, spread), sign * unit(m, d, dtype, spread)
    if stripe:
        pair.STRIPE = stripe
    found = pair_lse(u, v, scale, impl="triton", **keep)
    return error(found, pair_lse(u.double(), v.double(), scale, impl="naive", **keep))


def far_below() -> float:
    u, v = torch.tensor([[1.0, 0.0], [0.9, 0.1]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = pair_lse(u, v, 200.0, impl="triton")
    return error(found, pair_lse(u.double(), v.double(), 200.0, impl="naive"))


def far_below_in_one_tile(n: int = 150, m: int = 300) -> float:
    """Of some tiles of columns the last has such columns; the rows are more than one block, the last of them not full."""
    u = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2, 0.1]]) + 0.01 * torch.randn(n, 3), dim=1)
    v = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1, 0.2]]) + 0.01 * torch.randn(m, 3), dim=1)
    v[-10:] = -v[-10:]
    found = pair_lse(u, v, 120.0, impl="triton")
    return error(found, pair_lse(u.double(), v.double(), 120.0, impl="naive"))


def few_programs() -> float:
    """On 132 multiprocessors no program of the first kernel is left over for a last wave, and the second kernel has few."""
    u, v = (torch.empty(n, 512, dtype=torch.bfloat16, device="meta") for n in (8192, 65536))
    kernels, processors, grids = (pair.pair_lse_kernel, pair.faint_columns_kernel), pair._processors, []

    class Launched:
        def __getitem__(self, grid):
            grids.append(grid[0] * grid[1])
            return lambda *_, **__: None

    pair.pair_lse_kernel = pair.faint_columns_kernel = Launched()
    pair._processors = lambda _: 132
    try:
        pair._stripe(u, v, 100.0, pair.DEFAULT)
    finally:
        (pair.pair_lse_kernel, pair.faint_columns_kernel), pair._processors = kernels, processors
    return 0.0 if 240 <= grids[0] <= 264 and grids[1] <= 2048 else float("inf")


def strided() -> float:
    u, v = unit(65, 40, torch.float32).T.contiguous().T[::2], unit(90, 80, torch.float32)[:, ::2]
    found = pair_lse(u, v, 100.0, impl="triton")
    return error(found, pair_lse(u.double(), v.double(), 100.0, impl="naive"))


def repeats() -> float:
    u, v = unit(100, 33, torch.float32), unit(130, 33, torch.float32)
    runs = [pair_lse(u, v, 100.0, impl="triton") for _ in range(2)]
    return 0.0 if all(torch.equal(a, b) for a, b in zip(*runs, strict=True)) else float("inf")


def heads(n, c, di, dt, dtype=torch.float32, tie=False, bias=0.0, config=None) -> float:
    """Ties come from whole numbers, where no product rounds: every second class has the same weights."""
    draw = (lambda *shape: torch.randint(-3, 4, shape).float()) if tie else torch.randn
    made = [draw(n, di), draw(n, dt), draw(c, di), draw(c, dt)]
    vectors = {"bias": draw(c) + bias, "image_baseline": draw(di), "text_baseline": draw(dt)}
    if tie:
        made[2:], vectors["bias"] = [w[torch.arange(c) % 2] for w in made[2:]], torch.zeros(c)
    made, vectors = [y.to(dtype) for y in made], {name: y.to(dtype) for name, y in vectors.items()}
    labels = torch.randint(c, (n,))
    if config is None:
        found = coalition_head(*made, labels, **vectors, impl="triton")
    else:
        found = CoalitionHead(*head.coalition_head_triton(*made, labels, *vectors.values(), config))
    doubles = {name: y.double() for name, y in vectors.items()}
    expected = coalition_head(*(y.double() for y in made), labels, **doubles, impl="naive")
    if not torch.equal(found.argmax, expected.argmax):
        return float("inf")
    return error(found[:2], expected[:2])


def fused() -> float:
    """Products that are not rounded before something is added, and many tiles after that of the maximum."""
    image, text, labels = torch.randn(5, 3), torch.randn(5, 3), torch.randint(1500, (5,))
    w_image, w_text, bias = torch.randn(1500, 3), torch.randn(1500, 3), torch.full((1500,), -500.0)
    bias[7] = -450.0
    right = head.coalition_head_kernel
    head.coalition_head_kernel = contracted("head").coalition_head_kernel
    try:
        found = coalition_head(image, text, w_image, w_text, labels, bias=bias, impl="triton")
    finally:
        head.coalition_head_kernel = right
    doubles = (x.double() for x in (image, text, w_image, w_text))
    return error(found[:2], coalition_head(*doubles, labels, bias=bias.double(), impl="naive")[:2])


def too_wide() -> float:
    """Features wider than what stays in shared memory are refused, not cut."""
    try:
        heads(3, 4, 300, 5, config=head.CANDIDATES[2])
    except InputError:
        return 0.0
    return float("inf")


def segments(batch, heads, queries, bounds, width, dtype=torch.float32, masked=False, coalitions=None) -> float:
    q, k, v = (torch.randn(batch, heads, n, width).to(dtype) for n in (queries, bounds[-1], bounds[-1]))
    keep = None
    if masked:
        keep = torch.rand(batch, bounds[-1]) > 0.4
        keep[0] = False
    found = segment_attention(q, k, v, bounds, coalitions, keep=keep, impl="triton")
    doubles = (q.double(), k.double(), v.double())
    expected = segment_attention(*doubles, bounds, coalitions, keep=keep, impl="naive")
    if dtype == torch.float32:
        return max(error(found[:1], expected[:1]), error(found[1:2], expected[1:2]))
    plain = segment_attention(*(t.float() for t in (q, k, v)), bounds, coalitions, keep=keep, impl="naive")
    rounded = error([plain.output.to(dtype)], [expected.output])  # what storing the result costs
    return max(error(found[1:2], expected[1:2]), error(found[:1], expected[:1]) / max(rounded, 1e-30) * 1e-7)


HALF = torch.float16
CASES = {
    "pair odd shapes": lambda: pairs(252, 507, 123),
    "pair odd shapes fp16": lambda: pairs(252, 300, 123, HALF),
    "pair one": lambda: pairs(1, 1, 3),
    "pair 65 all negative": lambda: pairs(5, 65, 96, spread=0.05, sign=-1),
    "pair 65 all negative fp16": lambda: pairs(5, 65, 96, HALF, spread=0.05, sign=-1),
    "pair stripes": lambda: pairs(130, 70, 33, stripe=64),
    "pair masks": lambda: pairs(70, 80, 9, u_keep=torch.arange(70) % 3 > 0, v_keep=torch.arange(80) % 2 > 0),
    "pair nothing kept": lambda: pairs(5, 6, 9, v_keep=torch.zeros(6, dtype=torch.bool)),
    "pair far below": far_below,
    "pair far below in one tile": far_below_in_one_tile,
    "pair far below in a late tile": lambda: far_below_in_one_tile(5, 64 * pair.TILES.value + 20),
    "pair few programs": few_programs,
    "pair strided": strided,
    "pair repeats": repeats,
    "head odd shapes": lambda: heads(130, 65, 96, 33),
    "head odd shapes fp16": lambda: heads(130, 65, 96, 33, HALF),
    "head one": lambda: heads(1, 1, 1, 1),
    "head resident": lambda: heads(130, 70, 96, 33, config=head.CANDIDATES[2]),
    "head resident ties fp16": lambda: heads(70, 70, 5, 256, HALF, tie=True, config=head.CANDIDATES[3]),
    "head products fused": fused,
    "head too wide to stay": too_wide,
    "head ties": lambda: heads(20, 70, 5, 5, tie=True),
    "head all negative": lambda: heads(20, 65, 5, 5, bias=-500.0),
    "segment two": lambda: segments(2, 2, 40, (0, 33, 50), 64),
    "segment head dim 96 fp16": lambda: segments(1, 2, 5, (0, 65, 130), 96, HALF),
    "segment masked": lambda: segments(2, 1, 9, (0, 33, 50), 33, masked=True),
    "segment masked fp16": lambda: segments(2, 1, 9, (0, 33, 50), 64, HALF, masked=True),
    "segment empty": lambda: segments(1, 1, 3, (0, 0, 65), 16),
    "segment odd number": lambda: segments(1, 2, 9, (0, 20, 20, 45), 33),
    "segment chosen": lambda: segments(1, 1, 9, (0, 20, 45), 16, coalitions=[(1,), (0, 1)]),
}

MUTANTS = {
    # one shared shift for all columns, whatever is lost
    "shared_shift": ("pair", "pair_lse_kernel", [("< FAINT", "< 0.0")]),
    # padding columns count as logits of zero
    "padding_counts": (
        "pair",
        "pair_lse_kernel",
        [('tl.where(col_ok, 0.0, float("-inf"))', "tl.where(col_ok, 0.0, 0.0)")],
    ),
    # padding rows count in the columns, first where one shift is enough, then where it is not
    "padding_rows": (
        "pair",
        "pair_lse_kernel",
        [("tl.where(row_ok, tl.exp2(row_m - top), 0.0)", "tl.exp2(row_m - top)")],
    ),
    "padding_rows_far_below": (
        "pair",
        "faint_columns_kernel",
        [('z = tl.where(row_ok[:, None], z, float("-inf"))', "z = tl.where(row_ok[:, None], z, 0.0)")],
    ),
    # a tile's flag is read as its neighbour's
    "wrong_tile": (
        "pair",
        "faint_columns_kernel",
        [("row_block * tiles + tile)) != 0", "row_block * tiles + (tile + 1) % tiles)) != 0")],
    ),
    # columns beyond the last class count
    "classes_too_many": (
        "head",
        "coalition_head_kernel",
        [('a_bias_ptr + cols, mask=col_ok, other=float("-inf")', "a_bias_ptr + cols, mask=col_ok, other=0.0")],
    ),
    # in a tile the last of equals wins
    "last_of_a_tile": (
        "head",
        "coalition_head_kernel",
        [
            (
                "tl.min(tl.where(z == tile_m[:, None], column[None, :], BLOCK_C), 1)",
                "tl.max(tl.where(z == tile_m[:, None], column[None, :], 0), 1)",
            )
        ],
    ),
    # a tie goes to the later tile
    "late_tie": ("head", "coalition_head_kernel", [("tile_m > m, first", "tile_m >= m, first")]),
    # the maximum of an empty row is subtracted from itself
    "empty_row": (
        "segment",
        "segment_attention_kernel",
        [('shift = tl.where(new == float("-inf"), 0.0, new)', "shift = new")],
    ),
    # the merged output forgets one segment's weight
    "unweighted_merge": ("segment", "segment_attention_kernel", [("l0 * w0 + l1 * w1", "l0 + l1 * w1")]),
}


def errors(names: list[str]) -> dict[str, float]:
    out = {}
    for name in names:
        torch.manual_seed(0)
        out[name] = CASES[name]()
    return out


def errors_of(wrong: str) -> dict[str, float]:
    """Errors of a mutant in the cases of its operation; afterwards the right kernel is back, and rows are cut as before."""
    name, kernel, replacements = MUTANTS[wrong]
    module = {"pair": pair, "head": head, "segment": segment}[name]
    right, stripe = getattr(module, kernel), pair.STRIPE
    setattr(module, kernel, getattr(mutant(name, *replacements), kernel))
    try:
        return errors([case for case in CASES if case.startswith(name)])
    finally:
        setattr(module, kernel, right)
        pair.STRIPE = stripe


def main() -> None:
    chosen = sys.argv[1:]
    print(json.dumps({name: errors_of(name) for name in chosen} if chosen else errors(list(CASES))))


if __name__ == "__main__":
    main()
