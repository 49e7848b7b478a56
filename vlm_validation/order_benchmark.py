"""How well the order oracle ranks, and what it costs beside training: ``python -m crossmodal.vlm_validation.order_benchmark FEATURES.npz OUT.csv``.

The environments of the file are those shipped with it and regroupings of its classes, at random and as given.  Cost is processor time
of predicting all orders over that of training them all by prefix tree, in one process, the two by turns; the least, the median and the
largest of `ROUNDS` are recorded.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..theory.files import write_table
from .features import Features, load_features
from .order_oracle import compare_predictors, predict, refined, refinement
from .orders import train_orders

STEPS, STEP, ROUNDS, GROUPS = 200, 5.0, 11, 5
Grouping = None | int | Sequence[Sequence[str]]
GROUPINGS: dict[str, Grouping] = {
    "shipped": None,
    "alternative": (("person", "accessory", "sports"), ("vehicle", "outdoor"), ("animal",), ("food", "kitchen"),
                    ("furniture", "electronic", "appliance", "indoor")),
    **{f"random {seed}": seed for seed in range(100, 105)},
}  # fmt: skip
FIELDS = (
    "grouping", "samples", "classes", "environments", "prototypes", "spearman", "regret",
    "class_means_spearman", "class_means_regret", "cost_least", "cost", "cost_most", "predict_s", "train_s", "data", "numpy", "torch", "python", "threads",
    "cores", "load",
)  # fmt: skip


def regrouped(features: Features, grouping: Grouping) -> Features:
    """The samples in other environments: None as they are, a seed of `GROUPS` random groups of classes, or groups of class names."""
    if grouping is None:
        return features
    if isinstance(grouping, int):
        of_class = np.random.default_rng(grouping).integers(GROUPS, size=features.classes)
    else:
        assert features.label_names is not None, "groups of class names need names of classes"
        of_class = np.array([next(k for k, group in enumerate(grouping) if n in group) for n in features.label_names])
    return Features(
        image=features.image, text=features.text, environment=of_class[features.label], label=features.label
    )


def measure(name: str, features: Features, data: str) -> dict[str, Any]:
    """One row of the record."""
    features = regrouped(features, GROUPINGS[name])
    runs = train_orders(features, steps=STEPS, step=STEP)  # the first also warms what both use
    rows = {row.name: row for row in compare_predictors(features, runs)}
    oracle, means = rows[refined(refinement(len(features)))], rows["T3.10 class prototypes"]
    predicting, training = [], []
    for _ in range(ROUNDS):
        training.append(train_orders(features, steps=STEPS, step=STEP).cpu_seconds)
        started = time.process_time()
        predict(features, runs.orders, steps=STEPS, step=STEP)
        predicting.append(time.process_time() - started)
    cost = np.array(predicting) / np.array(training)
    return {
        "grouping": name, "samples": len(features), "classes": features.classes, "environments": len(features.environments),
        "prototypes": refinement(len(features)), "spearman": round(oracle.spearman[0], 4),
        "regret": round(oracle.regret, 5),
        "class_means_spearman": round(means.spearman[0], 4), "class_means_regret": round(means.regret, 5),
        "cost_least": round(float(cost.min()), 5), "cost": round(float(np.median(cost)), 5), "cost_most": round(float(cost.max()), 5),
        "predict_s": round(float(np.median(predicting)), 4), "train_s": round(float(np.median(training)), 3), "data": data,
        "numpy": np.__version__, "torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads(),
        "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def main(source: Path, path: Path) -> None:
    """Write one CSV file; an existing one is replaced."""
    features = load_features(source)
    rows = []
    for name in GROUPINGS:
        rows.append(measure(name, features, source.stem))
        print(rows[-1], flush=True)
    write_table(path, FIELDS, rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
