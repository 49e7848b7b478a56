"""Data sets as (image, caption) pairs with classes and environments.

`open_pairs` takes `embedded:high` or `embedded:low`, COCO and CUB-200-2011 as they are distributed, and any folder with
`captions.csv` or `captions.jsonl`.  Environments of COCO and CUB are versioned lists shipped beside this file.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...theory.errors import InputError
from .coco import coco_pairs, coco_splits
from .cub import cub_pairs, cub_root
from .embedded import embedded_pairs
from .folder import LISTS, folder_pairs
from .pairs import Pairs

__all__ = ["Pairs", "coco_pairs", "cub_pairs", "embedded_pairs", "folder_pairs", "open_pairs"]


def open_pairs(data: str, *, split: str | None = None, captions: Path | None = None) -> Pairs:
    """The pairs of a data set, its layout recognised by its files.

    Args:
        data: `embedded:high`, `embedded:low`, or a folder.
        split: of COCO or CUB.
        captions: JSONL captions for CUB.

    Raises:
        InputError: no such folder, no layout that is known, an option this data set does not have, or what its reader raises.
    """
    folder = Path(data)
    kind = _kind(data, folder)
    if (split is not None and kind not in ("coco", "cub")) or (captions is not None and kind != "cub"):
        raise InputError(
            f"{data}: {'captions' if captions else 'split'} given, but this is a data set of kind {kind!r}",
            expected="a split for COCO and CUB, captions for CUB", fix="leave the option out",
        )  # fmt: skip
    if kind == "embedded":
        return embedded_pairs(data.removeprefix("embedded:"))
    if kind == "coco":
        return coco_pairs(folder, split)
    return cub_pairs(folder, split, captions) if kind == "cub" else folder_pairs(folder)


def _kind(data: str, folder: Path) -> str:
    if data.startswith("embedded:"):
        return "embedded"
    if not os.path.isdir(folder):  # unlike `Path.is_dir`, it takes a name too long for any folder
        raise _unknown(data, "a file" if os.path.isfile(folder) else "no such folder")
    if any((folder / name).is_file() for name in LISTS):
        return "folder"
    if coco_splits(folder):
        return "coco"
    if cub_root(folder) is not None:
        return "cub"
    raise _unknown(data, "no known layout in this folder")


def _unknown(data: str, what: str) -> InputError:
    return InputError(
        f"{data}: {what}",
        expected="embedded:high, embedded:low, or a folder with captions.csv or captions.jsonl, with COCO's annotations/, "
        "or with CUB's images.txt, image_class_labels.txt and classes.txt",
        causes=("a typing error", "the folder above or below the right one"),
        fix="list the pictures in captions.csv: file,caption,label,environment",
    )
