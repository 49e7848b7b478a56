"""The two solvers behind one interface, and how their models become rational."""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ...theory.errors import not_installed

SOLVERS = ("z3", "cvc5")


LEGS = (
    (0, 1, 1),
    (3, 4, 5),
    (5, 12, 13),
    (8, 15, 17),
    (7, 24, 25),
    (20, 21, 29),
    (9, 40, 41),
    (28, 45, 53),
    (33, 56, 65),
    (20, 99, 101),
    (40, 399, 401),
    (2000, 999999, 1000001),
)
CIRCLE = sorted(
    {Fraction(s * a, c) for p, q, c in LEGS for a in (p, q) for s in (1, -1)}
)  # coordinates of unit vectors
SQUARES = sorted({x * x for x in CIRCLE})  # diagonal entries of projectors on a rational direction
SMALL = sorted({Fraction(s * p, q) for q in (1, 2, 3, 4) for p in range(2 * q + 1) for s in (1, -1)})


class Solver:
    """One of the two, behind the interface they share."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self.api = importlib.import_module("z3" if name == "z3" else "cvc5.pythonic")
        except ImportError:
            raise not_installed(f"the refuter {name}", "test") from None

    def new(self, seconds: float) -> Any:
        milliseconds = max(1, int(seconds * 1000))
        if self.name == "z3":
            solver = self.api.Then("simplify", "propagate-values", "qfnra-nlsat").solver()
            solver.set("timeout", milliseconds)
        else:
            solver = self.api.SolverFor("QF_NRA")
            solver.setOption("tlimit-per", milliseconds)
            solver.setOption("produce-models", "true")
        return solver

    def number(self, x: Fraction) -> Any:
        return self.api.Q(x.numerator, x.denominator)

    def holds(self, value: Any, relation: str) -> Any:
        return {"=0": value == 0, ">=0": value >= 0, ">0": value > 0}[relation]

    def fails(self, value: Any, relation: str) -> Any:
        return {"=0": value != 0, ">=0": value < 0, ">0": value <= 0}[relation]


def fraction(value: Any) -> Fraction | None:
    """A solver's number as a fraction; None where it is irrational."""
    try:
        return Fraction(str(value))
    except ValueError:
        return None


@dataclass
class Search:
    """A solver's model made rational and readable.

    Args:
        constraints: what the solver is given.
        free: its variables by name.
        confirm: evaluates everything exactly at a rational point: the witness, or None.
        special: names whose values follow from the others, so that they may be irrational.
        radius: how long the part of a vector is that has not been pinned, given what has been.
        guesses: values to try where the solver cannot do without.
        preferred: numbers that suit a name best.
    """

    solver: Solver
    constraints: list[Any]
    free: Mapping[str, Any]
    confirm: Callable[[Mapping[str, Fraction]], dict[str, Any] | None]
    special: Collection[str] = ()
    radius: Callable[[str, Mapping[str, Fraction]], Fraction | None] = lambda name, pinned: None
    guesses: Iterable[Mapping[str, Fraction]] = ()
    preferred: Callable[[str], list[Fraction]] = lambda name: []

    def check(self, pinned: Mapping[str, Fraction], seconds: float) -> tuple[str, dict[str, str]]:
        one = self.solver.new(max(0.05, seconds))
        for c in (*self.constraints, *(self.free[x] == self.solver.number(v) for x, v in pinned.items())):
            one.add(c)
        answer = str(one.check())
        model = one.model() if answer == "sat" else None
        return answer, {x: str(model.eval(v, model_completion=True)) for x, v in self.free.items()} if model else {}

    def run(self, deadline: float) -> tuple[str, dict[str, Any] | None, bool]:
        """``sat`` with a witness and whether it is confirmed, ``unsat``, or ``unknown``.

        Where the solver finds nothing, or nothing rational, it tries again with some unknowns chosen.
        """
        algebraic: dict[str, Any] | None = None
        answer, shown = self.check({}, (deadline - time.monotonic()) / 2)
        if answer == "unsat":
            return answer, None, False
        for guess in itertools.chain(({},), self.guesses):
            if guess:
                here = min(1.0, deadline - time.monotonic())
                if here <= 0:
                    break
                answer, shown = self.check(guess, here)
            if answer == "sat":
                witness, confirmed = self.rational(dict(guess), shown, deadline)
                if confirmed:
                    return "sat", witness, True
                algebraic = algebraic or witness
        return ("sat", algebraic, False) if algebraic else ("unknown", None, False)

    def rational(
        self, pinned: dict[str, Fraction], shown: dict[str, str], deadline: float
    ) -> tuple[dict[str, Any], bool]:
        """Pin one irrational unknown after another to a number that a person can read."""
        while True:
            point = {name: fraction(v) for name, v in shown.items()}
            rational = {name: v for name, v in point.items() if v is not None}
            if all(name in self.special for name in set(point) - set(rational)):
                witness = self.confirm(rational)
                if witness is not None:
                    return witness, True
            name = next((m for m, v in point.items() if v is None and m not in self.special), None)
            if name is None:
                return dict(shown), False
            for value in self.candidates(name, shown[name], pinned):
                if time.monotonic() > deadline:
                    return dict(shown), False
                answer, found = self.check({**pinned, name: value}, min(0.5, deadline - time.monotonic()))
                if answer == "sat":
                    shown, pinned = found, {**pinned, name: value}
                    break
            else:
                return dict(shown), False

    def candidates(self, name: str, shown: str, pinned: Mapping[str, Fraction]) -> Iterable[Fraction]:
        """Numbers a person can read, near to what the solver showed; coordinates of unit vectors first."""
        near, radius = approximation(shown), self.radius(name, pinned)
        sphere = [radius * x for x in CIRCLE] if radius not in (None, 1) else []
        close = [
            sorted(numbers, key=lambda x: abs(x - near))[:8]
            for numbers in (self.preferred(name), sphere, CIRCLE, SMALL)
        ]
        return dict.fromkeys(itertools.chain(*close))


def approximation(text: str) -> float:
    """Roughly the number a solver printed: ``1.414?``, or an isolating interval ``(5/4, 3/2)``."""
    try:
        return float(text.rstrip("?"))
    except ValueError:
        ends = text.rpartition("(")[2].strip(" )>").split(",")
        numbers = [float(Fraction(e.strip())) for e in ends if fraction(e.strip()) is not None]
        return sum(numbers) / len(numbers) if numbers else 0.0
