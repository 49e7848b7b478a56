"""Searches against brute force over permutations; proofs are accepted, and rejected once something in them is wrong."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from crossmodal.synthetic import order_benchmark, orders
from crossmodal.synthetic import order_search as search
from crossmodal.synthetic.environments import rational
from crossmodal.theory.errors import InputError


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


def test_best_order_is_the_best() -> None:
    a = directions(6, 4, 5)
    found = search.best_order(torch.from_numpy(a @ a.T), chunk=100)
    truth = min((projected(a, o), o) for o in permutations(range(6)))
    assert found.order == truth[1]
    assert abs(found.forgetting - truth[0]) < 1e-12
    assert found.optimal
    assert found.forgetting - 1e-12 < found.bound <= truth[0]
    assert found.evaluated == 720


@pytest.mark.parametrize(("count", "d", "common"), [(6, 6, 0.0), (7, 20, 1.0), (7, 60, 0.0), (7, 4, 0.0), (5, 5, 20.0)])
def test_branch_and_bound_proves_the_best_order(count: int, d: int, common: float) -> None:
    gram = scores(count, d, 4, common)
    found, truth = search.branch_and_bound(gram), search.best_order(gram)
    assert found.optimal
    assert abs(found.forgetting - truth.forgetting) <= 1e-7 * truth.forgetting
    assert abs(float(orders.closed_forgetting(gram[None], np.array([found.order]))) - found.forgetting) < 1e-12
    assert found.proof is not None
    search.check(found.proof)


def test_a_wrong_proof_is_rejected() -> None:
    gram = scores(7, 20, 4, 1.0)
    found = search.branch_and_bound(gram)
    proof = found.proof
    assert proof is not None
    deep = max(proof.leaves, key=len)
    wrong = {
        "not proved": [replace(proof, bound=found.forgetting * (1 + 1e-7)), replace(proof, gram=scores(7, 20, 5, 1.0))],
        "leaves orders out": [replace(proof, leaves=tuple(e for e in proof.leaves if e != deep))],
        "two of the endings": [replace(proof, leaves=(*proof.leaves, deep)), replace(proof, leaves=(*proof.leaves, deep[:-1]))],
        "no order has": [replace(proof, leaves=tuple((*e[:-1], e[0]) if e == deep else e for e in proof.leaves))],
    }  # fmt: skip
    for message, mutants in wrong.items():
        for mutant in mutants:
            with pytest.raises(InputError, match=message):
                search.check(mutant)
    coarse = replace(proof, leaves=((),))  # the root alone proves less, and that is accepted
    with pytest.raises(InputError, match="not proved"):
        search.check(coarse)
    search.check(replace(coarse, bound=search.lower_bound(gram)))


def test_a_corrupted_bound_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant whose bounds of endings are a thousandth too high prunes the best order; its proof does not pass."""
    gram, good = scores(7, 12, 3, 0.5), search.endings_bound
    with monkeypatch.context() as patch:
        patch.setattr(search, "endings_bound", lambda *args: good(*args) * 1.001)
        found = search.branch_and_bound(gram)
    assert found.proof is not None
    with pytest.raises(InputError, match="not proved"):
        search.check(found.proof)


def test_rational_scores_are_proved_without_a_radius() -> None:
    for seed in range(4):
        gram = orders.exact_gram(rational.unit_rows(seed, 6, 4))
        found = search.branch_and_bound(gram)
        truth = min(f for _, f in orders.exact_tree(gram))
        assert found.optimal
        assert found.bound <= truth <= found.forgetting + 1e-12
        assert orders.exact_closed(gram, found.order) - truth <= Fraction(search.PRECISION)
        assert found.proof is not None
        search.check(found.proof)


