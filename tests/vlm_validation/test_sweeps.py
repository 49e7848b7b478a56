"""Sweeps: cells believed only when whole, resumed from weights or by training again, and nobody's death loses one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import embedded_models
from crossmodal.vlm_validation.sweeps import cells as store_of
from crossmodal.vlm_validation.sweeps import runner
from crossmodal.vlm_validation.sweeps.cells import Cell, Store, prefixes
from crossmodal.vlm_validation.sweeps.merge import merge
from crossmodal.vlm_validation.sweeps.runner import Sweep, _client, run_sweep
from crossmodal.vlm_validation.training.data import Choice
from crossmodal.vlm_validation.training.loop import Trainer
from crossmodal.vlm_validation.training.protocol import Protocol

pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so nothing was trained")

CHOICE = Choice(environments=3, train=6, judged=6)
SWEEP = Sweep(CHOICE, (Protocol(epochs=1, batch=0, weight=0.0), Protocol(epochs=1, batch=0, weight=2.0)), (0, 1))
CONFIG = """
seeds = [0, 1]
[scenes]
environments = 3
train = 6
judged = 6
[[protocol]]
epochs = 1
batch = 0
weight = [0.0, 2.0]
"""


def silent(_: str) -> None: ...


def tables(folder: Path, sweep: Sweep = SWEEP) -> list[bytes]:
    return [path.read_bytes() for path in merge(sweep, folder, say=silent)]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors")
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_sweep(SWEEP, folder, progress=False)
    return folder


def test_prefixes_depth_first() -> None:
    tree = prefixes(3)
    assert len(tree) == 1 + 3 + 6 + 6
    assert tree[:5] == [(), (0,), (0, 1), (0, 1, 2), (0, 2)]
    assert prefixes(3, [(2, 1, 0)]) == [(), (2,), (2, 1), (2, 1, 0)]
    for bad in ([(0, 1)], [(0, 0, 1)], [(0, 1, 3)]):
        with pytest.raises(InputError, match="order"):
            prefixes(3, bad)


def test_subtrees_hold_every_cell_once() -> None:
    cells = SWEEP.cells()
    assert len(cells) == 2 * 2 * 16
    assert len({cell.name for cell in cells}) == len(cells)
    assert sorted(cell.name for unit in SWEEP.subtrees() for cell in unit) == sorted(cell.name for cell in cells)
    assert len(SWEEP.subtrees()) == 2 * 2 * 3


def test_every_part_of_the_configuration_names_another_cell() -> None:
    cell = Cell(CHOICE, Protocol(), 0, (0, 1))
    others = [
        Cell(Choice(environments=3, train=6, judged=6, seed=1), Protocol(), 0, (0, 1)),
        Cell(Choice("low", environments=3, train=6, judged=6), Protocol(), 0, (0, 1)),
        Cell(CHOICE, Protocol(weight=0.6), 0, (0, 1)),
        Cell(CHOICE, Protocol(), 1, (0, 1)),
        Cell(CHOICE, Protocol(), 0, (1, 0)),
    ]
    assert len({c.name for c in (cell, *others)}) == 6


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_every_file_of_the_checkpoint_names_another_cell(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: weights alone, so that another activation or vocabulary gets the old one's numbers."""
    cell = Cell(CHOICE, Protocol(), 0, (0, 1))
    names = {cell.name}
    for k, change in enumerate((b"", b" ")):
        folder = shutil.copytree(embedded_models.EMBEDDED, tmp_path / str(k))
        with (folder / "clip_high" / file).open("ab") as handle:
            handle.write(change)
        monkeypatch.setattr(embedded_models, "EMBEDDED", folder)
        names.add(cell.name)
    assert len(names) == 2, "a copy is the same, a change another one"


