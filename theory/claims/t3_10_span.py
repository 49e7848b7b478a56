"""T3.10: a linear head trained by gradient descent depends on the class prototypes through their scores and the initial logits only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import sqrt

from ..claim import Assumption, Claim, Statement
from ..language import (
    BlockRecursion,
    Inner,
    Input,
    Instance,
    Recursion,
    Relation,
    matrix,
    norm2,
    scalars,
    unit,
    vectors,
)
from ..proof import Proof, square, wedge

rate, error, total, bump, slack = scalars("eta n_E total bump slack")
X, W, W0, B = matrix("X", "m", "d"), matrix("W", "d", 1), matrix("W_0", "d", 1), matrix("B", "m", 1)
X2, V, V0 = matrix("X_2", "m", "d2"), matrix("V", "d2", 1), matrix("V_0", "d2", 1)
G, R, D, K = matrix("G", "m", "m"), matrix("R", "m", 1), matrix("D", "m", "m"), matrix("K", "m", "m")
Z, C, P, N, Y = (
    matrix("Z", "n", "f"),
    matrix("C", "k", "f"),
    matrix("P", "n", "k"),
    matrix("N", "n", "f"),
    matrix("Y", "k", 1),
)
J, J1, U, U1 = (matrix(name, "f", 1) for name in ("J", "J_1", "U", "U_1"))
gap, shrunk, pushed = vectors("E QE SU")

STATEMENT = Statement(
    text="On environments compressed to class prototypes a gradient step moves the head by -X'D R: R the residuals, any function of the logits "
    "X W (squared loss, cross-entropy), D the step size times the class frequencies of that step's environment.  So after any number of steps "
    "on any environments in any order W = W_0 + X'B and the logits are X W_0 + G B with G = X X'.  Two models with the same prototype scores G, "
    "the same initial logits, the same residual function and the same D have the same logits after every step, hence the same forgetting for every order.  "
    "Compression, squared loss, one class at a time: a step on all samples (head J) and one on the prototypes (head U) differ by "
    "eta N'N U, the within-class scatter of the head, and by the contraction of J - U; with a stable step size heads from a common start "
    "drift apart by at most the sum of these, |J - U| <= sum of eta |N'N U| over the steps.",
    relations=(
        Relation("span", W, "==", W0 + X.T * B),
        Relation("logits", X * W, "==", X * W0 + G * B),
        Relation("twins", X * W, "==", X2 * V),
        Relation("compression", J1 - U1, "==", J - U - rate * Z.T * Z * (J - U) - rate * N.T * N * U),
        Relation("one_step", sqrt(norm2(shrunk - pushed)), "<=", sqrt(norm2(gap)) + sqrt(norm2(pushed))),
        Relation("drift", error, "<=", total),
    ),
    assumptions=(
        Assumption("scores", "G holds the prototype scores", (Relation("", G, "==", X * X.T),), True),
        Assumption("same_scores", "the second model has the same prototype scores", (Relation("", X2 * X2.T, "==", X * X.T),)),
        Assumption("same_start", "the two models start with the same logits (both from zero, or from their text embeddings)", (
            Relation("", X2 * V0, "==", X * W0),)),
        Assumption("samples", "every feature is its class prototype plus a deviation", (Relation("", Z, "==", P * C + N),), True),
        Assumption("centred", "deviations sum to zero in every class", (Relation("", P.T * N, "==", 0 * (P.T * N)),), True),
        Assumption("sample_step", "J_1 is J after a step on all samples", (Relation("", J1, "==", J - rate * Z.T * (Z * J - P * Y)),), True),
        Assumption("prototype_step", "U_1 is U after a step on the prototypes", (
            Relation("", U1, "==", U - rate * C.T * P.T * (P * C * U - P * Y)),), True),
        Assumption("stable", "a step on the samples does not stretch: |E - eta Z'Z E| <= |E| for E = J - U (eta at most 2 over the largest curvature)", (
            Relation("", norm2(shrunk), "<=", norm2(gap)),), each=("left_over",)),
    ),
    symbols={
        "X": "class prototypes, in one row for every prototype and class, so that X W stacks all logits", "W": "head, its class columns stacked",
        "W_0": "initial head", "B": "what the steps have added, in prototypes", "G": "prototype scores", "R": "residuals of one step",
        "D": "step size times class frequencies of the step's environment", "X_2": "prototypes of a second model", "V": "its head",
        "V_0": "its initial head", "K": "the second model's residuals are R + K (X_2 V - X W): equal where the logits are, arbitrary elsewhere",
        "Z": "features of all samples", "C": "class prototypes, one row a class", "P": "class membership", "N": "deviations from the prototypes",
        "Y": "target of every class", "J": "head trained on all samples", "J_1": "one step later", "U": "head trained on the prototypes",
        "U_1": "one step later", "eta": "step size over the number of samples", "E": "J - U", "QE": "E - eta Z'Z E", "SU": "eta N'N U",
        "n_E": "|J - U| after some steps from a common start", "total": "sum of eta |N'N U| over these steps", "bump": "eta |N'N U| at one step",
        "slack": "what 'one_step' leaves over at one step",
    },
    recursions={
        "training": BlockRecursion(
            dim="steps", by="1", fresh=(R, D, K), grow={}, start={W: W0, B: 0 * (X * W0), V: V0},
            update={W: W - X.T * D * R, B: B - D * R, V: V - X2.T * D * (R + K * (X2 * V - X * W))},
        ),
        "apart": Recursion(
            start={error: 0, total: 0}, update={error: error + bump - slack, total: total + bump}, fresh=(bump, slack),
            given={"left_over": Relation("", 0, "<=", slack)},
        ),
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    p.blocks(
        "moves", [Relation("", W, "==", W0 + X.T * B)], recursion="training", text="by induction on the number of steps"
    )
    p.blocks("steps", [Relation("", X2 * V, "==", X * W)], recursion="training", using=["same_scores", "same_start"],
             text="by induction on the number of steps: equal logits have equal residuals, so both heads move by their own prototypes with the "
             "same coefficients, and equal scores keep the logits equal")  # fmt: skip
    p.free("span", using=[("moves.1", "W")], text="the head moves in the span of the prototypes")
    p.free("logits", using=[("moves.1", "W"), ("scores", "G")], text="multiply by the prototypes")
    p.free("twins", using=[("steps.1", "X_2 V")], text="the logits of both models, after any number of steps")
    p.free(
        "compression",
        using=[("sample_step", "J_1"), ("prototype_step", "U_1"), ("samples", "Z"), ("centred", "P' N")],
        text="deviations are orthogonal to class membership, so only their scatter is left",
    )
    new, old, push = (p.replaced[norm2(x)] for x in (shrunk - pushed, gap, pushed))
    p.positive("cauchy", norm2(shrunk) * norm2(pushed) - Inner(shrunk, pushed) ** 2,
               terms=[square(wedge(shrunk, pushed), coef="1/2")], text="Cauchy and Schwarz")  # fmt: skip
    p.positive("room", (old * push) ** 2 - Inner(shrunk, pushed) ** 2,
               terms=[square(facts=["cauchy"]), square(pushed, facts=["stable"])], using=[f"{old}.square", f"{push}.square"],
               eliminate=[norm2(gap), norm2(pushed)], text="the contracted error is no longer than the error")  # fmt: skip
    p.refute("mixed", old * push + Inner(shrunk, pushed),
             terms=[square(facts=["not", "not"]), square(facts=["not", f"{old}.sign", f"{push}.sign"], coef=2), square(facts=["room"])],
             text="take the root")  # fmt: skip
    p.refute(
        "one_step",
        terms=[square(facts=["not", "not"]), *(square(facts=["not", f"{r}.sign"], coef=2) for r in (old, push)),
               square(facts=["mixed"], coef=2), square(facts=["stable"])],
        using=[f"{r}.square" for r in (new, old, push)], eliminate=[norm2(shrunk), norm2(gap), norm2(pushed)], text="the triangle inequality",
    )  # fmt: skip
    p.induction(
        "drift", recursion="apart", relation=">=0",
        base=lambda p, name, goal: p.positive(name, goal, terms=[], text="both heads start at the same point"),
        step=lambda p, name, goal: p.positive(name, goal, terms=[square(facts=["hypothesis"]), square(facts=["left_over"])], text="one more step"),
        text="by induction on the number of steps, with 'one_step' at each",
    )  # fmt: skip


def stacked(x: Any, classes: int, ops: Any) -> Any:
    """One copy of ``x`` for every class, on the diagonal: the layout in which a head is one column."""
    rows, cols = ops.rows(x), ops.rows(ops.T(x))
    left, right = ops.eye(ops.ones(rows * classes, 1, x)), ops.eye(ops.ones(cols * classes, 1, x))
    out = None
    for k in range(classes):
        part = ops.T(left[..., k * rows : (k + 1) * rows, :]) @ x @ right[..., k * cols : (k + 1) * cols, :]
        out = part if out is None else out + part
    return out


def halves(count: int, like: Any, ops: Any) -> Any:
    """Membership of two classes: the first half of the samples and the rest."""
    eye, pair, first = ops.eye(ops.ones(count, 1, like)), ops.eye(ops.ones(2, 1, like)), (count + 1) // 2
    out = eye[..., :, :first] @ ops.ones(first, 1, like) @ pair[..., :1, :]
    rest = count - first
    return out if not rest else out + eye[..., :, first:] @ ops.ones(rest, 1, like) @ pair[..., 1:, :]


def training(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    """Two steps of both models, in matrix form, every model with residuals from its own logits."""
    first, start, targets = x["X"], ops.T(x["W_0"]), x["Y"]
    classes = ops.rows(x["W_0"])
    second = x["X_2"] if "X_2" in x else first - (first @ x["axis"]) @ ops.T(x["axis"]) * 2  # a reflected copy
    other = ops.T(x["V_0"]) if "V_0" in x else start - x["axis"] @ (ops.T(x["axis"]) @ start) * 2

    def residual(logits: Any) -> Any:
        weight = logits * logits + 1  # stands for exp in softmax: the classes are coupled, and all stays rational
        return weight * ops.reciprocal(weight @ ops.ones(classes, classes, weight)) + logits - targets

    one, two, added = start, other, targets * 0
    for k in range(2):  # the first step drops a class, as an environment without it does
        eye = ops.eye(first)
        share = eye - eye[..., :, :1] @ ops.T(eye[..., :, :1]) if k == 0 else eye
        step, step_2 = share @ residual(first @ one) * x["eta"], share @ residual(second @ two) * x["eta"]
        one, two, added = one - ops.T(first) @ step, two - ops.T(second) @ step_2, added - step

    def column(head: Any) -> Any:
        return ops.column(ops.flatten(ops.T(head)))

    return {
        "X": stacked(first, classes, ops), "W": column(one), "W_0": column(start), "B": column(added),
        "G": stacked(first @ ops.T(first), classes, ops), "X_2": stacked(second, classes, ops), "V": column(two), "V_0": column(other),
    }  # fmt: skip


def compression(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    """Two steps on the samples beside two steps on their class means, for the first class."""
    rows = x["Z"]
    member = x["P"] if "P" in x else halves(ops.rows(rows), rows, ops)
    counts = ops.T(member) @ ops.ones(ops.rows(rows), 1, rows)
    means = ops.T(member) @ rows * ops.reciprocal(ops.maximum(counts, ops.ones(1, 1, rows)))
    deviation = rows - member @ means
    width = ops.rows(ops.T(rows))
    target = ops.ones(ops.rows(means), 1, rows) - ops.eye(means)[..., :, :1] if "target" not in x else x["target"]
    size = x["eta_samples"] if "eta_samples" in x else x["eta"] * ops.reciprocal(ops.total_square(rows) + 1)
    full = small = ops.ones(width, 1, rows)
    sums = ops.ones(1, 1, rows) * 0
    for _ in range(2):
        before_full, before = full, small
        push = ops.T(deviation) @ (deviation @ small) * size
        full = full - ops.T(rows) @ (rows @ full - member @ target) * size
        small = small - ops.T(means) @ (counts * (means @ small - target)) * size
        sums = sums + ops.sqrt(ops.total_square(push))
    moved = before_full - before
    return {
        "Z": rows, "C": means, "P": member, "N": deviation, "Y": target, "J": before_full, "J_1": full, "U": before, "U_1": small, "eta": size,
        "E": ops.T(moved), "QE": ops.T(moved - ops.T(rows) @ (rows @ moved) * size), "SU": ops.T(push),
        "n_E": ops.sqrt(ops.total_square(full - small)), "total": sums,
    }  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    return training(x, ops) | compression(x, ops)


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        x, z, axis = view.span(view.prototypes(s), view.image(s), view.mean(view.text(s)))
        yield f"class prototypes of {view.name(s)}", {
            "X": x, "W_0": x[..., :1, :] * 0, "Y": x[..., :, :1], "axis": view.column(view.normalise(axis)), "eta": [["1/2"]], "Z": z,
            "P": view.onehot(s),
        }  # fmt: skip


PLAIN = {
    "X": unit([1, 0]), "W_0": unit([0, 0]), "V_0": unit([0, 0]), "Y": [[2]], "axis": [[1], [0]], "eta": [[1]], "Z": unit([1, 0]),
}  # fmt: skip
SPREAD = {**PLAIN, "Z": [[1], [-1]], "P": [[1], [1]], "target": [[0]]}  # one class, all scatter
FAINT = {
    **PLAIN,
    "W_0": unit([0, 0], [0, 0]),
    "V_0": unit([0, 0], [0, 0]),
    "Y": [[2, 0]],
    "Z": [[1], [-1], [0], [0]],
    "eta": [["1/1000"]],
}

CLAIM = Claim(
    id="T3.10",
    title="Training depends on prototypes through their scores",
    family="forgetting and order",
    source="new; representer argument for linear heads",
    paper="Forgetting is governed by the contributions.",
    statement=STATEMENT,
    inputs=(
        Input("X", "rows", "m", "d"), Input("W_0", "rows", "2", "d"), Input("Y", "rows", "m", "2"), Input("axis", "unit_column", "d"),
        Input("eta", "real", low="0"), Input("Z", "rows", "n", "f"),
    ),
    bind=bind,
    derive=derive,
    tight=(
        Instance(FAINT, "scatter in the direction of the error, a small step", "one_step"),
        Instance(FAINT, "the same, two steps from a common start", "drift"),
    ),
    necessity={
        "same_scores": Instance({**PLAIN, "X_2": unit([2, 0])}, "a longer prototype", "twins"),
        "same_start": Instance({**PLAIN, "X_2": unit([1, 0]), "V_0": unit([1, 0]), "eta": [["1/2"]]}, "another initial head", "twins"),
        "stable": Instance({**SPREAD, "eta_samples": [[5]]}, "a step size beyond stability", "one_step"),
    },
    on_features=on_features,
    notes=(
        "The second model computes its own residuals: whatever function of the logits they are, R_2 - R = K (X_2 V - X W) for some matrix K, because "
        "the difference vanishes where the logits agree.  No property of softmax is used, so cross-entropy is included without any trusted fact.",
        "'drift' sums 'one_step': n_E follows |J - U|, and the slack of each step is not negative by 'one_step'.",
        "With |U| <= M and s the largest eigenvalue of the within-class covariance, a step adds at most (step size) s M.",
        "The compression bound is for the squared loss; for cross-entropy T3.11 has one of first order in the deviations, T3.13 one of second.",
    ),
)  # fmt: skip
