"""float64 without bounds, differentiable: the same functions on bare tensors."""

from __future__ import annotations

from typing import Any

import torch

from .bounded import Bounded, at_least_matrix


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
