"""The change of one loss of one environment in one transition, as a ledger that adds up.

Every entry is computed on its own; none is what the others leave over.  So the closing error, the change less the sum of the
entries, is rounding, and it is shown.  `cross_entropy.py` and `contrastive.py` fill the ledgers; here they are added to a total.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import lowered


@dataclass(frozen=True)
class Ledger:
    """One loss of one environment in one transition.

    Attributes:
        environment, loss: names.
        before, after: the loss, in nats.
        entries: name -> nats, each computed on its own.
        bounds: name of an entry or a fact -> (low, high) that a theorem gives.
        facts: what the entries were computed from (eta, rho, share of the step explained, ...).
    """

    environment: str
    loss: str
    before: float
    after: float
    entries: Mapping[str, float]
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def closing(self) -> float:
        """The change less the exactly rounded sum of the entries."""
        return math.fsum((self.after, -self.before, *(-x for x in self.entries.values())))

    def outside(self) -> list[str]:
        """Entries and facts outside their bounds by more than rounding."""
        slack = 1e-9 * max(1.0, abs(self.before), abs(self.after))
        found = {**self.facts, **self.entries}
        return [k for k, (low, high) in self.bounds.items() if not low - slack <= found[k] <= high + slack]

    def to_dict(self) -> dict[str, Any]:
        return {
            "environment": self.environment, "loss": self.loss, "before": self.before, "after": self.after, "change": self.change,
            "entries": dict(self.entries), "bounds": {k: list(v) for k, v in self.bounds.items()}, "facts": dict(self.facts),
            "closing": self.closing,
        }  # fmt: skip


def total(weight: float, ce: Ledger | None, clip: tuple[Ledger, Ledger]) -> Ledger:
    """CE + lambda CLIP, and the lambda at which the change would be of the other sign (T1.6).

    Args:
        weight: lambda.
        clip: both directions; the CLIP loss is their mean.
    """
    contrast = math.fsum(x.change for x in clip) / len(clip)
    entries = {"CE": ce.change} if ce is not None else {}
    entries["lambda CLIP"] = weight * contrast
    losses = [(ce.before, ce.after)] if ce is not None else []
    losses += [(weight * x.before / len(clip), weight * x.after / len(clip)) for x in clip]
    facts = {}
    if ce is not None and ce.change * contrast < 0:
        facts["lambda_star"] = lowered.right("T1.6", "threshold", D_CE=ce.change, D_CLIP=contrast)
    before, after = (math.fsum(x[k] for x in losses) for k in (0, 1))
    return Ledger(clip[0].environment, "total", before, after, entries, {}, facts)
