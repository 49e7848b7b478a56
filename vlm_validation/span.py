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

PADDING = 3000  # numbers more that are as quick as another call

PLAIN, GROWTH, SAFETY, DAMPING = 6, 1.15, 0.9, 0.05


def _cycle(count: int) -> list[float]:
    """Sizes of `count` steps whose product is stable on curvatures up to 2 (Chebyshev; "super time stepping").

    They sum to 3.2 for two and 5.9 for three, where as many steps of size one sum to two and three.  Source: Alexiades, Amiez and
    Gremaud, Communications in Numerical Methods in Engineering 12 (1996), eq. 6, with this damping.
    """
    angle = (2 * np.arange(1, count + 1) - 1) * np.pi / (2 * count)
    return [float(size) for size in 1 / ((DAMPING - 1) * np.cos(angle) + 1 + DAMPING)][::-1]


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
        turns = [np.flatnonzero(grown % T == t) for t in range(T)]
        for together in _groups([len(m) for m in members], [p.classes * len(turn) for turn in turns]):
            chosen = np.stack([turns[t] for t in together])
            trained = _train(state, chosen, p, [members[t] for t in together], steps, step, shortened)
            state[:, chosen] = trained
            for g, t in enumerate(together):
                mine = last == t
                learned[mine, t] = _losses(trained[:, g], p, members[t])[np.searchsorted(chosen[g], place[mine])]
    final = np.stack([_losses(state, p, rows) for rows in members], axis=1)[place]
    return np.asarray(final - learned)


def _groups(sizes: list[int], rows: list[int]) -> list[list[int]]:
    """Environments that are trained in one array, padded to the largest of them, where that is quicker than one by one."""
    groups: list[list[int]] = []
    for t in sorted((t for t in range(len(sizes)) if rows[t]), key=lambda t: (rows[t], -sizes[t])):
        first = groups[-1][0] if groups else t
        if groups and rows[first] == rows[t] and rows[t] * (sizes[first] - sizes[t]) <= PADDING:
            groups[-1].append(t)
        else:
            groups.append([t])
    return groups


def _train(
    state: np.ndarray, chosen: np.ndarray, p: Prototypes, members: list[np.ndarray], steps: int, step: float, shortened: bool
) -> np.ndarray:  # fmt: skip
    """(C, G, B, K) logits of the `chosen` (G, B) beginnings after training, G environments side by side."""
    # Only the environment's own logits feed back; the others follow from the summed residuals at the end.  The arrays are small
    # and the steps many: what a call costs before it computes is most of the time, hence ufuncs with `out` instead of methods.
    C, K, (G, B), dtype = len(state), state.shape[2], chosen.shape, state.dtype.type
    k = max(map(len, members))
    own_rows = np.stack([np.concatenate([rows, rows[:1].repeat(k - len(rows))]) for rows in members])  # (G, k)
    weight = p.weight[own_rows] * (np.arange(k) < np.array([[len(rows)] for rows in members]))  # padding pulls nothing
    pull = (p.gram[own_rows] * weight[:, :, None]).astype(dtype)
    inner = np.stack([pull[g][:, own_rows[g]] for g in range(G)])
    right = (p.label[own_rows][:, None] == np.arange(C)[:, None]).astype(dtype)  # (G, C, k)
    towards = np.repeat(right @ inner, B, axis=1)
    right = right[:, :, None]
    own = np.ascontiguousarray(state[:, chosen[:, :, None], own_rows[:, None]].swapaxes(0, 1))  # (G, C, B, k)
    summed, softmax, scale = np.zeros_like(own), np.empty_like(own), np.empty((G, 1, B, k), dtype)
    rows, flat = own.reshape(G, C * B, k), softmax.reshape(G, C * B, k)
    pushed, length = np.empty_like(rows), (np.diagonal(p.gram)[own_rows] * weight).astype(dtype)[:, None, :, None]
    # A step moves no logit further than its size times the largest score; beyond EXPONENT the exponentials would overflow.
    reach, largest = np.inf, max(float(np.abs(p.gram[rows][:, rows]).max()) for rows in members)
    total, done, cycle, base = steps * step, 0.0, 0, step
    pending = [step] * (min(steps, PLAIN) if shortened else steps)
    while pending:
        size = pending.pop()
        if reach > EXPONENT:
            own -= own.max(axis=1, keepdims=True)  # the softmax does not notice
            reach = 0.0
        np.exp(own, out=softmax)
        np.add.reduce(softmax, axis=1, out=scale, keepdims=True)
        np.divide(dtype(size), scale, out=scale)
        np.multiply(softmax, scale, out=softmax)  # times the size of the step
        np.add(summed, softmax, out=summed)
        done += size
        reach += size * largest
        np.matmul(flat, inner, out=pushed)
        np.subtract(rows, pushed, out=rows)
        np.multiply(towards, dtype(size), out=pushed)
        np.add(rows, pushed, out=rows)
        if not pending and total - done > 1e-9 * total:
            np.multiply(softmax, dtype(1 / size), out=softmax)
            np.subtract(softmax, right, out=softmax)
            pending, base = _longer(softmax, length, step, base, cycle, total - done)
            cycle += 1
    summed -= dtype(done) * right
    moved = (summed.reshape(G, C * B, k) @ pull).reshape(G, C, B, K)
    return np.asarray(state[:, chosen] - moved.swapaxes(0, 1))


def _longer(
    wrong: np.ndarray, length: np.ndarray, step: float, base: float, cycle: int, left: float
) -> tuple[list[float], float]:
    """The next steps, and their base size.

    The curvature is at most 2 max over classes of sum of w |x|^2 p (1 - p): diag(p) - p p' is at most 2 diag(p (1 - p)),
    and the trace bounds the largest eigenvalue.  A prototype that is wrong with certainty counts as if it were in doubt:
    it will be soon.  Where training itself is not known to be stable, its own step is taken.

    Args:
        wrong: (G, C, B, k) softmax - target; overwritten.
        length: (G, 1, k, 1) w |x|^2.
        step: of the training to be predicted; base: of the last cycle; cycle: how many there were.
        left: sum of the step sizes still to come.
    """
    np.absolute(wrong, out=wrong)
    np.minimum(wrong, wrong.dtype.type(0.5), out=wrong)
    np.subtract(wrong, wrong * wrong, out=wrong)
    curvature = 2 * float(np.maximum.reduce(wrong @ length, axis=None))
    if curvature * step >= 2 * SAFETY:
        return [min(step, left)], step
    base *= GROWTH
    if curvature * base > 2 * SAFETY:
        base = 2 * SAFETY / curvature
    cyclic = CYCLES[min(cycle, len(CYCLES) - 1)]
    share = base * min(1.0, left / (base * sum(cyclic)))
    return [share * size for size in cyclic], base


def _losses(state: np.ndarray, p: Prototypes, rows: np.ndarray) -> np.ndarray:
    """(B,) mean cross entropy of one environment."""
    own = np.take(state, rows, axis=2)
    own -= np.maximum.reduce(own, axis=0)
    entropy = np.log(np.add.reduce(np.exp(own), axis=0)) - own[p.label[rows], :, np.arange(len(rows))].T
    return np.asarray(entropy @ p.weight[rows])
