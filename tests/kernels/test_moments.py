"""K0: moments of all pairs, against the matrix of scores, exact fractions, and wrong variants of itself."""

from __future__ import annotations

import itertools
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from crossmodal.kernels import FeatureMoments, PairMoments, moments, stream_marginals, stream_moments
from crossmodal.kernels.ops.moments import streaming
from crossmodal.kernels.ops.moments import torch as blocked
from crossmodal.kernels.ops.moments.streaming import shard_moments
from crossmodal.theory.errors import InputError

SHAPES = [(252, 507, 123), (1, 1, 3), (1, 65, 96), (65, 1, 96), (9000, 30, 260)]


def close(found, expected, rel: float) -> None:
    """Every part is right relative to the variance as a whole, and the mean relative to one."""
    assert abs(float(found.mean - expected.mean)) <= rel
    size = max(float(expected.variance), 1e-300)
    for name in ("variance", "image", "text", "interaction"):
        assert abs(float(getattr(found, name) - getattr(expected, name))) <= rel * size, name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_agrees_with_the_matrix_of_scores(unit, poisoned, shape, dtype) -> None:
    n, m, d = shape
    u, v = unit(n, d, dtype), unit(m, d, dtype)
    # inputs are rounded first, so what remains is the rounding of float32 (float64) products
    close(moments(u, v, impl="torch"), moments(u, v, impl="naive"), 1e-13 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("rows", [3, 64, 300, 1000])
def test_blocks_of_a_gpu_at_once(monkeypatch, unit, rows) -> None:
    """Blocks of 64 rows and up to 256 rows at a time, on a CPU."""
    u, v = unit(rows, 16, spread=0.1), unit(90, 16, spread=0.1)
    monkeypatch.setattr(blocked, "_waits_for_launches", lambda x: True)
    monkeypatch.setattr(blocked, "BLOCK_ROWS", 64)
    monkeypatch.setattr(blocked, "BLOCK_NUMBERS_GPU", 256 * 16)
    found, expected = moments(u, v, impl="torch"), moments(u, v, impl="naive")
    close(found, expected, 1e-6)


def test_a_gpu_is_given_few_launches(allocated) -> None:
    """They take longer than products of 4096 rows; it took 2700 calls."""
    u, v = (torch.empty(65536, 512, device="meta") for _ in range(2))
    with torch.no_grad(), allocated:
        moments(u, v, impl="torch")
    assert allocated.calls <= 400
    assert allocated.peak <= 100e6


def raw_moments_in_float32(u: torch.Tensor, v: torch.Tensor) -> float:
    """Mutant: second moments that were not centred."""
    mean = (u.mean(0) @ v.mean(0)) ** 2
    second = ((u.T @ u / len(u)) * (v.T @ v / len(v))).sum()
    return float(second - mean)


def test_centring_keeps_a_tiny_variance(unit) -> None:
    u, v = unit(5000, 512, spread=0.1), unit(5000, 512, spread=0.1)
    expected = moments(u, v, impl="naive")
    assert 0.98 < float(expected.mean) < 0.995
    assert float(expected.variance) < 1e-6
    close(moments(u, v, impl="torch"), expected, 1e-6)
    assert abs(raw_moments_in_float32(u, v) / float(expected.variance) - 1) > 1e-2


# What float32 leaves of a score is 2^-24 of the spread, which is the spread times the score itself, and averages out
# over N: at a mean of 0.99 to 0.9999 less than 1e-6 of a part.
CONES = [(0.1, 64), (0.03, 64), (0.03, 512), (0.01, 4), (0.01, 64)]


def cones(spread: float, d: int, skewed: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit features of both modalities in one narrow cone."""
    x = torch.randn(2, 6000, d, dtype=torch.float64)
    x = x.exp() - 1.6 if skewed else x
    u, v = torch.nn.functional.normalize(1 / d**0.5 + spread * x / d**0.5, dim=2).float()
    return u, v[:5000]


def in_classes() -> tuple[torch.Tensor, torch.Tensor]:
    """Six cones inside a wider one, one after the other: no block looks like the whole."""
    centres = 1 / 8 + 0.01 * torch.randn(2, 6, 1, 64) / 8
    u, v = torch.nn.functional.normalize(centres + 0.01 * torch.randn(2, 6, 2000, 64) / 8, dim=3).flatten(1, 2)
    return u, v


def parts_apart(found, u: torch.Tensor, v: torch.Tensor) -> float:
    """Largest relative error of image and text part, each by itself."""
    centred = [x.double() - x.double().mean(0) for x in (u, v)]
    image, text = centred[0] @ v.double().mean(0), centred[1] @ u.double().mean(0)
    pairs = ((found.image, image), (found.text, text))
    return max(abs(float(part.detach() / scores.square().mean()) - 1) for part, scores in pairs)


def merged(u: torch.Tensor, v: torch.Tensor):
    """Shards of any size, one of them a single row."""
    total = [FeatureMoments.empty(u.shape[1]) for _ in range(2)]
    for side, x in enumerate((u, v)):
        for part in x.split([1, 2000, 700, len(x) - 2701]):
            total[side] = total[side].merge(FeatureMoments.of(part))
    return PairMoments(*blocked.combine(*total))


WAYS = {
    "moments": lambda u, v: moments(u, v, impl="torch"),
    "with grad": lambda u, v: moments(u.clone().requires_grad_(), v, impl="torch"),
    "stream": lambda u, v: stream_moments(u.numpy(), v.numpy(), rows=1500),
    "shards": merged,
    "marginals": lambda u, v: stream_marginals([u[:700].numpy(), u[700:].double().numpy()], v.numpy()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("cone", CONES)
def test_image_and_text_part_of_a_narrow_cone(way, cone, skewed) -> None:
    u, v = cones(*cone, skewed)
    assert float(u.mean(0) @ v.mean(0)) > 0.93
    assert parts_apart(WAYS[way](u, v), u, v) <= 1e-6


@pytest.mark.parametrize("way", WAYS)
def test_image_and_text_part_of_two_narrow_cones(way) -> None:
    """Cones of different directions, and of nearly the same one."""
    for angle in (1.0, 0.02):
        u, v = cones(0.01, 32)
        v = torch.nn.functional.normalize(v + angle * torch.randn(32) / 32**0.5, dim=1)
        assert parts_apart(WAYS[way](u, v), u, v) <= 1e-6


@pytest.mark.parametrize("way", WAYS)
def test_image_and_text_part_of_sorted_samples(way) -> None:
    """A float32 sum over one class is off its pivot by more than the spread, and would round more."""
    for u, v in (in_classes() for _ in range(5)):
        assert parts_apart(WAYS[way](u, v), u, v) <= 1e-6


def running_sums(weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One float32 number takes up row after row.  How long a library's own sums are depends on the processor."""
    terms = (weights[:, :, None] * x[None]).numpy()
    return torch.from_numpy(np.add.accumulate(terms, axis=1, dtype=np.float32)[:, -1]).double()


def test_that_check_fails_for_long_float32_sums(monkeypatch) -> None:
    """About two draws in five do (82 of 200)."""
    monkeypatch.setattr(blocked, "_sums", running_sums)
    draws = (in_classes() for _ in range(40))
    assert any(parts_apart(WAYS["moments"](u, v), u, v) > 1e-6 for u, v in draws)


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 200])
def test_sums_of_a_few_rows_at_a_time(rows) -> None:
    weights, x = torch.randint(-9, 9, (2, rows)).float(), torch.randint(-9, 9, (rows, 3)).float()
    assert torch.equal(blocked._sums(weights, x), weights.double() @ x.double())


