"""Every order of a set of features, trained once a build and shared by the figures and tables that show it."""

from __future__ import annotations

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
