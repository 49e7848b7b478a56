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
now, then, away, lost, gained = scalars("x_2 e_2 y_2 x_Q y_Q")  # of one update, in expectation

n, P, s = scalars("n P s")
RATIO = n / P  # r, of samples n and parameters P
NOISE = n * s**2 / (P - n - 1)  # v, what noise of deviation s adds

STATEMENT = Statement(
    text="A least-norm update of P parameters on n < P - 1 samples of independent standard Gaussian features moves w - w*_i to (I - Q) x + Q y, Q the "
    "random projector, x = w - w*_i, y = w*_t - w*_i, whose squared length is |x|^2 - x'Qx + y'Qy.  Taking expectations, with features that are drawn "
    "anew for every environment, E[Q] = r I with r = n/P, and label noise of variance s^2, which adds v = n s^2/(P - n - 1), give "
    "E_t = (1 - r) E_{t-1} + r D_t + v, and so E_T = (1 - r)^T E_0 + sum of (1 - r)^{T-t} (r D_t + v) for every T.  Counted from E_0, the "
    "error right after environment i itself, E_T - E_0 is the expected forgetting of i: that sum less (1 - (1 - r)^T) E_0.",
    relations=(
        Relation("step", e.T * e, "==", x.T * x - x.T * Q * x + y.T * Q * y),
        Relation("average", then, "==", (1 - ratio) * now + ratio * away + noise),
        Relation("closed", error, "==", decay * start + gathered),
        Relation("forgetting", error - start, "==", gathered - (1 - decay) * start),
    ),
    assumptions=(
        Assumption("projector", "Q is an orthogonal projector", (Relation("", Q * Q, "==", Q),)),
        Assumption("update", "e = (I - Q) x + Q y", (Relation("", e, "==", x - Q * x + Q * y),), True),
        Assumption("isotropic", "E[Q] = r I, and Q is independent of x and y: E[x'Qx] = r |x|^2 and E[y'Qy] = r |y|^2", (
            Relation("", lost, "==", ratio * now), Relation("", gained, "==", ratio * away))),
        Assumption("expectation", "the mean of `step`, and what label noise of mean zero, independent of the rest, adds", (
            Relation("", then, "==", now - lost + gained + noise),), True),
    ),
    symbols={"E": "expected squared error after the last environment", "E_0": "at the start: of the first environment, or right after environment i", "rho": "(1 - r)^T", "S": "sum of the terms (1 - r)^{T-t} (r D_t + v)",
             "r": str(RATIO), "v": "what label noise adds, " + str(NOISE).replace("**", "^").replace("*", " "), "D": "|w*_t - w*_i|^2",
             "x_2": "|x|^2, an expectation where x is random", "y_2": "|y|^2", "e_2": "expected squared error after one update", "x_Q": "E[x'Qx]", "y_Q": "E[y'Qy]"},
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
    p.ideal("average", using=["expectation", "isotropic.1", "isotropic.2"], eliminate=[then, lost, gained],
            text="the expectation of a quadratic form in an isotropic projector")  # fmt: skip
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

    def mean(f: Any) -> Any:
        """Over a random projector: I with probability r, else 0, which is isotropic; or the given one alone."""
        eye = ops.eye(projector)
        return f(projector) if "alone" in i else share * f(eye) + (1 - share) * f(eye * 0)

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
        "x_2": ops.total_square(before),
        "y_2": ops.total_square(other),
        "x_Q": mean(lambda q: ops.T(before) @ q @ before),
        "y_Q": mean(lambda q: ops.T(other) @ q @ other),
        "e_2": mean(lambda q: ops.total_square(before - q @ before + q @ other)) + extra,
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
                                     "an overshooting update", "step"),
               "isotropic": Instance({"Q": unit([1, 0], [0, 0]), "x": [[1], [0]], "y": [[0], [0]], "D": [[1]], "E_0": [[1]], "r": [["1/2"]], "v": [[0]], "alone": [[1]]},
                                     "always the same projector, on the error itself", "average")},
    features_note="a statement about Gaussian features in expectation",
)  # fmt: skip
