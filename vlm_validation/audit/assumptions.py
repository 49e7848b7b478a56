"""Which theorem's assumptions held in a transition, by how much they failed, and what is then not available."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...theory import registry
from .. import lowered
from ..scores import score_matrices
from .contrastive import DIRECTIONS
from .curvature import Curvature
from .drift import Drift
from .ledger import Ledger
from .run import Run

UNIT = 1e-6  # of a norm; float32 rounds unit vectors to 1e-7


@dataclass(frozen=True)
class Check:
    """One assumption.

    Attributes:
        theorem: claim id.
        assumption: in words.
        measured, limit: the number, and what it must not exceed.
        gives: what holds with it.
        without: what is left, or not available, where it fails.
    """

    theorem: str
    assumption: str
    measured: float
    limit: float
    gives: str
    without: str

    @property
    def holds(self) -> bool:
        return self.measured <= self.limit

    @property
    def means(self) -> str:
        return self.gives if self.holds else self.without

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


def checks(run: Run, before: int, after: int, moved: Drift, books: list[Ledger], bends: list[Curvature]) -> list[Check]:
    """All of a transition; limits come from the theorems, and where a theorem is quantitative from its own terms."""
    smoothness = smooth(run, after) if run.heads else []
    out = [units(run, before, after), frozen(moved), *smoothness, linear(books)]
    steps = [b for b in books if b.loss == "CE"]
    if steps:
        out.append(gradient_step(steps))
        out.append(stable(steps, next(b for b in bends if b.environment == run.name(run.order[before]))))
    outside = sum(len(b.outside()) for b in books)
    out.append(Check("T1, T3.1", "ledger entries outside the bounds of their theorems", float(outside), 0.0,
                     "the ledger and the theorems agree", "an error of this software, or numbers beyond rounding: please report it"))  # fmt: skip
    return out


def units(run: Run, before: int, after: int) -> Check:
    sides = (x for k in (before, after) for x in (run.stages[k].image, run.stages[k].text))
    off = max(float(np.abs(np.linalg.norm(x.astype(np.float64), axis=1) - 1).max()) for x in sides)
    return Check("S6", "features have unit length: largest deviation", off, UNIT, "scores change by at most e_I + e_T",
                 "the sharp bound of S6 holds, which takes the lengths")  # fmt: skip


def frozen(moved: Drift) -> Check:
    most = max(max(m.image_most, m.text_most) for m in moved.movements)
    return Check("T1.7", "the encoder is frozen: largest distance a feature moved", most, 0.0, "the CLIP loss and CLV cannot change (T1.7, T2.6)",
                 "the CLIP loss and CLV change with the encoder, as the ledgers say")  # fmt: skip


def smooth(run: Run, after: int) -> list[Check]:
    """T1.4: within e of constants the cross-modal scores can drive the drift of a head's step; they cannot where e outweighs them."""
    con = score_matrices(run.stages[after])
    T = len(run.environments)
    if T < 3:  # of two, the scores both ways are the same, and nothing differs
        return []
    off = ~np.eye(T, dtype=bool)
    e = max(float(np.ptp(con[key][off])) / 2 for key in ("II", "TT"))
    spread = float(np.ptp((con["IT"] + con["TI"])[off])) / 2
    zero = dict.fromkeys(("drift", "c_I", "c_T", "Con_TI", "B", "g_t2", "D_size", "e"), 0.0)
    one = {"eta": 1.0, "rho": 1.0, "rho_size": 1.0, "p": run.p, "q": run.q}
    explained = (
        lowered.left("T1.4", "linear", **only("lhs", zero | one | {"Con_IT": spread})) if run.fusion == "sum" else 0.0
    )
    limit = explained / lowered.right("T1.4", "linear", **only("rhs", zero | one | {"e": 1.0}))
    why = "" if run.fusion == "sum" else f" (none: fusion {run.fusion} has no cross-modal term, T1.1)"
    return [Check("T1.4", f"Environment Smooth Transition: e, against what the cross-modal scores can explain{why}", e, limit,
                  "Con_IT + Con_TI can rank the drifts, as far as rho is the same for all and covariances and curvature are small", "intra-modal scores differ too much to rank drifts by Con_IT + Con_TI")]  # fmt: skip


def only(side: str, values: dict[str, float]) -> dict[str, float]:
    """The values that a side of T1.4 speaks of."""
    named = {str(s) for s in getattr(registry.relation("T1.4", "linear"), side).free_symbols}
    return {name: x for name, x in values.items() if name in named}


def linear(books: list[Ledger]) -> Check:
    """T1.5: the change that is linear in the scores must outweigh the rest for a linear reading; tenfold is our convention."""
    pairs = (
        (abs(b.entries["beyond the linear reading"]), abs(b.entries["all pairs"] + b.entries["matched pairs"]) / 10)
        for b in books if b.loss in DIRECTIONS
    )  # fmt: skip
    rest, tenth = max(pairs, key=lambda pair: pair[0] - pair[1])  # each ledger by itself: a large one excuses no other
    return Check("T1.5", "the CLIP loss is linear in the scores: change beyond the linear reading, against a tenth of it, where it is worst", rest, tenth,
                 "the CLIP drift may be read off the scores", "read the CLIP drift off the ledger, not off the scores; a smaller tau helps")  # fmt: skip


def gradient_step(steps: list[Ledger]) -> Check:
    facts = steps[0].facts  # of the environment learnt, the same in all ledgers
    uphill = facts["eta"] < 0
    return Check("T1.2", "the head's move is one gradient step on the environment learnt: share of |dW|^2 not along it", 1.0 if uphill else 1 - facts["explained"],
                 1e-6, "the split by K(s,t) is that of the step",
                 "the head moved up its gradient, by a step of negative size; is the order right?" if uphill
                 else "what is not along the gradient stands under 'step, other directions'; audit more stages")  # fmt: skip


def stable(steps: list[Ledger], learnt: Curvature) -> Check:
    """T3.11 asks it of the environment that is stepped on, at every head; so does the bound taken."""
    eta = steps[0].facts["eta"]
    return Check("T3.11", "a step of the size fitted does not stretch: |1 - eta times the curvature's bound|", abs(1 - eta * learnt.everywhere), 1.0,
                 "a step of that size keeps T3.11's bound", "eta sums up many steps, is one that is too long, or is negative; T3.11 asks it of every single one")  # fmt: skip
