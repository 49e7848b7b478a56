"""Prescribed scores against means computed pair by pair; infeasible ones against the optimality conditions."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from crossmodal.synthetic.environments import InfeasibleScores, Pairs, nearest_feasible, prescribed
from crossmodal.synthetic.environments.rational import four_squares, gram_factor, near_angle, pythagorean, unit_rows
from crossmodal.theory.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

CLASSES = [{0: 4, 1: 6}, {0: 5, 2: 5}, {1: 2, 2: 3}]


def random_scores(seed: int, count: int, longest: float = 0.9) -> np.ndarray:
    """A feasible matrix of low rank, from means drawn apart from the module."""
    means = np.random.default_rng(seed).standard_normal((2 * count, 4))
    means *= longest / np.linalg.norm(means, axis=1).max()
    return means @ means.T


def by_pairs(p: Pairs) -> np.ndarray:
    """The oracle: the mean cosine over every pair of samples."""
    count = len(p.environments)
    sides = [(x, t) for x in (p.image, p.text) for t in range(count)]
    return np.array(
        [[np.mean([float(a @ b) for a in x[p.rows(s)] for b in y[p.rows(t)]]) for y, t in sides] for x, s in sides]
    )


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_prescribed(seed: int) -> None:
    scores = random_scores(seed, 3)
    for options in (
        {"pairs": 5},
        {"pairs": [2, 3, 8], "rotate": 1},
        {"classes": CLASSES, "class_share": 0.3, "rotate": 2},
    ):
        found = prescribed(scores, **options)  # type: ignore[arg-type]
        for side in (found.image, found.text):
            assert np.abs(np.linalg.norm(side, axis=1) - 1).max() < 1e-14
        assert np.abs(by_pairs(found) - scores).max() < 1e-14
        assert np.abs(found.scores() - scores).max() < 1e-14
    assert np.abs(by_pairs(prescribed(0.99 * scores)) - scores).max() > 1e-3  # the comparison can fail


def test_classes_are_as_laid_out() -> None:
    scores = random_scores(5, 3)
    found = prescribed(scores, classes=CLASSES, class_share=0.3)
    for t, cells in enumerate(CLASSES):
        labels = found.label[found.rows(t)]
        assert {int(c): int((labels == c).sum()) for c in np.unique(labels)} == cells
        for modality, x in (("image", found.image), ("text", found.text)):
            rows = x[found.rows(t)]
            mean = rows.mean(0)
            between = np.mean([((found.prototypes(modality)[t, int(c)] - mean) ** 2).sum() for c in labels])
            assert np.isclose(between, 0.3 * ((rows - mean) ** 2).sum(1).mean())
    flat = prescribed(scores, classes=CLASSES)
    assert np.allclose(flat.prototypes()[0, 0], flat.prototypes()[0, 1])  # without a share classes are alike


def test_alignment_is_prescribed_too() -> None:
    scores = random_scores(6, 3, 0.7)
    wanted = np.diag(scores[:3, 3:]) + np.array([0.3, -0.2, 0.0])
    for options in ({}, {"classes": CLASSES, "class_share": 0.1}):
        found = prescribed(scores, alignment=wanted, **options)  # type: ignore[arg-type]
        cosines = [
            float(np.mean([u @ v for u, v in zip(found.image[r], found.text[r], strict=True)]))
            for r in map(found.rows, range(3))
        ]
        assert np.abs(np.array(cosines) - wanted).max() < 1e-13
        assert np.abs(found.scores() - scores).max() < 1e-14
    with pytest.raises(InputError, match=r"alignment 1.5 of environment 0(.|\n)*between"):
        prescribed(scores, alignment=[1.5, 0, 0])


@given(st.integers(0, 10**6), st.integers(1, 2), st.booleans())
def test_rational_scores_are_met_exactly(seed: int, count: int, shared: bool) -> None:
    means = unit_rows(seed, 2 * count, 3) * Fraction(9, 10)
    scores = means @ means.T
    layout = [{0: 2, 1: 3}] * count
    found = prescribed(scores, exact=True, classes=layout, class_share=Fraction(1, 5) if shared else 0)
    assert (found.scores() == scores).all()
    for side in (found.image, found.text):
        assert {sum(v * v for v in row) for row in side} == {1}
    assert not (found.scores() == scores * Fraction(99, 100)).all()


@given(st.lists(st.fractions(-3, 3, max_denominator=9), min_size=6, max_size=6))
def test_every_rational_psd_matrix_has_a_rational_factor(entries: list[Fraction]) -> None:
    b = np.array(entries, dtype=object).reshape(3, 2)
    gram = b @ b.T
    factor = gram_factor(gram)
    assert (factor @ factor.T == gram).all()
    if any(v != 0 for v in entries):
        with pytest.raises(ValueError, match="not positive semidefinite"):
            gram_factor(-gram)


def test_four_squares_and_pythagorean_points() -> None:
    for x in (Fraction(7), Fraction(0), Fraction(23, 60), Fraction(10**30 + 7, 3**20)):
        parts = four_squares(x)
        assert sum((p * p for p in parts), Fraction(0)) == x
        assert len(parts) <= 4
    c, s = pythagorean(Fraction(1, 2))
    assert (c, s) == (Fraction(3, 5), Fraction(4, 5))
    c, s = near_angle(0.3)
    assert c * c + s * s == 1
    assert abs(float(c) - np.cos(0.3)) < 1e-5


def test_infeasible_scores_name_the_eigenvalue_and_the_nearest_matrix() -> None:
    scores = np.array([[0.5, 0.6, 0.1, 0.0], [0.6, 0.5, 0.0, 0.1], [0.1, 0.0, 0.5, 0.2], [0.0, 0.1, 0.2, 0.5]])
    scores[0, 1] = scores[1, 0] = 0.9
    with pytest.raises(InfeasibleScores, match=r"negative eigenvalue -0\.4") as caught:
        prescribed(scores)
    error = caught.value
    assert np.isclose(error.eigenvalue, np.linalg.eigvalsh(scores)[0])
    assert "Frobenius" in str(error)
    assert re.search(r"mostly image [01], image [01], ", str(error))  # the pair whose score was raised
    assert np.isclose(error.distance, np.linalg.norm(error.nearest - scores))
    assert np.abs(prescribed(error.nearest).scores() - error.nearest).max() < 1e-13
    with pytest.raises(InfeasibleScores, match="above 1"):
        prescribed([[2, 0], [0, 1]], exact=True)
    for place in range(4):  # beside lengths of exactly 1, and off by what float64 does not show
        rows = [[Fraction(i == j) + Fraction(i == j == place, 10**50) for j in range(4)] for i in range(4)]
        name = ("image 0", "image 1", "text 0", "text 1")[place]
        with pytest.raises(InfeasibleScores, match=f"score of {name} with itself is 1, above 1 by 1e-50"):
            prescribed(rows, exact=True)
    with pytest.raises(InfeasibleScores):
        prescribed([["1/2", "3/5"], ["3/5", "1/2"]], exact=True)
    prescribed([["1/2", "1/2"], ["1/2", "1/2"]], exact=True)  # the border is feasible


@pytest.mark.parametrize("seed", range(6))
def test_nearest_is_nearest(seed: int) -> None:
    """Optimality: X is nearest to M iff M - X = -Z + diag(y) with Z psd, ZX = 0, y >= 0 and y (1 - diag X) = 0."""
    rng = np.random.default_rng(seed)
    m = rng.standard_normal((6, 6))
    m = (m + m.T) / 2
    np.fill_diagonal(m, rng.uniform(0.2, 1.8, 6))
    x = nearest_feasible(m)
    assert np.linalg.eigvalsh(x)[0] > -1e-12
    assert x.diagonal().max() <= 1 + 1e-12
    tight = x.diagonal() > 1 - 1e-6
    values, vectors = np.linalg.eigh(x)
    null, kept = vectors[:, values < 1e-6], vectors[:, values >= 1e-6]
    y = np.zeros(6)  # on the range of X only the diagonal part is left: solve for it there
    rows = np.array([np.outer(kept[k], kept[k]).ravel() for k in np.flatnonzero(tight)]).T
    if tight.any():
        y[tight] = np.linalg.lstsq(rows, (kept.T @ (m - x) @ kept).ravel(), rcond=None)[0]
    z = x - m + np.diag(y)
    assert y.min() > -1e-6
    assert np.abs(z @ kept).max() < 1e-5
    assert np.linalg.eigvalsh(null.T @ z @ null)[0] > -1e-6 if null.shape[1] else True
    far = np.linalg.norm(x - m)
    for _ in range(200):  # and no feasible point tried at random is nearer
        b = rng.standard_normal((6, 6)) * 0.05 + float_root(x)
        b /= np.maximum(1, np.linalg.norm(b, axis=1, keepdims=True))
        assert np.linalg.norm(b @ b.T - m) >= far - 1e-9
    clipped = vectors_clipped(m)
    clipped /= np.sqrt(np.outer(np.maximum(clipped.diagonal(), 1), np.maximum(clipped.diagonal(), 1)))
    assert np.linalg.norm(clipped - m) >= far - 1e-12  # plain clipping is farther, or the same


def float_root(x: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(x)
    return vectors * np.sqrt(np.maximum(values, 0))


def vectors_clipped(m: np.ndarray) -> np.ndarray:
    return float_root(m) @ float_root(m).T


TINY = str(Fraction(1, 2) + Fraction(1, 10**30))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": np.eye(3)}, "shape"),
        ({"scores": np.full((2, 2), np.nan)}, "finite"),
        ({"scores": np.array([[1, 0.5], [0.2, 1]])}, "symmetric"),
        ({"pairs": 0}, "positive number of pairs"),
        ({"pairs": 1}, "one pair of class 0"),
        ({"classes": [{0: 2}, {0: 2}]}, "2 environments laid out"),
        ({"class_share": 0.5}, "one class"),
        ({"class_share": 1.0}, "fraction in"),
        ({"classes": [{0: 40, 1: 2}], "class_share": 0.9}, "at most"),
        ({"exact": True}, "floats"),
        ({"alignment": [0.1, 0.2]}, "2 alignments"),
        ({"alignment": [float("nan")]}, "alignment nan of environment 0"),
        ({"scores": np.eye(2), "alignment": [5e-8]}, "between 0 and 0"),
        ({"scores": np.diag([1 + 1e-6, 1])}, "above 1 by 1e-06"),
        ({"pairs": [2.5]}, "2.5 among"),
        ({"classes": [{0: 2.5}]}, "2.5 among"),
        ({"exact": True, "scores": [["1/2", TINY], [TINY, "1/2"]]}, "below 0 by less than float64 shows"),
    ],
)
def test_mistakes_are_explained(change: dict[str, object], words: str) -> None:
    options: dict[str, object] = {"scores": np.array([[0.5, 0.1], [0.1, 0.5]]), "pairs": 4} | change
    with pytest.raises(InputError, match=words):
        prescribed(options.pop("scores"), **options)  # type: ignore[arg-type]


def test_order_of_environments_and_rows() -> None:
    found = prescribed(random_scores(1, 2), pairs=[2, 3])
    assert found.environment.tolist() == [0, 0, 1, 1, 1]
    assert found.environments == (0, 1)
    for (s, t), x in np.ndenumerate(found.scores()[:2, 2:]):
        assert np.isclose(
            x, np.mean([u @ v for u, v in product(found.image[found.rows(s)], found.text[found.rows(t)])])
        )


@pytest.mark.parametrize("exact", [False, True])
def test_a_class_has_one_direction(exact: bool) -> None:
    """Class means leave the environment's mean in one direction, whatever the lengths of the means (rationals: within a right angle)."""
    for lengths in (("8/25", "7/20", "4/5", "9/50"), ("1/2", "1/2", "1/2", "1/2"), ("1/10", "19/20", "9/10", "1/5")):
        scores = np.diag([Fraction(v) for v in lengths])
        layout, share = [{0: 4, 1: 4, 2: 2}, {0: 3, 1: 3, 2: 3}], Fraction(3, 10)
        found = prescribed(scores if exact else scores.astype(float), classes=layout, class_share=share, exact=exact)
        prototypes = [
            {k: np.asarray(v, dtype=float) for k, v in found.prototypes(m).items()} for m in ("image", "text")
        ]
        for c, d in ((0, 1), (0, 2), (1, 2)):
            way = np.array([side[t, c] - side[t, d] for side in prototypes for t in (0, 1)])
            way /= np.linalg.norm(way, axis=1, keepdims=True)
            assert (way @ way.T).min() > (0.1 if exact else 1 - 1e-12)


