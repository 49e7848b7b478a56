"""K3: attention per segment, merged into coalitions, against a masked softmax in float64."""

from __future__ import annotations

import pytest
import torch
from crossmodal.kernels import segment_attention
from crossmodal.kernels.ops.segment_attention import torch as merged
from crossmodal.theory.errors import InputError

CASES = {
    "vit with text": (2, 3, 40, (0, 33, 50), 64),
    "head dim 96": (1, 2, 5, (0, 65, 130), 96),
    "an empty segment": (1, 1, 3, (0, 0, 65), 16),
    "four segments": (2, 1, 9, (0, 20, 20, 45, 70), 33),
    "one segment": (1, 2, 1, (0, 5), 8),
    "one query, one key": (1, 1, 1, (0, 1, 1), 1),
}


def problem(name: str, dtype=torch.float32) -> tuple:
    batch, heads, queries, bounds, width = CASES[name]
    shapes = [(batch, heads, n, width) for n in (queries, bounds[-1], bounds[-1])]
    return *(torch.randn(s).to(dtype) for s in shapes), bounds


def reference(q, k, v, bounds, **options):
    return segment_attention(q.double(), k.double(), v.double(), bounds, impl="naive", **options)


def close(found, expected, rel: float = 1e-6) -> None:
    """The same empty rows; errors relative to the largest score, on which a weight's relative error depends."""
    finite = expected.lse[torch.isfinite(expected.lse)]
    size = max(1.0, float(finite.abs().max())) if len(finite) else 1.0
    assert found.coalitions == expected.coalitions
    empty = torch.isneginf(expected.lse)
    assert torch.equal(torch.isneginf(found.lse), empty)
    assert (found.output[empty] == 0).all()
    assert torch.isfinite(found.output).all()
    assert ((found.lse - expected.lse)[~empty].abs() <= rel * size).all()
    assert float((found.output - expected.output).abs().max()) <= rel * size * max(1.0, float(found.output.abs().max()))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("impl", ["torch", "naive", "auto"])
def test_float32_against_float64(name, masked, impl) -> None:
    q, k, v, bounds = problem(name)
    keep = torch.rand(q.shape[0], bounds[-1]) > 0.4 if masked else None
    if masked:
        keep[0] = False  # a sample without any key
    close(segment_attention(q, k, v, bounds, keep=keep, impl=impl), reference(q, k, v, bounds, keep=keep))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("shares", range(1, 8))
