"""float64 with a proven error bound, on one model or on a batch."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from .exact import Exact

U = 2.0**-53  # unit roundoff of float64


class Ball:
    """A float64 tensor and an entrywise bound of its distance from the exact value.

    The bounds follow the standard model of rounding (Higham, Accuracy and Stability of Numerical Algorithms, ch. 2-3);
    every bound is itself inflated by more than its own rounding.
    """

    __slots__ = ("err", "mid")

    def __init__(self, mid: torch.Tensor, err: torch.Tensor) -> None:
        self.mid, self.err = mid, err

    @property
    def shape(self) -> torch.Size:
        return self.mid.shape

    def __add__(self, other: Any) -> Ball:
        x = ball(other, self)
        mid = self.mid + x.mid
        return Ball(mid, up(self.err + x.err + U * mid.abs()))

    def __neg__(self) -> Ball:
        return Ball(-self.mid, self.err)

    def __sub__(self, other: Any) -> Ball:
        return self + (-ball(other, self))

    def __rsub__(self, other: Any) -> Ball:
        return ball(other, self) - self

    def __mul__(self, other: Any) -> Ball:
        x = ball(other, self)
        mid = self.mid * x.mid
        return Ball(mid, up(self.mid.abs() * x.err + x.mid.abs() * self.err + self.err * x.err + U * mid.abs() + TINY))

    def __matmul__(self, other: Any) -> Ball:
        x = ball(other, self)
        k = self.mid.shape[-1]
        a, b = self.mid.abs(), x.mid.abs()
        rounding = (k + 2) * U * (a @ b)
        # of each of the k terms, all three products may lie below the smallest number: half of TINY each
        return Ball(self.mid @ x.mid, up(a @ x.err + self.err @ (b + x.err) + rounding + 2 * k * TINY, 2 * k + 8))

    def __pow__(self, k: int) -> Ball:
        if k == 0:
            return Ball(torch.ones_like(self.mid), torch.zeros_like(self.err))
        if k < 0:
            return reciprocal(self) ** -k
        out = self
        for _ in range(k - 1):
            out = out * self
        return out

    def __getitem__(self, key: Any) -> Ball:
        return Ball(self.mid[key], self.err[key])

    __radd__, __rmul__ = __add__, __mul__


TINY = 2.0**-1074
NORMAL = 2.0**-1022  # from here on, roundings are relative


def up(err: torch.Tensor, steps: int = 8) -> torch.Tensor:
    return err * (1 + steps * 4 * U) + TINY


def ball(x: Any, like: Any = None) -> Ball:
    if isinstance(x, Ball):
        return x
    if isinstance(x, torch.Tensor):
        return Ball(x, torch.zeros_like(x))
    value = torch.tensor(float(x), dtype=torch.float64)
    if Fraction(x) == Fraction(float(x)):
        return Ball(value, torch.zeros_like(value))
    return Ball(value, abs(value) * U + TINY)  # below 2^-1022 the rounding is TINY / 2, however small the value


def reciprocal(x: Ball) -> Ball:
    """1/x, entrywise; without end where the radius does not exclude 0."""
    mid = 1 / x.mid
    low = x.mid.abs() - x.err
    err = torch.where(low > 0, x.err * mid.abs() / low.clamp_min(TINY), torch.inf)
    return Ball(mid, up(err + U * mid.abs()))


class Bounded:
    """float64 with error bounds, on one model or on a batch."""

    exact = False
    half = 2.0**-26  # what is known so far of its size is known to half of the 53 binary digits

    def array(self, rows: Any) -> Ball:
        """From exact nested lists, or a float tensor or array taken as exact."""
        if isinstance(rows, Ball):
            return rows
        if isinstance(rows, np.ndarray) and rows.dtype != object:
            rows = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float64))
        if isinstance(rows, torch.Tensor):
            return Ball(at_least_matrix(rows.double()), torch.zeros_like(at_least_matrix(rows.double())))
        fractions = Exact().array(rows)
        mid = torch.tensor([[float(v) for v in row] for row in fractions], dtype=torch.float64)
        err = [[float(abs(Fraction(float(v)) - v)) for v in row] for row in fractions]
        return Ball(mid, up(torch.tensor(err, dtype=torch.float64)))

    def wrap(self, x: torch.Tensor, err: torch.Tensor | None = None) -> Ball:
        return Ball(x, torch.zeros_like(x) if err is None else err)

    def ratio(self, p: int, q: int) -> Fraction:
        return Fraction(p, q)

    def T(self, x: Ball) -> Ball:
        return Ball(x.mid.mT, x.err.mT)

    def rows(self, x: Ball) -> int:
        return int(x.mid.shape[-2])

    def eye(self, like: Ball) -> Ball:
        return self.wrap(torch.eye(self.rows(like), dtype=torch.float64))

    def ones(self, rows: int, cols: int, like: Ball) -> Ball:
        return self.wrap(torch.ones(rows, cols, dtype=torch.float64))

    def inv(self, x: Ball) -> Ball:
        """Krawczyk-style: with X about inv(A) and R = I - A X, inv(A) - X = X R / (I - R).

        Row i of it sums to at most r_i / (1 - max r) for r = |R| 1, and with |X| before |R| likewise: rows of different sizes keep errors of
        their own.
        """
        approx = torch.linalg.inv(x.mid)
        residual = self.eye(x) - x @ self.wrap(approx)
        sums = (residual.mid.abs() + residual.err).sum(-1, keepdim=True) * (1 + 1e-12)  # of n terms, n small
        size = sums.amax(-2, keepdim=True)
        err = torch.where(size < 0.5, approx.abs() @ sums / (1 - size), torch.inf) + self.rows(x) * TINY
        return Ball(approx, up(err.expand_as(approx).clone()))

    def strictly_lower(self, x: Ball) -> Ball:
        return Ball(x.mid.tril(-1), x.err.tril(-1))

    def diagonal(self, x: Ball) -> Ball:
        return Ball(x.mid.diagonal(dim1=-2, dim2=-1)[..., None, :], x.err.diagonal(dim1=-2, dim2=-1)[..., None, :])

    def _sum(self, x: Ball, dims: tuple[int, ...]) -> Ball:
        count = math.prod(x.shape[d] for d in dims)
        rounding = count * U * x.mid.abs().sum(dims, keepdim=True)
        return Ball(x.mid.sum(dims, keepdim=True), up(x.err.sum(dims, keepdim=True) + rounding, 2 * count + 8))

    def trace(self, x: Ball) -> Ball:
        return self._sum(self.diagonal(x), (-1,))

    def total_square(self, x: Ball) -> Ball:
        return self._sum(x * x, (-2, -1))

    def row(self, x: Ball, k: int) -> Ball:
        return x[..., k : k + 1, :]

    slice_row = row

    def entry(self, x: Ball, i: int, j: int) -> Ball:
        return x[..., i : i + 1, j : j + 1]

    def column(self, vector: Ball) -> Ball:
        return self.T(vector)

    def vector(self, column: Ball) -> Ball:
        return self.T(column)

    def flatten(self, x: Ball) -> Ball:
        shape = (*x.shape[:-2], 1, x.shape[-2] * x.shape[-1])
        return Ball(x.mid.reshape(shape), x.err.reshape(shape))

    def mean_row(self, x: Ball) -> Ball:
        return self._sum(x, (-2,)) * Fraction(1, x.shape[-2])

    def mean_entry(self, x: Ball) -> Ball:
        return self._sum(x, (-2, -1)) * Fraction(1, x.shape[-2] * x.shape[-1])

    def mean_square(self, x: Ball) -> Ball:
        return self.total_square(x) * Fraction(1, x.shape[-2])

    def sample(self, x: Ball) -> Ball:
        return x

    def constant(self, vector: Ball, rows: int) -> Ball:
        shape = (*vector.shape[:-2], rows, vector.shape[-1])
        return Ball(vector.mid.expand(shape), vector.err.expand(shape))

    def outer(self, x: Ball, y: Ball) -> Ball:
        return self.T(x) @ y

    def inner(self, x: Ball, y: Ball) -> Ball:
        product = x * y
        return self._sum(product, (-2, -1)) * Fraction(1, product.shape[-2])

    def sqrt(self, x: Any) -> Ball:
        x = ball(x)
        mid = x.mid.clamp_min(0).sqrt()
        low = (x.mid - x.err).clamp_min(0).sqrt()
        err = torch.where(x.err == 0, 0.0, x.err / (mid + low).clamp_min(TINY))
        err = torch.minimum(err, (x.mid.clamp_min(0) + x.err).sqrt())
        err = torch.where(x.mid + x.err < 0, torch.inf, err)  # surely negative: it has no root
        return Ball(mid, up(err + 2 * U * mid))

    def exp(self, x: Any) -> Ball:
        x = ball(x)
        mid = x.mid.exp()
        # below NORMAL it has few digits or none, which must not be multiplied
        return Ball(mid, up(mid.clamp_min(NORMAL) * torch.expm1(x.err) + 4 * U * mid))

    def log(self, x: Any) -> Ball:
        x = ball(x)
        low = x.mid - x.err
        err = torch.where(low > 0, x.err / low.clamp_min(TINY), torch.inf)
        mid = x.mid.log()
        return Ball(mid, up(err + 4 * U * mid.abs() + TINY))

    def reciprocal(self, x: Any) -> Ball:
        return reciprocal(ball(x))

    def absolute(self, x: Ball) -> Ball:
        return Ball(x.mid.abs(), x.err)

    def maximum(self, x: Any, y: Any) -> Ball:
        x, y = ball(x), ball(y)
        return Ball(torch.maximum(x.mid, y.mid), torch.maximum(x.err, y.err))

    def minimum(self, x: Any, y: Any) -> Ball:
        x, y = ball(x), ball(y)
        return Ball(torch.minimum(x.mid, y.mid), torch.maximum(x.err, y.err))

    def max_entry(self, x: Ball) -> Ball:
        return Ball(x.mid.amax((-2, -1), keepdim=True), x.err.amax((-2, -1), keepdim=True))

    def min_entry(self, x: Ball) -> Ball:
        return Ball(x.mid.amin((-2, -1), keepdim=True), x.err.amax((-2, -1), keepdim=True))

    def positive(self, x: Ball) -> Ball:
        """A step: where the sign is in doubt it may be 0 or 1; so it is where nothing is known."""
        doubtful = ~(x.mid - x.err > 0) & ~(x.mid + x.err <= 0)
        return Ball((x.mid > 0).double(), doubtful.double())

    def smallest_eigenvalue(self, x: Ball) -> Ball:
        """Of a symmetric matrix.  Residual bound of an approximate eigenbasis plus the error of the matrix itself; NaN where an entry is no number."""
        symmetric = (x.mid + x.mid.mT) / 2
        known = symmetric.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
        symmetric = torch.where(known, symmetric, 0.0)
        values, basis = torch.linalg.eigh(symmetric)
        b = self.wrap(basis)
        moved = self.wrap(symmetric) @ b - b * self.wrap(values[..., None, :])
        skew = self.T(b) @ b - self.eye(x)
        residual = frobenius(moved.mid.abs() + moved.err)
        defect = frobenius(skew.mid.abs() + skew.err)
        own = frobenius(x.err) + frobenius((x.mid - x.mid.mT).abs() / 2)
        err = torch.where(defect < 0.5, residual * (1 + defect), torch.inf) + own
        # halves and norms below NORMAL are off by TINY / 2 an entry
        err = up(err[..., None, None] + 4 * self.rows(x) * TINY, 64)
        return Ball(torch.where(known, values[..., :1, None], torch.nan), torch.where(known, err, torch.inf))


def frobenius(x: torch.Tensor) -> torch.Tensor:
    """Norm of matrices of entries >= 0, scaled: squares of what is below 1e-154 have no digits left, and would count for nothing."""
    largest = x.amax((-2, -1), keepdim=True)
    scaled = torch.linalg.matrix_norm(x / largest.clamp_min(TINY))
    return torch.where(largest[..., 0, 0] == 0, 0.0, largest[..., 0, 0] * scaled)


def at_least_matrix(x: torch.Tensor) -> torch.Tensor:
    return x if x.ndim >= 2 else x.reshape(1, -1)
