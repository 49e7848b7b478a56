"""S6: how far a score moves when the encoders move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Abs, Rational, sqrt

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge
from ..trust import L2

before, after, own_i, own_t, e_i, e_t = scalars("Con_IT Con_IT_new Con_II Con_TT_new e_I e_T")
u, u_new, v, v_new = vectors("u u_new v v_new")
mu, mu_new, nu, nu_new = vectors("mu_I mu_I_new mu_T mu_T_new")

STATEMENT = Statement(
    text="If the image features move by at most e_I and the text features by at most e_T (in root mean square, so in particular "
    "if every feature does), then |Con'_IT - Con_IT| <= e_I |mu'^T| + e_T |mu^I|, that is "
    "e_I sqrt(Con'_TT(t,t)) + e_T sqrt(Con_II(s,s)), which is at most e_I + e_T for features of unit length.",
    relations=(
        Relation("sharp", Abs(before - after), "<=", sqrt(own_t) * e_i + sqrt(own_i) * e_t),
        Relation("drift", Abs(before - after), "<=", e_i + e_t),
    ),
    assumptions=(
        Assumption("unit", "features have unit length", (Relation("", norm2(u), "==", 1), Relation("", norm2(v_new), "==", 1))),
        Assumption("drift_i", "e_I bounds the drift of the images in root mean square", (
            Relation("", 0, "<=", e_i), Relation("", norm2(u_new - u), "<=", e_i**2)), True),
        Assumption("drift_t", "e_T bounds the drift of the texts in root mean square", (
            Relation("", 0, "<=", e_t), Relation("", norm2(v_new - v), "<=", e_t**2)), True),
        Assumption("mean_u", "mu_I = E u is constant", (Relation("", Inner(u - mu, mu), "==", 0),), True),
        Assumption("moved_u", "mu_I_new - mu_I is the mean of u_new - u", (
            Relation("", Inner(u_new - u - mu_new + mu, mu_new - mu), "==", 0),), True),
        Assumption("mean_v", "mu_T_new = E v_new is constant", (Relation("", Inner(v_new - nu_new, nu_new), "==", 0),), True),
        Assumption("moved_v", "mu_T_new - mu_T is the mean of v_new - v", (
            Relation("", Inner(v_new - v - nu_new + nu, nu_new - nu), "==", 0),), True),
        Assumption("before", "Con_IT = <mu_I, mu_T> (S1)", (Relation("", before, "==", Inner(mu, nu)),), True),
        Assumption("after", "Con'_IT = <mu_I_new, mu_T_new>", (Relation("", after, "==", Inner(mu_new, nu_new)),), True),
        Assumption("image", "Con_II(s,s) = |mu_I|^2", (Relation("", own_i, "==", norm2(mu)),), True),
        Assumption("text", "Con'_TT(t,t) = |mu_T_new|^2", (Relation("", own_t, "==", norm2(nu_new)),), True),
    ),
    symbols={
        "Con_IT": "Con_IT(s,t) before", "Con_IT_new": "the same after the encoders moved", "Con_II": "Con_II(s,s) before",
        "Con_TT_new": "Con_TT(t,t) after", "e_I": "drift of the images", "e_T": "drift of the texts",
        "u": "image feature before, an element of L2", "u_new": "after", "v": "text feature before", "v_new": "after",
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    root = {"text": p.replaced[own_t], "image": p.replaced[own_i]}
    sides = (
        ("image", "text", own_t, u, u_new, mu, mu_new, nu_new, e_i, "drift_i", "moved_u"),
        ("text", "image", own_i, v, v_new, nu, nu_new, mu, e_t, "drift_t", "moved_v"),
    )
    for name, other, own, x, x_new, mean, mean_new, fixed, e, drift, moved in sides:
        shift, r = Inner(mean_new - mean, fixed), root[other]
        p.positive(
            f"{name}_mean", e**2 - norm2(mean_new - mean),
            terms=[square(facts=[f"{drift}.2"]), square(x_new - x - mean_new + mean)], using=[moved],
            text="a mean moves no further than its features do in root mean square",
        )  # fmt: skip
        p.positive(
            f"{name}_squared", own * e**2 - shift**2,
            terms=[square(wedge(mean_new - mean, fixed), coef=Rational(1, 2)), square(fixed, facts=[f"{name}_mean"])],
            using=[other], eliminate=[own], text="Cauchy and Schwarz",
        )  # fmt: skip
        for k, sign in ((1, 1), (2, -1)):
            p.refute(
                f"{name}_part.{k}", r * e - sign * shift,
                terms=[
                    square(facts=["not", "not"]),
                    square(facts=["not", f"{r}.sign", f"{drift}.1"], coef=2),
                    square(facts=[f"{name}_squared"]),
                ],
                using=[f"{r}.square"], eliminate=[r], text="take the square root",
            )  # fmt: skip
    for k in (1, 2):
        p.positive(
            f"sharp.{k}", terms=[square(facts=[f"image_part.{3 - k}"]), square(facts=[f"text_part.{3 - k}"])], using=["before", "after"],
            eliminate=[before, after], text="Con' - Con = <mu_I' - mu_I, mu_T'> + <mu_I, mu_T' - mu_T>",
        )  # fmt: skip
    for name, own, x, mean, facts in (
        ("text", own_t, v_new, nu_new, ["text", "unit.2", "mean_v"]),
        ("image", own_i, u, mu, ["image", "unit.1", "mean_u"]),
    ):
        p.positive(f"{name}_short", 1 - own, terms=[square(x - mean)], using=facts, eliminate=[own, norm2(x), Inner(x, mean)],
                   text="a mean of unit vectors is no longer than 1")  # fmt: skip
        r = root[name]
        p.refute(
            f"{name}_root", 1 - r,
            terms=[square(facts=["not", "not"]), square(facts=["not"], coef=2), square(facts=[f"{name}_short"])],
            using=[f"{r}.square"], eliminate=[r], text="so neither is its square root larger",
        )  # fmt: skip
    for k in (1, 2):
        p.positive(
            f"drift.{k}",
            terms=[square(facts=[f"sharp.{k}"]), square(facts=["text_root", "drift_i.1"]), square(facts=["image_root", "drift_t.1"])],
            text="put 1 for both lengths",
        )  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    images, texts, new_images, new_texts = x["U"], x["V"], x["U_new"], x["V_new"]
    return {
        "Con_IT": ops.mean_entry(images @ ops.T(texts)), "Con_IT_new": ops.mean_entry(new_images @ ops.T(new_texts)),
        "Con_II": ops.mean_entry(images @ ops.T(images)), "Con_TT_new": ops.mean_entry(new_texts @ ops.T(new_texts)),
        "e_I": ops.sqrt(ops.mean_square(new_images - images)), "e_T": ops.sqrt(ops.mean_square(new_texts - texts)),
        "u": ops.sample(images), "u_new": ops.sample(new_images), "v": ops.sample(texts), "v_new": ops.sample(new_texts),
        "mu_I": ops.mean_row(images), "mu_I_new": ops.mean_row(new_images),
        "mu_T": ops.mean_row(texts), "mu_T_new": ops.mean_row(new_texts),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        k = min(view.count(s), view.count(t))
        inputs = {"U": view.image(s)[:k], "U_new": view.image(t)[:k], "V": view.text(s)[:k], "V_new": view.text(t)[:k]}
        yield f"features of {view.name(t)} in place of those of {view.name(s)}", inputs


CLAIM = Claim(
    id="S6",
    title="Drift of the scores under drift of the encoders",
    family="contribution scores",
    source="new",
    paper="",
    statement=STATEMENT,
    inputs=(
        Input("U", "unit_rows", "N", "d"), Input("U_new", "unit_rows", "N", "d"),
        Input("V", "unit_rows", "M", "d"), Input("V_new", "unit_rows", "M", "d"),
    ),
    bind=bind,
    derive=derive,
    trust=(L2,),
    tight=(
        Instance({"U": unit([-1, 0]), "U_new": unit([1, 0]), "V": unit([1, 0]), "V_new": unit([1, 0])}, "images turn round", "drift"),
        Instance({"U": unit([-1, 0]), "U_new": unit([1, 0]), "V": unit(["3/5", "4/5"], ["3/5", "-4/5"]),
                  "V_new": unit(["3/5", "4/5"], ["3/5", "-4/5"])}, "images turn round along the text mean", "sharp"),
    ),
    necessity={"unit": Instance({"U": unit([-2, 0]), "U_new": unit([2, 0]), "V": unit([2, 0]), "V_new": unit([2, 0])}, "lengths 2", "drift")},
    on_features=on_features,
    notes=(
        "Sharper than the version with every feature moving by at most e: root mean square drifts suffice, and e_I is multiplied by the "
        "length of the text mean.",
        "Only `drift` uses unit length; `sharp` holds for any features.",
    ),
)  # fmt: skip
