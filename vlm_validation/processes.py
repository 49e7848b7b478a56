"""How many processes run this program together: one, unless `accelerate launch` or `torchrun` started several."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from ..theory.errors import InputError


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
        InputError: several processes, and accelerate is not installed.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if not count.isdigit() or int(count) < 2:
        return Processes()
    try:
        from accelerate import PartialState
    except ImportError:
        raise InputError(
            f"{count} processes, and accelerate is not installed", expected="the extra 'vlm'",
            fix="pip install 'crossmodal[vlm]', or start a single process",
        ) from None  # fmt: skip
    state = PartialState()
    return Processes(state.process_index, state.num_processes, state.wait_for_everyone, str(state.device))
