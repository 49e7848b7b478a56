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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch

from ..theory.claim import Claim
from ..theory.errors import InputError, unknown_name
from ..theory.language import Relation
from ..theory.own_claims import file_of
from .arithmetic import Exact
from .ascent import Effort, ascend, least, plain, rate, tight_ratio, violation
from .check import Witness, assumptions_hold
from .domains import DENOMINATORS, RELAXED, Inputs, Slot, on_domain, rounded, start
from .draw import side, sizes, stream
from .evaluate import Judgement, bound_values, judge, tightened
from .restoring import restored
from .screening import Sight, screen
from .shrinking import Repair, Wanted, shrink

exact = Exact()
USUAL = Effort()
REPAIRED = {1, 3, 8, 60, 10**6}  # denominators after which equations are restored: it takes a dozen exact evaluations


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
        found, names = f"{claim.id} has no assumption {assumption!r} to drop", [a.name for a in claim.droppable()]
        fix = f"`crossmodal show {file_of(claim.id) or claim.id}` lists its assumptions; quote a name of several words"
        if not names:
            raise InputError(
                found,
                expected="no --drop: all that it assumes holds by the definition of its symbols",
                fix="leave --drop out",
            )
        raise unknown_name(found, assumption, names, fix=fix)
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


# -- where to look --------------------------------------------------------------------------------------------


def slots(variant: Variant, level: int, seed: int, index: int) -> list[Slot]:
    """The inputs of one round.  Level 0: as declared, directions have unit length; 1: triples unsorted, scalars beyond their range; 2: no domain left.

    The registered witness of a dropped assumption may give more than the inputs (a bound that is otherwise computed), and less (what it
    is computed from): then a model consists of what the witness gives, with values as free as those of the inputs.  Where nothing is
    dropped, only the declared inputs are: other values would leave the claim's domain.
    """
    claim = variant.claim
    rng = stream(f"{claim.id}/{variant.label}", seed, index)
    declared = {s.name for s in claim.inputs}
    instances = [claim.necessity[variant.dropped]] if variant.dropped in claim.necessity else []
    extra: dict[str, tuple[int, int]] = {}
    forced: dict[str, tuple[int, int]] = {}
    given = declared
    chosen = round_sizes(claim, rng, index)
    for instance in instances:
        shapes = {name: exact.array(rows).shape for name, rows in instance.values.items()}
        extra = {name: shape for name, shape in shapes.items() if name not in declared}
        given = set(shapes) if extra else declared
        if any(max(shape) > 1 for shape in extra.values()):  # they fit the sizes of the instance only
            forced = {spec.name: shapes[spec.name] for spec in claim.inputs if spec.name in shapes}
    out = []
    for spec in claim.inputs:
        if spec.name not in given:
            continue
        kind: str = spec.kind
        if level == 2 or (level == 1 and kind in ("sorted_triple", "real")):
            kind = RELAXED.get(kind, kind)
        if level == 2 and kind == "unit_rows":
            kind = "rows"
        n = side(spec.rows, chosen) if spec.rows else 1
        d = n if spec.kind == "projector" else side(spec.cols, chosen) if spec.cols else 1
        n, d = forced.get(spec.name, (n, d))
        names = (spec.rows, spec.rows if spec.kind == "projector" else spec.cols) if not forced else ("", "")
        ends = float(Fraction(spec.low)), float(Fraction(spec.high))
        out.append(Slot(spec.name, kind, (n, d), *ends, rng.randint(1, n), names))
    for name, shape in extra.items():
        kind = "symmetric" if name in claim.statement.symmetric else "rows"
        out.append(Slot(name, "unit_rows" if level == 0 and kind == "rows" and shape[0] > 1 else kind, shape))
    return out


