"""Two solvers attack the claims: they must fail on the claim and succeed on every weakened or tightened variant."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from crossmodal.synthetic import refuters
from crossmodal.synthetic.refuters import Encoding, Problem, Worker, attack, problems
from crossmodal.synthetic.refuters.attack import Case, attempt, variants_of
from crossmodal.synthetic.refuters.encoding import GRAM
from crossmodal.synthetic.refuters.matrices import MatrixProblem, matrix_variants
from crossmodal.synthetic.refuters.polynomials import definitions
from crossmodal.theory import registry
from crossmodal.theory.certify import derive
from crossmodal.theory.claim import Assumption, Statement
from crossmodal.theory.errors import InputError
from crossmodal.theory.language import BlockRecursion, Relation
from sympy import MatrixSymbol, Symbol, ZeroMatrix

pytest.importorskip("z3")
pytest.importorskip("cvc5")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as w:
        yield w


ALL = list(registry.modules())
BOTH = ("z3", "cvc5")
NIGHTLY = (
    os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
)  # one solver is enough by day, for every claim has a certificate


@cache
def variants(claim_id: str) -> dict[str, list[Case]]:
    """Of a registered claim; a proof is searched for to make them, which for T3.9 takes seconds."""
    return variants_of(registry.get(claim_id))


def itself(cases: dict[str, list[Case]]) -> dict[str, list[Case]]:
    return {name: found for name, found in cases.items() if name == "the claim"}


def test_there_is_something_to_attack() -> None:
    assert all(problems(registry.get(c)) for c in ("S3", "S4", "S5", "S6", "T1.6", "T3.8"))
    assert not problems(registry.get("T3.4"))  # matrices only
    assert {name for name, _ in matrix_variants(registry.get("T3.4"))} == {
        "the claim", "without projector_1", "without projector_2", "quarter 1% tighter"}  # fmt: skip


ROUNDS = (
    ("z3", 5.0),
    ("cvc5", 5.0),
    ("z3", 180.0),
    ("cvc5", 180.0),
)  # seconds for one variant; nearly all take less than one, and a busy machine several times as long


@pytest.mark.slow
@pytest.mark.parametrize("claim_id", ALL)
def test_no_solver_refutes_a_claim(claim_id: str, worker: Worker) -> None:
    claim = registry.get(claim_id)
    for found in attack(claim, 0.5, BOTH if NIGHTLY else BOTH[:1], worker, itself(variants(claim_id))):
        assert found.outcome != "refuted" or claim.verdict == "REFUTED", found


@pytest.mark.slow
@pytest.mark.parametrize("claim_id", ALL)
def test_every_variant_is_refuted(claim_id: str, worker: Worker) -> None:
    """By z3, or by cvc5 where z3 runs out of time, or by either in longer; with a witness in rationals, evaluated here."""
    claim = registry.get(claim_id)
    if claim.verdict == "REFUTED":
        pytest.skip("has its witness already")
    left = {name: cases for name, cases in variants(claim_id).items() if name != "the claim"}
    for solver, patience in ROUNDS:
        refuted = {found.variant for found in attack(claim, patience, (solver,), worker, left) if found.confirmed}
        left = {name: cases for name, cases in left.items() if name not in refuted}
    assert not set(left)


def test_both_solvers_refute_a_tightened_constant(worker: Worker) -> None:
    found = attack(registry.get("S4"), 10.0, worker=worker)
    assert [(a.solver, a.variant, a.outcome) for a in found] == [
        ("z3", "the claim", "not refuted"),
        ("cvc5", "the claim", "not refuted"),
        ("z3", "corollary 1% tighter", "refuted"),
        ("cvc5", "corollary 1% tighter", "refuted"),
    ]
    assert all(a.confirmed for a in found if a.outcome == "refuted")


def test_a_false_claim_is_refuted(worker: Worker) -> None:
    """S5 with half of its bound; and a problem whose witness is wrong is not confirmed."""
    claim = registry.get("S5")
    halved = tuple(Relation(r.name, r.lhs, r.op, r.rhs * Fraction(1, 2)) for r in claim.statement.relations)
    false = replace(claim, statement=replace(claim.statement, relations=halved), derive=None)
    found = attack(false, 5.0, ("z3",), worker)[0]
    assert (found.variant, found.outcome, found.confirmed) == ("the claim", "refuted", True)


def problem(goal: dict[str, str], relation: str, *hypotheses: tuple[str, dict[str, str], str]) -> Problem:
    facts = tuple((name, {"poly": poly, "is": rel}) for name, poly, rel in hypotheses)
    return Problem(facts, "goal", {"poly": goal, "is": relation}, {}, ("u", "v"))


def test_confirmation_is_exact() -> None:
    """A point off the hypothesis by 1e-30, and one on which the goal is only just true, are no witnesses."""
    unit = ("unit", {"<v,v>": "1", "1": "-1"}, "=0")
    e = Encoding(problem({"1": "1", "<u,v>": "-1"}, ">=0", unit), 2, 0)  # false: <u,v> <= 1 for any u
    point = {"u[0]": Fraction(2), "v[0]": Fraction(1), "v[1]": Fraction(0)}
    assert e.confirm(point) is not None
    assert e.confirm({**point, "u[0]": Fraction(1)}) is None
    assert e.confirm({**point, "v[0]": 1 + Fraction(1, 10**30)}) is None
    assert e.confirm({**point, "u[0]": 1 + Fraction(1, 10**30)}) is not None


def test_an_irrational_model_is_moved_to_a_rational_one() -> None:
    """|u|^2 = 1 and u_0 > v_0 > 0 have irrational models; the witness is rational all the same."""
    p = problem(
        {"<u,v>": "-1"}, ">=0", ("unit", {"<u,u>": "1", "1": "-1"}, "=0"), ("half", {"<v,v>": "1", "1": "-1/2"}, "=0")
    )
    answer, witness, confirmed = refuters.solve(p, 2, 0, refuters.Solver("z3"), time.monotonic() + 10)
    assert answer == "sat"
    assert confirmed
    assert witness is not None
    assert sum(Fraction(x) ** 2 for x in witness["v"]) == Fraction(1, 2)


def test_sums_of_any_length_are_unrolled() -> None:
    """``s = sum x_i`` with ``x_i >= 0``: ``s >= 0`` stands, ``s <= 1`` falls, with as many terms as are needed."""
    step = {
        "kind": "scalars", "fresh": {"scalars": ["x"], "vectors": []}, "start": {"s": {}}, "update": {"s": {"s": "1", "x": "1"}},
        "given": [{"name": "sign", "fact": {"poly": {"x": "1"}, "is": ">=0"}}, {"name": "small", "fact": {"poly": {"1": "2/3", "x": "-1"}, "is": ">=0"}}],
    }  # fmt: skip

    def answer(goal: dict[str, str], n: int) -> Any:
        p = Problem((), "goal", {"poly": goal, "is": ">=0"}, {"sum": step}, ())
        return refuters.solve(p, 1, n, refuters.Solver("z3"), time.monotonic() + 10)[::2]

    assert answer({"s": "1"}, 3) == ("unsat", False)
    assert answer({"1": "1", "s": "-1"}, 1) == ("unsat", False)
    assert answer({"1": "1", "s": "-1"}, 2) == ("sat", True)


def test_a_fault_of_ours_is_no_giving_up(worker: Worker) -> None:
    """A case that raises in the solver's process is raised here, and the process goes on."""
    broken = replace(problem({"1": "1"}, ">=0"), goal={"poly": {"<nobody,else>": "1"}, "is": ">=0"})
    with pytest.raises(RuntimeError, match="X, the claim, z3: KeyError"):
        worker.attempt("X", "the claim", [(broken, 2, 0)], "z3", 5.0)
    assert attack(registry.get("S4"), 5.0, ("z3",), worker, itself(variants("S4")))[0].outcome == "not refuted"


