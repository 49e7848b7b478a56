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
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.draw import draw_unit_rows
from crossmodal.synthetic.evaluate import bound_values
from crossmodal.theory import registry
from crossmodal.theory.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

plain = arithmetic("plain")


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


def stepped(a: np.ndarray, order: tuple[int, ...], eta: float, error: np.ndarray) -> float:
    """The oracle for gradient steps: dense steps one by one, what each environment kept just after its own."""
    e, kept = error, 0.0
    for t in order:
        e = e - eta * np.outer(a[t], a[t] @ e)
        kept += float(np.sum((a[t] @ e) ** 2))
    return float(np.sum((a @ e) ** 2)) - kept


@pytest.mark.parametrize("eta", [0.3, 1.0, 1.7])
def test_gradient_steps_are_t3_6(eta: float) -> None:
    a, error = directions(4, 5, 3, seed=7), np.random.default_rng(8).standard_normal((5, 2))
    gram, start, every = torch.from_numpy(a @ a.transpose(0, 2, 1)), torch.from_numpy(a @ error), orders.all_orders(4)
    truth = np.array([[stepped(m, tuple(o), eta, error) for o in every] for m in a])
    assert np.allclose(orders.tree_forgetting(gram, start, eta).numpy(), truth)
    assert np.allclose(orders.closed_forgetting(gram, every, start, eta).numpy(), truth)
    assert not np.allclose(orders.closed_forgetting(gram, every, start, eta * 1.02).numpy(), truth)
    isotropic = np.array([[stepped(m, tuple(o), eta, np.eye(5)) for o in every] for m in a])
    assert np.allclose(orders.tree_forgetting(gram, eta=eta).numpy(), isotropic)
    assert np.allclose(orders.closed_forgetting(gram, every, eta=eta).numpy(), isotropic)


def test_closed_residuals_are_those_of_the_claims_for_every_order() -> None:
    """T3.5 and T3.6 batched over models and orders against the claims' own simulated learner, order by order."""
    a, error = directions(4, 3, 2, seed=9), np.random.default_rng(1).standard_normal((3, 1))
    gram, every = torch.from_numpy(a @ a.transpose(0, 2, 1)), orders.all_orders(4)
    start = torch.from_numpy(a @ error)
    for eta in (None, 0.4):
        found = orders.closed_residuals(gram, every, start, eta)
        assert found.shape == (2, 24, 4, 1)
        claim = registry.get("T3.5" if eta is None else "T3.6")
        for m in range(2):
            for k, order in enumerate(every):
                inputs = {"A": torch.from_numpy(a[m][order]), "e_0": torch.from_numpy(error)}
                values = bound_values(
                    claim, inputs | ({} if eta is None else {"eta": torch.tensor([[eta]], dtype=torch.float64)}), plain
                )
                assert torch.allclose(found[m, k], values["r"], rtol=1e-10, atol=1e-13)
    fixed = orders.closed_forgetting(gram, every, start)
    assert np.allclose(fixed.numpy(), [[projected(m, tuple(o), error) for o in every] for m in a])


def test_several_steps_are_one_longer_step() -> None:
    a = directions(3, 4, 2, seed=11)
    gram = torch.from_numpy(a @ a.transpose(0, 2, 1))
    longer = 1 - (1 - 0.2) ** 3
    error, every = np.eye(4), orders.all_orders(3)
    for m in range(2):
        for k, order in enumerate(every):
            e, kept = error, 0.0
            for t in order:
                for _ in range(3):
                    e = e - 0.2 * np.outer(a[m][t], a[m][t] @ e)
                kept += float(np.sum((a[m][t] @ e) ** 2))
            assert np.isclose(
                float(np.sum((a[m] @ e) ** 2)) - kept, float(orders.tree_forgetting(gram, eta=longer)[m, k])
            )


