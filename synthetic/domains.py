"""Domains of inputs in which the falsifier searches: free numbers pushed onto them, differentiably, and their rational members."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.linalg
import torch

from .arithmetic import Exact
from .draw import on_sphere, sorted_triples, spanned

exact = Exact()
DENOMINATORS = (
    1,
    2,
    3,
    4,
    5,
    8,
    12,
    60,
    1000,
    10**6,
    10**9,
    10**12,
)  # of rounding, from what reads well to what is close
RELAXED = {"unit_rows": "rows", "sorted_triple": "unit_rows", "projector": "symmetric", "simplex": "column",
           "unit_column": "column", "real": "wide"}  # fmt: skip
Inputs = dict[str, list[list[Fraction]]]


@dataclass(frozen=True)
class Slot:
    """One input with the domain it is searched in, and its shape; ``free`` is the shape of the numbers behind it."""

    name: str
    kind: str
    shape: tuple[int, int]
    low: float = -1.0
    high: float = 1.0
    rank: int = 0
    sides: tuple[str, str] = ("", "")  # names of the sizes

    @property
    def free(self) -> tuple[int, int]:
        return (self.shape[0], self.rank) if self.kind == "projector" else self.shape


def start(slot: Slot, batch: int, generator: torch.Generator) -> torch.Tensor:
    """Free numbers to begin with.

    In every second restart the rows lie close to one another, in every fourth close to orthogonal ones, and numbers
    are small: bounds are tight or break there.  Every second number that may leave its range starts near an end of it: what an
    assumption about the range keeps out begins there.
    """
    rows, cols = slot.free
    x = torch.randn(batch, rows, cols, generator=generator, dtype=torch.float64)
    base = torch.randn(batch, 1, cols, generator=generator, dtype=torch.float64)
    spread = 10 ** (-2 * torch.rand(batch, 1, 1, generator=generator, dtype=torch.float64))
    number = torch.arange(batch)[:, None, None]
    if slot.kind == "wide":
        end = torch.where(number % 4 < 2, -1.0, 1.0) * (slot.high - slot.low) / 2
        return torch.where(number % 2 == 1, (end + x) / (slot.high - slot.low + 1), x)
    if rows == 1:
        return torch.where(number % 4 == 2, spread**2 * x, x)
    frame = torch.eye(rows, cols, dtype=torch.float64) + spread**2 * x
    return torch.where(number % 2 == 1, base + spread * x, torch.where(number % 4 == 2, frame, x))


def on_domain(slot: Slot, x: torch.Tensor) -> torch.Tensor:
    """Free numbers as a member of the domain, differentiably."""
    if slot.kind == "unit_rows":
        return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    if slot.kind == "unit_column":
        return x / x.norm(dim=-2, keepdim=True).clamp_min(1e-12)
    if slot.kind == "simplex":
        return torch.softmax(3 * x, -2)
    if slot.kind == "projector":
        q = torch.linalg.qr(x)[0]
        return q @ q.mT
    if slot.kind == "symmetric":
        return (x + x.mT) / 2
    if slot.kind == "sorted_triple":
        return sorted_triples(x.abs() + 1e-12)
    if slot.kind == "real":  # a sine reaches the ends of the range, a sigmoid does not
        return slot.low + (slot.high - slot.low) * (1 + torch.sin(x)) / 2
    if slot.kind == "wide":
        return (slot.low + slot.high) / 2 + (slot.high - slot.low + 1) * x
    return x


def to_rational(slot: Slot, rows: Any, denominator: int) -> list[list[Fraction]] | None:
    """A rational member of the domain near to the given rows, with parameters of small denominator; None if there is none."""
    values = [[float(v) for v in row] for row in rows]

    def near(x: float) -> Fraction:
        return Fraction(x).limit_denominator(denominator)

    def unit(row: list[float]) -> list[Fraction] | None:
        length = math.sqrt(sum(v * v for v in row))
        return on_sphere([v / length for v in row], denominator) if length > 1e-9 else None

    if slot.kind in ("unit_rows", "sorted_triple"):
        found = [unit(row) for row in values]
        if any(row is None for row in found):
            return None
        good = [row for row in found if row is not None]
        return sort_exactly(good) if slot.kind == "sorted_triple" else good
    if slot.kind == "unit_column":
        row = unit([r[0] for r in values])
        return None if row is None else [[x] for x in row]
    if slot.kind == "simplex":
        weights = [max(near(r[0]), Fraction(0)) for r in values]
        return [[w / sum(weights)] for w in weights] if sum(weights) else None
    if slot.kind == "projector":
        return rational_projector(np.array(values), denominator)
    if slot.kind == "real":
        return [[min(max(near(v), Fraction(slot.low)), Fraction(slot.high)) for v in row] for row in values]
    if slot.kind == "symmetric":  # what stands above the diagonal counts
        return [[near(values[min(i, j)][max(i, j)]) for j in range(len(values))] for i in range(len(values))]
    return [[near(v) for v in row] for row in values]


def sort_exactly(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """Three rows with the most similar pair first and last, the least similar pair first."""
    cosine = {(i, j): sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) for i in range(3) for j in range(i)}
    least, middle, _ = sorted(cosine, key=lambda key: (cosine[key], key))
    centre = (set(least) & set(middle)).pop()
    return [rows[(set(least) - {centre}).pop()], rows[centre], rows[(set(middle) - {centre}).pop()]]


def rational_projector(p: np.ndarray, denominator: int) -> list[list[Fraction]] | None:
    """The span's reduced basis (pivot columns are unit vectors) is rounded: an exact projector comes of it."""
    d = len(p)
    values, vectors = np.linalg.eigh((p + p.T) / 2)
    basis = vectors[:, values > 0.5].T
    if not len(basis):
        return [[Fraction(0)] * d for _ in range(d)]
    pivots = scipy.linalg.qr(basis, pivoting=True)[2][: len(basis)]
    reduced = np.linalg.solve(basis[:, pivots], basis)
    x = exact.array([[Fraction(float(v)).limit_denominator(denominator) for v in row] for row in reduced])
    try:
        return spanned(x)
    except ZeroDivisionError:
        return None


def rounded(round_slots: list[Slot], point: Mapping[str, Any], denominator: int) -> Inputs | None:
    out: Inputs = {}
    for slot in round_slots:
        rows = to_rational(slot, point[slot.name].tolist(), denominator)
        if rows is None:
            return None
        out[slot.name] = rows
    return out


def whole(inputs: Mapping[str, list[list[Fraction]] | None]) -> Inputs | None:
    return None if any(v is None for v in inputs.values()) else {k: v for k, v in inputs.items() if v is not None}
