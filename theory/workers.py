"""Jobs spread over processes, any of which may be killed at any moment.

Every worker has a pipe of its own and shares nothing with the others: no queue and no lock that a killed process could take
along.  `concurrent.futures` shares both, and waits for ever where a worker dies while the next one is being started.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from threading import Thread, current_thread, main_thread
from typing import Any, Generic, TypeVar

ATTEMPTS = 5  # of a job whose worker dies: one that dies every time (out of memory, say) must not run for ever
PATIENCE = 10.0  # seconds an idle worker has to leave of its own accord

K = TypeVar("K", bound=Hashable)


class WorkerKilled(Exception):
    """The workers of one job were killed, or ended, as often as is allowed.

    Attributes:
        job: its key.
        how: ``was killed by SIGKILL 5 times``, ``ended with status 1 5 times``.
        causes: likely ones.
    """

    def __init__(self, job: Any, status: int, times: int) -> None:
        killed = status < 0
        how = f"was killed by {signal.Signals(-status).name}" if killed else f"ended with status {status}"
        self.job, self.how = job, f"{how} {times} times"
        self.causes = ("out of memory",) if killed else (
            "a script that starts work outside of `if __name__ == '__main__':`, or is read from standard input",
            "what the process printed",
        )  # fmt: skip
        super().__init__(f"the worker of {job} {self.how}")


def outcomes(
    function: Callable[..., Any], jobs: Mapping[K, tuple[Any, ...]], workers: int, *,
    begin: Callable[[], None] | None = None, lost: Callable[[K], None] | None = None,
) -> Iterator[tuple[K, Any]]:  # fmt: skip
    """Call `function` with the arguments of every job, in at most `workers` processes.

    A killed worker costs the job that it had: a new one takes its place and begins that job again.  Leaving the iterator early
    (an exception, Ctrl-C) kills the workers; work that must survive is written whole or not at all.

    Args:
        function: importable by name, as are its arguments' types.
        jobs: key -> arguments.
        begin: called first in every process.
        lost: told the key of a job whose worker was killed, before that job begins again.

    Yields:
        key and result as jobs finish; where the call raised, the exception in place of the result.

    Raises:
        WorkerKilled: the workers of one job were killed `ATTEMPTS` times.
    """
    waiting, crew, deaths = deque(jobs), list[_Worker[K]](), Counter[K]()
    finished = False

    def buried(worker: _Worker[K], job: K) -> None:
        crew.remove(worker)
        status = worker.end(at_once=True)
        deaths[job] += 1
        if deaths[job] >= ATTEMPTS:
            raise WorkerKilled(job, status, deaths[job])
        if lost is not None:
            lost(job)
        waiting.appendleft(job)

    try:
        while True:
            while waiting and len(busy := [w for w in crew if w.job]) < workers:
                if len(busy) == len(crew):
                    with interrupts_are_ours():
                        crew.append(_Worker(begin))
                job, worker = waiting.popleft(), next(w for w in crew if not w.job)
                if not worker.takes(job, function, jobs[job]):
                    buried(worker, job)
            busy = [w for w in crew if w.job]
            if not busy:
                break
            connection.wait([x for w in busy for x in (w.pipe, w.process.sentinel)])
            for worker in busy:
                (job,) = worker.job
                if worker.pipe.poll():
                    try:
                        outcome = worker.pipe.recv()
                    except (EOFError, OSError):  # it died, with half an answer or none
                        buried(worker, job)
                        continue
                    worker.job = []
                    yield job, outcome
                elif not worker.process.is_alive():
                    buried(worker, job)
        finished = True
    finally:
        for worker in crew:
            worker.end(at_once=not finished)


class _Worker(Generic[K]):
    """A process and the only end of its pipe on this side; `job` holds the key of what it is doing, if anything."""

    def __init__(self, begin: Callable[[], None] | None) -> None:
        context = get_context("spawn")
        self.job: list[K] = []
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, begin), daemon=True)
        self.process.start()
        theirs.close()

    def takes(self, job: K, function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
        """False where it is dead already."""
        self.job = [job]
        try:
            self.pipe.send((function, arguments))
        except OSError:
            return False
        return True

    def end(self, at_once: bool) -> int:
        """Its exit status; negative for a signal."""
        if at_once and self.process.exitcode is None:
            self.process.join(0.1)  # one that is about to end shows its status
            self.process.kill()
        self.pipe.close()  # an idle worker leaves at that
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()
        return self.process.exitcode or 0


def _serve(pipe: Any, begin: Callable[[], None] | None) -> None:
    """The loop of a worker.  Ctrl-C is the driver's business; and a worker whose driver was killed ends itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_watch_parent, daemon=True).start()
    if begin is not None:
        begin()
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(function(*arguments))
        except Exception as error:  # the call's, or that of a result that does not travel, of which nothing was sent
            pipe.send(_portable(error))


def _watch_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; one of a kind that does not travel, as text."""
    text = "".join(traceback.format_exception(error))
    error.add_note(f"In a worker:\n{text}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"in a worker: {text}")
    return error


@contextmanager
def interrupts_are_ours() -> Iterator[None]:
    """Processes started inside never see an interrupt; one that comes meanwhile is raised here, after the block.

    The mask is for the processes, which inherit it.  It does not keep the interrupt from this one: any other thread of it (a
    library's, a test runner's) takes the signal in place of this thread, so the handler has to wait as well.
    """
    if not hasattr(signal, "pthread_sigmask") or current_thread() is not main_thread():
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if came:
        signal.raise_signal(signal.SIGINT)
