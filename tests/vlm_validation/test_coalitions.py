"""E8: coalition values, their split between modalities, and how it moves along a sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.coalitions import (
    COALITIONS,
    CoalitionRun,
    dual_encoder_inputs,
    run_coalitions,
    share_right,
    split,
)
from crossmodal.vlm_validation.features import Features

from .conftest import unit


def one_sided(side: str) -> Features:
    """Only one modality tells the classes apart; the other is the same vector everywhere."""
    rng = np.random.default_rng(0)
    telling = unit(rng, 6, 5)[np.repeat(np.arange(6), 4)]
    silent = np.repeat(unit(rng, 1, 5), 24, axis=0)
    label, environment = np.repeat(np.arange(6), 4), np.repeat([0, 1, 2], 8)
    pair = {"image": telling, "text": silent} if side == "I" else {"image": silent, "text": telling}
    return Features(**pair, environment=environment, label=label)


@pytest.mark.parametrize("side", ["I", "T"])
def test_the_modality_that_tells_gets_the_credit(side: str) -> None:
    features = one_sided(side)
    run = run_coalitions(dual_encoder_inputs(features), features.environment, features.label, (0, 1, 2))
    phi = run.shapley()
    here, there = (0, 1) if side == "I" else (1, 0)
    assert phi[-1, 2, here] > 0.2
    np.testing.assert_allclose(phi[..., there], 0, atol=1e-12)
    np.testing.assert_allclose(run.interaction(), 0, atol=1e-12)


def test_contributions_add_up_and_start_from_chance() -> None:
    features = one_sided("I")
    run = run_coalitions(
        dual_encoder_inputs(features), features.environment, features.label, (2, 0, 1), baseline="mean"
    )
    f = run.confidence
    np.testing.assert_allclose(run.shapley().sum(axis=-1), f[..., 3] - f[..., 0], atol=1e-12)
    np.testing.assert_allclose(f[0], 1 / 6)
    assert run.accuracy.shape == (4, 3, 4)
    assert (run.accuracy[1, 0, 3], run.accuracy[3, 2, 3]) == (1, 1), "the environment just learned is known"
    assert run.names == ("environment 2", "environment 0", "environment 1")
    phi = run.shapley()
    assert phi[-1, 0, 0] - phi[1, 0, 0] < -0.05, "what was learned first has been forgotten"


def test_shapley_and_interaction_by_hand() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.9]).reshape(1, 1, 4)  # f(), f(I), f(T), f(IT)
    run = CoalitionRun(("a",), values, values, "")
    np.testing.assert_allclose(run.shapley()[0, 0], [(0.3 + 0.7) / 2, (0.1 + 0.5) / 2])
    np.testing.assert_allclose(run.interaction("accuracy"), 0.4)


def test_wrong_inputs_are_refused() -> None:
    features = one_sided("I")
    inputs = dual_encoder_inputs(features)
    for wrong in (
        {key: inputs[key] for key in COALITIONS if key != "T"},
        inputs | {"I": features.image},
    ):
        with pytest.raises(InputError, match="replaced by its baseline"):
            run_coalitions(wrong, features.environment, features.label, (0, 1, 2))


def test_a_tie_counts_its_share() -> None:
    """A zero head ties all classes: chance, not the accuracy of always answering the first class."""
    p = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    assert share_right(p, torch.tensor([0, 1, 2])).tolist() == pytest.approx([1 / 2, 0, 1 / 3])
    features = one_sided("I")
    run = run_coalitions(dual_encoder_inputs(features), features.environment, features.label, (0, 1, 2))
    np.testing.assert_allclose(run.accuracy[0], 1 / 6)


@pytest.mark.parametrize("of_means", [False, True])
def test_samples_average_to_what_is_reported(of_means: bool) -> None:
    features = one_sided("I")
    inputs = dual_encoder_inputs(features)
    run = run_coalitions(inputs, features.environment, features.label, (2, 0, 1), of_means=of_means)
    for j in range(3):
        np.testing.assert_allclose(run.sampled[j].mean(axis=1), run.confidence[:, j], atol=1e-15)
        np.testing.assert_allclose(split(run.sampled[j]).mean(axis=1), run.shapley()[:, j], atol=1e-15)
        np.testing.assert_allclose(run.hits[j].mean(axis=1), run.accuracy[:, j, 3], atol=1e-15)
        for stage, found in enumerate(run.means[j] if of_means else ()):
            np.testing.assert_allclose(found.own, run.sampled[j][stage], atol=1e-14)


def test_baselines_are_those_of_the_environment() -> None:
    features = one_sided("T")
    inputs = dual_encoder_inputs(features)
    for k in features.environments:
        rows = features.rows(k)
        np.testing.assert_allclose(inputs["I"][rows, 5:], np.tile(features.text[rows].mean(axis=0), (8, 1)), atol=1e-6)
        np.testing.assert_array_equal(inputs["I"][rows, :5], features.image[rows])
    assert np.ptp(inputs[""], axis=0).max() > 0.1, "and differ"
