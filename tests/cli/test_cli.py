"""The command line as a user meets it: output, exit status, bad input, an interrupt in the middle."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from crossmodal.theory import registry
from crossmodal.vlm_validation.features import save_features
from crossmodal.vlm_validation.generated import generated_features

from crossmodal.cli import main

CROSSMODAL = [sys.executable, "-m", "crossmodal.cli"]
FAST = ["--jobs", "1", "--models", "4", "--mutants-each", "6"]


def run(*args: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, list(args))
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.output


def test_verify_prints_verdicts_and_writes_json(tmp_path: Path) -> None:
    out = run("verify", "S5", "T3.5", *FAST, "--json", str(tmp_path / "v.json"))
    assert out.count("PROVED") >= 2
    record = json.loads((tmp_path / "v.json").read_text())
    assert [c["claim"] for c in record["claims"]] == ["S5", "T3.5"]
    assert all(c["as_registered"] and c["mutants"] == [6, 6] for c in record["claims"])
    again = run("verify", "S5", "T3.5", *FAST, "--json", "-")
    assert json.loads(again) == record


def test_verify_fails_when_a_certificate_is_tampered_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (registry.CERTIFICATES / "S5.json").read_text()
    (tmp_path / "S5.json").write_text(text.replace('"1/2"', '"2/3"', 1))
    assert "rejected" in run("verify", "--certificates", str(tmp_path), status=1)
    (tmp_path / "S5.json").write_text(text)
    assert "as S5 says" in run("verify", "--certificates", str(tmp_path))
    for other in ("S4", "P4", "P8"):  # the last two have statements that no certificate can hold
        (tmp_path / "S5.json").write_text(text.replace('"claim": "S5"', f'"claim": "{other}"'))
        assert f"not what {other} says" in run("verify", "--certificates", str(tmp_path), status=1)


@pytest.mark.parametrize(("claim_id", "letter"), [("T3.5", "G"), ("T2.5", "K"), ("O3", "N")])
def test_a_theorem_about_numbers_is_not_the_one_about_matrices(tmp_path: Path, claim_id: str, letter: str) -> None:
    """The letter as a scalar: every fact reads the same, is proved, and speaks of multiples of the identity only."""
    certificate = json.loads((registry.CERTIFICATES / f"{claim_id}.json").read_text())
    del certificate["symbols"]["matrices"][letter]
    certificate["symbols"]["scalars"] = [*certificate["symbols"].get("scalars", []), letter]
    (tmp_path / "forged.json").write_text(json.dumps(certificate))
    out = run("verify", "--certificates", str(tmp_path), status=1)
    assert "accepted" in out
    assert f"not what {claim_id} says" in out


def test_verify_fails_when_the_stored_certificate_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossmodal.theory import certify

    monkeypatch.setattr(certify, "path_of", lambda claim_id, folder=tmp_path: tmp_path / f"{claim_id}.json")
    out = run("verify", "S2", *FAST, status=1)
    assert "UNDECIDED" in out
    assert "stored certificate missing" in out


def test_verify_measures_features(tmp_path: Path) -> None:
    save_features(tmp_path / "f.npz", generated_features(3))
    out = run("verify", "S5", *FAST, "--features", str(tmp_path / "f.npz"))
    assert "holds on 20" in out
    assert "f.npz" in out.splitlines()[0]
    assert "your" not in run("verify", "S5", *FAST), "the generated set is nobody's"


@pytest.mark.realdata
def test_verify_on_real_features(coco500: Path) -> None:
    out = run("verify", "S1", "S3", "S5", "T3.4", "T3.8", *FAST, "--features", str(coco500))
    assert out.count("PROVED") >= 5
    assert "'unit' violated by 2.0e-04" in out  # half-precision features: reported, not repaired


def test_mutation_report_names_the_killers() -> None:
    out = run("verify", "T3.4", *FAST, "--mutants")
    assert "witness" in out
    assert out.split("\nall\t")[1].split("\n")[0].endswith("\t0")  # nothing survived


def test_check_finds_nothing_true_and_kills_the_tightened() -> None:
    assert "no counterexample" in run("check", "T3.4", "--examples", "2000")
    out = run("check", "T3.4", "--examples", "20000", "--tighten", "0.01", status=1)
    assert "confirmed in exact rationals" in out
    assert out == run("check", "T3.4", "--examples", "20000", "--tighten", "0.01", status=1)


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_show(form: str) -> None:
    out = run("show", "T3.5", "--format", form)
    for part in ("orthonormal", "(by blocks)", "induction on the number of environments"):
        assert part in out
    assert "T3.8" in run("show")


def test_latex_of_a_claim_sets_its_formulas() -> None:
    """L^{-1} in a sentence was L, a caret and -1: braces were left to TeX."""
    out = run("show", "T3.5", "--format", "latex")
    assert r"(I + L)\textsuperscript{" in out
    assert r"\^{}" not in out


@pytest.mark.parametrize(("columns", "widest"), [("60", 60), ("300", 100), ("45", 45)])
def test_show_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str, widest: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = [line for line in run("show", "T2.1").splitlines() if line.startswith("  ") and not line.endswith(":")]
    assert widest - 20 < max(map(len, text)) <= widest


def test_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    features = generated_features()
    save_features("f.npz", features)
    out = run("scores", "f.npz")
    assert "dispersion" in out
    record = json.loads(Path("f.scores.json").read_text())
    assert record
    rows = [features.rows(k) for k in features.environments]
    expected = np.mean(
        [[float(u @ v) for v in features.text[rows[1]].astype(float)] for u in features.image[rows[0]].astype(float)]
    )
    assert f"{expected:.3f}" in out
    assert "+- 0.1 takes 1476 pairs of each" in out, "4 log(2 / 0.05) / 0.1^2 = 1475.6"
    assert Path("f.scores.png").read_bytes()[:4] == b"\x89PNG"
    first = Path("f.scores.png").read_bytes(), Path("f.scores.json").read_bytes()
    run("scores", "f.npz")
    assert first == (Path("f.scores.png").read_bytes(), Path("f.scores.json").read_bytes())


def test_scores_of_one_environment_speak_of_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    features = generated_features()
    save_features("f.npz", features.select(features.rows(0)))
    out = run("scores", "f.npz")
    assert "a single environment" in out
    assert not any(word in out for word in ("nan", "dispersion", "between environments"))


def test_results_are_written_before_a_reader_closes_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``crossmodal scores f.npz | head -1``."""

    def closed(*_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "closed")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("crossmodal.terminal.table", closed)
    save_features("f.npz", generated_features())
    assert CliRunner().invoke(main, ["scores", "f.npz"]).exit_code != 0
    assert json.loads(Path("f.scores.json").read_text())
    assert Path("f.scores.png").is_file()


