"""Every claim on exact models: it holds, its tightened bounds fall, its assumptions are needed."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.check import assumptions_hold, exact_models, necessity, refuted, sweep, tightness
from crossmodal.synthetic.draw import draw_batch, draw_exact
from crossmodal.synthetic.evaluate import bound_values, has_zero_side, judge, tightened
from crossmodal.synthetic.strategies import models
from crossmodal.theory import registry
from crossmodal.theory.claim import Claim
from crossmodal.theory.language import Instance, Relation, unit
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from sympy import Identity, MatrixExpr, Rational

ALL = list(registry.modules())
TRUE = [c for c in ALL if registry.get(c).verdict != "REFUTED"]
FALSE = [c for c in ALL if registry.get(c).verdict == "REFUTED"]
exact, bounded = arithmetic("exact"), arithmetic("bounded")


def violated(claim: Claim, inputs: Any, relation: Relation) -> bool:
    values = bound_values(claim, inputs, exact)
    return assumptions_hold(claim, values, exact) and judge(relation, values, exact).status == "violated"


@pytest.mark.parametrize("claim_id", TRUE)
@settings(max_examples=max(15, settings().max_examples // 4), suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_holds_exactly(claim_id: str, data: st.DataObject) -> None:
    claim = registry.get(claim_id)
    values = bound_values(claim, data.draw(models(claim)), exact)
    if not assumptions_hold(claim, values, exact):
        return
    for relation in claim.statement.relations:
        assert judge(relation, values, exact).status != "violated", relation.name


@pytest.mark.parametrize("claim_id", ALL)
def test_tight_instances_are_tight(claim_id: str) -> None:
    for note, ratio, holds, fails in tightness(registry.get(claim_id)):
        assert holds, note
        assert fails, f"{note}: one percent less still holds (ratio {ratio})"


@pytest.mark.parametrize("claim_id", ALL)
def test_assumptions_are_needed(claim_id: str) -> None:
    for name, (broken, fails) in necessity(registry.get(claim_id)).items():
        assert broken, f"the instance for {name} satisfies it, or violates another assumption too"
        assert fails, f"the claim holds without {name} on its instance"


# What Taylor's theorem says of a point it does not name (`tests/theory/test_hypotheses_can_be_met.py` has exact models of it), and
# equations between multiples of an identity of any size, of scalars that `bind` makes reciprocals.
NOT_EVALUATED = {
    "T1.2": {"probabilities", "curvature", "taylor"}, "T1.5": {"weights", "weights_1", "taylor_1", "taylor_2"},
    "T3.2": {"inverse"}, "T3.7": {"reciprocal"}, "T3.12": {"reciprocal"}, "T3.11": {"probabilities", "mean_value"},
    "T3.13": {"probabilities", "second_order"},
}  # fmt: skip


@pytest.mark.parametrize("claim_id", ALL)
def test_what_is_assumed_is_evaluated(claim_id: str) -> None:
    """An assumption whose symbols `bind` does not make is neither kept nor broken by any model."""
    claim = registry.get(claim_id)
    made = set(bound_values(claim, draw_exact(claim, 0, 0), exact))
    found = {a.name for a in claim.statement.assumptions if any(not r.symbols <= made for r in a.relations)}
    assert found == NOT_EVALUATED.get(claim_id, set())
    assert all(r.symbols <= made for r in claim.statement.relations)


def test_an_instance_that_violates_two_assumptions_shows_neither_needed() -> None:
    claim = registry.get("T3.8")
    both = Instance({"A": unit([1, 0], ["6/5", "8/5"], ["4/5", "3/5"])}, "lengths 1, 2, 1; also 'most'", "swap_last")
    changed = replace(claim, necessity={"unit": both})
    assert necessity(claim)["unit"] == (True, True)
    assert necessity(changed)["unit"] == (False, True)


TIGHT = [
    (claim_id, relation)
    for claim_id in TRUE
    for relation in sorted({i.relation for i in registry.get(claim_id).tight if i.relation})
]


@pytest.mark.parametrize(("claim_id", "relation"), TIGHT)
def test_strategies_find_a_bound_tightened_by_one_percent(claim_id: str, relation: str) -> None:
    """`find` raises unless the near-tight strategies do reach a case that kills the tightened bound."""
    claim = registry.get(claim_id)
    tighter = tightened(next(r for r in claim.statement.relations if r.name == relation))
    found = find(
        models(claim), lambda m: violated(claim, m, tighter),
        settings=settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True),
    )  # fmt: skip
    assert violated(claim, found, tighter)


@pytest.mark.parametrize("claim_id", FALSE)
def test_refuted_claims_have_their_witness(claim_id: str) -> None:
    assert refuted(registry.get(claim_id)) is not None


@pytest.mark.parametrize("claim_id", TRUE)
def test_float_sweep_finds_nothing_and_admits_enough_models(claim_id: str) -> None:
    found = sweep(registry.get(claim_id), 2000, seed=3, batch=1000)
    assert found.witness is None
    assert found.examples == 2000
    assert found.within >= 200  # the scarcest, T3.7, admits one in eight
    relations = registry.get(claim_id).statement.relations
    assert set(found.worst) == {r.name for r in relations}
    assert all(math.isfinite(j.slack) and math.isfinite(j.error) for j in found.worst.values())


@pytest.mark.parametrize("claim_id", ["C4", "O2", "P6", "T2.6", "T3.9"])
def test_equations_that_hold_by_construction_rule_no_model_out(claim_id: str) -> None:
    """One side is zero, and rounding leaves something of the other."""
    assert sweep(registry.get(claim_id), 2000, seed=3, batch=500).within == 2000


@pytest.mark.parametrize("name", ["draw_exact", "draw_batch"])
def test_the_second_projector_is_one(name: str) -> None:
    """O2: in every model of a batch, and in rationals, Q is a projector on one direction and orthogonal to P; often neither is zero."""
    claim, both = registry.get("O2"), 0
    for index in range(40):
        if name == "draw_exact":
            values = bound_values(claim, draw_exact(claim, 1, index), exact)
            p, q = values["P"], values["Q"]
            assert (q @ q == q).all()
            assert (q == q.T).all()
            assert (p @ p == p).all()
            assert not (p @ q).any()
            assert exact.trace(q)[0, 0] == 1
            both += p.any()
        else:
            values = bound_values(claim, draw_batch(claim, 1, index, 64), bounded)
            p, q = values["P"], values["Q"]
            for difference in (q @ q - q, bounded.T(q) - q, p @ p - p, p @ q, bounded.trace(q) - 1):
                assert bool((difference.mid.abs() <= difference.err).all())
                assert float(difference.err.max()) < 1e-10
            both += bool((p.mid.abs().amax((-2, -1)) > 0.1).all())
    assert both >= 10


ZERO = [
    (claim_id, relation.name)
    for claim_id in TRUE
    for relation in registry.get(claim_id).statement.relations
    if relation.op == "==" and has_zero_side(relation)
]


@pytest.mark.parametrize(("claim_id", "relation"), [*ZERO, ("O2", "swap")])
def test_the_sweep_refutes_false_equations(claim_id: str, relation: str) -> None:
    """Off by a thousandth where one side is zero (twice nothing is nothing), and twice as large where not."""
    claim = registry.get(claim_id)
    true = next(r for r in claim.statement.relations if r.name == relation)
    off = (
        true.lhs + Identity(true.lhs.shape[0]) / 1000
        if isinstance(true.lhs, MatrixExpr)
        else true.lhs + Rational(1, 1000)
    )
    lhs = off if has_zero_side(true) else 2 * true.lhs
    false = replace(claim, statement=replace(claim.statement, relations=(Relation(relation, lhs, "==", true.rhs),)))
    found = sweep(false, 2000, seed=3, batch=1000)
    assert found.witness is not None
    assert found.suspects == 0


def test_sweep_kills_a_tightened_quarter() -> None:
    import dataclasses

    claim = registry.get("T3.4")
    tighter = tuple(tightened(r) if r.op != "==" else r for r in claim.statement.relations)
    false = dataclasses.replace(claim, statement=dataclasses.replace(claim.statement, relations=tighter))
    found = sweep(false, 20_000)
    assert found.witness is not None
    assert violated(false, found.witness.inputs, tighter[1])


def test_same_seed_same_models() -> None:
    claim = registry.get("T3.8")
    assert draw_exact(claim, 5, 7) == draw_exact(claim, 5, 7) != draw_exact(claim, 5, 8)
    a, b = draw_batch(claim, 1, 2, 10), draw_batch(claim, 1, 2, 10)
    assert all(bool((a[k].mid == b[k].mid).all()) for k in a)


def test_exact_models_reports_a_false_relation() -> None:
    claim = registry.get("S5")
    halved = tuple(Relation(r.name, r.lhs, r.op, r.rhs * Fraction(1, 2)) for r in claim.statement.relations)
    _, _, witness = exact_models(claim, 200, relations=halved)
    assert witness is not None
