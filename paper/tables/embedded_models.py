"""What the shipped models can do on scenes that neither their training nor their cards have drawn."""

from __future__ import annotations

from typing import Any

from ..results import Data, Provenance

FRESH = 1000  # added to the seed: the cards' scenes have the first few
CAPTION = (
    "The shipped models on unseen scenes, drawn anew and judged for this table, beside what their cards recorded after training and beside "
    "chance.  The least of all accuracies is {ratio:.1f} times chance, or, where chance is a half, {matching:.2f}; the largest difference to "
    "a card is {apart:.3f}."
)


def compute(features: Any, seed: int) -> Data:
    """Render scenes and judge both models of both worlds."""
    from ...vlm_validation import embedded_models as models
    from ...vlm_validation.checkpoints import quiet
    from ...vlm_validation.embedded import model_card
    from ...vlm_validation.processes import one_thread
    from ...vlm_validation.scenes import WORLDS
    from ...vlm_validation.train_embedded import judge_clip, judge_fused

    rows = []
    with one_thread(), quiet():
        for world in WORLDS:
            clip, tokenizer = models.load_clip(world)
            matcher, classifier, _ = models.load_fused(world)
            found = judge_clip(world, clip, tokenizer, seed + FRESH)
            found |= judge_fused(world, matcher, classifier, tokenizer, seed + FRESH)
            card = model_card(world)["accuracy"]
            for title, row in found.items():
                kind = "dual" if title.startswith(("zero", "recall")) else "fused"
                held = card.get(title, {}).get("value")
                rows.append([world, kind, title, row["value"], held, row["chance"], int(row["scenes"])])
    return Data(
        values={
            "columns": ["world", "encoder", "measure", "accuracy", "card", "chance", "scenes"], "rows": rows,
            "ratio": min(row[3] / row[5] for row in rows if row[5] != 0.5),
            "matching": min(row[3] for row in rows if row[5] == 0.5),
            "apart": max(abs(row[3] - row[4]) for row in rows if row[4] is not None),
        },
        provenance=Provenance(("E8",), "", "", seed),
    )  # fmt: skip