def test_a_false_matrix_claim_is_refuted(worker: Worker) -> None:
    """T3.5 with (I + L) in place of its inverse; O1 with 1/8 in place of 1/4: rational witnesses, evaluated here."""
    claim = registry.get("O1")
    half = next(r for r in claim.statement.relations if r.name == "half")
    false = replace(claim.statement, relations=(replace(half, rhs=half.rhs / 2),))
    false_claim = replace(claim, statement=false, derive=None)
    found = attack(false_claim, 5.0, ("z3",), worker, itself(variants_of(false_claim)))
    assert [(a.goal, a.outcome, a.confirmed) for a in found] == [("half", "refuted", True)]
    claim = registry.get("T3.5")
    forgetting = next(r for r in claim.statement.relations if r.name == "residuals")
    wrong = Relation("residuals", forgetting.lhs, "==", -forgetting.rhs)
    false_claim = replace(claim, statement=replace(claim.statement, relations=(wrong,)), derive=None)
    found = attack(false_claim, 5.0, ("z3",), worker, itself(variants_of(false_claim)))
    assert [(a.goal, a.outcome, a.confirmed) for a in found] == [("residuals", "refuted", True)]


def test_blocks_of_several_rows_are_tried(worker: Worker) -> None:
    """That the new blocks commute is true as long as all of them have one row."""
    t, k = Symbol("T", integer=True, positive=True), Symbol("k", integer=True, positive=True)
    (p, q), m = (MatrixSymbol(name, k, k) for name in "pq"), MatrixSymbol("M", t, t)
    grow = {m: [[m, ZeroMatrix(t, k)], [ZeroMatrix(k, t), p * q - q * p]]}
    learning = BlockRecursion(dim="T", by="k", any_size=True, fresh=(p, q), grow=grow)
    statement = Statement(
        text="", relations=(Relation("r", m, "==", ZeroMatrix(t, t)),), recursions={"learning": learning}
    )
    false_claim = replace(registry.get("T3.5"), statement=statement, derive=None, tight=())
    found = attack(false_claim, 5.0, ("z3",), worker, itself(variants_of(false_claim)))
    assert [(a.outcome, a.confirmed) for a in found] == [("refuted", True)]
    sizes = {(c[0].heights, *c[1:]) for c in variants("T3.5")["without orthonormal"] if isinstance(c[0], MatrixProblem)}
    assert {((1,), 2, 2), ((2,), 2, 1), ((1, 2), 2, 2)} <= sizes
    one_size = replace(statement, recursions={"learning": replace(learning, any_size=False)})
    one_row = [
        MatrixProblem(one_size, statement.relations[0], heights=(1, 2)),
        MatrixProblem(statement, statement.relations[0]),
    ]
    for problem_ in one_row:  # blocks of one size are all as the first
        assert attempt("X", "the claim", [(problem_, 2, 2)], refuters.Solver("z3"), 20.0).outcome == "not refuted"


