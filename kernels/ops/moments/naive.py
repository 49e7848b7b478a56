"""K0 from the materialised matrix: an analysis of variance of the scores, in float64."""

from __future__ import annotations

from torch import Tensor


def moments_naive(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, variance, image part, text part, interaction part of ``u v'``; O(N M) memory."""
    scores = u.double() @ v.double().T
    mean = scores.mean()
    by_image = scores.mean(1, keepdim=True) - mean
    by_text = scores.mean(0, keepdim=True) - mean
    rest = scores - mean - by_image - by_text
    return (
        mean,
        (scores - mean).square().mean(),
        by_image.square().mean(),
        by_text.square().mean(),
        rest.square().mean(),
    )
