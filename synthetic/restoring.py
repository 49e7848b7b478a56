"""Equations between the parts of an instance, restored exactly after its entries were rounded one by one.

Two matrices with one Gram matrix, a product that vanishes, directions at right angles: rounding breaks them all.  Three repairs, which
move an instance as little as they can:

- ``M M' = N N'``: M becomes ``N Q``, Q a rational orthogonal matrix (Cayley's transform) near the one that brings N closest to M;
- one step of Newton in the entries of one input, the shortest one, in rationals: it solves equations that are affine in that input;
- the same in the scalar products of its rows, from which rational rows are made again (Lagrange: `environments.rational.gram_factor`).

None is trusted: a repaired instance counts only if every equation then holds exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np

from ..theory.claim import Claim
from ..theory.language import Relation
from .arithmetic import Enclosure, Exact
from .domains import Inputs, Slot
from .environments.rational import gram_factor
from .evaluate import bound_values, half_of_square, judge, sides

exact = Exact()
FREE = ("rows", "column", "wide", "symmetric")  # kinds whose entries may be anything
FINEST = 10**6  # denominators of a rotation
GRAM = 24  # common denominator of scalar products: elimination multiplies it


def equations(claim: Claim, inputs: Inputs) -> list[Relation]:
    """Assumptions that equate two things and can be evaluated, and definitions that do not hold because more than the inputs is given."""
    values = bound_values(claim, inputs, exact)
    out = []
    for assumption in claim.statement.assumptions:
        for r in assumption.relations:
            known = r.op == "==" and r.symbols <= set(values)
            if known and (not assumption.by_model or judge(r, values, exact).status == "violated"):
                out.append(r)
    return out


def residuals(claim: Claim, wanted: list[Relation], inputs: Inputs) -> list[Fraction] | None:
    """Differences of the two sides of every equation, entry by entry; None where one has no rational value."""
    try:
        values = bound_values(claim, inputs, exact)
        pairs = [sides(r, values, exact) for r in wanted]
    except (ArithmeticError, ValueError, IndexError):
        return None
    entries = [x for left, right in pairs for x in np.asarray(left - right, dtype=object).reshape(-1)]
    return [x for x in entries if not isinstance(x, Enclosure)]  # roots and exponentials are left to the judge


def restored(claim: Claim, round_slots: list[Slot], inputs: Inputs) -> Inputs | None:
    """The instance itself if its equations hold, one near to it on which they do, or None."""
    try:
        wanted = equations(claim, inputs)
    except (ArithmeticError, ValueError, IndexError):
        return None
    off = residuals(claim, wanted, inputs)
    if off is not None and any(off):
        inputs = same_grams(claim, round_slots, inputs)
        off = residuals(claim, wanted, inputs)
    if off is None or not any(off):
        return None if off is None else inputs
    declared = {spec.name for spec in claim.inputs}
    for slot in reversed(round_slots):  # what an instance gives beyond the inputs stands last, and moves first
        found = solved(claim, wanted, Entries(slot, inputs), inputs) if slot.kind in FREE else None
        if found is None and slot.name not in declared and slot.shape[0] > 1:  # its number of columns is free
            found = solved(claim, wanted, Products(slot, inputs), inputs)
        if found is not None:
            return found
    return None


# -- one input, by Newton's step ----------------------------------------------------------------------------------


class Entries:
    """An input moved by changes of its entries."""

    def __init__(self, slot: Slot, inputs: Inputs) -> None:
        self.start = inputs[slot.name]
        self.name, self.symmetric = slot.name, slot.kind == "symmetric"
        rows, cols = len(self.start), len(self.start[0])
        self.places = [(i, j) for i in range(rows) for j in range(i if self.symmetric else 0, cols)]
        self.unit = Fraction(1)

    def moved(self, step: Mapping[tuple[int, int], Fraction]) -> list[list[Fraction]] | None:
        changed = [list(row) for row in self.start]
        for (i, j), x in step.items():
            changed[i][j] += x
            if self.symmetric and i != j:
                changed[j][i] += x
        return changed


class Products(Entries):
    """An input moved by changes of the scalar products of its rows, rounded to a common denominator."""

    def __init__(self, slot: Slot, inputs: Inputs) -> None:
        rows = exact.array(inputs[slot.name])
        gram = [[Fraction(round(GRAM * x), GRAM) for x in row] for row in (rows @ rows.T).tolist()]
        super().__init__(replace(slot, kind="symmetric"), {slot.name: gram})
        self.unit = Fraction(1, GRAM**2)

    def moved(self, step: Mapping[tuple[int, int], Fraction]) -> list[list[Fraction]] | None:
        gram = super().moved(step)
        try:
            found: list[list[Fraction]] = gram_factor(gram).tolist()
        except ValueError:  # no rows have these products
            return None
        return found


def solved(claim: Claim, wanted: list[Relation], place: Entries, inputs: Inputs) -> Inputs | None:
    """The equations solved by moving one input, if they are affine in what is moved and have a solution."""

    def at(step: Mapping[tuple[int, int], Fraction]) -> tuple[Inputs, list[Fraction] | None]:
        rows = place.moved(step)
        there = {**inputs, place.name: rows} if rows is not None else inputs
        return there, None if rows is None else residuals(claim, wanted, there)

    here = at({})[1]
    if here is None:
        return None
    columns = []
    for k in place.places:
        moved = at({k: place.unit})[1]
        if moved is None or len(moved) != len(here):
            return None
        columns.append([(a - b) / place.unit for a, b in zip(moved, here, strict=True)])
    step = shortest([list(row) for row in zip(*columns, strict=True)], [-x for x in here])
    if step is None:
        return None
    candidate, left = at(dict(zip(place.places, step, strict=True)))
    return candidate if left is not None and not any(left) else None


def shortest(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction] | None:
    """The shortest rational solution of a linear system, or None if it has none."""
    kept: list[tuple[list[Fraction], Fraction]] = []  # independent equations as they were given
    reduced: list[tuple[int, list[Fraction], Fraction]] = []  # the same in echelon form, with their pivots
    for row, value in zip(matrix, right, strict=True):
        work, rest = list(row), value
        for pivot, other, other_rest in reduced:
            if work[pivot]:
                factor = work[pivot]
                work = [a - factor * b for a, b in zip(work, other, strict=True)]
                rest -= factor * other_rest
        pivot = next((k for k, x in enumerate(work) if x), -1)
        if pivot < 0:
            if rest:
                return None
            continue
        reduced.append((pivot, [x / work[pivot] for x in work], rest / work[pivot]))
        kept.append((row, value))
    if not kept:
        return [Fraction(0)] * len(matrix[0])
    rows = exact.array([row for row, _ in kept])
    values = exact.array([[value] for _, value in kept])
    found: list[Fraction] = (rows.T @ (exact.inv(rows @ rows.T) @ values)).reshape(-1).tolist()
    return found


# -- one Gram matrix, by a rotation -------------------------------------------------------------------------------


def same_grams(claim: Claim, round_slots: list[Slot], inputs: Inputs) -> Inputs:
    """The instance with M replaced wherever an assumption says ``M M' = N N'`` of two of its free inputs."""
    free = {s.name for s in round_slots if s.kind == "rows"}
    for assumption in claim.statement.assumptions:
        for relation in assumption.relations:
            if relation.op == "==":
                halves = [half_of_square(side) for side in (relation.lhs, relation.rhs)]
                names = [getattr(half, "name", "") for half in halves]
                if set(names) <= free and len(inputs[names[0]]) == len(inputs[names[1]]):
                    turned = rotated(inputs[names[1]], inputs[names[0]])
                    inputs = inputs if turned is None else {**inputs, names[0]: turned}
    return inputs


def rotated(rows: list[list[Fraction]], towards: list[list[Fraction]]) -> list[list[Fraction]] | None:
    """Rows with the same scalar products, close to given ones that have at least as many columns."""
    width = len(towards[0])
    if len(rows[0]) > width:
        return None
    padded = exact.array([row + [Fraction(0)] * (width - len(row)) for row in rows])
    u, _, v = np.linalg.svd(padded.astype(float).T @ exact.array(towards).astype(float))
    found: list[list[Fraction]] = (padded @ rational_rotation(u @ v, FINEST)).tolist()
    return found


def rational_rotation(q: np.ndarray, denominator: int) -> np.ndarray:
    """A rational orthogonal matrix near a float one: ``(I - K)(I + K)^{-1} S`` with K skew and S a diagonal of signs."""
    size = len(q)
    eye = np.eye(size)
    signs = max(product((1, -1), repeat=size), key=lambda s: abs(float(np.linalg.det(eye + q * s))))
    turn = q * signs
    skew = np.linalg.solve((eye + turn).T, (eye - turn).T).T
    upper = [[Fraction(float(x)).limit_denominator(denominator) for x in row] for row in skew]
    k = exact.array(
        [[upper[i][j] if i < j else -upper[j][i] if j < i else 0 for j in range(size)] for i in range(size)]
    )
    one = exact.eye(k)
    found: np.ndarray = (
        (one - k)
        @ exact.inv(one + k)
        @ exact.array([[s if i == j else 0 for j in range(size)] for i, s in enumerate(signs)])
    )
    return found