def round_sizes(claim: Claim, rng: Any, index: int) -> dict[str, int]:
    """Sizes of a round: all 2, all 4 or all 3 in even ones, at random in odd ones, from the seventh on none of them 1.

    What a bound needs (four environments, or only two) is not left to chance.
    """
    drawn = sizes(claim, rng, largest=2 + index % 3)
    if index % 2 == 0:
        return dict.fromkeys(drawn, (2, 4, 3)[index % 6 // 2])
    return {name: rng.randint(2, 4) for name in drawn} if index > 6 else drawn


def fits(variant: Variant, round_slots: list[Slot]) -> bool:
    """Whether a model of these sizes can be evaluated: what an instance gives beyond the inputs has sizes of its own."""
    if {s.name for s in round_slots} == {spec.name for spec in variant.claim.inputs}:
        return True
    generator = torch.Generator().manual_seed(0)
    inputs = {s.name: on_domain(s, start(s, 1, generator)) for s in round_slots}
    try:
        bound_values(variant.claim, inputs, plain)
    except (RuntimeError, IndexError):
        return False
    return True


def levels(variant: Variant) -> tuple[int, ...]:
    """Domains to search in: the declared one for the claim itself, wider ones where an assumption is dropped.

    An assumption without a relation is a property of the domain: if it is not the one dropped, the domain stays.
    """
    if not variant.dropped:
        return (0,)
    others = [a for a in variant.claim.droppable() if a.name != variant.dropped and not a.relations]
    return (0, 1) if others else (0, 1, 2)


# -- exact ----------------------------------------------------------------------------------------------------


def violates(variant: Variant, relation: Relation) -> Wanted:
    claim = variant.weakened

    return lambda inputs: judge_exactly(claim, relation, inputs, lambda found: found.status == "violated")


def bare(claim: Claim) -> Claim:
    """The claim without any assumption."""
    return replace(claim, statement=replace(claim.statement, assumptions=()))


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


def roundings(
    claim: Claim, relation: Relation, round_slots: list[Slot], point: Mapping[str, Any], least: float
) -> list[tuple[int, Inputs, Sight]]:
    """A point rounded to rationals of its domain, coarse to fine: denominator, inputs and what float64 sees of them."""
    found = [(d, inputs) for d in DENOMINATORS if (inputs := rounded(round_slots, point, d)) is not None]
    sights = screen(claim, relation, [inputs for _, inputs in found], least)
    return [(d, inputs, sight) for (d, inputs), sight in zip(found, sights, strict=True)]


def confirm(
    candidates: list[tuple[int, Inputs, Sight]],
    round_slots: list[Slot],
    wanted: Wanted,
    promising: Wanted,
    repair: Repair,
) -> Inputs | None:
    """The first rounding, coarse to fine, that is what is wanted, perhaps once the equations it broke are restored."""
    for denominator, inputs, sight in candidates:
        if not sight.may_violate or promising(inputs) is None:
            continue
        if sight.inside and wanted(inputs) is not None:
            return inputs
        mended = repair(round_slots, inputs) if denominator in REPAIRED else None
        if mended is not None and wanted(mended) is not None:
            return mended
    return None


# -- what is asked --------------------------------------------------------------------------------------------


def searches(variant: Variant, effort: Effort = USUAL) -> list[tuple[int, Relation, int]]:
    """What `falsify` tries, in this order: (round, relation, level of the domain)."""
    return [(k, r, level) for k in range(effort.rounds) for r in variant.relations for level in levels(variant)]


def falsify(
    variant: Variant, seed: int = 0, effort: Effort = USUAL, progress: Callable[[], None] | None = None
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
    if not fits(variant, round_slots) or (level and round_slots == slots(variant, level - 1, seed, index)):
        return None
    wanted = violates(variant, relation)
    promising = violates(replace(variant, claim=bare(variant.claim)), relation)

    def repair(some_slots: list[Slot], inputs: Inputs) -> Inputs | None:
        return restored(variant.weakened, some_slots, inputs)

    floor = -1e-9 if relation.op == "<" else 1e-12  # relative; what float64 says of less than that means nothing
    for point in ascend(
        variant.weakened,
        violation(relation, least(index)),
        round_slots,
        effort,
        seed + index,
        floor,
        1e-4,
        rate(index),
        effort.polish,
    ):
        candidates = roundings(variant.weakened, relation, round_slots, point, least(index))
        inputs = confirm(candidates, round_slots, wanted, promising, repair)
        if inputs is not None:
            _, inputs = shrink(round_slots, inputs, wanted, effort.shrinks, repair)
            judgement = wanted(inputs)
            assert judgement is not None
            return Witness(relation.name, inputs, judgement)
    return None


def ratio_of(found: Judgement) -> float:
    """``1 - slack/|rhs|`` of an exact judgement; -inf where the right side vanishes or an enclosure is too wide to tell."""
    decided = found.rhs and found.error <= 1e-9 * abs(found.rhs)
    return 1 - found.slack / abs(found.rhs) if decided else -math.inf


def tightest(
    claim: Claim, relation: str, seed: int = 0, effort: Effort = USUAL, enough: float = 0.9999,
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

    for index in range(effort.tight_rounds):
        round_slots = slots(variant, 0, seed, index)
        if progress:
            progress()
        if not fits(variant, round_slots):
            continue
        for point in ascend(
            claim,
            tight_ratio(wanted_relation, least(index)),
            round_slots,
            effort,
            seed + index,
            -math.inf,
            1 - 1e-7,
            rate(index),
            polished=max(2, effort.polish),
        ):
            candidates = roundings(claim, wanted_relation, round_slots, point, least(index))
            for _, inputs, sight in sorted(candidates, key=lambda c: c[2].ratio, reverse=True):
                if sight.may_exceed(best[0]) and (found := ratio(inputs, best[0] + 1e-9)) > best[0]:
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
