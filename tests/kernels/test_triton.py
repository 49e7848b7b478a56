"""The Triton kernels under Triton's interpreter, against float64, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from triton_versions import PAIRED, environment  # noqa: E402

LINEAR = "F.linear_cross_entropy, both ways"  # not in every torch
OPERATIONS = {"k1": "pair_lse", "k2": "coalition_head", "k3": "segment_attention"}
TOLERANCE = 1e-6  # float32 accumulation, relative to the largest value; half-precision outputs: twice their rounding


def interpret(*mutants: str, script: str = "interpret_kernels.py", **more: str) -> dict:
    try:
        variables = environment(PAIRED, TRITON_INTERPRET="1", **more)
    except RuntimeError as error:
        pytest.skip(f"NOT RUN: {error}")
    command = [sys.executable, "-W", "ignore", str(HERE / script), *mutants]
    run = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def wrong(errors: dict[str, float]) -> dict[str, float]:
    return {name: error for name, error in errors.items() if not error <= TOLERANCE}


def test_kernels_agree_with_float64() -> None:
    errors = interpret()
    assert len(errors) >= 20
    assert wrong(errors) == {}


MUTANTS = {
    "shared_shift": "pair far below",
    "padding_counts": "pair 65 all negative",
    "padding_rows": "pair 65 all negative",
    "padding_rows_far_below": "pair far below",
    "wrong_tile": "pair far below in one tile",
    "classes_too_many": "head all negative",
    "last_of_a_tile": "head ties",
    "late_tie": "head ties",
    "empty_row": "segment masked",
    "unweighted_merge": "segment two",
}


def test_mutants_are_noticed() -> None:
    """All in one process: importing torch and Triton takes longer than running one of them."""
    found = {mutant: wrong(errors) for mutant, errors in interpret(*MUTANTS).items()}
    assert found.keys() == MUTANTS.keys()
    assert {mutant: case for mutant, case in MUTANTS.items() if case not in found[mutant]} == {}


ABSENT = {"Inf-CLIP, both ways", "cut-cross-entropy, both ways", "Liger fused linear CE, four times", LINEAR}


def test_the_gpu_benchmark_runs_to_its_end(tmp_path) -> None:
    """A machine with a GPU is lent by the minute: what can go wrong without one goes wrong here."""
    found = interpret(script="dry_run_gpu.py", CROSSMODAL_CACHE=str(tmp_path))
    assert found["items"].keys() == {"k1", "k2", "k3"}
    for name, item in found["items"].items():
        rows = {row["contender"]: row for row in item["rows"]}
        assert rows["ours"]["status"] == "ok"
        assert rows["ours"]["note"].startswith("tuned: {'BLOCK")
        assert {row["contender"]: row["status"] for row in item["rows"] if row["status"] != "ok"}.keys() <= ABSENT
        assert item["targets"] == sorted(contender for contender, row in rows.items() if "target_met" in row)
        assert any(key.startswith(OPERATIONS[name]) for key in found["cached"]), "what was tuned is not stored"
        assert set(item["timed"]) <= set(item["compared"]) & set(found["cached"]), "another configuration was compared"
        (row,) = item["wrong"]
        assert row["status"].startswith("WRONG")
        assert "p50_ms" not in row
