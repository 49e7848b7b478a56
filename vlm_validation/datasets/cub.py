"""CUB-200-2011 as distributed: `images/` and its text files, in five environments by taxonomy.

CUB has no captions of its own.  They are made from class names by a template, or read from a JSONL file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...theory.errors import InputError, counted
from .folder import jsonl_rows, text_lines
from .lists import environment_list
from .pairs import Pairs, from_files, require_files

TEMPLATE = "a photo of a {}, a type of bird."
FILES = ("images.txt", "image_class_labels.txt", "classes.txt")
# The rule behind cub_environments.json: a class belongs to the first environment that names one of its ancestors.
TAXA: dict[str, tuple[str, ...]] = {
    "water birds": ("Procellariiformes", "Anseriformes", "Charadriiformes", "Gaviiformes", "Suliformes",
                    "Pelecaniformes", "Podicipediformes"),
    "other non-passerines": ("Coraciiformes", "Cuculiformes", "Caprimulgiformes", "Trochiliformes", "Piciformes"),
    "wood warblers": ("Parulidae",),
    "other Passeroidea": ("Passeroidea",),
    "other passerines": ("Passeriformes",),
}  # fmt: skip


def cub_root(folder: Path) -> Path | None:
    """The folder with CUB's text files: `folder`, `folder/CUB_200_2011`, or None."""
    places = (folder, folder / "CUB_200_2011")
    return next((place for place in places if all((place / name).is_file() for name in FILES)), None)


def cub_pairs(folder: Path, split: str | None = None, captions: Path | None = None) -> Pairs:
    """CUB's images in order of their ids, labels 0 to 199.

    Args:
        folder: with `images.txt`, or its parent.
        split: "train" or "test" (by `train_test_split.txt`); all images where left out.
        captions: a JSONL file with `image_id` (as in `images.txt`) and `caption`; the first caption of an image counts.
            Where left out, `TEMPLATE` with the class name is the caption.

    Raises:
        InputError: files missing or not understood, another class list, missing pictures or captions, what `Pairs` raises.
    """
    root = cub_root(folder)
    if root is None:
        raise InputError(
            f"{folder}: no {' and '.join(FILES)}",
            expected="CUB_200_2011 as distributed",
            causes=("the archive is not unpacked whole",),
            fix="unpack it again, and name the folder of images.txt",
        )
    listed = environment_list("cub")
    names, home = _class_list(_columns(root / "classes.txt"), listed, root)
    files, labels = _columns(root / "images.txt"), _columns(root / "image_class_labels.txt")
    _same_images(files, labels, root / "image_class_labels.txt", "class")
    kept = sorted(files)
    if split is not None:
        if split not in ("train", "test"):
            raise InputError(f"{root}: split {split!r}", expected="'train' or 'test'", fix="--split test")
        training = _columns(root / "train_test_split.txt")
        _same_images(files, training, root / "train_test_split.txt", "split")
        kept = [image for image in kept if (training.get(image) == "1") == (split == "train")]
    missing = [image for image in kept if not _is_number(labels[image]) or not 1 <= int(labels[image]) <= len(names)]
    if missing:
        raise InputError(
            f"{root / 'image_class_labels.txt'}: no class for image {missing[0]}", expected=f"a class from 1 to {len(names)}",
            causes=("a file that was cut short",), fix="unpack the archive again",
        )  # fmt: skip
    label = np.array([int(labels[image]) - 1 for image in kept], dtype=np.int64)
    astray = [image for image, k in zip(kept, label, strict=True) if not files[image].startswith(f"{names[k]}/")]
    if astray:
        raise InputError(
            f"{root / 'image_class_labels.txt'}: image {astray[0]} is of class {labels[astray[0]]}, and its file is {files[astray[0]]!r}",
            expected="files in folders named by their classes, as CUB distributes them",
            causes=("a file that was cut short within a number", "labels edited by hand"), fix="unpack the archive again",
        )  # fmt: skip
    titles = tuple(name.split(".", 1)[-1].replace("_", " ") for name in names)
    texts = {image: TEMPLATE.format(titles[k]) for image, k in zip(kept, label, strict=True)}
    if captions is not None:
        texts = _captions(captions, kept)
    paths = [root / "images" / files[image] for image in kept]
    require_files(paths, root / "images.txt")
    origin = f"the template '{TEMPLATE}'" if captions is None else f"the first of each image in {captions.name}"
    return Pairs(
        "CUB-200-2011" + (f", {split}" if split else ""), [texts[image] for image in kept], home[label], label,
        np.array(kept, dtype=np.int64), tuple(group["name"] for group in listed["environments"]), titles,
        *from_files(paths), template=TEMPLATE,
        metadata={"data": f"CUB-200-2011 {split or 'all images'}", "caption": origin,
                  "environments": f"cub_environments.json, version {listed['version']}"},
        notes=() if captions else ("captions are made from class names: all images of a class share one text",),
    )  # fmt: skip


