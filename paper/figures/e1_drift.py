"""E1: the drift of the losses over transitions, regressed on the cross-modal scores; stored results."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ... import __version__
from .. import style
from ..results import Data, Provenance
from ..stored import load_stored
from ..tables.published import FILE

READINGS = ("transition", "step")
CAPTION = (
    "E1: drift of the losses, averaged over {seeds} seeds, over {transitions} transitions between {environments} environments of the embedded world ({orders} orders, "
    "CE + $\\lambda$ CLIP with $\\lambda$ {weight:g}, unseen pairs), regressed by least squares on Con$_{{IT}}$ and Con$_{{TI}}$, with frozen encoders, trained "
    "in full, and by low-rank updates.  A digest leaves open which drift is meant.  Left: the new environment's loss less the old one's (transition).  "
    "Middle: what the old environment's own loss gained while the new one was learnt (step); both of CE, after epoch {epochs}, against Con$_{{IT}}$.  "
    "Right: share of the variance explained, R², epoch by epoch.  After the last one, transition: {transition_full_r2:.2f} trained in full, "
    "{transition_lora_r2:.2f} low rank, {transition_frozen_r2:.2f} frozen; step: {step_full_r2:.2f}, {step_lora_r2:.2f} and {step_frozen_r2:.2f}; of CLIP "
    "trained in full {clip_transition:.2f} and {clip_step:.2f}.  Published for COCO and CUB, adaptive, after ten epochs: {published_low:.2f} to {published_high:.2f}; frozen: {published_frozen}.  "
    "Slopes of CE whose {level:.0%} interval does not hold zero: {clear} of {slopes}; intervals leave out one of {clusters} environments at a time, with every transition from and to it, for transitions that share one are not independent (jackknife, Student's t with {freedom} degrees of freedom)."
)
MODES = (("frozen", style.RED, "s"), ("full", style.BLUE, "o"), ("lora", style.GREEN, "^"))


def compute(features: Any, seed: int) -> Data:
    """Read the stored drifts and regressions; nothing is trained here."""
    record = load_stored("e1_drift")
    values, origin = record["values"], record["provenance"]
    out: dict[str, Any] = {}
    fits: list[dict[str, Any]] = []  # after the last epoch
    for mode, *_ in MODES:
        table = values["table"][mode]
        out[f"con_{mode}"] = np.array(table["con_it"])
        for reading in READINGS:
            out[f"drift_{reading}_{mode}"] = np.array(table[reading]["ce"][-1])
            out[f"r2_{reading}_{mode}"] = np.array([fit["r2"] for fit in values["regression"][mode][reading]["ce"]])
            out[f"{reading}_{mode}_r2"] = float(out[f"r2_{reading}_{mode}"][-1])
            fits.append(values["regression"][mode][reading]["ce"][-1])
    for reading in READINGS:
        out[f"clip_{reading}"] = float(values["regression"]["full"][reading]["clip"][-1]["r2"])
    told = json.loads(FILE.read_text(encoding="utf-8"))["T1"]
    published = told["ols_r2_adaptive_epoch10"]
    protocol = origin["config"]["protocols"]["full"]
    return Data(
        values={
            **out, "environments": len(values["environments"]), "orders": len(values["orders"]), "seeds": len(origin["seeds"]),
            "transitions": len(out["con_full"]), "epochs": len(out["r2_step_full"]), "weight": protocol["weight"],
            "published_low": min(published.values()), "published_high": max(published.values()),
            "published_frozen": told["ols_r2_frozen"], "clusters": fits[0]["clusters"], "freedom": fits[0]["clusters"] - 1, "level": 0.95,
            "slopes": sum(len(fit["low"]) - 1 for fit in fits),
            "clear": sum(low > 0 or high < 0 for fit in fits for low, high in zip(fit["low"][1:], fit["high"][1:], strict=True)),
        },
        provenance=Provenance(
            ("E1", "T1.4", "T1.7", "P1"), origin["data_hash"], f"stored result, checkpoint {origin['model_hash'][:12]}", origin["seeds"][0], __version__
        ),
    )  # fmt: skip


def draw(data: Data) -> Any:
    figure, (left, middle, right) = style.canvas(style.TEXT, 2.5, 1, 3)
    for axes, reading, label in (
        (left, "transition", "new loss - old loss (nats)"),
        (middle, "step", "gain of the old loss (nats)"),
    ):
        for mode, colour, marker in MODES:
            axes.plot(
                data[f"con_{mode}"],
                data[f"drift_{reading}_{mode}"],
                marker,
                color=colour,
                alpha=0.7,
                markeredgewidth=0,
                label=mode,
            )
        axes.axhline(0, color=style.GREY, linewidth=0.6)
        axes.set_xlabel("Con$_{IT}$ before the transition")
        axes.set_ylabel(label)
    left.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, columnspacing=0.9, handletextpad=0.3
    )
    for mode, colour, marker in MODES:
        for reading, line in zip(READINGS, ("-", "--"), strict=True):
            r2 = data[f"r2_{reading}_{mode}"]
            right.plot(np.arange(1, len(r2) + 1), r2, line, color=colour, marker=marker, label=f"{reading}, {mode}")
    right.set_ylim(0, 1)
    right.set_xticks(np.arange(1, data["epochs"] + 1))
    right.set_xlabel("epoch")
    right.set_ylabel("R² of CE")
    right.legend(loc="center right", fontsize=6.5, handlelength=3.2)  # long enough for the dashes to show
    return figure
