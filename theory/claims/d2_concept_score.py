"""D2: contribution scores alone bound the separation of the concept score from below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Rational

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Recursion, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge
from ..trust import L2
from .d1_auroc_from_moments import MOMENTS, a, auroc, b, cantelli, gap, m_in, m_out, moments, one, v_in, v_out, won

con_tt, con_st, own, fall = scalars("Con_IT_tt Con_IT_st Con_TT_tt h")
n_in, n_out, sum_in, sum_out = scalars("n_in n_out Q_in Q_out")
mu_t, mu_s, nu, u, u_out = vectors("mu_I_t mu_I_s mu_T_t u u_out")

STATEMENT = Statement(
    text="Score an image u by <u, mu^T_t>, the mean text of the concept t.  Images of t (in) and of s (out) have mean scores Con_IT(t,t) "
    "and Con_IT(s,t), so D = Con_IT(t,t) - Con_IT(s,t): the lower Con_IT(s,t), the wider the gap.  For unit images the variances are at most "
    "Con_TT(t,t) - Con_IT(t,t)^2 and Con_TT(t,t) - Con_IT(s,t)^2, so for D >= 0 contribution scores alone give "
    "AUROC >= D^2 / (D^2 + 2 Con_TT(t,t) - Con_IT(t,t)^2 - Con_IT(s,t)^2).  That bound never falls where Con_IT(s,t) falls by some h, the other two "
    "scores as they are: with V(c) = 2 Con_TT(t,t) - Con_IT(t,t)^2 - c^2, D^2 V(Con_IT(s,t) - h) <= (D + h)^2 V(Con_IT(s,t)).",
    relations=(
        Relation("gap_of_means", gap, "==", con_tt - con_st),
        Relation("spread_in", v_in, "<=", own - con_tt**2),
        Relation("spread_out", v_out, "<=", own - con_st**2),
        Relation("separation", gap**2, "<=", auroc * (gap**2 + 2 * own - con_tt**2 - con_st**2)),
        Relation("monotone", gap**2 * (2 * own - con_tt**2 - (con_st - fall) ** 2), "<=", (gap + fall) ** 2 * (2 * own - con_tt**2 - con_st**2)),
    ),
    assumptions=(
        Assumption("unit", "images have unit length", each=("unit",)),
        *MOMENTS,
        Assumption("lower", "for `monotone`: Con_IT(s,t) falls by h", (Relation("", 0, "<=", fall),)),
        Assumption("score_in", "the mean score of t", (Relation("", m_in, "==", Inner(mu_t, nu)),), True),
        Assumption("score_out", "the mean score of s", (Relation("", m_out, "==", Inner(mu_s, nu)),), True),
        Assumption("con_tt", "Con_IT(t,t) (S1)", (Relation("", con_tt, "==", Inner(mu_t, nu)),), True),
        Assumption("con_st", "Con_IT(s,t)", (Relation("", con_st, "==", Inner(mu_s, nu)),), True),
        Assumption("text", "Con_TT(t,t)", (Relation("", own, "==", norm2(nu)),), True),
        Assumption("count_in", "there is an image of t", (Relation("", 1, "<=", n_in),), True),
        Assumption("count_out", "there is an image of s", (Relation("", 1, "<=", n_out),), True),
        Assumption("squares_in", "Q_in sums the squared scores of t", (Relation("", n_in * (v_in + m_in**2), "==", sum_in),), True),
        Assumption("squares_out", "Q_out sums the squared scores of s", (Relation("", n_out * (v_out + m_out**2), "==", sum_out),), True),
    ),
    symbols={
        "AUROC": "probability that an image of t scores higher than one of s", "D": "gap of the mean scores", "Con_IT_tt": "Con_IT(t,t)",
        "Con_IT_st": "Con_IT(s,t)", "Con_TT_tt": "Con_TT(t,t)", "V_in": "variance of the scores of t", "V_out": "of s",
        "Q_in": "sum of the squared scores of t", "Q_out": "of s", "n_in": "number of images of t", "n_out": "of s",
        "mu_T_t": "mean text of t: the concept", "mu_I_t": "mean image of t", "mu_I_s": "mean image of s", "u": "an image of t", "u_out": "of s",
        "m_in": "mean score of t", "m_out": "mean score of s", "X_in": "score of an image of t", "X_out": "of s", "won": "1 where in > out, else 0",
        "h": "by how much Con_IT(s,t) falls",
    },
    recursions={
        name: Recursion(start={count: 0, total: 0}, update={count: count + 1, total: total + Inner(image, nu) ** 2}, fresh=(image,),
                        given={"unit": Relation("", norm2(image), "==", 1)})
        for name, count, total, image in (("in", n_in, sum_in, u), ("out", n_out, sum_out, u_out))
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    p.ideal("gap_of_means", con_tt - con_st - gap, using=["gap", "score_in", "score_out", "con_tt", "con_st"],
            eliminate=[gap, con_tt, con_st, m_in, m_out], text="scores average to inner products of means")  # fmt: skip
    for side, count, total, image, mean, con, name in (
        ("in", n_in, sum_in, u, m_in, con_tt, "con_tt"), ("out", n_out, sum_out, u_out, m_out, con_st, "con_st"),
    ):  # fmt: skip
        p.induction(
            f"length_{side}", count * norm2(nu) - total, recursion=side, relation=">=0",
            base=lambda p, label, goal: p.positive(label, goal, terms=[], text="no image yet"),
            step=lambda p, label, goal, image=image: p.positive(
                label, goal, terms=[square(facts=["hypothesis"]), square(wedge(image, nu), coef=Rational(1, 2))], using=["unit"],
                eliminate=[norm2(image)], text="Cauchy and Schwarz for one more image"),
            text="squared scores of unit images sum to at most n |mu^T|^2",
        )  # fmt: skip
        p.refute(
            f"spread_{side}",
            terms=[square(facts=["not"]), square(facts=["not", f"count_{side}"]), square(facts=[f"length_{side}"])],
            using=["text", name, f"score_{side}", f"squares_{side}"], eliminate=[own, con, total, mean],
            text="divide by n: the second moment is at most Con_TT(t,t)",
        )  # fmt: skip
    cantelli(p)
    p.positive(
        "separation", terms=[square(facts=["cantelli"]), square(won, facts=["spread_in"]), square(won, facts=["spread_out"])],
        using=["auroc", "indicator"], eliminate=[norm2(won), auroc], text="put the larger variances into D1",
    )  # fmt: skip
    for side, con, score, mean in (("in", con_tt, a, m_in), ("out", con_st, b, m_out)):
        p.positive(f"room_{side}", own - con**2, terms=[square(facts=[f"spread_{side}"]), square(score - mean * one)],
                   using=[f"variance_{side}"], text="Con_TT(t,t) exceeds the square by a variance at least")  # fmt: skip
    p.positive(
        "monotone",
        terms=[
            square(facts=["lower", "order", "room_in"], coef=3), square(facts=["lower", "order", "room_out"]), square(gap, facts=["lower", "order"]),
            square(fall, facts=["room_in"]), square(fall, facts=["room_out"]), square(gap, fall),
        ],
        using=["gap_of_means"], eliminate=[con_tt],
        text="(D + h)^2 V(c) - D^2 V(c - h) = h D (3 (Con_TT - Con_IT(t,t)^2) + Con_TT - c^2 + D^2) + h^2 (V(c) + D^2)",
    )  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    inside, outside, texts = x["U_t"], x["U_s"], x["V_t"]
    concept = ops.mean_row(texts)
    scores = [images @ ops.T(concept) for images in (inside, outside)]
    unity = ops.ones(1, 1, texts)
    return moments(scores[0], scores[1], ops) | {
        "Con_IT_tt": ops.mean_entry(inside @ ops.T(texts)), "Con_IT_st": ops.mean_entry(outside @ ops.T(texts)),
        "Con_TT_tt": ops.mean_entry(texts @ ops.T(texts)), "mu_I_t": ops.mean_row(inside), "mu_I_s": ops.mean_row(outside), "mu_T_t": concept,
        "n_in": unity * ops.rows(inside), "n_out": unity * ops.rows(outside),
        "h": x["h"],
        "Q_in": ops.total_square(scores[0]), "Q_out": ops.total_square(scores[1]),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for t in view.environments:
        for s in view.environments:
            if s != t:
                inputs = {"U_t": view.image(t)[:200], "U_s": view.image(s)[:200], "V_t": view.text(t), "h": [["1/8"]]}
                yield f"images of {view.name(t)} against {view.name(s)}, concept {view.name(t)}", inputs


AXIS = unit([1, 0])
BOTH = unit([1, 0], [-1, 0])

CLAIM = Claim(
    id="D2",
    title="Contribution scores bound OOD separation",
    family="OOD detection",
    source="new",
    paper="Lower Con_IT goes with better OOD separation.",
    statement=STATEMENT,
    inputs=(Input("U_t", "unit_rows", "N", "d"), Input("U_s", "unit_rows", "M", "d"), Input("V_t", "unit_rows", "K", "d"),
            Input("h", "real", low="0")),
    bind=bind,
    derive=derive,
    trust=(L2,),
    tight=(
        Instance({"U_t": BOTH, "U_s": unit([-1, 0]), "V_t": AXIS, "h": [[0]]}, "images along the concept or against it, out-images against it", "separation"),
        Instance({"U_t": BOTH, "U_s": BOTH, "V_t": AXIS, "h": [[0]]}, "images along the concept or against it", "spread_in"),
        Instance({"U_t": BOTH, "U_s": BOTH, "V_t": AXIS, "h": [[0]]}, "images along the concept or against it", "spread_out"),
        Instance({"U_t": BOTH, "U_s": unit([-1, 0]), "V_t": AXIS, "h": [[0]]}, "a score that stays", "monotone"),
    ),
    necessity={
        "lower": Instance({"U_t": unit([1, 0], [0, 1]), "U_s": unit([0, 1]), "V_t": AXIS, "h": [["-1/2"]]}, "Con_IT(s,t) rises to Con_IT(t,t)", "monotone"),
        "order": Instance({"U_t": unit([0, 1]), "U_s": unit(["3/5", "4/5"]), "V_t": AXIS, "h": [[0]]}, "images of s fit the concept better", "separation"),
        "unit": Instance({"U_t": unit([3, 0], [-1, 0]), "U_s": unit([0, 1]), "V_t": AXIS, "h": [[0]]}, "an image of length 3", "spread_in"),
    },
    on_features=on_features,
    notes=(
        "`cantelli` of D1 is proved again inside this certificate, so nothing is assumed of the scores but independence and order.",
        "New beside the gap: variances are bounded by scores too, so a lower bound of AUROC needs contribution scores alone; with measured "
        "variances (D1) it is never weaker.",
        "`separation` and `monotone` are written as products, which hold too where the fraction would be 0/0 (a mean text of 0).",
        "The bound grows with D even where that of V_out does: as Con_IT(s,t) falls from 1/4 to 0, with Con_IT(t,t) = 1/2 and Con_TT(t,t) = 1, from 1/28 to 1/8.",
    ),
)  # fmt: skip
