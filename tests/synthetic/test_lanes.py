"""Arithmetic in lanes agrees with the error-bounded one: both lie within its radius of the exact value."""

from __future__ import annotations

import pytest
import torch
from crossmodal.synthetic.arithmetic import Ball, arithmetic
from crossmodal.synthetic.arithmetic.lanes import (
    Lanes,
    as_batch,
    as_lanes,
    lanes,
    least_pivot,
    product,
    unit_triangular_inverse,
)
from crossmodal.synthetic.draw import draw_batch
from crossmodal.synthetic.evaluate import bound_values
from crossmodal.theory import registry

bounded = arithmetic("bounded")


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("claim_id", list(registry.modules()))
def test_every_claim_binds_to_the_same_values(claim_id: str) -> None:
    claim, known = registry.get(claim_id), 0
    for index in range(4):
        drawn = draw_batch(claim, 0, index, 64)
        fast = claim.bind({k: as_lanes(v.mid) for k, v in drawn.items()}, lanes)
        for name, ball in bound_values(claim, drawn, bounded).items():
            if isinstance(ball, Ball):
                found = as_batch(fast[name]) if isinstance(fast[name], Lanes) else torch.tensor(float(fast[name]))
                beyond = (found - ball.mid).abs() > 2 * ball.err  # a radius that is not a number bounds nothing
                assert not bool(beyond.any()), name
                known += int(ball.err.isfinite().sum())
        assert known > 0


@pytest.mark.parametrize(("rows", "inner", "cols"), [(1, 1, 1), (1, 5, 1), (5, 5, 5), (2, 3, 4), (4, 1, 3), (1, 4, 3)])
@pytest.mark.parametrize("shared", [0, 1, 2])  # one model or all of them on the left, on the right
def test_products(rows: int, inner: int, cols: int, shared: int) -> None:
    x, y = normal(7, rows, inner), normal(7, inner, cols)
    left, right = x[:1] if shared == 1 else x, y[:1] if shared == 2 else y
    found = as_batch(Lanes(product(as_lanes(left).data, as_lanes(right).data)))
    torch.testing.assert_close(found, (left @ right).expand(7, -1, -1), rtol=1e-13, atol=1e-13)


def test_inverses() -> None:
    """By substitution where the matrix is unit lower triangular; otherwise by LAPACK."""
    general = normal(9, 4, 4) + 6 * torch.eye(4, dtype=torch.float64)
    triangular = normal(9, 4, 4).tril(-1) + torch.eye(4, dtype=torch.float64)
    almost = triangular.clone()
    almost[3, 2, 2] = 2.0  # in one model only
    above = triangular.clone()
    above[5, 0, 3] = 0.5
    for x in (general, triangular, almost, above):
        torch.testing.assert_close(as_batch(lanes.inv(as_lanes(x))), torch.linalg.inv(x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(
        as_batch(Lanes(unit_triangular_inverse(as_lanes(triangular).data))), torch.linalg.inv(triangular), rtol=1e-12, atol=1e-12
    )  # fmt: skip


def test_pivots_know_definite_matrices() -> None:
    """Model by model, the sign of the least pivot is that of the least eigenvalue."""
    x = normal(400, 4, 4)
    x = (x + x.mT) / 2 + torch.linspace(-3, 3, 400, dtype=torch.float64)[:, None, None] * torch.eye(
        4, dtype=torch.float64
    )
    least, eigen = least_pivot(as_lanes(x).data), torch.linalg.eigvalsh(x)[:, 0]
    assert torch.equal(least > 0, eigen > 0)
    assert 50 < int((least > 0).sum()) < 350
    assert bool((least >= eigen)[eigen > 0].all())
    x[399, 3, 3] = torch.nan
    assert bool(least_pivot(as_lanes(x).data)[399].isnan())


def test_a_matrix_that_turns_bad_late_is_bad() -> None:
    """The last pivot decides, and what follows a pivot that is not positive is not read."""
    good = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).repeat(3, 1, 1)
    good[1, 2, 2] = -1e-3
    good[2, 0, 0], good[2, 0, 1], good[2, 1, 0] = -1.0, 5.0, 5.0
    assert least_pivot(as_lanes(good).data).tolist() == [1.0, -1e-3, -1.0]


def test_slices_are_those_of_a_batch() -> None:
    x = normal(5, 4, 3)
    for key in ((..., slice(1, 3)), (..., slice(0, 2), slice(1, 3)), (..., slice(3, None), slice(None))):
        assert torch.equal(as_batch(as_lanes(x)[key]), x[key])
    assert as_lanes(x).shape == x.shape


def test_a_step_of_a_number_in_doubt_is_in_doubt() -> None:
    """A choice between two values may go either way where rounding covers the difference."""
    mid = torch.tensor([[1.0], [1e-17], [-1e-17], [0.0], [-1.0]], dtype=torch.float64)[..., None]
    err = torch.tensor([0.5, 1e-16, 1e-16, 0.0, 0.5], dtype=torch.float64)[:, None, None]
    found = bounded.positive(Ball(mid, err))
    assert found.mid.reshape(-1).tolist() == [1, 1, 0, 0, 0]
    assert found.err.reshape(-1).tolist() == [0, 1, 1, 0, 0]
