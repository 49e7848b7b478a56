"""Prototypes of classes, or of finer groups of samples, and nothing else: what the span predictor of T3.10 may see."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from .features import Features

SPREAD = 1e-6  # mean squared distance of unit rows in float32 below which a group is one point


@dataclass(frozen=True, eq=False)
class Prototypes:
    """Class prototypes of every environment.

    Attributes:
        gram: (K, K) their inner products: image-to-image contribution scores at class granularity.
        environment: (K,) position of the environment.
        label: (K,) class.
        weight: (K,) share of the environment's samples.
        classes: C.
    """

    gram: np.ndarray
    environment: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    classes: int

    def coordinates(self) -> np.ndarray:
        """(K, r) vectors with this Gram matrix."""
        values, vectors = np.linalg.eigh(self.gram)
        keep = values > 1e-12 * values[-1]
        return np.asarray(vectors[:, keep] * np.sqrt(values[keep]))


def class_prototypes(features: Features, *, budget: int = 0, rows: np.ndarray | None = None) -> Prototypes:
    """The mean image feature of every class in every environment, or of finer groups of samples.

    Class means say how classes interfere, but forgetting is a mean over samples, and where classes are far apart it is
    the few samples far from their class that are forgotten.  With a `budget`, the group with the largest mean squared
    distance from its mean (one minus its own contribution score) is split in two along its leading direction, until
    there are that many groups: what a step loses is bounded by the root of the scatter within groups (T3.11), and by a
    multiple of that scatter (T3.13).

    Args:
        budget: number of prototypes to refine to; 0, or fewer than there are classes: one a class (claim T3.10).
        rows: indices with repetition, as a bootstrap draws them; default: every row once.
    """
    rows = np.arange(len(features)) if rows is None else rows
    place = np.searchsorted(features.environments, features.environment[rows])
    keys, member, size = np.unique(
        place * features.classes + features.label[rows], return_inverse=True, return_counts=True
    )
    order = np.argsort(member.ravel(), kind="stable")
    x = features.image[rows[order]].astype(np.float32)
    groups = np.split(np.arange(len(rows)), np.cumsum(size)[:-1])
    kept = list(enumerate(groups)) if budget <= len(keys) else _split(x, groups, budget)
    means = np.stack([np.add.reduce(x[part], axis=0, dtype=np.float64) / len(part) for _, part in kept])
    environment, label = np.divmod(keys[[k for k, _ in kept]], features.classes)
    weight = np.array([len(part) for _, part in kept]) / np.bincount(place)[environment]
    return Prototypes(means @ means.T, environment, label, weight, features.classes)


def _split(x: np.ndarray, groups: list[np.ndarray], budget: int) -> list[tuple[int, np.ndarray]]:
    """(number of the group it came from, rows) of `budget` parts.  Works on the groups' own scores: no pass over d.

    Groups are small and splits many, so what follows calls ufuncs: methods cost more than they compute.
    """
    heap: list[tuple[float, int, int, np.ndarray, np.ndarray]] = []
    for k, part in enumerate(groups):
        gram = x[part] @ x[part].T
        heap.append((-_spread(gram), len(heap), k, part, gram))
    heapq.heapify(heap)
    number = len(heap)
    while len(heap) < budget and heap[0][0] < -SPREAD:
        _, _, k, part, gram = heapq.heappop(heap)
        side = _side(gram)
        for half in (side.nonzero()[0], (~side).nonzero()[0]):
            inner = gram[half][:, half]
            heapq.heappush(heap, (-_spread(inner), number, k, part[half], inner))
            number += 1
    return [(k, part) for _, _, k, part, _ in sorted(heap, key=lambda entry: (entry[2], entry[1]))]


def _spread(gram: np.ndarray) -> float:
    """Mean squared distance from the mean."""
    n = len(gram)
    return (float(np.add.reduce(gram.diagonal())) - float(np.add.reduce(gram, axis=None)) / n) / n if n > 1 else 0.0


def _side(gram: np.ndarray, iterations: int = 3) -> np.ndarray:
    """(n,) on which side of the mean along the leading direction: power iteration from the farthest sample, no random start.

    Centring what the Gram matrix maps a centred vector to is mapping it by the centred Gram matrix.
    """
    n = len(gram)
    if n == 2:
        return np.array([True, False])
    mean = np.add.reduce(gram, axis=0) / n
    along = gram[(gram.diagonal() - 2 * mean).argmax()] - mean
    for _ in range(iterations):
        along -= np.add.reduce(along) / n
        along = gram @ (along / np.maximum.reduce(np.absolute(along)))
    return np.asarray(along > np.add.reduce(along) / n)
