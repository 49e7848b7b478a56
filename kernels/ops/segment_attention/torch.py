"""K3 with one attention call a segment and an exact merge, for some heads at a time, dealt to threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from crossmodal.kernels.checks import accumulator
from crossmodal.kernels.parallel import in_shares, workers
from torch import Tensor
from torch.nn.functional import pad

QUERIES = 512
LANES = 16  # float32 numbers in the widest vector of any processor it may run on
WORTH = 4  # keys left over that cost more than a mask

Part = tuple[Tensor, Tensor]
"""Output (B, H, Nq, D) and log-sum-exp (B, H, Nq) of some of the keys, in the accumulator's dtype."""
Block = tuple[slice, slice]
"""Samples and heads."""
Flash = Callable[..., Part]


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
    acc, shape = accumulator(q.dtype), (len(coalitions), *q.shape)
    output, lse = q.new_empty(shape, dtype=v.dtype), q.new_empty(shape[:-1], dtype=acc)
    wanted = sorted({g for coalition in coalitions for g in coalition})
    flash = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    if q.device.type != "cpu" or acc != torch.float32 or not q.numel():
        flash = None
    blocks = list(_blocks(q, workers(q.shape[0] * q.shape[1], q.device)))

    def attend(segments: Mapping[int, _Segment]) -> None:
        def work(_: int, mine: Iterable[int]) -> None:
            for at in (blocks[i] for i in mine):
                queries = q[at].to(acc)
                parts = {g: segment.attended(at, queries, scale, flash) for g, segment in segments.items()}
                samples, heads = at
                merge(parts, coalitions, output[:, samples, heads], lse[:, samples, heads])

        in_shares(work, len(blocks), workers(len(blocks), q.device))

    segments = {g: _Segment.of(k, v, keep, slice(bounds[g], bounds[g + 1])) for g in wanted}
    if flash is None:
        attend(segments)
        return output, lse
    attend({g: segment.whole_lanes(k, v, bounds[g]) for g, segment in segments.items()})
    if bool(lse.sum().isnan()):  # its own, or the product of a query with a key beside a segment overflowed
        attend({g: segment.whole_lanes() for g, segment in segments.items()})
    return output, lse


