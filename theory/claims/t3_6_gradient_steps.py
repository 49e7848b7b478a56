"""T3.6: the same as T3.5 for gradient steps of size eta instead of projections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import BlockRecursion, Input, Instance, Relation, identity, matrix, scalars, unit
from ..proof import Proof
from ..sequences import learn_with_residuals, learning

A, L, M, G = matrix("A", "T", "d"), matrix("L", "T", "T"), matrix("M", "T", "T"), matrix("G", "T", "T")
e0, e, r, s = matrix("e_0", "d", 1), matrix("e", "d", 1), matrix("r", "T", 1), matrix("s", "T", 1)
a = matrix("a", "k", "d")  # the directions of the next environment
b, f, left = matrix("b", "j", "d"), matrix("f", "d", 1), matrix("q", "j", 1)  # several steps on one environment
f0 = matrix("f_0", "d", 1)
eye_t, eye_j = identity("T"), identity("j")

eta = scalars("eta")

STATEMENT = Statement(
    text="Environments with orthonormal feature rows a_t, of any number each (rank one: unit fused directions), are learnt one after the other, each by "
    "one gradient step of size eta on half the sum of its squared residuals, from initial error e_0.  With A their rows in order, L the strictly "
    "lower (block) part of the Gram matrix G = A A', the residuals on all of them after the last are "
    "r = A e_0 - eta G (I + eta L)^{-1} A e_0, and those on each just before its own step s = (I + eta L)^{-1} A e_0, of which the step leaves 1 - eta: "
    "forgotten is |r|^2 - (1 - eta)^2 |s|^2 in all.  eta = 1 is T3.5.  Any number m of steps on one environment b is one step of size "
    "1 - (1 - eta)^m: it turns an error f_0 into f_0 - b'(b f_0 - q), where q = (1 - eta)^m b f_0 is the residual that is left.",
    relations=(
        Relation("gram", G, "==", eye_t + L + L.T),
        Relation("inverse", M * (eye_t + eta * L), "==", eye_t),
        Relation("residuals", r, "==", A * e0 - eta * G * M * A * e0),
        Relation("before", s, "==", M * A * e0),
        Relation("repeated", f, "==", f0 - b.T * (b * f0 - left)),
    ),
    assumptions=(
        Assumption("orthonormal", "the feature rows of every environment are orthonormal (rank one: unit length)", (
            Relation("", b * b.T, "==", eye_j),), each=("next_orthonormal",)),
        Assumption("residual", "r = A e is the residual on all environments after the last", (Relation("", r, "==", A * e),), True),
        Assumption("scores", "G = A A' holds the contribution scores of the fused features (T1.1)", (Relation("", G, "==", A * A.T),), True),
    ),
    symbols={
        "A": "feature rows of all environments in order", "G": "their scores", "L": "strictly lower part of G",
        "M": "inverse of I + eta L", "e_0": "initial error w_0 - w*", "e": "error after the last environment",
        "r": "residuals after the last", "s": "residual of each environment just before its step", "eta": "step size",
        "a": "feature rows of the next environment", "b": "feature rows of one environment", "f_0": "an error before it is learnt",
        "f": "the error after m steps on it", "q": "(1 - eta)^m b f_0: multiplied by 1 - eta at every step",
    },
    recursions={
        "learning": learning(a, A, L, M, s, e, e0, rate=eta, name="next_orthonormal"),
        "repeating": BlockRecursion(
            dim="steps", by="1", grow={}, start={f: f0, left: b * f0}, update={f: f - eta * b.T * b * f, left: (1 - eta) * left},
        ),
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    p.blocks(
        "pass",
        [
            Relation("", e, "==", e0 - eta * A.T * s),
            Relation("", A * e0, "==", (eye_t + eta * L) * s),
            Relation("", A * A.T, "==", eye_t + L + L.T),
            Relation("", M * (eye_t + eta * L), "==", eye_t),
        ],
        recursion="learning",
        text="by induction on the number of environments: what has been learnt is eta A's, and s solves (I + eta L) s = A e_0",
    )
    p.free("gram", using=[("scores", "G"), ("pass.3", "A A'")], text="the Gram matrix splits into I + L + L'")
    p.free("inverse", using=[("pass.4", "M L")], text="I + eta L is unit lower triangular, and M inverts it")
    p.free("before", using=[("pass.2", "A e_0"), ("pass.4", "M L")], text="so s = M A e_0")
    p.free(
        "residuals",
        using=[("residual", "r"), ("pass.1", "e"), ("scores", "G"), ("before", "s")],
        text="r = A e_0 - eta A A' s",
    )
    p.blocks("repeat", [Relation("", b * f, "==", left), Relation("", f, "==", f0 - b.T * (b * f0 - left))], recursion="repeating", using=[("orthonormal", "b b'")],
             text="by induction on the number of steps")  # fmt: skip
    p.free("repeated", using=[("repeat.2", "f")], text="after any number of steps")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows = x["A"]
    error, before = learn_with_residuals(rows, x["e_0"], ops, x["eta"])
    gram = rows @ ops.T(rows)
    lower = ops.strictly_lower(gram)
    inverse = ops.inv(ops.eye(gram) + x["eta"] * lower)
    first, again = ops.slice_row(rows, 0), x["e_0"]
    left_ = first @ again
    for _ in range(3):  # three steps on the first environment
        again, left_ = again - x["eta"] * (ops.T(first) @ (first @ again)), left_ * (1 - x["eta"])
    return {
        "eta": x["eta"], "A": rows, "e_0": x["e_0"], "e": error, "r": rows @ error, "s": before, "G": gram, "L": lower, "M": inverse,
        "b": first, "f_0": x["e_0"], "f": again, "q": left_,
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    target = view.mean(view.stack([view.mean(view.text(t)) for t in view.environments]))
    for label, order in (("file order", view.environments), ("reversed", view.environments[::-1])):
        rows = view.normalise(view.stack([view.mean(view.image(t)) for t in order]))
        yield f"mean image directions, {label}", {"A": rows, "e_0": view.column(target), "eta": [["1/2"]]}


CLAIM = Claim(
    id="T3.6",
    title="Residuals of any sequence of gradient steps",
    family="forgetting and order",
    source="new; the case eta = 1 is T3.5",
    paper="Forgetting and environment order are governed by the contributions.",
    statement=STATEMENT,
    inputs=(Input("A", "unit_rows", "T", "d"), Input("e_0", "column", "d"), Input("eta", "real", low="0", high="2")),
    bind=bind,
    derive=derive,
    tight_note="an identity: both sides agree on every instance",
    necessity={"orthonormal": Instance({"A": unit([2, 0], [1, 0]), "e_0": [[1], [0]], "eta": [[1]]}, "a direction of length 2", "gram")},
    on_features=on_features,
)  # fmt: skip
