"""Blocks dealt to torch's threads: every block once, and nothing of the caller's changed."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

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
def test_every_block_once_and_without_grad() -> None:
    grad: list[bool] = []
    for count in (1, 2):
        in_shares(lambda share, mine: grad.append(torch.is_grad_enabled()), 2, count)
    assert len(grad) == 3
    assert not any(grad)
    seen: list[tuple[int, int]] = []
    for count in (1, 2, 3):  # of three shares two threads may have to do one more
        seen.clear()
        in_shares(lambda share, mine: seen.extend((b, share) for b in mine), 7, count)
        assert sorted(seen) == [(b, b % count) for b in range(7)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_shares_run_at_once_on_torch_own_threads_which_are_not_divided_again() -> None:
    openmp = parallel._openmp()
    if openmp is None:
        pytest.skip("torch was built with other libraries")
    together, seen = threading.Barrier(2, timeout=60), []

    def work(share: int, _mine: Iterable[int]) -> None:
        together.wait()  # broken if the shares took turns
        seen.append((threading.get_native_id(), bool(openmp.omp_in_parallel())))

    for _ in range(2):
        in_shares(work, 2, 2)
    assert all(inside for _, inside in seen)
    assert len({thread for thread, _ in seen}) == 2  # the same two again
    assert threading.get_native_id() in dict(seen)
    assert not openmp.omp_in_parallel()


@pytest.mark.usefixtures("two_threads")
def test_workers_never_exceed_blocks_or_the_threads_allowed(monkeypatch) -> None:
    cpu = torch.device("cpu")
    assert [workers(n, cpu) for n in (0, 1, 2, 9)] == [1, 1, 2, 2]
    assert workers(9, torch.device("meta")) == 1
    torch.set_num_threads(1)
    assert workers(9, cpu) == 1
    torch.set_num_threads(2)
    monkeypatch.setattr(parallel, "_openmp", lambda: None)
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
def test_several_threads_of_the_program_deal_at_once() -> None:
    q, k = torch.randn(2, 3, 7, 16), torch.randn(2, 3, 9, 16)
    expected = segment_attention(q, k, k, (0, 5, 9), impl="torch").output
    equal: list[bool] = []

    def call() -> None:
        found = [segment_attention(q, k, k, (0, 5, 9), impl="torch").output for _ in range(20)]
        equal.extend(torch.equal(x, expected) for x in found)

    in_new_threads(5, call)
    assert equal == [True] * 100


@pytest.mark.parametrize("forked", [False, True])
@pytest.mark.usefixtures("two_threads")
def test_shares_take_turns_where_torch_has_no_threads_to_lend(monkeypatch, forked) -> None:
    """Without that library torch may use its threads inside; in a child they have stayed behind."""
    if forked:
        monkeypatch.setattr(parallel, "_forked", [1])
    else:
        monkeypatch.setattr(parallel, "_openmp", lambda: None)
    seen: list[tuple[int, int]] = []
    in_shares(lambda share, mine: seen.extend((b, torch.get_num_threads()) for b in mine), 5, 2)
    inside = 1 if forked else 2
    assert seen == [(b, inside) for b in (0, 2, 4, 1, 3)]
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError):
        in_shares(lambda share, mine: [1 // 0 for _ in mine], 5, 2)
    assert torch.get_num_threads() == 2


def run(code: str, **environment: str) -> str:
    command, env = [sys.executable, "-W", "ignore", "-c", code], os.environ | environment
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("preloaded", [False, True])
def test_torch_divides_nothing_inside_a_share_whichever_library_it_got(tmp_path, preloaded) -> None:
    """Intel's is often preloaded, and then torch's own is loaded and idle; here it is a copy under another name."""
    own = next((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"), None)
    if own is None:
        pytest.skip("torch came without a library of its own")
    other = tmp_path / "libother.so"
    name = own.name.encode()
    other.write_bytes(own.read_bytes().replace(name, name[:-1] + b"9"))
    out = run(
        """
