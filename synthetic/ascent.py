"""Gradient ascent on a claim's slack, many restarts in one batch, through the claim's own primitives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..theory.claim import Claim
from ..theory.language import Relation
from .arithmetic import arithmetic, at_least_matrix
from .domains import Slot, on_domain, start
from .evaluate import as_array, bound_values, has_zero_side, sides

plain = arithmetic("plain")
PENALTY, HARDER = (
    20.0,
    100.0,
)  # weight of what is missing of the assumptions, and the factor by which it grows during an ascent
MARGIN = 1e-6  # relative; assumptions are kept with this much to spare, so that rounding does not break them
Goal = Callable[[Mapping[str, Any]], torch.Tensor]  # values of a batch -> what is to be made large, one number a model


@dataclass(frozen=True)
class Effort:
    """How long to search: `rounds` choices of sizes, each with `restarts` starts of `steps` steps at once."""

    rounds: int = 6
    tight_rounds: int = 18  # of `tightest`: every size with every scale
    restarts: int = 48
    steps: int = 160
    polish: int = 0  # of the best restarts of a round, climbed by L-BFGS (`tightest` climbs two at least)
    confirmations: int = 6  # of the best restarts of a round, tried in exact arithmetic
    shrinks: int = 400  # exact evaluations spent on shrinking


def amounts(relation: Relation, values: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Slack of a relation, the size of its right side, and of both sides; one number a model, differentiable."""
    lhs, rhs = (as_array(x) for x in sides(relation, values, plain))
    lhs, rhs = (at_least_matrix(x if isinstance(x, torch.Tensor) else x.mid) for x in (lhs, rhs))
    difference = rhs - lhs
    if relation.op == "loewner<=":
        slack = torch.linalg.eigvalsh((difference + difference.mT) / 2)[..., 0]
        right, left = (torch.linalg.matrix_norm(x + 0 * difference, dim=(-2, -1)) for x in (rhs, lhs))
        right, left = right / difference.shape[-1] ** 0.5, left / difference.shape[-1] ** 0.5
    elif relation.op == "==":
        slack = -difference.abs().amax((-2, -1))
        right, left = rhs.abs().amax((-2, -1)), lhs.abs().amax((-2, -1))
    else:
        slack = difference.amin((-2, -1))
        right, left = rhs.abs().amax((-2, -1)), lhs.abs().amax((-2, -1))
    return slack.reshape(-1), right.reshape(-1), (left + right).reshape(-1)


def violation(relation: Relation, least: float) -> Goal:
    """How far a relation fails, relative to its sides (at least `least`): positive is a violation.

    A strict relation fails where its sides meet; if one of them is zero, that leaves nothing to be relative to: they are compared as
    they are.
    """

    def score(values: Mapping[str, Any]) -> torch.Tensor:
        slack, _, size = amounts(relation, values)
        if relation.op == "<" and has_zero_side(relation):
            return -slack / size.clamp_min(1.0)
        return torch.where(size > least, -slack / size.clamp_min(least), -1.0)

    return score


def tight_ratio(relation: Relation, least: float) -> Goal:
    """``1 - slack/|rhs|``, which is lhs/rhs for a positive right side."""

    def score(values: Mapping[str, Any]) -> torch.Tensor:
        slack, right, _ = amounts(relation, values)
        return torch.where(right > least, 1 - slack / right.clamp_min(least), -1.0)

    return score


@dataclass(frozen=True)
class Limit:
    """One relation of an assumption, and how a search weighs what is missing."""

    relation: Relation
    margin: float
    least: float
    zero: bool  # one side is zero

    def missing(self, values: Mapping[str, Any]) -> torch.Tensor:
        """How far it is violated, relative to its sides; equations between numbers below 1 are off by what they are off.

        Relative to sides of unlike sign, a difference has no slope.
        """
        slack, _, size = amounts(self.relation, values)
        off = (self.margin - slack / size.clamp_min(self.least)).clamp_min(0)
        # an inequality with zero has no slope relative to itself
        return off + (-slack).clamp_min(0) if self.zero and self.relation.op != "==" else off


def limits(claim: Claim, values: Mapping[str, Any]) -> list[Limit]:
    """What a search has to keep to.

    Definitions that are equations hold by construction, and are left out; not so where a value is given that they would define, which shows
    at the values given.
    """
    out = []
    for assumption in claim.statement.assumptions:
        for relation in assumption.relations:
            if not relation.symbols <= set(values):
                continue
            equation, zero = relation.op == "==", has_zero_side(relation)
            if assumption.by_model and equation:
                limit = Limit(relation, 0.0, 1.0, zero)
                if not bool((limit.missing(values).nan_to_num(0.0) > 1e-9).any()):
                    continue
            else:
                margin = 0.0 if assumption.by_model or equation else MARGIN
                limit = Limit(relation, margin, 1.0 if equation else 1e-12, zero)
            out.append(limit)
    return out


