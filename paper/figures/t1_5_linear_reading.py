"""T1.5: where the CLIP loss may be read as linear in the scores: over temperature and over the spread of the scores."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch

from ...synthetic.arithmetic import arithmetic
from ...synthetic.evaluate import bound_values
from ...theory import registry
from ...theory.claim import Claim
from ...vlm_validation.linear_reading import least_bound, shape_of
from ...vlm_validation.view import FeaturesView
from .. import style
from ..results import Data, provenance

CLIP = 100.0  # the inverse temperature CLIP is trained to
MOST = 500  # pairs of an environment, as the claim measures them
POINTS, LEVELS = 29, (0.01, 0.1, 1.0, 10.0)

CAPTION = (
    "Where the CLIP loss is linear in the scores (T1.5).  Left, for all {pairs} pairs of environments of the features: median change "
    "of the loss that the scores explain, $|\\Delta \\tau(\\bar C - CLV)|$, and of the rest, $|\\Delta \\delta|$ (bands: "
    "quartiles), in nats; dashed: the claim's bound on $\\delta$ itself, mean over rows of the least of its three.  The rest "
    "exceeds a tenth of the explained change from inverse temperature {tenth:.3g} on, of those tried (largest bound: from {certified:.3g} on); at CLIP's own, "
    "{clip:.0f}, it is {clip_share:.2f} times the explained change.  Right: the same bound on $\\delta$ over temperature and standard deviation "
    "of a row of scores, for rows of the features' shape (largest deviation {top_ratio:.1f}, range {range_ratio:.1f} standard "
    "deviations); crosses: the environments at inverse temperatures {marks}, with the mean $\\delta$ measured there."
)
MARKS = (1.0, 10.0, 100.0)


def compute(features: Any, seed: int) -> Data:
    """Measured parts of the loss, and bounds; nothing is random here."""
    features.require_environments(2, "a change of the loss needs two")
    claim = registry.get("T1.5")
    view = FeaturesView(features)
    tau = np.geomspace(0.03, 300, POINTS)
    parts = [measured(claim, view, t, tau) for t in view.environments]
    linear, delta, bound = (np.stack([p[k] for p in parts]) for k in ("linear", "delta", "bound"))  # (T, POINTS)
    couples = list(combinations(range(len(parts)), 2))
    explained = np.array([np.abs(linear[i] - linear[j]) for i, j in couples])
    rest = np.array([np.abs(delta[i] - delta[j]) for i, j in couples])
    spread = np.array([p["spread"] for p in parts])
    shape = {k: float(np.mean([p[k] for p in parts])) for k in ("top_ratio", "range_ratio")}
    deviation = np.geomspace(0.003, 0.3, POINTS)
    scale = deviation[:, None]
    grid = least_bound(claim, tau[None, :], scale * shape["top_ratio"], scale * shape["range_ratio"], scale**2)
    share = np.median(rest, axis=0) / np.median(explained, axis=0)
    certified = bound.max(axis=0) / np.median(explained, axis=0)
    at = {mark: [float(np.interp(np.log(mark), np.log(tau), np.log(row))) for row in delta] for mark in MARKS}
    return Data(
        values={
            "tau": tau, "pairs": len(couples), **quartiles("explained", explained), **quartiles("rest", rest),
            "bound": bound.mean(axis=0), "tenth": first_above(tau, share, 0.1), "certified": first_above(tau, certified, 0.1),
            "clip": CLIP, "clip_share": float(np.interp(CLIP, tau, share)), **shape, "deviation": deviation, "grid": grid,
            "spread": spread, "mark": list(MARKS), "marks": ", ".join(f"{m:g}" for m in MARKS),
            "mark_delta": np.exp([at[m] for m in MARKS]), "delta": delta, "bounds": bound,
        },
        provenance=provenance(("T1.5",), features, seed),
    )  # fmt: skip


def measured(claim: Claim, view: Any, environment: int, tau: np.ndarray) -> dict[str, Any]:
    """Linear part, delta and its bound of one environment at every inverse temperature; shape of its rows."""
    ops = arithmetic("plain")
    u, v = (side(environment).mid[:MOST] for side in (view.image, view.text))
    linear, delta = [], []
    for rate in tau:  # one at a time: a batch would hold as many score matrices as there are temperatures
        values = bound_values(claim, {"U": u, "V": v, "tau": torch.full((1, 1), float(rate), dtype=torch.float64)}, ops)
        linear.append(float(values["tau"] * (values["Cbar"] - values["CLV"])))
        delta.append(float(values["delta_mean"]))
    top, width, variance = shape_of((u @ v.mT).numpy())
    rows = least_bound(claim, tau[:, None], top[None, :], width[None, :], variance[None, :])
    sd = np.sqrt(variance)
    return {
        "linear": np.array(linear), "delta": np.array(delta), "bound": rows.mean(axis=1), "spread": float(sd.mean()),
        "top_ratio": float((top / sd).mean()), "range_ratio": float((width / sd).mean()),
    }  # fmt: skip


def quartiles(name: str, x: np.ndarray) -> dict[str, np.ndarray]:
    low, middle, high = np.quantile(x, (0.25, 0.5, 0.75), axis=0)
    return {f"{name}_low": low, name: middle, f"{name}_high": high}


def first_above(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Where y first exceeds a level on the grid; infinite if nowhere."""
    over = np.flatnonzero(y > level)
    return float(x[over[0]]) if len(over) else float("inf")


