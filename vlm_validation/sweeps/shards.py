"""Contribution scores of features that lie in shards, computed where the shards are and merged.

Each worker reduces one shard to the moments of `score_moments.py`, so only O(T d^2) numbers a shard travel and never a
feature.  They are merged in the order of the shards' names, whatever order they arrive in: the same shards give the same
bytes on any number of workers.  One shard gives the numbers of `estimate_scores` to the last bit; several give them up to the rounding
of the merges, 4 N eps for N samples (scores are sums of N terms of at most 1).

A file that is torn, or no shard at all, is set aside and said: the rest is scored, and the result lists what is missing.
Shards that contradict one another (width, checkpoint, names) are refused, because which of them is wrong nobody can tell.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...theory.errors import InputError, counted
from ...theory.workers import WorkerKilled, outcomes
from ..containers import SUFFIXES, read_container
from ..feature_checks import (
    as_ids,
    as_integers,
    as_metadata,
    as_normalised,
    as_strings,
    as_vectors,
    check_distinct,
    check_norms,
    check_range,
)
from ..orders import progress_bar
from ..score_moments import Moments, merge_moments, moments_of
from ..scores import Scores, scores_of
from .runner import Say, _client

_FIELDS = ("image", "text", "environment")
_ONE_AT_A_TIME = threading.Lock()  # a Dask worker may have several threads, but torch has one number of threads
Part = tuple["Shard | None", str]
"""A shard, or None and why it was set aside."""


@dataclass(frozen=True, eq=False)
class Shard:
    """What is kept of a shard.

    Attributes:
        moments: of its environments.
        width: d.
        digest: sha256 of its arrays.
        names: of the environments, where it has them.
        checkpoint: weight hash of the encoder, where it says so.
        notes: what was done while reading.
        ids: one number for every different id, ascending, where the samples have ids.
    """

    moments: Moments
    width: int
    digest: str
    names: tuple[str, ...] | None
    checkpoint: str | None
    notes: tuple[str, ...]
    ids: np.ndarray | None = None


def shard_files(places: Sequence[Path]) -> list[Path]:
    """The files named, and the `.npz` and `.safetensors` files of the folders named, by name.

    Raises:
        InputError: a folder without any.
    """
    found: list[Path] = []
    for place in places:
        if not os.path.isdir(place):  # unlike `Path.is_dir`, it takes a name too long for any folder
            found.append(place)
            continue
        inside = [path for path in place.iterdir() if path.suffix in SUFFIXES and not path.name.startswith(".")]
        if not inside:
            raise InputError(
                f"{place}: a folder without {' and '.join(SUFFIXES)} files", expected="a folder of features files",
                causes=("the folder above or below the right one",), fix="name the folder that holds the shards",
            )  # fmt: skip
        found += inside
    return sorted(found, key=lambda path: (path.name, str(path)))


def shard_scores(
    shards: Sequence[Path], *, delta: float = 0.05, simultaneous: bool = False, normalise: bool = False,
    workers: int = 1, dask: str | None = None, say: Say = print, progress: bool = True,
) -> Scores:  # fmt: skip
    """Scores of features files that together are one data set.

    Args:
        shards: .npz or .safetensors with `image`, `text` (n, d) and `environment` (n,); an environment may lie in several.
        delta, simultaneous: of the intervals, as in `estimate_scores`.
        normalise: as in `load_features`.
        workers: local processes; 1: in this one.
        dask: address of a Dask scheduler, whose workers see the files under these paths, instead of local processes.
        say: receives one line for every file set aside and every worker that was killed.
        progress: show a bar on a terminal.

    Returns:
        Scores; `provenance` holds `shards` (name and digest of each), `set_aside` (name and reason) and `notes`.

    Raises:
        InputError: no shard, one twice, a bad one (named), shards that contradict one another, an environment with one
            sample in all shards together, a shard whose workers were killed `ATTEMPTS` times.
    """
    if workers < 1:
        raise InputError(counted(workers, "worker"), expected="at least one", fix="workers=1")
    paths = [str(Path(shard).resolve()) for shard in sorted(shards, key=lambda shard: (Path(shard).name, str(shard)))]
    if not paths or len(set(paths)) != len(paths):
        raise InputError(
            f"{counted(len(paths), 'shard')}, {len(set(paths))} different", expected="at least one, each once",
            causes=("a pattern that matches nothing, or a file named twice: its samples would count twice",),
            fix="name every file once",
        )  # fmt: skip
    found: list[tuple[str, Shard]] = []
    aside: list[tuple[str, str]] = []
    moments: Moments = {}
    jobs = [(path, normalise) for path in paths]
    with progress_bar(len(paths), "shards", progress) as advance:
        read: Iterator[tuple[str, Part]]
        if dask is not None:
            read = _on_dask(jobs, dask)
        elif workers > 1:
            read = _on_processes(jobs, min(workers, len(paths)), say)
        else:
            read = ((job[0], read_shard(*job)) for job in jobs)
        for path, (shard, why) in _in_order(paths, read, advance):
            if shard is None:
                aside.append((path, why))
                continue
            found.append((path, replace(shard, moments={})))  # of thousands of shards they would fill the memory
            if shard.width == found[0][1].width:  # another width is refused below
                moments = merge_moments(moments, shard.moments)
    for path, why in aside:
        say(f"set aside {path}: {why}")
    if not found:
        raise InputError(
            f"no shard is left: set aside, {counted(len(paths), 'file')}, the first {aside[0][0]}: {aside[0][1]}",
            expected="features files with image, text and environment",
            causes=("another kind of file",), fix="name the features files that `crossmodal extract` wrote",
        )  # fmt: skip
    names = _agreed(found)
    _require_two(moments, bool(aside))
    notes = [f"{Path(path).name}: {note}" for path, shard in found for note in shard.notes]
    notes += _shared(found)
    notes += [f"{Path(path).name} was set aside: {why}" for path, why in aside]
    provenance = {
        "shards": [{"file": Path(path).name, "features": shard.digest} for path, shard in found],
        "set_aside": [{"file": Path(path).name, "reason": why} for path, why in aside],
        "notes": notes,
    }
    titles = {k: names[k] if names and k < len(names) else f"environment {k}" for k in moments}
    return scores_of(moments, titles, provenance, delta=delta, simultaneous=simultaneous)


def read_shard(path: str, normalise: bool = False) -> Part:
    """Moments of one features file; None and the reason where it is torn, or no features file at all.

    Raises:
        InputError: no such file here, or features that are bad: not finite, not of unit rows, of the wrong shape.
    """
    if not os.path.isfile(path):
        raise InputError(
            f"{path}: no such file on the machine that was to read it", expected="a shard that every worker sees",
            causes=("a typing error", "workers on machines with a disk of their own"),
            fix="check the path, or name shards of a shared file system",
        )  # fmt: skip
    try:
        arrays, strings, unreadable = read_container(path)
    except InputError as error:
        return None, error.found.removeprefix(f"{path}: ")
    if missing := [name for name in _FIELDS if name not in arrays]:
        return None, unreadable.get(missing[0], f"no array {missing[0]!r}")
    with _ONE_AT_A_TIME:
        return _shard(path, {**strings, **arrays}, normalise), ""


def _shard(path: str, found: dict[str, Any], normalise: bool) -> Shard:
    notes: list[str] = []
    sides: list[np.ndarray] = []
    for name in _FIELDS[:2]:
        rows, note = as_normalised(found[name], name, path) if normalise else (found[name], [])
        sides.append(as_vectors(rows, name, path, minimum=1))
        notes += note
    image, text = sides
    if image.shape != text.shape:
        raise InputError(
            f"{path}: image has shape {image.shape}, text {text.shape}",
            expected="one text an image",
            causes=("rows of another subset", "encoders without a common space"),
            fix="save both of the same pairs, as wide as each other",
        )
    for name, rows in zip(_FIELDS, sides, strict=False):
        check_norms(rows, name, path)
    where = as_integers(found["environment"], "environment", len(image), path)
    digest = hashlib.sha256(str((image.dtype, image.shape)).encode())
    for array in (image, text, where):
        digest.update(array.data)
    names = as_strings(found.get("environment_names"), "environment_names", None, path)
    if names is not None:
        check_distinct(names, path)
        check_range(where, len(names), "environment", "environment_names", path)
    checkpoint = as_metadata(found.get("metadata"), path).get("checkpoint")
    ids = None if found.get("ids") is None else as_ids(found["ids"], len(image), path)
    return Shard(
        moments_of(image, text, where), image.shape[1], digest.hexdigest(), names,
        None if checkpoint is None else str(checkpoint), tuple(notes),
        None if ids is None else _numbers(ids),
    )  # fmt: skip


def _numbers(ids: np.ndarray) -> np.ndarray:
    """(k,) uint64, ascending: hashes of the different ids, which travel where the ids of a large shard would be many bytes."""
    hashed = [hashlib.blake2b(str(x).encode(), digest_size=8).digest() for x in np.unique(ids)]
    return np.unique(np.frombuffer(b"".join(hashed), dtype=np.uint64))


def _shared(found: Sequence[tuple[str, Shard]]) -> list[str]:
    """A note for every shard with samples whose ids are in one before it."""
    notes, before = [], np.empty(0, dtype=np.uint64)
    for path, shard in found:
        if shard.ids is None:
            continue
        if twice := len(np.intersect1d(before, shard.ids, assume_unique=True)):
            notes.append(
                f"{Path(path).name}: {counted(twice, 'id')} of its samples in other shards too; a sample that is there twice counts twice"
            )
        before = np.union1d(before, shard.ids)
    return notes


def _in_order(
    paths: Sequence[str], read: Iterator[tuple[str, Part]], advance: Callable[[int], None]
) -> Iterator[tuple[str, Part]]:
    """Shards in the order of their paths; those that come early wait."""
    early: dict[str, Part] = {}
    following = iter(paths)
    path = next(following)
    for arrived, part in read:
        advance(1)
        early[arrived] = part
        while path in early:
            yield path, early.pop(path)
            path = next(following, "")


def _on_processes(jobs: Sequence[tuple[str, bool]], workers: int, say: Say) -> Iterator[tuple[str, Part]]:
    again: Callable[[str], None] = lambda path: say(f"a worker was killed; {path} is read again")  # noqa: E731
    try:
        for path, part in outcomes(read_shard, {job[0]: job for job in jobs}, workers, lost=again):
            if isinstance(part, Exception):
                raise part
            yield path, part
    except WorkerKilled as error:
        raise _killed(error.job, error.how, error.causes) from None


def _on_dask(jobs: Sequence[tuple[str, bool]], address: str) -> Iterator[tuple[str, Part]]:
    with _client(address) as client:
        from distributed import KilledWorker, as_completed

        futures = {client.submit(read_shard, *job, pure=False): job[0] for job in jobs}
        for future in as_completed(futures, loop=client.loop):
            path = futures.pop(future)  # the cluster keeps results that are still held
            try:
                yield path, future.result()
            except KilledWorker:
                raise _killed(path, "was killed as often as the cluster allows") from None


def _killed(path: str, how: str, causes: Sequence[str] = ("out of memory",)) -> InputError:
    return InputError(
        f"{path}: the worker that read this shard {how}", expected="workers that live",
        causes=causes, fix="fewer workers, or smaller shards",
    )  # fmt: skip


def _agreed(found: Sequence[tuple[str, Shard]]) -> tuple[str, ...] | None:
    """The environments' names, after everything that shards have to agree on.

    Raises:
        InputError: two shards hold the same samples, or differ in width, checkpoint or names of the environments.
    """
    seen: dict[str, str] = {}
    for path, shard in found:
        if shard.digest in seen:
            raise InputError(
                f"{path}: the same samples as {seen[shard.digest]}", expected="every sample in one shard",
                causes=("a copy under another name",), fix="leave one of them out",
            )  # fmt: skip
        seen[shard.digest] = path
    told: Sequence[tuple[str, Callable[[Shard], Any]]] = (
        ("width", lambda shard: shard.width),
        ("checkpoint", lambda shard: shard.checkpoint),
        ("environment_names", lambda shard: shard.names),
    )
    for what, of in told:
        first: dict[Any, str] = {}
        for path, shard in found:
            if of(shard) is not None:
                first.setdefault(of(shard), path)
        if len(first) > 1:
            (one, here), (two, there) = list(first.items())[:2]
            raise InputError(
                f"shards of different {what}: {one} in {here}, {two} in {there}",
                expected="shards of one data set through one encoder",
                causes=("shards of two data sets or two encoders in one folder",), fix="name the files that belong together",
            )  # fmt: skip
    return next((shard.names for _, shard in found if shard.names is not None), None)


def _require_two(moments: Moments, incomplete: bool) -> None:
    if alone := [k for k, m in sorted(moments.items()) if m.count < 2]:
        raise InputError(
            f"environment {alone[0]} has one sample in all shards together", expected="at least two: one has no variance",
            causes=("a shard was set aside" if incomplete else "a shard is missing",),
            fix="add the missing shard, or leave that sample out",
        )  # fmt: skip
