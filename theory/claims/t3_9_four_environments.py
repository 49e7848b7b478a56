"""T3.9: four environments: the ordering rule fails, and by an unbounded factor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise, permutations
from typing import Any

from sympy import Min

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square

eps, delta = scalars("eps delta")
a1, a2, a4 = vectors("a_1 a_2 a_4")
DIRECTION = {1: a1, 2: a2, 3: a2, 4: a4}  # environments 2 and 3 share a direction
SCORE = {(1, 2): 0, (1, 3): 0, (2, 3): 1, (1, 4): delta, (2, 4): eps, (3, 4): eps}
RULE = ((2, 1, 3, 4), (4, 3, 1, 2))  # and the same with 2 and 3 exchanged
BETTER = (2, 4, 1, 3)
F = {order: scalars("F_" + "".join(map(str, order))) for order in (*RULE, BETTER)}


def classes() -> tuple[tuple[int, ...], ...]:
    """Orders up to the exchange of the equal environments 2 and 3 and, for the cost, reversal."""
    return tuple(o for o in permutations((1, 2, 3, 4)) if o.index(2) < o.index(3) and o[0] < o[-1])


def cost(order: tuple[int, ...]) -> Any:
    """Cumulative consecutive contribution."""
    return sum(SCORE[min(pair), max(pair)] for pair in pairwise(order))


def forgetting(order: tuple[int, ...]) -> Any:
    """d times the expected total forgetting of an order for an isotropic target: every direction pushed back through it."""
    total = 0
    for s in (1, 2, 3, 4):
        x = DIRECTION[s]
        for t in reversed(order):
            x = x - Inner(x, DIRECTION[t]) * DIRECTION[t]
        total += norm2(x)
    return total


DEARER = tuple(o for o in classes() if o not in RULE and o[::-1] not in RULE and cost(o) != eps)

STATEMENT = Statement(
    text="Environments 2 and 3 share a direction with score eps to 4 and none to 1; 1 and 4 have score delta > 0.  The least cumulative "
    "contribution is eps, attained by the orders 2,1,3,4 and 4,2,1,3 (and with 2, 3 exchanged or reversed) only.  Each of them forgets at "
    "least eps^2 - eps^4, while 2,4,1,3 forgets at most 2 eps^4 once delta <= eps^2.  So the paper's rule is false for T = 4, and "
    "F(rule)/F(best) exceeds (1 - eps^2)/(2 eps^2): no constant bounds it.",
    relations=(
        *(Relation("dearer_" + "".join(map(str, o)), eps, "<", cost(o)) for o in DEARER),
        Relation("rule_pays", eps**2 - eps**4, "<=", Min(*(F[o] for o in RULE))),
        Relation("better", F[BETTER], "<=", 2 * eps**4),
        *(Relation("ratio_" + "".join(map(str, o)), (1 - eps**2) * F[BETTER], "<=", 2 * eps**2 * F[o]) for o in RULE),
    ),
    assumptions=(
        Assumption("similar", "eps is positive", (Relation("", 0, "<", eps),)),
        Assumption("half", "eps <= 1/2", (Relation("", 2 * eps, "<=", 1),)),
        Assumption("touching", "delta is positive", (Relation("", 0, "<", delta),)),
        Assumption("faint", "delta <= eps^2", (Relation("", delta, "<=", eps**2),)),
        Assumption("unit", "directions have unit length", tuple(Relation("", norm2(x), "==", 1) for x in (a1, a2, a4))),
        Assumption("apart", "1 is orthogonal to 2 and 3", (Relation("", Inner(a1, a2), "==", 0),)),
        Assumption("eps", "eps = <a_2, a_4>", (Relation("", eps, "==", Inner(a2, a4)),), True),
        Assumption("delta", "delta = <a_1, a_4>", (Relation("", delta, "==", Inner(a1, a4)),), True),
        *(Assumption(f"{f}", "forgetting of that order, from the projections", (Relation("", f, "==", forgetting(o)),), True) for o, f in F.items()),
    ),
    symbols={"eps": "score of 2 (and 3) with 4", "delta": "score of 1 with 4", "F_2134": "d times the expected forgetting of that order"},
)  # fmt: skip


def derive(p: Proof) -> None:
    gram = ["unit.1", "unit.2", "unit.3", "apart", "eps", "delta"]
    first = [*F.values(), *(Inner(x, y) for x, y in ((a1, a1), (a2, a2), (a4, a4), (a1, a2), (a1, a4), (a2, a4)))]
    facts = [*map(str, F.values()), *gram]
    half = [square(facts=["half"], coef="1/2")]  # (1 - 2 eps)/2
    p.positive("below_one", 1 - eps, terms=[*half, square(coef="1/2")], strict=True, text="eps < 1")
    for o in DEARER:
        rest = cost(o) - eps  # a sum of eps, delta, 1 and 1 - eps
        p.positive("dearer_" + "".join(map(str, o)), terms=parts(rest), strict=True, text="what is left is positive")
    p.positive(
        "square",
        1 - 4 * eps**2,
        terms=[square(1 - 2 * eps), square(facts=["half", "similar"], coef=4)],
        text="eps^2 <= 1/4",
    )
    p.positive(
        "small",
        eps**4 - delta**2,
        terms=[square(eps**2 - delta), square(facts=["faint", "touching"], coef=2)],
        text="delta^2 <= eps^4",
    )
    p.positive("quarter", 1 - 3 * eps**2 - delta**2,
               terms=[square(facts=["small"]), square(facts=["square"], coef="13/16"), square(eps, facts=["square"], coef="1/4"), square(coef="3/16")],
               text="1 - 3 eps^2 - delta^2 > 0")  # fmt: skip
    p.positive("rule_pays.1", terms=[square(eps, facts=["square"]), square(eps**2, coef=3), square(delta, facts=["quarter"])], using=facts,
               eliminate=first, text="F(2,1,3,4) = 2 eps^2 - 2 eps^4 + delta^2 (1 - 3 eps^2 - delta^2)")  # fmt: skip
    p.positive("rule_pays.2", terms=[square(delta, facts=["quarter"]), square(eps * delta)], using=facts, eliminate=first,
               text="F(4,3,1,2) = eps^2 - eps^4 + delta^2 (1 - 2 eps^2 - delta^2)")  # fmt: skip
    p.positive("better", terms=[square(facts=["small"]), square(eps**3), square(delta**2), square(eps * delta**2), square(eps**2 * delta, coef=2)],
               using=facts, eliminate=first, text="F(2,4,1,3) <= eps^4 + delta^2 <= 2 eps^4")  # fmt: skip
    p.positive(
        "one", 1 - eps**2, terms=[square(facts=["square"], coef="1/4"), square(coef="3/4")], text="1 - eps^2 >= 0"
    )
    for k, o in enumerate(RULE, start=1):
        p.positive("ratio_" + "".join(map(str, o)), terms=[square(facts=["one", "better"]), square(eps, facts=[f"rule_pays.{k}"], coef=2)],
                   text="multiply the two bounds")  # fmt: skip


def parts(rest: Any) -> list[Any]:
    """``k eps + l delta + m (1 - eps) + n`` as nonnegative terms, at least one of them strict."""
    counts = {s: rest.coeff(s) if hasattr(rest, "coeff") else 0 for s in (eps, delta)}
    constant = rest - counts[eps] * eps - counts[delta] * delta
    terms = []
    if counts[eps] < 0:
        terms.append(square(facts=["below_one"], coef=-counts[eps]))
        constant += counts[eps]
    elif counts[eps] > 0:
        terms.append(square(facts=["similar"], coef=counts[eps]))
    if counts[delta] > 0:
        terms.append(square(facts=["touching"], coef=counts[delta]))
    if constant > 0:
        terms.append(square(coef=constant))
    return terms


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows = x["A"] if "A" in x else family(x["s"], ops)
    gram = rows @ ops.T(rows)
    out = {
        "eps": ops.entry(gram, 1, 2), "delta": ops.entry(gram, 0, 2),
        "a_1": ops.row(rows, 0), "a_2": ops.row(rows, 1), "a_4": ops.row(rows, 2),
    }  # fmt: skip
    index = {1: 0, 2: 1, 3: 1, 4: 2}
    for order, f in F.items():
        error = ops.eye(ops.T(rows) @ rows)
        for t in order:
            step = ops.slice_row(rows, index[t])
            error = error - ops.T(step) @ (step @ error)
        residual = rows @ error
        out[str(f)] = ops.total_square(residual) + ops.total_square(ops.row(residual, 1))  # environment 3 repeats 2
    return out


def family(s: Any, ops: Any) -> Any:
    """Rational unit directions with eps = 2s/(1 + s^2) and delta about eps^2 / 4, for 0 < s <= 1/4."""
    one = ops.ones(1, 1, s)
    over = ops.reciprocal(one + s * s)
    eps_, rest = 2 * s * over, (one - s * s) * over
    t = eps_ * eps_ * ops.ratio(1, 8)
    over = ops.reciprocal(one + t * t)
    first, third = 2 * t * over, (one - t * t) * over
    e1, e2, e3 = (ops.row(ops.eye(ops.ones(3, 1, s)), k) for k in range(3))
    columns = [ops.T(e) for e in (e1, e2, e3)]
    last = e1 * (rest * first) + e2 * eps_ + e3 * (rest * third)
    return columns[0] @ e1 + columns[1] @ e2 + columns[2] @ last


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    yield "the family at eps about 1/10 (it is about directions, not about data)", {"s": [["1/20"]]}


CLAIM = Claim(
    id="T3.9",
    title="The ordering rule fails for four environments, without bound",
    family="forgetting and order",
    source="new; refutes the ordering rule of arXiv 2606.14883 for T = 4",
    paper="The order with the least cumulative contribution cost minimises total forgetting.",
    statement=STATEMENT,
    inputs=(Input("s", "real", low="1/100", high="1/4"),),
    bind=bind,
    derive=derive,
    tight_note="a separation, not a bound: the ratio grows without limit as eps tends to 0",
    necessity={
        "similar": Instance({"A": unit([1, 0, 0], [0, 1, 0], ["4/85", "-13/85", "84/85"])}, "eps negative", "dearer_1243"),
        "half": Instance({"A": unit([1, 0], [0, 1], ["5/13", "12/13"])}, "eps = 12/13", "rule_pays"),
        "touching": Instance({"A": unit([1, 0, 0], [0, 1, 0], [0, "5/13", "12/13"])}, "delta = 0: a tie", "dearer_2143"),
        "faint": Instance({"A": unit([1, 0, 0], [0, 1, 0], ["6/7", "2/7", "3/7"])}, "delta large", "better"),
        "unit": Instance({"A": unit([1, 0, 0], [0, 1, 0], ["1/50", "1/5", 3])}, "a_4 too long", "better"),
        "apart": Instance({"A": unit([1, 0, 0], ["3/5", "4/5", 0], ["1/100", 0, 1])}, "1 and 2 similar", "better"),
    },
    on_features=on_features,
    notes=(
        "The simplest counterexample found has scores 0, 2/3 and 1 only: directions e_3, e_3, e_2, (1, 2, 2)/3; the rule forgets 8/81, "
        "the best order 52/729 (a search over all rational directions with denominators 1, 3, 5, 7 in three dimensions).",
        "The rule holds for T = 3 (T3.8), and its regret is never more than the quartic term of T3.7.",
    ),
)  # fmt: skip
