"""Throughput of the engine beside the obvious loop: ``python -m crossmodal.synthetic.benchmarks FILE.csv [CLAIM ..]``.

A row a claim, all of them unless some are named: models a second by `check.sweep` (drawn, evaluated, assumptions checked, error
bounds where needed) in one thread and with two workers, and by a Python loop over the same models that evaluates the same
statement one model at a time in float64, without error bounds; the ratios are to the loop.  Rates are a second by the clock, and a
second of processor time (one thread).  `load` is the load average of the minute before a row was finished: what others took of the
cores.  Targets on two cores: 10^6 models a second for scalar claims, 10^5 for matrices of five environments, 200 times the loop.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from ..kernels.benchmarks.measure import processor
from ..theory import registry
from ..theory.claim import Claim
from ..theory.files import write_table
from .arithmetic import arithmetic
from .check import sweep
from .draw import draw_batch
from .engine import without_definitions
from .evaluate import admitted, judge

ENVIRONMENTS, DIMENSION, SAMPLES = 5, 5, 3
TARGETS = {"scalars": 10**6, "environments": 10**5}
FIELDS = (
    "claim", "kind", "sizes", "models", "ours_per_s", "two_workers_per_s", "loop_per_s", "ratio", "ratio_two_workers",
    "ours_per_cpu_s", "loop_per_cpu_s", "ratio_cpu", "relations", "processor", "torch", "python", "cores", "load",
)  # fmt: skip
ROUNDS = 5


def sizes_of(claim: Claim) -> dict[str, int]:
    """Five environments, five dimensions, three of everything else."""
    names = sorted({side for i in claim.inputs for side in (i.rows, i.cols) if side and not side.isdigit()})
    return {name: {"T": ENVIRONMENTS, "d": DIMENSION, "P": DIMENSION}.get(name, SAMPLES) for name in names}


def kind_of(claim: Claim) -> str:
    """``scalars``: numbers in; ``environments``: a sequence of any length; ``samples``: the rest, vectors and samples."""
    sides = {side for i in claim.inputs for side in (i.rows, i.cols) if side}
    return "scalars" if not sides else "environments" if "T" in sides else "samples"


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def loop(claim: Claim, models: int, seed: int, fixed: Mapping[str, int]) -> None:
    """The same as `sweep`, one model after the other."""
    plain, light = arithmetic("plain"), without_definitions(claim)
    drawn = draw_batch(claim, seed, 0, models, fixed)
    for k in range(models):
        values = claim.bind({name: x.mid[k : k + 1] for name, x in drawn.items()}, plain)
        if bool(admitted(light, values, plain, 1)[0]):
            for relation in claim.statement.relations:
                judge(relation, values, plain)


def measure(claim: Claim, models: int, loop_models: int, fixed: Mapping[str, int]) -> dict[str, int]:
    """Models a second, the best of some rounds; the contestants take turns, so that others on the machine disturb all alike."""
    work = {
        "ours": lambda seed: sweep(claim, models, seed, fixed=fixed),
        "two_workers": lambda seed: sweep(claim, models, seed, fixed=fixed, workers=2),
        "loop": lambda seed: loop(claim, loop_models, seed, fixed),
    }
    best = dict.fromkeys(work, (math.inf, math.inf))
    for seed in range(ROUNDS):
        for name, job in work.items():
            found = timed(lambda job=job, seed=seed: job(seed))  # type: ignore[misc]
            best[name] = (min(best[name][0], found[0]), min(best[name][1], found[1]))
    count = {"ours": models, "two_workers": models, "loop": loop_models}
    wall = {name: count[name] / seconds for name, (seconds, _) in best.items()}
    cpu = {name: count[name] / seconds for name, (_, seconds) in best.items()}
    return {
        "ours_per_s": round(wall["ours"]), "two_workers_per_s": round(wall["two_workers"]), "loop_per_s": round(wall["loop"]),
        "ratio": round(wall["ours"] / wall["loop"]), "ratio_two_workers": round(wall["two_workers"] / wall["loop"]),
        "ours_per_cpu_s": round(cpu["ours"]), "loop_per_cpu_s": round(cpu["loop"]), "ratio_cpu": round(cpu["ours"] / cpu["loop"]),
    }  # fmt: skip


def main(path: Path, claims: Sequence[str] = (), models: int = 1 << 17, loop_models: int = 100) -> None:
    """Write one CSV file; an existing one is replaced."""
    rows = []
    for claim_id in claims or registry.modules():
        claim = registry.get(claim_id)
        fixed = sizes_of(claim)
        sweep(claim, 16384, fixed=fixed)
        rows.append({
            "claim": claim_id, "kind": kind_of(claim), "sizes": " ".join(f"{k}={v}" for k, v in fixed.items()), "models": models,
            **measure(claim, models, loop_models, fixed),
            "relations": len(claim.statement.relations), "processor": processor(), "torch": torch.__version__, "python": platform.python_version(),
            "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
        })  # fmt: skip
        print(rows[-1], flush=True)
    write_table(path, FIELDS, rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])
