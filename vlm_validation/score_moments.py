"""What contribution scores are made of: moments of every environment's pairs, of a file or of a shard of it.

Everything `scores.py` reports is a function of five things an environment: the number of pairs, mean and scatter of the
rows `[image, text]` (width 2d), and mean and scatter of the matched cosines.  All of them merge by the exact identity of
`FeatureMoments.merge`, so features that lie on several machines never travel: O(T d^2) numbers a shard do.

Features are read block by block, on one core (more would change the order of sums, and with it the bytes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..kernels.ops.moments import FeatureMoments
from .processes import one_thread

BLOCK = 4096  # rows widened to float64 at a time: features may be a mapped file larger than memory


@dataclass(frozen=True, eq=False)
class PairMoments:
    """Moments of the pairs of one environment.

    Attributes:
        rows: of `[image, text]`, width 2d.
        cosine: of the matched pairs' cosines, width 1.
    """

    rows: FeatureMoments
    cosine: FeatureMoments

    @property
    def count(self) -> int:
        return self.rows.count

    def merge(self, other: PairMoments) -> PairMoments:
        """Moments of two disjoint sets of pairs together."""
        return PairMoments(self.rows.merge(other.rows), self.cosine.merge(other.cosine))


Moments = dict[int, PairMoments]
"""Environment id -> moments."""


def moments_of(
    image: np.ndarray, text: np.ndarray, environment: np.ndarray, progress: Callable[[], None] | None = None
) -> Moments:
    """Moments of every environment that occurs, from (N, d), (N, d) and (N,); `progress` is called after each."""
    found: Moments = {}
    with one_thread():
        for k in np.unique(environment).tolist():
            rows = np.flatnonzero(environment == k)
            for start in range(0, len(rows), BLOCK):
                part = rows[start : start + BLOCK]
                u, v = image[part].astype(np.float64), text[part].astype(np.float64)
                joint, cosine = np.hstack([u, v]), np.einsum("nd,nd->n", u, v)[:, None]
                block = PairMoments(*(FeatureMoments.of(torch.from_numpy(x)) for x in (joint, cosine)))
                found = merge_moments(found, {k: block})
            if progress is not None:
                progress()
    return found


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Moments of two disjoint sets of samples together."""
    return {k: a[k].merge(b[k]) if k in a and k in b else (a if k in a else b)[k] for k in sorted({*a, *b})}
