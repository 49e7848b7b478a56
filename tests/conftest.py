"""Shared fixtures.  Real features are used when they are at hand, and their absence is said aloud."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # begun in the background of a shell; programs under test would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
# "dev" and "ci" draw the same examples every time, so that a change is judged by what it changed; "nightly" explores.
settings.register_profile("dev", max_examples=10, deadline=None, derandomize=True)
settings.register_profile(
    "ci", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("nightly", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

REAL = Path(os.environ.get("CROSSMODAL_REALDATA", Path(__file__).parents[2] / "shared" / "realdata"))


@pytest.fixture(scope="session")
def coco500() -> Path:
    """Features of a real encoder (CLIP ViT-B/16 on COCO), where they are present."""
    path = REAL / "coco500.npz"
    if not path.is_file():
        pytest.skip(
            f"REAL DATA NOT FOUND: {path}; set CROSSMODAL_REALDATA to a folder with coco500.npz to measure on it"
        )
    return path


def pytest_report_header() -> str:
    found = (REAL / "coco500.npz").is_file()
    return f"real features: {'found' if found else 'NOT FOUND, tests marked realdata will be skipped'} ({REAL.name})"


# torch warns once about nothing we call; anything of our own stays an error.
warnings.filterwarnings("ignore", message=".*nested tensors.*")
