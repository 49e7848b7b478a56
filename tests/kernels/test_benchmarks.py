"""The benchmark suite: it runs, it writes whole files, and it prints no speed for a wrong result."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from functools import cache

import pytest
import torch
from crossmodal.kernels import benchmarks
from crossmodal.kernels.benchmarks import cpu_items, curves, gpu_items, measure, suite, worker
from crossmodal.theory.errors import InputError

# Seconds of products and copies; they are the machine's and not an item's, so once is enough for all items.
machine_limits = cache(measure.limits)

# torch before 2.13 has no such function; the rows of that peer say so, and hold no numbers
LACKING = set() if hasattr(torch.nn.functional, "linear_cross_entropy") else {"F.linear_cross_entropy, both ways"}


@pytest.fixture(autouse=True)
def _limits_measured_once(monkeypatch) -> None:
    monkeypatch.setattr(worker, "limits", machine_limits)


@pytest.mark.slow
def test_two_items_end_to_end(tmp_path) -> None:
    told: list[tuple[int, int, str]] = []
    found = benchmarks.main(tmp_path, only=["k1", "k1-curve"], quick=True, progress=lambda *x: told.append(x))
    assert told == [(0, 2, "k1"), (1, 2, "k1-curve"), (2, 2, "")]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cpu-k1-curve.csv",
        "cpu-k1-curve.svg",
        "cpu-k1.csv",
        "cpu-k1.svg",
    ]
    with open(tmp_path / "cpu-k1.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["contender"] for r in rows][:3] == ["ours", "one GEMM", "open_clip-style loss"]
    for row in (r for r in rows if r["contender"] not in LACKING):
        assert row["threads"] == "1"
        assert row["torch"] == torch.__version__.split("+")[0] or row["torch"] == torch.__version__
        assert float(row["p5_ms"]) <= float(row["p50_ms"]) <= float(row["p95_ms"])
        assert row["date"]
    assert float(rows[0]["times_floor"]) > 0
    assert len(found["k1-curve"]) == 2


@pytest.mark.parametrize("item", sorted(cpu_items.ITEMS))
def test_every_item_is_correct_and_has_distinct_contenders(item) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        case = cpu_items.ITEMS[item](True)
        error, allowed = case.error()
        assert error <= allowed
        rows = worker.rows_of(item, case, "cpu", rounds=1)
    assert rows[0]["contender"] == "ours"
    assert len({r["contender"] for r in rows}) == len(rows) == 1 + len(case.peers)
    assert all(r["status"] == "ok" for r in rows if r["contender"] not in LACKING)
    assert all(r["status"] == f"not in torch {torch.__version__}" for r in rows if r["contender"] in LACKING)


@pytest.mark.parametrize("error", [1e-3, math.nan, math.inf])
def test_a_wrong_result_has_no_speed(error) -> None:
    def never() -> None:
        raise AssertionError("a wrong kernel was timed")

    case = measure.Case("s", "float32", never, {"peer": never}, lambda: (error, 1e-6), flops=1.0)
    (row,) = worker.rows_of("k9", case, "cpu", rounds=2)
    assert row["status"].startswith("WRONG")
    assert not [name for name in row if "ms" in name or "speedup" in name]


def test_a_wrong_kernel_is_caught_by_its_own_gate(monkeypatch) -> None:
    from crossmodal.kernels.ops.pair_lse import torch as tiled

    right = tiled.pair_lse_torch
    monkeypatch.setattr(tiled, "pair_lse_torch", lambda *a: tuple(x * (1 + 1e-5) for x in right(*a)))
    with torch.no_grad():
        (row,) = worker.rows_of("k1", cpu_items.ITEMS["k1"](True), "cpu", rounds=1)
    assert row["status"].startswith("WRONG")


def test_targets_and_missing_peers() -> None:
    work: measure.Run = lambda: torch.ones(2000, 2000).sum()  # noqa: E731
    case = measure.Case(
        "s",
        "float32",
        work,
        {"slow": lambda: [work() for _ in range(8)], "fast": lambda: None, "absent": "not installed: absent"},
        lambda: (0.0, 1e-6),
        bytes=1.6e7,
        targets={"slow": 2.0, "fast": 2.0},
    )
    rows = {r["contender"]: r for r in worker.rows_of("k9", case, "cpu", rounds=5)}
    assert rows["slow"]["target_met"] is True
    assert rows["fast"]["target_met"] is False
    assert rows["absent"]["status"] == "not installed: absent"
    assert "p50_ms" not in rows["absent"]
    assert rows["ours"]["floor_by"] == "bytes"


def test_peak_memory_sees_what_a_call_needs() -> None:
    if math.isnan(measure._anonymous()):
        pytest.skip("this system does not report anonymous memory")
    assert measure.peak_memory(lambda: torch.ones(64 * 2**20 // 4).sum(), "cpu") > 48
    assert measure.peak_memory(lambda: None, "cpu") < 16


def test_csv_is_whole_or_absent(tmp_path) -> None:
    path = tmp_path / "x.csv"
    suite.write_csv(path, [{"a": 1.23456789, "b": "x"}, {"a": 2, "c": True}])
    assert path.read_text() == "a,b,c\n1.2346,x,\n2,,True\n"

    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        suite.write_csv(path, [{"a": Unprintable()}])
    assert path.read_text().startswith("a,b,c")


def test_bad_choices_are_explained(tmp_path) -> None:
    with pytest.raises(InputError, match="k77"):
        benchmarks.main(tmp_path, only=["k77"])
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="not available"):
            benchmarks.main(tmp_path, device="cuda")
    assert set(suite.CPU) == set(cpu_items.ITEMS) | set(curves.CURVES)
    assert set(suite.GPU) <= set(gpu_items.ITEMS) | set(curves.CURVES)


def test_a_bad_choice_on_the_command_line_is_a_message(tmp_path) -> None:
    command = [sys.executable, "-m", "crossmodal.kernels.benchmarks.suite", str(tmp_path), "--only", "k77"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("bench: unknown items ['k77']")


def test_an_item_that_dies_is_reported(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(suite, "CPU", ("k77",))
    found = benchmarks.main(tmp_path, only=["k77"])
    assert found["k77"][0]["status"].startswith("FAILED")


def test_what_a_library_says_is_not_taken_for_rows(tmp_path, monkeypatch) -> None:
    def talkative(*_: object, **__: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(
            [], 0, 'compiling [1/3] ...\n\n[{"contender": "ours", "status": "ok"}]\n', ""
        )

    monkeypatch.setattr(suite.subprocess, "run", talkative)
    assert suite._run("k1", "cuda", None, True) == [{"contender": "ours", "status": "ok"}]


def test_bfloat16_is_judged_by_its_own_bound_on_a_gpu(monkeypatch) -> None:
    """Tensor cores truncate: an error of 9e-5 at scale 100, which float32 would not be forgiven."""

    def truncated(u, v, scale, impl):
        found = right(u.float(), v.float(), scale, impl="naive")
        return found if impl == "naive" else found._replace(row_lse=found.row_lse + 9e-5)

    right, made = curves.pair_lse, curves.features
    monkeypatch.setattr(curves, "pair_lse", truncated)
    monkeypatch.setattr(curves, "features", lambda n, d, dtype, device: made(n, d, dtype))
    monkeypatch.setattr(curves, "once", lambda run, device: 1.0)
    monkeypatch.setattr(curves, "peak_memory", lambda run, device: 1.0)
    assert len(list(curves.k1_curve(True, "cuda"))) == 2
    with pytest.raises(ArithmeticError, match="wrong by 9"):
        list(curves.k1_curve(True, "cpu"))


def test_an_item_without_its_library_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for item in ("k4", "k5"):
        with pytest.raises(SystemExit, match=r"^transformers is not installed; fix: pip install 'crossmodal\[vlm\]'$"):
            worker.main([item, "--quick"])
