"""Exact environments through exact learners: the closed forms of the claims on prescribed scores, in rationals."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
from crossmodal.synthetic import orders
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.environments import families, prescribed, rational
from crossmodal.synthetic.learners import forgetting, gradient_descent, head_features, learn_sequence, least_norm
from crossmodal.theory.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

exact = arithmetic("exact")
tangents = st.lists(st.fractions("-3", "3", max_denominator=6), min_size=2, max_size=3)


@given(tangents)
def test_a_chain_has_pythagorean_cosines(t: list[Fraction]) -> None:
    rows = rational.chain(t)
    assert {sum(x * x for x in row) for row in rows} == {1}
    for (a, b), half in zip(pairwise(rows), t, strict=True):
        assert sum(a * b) == (1 - half * half) / (1 + half * half)


@given(tangents.map(lambda t: t[:2]), st.sampled_from([None, Fraction(1, 3)]))
def test_forgetting_on_prescribed_cosines_is_the_closed_form(t: list[Fraction], eta: Fraction | None) -> None:
    """Environments made from a Gram matrix alone; learners run on their features; T3.5 and T3.6 from the matrix."""
    rows = rational.chain(t)
    pairs = families.rank_one(rows @ rows.T, exact=True)
    means = pairs.means()[: len(rows)]
    teacher = exact.array([[k % 3 - 1] for k in range(pairs.dimension)])
    start, learner = exact.array([[0]] * pairs.dimension), least_norm if eta is None else gradient_descent(eta, 1)
    for order in permutations(range(len(rows))):
        tasks = [(means[s : s + 1], means[s : s + 1] @ teacher) for s in order]
        heads = learn_sequence(start, tasks, learner, exact)
        total = sum((f[0, 0] for f in forgetting(heads, tasks, exact)), Fraction(0))
        residuals = orders.exact_residuals(means.tolist(), (-teacher).tolist(), order, eta)
        end = sum(x * x for x in residuals.reshape(-1)) / 2
        kept = Fraction(0)
        if eta is not None:
            kept = sum((((x @ heads[k + 1] - y) ** 2)[0, 0] for k, (x, y) in enumerate(tasks)), Fraction(0)) / 2
        assert total == end - kept


@given(st.integers(0, 10**6))
def test_fused_kernel_of_prescribed_scores_is_t1_1(seed: int) -> None:
    """K(s, t) of the sum head is p^2 II + pq (IT + TI) + q^2 TT of the matrix that was asked for, exactly; concatenation drops the middle."""
    means = rational.unit_rows(seed, 4, 3) * Fraction(4, 5)
    scores = means @ means.T
    pairs = prescribed(scores, pairs=3, exact=True)
    p, q = Fraction(1, 2), Fraction(2, 3)
    ii, it, tt = scores[:2, :2], scores[:2, 2:], scores[2:, 2:]
    for head, kernel in (
        ("sum", p * p * ii + p * q * (it + it.T) + q * q * tt),
        ("concatenation", p * p * ii + q * q * tt),
        ("image", p * p * ii),
        ("text", q * q * tt),
    ):
        z = [exact.mean_row(head_features(pairs.image[r], pairs.text[r], head, p, q)) for r in map(pairs.rows, (0, 1))]  # type: ignore[arg-type]
        assert all((z[s] @ z[t].T)[0, 0] == kernel[s, t] for s in (0, 1) for t in (0, 1))


def test_floats_are_refused_and_indefinite_matrices_too() -> None:
    with pytest.raises(InputError, match="holds floats"):
        rational.require_rational([[0.5]], "a matrix")
    with pytest.raises(ValueError, match="not symmetric"):
        rational.gram_factor([[1, 0], [1, 1]])
    for indefinite in ([[-1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 2], [2, 1]]):
        with pytest.raises(ValueError, match="not positive semidefinite"):
            rational.gram_factor(indefinite)
    with pytest.raises(ValueError, match="negative"):
        rational.four_squares(Fraction(-1, 2))
    assert not rational.gram_factor(np.zeros((2, 2), dtype=int)).any()
