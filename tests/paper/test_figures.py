"""Figures, tested on their data: each against an oracle of its own, and each with a mutant that must fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from crossmodal.paper import build
from crossmodal.paper.figures import t3_4_two_environments as two
from crossmodal.paper.results import Data

ROUNDING = 64 * 2.0**-53  # some dozens of operations on numbers of size one


def agrees_with_learners(data: Data) -> None:
    """The claim's curve passes through what the learners did; random targets stay below it; nothing passes the bound."""
    curve = np.interp(data["similarity"], data["cosine"], data["theory"])  # every similarity is a point of the curve
    np.testing.assert_allclose(data["worst_target"], curve, rtol=0, atol=ROUNDING)
    assert (data["random_high"] <= curve + ROUNDING).all()
    assert (data["random_low"] <= data["random_mean"]).all()
    assert max(data["worst_target"].max(), data["theory"].max()) <= data["bound"] + ROUNDING


def test_two_environments(compute: Any) -> None:
    data = compute("t3_4_two_environments")
    agrees_with_learners(data)
    c = data["cosine"]
    np.testing.assert_allclose(data["theory"], c**2 * (1 - c**2), rtol=0, atol=ROUNDING)  # typed here, as an oracle
    assert data["theory"][[0, -1]] == pytest.approx([0, 0], abs=ROUNDING)
    assert abs(c[data["theory"].argmax()] ** 2 - 0.5) < np.diff(c).max()


def test_two_environments_on_features(compute: Any, features: Any) -> None:
    data = compute("t3_4_two_environments")
    count = len(features.environments)
    assert data["pairs"] == count * (count - 1)
    at = data["features_cosine"]
    np.testing.assert_allclose(data["features_forgetting"], at**2 * (1 - at**2), rtol=0, atol=1e3 * ROUNDING)


@pytest.mark.parametrize(
    "wrong", [lambda t, c: t * 1.01, lambda t, c: c * (1 - c), lambda t, c: c**2 * (1 - c), lambda t, c: np.roll(t, 1)]
)
def test_a_wrong_curve_is_noticed(wrong: Any, compute: Any) -> None:
    data = compute("t3_4_two_environments")
    mutant = Data({**data.values, "theory": wrong(data["theory"], data["cosine"])}, data.provenance)
    with pytest.raises(AssertionError):
        agrees_with_learners(mutant)


def test_a_wrong_claim_changes_the_curve() -> None:
    """The curve is the claim's statement and no copy of it."""
    from dataclasses import replace

    from crossmodal.theory import registry
    from crossmodal.theory.language import Relation

    claim = registry.get("T3.4")
    relations = tuple(Relation(r.name, r.lhs, r.op, 2 * r.rhs) for r in claim.statement.relations)
    doubled = replace(claim, statement=replace(claim.statement, relations=relations))
    inputs = two.plane(np.linspace(0, 1, 5))
    for once, twice in zip(two.evaluate(claim, inputs), two.evaluate(doubled, inputs), strict=True):
        np.testing.assert_allclose(twice, 2 * once, rtol=0, atol=ROUNDING)


def test_a_learner_that_does_not_fit_is_noticed(compute: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two, "least_norm", lambda w, x, y, ops: w + 0.9 * ops.T(x) @ (y - x @ w))
    worst, _ = two.simulate(np.linspace(0, 1, 5), np.random.default_rng(0))
    data = compute("t3_4_two_environments")
    step = (len(data["similarity"]) - 1) // 4
    assert np.abs(worst - data["worst_target"][::step]).max() > 1e-3


def test_the_drawing_shows_the_data(compute: Any) -> None:
    data = compute("t3_4_two_environments")
    axes = two.draw(data).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["theorem T3.4"], np.column_stack([data["cosine"], data["theory"]]))
    np.testing.assert_array_equal(lines["learner, worst target"][:, 1], data["worst_target"])


def test_score_heatmaps_show_the_estimates(compute: Any, features: Any) -> None:
    data = compute("score_heatmaps")
    figure = build.module("score_heatmaps").draw(data)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    rows = [features.rows(k) for k in features.environments]
    means = {
        "I": [features.image[r].astype(float).mean(0) for r in rows],
        "T": [features.text[r].astype(float).mean(0) for r in rows],
    }
    for key, matrix in zip(("II", "IT", "TI", "TT"), shown, strict=True):
        by_hand = [[u @ v for v in means[key[1]]] for u in means[key[0]]]
        np.testing.assert_allclose(matrix, by_hand, rtol=0, atol=ROUNDING)
        np.testing.assert_array_equal(matrix, data["con"][key])


def test_verdicts_are_the_dashboards(compute: Any, features: Any) -> None:
    from crossmodal.paper import verdicts as shared
    from crossmodal.theory import registry

    data = compute("verdicts")
    rows = shared.rows(features, 0)
    assert data["claims"] == [r.claim for r in rows] == list(shared.claims())
    assert data["verdicts"] == [r.verdict for r in rows]
    assert data["proved"] + data["refuted"] + data["undecided"] == data["count"]
    for row, cells in zip(rows, data["cells"], strict=True):
        assert (-1 in cells) <= (row.verdict != registry.get(row.claim).verdict or bool(row.problems))


def test_a_failure_is_shown_as_one(compute: Any, features: Any) -> None:
    from dataclasses import replace

    from crossmodal.paper import verdicts as shared
    from crossmodal.paper.figures import verdicts

    row = next(r for r in shared.rows(features, 0) if r.tight and r.mutants[0])
    fine = verdicts.cells(row)
    column = {name: k for k, name in enumerate(verdicts.COLUMNS)}
    note, ratio, *_ = row.tight[0]
    broken = {
        "mutants": replace(row, mutants=(24, 23)),
        "exact models": replace(row, witness={"relation": "x"}),
        "tight": replace(row, tight=((note, ratio, True, False),)),
        "certificate": replace(row, certificate="stored certificate differs", verdict="UNDECIDED"),
        "features": replace(row, measurement={"instances": 3, "violations": 1, "assumptions_violated": {}}),
    }
    for name, wrong in broken.items():
        assert fine[column[name]] != verdicts.FAILED
        assert verdicts.cells(wrong)[column[name]] == verdicts.FAILED


def test_no_bound_is_exceeded_and_instances_attain_it(compute: Any) -> None:
    data = compute("tightness")
    assert len(data["names"]) == data["bounds"] == len(data["quantiles"]) == len(data["instance"])
    assert np.nanmax(data["quantiles"]) <= 1 + 1e-6  # ratios of numbers as small as 1e-9
    assert np.nanmax(data["instance"]) <= 1
    assert data["attained"] >= 0.8 * data["with_instance"]


def test_half_a_bound_is_noticed() -> None:
    """A claim whose right side is halved shows ratios above one."""
    from crossmodal.paper.figures import tightness
    from crossmodal.theory import registry
    from crossmodal.theory.language import Relation

    claim = registry.get("T3.4")
    quarter = next(r for r in claim.statement.relations if r.name == "quarter")
    half = Relation("half", quarter.lhs, quarter.op, quarter.rhs / 2)
    found = tightness.ratios(claim, [quarter, half], 0)
    assert found["quarter"].max() <= 1 + ROUNDING < found["half"].max()
