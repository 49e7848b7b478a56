"""K3 with one attention call a segment and an exact merge, for a share of the heads a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from crossmodal.kernels.checks import accumulator
from crossmodal.kernels.parallel import in_shares, workers
from torch import Tensor
from torch.nn.functional import pad

QUERIES = 512
LANES = 16  # float32 numbers in the widest vector of any processor it may run on
WORTH = 4  # keys left over that cost more than a mask
LARGE = 1e10  # the score of such a key overflows for huge queries only


def segment_attention_torch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: tuple[int, ...],
    coalitions: tuple[tuple[int, ...], ...],
    keep: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Output (S, B, H, Nq, D) and log-sum-exp (S, B, H, Nq) of every coalition."""
    acc, wanted = accumulator(q.dtype), sorted({g for coalition in coalitions for g in coalition})
    shape = (len(coalitions), *q.shape)
    output, lse = q.new_empty(shape, dtype=v.dtype), q.new_empty(shape[:-1], dtype=acc)
    blocks = list(_blocks(q, workers(q.shape[0] * q.shape[1], q.device)))
    shares = workers(len(blocks), q.device)

    def work(_: int, mine: range) -> None:
        for at in (blocks[i] for i in mine):
            # in `acc`, for a rounded segment output would be rounded again by the merge
            queries, keys, values = (x[at].to(acc) for x in (q, k, v))
            kept = None if keep is None else keep[at[0]]
            segments = {}
            for g in wanted:
                part = slice(bounds[g], bounds[g + 1])
                segments[g] = _attend(queries, keys, values, part, kept, scale)
            for index, coalition in enumerate(coalitions):
                merge([segments[g] for g in coalition], output[index][at], lse[index][at])

    in_shares(work, len(blocks), shares)
    return output, lse


def _blocks(q: Tensor, shares: int) -> Iterator[tuple[slice, slice]]:
    """Samples and heads of each block: about one block a thread, because a fused attention call costs the less the larger it is."""
    batch, heads = q.shape[:2]
    fit = max(1, -(-batch * heads // shares))
    by_head, by_sample = max(1, min(heads, fit)), max(1, fit // max(1, heads))
    for b in range(0, batch, by_sample):
        for h in range(0, heads, by_head):
            yield slice(b, b + by_sample), slice(h, h + by_head)


def merge(parts: list[tuple[Tensor, Tensor]], output: Tensor, lse: Tensor) -> None:
    """``O = sum_g exp(lse_g - lse) O_g``, ``lse = logsumexp_g lse_g``; no part, or only empty ones: 0 and -inf."""
    if not parts:
        output.zero_()
        lse.fill_(-torch.inf)
    elif len(parts) == 1:
        output.copy_(parts[0][0])
        lse.copy_(parts[0][1])
    else:
        lses = torch.stack([part[1] for part in parts])
        largest = lses.amax(0)
        weights = (lses - torch.where(torch.isneginf(largest), 0.0, largest)).exp_()
        total = weights.sum(0)
        lse.copy_(largest + total.log())
        weights /= torch.where(total > 0, total, 1.0)
        mixed = output if output.dtype == weights.dtype else torch.empty_like(parts[0][0])
        shares = weights.unsqueeze(-1)
        if len(parts) == 2:  # one pass instead of two
            torch.lerp(parts[0][0], parts[1][0], shares[1], out=mixed)
        else:
            torch.mul(parts[0][0], shares[0], out=mixed)
            for (part, _), share in zip(parts[1:], shares[1:], strict=True):
                mixed.addcmul_(part, share)
        if mixed is not output:
            output.copy_(mixed)


def _attend(
    q: Tensor, all_keys: Tensor, all_values: Tensor, part: slice, kept: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of the segment `part` of the keys."""
    k, v, keep = all_keys[:, :, part], all_values[:, :, part], None if kept is None else kept[:, part]
    if not k.shape[2] or not q.numel():
        return torch.zeros_like(q), q.new_full(q.shape[:-1], -torch.inf)
    flash = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    if q.device.type == "cpu" and flash is not None and q.dtype == torch.float32:
        output, lse = _fused(flash, q, *_whole_lanes(all_keys, all_values, part, keep), scale)
        if bool(lse.isnan().any()):  # its own, or the product of a query with a key beside it overflowed
            output, lse = _fused(flash, q, *_whole_lanes(all_keys, all_values, part, keep, copy=True), scale)
    else:
        blocks = [_softmax_block(block, k, v, keep, scale) for block in q.split(QUERIES, 2)]
        output, lse = (torch.cat(x, 2) for x in zip(*blocks, strict=True))
    if keep is not None:
        empty = ~keep.any(1)[:, None, None]  # the fused kernel reports log-sum-exp 0 for a row without keys
        output = torch.where(empty[..., None], 0.0, output)
        lse = torch.where(empty, -torch.inf, lse)
    return output, lse


def _fused(
    flash: Callable[..., tuple[Tensor, Tensor]], q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """torch's fused attention, with a mask (B or 1, keys) of the keys that are seen."""
    mask = None
    if seen is not None:
        mask = torch.zeros(seen.shape, dtype=q.dtype, device=q.device).masked_fill_(~seen, -torch.inf)
        mask = mask[:, None, None, :].expand(q.shape[0], 1, q.shape[2], -1)
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))  # it assumes this
    return flash(q, k, v, attn_mask=mask, scale=scale)


def _whole_lanes(
    all_keys: Tensor, all_values: Tensor, part: slice, keep: Tensor | None, copy: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values and mask of a segment, filled up to a multiple of `LANES` by keys that nobody sees, where that is worth it.

    The fused kernel takes what is left of the last vector key by key: 77 keys cost half as much again as 80.  The keys
    beside the segment serve, without a copy, unless even unseen they would spoil it: a weight of zero times infinity.
    With `copy` they are zeros.
    """
    count = part.stop - part.start
    spare = -count % LANES
    if not 0 < spare <= LANES - WORTH:
        return all_keys[:, :, part], all_values[:, :, part], keep
    seen = torch.ones(1, count, dtype=torch.bool, device=all_keys.device) if keep is None else keep
    both = (all_keys, all_values)
    for before in () if copy else (spare, 0):
        whole = slice(part.start - before, part.stop + spare - before)
        beside = slice(whole.start, part.start) if before else slice(part.stop, whole.stop)
        exists = whole.start >= 0 and whole.stop <= all_keys.shape[2]
        if exists and all(bool(x[:, :, beside].abs().amax() < LARGE) for x in both):
            return all_keys[:, :, whole], all_values[:, :, whole], pad(seen, (before, spare - before))
    k, v = (pad(x[:, :, part], (0, 0, 0, spare)) for x in both)
    return k, v, pad(seen, (0, spare))


def _softmax_block(q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    scores = (q @ k.transpose(-1, -2)) * scale
    if keep is not None:
        scores = scores.masked_fill(~keep[:, None, None, :], -torch.inf)
    lse = torch.logsumexp(scores, -1)
    return torch.exp(scores - torch.where(torch.isneginf(lse), 0.0, lse)[..., None]) @ v, lse
