"""A small features set drawn from a spiked shared-latent model: what runs when no features are given.

Every environment has a direction of its own beside one shared by all; an image and its caption share a class part and
have private parts; the two modalities are apart by a constant gap, as in real dual encoders.
"""

from __future__ import annotations

import numpy as np

from .features import Features

ENVIRONMENTS = ("harbour", "orchard", "workshop", "street", "kitchen")


def generated_features(
    seed: int = 0, *, pairs: int = 40, dimension: int = 32, classes: int = 10, shared: float = 0.8
) -> Features:
    """Five environments of `pairs` (image, text) pairs in R^`dimension`.

    Args:
        seed: the same seed gives the same bytes.
        pairs: pairs in each environment, at least 2.
        dimension: of the common space, at least 8.
        classes: number of classes; environment k holds 2k, 2k+1 and a share of the next one.
        shared: weight of the direction common to all environments; larger means more similar environments.
    """
    rng = np.random.default_rng([20260614, seed])
    count = len(ENVIRONMENTS)

    def directions(n: int) -> np.ndarray:
        x = rng.standard_normal((n, dimension))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    common, gap = directions(2)
    places, kinds = directions(count), directions(classes)
    environment = np.repeat(np.arange(count), pairs)
    label = (2 * environment + rng.choice(3, size=len(environment), p=(0.45, 0.4, 0.15))) % classes
    meaning = shared * common + 0.6 * places[environment] + 0.7 * kinds[label]
    sides = []
    for sign in (1, -1):
        x = meaning + sign * 0.5 * gap + 0.8 * directions(len(environment))
        sides.append((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32))
    prompts = (kinds - 0.5 * gap) / np.linalg.norm(kinds - 0.5 * gap, axis=1, keepdims=True)
    return Features(
        image=sides[0], text=sides[1], environment=environment, label=label, environment_names=ENVIRONMENTS,
        label_names=tuple(f"class {k}" for k in range(classes)), prompts=prompts.astype(np.float32),
        metadata={"encoder": "generated: spiked shared-latent model", "seed": seed, "normalised": True},
        source="generated features",
    )  # fmt: skip
