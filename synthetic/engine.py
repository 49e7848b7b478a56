"""The fast first pass of a sweep: every model in bare float64 lanes, error bounds only where they can decide something.

A violation is a slack ``m`` with error bound ``e`` and ``m + e < 0``: the exact slack is negative.  The first pass computes the
slack of the same model in another order of the same roundings (`lanes`), and hands every model to the bounds whose slack is not
clearly positive: above `NEAR` of the size of the sides.  So a violation is missed only if rounding moved its slack by more than
`NEAR` of its sides, or if a batch has more than `MOST` such models (the worst go first).  Identities have ``m <= 0`` always; there
the models with the largest relative discrepancy get bounds, and those beyond `SUSPECT` of the sides.  Models whose slack is not a
number get bounds, all of them.

A side that is zero has no size, and what rounding leaves of the other one would be as large as itself: such a relation is measured in
units of the inputs, which are of order one (`draw`).  Both sides may be what rounding leaves: a difference of less than one rounding of
such a unit is no suspect, and an equation among the assumptions rules out what is beyond `NEAR` of the sides and of the unit.

Definitions hold by construction in `bind` and are not evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..theory.claim import Claim
from ..theory.language import Relation
from .arithmetic import U
from .arithmetic.lanes import Lanes, as_lanes, lanes, least_pivot
from .evaluate import Remembered, has_zero_side, sides

SUSPECT = 1e-12  # relative discrepancy of an identity that is always given a bound
LOOK = 8  # models of a batch that get bounds for every relation, whatever their slack
MOST = 256  # and at most so many of those that may violate it, the worst first
NEAR = 1e-9  # relative; models this close to a bound or to an assumption are left to the error bounds
ENTRIES = 1 << 18  # of the largest input, in all models evaluated at once: about what the processor caches


@dataclass(frozen=True)
class Checked:
    """What a first pass needs of a claim, worked out once.

    Args:
        assumptions: relations to evaluate (not the definitions), with the symbols they need.
    """

    relations: tuple[Relation, ...]
    assumptions: tuple[tuple[Relation, frozenset[str]], ...]


def prepare(claim: Claim) -> Checked:
    kept = without_definitions(claim).statement.assumptions
    return Checked(claim.statement.relations, tuple((r, r.symbols) for a in kept for r in a.relations))


def without_definitions(claim: Claim) -> Claim:
    """The claim with those assumptions only that a model may violate: definitions hold by construction in `bind`."""
    kept = tuple(
        replace(a, relations=tuple(r for r in a.relations if not (a.by_model and r.op == "==")))
        for a in claim.statement.assumptions
    )
    return replace(claim, statement=replace(claim.statement, assumptions=kept))


def slack_and_size(
    relation: Relation, values: Mapping[str, Any], batch: int, allowed: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Slack of every model, after a violation by `allowed` of the size of the sides is forgiven, and that size; ``(batch,)`` each.

    The slack of a relation between matrices is a pivot of the difference: its sign is that of the least eigenvalue.  The size is at
    least 1 where a side is zero; what an equation is forgiven is that of a size of at least 1.
    """
    lhs, rhs = (whole(x) for x in sides(relation, values, lanes))
    difference = (rhs - lhs).data
    size = largest(lhs.data) + largest(rhs.data)
    if has_zero_side(relation):
        size = size.clamp_min(1.0)
    if relation.op == "loewner<=":
        doubled = difference + difference.transpose(0, 1)
        if allowed:
            doubled.diagonal(dim1=0, dim2=1).add_((2 * allowed * size)[:, None])
        slack = least_pivot(doubled) / 2
    elif relation.op == "==":
        slack = allowed * size.clamp_min(1.0) - largest(difference)
    else:
        slack = difference.amin((0, 1)) + allowed * size
    return slack.expand(batch), size.expand(batch)


def largest(x: torch.Tensor) -> torch.Tensor:
    """``(batch,)`` largest modulus of ``(rows, cols, batch)``, without a copy of it."""
    return torch.maximum(x.amax((0, 1)), -x.amin((0, 1)))


def whole(x: Any) -> Lanes:
    """A side as lanes, a number included."""
    return x if isinstance(x, Lanes) else Lanes(torch.full((1, 1, 1), float(x), dtype=torch.float64))


def first_pass(
    checked: Checked, claim: Claim, inputs: Mapping[str, torch.Tensor], batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(batch,)`` masks of the models within the assumptions, and of those among them that deserve error bounds.

    Args:
        inputs: name -> ``(batch, rows, cols)``; evaluated without a copy where the batch is contiguous (`draw_batch`).
    """
    drawn = {name: as_lanes(x).data for name, x in inputs.items()}
    widest = max((x.shape[0] * x.shape[1] for x in drawn.values()), default=1)
    at_once = max(1024, ENTRIES // widest)
    within = torch.ones(batch, dtype=torch.bool)
    badness = [torch.empty(batch, dtype=torch.float64) for _ in checked.relations]
    for start in range(0, batch, at_once):
        part = slice(start, min(start + at_once, batch))
        values = Remembered(claim.bind({name: Lanes(x[..., part]) for name, x in drawn.items()}, lanes))
        within[part] = assumed(checked, values, part.stop - start)
        for relation, bad in zip(checked.relations, badness, strict=True):
            slack, size = slack_and_size(relation, values, part.stop - start)
            bad[part] = -slack / size.clamp_min(U / SUSPECT)
    look = torch.zeros(batch, dtype=torch.bool)
    if not bool(within.any()):
        return within, look
    for relation, bad in zip(checked.relations, badness, strict=True):
        unknown = bad.isnan()
        bad = bad.masked_fill(~within | unknown, -torch.inf)
        suspects = int((bad > (SUSPECT if relation.op == "==" else -NEAR)).sum())
        look[bad.topk(min(batch, max(LOOK, min(MOST, suspects)))).indices] = True
        look |= unknown
    return within, look & within


def assumed(checked: Checked, values: Mapping[str, Any], batch: int) -> torch.Tensor:
    """Which models lie within the assumptions, or so near to them that bounds must decide."""
    within = torch.ones(batch, dtype=torch.bool)
    for relation, symbols in checked.assumptions:
        if symbols <= set(values):
            slack, _ = slack_and_size(relation, values, batch, NEAR)
            within &= ~(slack < 0)  # a slack that is not a number rules nothing out
    return within
