"""What a training run is, in full: two runs with the same protocol, data, checkpoint, seed and order give the same bytes.

A shared linear head (zero at the start) reads the unit image features of the shipped dual encoder and is trained on one
environment after another with `CE + weight * CLIP`, where CLIP is the symmetric InfoNCE of the batch at inverse
temperature `tau` (stated here and never trained).  `mode` says what else moves:

- `frozen`: nothing; image and text features are constants (T1.7, T2.6).
- `full`: every weight of both encoders.
- `lora`: low-rank updates of the query and value projections of both encoders, by peft; the checkpoint itself stays.

Minibatches are drawn from a generator seeded with (seed, prefix), the prefix being the environments trained so far and
the present one; so runs that share a beginning share its weights, and walking the tree of prefixes changes no result.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ...theory.errors import InputError, unknown_name

VERSION = 1  # of the training itself: raise it with any change that alters what the same protocol computes
MODES = ("frozen", "full", "lora")
OPTIMISERS = ("sgd", "adamw")
RESETS = ("environment", "never")
WIDEST = 96  # of the shipped image encoder's projections, the wider one; no update has a higher rank


@dataclass(frozen=True)
class Protocol:
    """How each environment is trained.

    Attributes:
        mode: "frozen", "full" or "lora"; see the module.
        epochs: passes over the training samples of an environment, >= 1.
        batch: samples a step, >= 2; 0: all of the environment's.
        weight: lambda >= 0, the weight of the contrastive loss.
        tau: inverse temperature > 0 of the contrastive loss.
        optimiser: "sgd" (no momentum) or "adamw" (betas 0.9, 0.999; no weight decay).
        head_rate, encoder_rate: learning rates; the latter is idle where the mode is "frozen".
        reset: when the optimiser forgets its moments: "environment" (at the start of each) or "never".
        rank: of the low-rank updates, from 1 to `WIDEST`; idle unless the mode is "lora".

    Raises:
        InputError: a name or a number out of range.
    """

    mode: str = "frozen"
    epochs: int = 5
    batch: int = 30
    weight: float = 0.5
    tau: float = 10.0
    optimiser: str = "sgd"
    head_rate: float = 5.0
    encoder_rate: float = 0.01
    reset: str = "environment"
    rank: int = 4

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("optimiser", OPTIMISERS), ("reset", RESETS)):
            if (value := getattr(self, name)) not in known:
                raise unknown_name(f"protocol: {name} = {value!r}", value, known, fix=f'{name} = "{known[0]}", say')
        for name, least in (("epochs", 1), ("batch", 0), ("rank", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least or (name, value) == ("batch", 1):
                raise InputError(
                    f"protocol: {name} = {value!r}",
                    expected="a whole number, at least 2, or 0 for all samples of an environment" if name == "batch"
                    else f"a whole number, at least {least}",
                    causes=("a batch of one sample has no negative pair",) if name == "batch" else ("quotation marks or a decimal point",),
                    fix=f"{name} = {getattr(Protocol, name)}, the default",
                )  # fmt: skip
        if self.rank > WIDEST:
            raise InputError(
                f"protocol: rank = {self.rank}", expected=f"at most {WIDEST}, the width of the wider encoder",
                causes=("the rank of a larger model",), fix=f"rank = {Protocol.rank}, the default",
            )  # fmt: skip
        for name in ("weight", "tau", "head_rate", "encoder_rate"):
            value = getattr(self, name)
            valid = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max
            if not valid or (name == "tau" and value == 0):
                raise InputError(
                    f"protocol: {name} = {value!r}",
                    expected="a finite number that is not negative" + (", nor zero" if name == "tau" else ""),
                    causes=("quotation marks", "a sign too many"),
                    fix=f"{name} = {getattr(Protocol, name)}, the default",
                )
            object.__setattr__(self, name, float(value))  # 1 and 1.0 are one protocol, with one hash

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Protocol:
        """The protocol with these fields, defaults elsewhere.

        Raises:
            InputError: a field that there is not, or a value out of range.
        """
        known = tuple(field.name for field in fields(Protocol))
        if unknown := [name for name in values if name not in known]:
            raise unknown_name(
                f"protocol: field {unknown[0]!r}",
                unknown[0],
                known,
                fix="`crossmodal sweep --example` prints one that works",
            )
        return Protocol(**values)


def config_hash(values: Mapping[str, Any]) -> str:
    """sha256 of `values` as JSON with sorted keys, 64 hexadecimal digits.  Floats are written shortest-exact."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def generator_of(seed: int, prefix: Sequence[int]) -> np.random.Generator:
    """The generator of the minibatches while the last environment of `prefix` is trained.

    Args:
        seed: >= 0.
        prefix: positions of the environments trained so far, the present one last.

    Raises:
        InputError: a negative seed.
    """
    if seed < 0:
        raise InputError(f"seed {seed}", expected="a whole number that is not negative", fix="seed=0")
    return np.random.default_rng([seed, len(prefix), *prefix])
