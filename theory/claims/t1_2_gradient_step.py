"""T1.2: what one gradient step on one environment does to the loss of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Rational, Trace

from .. import softmax
from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Recursion, Relation, matrix, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge
from ..trust import TAYLOR_OF_LOG_SUM_EXP

eta, n = scalars("eta n")
Z, W, Y = matrix("Z", "N", "d"), matrix("W", "d", "C"), matrix("Y", "N", "C")
W_new, R, R_new = matrix("W_new", "d", "C"), matrix("R", "N", "C"), matrix("R_new", "N", "C")
G_s, G_t = matrix("G_s", "d", "C"), matrix("G_t", "d", "C")

# softmax: one sample z, classes one after the other: probability w, column g of the step, x = <z, g>
mass, first, second, square_mass, total, length = scalars("P A Q M S B")
w, drop, slope, step_size, curvature, gain = scalars("w D_CE slope eta_ce H gain")
z, g = vectors("z g")
x = Inner(z, g)
remainder = drop + step_size * slope
# the same sample, one entry a class: predictions, their logarithms, how far the step moves the logits, and the label
pi, log_old, log_new, move, label = vectors("pi log_old log_new move label")

STATEMENT = Statement(
    text="One step W_new = W - eta G_t changes the squared loss L_s = E_s|W'z - y|^2 / 2 by exactly -eta <g_s, G_t> + eta^2/2 E_s|G_t' z|^2. "
    "For softmax cross-entropy and a sample z the remainder lies between 0 and eta^2/4 |z|^2 |G_t|^2, because the Hessian in the "
    "logits satisfies 0 <= diag(pi) - pi pi' <= I/2 for any number of classes; means over a sample inherit both bounds.  So the largest "
    "eigenvalue B_s of the loss Hessian in W is at most max|z|^2 / 2.  "
    "That remainder is the divergence sum_c pi_c (log pi_c - log pi'_c) of the predictions after the step from those before, whatever the "
    "label and for steps of any length.",
    relations=(
        Relation(
            "squared", Trace(R_new * R_new.T) - Trace(R * R.T), "==",
            -2 * eta * n * Trace(G_s.T * G_t) + eta**2 * Trace(G_t.T * Z.T * Z * G_t),
        ),
        Relation("convex", 0, "<=", remainder),
        Relation("half_step", remainder, "<=", step_size**2 * total / 4),
        Relation("half", remainder, "<=", step_size**2 * norm2(z) * length / 4),
        Relation("divergence", remainder, "==", Inner(pi, log_old - log_new)),
    ),
    assumptions=(
        Assumption("step", "one gradient step on t", (Relation("", W_new, "==", W - eta * G_t),), True),
        Assumption("residual", "residuals on s before", (Relation("", R, "==", Z * W - Y),), True),
        Assumption("residual_new", "residuals on s after", (Relation("", R_new, "==", Z * W_new - Y),), True),
        Assumption("gradient", "g_s = E_s[z r']", (Relation("", n * G_s, "==", Z.T * R),), True),
        Assumption("probabilities", "the softmax sums to 1", (Relation("", mass, "==", 1),), True),
        Assumption("softmax", "and none of its entries is negative", (), True, ("weight",)),
        Assumption("curvature", "H is the second derivative of the loss along the step, somewhere on it: sum w x^2 - (sum w x)^2 over "
                   "classes, with w = softmax there", (Relation("", curvature, "==", second - first**2),), True),
        Assumption("taylor", "the change of the loss is its first-order term and half of eta^2 times H", (
            Relation("", 2 * remainder, "==", step_size**2 * curvature),), True),
        Assumption("logarithms", "log-probabilities are logits less their log-sum-exp, which rises by `gain`; predictions and label sum to 1", (
            Relation("", Inner(pi, log_new) - Inner(pi, log_old), "==", Inner(pi, move) - gain),
            Relation("", Inner(label, log_new) - Inner(label, log_old), "==", Inner(label, move) - gain)), True),
        Assumption("loss", "cross-entropy is -<label, log-probabilities>", (
            Relation("", drop, "==", Inner(label, log_old) - Inner(label, log_new)),), True),
        Assumption("slope", "its gradient in the logits is pi - label, and the step moves them by `move`", (
            Relation("", step_size * slope, "==", Inner(label, move) - Inner(pi, move)),), True),
    ),
    symbols={
        "Z": "features of s as rows", "W": "head before the step", "W_new": "after", "Y": "targets", "R": "residuals before the step", "R_new": "after", "G_s": "gradient of the squared loss on s",
        "G_t": "the step's direction, the gradient on t", "n": "number of samples of s", "eta": "step size",
        "z": "feature of one sample", "D_CE": "change of its cross-entropy", "slope": "<gradient of its cross-entropy, G_t>",
        "eta_ce": "step size", "P": "sum of w", "A": "sum of w x", "Q": "sum of w x^2", "M": "sum of w^2 x^2", "S": "|G_t' z|^2",
        "B": "|G_t|^2 (Frobenius)", "g": "a column of G_t", "w": "softmax probability of its class",
        "pi": "softmax before the step", "log_old": "its logarithm", "log_new": "logarithm of the softmax after the step", "move": "W_new'z - W'z",
        "label": "its label, one-hot or soft", "gain": "log-sum-exp of the logits after less before",
    },
    recursions={
        "classes": Recursion(
            start={mass: 0, first: 0, second: 0, square_mass: 0, total: 0, length: 0},
            update={
                mass: mass + w, first: first + w * x, second: second + w * x**2, square_mass: square_mass + w**2 * x**2,
                total: total + x**2, length: length + norm2(g),
            },
            fresh=(w, g), given={"weight": Relation("", 0, "<=", w)},
        ),
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free("moved", Relation("", R_new, "==", R - eta * Z * G_t), using=[("residual_new", "R_new"), ("step", "W_new"), ("residual", "Z W")],
           text="residuals move by -eta Z G_t")  # fmt: skip
    p.free("squared", using=[("moved", "R_new"), ("gradient", "Z' R")], text="expand the square: the loss is quadratic")

    form = softmax.Form(x, w, mass, first, second)
    softmax.weights(p, form)
    softmax.covariance(p, form)
    softmax.half(p, form, square_mass, total)
    softmax.induct(p, form, "frobenius", norm2(z) * length - total, softmax.grows(square(wedge(z, g), coef=Rational(1, 2))),
                   "Cauchy and Schwarz, class by class")  # fmt: skip
    p.positive("spread", curvature, terms=[square(facts=["variance"])], using=["curvature", "probabilities"], eliminate=[curvature, mass],
               text="diag(pi) - pi pi' >= 0")  # fmt: skip
    p.positive("flat", total / 2 - curvature, terms=[square(facts=["own"]), square(facts=["pairs"])], using=["curvature", "probabilities"],
               eliminate=[curvature, mass], text="diag(pi) - pi pi' <= I/2: the remainder is a sum of squares")  # fmt: skip
    p.positive("convex", terms=[square(step_size, facts=["spread"], coef=Rational(1, 2))], using=["taylor"], eliminate=[drop],
               text="convexity")  # fmt: skip
    p.positive("half_step", terms=[square(step_size, facts=["flat"], coef=Rational(1, 2))], using=["taylor"], eliminate=[drop],
               text="half of eta^2 times the curvature")  # fmt: skip
    p.positive("half", terms=[square(facts=["half_step"]), square(step_size, facts=["frobenius"], coef=Rational(1, 4))],
               text="|G_t' z|^2 <= |z|^2 |G_t|^2")  # fmt: skip
    p.ideal("divergence", using=["loss", "slope", "logarithms.1", "logarithms.2"], eliminate=[drop, slope, Inner(label, log_new), gain],
            text="the loss less its tangent in the logits is log-sum-exp less its own tangent, which knows no label")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows, targets, size = x["Z"], x["Y"], x["eta"]
    head, direction = ops.T(x["W"]), ops.T(x["G_t"])  # given with one class a row
    count = ops.rows(rows)
    new_head = head - size * direction
    residual, new_residual = rows @ head - targets, rows @ new_head - targets
    sample, label = ops.row(rows, 0), x["y"]  # cross-entropy of the first sample, with soft label y

    def cross_entropy(logits: Any) -> Any:
        return ops.log(ops.exp(logits) @ ops.ones(classes, 1, logits)) - logits @ label

    def softmax(logits: Any) -> Any:
        exps = ops.exp(logits)
        return exps * ops.reciprocal(exps @ ops.ones(classes, 1, exps))

    logits, classes = sample @ head, head.shape[-1]
    moved, predicted = sample @ direction, softmax(logits)
    ones = ops.ones(classes, 1, rows)
    return {
        "eta": size, "n": ops.ones(1, 1, rows) * count, "Z": rows, "W": head, "W_new": new_head, "Y": targets, "R": residual,
        "R_new": new_residual, "G_s": ops.T(rows) @ residual * ops.ratio(1, count), "G_t": direction,
        "z": sample, "eta_ce": size, "D_CE": cross_entropy(sample @ new_head) - cross_entropy(logits),
        "slope": (predicted - ops.T(label)) @ ops.T(moved), "S": ops.total_square(moved), "B": ops.total_square(direction),
        "pi": predicted, "log_old": ops.log(predicted), "log_new": ops.log(softmax(sample @ new_head)), "move": -1 * size * moved, "label": ops.T(label),
        "gain": ops.log(ops.exp(sample @ new_head) @ ones) - ops.log(ops.exp(logits) @ ones),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        yield f"from the class texts of {view.name(s)} towards those of {view.name(t)}", {
            "Z": view.image(s), "W": view.class_texts(s), "Y": view.onehot(s), "G_t": view.class_texts(t), "eta": [["1/10"]], "y": view.column(view.onehot(s)[:1]),
        }  # fmt: skip


CLAIM = Claim(
    id="T1.2",
    title="One gradient step",
    family="loss drift",
    source="new; the Hessian bound is that of Boehning, 1992, with a sum-of-squares proof",
    paper="The loss drift is linear in Con_IT and Con_TI.",
    statement=STATEMENT,
    inputs=(
        Input("Z", "rows", "N", "d"), Input("W", "rows", "C", "d"), Input("Y", "rows", "N", "C"), Input("G_t", "rows", "C", "d"),
        Input("eta", "real", low="0", high="1"), Input("y", "simplex", "C"),
    ),
    bind=bind,
    derive=derive,
    trust=(TAYLOR_OF_LOG_SUM_EXP,),
    tight=(
        Instance({"Z": unit([1]), "W": unit([1]), "Y": unit([0]), "G_t": unit([1]), "eta": [[1]], "y": [[1]]}, "a quadratic", "squared"),
        Instance({"Z": unit([1]), "W": unit([0], [0]), "Y": unit([0, 0]), "G_t": unit([1], [-1]), "eta": [["1/10"]], "y": [[1], [0]]},
                 "two equally likely classes and a short step: log cosh(eta) against eta^2/2", "half"),
    ),
    necessity_note="nothing is assumed but the step: `squared` is an identity, and the softmax bounds hold for every head, step and label",
    on_features=on_features,
    notes=(
        "Certified for any number of classes: I/2 - diag(pi) + pi pi' is the sum of (1 - 2 pi_c)^2 e_c e_c' / 2 and of "
        "pi_c pi_d (e_c + e_d)(e_c + e_d)' over pairs.",
        "The softmax part is stated for one sample.  A mean over a sample of numbers in [0, b] lies in [0, b], so E_s inherits it with "
        "max |z|^2, and more sharply the remainder is at most eta^2/4 E_s|G_t' z|^2.",
        "The constant 1/2 is best possible: two equally likely classes attain it in the Hessian, along (1, -1).  In the bound of the remainder it is "
        "approached as the step shrinks and not attained, unless both sides are zero.",
        "The step's direction is any matrix G_t, not only a gradient.",
        "`divergence` cites nothing: it is an identity in the logits, and so exact where the bounds, of second order in the step, are loose.",
    ),
)  # fmt: skip
