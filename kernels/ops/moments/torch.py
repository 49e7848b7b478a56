"""K0 from mergeable feature moments: count, mean and centred scatter matrix of one modality."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from crossmodal.kernels.checks import InputError, accumulator, describe, require_float
from crossmodal.kernels.dispatch import without_autocast
from torch import Tensor

BLOCK_BYTES = 4 << 20  # of centred features: enough for the product, small enough for memory to be reused
BLOCK_ROWS = 4096  # so many float32 squares are added up in float32; more of them, of narrow features, lose digits
PANELS = 4  # the scatter matrix is symmetric: with 4 column panels 10 of 16 blocks are computed


@dataclass(frozen=True)
class FeatureMoments:
    """Moments of one modality's features; those of shards merge into those of the whole.

    `merge` is the exact algebraic identity (Chan, Golub, LeVeque, "Algorithms for computing the sample variance",
    1983), evaluated in float64: associative and commutative up to float64 rounding, and bit for bit wherever no
    rounding occurs.

    The scatter comes from float32 products (unless features are float64); along the mean its rounding is taken out, so
    that features in one narrow cone keep their digits.
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
            axis = _axis(_about(x.detach()))
            for block in _blocks(x):
                total = total.merge(_block_moments(block, axis))
            return total
        running = RunningMoments(_about(x))
        running.add(x)
        return running.moments()

    def merge(self, other: FeatureMoments) -> FeatureMoments:
        """Moments of the union of two disjoint sets of samples."""
        if not isinstance(other, FeatureMoments):
            raise InputError(
                f"FeatureMoments.merge: {describe('other', other)}",
                expected="the FeatureMoments of other samples",
                causes=["features instead of their moments", "a shard whose computation gave nothing"],
                fix="FeatureMoments.of(features), or FeatureMoments.empty(d) for nothing",
            )
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
    """Moments that grow in place: `FeatureMoments.merge` block by block, without a new d x d matrix each time.

    Args:
        about: (d,) float64, where the mean lies, about; it decides in which direction rounding is taken out.
    """

    def __init__(self, about: Tensor) -> None:
        empty = FeatureMoments.empty(about.shape[0], about.device)
        self.count, self.mean, self.scatter = empty.count, empty.mean, empty.scatter
        self.axis, self.row = _axis(about), empty.mean  # and the scatter times the axis

    @torch.no_grad()
    def add(self, x: Tensor) -> None:
        """Fold in the rows of `x` (N, d)."""
        for block in _blocks(x):
            count = block.shape[0]
            total = self.count + count
            mean, off, centred, scores = _centred(block, self.axis)
            delta, between = mean - self.mean, self.count * count / total
            self.scatter += _gram(centred)
            self.scatter.addr_(off, off, alpha=-count).addr_(delta, delta, alpha=between)
            self.row = self.row + _row(centred, scores, off, self.axis) + delta * ((delta @ self.axis) * between)
            self.mean = (self.mean * self.count + mean * count) / total
            self.count = total

    def moments(self) -> FeatureMoments:
        """What was added so far; it does not change with what is added later."""
        lost = _lost(self.scatter, self.axis, self.row)
        return FeatureMoments(self.count, self.mean, self.scatter.addr(self.axis, lost).addr_(lost, self.axis))


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    row_bytes = max(1, x.shape[1]) * accumulator(x.dtype).itemsize
    return x.split(max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes))) if x.shape[0] else ()


def _centred(block: Tensor, axis: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and what the pivot lacks to it, both in float64, the rows less the pivot, and those times `axis`."""
    x = block.to(accumulator(block.dtype))
    ones = x.new_ones(x.shape[0])  # a product with ones is the fastest column sum
    pivot = (ones @ x.detach()) / x.shape[0]  # the mean up to float32 rounding, a representable number ...
    centred = x - pivot
    off = (ones @ centred).double() / x.shape[0]  # ... and what rounding left is measured and corrected
    with torch.no_grad():  # a rounding error has no gradient
        scores = centred @ axis.to(centred.dtype)
        along = axis * ((scores.double().mean() - off @ axis) / _square(axis))
    off = off + along
    return pivot.double() + off, off, centred, scores


def _block_moments(block: Tensor, axis: Tensor) -> FeatureMoments:
    mean, off, centred, scores = _centred(block, axis)
    scatter = _gram(centred).double() - torch.outer(off, off) * block.shape[0]
    with torch.no_grad():
        lost = _lost(scatter, axis, _row(centred, scores, off, axis))
        lost = torch.outer(axis, lost) + torch.outer(lost, axis)
    return FeatureMoments(block.shape[0], mean, scatter + lost)


def _about(x: Tensor) -> Tensor:
    """The mean of some rows, of all parts of `x`."""
    some = x[:: max(1, x.shape[0] // 256)].double()
    return some.sum(0) / max(1, some.shape[0])


def _axis(mean: Tensor) -> Tensor:
    """A mean's direction in float32's numbers, as float64; its length is below one by a power of two, which is exact."""
    return torch.ldexp(mean, -torch.frexp(mean.norm()).exponent).float().double()


def _row(centred: Tensor, scores: Tensor, off: Tensor, axis: Tensor) -> Tensor:
    """A block's scatter times `axis`: ``sum_i t_i c_i`` with the scores ``t_i = <c_i, axis>``."""
    row, wide = (scores @ centred).double(), scores.double()
    row = row + axis * ((wide @ wide - axis @ row) / _square(axis))  # its component along the axis, from few roundings
    return row - off * ((off @ axis) * centred.shape[0])


def _lost(scatter: Tensor, axis: Tensor, row: Tensor) -> Tensor:
    """The vector r of the least change that makes a scatter right along `axis`: ``(scatter + a r' + r a') a = row``.

    Unit features of spread s vary by s across their mean and by s^2 along it, where image and text part lie.  Rounding
    in a float32 product is relative to the former, 1e-7 / s^2 of the latter: 1 % at a mean of 0.99999.
    """
    lost = (row - scatter @ axis) / _square(axis)
    return lost - axis * ((axis @ lost) / (2 * _square(axis)))


def _square(axis: Tensor) -> Tensor:
    return (axis @ axis).clamp_min(torch.finfo(torch.float64).tiny)  # features around zero have no axis


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
    image = (v.mean @ cov_u @ v.mean).clamp_min(0)  # rounding must not leave a variance below zero
    text = (u.mean @ cov_v @ u.mean).clamp_min(0)
    interaction = (cov_u * cov_v).sum().clamp_min(0)
    mean, variance = u.mean @ v.mean, image + text + interaction
    if mean.device.type == "cpu" and not bool(torch.isfinite(mean.detach() + variance.detach())):
        raise InputError(
            "moments: the squares of the features overflow",
            expected="spreads between 1e-15 and 1e17 in float32, which is what float32 squares and sums of them hold",
            causes=["features that were not normalised", "numbers that are not features"],
            fix="normalise the features, divide each modality by a constant, or pass float64",
        )
    return mean, variance, image, text, interaction
