"""Point 8 of a claim: evaluate it on real features and say holds, slack, or which assumption fails by how much."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..synthetic.arithmetic import Bounded
from ..synthetic.evaluate import Judgement, bound_values, judge, judge_assumptions, rank
from ..theory.claim import Claim
from ..theory.errors import InputError
from .features import Features, require_features
from .view import FeaturesView


@dataclass(frozen=True)
class Measurement:
    """A claim on a user's features.

    Args:
        instances: how many (environment, pair, triple, ...) the claim was evaluated on.
        violations: those on which a relation fails beyond its proven float64 error bound.
        undecided: those on which none fails, and of one too little is known (`crossmodal.synthetic.evaluate`).
        worst: relation -> (label, judgement), the worst (`rank`).
        assumptions: assumption -> (label, by how much it is violated), only those violated beyond rounding.
        note: why nothing was measured, or "".
    """

    claim: str
    instances: int
    violations: int
    worst: dict[str, tuple[str, Judgement]] = field(default_factory=dict)
    assumptions: dict[str, tuple[str, float]] = field(default_factory=dict)
    note: str = ""
    undecided: int = 0

    @property
    def summary(self) -> str:
        """One cell of the dashboard."""
        if not self.instances:
            return f"not measured: {self.note}"
        name, (at, worst) = min(self.worst.items(), key=lambda item: rank(item[1][1]))
        broken = ""
        if self.assumptions:
            assumption, (_, amount) = max(self.assumptions.items(), key=lambda item: item[1][1])
            broken = f"'{assumption}' violated by {amount:.1e}"
        if self.violations and broken:
            return f"{broken}, misses by {-worst.slack:.1e} on {self.violations} of {self.instances}"
        text = f"holds on {self.instances}"
        if self.violations:
            text = f"FAILS on {self.violations} of {self.instances}, by {-worst.slack:.1e}"
        elif self.undecided:
            known = "no number" if worst.slack != worst.slack else f"{worst.size:.1e} +- {worst.error:.1e}"
            text = f"undecided on {self.undecided} of {self.instances}: '{name}' on {at}, {known}"
        elif any(j.slack > j.error for _, j in self.worst.values()):
            slack = min(j.slack for _, j in self.worst.values() if j.slack > j.error)
            text += f", least slack {slack:.2g}"
        if broken:
            text += f"; {broken}"
        return text

    def to_json(self) -> dict[str, Any]:
        return {
            "instances": self.instances,
            "violations": self.violations,
            "undecided": self.undecided,
            "worst": {k: {"at": label, **asdict(j)} for k, (label, j) in self.worst.items()},
            "assumptions_violated": {k: {"at": label, "by": by} for k, (label, by) in self.assumptions.items()},
            "note": self.note,
            "summary": self.summary,
        }


def measure(claim: Claim, features: Features) -> Measurement:
    """Evaluate both sides of every relation of a claim on features.

    Args:
        claim: with `on_features`; otherwise the note says why it has none.
        features: see `crossmodal.vlm_validation.features`.

    Returns:
        Both sides of each relation at its worst instance, in float64 with proven error bounds.

    Raises:
        InputError: something else than a claim or than features; labels that are no class numbers, where classes count.
    """
    if not isinstance(claim, Claim):
        raise InputError(
            f"{type(claim).__name__} in place of a claim", expected="crossmodal.theory's Claim", causes=("the id of a claim",),
            fix="crossmodal.get_claim('T3.4')",
        )  # fmt: skip
    require_features(features)
    if claim.on_features is None:
        return Measurement(claim.id, 0, 0, note=claim.features_note)
    ops = Bounded()
    instances = violations = undecided = 0
    worst: dict[str, tuple[str, Judgement]] = {}
    broken: dict[str, tuple[str, float]] = {}
    for label, inputs in claim.on_features(FeaturesView(features)):
        values = bound_values(claim, inputs, ops)
        instances += 1
        said = set()
        for relation in claim.statement.relations:
            found = judge(relation, values, ops)
            said.add(found.status)
            if relation.name not in worst or rank(found) < rank(worst[relation.name][1]):
                worst[relation.name] = (label, found)
        violations += "violated" in said
        undecided += "undecided" in said and "violated" not in said
        for name, found in judge_assumptions(claim, values, ops).items():
            if found.status == "violated" and (name not in broken or -found.slack > broken[name][1]):
                broken[name] = (label, -found.slack)
    note = "" if instances else "no instance in these features satisfies its shape"
    return Measurement(claim.id, instances, violations, worst, broken, note, undecided)
