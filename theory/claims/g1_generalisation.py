"""G1: expected error of least-norm updates on random features, and its closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Recursion, Relation, matrix, scalars, unit
from ..proof import Proof
from ..trust import WISHART

Q = matrix("Q", "P", "P")
x, y, e = matrix("x", "P", 1), matrix("y", "P", 1), matrix("e", "P", 1)
error, start, decay, gathered, ratio, noise, target = scalars("E E_0 rho S r v D")

n, P, s = scalars("n P s")
RATIO = n / P  # r, of samples n and parameters P
NOISE = n * s**2 / (P - n - 1)  # v, what noise of deviation s adds

STATEMENT = Statement(
    text="A least-norm update on n < P - 1 random Gaussian features moves w - w*_i to (I - Q) x + Q y, Q the random projector, x = w - w*_i, "
    "y = w*_t - w*_i, whose squared length is |x|^2 - x'Qx + y'Qy.  Taking expectations, E[Q] = (n/P) I and noise n s^2/(P - n - 1) give "
    "E_t = (1 - r) E_{t-1} + r D_t + v, and so E_T = (1 - r)^T E_0 + sum of (1 - r)^{T-t} (r D_t + v) for every T.  Counted from E_0, the "
    "error right after environment i itself, E_T - E_0 is the expected forgetting of i: that sum less (1 - (1 - r)^T) E_0.",
    relations=(
        Relation("step", e.T * e, "==", x.T * x - x.T * Q * x + y.T * Q * y),
        Relation("closed", error, "==", decay * start + gathered),
        Relation("forgetting", error - start, "==", gathered - (1 - decay) * start),
    ),
    assumptions=(
        Assumption("projector", "Q is an orthogonal projector", (Relation("", Q * Q, "==", Q),)),
        Assumption("update", "e = (I - Q) x + Q y", (Relation("", e, "==", x - Q * x + Q * y),), True),
    ),
    symbols={"E": "expected squared error after the last environment", "E_0": "at the start: of the first environment, or right after environment i", "rho": "(1 - r)^T", "S": "sum of the terms (1 - r)^{T-t} (r D_t + v)",
             "r": str(RATIO), "v": f"noise {NOISE}", "D": "|w*_t - w*_i|^2"},
    symmetric=("Q",),
    recursions={
        "environments": Recursion(
            start={error: start, decay: 1, gathered: 0},
            update={error: (1 - ratio) * error + ratio * target + noise, decay: (1 - ratio) * decay,
                    gathered: (1 - ratio) * gathered + ratio * target + noise},
            fresh=(target,),
        ),
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free("step", using=[("update", "e"), ("projector", "Q Q")], text="(I - Q) x and Q y are orthogonal")
    p.induction(
        "closed", recursion="environments",
        base=lambda p, name, goal: p.ideal(name, goal, using=[], text="no environment yet"),
        step=lambda p, name, goal: p.ideal(name, goal, using=["hypothesis"], text="one more environment"),
        text="by induction on the number of environments",
    )  # fmt: skip
    p.ideal("forgetting", using=["closed"], text="less the error at the start")


def bind(i: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    before, other = i["x"], i["y"]
    projector = i["Q"]
    after = before - projector @ before + projector @ other
    value = total = i["E_0"]
    share, extra = i["r"], i["v"]
    power, sums = ops.ones(1, 1, i["D"]), i["E_0"] * 0
    for t in range(ops.rows(i["D"])):
        distance = ops.entry(i["D"], t, 0)
        value = (1 - share) * value + share * distance + extra
        weight = ops.ones(1, 1, i["D"])
        for _ in range(ops.rows(i["D"]) - 1 - t):
            weight = weight * (1 - share)
        sums = sums + weight * (share * distance + extra)
        power = power * (1 - share)
    return {
        "Q": projector,
        "x": before,
        "y": other,
        "e": after,
        "E": value,
        "E_0": total,
        "rho": power,
        "S": sums,
        "r": share,
        "v": extra,
    }


def rates(samples: float, parameters: float, deviation: float) -> tuple[float, float]:
    """r and v as numbers."""
    at = {n: samples, P: parameters, s: deviation}
    return float(RATIO.subs(at)), float(NOISE.subs(at))


CLAIM = Claim(
    id="G1",
    title="Generalisation error of least-norm updates",
    family="generalisation",
    source="Lin et al., Theory on forgetting and generalization of continual learning, ICML 2023",
    paper="Generalisation improves.",
    statement=STATEMENT,
    inputs=(Input("Q", "projector", "P"), Input("x", "column", "P"), Input("y", "column", "P"), Input("D", "column", "T"),
            Input("E_0", "real", low="0"), Input("r", "real", low="0"), Input("v", "real", low="0")),
    bind=bind,
    derive=derive,
    trust=(WISHART,),
    tight_note="identities",
    necessity={"projector": Instance({"Q": unit([2, 0], [0, 0]), "x": [[1], [0]], "y": [[0], [0]], "D": [[1]], "E_0": [[1]], "r": [["1/2"]], "v": [[0]]},
                                     "an overshooting update", "step")},
    features_note="a statement about Gaussian features in expectation",
)  # fmt: skip
