"""Unit vectors, rotations and Gram factors in rationals, so that generated environments can be exact.

Every rational positive semidefinite matrix is a Gram matrix of rational vectors: eliminate symmetrically, ``K = sum_k D_k l_k l_k'``,
and write each pivot ``D_k >= 0`` as a sum of four rational squares (Lagrange: p/q = pq/q^2).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from sympy.solvers.diophantine.diophantine import sum_of_four_squares

from ...theory.errors import InputError
from ..arithmetic import arithmetic
from ..draw import draw_unit_rows

exact = arithmetic("exact")


def pythagorean(t: Fraction | int) -> tuple[Fraction, Fraction]:
    """Cosine and sine ``((1 - t^2)/(1 + t^2), 2t/(1 + t^2))`` of the angle whose half has tangent t."""
    t = Fraction(t)
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def near_angle(angle: float, denominator: int = 1000) -> tuple[Fraction, Fraction]:
    """A rational cosine and sine near those of an angle (radians, below pi in size)."""
    return pythagorean(Fraction(float(np.tan(angle / 2))).limit_denominator(denominator))


def four_squares(x: Fraction | int) -> tuple[Fraction, ...]:
    """Nonzero rationals, at most four, whose squares add up to ``x >= 0``."""
    x = Fraction(x)
    if x < 0:
        raise ValueError(f"{x} is negative")
    if x == 0:
        return ()
    parts = sum_of_four_squares(x.numerator * x.denominator)
    return tuple(Fraction(int(p), x.denominator) for p in sorted(parts, reverse=True) if p)


def gram_factor(gram: Any) -> np.ndarray:
    """Rational ``B`` with ``B B' = gram`` exactly, for any rational positive semidefinite matrix.

    Returns:
        ``(n, m)`` object array, m at most four for every pivot.

    Raises:
        ValueError: the matrix is not symmetric or not positive semidefinite.
    """
    work = exact.array(gram)
    n = len(work)
    if any(work[i, j] != work[j, i] for i in range(n) for j in range(i)):
        raise ValueError("not symmetric")
    columns: list[list[Fraction]] = []
    for k in range(n):
        pivot = work[k, k]
        if pivot < 0 or (pivot == 0 and any(work[k, j] != 0 for j in range(n))):
            raise ValueError("not positive semidefinite")
        if pivot == 0:
            continue
        ratio = [work[i, k] / pivot for i in range(n)]
        columns += [[part * r for r in ratio] for part in four_squares(pivot)]
        work = work - pivot * np.outer(np.array(ratio, dtype=object), np.array(ratio, dtype=object))
    if not columns:
        return exact.array([[0]] * n)
    return np.array(columns, dtype=object).T


def unit_rows(seed: int, count: int, dimension: int) -> np.ndarray:
    """``(count, dimension)`` rational unit vectors; repeated, opposite and nearby ones among them."""
    found: np.ndarray = exact.array(draw_unit_rows(random.Random(seed), count, dimension))
    return found


def chain(half_tangents: Sequence[Fraction | int]) -> np.ndarray:
    """Rational directions a_0, a_1, .. in the plane: each turned from the last by the angle with that half-tangent.

    The cosine of consecutive directions is ``(1 - t^2)/(1 + t^2)``, a Pythagorean point.
    """
    rows = [(Fraction(1), Fraction(0))]
    for t in half_tangents:
        c, s = pythagorean(t)
        x, y = rows[-1]
        rows.append((c * x - s * y, s * x + c * y))
    found: np.ndarray = exact.array([list(r) for r in rows])
    return found


def require_rational(values: Any, what: str) -> np.ndarray:
    """Exact copy of integers, fractions or strings such as '3/5'; a float is refused."""
    array = np.asarray(values, dtype=object)
    if any(isinstance(v, float | np.floating) for v in array.reshape(-1)):
        raise InputError(f"{what} holds floats", expected="integers, fractions or strings such as '3/5' for exact work",
                         fix="pass fractions.Fraction values, or leave exact=True out")  # fmt: skip
    found: np.ndarray = exact.array(array)
    return found
