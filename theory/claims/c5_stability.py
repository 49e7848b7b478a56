"""C5: how far a modality's contribution can move when the parameters move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Abs, Rational

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars
from ..proof import Proof, square

NAMES = ("0", "I", "T", "IT")
before = dict(zip(NAMES, scalars("f_0 f_I f_T f_IT"), strict=True))
after = dict(zip(NAMES, scalars("g_0 g_I g_T g_IT"), strict=True))
phi, psi, lip, dist = scalars("phi psi Lip d")


def shapley(f: Mapping[str, Any]) -> Any:
    return ((f["I"] - f["0"]) + (f["IT"] - f["T"])) / 2


STATEMENT = Statement(
    text="If every coalition value is Lipschitz in the parameters with constant Lip, the Shapley contribution moves by at most "
    "2 Lip |theta - theta'|; with O1 that bounds how far reordering two neighbours moves it.",
    relations=(Relation("stable", Abs(phi - psi), "<=", 2 * lip * dist),),
    assumptions=(
        Assumption(
            "lipschitz",
            "every value moves by at most Lip d",
            tuple(Relation("", Abs(before[k] - after[k]), "<=", lip * dist) for k in NAMES),
        ),
        Assumption(
            "before",
            "phi is the Shapley contribution of the image before (C1)",
            (Relation("", phi, "==", shapley(before)),),
            True,
        ),
        Assumption("after", "psi is that after", (Relation("", psi, "==", shapley(after)),), True),
    ),
    symbols={
        "phi": "contribution of the image at theta",
        "psi": "at theta'",
        "f_0": "value at theta with both modalities absent",
        "f_I": "image only",
        "f_T": "text only",
        "f_IT": "both",
        "g_0": "value at theta' with both modalities absent, and so on",
        "Lip": "Lipschitz constant of the values",
        "d": "|theta - theta'|",
    },
)


def derive(p: Proof) -> None:
    for k, sign in ((1, 1), (2, -1)):
        plus, minus = (2, 1) if sign < 0 else (1, 2)
        facts = [f"lipschitz.{1 + NAMES.index(n)}.{plus if n in ('I', 'IT') else minus}" for n in NAMES]
        p.positive(f"stable.{k}", terms=[square(facts=[f], coef=Rational(1, 2)) for f in facts], using=["before", "after"], eliminate=[phi, psi],
                   text="half of four moves")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    start, end = x["theta"], x["theta"] + x["move"]
    out: dict[str, Any] = {}
    values = {}
    for name, point in (("f", start), ("g", end)):
        for k, n in enumerate(NAMES):  # values linear in the parameters: their slopes are the Lipschitz constants
            values[f"{name}_{n}"] = ops.entry(x["slopes"], 0, k) * point
    out.update(values)
    half = ops.ratio(1, 2)
    for name, symbol in (("f", "phi"), ("g", "psi")):
        out[symbol] = (values[f"{name}_I"] - values[f"{name}_0"]) * half + (
            values[f"{name}_IT"] - values[f"{name}_T"]
        ) * half
    return {
        **out,
        "Lip": x["Lip"] if "Lip" in x else ops.max_entry(ops.absolute(x["slopes"])),
        "d": ops.absolute(x["move"]),
    }


CLAIM = Claim(
    id="C5",
    title="Stability of a modality's contribution",
    family="coalitions",
    source="new; elementary",
    paper="Contributions are robust to task order.",
    statement=STATEMENT,
    inputs=(Input("slopes", "rows", "1", "4"), Input("theta", "real"), Input("move", "real")),
    bind=bind,
    derive=derive,
    tight=(
        Instance(
            {"slopes": [[-1, 1, -1, 1]], "theta": [[0]], "move": [[1]]},
            "all four values move against each other",
            "stable",
        ),
    ),
    necessity={
        "lipschitz": Instance(
            {"slopes": [[-1, 1, -1, 1]], "theta": [[0]], "move": [[1]], "Lip": [["1/2"]]}, "Lip too small", "stable"
        )
    },
    features_note="needs a model at two parameters",
)
