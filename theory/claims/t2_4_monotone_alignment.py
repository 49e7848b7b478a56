"""T2.4: a larger lambda never raises the contrastive loss of a minimiser; no convexity needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars
from ..proof import Proof, square

a_1, a_2, b_1, b_2, l_1, l_2 = scalars("A_1 A_2 B_1 B_2 lambda_1 lambda_2")
tau, top, gap_1, gap_2, d_1, d_2 = scalars("tau delta_max G_1 G_2 delta_1 delta_2")

STATEMENT = Statement(
    text="For any functions A, B and any minimisers w_1, w_2 of A + lambda_1 B and A + lambda_2 B, lambda_1 < lambda_2 gives B(w_2) <= B(w_1), and "
    "A(w_1) <= A(w_2) if lambda_1 >= 0.  If B = tau (Cbar - CLV) + delta with 0 <= delta <= delta_max (T1.5), the alignment gap CLV - Cbar falls "
    "by at most delta_max / tau (tau > 0).",
    relations=(
        Relation("contrastive", b_2, "<=", b_1),
        Relation("task", a_1, "<=", a_2),
        Relation("transfer", tau * gap_1, "<=", tau * gap_2 + top),
    ),
    assumptions=(
        Assumption("larger", "lambda_1 < lambda_2", (Relation("", l_1, "<", l_2),)),
        Assumption("sign", "lambda_1 is not negative", (Relation("", 0, "<=", l_1),)),
        Assumption("first", "w_1 minimises A + lambda_1 B", (Relation("", a_1 + l_1 * b_1, "<=", a_2 + l_1 * b_2),)),
        Assumption("second", "w_2 minimises A + lambda_2 B", (Relation("", a_2 + l_2 * b_2, "<=", a_1 + l_2 * b_1),)),
        Assumption(
            "loss",
            "B = -tau G + delta, G = CLV - Cbar",
            (Relation("", b_1, "==", -tau * gap_1 + d_1), Relation("", b_2, "==", -tau * gap_2 + d_2)),
            True,
        ),
        Assumption(
            "remainder", "0 <= delta <= delta_max (T1.5)", (Relation("", d_1, "<=", top), Relation("", 0, "<=", d_2))
        ),
    ),
    symbols={
        "A_1": "task loss of w_1",
        "B_1": "contrastive loss of w_1",
        "G_1": "CLV - Cbar of w_1",
        "delta_1": "remainder of T1.5",
    },
)


def derive(p: Proof) -> None:
    p.refute("contrastive", terms=[square(facts=["not", "larger"]), square(facts=["first"]), square(facts=["second"])],
             text="add the two optimality conditions: (lambda_2 - lambda_1)(B_1 - B_2) >= 0")  # fmt: skip
    p.positive(
        "task",
        terms=[square(facts=["first"]), square(facts=["sign", "contrastive"])],
        text="A_2 - A_1 >= lambda_1 (B_1 - B_2)",
    )
    p.positive("transfer", terms=[square(facts=["contrastive"]), square(facts=["remainder.1"]), square(facts=["remainder.2"])],
               using=["loss.1", "loss.2"], eliminate=[b_1, b_2], text="put B = -tau G + delta")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    # Three candidate models (A, B); each lambda picks its minimiser by comparison.
    values = x["models"]

    def best(lam: Any) -> tuple[Any, Any]:
        a, b = ops.entry(values, 0, 0), ops.entry(values, 0, 1)
        for k in range(1, 3):
            c, d = ops.entry(values, k, 0), ops.entry(values, k, 1)
            better = ops.positive((a + lam * b) - (c + lam * d))
            a, b = a + better * (c - a), b + better * (d - b)
        return a, b

    (first_a, first_b), (second_a, second_b) = (best(x[k]) for k in ("lambda_1", "lambda_2"))
    if "forced" in x:
        second_a, second_b = ops.entry(values, 1, 0), ops.entry(values, 1, 1)
    if "unforced" in x:
        first_a, first_b = ops.entry(values, 1, 0), ops.entry(values, 1, 1)
    one = ops.ones(1, 1, values)
    d_first, d_second, limit = x.get("d_1", one), one * 0, one
    return {
        "A_1": first_a, "B_1": first_b, "A_2": second_a, "B_2": second_b, "lambda_1": x["lambda_1"], "lambda_2": x["lambda_2"], "tau": one,
        "delta_max": limit, "delta_1": d_first, "delta_2": d_second, "G_1": d_first - first_b, "G_2": d_second - second_b,
    }  # fmt: skip


THREE = [[0, 1], [1, 0], [5, 5]]

CLAIM = Claim(
    id="T2.4",
    title="lambda controls the contrastive loss monotonically",
    family="contribution balance",
    source="monotone comparative statics (Topkis); new for the alignment transfer",
    paper="lambda controls CLV(t) monotonically when the encoder adapts.",
    statement=STATEMENT,
    inputs=(
        Input("models", "rows", "3", "2"),
        Input("lambda_1", "real", low="0"),
        Input("lambda_2", "real", low="0", high="3"),
    ),
    bind=bind,
    derive=derive,
    tight=(
        Instance(
            {"models": [[2, 2], [2, 2], [5, 5]], "lambda_1": [[0]], "lambda_2": [[1]]},
            "one model is best throughout",
            "contrastive",
        ),
    ),
    necessity={
        "larger": Instance({"models": THREE, "lambda_1": [[2]], "lambda_2": [[0]]}, "lambda falls", "contrastive"),
        "sign": Instance(
            {"models": [[1, 2], [0, 1], [9, 9]], "lambda_1": [[-2]], "lambda_2": [[0]]}, "a negative lambda", "task"
        ),
        "first": Instance(
            {"models": THREE, "lambda_1": [[0]], "lambda_2": [["1/2"]], "unforced": [[1]]},
            "w_1 is no minimiser",
            "contrastive",
        ),
        "second": Instance(
            {"models": [[0, 0], [1, 1], [5, 5]], "lambda_1": [[0]], "lambda_2": [[1]], "forced": [[1]]},
            "w_2 is no minimiser",
            "contrastive",
        ),
        "remainder": Instance(
            {"models": [[2, 2], [2, 2], [5, 5]], "lambda_1": [[0]], "lambda_2": [[1]], "d_1": [[2]]},
            "delta_1 above delta_max",
            "transfer",
        ),
    },
    features_note="a statement about minimisers of two trainings",
)
