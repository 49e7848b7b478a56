"""Batches with the models side by side: one float64 lane a model, ``(rows, cols, batch)``, the batch contiguous.

Matrices of a theorem are small (5 x 5), and libraries multiply small matrices one after the other.  Here every entry is
a vector over the batch, so that a product of 5 x 5 matrices is five multiply-adds over all models at once: a fifth of the
time of a batched matrix product.  To a claim this is one more arithmetic behind `crossmodal.theory.protocols.Ops`.

No bound of the rounding is carried.  All operations but the inverse round as the standard model says, in another order than
`Bounded` does, so both results lie within `Bounded`'s radius of the exact value.
"""

from __future__ import annotations

from typing import Any

import torch

Number = int | float


class Lanes:
    """Matrices ``rows x cols`` of many models; ``data`` is ``(rows, cols, batch)``, batch 1 where all models agree."""

    __slots__ = ("data",)

    def __init__(self, data: torch.Tensor) -> None:
        self.data = data

    @property
    def shape(self) -> tuple[int, int, int]:
        """As a batch of matrices has it: ``(batch, rows, cols)``."""
        rows, cols, batch = self.data.shape
        return batch, rows, cols

    def __add__(self, other: Any) -> Lanes:
        return Lanes(self.data + raw(other))

    def __sub__(self, other: Any) -> Lanes:
        return Lanes(self.data - raw(other))

    def __rsub__(self, other: Any) -> Lanes:
        return Lanes(raw(other) - self.data)

    def __neg__(self) -> Lanes:
        return Lanes(-self.data)

    def __mul__(self, other: Any) -> Lanes:
        return Lanes(self.data * raw(other))

    def __matmul__(self, other: Lanes) -> Lanes:
        return Lanes(product(self.data, other.data))

    def __pow__(self, k: int) -> Lanes:
        if k == 0:
            return Lanes(torch.ones_like(self.data))
        if k < 0:
            return lanes.reciprocal(self) ** -k
        out = self.data
        for _ in range(k - 1):
            out = out * self.data
        return Lanes(out)

    def __getitem__(self, key: Any) -> Lanes:
        """``x[..., rows, cols]`` and ``x[..., cols]``, as claims slice."""
        inner = key[1:]
        return Lanes(self.data[inner if len(inner) == 2 else (slice(None), *inner)])

    __radd__, __rmul__ = __add__, __mul__


def raw(x: Any) -> Any:
    return x.data if isinstance(x, Lanes) else x


