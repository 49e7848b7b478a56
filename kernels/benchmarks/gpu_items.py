"""The items of the GPU targets table.  Peers that are not installed are recorded as such, never guessed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from crossmodal.kernels import GraphedCall, autotune, coalition_head, pair_lse, segment_attention
from crossmodal.kernels.benchmarks.cpu_items import clip_loss, features, k0, our_clip_loss, torch_linear_loss
from crossmodal.kernels.benchmarks.measure import Case, Run, largest_error
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

DTYPE = torch.bfloat16
SIZES = {
    "k1": {"n": 65536},
    "k2": {"n": 1_000_000, "classes": 1000},
    "k3": {"batch": 64, "heads": 12},
}
SOME = 1024  # rows compared with float64, the last ones of a call at full size: what is timed is what was compared
QUICK = {
    "k1": {"n": 4096},
    "k2": {"n": 8192, "classes": 1000},
    "k3": {"batch": 4, "heads": 12},
}


def peer(make: Callable[[], Run | str]) -> Run | str:
    """The peer's callable, or why there is none."""
    try:
        run = make()
        if callable(run):
            run()
    except ImportError as error:
        return f"not installed: {error.name or error}"
    except Exception as error:  # a peer that cannot run here is a line in the table, not the end of it
        return f"does not run here: {type(error).__name__}: {error}"[:160]
    return run


def tuned(
    op: str, shape: tuple[int, ...], device: str, candidates: Any, run: Callable[[dict[str, int]], object]
) -> str:
    """Tune once, and say what was chosen and how long compiling took."""
    entry = autotune.tune(op, shape, DTYPE, torch.device(device), candidates, run)
    seconds = sum(t.get("compile_s", 0.0) for t in entry["tried"])
    return f"tuned: {entry['config']}, {len(entry['tried'])} candidates compiled in {seconds:.1f} s"


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def k1(n: int, device: str = "cuda") -> Case:
    """CLIP loss of a very large batch in bfloat16."""
    from crossmodal.kernels.ops.pair_lse import triton as kernel

    d, scale = 512, 100.0
    u, v = features(n, d, DTYPE, device), features(n, d, DTYPE, device)
    labels = torch.arange(n, device=device)
    note = tuned("pair_lse", (n, n, d), device, kernel.CANDIDATES, lambda c: kernel.pair_lse_triton(u, v, scale, c))

    def inf_clip() -> Run:
        from inf_cl import cal_flash_loss

        tau = torch.tensor(scale, device=device)
        return lambda: cal_flash_loss(u, v, labels, tau) + cal_flash_loss(v, u, labels, tau)

    def cut() -> Run:
        from cut_cross_entropy import linear_cross_entropy

        return lambda: linear_cross_entropy(u * scale, v, labels) + linear_cross_entropy(v * scale, u, labels)

    def error() -> tuple[float, float]:
        found = pair_lse(u, v, scale, impl="triton")
        rows = pair_lse(u[-SOME:].double(), v.double(), scale, impl="naive")
        columns = pair_lse(u.double(), v[-SOME:].double(), scale, impl="naive")
        diagonal = scale * (u[-SOME:].double() * v[-SOME:].double()).sum(1)
        expected = (rows.row_lse, columns.col_lse, rows.row_max, diagonal)
        return max(largest_error(a[-SOME:], b) for a, b in zip(found, expected, strict=True)), 1e-4

    return Case(
        shape=f"N={n}, d={d}",
        dtype=name_of(DTYPE),
        ours=lambda: our_clip_loss(u, v, scale, "triton"),
        peers={
            "torch.mm": peer(lambda: lambda: u @ v.T),
            "open_clip-style loss": peer(lambda: lambda: clip_loss(u, v, scale)),
            "Inf-CLIP, both ways": peer(inf_clip),
            "cut-cross-entropy, both ways": peer(cut),
            "F.linear_cross_entropy, both ways": peer(lambda: torch_linear_loss(u, v, scale)),
        },
        error=error,
        flops=2.0 * n * n * d,
        bytes=2.0 * n * d * 2,
        targets={"torch.mm": 1 / 1.5, "open_clip-style loss": 3.0},
        note=note,
    )


