"""Matched (image, text) pairs with labels and environments: what every generator of this folder returns."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ...theory.errors import InputError
from ...theory.files import atomic_writer
from ..arithmetic import arithmetic
from .tasks import Environment, teach


@dataclass(frozen=True, eq=False)
class Pairs:
    """Unit features of both modalities.

    Attributes:
        image, text: ``(N, d)`` float64, or object arrays of `Fraction` (`exact`); unit rows.
        label, environment: ``(N,)`` int64; environments are 0 .. T-1, each with at least one pair.
        metadata: how the pairs were made; JSON-serialisable.
    """

    image: Any
    text: Any
    label: np.ndarray
    environment: np.ndarray
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        return bool(self.image.dtype == object)

    @property
    def environments(self) -> tuple[int, ...]:
        return tuple(int(k) for k in np.unique(self.environment))

    @property
    def dimension(self) -> int:
        return int(self.image.shape[1])

    def __len__(self) -> int:
        return len(self.image)

    def rows(self, environment: int) -> np.ndarray:
        """Indices of an environment's pairs."""
        return np.flatnonzero(self.environment == environment)

    def means(self) -> Any:
        """``(2T, d)``: mean image of every environment, then mean text of every environment."""
        return np.stack([self._mean(x[self.rows(t)]) for x in (self.image, self.text) for t in self.environments])

    def scores(self) -> Any:
        """``(2T, 2T)``: ``[[Con_II, Con_IT], [Con_TI, Con_TT]]`` of the samples (all pairs, S1)."""
        means = self.means()
        return means @ means.T

    def alignment(self) -> Any:
        """``(T,)``: CLV of every environment, the mean cosine of matched pairs."""
        cosines = (self.image * self.text).sum(1)
        return np.array([self._mean(cosines[self.rows(t)]) for t in self.environments])

    def prototypes(self, modality: str = "image") -> dict[tuple[int, int], Any]:
        """(environment, class) -> mean feature of its pairs."""
        x = getattr(self, modality)
        cells = sorted({(int(t), int(c)) for t, c in zip(self.environment, self.label, strict=True)})
        return {(t, c): self._mean(x[(self.environment == t) & (self.label == c)]) for t, c in cells}

    def task(self, environment: int, teacher: Any, p: Any = 1, q: Any = 0) -> Environment:
        """One environment with the targets of a linear teacher ``(d, k)`` on the fused feature ``p u + q v``."""
        ops = arithmetic("exact" if self.exact else "plain")
        rows = self.rows(environment)
        return teach(ops.array(self.image[rows]), ops.array(self.text[rows]), ops.array(teacher), p, q)

    def numbers(self) -> Pairs:
        """The same pairs in float64."""
        return Pairs(self.image.astype(float), self.text.astype(float), self.label, self.environment, self.metadata)

    def fields(self) -> dict[str, Any]:
        """Keyword arguments that build a features object: float64 arrays, labels, environments, metadata."""
        plain = self.numbers()
        return {
            "image": plain.image, "text": plain.text, "label": plain.label, "environment": plain.environment,
            "metadata": {"encoder": "generated", "normalised": True, **self.metadata},
        }  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a features file (`.npz`, no pickle), whole or not at all; the same pairs give the same bytes.

        Raises:
            InputError: another suffix, or a folder that is missing.
        """
        path = Path(path)
        if path.suffix != ".npz" or not path.parent.is_dir():
            raise InputError(f"{path}: cannot be written", expected="a file ending in .npz in an existing folder")
        fields = self.fields()
        members = {**fields, "metadata": np.array(json.dumps(fields["metadata"], sort_keys=True))}
        with atomic_writer(path) as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in members.items():
                info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                info.create_system = 3
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)

    def _mean(self, x: Any) -> Any:
        return x.sum(0) * Fraction(1, len(x)) if self.exact else x.mean(0)


def gather(image: Sequence[Any], text: Sequence[Any], labels: Sequence[Any], metadata: Mapping[str, Any]) -> Pairs:
    """Pairs from one block of rows an environment."""
    environment = np.repeat(np.arange(len(image)), [len(x) for x in image])
    flat = np.concatenate([np.asarray(x, dtype=np.int64) for x in labels])
    return Pairs(np.concatenate(image), np.concatenate(text), flat, environment, dict(metadata))
