"""Features as claims see them: what is derived carries a radius within which an exact one lies."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch
from crossmodal.synthetic.arithmetic import Ball, U, root
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


Spoiler = Callable[[torch.Tensor], torch.Tensor]
SPOILERS: dict[str, Spoiler] = {  # of a computed basis, so that what is rounding else is seen
    "none": lambda basis: basis,
    "too long": lambda basis: basis * (1 + 1e-7),
    "oblique": lambda basis: basis + 1e-7 * basis[:, [-1]],
    "turned out": lambda basis: torch.linalg.svd(basis + 1e-7 * torch.ones_like(basis), full_matrices=False).U,
}


def exactly(x: torch.Tensor) -> mpmath.matrix:
    return mpmath.matrix(x.tolist())


def distance_of_the_nearest(coordinates: mpmath.matrix, rows: mpmath.matrix) -> mpmath.mpf:
    """Frobenius norm, of those coordinates that have exactly the inner products of the rows (Procrustes)."""
    u, _, v = mpmath.svd_r(rows.T * coordinates)
    return mpmath.norm(rows * u * v - coordinates)


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("spoiler", SPOILERS)
@pytest.mark.parametrize("radius", [0.0, 1e-7])
def test_coordinates_lie_within_their_radius(
    count: int, spoiler: str, radius: float, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the rows themselves, and of those at the ends of their radius."""
    rng, qr = np.random.default_rng(count), torch.linalg.qr
    rows = torch.from_numpy(rng.standard_normal((count, 7)))
    monkeypatch.setattr(torch.linalg, "qr", lambda x: SimpleNamespace(Q=SPOILERS[spoiler](qr(x).Q)))
    given = Ball(rows, torch.full_like(rows, radius))
    found = FeaturesView(features).span(given[:1], given[1:])
    assert [x.shape for x in found] == [(1, count), (count - 1, count)]
    mid, err = (torch.cat([getattr(x, name) for x in found]) for name in ("mid", "err"))
    with mpmath.workdps(40):
        for signs in (rng.choice([-1.0, 1.0], rows.shape), np.sign(mid.numpy() @ qr(rows.mT).Q.mT.numpy())):
            true = exactly(rows) + radius * exactly(torch.from_numpy(signs))
            assert distance_of_the_nearest(exactly(mid), true) <= mpmath.norm(exactly(err))
    if spoiler == "none" and not radius:
        assert float(err.max()) < 200 * count * U  # and is no wider than need be


def test_rows_that_fill_the_space_stay(features: Features) -> None:
    rows = ops.array(np.random.default_rng(0).standard_normal((7, 7)))
    first, second = FeaturesView(features).span(rows[:3], rows[3:])
    assert torch.equal(torch.cat([first.mid, second.mid]), rows.mid)
    assert not first.err.any()


def test_a_faint_direction_is_not_lost(features: Features) -> None:
    (found,) = FeaturesView(features).span(ops.array([[1, 0, 0], [0, Fraction(9, 10**13), 0]]))
    gram = found @ ops.T(found)
    assert abs(float(gram.mid[1, 1]) - 8.1e-25) <= float(gram.err[1, 1])


@pytest.mark.parametrize("spoiler", ["none", "too long", "oblique"])
def test_a_projector_lies_within_its_radius(spoiler: str, features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    svd = torch.linalg.svd
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 7)))
    rows[2] = rows[0] - rows[1]  # of no direction of its own

    def spoiled(x: torch.Tensor, full_matrices: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        u, s, v = svd(x, full_matrices=full_matrices)
        return SPOILERS[spoiler](u), s, v

    monkeypatch.setattr(torch.linalg, "svd", spoiled)
    found = FeaturesView(features).projector(ops.array(rows))
    assert float(found.mid.trace()) == pytest.approx(2, abs=1e-5)
    with mpmath.workdps(40):
        values, vectors = mpmath.eigsy(exactly(found.mid))
        q = vectors[:, 5:]
        assert values[4] < 0.5 < values[5]
        off = q * q.T - exactly(found.mid)
        assert all(abs(off[i, j]) <= found.err[i, j].item() for i in range(7) for j in range(7))
    if spoiler == "none":
        assert float(found.err.max()) < 200 * U
    assert not FeaturesView(features).projector(ops.array(torch.zeros(2, 3))).mid.any()
