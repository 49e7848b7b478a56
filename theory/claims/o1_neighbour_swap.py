"""O1: swapping two neighbouring environments moves the final parameters by at most a commutator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Identity, Rational

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, matrix, unit
from ..proof import Proof
from ..trust import SPECTRAL

P, Q, D, X = matrix("P", "d", "d"), matrix("Q", "d", "d"), matrix("D", "d", "d"), matrix("X", "d", "d")
eye = Identity(P.shape[0])

STATEMENT = Statement(
    text="Learning s then t instead of t then s moves the error by X e with X = (I - Q)(I - P) - (I - P)(I - Q) = QP - PQ, the commutator of the two "
    "projectors, and X'X = D^2 - D^4 with D = P - Q, whose eigenvalues are, up to sign, sines of principal angles, 0 or 1: so |X| = max c_i sqrt(1 - c_i^2) <= 1/2.",
    relations=(
        Relation("commutator", X, "==", Q * P - P * Q),
        Relation("spectrum", X.T * X, "==", D * D - D * D * D * D),
        Relation("half", X.T * X, "loewner<=", Rational(1, 4) * eye),
    ),
    assumptions=(
        Assumption("projector_s", "P is an orthogonal projector", (Relation("", P * P, "==", P),)),
        Assumption("projector_t", "Q is an orthogonal projector", (Relation("", Q * Q, "==", Q),)),
        Assumption("swap", "X is the difference of the two orders", (Relation("", X, "==", (eye - Q) * (eye - P) - (eye - P) * (eye - Q)),), True),
        Assumption("difference", "D = P - Q", (Relation("", D, "==", P - Q),), True),
    ),
    symbols={"P": "projector on the features of s", "Q": "of t", "X": "error after s, t less error after t, s", "D": "P - Q"},
    symmetric=("P", "Q", "D"),
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free("commutator", using=[("swap", "X")], text="multiply out")
    rules = [("commutator", "X"), ("difference", "D"), ("projector_s", "P P"), ("projector_t", "Q Q")]
    p.free("spectrum", using=rules, text="multiply out and use P^2 = P, Q^2 = Q")
    p.psd("half", squares=[(1, eye / 2 - D * D)], using=[("spectrum", "X' X")], text="I/4 - D^2 + D^4 = (I/2 - D^2)^2")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    first, second = x["P"], x["Q"]
    finals = []
    for order in ((first, second), (second, first)):
        error = ops.eye(first)
        for q in order:
            error = error - q @ error
        finals.append(error)
    return {"P": first, "Q": second, "D": first - second, "X": finals[0] - finals[1]}


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        a, b = view.span(view.prototypes(s), view.prototypes(t))
        yield f"class means of {view.name(s)} and {view.name(t)}", {"P": view.projector(a), "Q": view.projector(b)}


CLAIM = Claim(
    id="O1",
    title="Swapping neighbours moves the parameters by a commutator",
    family="robustness",
    source="new; two projections as in Halmos, Two subspaces, 1969",
    paper="Continual VLMs are robust to task order.",
    statement=STATEMENT,
    inputs=(Input("P", "projector", "d"), Input("Q", "projector", "d")),
    bind=bind,
    derive=derive,
    trust=(SPECTRAL,),
    tight=(Instance({"P": unit([1, 0], [0, 0]), "Q": unit(["1/2", "1/2"], ["1/2", "1/2"])}, "45 degrees", "half"),),
    necessity={
        "projector_s": Instance({"P": unit([2, 0], [0, 0]), "Q": unit(["1/2", "1/2"], ["1/2", "1/2"])}, "an overshooting step", "half"),
        "projector_t": Instance({"P": unit([1, 0], [0, 0]), "Q": unit([1, 1], [1, 1])}, "an overshooting step", "half"),
    },
    on_features=on_features,
    notes=("Environments learnt afterwards apply further projections to both errors and do not enlarge the difference.",),
)  # fmt: skip
