"""Environments that an encoder can be trained on: scenes of the embedded worlds as pixels and tokens, with their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...theory.errors import InputError
from .. import embedded_models as models
from ..features import Features
from ..scenes import WORLDS, Scene, draw_scenes, render
from ..train_embedded import data_hash


@dataclass(frozen=True, eq=False)
class Samples:
    """Pairs of one environment.

    Attributes:
        pixels: (n, 3, 32, 32) float32.
        tokens: `input_ids` and `attention_mask`, (n, L) int64.
        label: (n,) int64.
    """

    pixels: torch.Tensor
    tokens: dict[str, torch.Tensor]
    label: torch.Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, eq=False)
class Environments:
    """What a run is trained and judged on.

    Attributes:
        world: "high" or "low"; names: T environments; classes: C, over all environments of the world.
        train, judged: T `Samples` each; the latter hold only combinations that training never shows.
        data_hash, model_hash: sha256 of all scenes, training ones first, and of the checkpoint's weights.
    """

    world: str
    names: tuple[str, ...]
    classes: int
    train: tuple[Samples, ...]
    judged: tuple[Samples, ...]
    data_hash: str
    model_hash: str

    def __len__(self) -> int:
        return len(self.names)


def load_environments(
    world: str, *, environments: int = 5, train: int = 60, judged: int = 60, seed: int = 0
) -> Environments:
    """The first environments of a world, rendered and tokenised.

    Args:
        world: "high" or "low".
        environments: T, from 2 to 5.
        train, judged: scenes of each environment, multiples of its number of classes so that all are equally frequent.
        seed: of the scenes.

    Raises:
        InputError: an unknown world, or a number out of range.
    """
    if world not in WORLDS:
        raise InputError(f"world {world!r}", expected=f"one of {', '.join(WORLDS)}")
    place = WORLDS[world]
    most, classes = len(place.environments), len(place.label_names)
    if not 2 <= environments <= most:
        raise InputError(f"{environments} environments", expected=f"from 2 to {most}, those of the world {world!r}")
    each = classes // most
    for name, count in (("train", train), ("judged", judged)):
        if count < each or count % each:
            raise InputError(
                f"{name} = {count} scenes of each environment",
                expected=f"a positive multiple of {each}, the classes of an environment",
            )
    tokenizer = models.load_clip(world)[1]
    parts, used = [], []
    for split, count in (("train", train), ("unseen", judged)):
        scenes = [
            scene
            for scene in draw_scenes(world, count * most, split=split, seed=seed)
            if scene.environment < environments
        ]
        used += scenes
        parts.append(_samples(scenes, tokenizer, environments))
    weights = models.model_folder("clip", world) / "model.safetensors"
    names = tuple(environment.name for environment in place.environments[:environments])
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return Environments(world, names, classes, parts[0], parts[1], data_hash(used), digest)


def features_of(environments: Environments, sides: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Features:
    """Judged features of every environment as a features file in memory."""
    counts = [len(u) for u, _ in sides]
    return Features(
        image=torch.cat([u for u, _ in sides]).numpy(), text=torch.cat([v for _, v in sides]).numpy(),
        environment=np.repeat(np.arange(len(counts)), counts),
        label=torch.cat([samples.label for samples in environments.judged]).numpy(),
        environment_names=environments.names, label_names=WORLDS[environments.world].label_names,
    )  # fmt: skip


def _samples(scenes: list[Scene], tokenizer: Any, environments: int) -> tuple[Samples, ...]:
    pixels = models.pixel_tensor(np.stack([render(scene) for scene in scenes]))
    tokens = models.tokens(tokenizer, [scene.caption for scene in scenes])
    label = torch.tensor([scene.label for scene in scenes])
    where = torch.tensor([scene.environment for scene in scenes])
    return tuple(
        Samples(pixels[where == k], {name: x[where == k] for name, x in tokens.items()}, label[where == k])
        for k in range(environments)
    )
