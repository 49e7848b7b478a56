"""The public function of K3; it lives apart from the package, where the name `torch` is the submodule."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from itertools import chain, combinations, pairwise
from typing import NamedTuple

from crossmodal.kernels import checks
from crossmodal.kernels.dispatch import resolve, without_autocast
from torch import Tensor


class SegmentAttention(NamedTuple):
    """What `segment_attention` returns; the first axis follows the coalitions asked for."""

    output: Tensor
    """(S, B, H, Nq, D) attention output, in the dtype of the values; zero where a coalition has no key."""
    lse: Tensor
    """(S, B, H, Nq) log-sum-exp of the scaled scores, float32 (float64 for float64); ``-inf`` without a key."""
    coalitions: tuple[tuple[int, ...], ...]
    """Which segments are present in each."""


@without_autocast
def segment_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: Sequence[int],
    coalitions: Sequence[Sequence[int]] | None = None,
    *,
    keep: Tensor | None = None,
    scale: float | Tensor | None = None,
    impl: str = "auto",
) -> SegmentAttention:
    """Attention output of every coalition of key segments, each segment attended to once (K3).

    With the output ``O_g`` and log-sum-exp ``lse_g`` of each segment, a coalition's output is
    ``O_S = sum_{g in S} exp(lse_g - lse_S) O_g`` exactly.  Sharing is exact only where queries, keys and values are
    the same for all coalitions: in layer 1, or in a pooling head on frozen features.

    Args:
        q: (B, H, Nq, D) queries: float16, bfloat16, float32 or float64.
        k: (B, H, Nk, D) keys.
        v: (B, H, Nk, D) values.
        bounds: G + 1 increasing numbers from 0 to Nk; segment g holds keys ``bounds[g]`` to ``bounds[g+1]``.  An
            empty segment is fine.
        coalitions: tuples of segment numbers; by default all subsets, smallest first: ``(), (0,), (1,), (0, 1)``.
        keep: (B, Nk) boolean, False for padding keys.
        scale: factor of the scores; by default ``D ** -0.5``.
        impl: ``auto``, ``triton``, ``torch`` or ``naive``; only ``naive`` has a gradient.

    Returns:
        A `SegmentAttention`.  Without any kept key the output is 0 and the log-sum-exp -inf, never NaN.  Nothing
        looks for NaN in the inputs: it spreads as in any attention, and out of masked keys too.

    Raises:
        InputError: shapes, dtypes, devices, bounds, coalitions or scale do not fit, or an input requires grad while
            grad is enabled.
    """
    checks.require_float("segment_attention", 4, q=q, k=k, v=v)
    _check_shapes(q, k, v)
    bounds = _check_bounds(bounds, k.shape[2])
    groups = len(bounds) - 1
    wanted = _check_coalitions(coalitions, groups)
    checks.require_mask("segment_attention", "keep", keep, (k.shape[0], k.shape[2]), k.device)
    scale = _check_scale(q.shape[-1] ** -0.5 if scale is None else scale)
    chosen = resolve("segment_attention", impl, q.device)
    if chosen == "naive":
        from crossmodal.kernels.ops.segment_attention.naive import segment_attention_naive as run
    else:
        checks.no_backward("segment_attention", q, k, v)
        if chosen == "triton":
            from crossmodal.kernels.ops.segment_attention.triton import segment_attention_triton as run
        else:
            from crossmodal.kernels.ops.segment_attention.torch import segment_attention_torch as run
    output, lse = run(q, k, v, bounds, wanted, keep, scale)
    return SegmentAttention(output, lse, wanted)


def _check_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.shape[:2] != k.shape[:2] or k.shape != v.shape or q.shape[3] != k.shape[3] or not q.shape[3]:
        raise checks.InputError(
            f"segment_attention: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}",
            expected="q (B, H, Nq, D), k and v (B, H, Nk, D)",
            causes=["heads and tokens swapped: (B, N, H, D)", "grouped keys that were not repeated"],
            fix="x.transpose(1, 2); repeat grouped keys and values first",
        )


def _check_bounds(bounds: Sequence[int], keys: int) -> tuple[int, ...]:
    found = _whole_numbers(bounds)
    if found is None or len(found) < 2 or found[0] != 0 or found[-1] != keys or any(a > b for a, b in pairwise(found)):
        raise checks.InputError(
            f"segment_attention: bounds {bounds if found is None else found}",
            expected=f"whole numbers that increase from 0 to the number of keys, {keys}",
            causes=["segment lengths instead of bounds", "a class token that was not counted"],
            fix="bounds = (0, image_tokens, image_tokens + text_tokens)",
        )
    return found


def _check_coalitions(coalitions: Sequence[Sequence[int]] | None, groups: int) -> tuple[tuple[int, ...], ...]:
    if coalitions is None:
        if groups > 10:
            raise checks.InputError(
                f"segment_attention: {groups} segments have {2**groups} coalitions",
                expected="at most 10 segments without a list of coalitions",
                causes=["bounds with one segment a token"],
                fix="name the coalitions that are needed",
            )
        return tuple(chain.from_iterable(combinations(range(groups), size) for size in range(groups + 1)))
    read = [(s, _whole_numbers(s)) for s in coalitions] if isinstance(coalitions, Iterable) else []
    bad = [s for s, found in read if found is None or any(not 0 <= g < groups for g in found)]
    if bad or not read:
        raise checks.InputError(
            f"segment_attention: coalitions {bad or coalitions!r} with {groups} segments",
            expected=f"at least one coalition: tuples of segments, numbered 0 to {groups - 1}",
            causes=["segments numbered from 1", "a number where a tuple was meant: 0 is not (0,)"],
            fix="coalitions=[(), (0,), (1,), (0, 1)]",
        )
    return tuple(tuple(sorted(set(found or ()))) for _, found in read)


def _whole_numbers(values: Sequence[int]) -> tuple[int, ...] | None:
    """The values as Python integers; None for what is no sequence or holds anything else."""
    try:
        return tuple(operator.index(x) for x in values)
    except TypeError:
        return None


def _check_scale(scale: float | Tensor) -> float:
    checks.no_backward("segment_attention", scale, instead="q * scale and scale=1.0 with impl='naive'")
    try:
        value = math.nan if isinstance(scale, str) else float(scale)  # float() reads texts as well
    except (TypeError, ValueError, RuntimeError, OverflowError):  # no number, several, or one of 400 digits
        value = math.nan
    if not math.isfinite(value):
        raise checks.InputError(
            f"segment_attention: {f'scale={scale!r}'[:100]}",
            expected="one finite number",
            causes=["a division by a head dimension of zero", "a learnt temperature that overflowed, or one a head"],
            fix="scale=None, which is D ** -0.5; q * scales and scale=1.0 for a temperature a head",
        )
    return value
