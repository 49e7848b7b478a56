"""What a certificate states is what the claim says: its facts, read here from their JSON, against the sympy relations, number by number.

The checker proves the facts of a file.  That they are those of the claim rests on `lowering`, of which nothing is used here: numbers for all
symbols are put into the strings of a certificate, and the result must be the difference of the two sides of the relation.  The numbers have
the shapes of a model and are none, for on a model the difference of an equation is zero, whatever its coefficients.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from crossmodal.synthetic.arithmetic import Enclosure, arithmetic
from crossmodal.synthetic.draw import draw_exact
from crossmodal.synthetic.evaluate import bound_values, sides, value
from crossmodal.theory import registry
from crossmodal.theory.claim import Claim
from crossmodal.theory.language import Relation
from crossmodal.theory.proof import Proof

exact = arithmetic("exact")
CLAIMS = [c for c in registry.modules() if registry.get(c).verdict == "PROVED"]
IS = {"==": ("=0", "trace=0"), "<=": (">=0", "trace>=0"), "<": (">0",), "loewner<=": ("psd",)}


def number(x: Any) -> Any:
    return x.reshape(-1)[0] if isinstance(x, np.ndarray) else x


class Read:
    """Facts of a certificate on one model."""

    def __init__(self, claim: Claim, certificate: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        self.values, self.matrices = dict(values), set(certificate["symbols"]["matrices"])
        proof = Proof(claim)
        for base, symbol in proof.replaced.items():  # what the names of roots and reciprocals stand for
            if isinstance(base, tuple):
                self.values[str(symbol)] = 1 / number(value(base[1], self.values, exact))
            else:
                self.values[str(symbol)] = number(exact.sqrt(value(base, self.values, exact)))

    def scalar(self, token: str) -> Any:
        name, _, power = token.partition("^")
        if name.startswith("<"):
            x, y = name[1:-1].split(",")
            base = number(exact.inner(self.values[x], self.values[y]))
        else:
            base = number(self.values[name])
        out: Any = Fraction(1)
        for _ in range(int(power or 1)):
            out = out * base
        return out

    def term(self, text: str, coefficient: str) -> tuple[Any, Any]:
        """The number in front of a word, and the product of its letters (None for the identity)."""
        front, product = Fraction(coefficient), None
        for token in text.split():
            name = token.rstrip("'")
            if name in self.matrices:
                letter = self.values[name] if token == name else self.values[name].T
                product = letter if product is None else product @ letter
            elif token != "1":
                front = front * self.scalar(token)
        return front, product

    def entries(self, fact: Mapping[str, Any], like: np.ndarray) -> list[Any]:
        if "poly" in fact:
            return [sum((self.term(t, c)[0] for t, c in fact["poly"].items()), Fraction(0))]
        terms = [self.term(t, c) for t, c in fact["words"].items()]
        if fact["is"].startswith("trace"):
            return [sum((front * sum(word.diagonal()) for front, word in terms), Fraction(0))]
        total = like * 0
        for front, word in terms:
            total = total + front * (exact.eye(like) if word is None else word)
        return list(total.reshape(-1))


def shaken(claim: Claim, values: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A model whose entries have been changed one by one, none to the other sign; symmetric letters stay so."""
    rng, out = random.Random(seed), {}
    for name, x in values.items():
        array = x if isinstance(x, np.ndarray) else exact.array(x)
        moved = np.empty_like(array)
        for place, entry in np.ndenumerate(array):
            up = Fraction(rng.randint(1, 9), 7)
            moved[place] = entry * Fraction(rng.randint(1, 5), 3) + (up if float(entry) >= 0 else -up)
        out[name] = (moved + moved.T) * Fraction(1, 2) if name in claim.statement.symmetric else moved
    return out


def stated(claim: Claim) -> Iterator[tuple[str, Relation]]:
    """Relations by the name of their facts."""
    yield from ((r.name, r) for r in claim.statement.relations)
    for a in claim.statement.assumptions:
        for k, r in enumerate(a.relations):
            yield (f"{a.name}.{k + 1}" if len(a.relations) > 1 else a.name), r


def same(x: Any, y: Any) -> bool:
    rest = x - y
    return (
        bool(rest.lo <= 0 <= rest.hi and rest.hi - rest.lo < Fraction(1, 10**40))
        if isinstance(rest, Enclosure)
        else rest == 0
    )


def compared(claim: Claim, certificate: Mapping[str, Any], index: int) -> set[str]:
    """Names of the relations that have values, after comparing them."""
    values = shaken(claim, bound_values(claim, draw_exact(claim, 3, index), exact), index)
    read = Read(claim, certificate, values)
    facts = {f["name"]: f["fact"] for f in (*certificate["goals"], *certificate["hypotheses"])}
    found = set()
    for name, relation in stated(claim):
        mine = [f for n, f in facts.items() if n == name or (n.startswith(f"{name}.") and n[len(name) + 1 :].isdigit())]
        if not mine or not relation.symbols <= set(values):
            continue
        lhs, rhs = sides(relation, values, exact)
        difference = rhs - lhs if isinstance(rhs - lhs, np.ndarray) else exact.array(rhs - lhs)
        wanted = list(difference.reshape(-1))
        got = [read.entries(fact, difference) for fact in mine]
        least = (
            got[0] if len(got) == 1 else [min((g[0] for g in got), key=float)]
        )  # of a modulus, a maximum or a minimum: the tightest
        assert len(least) == len(wanted), name
        assert all(map(same, least, wanted)), (name, relation.text)
        assert all(f["is"] in IS[relation.op] for f in mine), name
        found.add(name)
    return found


def certificate_of(claim_id: str) -> Any:
    return json.loads((registry.CERTIFICATES / f"{claim_id}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_a_certificate_states_what_the_claim_says(claim_id: str) -> None:
    claim, certificate = registry.get(claim_id), certificate_of(claim_id)
    speaks = {r.name for r in claim.statement.relations}
    found: set[str] = set()
    for index in range(6):
        with suppress(ValueError, ZeroDivisionError):  # no root or quotient at these numbers
            found |= compared(claim, certificate, index)
    assert found & speaks, "no relation of the claim itself has a value"


def test_another_statement_is_noticed() -> None:
    """A coefficient of the other sign, a minimum without one of its arguments, a weaker relation."""
    claim, turned = registry.get("T3.8"), certificate_of("T3.8")
    goal = next(g for g in turned["goals"] if g["name"] == "swap_last")
    goal["fact"]["poly"] = {m: str(-Fraction(c)) for m, c in goal["fact"]["poly"].items()}
    with pytest.raises(AssertionError, match="swap_last"):
        compared(claim, turned, 0)
    claim, short = registry.get("T3.9"), certificate_of("T3.9")
    short["goals"] = [g for g in short["goals"] if g["name"] != "cheapest.2"]
    with pytest.raises(AssertionError, match="cheapest"):
        any(not compared(claim, short, index) for index in range(6))
    claim, weak = registry.get("T1.6"), certificate_of("T1.6")
    weak["goals"][-1]["fact"]["is"] = ">=0"
    with pytest.raises(AssertionError, match="reversal"):
        compared(claim, weak, 0)
