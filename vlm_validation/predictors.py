"""What the theory says about the forgetting of an order before anything is trained.

Every predictor maps orders (M, T) of positions 0..T-1 to M numbers, lower meaning less forgetting.  All read contribution
scores only: of environments, or (`blocks`, `span_forgetting`) of class prototypes.  Claims T3.5, T3.6, T3.7, T3.10.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..synthetic import orders as closed
from ..synthetic.arithmetic import arithmetic
from ..synthetic.evaluate import value
from .features import Features


def consecutive_cost(con: np.ndarray, orders: np.ndarray, *, power: int = 1) -> np.ndarray:
    """The paper's cumulative cost: sum over consecutive environments of Con(previous, next) to `power`; (M,)."""
    return np.asarray((con[orders[:, :-1], orders[:, 1:]] ** power).sum(axis=1))


def unit_gram(con: np.ndarray) -> np.ndarray:
    """(T, T) cosines of the environments' mean directions, from their intra-modal scores."""
    scale = np.sqrt(np.diag(con))
    return np.asarray(con / np.outer(scale, scale))


def fourth_order(gram: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """T3.7 to fourth order in the scores, `isotropic_formula` with I for (I + L)^{-1}; (M,)."""
    lower = closed.ordered(torch.from_numpy(gram)[None], orders)["L"]
    values = {"L": lower, "M": torch.eye(gram.shape[0], dtype=lower.dtype)}
    return np.asarray(value(closed.isotropic_formula(), values, arithmetic("plain"))[0, :, 0, 0])


def rank_one(gram: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """T3.5 with an isotropic target, in the closed form of T3.7; environments as unit directions; (M,)."""
    return closed.closed_forgetting(torch.from_numpy(gram)[None], orders)[0].numpy()


def rank_one_steps(gram: np.ndarray, orders: np.ndarray, *, step: float) -> np.ndarray:
    """T3.6 with an isotropic target: the same for one gradient step of size `step` in (0, 1] an environment; (M,).

    The residual of environment s just after its own step is subtracted, so that this too is forgetting.
    """
    return closed.closed_forgetting(torch.from_numpy(gram)[None], orders, eta=step)[0].numpy()


def blocks(prototypes: np.ndarray, environment: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """T3.5 in block form with an isotropic target: each environment the span of its class prototypes; (M,).

    Args:
        prototypes: (K, r) coordinates of the class prototypes (any isometric ones).
        environment: (K,) position of each prototype's environment.
    """
    T = orders.shape[1]
    bases = []
    for t in range(T):
        u, s, _ = np.linalg.svd(prototypes[environment == t].T, full_matrices=False)
        bases.append(u[:, s > 1e-10 * s[0]])
    projectors = np.stack([q @ q.T for q in bases])
    identity = np.eye(prototypes.shape[1])
    total = np.zeros(len(orders))
    for m, order in enumerate(orders):
        error = identity
        for t in order:
            error = error - projectors[t] @ error
        total[m] = sum(((bases[t].T @ error) ** 2).sum() for t in order[:-1])
    return total


EXPONENT = 60.0  # exp of twice this overflows in float32, of this it does not


@dataclass(frozen=True, eq=False)
class Prototypes:
    """Class prototypes of every environment: all that the span predictor T3.10 may see.

    Attributes:
        gram: (K, K) their inner products: image-to-image contribution scores at class granularity.
        environment: (K,) position of the environment.
        label: (K,) class.
        weight: (K,) share of the environment's samples.
        classes: C.
    """

    gram: np.ndarray
    environment: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    classes: int

    def coordinates(self) -> np.ndarray:
        """(K, r) vectors with this Gram matrix."""
        values, vectors = np.linalg.eigh(self.gram)
        keep = values > 1e-12 * values[-1]
        return np.asarray(vectors[:, keep] * np.sqrt(values[keep]))


def class_prototypes(features: Features, *, budget: int = 0, rows: np.ndarray | None = None) -> Prototypes:
    """The mean image feature of every class in every environment, or of finer groups of samples.

    Class means say how classes interfere, but forgetting is a mean over samples, and where classes are far apart it is
    the few samples far from their class that are forgotten.  With a `budget`, the group with the largest mean squared
    distance from its mean (one minus its own contribution score) is split in two along its leading direction, until
    there are that many groups.

    Args:
        budget: number of prototypes to refine to; 0, or fewer than there are classes: one a class (claim T3.10).
        rows: indices with repetition, as a bootstrap draws them; default: every row once.
    """
    rows = np.arange(len(features)) if rows is None else rows
    place = np.searchsorted(features.environments, features.environment[rows])
    keys, member = np.unique(np.stack([place, features.label[rows]], axis=1), axis=0, return_inverse=True)
    groups = [(k, features.image[rows[member.ravel() == k]].astype(np.float64)) for k in range(len(keys))]
    heap = [(-_spread(x), number, k, x) for number, (k, x) in enumerate(groups)]
    heapq.heapify(heap)
    number = len(heap)
    while len(heap) < budget and heap[0][0] < -1e-9:
        _, _, k, x = heapq.heappop(heap)
        side = (x - x.mean(axis=0)) @ _leading_direction(x) > 0
        for part in (x[side], x[~side]):
            heapq.heappush(heap, (-_spread(part), number, k, part))
            number += 1
    heap.sort(key=lambda entry: (entry[2], entry[1]))
    means = np.stack([x.mean(axis=0) for *_, x in heap])
    kept = keys[[k for _, _, k, _ in heap]]
    weight = np.array([len(x) for *_, x in heap]) / np.bincount(place)[kept[:, 0]]
    return Prototypes(means @ means.T, kept[:, 0], kept[:, 1], weight, features.classes)


def _spread(x: np.ndarray) -> float:
    """Mean squared distance from the mean."""
    return float(np.maximum(0.0, (x**2).sum(axis=1).mean() - (x.mean(axis=0) ** 2).sum()))


def _leading_direction(x: np.ndarray, iterations: int = 12) -> np.ndarray:
    """Leading principal direction by power iteration from the farthest sample: O(n d), and no random start."""
    centred = x - x.mean(axis=0)
    direction = centred[np.argmax((centred**2).sum(axis=1))]
    for _ in range(iterations):
        direction = centred.T @ (centred @ direction)
        direction = direction / np.linalg.norm(direction)
    return np.asarray(direction)


def span_forgetting(
    prototypes: Prototypes, orders: np.ndarray, *, steps: int = 200, step: float = 5.0, dtype: Any = np.float64
) -> np.ndarray:
    """T3.10: forgetting of a head trained on prototypes instead of samples, in nats; (M,).

    Mean loss increase of the first T-1 environments, convention "paper".
    """
    each = span_forgetting_by_environment(prototypes, orders, steps=steps, step=step, dtype=dtype)
    return np.asarray(each.sum(axis=1) / (orders.shape[1] - 1))


def span_forgetting_by_environment(
    prototypes: Prototypes, orders: np.ndarray, *, steps: int = 200, step: float = 5.0, dtype: Any = np.float64
) -> np.ndarray:
    """T3.10 by environment: (M, T) loss increase since learning, in nats, columns by position, not by turn.

    With `dtype` float32 the steps take half the time, and on CLIP features the result moves by some 1e-4 nats.

    The trajectory of the logits at the prototypes needs their Gram matrix only: a gradient step on environment t moves
    the K x C logits by -step * Gram[:, t] (weights * (softmax - onehot))[t].  Common prefixes are trained once.
    """
    p = prototypes
    T = orders.shape[1]
    onehot = np.eye(p.classes)[p.label]
    members = [np.flatnonzero(p.environment == t) for t in range(T)]
    logits: dict[tuple[int, ...], np.ndarray] = {(): np.zeros((len(p.label), p.classes))}
    losses: dict[tuple[int, ...], np.ndarray] = {}
    for length in range(1, T + 1):
        prefixes = sorted({tuple(order[:length]) for order in orders.tolist()})
        state = np.stack([logits[prefix[:-1]] for prefix in prefixes])
        for t in range(T):
            chosen = [i for i, prefix in enumerate(prefixes) if prefix[-1] == t]
            if chosen:
                state[chosen] = _train_span(state[chosen], p, members[t], onehot, steps, step, dtype)
        logits = dict(zip(prefixes, state, strict=True))
        losses.update(zip(prefixes, _span_losses(state, p, members, onehot), strict=True))
    out = np.empty((len(orders), T))
    for m, order in enumerate(orders.tolist()):
        final = losses[tuple(order)]
        for k, t in enumerate(order):
            out[m, t] = final[t] - losses[tuple(order[: k + 1])][t]
    return out


def _train_span(
    state: np.ndarray, p: Prototypes, members: np.ndarray, onehot: np.ndarray, steps: int, step: float, dtype: Any
) -> np.ndarray:
    # Only the environment's own logits feed back; the others follow from the summed residuals at the end.
    B, K, C = state.shape
    pull = step * p.gram[:, members] * p.weight[members]
    inner, target = pull[members].T.astype(dtype), onehot[members].T[:, None].astype(dtype)
    own = np.ascontiguousarray(state[:, members].transpose(2, 0, 1)).astype(dtype)  # (C, B, k): classes add up fast
    rows = own.reshape(C * B, -1)
    towards = np.broadcast_to(target, own.shape).reshape(rows.shape) @ inner
    summed, softmax, pushed = np.zeros_like(own), np.empty_like(own), np.empty_like(rows)
    bound = step * np.abs(p.gram).max()  # a step moves no logit further than this
    rescaled = max(1, int(EXPONENT / bound)) if bound > 0 else steps
    for turn in range(steps):
        if turn % rescaled == 0:
            own -= own.max(axis=0)  # the softmax does not notice, and no exponential overflows
        np.exp(own, out=softmax)
        softmax /= softmax.sum(axis=0)
        summed += softmax
        np.matmul(softmax.reshape(rows.shape), inner, out=pushed)
        rows += towards
        rows -= pushed
    summed -= steps * target
    moved = (summed.reshape(C * B, -1).astype(np.float64) @ pull.T).reshape(C, B, K)
    return np.asarray(state - moved.transpose(1, 2, 0))


def _span_losses(state: np.ndarray, p: Prototypes, members: list[np.ndarray], onehot: np.ndarray) -> np.ndarray:
    top = state.max(axis=2, keepdims=True)
    entropy = np.log(np.exp(state - top).sum(axis=2)) + top[..., 0] - (state * onehot).sum(axis=2)
    return np.stack([(entropy[:, rows] * p.weight[rows]).sum(axis=1) for rows in members], axis=1)
