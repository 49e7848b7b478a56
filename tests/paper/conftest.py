"""Figures are computed once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from crossmodal.paper import build, verdicts
from crossmodal.paper.results import Data

SHOWN = ("S2", "S7", "T3.4", "T3.5")


@pytest.fixture(scope="session", autouse=True)
def few_claims() -> Iterator[None]:
    """Some claims of every kind are enough to test the figures with; `crossmodal paper` shows all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "claims", lambda: SHOWN)
        yield


@pytest.fixture(scope="session")
def features() -> Any:
    return build.read_features(None)


@pytest.fixture(scope="session")
def compute(features: Any) -> Callable[[str], Data]:
    """Name of a figure -> its data, seed 0."""
    return cache(lambda name: build.module(name).compute(features, 0))
