"""Scores merged from shards against the scores of the whole: to rounding in general, to the bit where nothing rounds."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import weakref
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crossmodal.theory.errors import InputError
from crossmodal.theory.workers import WorkerKilled
from crossmodal.vlm_validation.containers import read_container, write_container
from crossmodal.vlm_validation.embedded import default_features
from crossmodal.vlm_validation.features import Features, save_features
from crossmodal.vlm_validation.score_moments import BLOCK, merge_moments, moments_of
from crossmodal.vlm_validation.scores import Scores, estimate_scores, scores_of
from crossmodal.vlm_validation.sweeps import shards as module
from crossmodal.vlm_validation.sweeps.shards import read_shard, shard_files, shard_scores

TITLES = {k: str(k) for k in range(9)}


def silent(_: str) -> None:
    pass


def split(features: Features, folder: Path, cuts: list[int]) -> list[Path]:
    paths = []
    for k, rows in enumerate(np.split(np.random.default_rng(0).permutation(len(features.image)), cuts)):
        paths.append(folder / f"shard_{k}.npz")
        np.savez(
            paths[-1], image=features.image[rows], text=features.text[rows], environment=features.environment[rows]
        )
    return paths


def numbers(scores: Scores) -> str:
    """Every number of a result, and nothing of where it came from."""
    plain = scores.to_dict()
    del plain["provenance"], plain["names"]
    return json.dumps(plain)


def same_bytes(a: Scores, b: Scores) -> bool:
    return a.to_json() == b.to_json()


def assert_close(found: object, wanted: object, rounding: float, where: str = "") -> None:
    if isinstance(wanted, dict):
        assert isinstance(found, dict)
        assert found.keys() == wanted.keys(), where
        for key, value in wanted.items():
            assert_close(found[key], value, rounding, f"{where}/{key}")
    elif isinstance(wanted, list) and wanted and not isinstance(wanted[0], str):
        np.testing.assert_allclose(np.array(found), np.array(wanted), rtol=0, atol=rounding, err_msg=where)
    else:
        assert found == wanted, where


def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    """Scores, U-statistics, S7 intervals, standard errors, variance parts: all fields, up to the documented rounding."""
    features = default_features("high")
    whole = estimate_scores(features, delta=0.1, simultaneous=True)
    paths = split(features, tmp_path, [1, 37, 200, 450])  # the first shard holds one sample
    found = shard_scores(paths, delta=0.1, simultaneous=True, say=silent)
    rounding = 4 * len(features.image) * np.finfo(np.float64).eps
    wanted, got = whole.to_dict(), found.to_dict()
    assert_close(
        got["standard_error"], wanted["standard_error"], 1e4 * rounding
    )  # a root magnifies what it is taken of
    for plain in (wanted, got):
        for name in ("provenance", "names", "standard_error", "dispersion"):
            del plain[name]
    assert_close(got, wanted, rounding)
    assert found.half_width["IT"].tobytes() == whole.half_width["IT"].tobytes()
    assert found.dispersion == pytest.approx(whole.dispersion, abs=rounding)


def test_one_shard_is_the_file(tmp_path: Path) -> None:
    features = default_features("high")
    save_features(tmp_path / "f.npz", features)
    found = shard_scores([tmp_path / "f.npz"])
    assert numbers(found) == numbers(estimate_scores(features))
    assert found.names == tuple(features.name(k) for k in features.environments)


def test_blocks_are_shards_of_a_file() -> None:
    """More rows than a block; mutant: the last block dropped."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2 * BLOCK + 3, 3)).astype(np.float32)
    environment = np.arange(len(rows)) // (BLOCK + 100)
    for k, found in moments_of(rows, rows[::-1], environment).items():
        joint = np.hstack([rows, rows[::-1]])[environment == k].astype(np.float64)
        assert found.count == len(joint)
        np.testing.assert_allclose(found.rows.mean, joint.mean(axis=0), atol=1e-14)
        centred = joint - joint.mean(axis=0)
        np.testing.assert_allclose(found.rows.scatter, centred.T @ centred, rtol=1e-10, atol=1e-8)
        cosines = (joint[:, :3] * joint[:, 3:]).sum(axis=1)
        assert float(found.cosine.scatter[0, 0]) == pytest.approx(cosines.var() * len(joint), rel=1e-12)


