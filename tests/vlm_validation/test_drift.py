"""E1: the regression against numbers with a known answer, and the drifts read from the right records."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.training.drift import balanced_orders, drift_table, ols, regress
from crossmodal.vlm_validation.training.loop import Measurement, OrderRun


def test_ols_finds_what_was_put_in() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    exact = ols(3 + x @ [2.0, -1.0], x)
    np.testing.assert_allclose(exact.coefficients, [3, 2, -1], atol=1e-12)
    assert exact.r2 == pytest.approx(1)
    assert ols(np.full(40, 0.25), x).r2 is None


def test_ols_against_the_textbook_formula_of_one_regressor() -> None:
    from scipy.stats import linregress, t

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=30), rng.normal(size=30)
    found, known = ols(y, x[:, None]), linregress(x, y)
    half = t.ppf(0.975, 28) * known.stderr
    assert found.coefficients[1] == pytest.approx(known.slope)
    assert (found.low[1], found.high[1]) == pytest.approx((known.slope - half, known.slope + half))
    assert found.low[0] == pytest.approx(known.intercept - t.ppf(0.975, 28) * known.intercept_stderr)
    assert found.r2 == pytest.approx(known.rvalue**2)
    assert found.adjusted_r2 == pytest.approx(1 - (1 - known.rvalue**2) * 29 / 28)


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(12, 2))
    fits = [ols(1 + x @ [0.5, -2.0] + rng.normal(size=12), x) for _ in range(2000)]
    covered = np.mean([fit.low[2] <= -2.0 <= fit.high[2] for fit in fits])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)


def test_intervals_cover_where_rows_come_in_groups() -> None:
    """Ten groups of four rows with a common error and common regressors, as transitions of one pair: textbook intervals are too short."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(10), 4)
    x = rng.normal(size=(10, 2))[group] + 0.1 * rng.normal(size=(40, 2))
    draws = [1 + x @ [0.5, -2.0] + rng.normal(size=10)[group] + 0.3 * rng.normal(size=40) for _ in range(1000)]
    covered = {}
    for name, clusters in (("textbook", None), ("by group", group)):
        fits = [ols(y, x, clusters) for y in draws]
        covered[name] = np.mean([fit.low[2] <= -2.0 <= fit.high[2] for fit in fits])
    assert covered["textbook"] < 0.85
    assert 0.93 < covered["by group"] < 0.99


def test_grouped_intervals_by_hand() -> None:
    """The mean of group means, in groups of equal size without regressors to speak of: Student's interval of the group means."""
    from scipy.stats import t

    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(5), 6)
    x = np.tile([-1.0, -1, -1, 1, 1, 1], 5)[:, None]  # orthogonal to the intercept in every group
    y = rng.normal(size=5)[group] + rng.normal(size=30)
    means = y.reshape(5, 6).mean(axis=1)
    half = t.ppf(0.975, 4) * means.std(ddof=1) / np.sqrt(5)
    found = ols(y, x, group)
    # leaving out one mean of five moves the mean by a quarter of its deviation: the jackknife is Student's interval exactly
    assert (found.low[0], found.high[0]) == pytest.approx((means.mean() - half, means.mean() + half))
    assert (found.rows, found.clusters) == (30, 5)


def test_intervals_cover_where_rows_share_environments() -> None:
    """Every ordered pair of five environments twice, environments with effects: mutant: pairs of environments as clusters."""
    rng, draws = np.random.default_rng(5), 400
    pairs = np.array([(s, t) for s in range(5) for t in range(5) if s != t] * 2)
    s, t = pairs.T

    def values() -> np.ndarray:
        return (rng.normal(size=5)[:, None] + rng.normal(size=5) + 0.3 * rng.normal(size=(5, 5)))[s, t]

    by_pair = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)[1].ravel()
    missed = {"pairs": 0, "environments": 0}
    for _ in range(draws):
        x = np.column_stack([values(), values()])
        y = values() + 0.1 * rng.normal(size=len(pairs))
        for name, clusters in (("pairs", by_pair), ("environments", pairs)):
            fit = ols(y, x, clusters)
            missed[name] += not fit.low[1] <= 0 <= fit.high[1]
    assert missed["environments"] <= 0.05 * draws + 4 * np.sqrt(0.05 * 0.95 * draws)
    assert missed["pairs"] > 0.15 * draws


def test_rows_of_two_groups_by_hand() -> None:
    """Leaving a group out leaves out every row it is in."""
    from scipy.stats import t

    rng = np.random.default_rng(6)
    pairs = np.array([(s, t) for s in range(4) for t in range(4) if s != t])
    x, y = rng.normal(size=(12, 1)), rng.normal(size=12)
    slope = [np.polyfit(x[k, 0], y[k], 1)[0] for k in [slice(None), *((pairs != g).all(axis=1) for g in range(4))]]
    half = t.ppf(0.975, 3) * np.sqrt(3 / 4 * sum((other - slope[0]) ** 2 for other in slope[1:]))
    found = ols(y, x, pairs)
    assert (found.low[1], found.high[1]) == pytest.approx((slope[0] - half, slope[0] + half))
    assert (found.rows, found.clusters) == (12, 4)


