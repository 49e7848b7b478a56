"""T3.7: expected forgetting for an isotropic target, exactly: an order-free part less a quartic one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice, permutations
from typing import Any

from sympy import Trace

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, identity, matrix, scalars, unit
from ..proof import Proof, square
from ..sequences import learn, learning, norm_bound

ell, inv_ell = scalars("ell u")
A, L, M = matrix("A", "T", "d"), matrix("L", "T", "T"), matrix("M", "T", "T")
E, X, S = matrix("E", "d", "d"), matrix("X", "T", "d"), matrix("s", "T", "d")
a = matrix("a", "k", "d")
eye_t, eye_d = identity("T"), identity("d")

MEASURED = 24  # orders of a features file; of a dozen environments all would not fit into memory
FAINT = unit([1, 0], ["2000/1000001", "999999/1000001"])  # two environments with score about 1/500

forgetting = Trace(X * X.T)
leading = Trace(L * L.T)
quartic = Trace(L.T * L * M * M.T * L.T * L)
plain_quartic = Trace(L.T * L * L.T * L)

STATEMENT = Statement(
    text="For environments with orthonormal feature rows, of any number each, and an isotropic target, d times the expected total forgetting of an order is exactly "
    "|L|_F^2 - |L'L (I + L)^{-1}|_F^2, L the strictly lower part of the Gram matrix of scores in that order.  The first term is the "
    "sum of the squared scores of all pairs, the same for every order: it bounds the forgetting of every order, and all order "
    "sensitivity sits in the second, which is of fourth order in the scores: between |L'L|_F^2 / (1 + l)^2 and |L'L|_F^2 / (1 - l)^2 "
    "for any bound l < 1 of the spectral norm of L.",
    relations=(
        Relation("exact", forgetting, "==", leading - quartic),
        Relation("bounded", forgetting, "<=", leading),
        Relation("quartic_above", (1 - ell) ** 2 * quartic, "<=", plain_quartic),
        Relation("quartic_below", plain_quartic, "<=", (1 + ell) ** 2 * quartic),
    ),
    assumptions=(
        Assumption("orthonormal", "the feature rows of every environment are orthonormal (rank one: unit length)", each=("orthonormal",)),
        Assumption("norm", "l bounds the spectral norm of L: L L' <= l^2 I", (Relation("", L * L.T, "loewner<=", ell**2 * eye_t),)),
        Assumption("small", "l <= 1", (Relation("", ell, "<=", 1),)),
        Assumption("positive", "u = 1/l is positive", (Relation("", 0, "<=", inv_ell),), True),
        Assumption("reciprocal", "u l = 1", (Relation("", inv_ell * ell * eye_t, "==", eye_t),), True),
        Assumption("residual", "X = A E maps the initial error to all residuals; with E[e_0 e_0'] = I/d the expected forgetting is tr(X X')/d",
                   (Relation("", X, "==", A * E),), True),
    ),
    symbols={
        "A": "feature rows in order", "L": "strictly lower part of A A'", "M": "inverse of I + L", "E": "initial error -> error at the end",
        "X": "initial error -> residuals at the end", "s": "initial error -> residual of each environment before it is learnt",
        "ell": "bound l of the spectral norm of L", "u": "1/l", "a": "feature rows of the next environment",
    },
    recursions={"learning": learning(a, A, L, M, S, E, eye_d)},
)  # fmt: skip


def derive(p: Proof) -> None:
    p.blocks(
        "pass",
        [
            Relation("", E, "==", eye_d - A.T * S),
            Relation("", A, "==", (eye_t + L) * S),
            Relation("", A * A.T, "==", eye_t + L + L.T),
            Relation("", M * (eye_t + L), "==", eye_t),
            Relation("", (eye_t + L) * M, "==", eye_t),
        ],
        recursion="learning",
        text="by induction on the number of environments (T3.5 for all initial errors at once)",
    )
    left, right = ("pass.4", "M L"), ("pass.5", "L M")
    p.free("solved", Relation("", S, "==", M * A), using=[("pass.2", "A"), left], text="s = M A")
    p.free("moved", Relation("", X, "==", -L.T * M * A), using=[("residual", "X"), ("pass.1", "E"), ("solved", "s"), ("pass.3", "A A'"), right],
           text="X = -L'M A")  # fmt: skip
    p.free("gram", Relation("", M * A * A.T * M.T, "==", M + M.T - M * M.T), using=[("pass.3", "A A'"), left],
           text="M G M' = M + M' - M M', because M (I + L) = I")  # fmt: skip
    p.free("exact", using=[("moved", "X"), ("gram", "M A A' M'"), left, right],
           text="tr L'(M + M' - M M')L = |L|^2 - |(I - M)'L|^2, and I - M = L M")  # fmt: skip
    p.free("bounded", squares=[(1, M.T * L.T * L)], using=[("moved", "X"), ("gram", "M A A' M'"), left, right],
           text="the second term is a square")  # fmt: skip
    p.positive("room", 1 - ell, terms=[square(facts=["small"])], text="1 - l >= 0")
    p.positive("weight", 1 + inv_ell, terms=[square(), square(facts=["positive"])], text="1 + 1/l >= 0")
    p.psd("lower", Relation("", (1 - ell) ** 2 * eye_t, "loewner<=", (eye_t + L) * (eye_t + L.T)),
          squares=[(1, ell * eye_t + L.T, None, ["positive"]), (1, eye_t, "norm", ["positive", "room"])], using=["reciprocal"],
          text="(I + L)(I + L)' - (1 - l)^2 I = (lI + L)(lI + L)'/l + (1 - l)/l (l^2 I - L L')")  # fmt: skip
    p.psd("upper", Relation("", (eye_t + L) * (eye_t + L.T), "loewner<=", (1 + ell) ** 2 * eye_t),
          squares=[(1, ell * eye_t - L.T, None, ["positive"]), (1, eye_t, "norm", ["weight"])], using=["reciprocal"],
          text="(1 + l)^2 I - (I + L)(I + L)' = (lI - L)(lI - L)'/l + (1 + 1/l)(l^2 I - L L')")  # fmt: skip
    p.psd("inverse_above", Relation("", (1 - ell) ** 2 * M * M.T, "loewner<=", eye_t), squares=[(1, M.T, "lower")], using=[left],
          text="multiply by M from both sides")  # fmt: skip
    p.psd("inverse_below", Relation("", eye_t, "loewner<=", (1 + ell) ** 2 * M * M.T), squares=[(1, M.T, "upper")], using=[left],
          text="multiply by M from both sides")  # fmt: skip
    p.free("quartic_above", squares=[(1, L.T * L, "inverse_above")], using=[], text="weigh with L'L")
    p.free("quartic_below", squares=[(1, L.T * L, "inverse_below")], using=[], text="weigh with L'L")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows = x["A"]
    error = learn(rows, ops.eye(ops.T(rows) @ rows), ops)  # an isotropic target: every initial error at once
    lower = ops.strictly_lower(rows @ ops.T(rows))
    bound = x["ell"] if "ell" in x else norm_bound(lower, ops)
    return {
        "A": rows, "E": error, "X": rows @ error, "L": lower, "M": ops.inv(ops.eye(lower) + lower),
        "ell": bound, "u": ops.reciprocal(bound),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    means = {t: view.mean(view.image(t)) for t in view.environments}
    for order in islice(permutations(view.environments), MEASURED):
        (rows,) = view.span(view.normalise(view.stack([means[t] for t in order])))
        yield f"mean image directions, order {', '.join(view.name(t) for t in order)}", {"A": rows}


CLAIM = Claim(
    id="T3.7",
    title="Order sensitivity is of fourth order in the scores",
    family="forgetting and order",
    source="new; sharpens the expansion |L|^2 - |L'L|^2 + O(c^5) to an identity",
    paper="Continual VLMs are robust to the order of the environments.",
    statement=STATEMENT,
    inputs=(Input("A", "unit_rows", "T", "d"),),
    bind=bind,
    derive=derive,
    tight=tuple(
        Instance({"A": FAINT}, "nearly orthogonal: the ratio tends to 1 with the score", relation)
        for relation in ("bounded", "quartic_above", "quartic_below")
    ),
    necessity={
        "orthonormal": Instance({"A": unit([2])}, "one direction, of length 2", "exact"),
        "norm": Instance({"A": unit(["4/5", "3/5", 0], [1, 0, 0], ["4/5", "-3/5", 0]), "ell": [["1/1000"]]}, "l below the norm", "quartic_below"),
        "small": Instance({"A": unit([1, 0], [1, 0], [1, 0]), "ell": [[3]]}, "l = 3", "quartic_above"),
    },
    on_features=on_features,
    notes=(
        f"Of features, the first {MEASURED} orders are measured, which are all of four environments.",
        "The sum of squared scores does not depend on the order because each unordered pair of environments occurs once in L.",
        "With c the largest |score| and T environments of one direction each, |L|_F <= c sqrt(T (T - 1) / 2), which l may be; the remainder of "
        "|L|^2 - |L'L|^2 is at most |L'L|^2 (1/(1 - l)^2 - 1) for l < 1, so O(c^5) for any one T.",
    ),
)  # fmt: skip