def test_exact_where_no_rounding_occurs(tmp_path: Path) -> None:
    """Signed unit vectors in shards of powers of two: all moments are short dyadic numbers."""
    rng = np.random.default_rng(3)
    eye = np.eye(4)
    parts = [rng.choice([-1.0, 1.0], (16, 1)) * eye[rng.integers(4, size=16)] for _ in range(8)]
    image, text, environment = np.vstack(parts[:4]), np.vstack(parts[4:]), np.tile([0, 1], 32)
    whole = estimate_scores(Features(image=image, text=text, environment=environment, label=environment))
    rows = [slice(16 * k, 16 * k + 16) for k in range(4)]
    moments = [moments_of(image[r], text[r], environment[r]) for r in rows]
    for order in permutations(moments):  # pairs of equal size, so every merge halves exactly
        merged = merge_moments(merge_moments(*order[:2]), merge_moments(*order[2:]))
        assert numbers(scores_of(merged, TITLES, {})) == numbers(whole)


def test_threads_do_not_change_the_bytes() -> None:
    """A product of this size is summed in another order by two threads; mutant: `moments_of` without `one_thread`."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3000, 512))
    environment = np.zeros(len(rows), dtype=int)
    seen = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            seen.append(moments_of(rows, rows[::-1], environment)[0].rows.scatter.numpy().tobytes())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert seen[0] == seen[1]


def test_a_shard_left_out_or_twice_is_another_result(tmp_path: Path) -> None:
    paths = split(default_features("high"), tmp_path, [100, 300])
    whole = shard_scores(paths)
    assert np.abs(shard_scores(paths[:2]).con["IT"] - whole.con["IT"]).max() > 1e-4
    with pytest.raises(InputError, match="2 different"):
        shard_scores([paths[0], paths[1], paths[0]])


def test_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    paths = split(default_features("high"), tmp_path, [100, 300])
    (tmp_path / "README.txt").write_text("not a shard")
    assert same_bytes(shard_scores(paths[::-1]), shard_scores(paths))
    assert shard_files([tmp_path]) == paths
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder without"):
        shard_files([tmp_path / "empty"])


def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments of an environment at d = 512 are 8 MiB; of thousands of shards they were all kept until the end."""
    paths = split(default_features("high"), tmp_path, list(range(50, 500, 50)))
    seen: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def counted(path: str, normalise: bool) -> Any:
        gc.collect()
        alive.append(sum(x() is not None for x in seen))
        part = read_shard(path, normalise)
        assert part[0] is not None
        seen.extend(weakref.ref(m) for m in part[0].moments.values())
        return part

    monkeypatch.setattr(module, "read_shard", counted)
    shard_scores(paths)
    assert len(seen) == 10 * 5
    assert max(alive) <= 2 * 5, "the shard before, and what the first one left in the sum"


def test_torn_and_foreign_files_are_set_aside(tmp_path: Path) -> None:
    paths = split(default_features("high"), tmp_path, [100, 300])
    whole = shard_scores(paths)
    torn, foreign = tmp_path / "torn.npz", tmp_path / "foreign.npz"
    torn.write_bytes(paths[1].read_bytes()[:-200])
    np.savez(foreign, accuracy=np.eye(3))
    said: list[str] = []
    found = shard_scores([*paths, torn, foreign], say=said.append)
    assert numbers(found) == numbers(whole)
    assert [entry["file"] for entry in found.provenance["set_aside"]] == ["foreign.npz", "torn.npz"]
    assert "no array 'image'" in said[0]
    assert "torn zip" in said[1]
    assert len(found.provenance["shards"]) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in [*paths, torn, foreign]), (
        "none is renamed"
    )


