"""K0 from mergeable feature moments: count, mean and centred scatter matrix of one modality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from crossmodal.kernels.checks import InputError, accumulator, describe, require_float
from crossmodal.kernels.dispatch import without_autocast
from torch import Tensor

BLOCK_ROWS = 4096  # so many float32 squares are added up in float32; more would lose digits
BLOCK_NUMBERS_GPU = 1 << 24  # of features centred at a time on a GPU, in blocks of `BLOCK_ROWS`
PIECE_BYTES = 1 << 20  # of centred features: they stay in the cache from one pass to the next
SHORT_ROWS = 64  # what is one-sided about them does not cancel before their sum is rounded: more would lose digits
SAMPLED = 256  # rows that tell where the mean lies
MEANS = 9  # of those rows: fewer outliers than half as many are harmless
GOLDEN = 0.6180339887498949  # whose multiples are spread evenly between whole numbers, and never repeat
PANEL = 64  # the scatter matrix is symmetric, so it is computed in panels of so many rows, from the diagonal on


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
        running = RunningMoments(_about(x.detach()), accumulator(x.dtype))
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


class Centred:
    """Rows less a centre, piece by piece, in float32 (float64 stays) and in memory that the next piece takes over."""

    def __init__(self, centre: Tensor) -> None:
        self.centre, self._kept = centre, centre[:0, None]

    def pivot(self, dtype: torch.dtype) -> Tensor:
        """The centre as it is subtracted from rows of this dtype, rounded to their numbers."""
        return self.centre.to(accumulator(dtype))

    def __call__(self, x: Tensor) -> Iterator[Tensor]:
        """All of `x` (N, d) less the centre."""
        pivot = self.pivot(x.dtype)
        size = len(x)
        if not _waits_for_launches(x):
            size = min(size, PIECE_BYTES // max(1, len(pivot) * pivot.itemsize))
        size = max(1, size)
        if self._kept.dtype != pivot.dtype or len(self._kept) < size:
            self._kept = torch.empty(size, len(pivot), dtype=pivot.dtype, device=x.device)
        for piece in x.split(size):
            room = self._kept[: len(piece)]
            yield torch.sub(piece, pivot, out=room) if piece.dtype == room.dtype else room.copy_(piece).sub_(pivot)


class RunningMoments:
    """Sums over features less a pivot, which grow in place, and the moments that follow from them.

    Args:
        about: (d,) float64, where the mean lies: a distance of the size of the features' spread costs no digits.  Its
            direction is that in which rounding is taken out.
        acc: in which features are centred and multiplied: float64 only if all of them are, for which float32's numbers
            would be too far off or too small.
    """

    def __init__(self, about: Tensor, acc: torch.dtype = torch.float32) -> None:
        zero = torch.zeros_like(about)
        self.count, self.pivot, self.axis = 0, about.to(acc).double(), _axis(about)  # exact in that dtype, both
        # sums over centred rows c_i and their scores t_i = <c_i, axis>: of c_i, the upper half of c_i c_i', t_i c_i, t_i, t_i^2
        self.column, self.scatter, self.row = zero, torch.outer(zero, zero), zero
        self.score = self.square = zero.sum()
        self._centred = Centred(self.pivot)

    def add(self, x: Tensor) -> None:
        """Fold in the rows of `x` (N, d); autograd follows where `x` requires grad."""
        acc, follow = accumulator(x.dtype), x.requires_grad and torch.is_grad_enabled()
        axis, rows = self.axis.to(acc), BLOCK_ROWS
        batched = _waits_for_launches(x) and not follow
        if batched:
            rows *= max(1, BLOCK_NUMBERS_GPU // (BLOCK_ROWS * max(1, x.shape[1])))
        for block in x.split(rows):
            gram = torch.zeros_like(self.scatter, dtype=torch.float64 if batched else acc)
            # autograd keeps what it follows, so that nothing may take over its memory
            pieces = [block.to(acc) - self.pivot.to(acc)] if follow else self._centred(block)
            for centred in pieces:
                if batched:
                    gram = _batched_gram(centred)
                else:
                    gram = gram + centred.T @ centred if follow else _add_gram(gram, centred)
                with torch.no_grad():  # a rounding error has no gradient
                    scores = centred @ axis
                    weights, wide = torch.stack([torch.ones_like(scores), scores]), scores.double()
                    self.score, self.square = self.score + wide.sum(), self.square + wide @ wide
                column, row = _sums(weights, centred)
                self.column, self.row = self.column + column, self.row + row.detach()
            self.scatter = self.scatter + gram if follow else self.scatter.add_(gram)
            self.count += len(block)

    def moments(self) -> FeatureMoments:
        """What was added so far; it does not change with what is added later."""
        if not self.count:
            return FeatureMoments.empty(len(self.pivot), self.pivot.device)
        axis, off = self.axis, self.column / self.count
        with torch.no_grad():
            along = axis * ((self.score / self.count - off @ axis) / _square(axis))
        off = off + along
        scatter = self.scatter.triu()
        scatter = (scatter + scatter.triu(1).T).sub_(torch.outer(off, off), alpha=self.count)
        with torch.no_grad():
            # what lies along the axis again, from numbers that were rounded less often
            row = self.row + axis * ((self.square - axis @ self.row) / _square(axis))
            lost = torch.outer(axis, _lost(scatter, axis, row - off * ((off @ axis) * self.count)))
        return FeatureMoments(self.count, self.pivot + off, scatter.add_(lost + lost.T))


def _waits_for_launches(x: Tensor) -> bool:
    """A GPU does, and a CPU waits for memory."""
    return x.device.type != "cpu"


def _about(x: Tensor) -> Tensor:
    return middle(x[sampled(x.shape[0]).to(x.device)].double())


def sampled(rows: int) -> Tensor:
    """Numbers of up to `SAMPLED` rows, one of each of as many parts alike, at a place that no order of the rows repeats."""
    part = torch.arange(min(rows, SAMPLED), device="cpu")
    if rows <= SAMPLED:
        return part
    return ((part + part.double() * GOLDEN % 1) * (rows / SAMPLED)).long()


def middle(some: Tensor) -> Tensor:
    """The mean of `sampled` rows, (d,) float64, if those are all; else near it, where outliers among them do not move it.

    It is the median of some means, number by number, each of rows from all over.
    """
    if len(some) < SAMPLED:
        return some.sum(0) / max(1, len(some))
    return torch.stack([some[i::MEANS].mean(0) for i in range(MEANS)]).median(0).values


def _axis(mean: Tensor) -> Tensor:
    """A mean's direction in float32's numbers, as float64; its length is below one by a power of two, which is exact."""
    return torch.ldexp(mean, -torch.frexp(mean.norm()).exponent).float().double()


def _lost(scatter: Tensor, axis: Tensor, row: Tensor) -> Tensor:
    """The vector r of the least change that makes a scatter right along `axis`: ``(scatter + a r' + r a') a = row``.

    Unit features of spread s vary by s across their mean and by s^2 along it, where image and text part lie.  Rounding
    in a float32 product is relative to the former, 1e-7 / s^2 of the latter: 0.5 % at a mean of 0.99999.
    """
    lost = (row - scatter @ axis) / _square(axis)
    return lost - axis * ((axis @ lost) / (2 * _square(axis)))


def _square(axis: Tensor) -> Tensor:
    return (axis @ axis).clamp_min(torch.finfo(torch.float64).tiny)  # features around zero have no axis


def _sums(weights: Tensor, x: Tensor) -> Tensor:
    """``weights @ x`` (k, N) (N, d) in float64: of a few rows in the dtype of `x`, and then of those sums."""
    (k, n), d = weights.shape, x.shape[1]
    whole = n - n % SHORT_ROWS
    each = weights[:, :whole].view(k, whole // SHORT_ROWS, SHORT_ROWS).transpose(0, 1)
    sums = torch.bmm(each, x[:whole].view(whole // SHORT_ROWS, SHORT_ROWS, d)).double().sum(0)
    return sums + (weights[:, whole:] @ x[whole:]).double()


def _add_gram(gram: Tensor, x: Tensor) -> Tensor:
    """Add the upper half of ``x' x`` to `gram`, and some of the lower."""
    for start in range(0, x.shape[1], PANEL):
        rows = slice(start, start + PANEL)
        gram[rows, start:].addmm_(x[:, rows].T, x[:, start:])
    return gram


def _batched_gram(x: Tensor) -> Tensor:
    """``x' x`` in float64, of `BLOCK_ROWS` at a time in the dtype of `x`, in as many calls for many rows as for few."""
    whole = len(x) - len(x) % BLOCK_ROWS
    blocks, rest = x[:whole].view(whole // BLOCK_ROWS, BLOCK_ROWS, x.shape[1]), x[whole:]
    return torch.bmm(blocks.mT, blocks).sum(0, dtype=torch.float64) + rest.T @ rest


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
