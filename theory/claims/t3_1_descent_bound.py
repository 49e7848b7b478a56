"""T3.1: forgetting of one environment is bounded by its own gradient and curvature along the later movement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Rational

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square
from ..trust import TAYLOR

forgetting, slope, curvature, lip = scalars("F slope h Lambda")
move, bent = vectors("D HD")

STATEMENT = Statement(
    text="F_s = L_s(w_T) - L_s(w_s) <= <grad L_s(w_s), D> + Lambda/2 |D|^2 with D = w_T - w_s and Lambda a bound of the Hessian along the "
    "segment; for a quadratic loss F_s is exactly <grad, D> + <D, H D>/2, and the bound with Lambda the largest eigenvalue of H is attained along the "
    "eigenvectors of that eigenvalue.",
    relations=(
        Relation("expansion", forgetting, "==", slope + Inner(move, bent) / 2),
        Relation("bound", forgetting, "<=", slope + lip * norm2(move) / 2),
    ),
    assumptions=(
        Assumption("curvature", "Lambda bounds the Hessian: <D, H D> <= Lambda |D|^2", (Relation("", Inner(move, bent), "<=", lip * norm2(move)),)),
        Assumption("taylor", "F = <grad, D> + h/2, with h = <D, H D> for the Hessian H somewhere on the segment (everywhere the same for a quadratic)", (
            Relation("", forgetting, "==", slope + curvature / 2), Relation("", curvature, "==", Inner(move, bent))), True),
    ),
    symbols={"F": "forgetting F_s", "slope": "<grad L_s(w_s), D>", "h": "<D, H D>", "Lambda": "bound of the Hessian's eigenvalues",
             "D": "w_T - w_s", "HD": "H D"},
)  # fmt: skip


def derive(p: Proof) -> None:
    p.ideal(
        "expansion",
        using=["taylor.1", "taylor.2"],
        eliminate=[forgetting, curvature],
        text="Taylor's theorem to second order",
    )
    p.positive("bound", terms=[square(facts=["curvature"], coef=Rational(1, 2))], using=["expansion"], eliminate=[forgetting],
               text="bound the curvature")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows, before, after, target = x["Z"], ops.T(x["w"]), ops.T(x["w_end"]), x["y"]
    share = ops.ratio(1, ops.rows(rows))

    def loss(head: Any) -> Any:
        return ops.total_square(rows @ head - target) * share * ops.ratio(1, 2)

    gradient = ops.T(rows) @ (rows @ before - target) * share
    shift = after - before
    hessian = ops.T(rows) @ rows * share
    bound = x["Lambda"] if "Lambda" in x else ops.trace(hessian)  # the trace bounds every eigenvalue of a Gram matrix
    return {
        "F": loss(after) - loss(before), "slope": ops.T(gradient) @ shift, "h": ops.T(shift) @ hessian @ shift, "Lambda": bound,
        "D": ops.T(shift), "HD": ops.T(hessian @ shift),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        rows = view.image(s)
        label = view.onehot(s)[..., :1]
        yield f"class 0 of {view.name(s)}: from its mean feature to that of {view.name(t)}", {
            "Z": rows, "y": label, "w": view.mean(rows), "w_end": view.mean(view.image(t)),
        }  # fmt: skip


CLAIM = Claim(
    id="T3.1",
    title="Forgetting is bounded by gradient and curvature",
    family="forgetting and order",
    source="descent lemma; arXiv 2606.14883 bounds forgetting by the environment's own Hessian",
    paper="Forgetting is bounded by the environment's own Hessian.",
    statement=STATEMENT,
    inputs=(Input("Z", "unit_rows", "N", "d"), Input("w", "rows", "1", "d"), Input("w_end", "rows", "1", "d"), Input("y", "column", "N")),
    bind=bind,
    derive=derive,
    trust=(TAYLOR,),
    tight=(
        Instance({"Z": unit([1, 0]), "w": unit([0, 0]), "w_end": unit([2, 0]), "y": [[0]]}, "along the top eigenvector", "bound"),
    ),
    necessity={
        "curvature": Instance({"Z": unit([1, 0]), "w": unit([0, 0]), "w_end": unit([2, 0]), "y": [[0]], "Lambda": [["1/2"]]},
                              "Lambda below the top eigenvalue", "bound"),
    },
    on_features=on_features,
    notes=("For a quadratic loss nothing is cited: the expansion is exact. Taylor's theorem is needed for other smooth losses.",),
)  # fmt: skip
