"""K1 on a GPU: tiles of the product in registers, two-stage reductions without atomics.

A program owns a block of rows and a range of columns.  Row maximum and sum live in registers; each tile's column shift and
sum are written as partials, one line a row block, and a second stage (a few torch reductions) merges them in a fixed order,
so results repeat bit for bit.  Rows are taken in stripes of at most `STRIPE`, so the partials take O(M), not O(N M), memory.

A tile's exponentials are taken once, for the rows; weighted they are those of the columns, with one shift a tile.  A column
far below the others would lose its powers that way, so a tile where a sum is not large enough to prove that it lost none is
done again by a kernel that gives every column a shift of its own.
"""

# mypy: disable-error-code="no-untyped-def"
# (the arguments of a kernel are values of Triton's own language, which has no annotations)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from crossmodal.kernels.autotune import Config, choose
from crossmodal.kernels.dispatch import on_device_of
from torch import Tensor

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN2 = 0.6931471805599453
STRIPE = 8192
TILES: tl.constexpr = tl.constexpr(16)  # that one program of the second kernel looks at: nearly all have nothing to do
# powers below 2^-126 are 0: 256 of them, beside a sum of at least this, are less than 2^-28 of it
FAINT: tl.constexpr = tl.constexpr(2.0**-90)

DEFAULT: Config = {"BLOCK_N": 128, "BLOCK_M": 128, "BLOCK_D": 64, "num_warps": 8, "num_stages": 3}
DEFAULT_FP32: Config = {"BLOCK_N": 64, "BLOCK_M": 64, "BLOCK_D": 32, "num_warps": 4, "num_stages": 2}
CANDIDATES: tuple[Config, ...] = (  # every one compiles without spills for sm_90
    DEFAULT,
    {"BLOCK_N": 128, "BLOCK_M": 128, "BLOCK_D": 64, "num_warps": 8, "num_stages": 4},
    {"BLOCK_N": 64, "BLOCK_M": 128, "BLOCK_D": 64, "num_warps": 4, "num_stages": 4},
    {"BLOCK_N": 64, "BLOCK_M": 256, "BLOCK_D": 64, "num_warps": 8, "num_stages": 4},
)


