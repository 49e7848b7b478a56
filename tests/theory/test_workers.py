"""Workers are killed at every moment of their lives; results come all the same, and nothing waits for ever."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from crossmodal.theory import workers
from crossmodal.theory.workers import ATTEMPTS, WorkerKilled, outcomes

DIES = "__import__('os').kill(__import__('os').getpid(), 9)"


def dies_once(folder: Path, k: int) -> str:
    """An expression whose value is k, but the first worker that evaluates it dies."""
    flag = repr(str(folder / str(k)))
    return f"{k} if __import__('os').path.exists({flag}) else (open({flag}, 'w').close(), {DIES})"


def children() -> set[int]:
    """The processes of workers: not the one that `multiprocessing` tracks its resources with."""
    found = set[int]()
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        with contextlib.suppress(OSError):  # it has ended since
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def test_every_job_has_its_outcome() -> None:
    jobs = {k: (f"{k} * {k}",) for k in range(7)}
    assert dict(outcomes(eval, jobs, 3)) == {k: k * k for k in range(7)}
    assert dict(outcomes(eval, {}, 3)) == {}


def test_a_worker_is_used_again_and_no_more_than_asked_for_are_started() -> None:
    pids = [pid for _, pid in outcomes(eval, dict.fromkeys(range(12), ("__import__('os').getpid()",)), 2)]
    assert 1 <= len(set(pids)) <= 2
    assert os.getpid() not in pids


def test_begin_is_called_in_every_process() -> None:
    found = dict(outcomes(eval, {0: ("__import__('gc').isenabled()",)}, 1, begin=gc.disable))
    assert found == {0: False}


def test_a_killed_worker_costs_its_job_only(tmp_path: Path) -> None:
    lost = list[int]()
    jobs = {k: (dies_once(tmp_path, k) if k in (1, 4) else f"{k}",) for k in range(6)}
    assert dict(outcomes(eval, jobs, 2, lost=lost.append)) == {k: k for k in range(6)}
    assert sorted(lost) == [1, 4]


def test_a_job_that_kills_every_worker_is_named() -> None:
    with pytest.raises(WorkerKilled, match=f"the worker of deadly was killed by SIGKILL {ATTEMPTS} times") as caught:
        dict(outcomes(eval, {"deadly": (DIES,), "other": ("1",)}, 1))
    assert (caught.value.job, caught.value.causes) == ("deadly", ("out of memory",))


def test_a_worker_that_cannot_start_is_told_from_a_killed_one() -> None:
    """A script from standard input has no file that a worker could import."""
    script = "from crossmodal.theory.workers import outcomes; list(outcomes(eval, {'a': ('1',)}, 1))"
    run = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 1
    assert f"the worker of a ended with status 1 {ATTEMPTS} times" in run.stderr


def test_half_an_answer_is_none(tmp_path: Path) -> None:
    """A worker killed while it writes a long answer, which the driver has begun to read."""
    flag = repr(str(tmp_path / "flag"))
    killer = f"__import__('threading').Timer(0.3, lambda: {DIES}).start()"
    source = (
        f"b'x' * 10**7 if __import__('os').path.exists({flag}) else (open({flag}, 'w').close(), {killer}, b'y' * 10**9)"
    )
    found = list(outcomes(eval, {0: (source,)}, 1))
    assert [len(answer) for _, answer in found] in ([10**7], [3])  # the second: the answer was quicker than the signal


def test_what_a_job_raises_comes_back_with_its_traceback() -> None:
    ((_, error),) = outcomes(eval, {0: ("1 / 0",)}, 1)
    assert isinstance(error, ZeroDivisionError)
    assert "division by zero" in error.__notes__[0]
    ((_, error),) = outcomes(eval, {0: ("lambda: 1",)}, 1)
    assert "pickle" in str(error), "a result that does not travel is no dead worker"
    ((_, error),) = outcomes(exec, {0: ("class Odd(Exception): pass\nraise Odd('strange')",)}, 1)
    assert isinstance(error, RuntimeError)
    assert "strange" in str(error)


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.01, 0.05])
def test_killed_while_others_start(delay: float) -> None:
    """A worker killed before it has read its job, while the next one is being started: concurrent.futures hangs on that."""
    stop, killed = threading.Event(), list[int]()

    def kill() -> None:
        while not stop.is_set() and len(killed) < 3:
            for pid in children() - before - set(killed):
                time.sleep(delay)
                killed.append(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                break

    before, thread = children(), threading.Thread(target=kill)
    thread.start()
    try:
        assert dict(outcomes(eval, {k: (f"__import__('time').sleep(0.3) or {k}",) for k in range(4)}, 4)) == {
            k: k for k in range(4)
        }
    finally:
        stop.set()
        thread.join()
    assert killed


def test_leaving_early_ends_the_workers() -> None:
    before = children()
    found = outcomes(eval, {0: ("0",), 1: ("__import__('time').sleep(600)",)}, 2)
    assert next(found) == (0, 0)
    found.close()
    assert children() <= before


@pytest.mark.parametrize("another_thread", [False, True])
def test_an_interrupt_while_processes_start_is_not_lost(another_thread: bool) -> None:
    """Nor does it end the block, whichever thread of this process the system hands it to."""
    reached, stop = [], threading.Event()
    if another_thread:
        threading.Thread(target=stop.wait, daemon=True).start()

    def start() -> None:
        with workers.interrupts_are_ours():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            reached.append("the end of the block")

    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        stop.set()
    assert reached
    assert signal.getsignal(signal.SIGINT) is before
