"""O2: orthogonal and identical environments: no order dependence, no forgetting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Identity

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, identity, matrix, unit
from ..proof import Proof
from ..sequences import learn, learning

P, Q = matrix("P", "d", "d"), matrix("Q", "d", "d")
Y, Z = matrix("Y", "d", "d"), matrix("Z", "d", "d")
A, L, M, S = matrix("A", "T", "d"), matrix("L", "T", "T"), matrix("M", "T", "T"), matrix("s", "T", "d")
W, a = matrix("W", "d", "d"), matrix("a", "k", "d")
eye = Identity(P.shape[0])
eye_t = identity("T")

STATEMENT = Statement(
    text="If two neighbouring environments are orthogonal (P Q = 0), swapping them changes nothing, whatever was learnt before (Z) and after (Y).  An "
    "environment may also go past any number of environments whose feature rows A are orthogonal to it (W is what learning them in turn does; among themselves "
    "they may be anything): so orders of pairwise orthogonal environments, of any number, all end alike.  Learning environments orthogonal to it, one or any "
    "number, leaves no residual on an environment learnt just before them, and neither does learning the same environment again.",
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
        Assumption(
            "all_orthogonal", "so are all that W learns, to the first: A P = 0", (Relation("", A * P, "==", 0 * A),)
        ),
    ),
    symbols={
        "P": "projector on the features of s",
        "Q": "of t",
        "Z": "what was learnt before",
        "Y": "what is learnt after",
        "A": "feature rows of any number of other environments, in order",
        "W": "initial error -> error, by learning those",
        "L": "strictly lower part of A A'",
        "M": "inverse of I + L",
        "s": "initial error -> residual of each of them before it is learnt",
        "a": "feature rows of the next of them",
    },
    symmetric=("P", "Q"),
    recursions={"learning": learning(a, A, L, M, S, W, eye, name=None)},
)


def derive(p: Proof) -> None:
    p.free("swap", using=[("orthogonal", "P Q")], text="P Q = Q P = 0")
    p.free("keep", using=[("orthogonal", "P Q"), ("projector", "P P")], text="P Q = 0 and P (I - P) = 0")
    p.free("again", using=[("projector", "P P")], text="P (I - P) = 0")
    p.blocks(
        "pass",
        [
            Relation("", W, "==", eye - A.T * S),
            Relation("", A, "==", (eye_t + L) * S),
            Relation("", M * (eye_t + L), "==", eye_t),
        ],
        recursion="learning",
        text="by induction on the number of environments, as in T3.5",
    )
    p.free("solved", Relation("", S, "==", M * A), using=[("pass.2", "A"), ("pass.3", "M L")], text="s = M A")
    p.free(
        "left",
        Relation("", P * W, "==", P),
        using=[("pass.1", "W"), ("all_orthogonal", "A P")],
        text="P W = P - P A's = P",
    )
    p.free(
        "right",
        Relation("", W * P, "==", P),
        using=[("pass.1", "W"), ("solved", "s"), ("all_orthogonal", "A P")],
        text="W P = P - A'M A P = P",
    )
    p.free("past", using=[("left", "P W"), ("right", "W P")], text="P W = P = W P")
    p.free("kept", using=[("left", "P W"), ("projector", "P P")], text="P W (I - P) = P (I - P)")


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
    one = ops.eye(first)
    # what is left of any rows outside the first environment; none where that is no projector, which has no outside
    outside = 1 - ops.positive(ops.total_square(first @ first - first) - ops.ratio(1, 10**6))
    rows = x["R"] @ (one - first) * outside if "R" in x else x["A"]
    lower = ops.strictly_lower(rows @ ops.T(rows))
    return {
        "P": first, "Q": second, "Y": x["Y"], "Z": x["Z"], "A": rows, "L": lower, "M": ops.inv(ops.eye(lower) + lower), "W": learn(rows, one, ops),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        a, b = view.span(view.prototypes(s), view.prototypes(t))
        q = view.projector(a)
        yield f"class means of {view.name(s)} and {view.name(t)}", {
            "P": q, "Q": view.projector(b), "R": b, "Y": q, "Z": q,
        }  # fmt: skip


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
        Input("R", "rows", "T", "d"),
        Input("Y", "rows", "d", "d"),
        Input("Z", "rows", "d", "d"),
    ),
    bind=bind,
    derive=derive,
    tight_note="identities",
    necessity={
        "projector": Instance(
            {"P": unit([2, 0], [0, 0]), "Q": unit([0, 0], [0, 1]), "A": unit([0, 1]), "Y": EYE, "Z": EYE},
            "an overshooting step",
            "again",
        ),
        "orthogonal": Instance(
            {
                "P": unit([1, 0], [0, 0]),
                "Q": unit(["1/2", "1/2"], ["1/2", "1/2"]),
                "A": unit([0, 1]),
                "Y": EYE,
                "Z": EYE,
            },
            "45 degrees",
            "swap",
        ),
        "all_orthogonal": Instance(
            {"P": unit([1, 0], [0, 0]), "Q": unit([0, 0], [0, 1]), "A": unit(["3/5", "4/5"]), "Y": EYE, "Z": EYE},
            "another environment at an angle",
            "past",
        ),
    },
    on_features=on_features,
)
