"""Blocks dealt to threads: every block once, one torch thread each, and nothing of the caller's changed."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from crossmodal.kernels import coalition_head, moments, pair_lse, stream_marginals, stream_moments
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
    with mode():
        pairs = [pair_lse(u, v, 9.0, impl="torch") for _ in range(2)]
        heads = [coalition_head(image, image, weight, weight, labels, impl="torch") for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*heads, strict=True))
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
