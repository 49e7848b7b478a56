"""Every claim: complete, derived, certified, stored, and its mutants rejected.  A new claim file is tested by existing."""

from __future__ import annotations

import copy
import json
import os
import re
from functools import cache
from typing import Any

import pytest
from crossmodal.paper.tex import prose_tex
from crossmodal.theory import checker, mutants, registry, trust
from crossmodal.theory.certify import certify, derive, needs, of_goal, path_of, statement_part, whose
from crossmodal.theory.claim import Fact
from crossmodal.theory.language import latex
from crossmodal.theory.own_claims import mistakes_of

from crossmodal.show import as_latex, as_markdown, as_text, assumptions_used

ALL = list(registry.modules())
MUTANTS = (
    100_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 40
)  # all there are: minutes for T3.7 and T3.9
DERIVED = [c for c in ALL if registry.get(c).derive is not None]


@cache
def derived(claim_id: str) -> str:
    """The certificate as JSON, so that no test meets what another one changed; deriving it takes longer than all that is asked of it."""
    return json.dumps(derive(registry.get(claim_id)))


def certificate_of(claim_id: str) -> dict[str, Any]:
    return json.loads(derived(claim_id))


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


def test_what_is_given_about_a_step_is_said_by_an_assumption() -> None:
    """Else the certificate of P10 would prove it without its only assumption: "any two sums are equal" in all but name."""
    import dataclasses

    claim = registry.get("P10")
    without = dataclasses.replace(claim, statement=dataclasses.replace(claim.statement, assumptions=()), necessity={})
    assert not certify(without).accepted
    assert certify(without).reason == "given about a step and said by no assumption: above_x, above_y, below_x, below_y"
    checker.check(json.loads(json.dumps(derive(without))))  # it is a proof; what it assumes is the trouble
    assert without.missing() == ["1 statement: no assumption, or no step, for above_x, above_y, below_x, below_y"]
    (uniform,) = claim.statement.assumptions
    more = dataclasses.replace(uniform, each=(*uniform.each, "elsewhere"))
    elsewhere = dataclasses.replace(claim, statement=dataclasses.replace(claim.statement, assumptions=(more,)))
    assert elsewhere.missing() == ["1 statement: no assumption, or no step, for elsewhere"]


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
@pytest.mark.parametrize("claim_id", ALL)
def test_everything_a_certificate_assumes_is_shown(claim_id: str, form: str) -> None:
    claim = registry.get(claim_id)
    statement = claim.statement
    shown = " ".join({"text": as_text, "markdown": as_markdown, "latex": as_latex}[form](claim, None).split())
    formulas = [r for a in statement.assumptions for r in a.relations] + [
        r for g in statement.given().values() for _, r in g
    ]
    for relation in formulas:
        assert (relation.text if form == "text" else relation.latex) in shown
    for text, tex in statement.conditions():
        assert (text if form == "text" else tex) in shown
    for recursion in statement.recursions.values():
        for text, tex in recursion.moves():
            assert (text if form == "text" else tex) in shown


def test_names_in_a_claim_lead_somewhere() -> None:
    """What is asked of a file of one's own holds of every claim here."""
    assert not [(c, list(found)) for c in ALL if (found := [*mistakes_of(registry.get(c))])]


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
@pytest.mark.parametrize("claim_id", DERIVED)
def test_sides_and_symmetry_are_shown(claim_id: str, form: str) -> None:
    """Two letters that share a side, and a letter that is its own transpose: assumptions that no relation states."""
    claim, certificate = registry.get(claim_id), certificate_of(claim_id)
    shown = " ".join({"text": as_text, "markdown": as_markdown, "latex": as_latex}[form](claim, None).split())
    letters = dict(certificate["symbols"]["matrices"])
    for recursion in certificate["recursions"].values():
        letters |= recursion["fresh"].get("matrices", {})
    assert claim.statement.matrices().keys() == letters.keys()
    for name, (rows, cols) in letters.items():
        line = f"{name}: {rows} x {cols}" + ", symmetric" * (name in certificate["symbols"]["symmetric"])
        assert (prose_tex(line) if form == "latex" else line) in shown


def conditions_of(certificate: dict[str, object]) -> set[str]:
    """What a certificate assumes of roots and quotients, read from its hypotheses; not that a square has a root."""
    hypotheses = {h["name"]: h["fact"] for h in certificate["hypotheses"]}  # type: ignore[attr-defined]
    found = {name for name in hypotheses if re.match(r"over\d", name)}
    for name, fact in hypotheses.items():
        square = re.fullmatch(r"<(.*),(.*)>", next((m for m in fact.get("poly", {}) if not m.startswith("root")), ""))
        if (
            name.startswith("root")
            and name.endswith(".square")
            and len(fact["poly"]) == 2
            and not (square and square[1] == square[2])
        ):
            found.add(name)
    return found