@pytest.mark.parametrize("mode", ["frozen", "lora"])
def test_versions_of_what_computes_name_another_cell(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without low-rank updates nobody asks for peft."""
    cell, right = Cell(CHOICE, Protocol(mode=mode), 0, (0,)), store_of._version
    names = [cell.name]
    for package in ("numpy", "torch", "transformers", "peft"):
        monkeypatch.setattr(store_of, "_version", lambda name, package=package: right(name) + "+" * (name == package))
        names.append(cell.name)
    assert len(set(names)) == (5 if mode == "lora" else 4)
    monkeypatch.undo()
    with pytest.raises(InputError, match="nosuch is not installed"):
        store_of._version("nosuch")


def test_a_torn_cell_that_another_run_has_just_set_aside(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    store, cell, free = Store(tmp_path, said.append), SWEEP.cells()[3], store_of._free
    store.path(cell).write_text("{torn")

    def late(path: Path) -> Path:
        os.replace(path, tmp_path / "by another run")
        return free(path)

    monkeypatch.setattr(store_of, "_free", late)
    assert store.read(cell) is None
    assert said == []
    assert [path.name for path in tmp_path.iterdir()] == ["by another run"]


def test_finished_cells_are_skipped(undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trains(*_: object, **__: object) -> None:
        raise AssertionError("a finished cell was computed again")

    monkeypatch.setattr(runner, "Trainer", trains)
    before = contents(undisturbed)
    run_sweep(SWEEP, undisturbed, progress=False)
    assert contents(undisturbed) == before


def damage(kind: str, path: Path, other: Path) -> None:
    if kind == "torn":
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "another cell's":
        path.write_bytes(other.read_bytes())
    elif kind == "another program's":
        path.write_text('{"result": 1}')
    elif kind == "a list":
        path.write_text("[1, 2]")
    elif kind == "brackets":
        path.write_text("[" * 100_000)
    else:
        record = json.loads(path.read_text())
        record["unseen"]["ce"][0] += 1e-9
        path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "kind", ["torn", "empty", "another cell's", "another program's", "a list", "brackets", "edited"]
)
def test_what_cannot_be_believed_is_set_aside_and_said(undisturbed: Path, tmp_path: Path, kind: str) -> None:
    for name, content in contents(undisturbed).items():
        (tmp_path / name).write_bytes(content)
    store, said = Store(tmp_path), []
    cells = SWEEP.cells()
    path = store.path(cells[7])
    damage(kind, path, store.path(cells[8]))
    damaged = path.read_bytes()
    with pytest.raises(InputError, match="missing, 1 of 64 cells"):
        merge(SWEEP, tmp_path, say=said.append)
    assert len(said) == 1
    assert path.name in said[0]
    assert "set aside" in said[0]
    assert [p.read_bytes() for p in tmp_path.glob("*set-aside*")] == [damaged]
    run_sweep(SWEEP, tmp_path, progress=False)
    assert contents(tmp_path) == contents(undisturbed)
    assert tables(tmp_path) == tables(undisturbed)


@pytest.mark.parametrize("mode", ["frozen", "lora"])
@pytest.mark.parametrize("kept", ["weights", "no weights", "wrong weights"])
def test_a_cell_goes_on_from_weights_or_trains_again(
    tmp_path: Path, mode: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = Protocol(mode=mode, epochs=1, batch=3, encoder_rate=0.1)
    sweep = Sweep(CHOICE, (protocol,), orders=((2, 0, 1),), keep_weights=kept != "no weights")
    run_sweep(sweep, tmp_path, progress=False)
    whole, store = tables(tmp_path, sweep), Store(tmp_path)
    last = sweep.cells()[-1]
    store.path(last).unlink()
    if kept == "wrong weights":
        store.weights_path(last.parent).write_bytes(store.weights_path(last).read_bytes())
    stages: list[tuple[int, ...]] = []
    original = Trainer.stage

    def counted(self: Trainer, state: object, prefix: tuple[int, ...]) -> object:
        stages.append(tuple(prefix))
        return original(self, state, prefix)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "stage", counted)
    run_sweep(sweep, tmp_path, progress=False, say=silent)
    expected = {"weights": [(2, 0, 1)], "no weights": [(2,), (2, 0), (2, 0, 1)], "wrong weights": [(2, 0), (2, 0, 1)]}
    assert stages == expected[kept]
    assert tables(tmp_path, sweep) == whole
    assert any(tmp_path.glob("*.safetensors")) == (kept != "no weights")


def test_a_diverging_run_costs_its_own_subtrees(tmp_path: Path) -> None:
    bad = Protocol(mode="full", epochs=1, batch=0, encoder_rate=1e30)
    sweep = Sweep(CHOICE, (bad, SWEEP.protocols[0]))
    with pytest.raises(InputError, match=r"failed: 3 of 6 subtrees.*diverged"):
        run_sweep(sweep, tmp_path, progress=False)
    finished = [cell for cell in sweep.cells() if Store(tmp_path).read(cell)]
    assert len(finished) == 16 + 1  # all of the other protocol's, and the start, which was not trained


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_that_of_the_missing_cells_as_they_come(
    tmp_path: Path, workers: int, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutants: whole subtrees in the total, of which most is there; nothing before the end of a subtree; an empty bar where nothing is missing."""
    for name, content in contents(undisturbed).items():
        (tmp_path / name).write_bytes(content)
    bars: list[Any] = []

    class Bar:
        def __init__(self, total: int, title: str, show: bool) -> None:
            self.total, self.show, self.calls = total, show, []
            bars.append(self)

        def __enter__(self) -> Any:
            return self.calls.append

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(runner, "progress_bar", Bar)
    run_sweep(SWEEP, tmp_path, workers=workers)
    store = Store(tmp_path)
    for cell in SWEEP.cells()[7:9] + SWEEP.cells()[40:41]:
        store.path(cell).unlink()
    run_sweep(SWEEP, tmp_path, workers=workers)
    assert [(bar.total, bar.show, sum(bar.calls)) for bar in bars] == [(0, False, 0), (3, True, 3)]
    if workers == 1:
        monkeypatch.setattr(runner, "LOOKS", 0.01)
        for cell in SWEEP.cells():
            store.path(cell).unlink()
        run_sweep(Sweep(CHOICE, SWEEP.protocols[:1], orders=((2, 0, 1),)), tmp_path)  # a single subtree
        assert sum(bars[-1].calls) == bars[-1].total == 4
        assert sum(n > 0 for n in bars[-1].calls) > 1, "before the end of the subtree"


def test_tables_tell_no_time_no_host_no_path(undisturbed: Path) -> None:
    import platform

    for table in tables(undisturbed):
        for word in ("second", "time", "host", platform.node(), str(undisturbed)):
            assert word.encode() not in table
    header, first, *rest = tables(undisturbed)[0].decode().splitlines()
    assert header.split(",")[-4:] == ["ce", "accuracy", "clip", "clv"]
    assert len(rest) == 64 * 2 * 3 - 1
    assert float(first.split(",")[-4]) == pytest.approx(2.70805, abs=1e-5)


def test_user_mistakes(tmp_path: Path) -> None:
    for wrong in (
        {"protocols": ()},
        {"protocols": SWEEP.protocols * 2},
        {"seeds": ()},
        {"seeds": (1, 1)},
        {"orders": ()},
    ):
        with pytest.raises(InputError):
            Sweep(**({"choice": CHOICE, "protocols": SWEEP.protocols} | wrong))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="0 workers"):
        run_sweep(SWEEP, tmp_path, workers=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be created") as caught:
        Store(tmp_path / "file")
    assert "a file of that name" in caught.value.causes
    assert caught.value.fix


def test_a_cluster_that_writes_elsewhere_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_on_dask", lambda jobs, _: ((k, []) for k in range(len(jobs))))
    with pytest.raises(InputError, match="not here, 64 cells that the cluster finished"):
        run_sweep(SWEEP, tmp_path, dask="tcp://somewhere:1", progress=False)


# ---- real deaths


def drive(folder: Path, *options: str) -> subprocess.Popen[str]:
    config = folder.with_suffix(".toml")
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "crossmodal.cli", "sweep", str(config), "--output", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.003)