def with_outlier() -> tuple[torch.Tensor, torch.Tensor]:
    """One row so far away that a mean that counts it among 256 is far from all of them; it is one of those rows."""
    u, v = cones(0.1, 3)
    u = u.repeat(4, 1)
    u[0] = torch.tensor([-3e5, 5e5, 1e5])
    return u, v


def in_turns() -> tuple[torch.Tensor, torch.Tensor]:
    """One sample in 234 unlike the others, which every 234th sample alone would take for all."""
    u, v = cones(0.01, 2)
    u = u.repeat(10, 1)
    u[::234] += torch.tensor([0.4, -0.2])
    return u, v


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("made", [with_outlier, in_turns])
def test_samples_far_from_most(way, made) -> None:
    u, v = made()
    centred = [x.double() - x.double().mean(0) for x in (u, v)]
    expected = (centred[0] @ v.double().mean(0)).square().mean(), (centred[1] @ u.double().mean(0)).square().mean()
    found = WAYS[way](u, v)
    for name, part in zip(("image", "text"), expected, strict=True):
        assert abs(float(getattr(found, name).detach() - part)) <= 1e-6 * float(sum(expected)), name


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 511, 60000, 10**9])
def test_sampled_rows_are_from_all_parts(rows) -> None:
    found = blocked.sampled(rows)
    assert len(found) == min(rows, 256)
    part = found * len(found) // max(1, rows)
    assert bool(
        ((part - torch.arange(len(found))).abs() <= 1).all()
    )  # rounding down may leave the part by less than a row
    for period in (2, 3, 5, 234, 235):  # 234 is a 256th of 60000
        assert rows < 60000 or float((found % period == 0).double().mean()) <= 1 / period + 0.02


