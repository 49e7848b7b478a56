"""Linear continual learners, one model at a time in rationals or batches of them in float64.

A head ``w`` is ``(.., d, k)``; features ``x`` are ``(.., n, d)``, targets ``y`` ``(.., n, k)``; the loss is half the sum of
squared residuals, or the mean cross-entropy for one-hot targets.

Least-norm projection, gradient descent and ridge work in rationals.  All learners of the squared loss are
``w + X' f(X X') (y - X w)`` for a function f of the eigenvalues (`Filter`): that form runs them in closed form, on any
rows, dependent and inconsistent ones among them, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch

from ..theory.errors import InputError
from .arithmetic import U

Head = Literal["image", "text", "sum", "concatenation"]
Filter = Callable[[torch.Tensor], torch.Tensor]
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


def ridge(penalty: Any) -> Learner:
    """The minimiser of the loss plus half `penalty` times the squared distance from the head before (`penalty` > 0).

    ``w + X' (X X' + penalty I)^{-1} (y - X w)``; tends to `least_norm` as the penalty tends to 0.

    Raises:
        InputError: a penalty that is not positive (there need be no minimiser then).
    """
    if not penalty > 0:
        raise InputError(f"ridge penalty {penalty}", expected="a positive number", fix="`least_norm` is the limit at 0")

    def learn(w: Any, x: Any, y: Any, ops: Any) -> Any:
        kernel = x @ ops.T(x)
        return w + ops.T(x) @ (ops.inv(kernel + ops.eye(kernel) * penalty) @ (y - x @ w))

    return learn


# -- closed forms in float64: functions of the eigenvalues of X X' -------------------------------------------------


def filtered(f: Filter) -> Learner:
    """The learner ``w + X' f(X X') (y - X w)``; f maps eigenvalues ``(.., k)`` to ``(.., k)``, k the lesser side of X.  float64 only."""

    def learn(w: Any, x: Any, y: Any, ops: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            raise InputError(
                "a learner in closed form on exact or bounded values", expected="float64 tensors",
                causes=("its eigenvalues and exponentials are not rational",),
                fix="use least_norm, gradient_descent or ridge in rationals",
            )  # fmt: skip
        # by singular values s: what X does to a direction is s times another one, with nothing left where s is 0, however large f is there
        left, s, right = torch.linalg.svd(x, full_matrices=False)
        s = torch.where(s > max(x.shape[-2:]) * U * s.amax(-1, keepdim=True), s, 0.0)  # what rounding leaves of 0
        return w + right.mT @ ((s * f(s.square()))[..., None] * (left.mT @ (y - x @ w)))

    return learn


def gradient_flow(time: float) -> Learner:
    """Gradient descent with infinitesimal steps for a time, in closed form: f = (1 - exp(-t v))/v."""
    return filtered(lambda v: torch.where(v > 0, -torch.expm1(-time * v) / v.clamp_min(1e-300), time))


def descent_in_closed_form(eta: float, steps: int) -> Learner:
    """The same as `gradient_descent`, at a cost that does not depend on the number of steps: f = (1 - (1 - eta v)^k)/v."""

    def f(v: torch.Tensor) -> torch.Tensor:
        left = 1 - eta * v
        near = torch.log1p(-(eta * v).clamp_max(0.5))  # accurate where the eigenvalue is small
        shrunk = torch.where(eta * v < 0.5, torch.expm1(steps * near), left**steps - 1)
        return torch.where(v > 0, -shrunk / v.clamp_min(1e-300), eta * steps)

    return filtered(f)


def projection(relative: float = 1e-12) -> Learner:
    """Least squares with the least-norm update, on any rows: eigenvalues below `relative` times the largest count as 0.

    Equal to `least_norm` for independent rows; for dependent ones with inconsistent targets, the limit of gradient flow.
    """

    def f(v: torch.Tensor) -> torch.Tensor:
        kept = v > relative * v.amax(-1, keepdim=True)
        return torch.where(kept, 1 / torch.where(kept, v, 1.0), 0.0)

    return filtered(f)


# -- cross-entropy ---------------------------------------------------------------------------------------------------


def cross_entropy(w: Any, x: Any, y: Any, ops: Any = None) -> Any:
    """Mean over rows of ``-sum y log softmax(x w)``, ``(.., 1, 1)``; float64."""
    return -(y * torch.log_softmax(x @ w, -1)).sum(-1, keepdim=True).mean(-2, keepdim=True)


def cross_entropy_descent(eta: float, steps: int) -> Learner:
    """`steps` full-batch gradient steps of size `eta` on the mean cross-entropy; targets are one-hot (or any weights)."""

    def learn(w: Any, x: Any, y: Any, ops: Any) -> Any:
        mass = y.sum(-1, keepdim=True)
        for _ in range(steps):
            w = w - x.mT @ (mass * torch.softmax(x @ w, -1) - y) * (eta / x.shape[-2])
        return w

    return learn


# -- heads -----------------------------------------------------------------------------------------------------------


def head_features(image: Any, text: Any, head: Head, p: Any = 1, q: Any = 1) -> Any:
    """What a head sees of every pair: ``p u``, ``q v``, ``p u + q v``, or ``[p u ; q v]`` (then ``(.., n, 2d)``).

    Raises:
        InputError: no such head.
    """
    if head == "image":
        return image * p
    if head == "text":
        return text * q
    if head == "sum":
        return image * p + text * q
    if head == "concatenation":
        first, second = image * p, text * q
        return (
            torch.cat([first, second], -1) if isinstance(first, torch.Tensor) else np.concatenate([first, second], -1)
        )
    raise InputError(f"head {head!r}", expected="image, text, sum or concatenation")


def zero_head(x: Any, classes: int, ops: Any) -> Any:
    """The head 0, ``(d, classes)``, for features ``(.., n, d)``."""
    return ops.T(ops.ones(classes, x.shape[-1], x)) * 0


def text_head(class_texts: Any, head: Head, ops: Any) -> Any:
    """The head whose columns are the class texts ``(C, d)``: zero-shot classification, and T1.1's way for Con_IT to matter.

    For concatenated features the same columns for either half.
    """
    column = ops.T(class_texts)
    if head != "concatenation":
        return column
    return torch.cat([column, column], -2) if isinstance(column, torch.Tensor) else np.concatenate([column, column], -2)


def onehot(label: Any, classes: int, ops: Any) -> Any:
    """``(n, classes)`` targets of labels ``(n,)``."""
    return ops.array([[int(c == k) for k in range(classes)] for c in label])


# -- sequences of environments -----------------------------------------------------------------------------------------


def loss(w: Any, x: Any, y: Any, ops: Any) -> Any:
    """Half the sum of squared residuals, ``(.., 1, 1)``."""
    return ops.total_square(x @ w - y) * ops.ratio(1, 2)


def learn_sequence(w: Any, tasks: Sequence[tuple[Any, Any]], learner: Learner, ops: Any) -> list[Any]:
    """Heads before the first environment and after each: ``len(tasks) + 1`` of them."""
    heads = [w]
    for x, y in tasks:
        heads.append(learner(heads[-1], x, y, ops))
    return heads


def forgetting(
    heads: Sequence[Any], tasks: Sequence[tuple[Any, Any]], ops: Any, measure: Callable[..., Any] = loss
) -> list[Any]:
    """``F_s = L_s(final) - L_s(just after s)`` of every environment, in the order learnt; `measure` is the loss L."""
    return [measure(heads[-1], x, y, ops) - measure(heads[k + 1], x, y, ops) for k, (x, y) in enumerate(tasks)]
