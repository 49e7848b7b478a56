"""Learners against independent oracles: numpy's least squares, explicit loops, and the closed forms of the claims."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import permutations

import numpy as np
import torch
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.draw import draw_unit_rows
from crossmodal.synthetic.environments import contribution, rational_environments
from crossmodal.synthetic.evaluate import bound_values
from crossmodal.synthetic.learners import forgetting, gradient_descent, learn_sequence, least_norm
from crossmodal.theory import registry

exact, plain = arithmetic("exact"), arithmetic("plain")


def test_least_norm_is_the_minimum_norm_update() -> None:
    rng = np.random.default_rng(0)
    x, y, w = rng.standard_normal((3, 7)), rng.standard_normal((3, 2)), rng.standard_normal((7, 2))
    update = np.linalg.lstsq(x, y - x @ w, rcond=None)[0]  # numpy's least-norm solution, by SVD
    found = least_norm(torch.tensor(w), torch.tensor(x), torch.tensor(y), plain)
    assert np.allclose(found.numpy(), w + update)
    assert not np.allclose(found.numpy(), w + 1.01 * update)


def test_gradient_descent_tends_to_least_norm() -> None:
    x, y = exact.array([[1, 2, 0], [0, 1, 1]]), exact.array([[1], [2]])
    w = exact.array([[0], [0], [1]])
    steps = gradient_descent(Fraction(1, 4), 60)(w, x, y, exact)
    gap = steps - least_norm(w, x, y, exact)
    assert max(abs(float(v)) for v in gap.reshape(-1)) < 1e-3


def test_exact_and_batched_learners_agree() -> None:
    envs = rational_environments(3, 3, 2, 4, exact.array([[1], [2], [-1], [0]]), Fraction(1, 2), Fraction(1, 3), exact)
    tasks = [(e.fused(Fraction(1, 2), Fraction(1, 3)), e.target) for e in envs]
    w = exact.array([[0]] * 4)
    learner = gradient_descent(Fraction(1, 5), 3)
    truth = forgetting(learn_sequence(w, tasks, learner, exact), tasks, exact)
    batch = [tuple(torch.tensor(np.array(v, dtype=float)).expand(5, *v.shape) for v in task) for task in tasks]
    start = torch.zeros(5, 4, 1, dtype=torch.float64)
    found = forgetting(learn_sequence(start, batch, gradient_descent(0.2, 3), plain), batch, plain)
    for a, b in zip(truth, found, strict=True):
        assert b.shape == (5, 1, 1)
        assert torch.allclose(b, torch.full_like(b, float(a[0, 0])), rtol=1e-12, atol=1e-14)


def test_sequence_of_directions_is_t3_5() -> None:
    """Forgetting of the simulated learner equals the closed form of T3.5, for every order, exactly."""
    rows = draw_unit_rows(random.Random(4), 4, 3)
    teacher = exact.array([[1], [-2], [3]])
    claim = registry.get("T3.5")
    for order in permutations(range(4)):
        a = exact.array([rows[k] for k in order])
        tasks = [(a[k : k + 1], a[k : k + 1] @ teacher) for k in range(4)]
        heads = learn_sequence(exact.array([[0]] * 3), tasks, least_norm, exact)
        simulated = sum(f[0, 0] for f in forgetting(heads, tasks, exact))
        values = bound_values(claim, {"A": a, "e_0": teacher * -1}, exact)
        closed = -values["L"].T @ values["M"] @ values["A"] @ values["e_0"]
        assert simulated == sum(v * v for v in closed.reshape(-1)) / 2
        assert (values["r"] == closed).all()


def test_contribution_is_the_mean_of_all_pairs() -> None:
    envs = rational_environments(9, 2, 3, 3, exact.array([[1], [0], [0]]), 1, 0, exact)
    found = contribution(envs, exact)
    for s in range(2):
        for t in range(2):
            pairs = [sum(x * y for x, y in zip(u, v, strict=True)) for u in envs[s].image for v in envs[t].text]
            assert found[s][t][0, 0] == sum(pairs) / len(pairs)


def test_t3_8_polynomials_against_projections() -> None:
    """An oracle for the six forgetting polynomials: dense projections in floating point, written apart from the claim."""
    rng = np.random.default_rng(1)
    claim = registry.get("T3.8")
    a = rng.standard_normal((3, 5))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    values = bound_values(claim, {"A": torch.tensor(a)}, plain)
    for order in permutations(range(3)):
        product = np.eye(5)
        for t in order:
            product = (np.eye(5) - np.outer(a[t], a[t])) @ product
        truth = np.sum((a @ product) ** 2)
        name = "F_" + "".join(str(t + 1) for t in order)
        assert np.isclose(float(values[name]), truth)
