"""What was forgotten of every environment since it was learnt, by term, and what helps against the largest.

F_s is the loss at the end less the loss just after s was learnt (T3): the sum of the ledgers of the later transitions, entry by entry.
With heads the loss is the cross-entropy, without them the CLIP loss, both directions averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .ledger import Ledger

ADVICE = {  # term -> what it says, and what to try
    "encoder, image": "moving image features under the old head cost it: freeze or slow the image tower, or distil old image features",
    "encoder, text": "moving text features under the old head cost it: freeze or slow the text tower, or distil old text features",
    "step, image-image": "its mean image is not orthogonal to those of later environments (Con_II), whose steps push its logits: replay it, or project gradients off its mean",
    "step, image-text": "its mean image is not orthogonal to the mean texts of later environments (Con_IT): replay it, or lower p q",
    "step, text-image": "its mean text is not orthogonal to the mean images of later environments (Con_TI): replay it, or lower p q",
    "step, text-text": "its mean text is not orthogonal to those of later environments (Con_TT), whose steps push its logits: replay it, or project gradients off its mean",
    "step, bias": "the bias drifts to the classes of later environments: fix the bias, or balance the classes by replay",
    "step, covariances": "samples, not means, couple it to later environments: contribution scores do not predict this; replay its samples",
    "step, other directions": "the head moved along no single gradient (many steps, momentum): store more stages to split this further",
    "curvature": "later steps of the head were long: lower the step size, take fewer steps, or anchor the head",
    "all pairs": "its images and texts drew near each other as a whole (Con_IT of itself): keep negatives of it in the batches",
    "matched pairs": "its matched pairs came apart (CLV fell): replay its pairs in the CLIP loss, or slow the encoder",
    "beyond the linear reading": "a few hard pairs dominate at this tau: look at its nearest wrong pairs, or lower tau",
}  # fmt: skip


@dataclass(frozen=True)
class Forgetting:
    """One environment from the moment it was learnt to the end.

    Attributes:
        environment, loss: names.
        transitions: how many followed.
        forgotten: F_s, in nats; below zero it was improved by what followed.
        entries: term -> nats, which add up to it.
        largest: the term that added most; empty where none added anything.
        advice: what to try against that term; empty where nothing was forgotten.
    """

    environment: str
    loss: str
    transitions: int
    forgotten: float
    entries: dict[str, float]
    largest: str
    advice: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def forgetting(learnt: Sequence[str], books: Sequence[Sequence[Ledger]]) -> list[Forgetting]:
    """Every environment with a transition after the last in which it was learnt.

    Args:
        learnt: environment of every transition, in order.
        books: the ledgers of every transition.
    """
    last = {name: k for k, name in enumerate(learnt)}
    out = []
    for name, k in last.items():
        later = [[b for b in found if b.environment == name] for found in books[k + 1 :]]
        if later:
            out.append(since(name, later))
    return out


def since(name: str, later: list[list[Ledger]]) -> Forgetting:
    """Add up the ledgers of an environment."""
    heads = any(b.loss == "CE" for b in later[0])
    found = [b for books in later for b in books if (b.loss == "CE") == heads and b.loss != "total"]
    share = 1.0 if heads else 0.5  # the CLIP loss is the mean of both directions
    entries = {term: share * math.fsum(b.entries[term] for b in found) for term in found[0].entries}
    forgotten = share * math.fsum(x for b in found for x in (b.after, -b.before))
    largest = max(entries, key=lambda term: entries[term])
    largest = largest if entries[largest] > 0 else ""
    advice = ADVICE[largest] if forgotten > 0 and largest else ""
    return Forgetting(name, "CE" if heads else "CLIP", len(later), forgotten, entries, largest, advice)
