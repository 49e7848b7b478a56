"""E4: backward transfer of three orders, frozen and adaptive; stored results."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ... import __version__
from ..results import Data, Provenance
from ..stored import load_stored
from .published import FILE

CAPTION = (
    "E4: backward transfer (convention {convention}; negative: earlier environments got worse) of three orders chosen before training, mean over "
    "{seeds} seeds and range; loss in nats, unseen pairs of the embedded world.  The order of least cumulative contribution loses more than the neutral one "
    "in {worse} of {modes} modes; the recommended order (T3.10) loses less in {better}.  Published for COCO, {encoder}, frozen, as loss gained: "
    "neutral {neutral:.3f}, contribution {contribution:.3f}."
)


def compute(features: Any, seed: int) -> Data:
    """Read the stored runs; nothing is trained here."""
    record = load_stored("e4_transfer")
    values, origin = record["values"], record["provenance"]
    rows, mean = [], {}
    for mode, orders in values["bwt"].items():
        for name, found in orders.items():
            loss, accuracy = np.array(found["loss"]), np.array(found["accuracy"])
            mean[mode, name] = float(loss.mean())
            path = ", ".join(values["environments"][k] for k in values["orders"][mode][name])
            rows.append(
                [mode, name, path, float(loss.mean()), (float(loss.min()), float(loss.max())), float(accuracy.mean())]
            )
    told = json.loads(FILE.read_text(encoding="utf-8"))["backward_transfer_vitb16_frozen"]["coco"]
    modes = list(values["bwt"])
    return Data(
        values={
            "columns": ["mode", "order", "environments", "bwt, loss", "range over seeds", "bwt, accuracy"], "rows": rows, "convention": values["convention"],
            "seeds": len(origin["seeds"]), "modes": len(modes), "encoder": "ViT-B/16", "neutral": told["neutral"], "contribution": told["contribution_order"],
            "worse": sum(mean[m, "least cumulative contribution"] < mean[m, "neutral"] for m in modes),
            "better": sum(mean[m, "recommended"] > mean[m, "neutral"] for m in modes),
        },
        provenance=Provenance(
            ("E4", "T3.10", "P7", "P8"), origin["data_hash"], f"stored result, checkpoint {origin['model_hash'][:12]}", origin["seeds"][0], __version__
        ),
    )  # fmt: skip
