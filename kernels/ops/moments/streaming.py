"""K0 over features larger than memory: memory-mapped shards, read ahead while the previous block is multiplied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crossmodal.kernels.checks import InputError, describe
from crossmodal.kernels.ops.moments.api import PairMoments
from crossmodal.kernels.ops.moments.torch import FeatureMoments, combine
from torch import Tensor

Shard = str | PathLike[str] | np.ndarray | Tensor
BLOCK = 16384


def stream_moments(
    u: Shard | Sequence[Shard],
    v: Shard | Sequence[Shard],
    *,
    rows: int = BLOCK,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> PairMoments:
    """`moments` of features that need not fit in memory (K0, S1).

    At most two blocks of `rows` samples are in memory at a time.  To spread the work, compute `shard_moments` of
    each shard anywhere and `FeatureMoments.merge` them: the result is the same.

    Args:
        u: image features: a ``.npy`` file (it is memory-mapped), an (N, d) array or memory map, or a sequence of
            such shards.  float16, float32 or float64.
        v: text features of the same width, given the same way.
        rows: samples a block.
        device: where the products run.
        progress: called with (samples done, samples in all) after every block.

    Returns:
        A `PairMoments`.

    Raises:
        InputError: a missing or pickled file, a wrong shape or dtype, NaN or infinity; it names the shard and row.
    """
    shards = [_open_all("u", u), _open_all("v", v)]
    total = sum(array.shape[0] for side in shards for _, array in side)
    done = 0

    def count(block: int) -> None:
        nonlocal done
        done += block
        if progress is not None:
            progress(done, total)

    sides = [_reduce(side, rows, device, count) for side in shards]
    return PairMoments(*combine(*sides))


def shard_moments(shard: Shard, *, rows: int = BLOCK, device: str = "cpu") -> FeatureMoments:
    """Moments of one shard, to be merged with others'."""
    return _reduce(_open_all("shard", shard), rows, device, lambda _: None)


def _reduce(
    shards: list[tuple[str, np.ndarray]], rows: int, device: str, count: Callable[[int], None]
) -> FeatureMoments:
    total = FeatureMoments.empty(shards[0][1].shape[1], device)
    with ThreadPoolExecutor(1) as reader, torch.no_grad():
        for name, start, block in _read_ahead(reader, _blocks(shards, rows)):
            x = torch.from_numpy(block).to(device)
            part = FeatureMoments.of(x)
            if not torch.isfinite(part.mean).all():  # infinity and NaN survive a mean
                bad = start + int((~torch.isfinite(x).all(1)).nonzero()[0])
                raise InputError(
                    f"{name}: row {bad} holds NaN or infinity",
                    expected="finite features",
                    causes=["a zero vector was normalised", "half precision overflowed in the encoder"],
                    fix=f"encode sample {bad} again in float32",
                )
            total = total.merge(part)
            count(block.shape[0])
    return total


Block = tuple[str, int, np.ndarray]


def _blocks(shards: list[tuple[str, np.ndarray]], rows: int) -> Iterator[Block]:
    """Name of the shard, first row, and a copy of the rows: the page cache may drop what was mapped."""
    for name, array in shards:
        for start in range(0, array.shape[0], rows):
            yield name, start, np.array(array[start : start + rows])


def _read_ahead(reader: ThreadPoolExecutor, blocks: Iterator[Block]) -> Iterator[Block]:
    """Fetch the next block on another thread while the caller works on this one."""
    pending = reader.submit(next, blocks, None)
    while (block := pending.result()) is not None:
        pending = reader.submit(next, blocks, None)
        yield block


def _open_all(name: str, source: Shard | Sequence[Shard]) -> list[tuple[str, np.ndarray]]:
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
            shard = np.load(shard, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(
                f"{name}: {error}",
                expected="a .npy file of numbers",
                causes=["a torn download", "an array of Python objects, which would be a pickle"],
                fix="np.save(path, features.astype('float16'))",
            ) from error
    array = shard.detach().cpu().numpy() if isinstance(shard, Tensor) else shard
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f" or array.dtype.itemsize > 8:
        found = f"shape {array.shape}, {array.dtype}" if isinstance(array, np.ndarray) else describe(name, array)
        raise InputError(
            f"{name}: {found}",
            expected="an (N, d) array of float16, float32 or float64",
            causes=["a .npz archive, which cannot be memory-mapped", "labels instead of features"],
            fix="save each array to its own .npy file",
        )
    return name, array