def bad_files(folder: Path) -> dict[str, tuple[str, str]]:
    """File -> (what the message must name, a word of the fix or cause)."""
    f = generated_features()
    good = {"image": f.image, "text": f.text, "environment": f.environment, "label": f.label}

    def put(name: str, **change: object) -> str:
        arrays = {k: v for k, v in {**good, **change}.items() if v is not None}
        np.savez(folder / name, **arrays)  # type: ignore[arg-type]
        return name

    nan = f.image.copy()
    nan[3, 2] = np.nan
    zero = f.text.copy()
    zero[5] = 0
    one = f.environment.copy()
    one[0] = 9
    with open(folder / "pickle.npz", "wb") as file:
        pickle.dump(good, file)
    (folder / "torn.npz").write_bytes((folder / put("whole.npz")).read_bytes()[:900])
    return {
        put("nan.npz", image=nan): ("image", "3"),
        put("zero.npz", text=zero): ("text", "5"),
        put("long.npz", image=f.image * 3): ("image", "normalise"),
        put("narrow.npz", text=f.text[:, :7]): ("text", "(200, 7)"),
        put("short.npz", text=f.text[:70]): ("text", "70"),
        put("nolabel.npz", label=None): ("label", "label"),
        put("single.npz", environment=one): ("environment", "9"),
        put("negative.npz", label=f.label - 5): ("label", "-3"),
        put("object.npz", ids=np.array([{}] * 200, dtype=object)): ("ids", "object"),
        "pickle.npz": ("pickle.npz", "pickle"),
        "torn.npz": ("torn.npz", ""),
        "absent.npz": ("absent.npz", ""),
    }


def test_bad_input_is_one_message_and_status_2(tmp_path: Path) -> None:
    for name, words in bad_files(tmp_path).items():
        for command in (["scores"], ["verify", "S2", "--features"]):
            result = CliRunner().invoke(main, [*command, str(tmp_path / name)])
            assert result.exit_code == 2, (name, result.output, result.exception)
            assert result.output.startswith("crossmodal: ")
            for word in words:
                assert word in result.output, (name, word, result.output)


@pytest.mark.parametrize("args", [["show", "T9.9"], ["verify", "X1"], ["check", "S5", "--examples", "0"], ["check", "S5", "--tighten", "2"],
                                  ["verify", "--certificates", "nowhere"]])  # fmt: skip
def test_bad_arguments(args: list[str]) -> None:
    assert "crossmodal: " in run(*args, status=2)


@pytest.mark.parametrize(
    ("command", "seconds"),
    # the demonstration takes five seconds where nothing else runs
    [("verify --models 2000 --jobs 2", 6), ("audit --demo", 2.5), ("check T3.7 --examples 100000000", 6)],
)
def test_interrupt_leaves_no_torn_file_and_no_process(tmp_path: Path, command: str, seconds: float) -> None:
    target = tmp_path / "v.json"
    target.write_text("old")
    process = subprocess.Popen(
        [*CROSSMODAL, *command.split(), "--json", str(target)], cwd=tmp_path, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)  # to it alone: whoever it started has to be ended by it
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err, out) == (130, "crossmodal: interrupted\n", "")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["v.json"]
    until = time.monotonic() + 20
    with contextlib.suppress(ProcessLookupError):  # nobody of its session is left
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    assert time.monotonic() < until, "a process that it started goes on"


def test_extract_and_coalitions_take_the_same_data() -> None:
    """One definition: the same options but for how many pairs go at a time, and what help says of CUB's captions."""
    names = ("split", "captions", "limit", "batch", "device")
    taken, batches = [], []
    for command in ("extract", "coalitions"):
        found = [p for p in main.commands[command].params if p.name in names]
        assert tuple(p.name for p in found) == names
        taken.append([{k: v for k, v in p.to_info_dict().items() if k not in ("default", "help")} for p in found])
        batches.append(found[3].default)
    assert taken[0] == taken[1]
    assert batches == [64, 32]
