"""A problem written down for a solver: coordinates or inner products, sums run for a few terms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ..arithmetic import lower_end, root, upper_end
from .polynomials import Fact, Values, definitions, spoken_of, tokens
from .problem import Problem
from .solver import LEGS, Search, Solver

DIMENSIONS = (1, 2, 3)  # of the vectors, where a witness is wanted


def principal_minors(matrix: list[list[Any]]) -> Iterator[Any]:
    """All of them: a symmetric matrix is positive semidefinite exactly where none is negative."""
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], Any] = {}

    def minor(rows: tuple[int, ...], cols: tuple[int, ...]) -> Any:
        if len(rows) == 1:
            return matrix[rows[0]][cols[0]]
        if (rows, cols) not in known:
            total = 0
            for i, c in enumerate(cols):
                term = matrix[rows[0]][c] * minor(rows[1:], cols[:i] + cols[i + 1 :])
                total = total + term if i % 2 == 0 else total - term
            known[rows, cols] = total
        return known[rows, cols]

    for size in range(1, len(matrix) + 1):
        for chosen in itertools.combinations(range(len(matrix)), size):
            yield minor(chosen, chosen)


def inner_constants(hypotheses: Iterable[tuple[str, Fact]]) -> dict[str, Fraction]:
    """Inner products that a hypothesis says are numbers."""
    found = {}
    for _, fact in hypotheses:
        names = [text for text in fact["poly"] if text != "1"]
        if fact["is"] == "=0" and len(names) == 1 and names[0].startswith("<") and not set(" ^") & set(names[0]):
            found[names[0]] = -Fraction(fact["poly"].get("1", 0)) / Fraction(fact["poly"][names[0]])
    return found


class Coordinates:
    """Coordinates of one vector after the other in a basis made from them, as far as given inner products fix them."""

    def __init__(self, products: Mapping[str, Fraction]) -> None:
        self.products = products
        self.names: list[str] = []
        self.rows: list[list[Fraction | None]] = []

    def product(self, x: str, y: str) -> Fraction | None:
        return self.products.get(f"<{x},{y}>", self.products.get(f"<{y},{x}>"))

    def of(self, name: str, size: int) -> list[Fraction | None]:
        """`size` coordinates, None where nothing fixes them; the last of a vector that opens a dimension is >= 0."""
        row: list[Fraction | None] = []
        for j in range(size):
            known = [x for x in row if x is not None]
            value: Fraction | None = None
            if len(known) == j and j < len(self.rows):
                other, given = self.rows[j][: j + 1], self.product(self.names[j], name)
                if given is not None and len(other) == j + 1 and None not in other and other[j] != 0:
                    lead = [x for x in other if x is not None]
                    value = (given - sum((a * b for a, b in zip(lead, known, strict=False)), Fraction(0))) / lead[j]
            elif len(known) == j and j == len(self.rows):
                given = self.product(name, name)
                value = None if given is None else rational_root(given - sum((a * a for a in known), Fraction(0)))
            row.append(value)
        self.names.append(name)
        self.rows.append(row)
        return row


def rational_root(x: Fraction) -> Fraction | None:
    """The square root where it is rational."""
    if x < 0:
        return None
    p, q = math.isqrt(x.numerator), math.isqrt(x.denominator)
    return Fraction(p, q) if p * p == x.numerator and q * q == x.denominator else None


GRAM = 0  # "dimension" of an encoding without coordinates


@dataclass
class Encoding:
    """A problem in k dimensions with n terms a sum, for one solver.

    With k = `GRAM` the unknowns are the inner products themselves, and their matrix is positive semidefinite: as many
    dimensions as there are vectors, rational scores whose vectors need not be rational, and far fewer unknowns.
    """

    problem: Problem
    k: int
    n: int
    free: dict[str, Any] = field(default_factory=dict)  # unknown -> solver's variable

    def __post_init__(self) -> None:
        self.defined = definitions(self.problem)

    def values(self, unknown: Any, number: Any, overrides: bool, exact: bool = False) -> tuple[Values, list[Any]]:
        """Values of every symbol with `unknown(name)` for what is free, and the facts of the fresh symbols.

        Rotations change nothing, so vector number i has no coordinates beyond i (Gram and Schmidt), and coordinates that
        follow from inner products which are given numbers are these numbers.
        """
        p = self.problem
        defined = {t: poly for t, (_, poly) in self.defined.items() if overrides or not t.startswith("<")}
        count = iter(range(10**6))

        settled = Coordinates(inner_constants(p.hypotheses))

        def vector(name: str) -> list[Any]:
            i = next(count)
            known = settled.of(name, min(i + 1, self.k))
            entries = [number(x) if x is not None else unknown(f"{name}[{j}]") for j, x in enumerate(known)]
            return entries + [number(Fraction(0))] * (self.k - len(entries))

        state = {s for r in p.recursions.values() for s in r["update"]}
        inside = {s for r in p.recursions.values() for group in r["fresh"].values() for s in group}
        facts = [f for _, f in p.hypotheses] + [p.goal, *p.where]
        named = set().union(*(tokens(f["poly"]) for f in facts), *(tokens(d) for d in defined.values()))
        named |= set().union(*(spoken_of(r) for r in p.recursions.values()))
        names = [v for v in p.vectors if v not in state and v not in inside] if self.k != GRAM else []
        vectors = {v: vector(v) for v in names} or {"": [number(Fraction(0))] * max(self.k, 1)}
        plain = sorted(
            t for t in named if not t.startswith("<") and t not in state | inside | set(defined) | set(p.vectors)
        )
        values = Values({}, vectors, defined, number)
        if self.k == GRAM:
            values.product = unknown
        special = self.special() if exact else {}
        for t in plain:
            if t not in special:
                values.scalars[t] = unknown(t)
        given: list[Any] = []
        for name, r in p.recursions.items():
            steps = []
            for step in range(self.n):
                scalars = {s: unknown(f"{s}#{name}{step}") for s in r["fresh"].get("scalars", ())}
                steps.append((scalars, {v: vector(f"{v}#{name}{step}") for v in r["fresh"].get("vectors", ())}))
                here = values.moved(*steps[-1])
                given += [(here.poly(g["fact"]["poly"]), g["fact"]["is"]) for g in r["given"]]
            values = values.run(r, steps)
        for t, make in special.items():  # last: a root may be of what a recursion ends in
            values.scalars[t] = make(values)
        return values, given

    def special(self) -> dict[str, Any]:
        """Square roots and reciprocals, which follow from the rest: ``{symbol: value from values}``."""
        out = {}
        for name, fact in self.problem.hypotheses:
            symbol, _, kind = name.rpartition(".")
            if kind == "square":
                rest = {
                    m: str(-Fraction(c) / Fraction(fact["poly"][f"{symbol}^2"]))
                    for m, c in fact["poly"].items()
                    if m != f"{symbol}^2"
                }
                out[symbol] = lambda v, rest=rest: root(v.poly(rest))
            elif kind == "product":  # symbol * base - 1, up to a factor
                scale = -1 / Fraction(fact["poly"]["1"])
                base = {
                    " ".join(t for t in m.split() if t != symbol) or "1": str(Fraction(c) * scale)
                    for m, c in fact["poly"].items()
                    if m != "1"
                }
                out[symbol] = lambda v, base=base: 1 / v.poly(base)
        return out

    def tokens(self) -> list[list[str]]:
        """Names of the inner products of the vectors, as the polynomials spell them."""
        names = sorted(self.problem.vectors)
        return [[f"<{min(x, y)},{max(x, y)}>" for y in names] for x in names]

    def gram(self, values: Values) -> list[list[Any]]:
        return [[values[token] for token in row] for row in self.tokens()]

    def radius(self, name: str, pinned: Mapping[str, Fraction]) -> Fraction | None:
        """How long the coordinates of a vector that are not pinned yet are, if its norm is given and that is rational."""
        vector, bracket, _ = name.partition("[")
        norm = inner_constants(self.problem.hypotheses).get(f"<{vector},{vector}>") if bracket else None
        if norm is None:
            return None
        row = self.values(lambda x: pinned.get(x, Fraction(0)), lambda x: x, overrides=False)[0].vectors[vector]
        return rational_root(norm - sum((x * x for x in row), Fraction(0)))

    def guesses(self) -> Iterator[dict[str, Fraction]]:
        """Readable values for the first coordinates of a unit vector that is not settled, one vector after the other."""
        for vector in self.problem.vectors:
            names = [x for x in self.free if x.startswith(f"{vector}[")][:2]
            if len(names) == 2 and self.radius(names[0], {}) == 1:
                for p, q in ((a, c) for leg in LEGS[:5] for a, c in (leg[:2], leg[1::-1])):
                    length = math.isqrt(p * p + q * q)
                    yield dict(zip(names, (Fraction(p, length), Fraction(q, length)), strict=True))

    def constraints(self, solver: Solver) -> list[Any]:
        def unknown(name: str) -> Any:
            return self.free.setdefault(name, solver.api.Real(name))

        full, given = self.values(unknown, solver.number, overrides=True)
        if self.k == GRAM:
            facts = [*(fact for _, fact in self.problem.hypotheses), *self.problem.where]
            out = [solver.holds(full.poly(f["poly"]), f["is"]) for f in facts]
            out += [minor >= 0 for minor in principal_minors(self.gram(full))]
            return [*out, solver.fails(full.poly(self.problem.goal["poly"]), self.problem.goal["is"])]
        plain, _ = self.values(unknown, solver.number, overrides=False)
        products: dict[str, Any] = {}
        full.product = lambda token: products.setdefault(token, solver.api.Real(token))
        found = self.defined
        out = [solver.holds(v, r) for v, r in given]
        for name, fact in self.problem.hypotheses:
            token = next((t for t, (n, _) in found.items() if n == name), None)
            if token is None:
                out.append(solver.holds(full.poly(fact["poly"]), fact["is"]))
            elif token.startswith("<"):  # the inner product was replaced: its coordinates must agree
                out.append(plain[token] == full.poly(found[token][1]))
        out += [solver.holds(full.poly(f["poly"]), f["is"]) for f in self.problem.where]
        out.append(solver.fails(full.poly(self.problem.goal["poly"]), self.problem.goal["is"]))
        return out + [x == plain[token] for token, x in products.items()]

    def confirm(self, point: Mapping[str, Fraction]) -> dict[str, Any] | None:
        """Evaluate every fact exactly at a rational point: the witness, or None if it is none."""
        try:
            values, given = self.values(lambda name: point[name], lambda x: x, self.k == GRAM, exact=True)
            if self.k == GRAM:
                minors = principal_minors(self.gram(values))
                given += [(minor, ">=0") for minor in minors]
            facts = [
                (values.poly(f["poly"]), f["is"])
                for n, f in self.problem.hypotheses
                if not n.endswith((".square", ".product"))
            ]
            facts += [*given, *((values.poly(f["poly"]), f["is"]) for f in self.problem.where)]
            goal = values.poly(self.problem.goal["poly"])
        except (ZeroDivisionError, ValueError, KeyError):
            return None
        if not all(certainly(v, r) for v, r in facts) or not certainly_not(goal, self.problem.goal["is"]):
            return None
        scalars = {t: str(values[t]) for t in sorted({*values.scalars, *values.defined}) if not t.startswith("<")}
        if self.k == GRAM:
            scalars |= {t: str(values[t]) for row in self.tokens() for t in row}
        return {**scalars, **{v: [str(x) for x in row] for v, row in values.vectors.items() if v}}


def certainly(value: Any, relation: str) -> bool:
    low, high = lower_end(value), upper_end(value)
    return {"=0": low == high == 0, ">=0": low >= 0, ">0": low > 0}[relation]


def certainly_not(value: Any, relation: str) -> bool:
    low, high = lower_end(value), upper_end(value)
    return {"=0": low > 0 or high < 0, ">=0": high < 0, ">0": high <= 0}[relation]


def solve(problem: Problem, k: int, n: int, solver: Solver, deadline: float) -> tuple[str, dict[str, Any] | None, bool]:
    """``sat`` with a witness and whether it is confirmed, ``unsat``, or ``unknown``.

    Hypotheses about other symbols than the goal's are met separately: together they only slow the solver down.
    """
    near, rest = problem.split()
    answer, witness, confirmed = solve_part(near, k, n, solver, deadline)
    if answer != "sat" or rest is None:
        return answer, witness, confirmed
    beside: set[str] = set()
    for size in dict.fromkeys((k, *DIMENSIONS, *([] if rest.recursions else [GRAM]))):  # its dimension is its own
        found, model, sure = solve_part(rest, size, n, solver, deadline)
        if found == "sat" and (sure or not confirmed):
            return "sat", {**(witness or {}), **(model or {})}, confirmed and sure
        beside.add(found)
    return "unsat" if beside == {"unsat"} else "unknown", None, False


def solve_part(
    problem: Problem, k: int, n: int, solver: Solver, deadline: float
) -> tuple[str, dict[str, Any] | None, bool]:
    """`solve` where everything hangs together."""
    encoding = Encoding(problem, k, n)
    constraints = encoding.constraints(solver)
    special = set(encoding.special())
    return Search(
        solver, constraints, encoding.free, encoding.confirm, special, encoding.radius, encoding.guesses()
    ).run(deadline)
