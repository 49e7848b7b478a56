"""T2.3: the contribution-normalised mask gives the objective p^2 exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import sqrt

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars
from ..proof import Proof

mask, weight, con = scalars("P p Con")

STATEMENT = Statement(
    text="With P = p Con^(-1/2), Con > 0, the objective P^2 Con is p^2 exactly: normalising by the score removes it from the objective.",
    relations=(Relation("objective", mask**2 * con, "==", weight**2),),
    assumptions=(Assumption("normalised", "P sqrt(Con) = p", (Relation("", mask * sqrt(con), "==", weight),)),),
    symbols={"P": "normalised mask", "p": "weight", "Con": "contribution score, positive"},
)


def derive(p: Proof) -> None:
    root = p.replaced[con]
    p.ideal(
        "objective",
        using=[(f"{root}.square", mask**2), "normalised"],
        eliminate=[weight, con],
        text="square P sqrt(Con) = p",
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    root = x["root"] if "root" in x else ops.sqrt(ops.total_square(x["u"]))  # exact models have a root at hand
    return {"P": x["P"] if "P" in x else x["p"] * ops.reciprocal(root), "p": x["p"], "Con": root * root}


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for t in view.environments:  # a score that is positive whatever the features
        yield f"Con_II of {view.name(t)} with itself", {"p": [["1/2"]], "u": view.mean(view.image(t))}


CLAIM = Claim(
    id="T2.3",
    title="The normalised mask has objective p^2",
    family="contribution balance",
    source="arXiv 2606.14883, contribution balance factor",
    paper="The objective becomes p^2.",
    statement=STATEMENT,
    inputs=(Input("p", "real"), Input("root", "real", low="1/10")),
    bind=bind,
    derive=derive,
    tight_note="an identity",
    necessity={"normalised": Instance({"p": [[1]], "root": [["1/2"]], "P": [[1]]}, "an unnormalised mask")},
    on_features=on_features,
    notes=("It is no optimality statement: the optimal binary mask is T2.1.",),
)
