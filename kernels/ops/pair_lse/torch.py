"""K1 in tiles: one product, one exponential a pair, and a certificate that nothing underflowed.

For a tile ``z`` of rows ``i`` and columns ``j`` with row maxima ``m_i``, a sum of exponentials needs a shift only where
``exp(z_ij)`` might overflow, or where a row lies so low that all of it would underflow.  Real features are seldom there:

    plain      r_i = exp(-m_i) sum_j exp(z_ij)    c_j = exp(-K) sum_i exp(z_ij)               K = max(0, max_i m_i)
    shifted    r_i = sum_j exp(z_ij - m_i)        c_j = sum_i exp(z_ij - m_i) exp(m_i - K)    K = max_i m_i

The plain form is a pass over the tile less.  The row sums are safe in both: one term is 1.  The column sum shares the
rows' shift, and that is the well-known trap: a column whose entries all lie far below the row maxima underflows to zero, and its log-sum-exp becomes -inf where -180 is right.  But every term lost to
underflow is below the smallest normal number `tiny`, so a column sum of at least ``n * tiny / eps`` proves that
nothing visible was lost.  Columns without this certificate are computed again with their own shift.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from crossmodal.kernels.checks import InputError
from crossmodal.kernels.parallel import in_shares, workers
from crossmodal.kernels.products import Left, Right, left, product, right, worthwhile
from torch import Tensor

ROWS, COLUMNS = 1024, 512  # a float32 tile of 2 MiB: products at full speed, and the rest finds it in the cache
ROWS_GPU, COLUMNS_GPU = 2048, 4096  # of the backward pass there: a launch takes longer than a small tile
DIGIT_ROWS, PANEL = 2048, 2**21  # rows of a tile where products are of digits, and numbers whose digits are kept: 6 MiB


def certificate(dtype: torch.dtype) -> float:
    """Least sum that proves that no visible term underflowed, for up to 2^31 terms."""
    return 1e-20 if dtype == torch.float32 else 1e-270


def plain_limits(dtype: torch.dtype, terms: int) -> tuple[float, float]:
    """Between these, row maxima need no shift: a row's sum is certified by its largest term, and so many do not overflow."""
    return math.log(certificate(dtype)), math.log(torch.finfo(dtype).max) - math.log(terms) - 1


