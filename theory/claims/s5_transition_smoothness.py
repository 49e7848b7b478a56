"""S5: how far a cross-modal score moves when the text environment changes from t to t'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Abs, Rational, sqrt

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge

before, after, own, t_t, t_u, u_u = scalars("Con_IT_st Con_IT_su Con_II_ss Con_TT_tt Con_TT_tu Con_TT_uu")
c_t, eps = scalars("c_T e")
mu, nu, rho = vectors("mu_I_s mu_T_t mu_T_u")

STATEMENT = Statement(
    text="|Con_IT(s,t) - Con_IT(s,t')| <= sqrt(Con_II(s,s)) sqrt(Con_TT(t,t) + Con_TT(t',t') - 2 Con_TT(t,t')): along a "
    "transition of the text environment a cross-modal score moves no further than the text mean does, times the length of the image mean, which is at most "
    "1 for unit features.  Where the three text scores lie within e of some c_T, as in the paper's Environment Smooth Transition (its Assumption 4.3, taken "
    "to hold for t with itself too), (Con_IT(s,t) - Con_IT(s,t'))^2 <= 4 e Con_II(s,s).",
    relations=(
        Relation("smooth", Abs(before - after), "<=", sqrt(own) * sqrt(t_t + u_u - 2 * t_u)),
        Relation("transition", (before - after) ** 2, "<=", 4 * eps * own),
    ),
    assumptions=(
        Assumption("before", "Con_IT(s,t)", (Relation("", before, "==", Inner(mu, nu)),), True),
        Assumption("after", "Con_IT(s,t')", (Relation("", after, "==", Inner(mu, rho)),), True),
        Assumption("image", "Con_II(s,s)", (Relation("", own, "==", norm2(mu)),), True),
        Assumption("text_t", "Con_TT(t,t)", (Relation("", t_t, "==", norm2(nu)),), True),
        Assumption("text_tu", "Con_TT(t,t')", (Relation("", t_u, "==", Inner(nu, rho)),), True),
        Assumption("text_u", "Con_TT(t',t')", (Relation("", u_u, "==", norm2(rho)),), True),
        Assumption("within", "for `transition`: |Con_TT - c_T| <= e for t, t' and across, which says what c_T and e are", (
            Relation("", t_t, "<=", c_t + eps), Relation("", u_u, "<=", c_t + eps), Relation("", c_t - eps, "<=", t_u)), True),
    ),
    symbols={"mu_I_s": "mean image feature of s", "mu_T_t": "mean text feature of t", "mu_T_u": "mean text feature of t'",
             "Con_II_ss": "Con_II(s,s)", "Con_IT_st": "Con_IT(s,t)", "Con_IT_su": "Con_IT(s,t')", "Con_TT_tt": "Con_TT(t,t)",
             "Con_TT_tu": "Con_TT(t,t')", "Con_TT_uu": "Con_TT(t',t')", "c_T": "reference value of Con_TT", "e": "parameter of the transition"},
)  # fmt: skip


def derive(p: Proof) -> None:
    scores = ["before", "after", "image", "text_t", "text_tu", "text_u"]
    first = [before, after, own, t_t, t_u, u_u]
    p.positive(
        "squared",
        own * (t_t + u_u - 2 * t_u) - (before - after) ** 2,
        terms=[square(wedge(mu, nu - rho), coef=Rational(1, 2))],
        using=scores,
        eliminate=first,
        text="Cauchy and Schwarz for mu^I_s and mu^T_t - mu^T_t'",
    )
    p.positive("length", own, terms=[square(mu)], using=["image"], eliminate=[own], text="a squared length")
    p.positive("gap", 4 * eps - (t_t + u_u - 2 * t_u),
               terms=[square(facts=["within.1"]), square(facts=["within.2"]), square(facts=["within.3"], coef=2)],
               text="two scores of at most c_T + e, less twice one of at least c_T - e")  # fmt: skip
    p.positive("transition", terms=[square(facts=["squared"]), square(facts=["length", "gap"])], text="put it in")
    root_a, root_b = (p.replaced[e] for e in (own, t_t - 2 * t_u + u_u))
    for k, sign in ((1, 1), (2, -1)):
        p.refute(
            f"smooth.{k}",
            terms=[
                square(facts=["not", "not"]),
                square(facts=["not", f"{root_a}.sign", f"{root_b}.sign"], coef=2),
                square(facts=["squared"]),
            ],
            using=[f"{root_a}.square", f"{root_b}.square"],
            eliminate=[root_a, root_b],
            text=f"were {'+' if sign > 0 else '-'}(difference) larger than the product of the roots, so would be its square",
        )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    a, b, c = (ops.mean_row(x[k]) for k in ("U", "V", "W"))

    def con(y: str, z: str) -> Any:
        return ops.mean_entry(x[y] @ ops.T(x[z]))

    same, other, across = con("V", "V"), con("W", "W"), con("V", "W")
    high = ops.maximum(same, other)
    half = ops.ratio(1, 2)
    return {
        "c_T": (high + across) * half, "e": (high - across) * half,
        "Con_IT_st": con("U", "V"), "Con_IT_su": con("U", "W"), "Con_II_ss": con("U", "U"), "Con_TT_tt": same,
        "Con_TT_tu": across, "Con_TT_uu": other, "mu_I_s": a, "mu_T_t": b, "mu_T_u": c,
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        for t, u in zip(view.environments, view.environments[1:], strict=False):
            label = f"image {view.name(s)} / text {view.name(t)} -> {view.name(u)}"
            yield label, {"U": view.image(s), "V": view.text(t), "W": view.text(u)}


CLAIM = Claim(
    id="S5",
    title="Smoothness along a transition",
    family="contribution scores",
    source="new; for the cross-modal score, without Assumption 4.3 of arXiv 2606.14883 and under it",
    paper="Along an Environment Smooth Transition Con_II and Con_TT stay within e of reference values (Assumption 4.3).",
    statement=STATEMENT,
    inputs=(Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "M", "d"), Input("W", "unit_rows", "K", "d")),
    bind=bind,
    derive=derive,
    tight=(
        Instance(
            {"U": unit([1, 0]), "V": unit(["3/5", "4/5"], ["3/5", "-4/5"]), "W": unit(["-3/5", "4/5"], ["-3/5", "-4/5"])},
            "the text mean moves along the image mean", "smooth",
        ),
    ),
    necessity_note="nothing is assumed but that scores are averages, and of `transition` what e is; unit length is not used",
    on_features=on_features,
)  # fmt: skip