def test_shards_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    features = default_features("high")
    half = [features.select(features.label % 2 == k) for k in (0, 1)]
    other = replace(half[1], metadata={**half[1].metadata, "checkpoint": "sha256:another"})
    names = replace(half[1], environment_names=tuple(reversed(features.environment_names or ())))
    for changed, word in (
        (other, "checkpoint: sha256:.* in .*a.npz, sha256:another in .*b.npz"),
        (names, "environment_names"),
    ):
        for name, part in (("a", half[0]), ("b", changed)):
            save_features(tmp_path / f"{name}.npz", part)
        with pytest.raises(InputError, match=f"shards of different {word}"):
            shard_scores([tmp_path / "a.npz", tmp_path / "b.npz"])


def test_norms_are_mended_only_on_request(tmp_path: Path) -> None:
    paths = split(default_features("high"), tmp_path, [100, 300])
    whole = shard_scores(paths)
    with np.load(paths[2]) as held:
        arrays = dict(held)
    np.savez(paths[2], **{**arrays, "image": 2 * arrays["image"]})
    with pytest.raises(InputError, match=r"shard_2\.npz: image is not normalised"):
        shard_scores(paths)
    found = shard_scores(paths, normalise=True)
    np.testing.assert_allclose(found.con["IT"], whole.con["IT"], atol=1e-6)
    assert any(note.startswith("shard_2.npz: image was renormalised on request") for note in found.provenance["notes"])


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
    with pytest.raises(InputError, match=r"different width: 3 in .*, 4 in"):
        shard_scores([tmp_path / "3.npz", tmp_path / "4.npz"])


def test_samples_under_two_names_are_refused(tmp_path: Path) -> None:
    paths = split(default_features("high"), tmp_path, [100, 300])
    copy = tmp_path / "copy.npz"
    copy.write_bytes(paths[1].read_bytes())
    with pytest.raises(InputError, match=r"shard_1\.npz: the same samples as .*copy"):
        shard_scores([*paths, copy])


@pytest.mark.parametrize("text", [True, False])
def test_samples_that_are_in_two_shards_are_told(tmp_path: Path, text: bool) -> None:
    """Not refused: one picture with two captions has its id twice.  Mutant: every shard compared with the one before it alone."""
    whole = default_features("high")
    whole = replace(whole, ids=np.array([f"p{k}" for k in range(len(whole))]) if text else np.arange(len(whole)))
    mixed = np.random.default_rng(0).permutation(len(whole))
    for k, part in enumerate((slice(200), slice(200, 350), slice(190, 500), slice(440, 500))):
        save_features(tmp_path / f"{k}.npz", whole.select(mixed[part]))
    notes = shard_scores([tmp_path / f"{k}.npz" for k in range(4)], progress=False).provenance["notes"]
    assert [note.partition(" of its samples")[0] for note in notes] == ["2.npz: 160 ids", "3.npz: 60 ids"]
    assert not shard_scores([tmp_path / f"{k}.npz" for k in range(2)], progress=False).provenance["notes"]


def test_shards_that_begin_alike_are_two(tmp_path: Path) -> None:
    """Mutant: the digest of the first rows alone."""
    features = default_features("high")
    for k in range(2):
        save_features(tmp_path / f"{k}.npz", features.select(np.array([0, 1, 2, 3, 5 + k, 7 + k, 20, 21])))
    assert shard_scores(shard_files([tmp_path])).counts.sum() == 16


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


