"""`crossmodal check`: attack one claim with many models."""

from __future__ import annotations

from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

from crossmodal.synthetic.check import sweep
from crossmodal.synthetic.evaluate import tightened
from crossmodal.theory import registry
from crossmodal.theory.errors import InputError

from . import terminal


def check(claim_id: str, examples: int, seed: int, tighten: float, json_path: Path | None) -> int:
    """Print the worst slack of every relation, or the exact counterexample; 1 when there is one."""
    claim = registry.get(claim_id)
    if examples < 1:
        raise InputError(f"--examples {examples}", expected="a positive number of models")
    if not 0 <= tighten < 1:
        raise InputError(f"--tighten {tighten}", expected="a fraction between 0 and 1", fix="0.01 is one percent")
    if tighten:
        by = Fraction(str(tighten))
        relations = tuple(tightened(r, by) if r.op != "==" else r for r in claim.statement.relations)
        claim = replace(claim, statement=replace(claim.statement, relations=relations))
    with terminal.progress() as bar:
        task = bar.add_task(f"checking {claim.id}", total=examples)
        found = sweep(claim, examples, seed, progress=lambda n: bar.advance(task, n))
    if json_path is not None:
        record = {
            "claim": claim.id, "examples": found.examples, "within_assumptions": found.within, "seed": seed,
            "tightened_by": tighten, "suspects": found.suspects,
            "worst": {k: asdict(j) for k, j in found.worst.items()},
            "witness": found.witness.to_json() if found.witness else None,
        }  # fmt: skip
        terminal.write_json(json_path, record)
    if json_path is None or str(json_path) != "-":
        columns = [("relation", "left"), ("status", "left"), ("least slack", "right"), ("error bound", "right")]
        rows = [[k, j.status, f"{j.slack:.3g}", f"{j.error:.1e}"] for k, j in found.worst.items()]
        terminal.table(f"{claim.id} on {found.within} of {found.examples} models within its assumptions", columns, rows)
        if found.witness is not None:
            print(f"counterexample to '{found.witness.relation}', confirmed in exact rationals "
                  f"(lhs {found.witness.judgement.lhs:.6g}, rhs {found.witness.judgement.rhs:.6g}):")  # fmt: skip
            for name, rows_ in found.witness.to_json()["inputs"].items():
                print(f"  {name} = {rows_}")
        elif found.suspects:
            print(f"{found.suspects} float64 violations were not confirmed by their rational neighbours")
        else:
            print("no counterexample")
    return 1 if found.witness is not None else 0
