"""Values whose baseline is a mean: their derivatives in the samples' weights, and what samples drawn again give."""

from __future__ import annotations

import numpy as np
import pytest
from crossmodal.vlm_validation import mean_baseline
from crossmodal.vlm_validation.mean_baseline import Values, cosines, probabilities

N, C = 11, 4
SAMPLES = ("head", "cosine")


def drawn_pair(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = scale * rng.standard_normal((2, N, C))
    return x, y, rng.integers(C, size=N)


def values(kind: str, x: np.ndarray, y: np.ndarray, label: np.ndarray) -> Values:
    return probabilities(x, y, label) if kind == "head" else cosines(x, y)


def by_hand(kind: str, x: np.ndarray, y: np.ndarray, label: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Mean values where sample k counts `w[k]` times, one sample and one coalition after the other."""
    w = w / w.sum()
    mean = w @ x, w @ y
    out = np.zeros(4)
    for k in range(N):
        for s, (a, b) in enumerate([mean, (x[k], mean[1]), (mean[0], y[k]), (x[k], y[k])]):
            if kind == "head":
                logits = a + b
                e = np.exp(logits - logits.max())
                out[s] += w[k] * e[label[k]] / e.sum()
            else:
                out[s] += w[k] * (a @ b)
    return out


@pytest.mark.parametrize("kind", SAMPLES)
def test_values_and_their_means(kind: str) -> None:
    x, y, label = drawn_pair()
    found = values(kind, x, y, label)
    wanted = by_hand(kind, x, y, label, np.ones(N))
    np.testing.assert_allclose(found.own.mean(axis=0), wanted, atol=1e-14)
    np.testing.assert_allclose(found.influence.mean(axis=0), wanted, atol=1e-14)


@pytest.mark.parametrize("kind", SAMPLES)
def test_influence_is_the_derivative_in_the_weight(kind: str) -> None:
    """Mutant: a sample's own value alone."""
    x, y, label = drawn_pair()
    found = values(kind, x, y, label)
    ends = [[by_hand(kind, x, y, label, np.ones(N) + s * 1e-4 * np.eye(N)[k]) for s in (1, -1)] for k in range(N)]
    wanted = np.array([N * (up - down) / 2e-4 for up, down in ends])
    np.testing.assert_allclose(found.influence - found.influence.mean(axis=0), wanted, atol=1e-6)
    assert np.abs(found.own - found.own.mean(axis=0) - wanted).max() > 1e-2


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("scale", [1.0, 40.0, 1e4, 1e45])
@pytest.mark.parametrize("piece", [1, 2**22])
def test_resampled_means_are_taken_again(kind: str, scale: float, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of heads so sure that factored exponentials underflow.  Mutant: the means of all samples."""
    monkeypatch.setattr(mean_baseline, "PIECE", piece)
    x, y, label = drawn_pair(scale)
    found = values(kind, x, y, label)
    drawn = np.random.default_rng(1).multinomial(N, np.full(N, 1 / N), size=30) / N
    wanted = np.array([by_hand(kind, x, y, label, w) for w in drawn])
    np.testing.assert_allclose(found.resampled(drawn), wanted, rtol=1e-9, atol=1e-12)
    assert np.abs(drawn @ found.own - wanted).max() > 1e-2


def test_that_check_fails_without_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: trust factored exponentials, whatever is left of them."""
    monkeypatch.setattr(mean_baseline, "CERTAIN", -1.0)
    x, y, label = drawn_pair(1e4)
    drawn = np.random.default_rng(1).multinomial(N, np.full(N, 1 / N), size=30) / N
    wanted = np.array([by_hand("head", x, y, label, w) for w in drawn])
    with np.errstate(invalid="ignore", divide="ignore"):
        found = probabilities(x, y, label).resampled(drawn)
    assert not np.allclose(found, wanted, atol=1e-2)
