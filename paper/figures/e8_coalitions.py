"""E8: what each modality contributes, environment by environment, along a sequence; a fused and a dual encoder."""

from __future__ import annotations

from functools import cache
from pathlib import PurePath
from typing import Any

import numpy as np

from ...vlm_validation.audit.reliance import ROUNDING, paired, together
from ...vlm_validation.coalitions import (
    CoalitionRun,
    dual_encoder_inputs,
    fused_encoder_inputs,
    run_coalitions,
    split,
)
from ...vlm_validation.embedded import model_card
from ...vlm_validation.embedded_models import load_fused, pixel_tensor, tokens
from ...vlm_validation.encoders import reproducible
from ...vlm_validation.scenes import draw_scenes, render
from .. import style
from ..results import Data, Provenance

WORLD, SCENES, RESAMPLES, LEVEL, STEP = "high", 400, 4000, 0.95, 5.0
CAPTION = (
    "Contributions of image and text (C1, Shapley values of the mean probability of the true class) along a sequence of environments (E8), "
    "a linear head trained on one after the other.  Left: fused encoder (ViLT, world '{world}', {scenes} unseen scenes an environment; absent "
    "image grey, absent text masked).  Middle: dual encoder, both features side by side (absent: mean feature of the environment).  Both: the environment "
    "learnt first; bands {level:.0%} bootstrap over samples and their means, each of its own; dotted: its accuracy.  Right: by how much contributions moved from the moment an "
    "environment was learnt to the end, against the move of its accuracy; bars hold for all {moves} at once at {level:.0%} (bootstrap of the largest "
    "studentised move of an environment, Bonferroni over {sequences} environments of both encoders).  In {hidden} of {moves} cases a contribution moved beyond "
    "that and the accuracy not beyond a {level:.0%} interval of its own (Agresti and Min's), {fallen} of them falls: what accuracy does not show."
)


