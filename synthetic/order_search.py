"""The best order of rank-one environments for an isotropic target, and bounds that no order beats (T3.7's forgetting).

Let an order end with the environments U, learnt after the set S of all others.  An initial error splits into a part in the span of S and
a part Q orthogonal to it, on which learning S has no effect.  With ``P_U`` the product of the projections of U, ``E_S`` that of S,

    d E[F] = |A P_U E_S|^2 = |A P_U Q|^2 + |A P_U E_S (1 - Q)|^2,

and the second term is ``|D A_S E_S|^2`` with ``D = A P_U A_S^+``, so at least the smallest squared singular value of D times the
forgetting of S among itself.  So, whatever the order of S,

    F(S then U) >= |A P_U Q|^2 + s_min(D)^2 F*(S),        F*(S) = least forgetting of S alone.

With one environment in U this is a recursion over subsets that gives a lower bound of F* for all of them (`subset_bounds`); with longer
endings it prunes a search from the last environment to the first (`branch_and_bound`).  Scores may be large; the bound is weak only where
environments are nearly dependent, and nothing (0) where they are.  The argument above is the proof: no certificate is checked, and the
numbers are float64, lowered by a margin for rounding.  `benchmark_results/orders.csv` records how tight it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import torch

from ..theory.errors import InputError
from .orders import LONGEST_TREE, all_orders, closed_forgetting, factor

LONGEST_SUBSETS = 18  # 2^18 inverses of 18 x 18: half a minute
SMALL = 4  # subsets up to this size are solved by trying all orders
DEPENDENT = 1e-5  # a smallest eigenvalue below this is dependence: inverses lose too many digits to prove anything
ROUNDING = (
    1e-8  # relative; bounds are lowered by this, some fifty times the rounding of inverses at condition 18/DEPENDENT
)
ABSOLUTE = 1e-12  # and by this, for numbers that are nearly 0


@dataclass(frozen=True)
class Best:
    """An order and what is known about it.

    Args:
        order, forgetting: the order found and its ``d E[F]``.
        bound: no order forgets less than this; equal to `forgetting` where the order is proved best (up to rounding).
        evaluated: orders or parts of orders looked at.
    """

    order: tuple[int, ...]
    forgetting: float
    bound: float
    evaluated: int

    @property
    def optimal(self) -> bool:
        return self.bound >= self.forgetting


def best_order(gram: torch.Tensor, chunk: int = 20_000) -> Best:
    """The best of all T! orders of one model ``(T, T)`` by trying them, T <= 9; memory bounded by `chunk` orders."""
    orders = all_orders(len(gram))
    best, at = float("inf"), 0
    for k in range(0, len(orders), chunk):
        found = closed_forgetting(gram[None], orders[k : k + chunk])[0]
        i = int(found.argmin())
        if float(found[i]) < best:
            best, at = float(found[i]), k + i
    return Best(tuple(int(t) for t in orders[at]), best, best, len(orders))


def lowered(bound: Any, size: Any = 0.0) -> Any:
    """A computed bound less than its rounding; `size` is that of the terms it is a difference of."""
    return np.maximum(bound * (1 - ROUNDING) - ROUNDING * size - ABSOLUTE, 0.0)


# -- bounds ---------------------------------------------------------------------------------------------------------


def faint_bound(gram: torch.Tensor) -> float:
    """No order forgets less than this, for any number of environments; says something for faint scores only.

    ``F = |L|^2 - |L'L M|^2`` (T3.7).  ``|M| <= 2/(1 + g)``, g the smallest eigenvalue of G, because ``I + L`` has the symmetric part
    ``(I + G)/2``; and every entry of ``L'L`` is a partial sum of products of scores.
    """
    scores = gram.double()
    off = scores - torch.diag(scores.diagonal())
    squares = float(off.square().sum()) / 2
    smallest = max(float(torch.linalg.eigvalsh(scores)[0]) - 1e-12 * len(scores), 0.0)
    entries = 0.0
    for i in range(len(off)):  # the sum over environments after both i and j, at most all terms of one sign
        products = off[i] * off
        largest = torch.maximum(products.clamp_min(0).sum(1), (-products).clamp_min(0).sum(1)).square()
        entries += float(largest.sum() - largest[i])
    own = (
        off.square().sum(1).sort(descending=True).values.cumsum(0).clamp_max(squares)
    )  # sums of squares after i: shares of |L|^2
    entries += float(torch.diff(own, prepend=own[:1] * 0).square().sum())
    return float(lowered(squares - entries * 4 / (1 + smallest) ** 2, squares))


def subset_bounds(gram: torch.Tensor) -> np.ndarray:
    """``(2^T,)``: a lower bound of the forgetting of every subset of environments (bit t: environment t) among itself.

    Raises:
        InputError: more than 18 environments.
    """
    scores = gram.double().numpy()
    count = len(scores)
    if count > LONGEST_SUBSETS:
        raise InputError(
            f"{count} environments have 2^{count} subsets", expected=f"at most {LONGEST_SUBSETS}",
            fix="`faint_bound` holds for any number; `local_search` uses it",
        )  # fmt: skip
    bounds = np.zeros(1 << count)
    for size in range(2, count + 1):
        members = np.array(list(combinations(range(count), size)))
        for part in np.array_split(members, -(-len(members) // 20_000)):
            bounds[(1 << part).sum(1)] = bounds_of(scores, part, bounds)
    return bounds


def bounds_of(scores: np.ndarray, members: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The recursion for subsets ``(n, k)`` of one size, given the bounds of smaller ones.

    With u last, ``G_S^{-1} g`` and ``g' G_S^{-1} g`` (g its scores with S) stand in the inverse of the subset's own Gram
    matrix, and D is ``I - g (G_S^{-1} g)'``, a rank-one change whose singular values solve a quadratic equation.
    """
    size = members.shape[1]
    own = scores[members[:, :, None], members[:, None, :]]
    if size <= SMALL:
        least = closed_forgetting(torch.from_numpy(own), all_orders(size)).amin(1).numpy()
        return np.asarray(lowered(least))
    good = np.linalg.eigvalsh(own)[:, 0] > DEPENDENT
    inverse = np.linalg.inv(np.where(good[:, None, None], own, np.eye(size)))
    corner = np.diagonal(inverse, axis1=1, axis2=2)  # 1 over the squared distance of u from the span of the others
    squares = (own * own).sum(1) - 1  # |g|^2
    weights = ((inverse * inverse).sum(1) - corner**2) / corner**2  # |G_S^{-1} g|^2
    left = 1 / corner
    total = 2 * left + squares * weights
    stretch = (
        2 * left**2 / (total + np.sqrt(np.maximum(total**2 - 4 * left**2, 0)))
    )  # the smaller root, without cancellation
    smaller = bounds[(1 << members).sum(1)[:, None] - (1 << members)]
    found: np.ndarray = (left * squares + stretch * smaller).min(1)
    return np.where(good, lowered(found), 0.0)


