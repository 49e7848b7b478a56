"""Contributions of image and text per environment, against forward passes of `transformers` itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.datasets import Pairs, open_pairs
from crossmodal.vlm_validation.encoders import Encoder, load_encoder
from crossmodal.vlm_validation.extract import extract_features
from crossmodal.vlm_validation.features import load_features
from crossmodal.vlm_validation.model_coalitions import (
    BASELINES,
    ModelCoalitions,
    _batches,
    _mean,
    model_coalitions_by_environment,
)
from crossmodal.vlm_validation.scores import score_matrices

from .fake_data import fake_folder, tiny_checkpoint

pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so no encoder was run")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    found = open_pairs(str(fake_folder(tmp_path_factory.mktemp("data"), 14, 2)))
    nouns = ("star", "bus", "cup", "moon", "tree", "leaf", "gear")
    return replace(found, captions=[f"a {nouns[k % 7]}" + " over grass" * (k % 3) for k in range(14)])


def loaded(folder: Path, kind: str) -> Encoder:
    """A tiny model whose weights are large enough for its modalities to matter."""
    from safetensors.torch import load_file, save_file

    tiny_checkpoint(folder, kind)
    generator = torch.Generator().manual_seed(1)
    state = load_file(folder / "model.safetensors")
    wide = {k: 0.2 * torch.randn(x.shape, generator=generator) if x.ndim > 1 else x for k, x in state.items()}
    save_file(wide, folder / "model.safetensors", metadata={"format": "pt"})
    return load_encoder(str(folder), head=True)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_dual_tokens_against_the_models_own_passes(kind: str, pairs: Pairs, tmp_path: Path) -> None:
    encoder = loaded(tmp_path, kind)
    found = model_coalitions_by_environment(encoder, pairs, batch=3)
    model: Any = encoder.model
    for k in range(2):
        rows = np.flatnonzero(pairs.environment == k)
        inputs = encoder.inputs([pairs.load(int(i)) for i in rows], [pairs.captions[i] for i in rows])
        u = unit(model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output)
        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask", torch.ones_like(ids))
        v = unit(model.get_text_features(input_ids=ids, attention_mask=mask if kind == "clip" else None).pooler_output)
        only = torch.zeros_like(mask)
        if kind == "clip":
            only[:, 0] = 1
            only[torch.arange(len(ids)), (ids == 3).int().argmax(1)] = 1
        else:
            only[:, -1] = 1
        v_absent = unit(model.get_text_features(input_ids=ids, attention_mask=only).pooler_output)
        u_absent = unit(without_patches(model, kind)).expand_as(u)
        values = [(a * b).sum(-1) for a, b in ((u_absent, v_absent), (u, v_absent), (u_absent, v), (u, v))]
        np.testing.assert_allclose(found.values[k], torch.stack(values), atol=2e-6)
    assert found.value == "cosine"
    assert np.ptp(found.values[0][1:], axis=1).min() > 1e-2, "the check can fail"


def without_patches(model: Any, kind: str) -> torch.Tensor:
    vision = model.vision_model
    if kind == "siglip":  # an attention pool over nothing gives its output bias
        state = vision.head.attention.out_proj.bias[None]
        return state + vision.head.mlp(vision.head.layernorm(state))
    x = vision.embeddings.class_embedding + vision.embeddings.position_embedding.weight[0]
    x = vision.encoder(inputs_embeds=vision.pre_layrnorm(x[None, None])).last_hidden_state
    return model.visual_projection(vision.post_layernorm(x[:, 0]))


@torch.no_grad()
def test_fused_tokens_against_the_models_own_passes(pairs: Pairs, tmp_path: Path) -> None:
    encoder = loaded(tmp_path, "vilt")
    found = model_coalitions_by_environment(encoder, pairs, batch=3)
    assert found.value == "logit of the predicted class"
    for k in range(2):
        rows = np.flatnonzero(pairs.environment == k)
        for column, i in enumerate(rows):
            inputs = encoder.inputs([pairs.load(int(i))], [pairs.captions[i]])
            full = encoder.model(**inputs).logits[0]
            chosen = int(full.argmax())
            first = torch.zeros_like(inputs["attention_mask"])
            first[:, 0] = 1
            image = encoder.model(**{**inputs, "attention_mask": first}).logits[0, chosen]
            np.testing.assert_allclose(found.values[k][[1, 3], column], [image, full[chosen]], atol=1e-4)


@pytest.mark.parametrize("model", ["embedded:high", "embedded:fused_high"])
@pytest.mark.parametrize("baseline", BASELINES)
def test_contributions_add_up(model: str, baseline: str) -> None:
    data = open_pairs("embedded:high").limited(6)
    encoder = load_encoder(model, head=True)
    found = model_coalitions_by_environment(encoder, data, baseline=baseline, batch=3)
    assert found.names == data.environment_names
    for values, phi, mixed in zip(found.values, found.shapley, found.interaction, strict=True):
        none, image, text, both = values
        assert values.shape == (4, 6)
        np.testing.assert_allclose(phi.sum(axis=0), both - none, atol=1e-12)
        np.testing.assert_allclose(mixed, both - image - text + none, atol=1e-12)
    again = model_coalitions_by_environment(encoder, data, baseline=baseline, batch=3)
    assert all(np.array_equal(a, b) for a, b in zip(found.values, again.values, strict=True))
    assert found.to_dict()["environments"][0]["pairs"] == 6
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_mean_interaction_is_clv_less_con(tmp_path: Path) -> None:
    """C4 with the baselines of each environment; mutant: the mean over all environments."""
    data, encoder = open_pairs("embedded:high"), load_encoder("embedded:high")
    found = model_coalitions_by_environment(encoder, data, baseline="mean")
    extract_features(encoder, data, tmp_path / "f.npz", say=lambda _: None)
    features = load_features(tmp_path / "f.npz")
    clv = [float((features.image[r] * features.text[r]).sum(1).mean()) for r in map(features.rows, range(5))]
    expected = np.array(clv) - np.diag(score_matrices(features)["IT"])
    np.testing.assert_allclose([found.summary(k)["interaction"][0] for k in range(5)], expected, atol=1e-6)
    u, v = features.image.astype(float), features.text.astype(float)
    wrong = ((u - u.mean(0)) * (v - v.mean(0))).sum(1)
    assert abs(wrong[features.rows(0)].mean() - expected[0]) > 0.05


@pytest.mark.parametrize(("rows", "sizes"), [(7, [4, 3]), (5, [5]), (2, [2]), (9, [3, 3, 3])])
def test_no_batch_is_smaller_than_asked_for(rows: int, sizes: list[int], pairs: Pairs) -> None:
    """The baselines of a fused encoder are those of a batch; mutant: a last one of what is left."""
    chosen = np.arange(rows)
    encoder = load_encoder("embedded:fused_high", head=True)
    found = list(_batches(encoder, pairs, chosen, 3))
    assert [len(batch["input_ids"]) for batch in found] == sizes
    whole = encoder.inputs([pairs.load(int(i)) for i in chosen], [pairs.captions[i] for i in chosen])
    assert torch.equal(torch.cat([batch["pixel_values"] for batch in found]), whole["pixel_values"])


def test_patches_that_are_drawn_are_drawn_alike(pairs: Pairs, tmp_path: Path) -> None:
    loaded(tmp_path, "vilt")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_image_length": 5}))
    encoder = load_encoder(str(tmp_path), head=True)
    one, two, other = (model_coalitions_by_environment(encoder, pairs, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.values[0], two.values[0])
    assert not np.array_equal(one.values[0], other.values[0]), "the check can fail"


def test_intervals_by_hand() -> None:
    """Three values 0, 1, 2: mean 1, standard error 1/sqrt(3), 95 % quantile of Student's t with 2 degrees 2.91999."""
    values = np.array([[0.0] * 3, [0.0, 2.0, 4.0], [0.0] * 3, [0.0, 2.0, 4.0]])
    phi = np.array([[0.0, 1.0, 2.0], [0.0] * 3])
    found = ModelCoalitions(("a",), (values,), (phi,), (np.zeros(3),), "zero", "score").summary(0)
    assert found["image"] == pytest.approx((1.0, 2.919986 / 3**0.5), rel=1e-5)
    assert found["text"] == (0.0, 0.0)


