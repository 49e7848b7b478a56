"""The throughput benchmark measures what it says: the same models, all of them, by every contestant."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from crossmodal.synthetic import benchmarks
from crossmodal.theory import registry


def test_rates_are_models_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    monkeypatch.setattr(
        benchmarks, "sweep", lambda claim, models, seed, fixed, workers=1: seen.append((f"sweep {workers}", models))
    )
    monkeypatch.setattr(benchmarks, "loop", lambda claim, models, seed, fixed: seen.append(("loop", models)))
    monkeypatch.setattr(benchmarks, "timed", lambda work: (work(), (2.0, 1.0))[1])
    found = benchmarks.measure(registry.get("S5"), 4000, 20, {})
    assert found["ours_per_s"] == 2000
    assert found["loop_per_s"] == 10
    assert found["ratio"] == found["ratio_cpu"] == 200
    assert found["ours_per_cpu_s"] == 4000
    assert seen == [("sweep 1", 4000), ("sweep 2", 4000), ("loop", 20)] * benchmarks.ROUNDS


def test_loop_and_sweep_run_and_the_file_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "ROUNDS", 1)
    benchmarks.main(tmp_path / "out.csv", ["S5"], models=2000, loop_models=5)
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["claim"] == "S5"
    assert float(row["ours_per_s"]) > 3 * float(row["loop_per_s"])
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_claims_have_kinds_and_sizes() -> None:
    kinds = {name: benchmarks.kind_of(registry.get(name)) for name in ("T1.6", "T3.7", "S5")}
    assert kinds == {"T1.6": "scalars", "T3.7": "environments", "S5": "samples"}
    assert benchmarks.sizes_of(registry.get("T3.7")) == {"T": 5, "d": 5}


def test_the_record_covers_every_claim() -> None:
    """One row a claim, and the words about targets are computed from it."""
    with (Path(benchmarks.__file__).parent / "benchmark_results" / "engine.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["claim"] for row in rows] == list(registry.modules())
    for row in rows:
        assert row["kind"] == benchmarks.kind_of(registry.get(row["claim"]))
        assert int(row["ratio_two_workers"]) == pytest.approx(
            int(row["two_workers_per_s"]) / int(row["loop_per_s"]), rel=0.02, abs=1
        )
