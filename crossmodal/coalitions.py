"""`crossmodal coalitions`."""

from __future__ import annotations

from pathlib import Path

from crossmodal.theory.errors import counted
from crossmodal.vlm_validation.datasets import open_pairs
from crossmodal.vlm_validation.encoders import load_encoder
from crossmodal.vlm_validation.model_coalitions import QUANTITIES, model_coalitions_by_environment

from . import terminal


def coalitions(
    model: str, data: str, baseline: str, split: str | None, captions: Path | None, limit: int | None, batch: int,
    device: str | None, seed: int, json_path: Path | None,
) -> None:  # fmt: skip
    """Print what image and text contribute in every environment; write JSON where asked."""
    with terminal.busy("reading data and model"):
        pairs = open_pairs(data, split=split, captions=captions).limited(limit)
        encoder = load_encoder(model, head=True, device=device)
        cut = encoder.too_long(pairs.captions)
    notes = [*pairs.notes, *([f"cut to the tokens that the encoder takes: {counted(cut, 'caption')}"] if cut else [])]
    found = model_coalitions_by_environment(encoder, pairs, baseline=baseline, batch=batch, seed=seed)
    if json_path is not None:
        record = {
            **found.to_dict(),
            "encoder": encoder.metadata,
            "data": dict(pairs.metadata),
            "notes": notes,
        }
        terminal.write_json(json_path, record | {"batch": batch, "seed": seed})
        if str(json_path) == "-":
            return
    columns = [("environment", "left"), *((name, "right") for name in ("pairs", "f(IT)", "f()", *QUANTITIES))]
    rows = []
    for k, name in enumerate(found.names):
        none, _, _, both = found.values[k].mean(axis=1)
        spread = [f"{mean:.4f} +- {width:.4f}" for mean, width in found.summary(k).values()]
        rows.append([name, found.values[k].shape[1], f"{both:.4f}", f"{none:.4f}", *spread])
    terminal.table(f"contributions of image and text: {encoder.metadata['encoder']}, {pairs.name}", columns, rows)
    print(
        f"f is the {found.value}; an absent modality is at its baseline '{found.baseline}'.  image + text = f(IT) - f() (C1); "
        f"+- is the 90 % interval of the mean over pairs{' and of the mean features they give' if found.of_means else ''}"
    )
    for note in notes:
        terminal.say(f"note: {note}")
