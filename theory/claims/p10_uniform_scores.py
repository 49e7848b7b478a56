"""P10: the paper: where contributions are nearly uniform the predictor carries no information."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Abs

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Recursion, Relation, scalars, unit
from ..proof import Proof, square

cost, other, count, spread, c, x, y = scalars("C C_other n e c x y")

STATEMENT = Statement(
    text="If every score lies within e of a common value c, the cumulative costs of any two orders with n consecutive pairs differ by at most "
    "2 n e: at e = 0 the rule cannot tell the orders apart.",
    relations=(Relation("blind", Abs(cost - other), "<=", 2 * count * spread),),
    assumptions=(Assumption("uniform", "every score lies within e of c", each=("above_x", "below_x", "above_y", "below_y")),),
    symbols={"C": "cumulative consecutive contribution of an order", "C_other": "of another order", "n": "number of consecutive pairs",
             "x": "a score on the first order", "y": "the score at the same place of the other order"},
    recursions={
        "pairs": Recursion(
            start={cost: 0, other: 0, count: 0}, update={cost: cost + x, other: other + y, count: count + 1}, fresh=(x, y),
            given={"above_x": Relation("", x, "<=", c + spread), "below_x": Relation("", c - spread, "<=", x),
                   "above_y": Relation("", y, "<=", c + spread), "below_y": Relation("", c - spread, "<=", y)},
        ),
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    for k, sign in ((1, 1), (2, -1)):
        high, low = ("above_x", "below_y") if sign > 0 else ("above_y", "below_x")
        p.induction(
            f"blind.{k}", 2 * count * spread - sign * (cost - other), recursion="pairs", relation=">=0",
            base=lambda p, name, goal: p.positive(name, goal, terms=[], text="nothing is summed yet"),
            step=lambda p, name, goal, high=high, low=low: p.positive(
                name, goal, terms=[square(facts=["hypothesis"]), square(facts=[high]), square(facts=[low])], text="one more pair adds at most 2 e"
            ),
            text="by induction on the number of pairs",
        )  # fmt: skip


def bind(v: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    gram = v["A"] @ ops.T(v["A"])
    size = ops.rows(gram)
    order, other_order = list(range(size)), [*range(1, size, 2), *range(0, size, 2)]  # no pair in common from T = 4 on
    one = ops.ones(1, 1, gram)
    pairs = [ops.entry(gram, i, j) for i in range(size) for j in range(i)]
    low = high = pairs[0] if pairs else one * 0
    for value in pairs[1:]:
        low, high = -ops.maximum(-low, -value), ops.maximum(high, value)

    def total(path: list[int]) -> Any:
        out = one * 0
        for i, j in itertools.pairwise(path):
            out = out + ops.entry(gram, i, j)
        return out

    half = ops.ratio(1, 2)
    return {"C": total(order), "C_other": total(other_order), "n": one * (size - 1), "c": (low + high) * half,
            "e": v["e"] if "e" in v else (high - low) * half}  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    yield (
        "mean image directions",
        {"A": view.normalise(view.stack([view.mean(view.image(t)) for t in view.environments]))},
    )


CHAIN = unit(
    ["1/2", "1/2", "1/2", "1/2", 0, 0], ["1/2", "1/2", "1/2", "-1/2", 0, 0], ["1/2", "-1/2", "1/2", "-1/2", 0, 0], ["1/2", "-1/2", 0, 0, "1/2", "1/2"],
)  # fmt: skip

CLAIM = Claim(
    id="P10",
    title="Uniform contributions carry no information on the order",
    family="the paper's claims",
    source="arXiv 2606.14883, discussion of the low-dispersion data set",
    paper="Where contributions are nearly uniform the predictor carries no information.",
    statement=STATEMENT,
    inputs=(Input("A", "unit_rows", "T", "d"),),
    bind=bind,
    derive=derive,
    tight=(Instance({"A": CHAIN}, "one order meets only scores 1/2, the other only scores 0", "blind"),),
    necessity={"uniform": Instance({"A": unit([1, 0], [0, 1], [1, 0]), "e": [["1/10"]]}, "scores 0 and 1, e = 1/10")},
    on_features=on_features,
    notes=(
        "Only equal scores leave no information: for three environments whose scores are not negative the rule picks the best order, up to reversal, however "
        "close they are (T3.8).  What vanishes with e is the spread of the costs (here) and of forgetting for an isotropic target (O3, and it is continuous in the scores), so that "
        "noise of size e hides both.",
        "For an isotropic target forgetting itself depends on the order only through the quartic term of T3.7 and T3.12, and not at all for equal scores (O3).",
    ),
)  # fmt: skip