WIDE = {"mean far above the spread": (0.1, 1e-12), "above float32": (1e40, 1e39), "below float32": (1e-50, 1e-51)}


@pytest.mark.parametrize("way", ["moments", "with grad", "stream"])  # a shard's mean is rounded to what a merge can use
@pytest.mark.parametrize("case", WIDE)
def test_float64_keeps_its_digits_and_its_range(way, case) -> None:
    mean, spread = WIDE[case]
    u, v = mean + spread * torch.randn(3000, 8).double(), 0.3 + torch.randn(3000, 8).double()
    assert parts_apart(WAYS[way](u, v), u, v) <= 1e-9


def test_that_check_fails_for_the_float32_product(monkeypatch) -> None:
    """Mutants: leave the rounding along the mean in the scatter; take rows as they are for the marginals."""
    u, v = cones(0.01, 64)
    monkeypatch.setattr(blocked, "_lost", lambda scatter, axis, row: torch.zeros_like(axis))
    assert min(parts_apart(WAYS[way](u, v), u, v) for way in ("moments", "with grad", "stream", "shards")) > 1e-5
    right = streaming.Centred
    monkeypatch.setattr(streaming, "Centred", lambda centre: right(centre * 0))
    assert parts_apart(WAYS["marginals"](u, v), u, v) > 1e-5


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_very_many_narrow_features(d, dtype) -> None:
    u, v = (torch.rand(2, 1 << 20, d) + 0.5).to(dtype)
    found = moments(u, v, impl="torch")
    a, b = u.double(), v.double()
    cov_u, cov_v = (torch.cov(x.T, correction=0).view(d, d) for x in (a, b))
    mu, mv = a.mean(0), b.mean(0)
    image, text, rest = mv @ cov_u @ mv, mu @ cov_v @ mu, (cov_u * cov_v).sum()
    close(found, PairMoments(mu @ mv, image + text + rest, image, text, rest), 1e-6)


def test_constant_features_have_no_negative_variance() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        u = torch.nn.functional.normalize(torch.randn(1, 8), dim=1).expand(3000, 8).contiguous()
        v = torch.nn.functional.normalize(torch.randn(3000, 8) + 1, dim=1)
        for found in (moments(u, v), moments(u, u), stream_moments(u, v)):
            assert min(float(part) for part in found[1:]) >= 0
    u.requires_grad_()
    (grad,) = torch.autograd.grad(moments(u, v, impl="torch").variance, u)
    assert torch.isfinite(grad).all()


@pytest.mark.parametrize("scales", [(1e20, 1.0), (1e-25, 1e25), (1.0, 1e25)])
def test_squares_that_overflow_are_explained(scales) -> None:
    u, v = (scale * torch.randn(5000, 8) for scale in scales)
    for call in (lambda: moments(u, v), lambda: stream_moments(u.numpy(), v.numpy())):
        with pytest.raises(InputError, match="overflow") as error:
            call()
        assert all(word in str(error.value) for word in ("expected", "likely cause", "fix"))
    wide, expected = moments(u.double(), v.double(), impl="torch"), moments(u, v, impl="naive")
    assert abs(float(wide.variance / expected.variance) - 1) <= 1e-10


