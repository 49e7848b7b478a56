"""Exact models of hypotheses that the models of a claim leave open: what Taylor's theorem says of a point it does not name.

Every other hypothesis is evaluated on the models of its claim (`tests/synthetic/test_claims_on_models.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isqrt
from typing import Any

import pytest
from crossmodal.theory import registry
from crossmodal.theory.certify import derive

F = Fraction
Values = dict[str, Any]  # scalars, and vectors as tuples

ROW = {  # two scores, 1 above and below their mean; softmax weights where Taylor's theorem puts them
    "tau": F(1), "b": F(1), "R": F(2), "V": F(1), "M": F(7, 4), "E_b": F(3), "delta": F(4, 9), "log_N": F(7, 10),
    "one": (F(1),), "m": (F(1, 4),), "s": (F(1, 2),), "d": (F(4, 9),), "l": (F(7, 10) - F(1, 4) + F(4, 9),),
    "L": F(7, 10) - F(1, 4) + F(4, 9), "Cbar": F(1, 4), "CLV": F(1, 2), "delta_mean": F(4, 9),
}  # fmt: skip
STEP = {  # two equally likely classes, a step of 1/2 along (1, -1)
    "eta_ce": F(1, 2), "H": F(1), "slope": F(-1), "D_CE": F(5, 8), "gain": F(1, 8), "z": (F(1), F(0)),
    "pi": (F(1, 2), F(1, 2)), "label": (F(1), F(0)), "move": (F(-1, 2), F(1, 2)), "log_old": (F(0), F(0)), "log_new": (F(-5, 8), F(3, 8)),
}  # fmt: skip
HEADS = {"eta": F(1), "E": (F(1), F(0)), "QE": (F(1, 2), F(0))}
MODELS: dict[str, tuple[Values, dict[str, list[Values]]]] = {
    "T1.2": (STEP, {"classes": [{"w": F(1, 2), "g": (F(1), F(0))}, {"w": F(1, 2), "g": (F(-1), F(0))}]}),
    "T1.5": (ROW, {
        "tilted": [{"w": F(2, 3), "x": F(1)}, {"w": F(1, 3), "x": F(-1)}], "row": [{"E": F(3), "y": F(1)}, {"E": F(1, 2), "y": F(-1)}],
        "tilted_1": [{"w_1": F(13, 18), "x_1": F(1)}, {"w_1": F(5, 18), "x_1": F(-1)}]}),
    "T3.11": (HEADS, {
        "classes": [{"w": F(1, 2), "e": s * F(1, 4), "b": s * F(1, 2)} for s in (1, -1)],
        "data": [{"omega": F(1), "zeta": F(1), "epsilon": F(1, 4), "beta": F(1, 2), "f": (F(1, 4), F(0))}]}),
    "T3.13": ({**HEADS, "w_0": F(1, 2), "b_0": F(1), "mu": F(-1, 4), "B": F(1, 2), "c_2": F(1)}, {
        "others": [{"w_1": F(1, 2), "b_1": F(-1)}],
        "classes": [{"w": F(1, 4), "e": F(3, 64), "b": F(1, 2)}, {"w": F(3, 4), "e": F(-3, 64), "b": F(-1, 2)}],
        "data": [{"omega": F(1), "gamma": F(1), "delta": F(1, 3), "nu": F(2), "epsilon": F(1, 2), "beta": F(1), "g": (F(1, 3), F(0)), "h": (F(1), F(0))}]}),
}  # fmt: skip


def value(poly: Mapping[str, str], at: Values) -> Fraction:
    total = F(0)
    for monomial, c in poly.items():
        product = F(c)
        for token in monomial.split():
            atom, _, power = token.partition("^")
            if atom.startswith("<"):
                x, y = (at[name] for name in atom[1:-1].split(","))
                number = sum((a * b for a, b in zip(x, y, strict=True)), F(0))
            else:
                number = F(1) if atom == "1" else at[atom]
            product *= number ** int(power or 1)
        total += product
    return total


def moved(data: Mapping[str, Any], at: Values, vectors: Sequence[str]) -> Values:
    size = len(next((v for v in at.values() if isinstance(v, tuple)), ()))
    out: Values = {}
    for name, image in data.items():
        if name in vectors:
            terms = [[value(c, at) * x for x in at[v]] for v, c in image.items()]
            out[name] = tuple(sum(column, F(0)) for column in zip(*terms, strict=True)) if terms else (F(0),) * size
        else:
            out[name] = value(image, at)
    return out


def holds(fact: Mapping[str, Any], at: Values) -> bool:
    number = value(fact["poly"], at)
    return {"=0": number == 0, ">=0": number >= 0, ">0": number > 0}[fact["is"]]


@pytest.mark.parametrize("claim_id", MODELS)
def test_hypotheses_can_be_met(claim_id: str) -> None:
    given, runs = MODELS[claim_id]
    certificate, at = derive(registry.get(claim_id)), dict(given)
    vectors = certificate["symbols"]["vectors"]
    assert runs.keys() == certificate["recursions"].keys()
    for name, r in certificate["recursions"].items():
        at |= moved(r["start"], at, vectors)
        for fresh in runs[name]:
            inside = {**at, **fresh}
            assert all(holds(g["fact"], inside) for g in r["given"]), name
            at |= moved(r["update"], inside, vectors)
    facts = {h["name"]: h["fact"] for h in certificate["hypotheses"] if "poly" in h["fact"]}
    for name, fact in facts.items():  # a root is what its square says
        if name.endswith(".square"):
            root = name.removesuffix(".square")
            square = value({k: c for k, c in fact["poly"].items() if not k.startswith("root")}, at) / -F(
                fact["poly"][f"{root}^2"]
            )
            at[root] = F(isqrt(square.numerator), isqrt(square.denominator))
    assert [name for name, fact in facts.items() if not holds(fact, at)] == []
    goals = [g for g in certificate["goals"] if "poly" in g["fact"]]
    assert goals
    assert all(holds(g["fact"], at) for g in goals)
