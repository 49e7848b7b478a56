"""Blocks dealt to the threads that torch computes with: a share a thread, and one thread inside every torch call.

torch splits every single operation over its threads and waits for the slowest.  For a loop of many small operations
on a machine that is shared with other work those waits cost more than the second core brings.  Here each thread
works on blocks of its own and nobody waits before the end.

The threads are those of torch's own OpenMP.  After an operation they stay awake for some milliseconds, in case another comes:
threads beside them would have to share the cores with them, which costs more than dealing brings.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

Work = Callable[[int, Iterable[int]], None]
"""Takes the number of a share and its blocks, which end early when another share has failed."""

_Region = ctypes.CFUNCTYPE(None)
# not empty in a child: OpenMP's threads have stayed behind, and who calls for them waits for ever
_forked: list[int] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.append(os.getpid()))


def workers(blocks: int, device: torch.device) -> int:
    """Shares worth making of so many blocks: never more than the threads torch was allowed; one where it has none to lend."""
    if device.type != "cpu" or _forked or _openmp() is None:
        return 1
    return max(1, min(blocks, torch.get_num_threads()))


def in_shares(work: Work, blocks: int, count: int) -> None:
    """Call ``work(share, blocks of this share)`` for `count` shares, at once if they can be; block b belongs to share ``b % count``.

    The division is fixed, so results that are added up a share at a time repeat bit for bit, whichever thread takes which
    share.  Shares run without grad.  After an exception, Ctrl-C among them, no share begins another block, and it is
    raised here when all have ended.
    """
    inference = torch.is_inference_mode_enabled()  # a mode belongs to a thread, and decides who may write in place
    left, failed, done = iter(range(count)), list[BaseException](), itertools.count()

    def until_failure(mine: range) -> Iterator[int]:
        for block in mine:
            if failed:
                return
            yield block

    def shares() -> Iterator[None]:
        try:
            yield
            with torch.inference_mode(inference), torch.no_grad():
                for share in left:  # taken by one thread each: a step of the iterator is one of the interpreter's
                    work(share, until_failure(range(share, blocks, count)))
                    next(done)
        except GeneratorExit:  # no thread came for it
            raise
        except BaseException as error:  # ctypes would print it, and go on
            failed.append(error)
        yield

    # A function of Python would let Ctrl-C in before its first line, where nothing can catch it.  These already wait inside `try`.
    started = [shares() for _ in range(count)]
    for taker in started:
        next(taker)
    region = map(next, started).__next__  # each thread goes on with one of them
    openmp = _openmp() if count > 1 and not _forked else None
    try:
        if openmp is not None:
            openmp.GOMP_parallel(_Region(region), None, count, 0)
        else:
            _alone(region)
        if failed:
            raise failed[0]
    finally:
        failed.clear()  # they hold the frames that hold this list, and with them all that the blocks have made
    if next(done) < count:
        raise RuntimeError("a share has not ended; ctypes has printed why")


def _alone(shares: Callable[[], object]) -> None:
    """On this thread, with torch's own threads inside its calls, unless a fork has lost them."""
    threads = torch.get_num_threads() if _forked else 1
    try:
        if threads > 1:
            torch.set_num_threads(1)
        shares()
    finally:
        if threads > 1:
            torch.set_num_threads(threads)


@functools.cache
def _openmp() -> Any:
    """The OpenMP library that torch computes with, if it has GCC's entry, as GCC's own, LLVM's and Intel's have on Linux."""
    if not torch.backends.openmp.is_available():
        return None
    # in the linker's order: what is loaded for all, such as Intel's where it is preloaded, and then torch's own
    for name in (None, str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")):
        try:
            library = ctypes.CDLL(name)
            library.GOMP_parallel.argtypes = [_Region, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
            library.GOMP_parallel.restype = None
        except (OSError, AttributeError, TypeError):  # Windows takes no None
            continue
        return library
    return None
