"""Adversarial search: gradient ascent on a claim's slack, exact confirmation, counterexamples a person can read.

The two sides of a relation are lowered from the statement (`evaluate`) and differentiated by torch through the claim's own
primitives.  Inputs are free numbers pushed onto their domains (rows normalised, projectors from a QR factorisation, weights
from a softmax), many restarts in one batch.  What looks like a violation is rounded to rationals of the domain and evaluated
again in exact arithmetic; only then does it count.  Then it is shrunk: fewer rows, more zeros, smaller denominators, each
step confirmed exactly.

The same search over ``1 - slack/|rhs|`` says how tight a bound is.  Everything is a function of (claim, variant, seed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.linalg
import torch

from ..theory.claim import Claim
from ..theory.errors import InputError
from ..theory.language import Relation
from .arithmetic import Exact, arithmetic, at_least_matrix
from .check import Witness, assumptions_hold
from .draw import side, sizes, sorted_triples, stream
from .evaluate import Judgement, as_array, bound_values, judge, sides, tightened

exact, plain = Exact(), arithmetic("plain")
DENOMINATORS = (
    1,
    2,
    3,
    4,
    5,
    8,
    12,
    60,
    1000,
    10**6,
    10**9,
    10**12,
)  # of rounding, from what reads well to what is close
MARGIN = 1e-6  # relative; assumptions are kept with this much to spare, so that rounding does not break them
RELAXED = {"unit_rows": "rows", "sorted_triple": "unit_rows", "projector": "symmetric", "simplex": "column",
           "unit_column": "column", "real": "wide"}  # fmt: skip


@dataclass(frozen=True)
class Effort:
    """How long to search: `rounds` choices of sizes, each with `restarts` starts of `steps` steps at once."""

    rounds: int = 6
    restarts: int = 48
    steps: int = 160
    confirmations: int = 6  # of the best restarts of a round, tried in exact arithmetic
    shrinks: int = 400  # exact evaluations spent on shrinking


@dataclass(frozen=True)
class Variant:
    """A statement to falsify: relations of a claim, perhaps tightened, perhaps without one of its assumptions."""

    label: str
    claim: Claim
    relations: tuple[Relation, ...]
    dropped: str = ""

    @property
    def weakened(self) -> Claim:
        """The claim without the dropped assumption."""
        kept = tuple(a for a in self.claim.statement.assumptions if a.name != self.dropped)
        return replace(self.claim, statement=replace(self.claim.statement, assumptions=kept))


def the_claim(claim: Claim) -> Variant:
    return Variant("the claim", claim, claim.statement.relations)


def without(claim: Claim, assumption: str) -> Variant:
    """The claim with one assumption dropped; the relation its registered witness violates comes first."""
    if assumption not in {a.name for a in claim.droppable()}:
        names = ", ".join(a.name for a in claim.droppable()) or "none"
        raise InputError(f"{claim.id} has no assumption {assumption!r} to drop", expected=names)
    wanted = claim.necessity[assumption].relation if assumption in claim.necessity else ""
    relations = sorted(claim.statement.relations, key=lambda r: r.name != wanted)
    return Variant(f"without {assumption}", claim, tuple(relations), assumption)


def tighter(claim: Claim, relation: str, by: Fraction = Fraction(1, 100)) -> Variant:
    return Variant(f"{relation} tightened by {by}", claim, (tightened(named(claim, relation), by),))


def variants(claim: Claim) -> list[Variant]:
    """The claim, the claim without each droppable assumption, and every tight bound tightened by one percent."""
    names = dict.fromkeys(i.relation for i in claim.tight if i.relation)
    return [the_claim(claim), *(without(claim, a.name) for a in claim.droppable()), *(tighter(claim, n) for n in names)]


def named(claim: Claim, relation: str) -> Relation:
    for r in claim.statement.relations:
        if r.name == relation:
            return r
    raise InputError(
        f"{claim.id} has no relation {relation!r}", expected=", ".join(r.name for r in claim.statement.relations)
    )


# -- domains --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """One input with the domain it is searched in, and its shape; ``free`` is the shape of the numbers behind it."""

    name: str
    kind: str
    shape: tuple[int, int]
    low: float = -1.0
    high: float = 1.0
    rank: int = 0
    sides: tuple[str, str] = ("", "")  # names of the sizes

    @property
    def free(self) -> tuple[int, int]:
        return (self.shape[0], self.rank) if self.kind == "projector" else self.shape


def slots(variant: Variant, level: int, seed: int, index: int) -> list[Slot]:
    """The inputs of one round.  Level 0: as declared; 1: triples unsorted, scalars beyond their range; 2: no domain left.

    An instance of the claim may give more than its inputs (a bound that is otherwise computed): such a value is free.
    """
    claim = variant.claim
    rng = stream(f"{claim.id}/{variant.label}", seed, index)
    declared = {s.name for s in claim.inputs}
    instances = [i for i in claim.tight if variant.relations[0].name == i.relation]
    if variant.dropped in claim.necessity:
        instances.append(claim.necessity[variant.dropped])
    extra: dict[str, tuple[int, int]] = {}
    chosen = sizes(claim, rng, largest=2 + index % 3)
    for instance in instances:
        shapes = {name: exact.array(rows).shape for name, rows in instance.values.items()}
        new = {name: shape for name, shape in shapes.items() if name not in declared | set(extra)}
        if any(max(shape) > 1 for shape in new.values()):  # they fit the sizes of the instance only
            for spec in claim.inputs:
                chosen |= {n: k for n, k in zip((spec.rows, spec.cols), shapes.get(spec.name, ()), strict=False) if n}
        extra |= new
    out = []
    for spec in claim.inputs:
        kind: str = spec.kind
        if level == 2 or (level == 1 and kind in ("sorted_triple", "real")):
            kind = RELAXED.get(kind, kind)
        if level == 2 and kind == "unit_rows":
            kind = "rows"
        n = side(spec.rows, chosen) if spec.rows else 1
        d = n if spec.kind == "projector" else side(spec.cols, chosen) if spec.cols else 1
        names = (spec.rows, spec.rows if spec.kind == "projector" else spec.cols)
        ends = float(Fraction(spec.low)), float(Fraction(spec.high))
        out.append(Slot(spec.name, kind, (n, d), *ends, rng.randint(1, n), names))
    out += [Slot(name, "rows", shape) for name, shape in extra.items()]
    return out


def fits(variant: Variant, round_slots: list[Slot]) -> bool:
    """Whether a model of these sizes can be evaluated: what an instance gives beyond the inputs has sizes of its own."""
    if len(round_slots) == len(variant.claim.inputs):
        return True
    generator = torch.Generator().manual_seed(0)
    inputs = {s.name: on_domain(s, start(s, 1, generator)) for s in round_slots}
    try:
        bound_values(variant.claim, inputs, plain)
    except (RuntimeError, IndexError):
        return False
    return True


def start(slot: Slot, batch: int, generator: torch.Generator) -> torch.Tensor:
    """Free numbers to begin with.

    In every second restart the rows lie close to one another, in every fourth close to orthogonal ones, and numbers
    are small: bounds are tight or break there.
    """
    rows, cols = slot.free
    x = torch.randn(batch, rows, cols, generator=generator, dtype=torch.float64)
    base = torch.randn(batch, 1, cols, generator=generator, dtype=torch.float64)
    spread = 10 ** (-2 * torch.rand(batch, 1, 1, generator=generator, dtype=torch.float64))
    number = torch.arange(batch)[:, None, None]
    if rows == 1:
        return torch.where(number % 4 == 2, spread**2 * x, x)
    frame = torch.eye(rows, cols, dtype=torch.float64) + spread**2 * x
    return torch.where(number % 2 == 1, base + spread * x, torch.where(number % 4 == 2, frame, x))


def on_domain(slot: Slot, x: torch.Tensor) -> torch.Tensor:
    """Free numbers as a member of the domain, differentiably."""
    if slot.kind == "unit_rows":
        return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    if slot.kind == "unit_column":
        return x / x.norm(dim=-2, keepdim=True).clamp_min(1e-12)
    if slot.kind == "simplex":
        return torch.softmax(3 * x, -2)
    if slot.kind == "projector":
        q = torch.linalg.qr(x)[0]
        return q @ q.mT
    if slot.kind == "symmetric":
        return (x + x.mT) / 2
    if slot.kind == "sorted_triple":
        return sorted_triples(x.abs() + 1e-12)
    if slot.kind == "real":  # a sine reaches the ends of the range, a sigmoid does not
        return slot.low + (slot.high - slot.low) * (1 + torch.sin(x)) / 2
    if slot.kind == "wide":
        return (slot.low + slot.high) / 2 + (slot.high - slot.low + 1) * x
    return x


def to_rational(slot: Slot, rows: Any, denominator: int) -> list[list[Fraction]] | None:
    """A rational member of the domain near to the given rows, with parameters of small denominator; None if there is none."""
    values = [[float(v) for v in row] for row in rows]

    def near(x: float) -> Fraction:
        return Fraction(x).limit_denominator(denominator)

    def unit(row: list[float]) -> list[Fraction] | None:
        length = math.sqrt(sum(v * v for v in row))
        return sphere([v / length for v in row], denominator) if length > 1e-9 else None

    if slot.kind in ("unit_rows", "sorted_triple"):
        found = [unit(row) for row in values]
        if any(row is None for row in found):
            return None
        good = [row for row in found if row is not None]
        return sort_exactly(good) if slot.kind == "sorted_triple" else good
    if slot.kind == "unit_column":
        row = unit([r[0] for r in values])
        return None if row is None else [[x] for x in row]
    if slot.kind == "simplex":
        weights = [max(near(r[0]), Fraction(0)) for r in values]
        return [[w / sum(weights)] for w in weights] if sum(weights) else None
    if slot.kind == "projector":
        return rational_projector(np.array(values), denominator)
    if slot.kind == "real":
        return [[min(max(near(v), Fraction(slot.low)), Fraction(slot.high)) for v in row] for row in values]
    return [[near(v) for v in row] for row in values]


def sphere(row: list[float], denominator: int) -> list[Fraction]:
    """A rational unit vector near a float one, by stereographic projection from the pole farthest from it."""
    if len(row) == 1:
        return [Fraction(1 if row[0] > 0 else -1)]
    pole = max(range(len(row)), key=lambda k: abs(row[k]))
    sign = 1 if row[pole] > 0 else -1
    t = [Fraction(v / (1 + abs(row[pole]))).limit_denominator(denominator) for v in row]
    square = sum((x * x for k, x in enumerate(t) if k != pole), Fraction(0))
    return [sign * (1 - square) / (1 + square) if k == pole else 2 * x / (1 + square) for k, x in enumerate(t)]


def sort_exactly(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """Three rows with the most similar pair first and last, the least similar pair first."""
    cosine = {(i, j): sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) for i in range(3) for j in range(i)}
    least, middle, _ = sorted(cosine, key=lambda key: (cosine[key], key))
    centre = (set(least) & set(middle)).pop()
    return [rows[(set(least) - {centre}).pop()], rows[centre], rows[(set(middle) - {centre}).pop()]]


def rational_projector(p: np.ndarray, denominator: int) -> list[list[Fraction]] | None:
    """The span's reduced basis (pivot columns are unit vectors) is rounded: an exact projector comes of it."""
    d = len(p)
    values, vectors = np.linalg.eigh((p + p.T) / 2)
    basis = vectors[:, values > 0.5].T
    if not len(basis):
        return [[Fraction(0)] * d for _ in range(d)]
    pivots = scipy.linalg.qr(basis, pivoting=True)[2][: len(basis)]
    reduced = np.linalg.solve(basis[:, pivots], basis)
    x = exact.array([[Fraction(float(v)).limit_denominator(denominator) for v in row] for row in reduced])
    try:
        projector: list[list[Fraction]] = (x.T @ exact.inv(x @ x.T) @ x).tolist()
    except ZeroDivisionError:
        return None
    return projector


