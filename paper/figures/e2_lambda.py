"""E2: the shipped dual encoder trained on every environment with another lambda each time; stored results."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import __version__
from .. import style
from ..results import Data, Provenance
from ..stored import load_stored

CAPTION = (
    "E2: CE + $\\lambda$ CLIP on the shipped dual encoder over {environments} environments in turn ({epochs} epochs each, {optimiser}, inverse temperature "
    "{tau:g} in the loss), {seeds} seeds, judged on unseen scenes; mean over environments, bars from the least to the largest seed.  Left: the "
    "contrastive loss, which $\\lambda$ weighs (T2.4 and P5 speak of minimisers; training stops before).  Right: CLV.  Dotted: the checkpoint's.  Frozen encoders: CLV "
    "moves by {frozen_change:g} over all $\\lambda$ (T2.6).  Trained in full, CLV goes from {clv_first:.3f} to {clv_last:.3f}, and falls at "
    "{falls} of {steps} steps of $\\lambda$ (P5 says at none); the loss rises at {rises}.  Dashed: the training pairs of the environment learnt last, whose loss was "
    "minimised last; there it rises at {fitted_rises} of {steps}.  Published for CUB, {encoder}, over the same range of $\\lambda$: "
    "{published_first:.2f} to {published_last:.2f}."
)
TITLES = (("frozen", style.RED, "s"), ("full", style.BLUE, "o"), ("lora", style.GREEN, "^"))


def compute(features: Any, seed: int) -> Data:
    """Read the stored sweep; nothing is trained here."""
    import json

    from ..tables.published import FILE

    record = load_stored("e2_lambda")
    values, origin = record["values"], record["provenance"]
    lambdas = np.array(values["lambda"])
    means = {
        f"{kind}_{name}": np.array(values[kind][name]).mean(axis=2) for kind in ("clv", "clip") for name, *_ in TITLES
    }
    means |= {
        f"fitted_{name}": np.array(values["fitted_clip"][name])[:, :, -1] for name, *_ in TITLES if name != "frozen"
    }
    fitted = means["fitted_full"].mean(axis=1)
    full, loss = means["clv_full"].mean(axis=1), means["clip_full"].mean(axis=1)
    told = json.loads(FILE.read_text(encoding="utf-8"))["T2"]["cub_vitb16_adaptive_clv"]
    protocol = origin["config"]["protocols"]["full"]
    return Data(
        values={
            "lambda": lambdas, **means, "start_clv": float(np.mean(values["start_clv"])), "start_clip": float(np.mean(values["start_clip"])),
            "environments": len(values["environments"]), "epochs": protocol["epochs"], "optimiser": protocol["optimiser"].upper(),
            "tau": protocol["tau"], "seeds": len(origin["seeds"]), "frozen_change": float(np.ptp(np.array(values["clv"]["frozen"]), axis=0).max()),
            "clv_first": float(full[0]), "clv_last": float(full[-1]), "falls": int((np.diff(full) < 0).sum()), "steps": len(lambdas) - 1,
            "rises": int((np.diff(loss) > 0).sum()),
            "fitted_rises": int((np.diff(fitted) > 0).sum()), "encoder": "ViT-B/16", "published_first": told["lambda_0"], "published_last": told["lambda_5"],
        },
        provenance=Provenance(
            ("E2", "T2.4", "T2.6", "P5"), origin["data_hash"], f"stored result, checkpoint {origin['model_hash'][:12]}", origin["seeds"][0], __version__
        ),
    )  # fmt: skip


def draw(data: Data) -> Any:
    figure, axes = style.canvas(style.TEXT, 2.45, 1, 2)
    x = data["lambda"]
    for one, kind, label in zip(axes, ("clip", "clv"), ("contrastive loss (nats)", "CLV"), strict=True):
        for name, colour, marker in TITLES:
            runs = data[f"{kind}_{name}"]
            middle = runs.mean(axis=1)
            bars = [middle - runs.min(axis=1), runs.max(axis=1) - middle]
            one.errorbar(x, middle, yerr=bars, color=colour, marker=marker, elinewidth=0.8, capsize=1.5, label=name)
            if kind == "clip" and name != "frozen":
                one.plot(
                    x,
                    data[f"fitted_{name}"].mean(axis=1),
                    color=colour,
                    marker=marker,
                    markerfacecolor="white",
                    linestyle="--",
                    linewidth=1,
                )
        one.axhline(data[f"start_{kind}"], color=style.GREY, linewidth=0.8, linestyle=":")
        one.set_xscale("symlog", linthresh=0.1, linscale=0.5)
        one.set_xticks([0, 0.1, 1, 5], ["0", "0.1", "1", "5"])
        one.set_xlim(-0.02, 6)
        one.set_xlabel("$\\lambda$")
        one.set_ylabel(label)
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return figure
