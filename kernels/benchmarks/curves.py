"""Time and memory as functions of size: K0 over a file, K1 over the batch."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crossmodal.kernels import moments, pair_lse, stream_marginals, stream_moments
from crossmodal.kernels.benchmarks.cpu_items import features
from crossmodal.kernels.benchmarks.measure import PeakAnonymous, Run, limits, once, peak_memory

PATTERN = 65536  # rows of random features; longer files repeat them, which changes neither time nor memory


def k1_curve(quick: bool, device: str = "cpu") -> Iterator[dict[str, object]]:
    """`pair_lse` from a thousand rows on: time grows as N^2, memory does not.  float32 on a CPU, bfloat16 on a GPU."""
    on_gpu = device == "cuda"
    d, impl, dtype = 64 if quick else 512, "triton" if on_gpu else "torch", torch.bfloat16 if on_gpu else torch.float32
    sizes = (2048, 4096, 8192, 16384, 32768, *((65536, 131072) if on_gpu else ()))
    for n in (512, 1024) if quick else sizes:
        u, v = features(n, d, dtype, device), features(n, d, dtype, device)
        if n <= 2048:
            found = pair_lse(u, v, 100.0, impl=impl)
            expected = pair_lse(u.double(), v.double(), 100.0, impl="naive")
            error = float((found.row_lse - expected.row_lse).abs().max())
            # tensor cores truncate sums of bfloat16 products: about 3e-5 at this scale
            allowed = 1e-4 if on_gpu else 1e-6 * float(expected.row_lse.abs().max())
            if not error <= allowed:
                raise ArithmeticError(f"pair_lse is wrong by {error:.2g}; no curve is drawn")

        def run(u: torch.Tensor = u, v: torch.Tensor = v) -> object:
            return pair_lse(u, v, 100.0, impl=impl)

        once(run, device)
        times = [once(run, device) for _ in range(3)]
        matrix = n * n * dtype.itemsize / 2**20
        yield {"n": n, "d": d, "ms": min(times), "peak_mib": peak_memory(run, device), "matrix_mib": matrix}


def k0_curve(quick: bool, device: str = "cpu", rows: int | None = None) -> Iterator[dict[str, object]]:
    """`stream_moments` of two memory-mapped float16 files, up to 10^7 pairs of 512 dimensions, multiplied on `device`."""
    rate, bandwidth = limits(device, torch.float32)
    if device == "cuda":
        bandwidth = link()
    for n, d, paths in _files(partial(stream_moments, device=device), ("mean", "variance"), quick, rows):
        row = _streamed(lambda paths=paths: stream_moments(*paths, device=device), n, d, 1, bandwidth)  # type: ignore[misc]
        yield {**row, "floor_seconds_products": 2.0 * n * d * (d + 1) / rate}


def link() -> float:
    """Bytes a second from pinned memory to the GPU, the best of twenty: what features that lie in files must come over."""
    source = torch.empty(2**26, dtype=torch.float32).pin_memory()
    target = torch.empty_like(source, device="cuda")
    run: Run = lambda: target.copy_(source)  # noqa: E731
    once(run, "cuda")
    return source.numel() * 4 / min(once(run, "cuda") for _ in range(20)) * 1e3


def k0_marginals_curve(quick: bool, device: str = "cpu", rows: int | None = None) -> Iterator[dict[str, object]]:
    """`stream_marginals` of the same files: linear in d; one of the two is read twice, the other once."""
    _, bandwidth = limits(device, torch.float32)
    for n, d, paths in _files(stream_marginals, ("mean", "image", "text"), quick, rows):
        yield _streamed(lambda paths=paths: stream_marginals(*paths), n, d, 1.5, bandwidth)  # type: ignore[misc]


def _streamed(run: Run, n: int, d: int, passes: float, bandwidth: float) -> dict[str, object]:
    with PeakAnonymous() as peak:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    size = 2.0 * n * d * 2
    return {
        "n": n,
        "d": d,
        "seconds": seconds,
        "file_gib": size / 2**30,
        "passes": passes,
        "gib_per_s": passes * size / 2**30 / seconds,
        "peak_anonymous_mib": peak.mib,
        "copy_gib_per_s": bandwidth / 2**30,
        "floor_seconds_bytes": passes * size / bandwidth,
    }


def _files(
    stream: Callable[..., Any], names: tuple[str, ...], quick: bool, rows: int | None
) -> Iterator[tuple[int, int, list[Path]]]:
    """Files of growing size, image and text, after the stream has been right on a few of their rows."""
    d = 32 if quick else 512
    sizes = [20_000, 40_000] if quick else [100_000, 1_000_000, 10_000_000]
    pattern = [features(PATTERN, d).half().numpy() for _ in range(2)]
    few = [torch.from_numpy(p[:1000]) for p in pattern]
    found, expected = stream(*few), moments(*few, impl="naive")
    if not all(abs(float(getattr(found, name) / getattr(expected, name)) - 1) <= 1e-5 for name in names):
        raise ArithmeticError(f"{names} of the stream are wrong; no curve is drawn")
    with tempfile.TemporaryDirectory(dir=os.environ.get("CROSSMODAL_BENCH_TMP")) as folder:
        for n in (n for n in sizes if rows is None or n <= rows):
            yield n, d, [_write(Path(folder) / f"{side}.npy", p, n) for side, p in zip("uv", pattern, strict=True)]


def _write(path: Path, pattern: np.ndarray, n: int) -> Path:
    out = np.lib.format.open_memmap(path, mode="w+", dtype=pattern.dtype, shape=(n, pattern.shape[1]))
    for start in range(0, n, len(pattern)):
        stop = min(start + len(pattern), n)
        out[start:stop] = pattern[: stop - start]
    out.flush()
    return path


CURVES = {"k0-curve": k0_curve, "k0-marginals-curve": k0_marginals_curve, "k1-curve": k1_curve}
