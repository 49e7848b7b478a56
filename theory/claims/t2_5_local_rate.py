"""T2.5: the local rate at which lambda lowers the contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, scalars, unit, vectors
from ..proof import Proof, square

rate = scalars("dB")
g, dw, bent = vectors("g dw Hdw")

STATEMENT = Statement(
    text="Along a differentiable path of minimisers w(lambda) of A + lambda B with Hessian H, H dw/dlambda = -g with g = grad B, so "
    "dB/dlambda = -<dw, H dw> <= 0, which is -g' H^{-1} g where H is positive definite (and the path then exists).",
    relations=(Relation("rate", rate, "==", -Inner(dw, bent)), Relation("falls", rate, "<=", 0)),
    assumptions=(
        Assumption("definite", "<dw, H dw> >= 0", (Relation("", 0, "<=", Inner(dw, bent)),)),
        Assumption(
            "stationary",
            "H dw = -g, the derivative of grad A + lambda grad B = 0",
            (Relation("", Inner(dw, bent), "==", -Inner(dw, g)),),
            True,
        ),
        Assumption("chain", "dB/dlambda = <g, dw>", (Relation("", rate, "==", Inner(g, dw)),), True),
    ),
    symbols={"dB": "dB(w(lambda))/dlambda", "g": "gradient of B", "dw": "dw/dlambda", "Hdw": "H dw"},
)


def derive(p: Proof) -> None:
    p.ideal("rate", using=["chain", "stationary"], eliminate=[rate, Inner(dw, bent)], text="put H dw = -g")
    p.positive(
        "falls", terms=[square(facts=["definite"])], using=["rate"], eliminate=[rate], text="H is positive semidefinite"
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    # A = |w|_H^2 / 2 and B = <b, w>: the minimiser is -lambda H^{-1} b, and differences are derivatives.
    hessian = ops.T(x["R"]) @ x["R"] * x["sign"] + ops.eye(ops.T(x["R"])) * x["sign"]
    inverse, slope = ops.inv(hessian), ops.T(x["b"])

    def loss(lam: int) -> Any:
        return x["b"] @ (inverse @ slope * (-lam))

    step = ops.T(inverse @ slope) * (-1)
    return {"dB": loss(2) - loss(1), "g": x["b"], "dw": step, "Hdw": step @ hessian}


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
)
