"""`crossmodal sweep`: a sweep described in TOML (see `EXAMPLE`), run where the user says, merged to two tables."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from crossmodal.theory.errors import InputError, counted, unknown_name
from crossmodal.vlm_validation.sweeps.cells import Store
from crossmodal.vlm_validation.sweeps.merge import merge
from crossmodal.vlm_validation.sweeps.runner import Sweep, missing, run_sweep
from crossmodal.vlm_validation.training.data import Choice
from crossmodal.vlm_validation.training.protocol import Protocol

from . import terminal

EXAMPLE = """\
seeds = [0, 1, 2]
orders = "all"                  # or "neutral", or a list such as [[0, 1, 2], [2, 1, 0]]
keep_weights = true             # go on from a cell's weights after an interruption, at the cost of their disk space

[scenes]                        # of the embedded default; fields of `training.data.Choice`
world = "high"
environments = 3

[[protocol]]                    # fields of `training.protocol.Protocol`; a list means each of its values
mode = "full"
weight = [0.0, 0.5, 2.0]
"""
TOP = ("seeds", "orders", "keep_weights", "scenes", "protocol")


def sweep(config: Path, output: Path | None, workers: int, dask: str | None) -> None:
    """Run what is missing and write the tables; prints where they are."""
    plan = read_config(config)
    folder = output if output is not None else config.with_suffix(".sweep")
    try:
        run_sweep(plan, folder, workers=workers, dask=dask, say=lambda line: terminal.say(f"note: {line}"))
    except KeyboardInterrupt:
        cells = plan.cells()
        finished = len(cells) - len(missing(cells, Store(folder)))
        terminal.errors.print(
            f"finished in {folder}: {finished} of {counted(len(cells), 'cell')}; the same command goes on from them"
        )
        raise
    tables = merge(plan, folder)
    print(f"{counted(len(plan.cells()), 'cell')} in {folder}")
    for table in tables:
        print(table)


def read_config(path: Path) -> Sweep:
    """The sweep a file describes.

    Raises:
        InputError: the file is missing or no TOML, or a field there is not, or a value out of range.
    """
    try:
        values = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number of thousands of digits
        raise InputError(
            f"{path}: cannot be read as TOML ({error})", expected="a sweep's configuration",
            causes=("a typing error in the path or in the file",), fix="`crossmodal sweep --example` prints one that works",
        ) from None  # fmt: skip
    if not values:
        raise InputError(
            f"{path}: says nothing", expected="a sweep's configuration",
            causes=("an empty file", "a copy that was cut short"), fix="`crossmodal sweep --example` prints one that works",
        )  # fmt: skip
    try:
        _known(values, TOP, "the file")
        scenes = _table(values.get("scenes", {}), "[scenes]")
        _known(scenes, [field.name for field in fields(Choice)], "[scenes]")
        choice = Choice(**scenes)
        keep = values.get("keep_weights", True)
        if not isinstance(keep, bool):
            raise InputError(
                f"keep_weights = {keep!r}",
                expected="true or false",
                causes=("quotation marks, a number or a capital letter",),
                fix="keep_weights = true",
            )
        seeds = values.get("seeds", [0])
        if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
            raise InputError(
                f"seeds = {seeds!r}",
                expected="a list of whole numbers that are not negative",
                fix="seeds = [0, 1, 2], say",
            )
        return Sweep(choice, _protocols(values.get("protocol", [{}])), tuple(seeds), _orders(values, choice), keep)
    except InputError as error:
        raise InputError(
            f"{path}: {error.found}", expected=error.expected, causes=error.causes, fix=error.fix
        ) from None


def _orders(values: Mapping[str, Any], choice: Choice) -> tuple[tuple[int, ...], ...] | None:
    orders = values.get("orders", "all")
    if orders == "all":
        return None
    if orders == "neutral":
        return (tuple(range(choice.environments)),)
    if not isinstance(orders, list) or not all(isinstance(o, list) and all(type(k) is int for k in o) for o in orders):
        raise InputError(
            f"orders = {orders!r}",
            expected='"all", "neutral", or a list of lists of positions',
            fix="orders = [[0, 1, 2], [2, 1, 0]], say",
        )
    return tuple(tuple(order) for order in orders)


def _protocols(tables: Any) -> tuple[Protocol, ...]:
    if not isinstance(tables, list):
        raise InputError(
            "[protocol]",
            expected="[[protocol]], once for each",
            causes=("single brackets",),
            fix="two brackets on either side",
        )
    found = []
    for table in tables:
        choices = {key: x if isinstance(x, list) else [x] for key, x in _table(table, "[[protocol]]").items()}
        found += [
            Protocol.from_dict(dict(zip(choices, picked, strict=True)))
            for picked in itertools.product(*choices.values())
        ]
    return tuple(found)


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            f"{name} is {value!r}",
            expected="a table",
            causes=("a value in place of a table",),
            fix="`crossmodal sweep --example` prints one that works",
        )
    return value


def _known(values: Mapping[str, Any], known: Any, where: str) -> None:
    if unknown := [name for name in values if name not in known]:
        raise unknown_name(
            f"{where}: field {unknown[0]!r}",
            unknown[0],
            known,
            fix="`crossmodal sweep --example` prints one that works",
        )
