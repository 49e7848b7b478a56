"""All ledgers of a transition."""

from __future__ import annotations

from .contrastive import contrastive
from .cross_entropy import cross_entropy
from .ledger import Ledger, total
from .run import Run


def ledgers(run: Run, before: int, after: int, environment: int) -> list[Ledger]:
    """Of one environment: cross-entropy where there are heads, the CLIP loss in both directions, and the total."""
    clip = contrastive(run, before, after, environment)
    ce = cross_entropy(run, before, after, environment) if run.heads else None
    return [*([ce] if ce is not None else []), *clip, total(run.weight, ce, clip)]