@triton.jit
def _scores(
    u_ptr, v_ptr, rows, row_ok, cols, col_ok, d, scale_log2e, stride_un, stride_ud, stride_vm, stride_vd,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """A tile of scaled scores in base 2; -inf in columns that are not there, and 0 in such rows."""
    z = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    for k in range(0, d, BLOCK_D):
        ks = (k + tl.arange(0, BLOCK_D)).to(tl.int64)
        k_ok = ks < d
        a = tl.load(
            u_ptr + rows[:, None] * stride_un + ks[None, :] * stride_ud, mask=row_ok[:, None] & k_ok[None, :], other=0.0
        )
        b = tl.load(
            v_ptr + cols[None, :] * stride_vm + ks[:, None] * stride_vd, mask=col_ok[None, :] & k_ok[:, None], other=0.0
        )
        z = tl.dot(a, b, z, input_precision="ieee")
    return z * scale_log2e + tl.where(col_ok, 0.0, float("-inf"))[None, :]


@triton.jit
def pair_lse_kernel(
    u_ptr, v_ptr, row_m_ptr, row_l_ptr, col_m_ptr, col_l_ptr, faint_ptr,
    n, m, d, scale_log2e,
    stride_un, stride_ud, stride_vm, stride_vd,
    columns_per_split, tiles,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Rows [pid0 * BLOCK_N, ...) times columns of split pid1.  All shifts and sums are in base 2."""
    row_block = tl.program_id(0)
    split = tl.program_id(1)
    # 64-bit offsets: N x d and (row blocks) x M both exceed 2^31 elements at sizes people use
    rows = row_block.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    row_ok = rows < n
    row_m = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    row_l = tl.zeros((BLOCK_N,), tl.float32)
    first = split * columns_per_split
    last = tl.minimum(first + columns_per_split, m)
    for start in range(first, last, BLOCK_M):
        cols = (start + tl.arange(0, BLOCK_M)).to(tl.int64)
        col_ok = cols < last
        z = _scores(
            u_ptr, v_ptr, rows, row_ok, cols, col_ok, d, scale_log2e, stride_un, stride_ud, stride_vm, stride_vd,
            BLOCK_N, BLOCK_M, BLOCK_D,
        )  # fmt: skip
        new_m = tl.maximum(row_m, tl.max(z, 1))  # finite: a tile holds a column
        p = tl.exp2(z - new_m[:, None])
        row_l = row_l * tl.exp2(row_m - new_m) + tl.sum(p, 1)
        row_m = new_m

        # the same exponentials, weighted, are those of the columns as well, all with one shift: the largest of the rows'
        top = tl.max(tl.where(row_ok, row_m, float("-inf")), 0)
        weight = tl.where(row_ok, tl.exp2(row_m - top), 0.0)
        col_l = tl.sum(p * weight[:, None], 0)
        at = row_block.to(tl.int64) * m + cols
        tl.store(col_m_ptr + at, tl.zeros((BLOCK_M,), tl.float32) + top, mask=col_ok)
        tl.store(col_l_ptr + at, col_l, mask=col_ok)
        faint = tl.min(tl.where(col_ok, col_l, 1.0), 0) < FAINT
        tl.store(faint_ptr + (row_block.to(tl.int64) * tiles + start // BLOCK_M), faint.to(tl.int32))
    at = split.to(tl.int64) * n + rows
    tl.store(row_m_ptr + at, row_m, mask=row_ok)
    tl.store(row_l_ptr + at, row_l, mask=row_ok)


@triton.jit
def faint_columns_kernel(
    u_ptr, v_ptr, faint_ptr, col_m_ptr, col_l_ptr,
    n, m, d, scale_log2e,
    stride_un, stride_ud, stride_vm, stride_vd,
    tiles,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """The columns of a tile again, each with a shift of its own, where one lies so far below that powers were lost.

    It is a kernel of its own, which mostly has nothing to do, so that the other keeps its registers for what it always does.
    """
    row_block = tl.program_id(0).to(tl.int64)
    first = tl.program_id(1) * TILES
    some = first + tl.arange(0, TILES)
    if tl.max(tl.load(faint_ptr + (row_block * tiles + some), mask=some < tiles, other=0), 0) != 0:
        rows = row_block * BLOCK_N + tl.arange(0, BLOCK_N)
        row_ok = rows < n
        for tile in range(first, tl.minimum(first + TILES, tiles)):
            if tl.load(faint_ptr + (row_block * tiles + tile)) != 0:
                cols = (tile * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
                col_ok = cols < m
                z = _scores(
                    u_ptr, v_ptr, rows, row_ok, cols, col_ok, d, scale_log2e, stride_un, stride_ud, stride_vm, stride_vd,
                    BLOCK_N, BLOCK_M, BLOCK_D,
                )  # fmt: skip
                z = tl.where(row_ok[:, None], z, float("-inf"))
                col_m = tl.max(z, 0)
                shift = tl.where(col_ok, col_m, 0.0)  # exp2(-inf - -inf) would be NaN
                at = row_block * m + cols
                tl.store(col_m_ptr + at, col_m, mask=col_ok)
                tl.store(col_l_ptr + at, tl.sum(tl.exp2(z - shift[None, :]), 0), mask=col_ok)


def pair_lse_triton(u: Tensor, v: Tensor, scale: float, config: Config | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Row log-sum-exp (N,), column log-sum-exp (M,) and row maximum (N,), float32."""
    if u.dtype == torch.float64:
        # consumer and data-centre GPUs alike have no float64 tensor path in Triton: use the tiled torch form
        from crossmodal.kernels.ops.pair_lse.torch import pair_lse_torch

        return pair_lse_torch(u, v, scale, torch.float64)
    (n, d), m = u.shape, v.shape[0]
    default = DEFAULT_FP32 if u.dtype == torch.float32 else DEFAULT
    config = config or choose("pair_lse", (n, m, d), u.dtype, u.device, default)
    row_m, row_l = u.new_empty(n, dtype=torch.float32), u.new_empty(n, dtype=torch.float32)
    col_m = u.new_full((m,), -torch.inf, dtype=torch.float32)
    col_l = u.new_zeros(m, dtype=torch.float32)
    for start in range(0, n, STRIPE):
        stripe = slice(start, min(start + STRIPE, n))
        rows, columns = _stripe(u[stripe], v, scale, config)
        row_m[stripe], row_l[stripe] = rows
        _merge(col_m, col_l, *columns)
    return (row_m + row_l.log2()) * LN2, (col_m + col_l.log2()) * LN2, row_m * LN2


def _stripe(u: Tensor, v: Tensor, scale: float, config: Config) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    (n, d), m = u.shape, v.shape[0]
    row_blocks = triton.cdiv(n, config["BLOCK_N"])
    # two programs a multiprocessor at most, for a few more would take as long as twice as many; at least one column tile each
    splits = max(1, min(2 * _processors(u) // row_blocks, triton.cdiv(m, config["BLOCK_M"])))
    per_split = triton.cdiv(triton.cdiv(m, splits), config["BLOCK_M"]) * config["BLOCK_M"]
    splits = triton.cdiv(m, per_split)
    row = [u.new_empty((splits, n), dtype=torch.float32) for _ in range(2)]
    col = [u.new_empty((row_blocks, m), dtype=torch.float32) for _ in range(2)]
    tiles = triton.cdiv(m, config["BLOCK_M"])
    faint = u.new_empty((row_blocks, tiles), dtype=torch.int32)
    sizes = (n, m, d, scale * LOG2E.value, *u.stride(), *v.stride())
    with on_device_of(u):
        pair_lse_kernel[(row_blocks, splits)](u, v, *row, *col, faint, *sizes, per_split, tiles, **config)
        faint_columns_kernel[(row_blocks, triton.cdiv(tiles, TILES.value))](u, v, faint, *col, *sizes, tiles, **config)
    return _reduce(*row), _reduce(*col)


def _processors(x: Tensor) -> int:
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 1


def _reduce(shift: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Merge partials along the first axis, in a fixed order."""
    largest = shift.amax(0)
    return largest, (total * (shift - largest).exp2()).sum(0)


def _merge(col_m: Tensor, col_l: Tensor, stripe_m: Tensor, stripe_l: Tensor) -> None:
    new = torch.maximum(col_m, stripe_m)
    col_l.mul_((col_m - new).exp2()).add_(stripe_l * (stripe_m - new).exp2())
    col_m.copy_(new)
