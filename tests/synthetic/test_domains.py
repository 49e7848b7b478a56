"""Domains of the falsifier: what their members are, where searches start, and what rounding to rationals keeps."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from crossmodal.synthetic.domains import Slot, on_domain, sort_exactly, start, to_rational
from crossmodal.synthetic.draw import on_sphere


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def cosines(slot: Slot) -> torch.Tensor:
    rows = on_domain(slot, start(slot, 400, generator()))
    return (rows[:, 0] * rows[:, 1]).sum(-1)


def test_restarts_are_near_equality_and_near_right_angles_too() -> None:
    found = cosines(Slot("x", "unit_rows", (2, 4)))
    median = [float(found[k::4].abs().median()) for k in range(4)]
    assert min(median[1], median[3]) > 0.95
    assert median[2] < 0.1
    assert 0.2 < median[0] < 0.7
    assert found[0::4].min() < -0.5
    row = start(Slot("x", "column", (1, 1)), 400, generator()).abs()
    assert float(row[2::4].median()) < 0.1 < float(row[0::4].median())


def test_numbers_that_may_leave_their_range_do() -> None:
    slot = Slot("x", "wide", (1, 1), low=2.0, high=6.0)
    assert on_domain(slot, torch.tensor([[[-0.5]], [[0.0]], [[0.5]]]).double()).flatten().tolist() == [1.5, 4.0, 6.5]
    begun = on_domain(slot, start(slot, 400, generator())).flatten()
    for k, end in ((1, 2.0), (3, 6.0)):
        assert abs(float(begun[k::4].median()) - end) < 0.3
    assert float((begun[1::2] < 2.0).double().mean()) > 0.15
    assert float((begun[1::2] > 6.0).double().mean()) > 0.15


def test_members_of_the_domains() -> None:
    free = 5 * torch.randn(200, 3, 3, generator=generator(), dtype=torch.float64)
    number = on_domain(Slot("x", "real", (1, 1), low=0.5, high=2.0), free[:, :1, :1])
    assert 0.5 <= float(number.min()) < 0.51
    assert 1.99 < float(number.max()) <= 2
    weights = on_domain(Slot("x", "simplex", (3, 1)), free[:, :, :1])
    assert torch.allclose(weights.sum(1), torch.ones(200, 1).double())
    found = on_domain(Slot("x", "symmetric", (3, 3)), free)
    assert torch.equal(found, found.mT)
    assert torch.allclose(found.diagonal(dim1=-2, dim2=-1), free.diagonal(dim1=-2, dim2=-1))
    slot = Slot("x", "projector", (3, 3), rank=1)
    assert slot.free == (3, 1)
    projector = on_domain(slot, start(slot, 5, generator()))
    assert torch.allclose(projector @ projector, projector)
    assert torch.allclose(projector.diagonal(dim1=-2, dim2=-1).sum(-1), torch.ones(5).double())


def test_rounding_keeps_to_the_domain() -> None:
    """Also where the numbers do not: weights below 0, numbers past an end, a matrix that is not symmetric, rows of length 0."""
    half = Fraction(1, 2)
    assert to_rational(Slot("x", "simplex", (3, 1)), [[-0.5], [0.75], [0.75]], 12) == [[0], [half], [half]]
    assert to_rational(Slot("x", "simplex", (2, 1)), [[-1.0], [0.0]], 12) is None
    slot = Slot("x", "real", (1, 1), low=0.0, high=2.0)
    assert [to_rational(slot, [[v]], 12) for v in (2.25, -0.25, 0.5)] == [[[2]], [[0]], [[half]]]
    assert to_rational(Slot("x", "symmetric", (2, 2)), [[1.0, 0.5], [7.0, 2.0]], 12) == [[1, half], [half, 2]]
    assert to_rational(Slot("x", "unit_rows", (2, 2)), [[1.0, 0.0], [0.0, 0.0]], 12) is None
    assert to_rational(Slot("x", "unit_column", (2, 1)), [[0.0], [0.0]], 12) is None
    assert to_rational(Slot("x", "unit_column", (2, 1)), [[0.0], [-3.0]], 12) == [[0], [-1]]
    zero = [[0.0, 0.0], [0.0, 0.0]]
    assert to_rational(Slot("x", "projector", (2, 2)), zero, 12) == zero
    assert to_rational(Slot("x", "projector", (2, 2)), [[0.5, 0.5], [0.5, 0.5]], 12) == [[half, half], [half, half]]
    assert to_rational(Slot("x", "rows", (1, 2)), [[0.5, -1.5]], 12) == [[half, -3 * half]]


@pytest.mark.parametrize("row", [[1.0], [-1.0], [0.6, -0.8], [-0.8, 0.6], [2 / 3, -1 / 3, -2 / 3]])
def test_rational_points_of_the_sphere_are_met(row: list[float]) -> None:
    assert on_sphere(row, 12) == [Fraction(x).limit_denominator(12) for x in row]


def test_triples_are_sorted_and_ties_do_no_harm() -> None:
    axes = [[Fraction(int(i == j)) for j in range(3)] for i in range(3)]
    near = [[Fraction(3, 5), Fraction(4, 5), Fraction(0)], [Fraction(4, 5), Fraction(3, 5), Fraction(0)], axes[0]]
    for rows in (near, near[::-1], [near[1], near[2], near[0]], axes, [axes[0], axes[0], axes[1]]):
        a, b, c = sort_exactly(rows)
        first, second, outer = (sum(x * y for x, y in zip(*pair, strict=True)) for pair in ((a, b), (b, c), (a, c)))
        assert first <= second <= outer
        assert sorted((a, b, c)) == sorted(rows)
