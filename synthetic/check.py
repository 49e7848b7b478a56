"""Attack a claim with numbers: exact models, error-bounded batches, its own tight instances, dropped assumptions.

Every function returns what it found; nothing here has a tolerance.  A float64 violation counts only beyond its
proven error bound, and then only after the exact arithmetic has confirmed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from ..theory.claim import Claim
from ..theory.language import Instance, Relation
from .arithmetic import arithmetic
from .draw import draw_batch, draw_exact, rationalise
from .engine import Checked, first_pass, prepare, without_definitions
from .evaluate import Judgement, Remembered, admitted, bound_values, judge, judge_assumptions, rank, tightened


@dataclass(frozen=True)
class Witness:
    """An exact model on which a relation fails."""

    relation: str
    inputs: Mapping[str, Any]
    judgement: Judgement

    def to_json(self) -> dict[str, Any]:
        return {
            "relation": self.relation,
            "lhs": self.judgement.lhs,
            "rhs": self.judgement.rhs,
            "slack": self.judgement.slack,
            "inputs": {k: rational_rows(v) for k, v in self.inputs.items()},
        }


def rational_rows(rows: Any) -> Any:
    """Exact values as nested lists of strings such as '3/5'."""
    if isinstance(rows, list | tuple) or hasattr(rows, "tolist"):
        return [rational_rows(v) for v in (rows.tolist() if hasattr(rows, "tolist") else rows)]
    return str(rows)


@dataclass(frozen=True)
class NumericCheck:
    """Points 5 to 7 of a claim.

    Args:
        models: exact models that satisfied every assumption that can be evaluated.
        witness: the first exact violation, or None.
        undecided: models on which an enclosure could not decide.
        tight: (note, ratio lhs/rhs, holds, a bound tightened by one percent fails) of every tight instance.
        necessity: assumption -> (assumption violated, some relation of the claim violated).
    """

    models: int
    witness: Witness | None
    undecided: int
    tight: tuple[tuple[str, float, bool, bool], ...] = ()
    necessity: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """No violation, every tight instance tight, every necessity witness a witness."""
        return (
            self.witness is None
            and all(holds and fails for _, _, holds, fails in self.tight)
            and all(a and b for a, b in self.necessity.values())
        )


def assumptions_hold(claim: Claim, values: Mapping[str, Any], ops: Any) -> bool:
    """Whether a model satisfies every assumption that can be evaluated.

    What is within the error of exact enclosures are two sides that meet, as good as always (0 as the difference of two equal logarithms):
    there ``<=`` holds, and ``<`` does not.  Nothing holds that is undecided.
    """
    strict = {a.name for a in claim.statement.assumptions if any(r.op == "<" for r in a.relations)}
    judged = judge_assumptions(claim, values, ops)
    return all(j.status == "holds" or (j.status == "within error" and name not in strict) for name, j in judged.items())


def exact_models(
    claim: Claim, count: int, seed: int = 0, relations: tuple[Relation, ...] = ()
) -> tuple[int, int, Witness | None]:
    """Evaluate on `count` exact models: (models within the assumptions, undecided, first violation)."""
    ops = arithmetic("exact")
    used = undecided = 0
    for index in range(count):
        inputs = draw_exact(claim, seed, index)
        values = bound_values(claim, inputs, ops)
        if not assumptions_hold(claim, values, ops):
            continue
        used += 1
        for relation in relations or claim.statement.relations:
            found = judge(relation, values, ops)
            if found.status == "violated":
                return used, undecided, Witness(relation.name, inputs, found)
            undecided += found.status in ("within error", "undecided")
    return used, undecided, None


def relation_of(claim: Claim, instance: Instance) -> list[Relation]:
    return [r for r in claim.statement.relations if not instance.relation or r.name == instance.relation]


def tightness(claim: Claim) -> tuple[tuple[str, float, bool, bool], ...]:
    """At every tight instance: the ratio of the sides, that the relation holds, that one percent less does not."""
    ops = arithmetic("exact")
    out = []
    for instance in claim.tight:
        values = bound_values(claim, instance.values, ops)
        allowed = assumptions_hold(claim, values, ops)
        for relation in relation_of(claim, instance):
            found, tighter = judge(relation, values, ops), judge(tightened(relation), values, ops)
            ratio = found.lhs / found.rhs if found.rhs else (1.0 if found.slack == 0 else float("nan"))
            holds = allowed and found.status in ("holds", "within error")
            out.append((f"{relation.name}: {instance.note}", ratio, holds, tighter.status == "violated"))
    return tuple(out)


def necessity(claim: Claim) -> dict[str, tuple[bool, bool]]:
    """For every assumption that can be dropped: its instance violates the assumption, no other one, and the claim."""
    ops = arithmetic("exact")
    out = {}
    for name, instance in claim.necessity.items():
        values = bound_values(claim, instance.values, ops)
        judged = judge_assumptions(claim, values, ops)
        broken = all((j.status == "violated") == (other == name) for other, j in judged.items())
        fails = any(judge(r, values, ops).status == "violated" for r in relation_of(claim, instance))
        out[name] = (broken, fails)
    return out


def check_numbers(claim: Claim, count: int = 32, seed: int = 0) -> NumericCheck:
    """Points 5, 6 and 7 together."""
    used, undecided, witness = exact_models(claim, count, seed)
    return NumericCheck(used, witness, undecided, tightness(claim), necessity(claim))


def refuted(claim: Claim) -> Witness | None:
    """For a claim registered as REFUTED: its witness, if it satisfies the assumptions and violates a relation."""
    if claim.witness is None:
        return None
    ops = arithmetic("exact")
    values = bound_values(claim, claim.witness.values, ops)
    if not assumptions_hold(claim, values, ops):
        return None
    for relation in relation_of(claim, claim.witness):
        found = judge(relation, values, ops)
        if found.status == "violated":
            return Witness(relation.name, claim.witness.values, found)
    return None


@dataclass(frozen=True)
class Sweep:
    """What a run over many float64 models found.

    Args:
        examples: models evaluated.
        within: those of them that satisfied the assumptions, as far as float64 tells.
        worst: per relation the worst judgement (`rank`), so that many models that hold do not hide one that is not decided.
        suspects: float64 violations beyond the error bound that exact arithmetic did not confirm (0, or a bug).
        witness: a confirmed violation.
    """

    examples: int
    within: int
    worst: Mapping[str, Judgement]
    suspects: int
    witness: Witness | None


@dataclass(frozen=True)
class Batch:
    """What one batch of a sweep found; `size` models, a `Sweep`'s counts of them."""

    size: int
    within: int
    worst: tuple[Judgement, ...]
    suspects: int
    witness: Witness | None


