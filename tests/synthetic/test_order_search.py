"""Searches against brute force over permutations; bounds against the best of all orders, on scores of every strength."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from crossmodal.synthetic import order_benchmark, orders
from crossmodal.synthetic import order_search as search
from crossmodal.theory.errors import InputError
from hypothesis import given
from hypothesis import strategies as st


def directions(count: int, d: int, seed: int, common: float = 0.0) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((count, d)) / d**0.5 + common * np.eye(d)[0]
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


def scores(count: int, d: int, seed: int, common: float = 0.0) -> torch.Tensor:
    a = directions(count, d, seed, common)
    return torch.from_numpy(a @ a.T)


def projected(a: np.ndarray, order: tuple[int, ...]) -> float:
    """The oracle: dense projections one by one, then the residuals of all environments."""
    e = np.eye(a.shape[1])
    for t in order:
        e = e - np.outer(a[t], a[t] @ e)
    return float(np.sum((a @ e) ** 2))


def least(a: np.ndarray) -> float:
    return min(projected(a, o) for o in permutations(range(len(a))))


def test_best_order_is_the_best() -> None:
    a = directions(6, 4, 5)
    found = search.best_order(torch.from_numpy(a @ a.T), chunk=100)
    truth = min((projected(a, o), o) for o in permutations(range(6)))
    assert found.order == truth[1]
    assert abs(found.forgetting - truth[0]) < 1e-12
    assert found.optimal
    assert found.evaluated == 720


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 12), st.sampled_from([0.0, 0.5, 2.0, 20.0]))
def test_no_order_beats_a_bound(seed: int, count: int, d: int, common: float) -> None:
    """Faint and strong, independent and dependent, nearly equal directions."""
    a = directions(count, d, seed, common)
    gram = torch.from_numpy(a @ a.T)
    truth = float(orders.tree_forgetting(gram[None]).min())
    truth += 1e-13 * count  # rounding of the truth itself; bounds are lowered by more than theirs
    assert 0 <= search.faint_bound(gram) <= truth
    assert 0 <= search.lower_bound(gram) <= truth


def test_bounds_of_all_subsets() -> None:
    a = directions(6, 9, 3, 0.5)
    bounds = search.subset_bounds(torch.from_numpy(a @ a.T))
    for subset in range(1, 1 << 6):
        members = [t for t in range(6) if subset >> t & 1]
        truth = least(a[members])
        assert bounds[subset] <= truth
        if len(members) <= search.SMALL:
            assert bounds[subset] >= truth * (1 - 1e-7) - 1e-11
        else:
            assert bounds[subset] > 0.2 * truth  # no empty statement


def test_the_recursion_needs_its_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant that leaves out the smallest singular value is no bound: some order forgets less."""
    found = []
    for seed in range(20):
        gram = scores(7, 8, seed).numpy()
        own = least_of(gram)
        members = np.arange(7)[None]
        smaller = np.zeros(1 << 7)
        for t in range(7):
            rest = [s for s in range(7) if s != t]
            smaller[127 - (1 << t)] = least_of(gram[np.ix_(rest, rest)])
        good = search.bounds_of(gram, members, smaller)[0]
        left = 1 / np.diagonal(np.linalg.inv(gram))
        mutant = min(left[t] * (np.sum(gram[t] ** 2) - 1) + smaller[127 - (1 << t)] for t in range(7))
        assert good <= own
        found.append(mutant > own)
    assert any(found)


def least_of(gram: np.ndarray) -> float:
    return float(orders.tree_forgetting(torch.from_numpy(gram)[None]).min())


