"""P6: the paper: forgetting is bounded by the own Hessian.  True once the environment was learnt to its minimum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Rational

from ..claim import Assumption, Claim, Fact, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square

forgetting, slope, lip = scalars("F slope Lambda")
move, bent = vectors("D HD")

STATEMENT = Statement(
    text="If the environment was learnt to its minimum, F_s <= Lambda/2 |D|^2 with D the later movement of the head and Lambda a bound of the "
    "environment's own Hessian.",
    relations=(Relation("bound", forgetting, "<=", lip * norm2(move) / 2),),
    assumptions=(
        Assumption(
            "minimum", "the gradient vanishes when the environment has been learnt", (Relation("", slope, "==", 0),)
        ),
        Assumption(
            "curvature",
            "Lambda bounds the Hessian: <D, H D> <= Lambda |D|^2",
            (Relation("", Inner(move, bent), "<=", lip * norm2(move)),),
        ),
        Assumption(
            "taylor",
            "F = <grad, D> + <D, H D>/2",
            (Relation("", forgetting, "==", slope + Inner(move, bent) / 2),),
            True,
        ),
    ),
    symbols={
        "F": "forgetting F_s",
        "slope": "<grad L_s(w_s), D>",
        "Lambda": "bound of the Hessian",
        "D": "w_T - w_s",
        "HD": "H D",
    },
)


def derive(p: Proof) -> None:
    p.positive("bound", terms=[square(facts=["curvature"], coef=Rational(1, 2))], using=["taylor", "minimum"], eliminate=[forgetting, slope],
               text="no first-order term; bound the curvature")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows, start = x["Z"], ops.T(x["w"])
    share = ops.ratio(1, ops.rows(rows))
    target = x["y"] if "y" in x else rows @ start  # learnt to its minimum: no residual
    after = start + ops.T(x["D"])
    hessian = ops.T(rows) @ rows * share

    def loss(head: Any) -> Any:
        return ops.total_square(rows @ head - target) * share * ops.ratio(1, 2)

    return {
        "F": loss(after) - loss(start), "slope": x["D"] @ (ops.T(rows) @ (rows @ start - target)) * share, "D": x["D"], "HD": x["D"] @ hessian,
        "Lambda": x["Lambda"] if "Lambda" in x else ops.trace(hessian),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        rows, here, there = view.span(view.image(s), view.mean(view.image(s)), view.mean(view.image(t)))
        yield f"{view.name(s)}, moved to the mean of {view.name(t)}", {"Z": rows, "w": here, "D": there - here}


ONE = {"Z": unit([1, 0]), "w": unit([0, 0]), "D": unit([2, 0])}

CLAIM = Claim(
    id="P6",
    title="Forgetting is bounded by the environment's own Hessian",
    family="the paper's claims",
    source="arXiv 2606.14883, third theorem",
    paper="Forgetting is bounded by the environment's own Hessian; the difference between two environments by the Hessian of the "
    "cross-modal contributions.",
    statement=STATEMENT,
    inputs=(Input("Z", "unit_rows", "N", "d"), Input("w", "rows", "1", "d"), Input("D", "rows", "1", "d")),
    bind=bind,
    derive=derive,
    trust=(Fact("Taylor", "Taylor's theorem with the remainder at an intermediate point", "Rudin, Principles of Mathematical Analysis, 5.15"),),
    tight=(Instance(ONE, "along the top eigenvector", "bound"),),
    necessity={
        "minimum": Instance({**ONE, "y": [[-1]]}, "stopped early: the gradient is not zero", "bound"),
        "curvature": Instance({**ONE, "Lambda": [["1/2"]]}, "Lambda below the top eigenvalue", "bound"),
    },
    on_features=on_features,
    notes=("Without the minimum the first-order term stays (T3.1); curvature by modality is T3.2, the difference of two environments T3.3.",),
)  # fmt: skip
