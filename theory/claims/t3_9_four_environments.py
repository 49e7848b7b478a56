"""T3.9: four environments: the ordering rule fails, and by an unbounded factor."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, combinations_with_replacement, pairwise, permutations
from typing import Any

from sympy import Min

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square
from ..sequences import isotropic_forgetting, learn

eps, delta = scalars("eps delta")
alpha, beta = scalars("alpha beta")
a1, a2, a4 = vectors("a_1 a_2 a_4")
w1, w2, w3, w4 = vectors("w_1 w_2 w_3 w_4")
DIRECTION = {1: a1, 2: a2, 3: a2, 4: a4}  # environments 2 and 3 share a direction
SCORE = {(1, 2): 0, (1, 3): 0, (2, 3): 1, (1, 4): delta, (2, 4): eps, (3, 4): eps}
RULE = ((2, 1, 3, 4), (4, 3, 1, 2))  # and the same with 2 and 3 exchanged
BETTER = (2, 4, 1, 3)
F = {order: scalars("F_" + "".join(map(str, order))) for order in (*RULE, BETTER)}
LEVEL = {1: w1, 2: w2, 3: w3, 4: w4}  # two scores only: beta within {1, 2} and {3, 4}, alpha across
LEVEL_ORDERS = ((1, 2, 3, 4), (1, 3, 2, 4), (1, 3, 4, 2))  # all orders up to the symmetries of these scores
H = {order: scalars("H_" + "".join(map(str, order))) for order in LEVEL_ORDERS}


def classes() -> tuple[tuple[int, ...], ...]:
    """Orders up to the exchange of the equal environments 2 and 3 and, for the cost, reversal."""
    return tuple(o for o in permutations((1, 2, 3, 4)) if o.index(2) < o.index(3) and o[0] < o[-1])


def cost(order: tuple[int, ...]) -> Any:
    """Cumulative consecutive contribution."""
    return sum(SCORE[min(pair), max(pair)] for pair in pairwise(order))


def forgetting(order: tuple[int, ...], direction: Mapping[int, Any]) -> Any:
    """d times the expected total forgetting of an order for an isotropic target: every direction pushed back through it."""
    total = 0
    for s in (1, 2, 3, 4):
        x = direction[s]
        for t in reversed(order):
            x = x - Inner(x, direction[t]) * direction[t]
        total += norm2(x)
    return total


DEARER = tuple(o for o in classes() if o not in RULE and o[::-1] not in RULE and cost(o) != eps)

STATEMENT = Statement(
    text="Forgetting is expected and times d, of rank-one environments for an isotropic target.  Environments 2 and 3 share a direction with score eps in (0, 1/2] to 4 and none to 1; 1 and 4 have score delta > 0.  The least cumulative "
    "contribution is eps, attained by the orders 2,1,3,4 and 4,2,1,3 (and with 2, 3 exchanged or reversed) only.  Once delta <= eps^2, each "
    "of them forgets at least eps^2 - eps^4, while 2,4,1,3 forgets at most 2 eps^4.  So the paper's rule is false for T = 4, and "
    "F(rule)/F(best) is at least (1 - eps^2)/(2 eps^2): no constant bounds it.  A condition under which the rule holds: two disjoint pairs "
    "have score beta, all other scores are alpha, and 0 <= beta <= alpha; then 1,2,3,4, which goes through both pairs, is cheapest and forgets least "
    "(all orders are one of the three below, up to the symmetries of these scores).  If instead beta > alpha > 0, the cheapest of the three is 1,3,2,4, and "
    "1,3,4,2 forgets less exactly if 4 beta < 1 + 2 alpha^2 + beta^2, so whenever beta <= 1/4.",
    relations=(
        *(Relation("dearer_" + "".join(map(str, o)), eps, "<", cost(o)) for o in DEARER),
        Relation("rule_pays", eps**2 - eps**4, "<=", Min(*(F[o] for o in RULE))),
        Relation("better", F[BETTER], "<=", 2 * eps**4),
        *(Relation("ratio_" + "".join(map(str, o)), (1 - eps**2) * F[BETTER], "<=", 2 * eps**2 * F[o]) for o in RULE),
        Relation("cheapest", 2 * beta + alpha, "<=", Min(3 * alpha, 2 * alpha + beta)),
        Relation("rule_holds", H[LEVEL_ORDERS[0]], "<=", Min(*(H[o] for o in LEVEL_ORDERS[1:]))),
        Relation("other_side", H[1, 3, 4, 2] - H[1, 3, 2, 4], "==", alpha**4 * (alpha**2 - beta**2) * (1 + 2 * alpha**2 + beta**2 - 4 * beta)),
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
        *(Assumption(f"{f}", "forgetting of that order, from the projections", (Relation("", f, "==", forgetting(o, DIRECTION)),), True) for o, f in F.items()),
        Assumption("low", "beta is not negative", (Relation("", 0, "<=", beta),)),
        Assumption("dissimilar", "the two pairs are no more similar than the rest: beta <= alpha", (Relation("", beta, "<=", alpha),)),
        Assumption("two_levels", "unit directions; 1, 2 and 3, 4 have score beta, all other pairs alpha", (
            *(Relation("", norm2(w), "==", 1) for w in LEVEL.values()),
            *(Relation("", Inner(LEVEL[i], LEVEL[j]), "==", beta if (i, j) in ((1, 2), (3, 4)) else alpha) for i, j in combinations(LEVEL, 2)))),
        *(Assumption(f"{f}", "forgetting of that order, from the projections", (Relation("", f, "==", forgetting(o, LEVEL)),), True) for o, f in H.items()),
    ),
    symbols={"eps": "score of 2 (and 3) with 4", "delta": "score of 1 with 4", "F_2134": "d times the expected forgetting of that order",
             "alpha": "score across the two pairs", "beta": "score within them", "w_1": "direction of environment 1 of the second model",
             "H_1234": "d times the expected forgetting of that order in the second model"},
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
    two_levels(p)


def two_levels(p: Proof) -> None:
    """The rule holds where the scores have two levels."""
    gram = [f"two_levels.{k}" for k in range(1, 11)]
    products = [Inner(x, y) for x, y in combinations_with_replacement((w1, w2, w3, w4), 2)]
    p.positive("cheapest.1", terms=[square(facts=["dissimilar"], coef=2)], text="3 alpha - alpha - 2 beta")
    p.positive("cheapest.2", terms=[square(facts=["dissimilar"])], text="2 alpha + beta - alpha - 2 beta")
    p.positive("room", 1 + beta - 2 * alpha, terms=[square(w1 + w2 - w3 - w4, coef="1/4")], using=gram, eliminate=products,
               text="|w_1 + w_2 - w_3 - w_4|^2 >= 0 limits alpha")  # fmt: skip
    p.positive(
        "below", 1 - beta, terms=[square(facts=["room"]), square(facts=["dissimilar"], coef=2)], text="beta <= 1"
    )
    p.positive("positive", alpha, terms=[square(facts=["dissimilar"]), square(facts=["low"])], text="alpha >= 0")
    p.positive("gap", (1 + beta) ** 2 / 4 - alpha**2,
               terms=[square(facts=["room"], coef="1/4"), square(facts=["room", "low"], coef="1/4"), square(facts=["room", "positive"], coef="1/2")],
               text="alpha^2 <= (1 + beta)^2 / 4")  # fmt: skip
    rest = alpha**2 * (alpha**2 - beta**2)
    factors = {  # H(order) - H(1,2,3,4) = alpha^2 (alpha^2 - beta^2) times this factor: `terms` and a sum of Bernstein polynomials in beta
        (1, 3, 2, 4): (
            8 - 9 * alpha**2 - 2 * alpha**4 + 12 * alpha**2 * beta - 3 * alpha**2 * beta**2 - 4 * beta - 5 * beta**2 + 4 * beta**3 - beta**4,
            [square(facts=["below", "gap"], coef=6), square(facts=["below", "below", "gap"], coef=3), square((1 + beta) / 2, facts=["gap"], coef=2),
             square(alpha, facts=["gap"], coef=2)],
            ("45/8", "33/2", 13, 4),
        ),
        (1, 3, 4, 2): (
            8 - 8 * alpha**2 + 8 * alpha**2 * beta - 2 * alpha**2 * beta**2 - 4 * beta - 5 * beta**2 + 4 * beta**3 - beta**4,
            [square(2 - beta, facts=["gap"], coef=2)],
            (6, 18, "29/2", 4),
        ),
    }  # fmt: skip
    for k, (o, (factor, terms, bernstein)) in enumerate(factors.items(), start=1):
        more = [square(facts=["below"] * (4 - i) + ["low"] * i, coef=c) for i, c in enumerate(bernstein)]
        p.positive(
            f"factor.{k}",
            factor,
            terms=[*terms, *more],
            text="put the bound of alpha; what is left is not negative on [0, 1]",
        )
        p.ideal(f"difference.{k}", H[o] - H[LEVEL_ORDERS[0]] - rest * factor, using=[str(H[o]), str(H[LEVEL_ORDERS[0]]), *gram],
                eliminate=[H[o], H[LEVEL_ORDERS[0]], *products], text="multiply out the projections")  # fmt: skip
        p.positive(f"rule_holds.{k}", terms=[square(alpha, facts=["dissimilar", x, f"factor.{k}"]) for x in ("positive", "low")],
                   using=[f"difference.{k}"], eliminate=[H[o]], text="alpha^2 - beta^2 = (alpha - beta)(alpha + beta)")  # fmt: skip
    p.ideal("other_side", using=[("difference.1", 1), ("difference.2", -1)], text="subtract the two differences")


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
        residual = rows @ learn(rows, ops.eye(ops.T(rows) @ rows), ops, [index[t] for t in order])
        out[str(f)] = ops.total_square(residual) + ops.total_square(ops.row(residual, 1))  # environment 3 repeats 2
    return out | two_level_values(x["W"] if "W" in x else two_level_rows(x.get("level"), rows, ops), ops)


def two_level_values(rows: Any, ops: Any) -> dict[str, Any]:
    gram = rows @ ops.T(rows)
    out = {"alpha": ops.entry(gram, 0, 2), "beta": ops.entry(gram, 0, 1)} | {
        f"w_{k}": ops.row(rows, k - 1) for k in LEVEL
    }
    for order, f in H.items():
        out[str(f)] = isotropic_forgetting(rows, [t - 1 for t in order], ops)
    return out


def two_level_rows(level: Any, like: Any, ops: Any) -> Any:
    """Four unit directions with scores alpha = x^2 across and beta = x^2 - y^2 within the pairs, from a unit vector (x, y, z)."""
    if level is None:
        level = ops.ones(1, 3, like) * ops.ratio(1, 3) + ops.row(ops.eye(ops.ones(3, 1, like)), 0) * ops.ratio(1, 3)
        level = level + ops.row(ops.eye(ops.ones(3, 1, like)), 2) * ops.ratio(1, 3)  # (2, 1, 2)/3
    size = ops.absolute(level)
    first, second, third = (size[..., :, k : k + 1] for k in range(3))
    high = ops.maximum(first, second)
    low = first + second - high  # so that beta is not negative
    space, pick = ops.eye(ops.ones(7, 1, like)), ops.eye(ops.ones(4, 1, like))
    out = None
    for k in range(4):
        side = low * (1 if k % 2 == 0 else -1)
        row = ops.row(space, 0) * high + ops.row(space, 1 + k // 2) * side + ops.row(space, 3 + k) * third
        placed = ops.T(ops.row(pick, k)) @ row
        out = placed if out is None else out + placed
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


def two_levels_by_hand(x: int, y: int, z: int, sign: int) -> list[list[Any]]:
    """Directions in thirds with alpha = x^2/9 and beta = (x^2 + sign y^2)/9."""
    rows = []
    for k in range(4):
        row: list[Any] = [f"{x}/3", *["0"] * 6]
        row[1 + k // 2] = f"{y * (sign if k % 2 else 1)}/3"
        row[3 + k] = f"{z}/3"
        rows.append(row)
    return rows


CLAIM = Claim(
    id="T3.9",
    title="The ordering rule fails for four environments, without bound",
    family="forgetting and order",
    source="new; refutes the ordering rule of arXiv 2606.14883 for T = 4",
    paper="The order with the least cumulative contribution cost minimises total forgetting.",
    statement=STATEMENT,
    inputs=(Input("s", "real", low="1/100", high="1/4"), Input("level", "unit_rows", "1", "3")),
    bind=bind,
    derive=derive,
    tight_note="a separation, not a bound: the ratio grows without limit as eps tends to 0",
    necessity={
        "similar": Instance({"A": unit([1, 0, 0], [0, 1, 0], ["1/3", "-2/3", "2/3"])}, "eps negative", "dearer_1243"),
        "half": Instance({"A": unit([1, 0], [0, 1], ["5/13", "12/13"])}, "eps = 12/13", "rule_pays"),
        "touching": Instance({"A": unit([1, 0, 0], [0, 1, 0], [0, "5/13", "12/13"])}, "delta = 0: a tie", "dearer_2143"),
        "faint": Instance({"A": unit([1, 0, 0], [0, 1, 0], ["6/7", "2/7", "3/7"])}, "delta large", "better"),
        "unit": Instance({"A": unit([1, 0, 0], [0, 1, 0], ["1/50", "1/5", 3])}, "a_4 too long", "better"),
        "apart": Instance({"A": unit([1, 0, 0], ["3/5", "4/5", 0], ["1/9", "4/9", "8/9"])}, "1 and 2 similar", "better"),
        "low": Instance({"s": [["1/10"]], "W": two_levels_by_hand(1, 2, 2, -1)}, "beta = -1/3, alpha = 1/9", "rule_holds"),
        "dissimilar": Instance({"s": [["1/10"]], "W": two_levels_by_hand(2, 1, 2, 1)}, "beta = 5/9, alpha = 4/9", "rule_holds"),
        "two_levels": Instance({"s": [["1/10"]], "W": unit([1, 0], [1, 0], [1, 0], ["3/5", "4/5"])},
                               "three equal environments and one with score 3/5", "rule_holds"),
    },
    features_note="a statement about directions made for it; P7 measures the rule on the environments of these features",
    notes=(
        "The simplest counterexample found has scores 0, 1/2 and 1 only: directions e_3, e_3, e_2, (1, 1, 1, 1)/2; the rule forgets 1/4 or 3/8, the "
        "best order 5/32.  With rational coordinates in three dimensions: e_3, e_3, e_2, (1, 2, 2)/3, where the rule forgets 8/81 or 4/27, the best order "
        "52/729; any order of the entries of the last does, and no smaller denominators do (a search over all nonnegative rational directions with "
        "denominators 1, 3, 5, 7).",
        "It does not need equal or orthogonal environments: for directions e_3, (0, 3, 4)/5, (4, 8, 1)/9, (2, 1, 2)/3 the rule, whose order is unique up "
        "to reversal, forgets at least 237202516/597871125 and the best order 4963804/36905625, 2.95 times less.",
        "The rule holds for T = 3, scores that are not negative and up to reversal (T3.8).  What it forgets more than the best order is never more than the "
        "quartic term of the best order (T3.7): the factor has no bound, the difference has one.",
    ),
)  # fmt: skip
