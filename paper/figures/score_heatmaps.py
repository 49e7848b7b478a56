"""The four contribution-score matrices of the features, every cell with its interval (claims S1 and S7)."""

from __future__ import annotations

from typing import Any

from scipy.stats import norm

from ...vlm_validation.score_figure import draw_scores
from ...vlm_validation.scores import estimate_scores
from .. import style
from ..results import Data, provenance

CAPTION = (
    "Contribution scores of {count} image-text pairs in {environments} environments: mean cosines over all pairs (S1), within "
    "an environment over those of different samples, with {z:.2f} standard errors; a row is the environment $s$ of the first modality, with its number of pairs, a column that of the second, $t$.  Cross-modal panels share a colour scale and intra-modal panels another.  Dispersion of the "
    "off-diagonal cross-modal scores: {sigma:.4f}.  Intervals that assume nothing about the distribution (S7, level "
    "{level:.0%}) have half-widths from {narrowest:.3f} to {widest:.3f}."
)


def compute(features: Any, seed: int) -> Data:
    """Estimates and intervals; nothing is random here."""
    scores = estimate_scores(features)
    widths = scores.half_width.values()
    values = {k: v for k, v in scores.to_dict().items() if k not in ("provenance", "environments")} | {
        "count": int(scores.counts.sum()), "environments": len(scores.environments), "z": float(norm.ppf(0.975)), "sigma": scores.sigma_I,
        "level": 1 - scores.delta, "widest": max(float(w.max()) for w in widths), "narrowest": min(float(w.min()) for w in widths),
    }  # fmt: skip
    return Data(values, provenance(("S1", "S7"), features, seed), native=scores)


def draw(data: Data) -> Any:
    return draw_scores(data.native, width=style.TEXT)