def test_streams_have_no_gradient_and_say_so() -> None:
    u, v = torch.randn(5, 3).requires_grad_(), torch.randn(4, 3)
    for call in (lambda: stream_moments(u, v), lambda: stream_marginals(v, [u, u]), lambda: shard_moments(u)):
        with pytest.raises(InputError, match="requires grad") as error:
            call()
        assert "moments" in str(error.value)
        with torch.no_grad():
            call()


@pytest.mark.parametrize("device", ["nonsense", None, "cuda:99", "meta"])
def test_devices_that_cannot_be_used_are_refused(device) -> None:
    x = np.ones((4, 3), "float32")
    for call in (lambda: stream_moments(x, x, device=device), lambda: shard_moments(x, device=device)):
        with pytest.raises(InputError, match="expected") as error:
            call()
        assert f"device={device!r}" in str(error.value)
    assert stream_moments(x, x, device=torch.device("cpu")) == stream_moments(x, x)


@pytest.mark.parametrize("grad", [False, True])
def test_rounding_of_the_pivot_is_corrected(grad) -> None:
    """At a mean a million times the spread float32 misses the mean by a tenth of the spread."""
    x, v = 1000 + 1e-3 * torch.randn(3000, 4), torch.randn(20, 4)
    found = moments(x.clone().requires_grad_(grad), v, impl="torch")
    expected = moments(x, v, impl="naive")
    assert abs(float(found.image.detach() / expected.image) - 1) <= 1e-5
    assert abs(float(found.interaction.detach() / expected.interaction) - 1) <= 1e-5


def test_numbers_whose_sum_overflows_are_finite() -> None:
    found = moments(torch.full((4, 3), 3e38), torch.full((2, 3), 1e-30), impl="naive")
    assert float(found.mean) == pytest.approx(9e8)


def test_equals_exact_fractions() -> None:
    """On small dyadic numbers nothing rounds, so the result must equal the definition to the last bit."""
    rng = np.random.default_rng(0)
    u, v = rng.integers(-4, 5, (8, 3)) / 4, rng.integers(-4, 5, (4, 3)) / 4
    scores = [[sum(Fraction(a) * Fraction(b) for a, b in zip(x, y, strict=True)) for y in v] for x in u]
    flat = list(itertools.chain(*scores))
    mean = sum(flat) / len(flat)
    variance = sum((s - mean) ** 2 for s in flat) / len(flat)
    by_image = [sum(row) / len(row) for row in scores]
    image = sum((r - mean) ** 2 for r in by_image) / len(by_image)
    found = moments(torch.tensor(u), torch.tensor(v), impl="torch")
    assert Fraction(float(found.mean)) == mean
    assert Fraction(float(found.variance)) == variance
    assert Fraction(float(found.image)) == image


def test_shards_merge_exactly() -> None:
    """Bit for bit where nothing rounds, whatever the grouping of the shards."""
    x = torch.randint(-8, 9, (64, 5)).double() / 8
    whole = FeatureMoments.of(x)
    parts = [FeatureMoments.of(p) for p in x.split(16)]
    left = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]))
    chain = parts[3].merge(parts[1]).merge(FeatureMoments.empty(5)).merge(parts[2].merge(parts[0]))
    for merged in (left, chain):
        assert merged.count == 64
        assert torch.equal(merged.mean, whole.mean)
        assert torch.equal(merged.scatter, whole.scatter)


def test_shards_of_any_size_merge_to_rounding(unit) -> None:
    x = unit(1000, 20, torch.float64, spread=0.01)
    whole = FeatureMoments.of(x)
    total = FeatureMoments.empty(20)
    for part in x.split([1, 500, 0, 7, 492]):
        total = total.merge(FeatureMoments.of(part))
    assert float((total.scatter - whole.scatter).abs().max()) <= 1e-13 * float(whole.scatter.abs().max())

    def merge_without_the_means(a: FeatureMoments, b: FeatureMoments) -> torch.Tensor:
        """Mutant: forgets that the shards have different means."""
        return a.scatter + b.scatter

    wrong = merge_without_the_means(FeatureMoments.of(x[:1]), FeatureMoments.of(x[1:]))
    assert float((wrong - whole.scatter).abs().max()) > 1e-6 * float(whole.scatter.abs().max())


