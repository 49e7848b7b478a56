"""Linear continual learners, in any arithmetic: least-norm projection and k steps of gradient descent.

A head ``w`` is ``(.., d, k)``; features ``x`` are ``(.., n, d)``, targets ``y`` ``(.., n, k)``; the loss is half the sum of
squared residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Learner = Callable[[Any, Any, Any, Any], Any]


def least_norm(w: Any, x: Any, y: Any, ops: Any) -> Any:
    """The head nearest to ``w`` that fits the environment: ``w + X' (X X')^{-1} (y - X w)``.

    The rows of ``x`` must be linearly independent (`ZeroDivisionError` in exact arithmetic otherwise).  Source: Evron et al.,
    COLT 2022, eq. 4.
    """
    return w + ops.T(x) @ (ops.inv(x @ ops.T(x)) @ (y - x @ w))


def gradient_descent(eta: Any, steps: int) -> Learner:
    """A learner that takes `steps` gradient steps of size `eta` on the environment's loss."""

    def learn(w: Any, x: Any, y: Any, ops: Any) -> Any:
        for _ in range(steps):
            w = w - ops.T(x) @ (x @ w - y) * eta
        return w

    return learn


def loss(w: Any, x: Any, y: Any, ops: Any) -> Any:
    """Half the sum of squared residuals, ``(.., 1, 1)``."""
    return ops.total_square(x @ w - y) * ops.ratio(1, 2)


def learn_sequence(w: Any, tasks: Sequence[tuple[Any, Any]], learner: Learner, ops: Any) -> list[Any]:
    """Heads before the first environment and after each: ``len(tasks) + 1`` of them."""
    heads = [w]
    for x, y in tasks:
        heads.append(learner(heads[-1], x, y, ops))
    return heads


def forgetting(heads: Sequence[Any], tasks: Sequence[tuple[Any, Any]], ops: Any) -> list[Any]:
    """``F_s = L_s(final) - L_s(just after s)`` of every environment, in the order learnt."""
    return [loss(heads[-1], x, y, ops) - loss(heads[k + 1], x, y, ops) for k, (x, y) in enumerate(tasks)]
