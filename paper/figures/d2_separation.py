"""D1 and D2: how well a concept separates environments, and what moments and contribution scores guarantee of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ...synthetic.arithmetic import arithmetic
from ...synthetic.evaluate import bound_values, least_factor, value
from ...theory import registry
from ...vlm_validation.ood import auroc_interval
from ...vlm_validation.view import FeaturesView
from .. import style
from ..results import Data, provenance

LEVEL = 0.95
CAPTION = (
    "Out-of-distribution separation by the concept score, and its certified lower bounds, for {pairs} ordered pairs of environments "
    "of the features (in-distribution: images of $t$; out: images of $s$; score: inner product with the mean text of $t$; at most "
    "{most} images a side).  Left: AUROC against Con$_{{IT}}(s,t)$, bars: {level:.0%} intervals (Wilson's, with DeLong's variance and Student's t), which do not allow for the in-images' own captions in the mean text; Spearman correlation "
    "{rho:.2f}.  Right: AUROC against the bounds.  Contribution scores alone (D2) guarantee {scores_least:.2f} to "
    "{scores_most:.2f}; measured means and variances (D1) {moments_least:.2f} to {moments_most:.2f}; sub-Gaussian tails "
    "(D1) {tails_least:.2f} to {tails_most:.2f}; bounds above their AUROC: {above}.  Pairs outside the assumption that "
    "in-scores are at least as high on average: {excluded}."
)


def compute(features: Any, seed: int) -> Data:
    """Both sides of the claims' relations on every pair; nothing is random here."""
    features.require_environments(2, "separation needs an inside and an outside")
    ops = arithmetic("plain")
    d1, d2 = registry.get("D1"), registry.get("D2")
    by_d1, by_d2 = (least_factor(registry.relation(*of), "AUROC") for of in (("D1", "cantelli"), ("D2", "separation")))
    view = FeaturesView(features)
    assert d1.on_features is not None
    assert d2.on_features is not None
    rows: list[dict[str, float]] = []
    sizes, excluded = 0, 0
    for (_, first), (_, second) in zip(d1.on_features(view), d2.on_features(view), strict=True):
        by_moments = bound_values(d1, plain(first), ops)
        by_scores = bound_values(d2, plain(second), ops)
        if float(by_moments["D"]) < 0:
            excluded += 1
            continue
        inside, outside = (first[k].mid.reshape(-1).numpy() for k in ("X_in", "X_out"))
        sizes = max(sizes, len(inside), len(outside))
        low, high = auroc_interval(inside, outside, level=LEVEL, ties=0)  # as the claims have it
        rows.append({
            "auroc": float(by_moments["AUROC"]), "low": low, "high": high, "con": float(by_scores["Con_IT_st"]),
            "moments": float(value(by_d1, by_moments, ops)), "scores": float(value(by_d2, by_scores, ops)),
            "tails": 1 - float(value(registry.relation("D1", "sub_gaussian").rhs, by_moments, ops)),
        })  # fmt: skip
    table = {
        key: np.array([r[key] for r in rows]) for key in ("auroc", "low", "high", "con", "moments", "scores", "tails")
    }
    ends = {
        f"{key}_{end}": float(getattr(table[key], f)()) for key in ("moments", "scores", "tails") for end, f in (("least", "min"), ("most", "max"))
    }  # fmt: skip
    rho = float(spearmanr(table["con"], table["auroc"]).statistic) if len(rows) > 2 else float("nan")
    above = sum(int((table[key] > table["auroc"]).sum()) for key in ("moments", "scores", "tails"))
    return Data(
        values={
            **table,
            **ends,
            "above": above,
            "pairs": len(rows) + excluded,
            "excluded": excluded,
            "rho": rho,
            "level": LEVEL,
            "most": sizes,
        },
        provenance=provenance(("D1", "D2"), features, seed),
    )


def plain(inputs: Any) -> dict[str, Any]:
    return {k: getattr(v, "mid", v) for k, v in inputs.items()}


def draw(data: Data) -> Any:
    figure, (left, right) = style.canvas(style.TEXT, 2.6, 1, 2, sharey=True)
    bars = [data["auroc"] - data["low"], data["high"] - data["auroc"]]
    left.errorbar(
        data["con"],
        data["auroc"],
        yerr=np.maximum(bars, 0),
        fmt="o",
        color=style.BLUE,
        elinewidth=0.7,
        label="measured",
    )
    left.plot(data["con"], data["scores"], "v", color=style.RED, label="bound from scores (D2)")
    left.set_xlabel("Con$_{IT}(s,t)$: images of $s$, texts of $t$")
    left.set_ylabel("AUROC")
    left.set_ylim(-0.02, 1.03)
    left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    for key, marker, colour, label in (("scores", "v", style.RED, "scores (D2)"), ("moments", "s", style.GREEN, "moments (D1)"),
                                       ("tails", "^", style.ORANGE, "tails (D1)")):  # fmt: skip
        right.plot(data[key], data["auroc"], marker, color=colour, label=label, markersize=3.2)
    right.plot([0, 1], [0, 1], color=style.GREY, linestyle="--", linewidth=0.8)
    right.text(
        0.5,
        0.43,
        "bound = AUROC",
        rotation=45,
        transform_rotates_text=True,
        color=style.GREY,
        fontsize=7.5,
        rotation_mode="anchor",
    )
    right.set_xlim(-0.02, 1.03)
    right.set_xlabel("certified lower bound of the AUROC")
    right.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, columnspacing=0.9, handletextpad=0.2
    )
    return figure
