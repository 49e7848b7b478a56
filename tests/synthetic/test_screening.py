"""What float64 screens away is not what is looked for; and it does screen."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from crossmodal.synthetic import screening
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.domains import Inputs
from crossmodal.synthetic.draw import draw_exact
from crossmodal.synthetic.evaluate import bound_values, judge
from crossmodal.synthetic.falsify import named, ratio_of, without
from crossmodal.synthetic.screening import screen
from crossmodal.theory import registry
from crossmodal.theory.language import Instance, Relation

exact = arithmetic("exact")
CLAIMS = [c for c in registry.all_claims() if c.verdict != "REFUTED"]
DROPPED = [(c.id, a) for c in CLAIMS for a in c.necessity]
TIGHT = [
    (c.id, k) for c in CLAIMS for k, i in enumerate(c.tight) if i.relation and named(c, i.relation).op in ("<=", "<")
]


def rows(instance: Instance) -> Inputs:
    return {name: exact.array(x).tolist() for name, x in instance.values.items()}


@pytest.mark.parametrize(("claim_id", "assumption"), DROPPED)
def test_no_witness_is_screened_away(claim_id: str, assumption: str) -> None:
    claim = registry.get(claim_id)
    instance = claim.necessity[assumption]
    weakened = without(claim, assumption).weakened
    names = [instance.relation] if instance.relation else [r.name for r in claim.statement.relations]
    sights = [screen(weakened, named(claim, name), [rows(instance)], 1e-16)[0] for name in names]
    assert any(s.may_violate and s.inside for s in sights)


@pytest.mark.parametrize(("claim_id", "index"), TIGHT)
def test_no_tight_instance_is_screened_away(claim_id: str, index: int) -> None:
    claim = registry.get(claim_id)
    instance = claim.tight[index]
    tight = named(claim, instance.relation)
    found = ratio_of(judge(tight, bound_values(claim, rows(instance), exact), exact))
    sight = screen(claim, tight, [rows(instance)], 1e-16)[0]
    assert sight.inside
    assert sight.ratio >= found - 1e-9 or found == -math.inf


@pytest.mark.parametrize("claim_id", ["S5", "S6", "T1.2", "T3.4", "T3.8", "D1"])
def test_it_sees_what_exact_arithmetic_says(claim_id: str) -> None:
    claim = registry.get(claim_id)
    for index in range(20):
        inputs = draw_exact(claim, 7, index)
        values = bound_values(claim, inputs, exact)
        for r in claim.statement.relations:
            if r.op in ("<=", "<"):
                sight = screen(claim, r, [inputs, inputs], 1e-7)[1]
                found = ratio_of(judge(r, values, exact))
                assert sight.ratio == pytest.approx(found, abs=1e-9) or abs(sight.ratio) == math.inf


def test_it_screens() -> None:
    """A bound much too loose is no violation; a model outside an assumption is outside, beside one within."""
    claim = registry.get("S6")
    drift = named(claim, "drift")
    loose = Relation("drift", drift.lhs, "<=", 2 * drift.rhs + 1)
    inputs = draw_exact(claim, 3, 0)
    assert not screen(claim, loose, [inputs], 1e-7)[0].may_violate
    doubled = {**inputs, "U": [[2 * x for x in row] for row in inputs["U"]]}
    assert [s.inside for s in screen(claim, drift, [inputs, doubled], 1e-7)] == [True, False]


def test_what_float64_cannot_see_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = registry.get("S5")
    inputs = draw_exact(claim, 3, 0)
    tiny = {name: [[x / 10**9 for x in row] for row in x_rows] for name, x_rows in inputs.items()}
    free = replace(claim, statement=replace(claim.statement, assumptions=()))
    sight = screen(free, claim.statement.relations[0], [tiny], 1e-30)[0]
    assert sight.violation == sight.ratio == math.inf
    assert screen(claim, claim.statement.relations[0], [], 1e-7) == []

    def singular(*_: object) -> None:
        raise RuntimeError("singular")

    monkeypatch.setattr(screening, "bound_values", singular)
    assert screen(claim, claim.statement.relations[0], [inputs], 1e-7) == [screening.Sight()]
