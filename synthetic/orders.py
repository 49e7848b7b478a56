"""Forgetting of every order of rank-one environments, the best order, and the paper's rule.

Environment t is a unit direction ``a_t``; learning it projects the error on the complement of ``a_t``.  Total forgetting
of an order is ``F = sum_s |<a_s, e>|^2`` at the end.  Everything depends on the Gram matrix ``G = A A'`` (the fused
contribution scores) and on ``g = A e_0`` alone (claim T3.5); for an isotropic target ``d E[F] = |L|_F^2 - |L'L (I + L)^{-1}|_F^2``
with ``L`` the strictly lower part of G in the order (claim T3.7).

Two ways to the same numbers: a prefix tree runs the learner (orders that begin alike share their beginning: 325 stages
for T=5 instead of 600), and the closed forms are lowered from the two claims.  All functions take batches of models; the exact
ones take rationals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
            fix="`local_search` returns a good order with a certified bound; `cheapest_path` finds the rule's order "
            f"for up to {LONGEST_RULE}",
        )
    return np.array(list(permutations(range(count))), dtype=np.int64).reshape(-1, count)


def stages(count: int) -> int:
    """Learning steps in the prefix tree: one for every nonempty prefix (325 for T=5)."""
    return sum(factorial(count) // factorial(count - k) for k in range(1, count + 1))


# -- the learner, by prefix tree ------------------------------------------------------------------------------


def tree_forgetting(gram: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
    """Total forgetting of every order by running the learner, one level of the prefix tree at a time.

    The residuals ``r = A e`` are all that the learner needs: projecting out ``a_t`` turns ``r`` into ``r - G[:, t] r_t``.

    Args:
        gram: ``(batch, T, T)`` Gram matrices of unit directions.
        start: ``(batch, T, k)`` initial residuals ``A e_0``; None for an isotropic target (then a factor of ``gram``
            is used, and the result is ``d E[F]``).

    Returns:
        ``(batch, T!)``, orders as in `all_orders`.  Memory: ``batch * T! * T * k`` numbers.
    """
    batch, count, _ = gram.shape
    if count > LONGEST_TREE:
        all_orders(count)
    residual = (factor(gram) if start is None else start)[:, None]  # (batch, prefixes, T, k)
    left = np.arange(count)[None]  # environments not yet learnt, of every prefix
    while left.shape[1]:
        parents, width = left.shape
        chosen = torch.from_numpy(left.reshape(-1))
        parent = torch.arange(parents).repeat_interleave(width)
        before = residual[:, parent]
        at = before.gather(2, chosen[None, :, None, None].expand(batch, -1, 1, before.shape[-1]))
        residual = before - gram[:, :, chosen].permute(0, 2, 1)[..., None] * at
        left = np.stack([np.delete(left, k, axis=1) for k in range(width)], 1).reshape(parents * width, width - 1)
    return residual.square().sum((-2, -1))


def factor(gram: torch.Tensor) -> torch.Tensor:
    """``B`` with ``B B' = G``, for any positive semidefinite G: stands for the directions themselves."""
    values, vectors = torch.linalg.eigh(gram)
    return vectors * values.clamp_min(0).sqrt()[..., None, :]


# -- closed forms, lowered from the claims ----------------------------------------------------------------------


@cache
def isotropic_formula() -> Any:
    """The right side of T3.7's identity, ``tr(L L') - tr(L'L M M' L'L)``, as a sympy expression."""
    return next(r.rhs for r in registry.get("T3.7").statement.relations if r.name == "exact")


@cache
def residual_formula() -> Any:
    """The right side of T3.5's residuals, ``-L' M A e_0``."""
    return next(r.rhs for r in registry.get("T3.5").statement.relations if r.name == "residuals")


def closed_forgetting(gram: torch.Tensor, orders: np.ndarray | torch.Tensor) -> torch.Tensor:
    """``d E[F]`` for an isotropic target, of every model and order: T3.7 evaluated on batches.

    Args:
        gram: ``(batch, T, T)``.
        orders: ``(n, T)``.

    Returns:
        ``(batch, n)``.
    """
    ops = arithmetic("plain")
    index = torch.as_tensor(orders)
    ordered = gram[:, index[:, :, None], index[:, None, :]]  # (batch, n, T, T)
    lower = ops.strictly_lower(ordered)
    inverse = torch.linalg.solve_triangular(lower + torch.eye(lower.shape[-1], dtype=lower.dtype), torch.eye(lower.shape[-1], dtype=lower.dtype), upper=False, unitriangular=True)  # fmt: skip
    found: torch.Tensor = value(isotropic_formula(), {"L": lower, "M": inverse}, ops)
    return found[..., 0, 0]


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


def exact_residuals(rows: Any, error: Any, order: tuple[int, ...]) -> np.ndarray:
    """T3.5 in rationals: residuals on all environments (in the order learnt) after the last one."""
    ops = arithmetic("exact")
    a, e = ops.array(rows)[list(order)], ops.array(error)
    lower = ops.strictly_lower(a @ a.T)
    found: np.ndarray = value(
        residual_formula(), {"A": a, "e_0": e, "L": lower, "M": ops.inv(ops.eye(lower) + lower)}, ops
    )
    return found


