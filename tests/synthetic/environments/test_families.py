"""Every family has the property it is named after, measured apart from how it was made."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.environments import InfeasibleScores, Pairs, families, prescribed
from crossmodal.synthetic.learners import forgetting, learn_sequence, least_norm
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.features import Features, load_features

exact = arithmetic("exact")
ALL = {
    "gaussian": lambda seed: families.gaussian(seed),
    "spiked": lambda seed: families.spiked(seed),
    "drifting": lambda seed: families.drifting(seed, "1/20"),
}


@pytest.mark.parametrize("name", list(ALL))
def test_same_seed_same_bytes_and_readable_as_features(name: str, tmp_path: Path) -> None:
    first, again, other = (ALL[name](seed) for seed in (1, 1, 2))
    for path, pairs in ((tmp_path / "a.npz", first), (tmp_path / "b.npz", again), (tmp_path / "c.npz", other)):
        pairs.save(path)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes() != (tmp_path / "c.npz").read_bytes()
    loaded = load_features(tmp_path / "a.npz")
    assert loaded.content_hash() == Features(**first.fields()).content_hash()
    assert np.array_equal(loaded.image, first.image)
    assert loaded.metadata["generator"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz", "c.npz"]
    with pytest.raises(InputError, match="existing folder"):
        first.save(tmp_path / "nowhere" / "a.npz")


def spread_along(pairs: Pairs, direction: np.ndarray) -> float:
    return float(np.var(pairs.image @ direction))


def test_spiked_parts() -> None:
    plain = families.spiked(0, gap=0.0)
    apart = families.spiked(0, gap=2.0)
    distance = [float(np.linalg.norm(p.image.mean(0) - p.text.mean(0))) for p in (plain, apart)]
    assert distance[1] > 4 * distance[0]  # the modality gap

    def within(pairs: Pairs) -> float:  # alignment beyond that of the means: S8
        own = np.diag(pairs.scores()[:5, 5:])
        return float((pairs.alignment() - own).mean())

    assert within(families.spiked(0, shared=1.0, pairs=400)) > 2 * within(families.spiked(0, shared=0.3, pairs=400))

    def private_correlation(pairs: Pairs, seed: int) -> float:
        """Largest canonical correlation of the residuals that the shared part leaves."""
        basis = np.linalg.qr(np.random.default_rng([4, seed]).standard_normal((32, 13)))[0].T
        a, b = pairs.image @ basis[4:8].T, pairs.text @ basis[8:12].T
        return float(np.corrcoef(a[:, 0], b[:, 0])[0, 1])

    assert private_correlation(families.spiked(3, nuisance=0.9, pairs=400), 3) > 0.8
    assert abs(private_correlation(families.spiked(3, nuisance=0.0, pairs=400), 3)) < 0.1
    assert private_correlation(families.spiked(3, nuisance=-0.9, pairs=400), 3) < -0.8
    with pytest.raises(InputError, match="at most 10"):
        families.spiked(0, latent=11)
    with pytest.raises(InputError, match="nuisance"):
        families.spiked(0, nuisance=2)


def test_gaussian_spread() -> None:
    lengths = [np.linalg.norm(families.gaussian(0, spread=s).means(), axis=1).mean() for s in (0.2, 1.0, 4.0)]
    assert lengths[0] > lengths[1] > lengths[2]
    assert set(families.gaussian(0, classes=3).label) == {0, 1, 2}


def total_forgetting(pairs: Pairs, order: tuple[int, ...]) -> Fraction:
    """Forgetting of the least-norm learner, one row of each environment (rank one) or all of them (blocks)."""
    d = pairs.dimension
    teacher = exact.array([[k + 1] for k in range(d)])
    tasks = []
    for t in order:
        rows = np.unique(pairs.image[pairs.rows(t)].astype(float), axis=0, return_index=True)[1]
        x = pairs.image[pairs.rows(t)][sorted(rows)]
        tasks.append((x, x @ teacher))
    found = forgetting(learn_sequence(exact.array([[0]] * d), tasks, least_norm, exact), tasks, exact)
    return sum((f[0, 0] for f in found), Fraction(0))


def test_orthogonal_and_identical_environments_forget_nothing() -> None:
    for make in (families.orthogonal, families.identical):
        assert total_forgetting(make(3, exact=True), (0, 1, 2)) == 0
    half = families.rank_one(families.equal_cosines(3, Fraction(1, 2)), exact=True)
    assert total_forgetting(half, (0, 1, 2)) > 0


def test_rank_one_has_the_cosines() -> None:
    gram = np.array([[1, Fraction(3, 5), 0], [Fraction(3, 5), 1, Fraction(4, 5)], [0, Fraction(4, 5), 1]], dtype=object)
    found = families.rank_one(gram, exact=True)
    means = found.means()
    assert (means[:3] @ means[:3].T == gram).all()
    assert all((found.image[k] == found.text[k]).all() for k in range(len(found)))
    assert np.linalg.matrix_rank(found.image[found.rows(1)].astype(float)) == 1
    with pytest.raises(InfeasibleScores):
        families.rank_one(families.equal_cosines(3, -0.9))
    with pytest.raises(InputError, match="diagonal 1"):
        families.rank_one(np.eye(3) / 2)
    for shape in ((2, 3), (3, 2), (2,), (0, 0)):
        with pytest.raises(InputError, match="cosines of shape"):
            families.rank_one(np.ones(shape))


def test_block_rank_has_the_principal_angles() -> None:
    first, second = families.equal_cosines(2, Fraction(4, 5)), families.equal_cosines(2, Fraction(5, 13))
    found = families.block_rank([first, second], exact=True)
    rows = [found.image[found.rows(t)].astype(float) for t in (0, 1)]
    for x in rows:
        assert np.allclose(x @ x.T, np.eye(2))
    assert np.allclose(np.linalg.svd(rows[0] @ rows[1].T)[1], [4 / 5, 5 / 13])
    again = families.block_rank([first.astype(float), second.astype(float)])
    assert np.allclose(np.linalg.svd(again.image[:2] @ again.image[2:].T)[1], [4 / 5, 5 / 13])
    assert total_forgetting(found, (0, 1)) > 0
    with pytest.raises(InfeasibleScores):
        families.block_rank([families.equal_cosines(2, Fraction(6, 5))], exact=True)


@pytest.mark.parametrize("parameter", ["0", "1/20", "1/10"])
def test_drift_has_the_parameter(parameter: str) -> None:
    e = Fraction(parameter)
    found = families.drifting(4, parameter, exact=True, pairs=2)
    assert families.transition_parameter(found, "1/2", "1/2") == e
    scores = found.scores()
    off = [abs(scores[k + s, k + t] - Fraction(1, 2)) for k in (0, 5) for s in range(5) for t in range(5) if s != t]
    assert max(off) == e  # the oracle: entry by entry
    numbers = families.drifting(4, parameter)
    assert abs(families.transition_parameter(numbers, 0.5, 0.5) - float(e)) < 1e-14
    assert families.transition_parameter(found, "2/5", "1/2") > e  # measured, not remembered
    with pytest.raises(InfeasibleScores):
        families.drifting(4, "3/5")


def test_sweep_interpolates() -> None:
    ends = [np.kron(np.ones((2, 2), dtype=int), families.equal_cosines(3, c)) for c in (0, 1)]
    seen = []
    for x, pairs in families.similarity_sweep(ends[0], ends[1], 4, exact=True, pairs=2):
        seen.append(x)
        assert (pairs.scores() == (1 - x) * ends[0] + x * ends[1]).all()
    assert seen == [0, Fraction(1, 3), Fraction(2, 3), 1]
    values = [x for x, _ in families.similarity_sweep(ends[0], ends[1], 3)]
    assert values == [0, 0.5, 1]
    with pytest.raises(InputError, match="at least 2"):
        next(families.similarity_sweep(ends[0], ends[1], 1))


def test_tasks_of_pairs() -> None:
    found = families.orthogonal(2, exact=True)
    teacher = [[2]] * found.dimension
    task = found.task(1, teacher, p=Fraction(1, 2), q=Fraction(1, 2))
    assert (task.target == found.image[found.rows(1)] @ exact.array(teacher)).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: families.spiked(0, shared=0, private=0, gap=0), "not all 0"),
        (lambda: families.spiked(0, gap=float("nan")), "finite sizes"),
        (lambda: families.spiked(0, environments=0), "positive counts"),
        (lambda: families.spiked(0, pairs=0), "positive counts"),
        (lambda: families.spiked(0, classes=0), "positive counts"),
        (lambda: families.spiked(0, dimension=12), "at most 3"),
        (lambda: families.gaussian(0, spread=float("inf")), "finite spread"),
        (lambda: families.gaussian(0, pairs=0), "positive counts"),
        (lambda: families.drifting(0, "-1/20"), "not negative"),
        (lambda: families.drifting(0, float("nan")), "transition parameter nan"),
        (lambda: families.drifting(0, "nan"), "transition parameter nan"),
        (lambda: families.drifting(0, "1/0"), "transition parameter 1/0"),
        (lambda: families.drifting(0, "1/20", cross="inf"), "cross inf"),
        (lambda: families.drifting(0, "1/20", environments=1), "at least two"),
        (lambda: families.orthogonal(0), "diagonal 1"),
        (lambda: families.rank_one(np.ones(3)), "diagonal 1"),
        (lambda: families.rank_one([[float("nan")]]), "diagonal 1"),
        (lambda: families.block_rank([]), "0 matrices"),
        (lambda: families.block_rank([np.eye(2), np.eye(3)]), r"of \[2, 3\] environments"),
        (lambda: families.block_rank([np.ones(3)]), "diagonal 1"),
    ],
)  # fmt: skip
def test_families_that_cannot_be_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_directions_computed_in_float_are_accepted() -> None:
    a = np.random.default_rng(0).standard_normal((4, 6))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    gram = a @ a.T
    assert not (gram.diagonal() == 1).all()
    found = families.rank_one(gram)
    assert np.abs(found.scores() - np.kron(np.ones((2, 2)), gram)).max() < 1e-14
    assert np.ptp(found.image[found.rows(0)], axis=0).max() < 1e-7
    assert len(families.block_rank([gram, gram])) == 8
    assert len(families.identical(1)) == 2  # one environment is enough


def test_spiked_parts_are_of_the_sizes_asked_for() -> None:
    """Along the axis of the gap an image has `gap` and its text the opposite; private latents have one variance whatever their correlation."""
    found = families.spiked(3, gap=0.7, nuisance=0.6, pairs=400)
    basis = np.linalg.qr(np.random.default_rng([4, 3]).standard_normal((32, 13)))[0].T
    images, texts = found.image @ basis.T, found.text @ basis.T
    scale = images[:, 12] / 0.7  # what normalising divided by
    assert scale.min() > 0
    assert texts[:, 12].max() < 0
    shared = images[:, :4] / scale[:, None], texts[:, :4] / (-texts[:, 12] / 0.7)[:, None]
    assert np.allclose(*shared)  # one scene
    assert np.abs(images[:, 8:12]).max() < 1e-12
    assert np.abs(texts[:, 4:8]).max() < 1e-12
    first, second = images[:, 4:8] / scale[:, None], texts[:, 8:12] / (-texts[:, 12] / 0.7)[:, None]
    for part in (first, second):
        assert abs(part.var() / (0.25 / 4) - 1) < 0.08
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1] - 0.6) < 0.05


def test_classes_of_random_families_differ() -> None:
    """Classes are apart by more than chance, in the same way in every environment."""
    for make in (families.gaussian, families.spiked):
        found = make(2, pairs=400, classes=2)
        way = np.array([found.prototypes()[t, 0] - found.prototypes()[t, 1] for t in range(5)])
        assert np.linalg.norm(way.mean(0)) > 0.2


def test_drift_goes_either_way_and_reports_text_too() -> None:
    signs = set()
    for seed in range(8):
        scores = families.drifting(seed, "1/20", environments=2, exact=True, pairs=2).scores()
        for k in (0, 2):  # the only pair meets the parameter
            assert abs(scores[k, k + 1] - Fraction(1, 2)) == Fraction(1, 20)
            signs.add(scores[k, k + 1] > Fraction(1, 2))
    assert signs == {True, False}
    wide = np.kron(np.eye(2, dtype=int), families.equal_cosines(2, 0))
    scores = wide * Fraction(9, 10)
    scores[2, 3] = scores[3, 2] = Fraction(3, 10)  # texts alone drift
    assert families.transition_parameter(prescribed(scores, exact=True), 0, 0) == Fraction(3, 10)


def test_pairs_in_numbers() -> None:
    """CLV over matched pairs only, targets of the fused feature, what is told of the features."""
    found = families.spiked(1, nuisance=0.5)
    own = [
        np.mean([u @ v for u, v in zip(found.image[r], found.text[r], strict=True)]) for r in map(found.rows, range(5))
    ]
    assert np.allclose(found.alignment(), own)
    task = found.task(2, np.ones((32, 1)), p=0.25, q=0.5)
    rows = found.rows(2)
    assert np.allclose(task.target.numpy(), (0.25 * found.image[rows] + 0.5 * found.text[rows]).sum(1)[:, None])
    assert np.allclose(task.fused(0.25, 0.5).sum(-1).numpy(), task.target[:, 0].numpy())
    assert found.fields()["metadata"]["normalised"] is True


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("crossmodal.synthetic.environments.pairs.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        families.orthogonal(2).save(tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())
