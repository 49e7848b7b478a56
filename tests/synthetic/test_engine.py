"""The first pass misses nothing that the error-bounded evaluation of the whole batch would find."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from crossmodal.synthetic import check, engine
from crossmodal.synthetic.arithmetic import U, arithmetic
from crossmodal.synthetic.arithmetic.lanes import Lanes, as_lanes, lanes
from crossmodal.synthetic.check import Batch, sweep
from crossmodal.synthetic.draw import draw_batch
from crossmodal.synthetic.engine import first_pass, prepare, slack_and_size, whole
from crossmodal.synthetic.evaluate import Judgement, Remembered, admitted, bound_values, half_of_square, slacks
from crossmodal.synthetic.evaluate import sides as both_sides
from crossmodal.theory import registry
from crossmodal.theory.claim import Assumption, Claim
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


def moved(claim: Claim, relation: Relation, symbol: str, models: list[int], by: float) -> Claim:
    """One relation of a claim without assumptions; in some models of a batch a symbol is not what it should be."""

    def bind(x: Mapping[str, Any], ops: Any) -> Mapping[str, Any]:
        values = dict(claim.bind(x, ops))
        data = values[symbol].data.clone()
        data[..., models] += by
        return values | {symbol: Lanes(data)}

    return replace(claim, bind=bind, statement=replace(claim.statement, relations=(relation,), assumptions=()))


def looked_at(claim: Claim, batch: int) -> torch.Tensor:
    inputs = {k: v.mid for k, v in draw_batch(claim, 4, 0, batch, {"d": 4}).items()}
    return first_pass(prepare(claim), claim, inputs, batch)[1]


def named(claim_id: str, relation: str) -> Relation:
    return next(r for r in registry.get(claim_id).statement.relations if r.name == relation)


ZERO = named("C2", "zero")
TWICE = Relation("twice", ZERO.lhs, "==", 2 * ZERO.lhs)  # both sides are what rounding leaves
ONLY_ROUNDING = [
    ("C2", ZERO, "J"),
    ("C2", TWICE, "J"),
    ("O2", named("O2", "keep"), "Q"),
    ("O2", named("O2", "again"), "P"),
]


@pytest.mark.parametrize(("claim_id", "relation", "symbol"), ONLY_ROUNDING)
def test_a_violation_stands_out_of_what_rounding_leaves(
    claim_id: str, relation: Relation, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A difference of 1e-9 goes before those of 1e-17."""
    monkeypatch.setattr(engine, "MOST", engine.LOOK)
    some = [7 * k + 3 for k in range(engine.LOOK)]
    look = looked_at(moved(registry.get(claim_id), relation, symbol, some, 1e-9), 900)
    assert look.nonzero().flatten().tolist() == some


@pytest.mark.parametrize("index", [0, 2])
def test_what_rounding_leaves_beside_zero_is_no_suspect(index: int) -> None:
    claim_id, relation, symbol = ONLY_ROUNDING[index]
    claim = moved(registry.get(claim_id), relation, symbol, [], 0.0)
    inputs = {k: v.mid for k, v in draw_batch(claim, 4, 0, 900, {"d": 4}).items()}
    off = -slack_and_size(relation, in_lanes(claim, inputs), 900)[0]
    assert int((off > U).sum()) > engine.LOOK
    assert int(looked_at(claim, 900).sum()) == engine.LOOK


@pytest.mark.parametrize("relation", [Relation("", 0, "<=", ZERO.lhs), ZERO, TWICE])
def test_assumptions_near_zero_are_left_to_the_bounds(relation: Relation) -> None:
    """Rounding rules nothing out; a violation beyond it does."""
    claim, off = registry.get("C2"), [3, 50]
    claim = moved(claim, ZERO, "J", off, -1e-6)
    claim = replace(claim, statement=replace(claim.statement, assumptions=(Assumption("near", "", (relation,)),)))
    inputs = {k: v.mid for k, v in draw_batch(claim, 4, 0, 900, {"d": 4}).items()}
    within, _ = first_pass(prepare(claim), claim, inputs, 900)
    assert (~within).nonzero().flatten().tolist() == off


def test_models_that_are_no_numbers_are_all_looked_at_beside_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST", engine.LOOK)
    unknown = list(range(0, 600, 20))
    claim = moved(moved(registry.get("C2"), ZERO, "J", unknown, torch.nan), ZERO, "J", [601, 777], 0.5)
    look = looked_at(claim, 900)
    assert look[[*unknown, 601, 777]].all()
    assert len(unknown) + 2 <= int(look.sum()) <= len(unknown) + engine.LOOK


def unknown_at_an_end(claim: Claim) -> Claim:
    """J is 0/0, and so not a number, in the models with p near -1: one in a hundred."""

    def bind(x: Mapping[str, Any], ops: Any) -> Mapping[str, Any]:
        values = claim.bind(x, ops)
        return {**values, "J": values["J"] + ops.reciprocal(ops.positive(x["p"] + ops.ratio(49, 50))) * 0}

    return replace(claim, bind=bind)


def test_a_sweep_says_so_when_a_model_is_no_number() -> None:
    """Whatever the number of models that hold."""
    found = sweep(unknown_at_an_end(registry.get("C2")), 4000, seed=2, batch=500)
    judgement = found.worst["zero"]
    assert judgement.status == "undecided"
    assert math.isnan(judgement.slack)
    assert found.within == 4000
    assert sweep(registry.get("C2"), 4000, seed=2, batch=500).worst["zero"].status == "holds"


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_undecided_in_one_batch_is_not_hidden_by_another(turned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    nan = float("nan")
    judged = [Judgement("r", "holds", -1e-20, 1e-18, 0, 0), Judgement("r", "undecided", nan, torch.inf, nan, nan),
              Judgement("r", "undecided", -1e-3, 1.0, 0, 0)]  # fmt: skip
    batches = [Batch(1, 1, (j,), 0, None) for j in (judged[::-1] if turned else judged)]
    monkeypatch.setattr(check, "one_batch", lambda claim, checked, light, seed, index, size, fixed: batches[index])
    assert math.isnan(sweep(registry.get("C2"), 3, batch=1).worst["r"].slack)
