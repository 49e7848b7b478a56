"""E3 with minibatches and adapting encoders: how predictors rank all orders of five environments; stored results."""

from __future__ import annotations

from typing import Any

from ... import __version__
from ...vlm_validation.order_oracle import refined, refinement
from ..results import Data, Provenance
from ..stored import load_stored
from ..trained import ratio_in_words

CAPTION = (
    "E3 beyond full batches: all {orders} orders of {environments} environments of the embedded world, {seeds} seeds, minibatches, "
    "rank correlation with the forgetting of one seed, and regret, of every predictor, on unseen pairs and on the training pairs it speaks of.  Every order is "
    "trained, so the {level:.0%} intervals are over seeds alone (t on Fisher's scale).  Two seeds agree, on average over pairs of them, at Spearman {agree_low:.2f} to {agree_high:.2f} from mode to mode, on unseen pairs.  Forgetting of the worst order over the best: {ratios}.  "
    "The prediction from {prototypes} prototypes (T3.10) ranks at {frozen_training:.3f} where the encoder is frozen and the pairs are those trained on, at "
    "{frozen_unseen:.2f} on unseen ones, and at {full_training:.2f} where the encoder is trained in full: it speaks of the data it sees, and of features "
    "that stay.  The paper's cost ranks between {cost_low:.2f} and {cost_high:.2f}.  Stages trained: {steps}."
)


def compute(features: Any, seed: int) -> Data:
    """Read the stored runs; nothing is trained here."""
    record = load_stored("e3_adaptive")
    values, origin = record["values"], record["provenance"]
    rows = []
    for mode, predictors in values["predictors"].items():
        for name, judged in predictors.items():
            fitted = values["predictors_training"][mode][name]
            cells: list[Any] = [mode, name]
            for found in (judged, fitted):
                value, low, high = found["spearman"]
                cells += [value, (low, high), found["regret"]]
            rows.append(cells)
    scenes = origin["config"]["scenes"]
    prototypes = refinement(scenes["train"] * scenes["environments"])
    oracle = refined(prototypes)
    ranks = {(row[0], row[1], k): row[i] for row in rows for k, i in (("unseen", 2), ("training", 5))}
    costs = [value for (_, name, _), value in ranks.items() if name == "cumulative Con_IT"]
    agree = [values["summary"][mode]["between_seeds"] for mode in values["summary"]]
    ratios = ", ".join(f"{mode} {ratio_in_words(values['summary'][mode]['ratio'])}" for mode in values["summary"])
    return Data(
        values={
            "columns": ["mode", "predictor", "Spearman, unseen", "interval", "regret, unseen", "Spearman, training", "interval, training", "regret, training"],
            "rows": rows, "orders": len(values["orders"]), "environments": len(values["environments"]), "seeds": len(origin["seeds"]), "level": 0.9,
            "steps": len(origin["seeds"]) * sum(s["stages"] for s in values["summary"].values()), "agree_low": min(agree), "agree_high": max(agree), "ratios": ratios,
            "prototypes": prototypes, "frozen_training": ranks["frozen", oracle, "training"], "frozen_unseen": ranks["frozen", oracle, "unseen"],
            "full_training": ranks["full", oracle, "training"], "cost_low": min(costs), "cost_high": max(costs),
        },
        provenance=Provenance(
            ("E3", "T3.5", "T3.7", "T3.10"), origin["data_hash"], f"stored result, checkpoint {origin['model_hash'][:12]}", origin["seeds"][0], __version__
        ),
    )  # fmt: skip
