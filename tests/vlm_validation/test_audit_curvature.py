"""The certified ends of the largest curvature: against the whole Hessian, where Lanczos finds it, where it does not, and where it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from crossmodal.vlm_validation.audit import Head, make_run
from crossmodal.vlm_validation.audit import curvature as module
from crossmodal.vlm_validation.audit.cross_entropy import Point, cross_entropy, largest_curvature, second_moment
from crossmodal.vlm_validation.audit.curvature import curvature, ends, lanczos, largest, norms
from scipy.special import softmax

from .audit_cases import D, first_stage, long_run, random_head


def whole(here: Point) -> np.ndarray:
    """The Hessian itself, from its definition."""
    pi = softmax(here.logits, axis=1)
    return sum(np.kron(np.outer(z, z), np.diag(q) - np.outer(q, q)) for z, q in zip(here.z, pi, strict=True)) / len(pi)


def drawn(seed: int, n: int = 15, width: int = 4, classes: int = 3, scale: float = 1.0) -> Point:
    rng = np.random.default_rng(seed)
    return Point(
        rng.standard_normal((n, width)), rng.integers(classes, size=n), scale * rng.standard_normal((width, classes))
    )


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_ends_meet_around_the_largest_eigenvalue(seed: int, scale: float) -> None:
    """Scale 0: equal predictions, and C - 1 equal eigenvalues, which one vector cannot settle."""
    here = drawn(seed, scale=scale)
    top = np.linalg.eigvalsh(whole(here))[-1]
    low, high = largest(here)
    assert low <= top <= high
    assert high - low <= 1e-9


@pytest.mark.parametrize("seed", range(30))
def test_any_vectors_give_certified_ends(seed: int) -> None:
    """Even where Lanczos finds the wrong ones: each eigenvector, pairs of them, and vectors drawn."""
    here = drawn(seed, n=6 + seed % 5)
    values, vectors = np.linalg.eigh(whole(here))
    rng = np.random.default_rng(seed)
    bases = [vectors[:, k : k + 1] for k in range(len(values))]
    bases += [vectors[:, [k, -1 - k]] for k in range(3)]
    bases += [np.linalg.qr(rng.standard_normal((len(values), k)))[0] for k in (1, 3)]
    bases += [np.linalg.qr(vectors[:, -2:] + 0.1 * rng.standard_normal((len(values), 2)))[0]]
    for basis in bases:
        low, high = ends(here, basis.T.reshape(-1, *here.weight.shape), *norms(here))
        assert low <= values[-1] <= high


def test_a_vector_of_another_eigenvalue_is_not_taken_for_the_largest() -> None:
    """Its residual is zero: an error bar of the eigenpair would say all is well."""
    here = drawn(0)
    values, vectors = np.linalg.eigh(whole(here))
    low, high = ends(here, vectors[:, -2:-1].T.reshape(1, *here.weight.shape), *norms(here))
    assert low == pytest.approx(values[-2])
    assert high >= values[-1] > 1.01 * values[-2]


def test_norm_and_trace_are_those_of_the_hessian(monkeypatch: pytest.MonkeyPatch) -> None:
    here = drawn(1, n=23)
    square, trace = norms(here)
    assert square == pytest.approx((whole(here) ** 2).sum(), rel=1e-9)
    assert trace == pytest.approx(np.trace(whole(here)), rel=1e-9)
    monkeypatch.setattr(module, "BLOCK", 5)
    assert norms(here) == pytest.approx((square, trace), rel=1e-13)


def test_vectors_are_orthonormal_and_as_many_as_asked_for() -> None:
    found = lanczos(drawn(2), 4)
    assert found.shape == (4, 4, 3)
    flat = found.reshape(4, -1)
    assert flat @ flat.T == pytest.approx(np.eye(4), abs=1e-12)


def test_without_any_vector_nothing_is_claimed() -> None:
    here = drawn(3)
    assert ends(here, np.zeros((0, *here.weight.shape)), *norms(here)) == (0.0, math.inf)


def test_confident_heads_leave_an_honest_interval() -> None:
    """Where all curvature is below rounding the ends say so, instead of a relative precision that is not there."""
    here = drawn(0, scale=1e4)
    low, high = largest(here)
    assert 0 <= low <= high <= 1e-5


def test_curvature_of_a_run() -> None:
    run = long_run("sum")
    for before, after in run.transitions:
        for s in run.environments:
            book = cross_entropy(run, before, after, s)
            found = curvature(run, after, s, book)
            u, v = run.pair(after, s)
            here = Point(run.p * u + run.q * v, run.labels(s), run.heads[after].weight)
            values = np.linalg.eigvalsh(whole(here))
            assert found.environment == run.name(s)
            assert found.low <= values[-1] <= found.high <= found.everywhere
            assert found.high - found.low <= 1e-9
            assert found.rests_on == "Lanczos"
            top = np.linalg.eigvalsh(here.z.T @ here.z / len(u))[-1]
            assert found.squared == pytest.approx(top)
            assert found.everywhere == pytest.approx(top / 2)
            a, b = (np.linalg.eigvalsh(x.T @ x / len(x))[-1] ** 0.5 for x in (u, v))
            assert found.modality_bound == pytest.approx((run.p * a + run.q * b) ** 2)
            assert found.squared <= found.modality_bound * (1 + 1e-12)
            assert (found.head, found.allowed) == (book.facts["head"], book.bounds["head"][1])
            assert found.head <= found.allowed


def test_the_bound_for_every_head_holds_for_every_head() -> None:
    here = drawn(4)
    most = largest_curvature(here)
    tops = [np.linalg.eigvalsh(whole(drawn(4, scale=s)))[-1] for s in (0.0, 0.3, 1.0, 3.0)]
    assert max(tops) <= most
    pair = Point(np.eye(2)[:1], np.zeros(1, int), np.zeros((2, 2)))  # two equally likely classes attain it
    assert np.linalg.eigvalsh(whole(pair))[-1] == pytest.approx(largest_curvature(pair))


@pytest.mark.parametrize("shape", [(3, 8), (8, 3)])
def test_second_moment_from_either_gram_matrix(shape: tuple[int, int]) -> None:
    z = np.random.default_rng(0).standard_normal(shape)
    assert second_moment(z) == pytest.approx(np.linalg.eigvalsh(z.T @ z / len(z))[-1])


def test_theorem_t1_2_takes_over_where_lanczos_settles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = first_stage()
    run = make_run((one, one), (random_head(scale=0.1),) * 2)
    book = cross_entropy(run, 0, 1, 0)
    monkeypatch.setattr(module, "lanczos", lambda here, count: np.zeros((0, *here.weight.shape)))
    monkeypatch.setattr(module, "norms", lambda here: (1e6, 1e6))
    found = curvature(run, 1, 0, book)
    assert (found.low, found.high, found.rests_on) == (0.0, found.everywhere, "T1.2")


def test_no_modality_bound_where_t3_2_does_not_speak() -> None:
    one = first_stage()
    for fusion, heads in (("concat", (random_head(2 * D),) * 2), ("sum", (random_head(biased=True),) * 2)):
        run = make_run((one, one), heads, fusion=fusion)
        assert curvature(run, 1, 0, cross_entropy(run, 0, 1, 0)).modality_bound is None
    run = make_run((one, one), (Head(np.zeros((D, 6)), np.zeros(6), False),) * 2)
    assert curvature(run, 1, 0, cross_entropy(run, 0, 1, 0)).modality_bound is not None


def test_a_head_with_fewer_weights_than_vectors_would_be_tried() -> None:
    """Four classes on one feature of size one: eigenvalue 1/4 three times and 0, and Lanczos can find three and no more."""
    here = Point(np.ones((5, 1)), np.zeros(5, dtype=int), np.zeros((1, 4)))
    assert largest(here) == pytest.approx((1 / 4, 1 / 4), abs=1e-10)


@pytest.mark.parametrize("large", [1, 2])
def test_many_small_eigenvalues_are_told_from_large_ones_by_the_norm(large: int) -> None:
    """Six small ones are left, each a third of the largest: in sum twice that, in norm less.  Mutant: the trace alone."""
    n = large + 6
    here = Point(np.diag([3**0.5] * large + [1.0] * 6), np.zeros(n, dtype=int), np.zeros((n, 2)))
    assert ends(here, lanczos(here, large), *norms(here)) == pytest.approx((3 / 2 / n, 3 / 2 / n), abs=1e-9)


def test_a_vector_askew_is_made_up_for_by_the_trace() -> None:
    """A Hessian of rank one, 1/2 along v: what any vector and its image leave is known.  Mutant: the norm alone."""
    here = Point(np.array([[1.0, 0.0]] * 3), np.zeros(3, dtype=int), np.zeros((2, 2)))
    askew = np.array([[0.6, -0.6], [0.8, -0.8]]) / 2**0.5
    low, high = ends(here, askew[None], *norms(here))
    assert (low, high) == pytest.approx((0.36 / 2, 1 / 2), abs=1e-9)
