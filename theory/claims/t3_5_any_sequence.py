"""T3.5: after any sequence of environments the residuals are a function of the contribution scores and of the initial residuals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, identity, matrix, unit
from ..proof import Proof
from ..sequences import learn, learning

A, L, M, G = matrix("A", "T", "d"), matrix("L", "T", "T"), matrix("M", "T", "T"), matrix("G", "T", "T")
e0, e, r, s = matrix("e_0", "d", 1), matrix("e", "d", 1), matrix("r", "T", 1), matrix("s", "T", 1)
a = matrix("a", "k", "d")  # the directions of the next environment
eye_t = identity("T")

STATEMENT = Statement(
    text="Environments with orthonormal feature rows, of any number each (rank one: unit fused directions a_t), are fitted one after the other "
    "by least-norm steps from initial error e_0.  With A their rows in order, L the strictly lower (block) part of the "
    "Gram matrix G = A A' of contribution scores, the residuals on all of them after the last are "
    "r = -L' (I + L)^{-1} A e_0: forgetting depends on the features through G and the initial residuals A e_0 only.",
    relations=(
        Relation("gram", G, "==", eye_t + L + L.T),
        Relation("inverse", M * (eye_t + L), "==", eye_t),
        Relation("residuals", r, "==", -L.T * M * A * e0),
        Relation("forgetting", r.T * r, "==", e0.T * A.T * M.T * L * L.T * M * A * e0),
    ),
    assumptions=(
        Assumption("orthonormal", "the feature rows of every environment are orthonormal (rank one: unit length)", each=("orthonormal",)),
        Assumption("residual", "r = A e is the residual on all environments after the last", (Relation("", r, "==", A * e),), True),
        Assumption("scores", "G = A A' holds the contribution scores of the fused features (T1.1)", (Relation("", G, "==", A * A.T),), True),
    ),
    symbols={
        "A": "feature rows of all environments in order", "G": "their scores", "L": "strictly lower part of G", "M": "inverse of I + L",
        "e_0": "initial error w_0 - w*", "e": "error after the last environment", "r": "residuals after the last",
        "s": "residual of each environment just before it is learnt", "a": "feature rows of the next environment",
    },
    recursions={"learning": learning(a, A, L, M, s, e, e0)},
)  # fmt: skip


def derive(p: Proof) -> None:
    p.blocks(
        "pass",
        [
            Relation("", e, "==", e0 - A.T * s),
            Relation("", A * e0, "==", (eye_t + L) * s),
            Relation("", A * A.T, "==", eye_t + L + L.T),
            Relation("", M * (eye_t + L), "==", eye_t),
        ],
        recursion="learning",
        text="by induction on the number of environments: what has been learnt is A's, and s solves (I + L) s = A e_0",
    )
    p.free("gram", using=[("scores", "G"), ("pass.3", "A A'")], text="the Gram matrix splits into I + L + L'")
    p.free("inverse", using=[("pass.4", "M L")], text="I + L is unit lower triangular, and M inverts it")
    p.free(
        "solved",
        Relation("", s, "==", M * A * e0),
        using=[("pass.2", "A e_0"), ("pass.4", "M L")],
        text="so s = M A e_0",
    )
    p.free(
        "unsolved",
        Relation("", r, "==", -L.T * s),
        using=[("residual", "r"), ("pass.1", "e"), ("pass.2", "A e_0"), ("pass.3", "A A'")],
        text="r = A e_0 - A A' s = (I + L) s - (I + L + L') s",
    )
    p.free("residuals", using=[("unsolved", "r"), ("solved", "s")], text="put s = M A e_0")
    p.free("forgetting", using=[("residuals", "r")], text="sum the squares; every environment was left with residual 0")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows = x["A"]
    error = learn(rows, x["e_0"], ops)
    gram = rows @ ops.T(rows)
    lower = ops.strictly_lower(gram)
    inverse = ops.inv(ops.eye(gram) + lower)
    return {"A": rows, "e_0": x["e_0"], "e": error, "r": rows @ error, "G": gram, "L": lower, "M": inverse}


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    target = view.mean(view.stack([view.mean(view.text(t)) for t in view.environments]))
    for label, order in (("file order", view.environments), ("reversed", view.environments[::-1])):
        rows = view.normalise(view.stack([view.mean(view.image(t)) for t in order]))
        yield f"mean image directions, {label}", {"A": rows, "e_0": view.column(target)}


CLAIM = Claim(
    id="T3.5",
    title="Forgetting of any sequence from scores and initial residuals",
    family="forgetting and order",
    source="new; the sequence of projections is that of Evron et al., COLT 2022",
    paper="Forgetting and environment order are governed by the contributions.",
    statement=STATEMENT,
    inputs=(Input("A", "unit_rows", "T", "d"), Input("e_0", "column", "d")),
    bind=bind,
    derive=derive,
    tight_note="an identity: both sides agree on every instance",
    necessity={"orthonormal": Instance({"A": unit([2, 0], [1, 0]), "e_0": [[1], [0]]}, "a direction of length 2 overshoots", "gram")},
    on_features=on_features,
    notes=(
        "Certified for every number of environments and every dimension at once, by block induction in the free algebra; "
        "every environment has its own number of rows, so ranks may differ.",
    ),
)  # fmt: skip
