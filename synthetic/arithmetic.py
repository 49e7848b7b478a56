"""Three arithmetics behind one interface (`crossmodal.theory.protocols.Ops`).

* `Exact`: numpy arrays of `fractions.Fraction`.  Roots, exponentials and logarithms become `Enclosure`s: rational
  intervals about 1e-70 wide, so a comparison that succeeds is a proof.
* `Bounded`: float64 torch tensors that carry a proven bound of their error (`Ball`).
* `Plain`: float64 torch tensors, for throughput; what it flags is decided by the other two.

Shapes: every value is ``(..., rows, cols)``; scalars are ``1 x 1``, vectors ``1 x d``.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any, cast

import mpmath
import numpy as np
import torch

U = 2.0**-53  # unit roundoff of float64
DIGITS = 72


# -- rational intervals ---------------------------------------------------------------------------------------


class Enclosure:
    """A real number known to lie in ``[lo, hi]``, both rational."""

    __slots__ = ("hi", "lo")

    def __init__(self, lo: Fraction, hi: Fraction) -> None:
        self.lo, self.hi = lo, hi

    def __add__(self, other: Any) -> Enclosure:
        x = enclosure(other)
        return Enclosure(self.lo + x.lo, self.hi + x.hi)

    def __neg__(self) -> Enclosure:
        return Enclosure(-self.hi, -self.lo)

    def __sub__(self, other: Any) -> Enclosure:
        return self + (-enclosure(other))

    def __rsub__(self, other: Any) -> Enclosure:
        return enclosure(other) - self

    def __mul__(self, other: Any) -> Enclosure:
        x = enclosure(other)
        ends = [a * b for a in (self.lo, self.hi) for b in (x.lo, x.hi)]
        return Enclosure(min(ends), max(ends))

    def __truediv__(self, other: Any) -> Enclosure:
        x = enclosure(other)
        if x.lo <= 0 <= x.hi:
            raise ZeroDivisionError("division by an interval that contains 0")
        return self * Enclosure(1 / x.hi, 1 / x.lo)

    def __rtruediv__(self, other: Any) -> Enclosure:
        return enclosure(other) / self

    def __pow__(self, k: int) -> Enclosure:
        out = Enclosure(Fraction(1), Fraction(1))
        for _ in range(k):
            out = out * self
        return out

    __radd__, __rmul__ = __add__, __mul__

    def __float__(self) -> float:
        return float((self.lo + self.hi) / 2)

    def __repr__(self) -> str:
        return f"{float(self):.12g}"


def enclosure(x: Any) -> Enclosure:
    return x if isinstance(x, Enclosure) else Enclosure(Fraction(x), Fraction(x))


def root(x: Any) -> Any:
    """Square root: a fraction where the argument is a perfect square, an enclosure otherwise."""
    if isinstance(x, Enclosure):
        low, high = root(max(x.lo, Fraction(0))), root(max(x.hi, Fraction(0)))
        return Enclosure(enclosure(low).lo, enclosure(high).hi)
    x = Fraction(x)
    if x < 0:
        raise ValueError(f"square root of {x}")
    p, q = math.isqrt(x.numerator), math.isqrt(x.denominator)
    if p * p == x.numerator and q * q == x.denominator:
        return Fraction(p, q)
    scale = 10**DIGITS
    low = math.isqrt(x.numerator * scale * scale // x.denominator)
    return Enclosure(Fraction(low, scale), Fraction(low + 1, scale))


def transcendental(name: str, x: Any) -> Enclosure:
    """exp or log of a rational or an enclosure, by interval arithmetic."""
    e = enclosure(x)
    iv = mpmath.iv
    iv.dps = DIGITS
    ends = [iv.mpf(v.numerator) / iv.mpf(v.denominator) for v in (e.lo, e.hi)]
    value = getattr(iv, name)(iv.mpf([ends[0].a, ends[1].b]))
    return Enclosure(from_mpf(value._mpi_[0]), from_mpf(value._mpi_[1]))


def from_mpf(x: Any) -> Fraction:
    sign, mantissa, exponent, _ = x
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def lower_end(x: Any) -> Fraction:
    return x.lo if isinstance(x, Enclosure) else Fraction(x)


def upper_end(x: Any) -> Fraction:
    return x.hi if isinstance(x, Enclosure) else Fraction(x)


class Exact:
    """Rational arithmetic on numpy object arrays; one model at a time."""

    exact = True

    def array(self, rows: Any) -> Any:
        """Nested lists of integers, fractions or strings such as '3/5'; a plain number becomes 1 x 1."""
        data = np.array(rows, dtype=object)
        if data.ndim == 0:
            data = data.reshape(1, 1)
        elif data.ndim == 1:
            data = data.reshape(1, -1)
        flat = [Fraction(str(v)) if not isinstance(v, Fraction | Enclosure) else v for v in data.reshape(-1)]
        out = np.empty(data.size, dtype=object)
        out[:] = flat
        return out.reshape(data.shape)

    def ratio(self, p: int, q: int) -> Any:
        return Fraction(p, q)

    def T(self, x: Any) -> Any:
        return np.swapaxes(x, -1, -2)

    def rows(self, x: Any) -> int:
        return int(x.shape[-2])

    def eye(self, like: Any) -> Any:
        return self.array([[int(i == j) for j in range(self.rows(like))] for i in range(self.rows(like))])

    def ones(self, rows: int, cols: int, like: Any) -> Any:
        return self.array([[1] * cols] * rows)

    def inv(self, x: Any) -> Any:
        n = self.rows(x)
        work = [[Fraction(v) for v in row] + [Fraction(i == j) for j in range(n)] for i, row in enumerate(x)]
        for k in range(n):
            pivot = next((i for i in range(k, n) if work[i][k] != 0), None)
            if pivot is None:
                raise ZeroDivisionError("singular matrix")
            work[k], work[pivot] = work[pivot], work[k]
            work[k] = [v / work[k][k] for v in work[k]]
            for i in range(n):
                if i != k and work[i][k] != 0:
                    work[i] = [a - work[i][k] * b for a, b in zip(work[i], work[k], strict=True)]
        return self.array([row[n:] for row in work])

    def strictly_lower(self, x: Any) -> Any:
        n = self.rows(x)
        return self.array([[x[i, j] if j < i else 0 for j in range(n)] for i in range(n)])

    def diagonal(self, x: Any) -> Any:
        return self.array([[x[i, i] for i in range(self.rows(x))]])

    def trace(self, x: Any) -> Any:
        return self.array(sum(x[i, i] for i in range(self.rows(x))))

    def total_square(self, x: Any) -> Any:
        return self.array(sum(v * v for v in x.reshape(-1)))

    def row(self, x: Any, k: int) -> Any:
        return x[k : k + 1, :]

    slice_row = row

    def entry(self, x: Any, i: int, j: int) -> Any:
        return x[i : i + 1, j : j + 1]

    def column(self, vector: Any) -> Any:
        return vector.reshape(-1, 1)

    def vector(self, column: Any) -> Any:
        return column.reshape(1, -1)

    flatten = vector

    def mean_row(self, x: Any) -> Any:
        return x.sum(axis=0, keepdims=True) * Fraction(1, x.shape[0])

    def mean_entry(self, x: Any) -> Any:
        return self.array(x.sum() * Fraction(1, x.size))

    def mean_square(self, x: Any) -> Any:
        return self.total_square(x) * Fraction(1, x.shape[0])

    def sample(self, x: Any) -> Any:
        return x

    def constant(self, vector: Any, rows: int) -> Any:
        return np.repeat(vector, rows, axis=0)

    def outer(self, x: Any, y: Any) -> Any:
        return self.column(x) @ self.vector(y)

    def inner(self, x: Any, y: Any) -> Any:
        product = x * y
        return self.array(product.sum() * Fraction(1, product.shape[-2]))

    def map(self, x: Any, f: Any) -> Any:
        x = x if isinstance(x, np.ndarray) else self.array(x)
        out = np.empty(x.size, dtype=object)
        out[:] = [f(v) for v in x.reshape(-1)]
        return out.reshape(x.shape)

    def sqrt(self, x: Any) -> Any:
        return self.map(x, root)

    def exp(self, x: Any) -> Any:
        return self.map(x, lambda v: transcendental("exp", v))

    def log(self, x: Any) -> Any:
        return self.map(x, lambda v: transcendental("log", v))

    def reciprocal(self, x: Any) -> Any:
        return self.map(x, lambda v: 1 / v)

    def absolute(self, x: Any) -> Any:
        return self.maximum(x, -x)

    def maximum(self, x: Any, y: Any) -> Any:
        x, y = np.broadcast_arrays(*(v if isinstance(v, np.ndarray) else self.array(v) for v in (x, y)))
        return self.array([[larger(a, b) for a, b in zip(p, q, strict=True)] for p, q in zip(x, y, strict=True)])

    def minimum(self, x: Any, y: Any) -> Any:
        return -self.maximum(-x, -y)

    def max_entry(self, x: Any) -> Any:
        best = x.reshape(-1)[0]
        for v in x.reshape(-1)[1:]:
            best = larger(best, v)
        return self.array(best)

    def min_entry(self, x: Any) -> Any:
        return -self.max_entry(-x)

    def positive(self, x: Any) -> Any:
        return self.map(x, lambda v: Fraction(int(lower_end(v) > 0)))


def larger(a: Any, b: Any) -> Any:
    if isinstance(a, Enclosure) or isinstance(b, Enclosure):
        p, q = enclosure(a), enclosure(b)
        return Enclosure(max(p.lo, q.lo), max(p.hi, q.hi))
    return max(a, b)


# -- float64 with a proven error bound ------------------------------------------------------------------------


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
        return Ball(self.mid @ x.mid, up(a @ x.err + self.err @ (b + x.err) + rounding + k * TINY, 2 * k + 8))

    def __pow__(self, k: int) -> Ball:
        out = self
        for _ in range(k - 1):
            out = out * self
        return out

    def __getitem__(self, key: Any) -> Ball:
        return Ball(self.mid[key], self.err[key])

    __radd__, __rmul__ = __add__, __mul__


TINY = 2.0**-1074


def up(err: torch.Tensor, steps: int = 8) -> torch.Tensor:
    return err * (1 + steps * 4 * U) + TINY


def ball(x: Any, like: Any = None) -> Ball:
    if isinstance(x, Ball):
        return x
    if isinstance(x, torch.Tensor):
        return Ball(x, torch.zeros_like(x))
    value = torch.tensor(float(x), dtype=torch.float64)
    return Ball(value, abs(value) * U if Fraction(x) != Fraction(float(x)) else torch.zeros_like(value))


class Bounded:
    """float64 with error bounds, on one model or on a batch."""

    exact = False

    def array(self, rows: Any) -> Ball:
        """From exact nested lists, or a float tensor or array taken as exact."""
        if isinstance(rows, Ball):
            return rows
        if isinstance(rows, torch.Tensor):
            return Ball(at_least_matrix(rows.double()), torch.zeros_like(at_least_matrix(rows.double())))
        if isinstance(rows, np.ndarray) and rows.dtype != object:
            return self.array(torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float64)))
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
        """Krawczyk-style: with X about inv(A) and R = I - A X, |inv(A) - X| <= |X| |R| / (1 - |R|) (row sums)."""
        approx = torch.linalg.inv(x.mid)
        residual = self.eye(x) - x @ self.wrap(approx)
        size = (residual.mid.abs() + residual.err).sum(-1).amax(-1)[..., None, None] * (1 + 1e-12)
        norm = approx.abs().sum(-1).amax(-1)[..., None, None]
        err = torch.where(size < 0.5, norm * size / (1 - size), torch.inf)
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
        return Ball(mid, up(torch.minimum(err, (x.mid.clamp_min(0) + x.err).sqrt()) + 2 * U * mid))

    def exp(self, x: Any) -> Ball:
        x = ball(x)
        mid = x.mid.exp()
        return Ball(mid, up(mid * torch.expm1(x.err) + 4 * U * mid))

    def log(self, x: Any) -> Ball:
        x = ball(x)
        low = x.mid - x.err
        err = torch.where(low > 0, x.err / low.clamp_min(TINY), torch.inf)
        mid = x.mid.log()
        return Ball(mid, up(err + 4 * U * mid.abs() + TINY))

    def reciprocal(self, x: Any) -> Ball:
        x = ball(x)
        mid = 1 / x.mid
        low = x.mid.abs() - x.err
        err = torch.where(low > 0, x.err * mid.abs() / low.clamp_min(TINY), torch.inf)
        return Ball(mid, up(err + U * mid.abs()))

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
        """A step: where the sign is in doubt it may be 0 or 1."""
        doubtful = (x.err > 0) & (x.mid - x.err <= 0) & (x.mid + x.err > 0)
        return Ball((x.mid > 0).double(), doubtful.double())

    def smallest_eigenvalue(self, x: Ball) -> Ball:
        """Of a symmetric matrix.  Residual bound of an approximate eigenbasis plus the error of the matrix itself."""
        symmetric = (x.mid + x.mid.mT) / 2
        values, basis = torch.linalg.eigh(symmetric)
        b = self.wrap(basis)
        moved = self.wrap(symmetric) @ b - b * self.wrap(values[..., None, :])
        skew = self.T(b) @ b - self.eye(x)
        residual = torch.linalg.matrix_norm(moved.mid.abs() + moved.err)
        defect = torch.linalg.matrix_norm(skew.mid.abs() + skew.err)
        own = torch.linalg.matrix_norm(x.err) + torch.linalg.matrix_norm((x.mid - x.mid.mT).abs() / 2)
        err = torch.where(defect < 0.5, residual * (1 + defect), torch.inf) + own
        return Ball(values[..., :1, None], up(err[..., None, None], 64))


def at_least_matrix(x: torch.Tensor) -> torch.Tensor:
    return x if x.ndim >= 2 else x.reshape(1, -1)


class Plain(Bounded):
    """float64 without bounds: the same functions on bare tensors."""

    def array(self, rows: Any) -> Any:
        return Bounded.array(self, rows).mid if not isinstance(rows, torch.Tensor) else at_least_matrix(rows.double())

    def wrap(self, x: torch.Tensor, err: torch.Tensor | None = None) -> Any:
        return x

    def ratio(self, p: int, q: int) -> Any:
        return p / q

    def T(self, x: Any) -> Any:
        return x.mT

    def rows(self, x: Any) -> int:
        return int(x.shape[-2])

    def inv(self, x: Any) -> Any:
        return torch.linalg.inv(x)

    def strictly_lower(self, x: Any) -> Any:
        return x.tril(-1)

    def diagonal(self, x: Any) -> Any:
        return x.diagonal(dim1=-2, dim2=-1)[..., None, :]

    def _sum(self, x: Any, dims: tuple[int, ...]) -> Any:
        return x.sum(dims, keepdim=True)

    def mean_row(self, x: Any) -> Any:
        return x.mean(-2, keepdim=True)

    def mean_entry(self, x: Any) -> Any:
        return x.mean((-2, -1), keepdim=True)

    def mean_square(self, x: Any) -> Any:
        return self.total_square(x) / x.shape[-2]

    def flatten(self, x: Any) -> Any:
        return x.reshape(*x.shape[:-2], 1, -1)

    def constant(self, vector: Any, rows: int) -> Any:
        return vector.expand(*vector.shape[:-2], rows, vector.shape[-1])

    def inner(self, x: Any, y: Any) -> Any:
        product = x * y
        return product.sum((-2, -1), keepdim=True) / product.shape[-2]

    def sqrt(self, x: Any) -> Any:
        return torch.as_tensor(x, dtype=torch.float64).clamp_min(0).sqrt()

    def exp(self, x: Any) -> Any:
        return torch.as_tensor(x, dtype=torch.float64).exp()

    def log(self, x: Any) -> Any:
        return torch.as_tensor(x, dtype=torch.float64).log()

    def reciprocal(self, x: Any) -> Any:
        return 1 / x

    def absolute(self, x: Any) -> Any:
        return x.abs()

    def maximum(self, x: Any, y: Any) -> Any:
        return torch.maximum(*(torch.as_tensor(v, dtype=torch.float64) for v in (x, y)))

    def minimum(self, x: Any, y: Any) -> Any:
        return torch.minimum(*(torch.as_tensor(v, dtype=torch.float64) for v in (x, y)))

    def max_entry(self, x: Any) -> Any:
        return x.amax((-2, -1), keepdim=True)

    def min_entry(self, x: Any) -> Any:
        return x.amin((-2, -1), keepdim=True)

    def positive(self, x: Any) -> Any:
        return (x > 0).double()

    def smallest_eigenvalue(self, x: Any) -> Any:
        return torch.linalg.eigvalsh((x + x.mT) / 2)[..., :1, None]


@cache
def arithmetic(name: str) -> Any:
    """``exact``, ``bounded`` or ``plain``."""
    return cast(Any, {"exact": Exact, "bounded": Bounded, "plain": Plain}[name]())
