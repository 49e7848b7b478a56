"""P8: the paper: contribution-guided ordering reduces forgetting up to 1.74-fold.  A measurement, not a theorem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Max

from ..claim import Assumption, Claim, Statement
from ..language import Input, Relation, scalars

chosen, worst, best, other = scalars("F_chosen F_worst F_best F_other")

STATEMENT = Statement(
    text="The ratio worst/best over all orders bounds what any ordering rule can gain; whether the rule gains it is a question about data: "
    "F_chosen lies somewhere between F_best and F_worst.",
    relations=(Relation("range", chosen, "<=", Max(best, worst, other)),),
    assumptions=(Assumption("orders", "F_chosen is the forgetting of one of the orders"),),
    symbols={
        "F_chosen": "forgetting of the order the rule picks",
        "F_best": "least forgetting of all orders",
        "F_worst": "largest",
    },
)


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    values = [x["a"], x["b"], x["c"]]
    return {"F_chosen": values[1], "F_worst": values[0], "F_best": values[1], "F_other": values[2]}


CLAIM = Claim(
    id="P8",
    title="Contribution-guided ordering reduces forgetting 1.74-fold",
    family="the paper's claims",
    source="arXiv 2606.14883, ordering experiment",
    paper="Contribution-guided ordering reduces forgetting up to 1.74-fold.",
    statement=STATEMENT,
    inputs=tuple(Input(k, "real", low="0") for k in "abc"),
    bind=bind,
    tight_note="no bound is claimed",
    necessity_note="nothing to drop",
    features_note="needs trained heads for every order: an experiment, not an evaluation of a formula",
    verdict="UNDECIDED",
    notes=("1.74 is the published range over all orders, not the gain of the rule; P7 shows that the rule need not find the better end of the "
           "range.",),
)  # fmt: skip
