"""Figures are computed once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from crossmodal.paper import build
from crossmodal.paper.results import Data


@pytest.fixture(scope="session")
def features() -> Any:
    return build.read_features(None)


@pytest.fixture(scope="session")
def compute(features: Any) -> Callable[[str], Data]:
    """Name of a figure -> its data, seed 0."""
    return cache(lambda name: build.module(name).compute(features, 0))
