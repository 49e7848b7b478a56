"""O3: how much the orders of the environments can differ in forgetting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars, unit
from ..proof import Proof, square
from ..sequences import isotropic_forgetting

f_1, f_2, lead, q_1, q_2, b, ell = scalars("F_1 F_2 lead q_1 q_2 b ell")

STATEMENT = Statement(
    text="(1 - l)^2 |F_1 - F_2| <= b for two orders of the same rank-one environments, b a bound of |L'L|_F^2 for both and l <= 1 one of the spectral "
    "norms of L (T3.7): with c the largest |score|, b <= T^4 c^4.  Equal scores give the same L for every order, hence no spread at all.",
    relations=(
        Relation("above", (1 - ell) ** 2 * (f_1 - f_2), "<=", b),
        Relation("below", (1 - ell) ** 2 * (f_2 - f_1), "<=", b),
    ),
    assumptions=(
        Assumption("bounded", "(1 - l)^2 q_k <= b in either order (T3.7)", tuple(
            Relation("", (1 - ell) ** 2 * q, "<=", b) for q in (q_1, q_2))),
        Assumption("quartic", "q_k are squared norms", (Relation("", 0, "<=", q_1), Relation("", 0, "<=", q_2)), True),
        Assumption("exact", "F_k = |L|^2 - q_k, the first term the same for both orders (T3.7)", (
            Relation("", f_1, "==", lead - q_1), Relation("", f_2, "==", lead - q_2)), True),
    ),
    symbols={"F_1": "d times the expected forgetting of one order", "q_1": "|L'L (I + L)^{-1}|_F^2 in that order", "lead": "|L|_F^2", "ell": "l"},
)  # fmt: skip


def derive(p: Proof) -> None:
    for name, (large, small) in (("above", ("bounded.2", "quartic.1")), ("below", ("bounded.1", "quartic.2"))):
        # F_1 - F_2 = q_2 - q_1, so b - (1-l)^2 (F_1 - F_2) = [b - (1-l)^2 q_2] + (1-l)^2 q_1
        p.positive(name, terms=[square(facts=[large]), square(1 - ell, facts=[small])], using=["exact.1", "exact.2"],
                   eliminate=[f_1, f_2], text="the order-free part cancels; drop the smaller quartic term")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows = x["A"]
    size = ops.rows(rows)
    back = rows * 0
    eye = ops.eye(rows)
    for k in range(size):  # the rows in reverse order
        back = back + eye[..., :, size - 1 - k : size - k] @ ops.row(rows, k)
    out: dict[str, Any] = {}
    bounds, norms = [], []
    for label, a in (("1", rows), ("2", back)):
        lower = ops.strictly_lower(a @ ops.T(a))
        inverse = ops.inv(ops.eye(lower) + lower)
        out[f"F_{label}"] = isotropic_forgetting(a, range(size), ops)
        out[f"q_{label}"] = ops.total_square(ops.T(lower) @ lower @ inverse)
        bounds.append(ops.total_square(ops.T(lower) @ lower))
        norms.append((1 + ops.total_square(lower)) * ops.ratio(1, 2))
        out["lead"] = ops.total_square(lower)
    small = ops.ones(1, 1, rows)
    out["ell"] = x["ell"] if "ell" in x else -ops.maximum(-norms[0], -small)
    out["b"] = x["b"] if "b" in x else ops.maximum(bounds[0], bounds[1])
    return out


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    (rows,) = view.span(view.normalise(view.stack([view.mean(view.image(t)) for t in view.environments])))
    yield "mean image directions, file order and reversed", {"A": rows}


THREE = unit([1, 0], ["3/5", "4/5"], [0, 1])

CLAIM = Claim(
    id="O3",
    title="Spread of forgetting over orders",
    family="robustness",
    source="new; from T3.7",
    paper="Continual VLMs are robust to task order.",
    statement=STATEMENT,
    inputs=(Input("A", "unit_rows", "T", "d"),),
    bind=bind,
    derive=derive,
    tight_note="b is the larger quartic term, the spread the difference of the two: not tight unless one of them vanishes",
    necessity={
        "bounded": Instance({"A": THREE, "ell": [[0]], "b": [[0]]}, "b = 0"),
    },
    on_features=on_features,
)
