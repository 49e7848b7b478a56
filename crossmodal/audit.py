"""`crossmodal audit`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossmodal.theory.errors import InputError, counted
from crossmodal.vlm_validation.audit import audit as run_audit
from crossmodal.vlm_validation.audit import make_run, read_head, steps
from crossmodal.vlm_validation.containers import SUFFIXES
from crossmodal.vlm_validation.features import Features, load_features

from . import terminal
from .audit_tables import report

SHAPE = (
    "projection_dim",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "patch_size",
    "image_size",
    "vocab_size",
)


def audit(
    files: Sequence[Path], heads: Sequence[Path], order: Sequence[str], fusion: str | None, p: float, q: float, tau: float | None, weight: float | None,
    normalise: bool, seed: int, json_path: Path | None, demo: bool, folder: Path | None, data: str | None = None,
) -> None:  # fmt: skip
    """Print the audit of a run, or write it as JSON; `tau` and `weight` None: the defaults of `make_run`, or of the demonstration."""
    check_options(files, heads, json_path, demo, folder, data, order, fusion)
    keep = nullcontext(str(folder)) if folder is not None else tempfile.TemporaryDirectory()
    with keep as place:
        if demo:
            from crossmodal.vlm_validation.audit.demo import ENVIRONMENTS, PROTOCOL, write_demo

            tau, weight = PROTOCOL.tau if tau is None else tau, PROTOCOL.weight if weight is None else weight
            protocol = replace(PROTOCOL, tau=tau, weight=weight)
            with terminal.progress() as bar:
                task = bar.add_task("training the demonstration", total=ENVIRONMENTS + 1)
                files, heads = write_demo(Path(place), protocol, seed=seed, advance=lambda: bar.advance(task))
        ends = tuple(read_head(path) for path in heads)
        if data is None:
            stages = [load_features(path, normalise=normalise) for path in files]
        else:
            stages = extracted(files, data, Path(place), normalise)
    given = {name: value for name, value in (("tau", tau), ("weight", weight)) if value is not None}
    run = make_run(stages, ends, order, fusion=fusion, p=p, q=q, **given)
    with terminal.progress() as bar:
        task = bar.add_task("auditing", total=steps(run))
        found = run_audit(run, seed=seed, advance=lambda: bar.advance(task))
    if json_path is not None:
        terminal.write_json(json_path, found.to_dict())
        if str(json_path) == "-":
            return
    report(found)


def check_options(
    files: Sequence[Path], heads: Sequence[Path], json_path: Path | None, demo: bool, folder: Path | None, data: str | None,
    order: Sequence[str], fusion: str | None,
) -> None:  # fmt: skip
    """Refuse what would only come to light after the work is done, and what would be ignored.

    Raises:
        InputError: files or what describes them beside --demo, nothing to keep in --folder, a checkpoint without --data, a place where no
            JSON can be written.
    """
    if demo and (files or heads or data is not None):
        raise InputError(
            "files, heads or --data beside --demo",
            expected="one or the other: --demo trains a run of its own",
            fix="leave --demo out to audit your files",
        )
    if demo and (order or fusion not in (None, "image")):
        raise InputError(
            f"--{'order' if order else 'fusion'} beside --demo",
            expected="a run of your own: the order of --demo is its training's, and its heads read the image alone",
            fix="leave it out",
        )
    if folder is not None and not (demo or data is not None):
        raise InputError(
            f"--folder {folder} without --demo or --data",
            expected="something to keep there: features files stay where they are",
            fix="leave --folder out",
        )
    if json_path is not None and json_path.parent.exists() and not json_path.parent.is_dir():
        raise InputError(
            f"{json_path.parent}: is a file", expected="a folder, there or to be created", fix="name another place"
        )
    for path in files if data is None else ():
        if path.is_dir() or str(path).startswith("embedded:"):
            raise InputError(
                f"{path}: a checkpoint, not a features file", expected="with checkpoints the data that is to go through them",
                fix="pass --data FOLDER (or --data embedded:high); see `crossmodal extract`",
            )  # fmt: skip


def extracted(models: Sequence[Path], data: str, folder: Path, normalise: bool) -> list[Features]:
    """Features of a data set through every checkpoint, in the order given; a features file among them is read as it is."""
    from crossmodal.vlm_validation.checkpoints import find_checkpoint
    from crossmodal.vlm_validation.datasets import open_pairs
    from crossmodal.vlm_validation.encoders import load_encoder
    from crossmodal.vlm_validation.extract import extract_features

    ready = {
        k: load_features(x, normalise=normalise)
        for k, x in enumerate(models)
        if x.suffix in SUFFIXES and not x.is_dir()
    }
    if len(ready) == len(models):
        raise InputError(f"--data {data}, and no checkpoint among {counted(len(models), 'file')}", expected="a checkpoint for the data to go through",
                         fix="leave --data out: features files are read as they are")  # fmt: skip
    same_architecture({str(x): find_checkpoint(str(x)) for k, x in enumerate(models) if k not in ready})
    pairs = open_pairs(data)
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for k, model in enumerate(models):
        if k not in ready:
            path = folder / f"stage_{k}.npz"
            try:
                extract_features(load_encoder(str(model)), pairs, path, say=terminal.errors.print)
            except InputError as error:
                if "--overwrite" not in error.fix:  # which `crossmodal extract` has
                    raise
                raise InputError(
                    error.found, expected=error.expected, causes=error.causes, fix="another --folder"
                ) from None
            ready[k] = replace(load_features(path, normalise=normalise), source=str(model))
        out.append(ready[k])
    return out


def same_architecture(checkpoints: dict[str, Any]) -> None:
    """Refuse checkpoints that cannot be stages of one run, before anything is extracted.

    Raises:
        InputError: another kind of model, or another number of layers, heads, patches, words or dimensions.
    """
    described = {name: shape_of(x) for name, x in checkpoints.items()}
    first = next(iter(described), "")
    for name, shape in described.items():
        for key in dict.fromkeys((*shape, *described[first])):  # the kind of model first
            if shape.get(key) != described[first].get(key):
                raise InputError(
                    f"{name}: another architecture, {key} {shape.get(key, 'unknown')}", expected=f"{described[first].get(key, 'none')}, that of {first}",
                    causes=("a checkpoint of another model",), fix="give the checkpoints of one run, in the order of its environments",
                )  # fmt: skip


def shape_of(checkpoint: Any) -> dict[str, Any]:
    """Kind and sizes of a checkpoint, by its config.json."""
    out = {"model_type": checkpoint.kind}
    for part in ("", "vision_config", "text_config"):
        config = checkpoint.config.get(part, {}) if part else checkpoint.config
        out |= {f"{part}.{key}".lstrip("."): config[key] for key in SHAPE if isinstance(config, dict) and key in config}
    return out
