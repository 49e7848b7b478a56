"""T2.2: when the masked cosine is best with both modality blocks kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import sqrt

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars
from ..proof import Proof, square

a_1, a_2, n_1, n_2 = scalars("a_1 a_2 n_1 n_2")

STATEMENT = Statement(
    text="With a_m = <g_m, h_m> and n_m = |g_m|^2, n_1 > 0, keeping both blocks has at least the masked cosine of keeping the first alone, "
    "a_1/sqrt(n_1) <= (a_1 + a_2)/sqrt(n_1 + n_2), if a_1 + a_2 >= 0 and (a_1 + a_2)^2 n_1 >= a_1^2 (n_1 + n_2); for a_1 > 0 only "
    "then, and if a_1 + a_2 < 0 <= a_1 the first block alone is better.  For with A = a_1 sqrt(n_1 + n_2) and B = (a_1 + a_2) sqrt(n_1) the "
    "second condition is B^2 - A^2 = (B - A)(B + A) >= 0: where B + A > 0, it has the sign of B - A.",
    relations=(
        Relation("both", a_1 * sqrt(n_1 + n_2), "<=", (a_1 + a_2) * sqrt(n_1)),
        Relation(
            "exact",
            (a_1 + a_2) ** 2 * n_1 - a_1**2 * (n_1 + n_2),
            "==",
            ((a_1 + a_2) * sqrt(n_1) - a_1 * sqrt(n_1 + n_2)) * ((a_1 + a_2) * sqrt(n_1) + a_1 * sqrt(n_1 + n_2)),
        ),
    ),
    assumptions=(
        Assumption("aligned", "together the blocks are aligned", (Relation("", 0, "<=", a_1 + a_2),)),
        Assumption(
            "condition",
            "(a_1 + a_2)^2 n_1 >= a_1^2 (n_1 + n_2)",
            (Relation("", a_1**2 * (n_1 + n_2), "<=", (a_1 + a_2) ** 2 * n_1),),
        ),
    ),
    symbols={"a_1": "<g_1, h_1>", "n_1": "|g_1|^2"},
)


def derive(p: Proof) -> None:
    r_both, r_one = p.replaced[n_1 + n_2], p.replaced[n_1]
    p.refute("both", terms=[
        square(facts=["not", "not"]), square(facts=["not", "aligned", f"{r_one}.sign"], coef=2), square(facts=["condition"]),
    ], using=[f"{r_both}.square", f"{r_one}.square"], eliminate=[r_both, r_one],
        text="were a_1 sqrt(n_1 + n_2) larger, its square would be, against the condition")  # fmt: skip
    p.ideal(
        "exact",
        using=[f"{r_both}.square", f"{r_one}.square"],
        eliminate=[r_both, r_one],
        text="a difference of two squares",
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    return {
        "a_1": x["g_1"] @ ops.T(x["h_1"]), "a_2": x["g_2"] @ ops.T(x["h_2"]), "n_1": ops.total_square(x["g_1"]), "n_2": ops.total_square(x["g_2"]),
    }  # fmt: skip


CLAIM = Claim(
    id="T2.2",
    title="When to keep both modality blocks",
    family="contribution balance",
    source="new",
    paper="The contribution balance factor is a mask on gradients.",
    statement=STATEMENT,
    inputs=tuple(Input(f"{k}_{m}", "rows", "1", "d") for m in (1, 2) for k in "gh"),
    bind=bind,
    derive=derive,
    tight=(
        Instance(
            {"g_1": [[3]], "h_1": [[1]], "g_2": [[4]], "h_2": [["1/2"]]}, "the cosines are equal: 3/3 and 5/5", "both"
        ),
    ),
    necessity={
        "aligned": Instance(
            {"g_1": [[1]], "h_1": [[-1]], "g_2": [[1]], "h_2": [[-2]]}, "both blocks point the wrong way", "both"
        ),
        "condition": Instance(
            {"g_1": [[1]], "h_1": [[1]], "g_2": [[1]], "h_2": [["1/10"]]},
            "the second block adds length, not alignment",
            "both",
        ),
    },
    features_note="a statement about gradients of two losses",
    notes=(
        "Stated without division: sqrt(n_1) and sqrt(n_1 + n_2) are not negative.",
        "Against the second block alone the same holds with 1 and 2 exchanged: with n_1, n_2 > 0 keeping both is best exactly if "
        "a_1 + a_2 >= 0 and (a_1 + a_2)^2 n_m >= a_m^2 (n_1 + n_2) for both m, whatever the signs of a_1 and a_2.",
    ),
)
