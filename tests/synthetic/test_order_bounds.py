"""No order beats a bound: against brute force, against wrong formulas, and with every rounding error."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from crossmodal.synthetic import order_bounds as bounds
from crossmodal.synthetic import orders
from crossmodal.synthetic.arithmetic import Ball, U
from crossmodal.synthetic.environments import rational
from crossmodal.theory.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

from .test_order_search import directions, projected, scores


def forgetting_of(gram: Any, order: tuple[int, ...]) -> tuple[float, float]:
    """Lower and upper end of ``d E[F]`` of one order, an ending of all environments."""
    found = bounds.forgotten(bounds.placed(bounds.enclosed(gram), np.array([order[::-1]])))
    low, error = float(bounds.low(found)), float(found.err)
    return low, float(found.mid) + error + 2 * U * (abs(float(found.mid)) + error)


def least(a: np.ndarray) -> float:
    return min(projected(a, o) for o in permutations(range(len(a))))


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 12), st.sampled_from([0.0, 0.5, 2.0, 20.0, 1000.0]))
def test_no_order_beats_a_bound(seed: int, count: int, d: int, common: float) -> None:
    """Faint and strong, independent and dependent, nearly equal directions."""
    a = directions(count, d, seed, common)
    gram = torch.from_numpy(a @ a.T)
    truth = float(orders.tree_forgetting(gram[None]).min())
    truth += 1e-13 * count  # rounding of the truth itself, which has no bound
    assert 0 <= bounds.faint_bound(gram) <= truth
    assert 0 <= bounds.lower_bound(gram) <= truth


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 5))
def test_no_order_beats_a_bound_in_rationals(seed: int, count: int, d: int) -> None:
    """Repeated, opposite and nearby directions; the truth is exact, and so is the comparison."""
    gram = orders.exact_gram(rational.unit_rows(seed, count, d))
    truth = dict(orders.exact_tree(gram))
    found = bounds.subset_bounds(gram)
    assert 0 <= Fraction(float(found[-1])) <= min(truth.values())
    assert 0 <= Fraction(bounds.faint_bound(gram)) <= min(truth.values())
    for order, forgotten in list(truth.items())[::7]:
        low, high = forgetting_of(gram, order)
        assert Fraction(low) <= forgotten <= Fraction(high)
        assert high - low < 1e-12
        for m in range(1, count + 1):
            ending = np.array([order[::-1][:m]])
            assert Fraction(float(bounds.endings_bound(bounds.enclosed(gram), ending, found)[0])) <= forgotten


def test_bounds_cover_the_rounding_of_the_scores() -> None:
    """A float64 score stands for all scores that round to it: the least of their forgettings is the bound."""
    a = orders.exact_gram([["3/5", "4/5"], ["5/13", "12/13"], ["8/17", "15/17"]])
    rounded = torch.from_numpy(a.astype(float))
    low, high = forgetting_of(rounded, (0, 1, 2))
    own = forgetting_of(a, (0, 1, 2))
    assert low < own[0] <= orders.exact_closed(a, (0, 1, 2)) <= own[1] < high
    moved = a.copy()
    moved[0, 1] = moved[1, 0] = a[0, 1] + Fraction(1, 2**51)  # within the radius
    assert Fraction(low) <= orders.exact_closed(moved, (0, 1, 2)) <= Fraction(high)
    moved[0, 1] = moved[1, 0] = a[0, 1] + Fraction(1, 2**40)  # beyond it: the enclosure is no wider than it says
    assert not Fraction(low) <= orders.exact_closed(moved, (0, 1, 2)) <= Fraction(high)


def test_bounds_of_all_subsets() -> None:
    a = directions(6, 9, 3, 0.5)
    found = bounds.subset_bounds(torch.from_numpy(a @ a.T))
    for subset in range(1, 1 << 6):
        members = [t for t in range(6) if subset >> t & 1]
        truth = least(a[members])
        assert found[subset] <= truth
        if len(members) <= bounds.SMALL:
            assert found[subset] >= truth - 1e-12
        else:
            assert found[subset] > 0.2 * truth  # no empty statement


def test_the_recursion_needs_its_factor() -> None:
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
        good = bounds.bounds_of(bounds.enclosed(gram), members, smaller)[0]
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
    gram = bounds.enclosed(torch.from_numpy(a @ a.T))
    subsets = bounds.subset_bounds(gram)
    truth = {o: projected(a, o) for o in permutations(range(5))}
    for m in range(1, 6):
        endings = np.array(list(permutations(range(5), m)))
        found = bounds.endings_bound(gram, endings, subsets)
        for ending, bound in zip(endings, found, strict=True):
            best = min(f for o, f in truth.items() if o[::-1][:m] == tuple(ending))
            assert bound <= best + 1e-15
            if m >= 4:
                assert abs(bound - best) < 1e-12
            alone = bounds.endings_bound(gram, ending[None])[0]
            assert alone <= bound + 1e-12


def test_nothing_is_proved_of_what_is_nearly_dependent() -> None:
    """Inverses that may not exist prove nothing, and say so by a bound of 0, not by an error."""
    equal = Ball(torch.ones(5, 5).double(), torch.full((5, 5), 1e-15).double().fill_diagonal_(0.0))
    every = np.array(list(permutations(range(5), 1)))
    assert (bounds.endings_bound(equal, every, bounds.subset_bounds(equal)) == 0).all()
    near = directions(5, 6, 0, 1e9)
    assert bounds.lower_bound(torch.from_numpy(near @ near.T)) <= least(near) + 1e-15


def test_scores_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="diagonal off 1 by 1"):
        bounds.enclosed(2 * torch.eye(3))
    half = Fraction(1, 2)
    for off in (Fraction(1, 10**10), Fraction(1, 10**30)):  # rationals are taken as they are
        with pytest.raises(InputError, match="diagonal off 1 by 1e-"):
            bounds.enclosed(rational.exact.array([[1 + off, half], [half, 1]]))
        with pytest.raises(InputError, match="symmetric up to 1e-"):
            bounds.enclosed(rational.exact.array([[1, half + off], [half, 1]]))
    assert float(bounds.enclosed(torch.tensor([[1 + 1e-10, 0.5], [0.5, 1]], dtype=torch.float64)).err[0, 1]) >= 1e-10
    with pytest.raises(InputError, match="matrix of finite numbers"):
        bounds.enclosed(torch.full((2, 2), torch.nan))
    with pytest.raises(InputError, match="no directions have"):
        bounds.enclosed(rational.exact.array([[1, "4/5", "-4/5"], ["4/5", 1, "4/5"], ["-4/5", "4/5", 1]]))
    for cosine, count in ((2.0, 2), (-0.6, 4), (-0.5 - 1e-12, 3)):  # the closed form forgets -12 in the first
        equal = torch.full((count, count), cosine, dtype=torch.float64).fill_diagonal_(1.0)
        with pytest.raises(InputError, match="no directions have"):
            bounds.enclosed(equal)
    for cosine, count in (
        (1.0, 2),
        (1 + 1e-16, 5),
        (-0.5, 3),
        (-0.5 - 2.0**-52, 3),
        (-1.0, 2),
    ):  # the border, to rounding
        bounds.enclosed(torch.full((count, count), cosine, dtype=torch.float64).fill_diagonal_(1.0))
    with pytest.raises(InputError, match=r"2\^19 subsets(.|\n)*faint_bound"):
        bounds.subset_bounds(scores(19, 30, 0))


def test_what_is_not_known_of_scores_is_not_known_of_forgetting() -> None:
    """Two environments forget g^2 - g^4.  Mutant: projections without the error of the scores, half of what moves it here."""
    off = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    delta = 1e-3
    found = bounds.forgotten(Ball(torch.eye(2, dtype=torch.float64) + 0.5 * off, delta * off)[None])
    for g in (0.5 - delta, 0.5, 0.5 + delta):
        assert abs(float(found.mid) - (g**2 - g**4)) <= float(found.err)
    assert float(found.err) < 4 * delta
