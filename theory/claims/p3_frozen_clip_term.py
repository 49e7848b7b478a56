"""P3: the paper: with a frozen encoder the CLIP term does not vary over seeds, yet can reverse the sign of the drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Recursion, Relation, scalars, unit
from ..proof import Proof, square

d_ce, d_clip, weight, drift = scalars("D_CE D_CLIP lambda D")
n, total, squares, change = scalars("n T_1 T_2 change")

STATEMENT = Statement(
    text="With a frozen encoder the difference D_CLIP of the CLIP losses of two environments is a function of the features and the temperature "
    "alone, the same in every seed of the head: its variance over any number n of seeds is zero, n sum x^2 - (sum x)^2 = 0.  It can still reverse the "
    "sign of the drift: where the CLIP loss falls, as soon as lambda |D_CLIP| exceeds a positive D_CE, D = D_CE + lambda D_CLIP and D_CE have opposite signs.",
    relations=(
        Relation("no_variance", n * squares - total**2, "==", 0),
        Relation("reversed", drift * d_ce, "<", 0),
    ),
    assumptions=(
        Assumption("frozen", "the seeds share the encoder and the temperature, hence the features of both environments and the CLIP term", each=("same",)),
        Assumption("rising", "the cross-entropy rises", (Relation("", 0, "<", d_ce),)),
        Assumption("heavy", "the CLIP loss falls, and lambda times its fall exceeds D_CE", (Relation("", d_ce, "<", -weight * d_clip),)),
        Assumption("total", "D = D_CE + lambda D_CLIP", (Relation("", drift, "==", d_ce + weight * d_clip),), True),
    ),
    symbols={
        "D_CE": "drift of the cross-entropy", "D_CLIP": "difference of the CLIP losses of the two environments", "lambda": "weight of the CLIP loss",
        "D": "total drift", "n": "number of seeds", "change": "D_CLIP in one seed", "T_1": "its sum over seeds", "T_2": "the sum of its squares",
    },
    recursions={
        "seeds": Recursion(
            start={n: 0, total: 0, squares: 0}, update={n: n + 1, total: total + change, squares: squares + change**2}, fresh=(change,),
            given={"same": Relation("", change, "==", d_clip)},  # frozen: a function of the features
        ),
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    def start(p: Proof, name: str, goal: Any) -> None:
        p.ideal(name, goal, using=[], text="no seed yet")

    def step(p: Proof, name: str, goal: Any) -> None:
        p.ideal(
            name,
            goal,
            using=["hypothesis", "same"],
            eliminate=[change, total, squares],
            text="one more seed with the same value",
        )

    p.induction("sum", total - n * d_clip, recursion="seeds", base=start, step=step, text="n equal values")
    p.induction(
        "sum_squares", squares - n * d_clip**2, recursion="seeds", base=start, step=step, text="and their squares"
    )
    p.ideal(
        "no_variance", using=["sum", "sum_squares"], eliminate=[total, squares], text="n (n D_CLIP^2) = (n D_CLIP)^2"
    )
    p.positive("reversed", terms=[square(facts=["rising", "heavy"])], using=["total"], eliminate=[drift], strict=True,
               text="-D D_CE = D_CE (-lambda D_CLIP - D_CE)")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    ones = ops.ones(ops.rows(x["U_t"]), 1, x["U_t"])

    def clip(u: Any, v: Any) -> Any:
        scores = u @ ops.T(v)
        return ops.mean_entry(ops.log(ops.exp(scores) @ ones)) - ops.trace(scores) * ops.ratio(1, ops.rows(u))

    def trained(head: Any) -> tuple[Any, Any]:
        """One gradient step of a head on t; the encoder takes part with step size `adapt`, zero where it is frozen."""
        u, v = x["U_t"], x["V_t"]
        gradient = ((u + v) @ head - x["Y"]) @ ops.T(head) * ops.ratio(1, ops.rows(u))
        return u - x["adapt"] * gradient, v - x["adapt"] * gradient

    before = clip(x["U_s"], x["V_s"])
    changes = [clip(*trained(ops.T(x[seed]))) - before for seed in ("W_1", "W_2")]
    fall = -ops.absolute(changes[0])  # the transition in the direction in which the CLIP loss falls
    return {
        "D_CE": x["rise"], "D_CLIP": fall, "lambda": x["lambda"], "D": x["rise"] + x["lambda"] * fall, "n": ops.ones(1, 1, before) * 2,
        "T_1": changes[0] + changes[1], "T_2": changes[0] * changes[0] + changes[1] * changes[1],
    }  # fmt: skip


MODEL = {
    "U_s": unit([1, 0], [0, 1]), "V_s": unit([1, 0], [0, 1]), "U_t": unit([1, 0], [1, 0]), "V_t": unit([1, 0], [1, 0]), "Y": [[1], [0]],
    "W_1": unit([1, 1]), "W_2": unit([2, 1]), "adapt": [[0]], "rise": [["1/10"]], "lambda": [[1]],
}  # fmt: skip

CLAIM = Claim(
    id="P3",
    title="The CLIP term is fixed by a frozen encoder, and can reverse the drift",
    family="the paper's claims",
    source="arXiv 2606.14883, frozen-encoder experiments",
    paper="With a frozen encoder the CLIP term has zero variance over seeds, yet can reverse the sign of the drift.",
    statement=STATEMENT,
    inputs=(
        *(Input(f"{a}_{k}", "unit_rows", "N", "d") for k in "st" for a in "UV"), Input("Y", "rows", "N", "C"), Input("W_1", "rows", "C", "d"),
        Input("W_2", "rows", "C", "d"), Input("adapt", "real", low="0", high="0"), Input("rise", "real", low="0", high="1/10"),
        Input("lambda", "real", low="1", high="5"),
    ),
    bind=bind,
    derive=derive,
    tight_note="an identity and a strict inequality; the reversal happens exactly at lambda = -D_CE / D_CLIP (T1.6)",
    necessity={
        "frozen": Instance({**MODEL, "adapt": [["1/2"]]}, "an adapting encoder: seeds differ", "no_variance"),
        "rising": Instance({**MODEL, "rise": [["-1/10"]]}, "both fall", "reversed"),
        "heavy": Instance({**MODEL, "lambda": [["1/10"]]}, "lambda too small", "reversed"),
    },
    features_note="a statement about losses of several trainings; see T1.7, which is measured",
    notes=("Exact counterparts: T1.6 (where the sign turns) and T1.7 (scores, and so the CLIP loss, stay when only the head is trained).",),
)  # fmt: skip
