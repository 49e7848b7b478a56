"""The fast first pass of a sweep: every model in bare float64, error bounds only where they can decide something.

A violation is a slack ``m`` with error bound ``e`` and ``m + e < 0``, so ``m < 0``.  The first pass computes the very same
``m`` (the same operations in the same order, without the bounds), and a model with ``m > 0`` therefore needs no bound: no
violation of an inequality is missed.  Identities have ``m <= 0`` always; there the models with the largest relative
discrepancy get bounds, and those beyond 1e-12 of the sides.

Definitions hold by construction in `bind` and are not evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..theory.claim import Claim
from ..theory.language import Relation
from .arithmetic import Plain, at_least_matrix
from .evaluate import Remembered, as_array, sides

SUSPECT = 1e-12  # relative discrepancy of an identity that is always given a bound
LOOK = 8  # models of a batch that get bounds for every relation, whatever their slack
MOST = 256  # and at most so many of those that may violate it, the worst first
NEAR = 1e-9  # relative; models this close to an assumption count as within it (bounds decide later)


class Middle(Plain):
    """The centres of `Bounded`, bit for bit: means are sums times 1/n there."""

    def mean_row(self, x: Any) -> Any:
        return x.sum(-2, keepdim=True) * (1 / x.shape[-2])

    def mean_entry(self, x: Any) -> Any:
        return x.sum((-2, -1), keepdim=True) * (1 / (x.shape[-2] * x.shape[-1]))

    def mean_square(self, x: Any) -> Any:
        return self.total_square(x) * (1 / x.shape[-2])

    def inner(self, x: Any, y: Any) -> Any:
        product = x * y
        return product.sum((-2, -1), keepdim=True) * (1 / product.shape[-2])


middle = Middle()


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


def slack_and_size(relation: Relation, values: Mapping[str, Any], batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Slack of every model and the size of its sides, ``(batch,)`` each."""
    lhs, rhs = sides(relation, values, middle)
    difference = as_tensor(rhs - lhs)
    size = as_tensor(lhs).abs().amax((-2, -1)) + as_tensor(rhs).abs().amax((-2, -1))
    if relation.op == "loewner<=":
        slack = torch.linalg.eigvalsh((difference + difference.mT) / 2)[..., 0]
        slack = slack - NEAR * size  # eigenvalues are not computed as their bounds are: look at all that come close
    elif relation.op == "==":
        slack = -difference.abs().amax((-2, -1))
    else:
        slack = difference.amin((-2, -1))
    return slack.reshape(-1).expand(batch), size.reshape(-1).expand(batch)


def definite(relation: Relation, values: Mapping[str, Any]) -> bool:
    """True if the differences of all models, a little enlarged, have Cholesky factors: then all satisfy the relation.

    Five times as fast as their eigenvalues, which are needed only where this fails.
    """
    lhs, rhs = (as_tensor(x) for x in sides(relation, values, middle))
    shift = NEAR * (lhs.abs().amax((-2, -1)) + rhs.abs().amax((-2, -1)))
    difference = rhs - lhs
    shifted = (difference + difference.mT) / 2 + shift[..., None, None] * torch.eye(
        difference.shape[-1], dtype=torch.float64
    )
    return not bool(torch.linalg.cholesky_ex(shifted).info.any())


def as_tensor(x: Any) -> torch.Tensor:
    x = as_array(x)
    return at_least_matrix(x if isinstance(x, torch.Tensor) else x.mid)


def first_pass(
    checked: Checked, claim: Claim, inputs: Mapping[str, torch.Tensor], batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(batch,)`` masks of the models within the assumptions, and of those among them that deserve error bounds."""
    values = Remembered(claim.bind(inputs, middle))
    within = torch.ones(batch, dtype=torch.bool)
    for relation, symbols in checked.assumptions:
        if symbols <= set(values) and not (relation.op == "loewner<=" and definite(relation, values)):
            slack, size = slack_and_size(relation, values, batch)
            within &= ~(slack < -NEAR * size)  # a slack that is not a number rules nothing out
    look = torch.zeros(batch, dtype=torch.bool)
    if not bool(within.any()):
        return within, look
    for relation in checked.relations:
        slack, size = slack_and_size(relation, values, batch)
        badness = torch.where(within, -slack / size.clamp_min(1e-300), -torch.inf)
        limit = SUSPECT if relation.op == "==" else 0.0
        suspects = (badness > limit) | ((slack <= 0) & within & torch.tensor(relation.op == "<"))
        worst = badness.nan_to_num(-torch.inf).topk(min(batch, max(LOOK, min(MOST, int(suspects.sum()))))).indices
        look[worst] = True
    return within, look & within