@given(st.integers(0, 10**6), st.fractions("1/7", 2, max_denominator=7))
def test_exactly_the_closed_form_for_steps(seed: int, eta: Fraction) -> None:
    """T3.6 equals the prefix tree in rationals, for every order of three environments."""
    rows = draw_unit_rows(random.Random(seed), 3, 3)
    gram, error = orders.exact_gram(rows), np.array([[Fraction(2)], [Fraction(-1)], [Fraction(1, 3)]], dtype=object)
    start, a = np.array(rows, dtype=object) @ error, np.array(rows, dtype=object)
    for order, forgetting in orders.exact_tree(gram, start, eta):
        end = orders.exact_residuals(rows, error, order, eta)
        e, kept = error, Fraction(0)
        for t in order:
            e = e - a[t][:, None] * (a[t] @ e) * eta
            kept += (a[t] @ e)[0] ** 2
        assert forgetting == sum(x * x for x in end.reshape(-1)) - kept


def test_cheapest_path_is_the_cheapest() -> None:
    for count in (1, 2, 5, 7):
        cost = np.random.default_rng(count).standard_normal((count, count))  # neither symmetric nor positive
        order, total = orders.cheapest_path(cost)
        truth = min(sum(cost[s, t] for s, t in pairwise(o)) for o in permutations(range(count)))
        assert sorted(order) == list(range(count))
        assert np.isclose(total, truth)
        assert np.isclose(sum(cost[s, t] for s, t in pairwise(order)), total)


def test_too_long_says_what_is_possible() -> None:
    with pytest.raises(InputError, match=r"3628800 orders(.|\n)*branch_and_bound(.|\n)*local_search"):
        orders.all_orders(10)
    with pytest.raises(InputError, match=r"at most 18(.|\n)*local_search"):
        orders.cheapest_path(np.zeros((19, 19)))
    with pytest.raises(InputError, match="at most 7"):
        next(orders.exact_tree(np.eye(8)))


def test_limits_are_inclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (orders.LONGEST_TREE, orders.LONGEST_RULE) == (9, 18)
    assert len(next(orders.exact_tree(orders.exact_gram(np.eye(7, dtype=int))))[0]) == 7
    monkeypatch.setattr(orders, "LONGEST_TREE", 3)
    monkeypatch.setattr(orders, "LONGEST_RULE", 3)
    assert orders.all_orders(3).shape == (6, 3)
    assert orders.tree_forgetting(torch.eye(3, dtype=torch.float64)[None]).shape == (1, 6)
    assert len(orders.cheapest_path(np.zeros((3, 3)))[0]) == 3
    for too_long in (
        lambda: orders.all_orders(4),
        lambda: orders.tree_forgetting(torch.eye(4, dtype=torch.float64)[None]),
        lambda: orders.cheapest_path(np.zeros((4, 4))),
    ):
        with pytest.raises(InputError, match=r"at most 3"):
            too_long()


def test_costs_and_scores_that_make_no_sense_are_refused() -> None:
    for cost, words in ((np.zeros((3, 4)), "shape"), (np.zeros((4, 3)), "shape"), (np.zeros((0, 0)), "shape"),
                        (np.float64(1), "shape"), (np.array([[0, np.nan], [1, 0]]), "finite"),
                        (np.array([[0, np.inf], [1, 0]]), "finite")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            orders.cheapest_path(cost)
    assert orders.cheapest_path(np.array([[np.nan, 2.0], [1.0, np.nan]])) == ((1, 0), 1.0)  # the diagonal is not read
    assert orders.all_orders(0).shape == (1, 0)
    bad = torch.tensor([[[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]]], dtype=torch.float64)
    for work in (orders.tree_forgetting, lambda g: orders.closed_forgetting(g, orders.all_orders(3), eta=0.5)):
        with pytest.raises(InputError, match=r"negative eigenvalue -0\.8"):
            work(torch.cat([torch.eye(3, dtype=torch.float64)[None], bad]))
    flat = torch.ones(1, 3, 3, dtype=torch.float64)  # singular, and so negative by rounding at most
    assert float(orders.tree_forgetting(flat).abs().max()) < 1e-14
