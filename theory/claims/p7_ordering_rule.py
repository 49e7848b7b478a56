"""P7: the paper: the order with the least cumulative contribution forgets least.  True for T = 3, up to reversal, false for T = 4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise, permutations
from typing import Any

from sympy import Min

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars, unit
from ..sequences import MOST, isotropic_forgetting

ORDERS = tuple(permutations((1, 2, 3, 4)))
F = {o: scalars("F_" + "".join(map(str, o))) for o in ORDERS}
C = {pair: scalars(f"c_{pair[0]}{pair[1]}") for pair in ((1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4))}
RULE = (1, 2, 3, 4)


def cost(order: tuple[int, ...]) -> Any:
    return sum(C[min(pair), max(pair)] for pair in pairwise(order))


STATEMENT = Statement(
    text="For four environments with nonnegative scores, an order of least cumulative consecutive contribution forgets no more than any other.",
    relations=(Relation("rule", F[RULE], "<=", Min(*(F[o] for o in ORDERS if o != RULE))),),
    assumptions=(
        Assumption("nonnegative", "scores are not negative", tuple(Relation("", 0, "<=", c) for c in C.values())),
        Assumption("cheapest", "1, 2, 3, 4 has the least cumulative contribution", (
            Relation("", cost(RULE), "<=", Min(*(cost(o) for o in ORDERS if o != RULE and o[0] < o[-1]))),)),
    ),
    symbols={"F_1234": "d times the expected forgetting of the order 1, 2, 3, 4, and so for the others", "c_12": "score of environments 1 and 2, and so for the others"},
)  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows = x["A"]
    gram = rows @ ops.T(rows)
    out = {str(c): ops.entry(gram, i - 1, j - 1) for (i, j), c in C.items()}
    for order, f in F.items():
        out[str(f)] = isotropic_forgetting(rows, [t - 1 for t in order], ops)
    return out


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    means = {t: view.mean(view.image(t)) for t in view.environments}
    for four in permutations(view.environments[:MOST], 4):
        (rows,) = view.span(view.normalise(view.stack([means[t] for t in four])))
        score = view.scores(rows)
        costs = {o: sum(score[i - 1][j - 1] for i, j in pairwise(o)) for o in ORDERS}
        # an order costs what its reverse does; which of the two rounding prefers must not decide which of them is measured
        if costs[RULE] <= min(cost for o, cost in costs.items() if o not in (RULE, RULE[::-1])):
            yield f"cheapest order {', '.join(view.name(t) for t in four)}", {"A": rows}


CLAIM = Claim(
    id="P7",
    title="The least cumulative contribution minimises forgetting",
    family="the paper's claims",
    source="arXiv 2606.14883, ordering rule",
    paper="The order with the least cumulative contribution cost minimises total forgetting.",
    statement=STATEMENT,
    inputs=(Input("A", "unit_rows", "4", "d"),),
    bind=bind,
    witness=Instance(
        {"A": unit([0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], ["1/2", "1/2", "1/2", "1/2"])},
        "scores 0, 1/2 and 1: every cheapest order forgets at least 1/4, another one 5/32",
    ),
    tight_note="refuted; T3.9 shows that no constant bounds the factor between its order and the best one",
    necessity_note="refuted with all assumptions in force",
    on_features=on_features,
    verdict="REFUTED",
    notes=("The scores here are cosines of one direction an environment.  They are Con_IT too, the scores that the paper's rule adds up, where image and text of every "
           "sample are that direction: then all four scores agree, and the fused feature, for p + q = 1, is the direction as well.",
           "PROVED for three environments up to reversal: of a cheapest order and its reverse, which costs as much, one forgets least (T3.8), the other may "
           "not.  REFUTED for four, by this witness and by the family of T3.9.  On features the column shows "
           f"whether the rule happens to be right for the mean directions of your environments, of the first {MOST} where there are more.",
           "A condition under which it holds for four: two disjoint pairs of score beta, all other scores alpha >= beta (T3.9)."),
)  # fmt: skip
