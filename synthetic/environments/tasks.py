"""Linear two-modality environments: image and text features, a fused linear feature, targets of a linear teacher.

The same code builds exact rational environments and batches of float64 ones; `ops` decides
(`crossmodal.synthetic.arithmetic.arithmetic`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..draw import draw_unit_rows


@dataclass(frozen=True)
class Environment:
    """One task.

    Args:
        image, text: ``(.., n, d)``, unit rows.
        target: ``(.., n, k)``, what a linear head should predict.
    """

    image: Any
    text: Any
    target: Any

    def fused(self, p: Any, q: Any) -> Any:
        """``z = p u + q v`` for every pair, ``(.., n, d)`` (`p, q >= 0`; image-only is ``p=1, q=0``)."""
        return self.image * p + self.text * q


def teach(image: Any, text: Any, teacher: Any, p: Any, q: Any) -> Environment:
    """An environment whose targets a linear head ``teacher`` ``(.., d, k)`` on the fused feature explains exactly."""
    return Environment(image, text, (image * p + text * q) @ teacher)


def rational_environments(
    seed: int, count: int, n: int, d: int, teacher: Any, p: Any, q: Any, ops: Any
) -> list[Environment]:
    """`count` exact environments of `n` pairs in R^d with rational unit features (degenerate ones included)."""
    rng = random.Random(seed)
    return [
        teach(ops.array(draw_unit_rows(rng, n, d)), ops.array(draw_unit_rows(rng, n, d)), teacher, p, q)
        for _ in range(count)
    ]


def contribution(a: Sequence[Environment], ops: Any, first: str = "image", second: str = "text") -> list[list[Any]]:
    """``Con_{first -> second}(s, t)`` of all pairs, from the means (S1)."""
    means = [(ops.mean_row(getattr(e, first)), ops.mean_row(getattr(e, second))) for e in a]
    return [[ops.inner(u, v) for _, v in means] for u, _ in means]
