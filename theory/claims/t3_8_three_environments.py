"""T3.8: three environments: the best order, exactly, and the paper's ordering rule proved for T = 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Any

from sympy import Min

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square
from ..sequences import MOST, isotropic_forgetting

a, b, c = scalars("c_12 c_13 c_23")
directions = vectors("a_1 a_2 a_3")
ORDERS = tuple(permutations((1, 2, 3)))
F = {order: scalars("F_" + "".join(map(str, order))) for order in ORDERS}
BEST = (1, 2, 3)
EQUIANGULAR = unit(["4/5", "3/5", 0, 0], ["4/5", 0, "3/5", 0], ["4/5", 0, 0, "3/5"])


def forgetting(order: tuple[int, ...]) -> Any:
    """Total forgetting of an order for an isotropic target, times d: ``sum_s |P_1 P_2 P_3 a_s|^2``.

    The residual of environment s after the last is ``a_s' P .. P e_0``; its mean square over isotropic ``e_0`` is the
    squared norm of ``a_s`` pushed back through the projections.
    """
    total = 0
    for s in directions:
        x = s
        for t in reversed(order):
            x = x - Inner(x, directions[t - 1]) * directions[t - 1]
        total += norm2(x)
    return total


def differences() -> tuple[Relation, ...]:
    f123, f132, f213, f321 = (F[o] for o in ((1, 2, 3), (1, 3, 2), (2, 1, 3), (3, 2, 1)))
    return (
        Relation("swap_last", f123 - f132, "==", c**2 * (a**2 - b**2) * (2 - c**2)),
        Relation("swap_first", f123 - f213, "==", -(a**2) * (b**2 - c**2) * (2 - b**2 - c**2)),
        Relation("reverse", f123 - f321, "==", a**2 * c**2 * (a**2 - c**2)),
    )


STATEMENT = Statement(
    text="Three rank-one environments with cosines c_12, c_13, c_23 and an isotropic target.  If 1 and 3 are the most similar "
    "pair and 1, 2 the least similar one (0 <= c_12 <= c_23 <= c_13), the order 1, 2, 3 forgets least of all six: the most "
    "similar pair goes first and last, and the order begins with the less similar consecutive pair.  The order 1, 2, 3 and its reverse have the least "
    "cumulative consecutive contribution, c_12 + c_23, so the rule that minimises it picks a best order for T = 3, up to reversal.",
    relations=(*differences(), Relation("cheapest", a + c, "<=", Min(a + b, b + c)), *(Relation("best_" + "".join(map(str, o)), F[BEST], "<=", F[o]) for o in ORDERS if o != BEST)),
    assumptions=(
        Assumption("nonnegative", "cosines are not negative", (Relation("", 0, "<=", a),)),
        Assumption("least", "the pair 1, 2 is the less similar consecutive pair", (Relation("", a, "<=", c),)),
        Assumption("most", "the pair 1, 3 is the most similar", (Relation("", c, "<=", b),)),
        Assumption("cosine", "c_13 is a cosine", (Relation("", b, "<=", 1),), True),
        Assumption("unit", "directions have unit length", tuple(Relation("", norm2(x), "==", 1) for x in directions)),
        Assumption("c_12", "c_12 = <a_1, a_2>", (Relation("", a, "==", Inner(directions[0], directions[1])),), True),
        Assumption("c_13", "c_13 = <a_1, a_3>", (Relation("", b, "==", Inner(directions[0], directions[2])),), True),
        Assumption("c_23", "c_23 = <a_2, a_3>", (Relation("", c, "==", Inner(directions[1], directions[2])),), True),
        *(Assumption(f"{f}", "forgetting of that order, from the projections", (Relation("", f, "==", forgetting(o)),), True) for o, f in F.items()),
    ),
    symbols={"c_12": "cosine of environments 1 and 2", "F_123": "d times the expected total forgetting of the order 1, 2, 3"},
)  # fmt: skip


def derive(p: Proof) -> None:
    gram = ["unit.1", "unit.2", "unit.3", "c_12", "c_13", "c_23"]
    first = [*F.values(), *(Inner(x, y) for i, x in enumerate(directions) for y in directions[i:])]
    p.positive(
        "order_c",
        c**2 - a**2,
        terms=[square(c - a), square(facts=["nonnegative", "least"], coef=2)],
        text="c_23^2 - c_12^2 >= 0",
    )
    p.positive("sign_c", c, terms=[square(facts=["nonnegative"]), square(facts=["least"])], text="c_23 >= 0")
    p.positive(
        "order_b",
        b**2 - c**2,
        terms=[square(b - c), square(facts=["sign_c", "most"], coef=2)],
        text="c_13^2 - c_23^2 >= 0",
    )
    p.positive("sign_b", b, terms=[square(facts=["sign_c"]), square(facts=["most"])], text="c_13 >= 0")
    p.positive(
        "order_one", 1 - b**2, terms=[square(1 - b), square(facts=["sign_b", "cosine"], coef=2)], text="1 - c_13^2 >= 0"
    )
    for relation in differences():
        p.ideal(
            relation.name, using=[*map(str, F.values()), *gram], eliminate=first, text="multiply out the projections"
        )
    p.positive("cheapest.1", terms=[square(facts=["most"])], text="c_13 >= c_23")
    p.positive("cheapest.2", terms=[square(facts=["most"]), square(facts=["least"])], text="c_13 >= c_12")
    below = {  # F(order) - F(1,2,3) as products of the facts above
        (1, 3, 2): [square(c, facts=[g, h]) for g in ("order_b", "order_c") for h in ("order_one", "order_b")]
        + [square(c, facts=[g]) for g in ("order_b", "order_c")],
        (2, 1, 3): [square(a, facts=["order_b", "order_one"], coef=2), square(a, facts=["order_b", "order_b"])],
        (2, 3, 1): [
            *(square(c, facts=[g, "order_one"], coef=2) for g in ("order_b", "order_c")),
            *(square(c, facts=[g, h]) for g in ("order_b", "order_c") for h in ("order_b", "order_c")),
            square(c, a, facts=["order_c"]),
        ],
        (3, 1, 2): [
            square(a, facts=["order_b", "order_one"], coef=2), square(a, facts=["order_b", "order_b"]),
            *(square(a, b, facts=[g]) for g in ("order_b", "order_c")),
        ],
        (3, 2, 1): [square(a, c, facts=["order_c"])],
    }  # fmt: skip
    for order, terms in below.items():
        p.positive("best_" + "".join(map(str, order)), terms=terms, using=[*map(str, F.values()), *gram], eliminate=first,
                   text="the difference is a sum of products of these nonnegative factors")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows = x["A"]
    out: dict[str, Any] = {f"a_{t + 1}": ops.row(rows, t) for t in range(3)}
    gram = rows @ ops.T(rows)
    out |= {"c_12": ops.entry(gram, 0, 1), "c_13": ops.entry(gram, 0, 2), "c_23": ops.entry(gram, 1, 2)}
    for order, f in F.items():
        out[str(f)] = isotropic_forgetting(rows, [t - 1 for t in order], ops)
    return out


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    means = {t: view.mean(view.image(t)) for t in view.environments}
    for trio in permutations(view.environments[:MOST], 3):
        rows = view.normalise(view.stack([means[t] for t in trio]))
        if view.sorted_cosines(rows):
            (rows,) = view.span(rows)
            yield f"mean image directions of {', '.join(view.name(t) for t in trio)}", {"A": rows}


CLAIM = Claim(
    id="T3.8",
    title="The best order of three environments",
    family="forgetting and order",
    source="new; proves the ordering rule of arXiv 2606.14883 for T = 3",
    paper="The order with the least cumulative contribution cost minimises total forgetting.",
    statement=STATEMENT,
    inputs=(Input("A", "sorted_triple", "3", "d"),),
    bind=bind,
    derive=derive,
    tight=(
        *(
            Instance({"A": EQUIANGULAR}, "equal cosines: the order does not matter", "best_" + "".join(map(str, o)))
            for o in ORDERS
            if o != BEST
        ),
    ),
    necessity={
        "nonnegative": Instance({"A": unit([1, 0], ["-3/5", "4/5"], ["3/5", "4/5"])}, "c_12 = -3/5: similar but opposite", "best_321"),
        "least": Instance({"A": unit([1, 0, 0], ["3/5", "4/5", 0], ["4/5", 0, "3/5"])}, "the more similar pair first", "best_321"),
        "most": Instance({"A": unit([1, 0], ["4/5", "3/5"], ["3/5", "4/5"])}, "the most similar pair last", "best_132"),
        "unit": Instance({"A": unit([1, 0], [0, 2], [1, "1/2"])}, "lengths 1, 2 and more than 1", "best_231"),
    },
    on_features=on_features,
    notes=(f"Of features, groups of three among the first {MOST} environments are measured.",),
)  # fmt: skip