def sweep(
    claim: Claim,
    examples: int,
    seed: int = 0,
    batch: int = 16384,
    progress: Callable[[int], None] | None = None,
    fixed: Mapping[str, int] | None = None,
    workers: int = 1,
) -> Sweep:
    """Evaluate both sides on `examples` float64 models, in batches of bounded memory.

    A first pass without error bounds sorts out the models on which nothing can be violated (`engine`); the others are
    evaluated with proven bounds, and a violation beyond its bound is confirmed in exact rationals.  Batches are drawn from their
    number alone, so the result does not depend on the workers.

    Args:
        fixed: sizes by name that are not to be drawn (``{"T": 5}``).
        workers: batches evaluated at once, by threads (arithmetic on tensors runs side by side).
    """
    checked, light = prepare(claim), without_definitions(claim)
    sizes = [min(batch, examples - start) for start in range(0, examples, batch)]
    worst: dict[str, Judgement] = {}
    done = within = suspects = 0
    for found in in_order(lambda k: one_batch(claim, checked, light, seed, k, sizes[k], fixed), len(sizes), workers):
        done += found.size
        within += found.within
        suspects += found.suspects
        for judgement in found.worst:
            if judgement.relation not in worst or rank(judgement) < rank(worst[judgement.relation]):
                worst[judgement.relation] = judgement
        if progress:
            progress(found.size)
        if found.witness is not None:
            return Sweep(done, within, worst, suspects, found.witness)
    return Sweep(done, within, worst, suspects, None)


def in_order(work: Callable[[int], Batch], count: int, workers: int) -> Iterator[Batch]:
    """Results of ``work(0), work(1), ..`` in this order, `workers` at a time and only a few ahead."""
    if workers < 2:
        yield from map(work, range(count))
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            waiting = [pool.submit(work, k) for k in range(min(count, 2 * workers))]
            for k in range(count):
                found = waiting.pop(0).result()
                if k + 2 * workers < count:
                    waiting.append(pool.submit(work, k + 2 * workers))
                if found.witness is not None:
                    for future in waiting:
                        future.cancel()
                yield found
    finally:
        torch.set_num_threads(threads)


def one_batch(
    claim: Claim, checked: Checked, light: Claim, seed: int, index: int, size: int, fixed: Mapping[str, int] | None
) -> Batch:
    """Draw, sort out, bound, confirm: batch number `index`."""
    bounded, exact = arithmetic("bounded"), arithmetic("exact")
    drawn = draw_batch(claim, seed, index, size, fixed)
    inside, look = first_pass(checked, claim, {k: v.mid for k, v in drawn.items()}, size)
    few, within = int(look.sum()), int(inside.sum())
    inputs = {k: v[look] for k, v in drawn.items()}
    values = Remembered(bound_values(claim, inputs, bounded)) if few else {}
    among = admitted(light, values, bounded, few)
    judged: list[Judgement] = []
    suspects = 0
    for relation in claim.statement.relations if bool(among.any()) else ():
        found = judge(relation, values, bounded, among)
        judged.append(found)
        if found.status == "violated":
            near = {spec.name: rationalise(spec, inputs[spec.name].mid[found.index]) for spec in claim.inputs}
            exactly = bound_values(claim, near, exact)
            again = judge(relation, exactly, exact)
            if again.status == "violated" and assumptions_hold(claim, exactly, exact):
                return Batch(size, within, tuple(judged), suspects, Witness(relation.name, near, again))
            suspects += 1
    return Batch(size, within, tuple(judged), suspects, None)
