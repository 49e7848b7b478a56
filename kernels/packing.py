"""Variable-length packing: many token masks of a batch as one row of tokens, without padding.

Sequences are laid out by length, so that those of equal length form one contiguous block and attention runs on
each block as a plain batch: no mask, no padding, no gather.  Everything else in a transformer works on single
tokens and does not notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from crossmodal.kernels.checks import InputError, describe
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class PackedLayout:
    """Where the kept tokens of R sequences of at most L tokens lie in a packed row of T tokens."""

    keep: Tensor
    """(R, L) boolean, True for tokens that take part."""
    source: Tensor
    """(T,) int64: ``row * L + position`` of every packed token, in packed order."""
    starts: Tensor
    """(R,) int64: where each sequence starts; for an empty one, where it would."""
    blocks: tuple[tuple[int, int, int], ...]
    """(first token, number of sequences, their length) of each block of equally long sequences."""

    @staticmethod
    def of(keep: Tensor) -> PackedLayout:
        """The layout of a (R, L) boolean mask.  Tokens keep their order within a sequence."""
        if not isinstance(keep, Tensor) or keep.ndim != 2 or keep.dtype != torch.bool:
            raise InputError(
                f"PackedLayout: {describe('keep', keep)}",
                expected="an (R, L) boolean tensor",
                causes=["an attention mask of 0 and 1"],
                fix="attention_mask.bool()",
            )
        lengths = keep.sum(1)
        order = torch.argsort(lengths, stable=True)
        rows, positions = keep[order].nonzero(as_tuple=True)
        source = order[rows] * keep.shape[1] + positions
        sorted_lengths = lengths[order]
        starts = torch.empty_like(lengths)
        starts[order] = sorted_lengths.cumsum(0) - sorted_lengths
        blocks, first = [], 0
        for length, count in zip(*(x.tolist() for x in sorted_lengths.unique(return_counts=True)), strict=True):
            if length:
                blocks.append((first, count, length))
                first += count * length
        return PackedLayout(keep, source, starts, tuple(blocks))

    @property
    def tokens(self) -> int:
        return self.source.shape[0]

    def pack(self, x: Tensor, sample: Tensor | None = None) -> Tensor:
        """(T, ...) tokens of `x` (R, L, ...), or, with `sample` (R,), of the row ``x[sample[r]]`` for sequence r."""
        if sample is None:
            return x.flatten(0, 1)[self.source]
        width = self.keep.shape[1]
        row, position = self.source // width, self.source % width
        return x[sample[row], position]

    def unpack(self, packed: Tensor) -> Tensor:
        """(R, L, ...) with zeros where a token was dropped; the inverse of `pack`."""
        rows, width = self.keep.shape
        out = packed.new_zeros((rows * width, *packed.shape[1:]))
        return out.index_copy(0, self.source, packed).view(rows, width, *packed.shape[1:])


_active: ContextVar[PackedLayout | None] = ContextVar("crossmodal_packed_layout", default=None)


def active_layout() -> PackedLayout | None:
    """The layout that attention currently sees, if any."""
    return _active.get()


@contextmanager
def packed(layout: PackedLayout) -> Iterator[PackedLayout]:
    """Within this context attention treats its single row of tokens as the sequences of `layout`."""
    token = _active.set(layout)
    try:
        yield layout
    finally:
        _active.reset(token)


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: PackedLayout,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of every packed sequence to itself.

    Args:
        q: (T, H, D) queries; `k` and `v` likewise, or with fewer heads that divide H (grouped keys).
        layout: the layout with the same number of tokens T.
        scale: factor of the scores; by default ``D ** -0.5``.
        is_causal: a token sees only kept tokens before it, and itself.
        dropout: probability, for training.

    Returns:
        (T, H, D).
    """
    found = {x.shape[0] for x in (q, k, v)}
    if found != {layout.tokens}:
        raise InputError(
            f"packed attention: {' and '.join(map(str, sorted(found)))} tokens, and the active layout has {layout.tokens}",
            expected="the tokens of the active layout",
            causes=["a second model was called inside the packed context", "cross-attention to other tokens"],
            fix="call other models outside the context",
        )
    parts, grouped = [], k.shape[1] != q.shape[1]
    for first, count, length in layout.blocks:
        block = slice(first, first + count * length)
        qs, ks, vs = (x[block].unflatten(0, (count, length)).transpose(1, 2) for x in (q, k, v))
        out = scaled_dot_product_attention(
            qs, ks, vs, scale=scale, is_causal=is_causal and length > 1, dropout_p=dropout, enable_gqa=grouped
        )
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts) if parts else torch.zeros_like(q)
