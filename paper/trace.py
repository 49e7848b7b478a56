"""Where a number of the paper comes from: `python -m crossmodal.paper.trace NUMBER [FOLDER]`.

The build writes `numbers.json`: every number that a caption quotes or a table holds, as printed, with the figure or table, the field
of its data, the claims or experiments evaluated, the hash of the features, the seed and the version.
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
from .tabular import cell

if TYPE_CHECKING:
    from .build import Built
    from .tabular import BuiltTable

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


def table_numbers(tables: Sequence[BuiltTable]) -> list[dict[str, Any]]:
    """Every number in the cells and captions of the tables."""
    found = []
    for table in tables:
        origin = table.data.to_json()["provenance"]
        for row, printed in zip(table.rows, table.printed, strict=True):
            for column, raw in zip(table.columns, row, strict=True):
                ends = raw if isinstance(raw, list | tuple) else [raw]
                numeric = [
                    end for end in ends if isinstance(end, int | float) and not isinstance(end, bool) and cell(end)
                ]
                field = f"{column}, {printed[0]}"
                found += [{"number": cell(end), "figure": table.name, "field": field, **origin} for end in numeric]
        for name, spec in quoted(table.template):
            text = f"{table.data[name]:{spec}}"
            if re.search(r"\d", text):
                found.append({"number": text, "figure": table.name, "field": name, **origin})
    return found


def dumps(figures: Sequence[Built], tables: Sequence[BuiltTable] = ()) -> str:
    return json.dumps(numbers(figures) + table_numbers(tables), indent=1, ensure_ascii=False) + "\n"


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
        raise InputError(f"no number {number!r} in the captions and tables of {folder}", expected="a number as it is printed",
                         fix="copy it from the page, with all its digits")  # fmt: skip
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
