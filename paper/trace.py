"""Where a number of the paper comes from: `python -m crossmodal.paper.trace NUMBER [FOLDER]`.

The build writes `numbers.json`: every number that a caption quotes, as printed, with the figure, the field of its data, the
claims or experiments evaluated, the hash of the features, the seed and the version.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..theory.errors import InputError
from .results import quoted

if TYPE_CHECKING:
    from .build import Built

FILE = "numbers.json"


def numbers(figures: Sequence[Built]) -> list[dict[str, Any]]:
    """Every number quoted in the captions, with its origin, in the order of the figures."""
    found = []
    for figure in figures:
        origin = figure.data.to_json()["provenance"]
        for name, spec in quoted(figure.template):
            text = f"{figure.data[name]:{spec}}"
            if re.search(r"\d", text):
                found.append({"number": text, "figure": figure.name, "field": name, **origin})
    return found


def dumps(figures: Sequence[Built]) -> str:
    return json.dumps(numbers(figures), indent=1, ensure_ascii=False) + "\n"


def trace(number: str, folder: Path) -> list[dict[str, Any]]:
    """The origins of a number as it is printed.

    Raises:
        InputError: nothing was built in the folder, or no such number is in the paper.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f"{path}: no such file", expected="a folder with a built paper", fix="`crossmodal paper` builds it"
        )
    known = json.loads(path.read_text(encoding="utf-8"))
    found = [entry for entry in known if entry["number"] == number]
    if not found:
        raise InputError(f"no number {number!r} in the captions of {folder}", expected="a number as it is printed",
                         fix="copy it from the caption, with all its digits")  # fmt: skip
    return found


def line(entry: dict[str, Any]) -> str:
    """One origin as text."""
    measured = f"; features {entry['features'][:12]} ({entry['features_source']})" if entry["features"] else ""
    return (
        f"{entry['number']}: {entry['field']} of {entry['figure']}, from {', '.join(entry['sources'])}{measured}; "
        f"seed {entry['seed']}; crossmodal {entry['version']}"
    )


def main(arguments: Sequence[str]) -> int:
    """Print the origins; 2 for a number or folder that is not there."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m crossmodal.paper.trace NUMBER [FOLDER]", file=sys.stderr)
        return 2
    try:
        for entry in trace(arguments[0], Path(arguments[1] if len(arguments) > 1 else "paper/build")):
            print(line(entry))
    except InputError as error:
        print(f"crossmodal: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
