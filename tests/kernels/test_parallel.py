"""Blocks dealt to threads: every block once, one torch thread each, and nothing of the caller's changed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from crossmodal.kernels import (
    coalition_head,
    moments,
    pair_lse,
    parallel,
    segment_attention,
    stream_marginals,
    stream_moments,
)
from crossmodal.kernels.parallel import in_shares, workers


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_every_block_once_and_one_torch_thread_a_share() -> None:
    grad: list[bool] = []
    for count in (1, 2):
        in_shares(lambda share, mine: grad.append(torch.is_grad_enabled()), 2, count)
    assert not any(grad)
    seen: list[tuple[int, int, int]] = []
    in_shares(lambda share, mine: seen.extend((b, share, torch.get_num_threads()) for b in mine), 7, 2)
    assert sorted(seen) == [(b, b % 2, 1) for b in range(7)]
    assert torch.get_num_threads() == 2
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [2]  # the pool did not lower the default of other threads


@pytest.mark.usefixtures("two_threads")
def test_workers_never_exceed_blocks_or_the_threads_allowed() -> None:
    cpu = torch.device("cpu")
    assert [workers(n, cpu) for n in (0, 1, 2, 9)] == [1, 1, 2, 2]
    assert workers(9, torch.device("meta")) == 1
    torch.set_num_threads(1)
    assert workers(9, cpu) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_an_exception_comes_out_after_all_shares_ended(count) -> None:
    ended = []

    def work(share: int, mine: range) -> None:
        if share == 0:
            raise ZeroDivisionError
        time.sleep(0.05)
        ended.append(share)

    with pytest.raises(ZeroDivisionError):
        in_shares(work, 4, count)
    assert ended == list(range(1, count))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_results_under_any_mode_and_repeatable(mode) -> None:
    u, v = torch.randn(1500, 24), torch.randn(1300, 24)
    image, weight, labels = torch.randn(2500, 8), torch.randn(130, 8), torch.randint(130, (2500,))
    q, k = torch.randn(2, 3, 7, 16), torch.randn(2, 3, 9, 16)
    with mode():
        pairs = [pair_lse(u, v, 9.0, impl="torch") for _ in range(2)]
        attended = [segment_attention(q, k, k, (0, 5, 9), impl="torch") for _ in range(2)]
        heads = [coalition_head(image, image, weight, weight, labels, impl="torch") for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*heads, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(attended[0][:2], attended[1][:2], strict=True))
    whole = segment_attention(q.double(), k.double(), k.double(), (0, 5, 9), impl="naive")
    assert float((attended[0].output - whole.output).abs().max()) <= 1e-6
    expected = pair_lse(u.double(), v.double(), 9.0, impl="naive")
    for a, b in zip(pairs[0], expected, strict=True):
        assert float((a - b).abs().max()) <= 1e-6 * float(expected.row_lse.abs().max())
    exact = coalition_head(*(x.double() for x in (image, image, weight, weight)), labels, impl="naive")
    assert float((heads[0].lse - exact.lse).abs().max()) <= 1e-6 * float(exact.lse.abs().max())
    assert torch.equal(heads[0].argmax, exact.argmax)


@pytest.mark.usefixtures("two_threads")
def test_streams_on_two_threads() -> None:
    """Each thread has moments of its own: all of them count, and all samples are told about."""
    u, v = torch.randn(5000, 12) + 1, torch.randn(4100, 12) - 1
    seen: list[tuple[int, int]] = []
    expected = moments(u, v, impl="naive")
    found = [stream_moments(u.numpy(), v.numpy(), rows=300, progress=lambda *x: seen.append(x)) for _ in range(2)]
    marginals = stream_marginals(u.numpy(), v.numpy())
    assert found[0] == found[1]
    assert sorted(seen)[-1] == (9100, 9100)
    for name in ("mean", "variance", "image", "text", "interaction"):
        assert abs(float(getattr(found[0], name) / getattr(expected, name)) - 1) <= 1e-6, name
    for name in ("mean", "image", "text"):
        assert abs(float(getattr(marginals, name) / getattr(expected, name)) - 1) <= 1e-5, name


@pytest.mark.usefixtures("two_threads")
def test_a_progress_that_raises_stops_every_share() -> None:
    told: list[int] = []

    def progress(done: int, _total: int) -> None:
        told.append(done)
        if len(told) == 1:
            raise RuntimeError("enough")
        time.sleep(0.002)

    x = np.ones((40000, 64), "float32")
    with pytest.raises(RuntimeError, match="enough"):
        stream_moments(x, x, rows=256, progress=progress)
    assert len(told) <= 4  # of 157: the block of the other share is told as well


def in_new_threads(count: int, call: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("two_threads")
def test_first_callers_make_one_pool_and_change_no_default(monkeypatch) -> None:
    """Pools of 3 threads, which nothing else makes; torch's own function would change what new threads take over."""
    made: list[int] = []
    seen: list[int] = []
    limited: list[int] = []
    executor = parallel.ThreadPoolExecutor

    def slow(size: int, *args, **kwargs) -> ThreadPoolExecutor:
        made.append(size)
        time.sleep(0.05)
        return executor(size, *args, **kwargs)

    monkeypatch.setattr(parallel, "ThreadPoolExecutor", slow)
    monkeypatch.setattr(torch, "set_num_threads", limited.append)
    if not parallel._limits_of_a_thread():
        pytest.skip("torch was built with other libraries")

    def call() -> None:
        in_shares(lambda share, mine: seen.append(torch.get_num_threads()), 3, 3)

    in_new_threads(5, call)
    assert made == [3]
    assert seen == [1] * 15
    assert limited == []


