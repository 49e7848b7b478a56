"""Silhouettes as functions of the plane, so that a scene needs no drawing library and has the same pixels everywhere.

Each takes coordinates x (right) and y (down), arrays of one shape with the object inside [-1, 1]^2, and returns a boolean
array of that shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Mask = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _disc(x: np.ndarray, y: np.ndarray, cx: float, cy: float, r: float, squash: float = 1.0) -> np.ndarray:
    return (x - cx) ** 2 + ((y - cy) / squash) ** 2 <= r * r


def _box(x: np.ndarray, y: np.ndarray, left: float, right: float, top: float, bottom: float) -> np.ndarray:
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def _radial(x: np.ndarray, y: np.ndarray, profile: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.hypot(x, y) <= profile(np.arctan2(x, -y))


def star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _radial(x, y, lambda a: 0.42 / np.cos(np.abs((a * 5 / (2 * np.pi)) % 1 - 0.5) * 1.9 - 0.95 + 1e-9) ** 1.6)


def moon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _disc(x, y, 0, 0, 0.95) & ~_disc(x, y, 0.45, -0.15, 0.8)


def cloud(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (_disc(x, y, -0.5, 0.2, 0.45) | _disc(x, y, 0.05, -0.1, 0.55) | _disc(x, y, 0.55, 0.2, 0.42)) & (y < 0.5)


def flower(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _radial(x, y, lambda a: 0.62 + 0.36 * np.cos(5 * a)) & ~_disc(x, y, 0, 0, 0.2)


def tree(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((y >= -0.95) & (y <= 0.45) & (np.abs(x) <= (y + 0.95) * 0.55)) | _box(x, y, -0.18, 0.18, 0.45, 0.95)


def leaf(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _disc(x, y, -0.6, 0.6, 1.2) & _disc(x, y, 0.6, -0.6, 1.2)


def house(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    roof = (y >= -0.95) & (y <= -0.1) & (np.abs(x) <= (y + 0.95) * 1.1)
    return (roof | _box(x, y, -0.7, 0.7, -0.1, 0.9)) & ~_box(x, y, -0.2, 0.2, 0.3, 0.9)


def arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _box(x, y, -0.95, 0.15, -0.22, 0.22) | ((x >= 0.1) & (np.abs(y) <= (0.95 - x) * 0.9))


def bus(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    body = _box(x, y, -0.95, 0.95, -0.6, 0.4) & ~_box(x, y, -0.7, 0.7, -0.4, -0.1)
    return body | _disc(x, y, -0.5, 0.5, 0.25) | _disc(x, y, 0.5, 0.5, 0.25)


def cup(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    handle = _disc(x, y, 0.5, 0, 0.42) & ~_disc(x, y, 0.5, 0, 0.2)
    return (np.abs(x + 0.2) <= 0.6 - 0.15 * y) & (np.abs(y) <= 0.75) | (handle & (x > 0.35))


def plate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _disc(x, y, 0, 0, 0.95) & ~_disc(x, y, 0, 0, 0.55)


def bowl(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (_disc(x, y, 0, -0.3, 0.95) & (y >= -0.3)) | _box(x, y, -0.35, 0.35, 0.6, 0.85)


def gear(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _radial(x, y, lambda a: np.where(np.cos(8 * a) > 0, 0.97, 0.66)) & ~_disc(x, y, 0, 0, 0.28)


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.abs(x) <= 0.27) & (np.abs(y) <= 0.95) | (np.abs(y) <= 0.27) & (np.abs(x) <= 0.95)


def brick(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _box(x, y, -0.95, 0.95, -0.5, 0.5)


def bird_body(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A bird that faces right: body, head, beak and tail."""
    body = _disc(x, y, -0.1, 0.15, 0.6, 0.75)
    head = _disc(x, y, 0.45, -0.4, 0.32)
    beak = (x >= 0.7) & (x <= 1.0) & (np.abs(y + 0.4) <= (1.0 - x) * 0.5)
    tail = (x <= -0.5) & (x >= -1.0) & (np.abs(y - 0.0) <= 0.12 - 0.25 * (x + 0.5))
    return body | head | beak | tail


def bird_wing(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _disc(x, y, -0.2, 0.15, 0.42, 0.6)


SHAPES: dict[str, Mask] = {
    "star": star, "moon": moon, "cloud": cloud, "flower": flower, "tree": tree, "leaf": leaf, "house": house,
    "arrow": arrow, "bus": bus, "cup": cup, "plate": plate, "bowl": bowl, "gear": gear, "cross": cross, "brick": brick,
    "bird": bird_body,
}  # fmt: skip
