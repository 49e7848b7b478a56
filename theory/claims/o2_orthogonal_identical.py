"""O2: orthogonal and identical environments: no order dependence, no forgetting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Identity

from ..claim import Assumption, Claim, Statement
from ..language import BlockRecursion, Input, Instance, Relation, matrix, unit
from ..proof import Proof

P, Q = matrix("P", "d", "d"), matrix("Q", "d", "d")
Y, Z = matrix("Y", "d", "d"), matrix("Z", "d", "d")
W, R = matrix("W", "d", "d"), matrix("R", "d", "d")
eye = Identity(P.shape[0])

STATEMENT = Statement(
    text="If two neighbouring environments are orthogonal (P Q = 0), swapping them changes nothing, whatever was learnt before (Z) and after (Y).  An "
    "environment may also go past any number of environments that are orthogonal to it (R_1, R_2, .., which W learns in turn; among themselves they may be "
    "anything): so orders of pairwise orthogonal environments, of any number, all end alike.  Learning environments orthogonal to it, one or any number, leaves "
    "no residual on what was learnt before them, and neither does learning the same environment again.",
    relations=(
        Relation("swap", Y * (eye - P) * (eye - Q) * Z, "==", Y * (eye - Q) * (eye - P) * Z),
        Relation("keep", P * (eye - Q) * (eye - P), "==", 0 * P),
        Relation("again", P * (eye - P) * (eye - P), "==", 0 * P),
        Relation("past", (eye - P) * W, "==", W * (eye - P)),
        Relation("kept", P * W * (eye - P), "==", 0 * P),
    ),
    assumptions=(
        Assumption("projector", "P is an orthogonal projector", (Relation("", P * P, "==", P),)),
        Assumption("orthogonal", "the environments are orthogonal", (Relation("", P * Q, "==", 0 * P),)),
        Assumption("all_orthogonal", "so are all that W learns, to the first: P R = R P = 0", each=("right", "left")),
    ),
    symbols={
        "P": "projector on the features of s",
        "Q": "of t",
        "Z": "what was learnt before",
        "Y": "what is learnt after",
        "R": "projector on the features of one of many environments",
        "W": "what learning all of those does: the product of I - R, the last one in front",
    },
    symmetric=("P", "Q"),
    recursions={
        "many": BlockRecursion(
            dim="environments",
            by="1",
            grow={},
            start={W: eye},
            update={W: (eye - R) * W},
            fresh=(R,),
            given={"right": Relation("", P * R, "==", 0 * P), "left": Relation("", R * P, "==", 0 * P)},
        )
    },
)


def derive(p: Proof) -> None:
    p.free("swap", using=[("orthogonal", "P Q")], text="P Q = Q P = 0")
    p.free("keep", using=[("orthogonal", "P Q"), ("projector", "P P")], text="P Q = 0 and P (I - P) = 0")
    p.free("again", using=[("projector", "P P")], text="P (I - P) = 0")
    p.blocks(
        "unseen",
        [Relation("", P * W, "==", P), Relation("", W * P, "==", P)],
        recursion="many",
        text="by induction on the number of environments: P (I - R) = P = (I - R) P",
    )
    p.free("past", using=[("unseen.1", "P W"), ("unseen.2", "W P")], text="P W = P = W P")
    p.free("kept", using=[("unseen.1", "P W"), ("projector", "P P")], text="P W (I - P) = P (I - P)")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    first = x["P"]
    if "r" in x:
        # The second environment is one direction: the part of r outside the first, or what the first gives up of itself.  The part that
        # is taken is never shorter than a tenth of r, so there is no 0/0.
        inside = first @ x["r"]
        outside = x["r"] - inside
        free = ops.positive(ops.T(outside) @ outside - ops.ratio(1, 100))
        rest = outside * free + inside * (1 - free)
        second = rest * ops.reciprocal(ops.T(rest) @ rest) @ ops.T(rest)
        first = first - second * (1 - free)
    else:
        second = x["Q"]
    eye_ = ops.eye(first)
    return {"P": first, "Q": second, "Y": x["Y"], "Z": x["Z"], "W": (eye_ - another(x, first, ops)) @ (eye_ - second)}


def another(x: Mapping[str, Any], first: Any, ops: Any) -> Any:
    """One more environment orthogonal to the first: the direction of the part of r_2 outside, where that is no shorter than a tenth."""
    if "r_2" not in x:
        return x.get("R", first * 0)
    outside = x["r_2"] - first @ x["r_2"]
    length = ops.T(outside) @ outside
    free = ops.positive(length - ops.ratio(1, 100))
    return outside * (free * ops.reciprocal(length * free + 1 - free)) @ ops.T(outside)


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        a, b = view.span(view.prototypes(s), view.prototypes(t))
        q = view.projector(a)
        yield f"class means of {view.name(s)} and {view.name(t)}", {"P": q, "Q": view.projector(b), "Y": q, "Z": q}


EYE = unit([1, 0], [0, 1])

CLAIM = Claim(
    id="O2",
    title="Orthogonal and identical environments",
    family="robustness",
    source="elementary",
    paper="Inter-task similarity influences contribution stability.",
    statement=STATEMENT,
    inputs=(
        Input("P", "projector", "d"),
        Input("r", "unit_column", "d"),
        Input("r_2", "unit_column", "d"),
        Input("Y", "rows", "d", "d"),
        Input("Z", "rows", "d", "d"),
    ),
    bind=bind,
    derive=derive,
    tight_note="identities",
    necessity={
        "projector": Instance(
            {"P": unit([2, 0], [0, 0]), "Q": unit([0, 0], [0, 1]), "Y": EYE, "Z": EYE}, "an overshooting step", "again"
        ),
        "orthogonal": Instance(
            {"P": unit([1, 0], [0, 0]), "Q": unit(["1/2", "1/2"], ["1/2", "1/2"]), "Y": EYE, "Z": EYE},
            "45 degrees",
            "swap",
        ),
        "all_orthogonal": Instance(
            {"P": unit([1, 0], [0, 0]), "Q": unit([0, 0], [0, 1]), "R": unit(["1/2", "1/2"], ["1/2", "1/2"]), "Y": EYE, "Z": EYE},
            "one of many at 45 degrees",
            "past",
        ),
    },
    on_features=on_features,
)
