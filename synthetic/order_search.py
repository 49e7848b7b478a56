"""The best order of rank-one environments for an isotropic target, and a proof that no order is better (T3.7's forgetting).

All orders up to nine environments, branch and bound up to eighteen, local search beyond; each with a bound that no order beats
(`order_bounds`).  The bounds, and so what they prove, hold with every rounding error: `Best.proof` lists what was pruned, and `check` goes
through the list again.  `benchmark_results/orders.csv` records how tight the bounds are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import factorial
from typing import Any

import numpy as np
import torch

from ..theory.errors import InputError
from .order_bounds import enclosed, endings_bound, faint_bound, lower_bound, subset_bounds
from .orders import all_orders, closed_forgetting

PRECISION = 1e-8  # relative: orders better by less than this are not looked for
ABSOLUTE = 1e-12  # where nothing is forgotten, forgetting is known up to this
ENTRIES = 1 << 20  # of the matrices of all orders that a local search evaluates at once
Ending = tuple[int, ...]  # environments from the last one back


@dataclass(frozen=True)
class Proof:
    """Why no order of these environments forgets less than a bound.

    Attributes:
        gram: the scores, as they were given.
        bound: what no order beats.
        leaves: endings (environments from the last one back); every order has exactly one of them, and each alone forgets
            at least `bound`.
    """

    gram: Any
    bound: float
    leaves: tuple[Ending, ...]


@dataclass(frozen=True)
class Best:
    """An order and what is known about it.

    Args:
        order, forgetting: the order found and its ``d E[F]``.
        bound: no order forgets less than this; a proven lower end, so a little below `forgetting` even where that is the least.
        evaluated: orders or parts of orders looked at.
        proof: of the bound, where it comes from a search (`branch_and_bound`); None where from one inequality or from all orders.
    """

    order: tuple[int, ...]
    forgetting: float
    bound: float
    evaluated: int
    proof: Proof | None = field(default=None, compare=False, repr=False)

    @property
    def optimal(self) -> bool:
        """No order forgets less, by more than `PRECISION` relative to this one or `ABSOLUTE`."""
        return self.bound >= enough(self.forgetting)


def enough(forgetting: float, share: float = 1.0) -> float:
    """The bound that proves an order best; with less than all of the margin, one that still does after more rounding."""
    return forgetting * (1 - share * PRECISION) - share * ABSOLUTE


def numbers(gram: Any) -> torch.Tensor:
    """Scores in float64, from a tensor or an array of rationals."""
    return enclosed(gram).mid


def best_order(gram: Any, chunk: int = 20_000) -> Best:
    """The best of all T! orders of one model ``(T, T)`` by trying them, T <= 9; memory bounded by `chunk` orders."""
    scores, orders = enclosed(gram), all_orders(len(gram))
    best, at, bound = float("inf"), 0, float("inf")
    for k in range(0, len(orders), chunk):
        part = orders[k : k + chunk]
        found = closed_forgetting(scores.mid[None], part)[0]
        bound = min(bound, float(endings_bound(scores, part[:, ::-1]).min()))
        i = int(found.argmin())
        if float(found[i]) < best:
            best, at = float(found[i]), k + i
    return Best(tuple(int(t) for t in orders[at]), best, bound, len(orders))


# -- searches -------------------------------------------------------------------------------------------------------


def insertions(order: np.ndarray) -> Iterator[np.ndarray]:
    """All orders in which one environment stands elsewhere."""
    for i, t in enumerate(order):
        rest = np.delete(order, i)
        yield from (np.insert(rest, j, t) for j in range(len(order)) if j != i)


def local_search(gram: Any, restarts: int = 8, seed: int = 0, bound: float | None = None) -> Best:
    """A good order of one model for any T: insertion moves from several starts, with a bound that no order can beat.

    The bound is `lower_bound` unless one is given; `Best.optimal` says whether it proves the order best.
    """
    count, scores = len(gram), numbers(gram)
    chunk = max(1, ENTRIES // max(1, count * count))
    rng = np.random.default_rng(seed)
    best: tuple[float, tuple[int, ...]] = (float("inf"), ())
    looked = 0
    for k in range(restarts):
        order = np.arange(count) if k == 0 else rng.permutation(count)
        now = float(closed_forgetting(scores[None], order[None])[0, 0])
        while True:
            moves, least, nearest = insertions(order), float("inf"), order
            while len(part := np.array(list(islice(moves, chunk)))):
                found = closed_forgetting(scores[None], part)[0]
                looked += len(part)
                i = int(found.argmin())
                if float(found[i]) < least:
                    least, nearest = float(found[i]), part[i]
            if least >= now - 1e-13 * max(1.0, abs(now)):  # rounding must not make it walk in circles
                break
            order, now = nearest, least
        if now < best[0]:
            best = (now, tuple(int(t) for t in order))
    bound = lower_bound(gram) if bound is None else bound
    return Best(best[1], best[0], bound, looked)


def branch_and_bound(
    gram: Any, parts: int = 500_000, chunk: int = 512, progress: Callable[[int], None] | None = None
) -> Best:
    """The best order with a proof that it is, or the best found with the bound reached after looking at `parts` endings.

    Best-first over endings of orders, from the last environment to the first.  Memory: `parts` endings of T numbers.

    Args:
        gram: ``(T, T)``, T at most 18; float64, or an object array of rationals.
        progress: called with the number of endings looked at since the last call.
    """
    scores = enclosed(gram)
    count, bounds = len(gram), subset_bounds(scores)
    first = local_search(gram, bound=max(faint_bound(scores), float(bounds[-1])))
    best, order, looked = first.forgetting, first.order, 0
    queue: list[tuple[float, Ending]] = [(first.bound, ())]
    leaves: list[tuple[float, Ending]] = []  # what need not be looked into, with its bound
    while queue and queue[0][0] < enough(best, 0.5) and looked < parts:
        taken = [heapq.heappop(queue) for _ in range(min(chunk, len(queue)))]
        leaves += [leaf for leaf in taken if leaf[0] >= enough(best, 0.5)]
        before = looked
        for depth in sorted({len(ending) for _, ending in taken}):
            level = [(b, ending) for b, ending in taken if len(ending) == depth and b < enough(best, 0.5)]
            if not level:
                continue
            endings = np.array([[*ending, t] for _, ending in level for t in range(count) if t not in ending])
            known = np.repeat([b for b, _ in level], count - depth)
            found = np.maximum(endings_bound(scores, endings, bounds), known)
            looked += len(endings)
            every = [(float(b), tuple(int(t) for t in ending)) for b, ending in zip(found, endings, strict=True)]
            if depth + 1 == count:
                leaves += every
                ending = min(every)[1]
                now = float(closed_forgetting(scores.mid[None], np.array([ending[::-1]]))[0, 0])
                best, order = min((best, order), (now, ending[::-1]))
                continue
            for leaf in every:
                if leaf[0] < enough(best, 0.5):
                    heapq.heappush(queue, leaf)
                else:
                    leaves.append(leaf)
        if progress:
            progress(looked - before)
    # other batches round otherwise: a second look at the leaves must not miss the bound by the last digit
    bound = max(enough(min(b for b, _ in [*queue, *leaves]), 0.25), 0.0)
    return Best(order, best, bound, looked, Proof(gram, bound, tuple(ending for _, ending in [*queue, *leaves])))


def check(proof: Proof, chunk: int = 4096) -> None:
    """Go through a proof again: its leaves cover all orders, and no order with one of these endings beats the bound.

    Nothing of the search is used, only `order_bounds`.  What a leaf alone does not prove, the ending it continues may: an order that ends in s, t
    also ends in t.

    Raises:
        InputError: what is wrong with the proof.
    """
    count, leaves = len(proof.gram), set(proof.leaves)
    fix = "run the search again; a proof is not to be edited"
    inner = {ending[:k] for ending in leaves for k in range(len(ending))}
    if len(leaves) != len(proof.leaves) or leaves & inner:
        raise InputError("a proof in which some order has two of the endings", expected="exactly one", fix=fix)
    if any(len(set(ending)) != len(ending) or not set(ending) <= set(range(count)) for ending in leaves):
        raise InputError(
            "a proof with endings that no order has", expected=f"different environments below {count}", fix=fix
        )
    if sum(factorial(count - len(ending)) for ending in leaves) != factorial(count):
        raise InputError("a proof that leaves orders out", expected="an ending of every order", fix=fix)
    scores = enclosed(proof.gram)
    bounds = subset_bounds(scores)
    open_ = leaves
    while open_ - {()}:
        short = open_ & {()}
        for depth in sorted({len(ending) for ending in open_ if ending}):
            level = np.array(sorted(ending for ending in open_ if len(ending) == depth))
            for part in np.array_split(level, -(-len(level) // chunk)):
                low = endings_bound(scores, part, bounds)
                short |= {tuple(int(t) for t in ending[:-1]) for ending in part[~(low >= proof.bound)]}
        open_ = short
    if open_ and not max(faint_bound(scores), float(bounds[-1])) >= proof.bound:
        raise InputError(
            f"a bound of {proof.bound:.12g} that is not proved", expected="one that every ending proves", fix=fix
        )