def k2(n: int, classes: int, device: str = "cuda") -> Case:
    """A linear head under four coalitions for a million samples in bfloat16."""
    from crossmodal.kernels.ops.coalition_head import triton as kernel

    d = 256
    image, text = (torch.randn(n, d, device=device).to(DTYPE) for _ in range(2))
    w_image, w_text = ((torch.randn(classes, d, device=device) / d**0.5).to(DTYPE) for _ in range(2))
    labels = torch.randint(classes, (n,), device=device)
    zero_bias, zero = w_image.new_zeros(classes), w_image.new_zeros(d)
    both, weight = torch.cat([image, text], 1), torch.cat([w_image, w_text], 1)
    arguments = (image, text, w_image, w_text, labels, zero_bias, zero, zero)
    note = tuned(
        "coalition_head",
        (n, classes, d),
        device,
        kernel.CANDIDATES,
        lambda c: kernel.coalition_head_triton(*arguments, c),
    )

    def eager() -> None:
        for with_image, with_text in ((0, 0), (1, 0), (0, 1), (1, 1)):
            parts = [image if with_image else torch.zeros_like(image), text if with_text else torch.zeros_like(text)]
            logits = torch.cat(parts, 1) @ weight.T
            logits.float().logsumexp(1)
            logits.gather(1, labels[:, None])
            logits.argmax(1)

    def liger() -> Run:
        import liger_kernel.transformers.functional as functional

        return lambda: [functional.liger_fused_linear_cross_entropy(both, weight, labels) for _ in range(4)]

    def error() -> tuple[float, float]:
        found = coalition_head(image, text, w_image, w_text, labels, impl="triton")
        x, y, a, b = (t.double() for t in (image[-SOME:], text[-SOME:], w_image, w_text))
        expected = coalition_head(x, y, a, b, labels[-SOME:], impl="naive")
        lse, target, argmax = (t[:, -SOME:] for t in found)
        if (
            float((argmax != expected.argmax).double().mean()) > 1e-3
        ):  # classes that float32 does not tell apart are rare
            return float("inf"), 1e-4
        return max(largest_error(lse, expected.lse), largest_error(target, expected.target)), 1e-4

    return Case(
        shape=f"N={n}, d={d}+{d}, C={classes}",
        dtype=name_of(DTYPE),
        ours=lambda: coalition_head(image, text, w_image, w_text, labels, impl="triton"),
        peers={
            "four eager passes": peer(lambda: eager),
            "one GEMM": peer(lambda: lambda: both @ weight.T),
            "Liger fused linear CE, four times": peer(liger),
        },
        error=error,
        flops=4.0 * n * d * classes,
        bytes=4.0 * n * d,
        targets={"four eager passes": 4.0, "one GEMM": 1 / 1.7},
        note=note,
    )


def k3(batch: int, heads: int, device: str = "cuda") -> Case:
    """Attention of a ViT-B layer over 256 image and 78 text tokens in bfloat16; launch cost rules, so as a graph."""
    from crossmodal.kernels.ops.segment_attention import triton as kernel

    width, bounds = 64, (0, 256, 334)
    tokens = bounds[-1]
    q, k, v = (torch.randn(batch, heads, tokens, width, device=device).to(DTYPE) for _ in range(3))
    subsets = ((), (0,), (1,), (0, 1))
    note = tuned(
        "segment_attention",
        (batch * heads, tokens, tokens, width),
        device,
        kernel.CANDIDATES,
        lambda c: kernel.segment_attention_triton(q, k, v, bounds, subsets, None, width**-0.5, c),
    )
    image, text = slice(0, bounds[1]), slice(bounds[1], tokens)
    is_image = torch.arange(tokens, device=device) < bounds[1]
    masks = [torch.zeros_like(is_image), is_image, ~is_image, torch.ones_like(is_image)]

    def flex() -> Run:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        compiled = torch.compile(flex_attention)

        def of(mask: Tensor) -> Any:
            return create_block_mask(lambda _b, _h, _i, key: mask[key], None, None, tokens, tokens)

        blocks = [of(m) for m in masks[1:]]
        return lambda: [compiled(q, k, v, block_mask=block) for block in blocks]

    def error() -> tuple[float, float]:
        few = slice(-2, None)
        output, lse = graph(*graph.example)
        qs, ks, vs = (x[few].double() for x in (q, k, v))
        expected = segment_attention(qs, ks, vs, bounds, impl="naive")
        parts = [
            scaled_dot_product_attention(q[few], k[few, :, at], v[few, :, at]) for at in (image, text, slice(None))
        ]
        other = max(largest_error(x, y) for x, y in zip(parts, expected.output[1:], strict=True))
        own = largest_error(output[:, few], expected.output)
        return max(largest_error(lse[:, few], expected.lse) / 1e-4, own / (2 * other)), 1.0

    def both(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        found = segment_attention(q, k, v, bounds, impl="triton")
        return found.output, found.lse

    graph = GraphedCall(both, q, k, v)
    return Case(
        shape=f"B={batch}, H={heads}, tokens=256+78 (class token with the text), D={width}",
        dtype=name_of(DTYPE),
        ours=lambda: graph(*graph.example),  # its own inputs, as where a graph's layer before has written them
        peers={
            "four masked SDPA": peer(
                lambda: lambda: [scaled_dot_product_attention(q, k, v, attn_mask=m[None, None, None]) for m in masks]
            ),
            "FlexAttention, three masks": peer(flex),
            "ours without a graph": lambda: segment_attention(q, k, v, bounds, impl="triton"),
        },
        error=error,
        flops=4.0 * batch * heads * tokens * tokens * width,
        bytes=(3.0 + 4) * batch * heads * tokens * width * 2,
        targets={"four masked SDPA": 2.2},
        note=note,
    )


CASES: dict[str, Callable[..., Case]] = {"k1": k1, "k2": k2, "k3": k3}


def item(name: str, quick: bool) -> Case:
    """One item; of a quick run no target is spoken of."""
    case = CASES[name](**(QUICK if quick else SIZES)[name])
    return replace(case, targets={}) if quick else case


ITEMS: dict[str, Callable[[bool], Case]] = {name: partial(item, name) for name in CASES}
ITEMS["k0"] = partial(k0, device="cuda")
