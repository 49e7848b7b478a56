"""Orders against oracles written apart: explicit projections in numpy, brute force over permutations."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise, permutations
from math import factorial

import numpy as np
import pytest
import torch
from crossmodal.synthetic import orders
from crossmodal.synthetic.draw import draw_unit_rows
from crossmodal.theory.errors import InputError


def directions(count: int, d: int, batch: int, seed: int = 0) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((batch, count, d))
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


def projected(a: np.ndarray, order: tuple[int, ...], error: np.ndarray | None = None) -> float:
    """The oracle: dense projections one by one, then the residuals of all environments."""
    e = np.eye(a.shape[1]) if error is None else error
    for t in order:
        e = e - np.outer(a[t], a[t] @ e)
    return float(np.sum((a @ e) ** 2))


def test_number_of_stages() -> None:
    assert orders.stages(5) == 325
    assert orders.stages(5) == sum(len({p[:k] for p in permutations(range(5))}) for k in range(1, 6))


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_tree_and_closed_form_are_the_projections(count: int) -> None:
    a = directions(count, 3, 4)
    gram = torch.from_numpy(a @ a.transpose(0, 2, 1))
    found, every = orders.tree_forgetting(gram), orders.all_orders(count)
    assert found.shape == (4, factorial(count))
    closed = orders.closed_forgetting(gram, every)
    truth = np.array([[projected(m, tuple(o)) for o in every] for m in a])
    assert np.allclose(found.numpy(), truth, rtol=1e-10, atol=1e-12)
    assert np.allclose(closed.numpy(), truth, rtol=1e-10, atol=1e-12)
    if count > 2:
        assert not np.allclose(found.numpy(), truth[:, ::-1])  # orders do differ


def test_tree_with_a_given_error() -> None:
    a, e = directions(4, 6, 3, seed=1), np.random.default_rng(2).standard_normal((6, 2))
    gram, start = torch.from_numpy(a @ a.transpose(0, 2, 1)), torch.from_numpy(a @ e)
    found = orders.tree_forgetting(gram, start)
    truth = [[projected(m, tuple(o), e) for o in orders.all_orders(4)] for m in a]
    assert np.allclose(found.numpy(), truth)


def test_exactly_the_closed_form() -> None:
    """T3.7 and T3.5 equal the prefix tree in rationals, for every order: no rounding anywhere."""
    rows = draw_unit_rows(random.Random(3), 4, 3)
    gram = orders.exact_gram(rows)
    error = np.array([[Fraction(2)], [Fraction(-1)], [Fraction(1, 3)]], dtype=object)
    start = np.array(rows, dtype=object) @ error
    seen = 0
    for (order, forgetting), (_, fixed) in zip(orders.exact_tree(gram), orders.exact_tree(gram, start), strict=True):
        assert forgetting == orders.exact_closed(gram, order)
        residuals = orders.exact_residuals(rows, error, order)
        assert fixed == sum(x * x for x in residuals.reshape(-1))
        seen += 1
    assert seen == 24


def test_best_order_is_the_best() -> None:
    a = directions(6, 4, 1, seed=5)[0]
    found = orders.best_order(torch.from_numpy(a @ a.T), chunk=100)
    truth = min((projected(a, o), o) for o in permutations(range(6)))
    assert found.order == truth[1]
    assert abs(found.forgetting - truth[0]) < 1e-12
    assert found.optimal
    assert found.evaluated == 720


def test_local_search_finds_it_too_and_its_bound_is_one() -> None:
    for seed in range(4):
        a = directions(6, 40, 1, seed=seed)[0]
        gram = torch.from_numpy(a @ a.T)
        best, found = orders.best_order(gram), orders.local_search(gram)
        assert found.bound <= best.forgetting <= found.forgetting + 1e-12
        assert found.forgetting <= best.forgetting * (1 + 1e-9)
    faint = directions(12, 2000, 1)[0]
    found = orders.local_search(torch.from_numpy(faint @ faint.T), restarts=2)
    assert 0.9 * found.forgetting < found.bound < found.forgetting
    orthogonal = orders.local_search(torch.eye(12, dtype=torch.float64))
    assert orthogonal.optimal
    assert orthogonal.forgetting == 0


def test_cheapest_path_is_the_cheapest() -> None:
    for count in (1, 2, 5, 7):
        cost = np.random.default_rng(count).standard_normal((count, count))  # neither symmetric nor positive
        order, total = orders.cheapest_path(cost)
        truth = min(sum(cost[s, t] for s, t in pairwise(o)) for o in permutations(range(count)))
        assert sorted(order) == list(range(count))
        assert np.isclose(total, truth)
        assert np.isclose(sum(cost[s, t] for s, t in pairwise(order)), total)


def test_too_long_says_what_is_possible() -> None:
    with pytest.raises(InputError, match=r"3628800 orders(.|\n)*local_search"):
        orders.all_orders(10)
    with pytest.raises(InputError, match=r"at most 18(.|\n)*local_search"):
        orders.cheapest_path(np.zeros((19, 19)))
    with pytest.raises(InputError, match="at most 7"):
        next(orders.exact_tree(np.eye(8)))
