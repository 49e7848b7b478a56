"""Tables from computed results: read by name, checked as figures are, written as JSON and Markdown."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ..theory.errors import unknown_name
from .results import Data, caption

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class BuiltTable:
    """One table, computed.

    Args:
        name: of its file.
        data: with `columns` and `rows`.
        caption: filled from the data; `template`: before.
    """

    name: str
    data: Data
    caption: str
    template: str

    @property
    def columns(self) -> list[str]:
        return list(self.data["columns"])

    @property
    def rows(self) -> list[list[Any]]:
        return [list(row) for row in self.data["rows"]]

    @property
    def printed(self) -> list[list[str]]:
        return [[cell(x) for x in row] for row in self.rows]

    def record(self) -> dict[str, Any]:
        return {"table": self.name, "caption": self.caption, **self.data.to_json()}

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.printed]
        body = "\n".join("| " + " | ".join(x.replace("|", "\\|") for x in line) + " |" for line in lines)
        return f"{body}\n\n{self.caption} ({self.data.provenance.line()})\n"


class Quoted(float):
    """A number with the digits that its source gives it."""

    text: str

    def __new__(cls, text: str) -> Quoted:
        out = super().__new__(cls, text)
        out.text = text
        return out


def cell(value: Any) -> str:
    """A cell as printed: three significant digits, or as quoted; `0.1 to 0.2` for the ends of a range, nothing for None."""
    if isinstance(value, Quoted):
        return value.text
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return " to ".join(cell(x) for x in value)
    return str(value)


@cache
def registry() -> tuple[str, ...]:
    """Names of all tables."""
    return tuple(sorted(path.stem for path in TABLES.glob("*.py") if not path.stem.startswith("_")))


def module(name: str) -> ModuleType:
    """The file of a table.

    Raises:
        InputError: no such table.
    """
    if name not in registry():
        raise unknown_name(f"no table {name!r}", name, registry(), fix="`crossmodal paper` makes them all")
    return importlib.import_module(f"{__package__}.tables.{name}")


def make(name: str, features: Any, seed: int) -> BuiltTable:
    """Compute one table.

    Raises:
        InputError: no such table, or features that do not allow it.
        ValueError: rows of unequal length, a cell that is no data, a caption without provenance.
    """
    source = module(name)
    data: Data = source.compute(features, seed)
    wrong = [row for row in data["rows"] if len(row) != len(data["columns"])]
    if wrong:
        raise ValueError(
            f"table {name}: a row of {len(wrong[0])} cells under {len(data['columns'])} columns: {wrong[0]}"
        )
    return BuiltTable(name, data, caption(source.CAPTION, data), source.CAPTION)


def write(built: BuiltTable, output: Path) -> list[Path]:
    """The table as `NAME.json` and `NAME.md`."""
    from .build import write_bytes

    text = json.dumps(built.record(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return [
        write_bytes(output / f"{built.name}.json", text.encode()),
        write_bytes(output / f"{built.name}.md", built.markdown().encode()),
    ]
