"""How many processes run this program together (one, unless `accelerate launch` or `torchrun` started several), and on how many cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..theory.errors import InputError, not_installed


@dataclass(frozen=True)
class Processes:
    """This process among its siblings.

    Attributes:
        index, count: 0 <= index < count.
        wait: returns when all of them have called it.
        device: the torch device meant for this one, or None where the default will do.
    """

    index: int = 0
    count: int = 1
    wait: Callable[[], None] = lambda: None
    device: str | None = None

    @property
    def main(self) -> bool:
        return self.index == 0


def running_processes() -> Processes:
    """The siblings of this process; `accelerate` is imported only where there are any.

    Raises:
        InputError: several processes, and accelerate is not installed or does not see them.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if not count.isdigit() or int(count) < 2:
        return Processes()
    try:
        from accelerate import PartialState
    except ImportError:
        raise not_installed(f"{count} processes, and accelerate", "vlm", "start a single process") from None
    import torch

    # without `cpu`, accelerate takes every process for the only one where there is no GPU
    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes != int(count):
        raise InputError(
            f"{count} processes were started, and accelerate finds {state.num_processes}", expected="the same number",
            causes=("a launcher that sets WORLD_SIZE and not RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT",),
            fix="start with `accelerate launch` or `torchrun`, or unset WORLD_SIZE",
        )  # fmt: skip
    return Processes(state.process_index, state.num_processes, state.wait_for_everyone, str(state.device))


@contextmanager
def one_thread() -> Iterator[None]:
    """One core: more would change the order of sums, and with it the bytes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