@pytest.mark.parametrize("claim_id", DERIVED)
def test_roots_and_quotients_are_said_to_exist(claim_id: str) -> None:
    """Each is a hypothesis of the certificate; those of sums of products of vectors, which expand, are left to the eye."""
    found, said = conditions_of(derive(registry.get(claim_id))), registry.get(claim_id).statement.conditions()
    assert len(found) <= len(said)
    assert bool(said) >= bool(found)


def test_conditions_are_of_roots_and_quotients() -> None:
    assert registry.get("T1.6").statement.conditions() == [("D_CLIP != 0", r"D_{CLIP} \ne 0")]
    assert [text for text, _ in registry.get("T2.3").statement.conditions()] == ["Con >= 0"]
    assert registry.get("T3.3").statement.conditions() == []  # of lengths alone
    import sympy
    from crossmodal.theory.claim import Statement
    from crossmodal.theory.language import Relation

    x, y = sympy.symbols("x y", real=True)
    made = Statement("", (Relation("r", x**2 * y, "<=", 1 / sympy.sqrt(x) + y**-3 + sympy.sqrt(2)),))
    assert sorted(text for text, _ in made.conditions()) == ["x > 0", "y != 0"]
    square = sympy.MatrixSymbol("A", sympy.Symbol("d"), sympy.Symbol("d"))
    inverse = Statement("", (Relation("r", square * (square + square.T).I, "==", square),))
    assert inverse.conditions() == [("A + A.T has an inverse", r"A + A^{T}\text{ has an inverse}")]


@pytest.mark.parametrize("claim_id", DERIVED)
def test_certificate_is_accepted_and_stored(claim_id: str) -> None:
    found = certify(registry.get(claim_id))
    assert found.accepted, found.reason
    assert found.stored == "same", f"run `crossmodal verify --rewrite {claim_id}`"


@pytest.mark.parametrize("claim_id", DERIVED)
def test_goals_and_hypotheses_are_those_of_the_statement(claim_id: str) -> None:
    claim = registry.get(claim_id)
    certificate = certificate_of(claim_id)
    names = {g["name"].split(".")[0] for g in certificate["goals"]}
    assert names == {r.name for r in claim.statement.relations}
    stored = json.loads(path_of(claim_id).read_text(encoding="utf-8"))
    assert statement_part(stored) == statement_part(certificate)
    assert whose(stored) == f"as {claim_id} says"


def test_an_accepted_certificate_of_another_statement_is_told() -> None:
    stored = json.loads(path_of("T3.6").read_text(encoding="utf-8"))
    weaker = json.loads(json.dumps(stored))
    weaker["goals"].pop()
    another = json.loads(json.dumps(stored))
    another["recursions"]["learning"]["start"]["e"] = {"e_0": "2"}
    assumed = {"name": "more", "text": "", "fact": {"poly": {"eta": "1"}, "is": ">=0"}}
    symmetric = {**stored["symbols"], "symmetric": ["G"]}
    for changed in (
        weaker, another, {**stored, "claim": "T3.5"}, {**stored, "hypotheses": [*stored["hypotheses"], assumed]}, {**stored, "symbols": symmetric},
    ):  # fmt: skip
        assert whose(changed) == f"not what {changed['claim']} says"
    assert whose({**stored, "claim": "X1"}) == "of no claim here ('X1')"


@pytest.mark.parametrize("claim_id", DERIVED)
def test_mutants_are_rejected(claim_id: str) -> None:
    certificate = certificate_of(claim_id)
    tried, alive = mutants.survivors(certificate, MUTANTS, seed=1)
    assert tried >= 20
    assert [m.change for m in alive] == []


@pytest.mark.parametrize("claim_id", DERIVED)
def test_every_hypothesis_is_needed_by_the_certificate(claim_id: str) -> None:
    certificate = certificate_of(claim_id)
    for k, hypothesis in enumerate(certificate["hypotheses"]):
        changed = copy.deepcopy(certificate)
        del changed["hypotheses"][k]
        with pytest.raises(checker.Rejected):
            checker.check(changed)
        assert hypothesis["text"] is not None


@pytest.mark.parametrize("claim_id", DERIVED)
def test_a_relation_is_proved_from_what_it_is_said_to_use(claim_id: str) -> None:
    """Each goal by itself, from the facts its proof uses: the checker accepts that, and not with any of them left out."""
    certificate = certificate_of(claim_id)
    for goal, used in needs(certificate).items():
        part = of_goal(certificate, goal)
        assert checker.check(part) == [goal]
        assert used <= {h["name"] for h in certificate["hypotheses"]} | set(registry.get(claim_id).statement.given())
        for k in range(len(part["hypotheses"])):
            with pytest.raises(checker.Rejected):
                checker.check({**part, "hypotheses": part["hypotheses"][:k] + part["hypotheses"][k + 1 :]})


