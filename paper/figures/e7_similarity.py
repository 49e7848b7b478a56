"""E7: forgetting and what the order decides, against the similarity of the environments; stored results."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import __version__
from .. import style
from ..results import Data, Provenance
from ..stored import load_stored

CAPTION = (
    "E7: a linear head on the shipped dual encoder along all {orders} orders of {environments} environments whose scenes share ever more of their colours and "
    "backgrounds, {seeds} draws of {scenes} scenes for each value, unseen by the encoder, on which the head is trained and judged; points: means over draws, bars: from the least to the largest.  Left: forgetting of the best, the "
    "mean and the worst order.  Right: worst over best.  Mean Con$_{{II}}$ between environments goes from {con_first:.3f} to {con_last:.3f}; forgetting of "
    "the mean order is largest at {peak:g}; of the means, the ratio of worst to best is largest at {widest:g} and least at {narrowest:g}.  T3.4 lets forgetting of two rank-one "
    "environments vanish at both ends of similarity; identical environments (O2) are not among these worlds, whose labels stay apart."
)
LINES = (("worst", style.RED, "s"), ("mean", style.BLUE, "o"), ("best", style.GREEN, "^"))


def compute(features: Any, seed: int) -> Data:
    """Read the stored sweep; nothing is trained here."""
    record = load_stored("e7_similarity")
    values, origin = record["values"], record["provenance"]
    each = {name: np.array(values[name]) for name in ("best", "mean", "worst", "spread", "con_II", "spearman")}
    knob, middle = np.array(values["similarity"]), {name: x.mean(axis=1) for name, x in each.items()}
    environments = origin["config"]["scenes"]["environments"]
    return Data(
        values={
            "similarity": knob, **each, "orders": math.factorial(environments), "environments": environments, "seeds": len(origin["seeds"]),
            "scenes": origin["config"]["settings"]["scenes"], "con_first": float(middle["con_II"][0]), "con_last": float(middle["con_II"][-1]),
            "peak": float(knob[middle["mean"].argmax()]), "widest": float(knob[middle["spread"].argmax()]),
            "narrowest": float(knob[middle["spread"].argmin()]),
        },
        provenance=Provenance(
            ("E7", "T3.4", "T3.7", "O2"), origin["data_hash"], f"stored result, checkpoint {origin['model_hash'][:12]}", origin["seeds"][0], __version__
        ),
    )  # fmt: skip


def draw(data: Data) -> Any:
    figure, (left, right) = style.canvas(style.TEXT, 2.45, 1, 2)
    x = data["similarity"]

    def line(axes: Any, runs: np.ndarray, **look: Any) -> None:
        middle = runs.mean(axis=1)
        bars = [middle - runs.min(axis=1), runs.max(axis=1) - middle]
        axes.errorbar(x, middle, yerr=bars, elinewidth=0.8, capsize=1.5, **look)

    for name, colour, marker in LINES:
        line(left, data[name], color=colour, marker=marker, label=f"{name} order")
    line(right, data["spread"], color=style.BLUE, marker="o")
    right.axhline(1, color=style.GREY, linewidth=0.8, linestyle=":")
    left.set_ylabel("forgetting (nats)")
    right.set_ylabel("worst over best order")
    for axes in (left, right):
        axes.set_xlabel("share of scenes from the common pool")
    left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return figure
