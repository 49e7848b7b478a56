"""The first pass misses nothing that the error-bounded evaluation of the whole batch would find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from crossmodal.synthetic import engine
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.arithmetic.lanes import as_lanes, lanes
from crossmodal.synthetic.check import sweep
from crossmodal.synthetic.draw import draw_batch
from crossmodal.synthetic.engine import first_pass, prepare, slack_and_size, whole
from crossmodal.synthetic.evaluate import Remembered, admitted, bound_values, half_of_square, slacks
from crossmodal.synthetic.evaluate import sides as both_sides
from crossmodal.theory import registry
from crossmodal.theory.claim import Claim
from crossmodal.theory.language import Relation, matrix

bounded = arithmetic("bounded")


def in_lanes(claim: Claim, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
    return claim.bind({k: as_lanes(v) for k, v in drawn.items()}, lanes)


def scaled(claim: Claim, factor: Fraction) -> Claim:
    """The right sides multiplied; inequalities of positive sides become false somewhere."""
    relations = tuple(
        Relation(r.name, r.lhs, r.op, r.rhs * factor) if r.op != "==" else r for r in claim.statement.relations
    )
    return replace(claim, statement=replace(claim.statement, relations=relations))


@pytest.mark.parametrize("claim_id", ["S3", "S5", "S8", "T1.3", "T3.1", "T3.4", "T3.7", "T3.8"])
@pytest.mark.parametrize("factor", [Fraction(1), Fraction(9, 10), Fraction(1, 3)])
def test_no_violation_is_missed(claim_id: str, factor: Fraction) -> None:
    """Every model that the full evaluation calls violated is looked at, unless more than the most are (then the worst)."""
    claim = scaled(registry.get(claim_id), factor)
    for index in range(3):
        drawn = draw_batch(claim, 1, index, 128)
        _, look = first_pass(prepare(claim), claim, {k: v.mid for k, v in drawn.items()}, 128)
        values = bound_values(claim, drawn, bounded)
        among = admitted(claim, values, bounded, 128)
        for relation in claim.statement.relations:
            mid, err = slacks(relation, *both_sides(relation, values, bounded), bounded)
            violated = (mid + err < 0) & among
            assert not bool((violated & ~look).any()), relation.name


@pytest.mark.parametrize("claim_id", ["S5", "T3.1"])
def test_a_false_bound_is_found_by_the_sweep(claim_id: str) -> None:
    assert sweep(scaled(registry.get(claim_id), Fraction(1, 2)), 20_000).witness is not None


def test_sizes_can_be_fixed() -> None:
    assert draw_batch(registry.get("T3.5"), 0, 0, 3, {"T": 7})["A"].shape[:2] == (3, 7)


def test_workers_change_nothing() -> None:
    """Not the counts, not the worst models, not the witness."""
    for claim in (registry.get("T3.7"), scaled(registry.get("S5"), Fraction(1, 2))):
        one, two = (sweep(claim, 5000, 3, batch=500, workers=w) for w in (1, 2))
        assert repr(one) == repr(two)


@pytest.mark.parametrize("claim_id", ["T3.7", "S4", "T3.2"])
def test_shared_expressions_change_no_number(claim_id: str) -> None:
    claim = registry.get(claim_id)
    drawn = draw_batch(claim, 0, 1, 64)
    values = in_lanes(claim, {k: v.mid for k, v in drawn.items()})
    remembered = Remembered(values)
    for relation in (*claim.statement.relations, *claim.statement.relations):  # the second time from memory
        for plain_side, other in zip(
            both_sides(relation, values, lanes), both_sides(relation, remembered, lanes), strict=True
        ):
            assert torch.equal(whole(plain_side).data, whole(other).data)


def test_squares_are_recognised() -> None:
    x, y = matrix("X", "n", "d"), matrix("Y", "n", "d")
    assert half_of_square(x * x.T) == x
    assert half_of_square(x.T * y * y.T * x) == x.T * y
    for other in (x * y.T, x, 2 * x * x.T, x * x.T * x):
        assert half_of_square(other) is None


@pytest.mark.parametrize("claim_id", ["T3.7", "T3.2", "P11"])
def test_the_first_pass_admits_what_the_bounds_admit(claim_id: str) -> None:
    """Model by model, matrices included; nothing here lies so near to an assumption that rounding decides."""
    claim = registry.get(claim_id)
    some = 0
    for index in range(6):
        drawn = draw_batch(claim, 5, index, 200)
        within, _ = first_pass(prepare(claim), claim, {k: v.mid for k, v in drawn.items()}, 200)
        light = engine.without_definitions(claim)
        assert torch.equal(within, admitted(light, bound_values(claim, drawn, bounded), bounded, 200))
        some += int(within.sum())
    assert some > 0


def test_an_assumption_between_matrices_names_its_model() -> None:
    claim = registry.get("T3.7")
    relation = next(r for a in claim.statement.assumptions if a.name == "norm" for r in a.relations)
    drawn = {k: v.mid for k, v in draw_batch(claim, 0, 0, 16, {"T": 4, "d": 4}).items()}
    short = drawn | {"ell": torch.full((16, 1, 1), 10.0, dtype=torch.float64)}
    short["ell"][5] = 1e-3  # below the norm of L
    slack, _ = slack_and_size(relation, in_lanes(claim, short), 16)
    assert [k for k in range(16) if slack[k] < 0] == [5]
    forgiven, _ = slack_and_size(relation, in_lanes(claim, short), 16, allowed=4.0)  # four times the largest entry
    assert float(forgiven[5]) > 0


def test_parts_of_a_batch_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are evaluated some at a time; where the cuts fall does not matter."""
    claim = scaled(registry.get("T3.1"), Fraction(9, 10))
    drawn = {k: v.mid for k, v in draw_batch(claim, 2, 0, 5000).items()}
    whole_batch = first_pass(prepare(claim), claim, drawn, 5000)
    monkeypatch.setattr(engine, "ENTRIES", 1)  # 1024 at once, the last part smaller
    for one, other in zip(whole_batch, first_pass(prepare(claim), claim, drawn, 5000), strict=True):
        assert torch.equal(one, other)
        assert 0 < int(one.sum())