def test_running_moments_are_taken_as_they_are() -> None:
    running = blocked.RunningMoments(torch.zeros(2).double())
    running.add(torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
    first = running.moments()
    expected = FeatureMoments.of(torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
    running.add(torch.tensor([[9.0, -4.0]]))
    assert (first.count, running.moments().count) == (2, 3)
    assert torch.equal(first.mean, expected.mean)
    assert torch.equal(first.scatter, expected.scatter)


def test_moments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"FeatureMoments.of: x: shape \(4,\)"):
        FeatureMoments.of(torch.ones(4))
    two, three = FeatureMoments.of(torch.ones(4, 2)), FeatureMoments.of(torch.ones(4, 3))
    with pytest.raises(InputError, match="2 and 3 dimensions"):
        two.merge(three)
    for other in (None, torch.ones(4, 2)):
        with pytest.raises(InputError, match="FeatureMoments of other samples"):
            two.merge(other)
    for other in (three, FeatureMoments.empty(2)):
        for pair in ((two, other), (other, two)):
            with pytest.raises(InputError, match="samples of"):
                blocked.combine(*pair)


def test_symmetric_blocks_equal_the_full_product(unit) -> None:
    x = unit(300, 517)
    upper = blocked._add_gram(torch.ones(517, 517), x).triu()
    assert torch.allclose(upper, (x.T @ x + 1).triu(), rtol=0, atol=1e-5)
    scatter = FeatureMoments.of(x).scatter
    assert torch.equal(scatter, scatter.T)


def test_streams_memory_maps(tmp_path, unit) -> None:
    u, v = unit(700, 40, torch.float16), unit(333, 40, torch.float16)
    paths = []
    for i, part in enumerate(u.split(300)):
        paths.append(tmp_path / f"{i}.npy")
        np.save(paths[-1], part.numpy())
    seen: list[tuple[int, int]] = []
    found = stream_moments(paths, v.numpy(), rows=64, progress=lambda *x: seen.append(x))
    close(found, moments(u, v, impl="naive"), 1e-6)
    assert seen[-1] == (1033, 1033)
    total = shard_moments(paths[0]).merge(shard_moments(paths[1])).merge(shard_moments(paths[2]))
    whole = FeatureMoments.of(u).scatter
    assert float((total.scatter - whole).abs().max()) <= 1e-6 * float(whole.abs().max())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_marginals_are_the_linear_part(tmp_path, unit, dtype) -> None:
    """Two files and shards of two dtypes, at a mean of 0.99 and a tiny variance."""
    u, v = unit(5000, 96, dtype, spread=0.1), unit(2100, 96, dtype, spread=0.1)
    np.save(tmp_path / "u.npy", u[:3000].numpy())
    seen: list[tuple[int, int]] = []
    shards = [tmp_path / "u.npy", u[3000:].double().numpy()]
    found = stream_marginals(shards, v.numpy(), progress=lambda *x: seen.append(x))
    expected = moments(u, v, impl="naive")
    assert float(expected.variance) < 1e-5
    assert abs(float(found.mean - expected.mean)) <= 1e-6
    for name in ("image", "text"):
        rel = 1e-10 if dtype == torch.float64 else 1e-5
        assert abs(float(getattr(found, name) / getattr(expected, name)) - 1) <= rel, name
    assert seen[-1] == (9200, 9200)  # the smaller side is read twice
    swapped = stream_marginals(v.numpy(), shards)
    assert (swapped.mean, swapped.image, swapped.text) == (found.mean, found.text, found.image)


def test_marginals_of_constant_features_are_not_negative() -> None:
    """Rounding leaves -1e-28 where the variance is zero, and a square root would make that NaN."""
    found = stream_marginals(np.full((1000, 3), 0.1, "float32"), np.full((777, 3), 0.3, "float32"))
    assert 0 <= float(found.image) < 1e-24
    assert 0 <= float(found.text) < 1e-24
    # the direction is rounded to float32, which moves all scores alike
    found = stream_marginals(torch.randn(1, 64).expand(1000, 64).numpy(), torch.randn(33, 64).numpy())
    assert float(found.image) < 1e-20


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", "<f4"])
def test_streams_either_byte_order(unit, dtype) -> None:
    u, v = unit(50, 6, torch.float16).numpy(), unit(40, 6, torch.float16).numpy()
    expected = moments(torch.from_numpy(u), torch.from_numpy(v), impl="naive")
    found, marginals = (run(u.astype(dtype), v) for run in (stream_moments, stream_marginals))
    close(found, expected, 1e-6)
    assert abs(float(marginals.image / expected.image) - 1) <= 1e-5


@pytest.mark.parametrize("rows", [0, -1, 2.5, "64", True, None])
def test_blocks_of_no_rows_are_refused(rows) -> None:
    x = np.ones((4, 3), "float32")
    for call in (lambda: stream_moments(x, x, rows=rows), lambda: shard_moments(x, rows=rows)):
        with pytest.raises(InputError, match="at least 1") as error:
            call()
        assert f"rows={rows!r}" in str(error.value)


def test_any_block_size_gives_the_same(unit) -> None:
    u = unit(50, 6, torch.float64).numpy()
    expected = stream_moments(u, u)
    for rows in (1, 7, np.int64(50), 10**9):
        close(stream_moments(u, u, rows=rows), expected, 1e-13)


def test_what_does_not_fit_is_refused_before_it_is_read(unit) -> None:
    seen: list[tuple[int, int]] = []
    u = unit(40, 6).numpy()
    for v, word in ((u[:, :5], "(40, 5)"), (u[:0], "(0, 6)")):
        with pytest.raises(InputError, match="same width") as error:
            stream_moments(u, v, progress=lambda *x: seen.append(x))
        assert word in str(error.value)
    assert not seen


def test_marginals_explain_bad_input() -> None:
    good, bad = np.ones((4, 3), "float32"), np.ones((5000, 3), "float16")
    bad[4321, 1] = np.nan
    for u, v, word in [(bad, good, "row 4321"), (good, np.ones((4, 2)), "(4, 2)"), (good[:0], good, "(0, 3)")]:
        with pytest.raises(InputError, match="expected") as error:
            stream_marginals(u, v)
        assert word in str(error.value)


def test_files_are_mapped_and_not_read(tmp_path) -> None:
    np.save(tmp_path / "u.npy", np.ones((4, 3), "float16"))
    ((_, array),) = streaming._open_all("u", tmp_path / "u.npy")
    assert isinstance(array, np.memmap)


def test_files_may_be_larger_than_memory(tmp_path) -> None:
    """A mapping that may be written counts as memory, and the system refuses what it has not got."""
    with (tmp_path / "u.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": (2**29, 1024)})
        file.truncate(file.tell() + 2**40)  # a terabyte of holes
    ((_, array),) = streaming._open_all("u", tmp_path / "u.npy")
    assert array.shape == (2**29, 1024)
    assert not array.flags.writeable


