"""A run to audit without any data of one's own: the shipped dual encoder trained on three environments in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..containers import write_container
from ..features import save_features
from ..training.data import Choice, load_environments
from ..training.loop import State, Trainer
from ..training.protocol import Protocol

ENVIRONMENTS = 3
PROTOCOL = Protocol(mode="full", epochs=2, batch=30, weight=0.5)


def write_demo(
    folder: Path, protocol: Protocol = PROTOCOL, *, seed: int = 0, advance: Callable[[], None] = lambda: None
) -> tuple[list[Path], list[Path]]:
    """Train and write features and head after each stage; the same seed gives the same bytes.

    Args:
        folder: created if missing.
        protocol: how it is trained.
        seed: of scenes and minibatches.
        advance: called after each stage.

    Returns:
        Features files and heads, before training first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environments = load_environments(Choice("high", ENVIRONMENTS, seed=seed))
    trainer = Trainer(environments, protocol, seed)
    state = trainer.start()
    stages, heads = [], []
    for k in range(ENVIRONMENTS + 1):
        if k:
            state = trainer.stage(state, tuple(range(k)))
        stages.append(folder / f"after_{k}.npz")
        heads.append(folder / f"head_{k}.safetensors")
        save_features(stages[-1], trainer.features(state))
        write_container(heads[-1], {"weight": head_of(state)}, {})
        advance()
    return stages, heads


def head_of(state: State) -> np.ndarray:
    """(C, d) as torch.nn.Linear stores it."""
    return np.ascontiguousarray(state["head"].numpy().T)
