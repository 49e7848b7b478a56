"""Polynomials of a certificate in any arithmetic: solver terms, fractions, enclosures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .problem import Problem

Poly = Mapping[str, str]
Fact = Mapping[str, Any]  # {"poly": .., "is": "=0" | ">=0" | ">0"}


class Values:
    """Values of the symbols of a certificate in some ring: solver terms, fractions, enclosures.

    ``defined`` maps a scalar or an inner product to the polynomial it is equal to.
    """

    def __init__(
        self, scalars: dict[str, Any], vectors: dict[str, list[Any]], defined: Mapping[str, Poly], number: Any
    ):
        self.scalars, self.vectors, self.defined, self.number = scalars, vectors, defined, number
        self.known: dict[str, Any] = {}
        self.constants = {t: Fraction(p.get("1", 0)) for t, p in defined.items() if set(p) <= {"1"}}
        self.product = self.inner  # how an inner product that nothing defines gets its value

    def inner(self, token: str) -> Any:
        x, y = (self.vectors[v] for v in token[1:-1].split(","))
        return sum((a * b for a, b in zip(x, y, strict=True)), self.number(Fraction(0)))

    def moved(self, scalars: Mapping[str, Any], vectors: Mapping[str, list[Any]]) -> Values:
        """The same with some symbols replaced."""
        return Values({**self.scalars, **scalars}, {**self.vectors, **vectors}, self.defined, self.number)

    def __getitem__(self, token: str) -> Any:
        if token in self.scalars:
            return self.scalars[token]
        if token not in self.known:
            if token in self.defined:
                self.known[token] = self.poly(self.defined[token])
            else:
                self.known[token] = self.product(token)
        return self.known[token]

    def poly(self, data: Poly) -> Any:
        total = self.number(Fraction(0))
        data = folded(data, self.constants) if self.constants else data
        for text, c in data.items():
            term = self.number(Fraction(c))
            for token, k in factors(text):
                for _ in range(k):
                    term = term * self[token]
            total = total + term
        return total

    def combination(self, data: Mapping[str, Poly]) -> list[Any]:
        size = max(map(len, self.vectors.values()))
        total = [self.number(Fraction(0))] * size
        for name, coefficient in data.items():
            c = self.poly(coefficient)
            total = [a + c * b for a, b in zip(total, self.vectors[name], strict=True)]
        return total

    def run(self, recursion: Mapping[str, Any], fresh: list[tuple[dict[str, Any], dict[str, Any]]]) -> Values:
        """The values after as many steps of a recursion as there are fresh symbols."""
        now = self
        moves: list[tuple[Any, Any]] = [(recursion["start"], ({}, {})), *((recursion["update"], f) for f in fresh)]
        moving_vectors = {k for part in ("start", "update") for k, v in recursion[part].items() if nested(v)}
        for move, (scalars, vectors) in moves:
            here = now.moved(scalars, vectors)
            new_vectors = {k: here.combination(v) for k, v in move.items() if k in moving_vectors}
            new_scalars = {k: here.poly(v) for k, v in move.items() if k not in moving_vectors}
            now = now.moved(new_scalars, new_vectors)
        return now


def nested(value: Mapping[str, Any]) -> bool:
    return any(isinstance(v, Mapping) for v in value.values())


def factors(monomial: str) -> Iterator[tuple[str, int]]:
    for token in monomial.split():
        if token != "1":
            name, caret, k = token.partition("^")
            yield name, int(k) if caret else 1


def folded(poly: Poly, constants: Mapping[str, Fraction]) -> dict[str, str]:
    """The polynomial with constants put for some symbols, like terms added: far fewer terms with lengths 1."""
    out: dict[str, Fraction] = {}
    for text, c in poly.items():
        value, rest = Fraction(c), []
        for item, (token, k) in zip(text.split(), factors(text), strict=False):
            if token in constants:
                value *= constants[token] ** k
            else:
                rest.append(item)
        key = " ".join(rest) or "1"
        out[key] = out.get(key, Fraction(0)) + value
    return {m: str(c) for m, c in out.items() if c}


def tokens(monomials: Iterable[str]) -> set[str]:
    """The symbols of a polynomial, or of some of its monomials."""
    return {name for text in monomials for name, _ in factors(text)}


def spoken_of(recursion: Mapping[str, Any]) -> set[str]:
    """The symbols in the start, the steps and the given facts of a recursion."""
    values = [v for part in ("start", "update") for v in recursion[part].values()]
    polys = [q for v in values for q in (v.values() if nested(v) else (v,))]
    return set().union(*(tokens(q) for q in (*polys, *(g["fact"]["poly"] for g in recursion["given"]))))


def definitions(problem: Problem) -> dict[str, tuple[str, Poly]]:
    """Symbols that a hypothesis expresses by others: ``{symbol: (hypothesis, polynomial)}``, without circles.

    Scalars come first; then inner products (whose coordinates keep the hypothesis as a constraint).  What the steps of a
    recursion speak of is not defined by what a recursion ends in, which has no value yet when they are taken.
    """
    state = {s for r in problem.recursions.values() for s in r["update"]}
    early = set().union(*(spoken_of(r) for r in problem.recursions.values()))
    found: dict[str, tuple[str, Poly]] = {}

    def needs(token: str, seen: set[str]) -> set[str]:
        if token not in seen:
            seen.add(token)
            for inside in tokens(found[token][1]) if token in found else ():
                needs(inside, seen)
        return seen

    for inner in (False, True):
        for name, fact in problem.hypotheses:
            if fact["is"] != "=0" or name in {n for n, _ in found.values()} or name.endswith((".square", ".product")):
                continue
            for text, c in fact["poly"].items():
                if " " in text or "^" in text or text == "1" or text.startswith("<") != inner:
                    continue
                if text in state or text in found or text in (others := tokens(m for m in fact["poly"] if m != text)):
                    continue
                late = not state.isdisjoint(set().union(*(needs(t, set()) for t in others)))
                if late and any(text in needs(t, set()) for t in early):
                    continue
                if all(text not in needs(t, set()) for t in others):
                    rest = {m: str(-Fraction(v) / Fraction(c)) for m, v in fact["poly"].items() if m != text}
                    found[text] = (name, rest)
                    break
    return found
