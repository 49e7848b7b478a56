"""Draw models for a claim from its declared inputs: exact rationals, float64 batches, near-tight ones.

Everything is a function of (claim, seed, index), so a counterexample can be drawn again from three numbers.
Dimensions are small on purpose: random cosines concentrate in high dimension, and a bound off by a factor of two
survives thousands of draws there.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch

from ..theory.claim import Claim
from ..theory.language import Input
from .arithmetic import Ball, Exact, U
from .arithmetic.lanes import product

MAX_SIZE = 4
exact = Exact()


def stream(claim_id: str, seed: int, index: int) -> random.Random:
    """Random numbers that depend on nothing but these three."""
    digest = hashlib.sha256(f"{claim_id}/{seed}/{index}".encode()).digest()
    return random.Random(digest)


def sizes(claim: Claim, rng: random.Random, largest: int = MAX_SIZE) -> dict[str, int]:
    """A value for every size name; literal sizes stay, and rows of L2 samples agree by sharing a name."""
    names = sorted({side for i in claim.inputs for side in (i.rows, i.cols) if side and not side.isdigit()})
    return {name: rng.randint(2 if name in ("d", "P") else 1, largest) for name in names}


def side(name: str, chosen: Mapping[str, int]) -> int:
    return int(name) if name.isdigit() else chosen[name]


# -- exact ----------------------------------------------------------------------------------------------------


def unit_row(rng: random.Random, d: int) -> list[Fraction]:
    """A rational point of the unit sphere (stereographic projection); now and then an axis."""
    if d == 1:
        return [Fraction(rng.choice((-1, 1)))]
    if rng.random() < 0.2:
        axis = rng.randrange(d)
        return [Fraction(rng.choice((-1, 1)) if k == axis else 0) for k in range(d)]
    t = [Fraction(rng.randint(-6, 6), rng.randint(1, 4)) for _ in range(d - 1)]
    square = sum((x * x for x in t), Fraction(0))
    row = [2 * x / (square + 1) for x in t] + [(square - 1) / (square + 1)]
    rng.shuffle(row)
    return row


def small(rng: random.Random) -> Fraction:
    return Fraction(rng.randint(-4, 4), rng.choice((1, 1, 1, 2, 3)))


def rotate(rows: list[list[Fraction]], rng: random.Random, scale: int) -> list[list[Fraction]]:
    """Turn every row in one coordinate plane by a small rational angle."""
    d = len(rows[0])
    if d < 2:
        return rows
    i, j = rng.sample(range(d), 2)
    t = Fraction(rng.randint(-9, 9), scale)
    c, s = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    return [
        [c * r[i] - s * r[j] if k == i else s * r[i] + c * r[j] if k == j else r[k] for k in range(d)] for r in rows
    ]


def draw_unit_rows(rng: random.Random, n: int, d: int) -> list[list[Fraction]]:
    rows = [unit_row(rng, d) for _ in range(n)]
    for k in range(1, n):  # repeated, opposite and nearby rows are where bounds are tight or break
        chance = rng.random()
        if chance < 0.15:
            rows[k] = list(rows[k - 1])
        elif chance < 0.25:
            rows[k] = [-x for x in rows[k - 1]]
        elif chance < 0.45:
            rows[k] = rotate([rows[k - 1]], rng, 40)[0]
    return rows


def draw_projector(rng: random.Random, d: int) -> list[list[Fraction]]:
    rank = rng.randint(0, d)
    while rank:
        rows = exact.array([[rng.randint(-3, 3) for _ in range(d)] for _ in range(rank)])
        try:
            return spanned(rows)
        except ZeroDivisionError:
            continue
    return [[Fraction(0)] * d for _ in range(d)]


def spanned(rows: Any) -> list[list[Fraction]]:
    """The exact projector on the span of rational rows; `ZeroDivisionError` where they are dependent."""
    projector: list[list[Fraction]] = (rows.T @ exact.inv(rows @ rows.T) @ rows).tolist()
    return projector


def draw_sorted_triple(rng: random.Random, d: int) -> list[list[Fraction]]:
    while True:
        rows = [[abs(x) for x in unit_row(rng, d)] for _ in range(3)]
        cosine = {(i, j): sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) for i in range(3) for j in range(i)}
        (low, (i, j)), (_, (k, l)), _ = sorted((v, key) for key, v in cosine.items())
        middle = ({i, j} & {k, l}).pop()  # the two less similar pairs share environment 2
        first = ({i, j} - {middle}).pop()
        last = ({k, l} - {middle}).pop()
        if low >= 0:
            return [rows[first], rows[middle], rows[last]]


def draw_input(spec: Input, rng: random.Random, chosen: Mapping[str, int]) -> Any:
    """One input in exact rationals, as nested lists."""
    n = side(spec.rows, chosen) if spec.rows else 1
    d = side(spec.cols, chosen) if spec.cols else 1
    if spec.kind == "unit_rows":
        return draw_unit_rows(rng, n, d)
    if spec.kind == "rows":
        return [[small(rng) for _ in range(d)] for _ in range(n)]
    if spec.kind == "column":
        return [[small(rng)] for _ in range(n)]
    if spec.kind == "unit_column":
        return [[x] for x in unit_row(rng, n)]
    if spec.kind == "simplex":
        weights = [rng.randint(0, 4) for _ in range(n)]
        weights[rng.randrange(n)] += 1
        return [[Fraction(w, sum(weights))] for w in weights]
    if spec.kind == "projector":
        return draw_projector(rng, n)
    if spec.kind == "sorted_triple":
        return draw_sorted_triple(rng, d)
    if spec.kind == "real":
        low, high = Fraction(spec.low), Fraction(spec.high)
        return [[low + (high - low) * Fraction(rng.randint(0, 24), 24)]]
    raise ValueError(f"no way to draw an input of kind {spec.kind!r}")


def draw_exact(claim: Claim, seed: int, index: int) -> dict[str, Any]:
    """Model number `index`: every fourth is near one of the claim's tight instances, if it has any."""
    rng = stream(claim.id, seed, index)
    if claim.tight and index % 4 == 3:
        return near(claim, claim.tight[index // 4 % len(claim.tight)].values, rng)
    chosen = sizes(claim, rng)
    return {spec.name: draw_input(spec, rng, chosen) for spec in claim.inputs}


def near(claim: Claim, values: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """A tight instance moved a little within the domain of its inputs."""
    scale = rng.choice((20, 200, 2000))
    names = {spec.name for spec in claim.inputs}
    out: dict[str, Any] = {k: v for k, v in values.items() if k not in names}  # what the instance sets besides
    for spec in claim.inputs:
        rows = exact.array(values[spec.name]).tolist()
        if spec.kind == "unit_rows":
            rows = [rotate([row], rng, scale)[0] for row in rows]
        elif spec.kind in ("rows", "column"):
            rows = [[x + Fraction(rng.randint(-3, 3), scale) for x in row] for row in rows]
        elif spec.kind == "projector":
            q = rotation(len(rows), rng, scale)
            rows = (q @ exact.array(rows) @ q.T).tolist()
        elif spec.kind == "unit_column":
            rows = [[x] for x in rotate([[r[0] for r in rows]], rng, scale)[0]]
        elif spec.kind == "real":
            low, high = Fraction(spec.low), Fraction(spec.high)
            rows = [[min(high, max(low, rows[0][0] + Fraction(rng.randint(-3, 3), scale)))]]
        out[spec.name] = rows
    return out


def rotation(d: int, rng: random.Random, scale: int) -> Any:
    """A rational rotation by a small angle in one coordinate plane."""
    eye = [[Fraction(int(i == j)) for j in range(d)] for i in range(d)]
    return exact.array(rotate(eye, rng, scale))


def models(claim: Claim, count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    for index in range(count):
        yield draw_exact(claim, seed, index)


# -- float64 batches ------------------------------------------------------------------------------------------


ROUNDING = 16 * U  # an exact member of the domain lies this close to what is drawn, entries being at most 1


def draw_batch(
    claim: Claim, seed: int, index: int, batch: int, fixed: Mapping[str, int] | None = None
) -> dict[str, Ball]:
    """`batch` models of equal sizes (drawn, unless `fixed`); in about half of them an input's unit rows lie close to one another.

    Unit vectors, weights and projectors in float64 are only nearly so; the radius of the balls covers an exact one.
    """
    rng = stream(claim.id, seed, index)
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    chosen = {**sizes(claim, rng), **(fixed or {})}

    # The batch is the contiguous axis behind all shapes (`lanes`), seen as the first one.
    def normal(*shape: int) -> torch.Tensor:
        # single precision is drawn several times as fast, and its numbers are as good as any
        return torch.randn(*shape, batch, generator=generator, dtype=torch.float32).double().permute(2, 0, 1)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, batch, generator=generator, dtype=torch.float64).permute(2, 0, 1)

    def unit_rows(n: int, d: int) -> torch.Tensor:
        near = uniform(1, 1) < 0.5
        spread = torch.where(near, (-3 * math.log(10) * uniform(1, 1)).exp(), 1.0)
        rows = torch.where(near, normal(1, d), 0.0) + spread * normal(n, d)
        return rows / (rows * rows).sum(-1, keepdim=True).sqrt()

    out: dict[str, torch.Tensor] = {}
    for spec in claim.inputs:
        n = side(spec.rows, chosen) if spec.rows else 1
        d = side(spec.cols, chosen) if spec.cols else 1
        if spec.kind == "unit_rows":
            out[spec.name] = unit_rows(n, d)
        elif spec.kind == "rows":
            out[spec.name] = normal(n, d)
        elif spec.kind == "column":
            out[spec.name] = normal(n, 1)
        elif spec.kind == "unit_column":
            out[spec.name] = unit_rows(1, n).mT
        elif spec.kind == "simplex":
            w = -uniform(n, 1).log()
            out[spec.name] = w / w.sum(-2, keepdim=True)
        elif spec.kind == "projector":
            basis = orthonormal(normal(n, rng.randint(1, n)).permute(1, 2, 0))
            out[spec.name] = product(basis, basis.transpose(0, 1)).permute(2, 0, 1)
        elif spec.kind == "sorted_triple":
            out[spec.name] = sorted_triples(normal(3, d).abs())
        elif spec.kind == "real":
            low, high = float(Fraction(spec.low)), float(Fraction(spec.high))
            out[spec.name] = low + (high - low) * uniform(1, 1)
        else:
            raise ValueError(f"no way to draw an input of kind {spec.kind!r}")
    free = {spec.name for spec in claim.inputs if spec.kind in ("rows", "column", "real")}
    radius = {k: torch.tensor(0.0 if k in free else ROUNDING * 4, dtype=torch.float64) for k in out}
    return {k: Ball(v, radius[k].expand_as(v)) for k, v in out.items()}


def rationalise(spec: Input, rows: Any) -> list[list[Fraction]]:
    """The exact member of the input's domain nearest to float values, up to rounding to a small denominator."""
    near = [[Fraction(float(x)).limit_denominator(10**6) for x in row] for row in rows]
    if spec.kind in ("unit_rows", "sorted_triple"):
        return [on_sphere(row, 10**6) for row in near]
    if spec.kind == "unit_column":
        return [[x] for x in on_sphere([row[0] for row in near], 10**6)]
    if spec.kind == "simplex":
        total = sum((row[0] for row in near), Fraction(0))
        return [[row[0] / total] for row in near]
    if spec.kind == "projector":
        basis = torch.linalg.eigh(torch.as_tensor(rows, dtype=torch.float64))
        span = basis[1][:, basis[0] > 0.5].T
        if not len(span):
            return [[Fraction(0)] * len(near) for _ in near]
        return spanned(exact.array([[Fraction(float(v)).limit_denominator(10**6) for v in row] for row in span]))
    return near


def on_sphere(row: Sequence[Any], denominator: int) -> list[Fraction]:
    """A rational unit vector near to fractions or floats of about unit length: stereographic projection from the pole farthest from it."""
    if len(row) == 1:
        return [Fraction(1 if row[0] > 0 else -1)]
    pole = max(range(len(row)), key=lambda k: abs(row[k]))
    sign, height = (1 if row[pole] > 0 else -1), 1 + abs(row[pole])
    t = {k: Fraction(x / height).limit_denominator(denominator) for k, x in enumerate(row) if k != pole}
    square = sum((x * x for x in t.values()), Fraction(0))
    return [sign * (1 - square) / (1 + square) if k == pole else 2 * t[k] / (1 + square) for k in range(len(row))]


def orthonormal(columns: torch.Tensor) -> torch.Tensor:
    """``(n, k, batch)`` independent columns made orthonormal by Gram and Schmidt, twice (twice is enough)."""
    done: list[torch.Tensor] = []
    for column in columns.unbind(1):
        for _ in range(2):
            for other in done:
                column = column - (other * column).sum(0) * other
            column = column / (column * column).sum(0).sqrt()
        done.append(column)
    return torch.stack(done, 1)


def sorted_triples(rows: torch.Tensor) -> torch.Tensor:
    """Put the most similar pair first and last and the least similar pair first: c12 <= c23 <= c13."""
    rows = rows / rows.norm(dim=-1, keepdim=True)
    gram = rows @ rows.mT
    pairs = torch.stack([gram[:, 1, 2], gram[:, 0, 2], gram[:, 0, 1]], -1)  # indexed by the row left out
    order = pairs.argsort(-1)  # row left out by the least, middle, most similar pair
    first, last, middle = order[:, 1], order[:, 0], order[:, 2]
    index = torch.stack([first, middle, last], -1)
    return rows.gather(1, index[..., None].expand_as(rows))