def test_branch_and_bound_stops_with_a_bound() -> None:
    gram, seen = scores(9, 30, 1), []
    found = search.branch_and_bound(gram, parts=300, chunk=16, progress=seen.append)
    assert not found.optimal
    assert search.lower_bound(gram) <= found.bound < found.forgetting
    assert found.bound <= float(orders.tree_forgetting(gram[None]).min())
    assert sum(seen) == found.evaluated < 1000
    assert found.proof is not None
    search.check(found.proof)  # of what was reached
    further = search.branch_and_bound(gram)
    assert further.optimal
    assert further.evaluated < 362_880 / 5  # far fewer endings than orders


def least_of_all_orders(gram: np.ndarray, half: int) -> float:
    """The oracle for more orders than can be gone through one by one: projections, and every order cut in two.

    With ``e = R L``, L of the first `half` environments and R of the others, ``|A e|^2`` is the scalar product of ``L L'`` and ``R' A' A R``:
    a table of all orders of a set by all orders of the rest.
    """
    a, count = np.linalg.cholesky(gram), len(gram)  # directions with these scores
    eye = np.eye(count)
    project = [eye - np.outer(x, x) for x in a]

    def product(order: tuple[int, ...]) -> np.ndarray:
        e = eye
        for t in order:
            e = project[t] @ e
        return e

    best = float("inf")
    for chosen in combinations(range(count), half):
        rest = [t for t in range(count) if t not in chosen]
        first = [product(o) for o in permutations(chosen)]
        last = [a @ product(o) for o in permutations(rest)]
        table = np.array([(e @ e.T).ravel() for e in first]) @ np.array([(e.T @ e).ravel() for e in last]).T
        best = min(best, float(table.min()))
    return best


def test_orders_cut_in_two_are_all_orders() -> None:
    a = directions(6, 4, 5)
    a = np.hstack([a, 0.3 * np.eye(6)]) / 1.09**0.5  # more dimensions than environments, so that the scores have a root
    truth = min(projected(a, o) for o in permutations(range(6)))
    assert least_of_all_orders(a @ a.T, 3) == pytest.approx(truth, rel=1e-12)
    assert least_of_all_orders(a @ a.T, 2) == pytest.approx(truth, rel=1e-12)


@pytest.mark.slow
def test_ten_environments_are_solved() -> None:
    gram = scores(10, 40, 0)
    found = search.branch_and_bound(gram)
    assert found.optimal
    best = least_of_all_orders(gram.numpy(), 5)  # of 3 628 800
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


@pytest.mark.parametrize("at_once", [1, 4, 7, 40])
def test_a_local_search_looks_at_a_few_neighbours_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the number of neighbours, and where the cuts fall changes no bit."""
    gram, seen = scores(9, 12, 0, 0.5), []
    whole = search.local_search(gram, restarts=3, bound=0.0)

    def counted(grams: torch.Tensor, orders_: np.ndarray) -> torch.Tensor:
        seen.append(len(orders_))
        return orders.closed_forgetting(grams, orders_)

    monkeypatch.setattr(search, "closed_forgetting", counted)
    monkeypatch.setattr(search, "ENTRIES", at_once * 81)
    assert repr(search.local_search(gram, restarts=3, bound=0.0)) == repr(whole)
    assert max(seen) == at_once
    assert sum(seen) == whole.evaluated + 3  # and the starts


def test_a_search_of_nothing_and_of_too_much() -> None:
    assert search.local_search(torch.eye(1)).order == (0,)
    strong = search.local_search(scores(19, 60, 0, 1.0), restarts=1)
    assert strong.bound > 0  # from the last two environments
    with pytest.raises(InputError, match=r"2\^40 subsets(.|\n)*`local_search` uses it"):
        search.branch_and_bound(torch.eye(40))


def test_recorded_shares_are_shares() -> None:
    """The benchmark's columns on a case small enough to check."""
    row = order_benchmark.measure(6, 9, 0.5, 10_000)
    best = search.best_order(order_benchmark.directions(6, 9, 0.5)).forgetting
    assert row["optimal"]
    assert row["orders"] == 720
    assert abs(float(str(row["forgetting"])) - best) < 1e-5 * best
    assert 0 < float(str(row["subset_share"])) < 1 == row["proved_share"]
