"""T3.3: how much the forgetting of two environments can differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Abs, Rational, sqrt

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge

f_s, f_t, kappa, lam = scalars("F_s F_t kappa lambda")
d_s, d_t, x, y_s, y_t = vectors("D_s D_t HsDs HtDs HtDt")
n_s, n_t, gap = sqrt(norm2(d_s)), sqrt(norm2(d_t)), sqrt(norm2(d_s - d_t))

STATEMENT = Statement(
    text="For quadratic losses at their minima F = <D, H D>/2, and |F_s - F_t| <= |H_s - H_t| |D_s|^2 / 2 + |H_t| |D_s - D_t| (|D_s| + |D_t|) / 2: "
    "two environments forget differently only as far as their curvatures or their displacements differ.",
    relations=(
        Relation("difference", Abs(f_s - f_t), "<=", kappa * norm2(d_s) / 2 + lam * gap * (n_s + n_t) / 2),
    ),
    assumptions=(
        Assumption("quadratic", "F = <D, H D>/2 (quadratic loss, learnt to its minimum)", (
            Relation("", 2 * f_s, "==", Inner(d_s, x)), Relation("", 2 * f_t, "==", Inner(d_t, y_t))), True),
        Assumption("symmetric", "H_t is symmetric", (Relation("", Inner(d_s, y_t), "==", Inner(d_t, y_s)),), True),
        Assumption("closeness", "kappa bounds |H_s - H_t|: |<D_s, (H_s - H_t) D_s>| <= kappa |D_s|^2", (
            Relation("", Abs(Inner(d_s, x - y_s)), "<=", kappa * norm2(d_s)),)),
        Assumption("norm", "lambda bounds |H_t|: |H_t (D_s + D_t)| <= lambda |D_s + D_t|", (
            Relation("", norm2(y_s + y_t), "<=", lam**2 * norm2(d_s + d_t)),)),
        Assumption("sign", "lambda is not negative", (Relation("", 0, "<=", lam),), True),
    ),
    symbols={"D_s": "w_T - w_s", "D_t": "w_T - w_t", "HsDs": "H_s D_s", "HtDs": "H_t D_s", "HtDt": "H_t D_t",
             "kappa": "bound of the norm of H_s - H_t", "lambda": "bound of the norm of H_t"},
)  # fmt: skip


def derive(p: Proof) -> None:
    r_s, r_t, r_gap = (p.replaced[norm2(v)] for v in (d_s, d_t, d_s - d_t))
    roots = [f"{r}.square" for r in (r_s, r_t, r_gap)]
    plus, minus, bent = d_s + d_t, d_s - d_t, y_s + y_t
    p.refute(
        "triangle", r_s * r_t - Inner(d_s, d_t),
        terms=[square(facts=["not", "not"]), square(facts=["not", f"{r_s}.sign", f"{r_t}.sign"], coef=2), square(wedge(d_s, d_t), coef=Rational(1, 2))],
        using=roots[:2], eliminate=[norm2(d_s), norm2(d_t)], text="Cauchy and Schwarz for D_s and D_t",
    )  # fmt: skip
    p.positive("squared", norm2(minus) * norm2(bent) - Inner(minus, bent) ** 2, terms=[square(wedge(minus, bent), coef=Rational(1, 2))],
               text="Cauchy and Schwarz for D_s - D_t and H_t (D_s + D_t)")  # fmt: skip
    p.positive("sum", (r_s + r_t) ** 2 - norm2(plus), terms=[square(facts=["triangle"], coef=2)], using=roots[:2],
               eliminate=[norm2(d_s), norm2(d_t)], text="|D_s + D_t| <= |D_s| + |D_t|")  # fmt: skip
    p.positive(
        "product", (lam * r_gap * (r_s + r_t)) ** 2 - Inner(minus, bent) ** 2,
        terms=[square(facts=["squared"]), square(minus, facts=["norm"]), square(lam, minus, facts=["sum"])],
        using=[roots[2]], eliminate=[r_gap], text="put the bounds of both factors",
    )  # fmt: skip
    p.positive("side", lam * r_gap * (r_s + r_t),
               terms=[square(facts=["sign", f"{r_gap}.sign", f"{r}.sign"]) for r in (r_s, r_t)], text="a product of nonnegative numbers")  # fmt: skip
    for k, sign in ((1, 1), (2, -1)):
        p.refute(
            f"mixed.{k}", lam * r_gap * (r_s + r_t) - sign * Inner(minus, bent),
            terms=[square(facts=["not", "not"]), square(facts=["not", "side"], coef=2), square(facts=["product"])],
            text="take the root",
        )  # fmt: skip
        p.positive(
            f"difference.{k}",
            terms=[square(facts=[f"closeness.{k}"], coef=Rational(1, 2)), square(facts=[f"mixed.{k}"], coef=Rational(1, 2))],
            using=["quadratic.1", "quadratic.2", "symmetric"], eliminate=[f_s, f_t],
            text="F_s - F_t = <D_s, (H_s - H_t) D_s>/2 + <D_s - D_t, H_t (D_s + D_t)>/2",
        )  # fmt: skip


def bind(v: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows_s, rows_t, move_s, move_t = v["Z_s"], v["Z_t"], v["D_s"], v["D_t"]
    hess_s, hess_t = (ops.T(z) @ z * ops.ratio(1, ops.rows(z)) for z in (rows_s, rows_t))
    half = ops.ratio(1, 2)

    def loss(rows: Any, move: Any) -> Any:  # from the minimum, where the residual is zero
        return ops.mean_square(rows @ ops.T(move)) * half

    difference = hess_s - hess_t
    top = v["lambda"] if "lambda" in v else ops.trace(hess_t)  # bounds every eigenvalue of a Gram matrix
    far = v["kappa"] if "kappa" in v else (1 + ops.total_square(difference)) * half  # at least the Frobenius norm
    return {
        "F_s": loss(rows_s, move_s), "F_t": loss(rows_t, move_t), "D_s": move_s, "D_t": move_t, "HsDs": move_s @ hess_s,
        "HtDs": move_s @ hess_t, "HtDt": move_t @ hess_t, "lambda": top, "kappa": far,
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    envs = view.environments
    for s, t in itertools.pairwise(envs):
        a, b, end, here, there = view.span(
            view.image(s),
            view.image(t),
            view.mean(view.image(envs[-1])),
            view.mean(view.image(s)),
            view.mean(view.image(t)),
        )
        yield f"{view.name(s)} and {view.name(t)}", {"Z_s": a, "Z_t": b, "D_s": end - here, "D_t": end - there}


ONE = {"Z_s": unit([1, 0]), "Z_t": unit([1, 0]), "D_s": unit([2, 0]), "D_t": unit([1, 0])}

CLAIM = Claim(
    id="T3.3",
    title="How much the forgetting of two environments differs",
    family="forgetting and order",
    source="new; exact form of the comparison of two environments in arXiv 2606.14883",
    paper="The difference in forgetting between two environments is bounded by the Hessian of the cross-modal contributions.",
    statement=STATEMENT,
    inputs=(
        Input("Z_s", "unit_rows", "N", "d"), Input("Z_t", "unit_rows", "M", "d"), Input("D_s", "rows", "1", "d"), Input("D_t", "rows", "1", "d"),
    ),
    bind=bind,
    derive=derive,
    tight=(Instance({**ONE, "kappa": [[0]], "lambda": [[1]]}, "equal curvature, aligned displacements", "difference"),),
    necessity={
        "closeness": Instance({**ONE, "Z_s": unit([0, 1]), "kappa": [[0]], "lambda": [["1/100"]], "D_s": unit([0, 2]), "D_t": unit([0, 1])},
                              "different curvatures, kappa = 0", "difference"),
        "norm": Instance({**ONE, "kappa": [[0]], "lambda": [["1/2"]]}, "lambda below the norm", "difference"),
    },
    on_features=on_features,
)  # fmt: skip
