"""P4: the paper: the optimal mask comes from scaling the scores.  The identity p^2 holds; optimality does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Max

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars

g1, g2, h1, h2, scaled = scalars("g_1 g_2 h_1 h_2 scaled")
c1, c2, scale = scalars("c_1 c_2 s")

STATEMENT = Statement(
    text="A mask proportional to (positive) contribution scores, P_i = s c_i <= 1, keeps at least as much aligned gradient as the best binary mask: "
    "sum P_i g_i h_i >= sum max(g_i h_i, 0).",
    relations=(Relation("optimal", Max(g1 * h1, 0) + Max(g2 * h2, 0), "<=", scaled),),
    assumptions=(
        Assumption("positive", "scores and their scale are positive, so the scaled mask keeps something of every coordinate", tuple(
            Relation("", 0, "<", x) for x in (c1, c2, scale))),
        Assumption("mask", "entries of a mask are at most 1", (Relation("", scale * c1, "<=", 1), Relation("", scale * c2, "<=", 1))),
        Assumption("objective", "what the scaled mask keeps", (Relation("", scaled, "==", scale * (c1 * g1 * h1 + c2 * g2 * h2)),), True),
    ),
    symbols={
        "g_1": "gradient on s, coordinate 1",
        "h_1": "gradient on t, coordinate 1",
        "scaled": "objective of the mask that is proportional to the scores",
        "c_1": "score of coordinate 1",
        "s": "scale of the mask",
    },
)  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    out = {f"{a}_{k + 1}": ops.entry(x[a], 0, k) for a in "gh" for k in range(2)}
    mask = [x["s"] * x["c_1"], x["s"] * x["c_2"]]
    kept = mask[0] * (out["g_1"] * out["h_1"]) + mask[1] * (out["g_2"] * out["h_2"])
    return {**out, "scaled": kept, **{name: x[name] for name in ("c_1", "c_2", "s")}}


CLAIM = Claim(
    id="P4",
    title="The optimal mask is a scaling of the scores",
    family="the paper's claims",
    source="arXiv 2606.14883, contribution balance factor",
    paper="The optimal binary gradient mask is obtained by scaling the cross-modal scores; the objective becomes p^2.",
    statement=STATEMENT,
    inputs=(Input("g", "rows", "1", "2"), Input("h", "rows", "1", "2"), *(Input(name, "real", low="0") for name in ("c_1", "c_2", "s"))),
    bind=bind,
    witness=Instance({"g": [[1, 1]], "h": [[1, -1]], "c_1": [["1/2"]], "c_2": [["1/4"]], "s": [[2]]},
                     "one coordinate helps, the other hurts: the best mask keeps 1, the scaled one 1/2"),
    tight_note="refuted",
    necessity_note="refuted with all assumptions in force",
    features_note="a statement about gradients; see T2.1",
    verdict="REFUTED",
    notes=("What holds: with P = p Con^(-1/2) the objective is p^2 exactly (T2.3); the optimal binary mask is 1[g_i h_i > 0] (T2.1), and a "
           "scaled one keeps as much, for the best scale, exactly when no product is negative and every positive one has the largest score: what a mask gives "
           "away is W of T2.1 (`short`), here the sum of (1 - s c_i) max(g_i h_i, 0) - s c_i min(g_i h_i, 0).",
           "On the witness's gradients no positive scores and no scale keep as much: s c_1 - s c_2 < 1, for s c_1 <= 1 and s c_2 > 0.  "
           "Nor does P = p Con^(-1/2), coordinate by coordinate, with whatever positive p: it has 1/sqrt(Con) for the score, and where it exceeds 1 it is no mask."),
)  # fmt: skip
