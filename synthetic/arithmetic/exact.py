"""Rational arithmetic on numpy arrays of fractions, one model at a time; a comparison that succeeds is a proof."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from .enclosures import DIGITS, Enclosure, larger, root, step, transcendental


class Exact:
    """Rational arithmetic on numpy object arrays; one model at a time."""

    exact = True
    half = 10.0 ** -(DIGITS // 2)  # what is known so far of the unit is known to half of an enclosure's digits

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
        return self.map(x, step)
