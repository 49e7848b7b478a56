"""Small hand-made features, and the real ones where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from crossmodal.vlm_validation.features import Features, load_features

REALDATA = Path(__file__).resolve().parents[2].parent / "shared" / "realdata"


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def make_arrays(seed: int = 0, per_environment: int = 6, environments: int = 3, d: int = 5) -> dict[str, np.ndarray]:
    """The four required arrays: two classes an environment, directions spread around an environment mean."""
    rng = np.random.default_rng(seed)
    environment = np.repeat(np.arange(environments), per_environment)
    label = 2 * environment + np.arange(len(environment)) % 2
    centre = rng.normal(size=(2, 2 * environments, d))
    image, text = (c[label] + 0.3 * rng.normal(size=(len(label), d)) for c in centre)
    return {
        "image": (image / np.linalg.norm(image, axis=1, keepdims=True)).astype(np.float32),
        "text": (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32),
        "environment": environment,
        "label": label,
    }


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return make_arrays()


@pytest.fixture
def features(arrays: dict[str, np.ndarray]) -> Features:
    return Features(**arrays)


@pytest.fixture(scope="session")
def coco500() -> Features:
    path = REALDATA / "coco500.npz"
    if not path.is_file():
        pytest.skip(f"REAL DATA MISSING: {path} is not there, so nothing was measured on real features")
    return load_features(path)
