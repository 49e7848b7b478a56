"""P4: the paper: the optimal mask comes from scaling the scores.  The identity p^2 holds; optimality does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Max

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars

g1, g2, h1, h2, scaled = scalars("g_1 g_2 h_1 h_2 scaled")

STATEMENT = Statement(
    text="A mask proportional to (positive) contribution scores keeps at least as much aligned gradient as the best binary mask: "
    "sum g_i h_i >= sum max(g_i h_i, 0).",
    relations=(Relation("optimal", Max(g1 * h1, 0) + Max(g2 * h2, 0), "<=", scaled),),
    assumptions=(Assumption("positive", "scores are positive, so the scaled mask keeps every coordinate"),),
    symbols={
        "g_1": "gradient on s, coordinate 1",
        "h_1": "gradient on t, coordinate 1",
        "scaled": "objective of the mask that keeps both",
    },
)


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    out = {f"{a}_{k + 1}": ops.entry(x[a], 0, k) for a in "gh" for k in range(2)}
    return {**out, "scaled": x["g"] @ ops.T(x["h"])}


CLAIM = Claim(
    id="P4",
    title="The optimal mask is a scaling of the scores",
    family="the paper's claims",
    source="arXiv 2606.14883, contribution balance factor",
    paper="The optimal binary gradient mask is obtained by scaling the cross-modal scores; the objective becomes p^2.",
    statement=STATEMENT,
    inputs=(Input("g", "rows", "1", "2"), Input("h", "rows", "1", "2")),
    bind=bind,
    witness=Instance({"g": [[1, 1]], "h": [[1, -1]]}, "one coordinate helps, the other hurts: the best mask keeps 1, the scaled one 0"),
    tight_note="refuted",
    necessity_note="refuted with the assumption in force",
    features_note="a statement about gradients; see T2.1",
    verdict="REFUTED",
    notes=("What holds: with P = p Con^(-1/2) the objective is p^2 exactly (T2.3); the optimal binary mask is 1[g_i h_i > 0] (T2.1), and it "
           "equals the scaled one exactly when no product is negative.",),
)  # fmt: skip