def test_scores_may_be_rational_where_vectors_are_not(worker: Worker) -> None:
    """Three unit vectors with all scores -2/5 exist in no coordinates with rational entries that a search would try."""
    names = [("u", "v"), ("u", "w"), ("v", "w")]
    facts = [(f"unit_{x}", {f"<{x},{x}>": "1", "1": "-1"}, "=0") for x in "uvw"]
    facts += [(x + y, {f"<{x},{y}>": "1", "1": "2/5"}, "=0") for x, y in names]
    p = replace(problem({"1": "-1"}, ">=0", *facts), vectors=("u", "v", "w"))
    answer, witness, confirmed = refuters.solve(p, GRAM, 0, refuters.Solver("z3"), time.monotonic() + 10)
    assert (answer, confirmed, (witness or {}).get("<u,v>")) == ("sat", True, "-2/5")
    infeasible = tuple((n, {**f, "poly": {**f["poly"], "1": "3/5"}} if len(n) == 2 else f) for n, f in p.hypotheses)
    impossible = replace(p, hypotheses=infeasible)  # all scores -3/5: the Gram matrix has eigenvalue -1/5
    assert refuters.solve(impossible, GRAM, 0, refuters.Solver("z3"), time.monotonic() + 10)[0] == "unsat"


def test_facts_about_other_symbols_are_met_beside() -> None:
    """x > 0 has nothing to do with y = 2: both are in the witness, and y = 2, y = 3 has none."""
    facts = [("x", {"x": "1"}, ">0"), ("y", {"y": "1", "1": "-2"}, "=0")]
    p = replace(problem({"1": "1", "x": "-1"}, ">=0", *facts), vectors=())
    near, rest = p.split()
    assert [n for n, _ in near.hypotheses] == ["x"]
    assert rest is not None
    answer, witness, confirmed = refuters.solve(p, 1, 0, refuters.Solver("z3"), time.monotonic() + 10)
    assert (answer, confirmed, (witness or {}).get("y")) == ("sat", True, "2")
    both = problem({"1": "1", "x": "-1"}, ">=0", *facts, ("z", {"y": "1", "1": "-3"}, "=0"))
    assert refuters.solve(replace(both, vectors=()), 1, 0, refuters.Solver("z3"), time.monotonic() + 10)[0] != "sat"


def test_what_no_solver_was_asked_is_not_said_to_stand() -> None:
    """An assumption with an inverse in it keeps every relation about its symbols from the solvers."""
    claim = registry.get("T3.4")
    relation = next(r for r in claim.statement.relations if r.name == "quarter")
    letter = (
        next(a for a in claim.statement.assumptions if a.name == "projector_1")
        .relations[0]
        .lhs.atoms(MatrixSymbol)
        .pop()
    )
    odd = Assumption("odd", "", (Relation("", letter.I, "==", letter),))
    statement = replace(claim.statement, assumptions=(*claim.statement.assumptions, odd))
    for given, outcome in ((claim.statement, "not refuted"), (statement, "gave up")):
        cases: list[Case] = [(MatrixProblem(given, relation), 1, 0)]
        assert attempt("T3.4", "the claim", cases, refuters.Solver("z3"), 20.0).outcome == outcome


def test_goals_proved_with_matrices_are_left_alone() -> None:
    certificate = derive(registry.get("S8"))
    assert {"synergy", "bound"} <= refuters.without_matrices(certificate)
    assert not {"matrix", "trace"} & refuters.without_matrices(certificate)


def test_what_steps_speak_of_is_not_defined_by_where_they_lead() -> None:
    """T3.13 calls the sums that its recursion ends in mu and B, and its steps speak of both: they stay unknowns, and equations."""
    remainder = next(p for p in problems(registry.get("T3.13")) if p.goal_name == "remainder")
    assert {name for name, _ in remainder.hypotheses} >= {"probabilities.2", "probabilities.3"}
    assert not {"mu", "B"} & set(definitions(remainder))
    assert {"L", "Cbar"} <= set(definitions(problems(registry.get("T1.5"))[0]))


def test_a_missing_solver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"cvc5 is not installed(.|\n)*crossmodal\[test\]"):
        refuters.Solver("cvc5")
