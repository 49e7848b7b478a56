"""K2 on a GPU: both partial products of a tile in registers, three online reductions, logits never written.

What follows products of 512 dimensions takes a multiprocessor about twice their cycles, by a count of its instructions.  So there are
few: the target is picked from the two parts, indices come from comparisons, powers are of two, and columns beyond the last class
need no selecting.
"""

# mypy: disable-error-code="no-untyped-def"
# (the arguments of a kernel are values of Triton's own language, which has no annotations)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from crossmodal.kernels.autotune import Config, choose
from crossmodal.kernels.checks import InputError, describe
from crossmodal.kernels.dispatch import on_device_of
from torch import Tensor

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN2: tl.constexpr = tl.constexpr(0.6931471805599453)

DEFAULT: Config = {"BLOCK_N": 64, "BLOCK_C": 128, "BLOCK_D": 64, "RESIDENT": 0, "num_warps": 8, "num_stages": 3}
DEFAULT_FP32: Config = {"BLOCK_N": 32, "BLOCK_C": 32, "BLOCK_D": 32, "RESIDENT": 0, "num_warps": 8, "num_stages": 2}
CANDIDATES: tuple[Config, ...] = (  # every one compiles without spills for sm_90
    DEFAULT,
    {"BLOCK_N": 128, "BLOCK_C": 32, "BLOCK_D": 64, "RESIDENT": 0, "num_warps": 8, "num_stages": 3},
    # features of up to BLOCK_D dimensions stay in shared memory while the classes go by: only weights are read again
    {"BLOCK_N": 128, "BLOCK_C": 32, "BLOCK_D": 256, "RESIDENT": 1, "num_warps": 8, "num_stages": 2},
    {"BLOCK_N": 64, "BLOCK_C": 32, "BLOCK_D": 256, "RESIDENT": 1, "num_warps": 4, "num_stages": 1},
)


@triton.jit
def _tile(ptr, lines, ok, stride_n, start, d, stride_d, BLOCK_D: tl.constexpr):
    """Rows (lines, BLOCK_D) of features or weights, from `start` of their dimensions on; zeros beyond them."""
    ks = (start + tl.arange(0, BLOCK_D)).to(tl.int64)
    return tl.load(
        ptr + lines[:, None] * stride_n + ks[None, :] * stride_d, mask=ok[:, None] & (ks < d)[None, :], other=0.0
    )


@triton.jit
def _product(
    x, x_ptr, w_ptr, rows, row_ok, cols, col_ok, d, stride_xn, stride_xd, stride_wc, stride_wd,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr, RESIDENT: tl.constexpr,
):  # fmt: skip
    if RESIDENT:
        w = _tile(w_ptr, cols, col_ok, stride_wc, 0, d, stride_wd, BLOCK_D)
        z = tl.dot(x, w.T, input_precision="ieee")
    else:
        z = tl.zeros((BLOCK_N, BLOCK_C), tl.float32)
        for k in range(0, d, BLOCK_D):
            x = _tile(x_ptr, rows, row_ok, stride_xn, k, d, stride_xd, BLOCK_D)
            w = _tile(w_ptr, cols, col_ok, stride_wc, k, d, stride_wd, BLOCK_D)
            z = tl.dot(x, w.T, z, input_precision="ieee")
    return z


@triton.jit
def _update(z, column, first, m, shift, l, best, BLOCK_C: tl.constexpr):
    """Fold a tile of logits into running maximum, argmax, and sum of powers of two relative to `shift`, m log2 e rounded.

    The shift is kept, and not made again: a compiler fuses products with differences, so that m log2 e less its rounded
    value would not be 0, and every tile would multiply the sum by a power of what rounding took away.
    """
    tile_m = tl.max(z, 1)
    # a comparison and a minimum of indices: a third of the instructions of a maximum that carries its index along
    tile_at = tl.min(tl.where(z == tile_m[:, None], column[None, :], BLOCK_C), 1)
    best = tl.where(tile_m > m, first + tile_at, best)  # strictly greater: the lowest index wins a tie
    new = tl.maximum(shift, tile_m * LOG2E)  # a tile holds a class, so it is finite
    l = l * tl.exp2(shift - new) + tl.sum(tl.exp2(z * LOG2E - new[:, None]), 1)
    return tl.maximum(m, tile_m), new, l, best


