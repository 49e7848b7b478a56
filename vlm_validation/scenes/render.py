"""Pixels of a scene: a patterned background, and one to three textured silhouettes on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .shapes import SHAPES, bird_wing

SIZE = 32
_FINE = 2  # supersampling: edges are averages of 2 x 2 finer pixels
_GRID = (np.indices((SIZE * _FINE, SIZE * _FINE)) + 0.5) / _FINE  # y and x in pixels of the result

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49), "orange": (240, 140, 30), "yellow": (245, 215, 66), "green": (60, 160, 70),
    "blue": (50, 90, 210), "purple": (130, 60, 170), "pink": (240, 140, 190), "white": (245, 245, 245),
    "brown": (120, 75, 40), "black": (30, 30, 35),
}  # fmt: skip
TEXTURES = ("plain", "striped", "dotted")
# name -> (two colours, pattern)
BACKGROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], str]] = {
    "night": ((18, 20, 60), (30, 34, 90), "speckle"),
    "grass": ((110, 190, 90), (80, 160, 70), "blades"),
    "asphalt": ((120, 122, 128), (100, 102, 108), "lanes"),
    "tiles": ((225, 215, 195), (200, 185, 165), "checks"),
    "wood": ((170, 120, 75), (150, 100, 60), "planks"),
}


@dataclass(frozen=True)
class Scene:
    """Everything that is visible, and the caption.

    Attributes:
        id: versioned name; the same id is the same scene on any machine.
        environment, label: ids within the world.
        shape, colour, texture, background: keys of the tables above; `wing` a second colour for birds, else "".
        count: 1 to 3 copies of the object; `place` "left", "right" or "middle" for one, else "".
        caption: English, mentions all of it but a plain texture.
        seed: of the jitter (positions, sizes, brightness, noise).
    """

    id: str
    environment: int
    label: int
    shape: str
    colour: str
    wing: str
    texture: str
    background: str
    count: int
    place: str
    caption: str
    seed: tuple[int, ...]


def render(scene: Scene) -> np.ndarray:
    """(32, 32, 3) uint8 pixels, a function of the scene alone."""
    rng = np.random.default_rng([*scene.seed, 1])
    y, x = _GRID
    canvas = _background(scene.background, x, y, rng)
    for cx, cy, radius in _places(scene, rng):
        tilt = rng.uniform(-0.2, 0.2)
        u, v = (x - cx) / radius, (y - cy) / radius
        u, v = np.cos(tilt) * u + np.sin(tilt) * v, np.cos(tilt) * v - np.sin(tilt) * u
        if scene.place == "left" and scene.shape == "bird":
            u = -u  # a bird on the left looks out of the picture
        _paint(canvas, SHAPES[scene.shape](u, v), scene.colour, scene.texture, u, v)
        if scene.wing:
            _paint(canvas, bird_wing(u, v), scene.wing, scene.texture, u, v)
    pixels = canvas.reshape(SIZE, _FINE, SIZE, _FINE, 3).mean(axis=(1, 3))
    pixels = pixels * rng.uniform(0.85, 1.1) + rng.normal(0, 5, size=pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _background(name: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    first, second, pattern = BACKGROUNDS[name]
    shift = rng.uniform(0, 8)
    if pattern == "speckle":
        mask = rng.random(x.shape) < 0.08
    elif pattern == "blades":
        mask = np.sin(1.7 * (x + shift) + 2 * np.sin(0.9 * y)) > 0.3
    elif pattern == "lanes":
        mask = (y + shift) % 12 < 2
    elif pattern == "checks":
        mask = (((x + shift) // 5).astype(int) + ((y + shift) // 5).astype(int)) % 2 == 0
    else:
        mask = (x + shift) % 7 < 1.5
    return np.where(mask[..., None], np.array(second, dtype=np.float64), np.array(first, dtype=np.float64))


def _places(scene: Scene, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Centre and radius of every copy, in pixels."""
    if scene.count == 1:
        cx = {"left": 0.3, "middle": 0.5, "right": 0.7}[scene.place] * SIZE
        return [(cx + rng.uniform(-2, 2), SIZE / 2 + rng.uniform(-4, 4), rng.uniform(9.0, 11.5))]
    slots = {2: ((0.27, 0.5), (0.73, 0.5)), 3: ((0.27, 0.3), (0.73, 0.3), (0.5, 0.74))}[scene.count]
    return [
        (cx * SIZE + rng.uniform(-1.5, 1.5), cy * SIZE + rng.uniform(-1.5, 1.5), rng.uniform(6.2, 7.4))
        for cx, cy in slots
    ]


def _paint(canvas: np.ndarray, mask: np.ndarray, colour: str, texture: str, u: np.ndarray, v: np.ndarray) -> None:
    u, v = u[mask], v[mask]  # a silhouette covers a small part of the picture, and only its pixels need a shade
    shade = np.ones(u.shape)
    if texture == "striped":
        shade[(v * 2.2) % 1 < 0.4] = 0.55
    elif texture == "dotted":
        shade[((u * 2.2) % 1 - 0.5) ** 2 + ((v * 2.2) % 1 - 0.5) ** 2 < 0.09] = 0.55
    canvas[mask] = np.array(COLOURS[colour], dtype=np.float64) * shade[:, None]