def ascend(
    claim: Claim,
    goal: Goal,
    round_slots: list[Slot],
    effort: Effort,
    seed: int,
    floor: float,
    enough: float,
    rate: float,
    polished: int = 0,
) -> Iterator[dict[str, torch.Tensor]]:
    """The best restarts of one round, best first.

    Adam with a learning rate falling from `rate` by a factor of a thousand; stops early when some restart exceeds
    `enough`; restarts that stay below `floor` are not worth an exact evaluation.  The `polished` best are climbed to the top
    by L-BFGS afterwards.
    """

    generator = torch.Generator().manual_seed(seed)
    free = [start(s, effort.restarts, generator).requires_grad_() for s in round_slots]
    with torch.no_grad():
        begin = {s.name: on_domain(s, x) for s, x in zip(round_slots, free, strict=True)}
        kept_to = limits(claim, bound_values(claim, begin, plain))

    def height(inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        values = bound_values(claim, inputs, plain)
        missing = [limit.missing(values) for limit in kept_to]
        outside = torch.as_tensor(sum(missing, torch.zeros(1, dtype=torch.float64)))
        return goal(values), outside

    optimiser = torch.optim.Adam(free, lr=rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 1e-3 ** (1 / effort.steps))
    # Of every restart, the best point that satisfies the assumptions and the best at all (rounding or `restored` may repair it).
    best = torch.full((2, effort.restarts), -torch.inf, dtype=torch.float64)
    worth = torch.full((2, effort.restarts), -torch.inf, dtype=torch.float64)
    kept = [torch.stack([on_domain(s, x).detach()] * 2) for s, x in zip(round_slots, free, strict=True)]
    behind = [x.detach().clone() for x in free]  # the free numbers behind the best feasible points
    for step in range(effort.steps):
        optimiser.zero_grad()
        inputs = {s.name: on_domain(s, x) for s, x in zip(round_slots, free, strict=True)}
        high, outside = (x.expand(effort.restarts) for x in height(inputs))
        total = high - PENALTY * HARDER ** (step / effort.steps) * outside
        usable = torch.isfinite(total)
        if total.requires_grad:  # a claim about constants has nothing to climb
            (-torch.where(usable, total, 0.0).sum()).backward()
        for x in free:
            if x.grad is not None:
                x.grad.nan_to_num_(0.0, 0.0, 0.0)
        with torch.no_grad():
            feasible = outside <= MARGIN / 2  # the other half is left for rounding
            now = torch.where(torch.stack([usable & feasible, usable]), high - PENALTY * HARDER * outside, -torch.inf)
            better = now > best
            best = torch.where(better, now, best)
            worth = torch.where(better, high - PENALTY * outside, worth)
            for k, s in enumerate(round_slots):
                kept[k] = torch.where(better[..., None, None], inputs[s.name].detach(), kept[k])
                behind[k] = torch.where(better[0][:, None, None], free[k].detach(), behind[k])
        if step % 10 == 9 and bool((best[0] > enough).any()):
            break
        optimiser.step()
        schedule.step()
    for k in best[0].argsort(descending=True)[:polished].tolist():
        if torch.isfinite(best[0, k]) and best[0, k] <= enough:
            inputs = {
                s.name: on_domain(s, x) for s, x in zip(round_slots, climb(round_slots, behind, k, height), strict=True)
            }
            reached, off = (float(x) for x in height(inputs))
            if reached - PENALTY * HARDER * off > best[0, k] and off <= MARGIN / 2:
                best[0, k] = worth[0, k] = reached
                for j, s in enumerate(round_slots):
                    kept[j][0, k] = inputs[s.name][0]
    for row in range(2):
        for k in best[row].argsort(descending=True)[: effort.confirmations].tolist():
            if worth[row, k] > floor and not (row == 1 and best[0, k] == best[1, k]):
                yield {s.name: x[row, k] for s, x in zip(round_slots, kept, strict=True)}


def climb(
    round_slots: list[Slot], behind: list[torch.Tensor], k: int, height: Callable[[Mapping[str, torch.Tensor]], Any]
) -> list[torch.Tensor]:
    """Free numbers of restart k after L-BFGS."""
    free = [x[k : k + 1].clone().requires_grad_() for x in behind]
    optimiser = torch.optim.LBFGS(
        free, max_iter=80, tolerance_grad=1e-14, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        high, outside = height({s.name: on_domain(s, x) for s, x in zip(round_slots, free, strict=True)})
        cost: torch.Tensor = (PENALTY * outside - high).sum()
        if cost.requires_grad:
            cost.backward()
        for x in free:
            if x.grad is None:
                x.grad = torch.zeros_like(x)
            x.grad.nan_to_num_(0.0, 0.0, 0.0)
        return cost.nan_to_num(0.0, 0.0, 0.0)

    optimiser.step(closure)
    return [x.detach() for x in free]


def small_scale(index: int) -> bool:
    """Every third round looks at what happens at small scales only; which one changes, so that it meets all sizes."""
    return (index + index // 6) % 3 == 1


def rate(index: int) -> float:
    """Learning rate of a round; at small scales slow."""
    return 0.003 if small_scale(index) else 0.2


def least(index: int) -> float:
    """Size of the sides below which a round does not look: there float64 cancels and rounding to rationals moves too far."""
    return 1e-16 if small_scale(index) else 1e-7
