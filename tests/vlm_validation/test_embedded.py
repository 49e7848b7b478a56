"""The shipped models: whole, as their cards say, really trained; and training gives the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import embedded_models as models
from crossmodal.vlm_validation import train_embedded as training
from crossmodal.vlm_validation.coalitions import fused_encoder_inputs, run_coalitions
from crossmodal.vlm_validation.embedded import default_features, model_card
from crossmodal.vlm_validation.scenes import WORLDS, draw_scenes, render
from crossmodal.vlm_validation.scores import score_matrices

pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so no shipped model was run")
worlds = pytest.mark.parametrize("world", ["high", "low"])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@worlds
def test_files_are_those_of_the_card_and_small(world: str) -> None:
    card = model_card(world)
    for kind in ("clip", "fused"):
        path = models.model_folder(kind, world) / "model.safetensors"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == card["weights_sha256"][kind]
        assert path.stat().st_size < 3e6
    assert default_features(world).content_hash() == card["features"]
    assert default_features(world).metadata["checkpoint"] == "sha256:" + card["weights_sha256"]["clip"]
    assert (models.EMBEDDED / f"features_{world}.npz").stat().st_size < 1e6


@worlds
@pytest.mark.slow
def test_training_scenes_are_those_of_the_card(world: str) -> None:
    card = model_card(world)
    scenes = training.training_scenes(world, card["training_scenes"], card["seed"])
    assert training.data_hash(scenes) == card["data_sha256"]


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the paper asks: it then leaves the figure out and draws the others."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    for load in (models.load_clip, models.load_fused):
        with pytest.raises(InputError, match=r"transformers is not installed(.|\n)*crossmodal\[vlm\]"):
            load("high")


def test_loading_a_model_leaves_the_generator_alone() -> None:
    """A figure that loads one must not change what is drawn at random after it."""
    before = torch.get_rng_state()
    models.load_clip("high")
    models.load_fused("high")
    assert torch.equal(torch.get_rng_state(), before)


@worlds
def test_the_card_shows_learning(world: str) -> None:
    table = model_card(world)["accuracy"]
    assert len(table) == 8
    for title, row in table.items():
        floor = 0.8 if row["chance"] == 0.5 else 0.5
        assert row["value"] > floor, title


@worlds
def test_dual_encoder_names_unseen_scenes(world: str) -> None:
    """Measured here, not read from the card, on scenes neither training nor the card has drawn."""
    model, tokenizer = models.load_clip(world)
    scenes = draw_scenes(world, 150, split="unseen", seed=99)
    features = training.embed(world, model, tokenizer, scenes, {})
    assert features.prompts is not None
    guess = (features.image @ features.prompts.T).argmax(axis=1)
    assert (guess == features.label).mean() > 0.8
    shuffled = features.image[np.random.default_rng(0).permutation(150)]
    assert ((shuffled @ features.prompts.T).argmax(axis=1) == features.label).mean() < 0.25, "the check can fail"


@worlds
def test_fused_encoder_matches_unseen_scenes_and_needs_both_modalities(world: str) -> None:
    matcher, classifier, tokenizer = models.load_fused(world)
    table = training.judge_fused(world, matcher, classifier, tokenizer, seed=99)
    assert table["matching accuracy, unseen, balanced"]["value"] > 0.75
    assert table["classification, unseen, both"]["value"] > 0.8
    torch.manual_seed(0)
    naive = models.build_fused(15).eval()
    assert training.judge_fused(world, naive, classifier, tokenizer, 99)["matching accuracy, unseen, balanced"][
        "value"
    ] == pytest.approx(0.5, abs=0.1)


def test_coalitions_of_the_fused_encoder() -> None:
    matcher, _, tokenizer = models.load_fused("high")
    scenes = draw_scenes("high", 90, split="unseen", seed=5)
    pixels = models.pixel_tensor(np.stack([render(scene) for scene in scenes]))
    inputs = fused_encoder_inputs(matcher.vilt, pixels, models.tokens(tokenizer, [s.caption for s in scenes]), batch=50)
    assert np.ptp(inputs[""], axis=0).max() < 1e-4, "with nothing present all samples look alike"
    run = run_coalitions(
        inputs, np.array([s.environment for s in scenes]), np.array([s.label for s in scenes]), range(5),
        names=[e.name for e in WORLDS["high"].environments], steps=50,
    )  # fmt: skip
    assert run.names[0] == "sky"
    assert run.accuracy[-1, -1, 3] > 0.8
    phi = run.shapley()[-1, -1]
    assert phi.min() > 0, "image and caption both speak for the class"


def test_the_two_sets_differ_in_dispersion() -> None:
    spread = {}
    for world in ("high", "low"):
        con = score_matrices(default_features(world))["IT"]
        spread[world] = con[~np.eye(5, dtype=bool)].std()
    assert spread["high"] > 4 * spread["low"]


def test_default_features_are_ready_for_use() -> None:
    features = default_features("low")
    assert len(features) == 500
    assert features.environments == (0, 1, 2, 3, 4)
    assert features.prompts is not None
    assert features.captions is not None
    assert features.notes == ()
    for call in (default_features, model_card):
        with pytest.raises(InputError, match="'high' or 'low'"):
            call("medium")
    with pytest.raises(InputError, match="no shipped model"):
        models.model_folder("siglip", "high")


def test_same_seed_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        if seed:  # of another seed only the weights are asked for
            monkeypatch.setattr(training, "judge_clip", lambda *_: {})
            monkeypatch.setattr(training, "judge_fused", lambda *_: {})
        training.train_world("low", tmp_path / folder, seed=seed, clip_steps=2, fused_steps=2, count=400, judged=150)
        files = sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / folder).as_posix(): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert len(json.loads(contents[0]["card_low.json"])["accuracy"]) == 8
    assert contents[0]["clip_low/model.safetensors"] != contents[2]["clip_low/model.safetensors"]
    assert set(contents[0]) >= {"card_low.json", "features_low.npz", "fused_low/model.safetensors"}
    assert json.loads(contents[0]["card_low.json"])["steps"] == {"clip": 2, "fused": 2}


def test_tokenizer_knows_every_word_and_marks_others() -> None:
    tokenizer = models.build_tokenizer()
    batch = models.tokens(tokenizer, ["two red stars over night", "two red aardvarks over night"])
    unknown = tokenizer.convert_tokens_to_ids("[UNK]")
    assert (batch["input_ids"] == unknown).sum(dim=1).tolist() == [0, 1]
    assert batch["input_ids"][0, 0] == tokenizer.convert_tokens_to_ids("[BOS]")
    for world in WORLDS:
        for scene in draw_scenes(world, 50, similarity=1.0):
            assert not (models.tokens(tokenizer, [scene.caption])["input_ids"] == unknown).any()


def test_mismatched_captions_are_wrong_exactly_when_they_say_so() -> None:
    tokenizer = models.build_tokenizer()
    data = training.prepare("high", draw_scenes("high", 600), tokenizer)
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat([group[:16] for group in data.groups])
    other, wrong = training.mismatched(data, rows, generator)
    for row, shown, is_wrong in zip(rows.tolist(), other.tolist(), wrong.tolist(), strict=True):
        a, b = data.scenes[row], data.scenes[shown]
        assert is_wrong == (sorted(a.caption.split()) != sorted(b.caption.split()))
    assert 0.3 < wrong.float().mean() < 0.6


def test_help_is_readable() -> None:
    result = CliRunner().invoke(training.main, ["--help"])
    assert result.exit_code == 0
    assert "high|low|both" in result.output
