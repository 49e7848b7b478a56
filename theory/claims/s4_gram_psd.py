"""S4: the 2T x 2T matrix of all scores is positive semidefinite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Rational, ZeroMatrix

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, matrix, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge

G, B = matrix("G", "P", "P"), matrix("B", "P", "d")
cross, own_i, own_t = scalars("Con_IT Con_II Con_TT")
mu, nu = vectors("mu_I_s mu_T_t")

STATEMENT = Statement(
    text="The matrix [[Con_II, Con_IT], [Con_TI, Con_TT]] of all scores among T environments and two modalities is "
    "positive semidefinite.  In particular Con_IT(s,t)^2 <= Con_II(s,s) Con_TT(t,t).",
    relations=(
        Relation("psd", ZeroMatrix(*G.shape), "loewner<=", G),
        Relation("corollary", cross**2, "<=", own_i * own_t),
    ),
    assumptions=(
        Assumption("gram", "G holds the inner products of the 2T modality means, the rows of B (S1)", (Relation("", G, "==", B * B.T),), True),
        Assumption("cross", "Con_IT(s,t) = <mu^I_s, mu^T_t>", (Relation("", cross, "==", Inner(mu, nu)),), True),
        Assumption("image", "Con_II(s,s) = |mu^I_s|^2", (Relation("", own_i, "==", norm2(mu)),), True),
        Assumption("text", "Con_TT(t,t) = |mu^T_t|^2", (Relation("", own_t, "==", norm2(nu)),), True),
    ),
    symbols={"G": "all scores, 2T x 2T", "B": "modality means, 2T x d", "Con_IT": "Con_IT(s,t)", "Con_II": "Con_II(s,s)", "Con_TT": "Con_TT(t,t)",
             "mu_I_s": "mean image feature of s", "mu_T_t": "mean text feature of t"},
    symmetric=("G",),
)  # fmt: skip


def derive(p: Proof) -> None:
    p.psd("psd", squares=[(1, B.T)], using=[("gram", "G")], text="x'Gx = |B'x|^2")
    p.positive(
        "corollary",
        terms=[square(wedge(mu, nu), coef=Rational(1, 2))],
        using=["cross", "image", "text"],
        eliminate=[cross, own_i, own_t],
        text="Cauchy and Schwarz: the Gram determinant is half the squared norm of mu@nu - nu@mu",
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    b = x["B"]
    gram = b @ ops.T(b)
    return {
        "B": b, "G": gram, "Con_IT": ops.entry(gram, 0, 1), "Con_II": ops.entry(gram, 0, 0), "Con_TT": ops.entry(gram, 1, 1),
        "mu_I_s": ops.row(b, 0), "mu_T_t": ops.row(b, 1),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    means = [view.mean(view.image(s)) for s in view.environments] + [view.mean(view.text(t)) for t in view.environments]
    yield "all environments", {"B": view.stack(means)}
    for s in view.environments:
        for t in view.environments:
            rows = [view.mean(view.image(s)), view.mean(view.text(t))]
            yield f"image {view.name(s)} / text {view.name(t)}", {"B": view.stack(rows)}


CLAIM = Claim(
    id="S4",
    title="The score matrix is a Gram matrix",
    family="contribution scores",
    source="new; every positive semidefinite matrix whose diagonal is at most 1 occurs for unit features, in 2T dimensions",
    paper="",
    statement=STATEMENT,
    inputs=(Input("B", "rows", "P", "d"),),
    bind=bind,
    derive=derive,
    tight=(Instance({"B": unit([2, 0], [1, 0])}, "parallel means", "corollary"),),
    necessity_note="nothing is assumed: G is a Gram matrix by definition of the scores",
    on_features=on_features,
)
