"""T3.4: two environments: forgetting is largest at intermediate similarity, and never above a quarter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Identity, Rational, Trace

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, matrix, unit
from ..proof import Proof
from ..trust import SPECTRAL

Q1, Q2 = matrix("Q1", "d", "d"), matrix("Q2", "d", "d")
R, R2, C = matrix("R", "d", "d"), matrix("R_2", "d", "d"), matrix("C", "d", "d")
eye = Identity(Q1.shape[0])

STATEMENT = Statement(
    text="Two environments with orthonormal feature rows share a solution w*.  A least-norm learner sees 1, then 2, from initial"
    " error e = w_0 - w*.  What it forgets of 1 is |R e|^2 with R = Q1 (I - Q2) (I - Q1), where Q_i projects on the features of"
    " i, and R R' = C - C^2 with C = Q1 Q2 Q1, whose eigenvalues on the features of 1 are the squared cosines c_i^2 of the"
    " principal angles, and zeros.  So the worst forgetting for |e| = 1 is max c_i^2 (1 - c_i^2) <= 1/4: zero for orthogonal and"
    " for identical environments, largest in between, at c^2 = 1/2.  In either order as much is forgotten on average: |R|_F^2 ="
    " |R_2|_F^2, R_2 what is forgotten of 2 if 2 is seen first, and for an isotropic e that is d times the expected forgetting.",
    relations=(
        Relation("spectrum", R * R.T, "==", C - C * C),
        Relation("quarter", R * R.T, "loewner<=", Rational(1, 4) * eye),
        Relation("either_order", Trace(R * R.T), "==", Trace(R2 * R2.T)),
    ),
    assumptions=(
        Assumption("projector_1", "Q1 is an orthogonal projector (environment 1 is fitted exactly)", (Relation("", Q1 * Q1, "==", Q1),)),
        Assumption("projector_2", "Q2 is an orthogonal projector (environment 2 is fitted exactly)", (Relation("", Q2 * Q2, "==", Q2),)),
        Assumption("residual", "R maps the initial error to the residual on environment 1 after both", (
            Relation("", R, "==", Q1 * (eye - Q2) * (eye - Q1)),), True),
        Assumption("reversed", "R_2 maps it to the residual on environment 2 after 2, then 1", (Relation("", R2, "==", Q2 * (eye - Q1) * (eye - Q2)),), True),
        Assumption("overlap", "C = Q1 Q2 Q1", (Relation("", C, "==", Q1 * Q2 * Q1),), True),
    ),
    symbols={"Q1": "projector on the features of environment 1", "Q2": "of environment 2", "R": "initial error -> residual",
             "R_2": "the same in the other order", "C": "overlap"},
    symmetric=("Q1", "Q2"),
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free("shorter", Relation("", R, "==", Q1 * Q2 * Q1 - Q1 * Q2), using=[("residual", "R"), ("projector_1", "Q1 Q1")],
           text="the learner has no error left on environment 1, so only Q1 Q2 and Q1 Q2 Q1 survive")  # fmt: skip
    p.free("shorter_2", Relation("", R2, "==", Q2 * Q1 * Q2 - Q2 * Q1), using=[("reversed", "R_2"), ("projector_2", "Q2 Q2")],
           text="the same with 1 and 2 exchanged")  # fmt: skip
    reduce = [("shorter", "R"), ("overlap", "C"), ("projector_1", "Q1 Q1"), ("projector_2", "Q2 Q2")]
    p.free("spectrum", using=reduce, text="multiply out and use Q^2 = Q")
    p.psd(
        "quarter",
        squares=[(1, Q1 / 2 - Q1 * Q2 * Q1), (Rational(1, 4), eye - Q1)],
        using=[("spectrum", "R R'"), *reduce[1:]],
        text="I/4 - C + C^2 = (Q1/2 - C)^2 + (I - Q1)^2/4",
    )
    p.free("either_order", using=[("shorter", "R"), ("shorter_2", "R_2"), ("projector_1", "Q1 Q1"), ("projector_2", "Q2 Q2")],
           text="both are tr Q1 Q2 - tr Q1 Q2 Q1 Q2")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    q1, q2 = x["Q1"], x["Q2"]
    residual = {}
    for name, order in (("R", (q1, q2)), ("R_2", (q2, q1))):
        error = ops.eye(q1)  # every initial error at once
        for q in order:
            error = error - q @ error  # the least-norm step removes the error on the environment's features
        residual[name] = order[0] @ error
    return {"Q1": q1, "Q2": q2, **residual, "C": q1 @ q2 @ q1}


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        for t in view.environments:
            if s != t:
                a, b = view.span(view.prototypes(s), view.prototypes(t))
                label = f"class means of {view.name(s)}, then {view.name(t)}"
                yield label, {"Q1": view.projector(a), "Q2": view.projector(b)}


CLAIM = Claim(
    id="T3.4",
    title="Two environments forget most at intermediate similarity",
    family="forgetting and order",
    source="Evron et al., How catastrophic can catastrophic forgetting be in linear regression?, COLT 2022, on two tasks",
    paper="Inter-task similarities influence the stability of contributions.",
    statement=STATEMENT,
    inputs=(Input("Q1", "projector", "d"), Input("Q2", "projector", "d")),
    bind=bind,
    derive=derive,
    trust=(SPECTRAL,),
    tight=(
        Instance({"Q1": unit([1, 0], [0, 0]), "Q2": unit(["1/2", "1/2"], ["1/2", "1/2"])}, "45 degrees: c^2 = 1/2", "quarter"),
    ),
    necessity={
        "projector_1": Instance({"Q1": unit([2, 0], [0, 0]), "Q2": unit(["1/2", "1/2"], ["1/2", "1/2"])}, "an overshooting first step", "quarter"),
        "projector_2": Instance({"Q1": unit([1, 0], [0, 0]), "Q2": unit([2, 2], [2, 2])}, "an overshooting second step", "quarter"),
    },
    on_features=on_features,
)  # fmt: skip
