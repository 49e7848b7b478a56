"""T2.4 to T2.6: what lambda does to the contrastive loss and to the alignment, at minimisers of a small adaptive model."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import sympy
import torch

from ...synthetic.encoders import Path, train, worlds
from ...vlm_validation import lowered
from .. import style
from ..results import Data, provenance

MODELS, PAIRS, TAU = 12, 12, 2.0
LAMBDAS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
CAPTION = (
    "Linear image and text encoders with a linear head, trained on CE + $\\lambda$ CLIP to local minimisers (largest gradient entry "
    "{gradient:.0e}, least eigenvalue of the Hessian {curvature:.1g}; {worse} of {points} are worse at their $\\lambda$ than what was found for another, and T2.4 "
    "asks no more of minimisers) for {count} values of $\\lambda$ up to {most:g}, {models} random data sets of {pairs} pairs, inverse temperature "
    "{tau:g}.  Thin lines: data sets; thick: median.  Left: the contrastive loss rises at {rises} of {steps} steps of $\\lambda$, "
    "by {rise:.1g} at most (T2.4: at none).  "
    "Middle: the alignment CLV moves with $\\lambda$ where encoders adapt and not at all where they are frozen (T2.6; largest change "
    "{frozen_change:g}).  Right: CLV less the mean over all pairs, above the bound that T2.4 transfers from the loss "
    "(dashed, median); at {below} of {checked} points it is below its bound, and at {falls} steps CLV itself falls, which "
    "P5 excludes and T2.4 does not."
)


@cache
def transferred() -> Any:
    """The least gap G_2 that relation `transfer` of T2.4 leaves, of (G_1, tau, delta_max)."""
    least = lowered.solved("T2.4", "transfer", "G_2")
    g1, tau, delta = (sympy.Symbol(name, real=True) for name in ("G_1", "tau", "delta_max"))
    return sympy.lambdify((g1, tau, delta), least, "numpy")


def compute(features: Any, seed: int) -> Data:
    """Minimisers along lambda, adaptive and frozen; no features enter."""
    data = worlds(seed, MODELS, pairs=PAIRS)
    adaptive = train(data, LAMBDAS, seed=seed, tau=TAU)
    frozen = train(data, LAMBDAS, seed=seed, tau=TAU, frozen=True)
    loss, gap, alignment = (getattr(adaptive, k).numpy() for k in ("contrastive", "gap", "alignment"))
    floor = bound(adaptive)
    still = frozen.alignment.numpy()
    # (lambdas, models, lambdas): the objective of the first lambda at the point of the last one
    height = adaptive.task.T[None] + torch.tensor(LAMBDAS)[:, None, None] * adaptive.contrastive.T[None]
    own = torch.diagonal(height, dim1=0, dim2=2).T
    return Data(
        values={
            "lambda": np.array(LAMBDAS), "loss": loss, "alignment": alignment, "gap": gap, "bound": floor, "frozen": still,
            "count": len(LAMBDAS), "most": max(LAMBDAS), "models": MODELS, "pairs": PAIRS, "tau": TAU,
            "gradient": float(max(adaptive.gradient.max(), frozen.gradient.max())),
            "curvature": float(adaptive.curvature.min()), "worse": int((own > height.amin(2) + 1e-9).sum()), "points": own.numel(),
            "rise": max(0.0, float(np.diff(loss, axis=0).max())), "frozen_change": float(np.ptp(still, axis=0).max()),
            "below": int((gap[1:] < floor[1:]).sum()), "checked": int(gap[1:].size),
            "falls": int((np.diff(alignment, axis=0) < 0).sum()),
            "rises": int((np.diff(loss, axis=0) > 0).sum()), "steps": loss[1:].size,
        },
        provenance=provenance(("T2.4", "T2.6", "P5"), None, seed),
    )  # fmt: skip


def bound(path: Path) -> np.ndarray:
    """(lambdas, models): the largest of the bounds that smaller lambdas give; their own remainder delta is delta_max."""
    gap = path.gap.numpy()
    delta = path.contrastive.numpy() - np.log(PAIRS) + TAU * gap  # both directions share Cbar and CLV (T1.5)
    each = transferred()(gap, TAU, delta)
    before = np.maximum.accumulate(each, axis=0)
    return np.asarray(np.concatenate([np.full_like(gap[:1], np.nan), before[:-1]]))


def draw(data: Data) -> Any:
    figure, axes = style.canvas(style.TEXT, 2.45, 1, 3)
    x = data["lambda"]
    panels = (
        ("loss", "contrastive loss B (nats)"),
        ("alignment", "alignment CLV"),
        ("gap", "CLV - mean over all pairs"),
    )
    for one, (key, label) in zip(axes, panels, strict=True):
        one.plot(x, data[key], color=style.SKY, linewidth=0.6, alpha=0.8)
        one.plot(x, np.median(data[key], axis=1), color=style.BLUE, marker="o", label="encoders adapt")
        one.set_xscale("symlog", linthresh=0.1, linscale=0.5)
        one.set_xticks([0, 0.1, 1, 5], ["0", "0.1", "1", "5"])
        one.set_xlabel("$\\lambda$")
        one.set_ylabel(label)
    axes[1].plot(x, np.median(data["frozen"], axis=1), color=style.RED, linestyle=":", marker="s", label="frozen")
    axes[1].legend(loc="upper left")
    axes[2].plot(x, np.median(data["bound"], axis=1), color=style.GREEN, linestyle="--", label="T2.4's bound")
    axes[2].legend(loc="lower right")
    return figure
