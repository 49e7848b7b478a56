"""E7 on the shipped encoder."""

from __future__ import annotations

import pytest
import torch
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.similarity_sweep import sweep_similarity

pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so no shipped model was run")


def test_the_knob_moves_the_scores_and_the_sweep_repeats() -> None:
    torch.set_num_threads(1)
    points = sweep_similarity((0.0, 1.0), scenes=120, steps=20)
    assert points[1].con_II > points[0].con_II, "environments that share surroundings look more alike"
    assert points[1].sigma_I < points[0].sigma_I / 1.5, "and their scores differ less"
    for point in points:
        assert point.best <= point.mean <= point.worst
        assert point.spread == pytest.approx(point.worst / point.best)
    assert points == sweep_similarity((0.0, 1.0), scenes=120, steps=20)


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="at least 30"):
        sweep_similarity(scenes=10)
    with pytest.raises(InputError, match="from 0 to 1"):
        sweep_similarity((2.0,), scenes=30)