def compute(features: Any, seed: int) -> Data:
    """Train the head along the neutral order on both encoders."""
    features.require_environments(2, "a sequence needs two environments")
    rng = np.random.default_rng([8, seed])
    ids = list(features.environments)
    dual = run_coalitions(dual_encoder_inputs(features), features.environment, features.label, ids,
                          names=[features.name(k) for k in ids], baseline="mean", of_means=True, step=STEP)  # fmt: skip
    values: dict[str, Any] = {}
    moved: list[dict[str, Any]] = []
    runs = {"fused": fused_run(seed), "dual": dual}
    sequences = sum(len(run.names) - 1 for run in runs.values())
    for kind, run in runs.items():
        values |= {f"{kind}_{name}": x for name, x in first(run, rng).items()}
        moved += moves(run, kind, rng, sequences)
    table = {key: np.array([row[key] for row in moved]) for key in moved[0] if key != "kind"}
    weights = model_card(WORLD)["weights_sha256"]["fused"]
    source = f"{PurePath(features.source).name}; fused weights {weights[:12]}"
    return Data(
        values={**values, **table, "kind": [row["kind"] for row in moved], "hidden": sum(map(hidden, moved)), "fallen": sum(hidden(row) and row["contribution"] < 0 for row in moved), "moves": len(moved),
                "sequences": sequences, "world": WORLD, "scenes": SCENES // len(runs["fused"].names), "level": LEVEL},
        provenance=Provenance(("C1", "E8"), features.content_hash(), source, seed),
    )  # fmt: skip


@cache
def fused_run(seed: int) -> CoalitionRun:
    """The shipped fused encoder, frozen, on unseen scenes of its world."""
    scenes = draw_scenes(WORLD, SCENES, split="unseen", seed=seed + 1)
    matcher, _, tokenizer = load_fused(WORLD)
    pixels = pixel_tensor(np.stack([render(scene) for scene in scenes]))
    words = tokens(tokenizer, [scene.caption for scene in scenes])
    with reproducible(seed):  # ViLT draws the order of its patches, which rounding depends on
        inputs = fused_encoder_inputs(matcher.vilt, pixels, words)
    environment, label = (np.array([getattr(scene, key) for scene in scenes]) for key in ("environment", "label"))
    return run_coalitions(
        inputs, environment, label, sorted(set(environment.tolist())), baseline="grey image, masked text", step=STEP
    )


def first(run: CoalitionRun, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Contributions of the environment learnt first, (T+1, 2) each with its interval, and its accuracy."""
    drawn = shares(run.hits[0].shape[1], rng)
    low, high = np.empty((2, len(run.names) + 1, 2))
    for stage in range(len(low)):
        own, again = influence(run, stage, 0), resampled(run, stage, 0, drawn)
        for m in range(2):  # each by itself
            _, low[stage, m], high[stage, m] = together(own[:, m], drawn, LEVEL, again[:, m])
    return {"phi": run.shapley()[:, 0], "phi_low": low, "phi_high": high, "first_accuracy": run.accuracy[:, 0, 3]}


def resampled(run: CoalitionRun, stage: int, environment: int, drawn: np.ndarray) -> np.ndarray:
    """(RESAMPLES, 2) contributions of samples drawn again, with their means where these are the baseline."""
    return split(run.values[environment][stage].resampled(drawn))


def influence(run: CoalitionRun, stage: int, environment: int) -> np.ndarray:
    """(n, 2) what every sample counts in the contributions of its environment."""
    return split(run.values[environment][stage].influence)


def shares(n: int, rng: np.random.Generator) -> np.ndarray:
    """(RESAMPLES, n) share of each of n samples in a bootstrap resample."""
    return rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def moves(run: CoalitionRun, kind: str, rng: np.random.Generator, sequences: int) -> list[dict[str, Any]]:
    """One row an environment and modality: change since it was learnt, of contribution and accuracy, with intervals.

    Those of contributions hold for all `sequences` environments of the figure together, as in `audit.reliance`; that of an
    accuracy is its own, for a wider one would call more accuracies still and find more hidden.
    """
    rows = []
    for j in range(len(run.names) - 1):  # the last one has had no time to move
        hits, now = run.hits[j].astype(float), len(run.names)
        step, drawn = hits[now] - hits[j + 1], shares(hits.shape[1], rng)
        moved = influence(run, now, j) - influence(run, j + 1, j)
        again = resampled(run, now, j, drawn) - resampled(run, j + 1, j, drawn)
        change, low, high = together(moved, drawn, 1 - (1 - LEVEL) / sequences, again)
        ends = paired(step, LEVEL)
        accuracy = {"accuracy": float(step.mean()), "accuracy_low": float(ends[0]), "accuracy_high": float(ends[1])}
        rows += [
            {"kind": kind, "modality": m, "contribution": float(change[m]), "low": float(low[m]), "high": float(high[m]), **accuracy}
            for m in range(2)
        ]  # fmt: skip
    return rows


def hidden(row: dict[str, Any]) -> bool:
    """Whether a contribution moved while the accuracy did not."""
    still = row["accuracy_low"] <= 0 <= row["accuracy_high"]
    return bool(still and (row["low"] > ROUNDING or row["high"] < -ROUNDING))


def draw(data: Data) -> Any:
    figure, (left, middle, right) = style.canvas(style.TEXT, 2.6, 1, 3)
    sides = (("image", style.BLUE, "o"), ("text", style.RED, "s"))
    for axes, kind in ((left, "fused"), (middle, "dual")):
        stage = np.arange(len(data[f"{kind}_phi"]))
        for k, (name, colour, marker) in enumerate(sides):
            axes.fill_between(
                stage,
                data[f"{kind}_phi_low"][:, k],
                data[f"{kind}_phi_high"][:, k],
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
            axes.plot(stage, data[f"{kind}_phi"][:, k], marker=marker, color=colour, label=name)
        axes.plot(stage, data[f"{kind}_first_accuracy"], color="black", linestyle=":", label="accuracy")
        axes.set_xticks(stage)
        axes.set_xlabel("environments learnt")
        axes.set_title(f"{kind} encoder", loc="left")
    left.set_ylabel("contribution (probability)")
    left.legend(
        loc="lower left", bbox_to_anchor=(0, 1.1), ncols=3, borderaxespad=0, columnspacing=0.9, handletextpad=0.4
    )
    kinds = np.array(data["kind"])
    for k, (_, colour, marker) in enumerate(sides):
        for kind, filled in (("fused", True), ("dual", False)):
            rows = (kinds == kind) & (data["modality"] == k)
            bars = [data["contribution"][rows] - data["low"][rows], data["high"][rows] - data["contribution"][rows]]
            right.errorbar(data["accuracy"][rows], data["contribution"][rows], yerr=np.maximum(bars, 0), fmt=marker, color=colour,
                           markerfacecolor=colour if filled else "white", elinewidth=0.7, label=kind if k == 0 else None)  # fmt: skip
    right.axhline(0, color=style.GREY, linewidth=0.6)
    right.axvline(0, color=style.GREY, linewidth=0.6)
    right.set_xlabel("change of accuracy")
    right.set_ylabel("change of contribution")
    right.legend(loc="lower left", bbox_to_anchor=(0, 1.1), ncols=2, borderaxespad=0)
    return figure