# -- the search -----------------------------------------------------------------------------------------------


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


Goal = Callable[[Mapping[str, Any]], torch.Tensor]  # values of a batch -> what is to be made large, one number a model


def violation(relation: Relation, least: float) -> Goal:
    """How far a relation fails, relative to its sides (at least `least`): positive is a violation."""

    def score(values: Mapping[str, Any]) -> torch.Tensor:
        slack, _, size = amounts(relation, values)
        return torch.where(size > least, -slack / size.clamp_min(least), -1.0)

    return score


def tight_ratio(relation: Relation, least: float) -> Goal:
    """``1 - slack/|rhs|``, which is lhs/rhs for a positive right side."""

    def score(values: Mapping[str, Any]) -> torch.Tensor:
        slack, right, _ = amounts(relation, values)
        return torch.where(right > least, 1 - slack / right.clamp_min(least), -1.0)

    return score


def penalty(claim: Claim, values: Mapping[str, Any]) -> torch.Tensor | float:
    """How far the assumptions are violated, each relative to its sides; definitions hold by construction."""
    total: torch.Tensor | float = 0.0
    for assumption in claim.statement.assumptions:
        for relation in assumption.relations:
            if relation.symbols <= set(values) and not (assumption.by_model and relation.op == "=="):
                slack, _, size = amounts(relation, values)
                margin = 0.0 if assumption.by_model or relation.op == "==" else MARGIN
                total = total + (margin - slack / size.clamp_min(1e-12)).clamp_min(0)
    return total