def test_intervals_allow_for_mean_features() -> None:
    """Of a dual encoder's cosines; by hand from the features, as in a derivative of the means."""
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((2, 12, 5))
    mu, nu = u.mean(0), v.mean(0)
    values = np.stack([np.full(12, mu @ nu), u @ nu, v @ mu, (u * v).sum(1)])
    joint = values[3] - values[1] - values[2] + values[0]
    found = ModelCoalitions(("a",), (values,), (np.zeros((2, 12)),), (joint,), "mean", "cosine")
    # the mean interaction is the covariance, mean <u - mu, v - nu>, which a step of either mean moves in second order only
    mean, half = _mean(((u - mu) * (v - nu)).sum(1))  # 11/12 of what other pairs say, which the half-width reaches
    assert found.summary(0)["interaction"] == pytest.approx((mean, half * 12 / 11 + abs(mean) / 11))
    image = ((u * v).sum(1) - u @ nu - v @ mu) / 2  # (mean <u, v> - <mu, nu>) / 2, and what each sample moves it by
    assert found.summary(0)["image"] == pytest.approx((mean / 2, _mean(image)[1] * 12 / 11 + abs(mean) / 22))
    given = replace(found, value="score")
    assert given.summary(0)["interaction"][1] == pytest.approx(_mean(joint)[1])
    assert "mean features" in found.to_dict()["interval"]
    assert "mean features" not in given.to_dict()["interval"]


