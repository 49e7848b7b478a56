"""K2 on a GPU: both partial products of a tile in registers, three online reductions, logits never written."""

# mypy: disable-error-code="no-untyped-def"
# (the arguments of a kernel are values of Triton's own language, which has no annotations)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from crossmodal.kernels.autotune import Config, choose
from crossmodal.kernels.dispatch import on_device_of
from torch import Tensor

DEFAULT: Config = {"BLOCK_N": 128, "BLOCK_C": 64, "BLOCK_D": 64, "num_warps": 8, "num_stages": 3}
DEFAULT_FP32: Config = {"BLOCK_N": 64, "BLOCK_C": 32, "BLOCK_D": 32, "num_warps": 8, "num_stages": 2}
CANDIDATES: tuple[Config, ...] = (  # every one compiles without spills for sm_90
    DEFAULT,
    {"BLOCK_N": 128, "BLOCK_C": 64, "BLOCK_D": 64, "num_warps": 8, "num_stages": 4},
    {"BLOCK_N": 64, "BLOCK_C": 64, "BLOCK_D": 64, "num_warps": 4, "num_stages": 3},
    {"BLOCK_N": 64, "BLOCK_C": 128, "BLOCK_D": 64, "num_warps": 8, "num_stages": 3},
)


@triton.jit
def _product(
    x_ptr, w_ptr, rows, row_ok, cols, col_ok, d, stride_xn, stride_xd, stride_wc, stride_wd,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    z = tl.zeros((BLOCK_N, BLOCK_C), tl.float32)
    for k in range(0, d, BLOCK_D):
        ks = (k + tl.arange(0, BLOCK_D)).to(tl.int64)
        k_ok = ks < d
        x = tl.load(
            x_ptr + rows[:, None] * stride_xn + ks[None, :] * stride_xd,
            mask=row_ok[:, None] & k_ok[None, :], other=0.0,
        )  # fmt: skip
        w = tl.load(
            w_ptr + cols[None, :] * stride_wc + ks[:, None] * stride_wd,
            mask=col_ok[None, :] & k_ok[:, None], other=0.0,
        )  # fmt: skip
        z = tl.dot(x, w, z, input_precision="ieee")
    return z


@triton.jit
def _update(z, cols, label, m, l, best, target):
    """Fold a tile of logits into running maximum, sum, argmax and target logit."""
    tile_m, tile_at = tl.max(z, 1, return_indices=True, return_indices_tie_break_left=True)
    first = tl.min(cols, 0).to(tl.int32)
    best = tl.where(tile_m > m, first + tile_at, best)  # strictly greater: the lowest index wins a tie
    new = tl.maximum(m, tile_m)
    l = l * tl.exp(m - new) + tl.sum(tl.exp(z - new[:, None]), 1)  # a tile holds a class, so `new` is finite
    target += tl.sum(tl.where(cols[None, :] == label[:, None], z, 0.0), 1)
    return new, l, best, target


@triton.jit
def coalition_head_kernel(
    image_ptr, text_ptr, wi_ptr, wt_ptr, label_ptr, a_bias_ptr, a0_ptr, b0_ptr, lse_ptr, target_ptr, argmax_ptr,
    n, classes, d_image, d_text,
    stride_in, stride_id, stride_tn, stride_td, stride_wic, stride_wid, stride_wtc, stride_wtd,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One block of rows against all classes; results are (3, n): image, text, both."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    row_ok = rows < n
    label = tl.load(label_ptr + rows, mask=row_ok, other=-1)
    m_i = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    m_t = m_i
    m_b = m_i
    l_i = tl.zeros((BLOCK_N,), tl.float32)
    l_t = l_i
    l_b = l_i
    y_i = l_i
    y_t = l_i
    y_b = l_i
    at_i = tl.zeros((BLOCK_N,), tl.int32)
    at_t = at_i
    at_b = at_i
    for start in range(0, classes, BLOCK_C):
        cols = (start + tl.arange(0, BLOCK_C)).to(tl.int64)
        col_ok = cols < classes
        a = _product(
            image_ptr, wi_ptr, rows, row_ok, cols, col_ok, d_image,
            stride_in, stride_id, stride_wic, stride_wid, BLOCK_N, BLOCK_C, BLOCK_D,
        )  # fmt: skip
        b = _product(
            text_ptr, wt_ptr, rows, row_ok, cols, col_ok, d_text,
            stride_tn, stride_td, stride_wtc, stride_wtd, BLOCK_N, BLOCK_C, BLOCK_D,
        )  # fmt: skip
        a += tl.load(a_bias_ptr + cols, mask=col_ok, other=0.0)[None, :]
        a0 = tl.load(a0_ptr + cols, mask=col_ok, other=0.0)[None, :]
        b0 = tl.load(b0_ptr + cols, mask=col_ok, other=0.0)[None, :]
        ok = col_ok[None, :]
        m_i, l_i, at_i, y_i = _update(tl.where(ok, a + b0, float("-inf")), cols, label, m_i, l_i, at_i, y_i)
        m_t, l_t, at_t, y_t = _update(tl.where(ok, a0 + b, float("-inf")), cols, label, m_t, l_t, at_t, y_t)
        m_b, l_b, at_b, y_b = _update(tl.where(ok, a + b, float("-inf")), cols, label, m_b, l_b, at_b, y_b)
    size = n.to(tl.int64)
    tl.store(lse_ptr + rows, m_i + tl.log(l_i), mask=row_ok)
    tl.store(lse_ptr + size + rows, m_t + tl.log(l_t), mask=row_ok)
    tl.store(lse_ptr + 2 * size + rows, m_b + tl.log(l_b), mask=row_ok)
    tl.store(target_ptr + rows, y_i, mask=row_ok)
    tl.store(target_ptr + size + rows, y_t, mask=row_ok)
    tl.store(target_ptr + 2 * size + rows, y_b, mask=row_ok)
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
        with on_device_of(image):
            coalition_head_kernel[(triton.cdiv(n, config["BLOCK_N"]),)](
                image, text, w_image, w_text, labels, a_bias, a0, b0, lse[1:], target[1:], argmax[1:],
                n, classes, image.shape[1], text.shape[1],
                *image.stride(), *text.stride(), *w_image.stride(), *w_text.stride(), **config,
            )  # fmt: skip
    return lse, target, argmax