def test_a_killed_worker_is_said_and_a_shard_that_kills_every_worker_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = split(default_features("high"), tmp_path, [100, 300])
    whole, said = shard_scores(paths), list[str]()

    def outcomes(function: Any, jobs: dict[str, Any], workers: int, lost: Any) -> Iterator[tuple[str, Any]]:
        """The second shard costs a worker, then the order is another one."""
        lost(list(jobs)[1])
        for path in reversed(jobs):
            yield path, function(*jobs[path])

    monkeypatch.setattr(module, "outcomes", outcomes)
    assert same_bytes(shard_scores(paths, workers=2, say=said.append), whole)
    assert said == [f"a worker was killed; {paths[1].resolve()} is read again"]

    def deadly(function: Any, jobs: dict[str, Any], workers: int, lost: Any) -> Iterator[tuple[str, Any]]:
        yield next(iter(jobs)), function(*jobs[next(iter(jobs))])
        raise WorkerKilled(list(jobs)[1], -signal.SIGKILL, 5)

    monkeypatch.setattr(module, "outcomes", deadly)
    with pytest.raises(
        InputError, match=r"shard_1\.npz: the worker that read this shard was killed by SIGKILL 5 times"
    ):
        shard_scores(paths, workers=2, say=silent)


def test_names_of_environments_fit_the_ids(tmp_path: Path) -> None:
    features = default_features("high")
    (path,) = split(features, tmp_path, [])
    arrays, _, _ = read_container(path)
    names = [features.name(k) for k in features.environments]
    for wrong, word in ((names[:-1], "environment is 4 in"), ([*names[:-1], names[0]], "more than once")):
        write_container(path, arrays, {"environment_names": wrong})
        with pytest.raises(InputError, match=word):
            read_shard(str(path))


def test_absent_files_and_workers(tmp_path: Path) -> None:
    paths = split(default_features("high"), tmp_path, [100])
    with pytest.raises(InputError, match="no such file on the machine"):
        read_shard(str(tmp_path / "gone.npz"))
    for name in ("a" * 300 + ".npz", "a/" * 3000 + ".npz"):
        assert shard_files([tmp_path / name]) == [tmp_path / name]
        with pytest.raises(InputError, match="no such file on the machine"):
            read_shard(str(tmp_path / name))
    with pytest.raises(InputError, match="0 workers"):
        shard_scores(paths, workers=0)


@pytest.mark.slow
def test_a_worker_killed_for_real(tmp_path: Path) -> None:
    """A process pool under SIGKILL: the command goes on and writes the bytes of an undisturbed run, which needs no pool."""
    import subprocess
    import sys
    import time

    from click.testing import CliRunner

    from crossmodal.cli import main

    rng = np.random.default_rng(0)
    for k in range(4):
        rows = rng.normal(size=(4000, 64))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        np.savez(tmp_path / f"{k}.npz", image=rows, text=rows[::-1], environment=np.arange(len(rows)) % 2)
    outputs = [["--json", str(tmp_path / f"{n}.json"), "--figure", str(tmp_path / f"{n}.png")] for n in ("a", "b")]
    alone = CliRunner().invoke(main, ["scores", str(tmp_path), *outputs[0]])
    assert alone.exit_code == 0, alone.output
    command = [sys.executable, "-m", "crossmodal.cli", "scores", str(tmp_path), "--workers", "2", *outputs[1]]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    killed = 0
    while run.poll() is None and not killed:
        for child in children(run.pid):
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(child, signal.SIGKILL)
                killed = child
                break
        time.sleep(0.05)
    _, err = run.communicate(timeout=120)
    assert killed
    assert run.returncode == 0, err
    assert re.search(r"a worker was killed; .*/\d\.npz is read again", err)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def children(pid: int) -> list[int]:
    return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_command_reads_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from crossmodal.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").mkdir()
    paths = split(default_features("high"), tmp_path / "shards", [100, 300])
    done = CliRunner().invoke(main, ["scores", "shards"])
    assert done.exit_code == 0, done.output
    assert "3 shards, 500 pairs" in done.stdout
    record = json.loads(Path("shards.scores.json").read_text())
    assert record == shard_scores(paths).to_dict()
    assert Path("shards.scores.png").is_file()
    paths[1].write_bytes(paths[1].read_bytes()[:999])
    done = CliRunner().invoke(main, ["scores", *map(str, paths), "--json", "-"])
    assert done.exit_code == 1, "the scores of the rest are no success"
    assert "set aside" in done.stderr
    assert json.loads(done.stdout)["provenance"]["set_aside"][0]["file"] == "shard_1.npz"