@triton.jit
def coalition_head_kernel(
    image_ptr, text_ptr, wi_ptr, wt_ptr, label_ptr, a_bias_ptr, a0_ptr, b0_ptr, lse_ptr, target_ptr, argmax_ptr,
    n, classes, d_image, d_text,
    stride_in, stride_id, stride_tn, stride_td, stride_wic, stride_wid, stride_wtc, stride_wtd,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr, RESIDENT: tl.constexpr,
):  # fmt: skip
    """One block of rows against all classes; results are (3, n): image, text, both."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    row_ok = rows < n
    label = tl.load(label_ptr + rows, mask=row_ok, other=0).to(tl.int32)
    m_i = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    m_t = m_i
    m_b = m_i
    s_i = m_i
    s_t = m_i
    s_b = m_i
    l_i = tl.zeros((BLOCK_N,), tl.float32)
    l_t = l_i
    l_b = l_i
    y_a = l_i
    y_b = l_i
    at_i = tl.zeros((BLOCK_N,), tl.int32)
    at_t = at_i
    at_b = at_i
    column = tl.arange(0, BLOCK_C)
    x = _tile(image_ptr, rows, row_ok, stride_in, 0, d_image, stride_id, BLOCK_D)
    t = _tile(text_ptr, rows, row_ok, stride_tn, 0, d_text, stride_td, BLOCK_D)
    for start in range(0, classes, BLOCK_C):
        cols = (start + column).to(tl.int64)
        col_ok = cols < classes
        a = _product(
            x, image_ptr, wi_ptr, rows, row_ok, cols, col_ok, d_image,
            stride_in, stride_id, stride_wic, stride_wid, BLOCK_N, BLOCK_C, BLOCK_D, RESIDENT,
        )  # fmt: skip
        b = _product(
            t, text_ptr, wt_ptr, rows, row_ok, cols, col_ok, d_text,
            stride_tn, stride_td, stride_wtc, stride_wtd, BLOCK_N, BLOCK_C, BLOCK_D, RESIDENT,
        )  # fmt: skip
        chosen = (start + column)[None, :] == label[:, None]
        y_a += tl.sum(tl.where(chosen, a, 0.0), 1)
        y_b += tl.sum(tl.where(chosen, b, 0.0), 1)
        # beyond the last class -inf comes with what is added, and needs no selecting of its own
        a += tl.load(a_bias_ptr + cols, mask=col_ok, other=float("-inf"))[None, :]
        a0 = tl.load(a0_ptr + cols, mask=col_ok, other=float("-inf"))[None, :]
        b0 = tl.load(b0_ptr + cols, mask=col_ok, other=0.0)[None, :]
        m_i, s_i, l_i, at_i = _update(a + b0, column, start, m_i, s_i, l_i, at_i, BLOCK_C)
        m_t, s_t, l_t, at_t = _update(a0 + b, column, start, m_t, s_t, l_t, at_t, BLOCK_C)
        m_b, s_b, l_b, at_b = _update(a + b, column, start, m_b, s_b, l_b, at_b, BLOCK_C)
    size = tl.cast(n, tl.int64)  # a single sample is a constant, not a tensor
    y_a += tl.load(a_bias_ptr + label.to(tl.int64), mask=row_ok, other=0.0)
    y_a0 = tl.load(a0_ptr + label.to(tl.int64), mask=row_ok, other=0.0)
    y_b0 = tl.load(b0_ptr + label.to(tl.int64), mask=row_ok, other=0.0)
    tl.store(lse_ptr + rows, (s_i + tl.log2(l_i)) * LN2, mask=row_ok)
    tl.store(lse_ptr + size + rows, (s_t + tl.log2(l_t)) * LN2, mask=row_ok)
    tl.store(lse_ptr + 2 * size + rows, (s_b + tl.log2(l_b)) * LN2, mask=row_ok)
    tl.store(target_ptr + rows, y_a + y_b0, mask=row_ok)
    tl.store(target_ptr + size + rows, y_a0 + y_b, mask=row_ok)
    tl.store(target_ptr + 2 * size + rows, y_a + y_b, mask=row_ok)
    tl.store(argmax_ptr + rows, at_i.to(tl.int64), mask=row_ok)
    tl.store(argmax_ptr + size + rows, at_t.to(tl.int64), mask=row_ok)
    tl.store(argmax_ptr + 2 * size + rows, at_b.to(tl.int64), mask=row_ok)


def coalition_head_triton(
    image: Tensor,
    text: Tensor,
    w_image: Tensor,
    w_text: Tensor,
    labels: Tensor,
    bias: Tensor,
    image_baseline: Tensor,
    text_baseline: Tensor,
    config: Config | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp, target logit and argmax, each (4, N), in the order of `COALITIONS`."""
    if image.dtype == torch.float64:
        # Triton has no float64 tensor path: use the blocked torch form
        from crossmodal.kernels.ops.coalition_head.torch import coalition_head_torch

        return coalition_head_torch(image, text, w_image, w_text, labels, bias, image_baseline, text_baseline)
    n, classes = image.shape[0], w_image.shape[0]
    a_bias = bias.float()
    a0 = w_image.float() @ image_baseline.float() + a_bias
    b0 = w_text.float() @ text_baseline.float()
    labels = labels.long().contiguous()
    lse = image.new_empty((4, n), dtype=torch.float32)
    target = torch.empty_like(lse)
    argmax = torch.empty((4, n), dtype=torch.int64, device=image.device)
    empty = a0 + b0  # the empty coalition does not depend on the sample
    lse[0], target[0], argmax[0] = torch.logsumexp(empty, 0), empty[labels], empty.argmax(0)
    if n:
        default = DEFAULT_FP32 if image.dtype == torch.float32 else DEFAULT
        shape = (n, classes, max(image.shape[1], text.shape[1]))
        config = config or choose("coalition_head", shape, image.dtype, image.device, default)
        if config["RESIDENT"] and max(image.shape[1], text.shape[1]) > config["BLOCK_D"]:
            raise InputError(
                f"coalition_head: {describe('image', image)}, {describe('text', text)}",
                expected=f"at most {config['BLOCK_D']} dimensions each for {config}",
                causes=["a configuration that was tuned for narrower features"],
                fix="a configuration with RESIDENT = 0, or none",
            )
        with on_device_of(image):
            coalition_head_kernel[(triton.cdiv(n, config["BLOCK_N"]),)](
                image, text, w_image, w_text, labels, a_bias, a0, b0, lse[1:], target[1:], argmax[1:],
                n, classes, image.shape[1], text.shape[1],
                *image.stride(), *text.stride(), *w_image.stride(), *w_text.stride(), **config,
            )  # fmt: skip
    return lse, target, argmax