def _blocks(q: Tensor, shares: int) -> Iterator[Block]:
    """About one block a share, because a fused attention call costs the less the larger it is."""
    batch, heads = q.shape[:2]
    fit = max(1, -(-batch * heads // shares))
    by_head, by_sample = max(1, min(heads, fit)), max(1, fit // max(1, heads))
    for b in range(0, batch, by_sample):
        for h in range(0, heads, by_head):
            yield slice(b, b + by_sample), slice(h, h + by_head)


def merge(segments: Mapping[int, Part], coalitions: Sequence[tuple[int, ...]], output: Tensor, lse: Tensor) -> None:
    """``O = sum_g exp(lse_g - lse) O_g``, ``lse = logsumexp_g lse_g``; no segment, or only empty ones: 0 and -inf.

    Segment by segment, so that a coalition begins where another has come to.
    """
    known: dict[tuple[int, ...], Part] = {(g,): part for g, part in segments.items()}
    for coalition, room, total in zip(coalitions, output, lse, strict=True):
        if not coalition:
            room.zero_()
            total.fill_(-torch.inf)
            continue
        start = next(n for n in range(len(coalition), 0, -1) if coalition[:n] in known)
        part = known[coalition[:start]]
        for g in coalition[start:]:
            part = merge_two(part, known[g,], room)
        if part[0] is not room:
            room.copy_(part[0])
        else:
            known[coalition] = part
        total.copy_(part[1])


def merge_two(first: Part, second: Part, room: Tensor) -> Part:
    """Both parts as one; its output is written to `room` where dtypes allow it, which may be the first one's."""
    lse = torch.logaddexp(first[1], second[1])
    share = torch.sub(second[1], first[1]).sigmoid_().masked_fill_(torch.isneginf(lse), 0.0)
    room = room if room.dtype == first[0].dtype else torch.empty_like(first[0])
    return torch.lerp(first[0], second[0], share.unsqueeze(-1), out=room), lse


class _Segment(NamedTuple):
    """The keys of a segment, perhaps with some that nobody sees."""

    k: Tensor
    """(B, H, K, D), as is `v`."""
    v: Tensor
    seen: Tensor | None
    """(B, K), or None: all."""
    empty: Tensor | None
    """(B, 1, 1) samples without keys, or None: no such sample."""
    mask: Tensor | None
    """(B, 1, 1, K), added to the scores by fused attention, or None."""
    own: slice = slice(None)
    """Which of the keys belong to the segment."""

    @staticmethod
    def of(k: Tensor, v: Tensor, keep: Tensor | None, part: slice) -> _Segment:
        seen = None if keep is None else keep[:, part]
        empty = None if seen is None else ~seen.any(1)[:, None, None]
        if empty is not None and empty.device.type == "cpu" and not bool(empty.any()):
            empty = None  # to replace nothing would be a pass over the output
        return _Segment(k[:, :, part], v[:, :, part], seen, empty, None)

    def whole_lanes(self, k: Tensor | None = None, v: Tensor | None = None, start: int = 0) -> _Segment:
        """The segment for fused attention, with keys up to a multiple of `LANES`, which nobody sees, where that is worth it.

        Fused attention takes what is left of the last vector key by key: 77 keys cost half as much again as 80.  Of
        all keys `k` and values `v` those beside the segment, which begins at `start`, serve without a copy, unless
        even unseen they would spoil it: a weight of zero times infinity.  Otherwise it is zeros.  (A score that is not
        finite shows in the log-sum-exp.)
        """
        count = self.k.shape[2]
        spare = -count % LANES
        if not 0 < spare <= LANES - WORTH:
            return self if self.seen is None else self._replace(mask=self._mask(0, 0))
        for before in (spare, 0):
            whole = slice(start - before, start + count + spare - before)
            if k is None or v is None or whole.start < 0 or whole.stop > k.shape[2]:
                continue
            beside = slice(whole.start, start) if before else slice(start + count, whole.stop)
            if bool(v[:, :, beside].sum(dtype=accumulator(v.dtype)).isfinite()):
                own = slice(before, before + count)
                return self._replace(k=k[:, :, whole], v=v[:, :, whole], mask=self._mask(before, spare), own=own)
        zeros = (0, 0, 0, spare)
        own = slice(count)
        return self._replace(k=pad(self.k, zeros), v=pad(self.v, zeros), mask=self._mask(0, spare), own=own)

    def _mask(self, before: int, spare: int) -> Tensor:
        """What hides the spare keys, so many of which come before the segment's own, and those that are not kept."""
        batch, count = self.k.shape[0], self.k.shape[2]
        seen = () if self.seen is None else (batch,)
        mask = self.k.new_full((*seen, 1, 1, count + spare), -torch.inf, dtype=accumulator(self.k.dtype))
        own = mask[..., before : before + count]
        if self.seen is None:
            own.zero_()
        else:
            own.masked_fill_(self.seen[:, None, None], 0.0)
        return mask.expand(batch, 1, 1, -1)

    def attended(self, at: Block, q: Tensor, scale: float, flash: Flash | None) -> Part:
        """What the queries (B, H, Nq, D) of one block get from these keys."""
        samples = at[0]
        k, v = self.k[at].to(q.dtype), self.v[at].to(q.dtype)
        if not k.shape[2] or not q.numel():
            return torch.zeros_like(q), q.new_full(q.shape[:-1], -torch.inf)
        if flash is not None:
            mask = None if self.mask is None else self.mask[samples].expand(-1, -1, q.shape[2], -1)
            q, k, v = (_apart(x) for x in (q, k, v))
            output, lse = flash(q, k, v, attn_mask=mask, scale=scale)
        else:
            k, v, keep = k[:, :, self.own], v[:, :, self.own], None if self.seen is None else self.seen[samples]
            parts = [_softmax_block(block, k, v, keep, scale) for block in q.split(QUERIES, 2)]
            output, lse = (torch.cat(x, 2) for x in zip(*parts, strict=True))
        if self.empty is not None:
            empty = self.empty[samples]  # fused attention reports log-sum-exp 0 for a row without keys
            output = output.masked_fill_(empty[..., None], 0.0)
            lse = lse.masked_fill_(empty, -torch.inf)
        if flash is not None and not bool(lse.all()):  # and for one whose scores are NaN where no vector holds them
            return self.attended(at, q, scale, None)
        return output, lse


def _apart(x: Tensor) -> Tensor:
    """`x` (..., N, D) with rows of D adjacent numbers that do not overlap, as fused attention assumes without a look."""
    return x if x.stride(-1) == 1 and x.stride(-2) >= x.shape[-1] else x.contiguous()


def _softmax_block(q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None, scale: float) -> Part:
    scores = (q @ k.transpose(-1, -2)) * scale
    if keep is not None:
        scores = scores.masked_fill(~keep[:, None, None, :], -torch.inf)
    lse = torch.logsumexp(scores, -1)
    return torch.exp(scores - torch.where(torch.isneginf(lse), 0.0, lse)[..., None]) @ v, lse