def pair_lse_torch(u: Tensor, v: Tensor, scale: float, acc: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Row log-sum-exp (N,), column log-sum-exp (M,), row maximum (N,), in `acc`."""
    (n, d), m = u.shape, v.shape[0]
    row_max = u.new_full((n,), -torch.inf, dtype=acc)
    row_sum = u.new_zeros(n, dtype=acc)
    col_lse = u.new_full((m,), -torch.inf, dtype=torch.float64)  # not rounded with every panel
    if not n or not m:
        return row_max, col_lse.to(acc), row_max.clone()
    height, panel, digits = ROWS, n, None
    if worthwhile(u, v, scale, acc):
        height, panel = DIGIT_ROWS, DIGIT_ROWS * max(1, PANEL // (DIGIT_ROWS * d))
        digits = u.new_empty((3, min(panel, n), d), dtype=torch.int8)
    for start in range(0, n, panel):
        rows = slice(start, start + panel)
        _panel(u[rows].split(height), v, scale, digits, row_max[rows], row_sum[rows], col_lse)
    return row_max + row_sum.log(), col_lse.to(acc), row_max


def _panel(
    stripes: tuple[Tensor, ...],
    v: Tensor,
    scale: float,
    digits: Tensor | None,
    row_max: Tensor,
    row_sum: Tensor,
    col_lse: Tensor,
) -> None:
    """Maxima and sums of some rows, which come in stripes; `col_lse` grows by theirs."""
    height, n, m, acc = stripes[0].shape[0], row_max.shape[0], v.shape[0], row_max.dtype
    limits = plain_limits(acc, n + m)
    blocks = -(-m // COLUMNS)
    shares = workers(blocks, v.device)
    # the rows' maximum and sum over a share's columns; the first share uses the results' own memory
    partial = [(row_max, row_sum), *((row_max.clone(), row_sum.clone()) for _ in range(shares - 1))]
    # made here, for what a thread allocates stays with that thread's part of the allocator
    buffers = [v.new_empty(height * min(COLUMNS, m), dtype=acc) for _ in range(shares)]
    of_block = [(torch.empty_like(row_max), torch.empty_like(row_max)) for _ in range(shares)]
    rows = [Left(stripe) for stripe in stripes]

    def work(share: int, mine: Iterable[int]) -> None:
        for j in (block * COLUMNS for block in mine):
            block = v[j : j + COLUMNS].to(acc)
            columns = Right(block) if digits is None else right(block)
            total = col_lse[j : j + COLUMNS]
            torch.logaddexp(total, _columns(rows, columns, scale, limits, *of_block[share], buffers[share]), out=total)
            _merge_rows(*partial[share], *of_block[share])

    if digits is not None:
        room = digits[:, :n].split(height, 1)

        def write_digits(_: int, mine: Iterable[int]) -> None:
            for i in mine:
                rows[i] = left(stripes[i], room[i])

        in_shares(write_digits, len(stripes), min(shares, len(stripes)))
    in_shares(work, blocks, shares)
    for other in partial[1:]:
        _merge_rows(row_max, row_sum, *other)


def _columns(
    stripes: list[Left],
    columns: Right,
    scale: float,
    limits: tuple[float, float],
    row_max: Tensor,
    row_sum: Tensor,
    buffer: Tensor,
) -> Tensor:
    """Column log-sum-exp of one block of columns; its rows' maxima and sums are written to `row_max` and `row_sum`."""
    col_sum, shift = row_max.new_zeros(len(columns.values)), row_max.new_full((), -torch.inf)
    stop = 0
    for stripe in stripes:
        z = _tile(stripe, columns, scale, buffer)
        rows = slice(stop, stop := stop + len(z))
        largest = torch.amax(z, 1, out=row_max[rows])
        low, top = torch.aminmax(largest)
        if bool(limits[0] < low) and bool(top < limits[1]):
            e = z.exp_()
            torch.sum(e, 1, out=row_sum[rows]).mul_((-largest).exp())
            top = top.clamp_min(0.0)  # terms below `tiny` are lost, so the unit of the certificate must not be below 1
            col_total = e.sum(0) * (-top).exp()
        else:
            e = z.sub_(largest[:, None]).exp_()
            torch.sum(e, 1, out=row_sum[rows])
            col_total = e.T @ (largest - top).exp()
        new_shift = torch.maximum(shift, top)
        col_sum.mul_((shift - new_shift).exp()).add_(col_total * (top - new_shift).exp())
        shift = new_shift
        del z, e  # before there is another
    lse = shift + col_sum.log()
    doubtful = (col_sum < certificate(col_sum.dtype)).nonzero()[:, 0]
    if len(doubtful):
        lse[doubtful] = _columns_with_own_shift(stripes, Right(columns.values[doubtful]), scale, buffer)
    return lse


def _tile(rows: Left, columns: Right, scale: float, buffer: Tensor) -> Tensor:
    shape = len(rows.values), len(columns.values)
    return product(rows, columns, scale, buffer[: shape[0] * shape[1]].view(shape))


def _merge_rows(row_max: Tensor, row_sum: Tensor, largest: Tensor, total: Tensor) -> None:
    """Fold one tile's row maxima and sums into the running ones, in place."""
    new = torch.maximum(row_max, largest)
    row_sum.mul_((row_max - new).exp()).add_(total * (largest - new).exp())
    row_max.copy_(new)


def _columns_with_own_shift(stripes: list[Left], columns: Right, scale: float, buffer: Tensor) -> Tensor:
    """The textbook online log-sum-exp down the columns, for the few (or, adversarially, all) doubtful ones."""
    shift = columns.values.new_full((len(columns.values),), -torch.inf)
    total = torch.zeros_like(shift)
    for stripe in stripes:
        z = _tile(stripe, columns, scale, buffer)
        new = torch.maximum(shift, z.amax(0))
        total.mul_((shift - new).exp()).add_(z.sub_(new).exp_().sum(0))
        shift = new
    return shift + total.log()


def pair_lse_backward(
    u: Tensor, v: Tensor, scale: float, row_lse: Tensor, col_lse: Tensor, grad_row: Tensor, grad_col: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to u, v and scale, one tile at a time; every exponent is at most zero."""
    acc = row_lse.dtype
    height, width = (ROWS, COLUMNS) if u.device.type == "cpu" else (ROWS_GPU, COLUMNS_GPU)
    du, dv = torch.zeros_like(u, dtype=acc), torch.zeros_like(v, dtype=acc)
    buffer = u.new_empty(min(height, u.shape[0]) * min(width, v.shape[0]), dtype=acc)
    for j in range(0, v.shape[0], width):
        cols = slice(j, j + width)
        block = v[cols].to(acc)
        for i in range(0, u.shape[0], height):
            rows = slice(i, i + height)
            z = _tile(Left(u[rows]), Right(block), scale, buffer)
            dz = (z - row_lse[rows, None]).exp_().mul_(grad_row[rows, None])
            dz += z.sub_(col_lse[cols]).exp_().mul_(grad_col[cols])
            del z
            du[rows].addmm_(dz, block)
            dv[cols].addmm_(dz.T, u[rows].to(acc))
            del dz  # before there is another
    del buffer
    # some rows at a time: a product of all would be as large as the gradient
    dscale = torch.stack(
        [(du[i : i + height] * u[i : i + height]).sum() for i in range(0, max(1, len(u)), height)]
    ).sum()
    du = du.mul_(scale).to(u.dtype)
    return du, dv.mul_(scale).to(v.dtype), dscale


class RecomputedPairLSE(torch.autograd.Function):
    """Forward by `impl` (``torch`` or ``triton``); backward recomputes the products in tiles."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor, scale: Tensor, impl: str) -> tuple[Tensor, Tensor, Tensor]:
        value = float(scale)
        if impl == "triton" and u.shape[0] and v.shape[0]:
            from crossmodal.kernels.ops.pair_lse.triton import pair_lse_triton

            row_lse, col_lse, row_max = pair_lse_triton(u, v, value)
        else:
            row_lse, col_lse, row_max = pair_lse_torch(u, v, value, scale.dtype)
        ctx.save_for_backward(u, v, row_lse, col_lse)
        ctx.scale = value
        ctx.mark_non_differentiable(row_max)
        return row_lse, col_lse, row_max

    @staticmethod
    def backward(
        ctx: Any, grad_row: Tensor, grad_col: Tensor, _grad_max: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        if torch.is_grad_enabled():  # under create_graph: the products below would be a constant to a second backward
            raise InputError(
                "pair_lse: create_graph=True, and the tiled forms have a first derivative only",
                expected="create_graph=False, or the naive form, which autograd differentiates as often as one likes",
                causes=["a gradient penalty or a Hessian", "impl='auto', which is naive for small inputs only"],
                fix="pair_lse(..., impl='naive')",
            )
        u, v, row_lse, col_lse = ctx.saved_tensors
        return *pair_lse_backward(u, v, ctx.scale, row_lse, col_lse, grad_row, grad_col), None
