"""Features as claims see them: what is derived carries a radius within which an exact one lies."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from crossmodal.synthetic.arithmetic import U, root
from crossmodal.synthetic.arithmetic.enclosures import enclosure
from crossmodal.vlm_validation.features import Features
from crossmodal.vlm_validation.view import FeaturesView, ops


def unlucky(d: int) -> np.ndarray:
    """Added to 1 one by one, the squares of the others are all lost."""
    return np.concatenate([[1.0], np.full(d - 1, (0.9 * U) ** 0.5)])


def drawn(d: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(d)


def small(d: int) -> np.ndarray:
    return drawn(d) * 2.0**-400


@pytest.mark.parametrize("d", [1, 3, 64, 512, 2048])
@pytest.mark.parametrize("row", [unlucky, drawn, small])
def test_normalised_rows_lie_within_their_radius(d: int, row: object, features: Features) -> None:
    x = row(d)  # type: ignore[operator]
    found = FeaturesView(features).normalise(ops.array(np.stack([x, x[::-1]])))
    length = enclosure(root(sum((Fraction(v) ** 2 for v in x.tolist()), Fraction(0)) * 2**800))  # about 1e-70 wide
    for mid, err, v in zip(found.mid[0].tolist(), found.err[0].tolist(), x.tolist(), strict=True):
        for true in (Fraction(v) * 2**400 / length.lo, Fraction(v) * 2**400 / length.hi):
            assert abs(Fraction(mid) - true) <= Fraction(err)
    assert float(found.err.max()) <= (d + 8) * U  # and no wider than need be
