"""The main job: every claim derived, certified, mutated, attacked with numbers and measured on features.

One claim is one independent job; `run` spreads them over processes.  The verdict is decided here and nowhere else:

* PROVED: the checker accepts the certificate derived just now, the stored one is the same, every mutant tried is
  rejected, and no number contradicts the claim.
* REFUTED: an exact witness satisfies the assumptions and violates the claim.
* UNDECIDED: anything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from crossmodal.theory.errors import InputError
from crossmodal.theory.workers import WorkerKilled, outcomes


@dataclass(frozen=True)
class Settings:
    """What a run does to every claim.

    Args:
        models: exact rational models per claim.
        mutants: mutants of every certificate.
        seed: of models and mutants.
        features: path of a features file, or None for the generated set.
        normalise: rescale features to unit length (and say so).
        statements: also mutate the statements, and say who kills each mutant.
    """

    models: int = 32
    mutants: int = 24
    seed: int = 0
    features: str | None = None
    normalise: bool = False
    statements: bool = False


@dataclass(frozen=True)
class Row:
    """One claim's line of the dashboard; picklable, every field JSON-serialisable."""

    claim: str
    title: str
    verdict: str
    registered: str
    certificate: str
    mutants: tuple[int, int]
    survivors: tuple[str, ...]
    models: int
    undecided: int
    witness: dict[str, Any] | None
    tight: tuple[tuple[str, float, bool, bool], ...]
    necessity: dict[str, tuple[bool, bool]]
    identity: bool
    trust: tuple[str, ...]
    measurement: dict[str, Any]
    statement_mutants: dict[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = field(default_factory=tuple)

    @property
    def as_registered(self) -> bool:
        return self.verdict == self.registered and not self.problems


def check_claim(name: str, settings: Settings) -> Row:
    """Do everything for one claim, of an id or in a file."""
    from crossmodal.theory import own_claims

    try:
        return _check_claim(name, settings)
    except Exception as error:  # explained here, where its traceback is: in another process it is text
        raise own_claims.blamed(error) or error from None


def _check_claim(name: str, settings: Settings) -> Row:
    from crossmodal.synthetic.check import check_numbers, refuted
    from crossmodal.theory import mutants, registry
    from crossmodal.theory.certify import certify
    from crossmodal.vlm_validation.measure import measure

    claim = registry.get(name)
    problems = [f"missing: {gap}" for gap in claim.missing()]
    certificate, tried = "none", 0
    alive: list[mutants.Mutant] = []
    accepted = False
    if claim.derive is not None:
        found = certify(claim)
        accepted = found.accepted and found.stored == "same"
        certificate = "accepted" if accepted else (found.reason or f"stored certificate {found.stored}")
        if not accepted:
            store = "" if found.reason else f"; `crossmodal verify --rewrite {name}` stores the one derived now"
            problems.append(f"certificate: {certificate}{store}")
        if found.certificate is not None and settings.mutants:
            tried, alive = mutants.survivors(found.certificate, settings.mutants, settings.seed)
            problems += [f"mutant accepted: {m.change}" for m in alive]
    numbers = check_numbers(claim, settings.models, settings.seed)
    witness = refuted(claim)
    if claim.verdict != "REFUTED":
        witness = numbers.witness or witness
        if numbers.witness is not None:
            problems.append(f"violated exactly on a drawn model: {numbers.witness.relation}")
    problems += [f"not tight: {note}" for note, _, holds, fails in numbers.tight if not (holds and fails)]
    problems += [f"no witness that '{name}' is needed" for name, both in numbers.necessity.items() if not all(both)]
    killers: dict[str, int] = {}
    if settings.statements:
        from crossmodal.synthetic.mutation import statement_report

        for mutant in statement_report(claim, settings.seed):
            killers[mutant.killer or "survived"] = killers.get(mutant.killer or "survived", 0) + 1
            if not mutant.killer:
                problems.append(f"statement mutant survived: {mutant.change}")
    if witness is not None:
        verdict = "REFUTED"
    elif accepted and not alive:
        verdict = "PROVED"
    else:
        verdict = "UNDECIDED"
    return Row(
        claim=claim.id,
        title=claim.title,
        verdict=verdict,
        registered=claim.verdict,
        certificate=certificate,
        mutants=(tried, tried - len(alive)),
        survivors=tuple(m.change for m in alive),
        models=numbers.models,
        undecided=numbers.undecided,
        witness=witness.to_json() if witness else None,
        tight=numbers.tight,
        necessity=dict(numbers.necessity),
        identity=verdict == "PROVED" and all(r.op == "==" for r in claim.statement.relations),
        trust=tuple(f.name for f in claim.trust),
        measurement=measure(claim, features(settings)).to_json(),
        statement_mutants=killers,
        problems=tuple(problems),
    )


_features: dict[tuple[str | None, bool], Any] = {}


def features(settings: Settings) -> Any:
    """The features of a run, read once a process."""
    key = (settings.features, settings.normalise)
    if key not in _features:
        from crossmodal.vlm_validation.features import load_features
        from crossmodal.vlm_validation.generated import generated_features

        path, normalise = key
        _features[key] = load_features(path, normalise=normalise) if path else generated_features()
    return _features[key]


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def run(
    claim_ids: Sequence[str], settings: Settings, *, jobs: int | None = None, done: Callable[[Row], None]
) -> list[Row]:
    """Check claims in parallel; `done` is called as each finishes, the result is in the order asked for."""
    jobs = min(jobs or os.cpu_count() or 1, len(claim_ids))
    rows: dict[str, Row] = {}
    if jobs <= 1:
        for claim_id in claim_ids:
            rows[claim_id] = check_claim(claim_id, settings)
            done(rows[claim_id])
        return [rows[c] for c in claim_ids]
    work = {claim_id: (claim_id, settings) for claim_id in claim_ids}
    try:
        for claim_id, outcome in outcomes(check_claim, work, jobs, begin=_one_thread):
            if isinstance(outcome, Exception):
                raise outcome
            rows[claim_id] = outcome
            done(outcome)
    except WorkerKilled as error:
        raise InputError(
            f"{error.job}: the process that checked it {error.how}", expected="processes that live",
            causes=error.causes, fix="fewer processes: --jobs 1",
        ) from None  # fmt: skip
    return [rows[c] for c in claim_ids]