def test_sizes_of_any_integer_type_and_lengths_with_a_rounding() -> None:
    assert len(prescribed(np.eye(2) / 2, pairs=np.int64(4))) == 4
    assert len(prescribed(np.eye(2) / 2, classes=[{np.int64(1): np.int32(3)}])) == 3
    long = np.eye(20)
    long[0, 0] = 1 + 5e-14  # within the rounding of a matrix of this size
    assert np.abs(prescribed(long).scores() - long).max() < 1e-13


def test_range_of_alignments_is_what_can_be_met() -> None:
    """Both ends named in the message are met, and nothing a little beyond."""
    scores = np.array([[0.5, 0.1], [0.1, 0.3]])
    for options in ({}, {"classes": [{0: 4, 1: 2}], "class_share": 0.3}):
        with pytest.raises(InputError) as caught:
            prescribed(scores, alignment=[9.0], **options)  # type: ignore[arg-type]
        ends = [float(x) for x in re.findall(r"between (\S+) and (\S+) for", str(caught.value))[0]]
        assert ends[0] < 0.1 < ends[1]
        for end, sign in zip(ends, (-1, 1), strict=True):
            inside, outside = end - sign * 1e-5, end + sign * 1e-5
            assert abs(prescribed(scores, alignment=[inside], **options).alignment()[0] - inside) < 1e-12  # type: ignore[arg-type]
            with pytest.raises(InputError, match="between"):
                prescribed(scores, alignment=[outside], **options)  # type: ignore[arg-type]


def test_share_named_is_the_largest() -> None:
    layout = [{0: 40, 1: 2}]
    with pytest.raises(InputError) as caught:
        prescribed(np.eye(2) / 2, classes=layout, class_share=0.9)
    most = float(re.findall(r"at most (\S+) here", str(caught.value))[0])
    prescribed(np.eye(2) / 2, classes=layout, class_share=most - 1e-5)
    with pytest.raises(InputError, match="at most"):
        prescribed(np.eye(2) / 2, classes=layout, class_share=most + 1e-5)


def test_rotation_depends_on_its_seed_and_directions_spread() -> None:
    scores = np.eye(2) / 2
    one, other, still = (prescribed(scores, rotate=r).image for r in (1, 2, None))
    assert not np.allclose(one, other)
    assert np.allclose(one @ one.T, still @ still.T)
    ranks = [np.linalg.matrix_rank(prescribed(scores, pairs=16, directions=k).image) for k in (2, 5)]
    assert ranks == [3, 6]  # the mean and the private directions
