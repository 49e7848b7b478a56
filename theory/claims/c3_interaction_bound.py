"""C3: the interaction is bounded by the mixed second derivative."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Abs, Rational, sqrt

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge
from ..trust import TAYLOR_OF_SECOND_DIFFERENCE

joint, kappa = scalars("J kappa")
d_i, d_t, h_t = vectors("d_I d_T Hd_T")

STATEMENT = Statement(
    text="|interaction| <= kappa |delta_I| |delta_T|, kappa a bound of the mixed second derivative between image and text; for a function that is "
    "bilinear in the two nothing is lost but the norm.",
    relations=(Relation("bound", Abs(joint), "<=", kappa * sqrt(norm2(d_i)) * sqrt(norm2(d_t))),),
    assumptions=(
        Assumption(
            "mixed",
            "|H delta_T| <= kappa |delta_T| for the mixed derivative H",
            (Relation("", norm2(h_t), "<=", kappa**2 * norm2(d_t)),),
        ),
        Assumption("sign", "kappa is not negative", (Relation("", 0, "<=", kappa),), True),
        Assumption(
            "second_difference",
            "J = <delta_I, H delta_T>, H the mixed derivative somewhere on the rectangle between the two and their baselines",
            (Relation("", joint, "==", Inner(d_i, h_t)),),
            True,
        ),
    ),
    symbols={
        "J": "interaction",
        "d_I": "image less its baseline",
        "d_T": "text less its baseline",
        "Hd_T": "H delta_T",
    },
)


def derive(p: Proof) -> None:
    r_i, r_t = (p.replaced[norm2(v)] for v in (d_i, d_t))
    p.positive("squared", kappa**2 * norm2(d_i) * norm2(d_t) - joint**2,
               terms=[square(wedge(d_i, h_t), coef=Rational(1, 2)), square(d_i, facts=["mixed"])], using=["second_difference"], eliminate=[joint],
               text="Cauchy and Schwarz, then the bound of H")  # fmt: skip
    for k in (1, 2):
        p.refute(
            f"bound.{k}",
            terms=[square(facts=["not", "not"]), square(facts=["not", "sign", f"{r_i}.sign", f"{r_t}.sign"], coef=2), square(facts=["squared"])],
            using=[f"{r_i}.square", f"{r_t}.square"], eliminate=[r_i, r_t], text="take the root",
        )  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    matrix = x["H"]

    def f(image: Any, text: Any) -> Any:
        return image @ matrix @ ops.T(text)

    zero = x["u"] * 0
    joint_ = f(x["u"], x["v"]) - f(x["u"], x["v_0"]) - f(x["u_0"], x["v"]) + f(x["u_0"], x["v_0"]) + f(zero, zero)
    moved = x["v"] - x["v_0"]
    bound = (
        x["kappa"] if "kappa" in x else (1 + ops.total_square(matrix)) * ops.ratio(1, 2)
    )  # at least the Frobenius norm
    return {"J": joint_, "kappa": bound, "d_I": x["u"] - x["u_0"], "d_T": moved, "Hd_T": moved @ ops.T(matrix)}


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        u, v, u_0, v_0 = view.span(
            view.image(s)[:1], view.text(s)[:1], view.mean(view.image(s)), view.mean(view.text(s))
        )
        size = u.shape[-1]
        eye = [[int(i == j) for j in range(size)] for i in range(size)]
        yield (
            f"cosine of the first pair of {view.name(s)}",
            {"u": u, "v": v, "u_0": u_0, "v_0": v_0, "H": eye, "kappa": [[1]]},
        )


ONE = {"u": unit([1, 0]), "v": unit([1, 0]), "u_0": unit([0, 0]), "v_0": unit([0, 0]), "H": unit([1, 0], [0, 1])}

CLAIM = Claim(
    id="C3",
    title="Interaction is bounded by the mixed derivative",
    family="coalitions",
    source="elementary; mean-value form of the second difference",
    paper="",
    statement=STATEMENT,
    inputs=(*(Input(k, "rows", "1", "d") for k in ("u", "v", "u_0", "v_0")), Input("H", "rows", "d", "d")),
    bind=bind,
    derive=derive,
    trust=(TAYLOR_OF_SECOND_DIFFERENCE,),
    tight=(Instance({**ONE, "kappa": [[1]]}, "the cosine of aligned features", "bound"),),
    necessity={"mixed": Instance({**ONE, "kappa": [["1/2"]]}, "kappa below the norm", "bound")},
    on_features=on_features,
    notes=("For a bilinear f, such as the cosine of a dual encoder, H is constant and nothing is cited.",),
)
