"""P2: the paper: both cross-modal terms are needed.  True exactly where the fusion mixes the modalities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, scalars, unit, vectors
from ..proof import Proof, square

p_, q_, kernel, it, ti = scalars("p q K Con_IT Con_TI")
u, v, a, b = vectors("u_s v_s u_t v_t")

STATEMENT = Statement(
    text="With fused features p u + q v, p q not zero, leaving out the cross-modal terms changes the kernel whenever Con_IT + Con_TI is not zero: "
    "(K - p^2 Con_II - q^2 Con_TT)^2 = (p q (Con_IT + Con_TI))^2 > 0.  Leaving out one of them changes it by p q times that one.  With image-only or "
    "concatenated features they do not occur at all.",
    relations=(
        Relation("needed", 0, "<", (kernel - p_**2 * Inner(u, a) - q_**2 * Inner(v, b)) ** 2),
        Relation("without_IT", kernel - p_**2 * Inner(u, a) - q_**2 * Inner(v, b) - p_ * q_ * ti, "==", p_ * q_ * it),
        Relation("without_TI", kernel - p_**2 * Inner(u, a) - q_**2 * Inner(v, b) - p_ * q_ * it, "==", p_ * q_ * ti),
    ),
    assumptions=(
        Assumption("mixed", "both modalities enter the fused feature", (Relation("", 0, "<", (p_ * q_) ** 2),)),
        Assumption("cross", "the cross-modal scores do not cancel", (Relation("", 0, "<", (it + ti) ** 2),)),
        Assumption("kernel", "K = <p u_s + q v_s, p u_t + q v_t>", (Relation("", kernel, "==", Inner(p_ * u + q_ * v, p_ * a + q_ * b)),), True),
        Assumption("it", "Con_IT(s,t)", (Relation("", it, "==", Inner(u, b)),), True),
        Assumption("ti", "Con_TI(s,t)", (Relation("", ti, "==", Inner(v, a)),), True),
    ),
    symbols={"K": "kernel of the fused head between s and t", "u_s": "mean image feature of s", "v_s": "mean text feature of s"},
)  # fmt: skip


def derive(p: Proof) -> None:
    p.positive("needed", terms=[square(facts=["mixed", "cross"])], using=["kernel", "it", "ti"], eliminate=[kernel, it, ti], strict=True,
               text="what is left out is p q (Con_IT + Con_TI)")  # fmt: skip
    for name in ("without_IT", "without_TI"):
        p.ideal(name, using=["kernel", "it", "ti"], eliminate=[kernel, it, ti], text="multiply out")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    means = {k: ops.mean_row(x[k]) for k in ("u_s", "v_s", "u_t", "v_t")}
    z_s, z_t = (x[f"u_{k}"] * x["p"] + x[f"v_{k}"] * x["q"] for k in "st")
    return {
        **means, "p": x["p"], "q": x["q"], "K": ops.mean_entry(z_s @ ops.T(z_t)), "Con_IT": ops.inner(means["u_s"], means["v_t"]),
        "Con_TI": ops.inner(means["v_s"], means["u_t"]),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        k, m = view.count(s), view.count(t)
        yield f"{view.name(s)} -> {view.name(t)}", {
            "u_s": view.image(s)[:k], "v_s": view.text(s)[:k], "u_t": view.image(t)[:m], "v_t": view.text(t)[:m], "p": [["1/2"]], "q": [["1/2"]],
        }  # fmt: skip


ONE = {k: unit([1, 0]) for k in ("u_s", "v_s", "u_t", "v_t")}

CLAIM = Claim(
    id="P2",
    title="Both cross-modal terms are needed",
    family="the paper's claims",
    source="arXiv 2606.14883, remark on the direction of a transition",
    paper="Both cross-modal terms are needed to predict the direction of a transition.",
    statement=STATEMENT,
    inputs=(*(Input(f"{a}_s", "unit_rows", "N", "d") for a in "uv"), *(Input(f"{a}_t", "unit_rows", "M", "d") for a in "uv"),
            Input("p", "real", low="0"), Input("q", "real", low="0")),
    bind=bind,
    derive=derive,
    tight_note="a strict inequality without a best constant",
    necessity={
        "mixed": Instance({**ONE, "p": [[1]], "q": [[0]]}, "image-only: the cross-modal scores do not enter", "needed"),
        "cross": Instance({**ONE, "v_s": unit([-1, 0]), "p": [[1]], "q": [[1]]}, "Con_IT = 1 and Con_TI = -1 cancel", "needed"),
    },
    on_features=on_features,
    notes=(
        "The exact statement of what a head can see is T1.1; only the sum of the two terms matters for additive fusion, not each.",
        "To first order, and up to covariances (T1.3), the direction is the sign of -rho K, and either term alone can turn that of K: of u_s = e_1, v_s = e_2, "
        "p = q = 1 and u_t = (0, 3/5, 4/5), with Con_II = Con_TT = 0 and Con_TI = 3/5, K is 8/5 for v_t = e_1 (Con_IT = 1) and -2/5 for v_t = -e_1 (Con_IT = -1); "
        "of v_t = (3/5, 0, 4/5), with Con_IT = 3/5, it is 8/5 for u_t = e_2 and -2/5 for u_t = -e_2.",
    ),
)  # fmt: skip
