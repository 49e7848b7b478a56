"""Four arithmetics behind one interface (`crossmodal.theory.protocols.Ops`).

* `Exact`: numpy arrays of `fractions.Fraction`.  Roots, exponentials and logarithms become `Enclosure`s: narrow
  rational intervals, so a comparison that succeeds is a proof.
* `Bounded`: float64 torch tensors that carry a proven bound of their error (`Ball`).
* `Plain`: float64 torch tensors, differentiable; what they flag is decided by the first two.
* `lanes`: float64 with the models of a batch side by side, for throughput.

Shapes: every value is ``(..., rows, cols)``; scalars are ``1 x 1``, vectors ``1 x d``.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from ...kernels import first_use  # noqa: F401
from .bounded import NORMAL, Ball, Bounded, U, at_least_matrix, ball, up
from .enclosures import Enclosure, lower_end, root, transcendental, upper_end
from .exact import Exact
from .plain import Plain


@cache
def arithmetic(name: str) -> Any:
    """``exact``, ``bounded`` or ``plain``."""
    return cast(Any, {"exact": Exact, "bounded": Bounded, "plain": Plain}[name]())


__all__ = [
    "NORMAL", "Ball", "Bounded", "Enclosure", "Exact", "Plain", "U", "arithmetic", "at_least_matrix", "ball", "lower_end", "root",
    "transcendental", "up", "upper_end",
]  # fmt: skip
