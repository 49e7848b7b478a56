"""A user's features as claims see them: the `View` of `crossmodal.theory.protocols`, in float64 with error bounds."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from ..synthetic.arithmetic import Ball, Bounded, up
from .features import Features

ops = Bounded()


def _length(x: Ball) -> torch.Tensor:
    """At least the Frobenius norm of every matrix within the radius."""
    found = ops.sqrt(ops.total_square(ops.wrap(up(x.mid.abs() + x.err))))
    return up(found.mid + found.err)


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
        self.features.require_class_numbers()
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

    def span(self, *x: Ball) -> tuple[Ball, ...]:
        """The same rows in no more coordinates than there are rows: inner products stay, the dimension drops.

        The radius covers coordinates with exactly the inner products of exact rows W: W P, where the columns of P are
        orthonormal and span all rows of W.  Say V are the rows as computed, B = Q H the computed basis (Q has
        orthonormal columns, H >= 0) and X = V B.  The P nearest in the sense of Procrustes has tr P'W'X >= tr Q'W'X,
        which says |W P - X| <= |W - X Q'|, at most |W - V| + |V - X Q'|.  With C = V Q the last squared is
        |V - C Q'|^2 + |C (1 - H)|^2, and |V - X B'|^2, which has 1 - H^2 for 1 - H, is no less.
        """
        rows = self.stack(x)
        if rows.shape[-2] >= rows.shape[-1]:
            return x
        given, basis = ops.wrap(rows.mid), ops.wrap(torch.linalg.qr(rows.mid.mT).Q)
        found = given @ basis
        off = _length(given - found @ ops.T(basis)) + _length(ops.wrap(rows.err))
        err = up(found.err + off)
        sizes = [v.shape[-2] for v in x]
        return tuple(Ball(*both) for both in zip(found.mid.split(sizes), err.split(sizes), strict=True))

    def projector(self, x: Ball) -> Ball:
        """Orthogonal projector on the span of the rows.

        The radius covers an exact projector, Q Q' for the Q of `span`: |Q Q' - B B'| = |1 - H^2| = |1 - B'B|.
        Which one is a choice: directions in which the rows are below 1e-12 of their largest are left out, and the
        radius of `x` does not enter.
        """
        u, s, _ = torch.linalg.svd(x.mid.mT, full_matrices=False)
        basis = ops.wrap(u[:, s > s[0] * 1e-12])
        square = basis @ ops.T(basis)
        q = (square + ops.T(square)) * Fraction(1, 2)
        gram = ops.T(basis) @ basis
        return Ball(q.mid, up(q.err + _length(gram - ops.eye(gram))))

    def column(self, vector: Ball) -> Ball:
        return ops.T(vector)

    def scores(self, rows: Ball) -> list[list[float]]:
        """Inner products of the rows, rounded: for choosing orders, not for judging claims."""
        return [[float(x) for x in row] for row in rows.mid @ rows.mid.mT]

    def sorted_cosines(self, rows: Ball) -> bool:
        """0 <= c12 <= c23 <= c13, the order of three environments that T3.8 speaks of."""
        gram = rows.mid @ rows.mid.mT
        return 0 <= float(gram[0, 1]) <= float(gram[1, 2]) <= float(gram[0, 2])
