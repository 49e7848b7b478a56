"""What is said of a relation on a batch: the worst model counts, and one that is not decided is not hidden by others."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import sympy
import torch
from crossmodal.synthetic.arithmetic import Ball, Enclosure, arithmetic
from crossmodal.synthetic.evaluate import (
    Judgement,
    Remembered,
    Status,
    admitted,
    judge,
    judge_assumptions,
    least_factor,
    rank,
    sides,
    slacks,
    value,
)
from crossmodal.theory import registry
from crossmodal.theory.claim import Assumption, Claim
from crossmodal.theory.errors import InputError
from crossmodal.theory.language import Relation

bounded = arithmetic("bounded")
x, y = sympy.symbols("x y", real=True)
NAN, INF = math.nan, math.inf


def batch(mid: list[float], err: list[float]) -> dict[str, Any]:
    return {"x": Ball(*(torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (mid, err)))}


# relation, middles and radii of the models, what is said, the model it is said of
CASES: list[tuple[Relation, list[float], list[float], Status, int]] = [
    (Relation("r", 0, "<=", x), [NAN, -1], [0, 0], "violated", 1),
    (Relation("r", 0, "<=", x), [1, -1, -2], [NAN, 0.5, 1.5], "violated", 1),  # the surest
    (Relation("r", 0, "<=", x), [1, NAN, 2], [0, 0, 0], "undecided", 1),
    (Relation("r", 0, "<=", x), [1, 2, -1], [0, INF, 3], "undecided", 1),  # whatever a radius without end covers
    (Relation("r", 0, "<=", x), [1, 2], [0, 5], "undecided", 1),
    (Relation("r", 0, "<=", x), [3, 2, 1], [4, 3, 0], "undecided", 1),
    (Relation("r", 0, "<=", x), [1, -1e-9], [0, 2e-9], "within error", 1),  # the sides meet
    (Relation("r", 0, "<=", x), [1, -1e-9, 1e-9], [0, 2e-9, 2e-8], "undecided", 2),
    (Relation("r", 0, "<=", x), [2, 1, 0.5], [0, 0, 0.4], "holds", 2),
    (Relation("r", 0, "<=", x), [INF, 1], [0, 0], "undecided", 0),
    (Relation("r", 0, "<", x), [1, 0], [0, 0], "within error", 1),  # a radius is never quite 0
    (Relation("r", 0, "<", x), [1, -1], [0, 0], "violated", 1),
    (Relation("r", 0, "<", x), [1, 0.5], [0, 0.4], "holds", 1),
    (Relation("r", x, "==", 0), [1e-9, 0], [1e-8, 0], "holds", 0),
    (Relation("r", x, "==", 0), [1e-9, 0], [2e-8, 0], "undecided", 0),  # 2^-26 = 1.49e-8
    (Relation("r", x, "==", 0), [1e-9, 0, 1e-12], [1e-8, 0, 1e-13], "violated", 2),
    (Relation("r", x, "==", 0), [0, 0], [0, INF], "undecided", 1),
    (Relation("r", x, "==", 0), [0, NAN], [0, 0], "undecided", 1),
]


def test_a_strict_relation_whose_radius_just_reaches_zero_is_in_doubt() -> None:
    """There the sides may meet; a relation that is not strict holds."""
    ends = {}
    for k in range(64):
        values = batch([0.5], [0.5 - k * 2.0**-54])
        for op in ("<", "<="):
            relation = Relation("r", 0, op, x)
            mid, err = slacks(relation, *sides(relation, values, bounded), bounded)
            ends[float(mid - err), op] = judge(relation, values, bounded).status
    assert ends[0.0, "<"] == "undecided"
    assert ends[0.0, "<="] == "holds"
    assert all((status == "holds") == (low > 0) for (low, op), status in ends.items() if op == "<")


def test_a_strict_relation_that_at_best_reaches_zero_is_violated() -> None:
    """The sides may meet at most, which is not enough; for one that is not strict it is."""
    ends = {}
    for k in range(64):
        values = batch([-0.5], [0.5 - k * 2.0**-54])
        for op in ("<", "<="):
            relation = Relation("r", 0, op, x)
            mid, err = slacks(relation, *sides(relation, values, bounded), bounded)
            ends[float(mid + err), op] = judge(relation, values, bounded).status
    assert ends[0.0, "<"] == "violated"
    assert ends[0.0, "<="] == "undecided"


@pytest.mark.parametrize(("relation", "mid", "err", "status", "index"), CASES)
def test_the_worst_model_counts(
    relation: Relation, mid: list[float], err: list[float], status: Status, index: int
) -> None:
    found = judge(relation, batch(mid, err), bounded)
    assert (found.status, found.index) == (status, index)
    if math.isfinite(mid[index] + err[index]):
        assert abs(found.slack) == abs(mid[index])
    else:
        assert math.isnan(found.slack)
        assert found.error == INF
    alone = [judge(relation, batch([m], [e]), bounded) for m, e in zip(mid, err, strict=True)]
    assert min(map(rank, alone))[0] == rank(found)[0]  # the batch says what is said of its worst model


# an equation between sides of that size, known up to that error (the difference up to twice of it)
SIZES: list[tuple[Any, list[float], list[float], Status, float]] = [
    (x, [100, 0], [5e-7, 0], "holds", 100),
    (x, [0, 100], [0, 1e-6], "undecided", 100),
    (x, [1, 1e-5], [0, 1e-9], "undecided", 1e-5),  # small sides are compared with themselves
    (x**64, [1e-300], [0], "holds", 0),  # below the smallest normal number there are no digits to lose
    (x, [INF, 1], [0, 0], "undecided", INF),
]


@pytest.mark.parametrize(("side", "mid", "err", "status", "size"), SIZES)
def test_an_equation_is_compared_with_its_own_sides(
    side: Any, mid: list[float], err: list[float], status: Status, size: float
) -> None:
    found = judge(Relation("r", side, "==", side), batch(mid, err), bounded)
    assert found.status == status
    assert found.size == size or status == "holds"


@pytest.mark.parametrize(("width", "status"), [("1e-37", "holds"), ("1e-35", "undecided")])
def test_an_exact_enclosure_counts_by_its_width(width: str, status: Status) -> None:
    exact, half = arithmetic("exact"), Fraction(width) / 2
    values = {"x": exact.array([[Enclosure(-half, half)]])}
    assert judge(Relation("r", x, "==", 0), values, exact).status == status
    assert judge(Relation("r", x, "<=", 0), values, exact).status == {"holds": "within error"}.get(status, status)
    assert judge(Relation("r", 2 * x, "==", x), {"x": exact.array([[1000]])}, exact).status == "violated"
    near = {"x": exact.array([[Enclosure(1000 - half, 1000 + half)]])}
    assert judge(Relation("r", x, "==", 1000), near, exact).status == "holds"  # three digits more


def test_only_admitted_models_count() -> None:
    values = batch([NAN, -1, 2, 3], [0, 0, 5, 0])
    for mask, status, index in (
        ([0, 0, 0, 1], "holds", 3),
        ([0, 0, 1, 1], "undecided", 2),
        ([1, 0, 0, 1], "undecided", 0),
    ):
        found = judge(Relation("r", 0, "<=", x), values, bounded, torch.tensor(mask, dtype=torch.bool))
        assert (found.status, found.index) == (status, index)


def test_order_of_judgements() -> None:
    """Violated, not a number, undecided, within error, holding, each by slack; nothing that comes after replaces what is not a number."""
    worst_first = [("violated", -2.0), ("violated", 0.0), ("undecided", NAN), ("undecided", -1.0), ("undecided", 1.0), ("within error", -4.0), ("holds", -3.0), ("holds", 0.0)]  # fmt: skip
    ranks = [rank(Judgement("r", status, slack, 0.0, 0.0, 0.0)) for status, slack in worst_first]  # type: ignore[arg-type]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)


def assuming(*relations: Relation) -> Claim:
    claim = registry.get("C2")
    return replace(claim, statement=replace(claim.statement, assumptions=(Assumption("a", "", relations),)))


def test_an_assumption_that_is_no_number_is_not_ruled_out_and_not_hidden() -> None:
    claim = assuming(Relation("", 0, "<=", x))
    assert admitted(claim, batch([NAN, -1, 1, -1], [0, 0, NAN, 2]), bounded, 4).tolist() == [True, False, True, True]
    known, unknown = Relation("", 0, "<=", y), Relation("", 0, "<=", x)
    values = {**batch([NAN], [0]), "y": batch([1], [0])["x"]}
    for relations in ((known, unknown, known), (unknown, known)):
        assert math.isnan(judge_assumptions(assuming(*relations), values, bounded)["a"].slack)


@pytest.mark.parametrize("k", [-3, -2, -1, 2, 3])
def test_powers_of_a_matrix(k: int) -> None:
    """Products of the matrix or of its inverse; a root has no value, and is not taken for the matrix."""
    rows, a = [[2, 1], [1, 1]], sympy.MatrixSymbol("A", 2, 2)
    exact = arithmetic("exact")
    assert value(a**k, {"A": exact.array(rows)}, exact).tolist() == (sympy.Matrix(rows) ** k).tolist()
    with pytest.raises(InputError, match=r"no value for .*MatPow"):
        value(a ** (k + sympy.Rational(1, 2)), {"A": exact.array(rows)}, exact)


def test_the_least_factor_of_a_relation() -> None:
    """AUROC's bounds are solved from the claims in this one place; a claim of another shape must not be solved silently."""
    auroc, d, v_in, v_out, tt, st, text = sympy.symbols("AUROC D V_in V_out Con_IT_tt Con_IT_st Con_TT_tt", real=True)
    by_name = {r.name: r for c in ("D1", "D2") for r in registry.get(c).statement.relations}
    cantelli = by_name["cantelli"]
    for name, rest in (("cantelli", v_in + v_out), ("separation", 2 * text - tt**2 - st**2)):
        assert sympy.simplify(least_factor(by_name[name], "AUROC") - d**2 / (d**2 + rest)) == 0
    changed = [{"rhs": cantelli.rhs + d}, {"rhs": cantelli.rhs * auroc}, {"rhs": d}, {"lhs": cantelli.lhs * auroc}]
    for fields in (*changed, {"op": "=="}):
        with pytest.raises(AssertionError, match=r"'cantelli' does not read x <= AUROC \* y"):
            least_factor(replace(cantelli, **fields), "AUROC")


def test_a_symbol_without_a_value_is_named() -> None:
    """A claim's `bind` left it out: in batches, whose values are a plain mapping, as in rationals."""
    for values in ({"mu": 1}, Remembered({"mu": 1})):
        with pytest.raises(InputError, match=r"no value for 'nu'(.|\n)*found mu"):
            value(sympy.Symbol("nu") + 1, values, arithmetic("exact"))
