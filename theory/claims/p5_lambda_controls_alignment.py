"""P5: the paper: lambda raises the alignment CLV.  It lowers the contrastive loss (T2.4); CLV itself can fall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars, unit

clv_1, clv_2, b_1, b_2, a_1, a_2, l_1, l_2 = scalars("CLV_1 CLV_2 B_1 B_2 A_1 A_2 lambda_1 lambda_2")

STATEMENT = Statement(
    text="If model 1 minimises A + lambda_1 B and model 2 minimises A + lambda_2 B with lambda_1 < lambda_2, where A is the task loss and "
    "B = Cbar - CLV the (linear reading of the) contrastive loss, then CLV_1 <= CLV_2.",
    relations=(Relation("monotone", clv_1, "<=", clv_2),),
    assumptions=(
        Assumption("larger", "lambda_1 < lambda_2", (Relation("", l_1, "<", l_2),)),
        Assumption(
            "first", "model 1 is at least as good at lambda_1", (Relation("", a_1 + l_1 * b_1, "<=", a_2 + l_1 * b_2),)
        ),
        Assumption(
            "second", "model 2 is at least as good at lambda_2", (Relation("", a_2 + l_2 * b_2, "<=", a_1 + l_2 * b_1),)
        ),
    ),
    symbols={
        "A_1": "task loss of model 1",
        "B_1": "mean over all pairs less mean over matched pairs",
        "CLV_1": "alignment of model 1",
    },
)


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    out: dict[str, Any] = {"A_1": x["A_1"], "A_2": x["A_2"], "lambda_1": x["lambda_1"], "lambda_2": x["lambda_2"]}
    for k in "12":
        pairs = x[f"U_{k}"] @ ops.T(x[f"V_{k}"])
        out[f"CLV_{k}"] = ops.mean_entry(ops.diagonal(pairs))
        out[f"B_{k}"] = ops.mean_entry(pairs) - out[f"CLV_{k}"]
    return out


CLAIM = Claim(
    id="P5",
    title="lambda controls the alignment monotonically",
    family="the paper's claims",
    source="arXiv 2606.14883, second theorem",
    paper="lambda controls CLV(t) monotonically when the encoder adapts, and not at all when it is frozen.",
    statement=STATEMENT,
    inputs=(*(Input(f"{a}_{k}", "unit_rows", "N", "d") for k in "12" for a in "UV"),
            *(Input(name, "real", low="0") for name in ("A_1", "A_2", "lambda_1", "lambda_2"))),
    bind=bind,
    witness=Instance(
        {"U_1": unit([1, 0], [1, 0]), "V_1": unit([1, 0], [1, 0]), "U_2": unit([1, 0], [0, 1]), "V_2": unit(["4/5", "3/5"], ["3/5", "4/5"]),
         "A_1": [[0]], "A_2": [["1/20"]], "lambda_1": [[0]], "lambda_2": [[1]]},
        "collapsed features have CLV = 1; the larger lambda prefers spread ones with CLV = 4/5",
    ),
    tight_note="refuted",
    necessity_note="refuted with all assumptions in force",
    features_note="a statement about minimisers of two trainings; see T2.4",
    verdict="REFUTED",
    notes=("What holds: B, this or the contrastive loss itself, is monotone in lambda for any minimisers (T2.4); with this B, CLV does not fall "
           "where Cbar does not fall faster than B.  With a frozen encoder nothing moves (T2.6): that half is proved there.",),
)  # fmt: skip
