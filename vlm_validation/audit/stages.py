"""Stages of one run: the same samples, the same model, heads that fit, and the order in which environments were learnt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...theory.errors import InputError, counted, unknown_name
from ..features import Features


def same_samples(first: Features, later: Features) -> None:
    """Refuse stages that are not of the same samples in the same order.

    Raises:
        InputError: another number, other ids, labels or environments.
    """
    fix = "extract every checkpoint on the same data in the same order"
    for name in ("image", "text"):
        one, two = getattr(first, name).shape, getattr(later, name).shape
        if one != two:
            raise InputError(
                f"{later.source}: {name} has shape {two}", expected=f"{one}, that of {first.source}", fix=fix
            )
    for name in ("environment_names", "label_names"):
        if (a := getattr(first, name)) is not None and (b := getattr(later, name)) is not None and a != b:
            raise InputError(
                f"{later.source}: {name} {list(b)}", expected=f"{list(a)}, those of {first.source}", fix=fix
            )
    if (first.ids is None) != (later.ids is None):
        lacking, other = (first, later) if first.ids is None else (later, first)
        raise InputError(
            f"{lacking.source}: no 'ids', and {other.source} has them", expected="ids in all stages or in none",
            causes=("files written by two scripts",), fix="write the ids of the samples to every file, or leave them out of all",
        )  # fmt: skip
    for name in ("environment", "label", "ids", "captions"):
        a, b = getattr(first, name), getattr(later, name)
        if a is not None and b is not None and not np.array_equal(a, b):
            row = int(np.flatnonzero(np.asarray(a) != np.asarray(b))[0])
            raise InputError(
                f"{later.source}: '{name}' differs from {first.source} from row {row} on", expected="the same samples in the same order",
                causes=("a shuffled loader", "another split"), fix=fix,
            )  # fmt: skip


def same_model(first: Features, later: Features) -> None:
    """Refuse features of another architecture, where the files say which.

    Raises:
        InputError: `architecture` or `features` of the metadata differ.
    """
    for name in ("architecture", "features"):
        a, b = first.metadata.get(name), later.metadata.get(name)
        if a is not None and b is not None and a != b:
            raise InputError(
                f"{later.source}: {name} {b!r}", expected=f"{a!r}, that of {first.source}",
                causes=("a checkpoint of another run",), fix="give the checkpoints of one run, in the order of its environments",
            )  # fmt: skip


def learnt_order(features: Features, order: Sequence[str], transitions: int) -> tuple[int, ...]:
    """Environment ids in the order learnt, one a transition.

    Raises:
        InputError: an unknown name; more transitions than environments.
    """
    ids = list(features.environments)
    known = {str(k): k for k in ids} | {features.name(k): k for k in ids}
    unknown = [x for x in order if x not in known]
    if unknown:
        raise unknown_name(
            f"environment {unknown[0]!r} in the order",
            unknown[0],
            list(known),
            fix="one --order NAME for each transition",
        )
    found = [known[x] for x in order] or ids
    if len(found) < transitions or len(order) > transitions:
        raise InputError(
            f"{counted(transitions, 'transition')} and {counted(len(found), 'environment')} in the order", expected="one environment a transition",
            fix="pass --order with one environment for every stage after the first",
        )  # fmt: skip
    return tuple(found[:transitions])
