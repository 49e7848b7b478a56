"""C4: the interaction of a dual encoder with mean baselines, and its mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, scalars, unit, vectors
from ..proof import Proof
from ..trust import L2

joint, f_it, f_i, f_t, f_0, clv, con = scalars("J f_IT f_I f_T f_0 CLV Con_IT")
u, v, mu, nu = vectors("u v mu_I mu_T")

STATEMENT = Statement(
    text="For the cosine of a dual encoder with mean baselines the interaction of a pair is <u - mu^I, v - mu^T>; its mean over matched pairs is "
    "CLV(t) - Con_IT(t,t), the synergy of S8.",
    relations=(
        Relation("interaction", joint, "==", Inner(u - mu, v - nu)),
        Relation("mean", joint, "==", clv - con),
    ),
    assumptions=(
        Assumption("values", "the four coalition values, averaged over matched pairs", (
            Relation("", f_it, "==", Inner(u, v)), Relation("", f_i, "==", Inner(u, nu)), Relation("", f_t, "==", Inner(mu, v)),
            Relation("", f_0, "==", Inner(mu, nu))), True),
        Assumption("joint", "J = f(IT) - f(I) - f(T) + f() (C1)", (Relation("", joint, "==", f_it - f_i - f_t + f_0),), True),
        Assumption("baselines", "the baselines are the means of the environment", (
            Relation("", Inner(u - mu, nu), "==", 0), Relation("", Inner(v - nu, mu), "==", 0))),
        Assumption("alignment", "CLV = E<u, v>", (Relation("", clv, "==", Inner(u, v)),), True),
        Assumption("score", "Con_IT = <mu^I, mu^T> (S1)", (Relation("", con, "==", Inner(mu, nu)),), True),
    ),
    symbols={"u": "image features (an element of L2)", "v": "text features", "mu_I": "image baseline", "mu_T": "text baseline", "J": "mean interaction"},
)  # fmt: skip


def derive(p: Proof) -> None:
    values = ["joint", "values.1", "values.2", "values.3", "values.4"]
    centred = ["baselines.1", "baselines.2"]
    p.ideal(
        "interaction",
        using=[*values, *centred],
        eliminate=[joint, f_it, f_i, f_t, f_0, Inner(u, nu), Inner(v, mu)],
        text="bilinearity",
    )
    p.ideal("mean", using=[*values, "alignment", "score", "baselines.1", "baselines.2"],
            eliminate=[joint, f_it, f_i, f_t, f_0, clv, con, Inner(u, nu), Inner(v, mu)], text="deviations have mean zero")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    image, text = x["U"], x["V"]
    base_i = x["u_0"] if "u_0" in x else ops.mean_row(image)
    base_t, count = ops.mean_row(text), ops.rows(image)

    def mean_cosine(a: Any, b: Any) -> Any:
        return ops.mean_entry(ops.diagonal(a @ ops.T(b)))

    fixed_i, fixed_t = ops.constant(base_i, count), ops.constant(base_t, count)
    f = {
        "f_IT": mean_cosine(image, text),
        "f_I": mean_cosine(image, fixed_t),
        "f_T": mean_cosine(fixed_i, text),
        "f_0": mean_cosine(fixed_i, fixed_t),
    }
    return {
        **f, "J": f["f_IT"] - f["f_I"] - f["f_T"] + f["f_0"], "CLV": f["f_IT"], "Con_IT": ops.inner(base_i, base_t), "u": ops.sample(image),
        "v": ops.sample(text), "mu_I": fixed_i, "mu_T": fixed_t,
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        yield view.name(s), {"U": view.image(s), "V": view.text(s)}


CLAIM = Claim(
    id="C4",
    title="Interaction of a dual encoder is its synergy",
    family="coalitions",
    source="new",
    paper="",
    statement=STATEMENT,
    inputs=(Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "N", "d")),
    bind=bind,
    derive=derive,
    trust=(L2,),
    tight_note="identities",
    necessity={"baselines": Instance({"U": unit([1, 0], [0, 1]), "V": unit([1, 0], [1, 0]), "u_0": unit([0, 1])}, "a baseline that is not the mean", "mean")},
    on_features=on_features,
)  # fmt: skip