def ascend(
    variant: Variant,
    goal: Goal,
    round_slots: list[Slot],
    effort: Effort,
    seed: int,
    floor: float,
    enough: float,
    rate: float,
) -> Iterator[dict[str, torch.Tensor]]:
    """The best restarts of one round, best first.

    Adam with a learning rate falling from `rate` by a factor of a thousand; stops early when some restart exceeds
    `enough`; restarts that stay below `floor` are not worth an exact evaluation.
    """
    claim = variant.weakened
    generator = torch.Generator().manual_seed(seed)
    free = [start(s, effort.restarts, generator).requires_grad_() for s in round_slots]
    optimiser = torch.optim.Adam(free, lr=rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 1e-3 ** (1 / effort.steps))
    # Of every restart, the best point that satisfies the assumptions and the best at all (a coarse rounding may repair it).
    best = torch.full((2, effort.restarts), -torch.inf, dtype=torch.float64)
    kept = [torch.stack([on_domain(s, x).detach()] * 2) for s, x in zip(round_slots, free, strict=True)]
    for step in range(effort.steps):
        optimiser.zero_grad()
        inputs = {s.name: on_domain(s, x) for s, x in zip(round_slots, free, strict=True)}
        values = bound_values(claim, inputs, plain)
        outside = torch.as_tensor(penalty(claim, values), dtype=torch.float64).expand(effort.restarts)
        total = goal(values).expand(effort.restarts) - 20 * outside
        usable = torch.isfinite(total)
        if total.requires_grad:  # a claim about constants has nothing to climb
            (-torch.where(usable, total, 0.0).sum()).backward()
        for x in free:
            if x.grad is not None:
                x.grad.nan_to_num_(0.0, 0.0, 0.0)
        with torch.no_grad():
            feasible = outside <= MARGIN / 2  # the other half is left for rounding
            now = torch.where(torch.stack([usable & feasible, usable]), total, -torch.inf)
            better = now > best
            best = torch.where(better, now, best)
            for k, s in enumerate(round_slots):
                kept[k] = torch.where(better[..., None, None], inputs[s.name].detach(), kept[k])
        if step % 10 == 9 and bool((best > enough).any()):
            break
        optimiser.step()
        schedule.step()
    for row in range(2):
        for k in best[row].argsort(descending=True)[: effort.confirmations].tolist():
            if best[row, k] > floor and not (row == 1 and best[0, k] == best[1, k]):
                yield {s.name: x[row, k] for s, x in zip(round_slots, kept, strict=True)}


