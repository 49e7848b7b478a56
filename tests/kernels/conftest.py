"""What the kernel tests share: features, poisoned memory, and the largest tensor an operation makes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def unit() -> Callable[..., torch.Tensor]:
    """Unit features (n, d), rounded to a dtype; `spread` 0 would put all of them in one direction."""

    def make(n: int, d: int, dtype: torch.dtype = torch.float32, spread: float | None = None) -> torch.Tensor:
        x = torch.randn(n, d, dtype=torch.float64)
        if spread is not None:
            x = torch.nn.functional.normalize(torch.ones(d, dtype=x.dtype), dim=0) + spread * x / d**0.5
        return torch.nn.functional.normalize(x, dim=1).to(dtype)

    return make


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Uninitialised memory holds NaN, so a result that was never written is noticed."""
    torch.use_deterministic_algorithms(True, warn_only=False)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor made inside the context."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor))])
        return out


@pytest.fixture
def largest() -> Largest:
    return Largest()


class Allocated(TorchDispatchMode):
    """Counts calls inside the context, and the bytes of tensors made in it: those alive, and the most that were at a time.

    With tensors on the meta device, which hold nothing, it tells what a GPU would be asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.now = self.peak = 0
        self._seen: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        self.calls += 1
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and id(storage := x.untyped_storage()) not in self._seen.keys() | known:
                self._made(storage)
        return out

    def _made(self, storage: torch.UntypedStorage) -> None:
        at, size = id(storage), storage.nbytes()

        def gone(_: object) -> None:
            del self._seen[at]
            self.now -= size

        self._seen[at] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


@pytest.fixture
def allocated() -> Allocated:
    return Allocated()
