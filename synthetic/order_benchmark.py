"""How tight the bounds of `order_search` are: ``python -m crossmodal.synthetic.order_benchmark FILE.csv``.

Environments are random directions in d dimensions plus `common` times a direction all share (0.5 to 3: scores of about 0.2 to 0.9).  Bounds are
given as a share of the forgetting of the order found; 1 in the last of them means the order is proved best.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from math import factorial
from pathlib import Path

import numpy as np
import torch

from ..kernels.benchmarks.measure import processor
from ..theory.files import write_table
from .order_bounds import LONGEST_SUBSETS, faint_bound, subset_bounds
from .order_search import branch_and_bound, local_search

CASES = (  # environments, dimension, weight of what they share
    (10, 1000, 0.0), (10, 40, 0.0), (10, 12, 0.0), (10, 8, 0.0), (10, 100, 0.5), (10, 100, 1.0), (10, 100, 3.0),
    (12, 1000, 0.0), (12, 60, 0.0), (12, 100, 1.0), (12, 100, 3.0), (15, 1000, 0.0), (15, 100, 0.0), (15, 100, 1.0),
    (18, 1000, 0.0), (18, 100, 1.0), (30, 10_000, 0.0), (30, 1000, 1.0),
)  # fmt: skip
FIELDS = (
    "environments", "dimension", "common", "mean_score", "orders", "forgetting", "faint_share", "subset_share", "proved_share",
    "optimal", "endings", "seconds", "processor", "torch", "python", "cores", "load",
)  # fmt: skip


def directions(count: int, dimension: int, common: float) -> torch.Tensor:
    """Gram matrix of the environments of a case."""
    a = np.random.default_rng([6, count, dimension]).standard_normal((count, dimension)) / dimension**0.5
    a[:, 0] += common
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    return torch.from_numpy(a @ a.T)


def measure(count: int, dimension: int, common: float, parts: int) -> dict[str, object]:
    gram = directions(count, dimension, common)
    start = time.perf_counter()
    small = count <= LONGEST_SUBSETS
    found = branch_and_bound(gram, parts) if small else local_search(gram, restarts=2)
    seconds = time.perf_counter() - start
    subset = float(subset_bounds(gram)[-1]) / found.forgetting if small else ""
    return {
        "environments": count, "dimension": dimension, "common": common,
        "mean_score": round(float((gram.sum() - count) / (count * (count - 1))), 3), "orders": factorial(count),
        "forgetting": f"{found.forgetting:.6g}", "faint_share": round(faint_bound(gram) / found.forgetting, 4),
        "subset_share": round(subset, 4) if isinstance(subset, float) else subset,
        "proved_share": round(found.bound / found.forgetting, 4), "optimal": found.optimal, "endings": found.evaluated,
        "seconds": round(seconds, 1), "processor": processor(), "torch": torch.__version__, "python": platform.python_version(), "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def main(path: Path, parts: int = 500_000) -> None:
    """Write one CSV file; an existing one is replaced."""
    rows = []
    for case in CASES:
        rows.append(measure(*case, parts))
        print(rows[-1], flush=True)
    write_table(path, FIELDS, rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