def draw(data: Data) -> Any:
    from matplotlib.patheffects import withStroke

    figure, (left, right) = style.canvas(style.TEXT, 2.7, 1, 2)
    tau = data["tau"]
    for key, colour, line, label in (
        ("explained", style.BLUE, "-.", "explained by the scores"),
        ("rest", style.RED, "-", "the rest, measured"),
    ):
        left.fill_between(tau, data[f"{key}_low"], data[f"{key}_high"], color=colour, alpha=0.2, linewidth=0)
        left.plot(tau, data[key], color=colour, linestyle=line, label=label)
    left.plot(tau, data["bound"], color=style.RED, linestyle="--", linewidth=1, label="certified bound of $\\delta$")
    left.axvline(data["clip"], color=style.GREY, linewidth=0.7)
    left.text(data["clip"], 0.02, " CLIP", color=style.GREY, fontsize=7.5, va="bottom",
              transform=left.get_xaxis_transform())  # fmt: skip
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_ylabel("change of the loss (nats)")
    left.legend(loc="upper left", borderaxespad=0, handlelength=2.6)
    right.set_xscale("log")  # first, for labels lie along the lines as they are drawn
    right.set_yscale("log")
    image = right.pcolormesh(tau, data["deviation"], np.log10(data["grid"]), cmap=style.MAP, vmin=-3, vmax=2, rasterized=True,
                             shading="gouraud")  # fmt: skip
    lines = right.contour(tau, data["deviation"], data["grid"], levels=LEVELS, colors="white", linewidths=0.7)
    low = data["spread"].min() / 2.5  # labels of the lines stand in one row, below the crosses and their numbers
    at = [line[np.argmin(np.abs(np.log(line[:, 1] / low)))] for (line, *_) in filter(len, lines.allsegs)]
    edge = [
        withStroke(linewidth=1.6, foreground="#00224e")
    ]  # the map's dark end, to be read on its light one and on lines
    numbers = right.clabel(lines, fmt=lambda level: f"{level:g}", fontsize=7, manual=[tuple(place) for place in at])
    for number in numbers:
        number.set_path_effects(edge)
    for mark, deltas in zip(data["mark"], data["mark_delta"], strict=True):
        right.plot(
            np.full(len(deltas), mark),
            data["spread"],
            "x",
            color=style.ORANGE,
            markersize=4,
            markeredgewidth=1.1,
            path_effects=edge,
        )
        right.annotate(f"{np.mean(deltas):.2g}", (mark, data["spread"].min()), xytext=(0, -4), textcoords="offset points", path_effects=edge,
                       color="white", ha="center", va="top", fontsize=7.5)  # fmt: skip
    right.set_ylabel("spread of a row of scores")
    bar = figure.colorbar(image, ax=right, pad=0.02, extend="both")
    bar.set_ticks(range(-3, 3), labels=[f"$10^{{{k}}}$" for k in range(-3, 3)])
    bar.set_label("bound of $\\delta$ (nats)")
    bar.outline.set_visible(False)
    for axes in (left, right):
        axes.set_xlabel("inverse temperature $\\tau$")
    return figure
