"""Learners against independent oracles: numpy's least squares, explicit loops, and the closed forms of the claims."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from crossmodal.synthetic import learners
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.draw import draw_unit_rows
from crossmodal.synthetic.environments import contribution, rational_environments
from crossmodal.synthetic.evaluate import bound_values
from crossmodal.synthetic.learners import forgetting, gradient_descent, learn_sequence, least_norm
from crossmodal.theory import registry
from crossmodal.theory.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

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


def batch(
    seed: int, models: int = 4, n: int = 3, d: int = 5, k: int = 2
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Heads, features and targets of several models."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(models, *shape, generator=generator, dtype=torch.float64) for shape in ((d, k), (n, d), (n, k))
    )  # type: ignore[return-value]


def far(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def test_limits_of_the_learners() -> None:
    """Ridge tends to least norm, small steps to the flow, long flow to the projection; and each at the rate it should."""
    w, x, y = batch(0)
    target = least_norm(w, x, y, plain)
    gaps = [far(learners.ridge(penalty)(w, x, y, plain), target) for penalty in (1e-2, 1e-4, 1e-6)]
    assert gaps[0] > 50 * gaps[1] > 2500 * gaps[2]  # in proportion to the penalty
    assert gaps[2] < 1e-4
    flow = learners.gradient_flow(2.0)(w, x, y, plain)
    gaps = [far(gradient_descent(2.0 / n, n)(w, x, y, plain), flow) for n in (100, 1000, 10000)]
    assert gaps[0] > 8 * gaps[1] > 64 * gaps[2]  # in proportion to the step
    assert far(learners.gradient_flow(2.2)(w, x, y, plain), flow) > 10 * gaps[0]
    assert far(learners.gradient_flow(1e6)(w, x, y, plain), target) < 1e-10
    assert far(learners.projection()(w, x, y, plain), target) < 1e-12
    assert far(learners.descent_in_closed_form(0.02, 10**7)(w, x, y, plain), target) < 1e-10


@pytest.mark.parametrize(("eta", "steps"), [(0.05, 1), (0.05, 30), (1e-12, 7), (0.3, 4)])
def test_descent_in_closed_form_is_the_loop(eta: float, steps: int) -> None:
    _, x, y = batch(1)
    w = torch.zeros(4, 5, 2, dtype=torch.float64)  # so that tiny steps are not lost in the head's own digits
    loop, closed = (
        gradient_descent(eta, steps)(w, x, y, plain),
        learners.descent_in_closed_form(eta, steps)(w, x, y, plain),
    )
    assert torch.allclose(loop - w, closed - w, rtol=1e-9, atol=0)
    wrong = learners.descent_in_closed_form(eta, steps + 1)(w, x, y, plain)
    assert not torch.allclose(loop - w, wrong - w, rtol=1e-9, atol=0)


def test_projection_on_dependent_inconsistent_rows_is_least_squares() -> None:
    w, x, y = batch(2, n=4)
    x = torch.cat([x, x[:, :1], 2 * x[:, 1:2]], -2)  # repeated rows that ask for different things
    y = torch.cat([y, y[:, :1] + 1, y[:, 1:2]], -2)
    found = learners.projection()(w, x, y, plain)
    for m in range(4):
        truth = w[m].numpy() + np.linalg.lstsq(x[m].numpy(), (y[m] - x[m] @ w[m]).numpy(), rcond=None)[0]
        assert np.allclose(found[m].numpy(), truth)
    assert far(learners.gradient_flow(1e4)(w, x, y, plain), found) < 1e-8
    for steps in (
        10**8,
        10**14,
        10**18,
    ):  # however long, what rounding leaves of the zero singular values does not show
        assert far(learners.gradient_flow(float(steps))(w, x, y, plain), found) < 1e-12
        assert far(learners.descent_in_closed_form(0.01, steps)(w, x, y, plain), found) < 1e-12


@given(st.integers(0, 10**6), st.fractions("1/9", 3, max_denominator=9))
def test_ridge_in_rationals_is_the_minimiser(seed: int, penalty: Fraction) -> None:
    """The gradient of its objective vanishes exactly, in rationals, and does not for another penalty."""
    rng = random.Random(seed)
    x, y = exact.array(draw_unit_rows(rng, 3, 3)), exact.array([[rng.randint(-3, 3)] for _ in range(3)])
    w = exact.array([[rng.randint(-3, 3)] for _ in range(3)])
    found = learners.ridge(penalty)(w, x, y, exact)
    assert not (x.T @ (x @ found - y) + (found - w) * penalty).any()
    if (found != w).any():
        assert (x.T @ (x @ found - y) + (found - w) * (penalty + 1)).any()


@given(st.integers(0, 10**6))
def test_exact_learners_in_float_are_the_same(seed: int) -> None:
    rng = random.Random(seed)
    x, y = exact.array(draw_unit_rows(rng, 2, 4)), exact.array([[rng.randint(-3, 3), 1] for _ in range(2)])
    w = exact.array([[rng.randint(-2, 2), 0] for _ in range(4)])
    numbers = [torch.tensor(np.array(v, dtype=float)) for v in (w, x, y)]
    for exact_learner, learner in (
        (gradient_descent(Fraction(1, 4), 5), learners.descent_in_closed_form(0.25, 5)),
        (learners.ridge(Fraction(1, 3)), learners.filtered(lambda v: 1 / (v + 1 / 3))),
    ):
        truth = exact_learner(w, x, y, exact)
        assert np.allclose(learner(*numbers, plain).numpy(), np.array(truth, dtype=float), rtol=1e-10, atol=1e-12)


def test_cross_entropy_against_autograd_and_t1_2() -> None:
    w, x, _ = batch(3, n=6, d=4, k=3)
    y = torch.eye(3, dtype=torch.float64)[torch.arange(6) % 3].expand(4, -1, -1)
    free = w.clone().requires_grad_()
    learners.cross_entropy(free, x, y).sum().backward()
    assert free.grad is not None
    one = learners.cross_entropy_descent(0.7, 1)(w, x, y, plain)
    assert torch.allclose(one, w - 0.7 * free.grad, rtol=1e-12)
    assert not torch.allclose(one, w - 0.71 * free.grad, rtol=1e-12)
    again = learners.cross_entropy_descent(0.7, 3)(w, x, y, plain)
    step = w
    for _ in range(3):
        step = learners.cross_entropy_descent(0.7, 1)(step, x, y, plain)
    assert torch.equal(again, step)
    for m in range(4):
        oracle = torch.nn.functional.cross_entropy(x[m] @ w[m], torch.arange(6) % 3)
        assert torch.allclose(learners.cross_entropy(w, x, y)[m, 0, 0], oracle)
    assert bool((learners.cross_entropy(again, x, y) < learners.cross_entropy(w, x, y)).all())
    heads = learn_sequence(w, [(x, y), (x.flip(-1), y)], learners.cross_entropy_descent(1.0, 50), plain)
    lost = forgetting(heads, [(x, y), (x.flip(-1), y)], plain, learners.cross_entropy)
    assert torch.equal(lost[1], torch.zeros_like(lost[1]))
    assert bool((lost[0] > 0).all())


def test_heads() -> None:
    """Kernels of the heads are those of T1.1, in rationals."""
    rng = random.Random(5)
    u, v = (exact.array(draw_unit_rows(rng, 3, 3)) for _ in range(2))
    p, q = Fraction(2, 3), Fraction(1, 4)
    kernels = {h: (z := learners.head_features(u, v, h, p, q)) @ z.T for h in ("image", "text", "sum", "concatenation")}  # type: ignore[arg-type]
    ii, it, tt = u @ u.T, u @ v.T, v @ v.T
    assert (kernels["image"] == p * p * ii).all()
    assert (kernels["text"] == q * q * tt).all()
    assert (kernels["sum"] == p * p * ii + p * q * (it + it.T) + q * q * tt).all()
    assert (kernels["concatenation"] == p * p * ii + q * q * tt).all()
    assert (kernels["sum"] != kernels["concatenation"]).any()
    numbers = torch.tensor(np.array(u, dtype=float))
    assert learners.head_features(numbers, numbers, "concatenation").shape == (3, 6)
    with pytest.raises(InputError, match="head 'both'"):
        learners.head_features(u, v, "both")  # type: ignore[arg-type]


def test_initial_heads() -> None:
    u, texts = exact.array([["3/5", "4/5"]]), exact.array([[1, 0], [0, 1]])
    assert not learners.zero_head(u, 3, exact).any()
    assert learners.zero_head(u, 3, exact).shape == (2, 3)
    assert (
        (u @ learners.text_head(texts, "image", exact)) == u @ texts.T
    ).all()  # zero-shot logits: cosines with the texts
    both = learners.head_features(u, u, "concatenation")
    assert ((both @ learners.text_head(texts, "concatenation", exact)) == 2 * (u @ texts.T)).all()
    assert (learners.onehot([1, 0], 2, exact) == exact.array([[0, 1], [1, 0]])).all()
    start = learners.text_head(torch.eye(2, dtype=torch.float64), "concatenation", plain)
    assert start.shape == (4, 2)


def test_closed_forms_refuse_rationals() -> None:
    w, x, y = exact.array([[0]]), exact.array([[1]]), exact.array([[1]])
    with pytest.raises(InputError, match="least_norm, gradient_descent or ridge"):
        learners.gradient_flow(1.0)(w, x, y, exact)


def test_projection_on_rows_of_any_scale() -> None:
    """What counts as 0 is judged against the largest eigenvalue; what does not count contributes nothing at all."""
    w, x, y = batch(11)
    small = learners.projection()(w, 1e-8 * x, 1e-8 * y, plain)
    assert far(small, least_norm(w, x, y, plain)) < 1e-7
    rows = torch.diag(torch.tensor([1.0, 1e-7], dtype=torch.float64))
    found = learners.projection()(torch.zeros(2, 1, dtype=torch.float64), rows, torch.ones(2, 1).double(), plain)
    assert found.tolist() == [[1.0], [0.0]]
    seen: list[torch.Tensor] = []
    learners.filtered(lambda v: seen.append(v) or v)(w, torch.cat([x, x], -2), torch.cat([y, y], -2), plain)  # type: ignore[func-returns-value]
    assert float(seen[0].min()) == 0  # rounding below 0 is not passed on: filters may take roots


def test_cross_entropy_of_weighted_targets() -> None:
    """Weights that do not add up to 1: the step is the gradient's all the same."""
    w, x, _ = batch(12, n=6, d=4, k=3)
    y = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    free = w.clone().requires_grad_()
    (slope,) = torch.autograd.grad(learners.cross_entropy(free, x, y).sum(), free)
    assert torch.allclose(learners.cross_entropy_descent(0.5, 1)(w, x, y, plain), w - 0.5 * slope, rtol=1e-12)


def test_halves_of_a_concatenation_and_heads_that_are_not() -> None:
    u, v, texts = (exact.array([row]) for row in ([1, 2], [3, 5], [7, 11]))
    assert learners.head_features(u, v, "concatenation", 2, 3).tolist() == [[2, 4, 9, 15]]  # image first
    for head in ("image", "text", "sum"):
        assert (learners.text_head(texts, head, exact) == texts.T).all()  # type: ignore[arg-type]
    for penalty in (0, Fraction(-1, 2), float("nan")):
        with pytest.raises(InputError, match="ridge penalty"):
            learners.ridge(penalty)
