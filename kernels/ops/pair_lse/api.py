"""The public function of K1; it lives apart from the package, where the name `torch` is the submodule."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from crossmodal.kernels import checks
from crossmodal.kernels.dispatch import resolve, without_autocast
from torch import Tensor

# Below this many pairs the matrix fits in cache and the plain form wins (measured: see benchmarks/results).
SMALL = 256 * 256
# a float64 copy of so many rows at a time: on a CPU it stays in the cache, and a GPU waits for launches
DIAGONAL_ROWS, DIAGONAL_ROWS_GPU = 64, 8192


class PairLSE(NamedTuple):
    """What `pair_lse` returns.  float32, or float64 for float64 features."""

    row_lse: Tensor
    """(N,): ``log sum_j exp z_ij`` over kept columns."""
    col_lse: Tensor
    """(M,): ``log sum_i exp z_ij`` over kept rows."""
    row_max: Tensor
    """(N,): ``max_j z_ij``.  ``exp(row_max - row_lse)`` is the maximum concept matching score.  No gradient."""
    diagonal: Tensor
    """(min(N, M),): ``z_ii``, the matched pairs."""


@without_autocast
def pair_lse(
    u: Tensor,
    v: Tensor,
    scale: float | Tensor = 1.0,
    *,
    u_keep: Tensor | None = None,
    v_keep: Tensor | None = None,
    impl: str = "auto",
) -> PairLSE:
    """Row and column log-sum-exp, row maximum and diagonal of ``z_ij = scale * <u_i, v_j>`` (K1).

    Memory is O((N + M) d), not O(N M).  ``((row_lse - diagonal).mean() + (col_lse - diagonal).mean()) / 2`` is the
    CLIP loss of Radford et al., "Learning transferable visual models from natural language supervision" (2021).
    The gradient with respect to `u`, `v` and `scale` recomputes the products, so it needs little memory too.  Second
    derivatives are those of ``impl="naive"``; the others refuse ``create_graph=True``.

    Large float32 problems on a CPU with AMX are multiplied in int8 digits, which is exact but for `products.bound` of the
    lengths of both rows: numbers far below the largest of their row are rounded with it.

    float32 must hold what is computed on the way: every feature times `scale`, every logit, and the sum of a row's
    products without cancellation, each below 1e38.  Where it does not, results may be NaN although the logits are not.

    Args:
        u: (N, d) image features: float16, bfloat16, float32 or float64.
        v: (M, d) text features of the same dtype, on the same device.
        scale: inverse temperature ``tau``, a number or a tensor with one element; CLIP's is about 100.
        u_keep: (N,) boolean, True for rows that count.  A dropped row, and every row when no column is kept, has
            log-sum-exp, maximum and diagonal ``-inf`` (and gradient zero), never NaN.
        v_keep: (M,) boolean, the same for columns.
        impl: ``auto``, ``triton``, ``torch`` or ``naive``.

    Returns:
        A `PairLSE`.

    Raises:
        InputError: shapes, dtypes, devices or masks do not fit; on the CPU also for NaN and infinity; in the backward
            pass, for second derivatives.
    """
    checks.require_float("pair_lse", 2, u=u, v=v)
    checks.same_width("pair_lse", u=u, v=v)
    checks.require_mask("pair_lse", "u_keep", u_keep, (u.shape[0],), u.device)
    checks.require_mask("pair_lse", "v_keep", v_keep, (v.shape[0],), v.device)
    whole = u_keep is None and v_keep is None
    if not whole:  # a row that is dropped does not reach the results
        checks.require_finite("pair_lse", u=u, v=v)
    scale = _scale(scale, u)
    chosen = resolve("pair_lse", impl, u.device)
    if impl == "auto" and chosen == "torch" and u.shape[0] * v.shape[0] <= SMALL:
        chosen = "naive"
    if chosen == "naive":
        from crossmodal.kernels.ops.pair_lse.naive import pair_lse_naive

        found = PairLSE(*pair_lse_naive(u, v, scale, u_keep, v_keep))
        if whole:
            checks.require_finite_results("pair_lse", found.row_lse, found.col_lse, u=u, v=v)
        return found

    from crossmodal.kernels.ops.pair_lse.torch import RecomputedPairLSE

    # Dropping rows before the products is cheaper than masking them afterwards, and exact.
    kept_u = u if u_keep is None else u[u_keep]
    kept_v = v if v_keep is None else v[v_keep]
    row_lse, col_lse, row_max = RecomputedPairLSE.apply(kept_u, kept_v, scale, chosen)
    if whole:
        checks.require_finite_results("pair_lse", row_lse, col_lse, u=u, v=v)
    row_lse, row_max = _spread(row_lse, u_keep), _spread(row_max, u_keep)
    return PairLSE(row_lse, _spread(col_lse, v_keep), row_max, _diagonal(u, v, scale, u_keep, v_keep))


def _scale(scale: float | Tensor, like: Tensor) -> Tensor:
    try:
        value = torch.as_tensor(scale, dtype=checks.accumulator(like.dtype), device=like.device)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # no number, or one of 400 digits
        value = like.new_empty(0)
    if value.numel() != 1 or (value.device.type == "cpu" and not bool(torch.isfinite(value))):
        raise checks.InputError(
            f"pair_lse: {checks.describe('scale', scale)}",
            expected="one finite number, or a tensor with one element",
            causes=["the logit scale overflowed", "one scale a sample was passed"],
            fix="scale=100.0, or model.logit_scale.exp()",
        )
    return value.reshape(())


def _spread(values: Tensor, keep: Tensor | None) -> Tensor:
    """Put the values of kept rows back at their places; dropped ones get -inf."""
    if keep is None:
        return values
    return torch.full(keep.shape, -torch.inf, dtype=values.dtype, device=values.device).masked_scatter(keep, values)


def _diagonal(u: Tensor, v: Tensor, scale: Tensor, u_keep: Tensor | None, v_keep: Tensor | None) -> Tensor:
    diagonal: Tensor = _Diagonal.apply(u, v).mul(scale).to(scale.dtype)
    for keep in (u_keep, v_keep):
        if keep is not None:
            diagonal = torch.where(keep[: len(diagonal)], diagonal, -torch.inf)
    return diagonal


class _Diagonal(torch.autograd.Function):
    """``<u_i, v_i>`` in float64, which costs nothing beside the N x M products: cosines near zero lose no digits to cancellation.

    A function of its own, for autograd would keep the float64 copies.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(u, v)
        blocks = _diagonal_blocks(u, v)
        # written in place: small results kept between large temporaries would fragment the allocator's memory
        exact = u.new_empty(min(u.shape[0], v.shape[0]), dtype=torch.float64)
        rows = u.new_empty((blocks[0].stop if blocks else 0, u.shape[1]), dtype=torch.float64)
        for b in blocks:
            products = rows[: b.stop - b.start].copy_(u[b]).mul_(v[b])
            torch.sum(products, 1, out=exact[b])
        return exact

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        u, v = ctx.saved_tensors
        blocks = _diagonal_blocks(u, v)

        def towards(x: Tensor, other: Tensor) -> Tensor:
            parts = [(other[b].double() * grad[b, None]).to(x.dtype) for b in blocks]
            return torch.cat([*parts, x.new_zeros(x.shape[0] - len(grad), x.shape[1])])

        needed = zip(ctx.needs_input_grad, ((u, v), (v, u)), strict=True)
        du, dv = (towards(*pair) if wanted else None for wanted, pair in needed)
        return du, dv


def _diagonal_blocks(u: Tensor, v: Tensor) -> list[slice]:
    n, rows = min(u.shape[0], v.shape[0]), DIAGONAL_ROWS if u.device.type == "cpu" else DIAGONAL_ROWS_GPU
    return [slice(i, min(i + rows, n)) for i in range(0, n, rows)]
