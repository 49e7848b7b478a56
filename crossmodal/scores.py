"""`crossmodal scores`."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backend_bases import FigureCanvasBase

from crossmodal.theory.claims.s7_finite_samples import sample_size
from crossmodal.theory.errors import InputError, counted
from crossmodal.theory.files import write_whole
from crossmodal.vlm_validation.features import load_features
from crossmodal.vlm_validation.score_figure import draw_scores
from crossmodal.vlm_validation.scores import Scores, estimate_scores
from crossmodal.vlm_validation.sweeps.shards import shard_files, shard_scores

from . import terminal

TARGET = 0.1  # half-width for which the number of pairs is told
DIRECTIONS = {"II": "image -> image", "IT": "image -> text", "TI": "text -> image", "TT": "text -> text"}


def scores(
    files: tuple[Path, ...], normalise: bool, delta: float, json_path: Path | None, figure: Path | None, workers: int,
    cluster: str | None,
) -> int:  # fmt: skip
    """Print the four score matrices; write JSON and the heatmaps.

    Returns:
        The exit status: 1 where shards were set aside, so that the result speaks of the rest alone.
    """
    stem = "shards" if len(files) > 1 else files[0].resolve().stem
    json_path = json_path or Path(f"{stem}.scores.json")
    figure = figure or Path(f"{stem}.scores.png")
    known = {f".{name}" for name in FigureCanvasBase.filetypes}
    if figure.suffix and figure.suffix not in known:
        raise InputError(f"--figure {figure}: a picture of type {figure.suffix}", expected=f"one of {', '.join(sorted(known))}",
                         fix=str(figure.with_suffix(".png")))  # fmt: skip
    shards = len(files) > 1 or files[0].is_dir() or workers != 1 or cluster is not None
    if shards:
        found = shard_scores(
            shard_files(files), delta=delta, normalise=normalise, workers=workers, dask=cluster,
            say=lambda message: terminal.say(message, file=sys.stderr),
        )  # fmt: skip
    else:
        with terminal.progress() as bar:
            task = bar.add_task("reading features", total=None)
            features = load_features(files[0], normalise=normalise)
            bar.update(task, description="environments", total=len(features.environments))
            found = estimate_scores(features, delta=delta, progress=lambda: bar.advance(task))
    # first, for a reader such as `head` may close the pipe that is printed into
    terminal.write_json(json_path, found.to_dict())
    missing = save_figure(figure, draw_scores(found))
    if str(json_path) != "-":
        _print(found, delta)
        if shards:
            print(f"{counted(len(found.provenance['shards']), 'shard')}, {counted(int(found.counts.sum()), 'pair')}")
        for note in found.provenance["notes"]:
            terminal.say(f"note: {note}")
        print(f"wrote {json_path} and {figure}")
    if missing:
        terminal.say(f"note: {figure} shows boxes where its font lacks a character: {missing}", file=sys.stderr)
    return int(bool(found.provenance.get("set_aside")))


def _print(found: Scores, delta: float) -> None:
    for key, title in DIRECTIONS.items():
        print_matrix(f"Con {title} (rows: s, columns: t)", found, found.unbiased[key], 1.96 * found.standard_error[key])
    rows = [
        [name, n, f"{clv:.3f} +- {width:.3f}"]
        for name, n, clv, width in zip(
            found.names, found.counts, found.clv, 1.96 * found.clv_standard_error, strict=True
        )
    ]
    terminal.table(
        "alignment within each environment", [("environment", "left"), ("pairs", "right"), ("CLV", "right")], rows
    )
    widest = max(float(w.max()) for w in found.half_width.values())
    between = ""
    if len(found.names) > 1:  # one environment alone has no score off the diagonal
        between = f"; between environments +- {TARGET:g} takes {sample_size(TARGET, found.delta_each)} pairs of each"
        print(
            f"dispersion sigma_I {found.sigma_I:.4f}, sigma_T {found.sigma_T:.4f}: standard deviations of the off-diagonal scores"
        )
    print(
        "means over all pairs, on the diagonals over those of different samples (the JSON's con_within; its con has every sample meet itself "
        "as well); +- is 1.96 standard errors (95 %, large samples).  Distribution-free intervals (claim S7, "
        f"{100 * (1 - delta):g} %, in the JSON) reach +- {widest:.2f}{between}"
    )


def print_matrix(title: str, found: Scores, matrix: np.ndarray, width: np.ndarray) -> None:
    columns = [("", "left"), *((name, "right") for name in found.names)]
    rows = [
        [name, *(f"{v:.3f} +- {w:.3f}" for v, w in zip(values, widths, strict=True))]
        for name, values, widths in zip(found.names, matrix, width, strict=True)
    ]
    terminal.table(title, columns, rows)


def save_figure(path: Path, figure: Any) -> str:
    """Write a figure whole or not at all, without a date in it.

    Returns:
        The characters that its font lacks.
    """
    image, suffix = io.BytesIO(), path.suffix or ".png"
    without_date = {"Date": None} if suffix in (".svg", ".ps") else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="Glyph .* missing")
        figure.savefig(image, dpi=200, format=suffix.removeprefix("."), metadata=without_date)
    write_whole(path, image.getvalue())
    codes = [int(str(w.message).split()[1]) for w in caught if str(w.message).startswith("Glyph ")]
    return "".join(dict.fromkeys(map(chr, codes)))