def test_ols_refuses_what_has_no_answer() -> None:
    x = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.raises(InputError, match="3 rows"):
        ols(x[:3, 0], x[:3])
    for bad in (np.column_stack([x[:, 0], 2 * x[:, 0]]), np.column_stack([x[:, 0], np.ones(10)])):
        with pytest.raises(InputError, match="dependent"):
            ols(x[:, 0], bad)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_balanced_orders_hold_every_pair_equally_often(count: int) -> None:
    orders = balanced_orders(count)
    assert all(sorted(order) == list(range(count)) for order in orders)
    seen = Counter((order[k], order[k + 1]) for order in orders for k in range(count - 1))
    assert len(seen) == count * (count - 1)
    assert set(seen.values()) == {1 if count % 2 == 0 else 2}


def moment(value: int) -> Measurement:
    """A measurement in which every number tells where it is from: 100 value + 10 s + t for scores, 10 value + s else."""
    row = 10.0 * value + np.arange(3)
    pair = 100.0 * value + 10 * np.arange(3)[:, None] + np.arange(3)
    con = {"IT": pair, "TI": -pair, "II": pair, "TT": pair}
    return Measurement(ce=row, accuracy=row, clip=row**2, clv=row, con=con)


def test_drifts_are_read_where_they_should_be() -> None:
    # records 0..3 are moments 0, 2, 4, 6; after the first of two epochs moments 1, 3, 5
    run = OrderRun((2, 0, 1), tuple(moment(k) for k in (0, 2, 4, 6)), tuple((moment(k),) for k in (1, 3, 5)), ())
    table = drift_table([run, run], weight=0.5)
    assert table["pairs"].tolist() == [[2, 0], [0, 1]]
    assert table["con_it"].tolist() == [220.0, 401.0]  # before training on t: moments 2 and 4
    assert table["con_ti"].tolist() == [-220.0, -401.0]
    # epoch 1: L_0 at moment 3 less L_2 at moment 1; epoch 2: L_0 at moment 4 less L_2 at moment 2
    assert table["transition"]["ce"].tolist() == [[30.0 - 12, 51.0 - 30], [40.0 - 22, 61.0 - 40]]
    assert table["step"]["ce"].tolist() == [[32.0 - 22, 50.0 - 40], [42.0 - 22, 60.0 - 40]]
    for reading in ("transition", "step"):
        terms = table[reading]
        np.testing.assert_allclose(terms["total"], terms["ce"] + 0.5 * terms["clip"])
        assert not table["seed_sd"][reading]["ce"].any()


def test_deviation_over_seeds_by_hand() -> None:
    """Two seeds whose last drifts differ by d: their standard deviation is d / sqrt 2, and one seed has none."""
    runs = [OrderRun((0, 1, 2), tuple(moment(k) for k in (0, 1, 2, last)), ((), (), ()), ()) for last in (3, 7)]
    table = drift_table(runs, weight=0.5)
    # the last moments are 40 apart in every loss; the first transition ends before them
    assert table["seed_sd"]["step"]["ce"] == pytest.approx([0, 40 / np.sqrt(2)])
    for weight in (
        np.arange(1, 100) / 100
    ):  # seeds that agree: the mean of three equal numbers may be off by a rounding error
        alike = drift_table([runs[0]] * 3, weight=weight)["seed_sd"]
        assert not any(alike[reading]["total"].any() for reading in ("transition", "step"))
    assert np.isnan(drift_table(runs[:1], weight=0.5)["seed_sd"]["step"]["ce"]).all()


def test_regression_of_every_term_and_epoch() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(8, 2))
    drift = {
        reading: {term: rng.normal(size=(3, 8)) for term in ("ce", "clip", "total")}
        for reading in ("transition", "step")
    }
    drift["step"]["clip"][:] = 0  # as in frozen training
    pairs = np.array([[0, 1], [1, 0], [0, 2], [2, 0], [1, 2], [2, 1], [2, 3], [3, 0]])
    found = regress({"pairs": pairs, "con_it": scores[:, 0], "con_ti": scores[:, 1], **drift})
    assert [len(fits) for terms in found.values() for fits in terms.values()] == [3] * 6
    assert found["step"]["clip"][0].r2 is None
    fit = found["transition"]["ce"][2]
    assert fit == ols(drift["transition"]["ce"][2], scores, pairs)
    assert fit.clusters == 4, "environments, not pairs of them"
