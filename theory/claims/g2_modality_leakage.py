"""G2: generalisation error by modality: the second moment of a random projector and the cross-modal leakage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars
from ..proof import Proof, square
from ..trust import WISHART

m, size, x, y, alpha, beta, leak, d_i, outside = scalars("m P x y alpha beta leak d_I e2")

STATEMENT = Statement(
    text="For an orthogonally invariant random projector Q of rank m in R^P and a symmetric A, E[QAQ] = (x + y) A + y tr(A) I with "
    "y = m(P - m)/(P(P - 1)(P + 2)) and x = (m - y P (P + 1))/P.  With A the projector on the d_I coordinates of one modality, an error e in the "
    "other modality alone leaks into it an error of expected squared length y d_I |e|^2.",
    relations=(
        Relation("identity_part", beta, "==", y),
        Relation("matrix_part", alpha, "==", x + y),
        Relation("leakage", leak, "==", y * d_i * outside),
    ),
    assumptions=(
        Assumption("sizes", "P > 1", (Relation("", 1, "<", size),)),
        Assumption("trace", "taking the trace: alpha + P beta = m/P, because tr E[QAQ] = E tr(AQ) = (m/P) tr A", (
            Relation("", size * (alpha + size * beta), "==", m),)),
        Assumption("rank_one", "A = v v' along v: alpha + beta = m(m + 2)/(P(P + 2))", (
            Relation("", size * (size + 2) * (alpha + beta), "==", m * (m + 2)),)),
        Assumption("y", "definition of y", (Relation("", size * (size - 1) * (size + 2) * y, "==", m * (size - m)),), True),
        Assumption("x", "definition of x", (Relation("", size * x, "==", m - y * size * (size + 1)),), True),
        Assumption("other", "leak = e'E[QAQ]e for an error with A e = 0 and tr A = d_I", (Relation("", leak, "==", beta * d_i * outside),), True),
    ),
    symbols={"alpha": "coefficient of A", "beta": "coefficient of tr(A) I", "P": "dimension", "m": "rank", "leak": "expected squared error leaked",
             "d_I": "number of coordinates of the modality", "e2": "|e|^2"},
)  # fmt: skip


def derive(p: Proof) -> None:
    up, down, wide = scalars("iP iP1 iP2")
    p.positive("below", size - 1, terms=[square(facts=["sizes"])], strict=True, text="P - 1 > 0")
    p.positive("positive", size, terms=[square(facts=["sizes"]), square()], strict=True, text="P > 0")
    p.positive("above", size + 2, terms=[square(facts=["positive"]), square(coef=2)], strict=True, text="P + 2 > 0")
    p.inverse("over_P", of="positive", as_=up, text="1/P")
    p.inverse("over_below", of="below", as_=down, text="1/(P - 1)")
    p.inverse("over_above", of="above", as_=wide, text="1/(P + 2)")
    p.ideal("scaled", size * (size - 1) * (size + 2) * (beta - y),
            using=[("trace", -(size + 2)), ("rank_one", 1), ("y", 1)], text="eliminate alpha")  # fmt: skip
    factor = up * down * wide
    p.ideal("identity_part", using=[("scaled", -factor), ("over_P.product", (beta - y) * (size - 1) * (size + 2) * down * wide),
            ("over_below.product", (beta - y) * (size + 2) * wide), ("over_above.product", beta - y)],
            text="divide by P (P - 1)(P + 2)")  # fmt: skip
    p.ideal(
        "scaled_alpha",
        size * (alpha - x - y),
        using=["trace", "x", "identity_part"],
        eliminate=[alpha, x, beta],
        text="put beta = y",
    )
    p.ideal("matrix_part", using=[("scaled_alpha", -up), ("over_P.product", alpha - x - y)], text="divide by P")
    p.ideal("leakage", using=["other", "identity_part"], eliminate=[leak, beta], text="put beta = y")


def bind(i: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rank, dim = i["m"], i["P"]
    one = ops.ones(1, 1, dim)
    first = rank * ops.reciprocal(dim)  # alpha + P beta
    second = rank * (rank + 2) * ops.reciprocal(dim * (dim + 2))  # alpha + beta
    if "second" in i:
        second = i["second"]
    if "first" in i:
        first = i["first"]
    b = (first - second) * ops.reciprocal(dim - 1) if "P_one" not in i else i["P_one"]
    a = second - b
    y_ = rank * (dim - rank) * ops.reciprocal(dim * (dim - 1) * (dim + 2)) if "P_one" not in i else one
    x_ = (rank - y_ * dim * (dim + 1)) * ops.reciprocal(dim)
    return {
        "m": rank,
        "P": dim,
        "alpha": a,
        "beta": b,
        "x": x_,
        "y": y_,
        "d_I": i["d_I"],
        "e2": i["e2"],
        "leak": b * i["d_I"] * i["e2"],
    }


CLAIM = Claim(
    id="G2",
    title="Cross-modal leakage of least-norm updates",
    family="generalisation",
    source="new; second moment of an invariant projector",
    paper="Generalisation improves.",
    statement=STATEMENT,
    inputs=(Input("m", "real", low="0", high="24"), Input("P", "real", low="2", high="50"), Input("d_I", "real", low="0", high="24"), Input("e2", "real", low="0")),
    bind=bind,
    derive=derive,
    trust=(WISHART,),
    tight_note="identities",
    necessity={
        "sizes": Instance({"m": [[1]], "P": [[1]], "d_I": [[1]], "e2": [[1]], "P_one": [[0]]}, "P = 1: y is not determined", "identity_part"),
        "trace": Instance({"m": [[1]], "P": [[2]], "d_I": [[1]], "e2": [[1]], "first": [[1]]}, "the trace of a projector of rank 2", "identity_part"),
        "rank_one": Instance({"m": [[1]], "P": [[2]], "d_I": [[1]], "e2": [[1]], "second": [["1/2"]]}, "another fourth moment", "identity_part"),
    },
    features_note="a statement about Gaussian features in expectation",
    notes=("Invariance (Schur's lemma) gives the form alpha A + beta tr(A) I for symmetric A; the two moments determine alpha and beta.",),
)  # fmt: skip
