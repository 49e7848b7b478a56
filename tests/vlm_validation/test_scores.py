"""Scores against a brute-force oracle over all pairs, their intervals against simulation, and the figure."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from crossmodal.theory.claims.s7_finite_samples import half_width, sample_size
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.features import Features
from crossmodal.vlm_validation.score_figure import draw_scores
from crossmodal.vlm_validation.scores import Scores, estimate_scores, score_matrices

from .conftest import make_arrays, unit


def mcdiarmid(n_s: int, n_t: int, delta: float) -> float:
    """Claim S7 solved for e, written independently of the theory's code."""
    return math.sqrt(2 * (1 / n_s + 1 / n_t) * math.log(2 / delta))


def scores_of(features: Features, **options: object) -> Scores:
    return estimate_scores(features, half_width=mcdiarmid, **options)  # type: ignore[arg-type]


def pairwise(features: Features, a: str, b: str, s: int, t: int) -> np.ndarray:
    side = {"I": features.image.astype(np.float64), "T": features.text.astype(np.float64)}
    return side[a][features.rows(s)] @ side[b][features.rows(t)].T


@pytest.mark.parametrize("delta", [0.3, 0.05, 1e-6])
@pytest.mark.parametrize("width", [2.0, 0.5, 0.1, 0.003])
def test_the_least_number_of_samples(width: float, delta: float) -> None:
    """One sample less would not do, and it is what McDiarmid's inequality solves to: n >= 4 log(2 / delta) / width^2."""
    n = sample_size(width, delta)
    assert half_width(n, n, delta) <= width
    assert n == 1 or half_width(n - 1, n - 1, delta) > width
    assert n == max(1, math.ceil(4 * math.log(2 / delta) / width**2))
    for wrong in (0.0, -1.0, math.inf, math.nan, 1e-200):
        with pytest.raises(InputError, match="half-width"):
            sample_size(wrong, delta)
    assert sample_size(1e200, delta) == 1


def test_intervals_that_hold_together_share_the_level() -> None:
    """Three environments: 6 + 6 + 9 distinct scores and 3 alignments."""
    features = Features(**make_arrays())
    assert scores_of(features, delta=0.06).delta_each == 0.06
    together = scores_of(features, delta=0.06, simultaneous=True)
    assert together.delta_each == pytest.approx(0.06 / 24)
    assert together.half_width["IT"][0, 1] == pytest.approx(mcdiarmid(6, 6, 0.06 / 24))


@pytest.mark.parametrize("key", ["II", "IT", "TI", "TT"])
def test_scores_equal_the_average_over_all_pairs(key: str) -> None:
    arrays = make_arrays()
    keep = np.delete(np.arange(18), [7, 13, 14])  # environments of different size
    features = Features(**{name: array[keep] for name, array in arrays.items()})
    scores = scores_of(features)
    assert scores.counts.tolist() == [6, 5, 4]
    for s in range(3):
        for t in range(3):
            pairs = pairwise(features, *key, s, t)
            for con in (scores.con, score_matrices(features)):
                assert con[key][s, t] == pytest.approx(pairs.mean(), abs=1e-14)
            if key == "IT":
                assert scores.cosine_variance[s, t].sum() == pytest.approx(pairs.var(), abs=1e-14)
        own = pairwise(features, *key, s, s)
        different = own[~np.eye(len(own), dtype=bool)]
        assert scores.con_within[key][s] == pytest.approx(different.mean(), abs=1e-14)
        if key == "IT":
            assert scores.clv[s] == pytest.approx(np.diag(own).mean(), abs=1e-14)
    off = scores.con[key][~np.eye(3, dtype=bool)]
    assert scores.dispersion[key] == pytest.approx(np.std(off))


def test_variance_parts_are_what_they_are_called(features: Features) -> None:
    rng = np.random.default_rng(1)
    constant = np.repeat(unit(rng, 1, 5), 18, axis=0)
    moving = unit(rng, 18, 5)
    ids = {"environment": features.environment, "label": features.label}
    only_image = scores_of(Features(image=moving, text=constant, **ids)).cosine_variance
    only_text = scores_of(Features(image=constant, text=moving, **ids)).cosine_variance
    assert (only_image[..., 0] > 1e-3).all()
    np.testing.assert_allclose(only_image[..., 1:], 0, atol=1e-14)
    assert (only_text[..., 1] > 1e-3).all()
    np.testing.assert_allclose(only_text[..., [0, 2]], 0, atol=1e-14)


def test_symmetries(features: Features) -> None:
    scores = scores_of(features)
    np.testing.assert_allclose(scores.con["IT"], scores.con["TI"].T, atol=1e-15)
    assert scores.sigma_I == pytest.approx(scores.sigma_T)
    blocks = np.block([[scores.con["II"], scores.con["IT"]], [scores.con["TI"], scores.con["TT"]]])
    assert np.linalg.eigvalsh(blocks).min() > -1e-12
    np.testing.assert_array_equal(scores.half_width["II"], scores.half_width["II"].T)


