"""T3.9's condition, order by order: what its text says about all 24 orders is enumerated here in rationals."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from crossmodal.synthetic.orders import exact_closed

ORDERS = list(permutations(range(4)))
THREE = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 2, 3, 1))  # 1,2,3,4; 1,3,2,4; 1,3,4,2


def gram(alpha: Fraction, beta: Fraction) -> Any:
    """Environments 1, 2 and 3, 4 have score beta, all other pairs alpha."""
    out = np.full((4, 4), alpha, dtype=object)
    for i, j in ((0, 1), (2, 3)):
        out[i, j] = out[j, i] = beta
    for i in range(4):
        out[i, i] = Fraction(1)
    return out


def feasible(alpha: Fraction, beta: Fraction) -> bool:
    """Eigenvalues 1 - beta (twice) and 1 + beta -+ 2 alpha."""
    return beta <= 1 and 1 + beta >= 2 * abs(alpha)


LEVELS = [Fraction(k, 12) for k in range(13)]


def test_every_order_is_one_of_three() -> None:
    """Up to the symmetries of these scores: exchanging within the pairs and the pairs themselves, not reversal of the order."""
    for alpha in LEVELS[:9:2]:
        for beta in LEVELS[::3]:
            if feasible(alpha, beta):
                G = gram(alpha, beta)
                three = {exact_closed(G, order) for order in THREE}
                assert {exact_closed(G, order) for order in ORDERS} == three


@pytest.mark.parametrize("alpha", LEVELS)
def test_the_rule_holds_where_it_is_said_to(alpha: Fraction) -> None:
    for beta in LEVELS:
        if not feasible(alpha, beta):
            continue
        G = gram(alpha, beta)
        forgetting = {order: exact_closed(G, order) for order in ORDERS}
        cost = {order: sum(G[s, t] for s, t in pairwise(order)) for order in ORDERS}
        cheapest = [order for order in ORDERS if cost[order] == min(cost.values())]
        best = min(forgetting.values())
        if beta <= alpha:
            assert best in {forgetting[order] for order in cheapest}
            assert THREE[0] in cheapest
            assert forgetting[THREE[0]] == best
        elif alpha > 0 and 4 * beta < 1 + 2 * alpha**2 + beta**2:  # the other side: the rule is beaten, as T3.9 says
            assert best < min(forgetting[order] for order in cheapest)
