"""Generated scenes: the same everywhere, held-out combinations really held out, captions true, the knob turns."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.scenes import SIZE, WORLDS, Scene, brief_caption, draw_scenes, render, vocabulary
from crossmodal.vlm_validation.scenes.worlds import describe, plural

worlds = pytest.mark.parametrize("world", ["high", "low"])


def looks(scene: Scene) -> tuple[object, ...]:
    return scene.label, scene.colour, scene.texture, scene.background, scene.count, scene.place


@worlds
def test_same_arguments_same_scenes(world: str) -> None:
    first, again = draw_scenes(world, 40, seed=3), draw_scenes(world, 60, seed=3)
    assert first == again[:40]
    assert draw_scenes(world, 40, seed=4) != first
    assert len({scene.id for scene in again}) == 60
    assert first[0].id == f"{world}-1/train/0/3/0"
    for scene in first[:5]:
        np.testing.assert_array_equal(render(scene), render(scene))
        assert render(scene).shape == (SIZE, SIZE, 3)
        assert render(scene).dtype == np.uint8


@worlds
@pytest.mark.parametrize("similarity", [0.0, 1.0])
def test_unseen_combinations_are_never_in_training(world: str, similarity: float) -> None:
    train = {looks(scene) for scene in draw_scenes(world, 1500, similarity=similarity)}
    unseen = {looks(scene) for scene in draw_scenes(world, 600, similarity=similarity, split="unseen")}
    assert len(unseen) > 60
    assert not train & unseen


@worlds
def test_classes_in_equal_shares_and_at_home(world: str) -> None:
    scenes = draw_scenes(world, 300)
    assert np.bincount([scene.label for scene in scenes]).tolist() == [20] * 15
    for scene in scenes:
        home = WORLDS[world].environments[scene.environment]
        assert WORLDS[world].label_names[scene.label] in home.classes
        assert scene.background in home.backgrounds


def test_families_of_birds_have_the_same_colours() -> None:
    world = WORLDS["low"]
    colours = [sorted(c for bird in e.classes for c in world.species[bird]) for e in world.environments]
    assert all(found == colours[0] for found in colours)
    assert len(set(colours[0])) == 6
    assert len({frozenset(pair) for pair in world.species.values()}) == 15


@worlds
def test_captions_say_what_is_there(world: str) -> None:
    words = set(vocabulary())
    rng = np.random.default_rng(0)
    for scene in draw_scenes(world, 200, similarity=0.5):
        said = scene.caption.split()
        assert set(said) <= words
        noun = WORLDS[world].label_names[scene.label]
        assert (plural(noun) if scene.count > 1 else noun) in said
        assert scene.background in said
        assert scene.colour in said
        assert (scene.texture in said) == (scene.texture != "plain")
        if scene.place:
            assert scene.place in said
        brief = brief_caption(scene, WORLDS[world], rng).split()
        assert set(brief) <= set(said) | {"a", "an"}


def test_grammar() -> None:
    rng = np.random.default_rng(0)
    assert describe("arrow", "red", "", "plain", "grass", 1, "", rng, keep=0.0) == "an arrow"
    assert describe("leaf", "red", "", "plain", "grass", 2, "", rng).startswith("two red leaves over grass")
    assert [plural(noun) for noun in ("bus", "finch", "canary", "jay")] == ["buses", "finches", "canaries", "jays"]


def test_similarity_is_a_knob() -> None:
    """The share of scenes on a ground that is not their environment's own grows with it."""

    def strangers(similarity: float) -> float:
        scenes = draw_scenes("high", 400, similarity=similarity)
        homes = WORLDS["high"].environments
        return float(np.mean([s.background not in homes[s.environment].backgrounds for s in scenes]))

    shares = [strangers(s) for s in (0.0, 0.3, 0.6, 1.0)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert 0.5 < shares[3] < 0.8


def test_every_attribute_changes_pixels() -> None:
    base = Scene("x", 0, 0, "cup", "red", "", "plain", "grass", 1, "left", "", (1,))
    variants = [
        Scene(**{**vars(base), **change})
        for change in (
            {"shape": "gear"}, {"colour": "blue"}, {"wing": "white"}, {"texture": "dotted"}, {"background": "wood"},
            {"count": 2, "place": ""}, {"place": "right"}, {"seed": (2,)},
        )
    ]  # fmt: skip
    pictures = {hashlib.sha256(render(scene).tobytes()).hexdigest() for scene in (base, *variants)}
    assert len(pictures) == len(variants) + 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"world": "medium"}, "medium"), ({"split": "test"}, "test"), ({"similarity": 1.5}, "from 0 to 1")],
)
def test_wrong_arguments(arguments: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        draw_scenes(**({"world": "high", "count": 3} | arguments))  # type: ignore[arg-type]