def taxonomic_environments(parent_child: Path, names: Path, classes: Path) -> dict[str, Any]:
    """What `cub_environments.json` holds, derived from a tree of taxa by the rule `TAXA`.

    Args:
        parent_child: lines "parent child" of numbers; leaves are the classes 1 to 200.
        names: lines "number taxon".
        classes: CUB's `classes.txt`.

    Raises:
        InputError: a file is missing, a class without exactly one line of ancestors, or without environment.
    """
    parents: dict[int, int] = {}
    for number, line in enumerate(_lines(parent_child), 1):
        pair = line.split()
        if len(pair) != 2 or not all(map(_is_number, pair)) or int(pair[1]) in parents:
            raise InputError(f"{parent_child}, line {number}: {line!r}", expected="'parent child', one parent a child")
        parents[int(pair[1])] = int(pair[0])
    taxon, titles = _columns(names), _columns(classes)
    members: dict[str, list[list[Any]]] = {name: [] for name in TAXA}
    for number, title in sorted(titles.items()):
        above: list[str] = []
        node = number
        while node in parents and len(above) < len(parents):  # a loop in the tree ends too
            node = parents[node]
            above.append(taxon.get(node, "").strip())
        chosen = next((name for name, taxa in TAXA.items() if set(above) & set(taxa)), None)
        if chosen is None:
            raise InputError(
                f"{parent_child}: class {title} has the ancestors {above[:8]}",
                expected="one of the taxa of cub.TAXA", causes=("another taxonomy",), fix="use the Wikispecies tree",
            )  # fmt: skip
        members[chosen].append([number, title])
    return {
        "version": 1, "data set": "CUB-200-2011",
        "rule": "a class belongs to the first environment that names one of its ancestors in the Wikispecies taxonomy",
        "source": "derived by cub.taxonomic_environments from the tree of cvjena/semantic-embeddings (MIT), commit 0d417742",
        "environments": [{"name": name, "taxa": list(TAXA[name]), "classes": members[name]} for name in TAXA],
    }  # fmt: skip


def _class_list(found: dict[int, str], listed: dict[str, Any], root: Path) -> tuple[list[str], np.ndarray]:
    """Class names in order of their numbers, and the environment of each; they must be those of the list."""
    wanted = {number: (name, k) for k, group in enumerate(listed["environments"]) for number, name in group["classes"]}
    wrong = [number for number in sorted(found.keys() | wanted) if found.get(number) != wanted.get(number, ("", 0))[0]]
    if wrong:
        raise InputError(
            f"{root / 'classes.txt'}: class {wrong[0]} is {found.get(wrong[0])!r}",
            expected=f"{wanted.get(wrong[0], ('no such class', 0))[0]!r}, the class list of CUB-200-2011",
            causes=("a subset or another edition of CUB",),
            fix="use the official archive, or list your subset in captions.csv (see folder.py)",
        )
    numbers = sorted(wanted)
    return [wanted[number][0] for number in numbers], np.array([wanted[number][1] for number in numbers])


def _captions(path: Path, kept: list[int]) -> dict[int, str]:
    texts: dict[str, str] = {}
    for row in jsonl_rows(path, ("image_id", "caption")):
        texts.setdefault(row["image_id"], row["caption"])
    missing = [image for image in kept if str(image) not in texts]
    if missing:
        raise InputError(
            f"{path}: no caption for {len(missing)} of {counted(len(kept), 'image')}, the first {missing[0]}",
            expected="image_id as in images.txt, for every image", causes=("captions of another split",),
            fix="--split train or --split test, or add the captions",
        )  # fmt: skip
    return {image: texts[str(image)] for image in kept}


def _same_images(files: dict[int, str], told: dict[int, str], path: Path, what: str) -> None:
    """A list that was cut short between two lines lacks images that another has."""
    apart = sorted(files.keys() ^ told.keys())
    if apart:
        raise InputError(
            f"{path}: no {what} for image {apart[0]}" if apart[0] in files else f"{path}: image {apart[0]} is not in images.txt",
            expected="the same images in all of CUB's lists", causes=("a file that was cut short",), fix="unpack the archive again",
        )  # fmt: skip


def _is_number(text: str) -> bool:
    """Digits that int() takes: not a superscript, and not thousands of them."""
    return text.isdecimal() and len(text) < 19


def _columns(path: Path) -> dict[int, str]:
    """Number -> the rest of its line."""
    found: dict[int, str] = {}
    for number, line in enumerate(_lines(path), 1):
        first, _, rest = line.partition(" ")
        if not _is_number(first) or not rest:
            raise InputError(f"{path}, line {number}: {line!r}", expected="a number, a blank and a text")
        if int(first) in found:
            raise InputError(f"{path}, line {number}: {first} a second time", expected="every number once")
        found[int(first)] = rest
    return found


def _lines(path: Path) -> list[str]:
    try:
        with open(path, encoding="utf-8") as handle:
            return [line.rstrip("\r\n") for line in text_lines(handle, path) if line.strip()]
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}", expected="the file as CUB distributes it", fix="unpack the archive again"
        ) from None