import os, torch
from crossmodal.kernels import parallel
torch.set_num_threads(2)
x = torch.ones(300, 300)
x @ x, torch.ones(2**20).exp()
before = len(os.listdir("/proc/self/task"))
parallel.in_shares(lambda share, mine: [(x @ x, torch.ones(2**20).exp()) for _ in mine], 8, 2)
print(len(os.listdir("/proc/self/task")) - before, len({line.split()[-1] for line in open("/proc/self/maps") if "libother" in line}))
""",
        **({"LD_PRELOAD": str(other)} if preloaded else {}),
    )
    assert out.split() == ["0", str(int(preloaded))]  # threads more, libraries


def test_a_child_does_not_wait_for_the_threads_of_its_parent() -> None:
    """In a process of its own.  The child's torch calls are large enough for torch to divide them."""
    run("""
import os, time, torch
from crossmodal.kernels.parallel import in_shares
torch.set_num_threads(2)
x = torch.ones(2**20)
call = lambda: in_shares(lambda share, mine: [x.exp() for _ in mine], 4, 2)
call()
child = os.fork()
if not child:
    call()
    os._exit(0)
for _ in range(300):
    if os.waitpid(child, os.WNOHANG) != (0, 0):
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
    raise SystemExit("the child waits")
""")


def test_an_interrupt_stops_all_shares_and_comes_out() -> None:
    """Ctrl-C in the middle of fifty seconds of blocks on each of two threads."""
    out = run("""
import os, signal, threading, time, torch
from crossmodal.kernels.parallel import in_shares
torch.set_num_threads(2)
done = []
def work(share, mine):
    for block in mine:
        time.sleep(0.05)
        done.append(share)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    in_shares(work, 2000, 2)
except KeyboardInterrupt:
    print(time.monotonic() - start < 30, len(done) < 600)
""")
    assert out.split() == ["True", "True"]


def test_an_interrupt_while_a_thread_waits_for_the_interpreter_comes_out() -> None:
    """The other thread sends it and keeps the interpreter, so that the main one meets it where its share begins, or at the end."""
    out = run("""
import os, signal, sys, threading, time, torch
from crossmodal.kernels.parallel import in_shares
torch.set_num_threads(2)
main, sent, caught = threading.get_ident(), [], 0
def busy():  # so that both threads wait for the interpreter, and either may be the first
    while True:
        pass
sys.setswitchinterval(1e-4)
threading.Thread(target=busy, daemon=True).start()
def work(share, mine):
    if threading.get_ident() == main:
        return time.sleep(1e-3)  # which leaves the other share to the other thread
    if not sent:  # a second one would make up for the first
        sent.append(os.kill(os.getpid(), signal.SIGINT))
    end = time.perf_counter() + 2e-3
    while time.perf_counter() < end:
        pass
for _ in range(200):
    sent.clear()
    try:
        in_shares(work, 4, 2)
    except KeyboardInterrupt:
        caught += 1
    else:
        assert not sent, "lost"
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
print(caught)
""")
    assert parallel._openmp() is None or int(out) > 50


def test_a_share_that_never_ran_is_an_error(monkeypatch) -> None:
    """ctypes prints what a callback raises, and goes on as if it had returned."""

    class Lost:
        @staticmethod
        def GOMP_parallel(*_: object) -> None:
            pass

    monkeypatch.setattr(parallel, "_openmp", Lost)
    with pytest.raises(RuntimeError, match="has not ended"):
        in_shares(lambda share, mine: None, 2, 2)


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_failed_share_had_made_is_freed_with_its_exception(count) -> None:
    """At once, and not when Python next looks for cycles: its tensors may be large."""
    made: list[weakref.ref[torch.Tensor]] = []

    def work(_share: int, _mine: Iterable[int]) -> None:
        mine = torch.ones(3)
        made.append(weakref.ref(mine))
        raise ZeroDivisionError

    gc.disable()
    try:
        with contextlib.suppress(ZeroDivisionError):
            in_shares(work, 4, count)
        assert made
        assert all(x() is None for x in made)
    finally:
        gc.enable()


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
    run(code)
