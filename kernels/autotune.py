"""Kernel configurations: a fixed default, or what `tune` once measured and wrote down.

Nothing is measured behind the user's back.  A kernel runs with its default configuration until `tune` was called
for its shape bucket; the winner is then stored in a JSON file keyed by operation, device, dtype, shape bucket and
versions, and every later process reads it.  So a given cache file always gives the same configuration and, with
the kernels' fixed reduction order, the same bits.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from crossmodal.theory.errors import InputError
from crossmodal.theory.files import write_whole

Config = dict[str, int]
_STORING = threading.Lock()


def cache_path() -> Path:
    """``$CROSSMODAL_CACHE/kernels.json``, by default under ``~/.cache/crossmodal``."""
    base = os.environ.get("CROSSMODAL_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "crossmodal"
    )
    return Path(base) / "kernels.json"


def bucket(shape: Sequence[int]) -> tuple[int, ...]:
    """Sizes rounded up to powers of two: one configuration serves a factor of two."""
    return tuple(1 << max(0, int(size) - 1).bit_length() for size in shape)


def key(op: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> str:
    """The name of a cache entry.  Another GPU, torch or Triton version is another entry."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    sizes = "x".join(map(str, bucket(shape)))
    return "|".join([op, name, str(dtype).removeprefix("torch."), sizes, torch.__version__, _triton_version()])


@functools.cache
def _triton_version() -> str:
    from importlib import metadata

    try:
        return metadata.version("triton")
    except metadata.PackageNotFoundError:
        return "none"


@functools.lru_cache(1)
def _load(path: Path, _stamp: tuple[int, ...]) -> dict[str, Any]:
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # a missing or torn cache costs a default configuration, never a result
    return table if isinstance(table, dict) else {}


def _table() -> dict[str, Any]:
    path = cache_path()
    try:
        stat = path.stat()
    except OSError:
        return {}
    return _load(path, (stat.st_mtime_ns, stat.st_ino, stat.st_size))  # a clock tick has room for several writes


def choose(op: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device, default: Config) -> Config:
    """The stored configuration for this operation and shape bucket, or `default`."""
    entry = _table().get(key(op, shape, dtype, device))
    config = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(config, dict) or set(config) != set(default):
        return dict(default)
    return dict(config) if all(type(x) is int and x > 0 for x in config.values()) else dict(default)


def tune(
    op: str,
    shape: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    candidates: Sequence[Config],
    run: Callable[[Config], object],
    *,
    repeats: int = 20,
) -> dict[str, Any]:
    """Measure every candidate and store the fastest; return the stored entry.

    Candidates are tried in the given order and a later one must be faster by 2 % to win, so that noise does not
    decide between equals.  A candidate that fails to compile or launch is recorded with its error and skipped.

    Args:
        op: name of the operation; `shape`, `dtype` and `device` complete the cache key.
        candidates: configurations in order of preference.
        run: launches the kernel once with a configuration.
        repeats: timed runs a candidate; the median counts.

    Returns:
        ``{"config": ..., "ms": ..., "tried": [{"config", "ms", "compile_s"} or {"config", "error"}, ...]}`` where
        ``compile_s`` is the time of the first call less that of a later one.

    Raises:
        InputError: no candidate, no timed run, no candidate that runs, or a cache that cannot be written.
    """
    if not isinstance(repeats, int) or repeats < 1 or not candidates:
        raise InputError(
            f"autotune: {repeats} timed runs of each of {len(candidates)} candidates",
            expected="whole numbers, at least one of each",
            causes=["a time budget that was divided by too much", "candidates that a filter removed"],
            fix="repeats=20 and the CANDIDATES of the kernel's module",
        )
    tried: list[dict[str, Any]] = []
    best: dict[str, Any] | None = None
    for config in candidates:
        try:
            first = _timed(run, config, device)
            times = [_timed(run, config, device) for _ in range(repeats)]
        except Exception as error:  # a candidate may exceed shared memory on this device
            tried.append({"config": config, "error": f"{type(error).__name__}: {error}"[:200]})
            continue
        ms = statistics.median(times) * 1e3
        tried.append({"config": config, "ms": ms, "compile_s": max(0.0, first - ms / 1e3)})
        if best is None or ms < 0.98 * best["ms"]:
            best = tried[-1]
    if best is None:
        raise InputError(
            f"no configuration of {op} runs on {device}; the first says: {tried[0]['error']}",
            expected="at least one candidate that compiles and launches",
            causes=["blocks too large for this device's shared memory", "arguments that the kernel does not take"],
            fix="smaller blocks or fewer stages; the default configuration needs no tuning",
        )
    entry = {"config": best["config"], "ms": best["ms"], "tried": tried}
    _store(key(op, shape, dtype, device), entry)
    return entry


def _timed(run: Callable[[Config], object], config: Config, device: torch.device) -> float:
    start = time.perf_counter()
    run(config)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _store(name: str, entry: dict[str, Any]) -> None:
    """Add an entry to the file; nobody else's, stored meanwhile by another thread or process, is lost."""
    path = cache_path()
    with _STORING, _alone(path):
        table = {**_read(path), name: entry}
        write_whole(path, json.dumps(table, indent=1, sort_keys=True, default=int))  # numpy's integers too


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process is in here with the same path; where files cannot be locked, nothing is promised."""
    try:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".lock")  # for the file itself is replaced by every write
        lock = open(beside, "a")  # noqa: SIM115  (its own errors are not those of the body)
    except (ImportError, OSError):
        yield  # a folder that cannot be written is explained by who writes
        return
    with lock:  # closing it unlocks
        with suppress(OSError):  # some network file systems
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