def test_blocks_of_heads_and_of_samples(monkeypatch, shares) -> None:
    """Both samples, one sample, two heads and one left over, one head."""
    q, k, v, bounds = problem("vit with text")
    keep = torch.rand(2, bounds[-1]) > 0.4
    keep[1, : bounds[1]] = False
    blocks, taken = list(merged._blocks(q, shares)), torch.zeros(q.shape[:2])
    for block in blocks:
        taken[block] += 1
    assert bool((taken == 1).all())
    assert max(taken[block].numel() for block in blocks) <= -(-taken.numel() // shares)
    monkeypatch.setattr(merged, "_blocks", lambda *_: blocks)
    close(segment_attention(q, k, v, bounds, keep=keep, impl="torch"), reference(q, k, v, bounds, keep=keep))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("keys", [15, 16, 17, 19, 20, 31, 77])
def test_keys_that_fill_vectors_up_are_not_seen(keys, masked) -> None:
    """All scores far below zero: a key of zeros that was seen would win."""
    q = torch.rand(2, 3, 11, 8) + 5
    k, v = -torch.rand(2, 3, keys + 3, 8) - 5, torch.randn(2, 3, keys + 3, 8)
    keep = torch.rand(2, keys + 3) > 0.4 if masked else None
    if masked:
        keep[1, :keys] = False
    bounds = (0, keys, keys + 3)
    close(segment_attention(q, k, v, bounds, keep=keep, impl="torch"), reference(q, k, v, bounds, keep=keep))


@pytest.mark.parametrize("place", ["before", "after", "nowhere"])
@pytest.mark.parametrize("beside", ["as others", torch.nan, torch.inf, -torch.inf, 3e38])
@pytest.mark.parametrize("of", ["keys", "values"])
@pytest.mark.parametrize("masked", [False, True])
def test_keys_beside_a_segment_do_not_reach_it(place, beside, of, masked) -> None:
    """They fill its vectors up.  All its scores lie far below zero, and those beside it far above."""
    first, last = {"before": (30, 2), "after": (2, 30), "nowhere": (2, 2)}[place]
    bounds = (0, first, first + 21, first + 21 + last)
    q, k, v = torch.rand(2, 3, 11, 8) + 5, torch.rand(2, 3, bounds[-1], 8) + 5, torch.randn(2, 3, bounds[-1], 8)
    k[:, :, first : first + 21] *= -1
    if beside != "as others":
        other = k if of == "keys" else v
        other[:, :, first - 1, 3] = other[:, :, first + 21, 3] = beside
    keep = torch.rand(2, bounds[-1]) > 0.4 if masked else None
    if masked:
        keep[1, first : first + 21] = False
    alone = (x[:, :, first : first + 21] for x in (k, v))
    expected = reference(q, *alone, (0, 21), keep=None if keep is None else keep[:, first : first + 21])
    found = segment_attention(q, k, v, bounds, [(), (1,)], keep=keep, impl="torch")
    close(found._replace(coalitions=expected.coalitions), expected)


@pytest.mark.parametrize("place", [0, 1])
def test_scores_beside_a_segment_may_overflow(place) -> None:
    """Queries so large that their product with a key of moderate size is infinite, though the mask hides that key."""
    q, k, v = 1e36 * torch.rand(1, 2, 5, 8), torch.rand(1, 2, 42, 8), torch.randn(1, 2, 42, 8)
    own, beside = (slice(0, 21), slice(21, 42)) if place else (slice(21, 42), slice(0, 21))
    k[:, :, beside] = 1e5
    expected = reference(q, k[:, :, own], v[:, :, own], (0, 21), scale=1e-36)
    found = segment_attention(q, k, v, (0, 21, 42), [(), (1 - place,)], scale=1e-36, impl="torch")
    close(found._replace(coalitions=expected.coalitions), expected)


@pytest.mark.parametrize("which", ["query", "key"])
@pytest.mark.parametrize("keys", [1, 2, 3, 8, 16, 17, 19])
@pytest.mark.parametrize("kept", ["all", "the last"])
def test_nan_stays_where_it_is_and_does_not_turn_into_numbers(which, keys, kept) -> None:
    """Fused attention reports zeros for a row whose scores are NaN, as for one without keys, if no whole vector holds a score."""
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, keys + 20, 8), torch.randn(2, 3, keys + 20, 8)
    keep = None
    if kept == "the last":
        keep = torch.ones(2, keys + 20, dtype=torch.bool)
        keep[1, : keys - 1] = False
    nan = torch.zeros(4, 2, 3, 5, dtype=torch.bool)
    if which == "query":
        q[1, 2, 3, 4], nan[1:, 1, 2, 3] = torch.nan, True
    else:
        k[1, 2, keys - 1, 4], nan[1, 1, 2], nan[3, 1, 2] = torch.nan, True, True
    found = segment_attention(q, k, v, (0, keys, keys + 20), keep=keep, impl="torch")
    assert torch.equal(found.lse.isnan(), nan)
    assert torch.equal(found.output.isnan(), nan[..., None].expand(found.output.shape))
    expected = reference(q, k, v, (0, keys, keys + 20), keep=keep)
    assert float((found.output - expected.output)[~nan].abs().max()) <= 1e-6
    assert float((found.lse - expected.lse)[~nan & expected.lse.isfinite()].abs().max()) <= 1e-5


