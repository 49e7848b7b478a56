"""T1.6: a contrastive term of the other sign reverses the drift, exactly from one weight on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars
from ..proof import Proof, square

ce_0, ce_1, clip_0, clip_1 = scalars("CE CE_new CLIP CLIP_new")
d_ce, d_clip, first, second = scalars("D_CE D_CLIP lambda_1 lambda_2")
total_1, total_2 = scalars("D_1 D_2")
THRESHOLD = -d_ce / d_clip

STATEMENT = Statement(
    text="If the drifts of CE and of CLIP differ in sign, the drift of CE + lambda CLIP is D_CLIP (lambda - lambda*) with "
    "lambda* = -D_CE / D_CLIP > 0: it changes its sign at lambda*, exactly there, and only once.",
    relations=(
        Relation("linear", total_1, "==", d_clip * (first - THRESHOLD)),
        Relation("threshold", 0, "<", THRESHOLD),
        Relation("reversal", total_1 * total_2, "<", 0),
    ),
    assumptions=(
        Assumption("opposite", "the two drifts differ in sign", (Relation("", d_ce * d_clip, "<", 0),)),
        Assumption("below", "lambda_1 is below lambda*", (Relation("", first, "<", THRESHOLD),)),
        Assumption("above", "lambda_2 is above lambda*", (Relation("", THRESHOLD, "<", second),)),
        Assumption("drift_ce", "drift of the cross-entropy", (Relation("", d_ce, "==", ce_1 - ce_0),), True),
        Assumption("drift_clip", "drift of the CLIP loss", (Relation("", d_clip, "==", clip_1 - clip_0),), True),
        Assumption("drift_1", "drift of the total with weight lambda_1", (
            Relation("", total_1, "==", ce_1 + first * clip_1 - (ce_0 + first * clip_0)),), True),
        Assumption("drift_2", "drift of the total with weight lambda_2", (
            Relation("", total_2, "==", ce_1 + second * clip_1 - (ce_0 + second * clip_0)),), True),
    ),
    symbols={
        "CE": "cross-entropy before", "CE_new": "after", "CLIP": "CLIP loss before", "CLIP_new": "after", "D_CE": "drift of the cross-entropy",
        "D_CLIP": "drift of the CLIP loss", "lambda_1": "a weight below lambda*", "lambda_2": "a weight above", "D_1": "drift of the total with "
        "lambda_1", "D_2": "with lambda_2",
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    over = p.replaced["1/", d_clip]
    product = f"{over}.product"
    for k, name, total, goal in (
        (1, "linear", total_1, None),
        (2, "linear_2", total_2, d_clip * (second - THRESHOLD) - total_2),
    ):
        p.ideal(name, goal, using=[f"drift_{k}", "drift_ce", "drift_clip", (product, -d_ce)], eliminate=[total, ce_1, clip_1, d_ce],
                text="the total is linear in its weight")  # fmt: skip
    for name, x, y in (("slope", d_clip, over), ("inverse_slope", over, d_clip)):
        p.refute(name, x**2, terms=[square(y, facts=["not"]), square()], using=[(product, -y * x - 1)], strict=True,
                 text="D_CLIP is not 0, for it has an inverse")  # fmt: skip
    p.positive("threshold", terms=[square(facts=["opposite", "inverse_slope"])], using=[product], eliminate=[d_clip], strict=True,
               text="lambda* = -D_CE D_CLIP / D_CLIP^2")  # fmt: skip
    p.positive("reversal", terms=[square(facts=["below", "above", "slope"])], using=["linear", "linear_2"], eliminate=[total_1, total_2],
               strict=True, text="-D_1 D_2 = D_CLIP^2 (lambda* - lambda_1) (lambda_2 - lambda*)")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    def total(ce: Any, clip: Any, weight: Any) -> Any:
        return ce + weight * clip

    low, high, losses = x["lambda_1"], x["lambda_2"], (x["CE"], x["CLIP"], x["CE_new"], x["CLIP_new"])
    ce, clip, new_ce, new_clip = losses
    return {
        "CE": ce, "CE_new": new_ce, "CLIP": clip, "CLIP_new": new_clip, "D_CE": new_ce - ce, "D_CLIP": new_clip - clip,
        "lambda_1": low, "lambda_2": high, "D_1": total(new_ce, new_clip, low) - total(ce, clip, low),
        "D_2": total(new_ce, new_clip, high) - total(ce, clip, high),
    }  # fmt: skip


def numbers(ce: int, clip: int, new_ce: int, new_clip: int, low: str, high: str) -> Mapping[str, Any]:
    names = ("CE", "CLIP", "CE_new", "CLIP_new", "lambda_1", "lambda_2")
    return {name: [[value]] for name, value in zip(names, (ce, clip, new_ce, new_clip, low, high), strict=True)}


CLAIM = Claim(
    id="T1.6",
    title="Sign reversal of the total drift",
    family="loss drift",
    source="new; makes a remark of arXiv 2606.14883 exact",
    paper="The CLIP term can reverse the sign of the drift.",
    statement=STATEMENT,
    inputs=(
        Input("CE", "real", low="0", high="2"), Input("CLIP", "real", low="3/2", high="2"), Input("CE_new", "real", low="2", high="4"),
        Input("CLIP_new", "real", low="0", high="1"), Input("lambda_1", "real", low="0", high="1"), Input("lambda_2", "real", low="1", high="20"),
    ),
    bind=bind,
    derive=derive,
    tight=(
        Instance(numbers(1, 2, 2, 1, "0", "2"), "lambda* = 1", "linear"),
    ),
    necessity={
        "opposite": Instance(numbers(0, 0, 1, 1, "-2", "2"), "both drifts are positive: no sign change at a positive weight", "threshold"),
        "below": Instance(numbers(0, 1, 1, 0, "2", "3"), "both weights above lambda* = 1", "reversal"),
        "above": Instance(numbers(0, 1, 1, 0, "0", "1/2"), "both weights below lambda* = 1", "reversal"),
    },
    features_note="a statement about four losses and a weight: nothing of it depends on features; T1.4 measures the drift of one step, T1.5 the CLIP loss",
    notes=("`linear` needs only that D_CLIP is not 0; with D_CLIP = 0 the weight has no influence at all.",),
)  # fmt: skip
