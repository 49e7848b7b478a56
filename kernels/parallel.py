"""Blocks on several CPU threads: a block a thread, and one thread inside every torch call.

torch splits every single operation over its threads and waits for the slowest.  For a loop of many small operations
on a machine that is shared with other work those waits cost more than the second core brings.  Here each thread
works on blocks of its own and nobody waits before the end.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import torch

_MAKING = threading.Lock()  # a cache alone lets every first caller make a pool
if hasattr(os, "register_at_fork"):  # a child that is forked meanwhile must find it open
    os.register_at_fork(before=_MAKING.acquire, after_in_parent=_MAKING.release, after_in_child=_MAKING.release)


def workers(blocks: int, device: torch.device) -> int:
    """Threads worth using for so many blocks: never more than torch was allowed; one on a GPU, and in a worker."""
    return max(1, min(blocks, torch.get_num_threads())) if device.type == "cpu" else 1


def in_shares(work: Callable[[int, range], None], blocks: int, count: int) -> None:
    """Call ``work(share, blocks of this share)`` for `count` shares at once; block b belongs to share ``b % count``.

    The division is fixed, so results that are added up a share at a time repeat bit for bit.  Shares run without
    grad.  An exception in one share is raised here when all have ended.
    """
    shares = [range(share, blocks, count) for share in range(count)]
    if count == 1:
        with torch.no_grad():
            work(0, shares[0])
        return
    inference = torch.is_inference_mode_enabled()  # a mode belongs to a thread, and decides who may write in place

    def one(share: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            work(share, shares[share])

    pool = _pool(count, os.getpid())
    running = [pool.submit(one, share) for share in range(count)]
    wait(running)  # all of them, also when one fails: they write into the caller's buffers
    for future in running:
        future.result()


def _pool(size: int, process: int) -> ThreadPoolExecutor:
    """Threads that keep to one core each; a forked process inherits none and makes its own."""
    with _MAKING:
        return _make_pool(size, process)


@functools.cache
def _make_pool(size: int, _process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="kernels", initializer=_keep_to_one_core)


def _keep_to_one_core() -> None:
    """Limit this thread, and no other.

    `torch.set_num_threads` also changes the default of threads that have not used torch yet.  So the libraries below
    torch are asked.  Where they cannot be found the default is put back at once, by a thread that ends; one of the
    program's that first uses torch in between keeps one core.
    """
    with _MAKING:
        default = torch.get_num_threads()  # a thread takes over the default at its first question: ask before limits
        limits = _limits_of_a_thread()
        for limit in limits:
            limit(1)
        if not limits:
            torch.set_num_threads(1)
            restore = threading.Thread(target=torch.set_num_threads, args=(default,))
            restore.start()
            restore.join()


@functools.cache
def _limits_of_a_thread() -> tuple[Callable[[int], object], ...]:
    """What limits the calling thread alone, in all libraries that torch computes with on a CPU; none if any is missing."""
    # MKL's function in capitals takes the number; the same in small letters takes its address
    wanted = {"omp_set_num_threads": torch.backends.openmp, "MKL_Set_Num_Threads_Local": torch.backends.mkl}
    names = [name for name, backend in wanted.items() if backend.is_available()]
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return tuple(getattr(library, name) for name in names) if "omp_set_num_threads" in names else ()
    except (OSError, AttributeError):
        return ()
