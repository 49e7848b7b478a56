"""A user's features as claims see them: the `View` of `crossmodal.theory.protocols`, in float64 with error bounds."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from ..synthetic.arithmetic import Ball, Bounded, U, up
from .features import Features

ops = Bounded()


class FeaturesView:
    """Environments by id, features as float64 balls.

    What the file holds is taken as exact; what is derived here (a direction of unit length, a projector, coordinates)
    carries a radius within which an exact one lies.
    """

    def __init__(self, features: Features) -> None:
        self.features = features
        self.environments: Sequence[int] = [int(e) for e in features.environments]
        self._classes = features.classes

    def _rows(self, env: int) -> Any:
        return self.features.rows(env)

    def name(self, env: int) -> str:
        return self.features.name(env)

    def count(self, env: int) -> int:
        return len(self._rows(env))

    def image(self, env: int) -> Ball:
        return ops.array(torch.from_numpy(self.features.image[self._rows(env)]).double())

    def text(self, env: int) -> Ball:
        return ops.array(torch.from_numpy(self.features.text[self._rows(env)]).double())

    def labels(self, env: int) -> torch.Tensor:
        return torch.from_numpy(self.features.label[self._rows(env)])

    def onehot(self, env: int) -> Ball:
        return ops.array(torch.nn.functional.one_hot(self.labels(env), self._classes).double())

    def class_texts(self, env: int) -> Ball:
        """Mean text of every class, one row a class; zero where the class is absent."""
        classes = self.onehot(env)
        counts = classes.mid.sum(-2).clamp_min(1).tolist()
        rows = ops.T(classes) @ self.text(env)
        return self.stack([ops.row(rows, k) * Fraction(1, int(n)) for k, n in enumerate(counts)])

    def prototypes(self, env: int) -> Ball:
        """Means of the image features of every class that occurs in the environment, one row a class."""
        labels, image = self.labels(env), self.image(env)
        return self.stack([ops.mean_row(image[labels == c]) for c in torch.unique(labels)])

    def mean(self, x: Ball) -> Ball:
        return ops.mean_row(x)

    def stack(self, vectors: Sequence[Ball]) -> Ball:
        return Ball(torch.cat([v.mid for v in vectors], -2), torch.cat([v.err for v in vectors], -2))

    def normalise(self, x: Ball) -> Ball:
        """Unit rows along `x`; the radius covers an exactly unit row: the arithmetic bounds the rounding of its length."""
        given = ops.wrap(x.mid)
        squares = (given * given) @ ops.ones(x.shape[-1], 1, x)
        return given * ops.reciprocal(ops.sqrt(squares))

    def _basis(self, x: torch.Tensor) -> torch.Tensor:
        """Orthonormal basis (columns) of the row space, by a pivot-free QR of the significant directions."""
        u, s, _ = torch.linalg.svd(x.mT, full_matrices=False)
        return u[:, s > s[0] * 1e-12] if len(s) else u

    def span(self, *x: Ball) -> tuple[Ball, ...]:
        """The same rows in coordinates of their common span: inner products stay, the dimension drops."""
        basis = self._basis(torch.cat([v.mid for v in x], -2))
        out = []
        for v in x:
            rows = v.mid @ basis
            out.append(
                Ball(rows, torch.full_like(rows, 64 * U * max(1.0, float(v.mid.abs().max())) * basis.shape[0] ** 0.5))
            )
        return tuple(out)

    def projector(self, x: Ball) -> Ball:
        """Orthogonal projector on the span of the rows; the radius covers an exact one."""
        basis = self._basis(x.mid)
        defect = float(torch.linalg.matrix_norm(basis.mT @ basis - torch.eye(basis.shape[1], dtype=torch.float64)))
        q = basis @ basis.mT
        return Ball((q + q.mT) / 2, up(torch.full_like(q, 2 * defect + 8 * basis.shape[0] * U)))

    def column(self, vector: Ball) -> Ball:
        return ops.T(vector)

    def scores(self, rows: Ball) -> list[list[float]]:
        """Inner products of the rows, rounded: for choosing orders, not for judging claims."""
        return [[float(x) for x in row] for row in rows.mid @ rows.mid.mT]

    def sorted_cosines(self, rows: Ball) -> bool:
        """0 <= c12 <= c23 <= c13, the order of three environments that T3.8 speaks of."""
        gram = rows.mid @ rows.mid.mT
        return 0 <= float(gram[0, 1]) <= float(gram[1, 2]) <= float(gram[0, 2])
