"""C2: additive models (late fusion) have no interaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, scalars, unit, vectors
from ..proof import Proof

joint, p_, q_, f_it, f_i, f_t, f_0, g, g_0, h, h_0 = scalars("J p q f_IT f_I f_T f_0 g g_0 h h_0")
w, u, v, u_0, v_0 = vectors("w u v u_0 v_0")
ADDED = ((f_it, g, h), (f_i, g, h_0), (f_t, g_0, h), (f_0, g_0, h_0))

STATEMENT = Statement(
    text="A model that adds a function of the image and one of the text, g + h, has no interaction, whatever baselines u_0, v_0 stand for an absent "
    "modality.  A linear head on the fused feature p u + q v is one: <w, p u + q v> = p <w, u> + q <w, v>.",
    relations=(
        Relation("zero", joint, "==", 0),
        Relation("linear", Inner(w, p_ * u + q_ * v), "==", g + h),
    ),
    assumptions=(
        Assumption("additive", "f is a function of the image plus one of the text, for every coalition", tuple(
            Relation("", value, "==", image + text) for value, image, text in ADDED)),
        Assumption("interaction", "J = f(IT) - f(I) - f(T) + f() (C1)", (Relation("", joint, "==", f_it - f_i - f_t + f_0),), True),
        Assumption("image", "for `linear`: g = p <w, u>", (Relation("", g, "==", p_ * Inner(w, u)),), True),
        Assumption("text", "for `linear`: h = q <w, v>", (Relation("", h, "==", q_ * Inner(w, v)),), True),
    ),
    symbols={"f_0": "value with both modalities absent", "f_I": "image only", "f_T": "text only", "f_IT": "both",
             "w": "head", "u": "image feature", "v": "text feature", "u_0": "image baseline", "v_0": "text baseline", "J": "interaction",
             "g": "what the image adds", "g_0": "what its baseline adds", "h": "what the text adds", "h_0": "what its baseline adds"},
)  # fmt: skip


def derive(p: Proof) -> None:
    p.ideal("zero", using=["interaction", *(f"additive.{k}" for k in (1, 2, 3, 4))], eliminate=[joint, f_it, f_i, f_t, f_0],
            text="every term occurs once with each sign")  # fmt: skip
    p.ideal("linear", using=["image", "text"], eliminate=[g, h], text="the inner product is linear")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    def f(image: Any, text: Any) -> Any:
        z = image * x["p"] + text * x["q"]
        value = z @ ops.T(x["w"])
        return value * value if "square" in x else value

    values = {
        "f_IT": f(x["u"], x["v"]),
        "f_I": f(x["u"], x["v_0"]),
        "f_T": f(x["u_0"], x["v"]),
        "f_0": f(x["u_0"], x["v_0"]),
    }
    added = {
        name: x[feature] @ ops.T(x["w"]) * x[weight]
        for name, feature, weight in (("g", "u", "p"), ("g_0", "u_0", "p"), ("h", "v", "q"), ("h_0", "v_0", "q"))
    }
    joint_ = (values["f_IT"] - values["f_I"]) - (values["f_T"] - values["f_0"])
    return {**values, **added, "J": joint_, **{k: x[k] for k in ("w", "u", "v", "u_0", "v_0", "p", "q")}}


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        image, text = view.image(s), view.text(s)
        yield f"first pair of {view.name(s)}, mean baselines", {
            "w": view.mean(image), "u": image[:1], "v": text[:1], "u_0": view.mean(image), "v_0": view.mean(text), "p": [["1/2"]], "q": [["1/2"]],
        }  # fmt: skip


ONE = {
    "w": unit([1, 0]),
    "u": unit([1, 0]),
    "v": unit([1, 0]),
    "u_0": unit([0, 0]),
    "v_0": unit([0, 0]),
    "p": [[1]],
    "q": [[1]],
}

CLAIM = Claim(
    id="C2",
    title="Additive models have no interaction",
    family="coalitions",
    source="elementary",
    paper="",
    statement=STATEMENT,
    inputs=(
        *(Input(k, "rows", "1", "d") for k in ("w", "u", "v", "u_0", "v_0")),
        Input("p", "real"),
        Input("q", "real"),
    ),
    bind=bind,
    derive=derive,
    tight_note="identities",
    necessity={"additive": Instance({**ONE, "square": [[1]]}, "the square of a linear head: interaction 2")},
    on_features=on_features,
)
