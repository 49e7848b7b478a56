"""Runs every item in a process of its own, and writes a CSV file and a plot for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from crossmodal.theory.errors import InputError
from crossmodal.theory.files import write_table

CPU = ("k0", "k1", "k1-small", "k2", "k2-narrow", "k3", "k4", "k5", "k0-curve", "k0-marginals-curve", "k1-curve")
GPU = ("k0", "k1", "k2", "k3", "k0-curve", "k1-curve")
ONE_THREAD = ("k1", "k1-small")  # what their targets were set for
ROUNDS = {"k4": 5, "k1-small": 200}
Rows = list[dict[str, Any]]


def item_names(device: str = "cpu") -> tuple[str, ...]:
    """The items that can be run on a device."""
    return GPU if device == "cuda" else CPU


def main(
    output_dir: str | Path,
    only: Sequence[str] | None = None,
    threads: int | None = None,
    quick: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Rows]:
    """Measure ours beside the peers, one process an item, and write ``<device>-<item>.csv`` and ``.svg``.

    Each item first compares its result with a float64 reference.  If that fails there is no speed: its row says
    WRONG, and no number is written.

    Args:
        output_dir: where the files go; it is created.
        only: names of items; all by default.
        threads: CPU threads; by default what each target was set for: one for K1, else all cores.
        quick: tiny sizes and few rounds, to see that everything runs; the numbers mean nothing.
        device: ``cpu`` or ``cuda``.
        progress: called with (items done, items in all, name of the next item or "").

    Returns:
        Rows by item, as written.  A wrong result has ``status`` beginning with ``WRONG``, and an item that could
        not run one beginning with ``FAILED``.

    Raises:
        InputError: an unknown item or device, or no GPU.
    """
    chosen = _choose(only, device)
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Rows] = {}
    for index, item in enumerate(chosen):
        if progress is not None:
            progress(index, len(chosen), item)
        results[item] = _run(item, device, threads, quick)
        write_csv(folder / f"{device}-{item}.csv", results[item])
        if all(row.get("status", "ok") == "ok" or row["contender"] != "ours" for row in results[item]):
            from crossmodal.kernels.benchmarks.plots import plot

            plot(item, results[item], folder / f"{device}-{item}.svg")
    if progress is not None:
        progress(len(chosen), len(chosen), "")
    return results


def _choose(only: Sequence[str] | None, device: str) -> tuple[str, ...]:
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise InputError(
            f"bench: device {device!r}, and CUDA is {'' if torch.cuda.is_available() else 'not '}available",
            expected="cpu, or cuda on a machine with a GPU",
            causes=["a CPU build of torch", "no GPU on this machine"],
            fix="--device cpu",
        )
    names = item_names(device)
    unknown = sorted(set(only or ()) - set(names))
    if unknown:
        raise InputError(
            f"bench: unknown items {unknown}",
            expected=f"some of {', '.join(names)}",
            causes=["a typing error", "an item of the other device"],
            fix="leave the selection out to run everything",
        )
    return tuple(n for n in names if only is None or n in only)


def _run(item: str, device: str, threads: int | None, quick: bool) -> Rows:
    count = threads or (1 if item in ONE_THREAD and device == "cpu" else os.cpu_count() or 1)
    command = [sys.executable, "-m", "crossmodal.kernels.benchmarks.worker", item, "--device", device]
    command += ["--threads", str(count), "--rounds", str(3 if quick else ROUNDS.get(item, 15))]
    command += ["--quick"] if quick else []
    limits = {name: str(count) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(command, env={**os.environ, **limits}, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [{"item": item, "contender": "ours", "status": f"FAILED: {last}"}]
    rows: Rows = json.loads(done.stdout.splitlines()[-1])  # a peer's library may have said something before
    return rows


def write_csv(path: Path, rows: Rows) -> None:
    """Write all rows or none: a reader never sees half a file."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_table(path, columns, ({k: _short(v) for k, v in row.items()} for row in rows))


def _short(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, float) else value


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("output_dir")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    try:
        found = main(**vars(parser.parse_args()), progress=lambda *x: print(*x, file=sys.stderr, flush=True))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    bad = [row for rows in found.values() for row in rows if str(row.get("status", "ok")).startswith(("WRONG", "FAIL"))]
    for row in bad:
        print(row["item"], row["status"], file=sys.stderr)
    sys.exit(bool(bad))
