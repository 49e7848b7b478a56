"""The change of the CLIP loss of an environment, split as T1.5 does, one ledger a direction.

all pairs                   tau dCbar, Cbar the mean cosine of all pairs, Con_IT(s,s)
matched pairs               -tau dCLV
beyond the linear reading   d delta, with bounds of delta (T1.5)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from ...theory import registry
from ..linear_reading import least_bound, shape_of
from .ledger import Ledger
from .run import Run

DIRECTIONS = ("CLIP, image to text", "CLIP, text to image")


@dataclass(frozen=True)
class Reading:
    """One direction of the CLIP loss of one environment: L = log N + tau (Cbar - CLV) + delta, and delta's bound."""

    loss: float
    everyone: float
    matched: float
    delta: float
    bound: float


def reading(u: np.ndarray, v: np.ndarray, tau: float, block: int = 1024) -> Reading:
    """From rows of u to rows of v; blocks of rows, so that memory is block x N."""
    n = len(u)
    losses, deltas, bounds = [], [], []
    for start in range(0, n, block):
        scores = u[start : start + block] @ v.T
        mean, own = scores.mean(axis=1), scores[np.arange(len(scores)), start + np.arange(len(scores))]
        losses.append(logsumexp(tau * scores, axis=1) - tau * own)
        centred = scores - mean[:, None]
        deltas.append(logsumexp(tau * centred, axis=1) - math.log(n))
        bounds.append(least_bound(registry.get("T1.5"), tau, *shape_of(scores)))
    loss, delta, bound = (float(np.concatenate(x).mean()) for x in (losses, deltas, bounds))
    return Reading(loss, float(u.mean(axis=0) @ v.mean(axis=0)), float((u * v).sum(axis=1).mean()), delta, bound)


def contrastive(run: Run, before: int, after: int, environment: int) -> tuple[Ledger, Ledger]:
    """Both directions, as in `DIRECTIONS`."""
    pairs = run.pair(before, environment), run.pair(after, environment)
    name = run.name(environment)
    forth = between(name, DIRECTIONS[0], run.tau, *(reading(u, v, run.tau) for u, v in pairs))
    back = between(name, DIRECTIONS[1], run.tau, *(reading(v, u, run.tau) for u, v in pairs))
    return forth, back


def between(environment: str, loss: str, tau: float, one: Reading, two: Reading) -> Ledger:
    """The ledger of one direction."""
    entries = {
        "all pairs": tau * (two.everyone - one.everyone),
        "matched pairs": -tau * (two.matched - one.matched),
        "beyond the linear reading": two.delta - one.delta,
    }
    bounds = {"beyond the linear reading": (-one.bound, two.bound)}
    facts = {"delta": two.delta, "delta_bound": two.bound}
    return Ledger(environment, loss, one.loss, two.loss, entries, bounds, facts)
