"""Timing in interleaved rounds, peak memory, and the machine's own limits, measured in the same process."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Run = Callable[[], Any]


@dataclass
class Case:
    """One item with its inputs made: what to run, how to check it, and what it cannot be faster than."""

    shape: str
    dtype: str
    ours: Run
    peers: dict[str, Run | str]
    """Callables, or a text saying why a peer cannot run here."""
    error: Callable[[], tuple[float, float]]
    """Error of ours against float64, and the largest error that still counts as correct."""
    flops: float = 0.0
    bytes: float = 0.0
    targets: dict[str, float] = field(default_factory=dict)
    """Peer to the least speed-up over it; ``a <= b`` style targets are given as the reciprocal."""
    memory_target: tuple[str, float] | None = None
    """(peer, factor): at least so many times less memory than this peer."""
    note: str = ""


@dataclass
class Timing:
    """Milliseconds of every round, and the peak memory of a separate call."""

    name: str
    rounds: list[float]
    peak_mib: float

    def percentile(self, q: float) -> float:
        return float(torch.tensor(self.rounds, dtype=torch.float64).quantile(q))


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def once(run: Run, device: str) -> float:
    """Milliseconds of one call."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return (time.perf_counter() - start) * 1e3


def interleaved(runs: dict[str, Run], rounds: int, device: str) -> list[Timing]:
    """Every round calls every contender once, in turn, so that a disturbance hits all of them alike."""
    for run in runs.values():
        once(run, device)  # compile, and touch the memory
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(once(run, device))
    return [Timing(name, times[name], peak_memory(run, device)) for name, run in runs.items()]


def peak_memory(run: Run, device: str) -> float:
    """MiB that one call needs beyond what was there before it: allocated on a GPU, resident on the CPU."""
    if device == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        synchronize(device)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return _peak_resident(run)


def _peak_resident(run: Run) -> float:
    """The kernel's own high-water mark around one call, after the allocator gave back what it kept in store."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _status("VmRSS")
        run()
        return _status("VmHWM") - before
    except OSError:  # not Linux
        return float("nan")


class PeakAnonymous:
    """Peak anonymous resident memory inside the context, less what was there before, sampled every millisecond.

    Anonymous memory is what a program holds itself; pages of a memory-mapped file belong to the page cache, which
    gives them up when asked.  NaN where the system does not say.
    """

    mib = float("nan")

    def __enter__(self) -> PeakAnonymous:
        self._before, self._peak, self._stop = _anonymous(), 0.0, threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def _sample(self) -> None:
        while not self._stop.wait(0.001):
            self._peak = max(self._peak, _anonymous())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._sampler.join()
        self.mib = max(self._peak, _anonymous()) - self._before


def _status(name: str) -> float:
    """MiB of one line of the process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise OSError(name)


def _anonymous() -> float:
    try:
        return _status("RssAnon")
    except OSError:
        return float("nan")


def limits(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """(FLOP/s of a large product, bytes/s of a large copy), the best of twenty, here and now."""
    n = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    source = torch.empty(2**28 if device == "cuda" else 2**26, dtype=torch.float32, device=device).fill_(1.0)
    target = torch.empty_like(source)
    product: Run = lambda: a @ b  # noqa: E731
    copy: Run = lambda: target.copy_(source)  # noqa: E731
    best = []
    for run in (product, copy):
        once(run, device)
        best.append(min(once(run, device) for _ in range(20)) / 1e3)
    return 2 * n**3 / best[0], 2 * source.numel() * 4 / best[1]


def machine(device: str) -> dict[str, Any]:
    """Device, date, load of the machine (a minute's mean) and versions, for every row of a result."""
    versions = {name: _version(name) for name in ("torch", "triton", "transformers", "numpy")}
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **versions,
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Name of the processor, on which figures depend as much as on the code, and vectors torch uses: one name may be of several kinds."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def largest_error(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; infinite if a NaN or infinity is only on one side."""
    found, expected = found.double().cpu(), expected.double().cpu()
    finite = torch.isfinite(expected)
    if not torch.equal(found[~finite], expected[~finite]) or not bool(torch.isfinite(found[finite]).all()):
        return float("inf")
    return float((found - expected)[finite].abs().max()) if bool(finite.any()) else 0.0