def finished(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def children(pid: int) -> list[int]:
    """Worker processes, without the resource tracker."""
    found = []
    for line in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(line.read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid and b"spawn_main" in (line.parent / "cmdline").read_bytes():
                found.append(int(line.parent.name))
    return found


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by /proc")


@needs_proc
@pytest.mark.slow
def test_killed_driver_and_killed_worker_of_local_processes(undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    driver = drive(folder, "--workers", "2")
    until(lambda: len(finished(folder)) >= 8, "eight cells")
    workers = children(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    until(lambda: not any(map(alive, workers)), "the workers end themselves", 30)
    before = finished(folder)
    assert len(workers) == 2
    assert 8 <= len(before) < 64, "the driver was not killed in the middle"
    assert all(contents(undisturbed)[name] == (folder / name).read_bytes() for name in before), "a torn cell"

    driver = drive(folder, "--workers", "2")
    until(lambda: len(finished(folder)) >= len(before) + 4, "four more cells")
    os.kill(children(driver.pid)[0], signal.SIGKILL)
    out, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    assert "a worker was killed" in out
    after = finished(folder)
    assert {name: after[name] for name in before} == before, "a finished cell was computed again"
    assert tables(folder) == tables(undisturbed)
    assert contents(folder) == contents(undisturbed)


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupted_sweep_stops_and_says_what_is_finished(tmp_path: Path, workers: str) -> None:
    folder = tmp_path / "cells"
    driver = drive(folder, "--workers", workers)
    until(lambda: len(finished(folder)) >= 3, "three cells")
    begun = children(driver.pid)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    done = len(finished(folder))
    assert driver.returncode != 0
    assert done < 64, "it went on to the end"
    assert f": {done} of 64 cells; the same command" in " ".join(err.split())
    until(lambda: not any(map(alive, begun)), "the workers end too", 30)
    assert len(finished(folder)) == done


@pytest.fixture
def cluster() -> Iterator[object]:
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as found:
        yield found


@needs_proc
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_killed_driver_and_killed_worker_of_a_dask_cluster(undisturbed: Path, tmp_path: Path, cluster: object) -> None:
    folder, address = tmp_path / "cells", cluster.scheduler_address  # type: ignore[attr-defined]
    driver = drive(folder, "--dask", address)
    until(lambda: len(finished(folder)) >= 8, "eight cells")
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    before = finished(folder)
    assert 8 <= len(before) < 64, "the driver was not killed in the middle"

    driver = drive(folder, "--dask", address)
    nanny = next(iter(cluster.workers.values()))  # type: ignore[attr-defined]
    until(lambda: len(finished(folder)) >= len(before) + 1 or driver.poll() is not None, "another cell")
    os.kill(nanny.pid, signal.SIGKILL)
    _, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    after = finished(folder)
    assert {name: after[name] for name in before} == before, "a finished cell was computed again"
    assert tables(folder) == tables(undisturbed)
    assert contents(folder) == contents(undisturbed)


def test_no_scheduler_at_the_address(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    with pytest.raises(InputError, match="no Dask scheduler at here"):
        run_sweep(SWEEP, tmp_path, dask="here")


@pytest.mark.filterwarnings("default")
def test_a_scheduler_that_is_lost_is_said() -> None:
    """Killed while a job waits for a worker: no traceback, and no waiting for ever."""
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    cluster = distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None, protocol="tcp")
    timer = threading.Timer(1, cluster.close)

    def waits() -> None:
        with _client(cluster.scheduler_address) as client:
            future = client.submit(len, "abc")
            timer.start()
            future.result(timeout=30)

    with pytest.raises(InputError, match=r"scheduler at tcp://.* was lost"):
        waits()
    timer.join()
