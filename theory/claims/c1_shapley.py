"""C1: Shapley contributions and interaction of two modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Relation, scalars
from ..proof import Proof

f_0, f_i, f_t, f_it, phi_i, phi_t, joint = scalars("f_0 f_I f_T f_IT phi_I phi_T J")

PHI_I = ((f_i - f_0) + (f_it - f_t)) / 2  # mean of the marginal contributions over the two orders of arrival
PHI_T = ((f_t - f_0) + (f_it - f_i)) / 2
INTERACTION = f_it - f_i - f_t + f_0

STATEMENT = Statement(
    text="With phi_I, phi_T the mean marginal contributions over the two orders in which the modalities can arrive: they add up to "
    "f(IT) - f() (efficiency), differ by f(I) - f(T) (symmetry), and each is the modality's solo contribution plus half of the "
    "interaction f(IT) - f(I) - f(T) + f().",
    relations=(
        Relation("efficiency", phi_i + phi_t, "==", f_it - f_0),
        Relation("symmetry", phi_i - phi_t, "==", f_i - f_t),
        Relation("solo_image", phi_i, "==", f_i - f_0 + joint / 2),
        Relation("solo_text", phi_t, "==", f_t - f_0 + joint / 2),
    ),
    assumptions=(
        Assumption(
            "image", "phi_I is the mean marginal contribution of the image", (Relation("", phi_i, "==", PHI_I),), True
        ),
        Assumption("text", "phi_T is that of the text", (Relation("", phi_t, "==", PHI_T),), True),
        Assumption("interaction", "J is the interaction", (Relation("", joint, "==", INTERACTION),), True),
    ),
    symbols={
        "f_0": "value with both modalities absent",
        "f_I": "image only",
        "f_T": "text only",
        "f_IT": "both",
        "J": "interaction",
    },
)


def derive(p: Proof) -> None:
    for relation in STATEMENT.relations:
        p.ideal(
            relation.name,
            using=["image", "text", "interaction"],
            eliminate=[phi_i, phi_t, joint],
            text="put the definitions",
        )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    f = dict(zip(("f_0", "f_I", "f_T", "f_IT"), (ops.entry(x["f"], 0, k) for k in range(4)), strict=True))
    half = ops.ratio(1, 2)
    image = text = 0
    for first, second in (("I", "T"), ("T", "I")):  # the two orders of arrival
        gains = {first: f[f"f_{first}"] - f["f_0"], second: f["f_IT"] - f[f"f_{first}"]}
        image, text = gains["I"] * half + image, gains["T"] * half + text
    return {**f, "phi_I": image, "phi_T": text, "J": (f["f_IT"] - f["f_I"]) - (f["f_T"] - f["f_0"])}


def shapley(empty: Any, image: Any, text: Any, both: Any) -> tuple[Any, Any]:
    """Shapley contributions (image, text) of four values; numbers, arrays or tensors of one shape."""
    values = {f_0: empty, f_i: image, f_t: text, f_it: both}
    return _lower(PHI_I, values), _lower(PHI_T, values)


def interaction(empty: Any, image: Any, text: Any, both: Any) -> Any:
    """``f(IT) - f(I) - f(T) + f()`` of four values; numbers, arrays or tensors of one shape."""
    return _lower(INTERACTION, {f_0: empty, f_i: image, f_t: text, f_it: both})


def _lower(expr: Any, values: Mapping[Any, Any]) -> Any:
    total = 0
    for symbol, value in values.items():
        total = value * float(expr.expand().coeff(symbol)) + total
    return total


CLAIM = Claim(
    id="C1",
    title="Shapley contributions of two modalities",
    family="coalitions",
    source="Shapley, A value for n-person games, 1953, for two players",
    paper="",
    statement=STATEMENT,
    inputs=(Input("f", "rows", "1", "4"),),
    bind=bind,
    derive=derive,
    tight_note="identities: both sides agree on every instance",
    features_note="a statement about four values of a model; the dual encoder's are measured with C4",
)