def population(seed: int, n: int) -> tuple[Features, dict[str, np.ndarray], np.ndarray]:
    """Samples of two finite populations whose scores are known exactly."""
    pool = make_arrays(seed=3, per_environment=40, environments=2, d=3)
    truth = Features(**pool)
    exact = {key: np.array([[pairwise(truth, *key, s, t).mean() for t in range(2)] for s in range(2)])
             for key in ("II", "IT", "TI", "TT")}  # fmt: skip
    clv = np.array([np.diag(pairwise(truth, "I", "T", s, s)).mean() for s in range(2)])
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.choice(truth.rows(k), n) for k in range(2)])  # with replacement: independent draws
    return Features(**{name: array[rows] for name, array in pool.items()}), exact, clv


def test_intervals_cover_and_u_statistics_are_unbiased() -> None:
    trials, n = 300, 12
    misses = {"normal": 0, "free": 0, "clv": 0}
    total = {"u": np.zeros(2), "v": np.zeros(2)}
    for seed in range(trials):
        sample, exact, clv = population(seed, n)
        scores = scores_of(sample, delta=0.1)
        error = abs(scores.con["IT"][0, 1] - exact["IT"][0, 1])
        misses["normal"] += bool(error > 1.96 * scores.standard_error["IT"][0, 1])
        misses["clv"] += bool(abs(scores.clv[0] - clv[0]) > 1.96 * scores.clv_standard_error[0])
        misses["free"] += bool(error > scores.half_width["IT"][0, 1])
        misses["free"] += bool(abs(scores.con_within["IT"][0] - exact["IT"][0, 0]) > scores.half_width["IT"][0, 0])
        total["u"] += scores.con_within["II"] - np.diag(exact["II"])
        total["v"] += np.diag(scores.con["II"]) - np.diag(exact["II"])
    assert misses["free"] == 0
    # 5 % nominal of 300; 12 samples only, so somewhat more; both bounds are far from what a wrong factor sqrt(2) gives
    assert 3 <= misses["normal"] <= 45
    assert 3 <= misses["clv"] <= 45
    spread = np.abs(total["v"] / trials).max()
    assert np.abs(total["u"] / trials).max() < spread / 3, "the V-statistic is biased, the U-statistic is not"


def test_shown_intervals_cover_within_environments() -> None:
    """Images in a cone, whose meeting with themselves outweighs the standard error.  Mutant: `con` on the diagonal."""
    rng, n, trials = np.random.default_rng(0), 60, 100
    environment = np.repeat([0, 1], n)
    covered = {"shown": 0, "con": 0}
    for _ in range(trials):
        along = rng.uniform(0.67, 0.73, (2 * n, 1))  # of the axis of the cone; the rest points anywhere
        image = np.hstack([along, np.sqrt(1 - along**2) * unit(rng, 2 * n, 95)])
        scores = scores_of(Features(image=image, text=image, environment=environment, label=environment))
        reach = 1.96 * scores.standard_error["II"][0, 0]
        for name, found in (("shown", scores.unbiased["II"]), ("con", scores.con["II"])):
            covered[name] += bool(abs(found[0, 0] - 0.7**2) <= reach)
            assert found[0, 1] == scores.con["II"][0, 1]
    assert covered["shown"] >= 0.87 * trials  # 95 %, less four standard errors
    assert covered["con"] < 0.6 * trials


def test_standard_errors_against_the_samples(features: Features) -> None:
    """CLV: the sample deviation over root n.  Between environments: S1 with sums over samples."""
    scores = scores_of(features)
    for k in range(3):
        cosines = np.diag(pairwise(features, "I", "T", k, k))
        assert scores.clv_standard_error[k] == pytest.approx(cosines.std(ddof=1) / math.sqrt(6), rel=1e-12)
    for key in ("II", "IT", "TI", "TT"):
        z = pairwise(features, *key, 0, 2)
        rows, columns = z.mean(axis=1), z.mean(axis=0)
        rest = z - rows[:, None] - columns + z.mean()
        expected = rows.var() / 6 + columns.var() / 6 + rest.var() / 36
        assert scores.standard_error[key][0, 2] == pytest.approx(math.sqrt(expected), rel=1e-10)
        own = pairwise(features, *key, 1, 1)
        assert scores.standard_error[key][1, 1] ** 2 == pytest.approx((own.mean(0) + own.mean(1)).var() / 6, rel=1e-10)


