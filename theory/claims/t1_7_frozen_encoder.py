"""T1.7: with a frozen encoder the CLIP loss does not move, whatever happens to the head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Recursion, Relation, matrix, scalars, unit
from ..proof import Proof, square

U, V, U_new, V_new = matrix("U", "N", "d"), matrix("V", "N", "d"), matrix("U_new", "N", "d"), matrix("V_new", "N", "d")
S, S_new = matrix("S", "N", "N"), matrix("S_new", "N", "N")
n, mean, variance, total, squares, change = scalars("n mean var T_1 T_2 change")

STATEMENT = Statement(
    text="If training moves the head but not the encoder, every score <u_i, v_j> stays what it was, and with it the CLIP loss, at a given "
    "temperature a function of the scores alone.  So its drift is zero for every seed: mean zero and variance zero over seeds.",
    relations=(
        Relation("scores", S_new, "==", S),
        Relation("mean", mean, "==", 0),
        Relation("variance", variance, "==", 0),
    ),
    assumptions=(
        Assumption("frozen", "features are the same before and after training, and so is the temperature of the CLIP loss", (
            Relation("", U_new, "==", U), Relation("", V_new, "==", V)), each=("unchanged",)),
        Assumption("before", "S holds all scores before training", (Relation("", S, "==", U * V.T),), True),
        Assumption("after", "S_new holds all scores after it", (Relation("", S_new, "==", U_new * V_new.T),), True),
        Assumption("count", "there is at least one seed", (Relation("", 1, "<=", n),), True),
        Assumption("mean_drift", "mean drift of the CLIP loss over n seeds", (Relation("", n * mean, "==", total),), True),
        Assumption("var_drift", "its variance over n seeds", (Relation("", n * (variance + mean**2), "==", squares),), True),
    ),
    symbols={
        "U": "images before training", "V": "texts before", "U_new": "images after", "V_new": "texts after", "S": "scores before", "S_new": "scores after",
        "n": "number of seeds", "mean": "mean drift of the CLIP loss over seeds", "var": "its variance", "change": "drift of the CLIP loss in one "
        "seed", "T_1": "sum of the drifts", "T_2": "sum of their squares",
    },
    recursions={
        "seeds": Recursion(
            start={total: 0, squares: 0}, update={total: total + change, squares: squares + change**2}, fresh=(change,),
            given={"unchanged": Relation("", change, "==", 0)},  # the CLIP loss is a function of the scores, and `scores` holds
        ),
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free(
        "scores",
        using=[("after", "S_new"), ("frozen.1", "U_new"), ("frozen.2", "V_new"), ("before", "S")],
        text="the same features, the same scores",
    )

    def start(p: Proof, name: str, goal: Any) -> None:
        p.ideal(name, goal, using=[], text="no seed yet")

    def step(p: Proof, name: str, goal: Any) -> None:
        p.ideal(
            name,
            goal,
            using=["hypothesis", "unchanged"],
            eliminate=[change, total, squares],
            text="a seed without drift adds nothing",
        )

    p.induction("sum", total, recursion="seeds", base=start, step=step, text="drifts sum to zero")
    p.induction("sum_squares", squares, recursion="seeds", base=start, step=step, text="and so do their squares")
    over = scalars("over")
    p.positive("some", n, terms=[square(), square(facts=["count"])], strict=True, text="n > 0")
    p.inverse("share", of="some", as_=over, text="divide by n")
    p.ideal(
        "mean", using=[("share.product", mean), ("mean_drift", over), ("sum", -over)], text="mean = (1/n) times the sum"
    )
    p.ideal(
        "variance",
        using=[("share.product", variance), ("var_drift", over), ("sum_squares", -over), "mean"],
        text="the same for the squares",
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    images, texts, targets = x["U"], x["V"], x["Y"]
    count = ops.rows(images)
    ones = ops.ones(count, 1, images)

    def clip(u: Any, v: Any) -> Any:
        scores = u @ ops.T(v)
        return ops.mean_entry(ops.log(ops.exp(scores) @ ones)) - ops.trace(scores) * ops.ratio(1, count)

    def trained(head: Any) -> tuple[Any, Any]:
        """Two gradient steps on the squared loss of a head on image + text; the encoder takes part with step size `adapt`."""
        u, v = images, texts
        for _ in range(2):
            residual = (u + v) @ head - targets
            gradient = residual @ ops.T(head) * ops.ratio(1, count)
            head = head - ops.T(u + v) @ residual * ops.ratio(1, 2 * count)
            u, v = u - x["adapt"] * gradient, v - x["adapt"] * gradient
        return u, v

    ends = [trained(ops.T(x[seed])) for seed in ("W_1", "W_2")]  # two seeds: two initial heads, one class a row
    drifts = [clip(u, v) - clip(images, texts) for u, v in ends]
    mean = (drifts[0] + drifts[1]) * ops.ratio(1, 2)
    sum_squares = drifts[0] * drifts[0] + drifts[1] * drifts[1]
    u, v = ends[0]
    return {
        "U": images, "V": texts, "U_new": u, "V_new": v, "S": images @ ops.T(texts), "S_new": u @ ops.T(v), "n": ops.ones(1, 1, images) * 2,
        "mean": mean, "var": sum_squares * ops.ratio(1, 2) - mean * mean, "T_1": drifts[0] + drifts[1], "T_2": sum_squares,
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        yield f"{view.name(s)}, heads from the class texts of {view.name(s)} and {view.name(t)}", {
            "U": view.image(s)[:200], "V": view.text(s)[:200], "Y": view.onehot(s)[:200], "W_1": view.class_texts(s), "W_2": view.class_texts(t),
            "adapt": [[0]],
        }  # fmt: skip


ADAPTING = {
    "U": unit([1, 0], [0, 1]),
    "V": unit([1, 0], [0, 1]),
    "Y": [[1], [0]],
    "W_1": [[1, 1]],
    "W_2": [[2, 1]],
    "adapt": [["1/2"]],
}

CLAIM = Claim(
    id="T1.7",
    title="A frozen encoder has no CLIP drift",
    family="loss drift",
    source="arXiv 2606.14883, in exact form",
    paper="With a frozen encoder the CLIP term has zero variance over seeds, yet can reverse the sign of the drift.",
    statement=STATEMENT,
    inputs=(
        Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "N", "d"), Input("Y", "rows", "N", "C"), Input("W_1", "rows", "C", "d"),
        Input("W_2", "rows", "C", "d"), Input("adapt", "real", low="0", high="0"),
    ),
    bind=bind,
    derive=derive,
    tight_note="identities: both sides agree on every instance",
    necessity={"frozen": Instance(ADAPTING, "an encoder that takes part in training", "scores")},
    on_features=on_features,
    notes=(
        "Certified: the scores stay, and drifts that are zero in every seed have mean and variance zero.  That the CLIP loss is a function of the "
        "scores and of its temperature is its definition; it enters as what is given about a seed.",
        "Zero drift cannot reverse the sign of another drift within one environment; a reversal (T1.6) compares CLIP losses of two environments, whose "
        "features differ although the encoder is frozen.",
    ),
)  # fmt: skip
