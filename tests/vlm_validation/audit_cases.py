"""Runs to audit, small enough for loops and without symmetries that would hide a swap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from crossmodal.vlm_validation.audit import Head, Run, make_run
from crossmodal.vlm_validation.features import Features

from .conftest import make_arrays

D, C = 5, 6
ULPS = 2e-13  # some thousands of operations on numbers of size ten
FUSIONS = ("image", "sum", "concat")


def first_stage() -> Features:
    return Features(**make_arrays(per_environment=20), environment_names=("a", "b", "c"))


def uneven_stage() -> Features:
    """Environments of 12, 7 and 9 samples."""
    return first_stage().select(np.r_[0:12, 20:27, 40:49])


def nudged(features: Features, image: float, text: float, seed: int = 1) -> Features:
    rng = np.random.default_rng(seed)
    sides = []
    for x, size in ((features.image, image), (features.text, text)):
        y = x.astype(float) + size * rng.standard_normal(x.shape)
        sides.append((y / np.linalg.norm(y, axis=1, keepdims=True)).astype(np.float32) if size else x)
    return replace(features, image=sides[0], text=sides[1])


def random_head(width: int = D, seed: int = 0, biased: bool = False, scale: float = 1.0) -> Head:
    rng = np.random.default_rng([seed, width])
    bias = rng.standard_normal(C) * scale if biased else np.zeros(C)
    return Head(rng.standard_normal((width, C)) * scale, bias, biased)


def random_run(fusion: str = "image", biased: bool = False) -> Run:
    """One transition."""
    one = first_stage()
    width = 2 * D if fusion == "concat" else D
    heads = [random_head(width, seed, biased) for seed in (0, 1)]
    return make_run((one, nudged(one, 0.05, 0.1)), heads, fusion=fusion, p=0.6, q=0.8, tau=20.0, weight=0.5)


def long_run(fusion: str = "sum", biased: bool = False) -> Run:
    """Three transitions, learnt out of the order of the ids; everything of one differs from that of the others."""
    stages = [uneven_stage()]
    for k in range(3):
        stages.append(nudged(stages[-1], 0.05 * (k + 1), 0.3 / (k + 2), seed=k))
    width = 2 * D if fusion == "concat" else D
    heads = [random_head(width, seed, biased) for seed in range(4)]
    return make_run(stages, heads, order=("c", "a", "b"), fusion=fusion, p=0.6, q=0.8, tau=7.0, weight=0.3)
