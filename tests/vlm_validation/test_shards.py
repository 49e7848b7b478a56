"""Scores merged from shards against the scores of the whole: to rounding in general, to the bit where nothing rounds."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.embedded import default_features
from crossmodal.vlm_validation.features import Features
from crossmodal.vlm_validation.scores import estimate_scores
from crossmodal.vlm_validation.sweeps.shards import ShardScores, merge_moments, scores_of, shard_moments, shard_scores


def split(features: Features, folder: Path, cuts: list[int]) -> list[Path]:
    paths = []
    for k, rows in enumerate(np.split(np.random.default_rng(0).permutation(len(features.image)), cuts)):
        paths.append(folder / f"shard_{k}.npz")
        np.savez(
            paths[-1], image=features.image[rows], text=features.text[rows], environment=features.environment[rows]
        )
    return paths


def same_bytes(a: ShardScores, b: ShardScores) -> bool:
    pairs = [*((a.con[key], b.con[key]) for key in a.con), (a.clv, b.clv), (a.cosine_variance, b.cosine_variance)]
    return a.environments == b.environments and all(x.tobytes() == y.tobytes() for x, y in pairs)


def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    features = default_features("high")
    whole = estimate_scores(features)
    found = shard_scores(split(features, tmp_path, [1, 37, 200, 450]))  # the first shard holds one sample
    rounding = 4 * len(features.image) * np.finfo(np.float64).eps  # entries at most 1, each a sum of N terms
    assert found.environments == whole.environments
    assert np.array_equal(found.counts, whole.counts)
    for key, matrix in whole.con.items():
        np.testing.assert_allclose(found.con[key], matrix, rtol=0, atol=rounding)
    np.testing.assert_allclose(found.clv, whole.clv, rtol=0, atol=rounding)
    np.testing.assert_allclose(found.cosine_variance, whole.cosine_variance, rtol=0, atol=rounding)


def test_exact_where_no_rounding_occurs(tmp_path: Path) -> None:
    """Signed unit vectors in shards of powers of two: all moments are short dyadic numbers."""
    rng = np.random.default_rng(3)
    eye = np.eye(4)
    parts = [rng.choice([-1.0, 1.0], (16, 1)) * eye[rng.integers(4, size=16)] for _ in range(8)]
    features = Features(
        image=np.vstack(parts[:4]),
        text=np.vstack(parts[4:]),
        environment=np.tile([0, 1], 32),
        label=np.tile([0, 1], 32),
    )
    paths = []
    for k in range(4):
        rows = slice(16 * k, 16 * k + 16)
        paths.append(tmp_path / f"{k}.npz")
        np.savez(
            paths[-1], image=features.image[rows], text=features.text[rows], environment=features.environment[rows]
        )
    whole = estimate_scores(features)
    ordered = [0, 1, 2, 3]  # pairs of equal size, so every merge halves exactly
    moments = [shard_moments(str(paths[k])) for k in ordered]
    found = scores_of(merge_moments(merge_moments(*moments[:2]), merge_moments(*moments[2:])))
    for key, matrix in whole.con.items():
        assert found.con[key].tobytes() == matrix.tobytes()
    assert np.array_equal(found.clv, whole.clv)
    for order in permutations(moments):
        again = scores_of(merge_moments(merge_moments(*order[:2]), merge_moments(*order[2:])))
        assert same_bytes(again, found)


def test_a_shard_left_out_or_twice_is_another_result(tmp_path: Path) -> None:
    paths = split(default_features("high"), tmp_path, [100, 300])
    whole = shard_scores(paths)
    assert np.abs(shard_scores(paths[:2]).con["IT"] - whole.con["IT"]).max() > 1e-4
    with pytest.raises(InputError, match="2 different"):
        shard_scores([paths[0], paths[1], paths[0]])


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cluster_gives_the_bytes_of_one_machine(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    paths = split(default_features("high"), tmp_path, [40, 90, 200, 350])
    alone = shard_scores(paths)
    assert same_bytes(alone, shard_scores(paths, workers=2))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        assert same_bytes(alone, shard_scores(paths, dask=cluster.scheduler_address))
        np.savez(tmp_path / "bad.npz", image=np.eye(4) * 2, text=np.eye(4), environment=np.arange(4))
        with pytest.raises(InputError, match=r"bad\.npz.*not normalised"):
            shard_scores([*paths, tmp_path / "bad.npz"], dask=cluster.scheduler_address)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.full((4, 4), np.nan)}, "NaN"),
        ({"text": np.eye(4)[:3]}, "shape"),
        ({"environment": np.array([0, 0, -1, 0])}, "-1"),
        ({"environment": None}, "no array 'environment'"),
        ({"image": np.eye(4)[:, :3] + 0.0, "text": np.eye(4)}, "zero vector|shape"),
    ],
)
def test_bad_shards_are_named(tmp_path: Path, change: dict[str, np.ndarray | None], message: str) -> None:
    arrays = {"image": np.eye(4), "text": np.eye(4), "environment": np.arange(4)} | change
    path = tmp_path / "shard.npz"
    np.savez(path, **{name: x for name, x in arrays.items() if x is not None})
    with pytest.raises(InputError, match=rf"shard\.npz.*({message})"):
        shard_scores([path])
    with pytest.raises(InputError, match="0 shards"):
        shard_scores([])


def test_widths_must_agree(tmp_path: Path) -> None:
    for d in (3, 4):
        np.savez(tmp_path / f"{d}.npz", image=np.eye(d), text=np.eye(d), environment=np.zeros(d, dtype=int))
    with pytest.raises(InputError, match=r"widths \[3, 4\]"):
        shard_scores([tmp_path / "3.npz", tmp_path / "4.npz"])


def test_samples_under_two_names_are_refused(tmp_path: Path) -> None:
    paths = split(default_features("high"), tmp_path, [100, 300])
    copy = tmp_path / "copy.npz"
    copy.write_bytes(paths[1].read_bytes())
    with pytest.raises(InputError, match=r"the same samples as .*shard_1"):
        shard_scores([*paths, copy])


def test_an_environment_of_one_sample_is_refused(tmp_path: Path) -> None:
    features = default_features("high")
    rows = np.concatenate([features.rows(0), features.rows(1)[:1]])
    np.savez(
        tmp_path / "one.npz",
        image=features.image[rows],
        text=features.text[rows],
        environment=features.environment[rows],
    )
    with pytest.raises(InputError, match="environment 1 has one sample"):
        shard_scores([tmp_path / "one.npz"])


def test_a_killed_process_costs_its_shard_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pool breaks under one shard; a second one computes what is missing, and the result is the same."""
    from concurrent.futures import Future
    from concurrent.futures.process import BrokenProcessPool

    from crossmodal.vlm_validation.sweeps import shards as module

    pools = []

    class Pool:
        def __init__(self, *_: object, **__: object) -> None:
            self.asked: list[str] = []
            pools.append(self)

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, function: Any, path: str) -> Future[Any]:
            self.asked.append(path)
            future: Future[Any] = Future()
            if len(pools) == 1 and len(self.asked) == 2:
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result(function(path))
            return future

    paths = split(default_features("high"), tmp_path, [100, 300])
    whole = shard_scores(paths)
    monkeypatch.setattr(module, "ProcessPoolExecutor", Pool)
    assert same_bytes(shard_scores(paths, workers=2), whole)
    assert [len(pool.asked) for pool in pools] == [3, 1]
