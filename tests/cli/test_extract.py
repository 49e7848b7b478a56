"""`crossmodal extract` as a user meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from crossmodal.vlm_validation.features import load_features

from crossmodal.cli import main

pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so no encoder was run")


def run(*args: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, list(args))
    assert result.exit_code == status, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result.output


def write_folder(root: Path, rows: int = 8) -> Path:
    from PIL import Image

    root.mkdir()
    lines = ["file,caption,label,environment"]
    for k in range(rows):
        pixels = np.random.default_rng(k).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{k}.png")
        lines.append(f"{k}.png,a red star,star,{'north' if k % 2 else 'south'}")
    (root / "captions.csv").write_text("\n".join(lines))
    return root


def test_a_folder_becomes_a_features_file_that_scores_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = run("extract", "embedded:low", str(write_folder(tmp_path / "data")), "--output", "f.npz")
    assert "f.npz: 8 pairs in 2 environments, d = 64" in out
    assert "note: in more than one environment, 1 class: star" in out
    found = load_features("f.npz")
    assert found.environment_names == ("south", "north")
    assert found.metadata["data"] == "folder with captions.csv"
    assert "south" in run("scores", "f.npz")
    assert "it was there already" in run("extract", "embedded:low", "data", "-o", "f.npz")
    assert "another configuration" in run("extract", "embedded:high", "data", "-o", "f.npz", status=2)
    run("extract", "embedded:high", "data", "-o", "f.npz", "--overwrite")


def test_the_same_input_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_folder(tmp_path / name)
        os.utime(tmp_path / name / "3.png", (1, 1 + len(name)))
        run("extract", "embedded:low", str(tmp_path / name), "-o", str(tmp_path / f"{name}.npz"), "--batch", "3")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["embedded:high", "embedded:none", "-o", "f.npz"], "none"),
        (["embedded:none", "embedded:high", "-o", "f.npz"], "none"),
        (["embedded:high", "embedded:high", "-o", "f.txt"], "suffix"),
        (["embedded:high", "embedded:high", "-o", "f.npz", "--limit", "1"], "limit 1"),
        (["embedded:high", "embedded:high", "-o", "f.npz", "--split", "val2017"], "split given"),
        (["embedded:high", "/no/such/folder", "-o", "f.npz"], "no such folder"),
        (["/no/such/model", "embedded:high", "-o", "f.npz"], "no such folder"),
    ],
)
def test_mistakes_are_one_message_and_status_2(
    args: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = run("extract", *args, status=2)
    assert out.startswith("crossmodal: ")
    assert word in out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """SIGKILL in the middle, twice; the bytes are those of a run left alone, and the work folder is gone."""
    run("extract", "embedded:high", "embedded:high", "-o", str(tmp_path / "whole.npz"), "--batch", "2")
    command = [sys.executable, "-m", "crossmodal.cli", "extract", "embedded:high", "embedded:high", "-o", "f.npz"]
    parts = tmp_path / "f.npz.parts"
    for least in (1, 40):
        process = subprocess.Popen(
            [*command, "--batch", "2"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until = time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None and len(list(parts.glob("0*.npz"))) < least:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "f.npz").exists()
        assert len(list(parts.glob("0*.npz"))) >= least
    out = run("extract", "embedded:high", "embedded:high", "-o", str(tmp_path / "f.npz"), "--batch", "2")
    assert "of 250 batches, there from an earlier run: " in out
    assert (tmp_path / "f.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npz", "whole.npz"]