@pytest.mark.parametrize("keys", [1, 20])
def test_scores_that_are_all_minus_infinity_are_no_keys(keys) -> None:
    """float32 cannot hold them; a log-sum-exp of 0 would outweigh the other segment."""
    q, k, v = torch.full((1, 1, 2, 4), 1e20), torch.full((1, 1, keys + 2, 4), -1e20), torch.randn(1, 1, keys + 2, 4)
    k[:, :, keys:] = -1e-20
    found = segment_attention(q, k, v, (0, keys, keys + 2), impl="torch")
    assert (found.lse[1] == -torch.inf).all()
    assert (found.output[1] == 0).all()
    assert torch.equal(found.output[3], found.output[2])
    assert torch.equal(found.lse[3], found.lse[2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["vit with text", "head dim 96"])
def test_half_precision_at_most_twice_the_error_of_torch(dtype, name) -> None:
    q, k, v, bounds = problem(name, dtype)
    both = tuple(range(len(bounds) - 1))
    expected = reference(q, k, v, bounds, coalitions=[both]).output[0]
    found = segment_attention(q, k, v, bounds, [both], impl="torch").output[0]
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert found.dtype == dtype
    assert float((found - expected).abs().max()) <= 2 * float((plain - expected).abs().max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_many_queries_and_masks_in_other_dtypes(monkeypatch, dtype) -> None:
    """Queries in blocks, with samples that have no key in a segment or none at all."""
    monkeypatch.setattr(merged, "QUERIES", 16)
    q, k, v, bounds = problem("vit with text", dtype)
    keep = torch.ones(2, 50, dtype=torch.bool)
    keep[0], keep[1, :33] = False, False
    found, expected = (run(q, k, v, bounds, keep=keep) for run in (segment_attention, reference))
    close(found, expected, 1e-14 if dtype == torch.float64 else 1e-2)
    assert torch.equal(torch.isneginf(expected.lse[:, :, 0, 0]), torch.tensor([[1, 1], [1, 1], [1, 0], [1, 0]]).bool())


@pytest.mark.parametrize("impl", ["torch", "naive"])
@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 2, 0)])
def test_no_queries(impl, shape) -> None:
    batch, heads, _ = shape
    k = torch.ones(batch, heads, 4, 5)
    found = segment_attention(torch.ones(*shape, 5), k, k, (0, 1, 4), keep=torch.ones(batch, 4).bool(), impl=impl)
    assert found.output.shape == (4, *shape, 5)
    assert found.lse.shape == (4, *shape)


def test_large_scores() -> None:
    """Segments whose scores differ by hundreds merge without overflow."""
    q, k, v, bounds = problem("vit with text")
    k[:, :, :33] *= 100
    expected = reference(q, k, v, bounds)
    assert float(expected.lse[3].max()) > 300
    close(segment_attention(q, k, v, bounds, impl="torch"), expected)


def test_merging_fails_without_weights(monkeypatch) -> None:
    """Mutant: average the segments instead of weighting them by their mass."""

    def average(first, second, room):
        return torch.add(first[0], second[0], out=room).mul_(0.5), torch.logaddexp(first[1], second[1])

    monkeypatch.setattr(merged, "merge_two", average)
    q, k, v, bounds = problem("vit with text")
    with pytest.raises(AssertionError):
        close(segment_attention(q, k, v, bounds, impl="torch"), reference(q, k, v, bounds))


def test_coalitions_are_subsets_by_default() -> None:
    q, k, v, bounds = problem("four segments")
    found = segment_attention(q, k, v, bounds, impl="torch")
    assert found.coalitions[:6] == ((), (0,), (1,), (2,), (3,), (0, 1))
    assert len(found.coalitions) == 16
    chosen = segment_attention(q, k, v, bounds, [(3, 0), (2,)], impl="torch")
    assert chosen.coalitions == ((0, 3), (2,))
    assert torch.equal(chosen.output[0], found.output[found.coalitions.index((0, 3))])


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float32, 1e-6), (torch.float16, 2e-3)])
def test_a_coalition_begins_where_another_has_come_to(monkeypatch, dtype, rel) -> None:
    """In any order, with repetitions; in half precision none begins at what was rounded."""
    q, k, v, bounds = problem("four segments", dtype)
    wanted = [(0, 1, 2), (2, 3), (0, 1), (0, 1, 2, 3), (), (0, 1, 2), (3,)]
    sizes: list[torch.dtype] = []
    two = merged.merge_two

    def counted(first, second, room):
        sizes.append(first[0].dtype)
        return two(first, second, room)

    monkeypatch.setattr(merged, "merge_two", counted)
    found = segment_attention(q, k, v, bounds, wanted, impl="torch")
    close(found, reference(q, k, v, bounds, coalitions=wanted), rel)
    if dtype == torch.float32 and torch.get_num_threads() == 1:
        assert len(sizes) == 2 + 1 + 1 + 1  # the third begins at a segment, for none before it ends there
    assert set(sizes) == {torch.float32}
    assert torch.equal(found.output[0], found.output[5])


def test_scale_is_used() -> None:
    q, k, v, bounds = problem("vit with text")
    close(segment_attention(q, k, v, bounds, scale=0.5, impl="torch"), reference(q, k, v, bounds, scale=0.5))
    with pytest.raises(AssertionError):
        close(segment_attention(q, k, v, bounds, scale=0.5, impl="torch"), reference(q, k, v, bounds))


