"""What float64 says of many rational candidates at once: exact arithmetic is spent on those that it leaves open.

A search that loses a candidate here has missed it, as it misses most; nothing is proved or refuted by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..theory.claim import Claim
from ..theory.language import Relation
from .ascent import amounts, plain
from .domains import Inputs
from .evaluate import bound_values

CLEAR = 1e-6  # relative: by how much float64 must see something missed to be believed
SEEN = 1e-7  # size of the sides below which it is not: they may be what a cancellation has left


@dataclass(frozen=True)
class Sight:
    """One candidate in float64.

    Args:
        violation: how far the relation fails, relative to its sides; negative where it holds; inf where that is not seen.
        ratio: ``1 - slack/|rhs|``; inf where that is not seen, -inf where the right side is next to nothing.
        inside: whether no assumption is seen to fail.
    """

    violation: float = math.inf
    ratio: float = math.inf
    inside: bool = True

    @property
    def may_violate(self) -> bool:
        return self.violation >= -CLEAR

    def may_exceed(self, ratio: float) -> bool:
        return self.inside and self.ratio > ratio - 1e-9


def screen(claim: Claim, relation: Relation, candidates: Sequence[Inputs], least: float) -> list[Sight]:
    """A relation and the assumptions of a claim on candidates of one shape, in one batch.

    Args:
        least: size of the right side below which the search does not look for a ratio.
    """
    if not candidates:
        return []
    batch = {
        name: torch.tensor([[[float(x) for x in row] for row in c[name]] for c in candidates], dtype=torch.float64)
        for name in candidates[0]
    }
    try:
        with torch.no_grad():
            values = bound_values(claim, batch, plain)
            slack, right, size = amounts(relation, values)
            violation = seen(-slack / size, size)
            ratio = torch.where(right > least, seen(1 - slack / right, right), -torch.inf)
            inside = torch.ones(len(candidates), dtype=torch.bool)
            for assumed in (r for a in claim.statement.assumptions for r in a.relations):
                if assumed.symbols <= set(values):
                    inside &= ~fails(assumed, values)
    except (RuntimeError, IndexError):  # one of them has a singular matrix: exact arithmetic says which
        return [Sight()] * len(candidates)
    count = len(candidates)
    columns = (x.expand(count).tolist() for x in (violation, ratio, inside))
    return [Sight(*row) for row in zip(*columns, strict=True)]


def seen(x: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    return torch.where((size > SEEN) & ~x.isnan(), x, torch.inf)


def fails(relation: Relation, values: Any) -> torch.Tensor:
    slack, _, size = amounts(relation, values)
    return (size > SEEN) & (slack < -CLEAR * size)
