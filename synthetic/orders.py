"""Forgetting of every order of rank-one environments, the best order, and the paper's rule.

Environment t is a unit direction ``a_t``; learning it projects the error on the complement of ``a_t``.  Total forgetting
of an order is ``F = sum_s |<a_s, e>|^2`` at the end.  Everything depends on the Gram matrix ``G = A A'`` (the fused
contribution scores) and on ``g = A e_0`` alone (claim T3.5); for an isotropic target ``d E[F] = |L|_F^2 - |L'L (I + L)^{-1}|_F^2``
with ``L`` the strictly lower part of G in the order (claim T3.7).  Gradient steps of size eta instead of projections are claim T3.6; there an
environment keeps a residual when it is learnt, and forgetting is what is added to its square.

Two ways to the same numbers: a prefix tree runs the learner (orders that begin alike share their beginning: 325 stages
for T=5 instead of 600), and the closed forms are lowered from the three claims.  All functions take batches of models; the exact
ones take rationals.  The best order, and bounds that no order beats, are in `order_search`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
import torch

from ..theory import registry
from ..theory.errors import InputError
from .arithmetic import arithmetic
from .evaluate import value

LONGEST_TREE = 9  # 9! = 362 880 orders
LONGEST_RULE = 18  # 2^18 x 18 path costs: 38 MB


def all_orders(count: int) -> np.ndarray:
    """``(T!, T)`` permutations in lexicographic order, as the prefix tree lists them."""
    if count > LONGEST_TREE:
        raise InputError(
            f"{count} environments have {factorial(count)} orders",
            expected=f"at most {LONGEST_TREE} for all orders",
            fix="`order_search.branch_and_bound` proves the best order of about ten, `order_search.local_search` returns a good one of any "
            f"number with a bound that no order beats, `cheapest_path` finds the rule's order of up to {LONGEST_RULE}",
        )
    return np.array(list(permutations(range(count))), dtype=np.int64).reshape(factorial(count), count)


def stages(count: int) -> int:
    """Learning steps in the prefix tree: one for every nonempty prefix (325 for T=5)."""
    return sum(factorial(count) // factorial(count - k) for k in range(1, count + 1))


# -- the learner, by prefix tree ------------------------------------------------------------------------------


def tree_forgetting(gram: torch.Tensor, start: torch.Tensor | None = None, eta: float = 1.0) -> torch.Tensor:
    """Total forgetting of every order by running the learner, one level of the prefix tree at a time.

    The residuals ``r = A e`` are all that the learner needs: a step of size eta on ``a_t`` (1: projecting it out) turns
    ``r`` into ``r - eta G[:, t] r_t``.

    Args:
        gram: ``(batch, T, T)`` Gram matrices of unit directions.
        start: ``(batch, T, k)`` initial residuals ``A e_0``; None for an isotropic target (then a factor of ``gram``
            is used, and the result is ``d E[F]``).
        eta: step size; m steps of size h are one of size ``1 - (1 - h)^m`` (T3.6).

    Returns:
        ``(batch, T!)``, orders as in `all_orders`.  Memory: ``batch * T! * T * k`` numbers.
    """
    batch, count, _ = gram.shape
    if count > LONGEST_TREE:
        all_orders(count)
    residual = (factor(gram) if start is None else start)[:, None]  # (batch, prefixes, T, k)
    left = np.arange(count)[None]  # environments not yet learnt, of every prefix
    kept = torch.zeros(batch, 1, dtype=residual.dtype)  # squared residuals just after each was learnt
    while left.shape[1]:
        parents, width = left.shape
        chosen = torch.from_numpy(left.reshape(-1))
        parent = torch.arange(parents).repeat_interleave(width)
        before = residual[:, parent]
        at = before.gather(2, chosen[None, :, None, None].expand(batch, -1, 1, before.shape[-1]))
        residual = before - eta * gram[:, :, chosen].permute(0, 2, 1)[..., None] * at
        kept = kept[:, parent] + (1 - eta) ** 2 * at.square().sum((-2, -1))
        left = np.stack([np.delete(left, k, axis=1) for k in range(width)], 1).reshape(parents * width, width - 1)
    return residual.square().sum((-2, -1)) - kept


def factor(gram: torch.Tensor) -> torch.Tensor:
    """``B`` with ``B B' = G``, for any positive semidefinite G: stands for the directions themselves.

    Raises:
        InputError: a negative eigenvalue beyond what rounding (of float32 features at most) leaves: no directions have these scores.
    """
    values, vectors = torch.linalg.eigh(gram)
    if values.numel() and float(values[..., 0].min()) < -1e-6 * max(1.0, float(values[..., -1].max())):
        raise InputError(
            f"a Gram matrix with the negative eigenvalue {float(values[..., 0].min()):.6g}", expected="scores of directions (S4)",
            fix="`environments.nearest_feasible` gives the feasible scores nearest to a matrix",
        )  # fmt: skip
    return vectors * values.clamp_min(0).sqrt()[..., None, :]


# -- closed forms, lowered from the claims ----------------------------------------------------------------------


@cache
def isotropic_formula() -> Any:
    """The right side of T3.7's identity, ``tr(L L') - tr(L'L M M' L'L)``, as a sympy expression."""
    return registry.relation("T3.7", "exact").rhs


@cache
def residual_formula(claim_id: str = "T3.5") -> Any:
    """The right side of the residuals of T3.5, ``-L' M A e_0``, or of T3.6, ``A e_0 - eta G M A e_0``."""
    return registry.relation(claim_id, "residuals").rhs


def ordered(gram: torch.Tensor, orders: np.ndarray | torch.Tensor, eta: float = 1.0) -> dict[str, torch.Tensor]:
    """``G``, ``L`` and ``M = (I + eta L)^{-1}`` of every model and order, ``(batch, n, T, T)``."""
    index = torch.as_tensor(orders)
    scores = gram[:, index[:, :, None], index[:, None, :]]
    lower = arithmetic("plain").strictly_lower(scores)
    eye = torch.eye(lower.shape[-1], dtype=lower.dtype)
    inverse = torch.linalg.solve_triangular(eta * lower + eye, eye, upper=False, unitriangular=True)
    return {"G": scores, "L": lower, "M": inverse}


def closed_residuals(
    gram: torch.Tensor, orders: np.ndarray | torch.Tensor, start: torch.Tensor, eta: float | None = None
) -> torch.Tensor:
    """Residuals on all environments, in the order learnt, after the last one: T3.5, or T3.6 where `eta` is given.

    Args:
        gram: ``(batch, T, T)``; orders: ``(n, T)``; start: ``(batch, T, k)`` initial residuals ``A e_0``.

    Returns:
        ``(batch, n, T, k)``.
    """
    ops = arithmetic("plain")
    first = start[:, torch.as_tensor(orders)]
    values = ordered(gram, orders, 1.0 if eta is None else eta) | {
        "A": first,
        "e_0": torch.eye(first.shape[-1], dtype=first.dtype),
    }
    if eta is not None:
        values["eta"] = torch.tensor([[eta]], dtype=first.dtype)
    found: torch.Tensor = value(residual_formula("T3.5" if eta is None else "T3.6"), values, ops)
    return found


def closed_forgetting(
    gram: torch.Tensor, orders: np.ndarray | torch.Tensor, start: torch.Tensor | None = None, eta: float | None = None
) -> torch.Tensor:
    """Forgetting of every model and order, by the closed forms evaluated on batches.

    Args:
        gram: ``(batch, T, T)``.
        orders: ``(n, T)``.
        start: ``(batch, T, k)`` initial residuals; None for an isotropic target (the result is ``d E[F]``, by T3.7).
        eta: step size of T3.6; None for projections.

    Returns:
        ``(batch, n)``.
    """
    if start is None and eta is None:
        matrices = ordered(gram, orders)
        found: torch.Tensor = value(isotropic_formula(), {"L": matrices["L"], "M": matrices["M"]}, arithmetic("plain"))
        return found[..., 0, 0]
    start = factor(gram) if start is None else start
    end = closed_residuals(gram, orders, start, eta).square().sum((-2, -1))
    if eta is None:
        return end
    before = (
        ordered(gram, orders, eta)["M"] @ start[:, torch.as_tensor(orders)]
    )  # residual of each just before its step
    return end - (1 - eta) ** 2 * before.square().sum((-2, -1))


def exact_gram(rows: Any) -> np.ndarray:
    """Gram matrix of rational rows."""
    a = arithmetic("exact").array(rows)
    gram: np.ndarray = a @ a.T
    return gram


def exact_closed(gram: np.ndarray, order: tuple[int, ...]) -> Fraction:
    """T3.7 in rationals, one order."""
    ops = arithmetic("exact")
    lower = ops.strictly_lower(gram[np.ix_(order, order)])
    found = value(isotropic_formula(), {"L": lower, "M": ops.inv(ops.eye(lower) + lower)}, ops)
    return Fraction(found[0, 0])


def exact_residuals(rows: Any, error: Any, order: tuple[int, ...], eta: Fraction | None = None) -> np.ndarray:
    """T3.5 (or T3.6) in rationals: residuals on all environments (in the order learnt) after the last one."""
    ops = arithmetic("exact")
    a, e = ops.array(rows)[list(order)], ops.array(error)
    gram = a @ a.T
    lower = ops.strictly_lower(gram)
    step = Fraction(1) if eta is None else eta
    values = {
        "A": a,
        "e_0": e,
        "G": gram,
        "L": lower,
        "M": ops.inv(ops.eye(lower) + lower * step),
        "eta": ops.array(step),
    }
    found: np.ndarray = value(residual_formula("T3.5" if eta is None else "T3.6"), values, ops)
    return found


def exact_tree(
    gram: np.ndarray, start: np.ndarray | None = None, eta: Fraction = Fraction(1)
) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """Total forgetting of every order in rationals, by depth-first walk of the prefix tree.

    Without a start the target is isotropic: ``d E[F] = tr(X X')`` with ``X = P A``-residuals, tracked as ``R G R'``.
    """
    count = len(gram)
    if count > 7:
        raise InputError(
            f"{factorial(count)} orders in rationals",
            expected="at most 7 environments",
            fix="`closed_forgetting` in float64",
        )
    first = arithmetic("exact").eye(gram) if start is None else start

    def square(rows: np.ndarray) -> Fraction:
        products = rows @ gram @ rows.T if start is None else rows @ rows.T
        return sum((products[k, k] for k in range(len(rows))), Fraction(0))

    def walk(
        prefix: tuple[int, ...], residual: np.ndarray, kept: Fraction
    ) -> Iterator[tuple[tuple[int, ...], Fraction]]:
        if len(prefix) == count:
            yield prefix, square(residual) - kept
            return
        for t in range(count):
            if t not in prefix:
                own = residual[t : t + 1]
                moved = residual - gram[:, t : t + 1] @ own * eta
                yield from walk((*prefix, t), moved, kept + (1 - eta) ** 2 * square(own))

    yield from walk((), first, Fraction(0))


# -- the paper's rule -------------------------------------------------------------------------------------------


def cheapest_path(cost: np.ndarray) -> tuple[tuple[int, ...], float]:
    """The order with the least cumulative contribution of consecutive environments (Held and Karp), T <= 18.

    Args:
        cost: ``(T, T)``; ``cost[s, t]`` is paid when t follows s (for the paper's rule the contribution score).

    Returns:
        the order and its cost.  Time ``T^2 2^T``, memory ``T 2^T`` numbers; vectorised over subsets of one size.

    Raises:
        InputError: costs that are not a square matrix of finite numbers (the diagonal is not read), or too many environments.
    """
    cost = np.array(cost, dtype=np.float64)
    count = len(cost) if cost.ndim else 0
    if cost.shape != (count, count) or not count:
        raise InputError(f"costs of shape {cost.shape}", expected="(T, T), one row and one column an environment")
    np.fill_diagonal(cost, 0.0)
    if not np.isfinite(cost).all():
        raise InputError(
            "costs that are not finite", expected="numbers", causes=("an environment without features has no score",)
        )
    if count > LONGEST_RULE:
        raise InputError(
            f"{count} environments: exact dynamic programming needs {count} x 2^{count} path costs",
            expected=f"at most {LONGEST_RULE} environments",
            fix="order a subset, or use `order_search.local_search`, whose result carries a bound",
        )
    subsets = np.arange(1 << count)
    size = np.zeros(1 << count, dtype=np.int8)
    for t in range(count):
        size += ((subsets >> t) & 1).astype(np.int8)
    least = np.full((1 << count, count), np.inf)  # least cost of a path through a subset that ends at t
    least[1 << np.arange(count), np.arange(count)] = 0.0
    for k in range(2, count + 1):
        level = subsets[size == k]
        for t in range(count):
            inside = level[(level >> t) & 1 == 1]
            least[inside, t] = (least[inside ^ (1 << t)] + cost[:, t]).min(1)
    subset = (1 << count) - 1
    t = int(least[subset].argmin())
    total, path = float(least[subset, t]), [t]
    while len(path) < count:
        subset ^= 1 << t
        t = int((least[subset] + cost[:, t]).argmin())
        path.append(t)
    return tuple(reversed(path)), total
