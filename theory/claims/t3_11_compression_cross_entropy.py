"""T3.11: what class prototypes lose under cross-entropy: a step on the samples against a step on the class means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sympy import sqrt

from .. import pushes, softmax
from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Recursion, Relation, matrix, norm2, scalars, unit, vectors
from ..proof import Proof, square
from ..trust import TAYLOR_OF_SOFTMAX
from .t3_10_span import halves

Z, C, P, N, A = (
    matrix("Z", "n", "f"),
    matrix("C", "k", "f"),
    matrix("P", "n", "k"),
    matrix("N", "n", "f"),
    matrix("A", "n", "n"),
)
R, Q, Y = matrix("R", "n", "c"), matrix("Q", "k", "c"), matrix("Y", "k", "c")
S, S1 = matrix("S", "n", "c"), matrix("S_1", "k", "c")

# softmax at one sample, classes one after the other: probability w, change of the residual e, change of the logit b
mass, eta = scalars("P_s eta")
moved, shift = scalars("r_2 b_2")  # sums of e^2 and of b^2
w, e, b = scalars("w e b")
A_e, A_b, Q_ee, Q_eb, Q_bb, M_ee, M_bb = scalars("A_e A_b Q_ee Q_eb Q_bb M_ee M_bb")
# the samples one after the other
length, scatter = scalars("z_2 s_2")
omega, zeta, eps, beta = scalars("omega zeta epsilon beta")
gap, shrunk, F, f = vectors("E QE F f")

STATEMENT = Statement(
    text="Softmax cross-entropy, weights omega_i on the samples of an environment, class means as prototypes.  At a head U a step on the samples and "
    "one on the prototypes differ by eta F with F = sum of omega_i z_i (r_i - q_k(i))', r_i and q_k the residuals at the sample and at its prototype: "
    "the deviations sum to zero in every class, so the prototypes' own residuals drop out.  The softmax moves at most half as far as the logits, "
    "|r_i - q_k| <= |U'n_i| / 2, so |F|^2 <= (sum of omega |z|^2) (sum of omega |U'n|^2) / 4: the compression error of a step is governed by the "
    "within-class scatter of the logits, tr(U' Sigma_w U), for any number of classes, any target of each and any head, zero or text initialised.  With a stable "
    "step size the heads J (samples) and U (prototypes) satisfy |J_1 - U_1| <= |J - U| + eta/2 sqrt(E|z|^2 E|U'n|^2) after it, E the sums above.",
    relations=(
        Relation("gradient", Z.T * A * R - C.T * P.T * A * P * Q, "==", Z.T * A * (S - P * S1)),
        Relation("softmax", 4 * moved, "<=", shift),
        Relation("push", 4 * norm2(F), "<=", length * scatter),
        Relation("step", sqrt(norm2(shrunk - eta * F)), "<=", sqrt(norm2(gap)) + eta * sqrt(length * scatter) / 2),
    ),
    assumptions=(
        Assumption("samples", "every feature is its class prototype plus a deviation", (Relation("", Z, "==", P * C + N),), True),
        Assumption("centred", "weighted deviations sum to zero in every class", (Relation("", P.T * A * N, "==", 0 * (P.T * A * N)),), True),
        Assumption("residuals", "residual = softmax - target, one target a class", (
            Relation("", R, "==", S - P * Y), Relation("", Q, "==", S1 - Y)), True),
        Assumption("probabilities", "the softmax sums to 1", (Relation("", mass, "==", 1),), True),
        Assumption("weights", "softmax weights and the weights of the samples are not negative", (), True, ("weight", "share")),
        Assumption("push", "a sample adds f = z (r - q)' to F, of length |z| |r - q|", (), True, ("rank_one",)),
        Assumption("half", "and |r - q| <= |U'n| / 2, which is `softmax`", (), True, ("half",)),
        Assumption("mean_value", "<e, e> = e'(diag(w) - w w')b with w the softmax somewhere between the two logits", (
            Relation("", moved, "==", Q_eb - A_e * A_b),), True),
        Assumption("forward", "the step size is not negative", (Relation("", 0, "<=", eta),), True),
        Assumption("stable", "a step on the samples does not stretch: |E - eta (g(J) - g(U))| <= |E| for E = J - U, g the gradient on the samples "
                   "(eta at most 2 over the largest curvature)", (Relation("", norm2(shrunk), "<=", norm2(gap)),)),
    ),
    symbols={
        "Z": "features of the samples", "C": "prototypes, one row a class", "P": "class membership", "N": "deviations from the prototypes",
        "A": "diagonal matrix of the weights omega", "R": "residuals at the samples", "Q": "residuals at the prototypes", "Y": "target of every class",
        "S": "softmax at the samples", "S_1": "softmax at the prototypes", "P_s": "sum of w over classes", "w": "softmax of one class, somewhere between the logits",
        "e": "change of the softmax of one class from prototype to sample", "b": "change of its logit, an entry of U'n",
        "r_2": "|r_i - q_k|^2, sum of e^2", "b_2": "|U'n_i|^2, sum of b^2", "A_e": "sum of w e", "A_b": "sum of w b", "Q_ee": "sum of w e^2",
        "Q_eb": "sum of w e b", "Q_bb": "sum of w b^2", "M_ee": "sum of w^2 e^2", "M_bb": "sum of w^2 b^2",
        "z_2": "sum of omega |z|^2", "s_2": "sum of omega |U'n|^2, the scatter of the logits", "F": "sum of omega z (r - q)', classes stacked",
        "f": "z (r - q)' of one sample", "omega": "its weight", "zeta": "its |z|", "epsilon": "its |r - q|", "beta": "its |U'n|",
        "E": "J - U", "QE": "E - eta (g(J) - g(U))", "eta": "step size",
    },
    recursions={
        "classes": Recursion(
            start=dict.fromkeys((mass, moved, shift, A_e, A_b, Q_ee, Q_eb, Q_bb, M_ee, M_bb), 0),
            update={
                mass: mass + w, moved: moved + e**2, shift: shift + b**2, A_e: A_e + w * e, A_b: A_b + w * b, Q_ee: Q_ee + w * e**2,
                Q_eb: Q_eb + w * e * b, Q_bb: Q_bb + w * b**2, M_ee: M_ee + w**2 * e**2, M_bb: M_bb + w**2 * b**2,
            },
            fresh=(w, e, b), given={"weight": Relation("", 0, "<=", w)},
        ),
        "data": Recursion(
            start={length: 0, scatter: 0, F: 0}, update={length: length + omega * zeta**2, scatter: scatter + omega * beta**2, F: F + omega * f},
            fresh=(omega, zeta, eps, beta, f),
            given={
                "share": Relation("", 0, "<=", omega), "rank_one": Relation("", norm2(f), "==", zeta**2 * eps**2),
                "half": Relation("", 4 * eps**2, "<=", beta**2),
            },
        ),
    },
    symmetric=("A",),
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free("gradient", using=[("residuals.1", "R"), ("residuals.2", "Q"), ("samples", "Z"), ("centred", "P' A N")],
           text="deviations are orthogonal to class membership, so a class' own residual meets its prototype only")  # fmt: skip
    curvature(p)
    p.positive(
        "softmax",
        terms=[square(facts=["form_eb"], coef=2), square(facts=["flat_e"], coef=8), square(facts=["flat_b"], coef=2)],
        using=["mean_value", "probabilities"], eliminate=[moved, mass],
        text="J = diag(w) - w w' satisfies 0 <= J <= I/2: 4 e'Jb <= 4 e'Je + b'Jb <= 2|e|^2 + |b|^2/2, and e'Jb is |e|^2",
    )  # fmt: skip
    push = pushes.Push(F, f, omega, length, zeta, scatter, beta, eps, "rank_one", "half")
    pushes.sums_of_squares(p, push)
    pushes.length_of_sum(p, "push", push)
    pushes.after_a_contraction(p, shrunk, gap, F, eta, length * scatter)


def curvature(p: Proof) -> None:
    """``0 <= diag(w) - w w'`` at 2e - b, and ``<= I/2`` at e and at b."""
    apart = softmax.Form(2 * e - b, w, mass, 2 * A_e - A_b, 4 * Q_ee - 4 * Q_eb + Q_bb, "_eb")
    softmax.weights(p, apart)
    softmax.covariance(p, apart)
    p.positive("form_eb", apart.second - apart.first**2, terms=[square(facts=["variance_eb"])], using=["probabilities"], eliminate=[mass],
               text="diag(w) - w w' >= 0, at 2e - b")  # fmt: skip
    for x, first, second, own, total in ((e, A_e, Q_ee, M_ee, moved), (b, A_b, Q_bb, M_bb, shift)):
        form = softmax.Form(x, w, mass, first, second, f"_{x}")
        softmax.covariance(p, form)
        softmax.half(p, form, own, total)
        p.positive(f"flat_{x}", total / 2 - second + first**2, terms=[square(facts=[f"own_{x}"]), square(facts=[f"pairs_{x}"])],
                   using=["probabilities"], eliminate=[mass], text=f"diag(w) - w w' <= I/2, at {x}")  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What the samples and the head of a model make; T3.13 speaks of the same."""

    rows: Any
    head: Any
    member: Any
    means: Any
    deviation: Any
    share: Any
    at_samples: Any
    at_means: Any
    error: Any
    moved: Any
    size: Any


def softmax_of(logits: Any, ops: Any) -> Any:
    exps = ops.exp(logits)
    return exps * ops.reciprocal(exps @ ops.ones(logits.shape[-1], 1, exps))


def setting(x: Mapping[str, Any], ops: Any) -> Setting:
    """Run the primitives: class means, the softmax at samples and means, a step on the samples from two heads."""
    rows, head = x["Z"], ops.T(x["U"])  # the head is given with one class a row
    count = ops.rows(rows)
    member = x["P"] if "P" in x else halves(count, rows, ops)
    sizes = ops.T(member) @ ops.ones(count, 1, rows)
    means = ops.T(member) @ rows * ops.reciprocal(ops.maximum(sizes, ops.ones(1, 1, rows)))
    share = ops.ratio(1, count)
    size = x["eta"] * ops.reciprocal(ops.total_square(rows) * share + 1) if "step" not in x else x["step"]
    at_samples, error = softmax_of(rows @ head, ops), ops.T(x["J_minus_U"])
    moved = error - ops.T(rows) @ (softmax_of(rows @ (head + error), ops) - at_samples) * share * size
    return Setting(
        rows,
        head,
        member,
        means,
        rows - member @ means,
        share,
        at_samples,
        softmax_of(means @ head, ops),
        error,
        moved,
        size,
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    m = setting(x, ops)
    target = x["Y"] if "Y" in x else ops.eye(x["U"])
    changes, shifts = m.at_samples - m.member @ m.at_means, m.deviation @ m.head
    return {
        "Z": m.rows, "C": m.means, "P": m.member, "N": m.deviation, "A": ops.eye(m.rows) * m.share, "Y": target, "S": m.at_samples, "S_1": m.at_means,
        "R": m.at_samples - m.member @ target, "Q": m.at_means - target, "F": ops.flatten(ops.T(m.rows) @ changes * m.share),
        "r_2": ops.total_square(changes[..., :1, :]), "b_2": ops.total_square(shifts[..., :1, :]),
        "z_2": ops.total_square(m.rows) * m.share, "s_2": ops.total_square(shifts) * m.share,
        "E": ops.flatten(m.error), "QE": ops.flatten(m.moved), "eta": m.size,
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        rows, head = view.span(view.image(s), view.class_texts(s))
        yield f"zero against text initialised, {view.name(s)}", {
            "Z": rows, "U": head, "J_minus_U": head * -1, "P": view.onehot(s), "eta": [["1"]],
        }  # fmt: skip


# one class around its mean zero, two samples, two classes of the head: r = tanh of half the logit difference
FAINT = {
    "Z": unit([1], [-1]),
    "P": [[1, 0], [1, 0]],
    "U": [["1/20"], ["-1/20"]],
    "J_minus_U": [[0], [0]],
    "Y": unit([1, 0], [0, 1]),
    "eta": [[1]],
}

CLAIM = Claim(
    id="T3.11",
    title="What prototypes lose under cross-entropy",
    family="forgetting and order",
    source="new; the softmax is 1/2-Lipschitz (Boehning, 1992, bounds its Jacobian), here with a sum-of-squares proof",
    paper="Forgetting is governed by the contributions.",
    statement=STATEMENT,
    inputs=(
        Input("Z", "rows", "n", "f"), Input("U", "rows", "c", "f"), Input("J_minus_U", "rows", "c", "f"), Input("Y", "rows", "2", "c"),
        Input("eta", "real", low="0"),
    ),
    bind=bind,
    derive=derive,
    trust=(TAYLOR_OF_SOFTMAX,),
    tight=(
        Instance(FAINT, "two equally likely classes and small logits", "softmax"),
        Instance(FAINT, "one class around zero: all of the features is scatter", "push"),
        Instance({**FAINT, "J_minus_U": [["-1/8000"], ["1/8000"]], "step": [["1/200"]]},
                 "the same, and a short step from heads that differ by as much as it adds", "step"),
    ),
    necessity={
        "stable": Instance({"Z": unit([1], [-1]), "P": [[1, 0], [1, 0]], "U": [[0], [0]], "J_minus_U": [["1/2"], ["-1/2"]],
                            "Y": unit([1, 0], [0, 1]), "eta": [[1]], "step": [[9]]},
                           "a step size beyond stability stretches the difference of the heads", "step"),
    },
    on_features=on_features,
    notes=(
        "The bound is first order in the within-class deviation, where that of the squared loss (T3.10) is second order.  F itself is second order here too, and T3.13 bounds "
        "it so: what is linear in the deviations sums to zero in every class.  "
        "With |z| <= 1, weights that sum to 1 and s the largest eigenvalue of the within-class covariance a step adds at most (step size) |U| sqrt(s) / 2.",
        "Steps add up as in T3.10 'drift': from a common start |J - U| is at most the sum of the bounds of the steps made.",
        "The constant 1/2 is best possible (two equally likely classes, small logits); it is approached and, where the logits differ, not attained.",
        "'stable' follows from the curvature bound of T1.2 for step sizes up to 4 / max|z|^2 and weights that sum to 1; it is assumed here, and measured.",
    ),
)  # fmt: skip