def test_non_contiguous() -> None:
    q, k, v, bounds = problem("vit with text")
    q, k = q.transpose(1, 2).contiguous().transpose(1, 2), k.transpose(2, 3).contiguous().transpose(2, 3)
    close(segment_attention(q, k, v, bounds, impl="torch"), reference(q, k, v, bounds))


@pytest.mark.parametrize("step", [0, 1, 63])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("tokens", ["one", "many"])
def test_rows_that_overlap(which, step, tokens) -> None:
    """Fused attention takes the distance of two rows for granted: they are windows of one signal, or all the same.

    The distance of a single row from the next counts as well, though there is none.
    """
    bounds = (0, 21, 50) if tokens == "many" else (0, 1, 1)
    given = [torch.randn(2, 3, n, 64) for n in (17 if tokens == "many" else 1, bounds[-1], bounds[-1])]
    shape = given[which].shape
    given[which] = torch.randn(6 * 64 * 64).as_strided(shape, (3 * 64 * 64, 64 * 64, step, 1))
    close(segment_attention(*given, bounds, impl="torch"), reference(*given, bounds))


def test_gradients_are_refused_or_right() -> None:
    q, k, v, bounds = problem("head dim 96", torch.float64)
    q.requires_grad_()
    v.requires_grad_()
    with pytest.raises(InputError, match="no backward"):
        segment_attention(q, k, v, bounds, impl="torch")
    keep = torch.zeros(1, 130, dtype=torch.bool)
    segment_attention(q, k, v, bounds, keep=keep, impl="naive").output.sum().backward()
    assert (q.grad == 0).all()
    assert (v.grad == 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"q": torch.ones(2, 3, 4)}, ("4 axes",)),
        ({"k": torch.ones(1, 2, 6, 4)}, ("(1, 2, 6, 4)",)),
        ({"v": torch.ones(1, 2, 7, 4)}, ("(1, 2, 7, 4)",)),
        ({"bounds": (0, 3)}, ("(0, 3)", "6")),
        ({"bounds": (0, 4, 2, 6)}, ("(0, 4, 2, 6)",)),
        ({"bounds": ()}, ("()",)),
        ({"bounds": (1, 6)}, ("(1, 6)", "from 0")),
        ({"bounds": (0, 1, 2, 2, 2, 2, 2, 2, 3, 4, 5, 6)}, ("11 segments", "2048")),
        ({"q": torch.ones(1, 2, 2, 4)}, ("q (1, 2, 2, 4)",)),
        ({name: torch.ones(1, 1, 6, 0) for name in "qkv"}, ("(1, 1, 6, 0)",)),
        ({"coalitions": [(0, 2)]}, ("(0, 2)", "0 to 1")),
        ({"coalitions": []}, ("at least one",)),
        ({"coalitions": [(-1,)]}, ("(-1,)", "0 to 1")),
        ({"coalitions": [0, 1]}, ("[0, 1]", "0 is not (0,)")),
        ({"coalitions": [("a",)]}, ("('a',)",)),
        ({"bounds": (0, 2.5, 6)}, ("(0, 2.5, 6)", "whole numbers")),
        ({"bounds": 6}, ("bounds 6",)),
        ({"scale": float("nan")}, ("scale=nan", "finite")),
        ({"scale": "1.5"}, ("scale='1.5'", "one finite number")),
        ({"scale": [1.0]}, ("scale=[1.0]", "one finite number")),
        ({"scale": torch.ones(2)}, ("scale=tensor([1., 1.])", "one finite number")),
        ({"scale": 10**400}, ("scale=1000", "one finite number")),
        ({"scale": 1j}, ("scale=1j", "one finite number")),
        ({"scale": torch.ones((), requires_grad=True)}, ("requires grad", "q * scale")),
        ({"coalitions": 5}, ("coalitions 5", "at least one")),
        ({"keep": torch.ones(1, 6)}, ("keep", "boolean")),
        ({"k": torch.ones(1, 1, 6, 4).half()}, ("float16",)),
    ],
)
def test_bad_input_is_explained(change, words) -> None:
    made = {
        "q": torch.ones(1, 1, 2, 4),
        "k": torch.ones(1, 1, 6, 4),
        "v": torch.ones(1, 1, 6, 4),
        "bounds": (0, 2, 6),
    } | change
    with pytest.raises(InputError) as error:
        segment_attention(**made)
    assert all(word in str(error.value) for word in (*words, "expected", "likely cause", "fix"))
