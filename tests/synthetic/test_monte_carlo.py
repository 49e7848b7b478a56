"""Expectations by simulation: the claims' constants stand, constants a little off are rejected, at the power planned for."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Literal

import numpy as np
import pytest
import torch
from crossmodal.synthetic import monte_carlo as mc
from crossmodal.theory.claims.g1_generalisation import rates
from crossmodal.theory.errors import InputError
from scipy.stats import binom

STUDIES = mc.studies()
QUICK = [s for s in STUDIES if s.claim in ("G1", "G2", "D1")]


@pytest.mark.parametrize("study", STUDIES, ids=[f"{s.claim}-{k}" for k, s in enumerate(STUDIES)])
def test_the_claim_stands_and_a_wrong_constant_falls(study: mc.Study) -> None:
    samples = mc.plan(study, power=0.999)
    assert not mc.run(study, samples, level=0.001).rejected
    assert mc.run(study, samples, study.wrong, level=0.01).rejected
    if study.op == "==":
        assert mc.run(study, samples, 2 - study.wrong, level=0.01).rejected  # two percent too small


@pytest.mark.parametrize("study", [QUICK[0], QUICK[3], QUICK[5]], ids=["G1", "G2", "D1"])
def test_power_and_level_are_as_planned(study: mc.Study) -> None:
    """Over forty seeds: rejections of the wrong constant at the power, of the true one at the level (both within 1 in 10^4 of chance)."""
    samples = mc.plan(study, power=0.9, level=0.05)
    wrong = sum(mc.run(study, samples, study.wrong, seed, 0.05).rejected for seed in range(40))
    true = sum(mc.run(study, samples, 1.0, seed, 0.05).rejected for seed in range(40))
    assert wrong >= binom.ppf(1e-4, 40, 0.9)
    assert true <= binom.ppf(1 - 1e-4, 40, 0.05)


def power_of(study: mc.Study, samples: int, mean: float, level: float) -> float:
    """The oracle: exact power of the one-sided binomial test of the wrong constant, from the distribution of the hits."""
    wrong = study.reference(study.wrong)
    if study.op == ">=":
        return float(binom.cdf(binom.ppf(level, samples, wrong) - 1, samples, mean))
    return float(binom.sf(binom.isf(level, samples, wrong), samples, mean))


@pytest.mark.parametrize(("number", "mean"), [(5, 0.5), (6, 0.25), (7, None)])
def test_power_is_as_planned_whatever_the_pilot(number: int, mean: float | None) -> None:
    """What a pilot sees of the mean of a bound is uncertain: the size must allow for that, but not waste draws."""
    study = STUDIES[number]
    if mean is None:
        width = study.wrong * mc.half_width(100, 10**15, 0.05)
        mean = 2 * float(binom.sf(math.ceil(50 * (1 + width)) - 1, 100, 0.5))
    distance = abs(study.reference(study.wrong) - mean)
    enough = 1.1 * (NormalDist().inv_cdf(0.99) + NormalDist().inv_cdf(0.95)) ** 2 * mean * (1 - mean) / distance**2
    for seed in range(4):
        samples = mc.plan(study, power=0.95, level=0.01, seed=seed)
        assert power_of(study, samples, mean, 0.01) >= 0.95
        assert samples <= 3.5 * enough
    assert power_of(study, int(enough / 3), mean, 0.01) < 0.9  # the comparison can fail


@pytest.mark.parametrize(
    ("mean", "op", "wrong"),
    [(0.001, "==", 2.0), (0.001, "==", 0.5), (0.999, "==", 0.998), (0.001, ">=", 3.0), (0.01, ">=", 1.6), (0.002, "<=", 0.4), (0.3, "==", 1.1)],
)  # fmt: skip
def test_rare_hits_reach_the_power(mean: float, op: Literal["==", "<=", ">="], wrong: float) -> None:
    """Where a pilot may see hardly any, and the spread under the wrong constant is not that of the draws."""
    study = mc.Study("S7", "confidence", "rare", op, wrong, lambda g, n, f: (torch.rand(n, generator=g, dtype=torch.float64) < mean).double(),
                     lambda f: f * mean, True)  # fmt: skip
    for seed in range(6):
        samples = mc.plan(study, power=0.95, level=0.01, seed=seed)
        hits, reference, beyond = np.arange(samples + 1), wrong * mean, 0.005 if op == "==" else 0.01
        few, many = binom.cdf(hits, samples, reference) < beyond, binom.sf(hits - 1, samples, reference) < beyond
        rejected = {"==": few | many, "<=": many, ">=": few}[op]
        assert float(binom.pmf(hits, samples, mean)[rejected].sum()) >= 0.95


def test_size_where_the_mean_is_known() -> None:
    """For an equation the size follows from the spread alone: against the textbook formula."""
    study = mc.Study("G1", "closed", "normal", "==", 1.1,
                     lambda g, n, f: 3 + 2 * torch.randn(n, generator=g, dtype=torch.float64), lambda f: 3 * f)  # fmt: skip
    for sign in (1.1, 0.9):
        samples = mc.plan(replace(study, wrong=sign), power=0.95, level=0.01)
        assert abs(samples / ((2.5758 + 1.6449) * 2 / 0.3) ** 2 - 1.1) < 0.1
    assert mc.plan(replace(study, wrong=9.0)) == 256


def test_images_one_by_one_have_the_same_law() -> None:
    drawn = mc.opposite(torch.Generator().manual_seed(0), 40_000, 7, 0.3)
    ups = (torch.rand(40_000, 7, generator=torch.Generator().manual_seed(1)) < 0.3).sum(1)
    for k in range(8):
        share, other = ((x == y).double().mean() for x, y in ((drawn, 2 * k / 7 - 1), (ups, k)))
        assert abs(float(share - other)) < 5 * math.sqrt(2 * float(binom.pmf(k, 7, 0.3)) / 40_000)
    assert len(drawn.unique()) >= 7


def test_definitions_are_read_from_the_claim() -> None:
    """The oracle: the formulas typed here."""
    assert rates(3, 12, 0.0) == (0.25, 0.0)
    assert math.isclose(rates(5, 12, 0.3)[1], 5 * 0.3**2 / (12 - 5 - 1))
    study = mc.generalisation(12, 3, 0.0, (1.0,), 2.0)
    assert math.isclose(study.reference(1.0), 0.75 * 2 + 0.25)
    y = 4 * 8 / (12 * 11 * 14)
    assert math.isclose(mc.leakage(12, 4, 6).reference(1.0), 6 * y)
    assert math.isclose(mc.separation((0.0, 1.0), (0.0,)).reference(1.0), 0.5)


def test_constants_are_compared_on_the_same_draws() -> None:
    study = QUICK[0]
    first, second = (mc.run(study, 600, factor) for factor in (1.0, 1.02))
    assert first.mean == second.mean
    assert first.reference != second.reference
    longer = mc.run(study, 600, seed=1)
    assert longer.mean != first.mean
    x = study.sample(torch.Generator().manual_seed(0), mc.CHUNK, 1.0)
    assert math.isclose(mc.run(study, 600).mean, float(x[:600].mean()), rel_tol=1e-12)


def test_tilting_weighs_right() -> None:
    """The mean of the weights is the probability: against the exact binomial tail."""
    n, logarithm = 512, 12.0
    study = mc.rare_coverage(n, logarithm)
    found = mc.run(study, 40_000)
    delta = 2 * math.exp(-logarithm)
    width = mc.half_width(n, 10**15, delta)
    truth = 2 * float(binom.sf(math.ceil((1 + width) / 2 * n) - 1, n, 0.5)) / delta
    half = found.mean - found.low
    assert abs(found.mean - truth) < 2 * half
    assert half < 0.05 * truth
    assert found.mean < 1


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    coin = mc.Study(
        "D1",
        "cantelli",
        "a coin",
        "==",
        1.1,
        lambda g, n, f: (torch.rand(n, generator=g) < 0.3).double(),
        lambda f: 0.3 * f,
    )
    for study in (coin, replace(coin, indicator=True)):
        misses = sum(mc.run(study, 500, 1.0, seed, 0.1).rejected for seed in range(200))
        assert binom.ppf(1e-4, 200, 0.05) <= misses <= binom.ppf(1 - 1e-4, 200, 0.1)
    none = mc.run(replace(coin, indicator=True, sample=lambda g, n, f: torch.zeros(n)), 300)
    assert none.low == 0
    assert 0.01 < none.high < 0.03  # nothing seen is not nothing there
    spread = mc.replicates(coin, 5000, 1.0, 0)[1]
    assert abs(spread - math.sqrt(0.21)) < 0.02
    half = mc.run(coin, 5000).mean - mc.run(coin, 5000).low
    assert math.isclose(half, NormalDist().inv_cdf(0.995) * spread / math.sqrt(5000))


def test_ends_of_intervals() -> None:
    """One-sided intervals leave one end open; Clopper and Pearson's ends are the roots of the binomial tails."""
    both = replace(QUICK[5], op="==")
    assert both.indicator
    for study, beyond in ((both, 0.005), (replace(both, op="<="), 0.01), (replace(both, op=">="), 0.01)):
        found = mc.run(study, 1000, level=0.01)
        hits = round(1000 * found.mean)
        if study.op == ">=":
            assert found.low == -math.inf
        else:
            assert math.isclose(float(binom.sf(hits - 1, 1000, found.low)), beyond, rel_tol=1e-6)
        if study.op == "<=":
            assert found.high == math.inf
        else:
            assert math.isclose(float(binom.cdf(hits, 1000, found.high)), beyond, rel_tol=1e-6)
    plain = replace(both, indicator=False, op="<=")
    found = mc.run(plain, 1000, level=0.01)
    assert math.isclose(
        found.mean - found.low, NormalDist().inv_cdf(0.99) * math.sqrt(found.mean * (1 - found.mean) / 999)
    )
    draws = torch.cat([both.sample(torch.Generator().manual_seed(3 * 1_000_003 + k), mc.CHUNK, 1.0) for k in (0, 1)])
    assert math.isclose(
        mc.run(both, 3000, seed=3).mean, float(draws[:3000].mean())
    )  # a chunk that is cut, others whole
    assert not torch.equal(draws[: mc.CHUNK], draws[mc.CHUNK :])


def test_what_cannot_be_rejected_is_said() -> None:
    broken = replace(QUICK[0], sample=lambda g, n, f: torch.full((n,), math.nan))
    for work in (mc.plan, lambda study: mc.run(study, 300)):
        with pytest.raises(InputError, match="not finite"):
            work(broken)
    never = replace(STUDIES[7], sample=lambda g, n, f: torch.zeros(n, dtype=torch.float64))
    with pytest.raises(InputError, match="holds as well"):
        mc.plan(never)  # no miss at all
    with pytest.raises(InputError, match="holds as well"):
        mc.plan(mc.coverage(100, 0.05, 0.95))  # S7 is not tight there
    with pytest.raises(InputError, match="at least 2"):
        mc.run(QUICK[0], 1)
