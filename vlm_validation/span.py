"""T3.10: the forgetting of every order from prototypes alone, by training them instead of the samples.

The trajectory of the logits at the prototypes needs their Gram matrix only: a gradient step of size h on environment t moves
the K x C logits by -h Gram[:, t] (weights * (softmax - onehot))[t].  The theorem holds for any step sizes.  `shortened`
uses that: with the same sum of step sizes as the training to be predicted, but some 50 steps instead of 200.  The first
steps are those of training; then come cycles of longer ones, as long as the curvature, which falls while an environment
is learned, lets them be stable.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .prototypes import Prototypes

EXPONENT = 60.0  # exp of twice this overflows in float32, of this it does not
MOST_NUMBERS = 100_000_000  # in the logits held at once; above, the orders are followed one beginning after the other

PLAIN, GROWTH, SAFETY, DAMPING = 6, 1.15, 0.9, 0.05


def _cycle(count: int) -> np.ndarray:
    """Sizes of `count` steps whose product is stable on curvatures up to 2 (Chebyshev; "super time stepping").

    They sum to nearly `count` squared where as many steps of size one sum to `count`.  Source: Alexiades, Amiez and
    Gremaud, Communications in Numerical Methods in Engineering 12 (1996), eq. 6, with this damping.
    """
    angle = (2 * np.arange(1, count + 1) - 1) * np.pi / (2 * count)
    return np.asarray(1 / ((DAMPING - 1) * np.cos(angle) + 1 + DAMPING))[::-1]


CYCLES = [_cycle(1)] * 4 + [_cycle(2)] * 3 + [_cycle(3)]  # the last one is repeated


def span_forgetting(
    prototypes: Prototypes, orders: np.ndarray, *, steps: int = 200, step: float = 5.0, dtype: Any = np.float64,
    shortened: bool = False,
) -> np.ndarray:  # fmt: skip
    """T3.10: forgetting of a head trained on prototypes instead of samples, in nats; (M,).

    Mean loss increase of the first T-1 environments, convention "paper".
    """
    each = span_forgetting_by_environment(prototypes, orders, steps=steps, step=step, dtype=dtype, shortened=shortened)
    return np.asarray(each.sum(axis=1) / (orders.shape[1] - 1))


def span_forgetting_by_environment(
    prototypes: Prototypes, orders: np.ndarray, *, steps: int = 200, step: float = 5.0, dtype: Any = np.float64,
    shortened: bool = False,
) -> np.ndarray:  # fmt: skip
    """T3.10 by environment: (M, T) loss increase since learning, in nats, columns by position, not by turn.

    Common prefixes are trained once.

    Args:
        prototypes: of T environments.
        orders: (M, T) positions.
        steps, step: gradient steps on an environment, and their size.
        dtype: with float32 the steps take half the time, and on CLIP features the result moves by some 1e-4 nats.
        shortened: fewer and longer steps, see the module; on CLIP features this moves all orders by less than 0.1 nats, alike.
    """
    p, T = prototypes, orders.shape[1]
    if len(orders) * len(p.label) * p.classes > MOST_NUMBERS and (orders[:, 0] != orders[0, 0]).any():
        out = np.empty((len(orders), T))
        for first in np.unique(orders[:, 0]):
            chosen = orders[:, 0] == first
            out[chosen] = span_forgetting_by_environment(
                p, orders[chosen], steps=steps, step=step, dtype=dtype, shortened=shortened
            )
        return out
    members = [np.flatnonzero(p.environment == t) for t in range(T)]
    state = np.zeros((p.classes, 1, len(p.label)), dtype=dtype)  # logits, (C, beginnings, K): classes add up fast
    place = np.zeros(len(orders), dtype=np.int64)  # the beginning that each order has
    learned = np.empty((len(orders), T))
    for length in range(1, T + 1):
        last = orders[:, length - 1]
        grown, place = np.unique(place * T + last, return_inverse=True)
        state = state[:, grown // T]
        for t in range(T):
            chosen = np.flatnonzero(grown % T == t)
            if len(chosen):
                trained = _train(state[:, chosen], p, members[t], steps, step, shortened)
                state[:, chosen] = trained
                mine = last == t
                learned[mine, t] = _losses(trained, p, members[t])[np.searchsorted(chosen, place[mine])]
    final = np.stack([_losses(state, p, rows) for rows in members], axis=1)[place]
    return np.asarray(final - learned)


def _train(
    state: np.ndarray, p: Prototypes, members: np.ndarray, steps: int, step: float, shortened: bool
) -> np.ndarray:
    # Only the environment's own logits feed back; the others follow from the summed residuals at the end.
    C, B, K = state.shape
    k, dtype = len(members), state.dtype
    pull = np.ascontiguousarray((p.gram[:, members] * p.weight[members]).T, dtype=dtype)
    inner = np.ascontiguousarray(pull[:, members])
    onehot = np.eye(C, dtype=dtype)[:, p.label[members]]
    rows = state[:, :, members].reshape(C * B, k)
    towards = np.repeat(onehot @ inner, B, axis=0)
    summed, softmax, pushed = np.zeros((C, B, k), dtype=dtype), np.empty((C, B, k), dtype=dtype), np.empty_like(rows)
    own, length = rows.reshape(C, B, k), np.diagonal(p.gram)[members] * p.weight[members]
    # A step moves no logit further than its size times the largest score; beyond EXPONENT the exponentials would overflow.
    reach, largest = np.inf, float(np.abs(p.gram[members][:, members]).max())
    total, done, cycle, base = steps * step, 0.0, 0, step
    pending = [step] * (min(steps, PLAIN) if shortened else steps)
    while pending:
        size = pending.pop()
        if reach > EXPONENT:
            own -= own.max(axis=0)  # the softmax does not notice
            reach = 0.0
        np.exp(own, out=softmax)
        softmax *= size / softmax.sum(axis=0)  # times the size of the step
        summed += softmax
        done += size
        reach += size * largest
        if not pending and total - done > 1e-9 * total:
            wrong = np.abs(softmax * dtype.type(1 / size) - onehot[:, None])
            pending, base = _longer(wrong, length, step, base, cycle, total - done)
            cycle += 1
        np.matmul(softmax.reshape(C * B, k), inner, out=pushed)
        rows -= pushed
        np.multiply(towards, dtype.type(size), out=pushed)
        rows += pushed
    summed -= dtype.type(done) * onehot[:, None]
    return np.asarray(state - (summed.reshape(C * B, k) @ pull).reshape(C, B, K))


def _longer(
    wrong: np.ndarray, length: np.ndarray, step: float, base: float, cycle: int, left: float
) -> tuple[list[float], float]:
    """The next steps, and their base size.

    The curvature is at most 2 max over classes of sum of w |x|^2 p (1 - p): diag(p) - p p' is at most 2 diag(p (1 - p)),
    and the trace bounds the largest eigenvalue.  A prototype that is wrong with certainty counts as if it were in doubt:
    it will be soon.  Where training itself is not known to be stable, its own step is taken.

    Args:
        wrong: (C, B, k) |softmax - target|.
        length: (k,) w |x|^2.
        step: of the training to be predicted; base: of the last cycle; cycle: how many there were.
        left: sum of the step sizes still to come.
    """
    doubt = np.minimum(wrong, 0.5)
    curvature = 2 * float(((doubt - doubt**2) @ length.astype(wrong.dtype)).max())
    if curvature * step >= 2 * SAFETY:
        return [min(step, left)], step
    base *= GROWTH
    if curvature * base > 2 * SAFETY:
        base = 2 * SAFETY / curvature
    sizes = base * CYCLES[min(cycle, len(CYCLES) - 1)]
    return (sizes * min(1.0, left / sizes.sum())).tolist(), base


def _losses(state: np.ndarray, p: Prototypes, rows: np.ndarray) -> np.ndarray:
    """(B,) mean cross entropy of one environment."""
    own = state[:, :, rows]
    own -= own.max(axis=0)
    entropy = np.log(np.exp(own).sum(axis=0)) - own[p.label[rows], :, np.arange(len(rows))].T
    return np.asarray(entropy @ p.weight[rows])
