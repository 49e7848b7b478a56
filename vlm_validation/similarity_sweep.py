"""E7: forgetting and order spread against controlled similarity of environments; only generated data can do this.

Scenes of the world `high` are drawn with the similarity knob at several values, passed through the shipped dual encoder,
and a head is trained along every order.  Claims T3.4, T3.7 and O speak about what should happen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from ..theory.errors import InputError
from . import embedded_models as models
from .order_oracle import predict
from .orders import progress_bar, ratio, train_orders
from .scenes import Scene, draw_scenes
from .scores import score_matrices
from .train_embedded import embed


@dataclass(frozen=True)
class SweepPoint:
    """One value of the knob.

    Attributes:
        similarity: share of scenes that take colour and background from the common pool, in [0, 1].
        con_II, con_IT: mean off-diagonal scores: the similarity that came out, in cosine.
        sigma_I: standard deviation of the off-diagonal Con_IT.
        best, mean, worst: trained forgetting over all orders, nats (mean loss increase of the first T-1 environments).
        spread: worst / best; NaN where the best order forgets nothing or gains.
        spearman: of the refined T3.10 prediction with trained forgetting.
    """

    similarity: float
    con_II: float
    con_IT: float
    sigma_I: float
    best: float
    mean: float
    worst: float
    spread: float
    spearman: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def sweep_similarity(
    similarities: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0), *, scenes: int = 500, steps: int = 200,
    step: float = 5.0, seed: int = 7, progress: bool = True,
) -> list[SweepPoint]:  # fmt: skip
    """Run E7.

    Args:
        similarities: values of the knob, each in [0, 1].
        scenes: unseen scenes for each value, at least 30.
        steps, step: full-batch gradient steps an environment, and their size.
        seed: of the scenes.
        progress: show a bar on a terminal.

    Raises:
        InputError: too few scenes, or a value outside [0, 1].
    """
    from scipy.stats import spearmanr

    if scenes < 30:
        raise InputError(f"{scenes} scenes", expected="at least 30, two for each of 15 classes", fix="scenes=500")
    model, tokenizer = models.load_clip("high")
    points = []
    with progress_bar(len(similarities), "similarity sweep", progress) as advance:
        for similarity in similarities:
            features = embed("high", model, tokenizer, drawn(similarity, scenes, seed), {"similarity": similarity})
            runs = train_orders(features, steps=steps, step=step, progress=False)
            truth = runs.forgetting()[0]
            predicted = predict(features, runs.orders, steps=steps, step=step)
            con, off = score_matrices(features), ~np.eye(len(features.environments), dtype=bool)
            points.append(SweepPoint(
                similarity, float(con["II"][off].mean()), float(con["IT"][off].mean()), float(con["IT"][off].std()),
                float(truth.min()), float(truth.mean()), float(truth.max()), ratio(truth),
                float(spearmanr(predicted, truth).statistic),
            ))  # fmt: skip
            advance(1)
    return points


def drawn(similarity: float, scenes: int, seed: int) -> list[Scene]:
    """The scenes of one value of the knob."""
    return draw_scenes("high", scenes, split="unseen", similarity=similarity, seed=seed)


@cache
def scenes_hash(similarities: tuple[float, ...], scenes: int, seeds: tuple[int, ...]) -> str:
    """sha256 of the description of every scene of these sweeps: all that is visible and the caption, but no pixels."""
    digest = hashlib.sha256()
    for seed in seeds:
        for similarity in similarities:
            digest.update(repr(drawn(similarity, scenes, seed)).encode())
    return digest.hexdigest()
