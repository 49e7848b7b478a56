"""Blocks on several CPU threads: a block a thread, and one thread inside every torch call.

torch splits every single operation over its threads and waits for the slowest.  For a loop of many small operations
on a machine that is shared with other work those waits cost more than the second core brings.  Here each thread
works on blocks of its own and nobody waits before the end.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch


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


@functools.cache
def _pool(size: int, _process: int) -> ThreadPoolExecutor:
    """Threads that keep to one core each; a forked process inherits none and makes its own."""
    threads = torch.get_num_threads()
    together = threading.Barrier(size + 1)

    def settle() -> None:
        torch.get_num_threads()  # a thread takes over the default at its first question, so ask before it is changed
        torch.set_num_threads(1)  # of this thread, but also the default of threads to come ...
        together.wait()

    pool = ThreadPoolExecutor(size, thread_name_prefix="kernels", initializer=settle)
    for _ in range(size):
        pool.submit(int)  # an idle thread is reused instead of a new one started; none is idle before the barrier
    together.wait()
    torch.set_num_threads(threads)  # ... which is put back
    return pool
