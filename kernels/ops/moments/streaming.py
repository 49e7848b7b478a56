"""K0 over features larger than memory: memory-mapped shards, read ahead while the previous block is multiplied."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from crossmodal.kernels.checks import InputError, accumulator, describe, no_backward
from crossmodal.kernels.dispatch import without_autocast
from crossmodal.kernels.ops.moments.api import PairMoments
from crossmodal.kernels.ops.moments.torch import Centred, FeatureMoments, RunningMoments, combine, middle, sampled
from crossmodal.kernels.parallel import in_shares, workers
from torch import Tensor

Shard = str | PathLike[str] | np.ndarray | Tensor
Shards = list[tuple[str, np.ndarray]]
CPU = torch.device("cpu")  # named, for the default device may be another
BLOCK = 4096
LINEAR_BLOCK = 8192  # samples checked and counted at a time where there are no products


class PairMarginals(NamedTuple):
    """What `moments` gives in time linear in d; float64 scalars as 0-d tensors."""

    mean: Tensor
    """``<mu_u, mu_v>``."""
    image: Tensor
    """``mu_v' Sigma_u mu_v``, the variance over images of their mean score."""
    text: Tensor
    """``mu_u' Sigma_v mu_u``, the variance over texts of their mean score."""


@without_autocast
def stream_moments(
    u: Shard | Sequence[Shard],
    v: Shard | Sequence[Shard],
    *,
    rows: int = BLOCK,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> PairMoments:
    """`moments` of features that need not fit in memory (K0, S1), in O((N + M) d^2).

    At most three blocks of `rows` samples a thread are in memory at a time.  To spread the work over machines, compute
    `shard_moments` of each shard anywhere and `FeatureMoments.merge` them: the result is the same.  No gradient.

    Args:
        u: image features: a ``.npy`` file (it is memory-mapped), an (N, d) array or memory map, or a sequence of
            such shards.  float16, float32 or float64.
        v: text features of the same width, given the same way.
        rows: samples a block, at least one.
        device: where the products run.
        progress: called with (samples done, samples in all) after every block, from the thread that did it.

    Returns:
        A `PairMoments`.

    Raises:
        InputError: a missing or pickled file, a wrong shape, dtype, device or `rows`; NaN or infinity, with shard and
            row; squares that overflow; a tensor that requires grad while grad is enabled.
    """
    _check_rows(rows)
    device = _usable(device)
    sides = _open_both("stream_moments", u, v)
    count = _Counter(sum(array.shape[0] for side in sides for _, array in side), progress)
    return PairMoments(*combine(*(_reduce(side, rows, device, count) for side in sides)))


@without_autocast
def stream_marginals(
    u: Shard | Sequence[Shard],
    v: Shard | Sequence[Shard],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> PairMarginals:
    """The parts of `stream_moments` that are linear in d, reading the larger modality once and the other twice (K0, S1).

    The first pass gives the mean of the modality with fewer samples.  The second gives that of the other and, with the
    first at hand, the variance of its samples' projections on it, such as ``mu_v' Sigma_u mu_v``; the third that of the
    first's.  Arguments and errors are those of `stream_moments`; `progress` counts all three passes.
    """
    sides = _open_both("stream_marginals", u, v)
    samples = [sum(array.shape[0] for _, array in side) for side in sides]
    count = _Counter(sum(samples) + min(samples), progress)
    few = samples.index(min(samples))
    mean, _ = _linear(sides[few], count)
    other, variance = _linear(sides[1 - few], count, along=mean)
    _, last = _linear(sides[few], count, mean=mean, along=other)
    image, text = (last, variance) if few == 0 else (variance, last)
    return PairMarginals(mean @ other, image, text)


@without_autocast
def shard_moments(shard: Shard, *, rows: int = BLOCK, device: torch.device | str = "cpu") -> FeatureMoments:
    """Moments of one shard, to be merged with others'."""
    _check_rows(rows)
    device = _usable(device)
    return _reduce(_open_all("shard", shard), rows, device, _Counter(0, None))


class _Counter:
    """Adds up the samples done on all threads and tells about them."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self.progress, self.lock = 0, total, progress, threading.Lock()

    def __call__(self, samples: int) -> None:
        with self.lock:
            self.done += samples
            if self.progress is not None:
                self.progress(self.done, self.total)


def _reduce(shards: Shards, rows: int, device: torch.device, count: _Counter) -> FeatureMoments:
    blocks = _blocks(shards, rows)
    shares = workers(len(blocks), device)
    about = _about(shards).to(device)
    # of every share one for float64 and one for the others
    running: list[dict[torch.dtype, RunningMoments]] = [{} for _ in range(shares)]

    def add(share: int, x: Tensor) -> Tensor:
        acc = accumulator(x.dtype)
        if acc not in running[share]:
            running[share][acc] = RunningMoments(about, acc)
        part = running[share][acc]
        part.add(x.to(device))
        return torch.cat([part.column, part.scatter.diagonal()])  # the squares overflow first

    _deal(blocks, shares, add, count)
    total = FeatureMoments.empty(shards[0][1].shape[1], device)
    for part in (part for parts in running for part in parts.values()):
        total = total.merge(part.moments())
    return total


def _about(shards: Shards) -> Tensor:
    """(d,) float64: where the mean lies, from some rows of all shards; what is not finite is told when it is read."""
    start, some = 0, []
    wanted = sampled(sum(array.shape[0] for _, array in shards)).numpy()
    for _, array in shards:
        stop = start + array.shape[0]
        some.append(array[wanted[(start <= wanted) & (wanted < stop)] - start].astype(np.float64))
        start = stop
    return middle(torch.from_numpy(np.nan_to_num(np.concatenate(some), nan=0.0, posinf=0.0, neginf=0.0)))


def _linear(
    shards: Shards, count: _Counter, mean: Tensor | None = None, along: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(d,) float64: the mean, unless it is given; and the variance of ``<x_i, along>``, zero without it.

    Both are of rows less some mean: a sum of differences loses no digits to what all rows share, and in a narrow cone the
    scores differ in their last digits.  `along` comes as the sum of two float32 vectors; one alone would be off by more
    than what is measured.
    """
    blocks = _blocks(shards, LINEAR_BLOCK)
    shares = workers(len(blocks), CPU)
    about = _about(shards) if mean is None else mean
    columns = torch.zeros(shares, about.shape[0], dtype=torch.float64, device=CPU)
    scores = torch.zeros(shares, 2, dtype=torch.float64, device=CPU)
    centred = [Centred(about) for _ in range(shares)]

    def add(share: int, x: Tensor) -> Tensor:
        acc, column, parts = accumulator(x.dtype), columns[share], []
        off = centred[share].pivot(x.dtype).double() - about
        one = torch.ones(len(x), dtype=acc, device=CPU)
        if along is not None:
            high = along.to(acc)
            low = (along - high.double()).to(acc)
        for rows in centred[share](x):  # of which there are so many that small calls beside the large ones tell
            if mean is None:
                column += one[: len(rows)] @ rows
            if along is not None:
                parts.append((rows @ high, rows @ low))
        if mean is None:
            column += len(x) * off
        if along is not None:
            of_high, of_low = (torch.cat(part).double() for part in zip(*parts, strict=True))
            row = of_high + of_low + off @ along
            scores[share, 0] += row.sum()
            scores[share, 1] += row @ row
        return torch.cat([column, scores[share]])

    _deal(blocks, shares, add, count, ahead=False)
    samples = sum(array.shape[0] for _, array in shards)
    lean, square = scores.sum(0) / samples
    variance = (square - lean * lean).clamp_min(0)  # rounding must not leave a variance below zero
    return (about + columns.sum(0) / samples if mean is None else mean), variance


Block = tuple[str, int, np.ndarray]


def _blocks(shards: Shards, rows: int) -> list[Block]:
    """Name of the shard, first row, and the rows, not read yet."""
    return [(name, i, array[i : i + rows]) for name, array in shards for i in range(0, array.shape[0], rows)]


Add = Callable[[int, Tensor], Tensor]
"""Takes the number of a share and rows to add to it; returns a sum of it, where NaN and infinity would show."""


def _deal(blocks: list[Block], shares: int, add: Add, count: _Counter, ahead: bool = True) -> None:
    """Call `add` on every block, share by share; with `ahead` the next block is read during the call."""

    def work(share: int, mine: Iterable[int]) -> None:
        with ThreadPoolExecutor(1) as reader:
            # a copy is what is read ahead; without, rows are read where they are used
            read = ((*blocks[i][:2], _native(blocks[i][2], copy=ahead)) for i in mine)
            for name, start, rows in _read_ahead(reader, read) if ahead else read:
                x = torch.from_numpy(rows)
                if not torch.isfinite(add(share, x)).all():
                    raise _not_finite(name, start, x)
                count(x.shape[0])

    in_shares(work, len(blocks), shares)


class _Readable:
    """Rows that nobody may write, such as a file's, as if one might: torch warns of others, and only reads these."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, interface = rows, rows.__array_interface__  # the rows, so that their memory stays
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


def _native(rows: np.ndarray, copy: bool) -> np.ndarray:
    """The rows in this machine's byte order and in steps forward of whole numbers, as torch insists; copied if that takes it."""
    native = rows.dtype.newbyteorder("=")
    if copy or rows.dtype != native or any(step < 0 or step % rows.itemsize for step in rows.strides):
        return np.array(rows, dtype=native)
    return rows if rows.flags.writeable else np.asarray(_Readable(rows))


def _not_finite(name: str, start: int, x: Tensor) -> InputError:
    """The error for a block of rows whose sum is NaN or infinite; the block starts at row `start`."""
    bad = (~torch.isfinite(x).all(1)).nonzero()
    if not len(bad):
        return InputError(
            f"{name}: the sum of rows {start} to {start + len(x) - 1} overflows {accumulator(x.dtype)}, or that of squares",
            expected=f"features of moderate size, found up to {float(x.abs().max()):.3g}",
            causes=["features that were not normalised", "numbers that are not features"],
            fix="normalise the features, or divide them by a constant",
        )
    row = start + int(bad[0])
    return InputError(
        f"{name}: row {row} holds NaN or infinity",
        expected="finite features",
        causes=["a zero vector was normalised", "half precision overflowed in the encoder"],
        fix=f"encode sample {row} again in float32",
    )


def _read_ahead(reader: ThreadPoolExecutor, blocks: Iterator[Block]) -> Iterator[Block]:
    """Fetch the next block on another thread while the caller works on this one."""
    pending = reader.submit(next, blocks, None)
    while (block := pending.result()) is not None:
        pending = reader.submit(next, blocks, None)
        yield block


def _check_rows(rows: int) -> None:
    if isinstance(rows, bool) or not isinstance(rows, int | np.integer) or rows < 1:
        raise InputError(
            f"rows={rows!r}",
            expected="a whole number of samples a block, at least 1",
            causes=["a block size worked out from a memory budget that is below one sample"],
            fix=f"rows={BLOCK}, the default",
        )


def _usable(device: torch.device | str) -> torch.device:
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
        problem = "it holds no numbers" if found.type == "meta" else ""
    except (TypeError, RuntimeError, AssertionError) as error:  # no name of a device, or none of this machine or build
        problem = str(error).splitlines()[0]
    if problem:
        raise InputError(
            f"device={device!r}: {problem}"[:300],
            expected="'cpu', or a GPU that this machine and this build of torch have",
            causes=["a CPU build of torch", "a typing error"],
            fix="device='cpu', the default",
        )
    return found


def _open_both(op: str, u: Shard | Sequence[Shard], v: Shard | Sequence[Shard]) -> list[Shards]:
    """Both modalities' shards; what does not fit together is refused before anything is read."""
    sides = [_open_all("u", u), _open_all("v", v)]
    if sides[0][0][1].shape[1] != sides[1][0][1].shape[1] or not all(any(len(a) for _, a in side) for side in sides):
        raise InputError(
            f"{op}: u {[a.shape for _, a in sides[0]]}, v {[a.shape for _, a in sides[1]]}",
            expected="at least one sample each, of the same width",
            causes=["features of two different models", "shards without samples"],
            fix="pass image and text features of one model",
        )
    return sides


def _open_all(name: str, source: Shard | Sequence[Shard]) -> Shards:
    shards: list[Any] = list(source) if isinstance(source, list | tuple) else [source]
    opened = [_open(f"{name}[{i}]" if len(shards) > 1 else name, s) for i, s in enumerate(shards)]
    if len({array.shape[1] for _, array in opened}) != 1:
        raise InputError(
            f"{name}: shards of shapes {[array.shape for _, array in opened]}",
            expected="at least one shard, all of the same width",
            causes=["an empty list", "shards of two different encoders"],
            fix="pass the shards of one features file",
        )
    return opened


def _open(name: str, shard: Shard) -> tuple[str, np.ndarray]:
    if isinstance(shard, str | PathLike):
        name = str(shard)
        if not Path(shard).exists():
            raise InputError(f"{name}: no such file", expected="a .npy file", causes=["a typing error"], fix="ls")
        try:
            # not "c": what may be written counts as memory, and a file that is larger than all of it would be refused
            shard = np.load(shard, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(
                f"{name}: {error}",
                expected="a .npy file of numbers",
                causes=["a torn download", "an array of Python objects, which would be a pickle"],
                fix="np.save(path, features.astype('float16'))",
            ) from error
    array: object = shard
    no_backward(name, shard, instead="moments")
    if isinstance(shard, Tensor) and shard.dtype in (torch.float16, torch.float32, torch.float64):
        array = shard.detach().cpu().numpy()  # numpy has no bfloat16
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise InputError(
            f"{name}: shape {array.shape}, {array.dtype}" if isinstance(array, np.ndarray) else describe(name, array),
            expected="an (N, d) array of float16, float32 or float64",
            causes=["a .npz archive, which cannot be memory-mapped", "labels instead of features"],
            fix="save each array to its own .npy file",
        )
    return name, array
