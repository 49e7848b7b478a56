"""The tidy tables of a sweep: a function of its configuration and its cells alone, without time, host or path.

`cells.csv`: one row for each cell, kind of scenes (unseen, training) and environment.  `scores.csv`: the same
with ordered pairs of environments.
Numbers are written shortest-exact, so the same cells give the same bytes, whoever computed them and in what order.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ...theory.errors import InputError, counted
from ...theory.files import atomic_writer
from ..scores import KEYS
from ..training.protocol import config_hash
from .cells import MEASURED, Cell, Store
from .runner import Sweep, missing

CELL = ("cell", "model", "data", "protocol", "mode", "weight", "seed", "prefix", "trained", "scenes")
ROWS = (*CELL, "environment", "name", "ce", "accuracy", "clip", "clv")
PAIRS = (*CELL, "from", "to", *(f"con_{key.lower()}" for key in KEYS))


def merge(sweep: Sweep, folder: Path, output: Path | None = None, say: Any = print) -> list[Path]:
    """Write both tables.

    Args:
        sweep: whose cells.
        folder: of the cells.
        output: folder of the tables; default: that of the cells.
        say: receives one line for every file set aside.

    Raises:
        InputError: a cell is missing.
    """
    store, cells = Store(folder, say), sweep.cells()
    if absent := missing(cells, store):
        raise InputError(
            f"{folder}: missing, {len(absent)} of {counted(len(cells), 'cell')}", expected="a finished sweep",
            causes=("it was interrupted", "another version of numpy, torch, transformers or peft has been installed since"), fix="run the same sweep again; finished cells are not repeated",
        )  # fmt: skip
    rows, pairs = [], []
    for cell in cells:
        record = store.read(cell)
        assert record is not None
        for k, name, scenes in ((k, name, scenes) for scenes in MEASURED for k, name in enumerate(cell.choice.names)):
            m, start = record[scenes], [*_start(cell, record), scenes]
            rows.append([*start, k, name, *(m[column][k] for column in ROWS[-4:])])
            pairs += [[*start, k, t, *(m["con"][key][k][t] for key in KEYS)] for t in range(len(cell.choice.names))]
    target = folder if output is None else output
    return [_write(target / "cells.csv", ROWS, rows), _write(target / "scores.csv", PAIRS, pairs)]


def _start(cell: Cell, record: dict[str, Any]) -> list[Any]:
    config, p = record["config"], cell.protocol
    hashes = (cell.name, config["model"], config["data"], config_hash(p.to_dict()))
    return [*(h[:16] for h in hashes), p.mode, p.weight, cell.seed, "-".join(map(str, cell.prefix)), len(cell.prefix)]


def _write(path: Path, header: tuple[str, ...], rows: list[list[Any]]) -> Path:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows([[repr(x) if isinstance(x, float) else x for x in row] for row in rows])
    with atomic_writer(path) as handle:
        handle.write(text.getvalue().encode())
    return path
