"""Every claim: complete, derived, certified, stored, and its mutants rejected.  A new claim file is tested by existing."""

from __future__ import annotations

import copy
import json

import pytest
from crossmodal.theory import checker, mutants, registry
from crossmodal.theory.certify import certify, derive, path_of, statement_part
from crossmodal.theory.language import latex

ALL = list(registry.modules())
DERIVED = [c for c in ALL if registry.get(c).derive is not None]


@pytest.mark.parametrize("claim_id", ALL)
def test_carries_all_nine_points(claim_id: str) -> None:
    assert registry.get(claim_id).missing() == []


def test_an_incomplete_claim_is_named() -> None:
    import dataclasses

    claim = registry.get("T3.4")
    without = dataclasses.replace(claim, tight=(), necessity={}, on_features=None, derive=None, source="")
    assert without.missing() == [
        "2 derivation, 3 certificate", "1 source", "6 tightness", "7 necessity of projector_1, projector_2", "8 measurement on features",
    ]  # fmt: skip


@pytest.mark.parametrize("claim_id", DERIVED)
def test_certificate_is_accepted_and_stored(claim_id: str) -> None:
    found = certify(registry.get(claim_id))
    assert found.accepted, found.reason
    assert found.stored == "same", f"run `crossmodal verify --rewrite {claim_id}`"


@pytest.mark.parametrize("claim_id", DERIVED)
def test_goals_and_hypotheses_are_those_of_the_statement(claim_id: str) -> None:
    claim = registry.get(claim_id)
    certificate = derive(claim)
    names = {g["name"].split(".")[0] for g in certificate["goals"]}
    assert names == {r.name for r in claim.statement.relations}
    stored = json.loads(path_of(claim_id).read_text(encoding="utf-8"))
    assert statement_part(stored) == statement_part(certificate)


@pytest.mark.parametrize("claim_id", DERIVED)
def test_mutants_are_rejected(claim_id: str) -> None:
    certificate = json.loads(json.dumps(derive(registry.get(claim_id))))
    tried, alive = mutants.survivors(certificate, 40, seed=1)
    assert tried >= 20
    assert [m.change for m in alive] == []


@pytest.mark.parametrize("claim_id", DERIVED)
def test_every_hypothesis_is_needed_by_the_certificate(claim_id: str) -> None:
    certificate = derive(registry.get(claim_id))
    for k, hypothesis in enumerate(certificate["hypotheses"]):
        changed = copy.deepcopy(certificate)
        del changed["hypotheses"][k]
        with pytest.raises(checker.Rejected):
            checker.check(changed)
        assert hypothesis["text"] is not None


def test_mutants_do_mutate() -> None:
    """The engine is no check if its mutants equal the original, or if it finds only one kind."""
    certificate = json.loads(json.dumps(derive(registry.get("T3.5"))))
    made = mutants.mutants(certificate, 60)
    assert len({json.dumps(m.certificate, sort_keys=True) for m in made}) > 50
    assert all(m.certificate != certificate for m in made)
    assert len({m.change.split(" at ")[0] for m in made}) >= 6


def test_trust_base_is_short() -> None:
    trusted = {fact.name for c in ALL for fact in registry.get(c).trust}
    assert len(trusted) <= 5, sorted(trusted)


@pytest.mark.parametrize("claim_id", ALL)
def test_has_latex(claim_id: str) -> None:
    claim = registry.get(claim_id)
    assert claim.statement.latex
    assert all(latex(r.lhs) for r in claim.statement.relations)


def test_file_names_say_which_claim() -> None:
    for claim_id, module in registry.modules().items():
        assert module.startswith(claim_id.lower().replace(".", "_") + "_")
        assert registry.get(claim_id).id == claim_id
