"""What is shipped: two small VLMs for each of the worlds `high` and `low`, features of unseen scenes, and model cards.

Everything here but this file is written by `python -m crossmodal.vlm_validation.train_embedded`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...theory.errors import InputError
from ..features import Features, load_features

_HERE = Path(__file__).parent
NAMES = ("high", "low")


def default_features(name: str = "high") -> Features:
    """Features of 500 unseen generated scenes through the shipped dual encoder: what runs where no data is given.

    Args:
        name: "high", environments far apart (in the role of COCO), or "low", environments alike (in the role of CUB).

    Raises:
        InputError: another name.
    """
    features = load_features(_file(name, "features_{}.npz"))
    return replace(features, source=f"embedded features '{name}'")


def model_card(name: str = "high") -> dict[str, Any]:
    """Data hash, weight hashes, seed, steps and the accuracies beside chance of the shipped models of a world.

    Raises:
        InputError: another name.
    """
    card: dict[str, Any] = json.loads(_file(name, "card_{}.json").read_text())
    return card


def _file(name: str, pattern: str) -> Path:
    if name not in NAMES:
        raise InputError(
            f"embedded set {name!r}", expected="'high' or 'low'", causes=("a typing error",), fix="embedded:high"
        )
    path = _HERE / pattern.format(name)
    if not path.is_file():
        raise InputError(
            f"{path}: missing", expected="a file shipped with the package",
            causes=("an installation without package data",),
            fix="python -m crossmodal.vlm_validation.train_embedded",
        )  # fmt: skip
    return path
