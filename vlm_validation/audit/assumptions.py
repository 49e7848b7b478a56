"""Which theorem's assumptions held in a transition, by how much they failed, and what is then not available."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import lowered
from ..scores import score_matrices
from .curvature import Curvature
from .drift import Drift
from .ledger import Ledger
from .run import Run


@dataclass(frozen=True)
class Check:
    """One assumption.

    Attributes:
        theorem: claim id.
        assumption: in words.
        measured, limit: the number, and what it must not exceed.
        means: what holds, or what is not available.
    """

    theorem: str
    assumption: str
    measured: float
    limit: float
    means: str

    @property
    def holds(self) -> bool:
        return self.measured <= self.limit

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


def checks(run: Run, before: int, after: int, moved: Drift, books: list[Ledger], bends: list[Curvature]) -> list[Check]:
    """All of a transition; limits come from the theorems, and where a theorem is quantitative from its own terms."""
    out = [units(run, after)]
    out.append(Check("T1.7", "the encoder is frozen: no feature moves", max(max(m.image_most, m.text_most) for m in moved.movements), 0.0,
                     "the CLIP loss and CLV cannot change (T1.7, T2.6)"))  # fmt: skip
    out += smooth(run, after, books)
    out += linear(books)
    steps = [b for b in books if b.loss == "CE"]
    if steps:
        least = min(b.facts["explained"] for b in steps)
        out.append(Check("T1.2", "the head's move is one gradient step on the environment learnt: share of |dW|^2 not along it", 1 - least,
                         1e-6, "the split by K(s,t) is that of a step; the rest stands under 'other directions'"))  # fmt: skip
        eta = max(abs(b.facts["eta"]) for b in steps)
        top = max(
            b.softmax_bound for b in bends
        )  # along the whole step; the curvature at one head would certify nothing
        out.append(Check("T3.11", "a step of the size fitted does not stretch: eta times the curvature's certified bound", eta * top, 2.0,
                         "a step of that size keeps T3.11's bound; eta is a fit where the move is not one step"))  # fmt: skip
        outside = sum(len(b.outside()) for b in books)
        out.append(
            Check(
                "T1.2",
                "entries outside the bounds their theorems give",
                float(outside),
                0.0,
                "the ledger and the theorems agree",
            )
        )
    return out


def units(run: Run, stage: int) -> Check:
    f = run.stages[stage]
    off = max(float(np.abs(np.linalg.norm(x.astype(np.float64), axis=1) - 1).max()) for x in (f.image, f.text))
    return Check(
        "S6",
        "features have unit length: largest deviation",
        off,
        1e-6,
        "|dCon_IT| <= e_I + e_T; else the sharp form, with the norms",
    )


def smooth(run: Run, stage: int, books: list[Ledger]) -> list[Check]:
    """T1.4: within e of constants the cross-modal scores drive the drift; they cannot where e outweighs them."""
    con = score_matrices(run.stages[stage])
    T = len(run.environments)
    off = ~np.eye(T, dtype=bool)
    if T < 2:
        return []
    e = max(float(np.ptp(con[key][off])) / 2 for key in ("II", "TT"))
    spread = float(np.ptp((con["IT"] + con["TI"])[off])) / 2
    zero = dict.fromkeys(("drift", "c_I", "c_T", "Con_TI", "B", "g_t2", "D_size", "e"), 0.0)
    one = {"eta": 1.0, "rho": 1.0, "rho_size": 1.0, "p": run.p, "q": run.q}
    explained = (
        lowered.left("T1.4", "linear", **only("lhs", zero | one | {"Con_IT": spread})) if run.fusion == "sum" else 0.0
    )
    limit = explained / lowered.right("T1.4", "linear", **only("rhs", zero | one | {"e": 1.0}))
    return [Check("T1.4", "Environment Smooth Transition: e against what the cross-modal scores can explain", e, limit,
                  "differences of the drift follow Con_IT + Con_TI")]  # fmt: skip


def only(side: str, values: dict[str, float]) -> dict[str, float]:
    """The values that a side of T1.4 speaks of."""
    named = {str(s) for s in getattr(lowered.relation("T1.4", "linear"), side).free_symbols}
    return {name: x for name, x in values.items() if name in named}


def linear(books: list[Ledger]) -> list[Check]:
    """T1.5: the change that is linear in the scores must outweigh the rest for a linear reading; tenfold is our convention."""
    found = [b for b in books if b.loss.startswith("CLIP")]
    rest = max((abs(b.entries["beyond the linear reading"]) for b in found), default=0.0)
    read = max((abs(b.entries["all pairs"] + b.entries["matched pairs"]) for b in found), default=0.0)
    return [Check("T1.5", "the CLIP loss is linear in the scores: change beyond the linear reading, against a tenth of it", rest, read / 10,
                  "the CLIP drift may be read off the scores")]  # fmt: skip
