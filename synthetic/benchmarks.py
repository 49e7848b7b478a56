"""Throughput of the engine beside the obvious loop: ``python -m crossmodal.synthetic.benchmarks FILE.csv``.

A row a claim: models a second by `check.sweep` (drawn, evaluated, assumptions checked, error bounds where needed) in one thread and with two
workers, and by a Python loop over the same models that evaluates the same statement one model at a time in float64, without error
bounds; `ratio` is of the first to the loop.  `load` is the load average of the minute before a row was finished: what others took of the cores.
"""

from __future__ import annotations

import csv
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from ..theory import registry
from ..theory.claim import Claim
from .arithmetic import arithmetic
from .check import sweep
from .draw import draw_batch
from .engine import without_definitions
from .evaluate import admitted, judge

CASES: tuple[tuple[str, str, Mapping[str, int]], ...] = (
    ("T1.6", "scalars", {}),
    ("D1", "scalars of two samples", {"N": 2, "M": 2}),
    ("S5", "vectors", {"N": 2, "M": 2, "K": 2, "d": 3}),
    ("T3.5", "matrices, T=5", {"T": 5, "d": 5}),
    ("T3.7", "matrices, T=5", {"T": 5, "d": 5}),
    ("T3.8", "three environments", {"d": 3}),
)
FIELDS = (
    "claim",
    "kind",
    "models",
    "ours_per_s",
    "two_workers_per_s",
    "loop_per_s",
    "ratio",
    "relations",
    "torch",
    "python",
    "cores",
    "load",
)


def ours(claim: Claim, models: int, fixed: Mapping[str, int], workers: int = 1) -> float:
    """Models a second; the best of three."""
    best = 0.0
    for seed in range(3):
        start = time.perf_counter()
        found = sweep(claim, models, seed, fixed=fixed, workers=workers)
        best = max(best, found.examples / (time.perf_counter() - start))
    return best


def loop(claim: Claim, models: int, fixed: Mapping[str, int]) -> float:
    """The same, one model after the other; the best of three."""
    plain, light = arithmetic("plain"), without_definitions(claim)
    best = 0.0
    for seed in range(3):
        start = time.perf_counter()
        drawn = draw_batch(claim, seed, 0, models, fixed)
        for k in range(models):
            values = claim.bind({name: x.mid[k : k + 1] for name, x in drawn.items()}, plain)
            if bool(admitted(light, values, plain, 1)[0]):
                for relation in claim.statement.relations:
                    judge(relation, values, plain)
        best = max(best, models / (time.perf_counter() - start))
    return best


def main(path: Path, models: int = 400_000, loop_models: int = 100) -> None:
    """Write one CSV file; an existing one is replaced."""
    rows = []
    for claim_id, kind, fixed in CASES:
        claim = registry.get(claim_id)
        sweep(claim, 16384, fixed=fixed)
        fast, both, slow = ours(claim, models, fixed), ours(claim, models, fixed, 2), loop(claim, loop_models, fixed)
        rows.append({
            "claim": claim_id, "kind": kind, "models": models, "ours_per_s": round(fast), "two_workers_per_s": round(both),
            "loop_per_s": round(slow), "ratio": round(fast / slow), "relations": len(claim.statement.relations),
            "torch": torch.__version__, "python": platform.python_version(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
        })  # fmt: skip
        print(rows[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
