"""The dashboard's rows for the paper: computed once a build, shared by the figures and tables that show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import dashboard
from ..theory import registry
from ..theory.errors import InputError

_rows: dict[tuple[str, int, tuple[str, ...]], list[dashboard.Row]] = {}


def claims() -> tuple[str, ...]:
    """Ids of the claims shown, in the order of the theory."""
    return tuple(registry.modules())


def rows(features: Any, seed: int) -> list[dashboard.Row]:
    """Every claim derived, certified, attacked and measured on `features`, as `crossmodal verify` does it.

    Raises:
        InputError: features that are neither those of a file nor the generated set.
    """
    key = (features.content_hash(), seed, claims())
    if key not in _rows:
        path = features.source if Path(features.source).is_file() else None
        settings = dashboard.Settings(seed=seed, features=path)
        if dashboard.features(settings).content_hash() != key[0]:
            raise InputError(
                f"{features.source}: not the features that were read",
                expected="a features file as it lies on disk, or the generated set",
                fix="save_features, then pass the file",
            )
        _rows[key] = dashboard.run(claims(), settings, done=lambda row: None)
    return _rows[key]
