"""A folder of pictures with `captions.csv` or `captions.jsonl`: file, caption, label, environment."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...theory.errors import InputError, counted
from .pairs import Pairs, from_files, require_files

FIELDS = ("file", "caption", "label", "environment")
LISTS = ("captions.csv", "captions.jsonl")


def folder_pairs(folder: Path) -> Pairs:
    """The pairs a folder lists, in the order of its list; names get their ids in order of first appearance.

    Args:
        folder: with `captions.csv` (a header with `file,caption,label,environment`) or `captions.jsonl` (an object with
            these fields a line); `file` is relative to the folder.

    Raises:
        InputError: no list or two, a field missing, a broken line, missing pictures, and what `Pairs` raises.
    """
    lists = [folder / name for name in LISTS if (folder / name).is_file()]
    if len(lists) != 1:
        raise InputError(
            f"{folder}: {'both' if lists else 'neither'} of {' and '.join(LISTS)}",
            expected=f"one list, with {', '.join(FIELDS)}", fix="keep one of them",
        )  # fmt: skip
    rows = list(_csv_rows(lists[0]) if lists[0].suffix == ".csv" else jsonl_rows(lists[0], FIELDS))
    paths = [folder / row["file"] for row in rows]
    require_files(paths, lists[0])
    environments, environment_names = _numbered([row["environment"] for row in rows])
    labels, label_names = _numbered([row["label"] for row in rows])
    repeated, unlisted = len(rows) - len(set(map(os.path.abspath, paths))), _unlisted(paths)
    notes = [f"{counted(repeated, 'row')} with a picture of another row"] if repeated else []
    if unlisted:
        notes.append(f"left out, without a row in {lists[0].name}: {counted(unlisted, 'picture')}")
    return Pairs(
        str(folder), [row["caption"] for row in rows], environments, labels, np.array([row["file"] for row in rows]),
        environment_names, label_names, *from_files(paths), metadata={"data": f"folder with {lists[0].name}"},
        notes=tuple(notes),
    )  # fmt: skip


def jsonl_rows(path: Path, fields: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The objects of a JSONL file, each of `fields` as a text without blanks around it, as in a CSV file.

    Raises:
        InputError: a line that is not an object, or lacks a field, leaves one empty or has another value there.
    """
    with open(path, encoding="utf-8-sig") as handle:
        for number, line in enumerate(text_lines(handle, path), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _broken(path, number, f"not JSON ({error})", fields) from None
            if not isinstance(row, dict):
                raise _broken(path, number, f"a JSON {type(row).__name__}", fields)
            missing = [name for name in fields if row.get(name) is None]
            if missing:
                raise _broken(path, number, f"no {', '.join(missing)}", fields)
            for name in fields:
                if not isinstance(row[name], (str, int)) or isinstance(row[name], bool):
                    raise _broken(
                        path, number, f"{name} is {json.dumps(row[name])[:60]}, no text and no whole number", fields
                    )
            yield _filled({name: str(row[name]).strip() for name in fields}, path, number)


def text_lines(handle: Any, path: Path) -> Iterator[str]:
    """Lines of a text file.

    Raises:
        InputError: the file is not UTF-8.
    """
    try:
        yield from handle
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start})", expected="a text file in UTF-8",
            causes=("a spreadsheet's export in another encoding",), fix="save it as UTF-8",
        ) from None  # fmt: skip


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(text_lines(handle, path), strict=True)
        try:
            missing = [name for name in FIELDS if name not in (reader.fieldnames or ())]
            if missing:
                raise _broken(path, 1, f"the header lacks {', '.join(missing)}", FIELDS)
            for row in reader:
                if None in row or any(row[name] is None for name in FIELDS):
                    raise _broken(path, reader.line_num, "more or fewer cells than the header", FIELDS)
                yield _filled({name: row[name].strip() for name in FIELDS}, path, reader.line_num)
        except csv.Error as error:
            raise _broken(path, reader.line_num, str(error), FIELDS) from None


def _filled(row: dict[str, str], path: Path, line: int) -> dict[str, str]:
    """The row, where nothing but its caption is empty (`Pairs` explains that)."""
    empty = [name for name, text in row.items() if name != "caption" and not text.strip()]
    if empty:
        raise _broken(path, line, f"{', '.join(empty)} is empty", tuple(row))
    return row


def _broken(path: Path, line: int, what: str, fields: tuple[str, ...]) -> InputError:
    return InputError(
        f"{path}, line {line}: {what}", expected=f"the fields {', '.join(fields)}",
        causes=("a comma in a caption without quotes around it", "cells parted by semicolons or tabs")
        if path.suffix == ".csv" else ("a line cut in two", "a value of another type"),
        fix="correct the line",
    )  # fmt: skip


def _unlisted(paths: list[Path]) -> int:
    """Files in the folders of the listed pictures, with a suffix of theirs, that are not listed."""
    listed, suffixes = {os.path.abspath(path) for path in paths}, {path.suffix.lower() for path in paths} - {""}
    folders = {os.path.dirname(path) for path in listed}
    names = (os.path.join(folder, name) for folder in folders for name in os.listdir(folder))
    return sum(os.path.splitext(name)[1].lower() in suffixes and name not in listed for name in names)


def _numbered(names: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    order = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], dtype=np.int64), tuple(order)
