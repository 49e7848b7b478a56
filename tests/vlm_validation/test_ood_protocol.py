"""E5 and E6 on features small enough to check by hand, and the bounds on real ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import ood_protocol as protocol
from crossmodal.vlm_validation.features import Features


def two_environments() -> Features:
    """Environment 0 around e1, environment 1 around e2, with one image of 1 that looks like 0."""
    s = np.sqrt(0.5)
    image = np.array([[1, 0], [1, 0], [s, s], [0, 1], [0, 1], [1, 0]])
    text = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1.0]])
    return Features(image=image, text=text, environment=np.repeat([0, 1], 3), label=np.repeat([0, 1], 3))


def test_pairwise_by_hand() -> None:
    table = protocol.pairwise_ood(two_environments())
    first, second = table.pairs
    assert (first.inside, first.outside, second.inside) == (0, 1, 1)
    # concept e1: in 1, 1, .71 against out 0, 0, 1: won 2.5 + 2.5 + 2 of 9
    assert first.concept.auroc == pytest.approx(7 / 9)
    # one class an environment: MCM is constant, which tells nothing apart
    assert first.mcm.auroc == 0.5
    # Con_IT(outside, inside) = mean of <u, e1> over environment 1
    assert first.con_IT == pytest.approx(1 / 3)
    gap = (2 + np.sqrt(0.5)) / 3 - 1 / 3
    variance = np.var([1, 1, np.sqrt(0.5)]) + np.var([0, 0, 1])
    assert first.bound_D1 == pytest.approx(gap**2 / (gap**2 + variance))
    own = ((2 + np.sqrt(0.5)) / 3) ** 2
    assert first.bound_D2 == pytest.approx(gap**2 / (gap**2 + 2 - own - 1 / 9))
    assert "no prompts" in table.prompts
    # the other way round: concept e2, in 1, 1, 0 against out 0, 0, .71: won 3 + 3 + 1 of 9
    assert table.mean_auroc == pytest.approx({"MCM": 0.5, "concept": 7 / 9})


def test_concepts_without_prompts_by_hand() -> None:
    """Class 0 has two captions, class 1 none, class 2 one in either environment."""
    text = np.array([[1, 0], [0, 1], [-0.6, 0.8], [0, 1]])
    features = Features(image=text, text=text, environment=np.array([0, 0, 1, 1]), label=np.array([0, 2, 0, 2]))
    vectors, origin = protocol.concept_vectors(features)
    unit = [[1 / 5**0.5, 2 / 5**0.5], [0, 0], [0, 1]]  # of (0.4, 0.8), none, (0, 2)
    np.testing.assert_allclose(vectors, unit, atol=1e-7)
    assert "no prompts" in origin


def test_prompts_are_used_and_named(features: Features) -> None:
    with_prompts = replace(features, prompts=features.text[::3], metadata={"template": "a {}"})
    table = protocol.pairwise_ood(with_prompts)
    assert "template 'a {}'" in table.prompts
    assert table.pairs[0].mcm.score["temperature"] == 1.0
    without = protocol.pairwise_ood(features)
    assert [p.mcm.auroc for p in without.pairs] != [p.mcm.auroc for p in table.pairs]
    assert [p.concept.auroc for p in without.pairs] == [p.concept.auroc for p in table.pairs]


def test_bounds_hold_and_reversed_means_bound_nothing(features: Features) -> None:
    for pair in protocol.pairwise_ood(features).pairs:
        assert pair.bound_D2 <= pair.bound_D1 + 1e-12
        assert pair.bound_D1 <= pair.concept.auroc
    assert protocol.lower_bound("D1", "cantelli", D=-0.5, V_in=0.1, V_out=0.1) == 0
    assert protocol.lower_bound("D2", "separation", D=0.0, Con_IT_tt=0.5, Con_IT_st=0.5, Con_TT_tt=1.0) == 0


def test_rounding_correlates_with_nothing() -> None:
    same = np.array([0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3])
    assert np.isnan(protocol.pearson(same, [1.0, 2.0, 3.0, 4.0]))
    assert np.isnan(protocol.pearson([1.0, 2.0, 3.0, 4.0], same))
    assert np.isnan(protocol.pearson(np.zeros(4), np.arange(4)))
    assert protocol.pearson([1.0, 2.0], [5.0, 3.0]) == pytest.approx(-1)
    assert protocol.pearson(1e-9 * np.arange(4), np.arange(4)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("pairs", "draws", "auroc", "bound", "within"),
    [(20, 100, 0.77, 0.36, 0.13), (100, 40, 0.56, 0.03, 0.66), (500, 10, 0.51, 0, 0.9)],
)
def test_an_own_caption_lifts_the_concept_score_as_told(
    pairs: int, draws: int, auroc: float, bound: float, within: float
) -> None:
    found, held = [], []
    for seed in range(draws):
        parts = np.random.default_rng([pairs, seed]).standard_normal((3, 2 * pairs, 512))
        both, image, text = parts / np.linalg.norm(parts, axis=2, keepdims=True)
        both[:, 0] += 1
        sides = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (both + image, both + text)]
        features = Features(*sides, environment=np.repeat([0, 1], pairs), label=np.zeros(2 * pairs, dtype=int))
        found += [(p.concept.auroc, p.bound_D1) for p in protocol.pairwise_ood(features).pairs]
        held += [p.concept.auroc_interval[0] <= 0.5 for p in protocol.pairwise_ood(features).pairs]
    assert np.mean(found, axis=0) == pytest.approx([auroc, bound], abs=0.012)
    assert np.mean(held) == pytest.approx(within, abs=0.12), "that of other images is about 1/2"


@pytest.mark.parametrize("pairs", [20, 100])
def test_an_own_caption_is_left_out_of_the_concepts_of_mcm(pairs: int) -> None:
    """Environments of one law are told apart by nothing; with own captions the mean AUROC is 0.95 and 0.73."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng([pairs, seed])
        both, image, text = rng.standard_normal((3, 2 * pairs, 512)) / 512**0.5
        both[:, 0] += 1
        sides = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (both + image, both + text)]
        environment = np.repeat([0, 1], pairs)
        features = Features(*sides, environment=environment, label=3 * environment + rng.integers(3, size=2 * pairs))
        found += [p.mcm.auroc for p in protocol.pairwise_ood(features).pairs]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_left_out_by_hand() -> None:
    """Class 0: each image meets the other's caption alone; class 1 has one caption, which stays."""
    s = np.sqrt(0.5)
    image = np.array([[1, 0], [0, 1], [s, s], [s, s]])
    text = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 1]])
    features = Features(image=image, text=text, environment=np.array([0, 0, 1, 1]), label=np.array([0, 0, 1, 2]))
    both = np.array([1.6, 0.8]) / np.hypot(1.6, 0.8)
    vectors, origin = protocol.concept_vectors(features)
    expected = np.array([[0.6, 0, 0], [0, 1, 1], [s * both.sum(), s, s], [s * both.sum(), s, s]])
    for rows, classes in (([0, 1, 2, 3], [0, 1, 2]), ([3, 1], [0, 2]), ([0, 2], [1])):
        found = protocol.concept_cosines(features, vectors, np.array(rows), np.array(classes))
        np.testing.assert_allclose(found, expected[np.ix_(rows, classes)], atol=1e-7)
    assert "left out" in origin


