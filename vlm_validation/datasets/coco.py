"""COCO as distributed: `val2017/`, `annotations/captions_val2017.json` and `instances_val2017.json`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...theory.errors import InputError, counted
from .lists import environment_list, read_json
from .pairs import Pairs, from_files, require_files


def coco_splits(root: Path) -> list[str]:
    """The splits whose captions lie under `root/annotations`."""
    return sorted(path.stem.removeprefix("captions_") for path in root.glob("annotations/captions_*.json"))


def coco_pairs(root: Path, split: str | None = None) -> Pairs:
    """The images of a split in order of their ids, each with its first caption by annotation id.

    The label is the supercategory with the largest total area of boxes, crowds left out; environments are groups of
    supercategories (`coco_environments.json`).  Images without a caption or a box are left out, and counted in `notes`.

    Args:
        root: the folder with `annotations/`.
        split: such as "val2017"; may be left out where there is one only.

    Raises:
        InputError: no such split, broken or foreign JSON, an unknown supercategory, missing pictures, and what `Pairs` raises.
    """
    splits = coco_splits(root)
    if split is None and len(splits) == 1:
        split = splits[0]
    if split not in splits:
        raise InputError(
            f"{root}: split {split!r}", expected=f"one of {', '.join(splits)}", causes=("several splits in one folder",),
            fix=f"--split {splits[0] if splits else 'val2017'}",
        )  # fmt: skip
    listed = environment_list("coco")
    groups = listed["environments"]
    names = tuple(name for group in groups for name in group["supercategories"])
    home = {name: k for k, group in enumerate(groups) for name in group["supercategories"]}
    captions_path, instances_path = (
        root / "annotations" / f"{part}_{split}.json" for part in ("captions", "instances")
    )
    described = read_json(captions_path, ("images", "annotations"), "COCO captions: images and annotations")
    caption = _guarded(_first_captions, described, captions_path)
    files = _guarded(
        lambda found: _once((_whole(x["id"]), str(x["file_name"])) for x in found["images"]), described, captions_path
    )
    keys = ("categories", "annotations")
    boxed = read_json(instances_path, keys, "COCO instances: categories and annotations")
    label = _guarded(lambda found: _labels(found, names), boxed, instances_path)
    kept = sorted(image for image in files if image in caption and image in label)
    notes = [
        f"left out, for they have no {what}: {count} of {counted(len(files), 'image')}"
        for what, count in (("caption", len(files.keys() - caption)), ("box outside crowds", len(files.keys() - label)))
        if count
    ]
    paths = [root / split / files[image] for image in kept]
    require_files(paths, captions_path)
    return Pairs(
        f"COCO {split}", [" ".join(caption[image].split()) for image in kept],
        np.array([home[names[label[image]]] for image in kept]), np.array([label[image] for image in kept]),
        np.array(kept, dtype=np.int64), tuple(group["name"] for group in groups), names, *from_files(paths),
        metadata={"data": f"COCO {split}", "caption": "the first by annotation id", "label": listed["rule"],
                  "environments": f"coco_environments.json, version {listed['version']}"},
        notes=tuple(notes),
    )  # fmt: skip


def _guarded(read: Any, found: dict[str, Any], path: Path) -> Any:
    try:
        return read(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: an entry cannot be understood ({type(error).__name__}: {error})",
            expected="entries as COCO distributes them",
            causes=("annotations in another format", "a file edited by hand"), fix="name the official file",
        ) from None  # fmt: skip


def _whole(value: Any) -> int:
    """An id; int() alone would take 1.7 for 1, and true."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is no id")
    return value


def _once(entries: Iterable[tuple[int, Any]]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for key, value in entries:
        if key in found:
            raise ValueError(f"the id {key} twice")
        found[key] = value
    return found


def _first_captions(found: dict[str, Any]) -> dict[int, str]:
    first: dict[int, tuple[int, str]] = {}
    for note in found["annotations"]:
        image, entry = _whole(note["image_id"]), (_whole(note["id"]), str(note["caption"]))
        first[image] = min(first.get(image, entry), entry)
    return {image: text for image, (_, text) in first.items() if text.strip()}


def _labels(found: dict[str, Any], names: tuple[str, ...]) -> dict[int, int]:
    """Image id -> index of its supercategory in `names`."""
    place = {name: k for k, name in enumerate(names)}
    unknown = sorted({str(kind["supercategory"]) for kind in found["categories"]} - set(names))
    if unknown:
        raise ValueError(f"supercategories {', '.join(unknown)} belong to no environment")
    supercategory = _once((_whole(kind["id"]), place[kind["supercategory"]]) for kind in found["categories"])
    area: dict[int, np.ndarray] = {}
    for box in found["annotations"]:
        if box.get("iscrowd"):
            continue
        _, _, width, height = map(float, box["bbox"])
        if not (0 <= width < np.inf and 0 <= height < np.inf):
            raise ValueError(f"a box of {width:g} x {height:g}")
        total = area.setdefault(_whole(box["image_id"]), np.zeros(len(names)))
        total[supercategory[_whole(box["category_id"])]] += width * height
    return {image: int(total.argmax()) for image, total in area.items() if total.any()}