def test_endings_bound_is_what_it_says() -> None:
    """For every ending of up to all environments: no order that ends so forgets less; complete ones are exact."""
    a = directions(5, 7, 2, 0.4)
    gram = a @ a.T
    bounds = search.subset_bounds(torch.from_numpy(gram))
    rows = orders.factor(torch.from_numpy(gram)).numpy()
    truth = {o: projected(a, o) for o in permutations(range(5))}
    for m in range(1, 6):
        endings = np.array(list(permutations(range(5), m)))
        found, complete = search.endings_bound(gram, rows, endings, bounds)
        for ending, bound in zip(endings, found, strict=True):
            best = min(f for o, f in truth.items() if o[::-1][:m] == tuple(ending))
            assert bound <= best + 1e-12
            if m >= 4:
                assert abs(bound - best) < 1e-6
            alone = search.endings_bound(gram, rows, ending[None])[0][0]
            assert alone <= bound + 1e-12
        assert complete == (m == 5)


@pytest.mark.parametrize(("count", "d", "common"), [(6, 6, 0.0), (7, 20, 1.0), (7, 60, 0.0), (7, 4, 0.0), (5, 5, 20.0)])
def test_branch_and_bound_proves_the_best_order(count: int, d: int, common: float) -> None:
    gram = scores(count, d, 4, common)
    found, truth = search.branch_and_bound(gram), search.best_order(gram)
    assert found.optimal
    assert abs(found.forgetting - truth.forgetting) <= 1e-7 * truth.forgetting
    assert abs(float(orders.closed_forgetting(gram[None], np.array([found.order]))) - found.forgetting) < 1e-12


def test_branch_and_bound_stops_with_a_bound() -> None:
    gram, seen = scores(9, 30, 1), []
    found = search.branch_and_bound(gram, parts=300, chunk=16, progress=seen.append)
    assert not found.optimal
    assert search.lower_bound(gram) <= found.bound < found.forgetting
    assert found.bound <= float(orders.tree_forgetting(gram[None]).min())
    assert sum(seen) == found.evaluated < 1000
    further = search.branch_and_bound(gram)
    assert further.optimal
    assert further.evaluated < 362_880 / 5  # far fewer endings than orders


@pytest.mark.slow
def test_ten_environments_are_solved() -> None:
    gram = scores(10, 40, 0)
    found = search.branch_and_bound(gram)
    assert found.optimal
    rest, best = orders.all_orders(9), float("inf")
    for first in range(10):  # the oracle: all 3 628 800 orders
        every = np.column_stack([np.full(len(rest), first), rest + (rest >= first)])
        for chunk in np.array_split(every, 30):
            best = min(best, float(orders.closed_forgetting(gram[None], chunk).min()))
    assert abs(best - found.forgetting) < 1e-7 * best


def test_local_search_finds_it_too_and_its_bound_is_one() -> None:
    for seed in range(4):
        gram = scores(6, 40, seed)
        best, found = search.best_order(gram), search.local_search(gram)
        assert found.bound <= best.forgetting <= found.forgetting + 1e-12
        assert found.forgetting <= best.forgetting * (1 + 1e-9)
    faint = scores(20, 2000, 0)
    found = search.local_search(faint, restarts=1)
    assert 0.9 * found.forgetting < found.bound < found.forgetting
    orthogonal = search.local_search(torch.eye(12, dtype=torch.float64))
    assert orthogonal.optimal
    assert orthogonal.forgetting == 0


def test_whatever_is_possible() -> None:
    assert search.best_known(scores(5, 9, 0)).optimal
    assert search.best_known(scores(10, 200, 0), parts=100_000).bound > 0
    assert search.best_known(scores(19, 3000, 0)).bound > 0
    assert (
        search.local_search(scores(19, 60, 0, 1.0), restarts=1).bound > 0
    )  # strong scores: from the last two environments
    with pytest.raises(InputError, match=r"2\^19 subsets(.|\n)*faint_bound"):
        search.subset_bounds(scores(19, 30, 0))


def test_recorded_shares_are_shares() -> None:
    """The benchmark's columns on a case small enough to check."""
    row = order_benchmark.measure(6, 9, 0.5, 10_000)
    best = search.best_order(order_benchmark.directions(6, 9, 0.5)).forgetting
    assert row["optimal"]
    assert row["orders"] == 720
    assert abs(float(str(row["forgetting"])) - best) < 1e-5 * best
    assert 0 < float(str(row["subset_share"])) < 1 == row["proved_share"]
