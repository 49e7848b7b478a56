"""What stands for an absent modality: nothing (its tokens are dropped), zero, the mean, or another sample's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from crossmodal.kernels.checks import InputError, accumulator
from torch import Tensor

BASELINES = ("tokens", "zero", "mean", "permute")


class FusedTokens(NamedTuple):
    """Input embeddings of a fused encoder, text first, then image."""

    embeddings: Tensor
    """(B, L, D)."""
    keep: Tensor
    """(B, L) boolean, False for padding."""
    text_length: int
    """The first `text_length` tokens are text, and the first of all is the pooled class token."""

    @property
    def is_text(self) -> Tensor:
        """(L,) boolean; the class token belongs to no modality."""
        position = torch.arange(self.keep.shape[1], device=self.keep.device)
        return (position > 0) & (position < self.text_length)

    @property
    def is_image(self) -> Tensor:
        """(L,) boolean."""
        return torch.arange(self.keep.shape[1], device=self.keep.device) >= self.text_length

    @property
    def always(self) -> Tensor:
        """(L,) boolean: the class token."""
        return ~(self.is_text | self.is_image)


def replace_absent(tokens: FusedTokens, present: Tensor, baseline: str, seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings ((B, L, D) if shared by all coalitions, else (K, B, L, D)) and masks (K, B, L).

    Args:
        tokens: the samples' own tokens.
        present: (K, 2) boolean: image, text.
        baseline: one of `BASELINES`.
        seed: of the permutation.
    """
    present = present.to(tokens.keep.device)
    absent = (~present[:, :1] & tokens.is_image) | (~present[:, 1:] & tokens.is_text)  # (K, L)
    keep = tokens.keep.expand(len(present), *tokens.keep.shape)
    if baseline == "tokens":
        return tokens.embeddings, keep & ~absent[:, None]
    other, other_keep = _stand_in(tokens, baseline, seed)
    where = absent[:, None, :]
    return torch.where(where[..., None], other, tokens.embeddings), torch.where(where, other_keep, keep)


def _stand_in(tokens: FusedTokens, baseline: str, seed: int) -> tuple[Tensor, Tensor]:
    """What to read in place of absent tokens: (B, L, D) embeddings and (B, L) mask."""
    x, keep = tokens.embeddings, tokens.keep
    if baseline == "zero":
        return torch.zeros_like(x), keep
    if baseline == "mean":
        means, acc = [], accumulator(x.dtype)  # in float16 the count alone overflows at 65504 tokens
        for kind in (tokens.is_text, tokens.is_image):
            weight = (keep & kind)[..., None].to(acc)
            means.append(((x * weight).sum((0, 1)) / weight.sum().clamp_min(1)).to(x.dtype))
        return torch.where(tokens.is_text[:, None], means[0], means[1]).expand_as(x), keep
    image, text = permutations(x.shape[0], seed, x.device)
    both = torch.where(tokens.is_text[:, None], x[text], x[image])
    return both, torch.where(tokens.is_text, keep[text], keep[image])


def permutations(count: int, seed: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Two permutations of `count` samples that agree nowhere, with each other or with the identity.

    So an absent modality is always another sample's, and the empty coalition is never a matched pair.
    """
    if count < 3:
        raise InputError(
            f"baseline 'permute' with {count} samples",
            expected="at least 3 samples: one of each modality besides the sample's own",
            causes=["a last batch that is nearly empty"],
            fix="a larger batch, or baseline='mean'",
        )
    order = torch.randperm(count, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")
    place = torch.empty_like(order)
    place[order] = torch.arange(count, device="cpu")
    first, second = (order[(place + shift) % count] for shift in (1, 2))
    return first.to(device), second.to(device)
