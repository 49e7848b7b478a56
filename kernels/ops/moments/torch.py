"""K0 from mergeable feature moments: count, mean and centred scatter matrix of one modality."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from crossmodal.kernels.checks import InputError, accumulator, require_float
from crossmodal.kernels.dispatch import without_autocast
from torch import Tensor

BLOCK_BYTES = 4 << 20  # of centred features: enough for the product, small enough for memory to be reused
PANELS = 4  # the scatter matrix is symmetric: with 4 column panels 10 of 16 blocks are computed


@dataclass(frozen=True)
class FeatureMoments:
    """Moments of one modality's features; those of shards merge into those of the whole.

    `merge` is the exact algebraic identity (Chan, Golub, LeVeque, "Algorithms for computing the sample variance",
    1983), evaluated in float64: associative and commutative up to float64 rounding, and bit for bit wherever no
    rounding occurs.
    """

    count: int
    mean: Tensor
    """(d,) float64."""
    scatter: Tensor
    """(d, d) float64, ``sum_i (x_i - mean)(x_i - mean)'``; divide by `count` for the covariance."""

    @staticmethod
    def empty(d: int, device: torch.device | str = "cpu") -> FeatureMoments:
        """The neutral element of `merge`."""
        mean = torch.zeros(d, dtype=torch.float64, device=device)
        return FeatureMoments(0, mean, torch.zeros(d, d, dtype=torch.float64, device=device))

    @staticmethod
    @without_autocast
    def of(x: Tensor) -> FeatureMoments:
        """Moments of the rows of `x` (N, d).  Products in float32 (float64 for float64), block by block."""
        require_float("FeatureMoments.of", 2, x=x)
        if x.requires_grad and torch.is_grad_enabled():
            total = FeatureMoments.empty(x.shape[1], x.device)
            for block in _blocks(x):
                total = total.merge(_block_moments(block))
            return total
        running = RunningMoments(x.shape[1], x.device)
        running.add(x)
        return running.moments()

    def merge(self, other: FeatureMoments) -> FeatureMoments:
        """Moments of the union of two disjoint sets of samples."""
        if self.mean.shape != other.mean.shape:
            raise InputError(
                f"FeatureMoments.merge: {self.mean.shape[0]} and {other.mean.shape[0]} dimensions",
                expected="moments of features of one width",
                causes=["shards of two different encoders"],
                fix="merge shards of the same features file only",
            )
        if not self.count or not other.count:
            return other if other.count else self
        count = self.count + other.count
        delta = other.mean - self.mean
        between = torch.outer(delta, delta) * (self.count * other.count / count)
        mean = (self.mean * self.count + other.mean * other.count) / count
        return FeatureMoments(count, mean, self.scatter + other.scatter + between)


class RunningMoments:
    """Moments that grow in place: `FeatureMoments.merge` block by block, without a new d x d matrix each time."""

    def __init__(self, d: int, device: torch.device | str = "cpu") -> None:
        empty = FeatureMoments.empty(d, device)
        self.count, self.mean, self.scatter = empty.count, empty.mean, empty.scatter

    @torch.no_grad()
    def add(self, x: Tensor) -> None:
        """Fold in the rows of `x` (N, d)."""
        for block in _blocks(x):
            count = block.shape[0]
            total = self.count + count
            mean, off, centred = _centred(block)
            delta = mean - self.mean
            self.scatter += _gram(centred)
            self.scatter.addr_(off, off, alpha=-count).addr_(delta, delta, alpha=self.count * count / total)
            self.mean = (self.mean * self.count + mean * count) / total
            self.count = total

    def moments(self) -> FeatureMoments:
        """What was added so far; it does not change with what is added later."""
        return FeatureMoments(self.count, self.mean, self.scatter.clone())


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    row_bytes = max(1, x.shape[1]) * accumulator(x.dtype).itemsize
    return x.split(max(1, BLOCK_BYTES // row_bytes)) if x.shape[0] else ()


def _centred(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and what the pivot lacks to it, both in float64, and the rows less the pivot."""
    x = block.to(accumulator(block.dtype))
    ones = x.new_ones(x.shape[0])  # a product with ones is the fastest column sum
    pivot = (ones @ x.detach()) / x.shape[0]  # the mean up to float32 rounding, a representable number ...
    centred = x - pivot
    off = (ones @ centred).double() / x.shape[0]  # ... and what rounding left is measured and corrected
    return pivot.double() + off, off, centred


def _block_moments(block: Tensor) -> FeatureMoments:
    mean, off, centred = _centred(block)
    count = block.shape[0]
    return FeatureMoments(count, mean, _gram(centred).double() - torch.outer(off, off) * count)


def _gram(x: Tensor) -> Tensor:
    """``x' x`` with the lower blocks mirrored instead of multiplied."""
    d = x.shape[1]
    if d < 64 * PANELS or (x.requires_grad and torch.is_grad_enabled()):
        return x.T @ x
    width = -(-d // PANELS)
    gram = x.new_empty(d, d)
    for start in range(0, d, width):
        stop = min(start + width, d)
        gram[start:stop, start:] = x[:, start:stop].T @ x[:, start:]
        gram[start:, start:stop] = gram[start:stop, start:].T
    return gram


def combine(u: FeatureMoments, v: FeatureMoments) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, variance and its image, text and interaction part, in float64 (S1)."""
    if u.mean.shape != v.mean.shape or not u.count or not v.count:
        raise InputError(
            f"moments: {u.count} samples of {u.mean.shape[0]} dimensions and {v.count} of {v.mean.shape[0]}",
            expected="at least one sample each, of the same width",
            causes=["features of two different models", "an empty shard list"],
            fix="pass image and text features of one model",
        )
    cov_u, cov_v = u.scatter / u.count, v.scatter / v.count
    image = v.mean @ cov_u @ v.mean
    text = u.mean @ cov_v @ u.mean
    interaction = (cov_u * cov_v).sum()
    return u.mean @ v.mean, image + text + interaction, image, text, interaction
