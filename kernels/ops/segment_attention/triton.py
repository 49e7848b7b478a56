"""K3 on a GPU: both segments in one program, their outputs and the merged one written once."""

# mypy: disable-error-code="no-untyped-def"
# (the arguments of a kernel are values of Triton's own language, which has no annotations)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from crossmodal.kernels.autotune import Config, choose
from crossmodal.kernels.dispatch import on_device_of
from crossmodal.kernels.ops.segment_attention.torch import Part, merge, segment_attention_torch
from torch import Tensor

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN2: tl.constexpr = tl.constexpr(0.6931471805599453)

# every configuration compiles without spills for sm_90: two accumulators leave room for heads up to these widths
WIDEST, WIDEST_FP32 = 128, 64
DEFAULT: Config = {"BLOCK_Q": 128, "BLOCK_K": 64, "num_warps": 8, "num_stages": 3}
DEFAULT_WIDE: Config = {"BLOCK_Q": 64, "BLOCK_K": 64, "num_warps": 8, "num_stages": 2}
DEFAULT_FP32: Config = {"BLOCK_Q": 32, "BLOCK_K": 16, "num_warps": 8, "num_stages": 1}
CANDIDATES: tuple[Config, ...] = (
    DEFAULT,
    {"BLOCK_Q": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 3},
    {"BLOCK_Q": 128, "BLOCK_K": 32, "num_warps": 8, "num_stages": 4},
    {"BLOCK_Q": 64, "BLOCK_K": 32, "num_warps": 4, "num_stages": 4},
)
CANDIDATES_WIDE: tuple[Config, ...] = (
    DEFAULT_WIDE,
    {"BLOCK_Q": 64, "BLOCK_K": 32, "num_warps": 8, "num_stages": 3},
)


def default_config(dtype: torch.dtype, width: int) -> Config:
    """The configuration used when nothing was tuned, for heads of `width` dimensions."""
    if dtype == torch.float32:
        return DEFAULT_FP32
    return DEFAULT if width <= 64 else DEFAULT_WIDE


@triton.jit
def _segment(
    q, k_ptr, v_ptr, keep_ptr, first, last, d, stride_kn, stride_kd, stride_vn, stride_vd, scale_log2e,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, HAS_KEEP: tl.constexpr,
):  # fmt: skip
    """Online softmax over keys [first, last): maximum and sum in base 2, and the unnormalised output."""
    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    acc = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    ds = tl.arange(0, BLOCK_D).to(tl.int64)
    d_ok = ds < d
    for start in range(first, last, BLOCK_K):
        ks = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        ok = ks < last
        k = tl.load(
            k_ptr + ks[None, :] * stride_kn + ds[:, None] * stride_kd, mask=ok[None, :] & d_ok[:, None], other=0.0
        )
        s = tl.dot(q, k, input_precision="ieee") * scale_log2e
        if HAS_KEEP:
            ok = ok & (tl.load(keep_ptr + ks, mask=ok, other=0) != 0)
        s = tl.where(ok[None, :], s, float("-inf"))
        new = tl.maximum(m, tl.max(s, 1))
        shift = tl.where(new == float("-inf"), 0.0, new)  # exp2(-inf - -inf) would be NaN
        p = tl.exp2(s - shift[:, None])
        alpha = tl.exp2(m - shift)
        l = l * alpha + tl.sum(p, 1)
        v = tl.load(
            v_ptr + ks[:, None] * stride_vn + ds[None, :] * stride_vd, mask=(ks < last)[:, None] & d_ok[None, :],
            other=0.0,
        )  # fmt: skip
        acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None], input_precision="ieee")
        m = new
    return m, l, acc


@triton.jit
def _write(out_ptr, lse_ptr, m, l, acc, at, q_ok, ds, d_ok, d):
    total = tl.where(l > 0, l, 1.0)
    lse = tl.where(l > 0, (m + tl.log2(total)) * LN2, float("-inf"))
    tl.store(lse_ptr + at, lse, mask=q_ok)
    tl.store(
        out_ptr + at[:, None] * d + ds[None, :],
        (acc / total[:, None]).to(out_ptr.dtype.element_ty),
        mask=q_ok[:, None] & d_ok[None, :],
    )


