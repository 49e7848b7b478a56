"""Every order of a set of features, trained once a build and shared by the figures and tables that show it; their words."""

from __future__ import annotations

import math
from typing import Any

from ..vlm_validation.orders import OrderRuns, train_orders

_runs: dict[str, OrderRuns] = {}


def frozen_orders(features: Any) -> OrderRuns:
    """E3's protocol with a head that starts at zero, as `train_orders` has it.

    Raises:
        InputError: fewer than two environments, or more orders than can be enumerated.
    """
    key = features.content_hash()
    if key not in _runs:
        _runs[key] = train_orders(features, progress=False)
    return _runs[key]


def ratio_in_words(value: float | None) -> str:
    """Worst over best (`orders.ratio`; None where it came from JSON and there is none), for a caption."""
    if value is None or math.isnan(value):
        return "undefined, for the best order forgets nothing"
    return f"{value:.2f}"


def regret_in_words(least: float) -> str:
    """What `orders.excess` is a share of where the best order forgets `least`, for a caption."""
    if least > 0:
        return "forgetting of the order it prefers (the mean, where it prefers several alike) over that of the best, less one"
    return "what the order it prefers (the mean, where it prefers several alike) forgets more than the best, over the largest amount that any order loses or gains"
