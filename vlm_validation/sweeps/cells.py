"""Cells of a sweep: one training stage each, one JSON file each, named by the hash of what decides its content.

A cell is (checkpoint, scenes, seed, prefix of an order, protocol, what is measured, versions of the libraries); its file holds the measurements after
the prefix, on unseen and on training scenes, and beside it, in safetensors, lie the weights that longer prefixes go on from.  Both are written whole or
not at all, weights first, so that a JSON file is the sign of a finished cell, and an existing one is never computed again.

A JSON file is believed only where it says of itself what its name says and its content has the digest it declares.
Anything else (torn by a full disk, another sweep's, edited) is renamed to `NAME.json.set-aside-K`, said aloud, and computed
again; weights are believed only where their digest is the one in the cell's JSON.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ...theory.errors import InputError, not_installed
from ...theory.files import atomic_writer
from ..training.data import Choice
from ..training.loop import Measurement, State
from ..training.protocol import VERSION, Protocol, config_hash

FORMAT = 2
MEASURED = ("unseen", "training")  # scenes
Say = Callable[[str], None]


@dataclass(frozen=True)
class Cell:
    """One training stage.

    Attributes:
        choice: the scenes.
        protocol: how each environment is trained.
        seed: of the run.
        prefix: positions of the environments trained, in order; empty: the start.
    """

    choice: Choice
    protocol: Protocol
    seed: int
    prefix: tuple[int, ...]

    def config(self) -> dict[str, Any]:
        """Everything that decides the result, hashes of scenes and checkpoint instead of their names alone.

        Raises:
            InputError: a library that training needs is not installed.
        """
        packages = ("numpy", "torch", "transformers", *(("peft",) if self.protocol.mode == "lora" else ()))
        return {
            "format": FORMAT,
            "training_version": VERSION,
            "versions": {package: _version(package) for package in packages},
            "model": self.choice.model_hash(),
            "model_settings": self.choice.settings_hash(),
            "data": self.choice.data_hash(),
            "scenes": asdict(self.choice),
            "protocol": self.protocol.to_dict(),
            "seed": self.seed,
            "prefix": list(self.prefix),
        }

    @property
    def name(self) -> str:
        """sha256 of the configuration."""
        return config_hash(self.config())

    @property
    def parent(self) -> Cell:
        """The cell this one goes on from.  The start has none: ValueError."""
        if not self.prefix:
            raise ValueError("the start of a run has no parent")
        return Cell(self.choice, self.protocol, self.seed, self.prefix[:-1])


def prefixes(environments: int, orders: Sequence[Sequence[int]] | None = None) -> list[tuple[int, ...]]:
    """The prefixes of these orders (default: of all of them), depth first, each once, the empty one first.

    Raises:
        InputError: something that is no order of the environments.
    """
    chosen = list(itertools.permutations(range(environments))) if orders is None else [tuple(o) for o in orders]
    for order in chosen:
        if sorted(order) != list(range(environments)):
            raise InputError(
                f"order {list(order)}",
                expected=f"every position from 0 to {environments - 1}, once each",
                causes=("counted from 1", "an order of other environments"),
                fix=f"{list(range(environments))}, say",
            )
    return sorted(
        {order[:k] for order in chosen for k in range(environments + 1)}
    )  # a prefix sorts before what it begins


class Store:
    """The folder of a sweep's cells.

    Args:
        folder: created where it is missing.
        say: receives one line for every file set aside.
    """

    def __init__(self, folder: Path, say: Say = print) -> None:
        self.folder, self._say = Path(folder), say
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be created ({error.strerror})", expected="a folder for cells",
                             causes=("a folder around it that is read-only", "a file of that name"), fix="name another folder") from None  # fmt: skip

    def path(self, cell: Cell) -> Path:
        """Where the cell's measurement is or will be."""
        return self.folder / f"{cell.name}.json"

    def names(self) -> set[str]:
        """Of the cells whose measurements are there, believed or not."""
        return {name.removesuffix(".json") for name in os.listdir(self.folder) if name.endswith(".json")}

    def weights_path(self, cell: Cell) -> Path:
        """Where the cell's weights are or will be."""
        return self.folder / f"{cell.name}.safetensors"

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """The cell's record, or None where it has to be computed; what is there and cannot be believed is set aside."""
        path = self.path(cell)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            record = json.loads(content)
            body = {key: record[key] for key in ("config", *MEASURED, "weights")}
            whole = record["digest"] == config_hash(body) and record["config"] == cell.config()
            for key in MEASURED:
                Measurement.from_dict(record[key])
            if whole:
                return dict(record)
            reason = "it is not what its name says, or was changed after it was written"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"torn or foreign ({type(error).__name__})"
        aside = _free(path)
        try:
            os.replace(path, aside)
        except FileNotFoundError:  # another run of the same sweep was faster, and has said so
            return None
        self._say(f"{path}: {reason}; set aside as {aside.name} and computed again")
        return None

    def write(self, cell: Cell, unseen: Measurement, training: Measurement, state: State | None) -> None:
        """Weights first, then the measurements on unseen and on training scenes: whole files only."""
        weights = ""
        if state is not None:
            content = _safetensors(state)
            weights = hashlib.sha256(content).hexdigest()
            with atomic_writer(self.weights_path(cell)) as handle:
                handle.write(content)
        body = {
            "config": cell.config(), "unseen": unseen.to_dict(), "training": training.to_dict(), "weights": weights
        }  # fmt: skip
        record = {**body, "digest": config_hash(body)}
        with atomic_writer(self.path(cell)) as handle:
            handle.write((json.dumps(record, sort_keys=True, indent=1, allow_nan=False) + "\n").encode())

    def state(self, cell: Cell) -> State | None:
        """The cell's weights where they are there and are those its record declares, else None."""
        from safetensors.torch import load

        record = self.read(cell)
        if record is None or not record["weights"]:
            return None
        try:
            content = self.weights_path(cell).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest() != record["weights"]:
            self._say(f"{self.weights_path(cell)}: not the weights its cell was measured with; trained again")
            return None
        return dict(load(content))


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise not_installed(package, "vlm") from None


def _safetensors(state: State) -> bytes:
    from safetensors.torch import save

    return bytes(save({name: state[name].contiguous() for name in sorted(state)}))


def _free(path: Path) -> Path:
    return next(p for k in itertools.count() if not (p := path.with_name(f"{path.name}.set-aside-{k}")).exists())
