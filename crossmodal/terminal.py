"""Tables and progress bars: rich on a terminal, plain text in a pipe."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)  # 'crossmodal[vlm]' is no markup
# a name in somebody's file must not steer the terminal
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}
SPACES = CONTROLS | str.maketrans("\t\r\n", "   ")  # in a name they would make a cell two
COLOURS = {"PROVED": "green", "REFUTED": "magenta", "UNDECIDED": "yellow"}


def verdict(text: str) -> Text:
    return Text(text, style=COLOURS.get(text, ""))


def say(text: str, file: TextIO | None = None) -> None:
    """Print a sentence that may hold names."""
    print(text.translate(CONTROLS), file=file, flush=True)


def table(title: str, columns: list[tuple[str, str]], rows: list[list[Any]]) -> None:
    """Print a table; in a pipe, the title as a comment, then tab-separated lines with a header.

    Where a terminal is too narrow for the numbers of a row to stay whole, every row becomes a list of its own.
    """
    if not console.is_terminal:
        print(f"# {title.translate(SPACES)}")
        for row in [[name for name, _ in columns], *rows]:
            print("\t".join(str(cell).translate(SPACES) for cell in row))
        return
    title, columns = title.translate(CONTROLS), [(name.translate(CONTROLS), justify) for name, justify in columns]
    out = Table(title=Text(title), title_justify="left", header_style="bold", expand=False)
    for name, justify in columns:
        out.add_column(Text(name), justify=justify, overflow="fold", no_wrap=justify == "right")  # type: ignore[arg-type]
    cells = [
        [cell if isinstance(cell, Text) else Text(str(cell).translate(CONTROLS)) for cell in row] for row in rows
    ]  # brackets are no markup
    for row in cells:
        out.add_row(*row)
    if _least_width(columns, cells) <= console.width:
        console.print(out)
        return
    console.print(Text(title, style="bold"))
    for row in cells:
        console.print(row[0])
        for (name, _), cell in zip(columns[1:], row[1:], strict=True):
            console.print(Text(f"  {name}: ").append_text(cell))


def _least_width(columns: list[tuple[str, str]], cells: list[list[Text]]) -> int:
    """Of a table whose numbers (right-justified cells) stay whole, and whose texts break between words."""
    width = 1
    for k, (name, justify) in enumerate(columns):
        texts = [name, *(row[k].plain for row in cells)]
        parts = texts if justify == "right" else [word for text in texts for word in text.split()]
        width += 3 + max((cell_len(part) for part in parts), default=0)
    return width


def progress() -> Progress:
    """A progress bar on the error stream, gone when done; silent in a pipe."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=errors if errors.is_terminal else Console(quiet=True),  # rich before 14.3 ends a disabled bar with an empty line
        transient=True, disable=not errors.is_terminal,
    )  # fmt: skip


@contextmanager
def busy(what: str, seen: bool = True) -> Iterator[None]:
    """A sign of life on the error stream while something takes its time; silent in a pipe, and where it is not to be seen."""
    with progress() if seen else nullcontext() as bar:
        if bar is not None:
            bar.add_task(what, total=None)
        yield


def write_json(path: Path, data: Any) -> None:
    """To a file, whole or not at all; `-` prints.  JSON has no NaN and no infinity: they become null."""
    from crossmodal.theory.files import write_whole

    printed = str(path) == "-"
    # what the output's encoding lacks must be escaped as JSON has it; the stream's own escapes are Python's
    escaped = printed and (sys.stdout.encoding or "utf-8").lower() not in ("utf-8", "utf8")
    text = json.dumps(_finite(data), indent=1, ensure_ascii=escaped, allow_nan=False) + "\n"
    if printed:
        print(text, end="")
    else:
        write_whole(path, text)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data
