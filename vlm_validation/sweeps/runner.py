"""Run a sweep on local processes or on a Dask cluster; whoever is killed, no finished cell is lost.

The unit of work is a subtree: one protocol, one seed, and all prefixes that begin with one environment, walked depth
first by one process, so that a cell goes on from its parent's weights in memory.  Where a walk begins in the middle (the
rest was done before), it goes on from the parent's stored weights, or trains the missing stages again: a stage's random
numbers depend on seed and prefix alone, so both ways give the same bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...theory.errors import InputError, counted, not_installed
from ...theory.workers import WorkerKilled, outcomes
from ..orders import progress_bar
from ..training.data import Choice, Environments, load_environments
from ..training.loop import State, Trainer
from ..training.protocol import Protocol
from .cells import Cell, Say, Store, prefixes


@dataclass(frozen=True)
class Sweep:
    """What is to be run: the product of protocols, seeds and orders on one choice of scenes.

    Attributes:
        choice: the scenes.
        protocols: each once.
        seeds: of the runs.
        orders: of the environments; None: all of them.
        keep_weights: store each cell's weights, from which a later run goes on; without, it trains from the start again.

    Raises:
        InputError: nothing to run, something twice, or an order that is none.
    """

    choice: Choice
    protocols: tuple[Protocol, ...]
    seeds: tuple[int, ...] = (0,)
    orders: tuple[tuple[int, ...], ...] | None = None
    keep_weights: bool = True

    def __post_init__(self) -> None:
        for name in ("protocols", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise InputError(
                    f"sweep: {counted(len(values), name[:-1])}, {len(set(values))} different", expected="at least one, and each once",
                    causes=("the same values twice, perhaps as a number and its decimal",) if values else ("an empty list",),
                    fix="leave out what is there twice" if values else "name one, or leave the field out",
                )  # fmt: skip
        if self.orders is not None and not self.orders:
            raise InputError(
                "sweep: no order",
                expected="at least one, or none named for all of them",
                causes=("an empty list",),
                fix='orders = "all"',
            )
        prefixes(self.choice.environments, self.orders)

    def cells(self) -> list[Cell]:
        """Every cell: by protocol, seed, and prefix depth first."""
        tree = prefixes(self.choice.environments, self.orders)
        return [Cell(self.choice, p, seed, prefix) for p in self.protocols for seed in self.seeds for prefix in tree]

    def subtrees(self) -> list[list[Cell]]:
        """The cells by unit of work; the start of a run goes with its first subtree."""
        units: dict[tuple[Protocol, int, int], list[Cell]] = {}
        starts: dict[tuple[Protocol, int], list[Cell]] = {}
        for cell in self.cells():
            run = (cell.protocol, cell.seed)
            if not cell.prefix:
                starts[run] = [cell]
            else:
                units.setdefault((*run, cell.prefix[0]), starts.pop(run, [])).append(cell)
        return list(units.values())


LOOKS = 1.0  # seconds between two looks into the folder, for the progress
_ONE_AT_A_TIME = (
    threading.Lock()
)  # a Dask worker may have several threads, but torch one number of threads and one seed


@lru_cache(maxsize=4)
def _environments(choice: Choice) -> Environments:
    return load_environments(choice)


def walk(cells: list[Cell], folder: str, keep_weights: bool) -> list[str]:
    """Compute what is missing of one subtree; returns what was set aside.

    Args:
        cells: of one protocol and seed, depth first.
        folder: of the store.
        keep_weights: store weights too.

    Raises:
        InputError: a run that diverged; what was finished before stays.
    """
    said: list[str] = []
    store = Store(Path(folder), said.append)
    with _ONE_AT_A_TIME:
        _walk(cells, store, keep_weights)
    return said


def _walk(cells: list[Cell], store: Store, keep_weights: bool) -> None:
    trainer: Trainer | None = None
    path: dict[tuple[int, ...], State] = {}  # states of the beginnings of the present prefix
    for cell in cells:
        path = {prefix: state for prefix, state in path.items() if cell.prefix[: len(prefix)] == prefix}
        if store.read(cell) is not None:
            continue
        if trainer is None:
            trainer = Trainer(_environments(cell.choice), cell.protocol, cell.seed)
        state = _advance(cell, trainer, store, path)
        store.write(
            cell,
            trainer.measure(state),
            trainer.measure(state, trained=True),
            state if keep_weights and cell.prefix else None,
        )


def _advance(cell: Cell, trainer: Trainer, store: Store, path: dict[tuple[int, ...], State]) -> State:
    """The state after a cell: from memory, from its parent's stored weights, or by training from the start."""
    if cell.prefix in path:
        return path[cell.prefix]
    if not cell.prefix:
        state = trainer.start()
    else:
        parent = cell.parent
        before = path.get(parent.prefix)
        if before is None:
            before = store.state(parent) if parent.prefix else None
        if before is None:
            before = _advance(parent, trainer, store, path)
        path[parent.prefix] = before
        state = trainer.stage(before, cell.prefix)
    path[cell.prefix] = state
    return state


