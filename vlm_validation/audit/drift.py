"""How far features and scores moved in a transition, and how far the scores could have (S6)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import lowered
from ..scores import KEYS, score_matrices
from .run import Run


@dataclass(frozen=True)
class Movement:
    """One environment in one transition.

    Attributes:
        environment: its name.
        image, text: root mean square distance that features moved, in [0, 2].
        image_most, text_most: the largest distance.
        clv: change of the alignment of matched pairs.
    """

    environment: str
    image: float
    text: float
    image_most: float
    text_most: float
    clv: float


@dataclass(frozen=True)
class Drift:
    """One transition.

    Attributes:
        movements: one an environment.
        change: "II", "IT", "TI", "TT" -> (T, T) change of the scores.
        bound: (T, T) what S6 allows |Con_IT(s,t)| to change, relation `sharp`; `plain`: e_I + e_T, relation `drift`.
    """

    movements: tuple[Movement, ...]
    change: dict[str, np.ndarray]
    bound: np.ndarray
    plain: np.ndarray

    @property
    def used(self) -> float:
        """The largest share of the bound that a score change took; above 1 only by rounding."""
        room = np.where(self.bound > 0, self.bound, np.inf)
        return float((np.abs(self.change["IT"]) / room).max())

    def to_dict(self) -> dict[str, Any]:
        return {
            "movements": [asdict(m) for m in self.movements],
            "change": {k: v.tolist() for k, v in self.change.items()},
            "bound": self.bound.tolist(),
            "plain": self.plain.tolist(),
            "share_of_bound": self.used,
        }


def drift(run: Run, before: int, after: int) -> Drift:
    """Movements and score changes between two stages."""
    one, two = (score_matrices(run.stages[k]) for k in (before, after))
    movements = []
    for environment in run.environments:
        (u0, v0), (u1, v1) = (run.pair(k, environment) for k in (before, after))
        image, text = (np.linalg.norm(x, axis=1) for x in (u1 - u0, v1 - v0))
        movements.append(Movement(
            run.name(environment), float(np.sqrt((image**2).mean())), float(np.sqrt((text**2).mean())), float(image.max()), float(text.max()),
            float(((u1 * v1).sum(axis=1) - (u0 * v0).sum(axis=1)).mean()),
        ))  # fmt: skip
    T = len(movements)
    bound, plain = np.empty((T, T)), np.empty((T, T))
    for s in range(T):
        for t in range(T):
            moved = {"e_I": movements[s].image, "e_T": movements[t].text}
            bound[s, t] = lowered.right("S6", "sharp", **moved, Con_II=one["II"][s, s], Con_TT_new=two["TT"][t, t])
            plain[s, t] = lowered.right("S6", "drift", **moved)
    return Drift(tuple(movements), {key: two[key] - one[key] for key in KEYS}, bound, plain)
