"""How each environment's modality contributions moved while its accuracy stood still: forgetting that accuracy does not show.

With heads the value of a coalition (C1) is the probability of the true class; without, the cosine of a matched pair (C4).  An absent
modality is the mean feature of the environment, taken as given: the intervals are about samples beside these means and not about means
that are drawn again.  Where what a sample adds and what it moves the means by cancel, contributions with the true means lie outside far more often.

An audit makes many comparisons, two a transition and environment, and one in twenty would seem to move by chance.  So the intervals
of contributions hold together: within an environment, whose samples all transitions share, by the bootstrap of the largest studentised
deviation; between environments by Bonferroni.  The interval of an accuracy is its own: a wider one would call more accuracies still, and so
flag more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from ..coalitions import COALITIONS, share_right, split
from ..ood_protocol import concept_vectors
from .cross_entropy import augmented, matrix
from .run import Run

LEVEL = 0.95
RESAMPLES = 4000
FURTHEST = 4.0  # a contribution lies in [-2, 2]
ROUNDING = 1e-12  # a contribution that moved by less has not moved


@dataclass(frozen=True)
class Reliance:
    """One environment across one transition.

    Attributes:
        environment: its name.
        before, after: mean contributions of image and text.
        change: (image, text) of the contributions; `low`, `high`: intervals that hold together for all changes of the audit.
        accuracy: before and after, in [0, 1]; `accuracy_change`: (value, low, high), an interval of its own.
        hidden: the modalities whose contribution moved beyond its interval while the accuracy did not.
    """

    environment: str
    before: tuple[float, float]
    after: tuple[float, float]
    change: tuple[float, float]
    low: tuple[float, float]
    high: tuple[float, float]
    accuracy: tuple[float, float]
    accuracy_change: tuple[float, float, float]
    hidden: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def comparisons(run: Run) -> int:
    """How many changes of contributions are judged together."""
    return 2 * len(run.environments) * len(run.transitions)


def reliance(run: Run, environment: int, *, seed: int = 0) -> list[Reliance]:
    """An environment across every transition of the run."""
    stages = range(len(run.stages))
    phi = [contributions(run, k, environment) for k in stages]
    hits = [right(run, k, environment) for k in stages]
    n = len(hits[0])
    drawn = np.random.default_rng([9, seed, environment]).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    moves = np.stack([phi[after] - phi[before] for before, after in run.transitions], axis=1)  # (n, K, 2)
    change, low, high = together(moves, drawn, 1 - (1 - LEVEL) / len(run.environments))
    out = []
    for k, (before, after) in enumerate(run.transitions):
        flips = hits[after] - hits[before]
        a_low, a_high = np.quantile(drawn @ flips, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        still = a_low <= 0 <= a_high
        moved = (low[k] > ROUNDING) | (high[k] < -ROUNDING)
        out.append(Reliance(
            run.name(environment), pair(phi[before].mean(axis=0)), pair(phi[after].mean(axis=0)), pair(change[k]), pair(low[k]), pair(high[k]),
            (float(hits[before].mean()), float(hits[after].mean())), (float(flips.mean()), float(a_low), float(a_high)),
            tuple(name for name, is_moved in zip(("image", "text"), moved, strict=True) if still and is_moved),
        ))  # fmt: skip
    return out


def pair(x: np.ndarray) -> tuple[float, float]:
    return float(x[0]), float(x[1])


def together(moves: np.ndarray, drawn: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, low and high of every column, the intervals holding for all columns at once.

    Args:
        moves: (n, ...) differences of the same samples.
        drawn: (R, n) shares of the samples in each resample.
        level: probability that all intervals hold.

    A resample that drew one sample only has no spread and counts as infinitely far; what results is cut to what is possible.
    """
    flat = moves.reshape(len(moves), -1)
    mean = flat.mean(axis=0)
    centred = flat - mean

    def spread(second: np.ndarray, first: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(second - first**2, 0) / max(len(flat) - 1, 1))

    error = spread((centred**2).mean(axis=0), np.zeros_like(mean))
    real = error > ROUNDING  # the others moved all alike, or not at all
    off = drawn @ centred[:, real]
    wide = spread(drawn @ centred[:, real] ** 2, off)
    far = np.divide(np.abs(off), wide, out=np.where(np.abs(off) > ROUNDING, np.inf, 0.0), where=wide > ROUNDING)
    factor = float(np.quantile(far.max(axis=1), level, method="higher")) if real.any() else 0.0
    reach = np.minimum(np.where(real, error, 0.0) * min(factor, 1 / ROUNDING), FURTHEST)
    low, high = np.maximum(mean - reach, -FURTHEST), np.minimum(mean + reach, FURTHEST)
    return tuple(x.reshape(moves.shape[1:]) for x in (mean, low, high))


def values(run: Run, stage: int, environment: int) -> Mapping[str, np.ndarray]:
    """Coalition -> (n,) value of every sample."""
    u, v = run.pair(stage, environment)
    sides = {"I": (u, np.broadcast_to(u.mean(axis=0), u.shape)), "T": (v, np.broadcast_to(v.mean(axis=0), v.shape))}
    label = run.labels(environment)
    out = {}
    for coalition in COALITIONS:
        x, y = (sides[m][0 if m in coalition else 1] for m in "IT")
        if run.heads:
            head = run.heads[stage]
            probability = softmax(augmented(run.fused(x, y), head) @ matrix(head), axis=1)
            out[coalition] = probability[np.arange(len(label)), label]
        else:
            out[coalition] = (x * y).sum(axis=1)
    return out


def contributions(run: Run, stage: int, environment: int) -> np.ndarray:
    """(n, 2) contribution of image and text to every sample (C1)."""
    found = values(run, stage, environment)
    return split(np.stack([found[c] for c in COALITIONS], axis=-1))


def right(run: Run, stage: int, environment: int) -> np.ndarray:
    """(n,) 1 where the sample is classified right, a share for ties: by the head, or by the nearest class concept."""
    u, v = run.pair(stage, environment)
    label = run.labels(environment)
    if run.heads:
        logits = augmented(run.fused(u, v), run.heads[stage]) @ matrix(run.heads[stage])
    else:
        logits = u @ concept_vectors(run.stages[stage])[0].astype(np.float64).T
    return share_right(torch.from_numpy(logits), torch.from_numpy(label)).numpy()
