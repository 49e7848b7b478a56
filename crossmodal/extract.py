"""`crossmodal extract`."""

from __future__ import annotations

import sys
from pathlib import Path

from crossmodal.theory.errors import counted
from crossmodal.vlm_validation.datasets import open_pairs
from crossmodal.vlm_validation.encoders import load_encoder
from crossmodal.vlm_validation.extract import check_output, extract_features
from crossmodal.vlm_validation.processes import running_processes

from . import terminal


def extract(
    model: str, data: str, output: Path, split: str | None, captions: Path | None, limit: int | None, batch: int,
    device: str | None, overwrite: bool,
) -> None:  # fmt: skip
    """Encode a data set and write its features file."""
    check_output(output, batch)
    processes = running_processes()
    with terminal.busy("reading data and model", processes.main):
        pairs = open_pairs(data, split=split, captions=captions).limited(limit)
        encoder = load_encoder(model, device=device or processes.device)
    say = lambda message: terminal.say(message, file=sys.stderr)  # noqa: E731
    try:
        done = extract_features(encoder, pairs, output, batch=batch, overwrite=overwrite, say=say)
    except KeyboardInterrupt:
        say("finished batches are kept; the same command goes on from them")
        raise
    if not processes.main:
        return
    terminal.say(
        f"{done.output}: {counted(done.pairs, 'pair')} in {counted(len(pairs.environment_names), 'environment')}, d = {done.dimension}, "
        f"{encoder.metadata['encoder']} ({encoder.metadata['architecture']}), {pairs.name}"
    )
    if done.kept:
        print(f"of {counted(done.kept + done.computed, 'batch', 'batches')}, there from an earlier run: {done.kept}")
    for note in done.notes:
        terminal.say(f"note: {note}")