@pytest.mark.parametrize("run", [stream_moments, stream_marginals])
def test_arrays_that_torch_does_not_take(tmp_path, unit, run) -> None:
    """Read-only, backwards, inside records, without columns: as a copy, or as they lie; nothing is written."""
    x, v = unit(60, 6).numpy(), unit(40, 6).numpy()
    np.save(tmp_path / "u.npy", x)
    before = (tmp_path / "u.npy").read_bytes()
    locked, records = x.copy(), np.zeros(60, [("label", "i1"), ("row", "f4", (6,))])
    locked.flags.writeable, records["row"] = False, x
    backwards = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    expected = run(x, v)
    for u in (tmp_path / "u.npy", np.load(tmp_path / "u.npy", mmap_mode="r"), locked, records["row"], backwards):
        assert [float(part) for part in run(u, v)] == pytest.approx([float(part) for part in expected], rel=1e-12)
    assert (tmp_path / "u.npy").read_bytes() == before
    assert not any(float(part) for part in run(x[:, :0], v[:, :0]))


def test_streaming_holds_two_blocks_only(unit, largest) -> None:
    """The largest tensor is a block or a d x d matrix, not the data."""
    u = unit(4096, 16).numpy()
    with largest:
        stream_moments(u, u, rows=256)
    assert 0 < largest.numel <= 256 * 16


def test_gradients() -> None:
    u = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    v = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: tuple(moments(a, b, impl="torch")), (u, v))