def lower_bound(gram: torch.Tensor) -> float:
    """No order forgets less than this: the best of `faint_bound`, `subset_bounds` (up to 18) or the last two environments (beyond)."""
    faint, count = faint_bound(gram), len(gram)
    if count <= LONGEST_SUBSETS:
        return max(faint, float(subset_bounds(gram)[-1]))
    scores, rows = gram.double().numpy(), factor(gram.double()).numpy()
    pairs = np.array([(s, t) for s in range(count) for t in range(count) if s != t])
    parts = np.array_split(pairs, -(-len(pairs) // 256))
    return max(faint, min(float(endings_bound(scores, rows, part)[0].min()) for part in parts))


# -- searches -------------------------------------------------------------------------------------------------------


def local_search(gram: torch.Tensor, restarts: int = 8, seed: int = 0, bound: float | None = None) -> Best:
    """A good order of one model for any T: insertion moves from several starts, with a bound that no order can beat.

    The bound is `lower_bound` unless one is given; `Best.optimal` says whether it proves the order best.
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
    bound = lower_bound(gram) if bound is None else bound
    return Best(best[1], best[0], min(best[0], bound), looked)


def branch_and_bound(
    gram: torch.Tensor, parts: int = 500_000, chunk: int = 512, progress: Callable[[int], None] | None = None
) -> Best:
    """The best order with a proof that it is, or the best found with the bound reached after looking at `parts` endings.

    Best-first over endings of orders, from the last environment to the first.  Memory: `parts` endings of T numbers.

    Args:
        gram: ``(T, T)``, T at most 18.
        progress: called with the number of endings looked at since the last call.
    """
    count, bounds = len(gram), subset_bounds(gram)
    rows = factor(gram.double()).numpy()
    first = local_search(gram, bound=max(faint_bound(gram), float(bounds[-1])))
    best, order, looked = first.forgetting, first.order, 0
    queue: list[tuple[float, tuple[int, ...]]] = [(first.bound, ())]  # (bound, environments from the last one back)
    while queue and queue[0][0] < best * (1 - ROUNDING) and looked < parts:
        taken = [heapq.heappop(queue) for _ in range(min(chunk, len(queue)))]
        before = looked
        for depth in sorted({len(ending) for _, ending in taken}):
            level = [(b, ending) for b, ending in taken if len(ending) == depth and b < best * (1 - ROUNDING)]
            if not level:
                continue
            endings = np.array([[*ending, t] for _, ending in level for t in range(count) if t not in ending])
            known = np.repeat([b for b, _ in level], count - depth)
            found, complete = endings_bound(gram.double().numpy(), rows, endings, bounds)
            looked += len(endings)
            if complete:
                k = int(found.argmin())
                if found[k] < best:
                    best, order = float(found[k]), tuple(int(t) for t in endings[k][::-1])
                continue
            for b, ending in zip(np.maximum(found, known), endings, strict=True):
                if b < best * (1 - ROUNDING):
                    heapq.heappush(queue, (float(b), tuple(int(t) for t in ending)))
        if progress:
            progress(looked - before)
    left = queue[0][0] if queue else best
    proved = left >= best * (1 - ROUNDING)
    return Best(order, best, best if proved else max(left, first.bound), looked)


def endings_bound(
    scores: np.ndarray, rows: np.ndarray, endings: np.ndarray, bounds: np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    """What every order with one of these endings forgets at least; exact (and True) where all environments stand in it.

    Args:
        rows: ``(T, r)`` factor of the Gram matrix.
        endings: ``(n, m)``, from the last environment backwards.
        bounds: of all subsets; None says nothing of what is learnt before the ending.
    """
    count, (n, m) = len(rows), endings.shape
    moved = np.broadcast_to(rows, (n, *rows.shape)).copy()  # A P_U
    for k in range(m):
        a = rows[endings[:, k]]
        moved -= (moved @ a[:, :, None]) * a[:, None, :]
    square = (moved * moved).sum((1, 2))
    if m == count:
        return square, True
    taken = (endings[:, :, None] == np.arange(count)).any(1)
    rest = np.argsort(taken, axis=1, kind="stable")[:, : count - m]
    own = scores[rest[:, :, None], rest[:, None, :]]
    good = np.linalg.eigvalsh(own)[:, 0] > DEPENDENT
    inverse = np.linalg.inv(np.where(good[:, None, None], own, np.eye(count - m)))
    basis = rows[rest]
    d = moved @ basis.transpose(0, 2, 1) @ inverse
    inside = d @ basis
    found = np.maximum(square - (inside * inside).sum((1, 2)), 0)  # of initial errors orthogonal to the rest
    if bounds is not None:
        stretch = np.maximum(np.linalg.eigvalsh(d.transpose(0, 2, 1) @ d)[:, 0], 0)
        found = found + stretch * bounds[(1 << rest).sum(1)]
    return np.where(good, lowered(found, square), 0.0), False


def best_known(gram: torch.Tensor, parts: int = 500_000) -> Best:
    """The best order by whatever is possible: all orders up to 9, branch and bound up to 18, local search beyond.

    `Best.bound` says what is proved: equal to `forgetting`, no order is better.
    """
    if len(gram) <= LONGEST_TREE and factorial(len(gram)) <= parts:
        return best_order(gram)
    return branch_and_bound(gram, parts) if len(gram) <= LONGEST_SUBSETS else local_search(gram)
