"""T1.4: the drift of the loss against its linear prediction from the scores, within the certified remainder."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import sympy
import torch

from ...synthetic.arithmetic import arithmetic
from ...synthetic.evaluate import bound_values, value
from ...theory import registry
from ...theory.claim import Claim
from ...vlm_validation.scores import score_matrices
from ...vlm_validation.view import FeaturesView
from .. import style
from ..results import Data, provenance

ETA, P, Q = 0.1, 0.5, 0.5
PARTS = {"e": "uni-modal scores vary", "D_size": "means do not explain", "B": "curvature"}  # a symbol of each summand
CAPTION = (
    "Loss drift against its linear prediction from the cross-modal scores (T1.4), for {pairs} transitions between environments of the "
    "features: a linear head on fused features ($p$ = {p:g}, $q$ = {q:g}, squared loss) set to the class texts of $s$ takes one gradient step of "
    "size {eta:g} on $t$.  Left: change of the loss of $s$; bars: the certified remainder; line: equality.  Bars that "
    "do not reach it: {outside}.  The prediction has the right sign in {signs} cases; Pearson correlation {pearson:.2f}.  Right: the three "
    "parts of the remainder as multiples of the median absolute drift (boxes: quartiles over transitions).  The transition's parameter $e$ is at "
    "most {epsilon:.3f}, with reference values in the middle of the range of the uni-modal scores."
)


def compute(features: Any, seed: int) -> Data:
    """Both sides of the claim's relation on every transition; nothing is random here."""
    features.require_environments(2, "a transition leads from one to another")
    ops = arithmetic("plain")
    claim = registry.get("T1.4")
    view = FeaturesView(features)
    references = middle(features)
    rows = []
    for s, t in permutations(view.environments, 2):
        values = bound_values(claim, transition(view, s, t, references), ops)
        predicted, remainder, parts = two_sides(claim, values, ops)
        rows.append([float(values["drift"]), predicted, remainder, *parts, float(values["e"])])
    drift, predicted, remainder, *parts, epsilon = np.array(rows).T
    return Data(
        values={
            "drift": drift, "predicted": predicted, "remainder": remainder, "parts": np.array(parts), "part_names": list(PARTS.values()),
            "pairs": len(drift), "outside": int((np.abs(drift - predicted) > remainder).sum()),
            "signs": f"{int((np.sign(drift) == np.sign(predicted)).sum())} of {len(drift)}", "eta": ETA, "p": P, "q": Q,
            "pearson": float(np.corrcoef(drift, predicted)[0, 1]) if len(drift) > 2 else float("nan"), "epsilon": float(epsilon.max()),
        },
        provenance=provenance(("T1.4",), features, seed),
    )  # fmt: skip


def middle(features: Any) -> dict[str, float]:
    """Reference values c_I and c_T that make the transition's parameter least: the middle of the range of the scores."""
    con = score_matrices(features)
    off = ~np.eye(len(con["II"]), dtype=bool)
    return {
        name: float((con[key][off].min() + con[key][off].max()) / 2) for name, key in (("c_I", "II"), ("c_T", "TT"))
    }


def transition(view: Any, s: int, t: int, references: dict[str, float]) -> dict[str, Any]:
    """The claim's inputs for a step from s to t."""
    numbers = {"p": P, "q": Q, "eta": ETA, "slack": 1.0, **references}
    inputs = {k: torch.full((1, 1), x, dtype=torch.float64) for k, x in numbers.items()}
    for name, env in (("s", s), ("t", t)):
        inputs |= {f"U_{name}": view.image(env).mid, f"V_{name}": view.text(env).mid, f"Y_{name}": view.onehot(env).mid}
    return inputs | {"W": view.class_texts(s).mid}


def two_sides(claim: Claim, values: Any, ops: Any) -> tuple[float, float, list[float]]:
    """Prediction, remainder and its parts, from the relation ``|drift - prediction| <= sum of three``."""
    (relation,) = claim.statement.relations
    inside = sympy.expand(sympy.sympify(relation.lhs).args[0])
    drift = next(x for x in inside.free_symbols if str(x) == "drift")
    prediction = drift - inside * inside.coeff(drift)  # the coefficient is 1 or -1
    summands = sympy.Add.make_args(sympy.expand(relation.rhs))
    parts = [
        sum(float(value(x, values, ops)) for x in summands if symbol in {str(f) for f in x.free_symbols})
        for symbol in PARTS
    ]
    return float(value(sympy.expand(prediction), values, ops)), float(value(relation.rhs, values, ops)), parts


def draw(data: Data) -> Any:
    figure, (left, right) = style.canvas(style.TEXT, 2.5, 1, 2, width_ratios=(1.25, 1))
    left.errorbar(
        data["predicted"],
        data["drift"],
        yerr=data["remainder"],
        fmt="o",
        color=style.BLUE,
        ecolor=style.SKY,
        elinewidth=0.8,
    )
    left.axline((0, 0), slope=1, color=style.GREY, linestyle="--", linewidth=0.8)
    left.axhline(0, color=style.GREY, linewidth=0.4)
    left.locator_params(axis="x", nbins=6)  # such small numbers are long, and more of them would touch
    left.set_xlabel("linear prediction from the scores")
    left.set_ylabel("drift of the loss of $s$")
    share = data["parts"] / np.median(np.abs(data["drift"]))
    y = np.arange(len(share))
    low, mid, high = np.quantile(share, (0.25, 0.5, 0.75), axis=1)
    right.barh(y, high - low, left=low, height=0.45, color=style.SKY, alpha=0.8)
    right.plot(mid, y, "|", color=style.BLUE, markersize=11, markeredgewidth=1.4)
    right.axvline(1, color=style.GREY, linestyle="--", linewidth=0.8)
    right.set_yticks(y, [name.replace(" ", "\n", 1) for name in data["part_names"]])
    right.set_ylim(len(y) - 0.5, -0.5)
    right.set_xlim(left=0)
    right.set_xlabel("part of the remainder / median |drift|")
    right.tick_params(axis="y", length=0)
    return figure
