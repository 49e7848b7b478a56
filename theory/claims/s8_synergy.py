"""S8: alignment beyond the score is the trace of the cross-covariance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Identity, Rational, Trace

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, matrix, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge
from ..trust import L2

clv, con, own_i, own_t, len_u, len_v, n = scalars("CLV Con_IT Con_II Con_TT q_u q_v n")
u, v, mu, nu = vectors("u v mu nu")
U, V, A, B = matrix("U", "N", "d"), matrix("V", "N", "d"), matrix("A", "N", "d"), matrix("B", "N", "d")
X, one = matrix("Sigma_uv", "d", "d"), matrix("one", "N", 1)
m_u, m_v = matrix("m_u", "d", 1), matrix("m_v", "d", 1)

STATEMENT = Statement(
    text="CLV(t) - Con_IT(t,t) = E<u - mu^I, v - mu^T> = trace of the cross-covariance of image and text: what matched pairs agree on "
    "beyond their environment's means.  It is at most sqrt(1 - Con_II(t,t)) sqrt(1 - Con_TT(t,t)) in size for unit features.",
    relations=(
        Relation("synergy", clv - con, "==", Inner(u - mu, v - nu)),
        Relation("matrix", U.T * V - n * m_u * m_v.T, "==", n * X),
        Relation("trace", Trace(U.T * V) - n * Trace(m_u * m_v.T), "==", n * Trace(X)),
        Relation("bound", (clv - con) ** 2, "<=", (1 - own_i) * (1 - own_t)),
    ),
    assumptions=(
        Assumption("unit", "features have mean squared length 1 (unit vectors do)", (
            Relation("", len_u, "==", 1), Relation("", len_v, "==", 1))),
        Assumption("length_u", "q_u = E|u|^2", (Relation("", len_u, "==", norm2(u)),), True),
        Assumption("length_v", "q_v = E|v|^2", (Relation("", len_v, "==", norm2(v)),), True),
        Assumption("aligned", "CLV = E<u, v> over matched pairs", (Relation("", clv, "==", Inner(u, v)),), True),
        Assumption("score", "Con_IT = <mu, nu> (S1)", (Relation("", con, "==", Inner(mu, nu)),), True),
        Assumption("image", "Con_II = |mu|^2 (S1)", (Relation("", own_i, "==", norm2(mu)),), True),
        Assumption("text", "Con_TT = |nu|^2 (S1)", (Relation("", own_t, "==", norm2(nu)),), True),
        Assumption("mean_u", "mu = E u, so E<u - mu, .> vanishes on constants", (
            Relation("", Inner(u - mu, mu), "==", 0), Relation("", Inner(u - mu, nu), "==", 0)), True),
        Assumption("mean_v", "nu = E v, so E<v - nu, .> vanishes on constants", (
            Relation("", Inner(v - nu, nu), "==", 0), Relation("", Inner(v - nu, mu), "==", 0)), True),
        Assumption("count", "n is the number of pairs", (Relation("", one.T * one, "==", n * Identity(1)),), True),
        Assumption("parts_u", "U is its mean m_u plus the centred features A", (Relation("", U, "==", one * m_u.T + A),), True),
        Assumption("parts_v", "V is its mean m_v plus the centred features B", (Relation("", V, "==", one * m_v.T + B),), True),
        Assumption("centred_u", "the rows of A sum to zero", (Relation("", A.T * one, "==", 0 * m_u),), True),
        Assumption("centred_v", "the rows of B sum to zero", (Relation("", B.T * one, "==", 0 * m_v),), True),
        Assumption("cross", "Sigma_uv is the cross-covariance of U and V", (Relation("", A.T * B, "==", n * X),), True),
    ),
    symbols={
        "CLV": "CLV(t), the mean inner product of matched pairs", "Con_IT": "Con_IT(t,t)", "Con_II": "Con_II(t,t)", "Con_TT": "Con_TT(t,t)",
        "u": "image feature, as an element of L2", "v": "text feature", "mu": "E u", "nu": "E v", "q_u": "E|u|^2", "q_v": "E|v|^2",
        "U": "the same images as rows", "V": "texts as rows", "m_u": "mean of U", "m_v": "mean of V", "Sigma_uv": "cross-covariance",
        "one": "a column of ones",
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    means = ["mean_u.1", "mean_u.2", "mean_v.1", "mean_v.2"]
    p.ideal("synergy", using=["aligned", "score", *means], eliminate=[clv, con, Inner(u, nu), Inner(v, mu)],
            text="E<u, v> = E<u - mu, v - nu> + <mu, nu>")  # fmt: skip
    p.free(
        "matrix",
        using=[("parts_u", "U"), ("parts_v", "V"), ("count", "one' one"), "centred_u", "centred_v", ("cross", "A' B")],
        text="the same for the whole matrix U'V: deviations sum to zero, the means and the cross-covariance are left",
    )
    p.free("trace", using=[("matrix", "U' V")], text="take the trace")
    p.positive(
        "bound",
        terms=[square(wedge(u - mu, v - nu), coef=Rational(1, 2))],
        using=["image", "text", "unit.1", "unit.2", "length_u", "length_v", "synergy", *means],
        eliminate=[
            clv,
            own_i,
            own_t,
            norm2(u),
            norm2(v),
            len_u,
            len_v,
            Inner(u, mu),
            Inner(v, nu),
            Inner(u, nu),
            Inner(v, mu),
        ],
        text="Cauchy and Schwarz; E|u - mu|^2 = 1 - |mu|^2",
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    images, texts = x["U"], x["V"]
    count = ops.rows(images)
    mean_u, mean_v, ones = ops.mean_row(images), ops.mean_row(texts), ops.ones(count, 1, images)
    a, b = images - ones @ mean_u, texts - ones @ mean_v
    return {
        "CLV": ops.trace(images @ ops.T(texts)) * ops.ratio(1, count), "Con_IT": ops.mean_entry(images @ ops.T(texts)),
        "Con_II": ops.mean_entry(images @ ops.T(images)), "Con_TT": ops.mean_entry(texts @ ops.T(texts)),
        "q_u": ops.mean_square(images), "q_v": ops.mean_square(texts), "n": ops.ones(1, 1, images) * count, "one": ones,
        "u": ops.sample(images), "v": ops.sample(texts), "mu": ops.constant(mean_u, count), "nu": ops.constant(mean_v, count),
        "U": images, "V": texts, "A": a, "B": b, "m_u": ops.column(mean_u), "m_v": ops.column(mean_v),
        "Sigma_uv": ops.T(a) @ b * ops.ratio(1, count),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for t in view.environments:
        yield view.name(t), {"U": view.image(t), "V": view.text(t)}


PAIRS = unit(["3/5", "4/5"], ["3/5", "-4/5"])

CLAIM = Claim(
    id="S8",
    title="Synergy is the trace of the cross-covariance",
    family="contribution scores",
    source="new; definitions of CLV and Con, arXiv 2606.14883",
    paper="CLV(t) is the within-environment alignment of matched pairs, Con_IT(t,t) that of all pairs.",
    statement=STATEMENT,
    inputs=(Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "N", "d")),
    bind=bind,
    derive=derive,
    trust=(L2,),
    tight=(Instance({"U": PAIRS, "V": PAIRS}, "texts equal to their images", "bound"),),
    necessity={"unit": Instance({"U": unit([2, 0], [-2, 0]), "V": unit([2, 0], [-2, 0])}, "length 2", "bound")},
    on_features=on_features,
    notes=(
        "`synergy`, `matrix` and `trace` hold for any features; only `bound` uses unit length.",
        "The mean over all pairs of n matched pairs overstates Con_IT(t,t) by synergy/n on average; the mean over i != j does not.",
    ),
)  # fmt: skip
