"""What image and text contribute to a model's own score of a pair, per environment (C1, C4).

The value f(S) of a coalition is the cosine of the pair for a dual encoder and the head's score for a fused one, with absent
modalities at a baseline (`kernels.model_coalitions`).  Every environment is taken by itself, so the baselines `mean` and
`permute` are those of the environment; for a dual encoder with `mean` the mean interaction is then CLV(t) - Con_IT(t,t) (C4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..theory.claims.c1_shapley import interaction
from ..theory.errors import InputError, unknown_name
from .coalitions import split
from .datasets import Pairs
from .encoders import Encoder, reproducible
from .mean_baseline import through_mean_features
from .orders import progress_bar

LEVEL = 0.9
QUANTITIES = ("image", "text", "interaction")
BASELINES = ("tokens", "zero", "mean", "permute")


@dataclass(frozen=True, eq=False)
class ModelCoalitions:
    """Coalition values of every pair, and their split.

    Attributes:
        names: T environments.
        values: T arrays (4, n_t): f(), f(I), f(T), f(IT).
        shapley: T arrays (2, n_t): contributions of image and text; they sum to f(IT) - f() (C1).
        interaction: T arrays (n_t,): f(IT) - f(I) - f(T) + f() (C1).
        baseline: what stood for an absent modality.
        value: what f is.
    """

    names: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    shapley: tuple[np.ndarray, ...]
    interaction: tuple[np.ndarray, ...]
    baseline: str
    value: str

    def summary(self, environment: int) -> dict[str, tuple[float, float]]:
        """Mean and half-width of its 90 % Student interval, of `QUANTITIES`.

        Mean features of a dual encoder are those of the pairs and allowed for; any other baseline is taken as given.  A pair is in its own
        mean features, which draws all three towards 0 by a share of 1/n: the half-width reaches as much further.  With `permute`
        pairs stand in for one another and are not independent: on generated cosines that vary with a direction all pairs share, the
        interval held in 83 to 97 % of draws of 10 and of 100 pairs.
        """
        rows = (*self.shapley[environment], self.interaction[environment])
        if self.of_means:
            values = self.values[environment].T
            values = values + through_mean_features(values)
            rows = (*split(values).T, interaction(*values.T))
        found = {name: _mean(row) for name, row in zip(QUANTITIES, rows, strict=True)}
        if self.of_means:
            n = len(rows[0])
            found = {name: (mean, (n * half + abs(mean)) / (n - 1)) for name, (mean, half) in found.items()}
        return found

    @property
    def of_means(self) -> bool:
        """Whether absent features are at the mean of the pairs; a fused encoder's means are of pixels, batch by batch."""
        return self.baseline == "mean" and self.value == "cosine"

    def to_dict(self) -> dict[str, Any]:
        """JSON form; intervals as [mean, low, high]."""
        environments = []
        for k, name in enumerate(self.names):
            spread = {q: [m, m - w, m + w] for q, (m, w) in self.summary(k).items()}
            means = dict(zip(("", "I", "T", "IT"), self.values[k].mean(axis=1).tolist(), strict=True))
            environments.append({"name": name, "pairs": self.values[k].shape[1], "f": means, **spread})
        return {
            "value": self.value, "baseline": self.baseline,
            "interval": f"{LEVEL:.0%} Student, over pairs" + (" and the mean features they give" if self.of_means else ""),
            "environments": environments,
        }  # fmt: skip


def model_coalitions_by_environment(
    encoder: Encoder, pairs: Pairs, *, baseline: str = "tokens", batch: int = 32, seed: int = 0, progress: bool = True
) -> ModelCoalitions:
    """Coalition values of all pairs through one model.

    Args:
        encoder: loaded with `head=True`.
        pairs: the data.
        baseline: `tokens` (dropped), `zero`, `mean` or `permute`; a fused encoder takes the last two within a batch.
        batch: least number of pairs at a time; an environment with fewer is one batch.
        seed: of the permutation.
        progress: show a bar on a terminal.

    Raises:
        InputError: an unknown baseline, a fused encoder without head, `permute` with fewer than 3 pairs, a picture that
            cannot be read.
    """
    from ..kernels import model_coalitions

    if baseline not in BASELINES:
        raise unknown_name(f"baseline {baseline!r}", baseline, BASELINES, fix='baseline="tokens"')
    if batch < 1:
        raise InputError(f"batch {batch}", expected="at least 1", fix="--batch 32, the default")
    found = []
    with progress_bar(len(pairs), "coalitions", progress) as advance:
        for k in range(len(pairs.environment_names)):
            rows = np.flatnonzero(pairs.environment == k)
            last = [0]

            def tell(done: int, _: int | None, last: list[int] = last) -> None:
                advance(done - last[0])
                last[0] = done

            with reproducible(seed):
                batches = _batches(encoder, pairs, rows, batch)
                found.append(model_coalitions(encoder.model, batches, baseline=baseline, seed=seed, progress=tell))
    return ModelCoalitions(
        pairs.environment_names, tuple(x.values.numpy() for x in found), tuple(x.shapley.numpy() for x in found),
        tuple(x.interaction.numpy() for x in found), baseline, found[0].value,
    )  # fmt: skip


def _batches(encoder: Encoder, pairs: Pairs, rows: np.ndarray, batch: int) -> Iterator[dict[str, Any]]:
    """Equal batches of at least `batch` pairs where there are so many: a nearly empty one has no baseline of its own."""
    for part in np.array_split(rows, max(1, len(rows) // batch)):
        images = [pairs.load(int(i)) for i in part]
        yield encoder.inputs(images, [pairs.captions[i] for i in part], pairs.ids[part].tolist())


def _mean(x: np.ndarray) -> tuple[float, float]:
    from scipy.stats import t

    return float(x.mean()), float(t.ppf((1 + LEVEL) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