def rate(index: int) -> float:
    """Learning rate of a round: every third one moves slowly, for what happens at small scales only."""
    return 0.003 if index % 3 == 1 else 0.2


def least(index: int) -> float:
    """Size of the sides below which a round does not look: there float64 cancels and rounding to rationals moves too far."""
    return 1e-16 if index % 3 == 1 else 1e-7


# -- exact ----------------------------------------------------------------------------------------------------

Inputs = dict[str, list[list[Fraction]]]
Wanted = Callable[[Inputs], Judgement | None]  # an exact judgement where the instance is what is looked for


def violates(variant: Variant, relation: Relation) -> Wanted:
    claim = variant.weakened

    return lambda inputs: judge_exactly(claim, relation, inputs, lambda found: found.status == "violated")


def judge_exactly(
    claim: Claim, relation: Relation, inputs: Inputs, good: Callable[[Judgement], bool]
) -> Judgement | None:
    """The relation on an instance, if it is judged to be good and lies within the assumptions (the dearer question)."""
    try:
        values = bound_values(claim, inputs, exact)
        found = judge(relation, values, exact)
        return found if good(found) and assumptions_hold(claim, values, exact) else None
    except (ArithmeticError, ValueError, IndexError):  # a singular matrix, the root of a negative number, an empty row
        return None