def run_sweep(
    sweep: Sweep, folder: Path, *, workers: int = 1, dask: str | None = None, say: Say = print, progress: bool = True
) -> None:
    """Compute every missing cell of a sweep.

    Args:
        sweep: what to run.
        folder: of the cells; with `dask`, one that all its workers see under this path.
        workers: local processes; 1: in this one.
        dask: address of a Dask scheduler, "tcp://host:port", instead of local processes.
        say: receives one line for every file set aside and for every worker that died.
        progress: show a bar on a terminal.

    Raises:
        InputError: workers < 1; no cluster at that address, or one that writes elsewhere; runs that diverged (all others are finished first); a
            subtree whose workers were killed `ATTEMPTS` times.
    """
    if workers < 1:
        raise InputError(f"{counted(workers, 'worker')}", expected="at least one", fix="workers=1")
    store = Store(folder, say)
    absent = {cell.name for cell in missing(sweep.cells(), store)}
    units = [unit for unit in sweep.subtrees() if any(cell.name in absent for cell in unit)]
    jobs = [(unit, str(Path(folder).resolve()), sweep.keep_weights) for unit in units]
    failed: list[InputError] = []
    with (
        progress_bar(len(absent), "cells", progress and bool(absent)) as advance,
        _as_they_come(store, absent, advance),
    ):
        found: Iterator[tuple[int, Any]]
        if dask is not None:
            found = _on_dask(jobs, dask)
        elif workers == 1 or len(jobs) < 2:
            found = _here(jobs)
        else:
            found = _on_processes(jobs, min(workers, len(jobs)), say)
        for _, outcome in found:
            if isinstance(outcome, InputError):
                failed.append(outcome)
            else:
                for line in outcome:
                    say(line)
    if dask is not None and not failed and (unseen := missing((cell for unit in units for cell in unit), store)):
        raise InputError(
            f"{folder}: not here, {counted(len(unseen), 'cell')} that the cluster finished",
            expected="a folder that the driver and all workers see under one path",
            causes=("workers on machines with a disk of their own", "workers with other versions of numpy, torch, transformers or peft"),
            fix="name a folder of a shared file system; install the same versions everywhere",
        )  # fmt: skip
    if failed:
        raise InputError(
            f"failed: {len(failed)} of {counted(len(units), 'subtree')}; finished cells are kept.  The first: {failed[0]}"
        )


@contextmanager
def _as_they_come(store: Store, absent: set[str], advance: Callable[[int], None]) -> Iterator[None]:
    """Advance by what has come into the folder, whoever wrote it: a subtree may take hours, and tells nothing before its end."""
    over, waiting = threading.Event(), set(absent)

    def look() -> None:
        last = False
        while waiting and not last:
            last = over.wait(LOOKS)
            come = waiting & store.names()
            waiting.difference_update(come)
            advance(len(come))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


def _here(jobs: list[Any]) -> Iterator[tuple[int, Any]]:
    for index, job in enumerate(jobs):
        try:
            yield index, walk(*job)
        except InputError as error:
            yield index, error


def _on_processes(jobs: list[Any], workers: int, say: Say) -> Iterator[tuple[int, Any]]:
    again: Callable[[int], None] = lambda _: say("a worker was killed; its subtree goes on from its finished cells")  # noqa: E731
    try:
        for index, outcome in outcomes(walk, dict(enumerate(jobs)), workers, lost=again):
            if isinstance(outcome, Exception) and not isinstance(outcome, InputError):
                raise outcome
            yield index, outcome
    except WorkerKilled as error:
        raise _dying(error.how, error.causes) from None


def _on_dask(jobs: list[Any], address: str) -> Iterator[tuple[int, Any]]:
    with _client(address) as client:
        from distributed import KilledWorker, as_completed

        futures = {client.submit(walk, *job, pure=False): index for index, job in enumerate(jobs)}
        for future in as_completed(futures, loop=client.loop):
            try:
                yield futures[future], future.result()
            except InputError as error:
                yield futures[future], error
            except KilledWorker:
                raise _dying("was killed as often as the cluster allows") from None


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise not_installed("Dask", "cluster", "--workers N") from None
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"no Dask scheduler at {address} ({type(error).__name__})", expected="tcp://HOST:PORT of a running one",
            causes=("a typing error", "it has not been started"), fix="dask scheduler; dask worker ADDRESS",
        ) from None  # fmt: skip
    try:
        yield client
    except CancelledError:
        raise InputError(
            f"the Dask scheduler at {address} was lost", expected="one that lives until the end",
            causes=("it was stopped, or its machine", "the network"), fix="start it again, then the same command",
        ) from None  # fmt: skip
    finally:
        client.close()


def _dying(how: str, causes: Sequence[str] = ("out of memory",)) -> InputError:
    return InputError(
        f"the worker of one subtree {how}; finished cells are kept",
        expected="workers that live", causes=causes, fix="fewer workers, then the same command again",
    )  # fmt: skip


def missing(cells: Iterable[Cell], store: Store) -> list[Cell]:
    """The cells that are not finished."""
    return [cell for cell in cells if store.read(cell) is None]