def test_what_a_relation_uses_is_shown() -> None:
    """Else T3.9 would speak of beta > alpha where beta <= alpha is assumed."""
    claim = registry.get("T3.9")
    certificate = certificate_of("T3.9")
    assert "other_side: two_levels" in assumptions_used(claim, certificate)
    assert "rule_holds: low, dissimilar, two_levels" in assumptions_used(claim, certificate)
    assert "other_side: two_levels" in as_text(claim, certificate)
    span = assumptions_used(registry.get("T3.10"), certificate_of("T3.10"))
    assert {"span: none", "logits: none", "twins: same_scores, same_start", "drift: stable"} <= set(span)
    assert assumptions_used(registry.get("S3"), None) == []
    # a definition counts where it restricts: l > 0, and that a step size is not negative
    share = assumptions_used(registry.get("T3.12"), certificate_of("T3.12"))
    assert {"above: orthonormal, forward, share, norm, positive", "back: norm"} <= set(share)
    assert "transition: within" in assumptions_used(registry.get("S5"), certificate_of("S5"))


def test_mutants_do_mutate() -> None:
    """The engine is no check if its mutants equal the original, or if it finds only one kind."""
    certificate = json.loads(json.dumps(derive(registry.get("T3.5"))))
    made = mutants.mutants(certificate, 60)
    assert len({json.dumps(m.certificate, sort_keys=True) for m in made}) > 50
    assert all(m.certificate != certificate for m in made)
    assert len({m.change.split(" at ")[0] for m in made}) >= 6


@pytest.mark.parametrize(
    ("claim_id", "relations"),
    [
        (
            "T2.1",
            {"bound", "attained", "optimal", "short"},
        ),  # the best mask, not only a bound of all, and what others give away
        ("T2.2", {"both", "exact"}),  # the condition is necessary too
        ("T2.5", {"rate", "inverse", "falls"}),  # -g' H^{-1} g, not only the curvature along the path
        ("T3.4", {"spectrum", "quarter", "either_order"}),  # as much on average if 2 comes first
        ("T3.6", {"gram", "inverse", "residuals", "before", "repeated"}),  # at the end and just after each step
        ("T3.13", {"split", "spread", "remainder", "along", "across", "push", "step"}),
        ("T3.12", {"exact", "expanded", "above", "below", "back", "on"}),
        ("O2", {"swap", "keep", "again", "past", "kept"}),  # neighbours and any number
        ("S5", {"smooth", "transition"}),  # without the paper's assumption and under it
        ("T3.8", {"swap_last", "best_321", "cheapest"}),  # the rule chooses the order that is proved best
        ("O3", {"above", "below", "of_norm", "no_spread"}),  # small scores, equal scores
        ("G1", {"step", "average", "closed", "forgetting"}),
        ("P2", {"needed", "without_IT", "without_TI"}),  # each of the two terms
    ],
)
def test_what_a_text_says_is_certified(claim_id: str, relations: set[str]) -> None:
    goals = {g["name"].split(".")[0] for g in certificate_of(claim_id)["goals"]}
    assert relations <= goals


def test_the_refuted_mask_is_one_of_scores() -> None:
    assumed = {s for a in registry.get("P4").statement.assumptions for r in a.relations for s in r.symbols}
    assert {"c_1", "c_2", "s", "scaled"} <= assumed


def test_a_second_difference_cites_its_own_mean_value() -> None:
    (fact,) = registry.get("C3").trust
    assert "second difference" in fact.statement  # Taylor's theorem along one line does not say it
    assert "somewhere" in next(
        a.text for a in registry.get("C3").statement.assumptions if a.name == "second_difference"
    )


def test_trust_base_is_short_and_in_one_file() -> None:
    cited = {fact for c in ALL for fact in registry.get(c).trust}
    assert cited == {fact for fact in vars(trust).values() if isinstance(fact, Fact)}
    assert len({fact.name for fact in cited}) <= 5, sorted(fact.name for fact in cited)


@pytest.mark.parametrize("claim_id", ALL)
def test_has_latex(claim_id: str) -> None:
    claim = registry.get(claim_id)
    assert claim.statement.latex
    assert all(latex(r.lhs) for r in claim.statement.relations)


def test_file_names_say_which_claim() -> None:
    for claim_id, module in registry.modules().items():
        assert module.startswith(claim_id.lower().replace(".", "_") + "_")
        assert registry.get(claim_id).id == claim_id


@pytest.mark.parametrize("claim_id", registry.modules())
def test_every_symbol_is_said(claim_id: str) -> None:
    """In the statement's own list, in its sentences, or as another of a series that the list begins."""
    said = registry.get(claim_id).statement
    relations = [*said.relations, *(r for a in said.assumptions for r in a.relations)]
    relations += [r for given in said.given().values() for _, r in given]
    words = " ".join([said.text, *(a.text for a in said.assumptions), *said.symbols.values()])
    stems = {name.rpartition("_")[0] for name in said.symbols} | set(said.symbols)
    sizes = set(re.findall(r"\w+", " ".join(said.matrices().values())))
    for name in set().union(*(r.symbols for r in relations)) - set(said.symbols) - sizes:
        alone = re.search(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z0-9])", words)
        assert alone or name.rpartition("_")[0] in stems, f"what is {name}?"
