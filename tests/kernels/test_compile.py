"""Every Triton kernel, compiled for sm_90 without a GPU by three versions of Triton, judged by its machine code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from triton_versions import PAIRED, VERSIONS, environment  # noqa: E402

SHARED_MEMORY = 232448  # bytes a block can have on sm_90

pytestmark = pytest.mark.slow


def compile_kernels(version: str, *mutants: str) -> list[dict]:
    try:
        variables = environment(version)
    except RuntimeError as error:
        pytest.skip(f"NOT COMPILED: {error}")
    script = [sys.executable, str(HERE / "compile_sm90.py"), *mutants]
    run = subprocess.run(script, env=variables, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    report = json.loads(run.stdout.splitlines()[-1])
    assert report["triton"] == version
    return report["kernels"]


def faults(kernel: dict) -> set[str]:
    """What is wrong with one kernel's machine code."""
    found = {
        "stack or spills": kernel["stack"] or kernel["local"] or kernel["spills"],
        "shared memory": kernel["shared"] > SHARED_MEMORY,
        "no wgmma": kernel["dtype"] != "fp32" and not kernel["hgmma"],
        "tf32": kernel["tf32"],
        "32-bit offsets": not kernel["wide_offsets"],
        "atomics": kernel["atomics"],
    }
    return {name for name, bad in found.items() if bad}


@pytest.mark.parametrize("version", VERSIONS)
def test_machine_code(version) -> None:
    kernels = compile_kernels(version)
    names = {"pair_lse_kernel", "faint_columns_kernel", "coalition_head_kernel", "segment_attention_kernel"}
    assert {k["kernel"] for k in kernels} == names
    assert {k["dtype"] for k in kernels} == {"bf16", "fp16", "fp32"}
    assert len(kernels) >= 20
    assert {(k["kernel"], k["dtype"], str(k["config"])): faults(k) for k in kernels if faults(k)} == {}


MUTANTS = {
    "tf32": "tf32",
    "narrow_offsets": "32-bit offsets",
    "spilling": "stack or spills",
    "too_much_shared_memory": "shared memory",
    "no_tensor_cores": "no wgmma",
    "atomics": "atomics",
}


def test_mutants_are_noticed() -> None:
    """All in one process: importing torch and Triton takes longer than compiling one of them."""
    found = dict(zip(MUTANTS, map(faults, compile_kernels(PAIRED, *MUTANTS)), strict=True))
    assert {mutant: fault for mutant, fault in MUTANTS.items() if fault not in found[mutant]} == {}