@pytest.mark.parametrize("n", [5, 20, 100])
def test_a_pair_in_its_own_mean_features_is_allowed_for(n: int) -> None:
    """Pairs far closer than others; intervals about the mean alone hold in 40, 54 and 75 % of draws."""
    rng, held = np.random.default_rng(n), []
    truth = clv_less_con(*aligned(rng, 100_000))
    for _ in range(300):
        u, v = aligned(rng, n)
        values = np.stack([np.full(n, u.mean(0) @ v.mean(0)), u @ v.mean(0), v @ u.mean(0), (u * v).sum(1)])
        joint = values[3] - values[1] - values[2] + values[0]
        mean, half = ModelCoalitions(("a",), (values,), (np.zeros((2, n)),), (joint,), "mean", "cosine").summary(0)[
            "interaction"
        ]
        assert mean == pytest.approx(clv_less_con(u, v))
        held.append(abs(mean - truth) <= half)
    assert np.mean(held) >= 0.9


def aligned(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    pairs, image, text = rng.standard_normal((3, n, 16))
    sides = (np.eye(16)[0] + 3 * pairs + x for x in (image, text))
    return [x / np.linalg.norm(x, axis=1, keepdims=True) for x in sides]


def clv_less_con(u: np.ndarray, v: np.ndarray) -> float:
    return float((u * v).sum(1).mean() - u.mean(0) @ v.mean(0))


def test_bad_input(pairs: Pairs) -> None:
    encoder = load_encoder("embedded:fused_low", head=True)
    with pytest.raises(InputError, match="noise"):
        model_coalitions_by_environment(encoder, pairs, baseline="noise")
    with pytest.raises(InputError, match="batch 0"):
        model_coalitions_by_environment(encoder, pairs, batch=0)
    with pytest.raises(InputError, match="at least 3"):
        model_coalitions_by_environment(encoder, pairs.limited(2), baseline="permute")
    with pytest.raises(InputError, match="no classification head"):
        model_coalitions_by_environment(load_encoder("embedded:fused_low"), pairs)
