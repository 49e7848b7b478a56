"""How each environment's modality contributions moved while its accuracy stood still: forgetting that accuracy does not show.

With heads the value of a coalition (C1) is the probability of the true class; without, the cosine of a matched pair (C4).  An absent
modality is the mean feature of the environment.
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
from .ledger import augmented, matrix
from .run import Run

RESAMPLES = 1000
ROUNDING = 1e-12  # a contribution that moved by less has not moved


@dataclass(frozen=True)
class Reliance:
    """One environment across one transition; every interval is a percentile interval over resampled samples.

    Attributes:
        environment: its name.
        before, after: mean contributions of image and text.
        change: (image, text) of the contributions; `low`, `high`: interval.
        accuracy: before and after, in [0, 1]; `accuracy_change`: (value, low, high).
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


def reliance(run: Run, before: int, after: int, *, level: float = 0.95, seed: int = 0) -> list[Reliance]:
    """All environments across a transition."""
    out = []
    for environment in run.environments:
        rng = np.random.default_rng([9, seed, before, environment])
        one, two = (contributions(run, stage, environment) for stage in (before, after))
        hits = [right(run, stage, environment) for stage in (before, after)]
        n = len(one)
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
        ends = ((1 - level) / 2, (1 + level) / 2)
        low, high = np.quantile(drawn @ (two - one), ends, axis=0)
        change = (two - one).mean(axis=0)
        moved = hits[1] - hits[0]
        a_low, a_high = (float(x) for x in np.quantile(drawn @ moved, ends))
        still = a_low <= 0 <= a_high
        hidden = tuple(
            name for k, name in enumerate(("image", "text")) if still and (low[k] > ROUNDING or high[k] < -ROUNDING)
        )
        first, second = one.mean(axis=0), two.mean(axis=0)
        out.append(Reliance(
            run.name(environment), (float(first[0]), float(first[1])), (float(second[0]), float(second[1])),
            (float(change[0]), float(change[1])), (float(low[0]), float(low[1])), (float(high[0]), float(high[1])),
            (float(hits[0].mean()), float(hits[1].mean())), (float(moved.mean()), a_low, a_high), hidden,
        ))  # fmt: skip
    return out


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