@triton.jit
def segment_attention_kernel(
    q_ptr, k_ptr, v_ptr, keep_ptr, out0_ptr, out1_ptr, out01_ptr, lse0_ptr, lse1_ptr, lse01_ptr,
    heads, queries, keys, d, bound0, bound1, bound2, scale_log2e,
    stride_qb, stride_qh, stride_qn, stride_qd, stride_kb, stride_kh, stride_kn, stride_kd,
    stride_vb, stride_vh, stride_vn, stride_vd,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, HAS_KEEP: tl.constexpr,
):  # fmt: skip
    """A block of queries of one head against two segments; the merged output costs no further product."""
    blocks = tl.cdiv(queries, BLOCK_Q)
    block = tl.program_id(0) % blocks
    batch_head = (tl.program_id(0) // blocks).to(tl.int64)  # 64-bit: B x H x N x D exceeds 2^31
    batch = batch_head // heads
    head = batch_head % heads
    qs = (block * BLOCK_Q + tl.arange(0, BLOCK_Q)).to(tl.int64)
    q_ok = qs < queries
    ds = tl.arange(0, BLOCK_D).to(tl.int64)
    d_ok = ds < d
    q = tl.load(
        q_ptr + batch * stride_qb + head * stride_qh + qs[:, None] * stride_qn + ds[None, :] * stride_qd,
        mask=q_ok[:, None] & d_ok[None, :], other=0.0,
    )  # fmt: skip
    k_ptr += batch * stride_kb + head * stride_kh
    v_ptr += batch * stride_vb + head * stride_vh
    keep_ptr += batch * keys
    at = batch_head * queries + qs
    m0, l0, acc0 = _segment(
        q, k_ptr, v_ptr, keep_ptr, bound0, bound1, d, stride_kn, stride_kd, stride_vn, stride_vd, scale_log2e,
        BLOCK_Q, BLOCK_K, BLOCK_D, HAS_KEEP,
    )  # fmt: skip
    _write(out0_ptr, lse0_ptr, m0, l0, acc0, at, q_ok, ds, d_ok, d)
    m1, l1, acc1 = _segment(
        q, k_ptr, v_ptr, keep_ptr, bound1, bound2, d, stride_kn, stride_kd, stride_vn, stride_vd, scale_log2e,
        BLOCK_Q, BLOCK_K, BLOCK_D, HAS_KEEP,
    )  # fmt: skip
    _write(out1_ptr, lse1_ptr, m1, l1, acc1, at, q_ok, ds, d_ok, d)
    m = tl.maximum(m0, m1)
    shift = tl.where(m == float("-inf"), 0.0, m)
    w0 = tl.exp2(m0 - shift)
    w1 = tl.exp2(m1 - shift)
    _write(out01_ptr, lse01_ptr, m, l0 * w0 + l1 * w1, acc0 * w0[:, None] + acc1 * w1[:, None], at, q_ok, ds, d_ok, d)


def segment_attention_triton(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: tuple[int, ...],
    coalitions: tuple[tuple[int, ...], ...],
    keep: Tensor | None,
    scale: float,
    config: Config | None = None,
) -> tuple[Tensor, Tensor]:
    """Output (S, B, H, Nq, D) and log-sum-exp (S, B, H, Nq) of every coalition.

    Two segments take one launch, which also merges.  With more, segments are attended to two at a time and their
    float32 outputs merged in torch.
    """
    widest = WIDEST_FP32 if q.dtype == torch.float32 else WIDEST
    if q.dtype == torch.float64 or q.shape[3] > widest or not q.numel():
        # no float64 tensor path in Triton, and wider heads would spill
        return segment_attention_torch(q, k, v, bounds, coalitions, keep, scale)
    if config is None:
        default = default_config(q.dtype, q.shape[3])
        shape = (q.shape[0] * q.shape[1], q.shape[2], k.shape[2], q.shape[3])
        config = choose("segment_attention", shape, q.dtype, q.device, default)
    keep8 = q.new_zeros(0, dtype=torch.int8) if keep is None else keep.contiguous().view(torch.int8)
    output = q.new_empty((len(coalitions), *q.shape))
    lse = q.new_empty(output.shape[:-1], dtype=torch.float32)
    if len(bounds) == 3 and {(0,), (1,), (0, 1)} <= set(coalitions) and len(set(coalitions)) == len(coalitions):
        at = [coalitions.index(s) for s in ((0,), (1,), (0, 1))]
        _launch(q, k, v, bounds, keep8, scale, config, [output[i] for i in at], [lse[i] for i in at])
        if () in coalitions:
            merge({}, [()], output[coalitions.index(()), None], lse[coalitions.index(()), None])
        return output, lse
    segments: list[Part] = []
    for first in range(0, len(bounds) - 1, 2):
        pair = (*bounds[first : first + 3], bounds[-1])[:3]  # an odd last segment is paired with an empty one
        outputs = list(q.new_empty((3, *q.shape), dtype=torch.float32))
        lses = list(q.new_empty((3, *q.shape[:-1]), dtype=torch.float32))
        _launch(q, k, v, pair, keep8, scale, config, outputs, lses)
        segments += list(zip(outputs[:2], lses[:2], strict=True))
    merge(dict(enumerate(segments)), coalitions, output, lse)
    return output, lse


def _launch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: tuple[int, ...],
    keep: Tensor,
    scale: float,
    config: Config,
    outputs: list[Tensor],
    lses: list[Tensor],
) -> None:
    batch, heads, queries, d = q.shape
    grid = (triton.cdiv(queries, config["BLOCK_Q"]) * batch * heads,)
    with on_device_of(q):
        segment_attention_kernel[grid](
            q, k, v, keep, *outputs, *lses, heads, queries, k.shape[2], d, *bounds, scale * LOG2E.value,
            *q.stride(), *k.stride(), *v.stride(),
            BLOCK_D=max(16, triton.next_power_of_2(d)), HAS_KEEP=keep.numel() > 0, **config,
        )  # fmt: skip
