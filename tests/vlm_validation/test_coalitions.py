"""E8: coalition values, their split between modalities, and how it moves along a sequence."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.coalitions import (
    COALITIONS,
    CoalitionRun,
    dual_encoder_inputs,
    fused_encoder_inputs,
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
        own = np.stack([stage.own for stage in run.values[j]])
        np.testing.assert_allclose(own.mean(axis=1), run.confidence[:, j], atol=1e-14)
        np.testing.assert_allclose(split(own).mean(axis=1), run.shapley()[:, j], atol=1e-14)
        np.testing.assert_allclose(run.hits[j].mean(axis=1), run.accuracy[:, j, 3], atol=1e-15)
        shares = np.random.default_rng(j).multinomial(8, np.full(8, 1 / 8), size=3) / 8
        for found in run.values[j]:
            assert (found.influence is found.own) == (not of_means)
            np.testing.assert_allclose(found.resampled(np.full((1, 8), 1 / 8))[0], found.own.mean(axis=0), atol=1e-14)
            if not of_means:
                np.testing.assert_allclose(found.resampled(shares), shares @ found.own, atol=1e-15)


def test_baselines_are_those_of_the_environment() -> None:
    features = one_sided("T")
    inputs = dual_encoder_inputs(features)
    for k in features.environments:
        rows = features.rows(k)
        np.testing.assert_allclose(inputs["I"][rows, 5:], np.tile(features.text[rows].mean(axis=0), (8, 1)), atol=1e-6)
        np.testing.assert_array_equal(inputs["I"][rows, :5], features.image[rows])
    assert np.ptp(inputs[""], axis=0).max() > 0.1, "and differ"


def test_training_against_plain_descent() -> None:
    """Written without coalitions in mind: rows scaled to mean square one around the full input's mean, then descent on each class."""
    rng = np.random.default_rng(0)
    inputs = {key: 3 + 2 * rng.standard_normal((9, 4)) for key in COALITIONS}
    environment, label = np.repeat([5, 7, 9], 3), np.arange(9) % 4
    run = run_coalitions(inputs, environment, label, (9, 5), steps=4, step=0.7)
    middle = sum(inputs["IT"]) / 9
    unit = np.sqrt(sum(float((x - middle) @ (x - middle)) for x in inputs["IT"]) / 9)
    z = {key: [np.append((x - middle) / unit, 1) for x in rows] for key, rows in inputs.items()}
    head = np.zeros((5, 4))

    def probability(x: np.ndarray) -> np.ndarray:
        e = np.exp(x @ head)
        return e / e.sum()

    for stage, learnt in enumerate((None, 9, 5)):
        for _ in range(4 if learnt else 0):
            rows = np.flatnonzero(environment == learnt)
            wrong = [np.outer(z["IT"][i], np.eye(4)[label[i]] - probability(z["IT"][i])) for i in rows]
            head = head + 0.7 * sum(wrong) / 3
        for j, k in enumerate((9, 5)):
            rows = np.flatnonzero(environment == k)
            found = [[probability(z[key][i])[label[i]] for key in COALITIONS] for i in rows]
            np.testing.assert_allclose(run.values[j][stage].own, found, atol=1e-12)


def test_absent_modalities_of_a_fused_encoder() -> None:
    """An encoder that adds up what it sees: a grey image is zero, an absent caption its first token."""

    def encoder(pixel_values: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        seen = [pixel_values.sum(dim=(1, 2, 3)), (input_ids * attention_mask).sum(dim=1)]
        return SimpleNamespace(pooler_output=torch.stack(seen, dim=1))

    pixels = torch.arange(1.0, 6)[:, None, None, None].expand(5, 3, 1, 1)
    tokens = {
        "input_ids": torch.tensor([[100, 7, 9]] * 4 + [[200, 8, 6]]),
        "attention_mask": torch.tensor([[1, 1, 0]] + [[1, 1, 1]] * 4),
    }
    found = fused_encoder_inputs(encoder, pixels, tokens, batch=2)
    image, text, first = 3 * np.arange(1, 6), [107, 116, 116, 116, 214], [100] * 4 + [200]
    for key, columns in (
        ("IT", (image, text)),
        ("I", (image, first)),
        ("T", (0 * image, text)),
        ("", (0 * image, first)),
    ):
        assert found[key].tolist() == np.column_stack(columns).tolist()