def test_what_is_left_of_a_class_has_unit_length_or_none() -> None:
    """Without an image's own caption the rest is shorter than one, longer, or cancels."""
    text = np.array([[1, 0], [-0.6, 0.8], [-0.6, -0.8], [1, 0], [0, 1], [0, -1]])
    image, label = np.tile([1.0, 0.0], (6, 1)), np.repeat([0, 1], 3)
    features = Features(image=image, text=text, environment=label, label=label)
    found = protocol.concept_cosines(features, protocol.concept_vectors(features)[0], np.arange(6))
    s = np.sqrt(0.5)  # class 0: -(1.2, 0), (0.4, -0.8), (0.4, 0.8); class 1: nothing, (1, -1), (1, 1)
    np.testing.assert_allclose(found[np.arange(6), label], [-1, 1 / 5**0.5, 1 / 5**0.5, 0, s, s], atol=1e-7)


@pytest.mark.parametrize("d", [3, 17, 512])
def test_equal_images_tie(d: int) -> None:
    """Nothing tells them apart: neither the place of a row nor how many there are, and no bound says that something does."""
    rng = np.random.default_rng(d)
    for counts in ((5, 3), (37, 11), (64, 2)):
        count = sum(counts)
        image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, count, d)))
        label = np.concatenate([np.arange(counts[0]) % 7, np.arange(counts[1]) % 2])
        image[:] = image[0]
        environment = np.repeat(
            [0, 1], counts
        )  # prompts, for a concept that leaves an image's caption out is another for every image
        features = Features(
            image=image, text=text, environment=environment, label=label, prompts=text[: label.max() + 1]
        )
        for temperature in (1.0, 0.05, 0.01):
            pairs = protocol.pairwise_ood(features, temperature=temperature).pairs
            assert [(p.mcm.auroc, p.concept.auroc) for p in pairs] == [(0.5, 0.5)] * 2
            assert all(p.bound_D1 <= 0.5 and p.bound_D2 <= 0.5 for p in pairs)
            assert protocol.cumulative_ood(features, [0, 1], temperature=temperature)[0].auroc == 0.5


