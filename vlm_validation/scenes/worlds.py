"""Two worlds of five environments each, and how scenes and captions are drawn from them.

`high` plays the role of COCO: five places with objects, colours and a background of their own.  `low` plays the role of
CUB: one silhouette, a bird, in fifteen species told apart by the colours of body and wing, three to a region.

`similarity` in [0, 1] is the knob of E7: with that probability a scene takes colour and background from the common pool of
all environments instead of its own.  Classes always stay with their environment.  In the world `low` the pools are the
same for all, so the knob has nothing to turn.

About a fifth of all combinations of object, colour, texture, background, number and place never occurs in the split `train`;
the split `unseen` holds nothing else.  Which ones is a function of their names and of `VERSION`.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np

from ...theory.errors import InputError, unknown_name
from .render import BACKGROUNDS, COLOURS, TEXTURES, Scene

VERSION = 1
_HELD_OUT = 0.2
_NUMBERS = ("", "a", "two", "three")


@dataclass(frozen=True)
class Environment:
    """One environment: its name, the classes that live there, and what they usually look like."""

    name: str
    classes: tuple[str, ...]
    colours: tuple[str, ...]
    backgrounds: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """Five environments; `species` maps a class of the world `low` to its two colours."""

    name: str
    environments: tuple[Environment, ...]
    species: dict[str, tuple[str, str]]

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(name for environment in self.environments for name in environment.classes)

    def prompt(self, label: int) -> str:
        """The class prompt of zero-shot classification."""
        name = self.label_names[label]
        return f"{_article(name)} {name}"


_ALL = tuple(BACKGROUNDS)
# Fifteen species for the fifteen pairs of six colours, by families in each of which every colour occurs once (a
# one-factorisation of the complete graph K6): no family stands out by its colours, only species do.
_SPECIES = {
    "finch": ("red", "black"), "canary": ("yellow", "white"), "jay": ("blue", "green"),
    "robin": ("black", "yellow"), "parrot": ("green", "red"), "heron": ("white", "blue"),
    "crow": ("black", "blue"), "dove": ("white", "green"), "tanager": ("red", "yellow"),
    "martin": ("blue", "red"), "oriole": ("yellow", "green"), "gull": ("white", "black"),
    "wren": ("green", "black"), "warbler": ("yellow", "blue"), "stork": ("red", "white"),
}  # fmt: skip


def _birds(name: str, *species: str) -> Environment:
    return Environment(name, species, (), _ALL)


# Indoors and outdoors share backgrounds and a colour, and the sky shares nothing: as in COCO, some environments are close
# and others far, which is what dispersion means.
WORLDS: dict[str, World] = {
    "high": World(
        "high",
        (
            Environment("sky", ("star", "moon", "cloud"), ("white", "yellow"), ("night",)),
            Environment("garden", ("flower", "tree", "leaf"), ("red", "pink"), ("grass", "asphalt")),
            Environment("street", ("house", "arrow", "bus"), ("red", "blue"), ("grass", "asphalt")),
            Environment("kitchen", ("cup", "plate", "bowl"), ("brown", "purple"), ("tiles", "wood")),
            Environment("workshop", ("gear", "cross", "brick"), ("brown", "black"), ("tiles", "wood")),
        ),
        {},
    ),
    "low": World(
        "low",
        (
            _birds("north", "finch", "canary", "jay"),
            _birds("east", "robin", "parrot", "heron"),
            _birds("south", "crow", "dove", "tanager"),
            _birds("west", "martin", "oriole", "gull"),
            _birds("islands", "wren", "warbler", "stork"),
        ),
        _SPECIES,
    ),
}


def draw_scenes(world: str, count: int, *, split: str = "train", similarity: float = 0.0, seed: int = 0) -> list[Scene]:
    """`count` scenes, environments and classes in equal shares.

    Args:
        world: "high" or "low".
        count: number of scenes.
        split: "train", or "unseen" for combinations that "train" never holds.
        similarity: in [0, 1]; 0: every environment keeps to its own colours and background, 1: all share all.
        seed: the same arguments give the same scenes, and a larger `count` only adds to them.

    Raises:
        InputError: unknown world or split, similarity out of range.
    """
    if world not in WORLDS:
        raise unknown_name(f"world {world!r}", world, list(WORLDS), fix='"high" or "low"')
    if split not in ("train", "unseen"):
        raise InputError(f"split {split!r}", expected="'train' or 'unseen'")
    if not 0 <= similarity <= 1:
        raise InputError(f"similarity {similarity}", expected="a number from 0 to 1")
    return [_draw(WORLDS[world], index, split, similarity, seed) for index in range(count)]


def _draw(world: World, index: int, split: str, similarity: float, seed: int) -> Scene:
    key = (VERSION, zlib.crc32(f"{world.name} {split}".encode()), round(similarity * 1e6), seed, index)
    rng = np.random.default_rng(key)
    label = index % len(world.label_names)
    name = world.label_names[label]
    number = next(k for k, environment in enumerate(world.environments) if name in environment.classes)
    own = world.environments[number]
    while True:
        pooled = rng.random() < similarity
        colours = tuple(COLOURS) if pooled else own.colours
        backgrounds = _ALL if pooled else own.backgrounds
        wing = ""
        if name in world.species:
            colour, wing = world.species[name]
        else:
            colour = str(rng.choice(colours))
        background, texture = str(rng.choice(backgrounds)), str(rng.choice(TEXTURES))
        copies = int(rng.integers(1, 4))
        place = str(rng.choice(("left", "middle", "right"))) if copies == 1 else ""
        # With own colours only there are few combinations, so texture, count and place take part in what is held out.
        if (_is_held_out(name, colour, texture, background, copies, place)) == (split == "unseen"):
            break
    scene_id = f"{world.name}-{VERSION}/{split}/{similarity:g}/{seed}/{index}"
    shape = "bird" if wing else name
    caption = describe(name, colour, wing, texture, background, copies, place, rng)
    return Scene(scene_id, number, label, shape, colour, wing, texture, background, copies, place, caption, key)


def brief_caption(scene: Scene, world: World, rng: np.random.Generator) -> str:
    """A caption that leaves each attribute but number and noun out with probability 1/2."""
    name = world.label_names[scene.label]
    return describe(
        name, scene.colour, scene.wing, scene.texture, scene.background, scene.count, scene.place, rng, keep=0.5
    )


def _is_held_out(*combination: object) -> bool:
    digest = hashlib.sha256("|".join(map(str, (VERSION, *combination))).encode()).digest()
    return digest[0] / 256 < _HELD_OUT


def describe(
    name: str,
    colour: str,
    wing: str,
    texture: str,
    background: str,
    copies: int,
    place: str,
    rng: np.random.Generator,
    keep: float = 1.0,
) -> str:
    """A sentence about a scene: adjectives before the noun, then where and over what, in either order.

    Each part but number and noun is mentioned with probability `keep`.
    """
    says = rng.random(4) < keep
    words = [plural(name) if copies > 1 else name]
    if not wing and says[0]:
        words.insert(0, colour)
    if texture != "plain" and says[1]:
        words.insert(0, texture)
    parts = [_article(words[0]) if copies == 1 else _NUMBERS[copies], *words]
    if wing and says[0]:
        parts.append(f"with {wing} wings and {colour} body")
    tail = []
    if place and says[2]:
        tail.append(f"{'in' if place == 'middle' else 'on'} the {place}")
    if says[3]:
        tail.append(f"over {background}")
    return " ".join([*parts, *(tail if rng.random() < 0.5 else tail[::-1])])


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def plural(noun: str) -> str:
    """English plural of the nouns used here."""
    if noun == "leaf":
        return "leaves"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "ch")) else "s")


def vocabulary() -> tuple[str, ...]:
    """Every word any caption or prompt can hold, sorted."""
    nouns = [name for world in WORLDS.values() for name in world.label_names]
    words = {"an", "with", "wings", "and", "body", "in", "on", "the", "over", "left", "middle", "right"}
    words |= set(nouns) | {plural(noun) for noun in nouns} | set(COLOURS) | set(TEXTURES) | set(BACKGROUNDS)
    return tuple(sorted(words | set(_NUMBERS) - {""}))
