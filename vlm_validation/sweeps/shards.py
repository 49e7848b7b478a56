"""Contribution scores of features that lie in shards, computed where the shards are and merged exactly.

Each worker reduces one shard to K0 moments (count, mean, scatter) of its rows `[image, text]`, by environment; moments
merge by the exact identity of `FeatureMoments.merge`, in float64, so only O(T d^2) numbers a shard travel and never a
feature.  They are merged in the order of the shards, whatever order they arrive in: the same shards give the same bytes
on any number of workers.  The scatter of image against text gives CLV by claim S8.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from ...kernels.ops.moments import FeatureMoments
from ...kernels.ops.moments.torch import combine
from ...theory.errors import InputError
from ..containers import read_container
from ..features import _check_norms, _integers, _vectors
from ..scores import PAIRS
from .runner import ATTEMPTS, _client, _dying

Moments = dict[int, FeatureMoments]
"""Environment id -> moments of its rows [image, text], width 2d."""


@dataclass(frozen=True, eq=False)
class ShardScores:
    """Scores of all shards together; environments in ascending order of their ids.

    Attributes:
        environments: T ids.
        counts: (T,) samples.
        con: "II", "IT", "TI", "TT" -> (T, T) V-statistics, as `scores.Scores.con`.
        clv: (T,) mean cosine of matched pairs.
        cosine_variance: (T, T, 3) of the image-text cosines: image, text and interaction part (S1).
    """

    environments: tuple[int, ...]
    counts: np.ndarray
    con: dict[str, np.ndarray]
    clv: np.ndarray
    cosine_variance: np.ndarray


def shard_scores(shards: Sequence[Path], *, workers: int = 1, dask: str | None = None) -> ShardScores:
    """Scores of features files that together are one data set.

    Args:
        shards: .npz or .safetensors with `image`, `text` (n, d) and `environment` (n,); an environment may lie in several.
        workers: local processes; 1: in this one.
        dask: address of a Dask scheduler, whose workers see the files under these paths, instead of local processes.

    Raises:
        InputError: no shard, one twice, a bad one (named), or shards of different widths.
    """
    paths = [str(Path(shard).resolve()) for shard in shards]
    if not paths or len(set(paths)) != len(paths):
        raise InputError(
            f"{len(paths)} shards, {len(set(paths))} different", expected="at least one, each once",
            causes=("a pattern that matches nothing, or a file named twice: its samples would count twice",),
        )  # fmt: skip
    if dask is not None:
        parts = _on_dask(paths, dask)
    elif workers > 1:
        parts = _on_processes(paths, min(workers, len(paths)))
    else:
        parts = [shard_moments(path) for path in paths]
    _each_once(paths, parts)
    widths = {next(iter(part.values())).mean.shape[0] // 2 for part in parts}
    if len(widths) > 1:
        raise InputError(
            f"shards of widths {sorted(widths)}",
            expected="features of one encoder",
            causes=("shards of two data sets",),
        )
    return scores_of(reduce(merge_moments, parts))


def _on_processes(paths: Sequence[str], workers: int) -> list[Moments]:
    """Moments of every shard; a pool whose process was killed is replaced, and finished shards are kept."""
    found: dict[str, Moments] = {}
    for _ in range(ATTEMPTS):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            waiting = {path: pool.submit(shard_moments, path) for path in paths if path not in found}
            for path, future in waiting.items():
                with suppress(BrokenProcessPool):
                    found[path] = future.result()
        if len(found) == len(paths):
            return [found[path] for path in paths]
    raise _dying()


def _on_dask(paths: Sequence[str], address: str) -> list[Moments]:
    with _client(address) as client:
        from distributed import KilledWorker

        try:
            return list(client.gather(client.map(shard_moments, paths, pure=False)))
        except KilledWorker:
            raise _dying() from None


def _each_once(paths: Sequence[str], parts: Sequence[Moments]) -> None:
    """The same samples under two names would count twice; their moments agree to the bit."""
    seen: dict[bytes, str] = {}
    for path, part in zip(paths, parts, strict=True):
        key = b"".join(m.mean.numpy().tobytes() + m.scatter.numpy().tobytes() for m in part.values())
        if key in seen:
            raise InputError(
                f"{path}: the same samples as {seen[key]}", expected="every sample in one shard",
                causes=("a copy under another name",), fix="leave one of them out",
            )  # fmt: skip
        seen[key] = path


def shard_moments(path: str) -> Moments:
    """Moments of one features file, by environment.

    Raises:
        InputError: an array is missing or bad: not finite, not of unit rows, of the wrong shape.
    """
    arrays, _, unreadable = read_container(path)
    for name in ("image", "text", "environment"):
        if name not in arrays:
            raise InputError(
                f"{path}: {unreadable.get(name, f'no array {name!r}')}", expected="image, text and environment"
            )
    image, text = (_vectors(arrays[name], name, path, minimum=1) for name in ("image", "text"))
    if image.shape != text.shape:
        raise InputError(f"{path}: image has shape {image.shape}, text {text.shape}", expected="one text an image")
    for name, rows in (("image", image), ("text", text)):
        _check_norms(rows, name, path)
    where = _integers(arrays["environment"], "environment", len(image), path)
    joint = torch.from_numpy(np.hstack([image, text]).astype(np.float64))
    return {int(k): FeatureMoments.of(joint[torch.from_numpy(where == k)]) for k in np.unique(where)}


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Moments of two disjoint sets of samples together."""
    return {k: a[k].merge(b[k]) if k in a and k in b else a.get(k, b.get(k)) for k in sorted({*a, *b})}  # type: ignore[misc]


def scores_of(moments: Moments) -> ShardScores:
    """Scores from the moments of every environment.

    Raises:
        InputError: an environment with one sample in all shards together.
    """
    if alone := [k for k, m in sorted(moments.items()) if m.count < 2]:
        raise InputError(
            f"environment {alone[0]} has one sample in all shards together", expected="at least two: one has no variance",
            causes=("a shard is missing",), fix="add the missing shard, or leave that sample out",
        )  # fmt: skip
    found = [moments[k] for k in sorted(moments)]
    d = found[0].mean.shape[0] // 2
    parts = {"I": slice(0, d), "T": slice(d, 2 * d)}
    sides = {a: [FeatureMoments(m.count, m.mean[p], m.scatter[p, p]) for m in found] for a, p in parts.items()}
    means = {a: torch.stack([m.mean for m in side]).numpy() for a, side in sides.items()}
    con = {a + b: means[a] @ means[b].T for a, b in PAIRS}
    synergy = [float(torch.trace(m.scatter[parts["I"], parts["T"]])) / m.count for m in found]
    variance = [[[float(x) for x in combine(u, v)[2:]] for v in sides["T"]] for u in sides["I"]]
    return ShardScores(
        environments=tuple(sorted(moments)),
        counts=np.array([m.count for m in found]),
        con=con,
        clv=np.diag(con["IT"]) + np.array(synergy),
        cosine_variance=np.array(variance),
    )