def exact_tree(gram: np.ndarray, start: np.ndarray | None = None) -> Iterator[tuple[tuple[int, ...], Fraction]]:
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

    def walk(prefix: tuple[int, ...], residual: np.ndarray) -> Iterator[tuple[tuple[int, ...], Fraction]]:
        if len(prefix) == count:
            square = residual @ gram @ residual.T if start is None else residual @ residual.T
            yield prefix, sum((square[k, k] for k in range(count)), Fraction(0))
            return
        for t in range(count):
            if t not in prefix:
                yield from walk((*prefix, t), residual - gram[:, t : t + 1] @ residual[t : t + 1])

    yield from walk((), first)


# -- the best order ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Best:
    """An order and what is known about it.

    Args:
        order, forgetting: the order found and its ``d E[F]``.
        bound: no order forgets less than this; equal to `forgetting` where the order is proved best (up to rounding).
        evaluated: orders or prefixes looked at.
    """

    order: tuple[int, ...]
    forgetting: float
    bound: float
    evaluated: int

    @property
    def optimal(self) -> bool:
        return self.bound >= self.forgetting


def best_order(gram: torch.Tensor, chunk: int = 20_000) -> Best:
    """The best of all T! orders of one model ``(T, T)`` for an isotropic target, T <= 9; memory bounded by `chunk` orders."""
    orders = all_orders(len(gram))
    best, at = float("inf"), 0
    for k in range(0, len(orders), chunk):
        found = closed_forgetting(gram[None], orders[k : k + chunk])[0]
        i = int(found.argmin())
        if float(found[i]) < best:
            best, at = float(found[i]), k + i
    return Best(tuple(int(t) for t in orders[at]), best, best, len(orders))


def lower_bound(gram: torch.Tensor) -> float:
    """No order forgets less than this.

    ``F = |L|_F^2 - |L'L M|_F^2`` with ``|L'L M|_F <= |L|_2 |L|_F |M|_2`` and ``|M|_2 <= 1/(1 - l)`` for any l < 1 with
    ``|L|_2 <= l`` (claim T3.7).  Two such l hold for every order: ``|L|_F``, and the largest absolute row sum of ``G - I``.
    Says something for faint scores only, and 0 (which is always true) otherwise.  Lowered by far more than its own rounding.
    """
    off = gram - torch.diag(gram.diagonal())
    squares = float(off.square().sum()) / 2
    ell = min(squares**0.5, float(off.abs().sum(1).max())) * (1 + 1e-12)
    if ell >= 0.5:
        return 0.0
    return squares * (1 - ell**2 / (1 - ell) ** 2) * (1 - 1e-12)


def local_search(gram: torch.Tensor, restarts: int = 8, seed: int = 0) -> Best:
    """A good order of one model for any T: insertion moves from several starts, with a bound that no order can beat.

    The bound is `lower_bound`; `Best.optimal` says whether it proves the order best.
    """
    count = len(gram)
    rng = np.random.default_rng(seed)
    best: tuple[float, tuple[int, ...]] = (float("inf"), ())
    looked = 0
    for k in range(restarts):
        order = np.arange(count) if k == 0 else rng.permutation(count)
        now = float(closed_forgetting(gram[None], order[None])[0, 0])
        while True:
            moves = np.array(
                [np.insert(np.delete(order, i), j, order[i]) for i in range(count) for j in range(count) if i != j]
            )
            if not len(moves):
                break
            found = closed_forgetting(gram[None], moves)[0]
            looked += len(moves)
            i = int(found.argmin())
            if float(found[i]) >= now - 1e-13 * max(1.0, abs(now)):  # rounding must not make it walk in circles
                break
            order, now = moves[i], float(found[i])
        if now < best[0]:
            best = (now, tuple(int(t) for t in order))
    return Best(best[1], best[0], min(best[0], lower_bound(gram)), looked)


# -- the paper's rule -------------------------------------------------------------------------------------------


def cheapest_path(cost: np.ndarray) -> tuple[tuple[int, ...], float]:
    """The order with the least cumulative contribution of consecutive environments (Held and Karp), T <= 18.

    Args:
        cost: ``(T, T)``; ``cost[s, t]`` is paid when t follows s (for the paper's rule the contribution score).

    Returns:
        the order and its cost.  Time ``T^2 2^T``, memory ``T 2^T`` numbers; vectorised over subsets of one size.
    """
    count = len(cost)
    if count > LONGEST_RULE:
        raise InputError(
            f"{count} environments: exact dynamic programming needs {count} x 2^{count} path costs",
            expected=f"at most {LONGEST_RULE} environments",
            fix="order a subset, or use `local_search`, whose result carries a bound",
        )
    if count == 1:
        return (0,), 0.0
    cost = np.asarray(cost, dtype=np.float64)
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
