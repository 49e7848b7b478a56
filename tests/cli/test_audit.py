"""`crossmodal audit`, run as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from crossmodal.cli import main


@pytest.mark.slow
def test_the_demonstration(tmp_path: Path) -> None:
    """Trains, audits, keeps its files; auditing these files again gives the same."""
    done = CliRunner().invoke(main, ["audit", "--demo", "--folder", str(tmp_path), "--json", str(tmp_path / "a.json")])
    assert done.exit_code == 0, done.output
    for words in (
        "# while learning sky",
        "CE: what its change is made of",
        "hidden",
        "assumptions",
        "every ledger adds up",
    ):
        assert words in done.output
    found = json.loads((tmp_path / "a.json").read_text())
    assert [t["learnt"] for t in found["transitions"]] == ["sky", "garden", "street"]
    assert found["largest_closing_error"] < 1e-12
    files = [str(tmp_path / f"after_{k}.npz") for k in range(4)]
    heads = [x for k in range(4) for x in ("--heads", str(tmp_path / f"head_{k}.safetensors"))]
    settings = ["--tau", str(found["tau"]), "--lambda", str(found["lambda"])]
    again = CliRunner().invoke(main, ["audit", *files, *heads, *settings, "--json", "-"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.output)["transitions"] == found["transitions"]


def test_checkpoints_of_one_data_set() -> None:
    done = CliRunner().invoke(main, ["audit", "embedded:high", "embedded:low", "--data", "embedded:high"])
    assert done.exit_code == 0, done.output
    assert "no heads" in done.output


def test_bad_input_is_one_message() -> None:
    done = CliRunner().invoke(main, ["audit", "one.npz", "two.npz"])
    assert done.exit_code == 2
    assert "one.npz" in done.output
    assert "Traceback" not in done.output
    assert CliRunner().invoke(main, ["audit"]).exit_code == 2