def test_cumulative_by_hand() -> None:
    s = np.sqrt(0.5)
    image = np.array([[1, 0], [s, s], [0, 1], [0, 1], [s, -s], [s, -s]])
    prompts = np.array([[1, 0], [0, 1], [s, -s]])
    features = Features(
        image=image, text=image, environment=np.repeat([0, 1, 2], 2), label=np.repeat([0, 1, 2], 2), prompts=prompts
    )
    reports = protocol.cumulative_ood(features, (1, 0, 2))
    assert [(r.n_in, r.n_out) for r in reports] == [(2, 4), (4, 2)]
    assert reports[0].auroc == 0.5  # one class seen
    # classes e1, e2: margins |<u,e1> - <u,e2>| are 1, 0, 1, 1 inside and 1.41, 1.41 outside
    assert reports[1].auroc == 0
    assert [r.score["temperature"] for r in reports] == [1.0, 1.0], "as the original, and as `pairwise_ood`"


def test_single_environment_is_refused(features: Features) -> None:
    single = features.select(features.environment == 0)
    with pytest.raises(InputError, match="two environments"):
        protocol.pairwise_ood(single)
    with pytest.raises(InputError, match="left to come"):
        protocol.cumulative_ood(single, (0,))


@pytest.mark.realdata
def test_real_ood_goes_against_contribution(coco500: Features) -> None:
    """P9 on real features: the lower Con_IT, the better the separation; and the bounds hold, D2 by a wide margin."""
    table = protocol.pairwise_ood(coco500)
    assert table.pearson_concept < -0.3
    assert table.mean_auroc["concept"] > 0.8
    for pair in table.pairs:
        assert pair.bound_D2 <= pair.bound_D1 + 1e-12
        assert pair.bound_D1 <= pair.concept.auroc


FIVE = np.array([(s, t) for s in range(5) for t in range(5) if s != t])


def unrelated(rng: np.random.Generator, effects: float, noise: float) -> np.ndarray:
    """(20,) values of the pairs of five environments, each environment with an effect of its own in either role."""
    s, t = FIVE.T
    return effects * (rng.normal(size=5)[s] + rng.normal(size=5)[t]) + noise * rng.normal(size=20)


@pytest.mark.parametrize(("effects", "noise"), [(1.0, 0.3), (0.0, 1.0)], ids=["environments", "pairs alone"])
def test_correlations_of_pairs_that_share_environments(effects: float, noise: float) -> None:
    """No relation, but effects of environments: an interval for independent pairs excludes 0 in over a quarter of the draws."""
    rng, draws = np.random.default_rng(0), 600
    missed, naive = 0, 0
    for _ in range(draws):
        x, y = unrelated(rng, effects, noise), unrelated(rng, effects, noise)
        low, high = protocol.pearson_interval(x, y, FIVE, 0.95)
        missed += not low <= 0 <= high
        naive += abs(np.arctanh(protocol.pearson(x, y))) > 1.96 / np.sqrt(20 - 3)
    assert missed <= 0.05 * draws + 4 * np.sqrt(0.05 * 0.95 * draws)
    assert (naive > 0.2 * draws) == (effects > 0), "the check can fail"


def test_a_relation_is_found_and_a_perfect_one_is_a_point() -> None:
    rng = np.random.default_rng(1)
    x = unrelated(rng, 1.0, 0.3)
    low, high = protocol.pearson_interval(x, x + 0.1 * rng.normal(size=20), FIVE, 0.95)
    assert 0 < low < high < 1
    assert protocol.pearson_interval(x, -3 * x, FIVE, 0.95) == pytest.approx((-1, -1))


def test_interval_of_a_correlation_by_hand() -> None:
    from scipy.stats import t

    rng = np.random.default_rng(2)
    x, y = unrelated(rng, 1.0, 0.3), unrelated(rng, 1.0, 0.3)
    z = [np.arctanh(np.corrcoef(x[k], y[k])[0, 1]) for k in [slice(None), *((FIVE != g).all(axis=1) for g in range(5))]]
    half = t.ppf(0.95, 4) * np.sqrt(4 / 5 * sum((other - z[0]) ** 2 for other in z[1:]))
    assert protocol.pearson_interval(x, y, FIVE, 0.9) == pytest.approx((np.tanh(z[0] - half), np.tanh(z[0] + half)))
    four = (FIVE < 4).all(axis=1)
    assert np.isfinite(protocol.pearson_interval(x[four], y[four], FIVE[four], 0.9)).all(), "four are enough"


def test_no_interval_where_there_is_none() -> None:
    three = FIVE[(FIVE < 3).all(axis=1)]
    x = np.random.default_rng(3).normal(size=20)
    assert np.isnan(protocol.pearson_interval(x[:6], x[6:12], three, 0.95)).all(), (
        "two of three environments are one pair"
    )
    assert np.isnan(protocol.pearson_interval(x[:2], x[2:4], FIVE[[0, 4]], 0.95)).all(), "without one of two, no pair"
    saturated = np.where((FIVE == 0).any(axis=1), x, 1.0)  # constant where environment 0 is left out
    assert np.isnan(protocol.pearson_interval(x, saturated, FIVE, 0.95)).all()
