"""S2: image-to-text from s to t equals text-to-image from t to s."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Relation, scalars, vectors
from ..proof import Proof

con_it, con_ti = scalars("Con_IT Con_TI")
mu, nu = vectors("mu_I_s mu_T_t")

STATEMENT = Statement(
    text="Con_{I->T}(s,t) = Con_{T->I}(t,s): the two cross-modal score matrices are transposes of one another.",
    relations=(Relation("symmetry", con_it, "==", con_ti),),
    assumptions=(
        Assumption("it", "Con_IT(s,t) averages image of s against text of t (S1)", (Relation("", con_it, "==", Inner(mu, nu)),), True),
        Assumption("ti", "Con_TI(t,s) averages text of t against image of s (S1)", (Relation("", con_ti, "==", Inner(nu, mu)),), True),
    ),
    symbols={"Con_IT": "Con_{I->T}(s,t)", "Con_TI": "Con_{T->I}(t,s)", "mu_I_s": "mean image feature of s", "mu_T_t": "mean text feature of t"},
)  # fmt: skip


def derive(p: Proof) -> None:
    p.ideal("symmetry", using=["it", "ti"], eliminate=[con_it, con_ti], text="the inner product is symmetric")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    u, v = x["U"], x["V"]
    return {
        "Con_IT": ops.mean_entry(u @ ops.T(v)), "Con_TI": ops.mean_entry(v @ ops.T(u)),
        "mu_I_s": ops.mean_row(u), "mu_T_t": ops.mean_row(v),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        for t in view.environments:
            yield f"{view.name(s)} -> {view.name(t)}", {"U": view.image(s), "V": view.text(t)}


CLAIM = Claim(
    id="S2",
    title="Symmetry of the cross-modal scores",
    family="contribution scores",
    source="arXiv 2606.14883, definition of Con",
    paper="There are four scores, Con_IT and Con_TI among them.",
    statement=STATEMENT,
    inputs=(Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "M", "d")),
    bind=bind,
    derive=derive,
    tight_note="an identity: both sides agree on every instance",
    on_features=on_features,
    notes=("Con_IT(s,t) and Con_TI(s,t) differ in general: the order of the environments turns round as well.",),
)
