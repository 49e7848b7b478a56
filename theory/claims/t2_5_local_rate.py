"""T2.5: the local rate at which lambda lowers the contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Identity, ZeroMatrix

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, matrix, unit
from ..proof import Proof

rate = matrix("dB", 1, 1)
g, dw, H, K = matrix("g", "d", 1), matrix("dw", "d", 1), matrix("H", "d", "d"), matrix("K", "d", "d")

STATEMENT = Statement(
    text="Along a differentiable path of minimisers w(lambda) of A + lambda B with Hessian H = Hess A + lambda Hess B, H dw/dlambda = -g with "
    "g = grad B, so dB/dlambda = -<dw, H dw> <= 0, which is -g' H^{-1} g where H has an inverse.",
    relations=(
        Relation("rate", rate, "==", -dw.T * H * dw),
        Relation("inverse", rate, "==", -g.T * K * g),
        Relation("falls", rate, "loewner<=", ZeroMatrix(1, 1)),
    ),
    assumptions=(
        Assumption("definite", "H is positive semidefinite, as at a minimum", (Relation("", ZeroMatrix(*H.shape), "loewner<=", H),)),
        Assumption("invertible", "for `inverse`, K is the inverse of H", (Relation("", K * H, "==", Identity(H.shape[0])),), True),
        Assumption("stationary", "H dw = -g, the derivative of grad A + lambda grad B = 0", (Relation("", H * dw, "==", -g),), True),
        Assumption("chain", "dB/dlambda = <g, dw>", (Relation("", rate, "==", g.T * dw),), True),
    ),
    symbols={"dB": "dB(w(lambda))/dlambda", "g": "gradient of B", "dw": "dw/dlambda", "H": "Hessian of A + lambda B", "K": "its inverse"},
    symmetric=("H",),
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free("turned", Relation("", dw.T * H, "==", -g.T), using=["stationary"], text="H is symmetric")
    p.free("rate", using=[("chain", "dB"), ("turned", "dw' H")], text="put H dw = -g")
    p.free(
        "solved",
        Relation("", dw, "==", -K * g),
        using=[("invertible", "K H"), ("stationary", "g")],
        text="multiply by the inverse",
    )
    p.free("inverse", using=[("chain", "dB"), ("solved", "dw")], text="put dw = -H^{-1} g")
    p.psd("falls", squares=[(1, dw, "definite")], using=[("rate", "dB")], text="H is positive semidefinite")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    # A = |w|_H^2 / 2 and B = <b, w>: the minimiser is -lambda H^{-1} b, and differences are derivatives.
    hessian = ops.T(x["R"]) @ x["R"] * x["sign"] + ops.eye(ops.T(x["R"])) * x["sign"]
    inverse, slope = ops.inv(hessian), ops.T(x["b"])

    def loss(lam: int) -> Any:
        return x["b"] @ (inverse @ slope * (-lam))

    return {"dB": loss(2) - loss(1), "g": slope, "dw": inverse @ slope * (-1), "H": hessian, "K": inverse}


CLAIM = Claim(
    id="T2.5",
    title="Local rate of the contrastive loss in lambda",
    family="contribution balance",
    source="implicit function theorem",
    paper="lambda controls CLV(t).",
    statement=STATEMENT,
    inputs=(Input("R", "rows", "n", "d"), Input("b", "rows", "1", "d"), Input("sign", "real", low="1", high="1")),
    bind=bind,
    derive=derive,
    tight_note="an identity and its sign",
    necessity={
        "definite": Instance(
            {"R": unit([0, 0]), "b": unit([1, 0]), "sign": [[-1]]}, "a maximiser: the loss rises", "falls"
        )
    },
    features_note="a statement about a minimiser",
    notes=(
        "That the path exists is assumed.  Where H is positive definite there is one of local minimisers, nearby, by the implicit function theorem, "
        "which is not used here; a global minimiser may jump as lambda moves (T2.4 holds across the jump).",
    ),
)
