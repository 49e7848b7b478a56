"""Environments that an encoder can be trained on: scenes of the embedded worlds as pixels and tokens, with their hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...theory.errors import InputError, not_installed, unknown_name
from .. import embedded_models as models
from ..checkpoints import file_hash, settings_hash
from ..features import Features
from ..scenes import WORLDS, Scene, draw_scenes, render
from ..train_embedded import data_hash

MOST = 100_000  # scenes of an environment: their pixels stay in memory


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


@dataclass(frozen=True)
class Choice:
    """Which scenes: the first environments of a world.

    Attributes:
        world: "high" or "low".
        environments: T, from 2 to 5.
        train, judged: scenes of each environment, multiples of its number of classes so that all are equally frequent.
        seed: of the scenes.

    Raises:
        InputError: an unknown world, or a number out of range.
    """

    world: str = "high"
    environments: int = 5
    train: int = 60
    judged: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.world, str) or self.world not in WORLDS:
            raise unknown_name(f"world {self.world!r}", self.world, list(WORLDS), fix='world = "high"')
        most = len(WORLDS[self.world].environments)
        each = len(WORLDS[self.world].label_names) // most
        if type(self.environments) is not int or self.environments not in range(2, most + 1):
            raise InputError(
                f"{self.environments!r} environments",
                expected=f"a whole number from 2 to {most}, those of the world {self.world!r}",
                causes=("quotation marks or a decimal point",) if not isinstance(self.environments, int) else (),
                fix=f"environments = {most}",
            )
        for name in ("train", "judged"):
            count = getattr(self, name)
            if type(count) is not int or not each <= count <= MOST or count % each:
                raise InputError(
                    f"{name} = {count!r} scenes of each environment",
                    expected=f"a positive multiple of {each}, the classes of an environment, at most {MOST}",
                    causes=("classes that would not be equally frequent", "more scenes than memory holds"),
                    fix=f"{name} = {20 * each}, say",
                )
        if type(self.seed) is not int or self.seed < 0:
            raise InputError(
                f"scenes' seed {self.seed!r}", expected="a whole number that is not negative", fix="seed = 0"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the environments."""
        return tuple(environment.name for environment in WORLDS[self.world].environments[: self.environments])

    def scenes(self) -> tuple[list[Scene], list[Scene]]:
        """Training scenes, and judged ones: combinations that training never shows."""
        most = len(WORLDS[self.world].environments)
        train, judged = (
            [
                s
                for s in draw_scenes(self.world, count * most, split=split, seed=self.seed)
                if s.environment < len(self.names)
            ]
            for split, count in (("train", self.train), ("unseen", self.judged))
        )
        return train, judged

    def data_hash(self) -> str:
        """sha256 of ids, captions and pixels, training scenes first."""
        return _scenes_hash(self)

    def model_hash(self) -> str:
        """sha256 of the weights of the shipped dual encoder of this world.

        Raises:
            InputError: it is not installed.
        """
        return _weights_hash(models.model_folder("clip", self.world))

    def settings_hash(self) -> str:
        """sha256 of that encoder's configuration and tokenizer, which decide what the weights compute.

        Raises:
            InputError: it is not installed.
        """
        return _settings_hash(models.model_folder("clip", self.world))


def load_environments(choice: Choice) -> Environments:
    """The chosen scenes, rendered and tokenised."""
    tokenizer = quiet_clip(choice.world)[1]
    train, judged = (_samples(scenes, tokenizer, choice.environments) for scenes in choice.scenes())
    classes = len(WORLDS[choice.world].label_names)
    return Environments(choice.world, choice.names, classes, train, judged, choice.data_hash(), choice.model_hash())


def quiet_clip(world: str) -> tuple[Any, Any]:
    """`load_clip` without the library's own progress bar, which is not silent in a pipe.

    Raises:
        InputError: the checkpoint or the library that reads it is not installed.
    """
    try:
        from transformers.utils import logging
    except ImportError:
        raise not_installed("transformers", "vlm") from None

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return models.load_clip(world)
    finally:
        if shown:
            logging.enable_progress_bar()


def features_of(
    environments: Environments, sides: Sequence[tuple[torch.Tensor, torch.Tensor]], label: Sequence[torch.Tensor]
) -> Features:
    """Image and text features of every environment as a features file in memory."""
    counts = [len(u) for u, _ in sides]
    return Features(
        image=torch.cat([u for u, _ in sides]).numpy(), text=torch.cat([v for _, v in sides]).numpy(),
        environment=np.repeat(np.arange(len(counts)), counts), label=torch.cat(list(label)).numpy(),
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


@cache
def _scenes_hash(choice: Choice) -> str:
    train, judged = choice.scenes()
    return data_hash(train + judged)


@cache
def _weights_hash(folder: Path) -> str:
    return file_hash(folder / "model.safetensors")


_settings_hash = cache(settings_hash)