def rounded(round_slots: list[Slot], point: Mapping[str, Any], denominator: int) -> Inputs | None:
    out: Inputs = {}
    for slot in round_slots:
        rows = to_rational(slot, point[slot.name].tolist(), denominator)
        if rows is None:
            return None
        out[slot.name] = rows
    return out


def confirm(round_slots: list[Slot], point: Mapping[str, Any], wanted: Wanted) -> Inputs | None:
    """The first rounding, coarse to fine, that is what is wanted."""
    for denominator in DENOMINATORS:
        inputs = rounded(round_slots, point, denominator)
        if inputs is not None and wanted(inputs) is not None:
            return inputs
    return None


def weight(inputs: Inputs) -> int:
    """How much there is to read: digits, with a zero for almost nothing."""
    return sum(1 if x == 0 else 1 + len(str(x)) for rows in inputs.values() for row in rows for x in row)


def shrink(round_slots: list[Slot], inputs: Inputs, wanted: Wanted, budget: int) -> tuple[list[Slot], Inputs]:
    """Make an instance readable as long as it stays what is wanted; every step is confirmed exactly."""
    spent = 0
    improved = True
    while improved and spent < budget:
        improved = False
        for new_slots, candidate in simpler(round_slots, inputs):
            if candidate is None or weight(candidate) >= weight(inputs):
                continue
            spent += 1
            if wanted(candidate) is not None:
                round_slots, inputs, improved = new_slots, candidate, True
                break
            if spent >= budget:
                break
    return round_slots, inputs


def simpler(round_slots: list[Slot], inputs: Inputs) -> Iterator[tuple[list[Slot], Inputs | None]]:
    """Candidates: a size less, a coarser rounding, an entry 0 or a row equal to another."""
    for name in sorted({n for s in round_slots for n in s.sides if n and not n.isdigit()}):
        size = next(s.shape[s.sides.index(name)] for s in round_slots if name in s.sides)
        for k in range(size) if size > 1 else ():
            smaller = [
                replace(s, shape=(s.shape[0] - (s.sides[0] == name), s.shape[1] - (s.sides[1] == name)))
                for s in round_slots
            ]
            rows = {s.name: cut(s, inputs[s.name], name, k) for s in round_slots}
            repaired = {s.name: to_rational(s, rows[s.name], 1000) for s in smaller}
            yield smaller, whole(repaired)
    for denominator in DENOMINATORS[:-3]:
        yield round_slots, whole({s.name: to_rational(s, inputs[s.name], denominator) for s in round_slots})
        for s in round_slots:
            yield round_slots, whole({**inputs, s.name: to_rational(s, inputs[s.name], denominator)})
    for s in round_slots:
        entries = inputs[s.name]
        for i, row in enumerate(entries):
            for j, x in enumerate(row):
                for value in (0, 1, -1) if x not in (0, 1, -1) else (0,):
                    changed = [
                        [Fraction(value) if (i, j) == (k, l) else y for l, y in enumerate(r)]
                        for k, r in enumerate(entries)
                    ]
                    yield round_slots, whole({**inputs, s.name: to_rational(s, changed, 12)})


def cut(slot: Slot, rows: list[list[Fraction]], name: str, k: int) -> list[list[Fraction]]:
    rows = [r for i, r in enumerate(rows) if not (slot.sides[0] == name and i == k)]
    return [[x for j, x in enumerate(r) if not (slot.sides[1] == name and j == k)] for r in rows]


def whole(inputs: Mapping[str, list[list[Fraction]] | None]) -> Inputs | None:
    return None if any(v is None for v in inputs.values()) else {k: v for k, v in inputs.items() if v is not None}


# -- what is asked ------------------------------------------------------------------------------------------------


def levels(variant: Variant) -> tuple[int, ...]:
    """Domains to search in: the declared one for the claim itself, wider ones where an assumption is dropped.

    An assumption without a relation is a property of the domain: if it is not the one dropped, the domain stays.
    """
    if not variant.dropped:
        return (0,)
    others = [a for a in variant.claim.droppable() if a.name != variant.dropped and not a.relations]
    return (0, 1) if others else (0, 1, 2)


