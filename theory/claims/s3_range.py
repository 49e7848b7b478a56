"""S3: the range of the scores, and when two environments coincide exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Rational

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square
from ..trust import L2

con, len_u, len_v = scalars("Con q_u q_v")
u, v, mu, nu = vectors("u v mu nu")

STATEMENT = Statement(
    text="-1 <= Con <= 1, so 0 <= sigma = 1 - Con <= 2.  More precisely (q_u + q_v)/2 - Con, which is sigma for unit vectors, is "
    "half the sum of the two variances and of the squared distance of the means: it vanishes only if both sides are one "
    "and the same constant vector.",
    relations=(
        Relation("lower", -1, "<=", con),
        Relation("upper", con, "<=", 1),
        Relation("split", (len_u + len_v) / 2 - con, "==", (norm2(u - mu) + norm2(v - nu) + norm2(mu - nu)) / 2),
    ),
    assumptions=(
        Assumption("unit", "features have mean squared length 1 (unit vectors do)", (
            Relation("", len_u, "==", 1), Relation("", len_v, "==", 1))),
        Assumption("length_u", "q_u = E|u|^2", (Relation("", len_u, "==", norm2(u)),), True),
        Assumption("length_v", "q_v = E|v|^2", (Relation("", len_v, "==", norm2(v)),), True),
        Assumption("mean_u", "mu = E u is constant, so E<u - mu, mu> = 0", (Relation("", Inner(u - mu, mu), "==", 0),), True),
        Assumption("mean_v", "nu = E v is constant, so E<v - nu, nu> = 0", (Relation("", Inner(v - nu, nu), "==", 0),), True),
        Assumption("score", "Con = <mu, nu> (S1)", (Relation("", con, "==", Inner(mu, nu)),), True),
    ),
    symbols={
        "Con": "Con_{a->b}(s,t)", "q_u": "mean squared length of the first features",
        "q_v": "of the second", "u": "first feature, as an element of L2", "v": "second", "mu": "E u", "nu": "E v",
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    facts = ["score", "unit.1", "unit.2", "length_u", "length_v", "mean_u", "mean_v"]
    first = [con, norm2(u), norm2(v), len_u, len_v]
    spread = [square(u - mu, coef=Rational(1, 2)), square(v - nu, coef=Rational(1, 2))]
    p.positive("upper", terms=[*spread, square(mu - nu, coef=Rational(1, 2))], using=facts, eliminate=first,
               text="1 - Con is half a sum of three squares")  # fmt: skip
    p.positive("lower", terms=[*spread, square(mu + nu, coef=Rational(1, 2))], using=facts, eliminate=first,
               text="1 + Con is the same with the distance of mu and -nu")  # fmt: skip
    p.ideal("split", using=["score", "length_u", "length_v", "mean_u", "mean_v"], eliminate=[con, len_u, len_v, norm2(u), norm2(v)],
            text="expand the squares")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    a, b = x["U"], x["V"]
    mean_a, mean_b = ops.mean_row(a), ops.mean_row(b)
    score = ops.mean_entry(a @ ops.T(b))
    return {
        "Con": score,
        "q_u": ops.mean_square(a), "q_v": ops.mean_square(b),
        "u": ops.sample(a), "v": ops.sample(b), "mu": ops.constant(mean_a, ops.rows(a)), "nu": ops.constant(mean_b, ops.rows(b)),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        for t in view.environments:
            k = min(view.count(s), view.count(t))
            yield f"image {view.name(s)} / text {view.name(t)}", {"U": view.image(s)[:k], "V": view.text(t)[:k]}


CLAIM = Claim(
    id="S3",
    title="Range of the scores",
    family="contribution scores",
    source="arXiv 2606.14883, definition of sigma; the split is new",
    paper="sigma is 0 for identical and 1 for orthogonal environments.",
    statement=STATEMENT,
    inputs=(Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "N", "d")),
    bind=bind,
    derive=derive,
    trust=(L2,),
    tight=(
        Instance({"U": unit([1, 0], [1, 0]), "V": unit([1, 0], [1, 0])}, "both constant and equal", "upper"),
        Instance({"U": unit([1, 0], [1, 0]), "V": unit([-1, 0], [-1, 0])}, "both constant and opposite", "lower"),
    ),
    necessity={"unit": Instance({"U": unit([2, 0]), "V": unit([2, 0])}, "Con = 4 without normalisation", "upper")},
    on_features=on_features,
    notes=(
        "The paper's wording is true of constant features.  An environment is identical with itself, and yet sigma_{a->a}(t,t) is its total variance (`split` with v = u), "
        "0 only for a constant feature; sigma = 1 says that the means are orthogonal, or that one of them is 0.",
    ),
)  # fmt: skip
