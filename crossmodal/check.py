"""`crossmodal check`: attack one claim with many random models and, where asked, by adversarial search."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from crossmodal.synthetic.check import Sweep, Witness, rational_rows, sweep
from crossmodal.synthetic.evaluate import tightened
from crossmodal.synthetic.falsify import Effort, Variant, falsify, searches, the_claim, tightest, without
from crossmodal.theory import registry
from crossmodal.theory.claim import Claim
from crossmodal.theory.errors import InputError, counted

from . import terminal


@dataclass(frozen=True)
class Search:
    """What the adversarial search found.

    Args:
        searches: searches by gradient made, each from several starts.
        tightness: relation -> (largest lhs/rhs reached within the assumptions, the exact instance).
    """

    searches: int
    witness: Witness | None
    tightness: dict[str, tuple[float, dict[str, Any]]]


def check(
    claim_id: str, examples: int, seed: int, tighten: float, json_path: Path | None, adversarial: bool = False,
    drop: str | None = None,
) -> int:  # fmt: skip
    """Print the worst slack of every relation, how tight the bounds are, or the exact counterexample; 1 when there is one."""
    registered = registry.get(claim_id)
    if examples < 1:
        raise InputError(
            f"--examples {examples}", expected="a positive number of models", fix="--examples 100000, the default"
        )
    if not 0 <= tighten < 1:
        raise InputError(
            f"--tighten {tighten}",
            expected="at least 0 and below 1",
            causes=("a percentage in place of a fraction",),
            fix="--tighten 0.01 is one percent",
        )
    claim = registered
    if tighten:
        by = Fraction(str(tighten))
        relations = tuple(tightened(r, by) if r.op != "==" else r for r in claim.statement.relations)
        claim = replace(claim, statement=replace(claim.statement, relations=relations))
    variant = the_claim(claim) if drop is None else without(claim, drop)
    with terminal.progress() as bar:
        task = bar.add_task(f"checking {claim.id}", total=examples)
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        found = sweep(variant.weakened, examples, seed, progress=lambda n: bar.advance(task, n), workers=workers)
    witness, search = found.witness, None
    if witness is None and (adversarial or drop is not None):
        search = attack(variant, seed, tightness=drop is None)
        witness = search.witness
    if json_path is not None:
        terminal.write_json(json_path, record(claim, found, search, witness, seed, tighten, drop))
    if json_path is None or str(json_path) != "-":
        report(claim, found, search, witness, drop)
    return 1 if witness is not None else 0


def attack(variant: Variant, seed: int, tightness: bool) -> Search:
    """Search for a counterexample, and where there is none for the instances that come closest to every bound."""
    effort, reached = Effort(polish=1), {}
    bounds = [r for r in variant.claim.statement.relations if r.op in ("<=", "<")] if tightness else []
    total = len(searches(variant, effort))
    with terminal.progress() as bar:
        task = bar.add_task(f"searching against {variant.claim.id}", total=total + effort.tight_rounds * len(bounds))
        witness = falsify(variant, seed, effort, progress=lambda: bar.advance(task))
        for relation in bounds if witness is None else ():
            ratio, inputs = tightest(variant.claim, relation.name, seed, effort, progress=lambda: bar.advance(task))
            if inputs:
                reached[relation.name] = (ratio, dict(inputs))
    return Search(total, witness, reached)


def record(
    claim: Claim,
    found: Sweep,
    search: Search | None,
    witness: Witness | None,
    seed: int,
    tighten: float,
    drop: str | None,
) -> dict[str, Any]:
    """Everything, for machines."""
    searched = None if search is None else {
        "searches": search.searches,
        "found": search.witness is not None,
        "tightness": {
            name: {"ratio": ratio, "inputs": {k: rational_rows(v) for k, v in inputs.items()}}
            for name, (ratio, inputs) in search.tightness.items()
        },
    }  # fmt: skip
    return {
        "claim": claim.id, "examples": found.examples, "within_assumptions": found.within, "seed": seed,
        "tightened_by": tighten, "dropped": drop, "suspects": found.suspects,
        "worst": {k: asdict(j) for k, j in found.worst.items()},
        "adversarial": searched,
        "witness": witness.to_json() if witness else None,
    }  # fmt: skip


def report(claim: Claim, found: Sweep, search: Search | None, witness: Witness | None, drop: str | None) -> None:
    """Tables and one closing line, for people."""
    columns = [("relation", "left"), ("status", "left"), ("least slack", "right"), ("error bound", "right")]
    rows = [[k, j.status, f"{j.slack:.3g}", f"{j.error:.1e}"] for k, j in found.worst.items()]
    weaker = f", '{drop}' dropped," if drop else ""
    terminal.table(
        f"{claim.id}{weaker} on the {found.within} of {counted(found.examples, 'model')} within its assumptions",
        columns,
        rows,
    )
    if search is not None and search.tightness:
        columns = [("bound", "left"), ("lhs/rhs reached", "right"), ("at", "left")]
        rows = [[k, f"{ratio:.6f}", short(inputs)] for k, (ratio, inputs) in search.tightness.items()]
        terminal.table(
            f"{claim.id}: how tight the bounds are, by adversarial search, evaluated in rationals", columns, rows
        )
    if witness is not None:
        j = witness.judgement
        by = f"lhs {j.lhs:.6g}, rhs {j.rhs:.6g}" if j.lhs == j.lhs else f"two matrices; slack {j.slack:.6g}"
        print(f"counterexample to '{witness.relation}', confirmed in exact rationals ({by}):")
        for name, rows_ in witness.to_json()["inputs"].items():
            print(f"  {name} = {rows_}")
        if drop:
            print(f"so '{drop}' is needed")
    elif found.suspects:
        print(f"not confirmed by rational neighbours: {counted(found.suspects, 'float64 violation')}")
    else:
        print("no counterexample" + (f" without '{drop}' by this search" if drop else ""))


def short(inputs: dict[str, Any], longest: int = 160) -> str:
    """An instance on one line, cut where it is too long to read."""
    text = "; ".join(f"{k} = {rational_rows(v)}" for k, v in inputs.items()).replace("'", "")
    return text if len(text) <= longest else text[:longest] + " .."
