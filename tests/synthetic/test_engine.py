"""The first pass misses nothing that the error-bounded evaluation of the whole batch would find."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from crossmodal.synthetic.arithmetic import Ball, arithmetic
from crossmodal.synthetic.check import sweep
from crossmodal.synthetic.draw import draw_batch
from crossmodal.synthetic.engine import first_pass, middle, prepare
from crossmodal.synthetic.evaluate import admitted, bound_values, slacks
from crossmodal.synthetic.evaluate import sides as both_sides
from crossmodal.theory import registry
from crossmodal.theory.claim import Claim
from crossmodal.theory.language import Relation

bounded = arithmetic("bounded")
ALL = list(registry.modules())


def scaled(claim: Claim, factor: Fraction) -> Claim:
    """The right sides multiplied; inequalities of positive sides become false somewhere."""
    relations = tuple(
        Relation(r.name, r.lhs, r.op, r.rhs * factor) if r.op != "==" else r for r in claim.statement.relations
    )
    return replace(claim, statement=replace(claim.statement, relations=relations))


@pytest.mark.parametrize("claim_id", ALL)
def test_centres_are_those_of_the_bounds(claim_id: str) -> None:
    claim = registry.get(claim_id)
    drawn = draw_batch(claim, 0, 0, 64)
    fast = claim.bind({k: v.mid for k, v in drawn.items()}, middle)
    slow = bound_values(claim, drawn, bounded)
    for name, ball in slow.items():
        if isinstance(ball, Ball):
            assert torch.equal(torch.as_tensor(fast[name], dtype=torch.float64).expand_as(ball.mid), ball.mid), name


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
