"""C4: the interaction of a dual encoder, and its mean with mean baselines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, scalars, unit, vectors
from ..proof import Proof
from ..trust import L2

joint, f_it, f_i, f_t, f_0, clv, con = scalars("J f_IT f_I f_T f_0 CLV Con_IT")
u, v, u_0, v_0, mu, nu = vectors("u v u_0 v_0 mu_I mu_T")

STATEMENT = Statement(
    text="For the cosine of a dual encoder, an absent feature replaced by a baseline u_0 or v_0 that is not normalised again, the interaction of a pair "
    "is <u - u_0, v - v_0>, with mean baselines <u - mu^I, v - mu^T>.  With them its mean over matched pairs is CLV(t) - Con_IT(t,t), the synergy of "
    "S8; for that it is enough that one of the two baselines is the mean.",
    relations=(
        Relation("interaction", joint, "==", Inner(u - u_0, v - v_0)),
        Relation("mean", joint, "==", clv - con),
    ),
    assumptions=(
        Assumption("values", "the four coalition values, averaged over matched pairs", (
            Relation("", f_it, "==", Inner(u, v)), Relation("", f_i, "==", Inner(u, v_0)), Relation("", f_t, "==", Inner(u_0, v)),
            Relation("", f_0, "==", Inner(u_0, v_0))), True),
        Assumption("joint", "J = f(IT) - f(I) - f(T) + f() (C1)", (Relation("", joint, "==", f_it - f_i - f_t + f_0),), True),
        Assumption("means", "mu_I = E u and mu_T = E v, so E<u - mu_I, .> and E<v - mu_T, .> vanish on the baselines, which are constant", (
            Relation("", Inner(u - mu, v_0), "==", 0), Relation("", Inner(v - nu, u_0), "==", 0)), True),
        Assumption("baselines", "a baseline is the mean of the environment, the one of the images or the one of the texts or both", (
            Relation("", Inner(u_0 - mu, v_0 - nu), "==", 0),)),
        Assumption("alignment", "CLV = E<u, v>", (Relation("", clv, "==", Inner(u, v)),), True),
        Assumption("score", "Con_IT = <mu^I, mu^T> (S1)", (Relation("", con, "==", Inner(mu, nu)),), True),
    ),
    symbols={"f_0": "value with both modalities absent", "f_I": "image only", "f_T": "text only", "f_IT": "both",
             "u": "image features (an element of L2)", "v": "text features", "u_0": "image baseline", "v_0": "text baseline",
             "mu_I": "mean image feature", "mu_T": "mean text feature", "J": "mean interaction"},
)  # fmt: skip


def derive(p: Proof) -> None:
    values = ["joint", "values.1", "values.2", "values.3", "values.4"]
    p.ideal("interaction", using=values, eliminate=[joint, f_it, f_i, f_t, f_0], text="bilinearity")
    p.ideal("mean", using=[*values, "alignment", "score", "means.1", "means.2", "baselines"],
            eliminate=[joint, f_it, f_i, f_t, f_0, clv, con, Inner(u, v_0), Inner(v, u_0), Inner(u_0, v_0)],
            text="deviations have mean zero, so J = CLV - Con_IT + <u_0 - mu_I, v_0 - mu_T>")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    image, text = x["U"], x["V"]
    mean_i, mean_t, count = ops.mean_row(image), ops.mean_row(text), ops.rows(image)
    base_i, base_t = x.get("u_0", mean_i), x.get("v_0", mean_t)

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
        **f, "J": f["f_IT"] - f["f_I"] - f["f_T"] + f["f_0"], "CLV": f["f_IT"], "Con_IT": ops.mean_entry(image @ ops.T(text)),
        "u": ops.sample(image), "v": ops.sample(text), "u_0": fixed_i, "v_0": fixed_t, "mu_I": ops.constant(mean_i, count),
        "mu_T": ops.constant(mean_t, count),
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
    necessity={"baselines": Instance({"U": unit([1, 0], [0, 1]), "V": unit([1, 0], [1, 0]), "u_0": unit([0, 1]), "v_0": unit([0, 0])},
                                     "no baseline is the mean: interaction 1/2, synergy 0", "mean")},
    on_features=on_features,
)  # fmt: skip