def test_gradient_reaches_every_block(monkeypatch) -> None:
    monkeypatch.setattr(blocked, "BLOCK_ROWS", 8)
    monkeypatch.setattr(blocked, "PIECE_BYTES", 4 * 300 * 8)  # four rows
    u = torch.randn(10, 300, dtype=torch.float64, requires_grad=True)
    v = torch.randn(7, 300, dtype=torch.float64)
    (blocked_grad,) = torch.autograd.grad(moments(u, v, impl="torch").variance, u)
    (naive_grad,) = torch.autograd.grad(moments(u, v, impl="naive").variance, u)
    assert torch.allclose(blocked_grad, naive_grad, rtol=1e-10)


def test_few_samples_of_many_dimensions_take_the_matrix(unit, largest) -> None:
    u = unit(3, 200)
    with largest:
        moments(u, u)
    assert largest.numel <= 3 * 200  # never the 200 x 200 covariance
    for n, widest in ((30, 30 * 30), (50, 50 * 20)):  # 900 < 60 * 20 pairs, but 2500 > 100 * 20
        with type(largest)() as seen:
            moments(unit(n, 20), unit(n, 20))
        assert seen.numel == widest


def test_non_contiguous(unit) -> None:
    u = unit(40, 130)
    close(moments(u.T.contiguous().T[::2], u[1::2], impl="torch"), moments(u[::2], u[1::2], impl="naive"), 1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.ones(3), torch.ones(3)), ("(3,)", "2 axes")),
        ((torch.ones(3, 4), torch.ones(3, 5)), ("(3, 4)", "(3, 5)")),
        ((torch.ones(3, 4), torch.ones(3, 4).double()), ("float32", "float64")),
        ((torch.ones(3, 4).long(), torch.ones(3, 4).long()), ("int64",)),
        ((torch.ones(0, 4), torch.ones(3, 4)), ("(0, 4)", "at least one sample")),
        ((torch.full((3, 4), torch.nan), torch.ones(3, 4)), ("12 NaN", "(0, 0)")),
        ((torch.ones(3, 4), torch.tensor([[0.0, 1.0], [torch.nan, torch.inf]]).repeat(1, 2)), ("4 NaN", "(1, 0)")),
        ((torch.ones(3, 4), torch.ones(0, 4)), ("v: shape (0, 4)", "at least one sample")),
    ],
)
def test_bad_input_is_explained(arguments, words) -> None:
    with pytest.raises(InputError) as error:
        moments(*arguments)
    assert all(word in str(error.value) for word in (*words, "expected", "likely cause", "fix"))


def test_bad_files_are_explained(tmp_path) -> None:
    good = np.ones((4, 3), "float32")
    bad = good.copy()
    bad[2, 1] = np.inf
    torn, objects = tmp_path / "torn.npy", tmp_path / "objects.npy"
    torn.write_bytes(b"\x93NUMPY")
    np.save(objects, np.array([[{}]], dtype=object), allow_pickle=True)
    (tmp_path / "p.npy").write_bytes(pickle.dumps(good))
    for source, word in [
        (tmp_path / "none.npy", "no such file"),
        (torn, "torn.npy"),
        (objects, "objects.npy"),
        (tmp_path / "p.npy", "p.npy"),
        (bad, "u: row 2 "),
        ([good, bad], "u[1]: row 2 "),
        (
            np.full((4000, 3), 3e38, "float32") * (-1.0) ** np.arange(4000, dtype="float32")[:, None],
            "rows 0 to 3999 overflows torch.float32",
        ),
        (good[0], "u: shape (3,)"),
        (good.astype(np.longdouble), str(np.dtype(np.longdouble))),
        (torch.ones(4, 3).bfloat16(), "u: shape (4, 3), torch.bfloat16"),
        (None, "u: NoneType"),
        ([good, np.ones((4, 2))], "(4, 2)"),
        ([], "at least one shard"),
        (np.ones((4, 3), int), "int64"),
    ]:
        with pytest.raises(InputError, match="expected") as error:
            stream_moments(source, good)
        assert word in str(error.value)
    with pytest.raises(InputError, match="impl='cuda'"):
        moments(torch.ones(2, 2), torch.ones(2, 2), impl="cuda")
    with pytest.raises(InputError, match="two matrix products"):
        moments(torch.ones(2, 2), torch.ones(2, 2), impl="triton")
