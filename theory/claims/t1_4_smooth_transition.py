"""T1.4: the drift is linear in the two cross-modal scores, up to an explicit remainder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sympy
from sympy import Abs, Rational

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars
from ..proof import Proof, square

drift, eta, p_, q_, rho, rho_size = scalars("drift eta p q rho rho_size")
ii, it, ti, tt, c_i, c_t, eps = scalars("Con_II Con_IT Con_TI Con_TT c_I c_T e")
kernel, gram, d, d_size = scalars("K gram D D_size")
second, curvature, length = scalars("R B g_t2")
BETA = -eta * p_ * q_ * rho
ALPHA = -eta * rho * (p_**2 * c_i + q_**2 * c_t)

STATEMENT = Statement(
    text="Under Environment Smooth Transition with parameter e (|Con_II(s,t) - c_I| <= e, |Con_TT(s,t) - c_T| <= e) one gradient step of size "
    "eta on t changes the loss of s by beta (Con_IT + Con_TI) + alpha with beta = -eta p q rho, alpha = -eta rho (p^2 c_I + q^2 c_T), "
    "rho = <rbar_s, rbar_t>, up to eta |rho| (p^2 + q^2) e + eta |D| + eta^2/2 B |g_t|^2: D is the part of the gradients' inner product "
    "that the means do not explain (T1.3), B bounds the curvature of L_s (T1.2).",
    relations=(
        Relation(
            "linear", Abs(drift - BETA * (it + ti) - ALPHA), "<=",
            eta * rho_size * (p_**2 + q_**2) * eps + eta * d_size + eta**2 * curvature * length / 2,
        ),
    ),
    assumptions=(
        Assumption("smooth", "Environment Smooth Transition with parameter e", (
            Relation("", Abs(ii - c_i), "<=", eps), Relation("", Abs(tt - c_t), "<=", eps))),
        Assumption("step", "one step changes the loss by -eta <g_s, g_t> + R (T1.2)", (Relation("", drift, "==", -eta * gram + second),), True),
        Assumption("curvature", "|R| <= eta^2/2 B |g_t|^2 (T1.2)", (Relation("", Abs(second), "<=", eta**2 * curvature * length / 2),), True),
        Assumption("decoupled", "<g_s, g_t> = rho K + D (T1.3)", (Relation("", gram, "==", rho * kernel + d),), True),
        Assumption("kernel", "K = p^2 Con_II + p q (Con_IT + Con_TI) + q^2 Con_TT (T1.1)", (
            Relation("", kernel, "==", p_**2 * ii + p_ * q_ * (it + ti) + q_**2 * tt),), True),
        Assumption("forward", "the step size is not negative", (Relation("", 0, "<=", eta),), True),
        Assumption("size_rho", "rho_size = |rho|", (Relation("", Abs(rho), "<=", rho_size),), True),
        Assumption("size_d", "D_size = |D|", (Relation("", Abs(d), "<=", d_size),), True),
    ),
    symbols={
        "drift": "change of the loss of s", "eta": "step size", "p": "weight of the image", "q": "weight of the text", "e": "parameter of the "
        "transition", "c_I": "reference value of Con_II", "c_T": "of Con_TT", "rho": "inner product of the mean residuals", "rho_size": "|rho|",
        "K": "mean kernel", "gram": "<g_s, g_t>", "D": "remainder of the decoupling", "D_size": "|D|", "R": "second-order remainder",
        "B": "bound of the curvature of L_s", "g_t2": "|g_t|^2",
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    def side(name: str, x: Any) -> str:
        """The one of the two facts behind ``|x| <= bound`` that bounds ``x`` from above."""
        first, other = f"{name}.1", f"{name}.2"
        return first if sympy.expand(p.exprs[first] - p.exprs[other] + 2 * x) == 0 else other

    # rho (Con - c), in either sign, from |rho| <= rho_size and |Con - c| <= e, once for each modality
    for name, fact, x in (("image", "smooth.1", ii - c_i), ("text", "smooth.2", tt - c_t)):
        for label, sign in (("above", 1), ("below", -1)):
            p.positive(
                f"{name}_{label}", rho_size * eps - sign * rho * x,
                terms=[
                    square(facts=[side("size_rho", rho), side(fact, -sign * x)], coef=Rational(1, 2)),
                    square(facts=[side("size_rho", -rho), side(fact, sign * x)], coef=Rational(1, 2)),
                ],
                text="|rho| |Con - c| <= |rho| e",
            )  # fmt: skip
    for k, label, sign in ((1, "below", 1), (2, "above", -1)):
        p.positive(
            f"linear.{k}",
            terms=[
                square(p_, facts=["forward", f"image_{label}"]), square(q_, facts=["forward", f"text_{label}"]),
                square(facts=["forward", side("size_d", -sign * d)]), square(facts=[side("curvature", sign * second)]),
            ],
            using=["step", "decoupled", "kernel"], eliminate=[drift, gram, kernel],
            text="put T1.2, T1.3 and T1.1 together and bound what is not linear in the cross-modal scores",
        )  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    p, q, size, head = x["p"], x["q"], x["eta"], ops.T(x["W"])  # W is given with one class a row
    images, texts, targets = {}, {}, {}
    fused, mean_rows, mean_residuals, gradient = {}, {}, {}, {}
    for env in ("s", "t"):
        images[env], texts[env], targets[env] = x[f"U_{env}"], x[f"V_{env}"], x[f"Y_{env}"]
        fused[env] = p * images[env] + q * texts[env]
        residual = fused[env] @ head - targets[env]
        mean_rows[env], mean_residuals[env] = ops.mean_row(fused[env]), ops.mean_row(residual)
        gradient[env] = ops.T(fused[env]) @ residual * ops.ratio(1, ops.rows(residual))

    def loss(w: Any) -> Any:  # half the mean squared residual on s
        return ops.mean_square(fused["s"] @ w - targets["s"]) * ops.ratio(1, 2)

    change = loss(head - size * gradient["t"]) - loss(head)
    gram = ops.trace(ops.T(gradient["s"]) @ gradient["t"])
    rho = mean_residuals["s"] @ ops.T(mean_residuals["t"])
    kernel = ops.mean_entry(fused["s"] @ ops.T(fused["t"]))
    score = {
        a + b: ops.mean_entry(left["s"] @ ops.T(right["t"])) for a, left in (("I", images), ("T", texts)) for b, right in (("I", images), ("T", texts))
    }  # fmt: skip
    deviation = ops.maximum(ops.absolute(score["II"] - x["c_I"]), ops.absolute(score["TT"] - x["c_T"]))
    rest = gram - rho * kernel
    return {
        "drift": change, "eta": size, "p": p, "q": q, "rho": rho, "rho_size": ops.absolute(rho), "Con_II": score["II"], "Con_IT": score["IT"],
        "Con_TI": score["TI"], "Con_TT": score["TT"], "c_I": x["c_I"], "c_T": x["c_T"], "e": x["slack"] * deviation, "K": kernel, "gram": gram,
        "D": rest, "D_size": ops.absolute(rest), "R": change + size * gram, "B": ops.mean_square(fused["s"]),
        "g_t2": ops.total_square(gradient["t"]),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        yield f"class-text head of {view.name(s)}, one step on {view.name(t)}", {
            "U_s": view.image(s), "V_s": view.text(s), "Y_s": view.onehot(s), "U_t": view.image(t), "V_t": view.text(t), "Y_t": view.onehot(t),
            "W": view.class_texts(s), "p": [["1/2"]], "q": [["1/2"]], "eta": [["1/10"]], "c_I": [[1]], "c_T": [[1]], "slack": [[1]],
        }  # fmt: skip


def constant(u: str | int, label_s: int, label_t: int, slack: int, c_i: int = 0) -> Mapping[str, Any]:
    """One dimension, one class, one sample an environment, head zero, images only."""
    return {
        "U_s": [[u]], "V_s": [[1]], "Y_s": [[label_s]], "U_t": [[1]], "V_t": [[1]], "Y_t": [[label_t]], "W": [[0]], "p": [[1]], "q": [[0]],
        "eta": [["1/2"]], "c_I": [[c_i]], "c_T": [[1]], "slack": [[slack]],
    }  # fmt: skip


CLAIM = Claim(
    id="T1.4",
    title="Drift under a smooth transition",
    family="loss drift",
    source="exact form of the drift theorem of arXiv 2606.14883 (its T1, under its Assumption 4.3)",
    paper="Under Environment Smooth Transition the loss drift is linear in Con_IT and Con_TI.",
    statement=STATEMENT,
    inputs=(
        *(Input(f"{kind}_{env}", "unit_rows", size, "d") for env, size in (("s", "N"), ("t", "M")) for kind in ("U", "V")),
        Input("Y_s", "rows", "N", "C"), Input("Y_t", "rows", "M", "C"), Input("W", "rows", "C", "d"),
        Input("p", "real", low="0", high="2"), Input("q", "real", low="0", high="2"), Input("eta", "real", low="0", high="1"),
        Input("c_I", "real"), Input("c_T", "real"), Input("slack", "real", low="1", high="2"),
    ),
    bind=bind,
    derive=derive,
    tight=(
        Instance(constant(-1, 1, 1, 1), "opposite images: the kernel's deviation and the curvature add up", "linear"),
    ),
    necessity={"smooth": Instance(constant(-1, 1, 1, 0), "the claimed parameter 0 is below the deviation 1", "linear")},
    on_features=on_features,
    notes=(
        "The remainder's bound is a sum of three: how far the uni-modal scores are from their reference values, how far features and residuals "
        "are from uncorrelated, and the curvature.  The drift is shown to be linear in the cross-modal scores only as far as these are small.",
        "Cross-modal scores enter with the same coefficient beta1 = beta2, which vanishes for p q = 0 (one modality alone) and for rho = 0.",
        "Checked on the squared loss with B = E_s|z|^2; for softmax cross-entropy T1.2 gives B = max|z|^2 / 2 and the same relation.",
    ),
)  # fmt: skip