def test_within_environment_error_keeps_matched_pairs_together() -> None:
    """If texts equal images, Con_IT(s,s) moves twice as far as two independent samples would let it."""
    rng = np.random.default_rng(0)
    image = unit(rng, 400, 3) + np.float32([2, 0, 0])
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    environment = np.repeat([0, 1], 200)
    scores = scores_of(Features(image=image, text=image.copy(), environment=environment, label=environment))
    within, between = scores.standard_error["IT"][0, 0], scores.standard_error["IT"][0, 1]
    assert within / between == pytest.approx(math.sqrt(2), rel=0.15)


def test_half_widths_are_mcdiarmids(features: Features) -> None:
    """Bounded differences worked out by hand: 2/n per image, 2/n per text; 4/n per pair within; 2/n per pair in CLV."""
    default = estimate_scores(features, delta=0.05)
    n = 6
    for squares, width in (
        (2 * n * (2 / n) ** 2, default.half_width["IT"][0, 1]),
        (n * (4 / n) ** 2, default.half_width["IT"][1, 1]),
        (n * (2 / n) ** 2, default.clv_half_width[2]),
    ):
        assert 2 * math.exp(-2 * width**2 / squares) == pytest.approx(0.05, rel=1e-12)
    # the widest is on a diagonal, as the figure's heading takes it
    assert default.half_width["IT"][1, 1] / default.half_width["IT"][0, 1] == pytest.approx(math.sqrt(2))


def test_half_widths_use_the_injected_formula(features: Features) -> None:
    calls: list[tuple[int, int, float]] = []

    def spy(n_s: int, n_t: int, delta: float) -> float:
        calls.append((n_s, n_t, delta))
        return n_s + 100 * n_t

    scores = estimate_scores(features, delta=0.1, half_width=spy)
    assert scores.half_width["IT"][0, 1] == 606
    assert scores.half_width["IT"][1, 1] == 2 * 1212
    assert scores.clv_half_width.tolist() == [1212] * 3
    assert {delta for *_, delta in calls} == {0.1}
    calls.clear()
    estimate_scores(features, delta=0.1, simultaneous=True, half_width=spy)
    assert {delta for *_, delta in calls} == {0.1 / (6 + 6 + 9 + 3)}


@pytest.mark.parametrize("delta", [0, 1, -0.1, 2])
def test_delta_out_of_range(features: Features, delta: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        scores_of(features, delta=delta)


def test_single_environment_has_scores_but_no_dispersion(features: Features) -> None:
    scores = scores_of(features.select(features.environment == 1))
    assert scores.con["IT"].shape == (1, 1)
    assert math.isnan(scores.sigma_I)
    assert json.loads(scores.to_json())["dispersion"]["IT"] is None


def test_json_is_complete_and_reproducible(features: Features) -> None:
    text = scores_of(features).to_json()
    assert text == scores_of(features).to_json()
    plain = json.loads(text)
    np.testing.assert_array_equal(plain["con"]["TI"], scores_of(features).con["TI"])
    assert plain["provenance"]["features"] == features.content_hash()
    assert plain["estimator"]["con"].startswith("V-statistic")
    assert plain["dispersion"] == scores_of(features).dispersion
    assert (plain["delta"], plain["simultaneous"]) == (0.05, False), "one interval at a time, as the signature says"


def test_figure_shows_every_number(features: Features) -> None:
    scores = scores_of(features)
    figure = draw_scores(scores)
    panels = figure.axes[:4]
    for key, axes in zip(("II", "IT", "TI", "TT"), panels, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), scores.unbiased[key])
        texts = [text.get_text() for text in axes.texts]
        assert texts[0] == f"{scores.con_within[key][0]:.3f}"
        assert texts[2] == f"{scores.con[key][0, 1]:.3f}"
        assert texts[1] == f"±{1.96 * scores.standard_error[key][0, 0]:.3f}"
        assert len(texts) == 18
    assert panels[0].images[0].norm.vmax == panels[3].images[0].norm.vmax
    labels = [label.get_text() for label in panels[2].get_xticklabels()]
    assert labels == list(scores.names)
    figure.draw_without_rendering()  # layout warnings are errors here
    draw_scores(scores, width=3.4).draw_without_rendering()


def test_figure_of_many_environments_drops_the_numbers() -> None:
    scores = scores_of(Features(**make_arrays(environments=10)))
    assert not draw_scores(scores).axes[0].texts


@pytest.mark.realdata
def test_real_scores(coco500: Features) -> None:
    """The figures that came with the file, by way of the environments instead of over all pairs."""
    scores = scores_of(coco500)
    weight = scores.counts / scores.counts.sum()
    assert weight @ scores.clv == pytest.approx(0.310, abs=5e-4)
    for key, published in (("IT", 0.162), ("II", 0.532), ("TT", 0.516)):
        assert weight @ scores.con[key] @ weight == pytest.approx(published, abs=5e-4)
