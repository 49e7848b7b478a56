"""S1: a contribution score is an inner product of means, and the variance of the cosines has three parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Identity, Trace

from ..claim import Assumption, Claim, Statement
from ..language import Input, Relation, matrix, scalars
from ..proof import Proof

n, m = scalars("n m")
U, V = matrix("U", "N", "d"), matrix("V", "M", "d")
one_n, one_m = matrix("one_n", "N", 1), matrix("one_m", "M", 1)
K, Z = matrix("K", "N", "M"), matrix("Z", "N", "M")
mu, nu = matrix("mu", "d", 1), matrix("nu", "d", 1)
A, B = matrix("A", "N", "d"), matrix("B", "M", "d")
S_u, S_v = matrix("Sigma_u", "d", "d"), matrix("Sigma_v", "d", "d")

STATEMENT = Statement(
    text="The mean of all pairwise inner products of two samples (the V-statistic) equals the inner product of the "
    "sample means, and their variance is nu' Sigma_u nu + mu' Sigma_v mu + <Sigma_u, Sigma_v>: an image, a text and "
    "an interaction part.  So a score costs O((N + M) d) and the variance of its cosines O((N + M) d^2), where all pairs cost O(N M d).",
    relations=(
        Relation("mean", one_n.T * K * one_m, "==", n * m * mu.T * nu),
        Relation(
            "variance", Trace(Z * Z.T), "==",
            n * m * (Trace(nu * nu.T * S_u) + Trace(mu * mu.T * S_v) + Trace(S_u * S_v)),
        ),
    ),
    assumptions=(
        Assumption("count_n", "n is the number of rows of U", (Relation("", one_n.T * one_n, "==", n * Identity(1)),), True),
        Assumption("count_m", "m is the number of rows of V", (Relation("", one_m.T * one_m, "==", m * Identity(1)),), True),
        Assumption("pairs", "K holds the inner product of every pair", (Relation("", K, "==", U * V.T),), True),
        Assumption("parts_u", "U is its mean mu plus the centred features A", (Relation("", U, "==", one_n * mu.T + A),), True),
        Assumption("parts_v", "V is its mean nu plus the centred features B", (Relation("", V, "==", one_m * nu.T + B),), True),
        Assumption("centred_u", "the rows of A sum to zero", (Relation("", A.T * one_n, "==", 0 * mu),), True),
        Assumption("centred_v", "the rows of B sum to zero", (Relation("", B.T * one_m, "==", 0 * nu),), True),
        Assumption("cov_u", "Sigma_u is the covariance of U", (Relation("", A.T * A, "==", n * S_u),), True),
        Assumption("cov_v", "Sigma_v is the covariance of V", (Relation("", B.T * B, "==", m * S_v),), True),
        Assumption("residual", "Z is K less its mean", (Relation("", Z, "==", K - one_n * mu.T * nu * one_m.T),), True),
    ),
    symbols={
        "U": "N x d features of one modality in environment s", "V": "M x d features of the other in environment t",
        "K": "all N M pairwise inner products", "mu": "mean of U", "nu": "mean of V",
        "Sigma_u": "covariance of U", "Sigma_v": "covariance of V",
        "one_n": "a column of ones, one a row of U", "one_m": "one a row of V", "Z": "K less its mean",
    },
    symmetric=("Sigma_u", "Sigma_v"),
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free(
        "split",
        Relation("", K, "==", one_n * mu.T * nu * one_m.T + one_n * mu.T * B.T + A * nu * one_m.T + A * B.T),
        using=[("pairs", "K"), ("parts_u", "U"), ("parts_v", "V")],
        text="split every feature into mean and deviation",
    )
    p.free(
        "mean",
        using=[("split", "K"), ("count_n", "one_n' one_n"), ("count_m", "one_m' one_m"), "centred_u", "centred_v"],
        text="deviations sum to zero, so only the product of the means is left",
    )
    p.free(
        "variance",
        using=[
            ("residual", "Z"), ("split", "K"), ("count_n", "one_n' one_n"), ("count_m", "one_m' one_m"),
            "centred_u", "centred_v", ("cov_u", "A' A"), ("cov_v", "B' B"),
        ],
        text="the cross terms are linear in a deviation and vanish; three squares are left",
    )  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    u, v = x["U"], x["V"]
    count_n, count_m = ops.rows(u), ops.rows(v)
    ones_n, ones_m = ops.ones(count_n, 1, u), ops.ones(count_m, 1, v)
    mean_u, mean_v = ops.T(u) @ ones_n * ops.ratio(1, count_n), ops.T(v) @ ones_m * ops.ratio(1, count_m)
    a, b, pairs = u - ones_n @ ops.T(mean_u), v - ones_m @ ops.T(mean_v), u @ ops.T(v)
    mean = ops.T(ones_n) @ pairs @ ones_m * ops.ratio(1, count_n * count_m)
    return {
        "n": ops.ratio(count_n, 1), "m": ops.ratio(count_m, 1), "K": pairs, "mu": mean_u, "nu": mean_v,
        "one_n": ones_n, "one_m": ones_m, "Z": pairs - ones_n @ mean @ ops.T(ones_m), "A": a, "B": b, "U": u, "V": v,
        "Sigma_u": ops.T(a) @ a * ops.ratio(1, count_n), "Sigma_v": ops.T(b) @ b * ops.ratio(1, count_m),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        for t in view.environments:
            yield f"image {view.name(s)} / text {view.name(t)}", {"U": view.image(s), "V": view.text(t)}


CLAIM = Claim(
    id="S1",
    title="Scores are inner products of means",
    family="contribution scores",
    source="definition of Con, arXiv 2606.14883; the variance split is new",
    paper="Contribution scores are averages of cosine similarities over pairs drawn from two environments.",
    statement=STATEMENT,
    inputs=(Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "M", "d")),
    bind=bind,
    derive=derive,
    tight_note="an identity: both sides agree on every instance",
    on_features=on_features,
    notes=("Holds for any features; unit length is not used.",),
)
