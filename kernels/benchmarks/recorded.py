"""The recorded benchmark results that ship with the package, read back as numbers."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LATEST = "epyc"  # whose files are of the code as it is


def recorded(item: str, *, folder: str = LATEST, device: str = "cpu") -> list[dict[str, Any]]:
    """Rows of one item's file: numbers as float, empty cells left out, "True" and "False" as bool.

    Args:
        item: such as ``k1`` or ``k1-curve``.
        folder: of a machine, for the threads that its target names; or its ``two-threads``.

    Returns:
        one row a contender (or a size, for a curve); empty where nothing was recorded.
    """
    path = RESULTS / folder / f"{device}-{item}.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: parsed(text) for key, text in row.items() if text != ""} for row in csv.DictReader(file)]


def folders() -> list[str]:
    """Machines, the latest first, each followed by its ``two-threads`` where recorded."""
    found = {path.parent.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.csv")}
    return sorted(found, key=lambda name: (name.split("/")[0] != LATEST, name.split("/")))


def items(*, folder: str = LATEST, device: str = "cpu") -> list[str]:
    """Names of the items with a file, curves left out."""
    names = (path.stem.removeprefix(f"{device}-") for path in (RESULTS / folder).glob(f"{device}-*.csv"))
    return sorted(name for name in names if not name.endswith("-curve"))


def content_hash() -> str:
    """sha256 (hex) of all recorded files."""
    digest = hashlib.sha256()
    for path in sorted(RESULTS.rglob("*.csv")):
        digest.update(path.relative_to(RESULTS).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def parsed(text: str) -> float | bool | str:
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text
