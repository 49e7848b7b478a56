"""O3: how much the orders of the environments can differ in forgetting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Trace

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, identity, matrix, scalars, unit
from ..proof import Proof, square
from ..sequences import isotropic_forgetting, learn

f_1, f_2, lead, q_1, q_2, b, ell, lam, c = scalars("F_1 F_2 lead q_1 q_2 b ell lambda c")
# equal scores: the residual maps of two orders, the lower parts of their scores and the inverses of I + L
X1, X2, A1, A2 = (matrix(name, "T", "d") for name in ("X_1", "X_2", "A_1", "A_2"))
L1, L2, M1, M2, N = (matrix(name, "T", "T") for name in ("L_1", "L_2", "M_1", "M_2", "N"))
L, eye = matrix("L", "T", "T"), identity("T")

STATEMENT = Statement(
    text="(1 - l)^2 |F_1 - F_2| <= b for the expected forgetting, times d, of two orders of the same rank-one environments for an isotropic target, b a bound of |L'L|_F^2 for both and l <= 1 one of the spectral "
    "norms of L (T3.7).  |L'L|_F^2 <= lambda^2 |L|_F^2 for any bound lambda of the spectral norm: so b = l^2 |L|_F^2 will do, and for l < 1 two orders "
    "differ by at most (l / (1 - l))^2 times |L|_F^2, the term of forgetting that all orders share.  Equal scores, c between any two environments, give "
    "L = c N for every order, N the strictly lower matrix of ones, hence no spread of what is expected: X X' is the same, with what is forgotten at every place on its "
    "diagonal.",
    relations=(
        Relation("above", (1 - ell) ** 2 * (f_1 - f_2), "<=", b),
        Relation("below", (1 - ell) ** 2 * (f_2 - f_1), "<=", b),
        Relation("of_norm", Trace(L.T * L * L.T * L), "<=", lam**2 * Trace(L * L.T)),
        Relation("no_spread", X1 * X1.T, "==", X2 * X2.T),
    ),
    assumptions=(
        Assumption("bounded", "(1 - l)^2 q_k <= b in either order (T3.7)", tuple(
            Relation("", (1 - ell) ** 2 * q, "<=", b) for q in (q_1, q_2))),
        Assumption("quartic", "q_k are squared norms", (Relation("", 0, "<=", q_1), Relation("", 0, "<=", q_2)), True),
        Assumption("exact", "F_k = |L|^2 - q_k, the first term the same for both orders (T3.7)", (
            Relation("", f_1, "==", lead - q_1), Relation("", f_2, "==", lead - q_2)), True),
        Assumption("norm", "for `of_norm`: lambda bounds the spectral norm of L: L L' <= lambda^2 I", (Relation("", L * L.T, "loewner<=", lam**2 * eye),)),
        Assumption("equal", "for `no_spread`: the score of any two environments is c", (Relation("", L1, "==", c * N), Relation("", L2, "==", c * N))),
        Assumption("residuals", "X = -L'M A maps the initial error to all residuals, A the feature rows in that order (T3.5)", (
            Relation("", X1, "==", -L1.T * M1 * A1), Relation("", X2, "==", -L2.T * M2 * A2)), True),
        Assumption("gram", "L is the strictly lower part of A A'", (
            Relation("", A1 * A1.T, "==", eye + L1 + L1.T), Relation("", A2 * A2.T, "==", eye + L2 + L2.T)), True),
        Assumption("inverses", "M_k is the inverse of I + L_k", (Relation("", M1 * (eye + L1), "==", eye), Relation("", (eye + L2) * M2, "==", eye)), True),
    ),
    symbols={"F_1": "d times the expected forgetting of one order", "q_1": "|L'L (I + L)^{-1}|_F^2 in that order", "lead": "|L|_F^2", "ell": "l",
             "L": "strictly lower part of the scores in either order",
             "X_1": "initial error -> residuals at the end, one order of environments with equal scores", "X_2": "another order",
             "A_1": "feature rows in the first order", "L_1": "strictly lower part of the scores in the first order", "M_1": "inverse of I + L_1", "N": "strictly lower matrix of ones", "c": "the score of any two"},
)  # fmt: skip


def derive(p: Proof) -> None:
    for name, (large, small) in (("above", ("bounded.2", "quartic.1")), ("below", ("bounded.1", "quartic.2"))):
        # F_1 - F_2 = q_2 - q_1, so b - (1-l)^2 (F_1 - F_2) = [b - (1-l)^2 q_2] + (1-l)^2 q_1
        p.positive(name, terms=[square(facts=[large]), square(1 - ell, facts=[small])], using=["exact.1", "exact.2"],
                   eliminate=[f_1, f_2], text="the order-free part cancels; drop the smaller quartic term")  # fmt: skip
    p.free("of_norm", using=[], squares=[(1, L, "norm")], text="tr L'(lambda^2 I - L L')L >= 0")
    p.free(
        "same_scores",
        Relation("", L2, "==", L1),
        using=[("equal.1", "L_1"), ("equal.2", "L_2")],
        text="L = c N in either order",
    )
    p.free(
        "turned",
        Relation("", M1 * (eye + L1) * M2, "==", M1),
        using=[("same_scores", "L_1"), ("inverses.2", "L_2 M_2")],
        text="I + L_1 is I + L_2",
    )
    p.free(
        "left",
        Relation("", M1 * (eye + L1) * M2, "==", M2),
        using=[("inverses.1", "M_1 L_1")],
        text="M_1 is a left inverse",
    )
    p.free(
        "same_inverse",
        Relation("", M2, "==", M1),
        using=[("left", "M_1 M_2"), ("turned", "M_1")],
        text="so the inverses agree",
    )
    grams = [("gram.1", "A_1 A_1'"), ("gram.2", "A_2 A_2'")]
    p.free("no_spread", using=[("residuals.1", "X_1"), ("residuals.2", "X_2"), *grams, ("same_scores", "L_2"), ("same_inverse", "M_2")],
           text="X X' is a function of L")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows = x["A"]
    size = ops.rows(rows)
    back = backwards(rows, ops)
    out: dict[str, Any] = {}
    bounds, norms = [], []
    for label, a in (("1", rows), ("2", back)):
        lower = ops.strictly_lower(a @ ops.T(a))
        inverse = ops.inv(ops.eye(lower) + lower)
        out[f"F_{label}"] = isotropic_forgetting(a, range(size), ops)
        out[f"q_{label}"] = ops.total_square(ops.T(lower) @ lower @ inverse)
        bounds.append(ops.total_square(ops.T(lower) @ lower))
        norms.append((1 + ops.total_square(lower)) * ops.ratio(1, 2))
        out |= {"lead": ops.total_square(lower), "L": lower}
    small = ops.ones(1, 1, rows)
    out["lambda"] = x["lambda"] if "lambda" in x else norms[1]
    out["ell"] = x["ell"] if "ell" in x else -ops.maximum(-norms[0], -small)
    out["b"] = x["b"] if "b" in x else ops.maximum(bounds[0], bounds[1])
    return out | equal_scores(x["B"] if "B" in x else equiangular(x["t"], size, ops), ops)


def backwards(rows: Any, ops: Any) -> Any:
    size, eye = ops.rows(rows), ops.eye(rows)
    out = rows * 0
    for k in range(size):
        out = out + eye[..., :, size - 1 - k : size - k] @ ops.row(rows, k)
    return out


def equiangular(t: Any, size: int, ops: Any) -> Any:
    """Rows x e_0 + z e_k with (x, z) = (1 - t^2, 2 t)/(1 + t^2): any two have score x^2."""
    over = ops.reciprocal(1 + t * t)
    left, right = ops.eye(ops.ones(size, 1, t)), ops.eye(ops.ones(size + 1, 1, t))
    shared = ops.ones(size, 1, t) @ ((1 - t * t) * over) @ ops.row(right, 0)
    out = shared
    for k in range(size):
        out = out + left[..., :, k : k + 1] @ (2 * t * over) @ ops.row(right, k + 1)
    return out


def equal_scores(rows: Any, ops: Any) -> dict[str, Any]:
    """Both orders of environments with equal scores, learnt one by one."""
    out: dict[str, Any] = {}
    for label, a in (("1", rows), ("2", backwards(rows, ops))):
        lower = ops.strictly_lower(a @ ops.T(a))
        out |= {
            f"A_{label}": a,
            f"X_{label}": a @ learn(a, ops.eye(ops.T(a) @ a), ops),
            f"L_{label}": lower,
            f"M_{label}": ops.inv(ops.eye(lower) + lower),
        }
    ones = ops.ones(ops.rows(rows), 1, rows)
    score = ops.entry(rows @ ops.T(rows), 0, 1) if ops.rows(rows) > 1 else ops.ones(1, 1, rows)
    return out | {"c": score, "N": ops.strictly_lower(ones @ ops.T(ones))}


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    (rows,) = view.span(view.normalise(view.stack([view.mean(view.image(t)) for t in view.environments])))
    yield "mean image directions, file order and reversed", {"A": rows, "t": [["1/2"]]}


TWO = unit([1, 0], ["3/5", "4/5"])
THREE = unit([1, 0], ["3/5", "4/5"], [0, 1])

CLAIM = Claim(
    id="O3",
    title="Spread of forgetting over orders",
    family="robustness",
    source="new; from T3.7",
    paper="Continual VLMs are robust to task order.",
    statement=STATEMENT,
    inputs=(Input("A", "unit_rows", "T", "d"), Input("t", "real")),
    bind=bind,
    derive=derive,
    tight_note="b bounds both quartic terms, the spread is their difference: `above` and `below` are tight only where L = 0, for no quartic term vanishes elsewhere",
    tight=(
        Instance({"A": TWO, "t": [["1/2"]], "lambda": [["3/5"]]}, "two environments: lambda is the norm", "of_norm"),
    ),
    necessity={
        "norm": Instance({"A": TWO, "t": [["1/2"]], "lambda": [["1/2"]]}, "lambda = 1/2, the norm is 3/5", "of_norm"),
        "bounded": Instance({"A": THREE, "t": [["1/2"]], "ell": [[0]], "b": [[0]]}, "b = 0"),
        "equal": Instance({"A": THREE, "B": THREE}, "scores 3/5, 4/5 and 0", "no_spread"),
    },
    on_features=on_features,
)
