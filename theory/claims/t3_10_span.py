"""T3.10: a linear head trained by gradient descent depends on the class prototypes through their scores only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import BlockRecursion, Input, Instance, Relation, matrix, scalars, unit
from ..proof import Proof

eta = scalars("eta")
X, W, W0, B = matrix("X", "m", "d"), matrix("W", "d", "c"), matrix("W_0", "d", "c"), matrix("B", "m", "c")
X2, V, V0 = matrix("X_2", "m", "d2"), matrix("V", "d2", "c"), matrix("V_0", "d2", "c")
G, R, D = matrix("G", "m", "m"), matrix("R", "m", "c"), matrix("D", "m", "m")
Z, P, N, Y, J = (
    matrix("Z", "n", "d"),
    matrix("P", "n", "m"),
    matrix("N", "n", "d"),
    matrix("Y", "m", "c"),
    matrix("J", "d", "c"),
)

STATEMENT = Statement(
    text="On environments compressed to class prototypes (rows of X, with frequencies on the diagonal of D, those of other environments zero) "
    "every gradient step moves the head by -eta X'D R, R the residuals, a function of the logits X W.  So after any number of steps on any "
    "environments in any order W = W_0 + X'B and the logits are X W_0 + G B with G = X X': two models with the same prototype scores G and the "
    "same initial logits have the same logits at every step, hence the same forgetting for every order, for squared loss and for "
    "cross-entropy alike.  For squared loss compression changes the gradient by exactly the within-class scatter times the head.",
    relations=(
        Relation("span", W, "==", W0 + X.T * B),
        Relation("logits", X * W, "==", X * W0 + G * B),
        Relation("twins", X * W, "==", X2 * V),
        Relation("compression", Z.T * (Z * J - P * Y), "==", X.T * P.T * (P * X * J - P * Y) + N.T * N * J),
    ),
    assumptions=(
        Assumption("scores", "G holds the prototype scores", (Relation("", G, "==", X * X.T),), True),
        Assumption("same_scores", "the second model has the same prototype scores", (Relation("", X2 * X2.T, "==", X * X.T),)),
        Assumption("same_start", "the two models start with the same logits (both from zero, or from their text embeddings)", (
            Relation("", X2 * V0, "==", X * W0),)),
        Assumption("samples", "every feature is its class prototype plus a deviation", (Relation("", Z, "==", P * X + N),), True),
        Assumption("centred", "deviations sum to zero in every class", (Relation("", P.T * N, "==", 0 * (P.T * N)),), True),
    ),
    symbols={
        "X": "class prototypes", "W": "head", "W_0": "initial head", "B": "what the steps have added, in prototypes", "G": "prototype scores",
        "R": "residuals of one step", "D": "class frequencies of the step's environment, times 1", "X_2": "prototypes of a second model",
        "V": "its head", "V_0": "its initial head", "Z": "all features", "P": "class membership", "N": "deviations from the prototypes",
        "Y": "targets of the classes", "J": "any head",
    },
    recursions={
        "training": BlockRecursion(
            dim="steps", by="1", fresh=(R, D), grow={}, start={W: W0, B: 0 * (X * W0), V: V0},
            update={W: W - eta * X.T * D * R, B: B - eta * D * R, V: V - eta * X2.T * D * R},
        ),
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    p.blocks("steps", [Relation("", W, "==", W0 + X.T * B), Relation("", V, "==", V0 + X2.T * B)], recursion="training",
             text="by induction on the number of steps: both heads move by their own prototypes with the same coefficients, as long as "
             "their logits, and so their residuals, agree")  # fmt: skip
    p.free("span", using=[("steps.1", "W")], text="the first model")
    p.free("logits", using=[("steps.1", "W"), ("scores", "G")], text="multiply by the prototypes")
    p.free("twins", using=[("steps.1", "W"), ("steps.2", "V"), ("same_start", "X_2 V_0"), ("same_scores", "X_2 X_2'")],
           text="equal scores and equal initial logits give equal logits after every step: residuals stay equal")  # fmt: skip
    p.free(
        "compression",
        using=[("samples", "Z"), ("centred", "P' N")],
        text="deviations are orthogonal to class membership",
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    first, start, targets = x["X"], ops.T(x["W_0"]), x["Y"]
    second = x["X_2"] if "X_2" in x else first - (first @ x["axis"]) @ ops.T(x["axis"]) * 2  # a reflected copy
    other = ops.T(x["V_0"]) if "V_0" in x else start - x["axis"] @ (ops.T(x["axis"]) @ start) * 2
    one, two, shift = start, other, targets * 0
    for k in range(3):  # three steps of the squared loss; the first drops a class, as an environment without it does
        share = ops.eye(first) - (
            ops.eye(first)[..., :, :1] @ ops.T(ops.eye(first)[..., :, :1]) if k == 0 else ops.eye(first) * 0
        )
        residual = first @ one - targets
        other_residual = second @ two - targets
        one = one - ops.T(first) @ (share @ residual) * x["eta"]
        two = two - ops.T(second) @ (share @ other_residual) * x["eta"]
        shift = shift - share @ residual * x["eta"]
    rows, count = x["Z"], ops.rows(x["Z"])
    member = ops.ones(count, 1, rows) @ ops.eye(first)[..., :1, :]  # all samples belong to the first class
    deviation = rows - ops.ones(count, 1, rows) @ ops.mean_row(rows)
    return {
        "X": first, "W": one, "W_0": start, "B": shift, "G": first @ ops.T(first), "X_2": second, "V": two, "V_0": other,
        "Z": member @ first + deviation, "P": member, "N": deviation, "Y": targets, "J": start,
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        x, z, axis = view.span(view.prototypes(s), view.image(s), view.mean(view.text(s)))
        yield f"class prototypes of {view.name(s)}", {
            "X": x, "W_0": x[..., :1, :] * 0, "Y": x[..., :, :1], "axis": view.column(view.normalise(axis)), "eta": [["1/2"]], "Z": z,
        }  # fmt: skip


CLAIM = Claim(
    id="T3.10",
    title="Training depends on prototypes through their scores",
    family="forgetting and order",
    source="new; representer argument for linear heads",
    paper="Forgetting is governed by the contributions.",
    statement=STATEMENT,
    inputs=(
        Input("X", "rows", "m", "d"), Input("W_0", "rows", "c", "d"), Input("Y", "rows", "m", "c"), Input("axis", "unit_column", "d"),
        Input("eta", "real", low="0"), Input("Z", "rows", "n", "d"),
    ),
    bind=bind,
    derive=derive,
    tight_note="identities: both sides agree on every instance",
    necessity={
        "same_scores": Instance({"X": unit([1, 0]), "X_2": unit([2, 0]), "W_0": unit([0, 0]), "V_0": unit([0, 0]), "Y": [[1]], "axis": [[1], [0]],
                                 "eta": [[1]], "Z": unit([1, 0])}, "a longer prototype", "twins"),
        "same_start": Instance({"X": unit([1, 0]), "X_2": unit([1, 0]), "W_0": unit([0, 0]), "V_0": unit([1, 0]), "Y": [[0]], "axis": [[1], [0]],
                                "eta": [["1/2"]], "Z": unit([1, 0])}, "another initial head", "twins"),
    },
    on_features=on_features,
    notes=(
        "In the induction both models use the same residuals R; that is justified because R is a function of the logits, which 'twins' shows to be equal.",
        "Cross-entropy enters through R alone (softmax of the logits less the target), so nothing changes but R.",
    ),
)  # fmt: skip
