"""Every family has the property it is named after, measured apart from how it was made."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.environments import InfeasibleScores, Pairs, families
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
    for x, pairs in families.similarity_sweep(ends[0], ends[1], 4, exact=True, pairs=2):
        assert (pairs.scores() == (1 - x) * ends[0] + x * ends[1]).all()
    values = [x for x, _ in families.similarity_sweep(ends[0], ends[1], 3)]
    assert values == [0, 0.5, 1]
    with pytest.raises(InputError, match="at least 2"):
        next(families.similarity_sweep(ends[0], ends[1], 1))


def test_tasks_of_pairs() -> None:
    found = families.orthogonal(2, exact=True)
    teacher = [[2]] * found.dimension
    task = found.task(1, teacher, p=Fraction(1, 2), q=Fraction(1, 2))
    assert (task.target == found.image[found.rows(1)] @ exact.array(teacher)).all()