def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``(rows, k, batch)`` times ``(k, cols, batch)``."""
    if x.shape[0] == y.shape[1] == 1:  # an inner product is one pass and a sum
        return (x[0] * y[:, 0]).sum(0)[None, None]
    out = x[:, 0, None] * y[0]
    for k in range(1, x.shape[1]):
        out.addcmul_(x[:, k, None], y[k])
    return out


def as_lanes(x: torch.Tensor) -> Lanes:
    """From ``(batch, rows, cols)`` or ``(rows, cols)``."""
    return Lanes(x.permute(1, 2, 0).contiguous() if x.ndim == 3 else x[..., None])


def as_batch(x: Lanes) -> torch.Tensor:
    """``(batch, rows, cols)``, contiguous, as LAPACK wants it."""
    return x.data.permute(2, 0, 1).contiguous()


def unit_triangular_inverse(x: torch.Tensor) -> torch.Tensor:
    """Of ``I + L``, ``L`` strictly lower, by forward substitution; what lies on and above the diagonal is not read."""
    size = x.shape[0]
    out = torch.eye(size, dtype=x.dtype)[..., None].expand(size, size, x.shape[2]).clone()
    for i in range(1, size):
        for j in range(i):
            out[i, : j + 1].addcmul_(x[i, j], out[j, : j + 1], value=-1)
    return out


def least_pivot(x: torch.Tensor) -> torch.Tensor:
    """``(batch,)``: the least pivot of elimination without exchanges, or the first that is not positive; ``x`` is symmetric, and overwritten.

    Positive exactly where the matrix is positive definite: elimination of a definite matrix is backward stable, so the sign is
    that of the least eigenvalue up to a few roundings of the largest entry (Higham, ch. 10).  A tenth of an eigenvalue's time.
    """
    least = torch.full(x.shape[2:], torch.inf, dtype=x.dtype)
    for k in range(x.shape[0]):
        pivot = x[k, k]
        least = torch.where(least <= 0, least, torch.minimum(least, pivot))
        rows = x[k + 1 :, k]
        x[k + 1 :, k + 1 :].addcmul_(rows[:, None], rows / torch.where(pivot > 0, pivot, torch.inf), value=-1)
    return least


class LaneArithmetic:
    """`Ops` on lanes."""

    exact = False

    def array(self, x: torch.Tensor | Lanes) -> Lanes:
        return x if isinstance(x, Lanes) else as_lanes(x)

    def ratio(self, p: int, q: int) -> float:
        return p / q

    def T(self, x: Lanes) -> Lanes:
        return Lanes(x.data.transpose(0, 1))

    def rows(self, x: Lanes) -> int:
        return int(x.data.shape[0])

    def eye(self, like: Lanes) -> Lanes:
        return Lanes(torch.eye(self.rows(like), dtype=torch.float64)[..., None])

    def ones(self, rows: int, cols: int, like: Any) -> Lanes:
        return Lanes(torch.ones(rows, cols, 1, dtype=torch.float64))

    def inv(self, x: Lanes) -> Lanes:
        size = self.rows(x)
        upper = [x.data[i, i + 1 :] for i in range(size)]
        if all(bool((x.data[i, i] == 1).all()) and not bool(upper[i].any()) for i in range(size)):
            return Lanes(unit_triangular_inverse(x.data))
        return as_lanes(torch.linalg.inv(as_batch(x)))

    def strictly_lower(self, x: Lanes) -> Lanes:
        size = self.rows(x)
        return Lanes(x.data * torch.ones(size, size, dtype=torch.float64).tril(-1)[..., None])

    def diagonal(self, x: Lanes) -> Lanes:
        return Lanes(x.data.diagonal(dim1=0, dim2=1).mT[None])

    def trace(self, x: Lanes) -> Lanes:
        return Lanes(x.data.diagonal(dim1=0, dim2=1).sum(-1)[None, None])

    def total_square(self, x: Lanes) -> Lanes:
        return Lanes((x.data * x.data).sum((0, 1), keepdim=True))

    def row(self, x: Lanes, k: int) -> Lanes:
        return Lanes(x.data[k : k + 1])

    slice_row = row

    def entry(self, x: Lanes, i: int, j: int) -> Lanes:
        return Lanes(x.data[i : i + 1, j : j + 1])

    def column(self, vector: Lanes) -> Lanes:
        return self.T(vector)

    def vector(self, column: Lanes) -> Lanes:
        return self.T(column)

    def flatten(self, x: Lanes) -> Lanes:
        return Lanes(x.data.reshape(1, -1, x.data.shape[2]))

    def mean_row(self, x: Lanes) -> Lanes:
        return Lanes(x.data.mean(0, keepdim=True))

    def mean_entry(self, x: Lanes) -> Lanes:
        return Lanes(x.data.mean((0, 1), keepdim=True))

    def mean_square(self, x: Lanes) -> Lanes:
        return Lanes(self.total_square(x).data / x.data.shape[0])

    def sample(self, x: Lanes) -> Lanes:
        return x

    def constant(self, vector: Lanes, rows: int) -> Lanes:
        return Lanes(vector.data.expand(rows, *vector.data.shape[1:]))

    def outer(self, x: Lanes, y: Lanes) -> Lanes:
        return self.T(x) @ y

    def inner(self, x: Lanes, y: Lanes) -> Lanes:
        found = x.data * y.data
        return Lanes(found.sum((0, 1), keepdim=True) / found.shape[0])

    def _map(self, x: Any, f: Any) -> Lanes:
        return Lanes(f(x.data if isinstance(x, Lanes) else torch.full((1, 1, 1), float(x), dtype=torch.float64)))

    def sqrt(self, x: Any) -> Lanes:
        return self._map(x, lambda v: v.clamp_min(0).sqrt())

    def exp(self, x: Any) -> Lanes:
        return self._map(x, torch.exp)

    def log(self, x: Any) -> Lanes:
        return self._map(x, torch.log)

    def reciprocal(self, x: Any) -> Lanes:
        return self._map(x, torch.reciprocal)

    def absolute(self, x: Any) -> Lanes:
        return self._map(x, torch.abs)

    def maximum(self, x: Any, y: Any) -> Lanes:
        return Lanes(torch.maximum(self._map(x, lambda v: v).data, self._map(y, lambda v: v).data))

    def minimum(self, x: Any, y: Any) -> Lanes:
        return Lanes(torch.minimum(self._map(x, lambda v: v).data, self._map(y, lambda v: v).data))

    def max_entry(self, x: Lanes) -> Lanes:
        return Lanes(x.data.amax((0, 1), keepdim=True))

    def min_entry(self, x: Lanes) -> Lanes:
        return Lanes(x.data.amin((0, 1), keepdim=True))

    def positive(self, x: Any) -> Lanes:
        return self._map(x, lambda v: (v > 0).double())

    def smallest_eigenvalue(self, x: Lanes) -> Lanes:
        batch = as_batch(x)
        return Lanes(torch.linalg.eigvalsh((batch + batch.mT) / 2)[:, 0][None, None])


lanes = LaneArithmetic()