@pytest.mark.usefixtures("two_threads")
def test_without_those_libraries_the_default_is_put_back(monkeypatch) -> None:
    monkeypatch.setattr(parallel, "_limits_of_a_thread", lambda: ())
    seen: list[int] = []
    together = threading.Barrier(4)  # of all threads, or one might still be at it afterwards

    def work(_share: int, _mine: range) -> None:
        together.wait()
        seen.append(torch.get_num_threads())

    in_shares(work, 4, 4)
    assert seen == [1] * 4
    assert torch.get_num_threads() == 2
    in_new_threads(1, lambda: seen.append(torch.get_num_threads()))
    assert seen[4] == 2


def test_a_fork_while_a_pool_is_made() -> None:
    """In a process of its own: a child must not wait for a lock whose owner it does not have."""
    code = """
import os, threading, time, torch
from crossmodal.kernels import parallel
torch.set_num_threads(2)
make = parallel.ThreadPoolExecutor
parallel.ThreadPoolExecutor = lambda *a, **k: (time.sleep(0.3), make(*a, **k))[1]
call = lambda: parallel.in_shares(lambda share, mine: None, 2, 2)
thread = threading.Thread(target=call)
thread.start()
time.sleep(0.1)
child = os.fork()
if not child:
    call()
    os._exit(0)
thread.join()
for _ in range(100):
    if os.waitpid(child, os.WNOHANG) != (0, 0):
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
    raise SystemExit("the child waits")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize("module", ["crossmodal.kernels.dispatch", "crossmodal.synthetic.arithmetic"])
def test_functions_of_mkl_are_first_used_by_one_thread(module) -> None:
    """Before anything of the module can use them; two threads at once may get `exp` with half its digits."""
    code = f"""
import sys, torch
called = []
for name in ("exp", "log", "expm1", "sqrt"):
    def first(x, name=name, right=getattr(torch, name)):
        called.append((name, x.dtype, x.numel(), x.device.type))
        return right(x)
    setattr(torch, name, first)
import {module}
assert {{(n, d) for n, d, size, device in called if size == 1 and device == "cpu"}} >= {{
    (n, d) for n in ("exp", "log", "expm1", "sqrt") for d in (torch.float32, torch.float64)}}, called
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
