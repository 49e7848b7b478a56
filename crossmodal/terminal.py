"""Tables and progress bars: rich on a terminal, plain text in a pipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
COLOURS = {"PROVED": "green", "REFUTED": "magenta", "UNDECIDED": "yellow"}


def verdict(text: str) -> Text:
    return Text(text, style=COLOURS.get(text, ""))


def table(title: str, columns: list[tuple[str, str]], rows: list[list[Any]], *, titled: bool = False) -> None:
    """Print a table; in a pipe, tab-separated lines with a header, and the title (as a comment) where `titled`."""
    if not console.is_terminal:
        if titled:
            print(f"# {title}")
        print("\t".join(name for name, _ in columns))
        for row in rows:
            print("\t".join(str(cell) for cell in row))
        return
    out = Table(title=Text(title), title_justify="left", header_style="bold", expand=False)
    for name, justify in columns:
        out.add_column(Text(name), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        out.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))  # brackets are no markup
    console.print(out)


def progress() -> Progress:
    """A progress bar on the error stream, gone when done; silent in a pipe."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=errors, transient=True, disable=not errors.is_terminal,
    )  # fmt: skip


def write_json(path: Path, data: Any) -> None:
    """To a file, whole or not at all; `-` prints."""
    from crossmodal.theory.files import write_whole

    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    if str(path) == "-":
        print(text, end="")
    else:
        write_whole(path, text)
