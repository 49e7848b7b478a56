"""The scenes the project renders itself, as pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..scenes import VERSION, WORLDS, draw_scenes, render
from .pairs import Pairs

_SEED = 7  # with it, the pairs of a world are those of its shipped features file


def embedded_pairs(world: str, count: int = 500, seed: int = _SEED) -> Pairs:
    """`count` unseen scenes of the world "high" or "low"; by default those whose features are shipped.

    Raises:
        InputError: another world.
    """
    scenes = draw_scenes(world, count, split="unseen", seed=seed)

    def load(index: int) -> Any:
        from PIL import Image

        return Image.fromarray(render(scenes[index]))

    return Pairs(
        f"embedded scenes '{world}'", [scene.caption for scene in scenes],
        np.array([scene.environment for scene in scenes]), np.array([scene.label for scene in scenes]),
        np.array([scene.id for scene in scenes]), tuple(environment.name for environment in WORLDS[world].environments),
        WORLDS[world].label_names, load, lambda index: scenes[index].id, template="a {}",
        class_prompts=tuple(WORLDS[world].prompt(k) for k in range(len(WORLDS[world].label_names))),
        metadata={"data": f"scenes {world}-{VERSION}/unseen, seed {seed}"},
    )  # fmt: skip
