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

TOLERANCE = 1e-6  # float32 accumulation, relative to the largest value; half-precision outputs: twice their rounding


def interpret(*mutants: str) -> dict:
    try:
        variables = environment(PAIRED, TRITON_INTERPRET="1")
    except RuntimeError as error:
        pytest.skip(f"NOT RUN: {error}")
    script = [sys.executable, "-W", "ignore", str(HERE / "interpret_kernels.py"), *mutants]
    run = subprocess.run(script, env=variables, capture_output=True, text=True, check=False)
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
    "late_tie": "head ties",
    "empty_row": "segment masked",
    "unweighted_merge": "segment two",
}


def test_mutants_are_noticed() -> None:
    """All in one process: importing torch and Triton takes longer than running one of them."""
    found = {mutant: wrong(errors) for mutant, errors in interpret(*MUTANTS).items()}
    assert found.keys() == MUTANTS.keys()
    assert {mutant: case for mutant, case in MUTANTS.items() if case not in found[mutant]} == {}
