"""`crossmodal coalitions` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from crossmodal.cli import main

pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so no encoder was run")


def run(*args: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["coalitions", *args])
    assert result.exit_code == status, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result.output


def test_table_and_json_say_the_same(tmp_path: Path) -> None:
    out = run("embedded:fused_high", "embedded:high", "--limit", "5", "--json", str(tmp_path / "c.json"))
    lines = [line.split("\t") for line in out.splitlines() if not line.startswith("#")]
    assert lines[0] == ["environment", "pairs", "f(IT)", "f()", "image", "text", "interaction"]
    record = json.loads((tmp_path / "c.json").read_text())
    assert record["value"] == "score"
    assert record["encoder"]["checkpoint"].startswith("sha256:")
    for line, found in zip(lines[1:6], record["environments"], strict=True):
        assert line[:2] == [found["name"], "5"]
        assert line[2] == f"{found['f']['IT']:.4f}"
        mean, low, high = found["interaction"]
        assert line[6] == f"{mean:.4f} +- {(high - low) / 2:.4f}"
    assert json.loads(run("embedded:fused_high", "embedded:high", "--limit", "5", "--json", "-")) == record


@pytest.mark.parametrize("baseline", ["tokens", "zero", "mean", "permute"])
def test_dual_encoders_and_seeds(baseline: str) -> None:
    args = ("embedded:low", "embedded:low", "--limit", "6", "--baseline", baseline, "--json", "-")
    first, second = run(*args), run(*args, "--seed", "1")
    assert run(*args) == first
    moved = json.loads(first)["environments"] != json.loads(second)["environments"]
    assert moved == (baseline == "permute")


def test_mistakes(tmp_path: Path) -> None:
    for args, word in (
        (["embedded:high", "embedded:none"], "none"),
        (["embedded:high", "embedded:high", "--limit", "2", "--baseline", "permute"], "at least 3"),
        ([str(tmp_path), "embedded:high"], "no config.json"),
    ):
        assert word in run(*args, status=2)