def searches(variant: Variant, effort: Effort = Effort()) -> list[tuple[int, Relation, int]]:
    """What `falsify` tries, in this order: (round, relation, level of the domain)."""
    return [(k, r, level) for k in range(effort.rounds) for r in variant.relations for level in levels(variant)]


def falsify(
    variant: Variant, seed: int = 0, effort: Effort = Effort(), progress: Callable[[], None] | None = None
) -> Witness | None:
    """Look for an exact instance within the assumptions of a variant that violates one of its relations.

    Args:
        progress: called after each of the `searches`.

    Returns:
        a confirmed and shrunk witness; None says only that this search found nothing.
    """
    for index, relation, level in searches(variant, effort):
        found = one_round(variant, relation, level, seed, index, effort)
        if progress:
            progress()
        if found is not None:
            return found
    return None


def one_round(
    variant: Variant, relation: Relation, level: int, seed: int, index: int, effort: Effort
) -> Witness | None:
    round_slots = slots(variant, level, seed, index)
    if not fits(variant, round_slots):
        return None
    wanted = violates(variant, relation)
    floor = -1e-9 if relation.op == "<" else 1e-12  # relative; what float64 says of less than that means nothing
    for point in ascend(
        variant, violation(relation, least(index)), round_slots, effort, seed + index, floor, 1e-4, rate(index)
    ):
        inputs = confirm(round_slots, point, wanted)
        if inputs is not None:
            _, inputs = shrink(round_slots, inputs, wanted, effort.shrinks)
            judgement = wanted(inputs)
            assert judgement is not None
            return Witness(relation.name, inputs, judgement)
    return None


def ratio_of(found: Judgement) -> float:
    """``1 - slack/|rhs|`` of an exact judgement; -inf where the right side vanishes."""
    return 1 - found.slack / abs(found.rhs) if found.rhs else -math.inf


def tightest(
    claim: Claim, relation: str, seed: int = 0, effort: Effort = Effort(), enough: float = 0.9999,
    progress: Callable[[], None] | None = None,
) -> tuple[float, Mapping[str, Any]]:  # fmt: skip
    """The largest ``1 - slack/|rhs|`` (lhs/rhs for a positive right side) that the search finds for a scalar ``<=``.

    Args:
        enough: stop looking beyond this ratio.
        progress: called after each round.

    Returns:
        the ratio, evaluated exactly, and the exact instance; (-inf, {}) when no instance was confirmed.

    Raises:
        InputError: the relation is no scalar inequality.
    """
    wanted_relation = named(claim, relation)
    if wanted_relation.op not in ("<=", "<"):
        raise InputError(f"{claim.id}: {relation} is '{wanted_relation.op}'", expected="a scalar inequality, <= or <")
    variant = Variant(f"tightness of {relation}", claim, (wanted_relation,))
    best: tuple[float, Inputs] = (-math.inf, {})
    best_slots: list[Slot] = []

    def ratio(inputs: Inputs, above: float) -> float:
        found = judge_exactly(claim, wanted_relation, inputs, lambda j: ratio_of(j) > above)
        return -math.inf if found is None else ratio_of(found)

    for index in range(effort.rounds):
        round_slots = slots(variant, 0, seed, index)
        if progress:
            progress()
        if not fits(variant, round_slots):
            continue
        for point in ascend(
            variant,
            tight_ratio(wanted_relation, least(index)),
            round_slots,
            effort,
            seed + index,
            -math.inf,
            1 - 1e-7,
            rate(index),
        ):
            for denominator in DENOMINATORS:
                inputs = rounded(round_slots, point, denominator)
                if inputs is not None and (found := ratio(inputs, best[0] + 1e-9)) > best[0]:
                    best, best_slots = (found, inputs), round_slots
        if best[0] > enough:
            break
    if not best_slots:
        return best

    def as_good(inputs: Inputs) -> Judgement | None:
        return judge_exactly(claim, wanted_relation, inputs, lambda j: ratio_of(j) >= best[0] - 1e-6)

    _, inputs = shrink(best_slots, best[1], as_good, effort.shrinks)
    return ratio(inputs, -math.inf), inputs


__all__ = ["Effort", "Variant", "falsify", "searches", "the_claim", "tighter", "tightest", "variants", "without"]
