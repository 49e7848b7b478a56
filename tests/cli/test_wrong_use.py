"""What a user gets wrong on the command line: refused before any work, in one message that says what to do."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from crossmodal.theory.errors import InputError, counted
from crossmodal.theory.files import write_whole
from crossmodal.vlm_validation.features import load_features, save_features
from crossmodal.vlm_validation.generated import generated_features
from rich.console import Console

from crossmodal import terminal
from crossmodal.cli import main


@pytest.fixture
def features(tmp_path: Path) -> Path:
    path = tmp_path / "my.npz"
    save_features(path, generated_features(3))
    return path


def refused(*arguments: object, words: str) -> None:
    found = CliRunner().invoke(main, [str(x) for x in arguments])
    assert found.exit_code == 2, (found.output, found.exception)
    assert words in " ".join(found.output.split()), found.output


@pytest.mark.parametrize("option", ["--json", "--figure"])
def test_features_are_not_overwritten_by_a_result(features: Path, option: str) -> None:
    before = features.read_bytes()
    refused("scores", features, option, features, words="suffix of a features file")
    assert features.read_bytes() == before


@pytest.mark.parametrize(
    "command",
    ["order my.npz --json", "scores my.npz --json", "scores my.npz --figure", "verify S1 --json", "audit --json"],
)
def test_a_folder_is_no_output_file(features: Path, command: str, tmp_path: Path) -> None:
    refused(*command.replace("my.npz", str(features)).split(), tmp_path, words="is a folder")
    with pytest.raises(InputError, match="is a folder"):
        write_whole(tmp_path, "text")
    with pytest.raises(InputError, match="is a folder"):
        write_whole(".", "text")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    for option in ("--json", "--figure"):
        refused("scores", features, option, tmp_path / "new" / "s.out", words="no permission to write")
        refused("scores", features, option, tmp_path.parent / "s.out", words="is not given: no permission to write")
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_read_is_explained(features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By our message with a fix, and not by one of the option parser's."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = CliRunner().invoke(main, ["order", str(features)])
    assert found.exit_code == 0, found.output


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sweep {}", "says nothing"),
        ("extract {} embedded:high -o x.npz", "a file expected: embedded:high"),
        ("extract embedded:high {} -o x.npz", "a file expected: embedded:high"),
        ("verify --certificates {}", "a file expected: a folder of certificates"),
    ],
)
def test_an_empty_file_in_place_of_a_configuration_or_a_folder(
    command: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`owner/name` looks like a model on a server; a file of that name does not."""
    monkeypatch.chdir(tmp_path)
    write_whole("owner/name", "")
    refused(*command.format("owner/name").split(), words=words)


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("T34", "T3.4"),
        ("P12", "P11"),
        ("T3", "T3.1"),
        ("t3.14", "T3.11"),
        ("X99", ""),
        ("T3.99", "T3.11, T3.12, T3.13?"),
        ("S0", "S1, S2, S3?"),
    ],
)
def test_an_unknown_claim_names_those_near(typed: str, near: str) -> None:
    found = CliRunner().invoke(main, ["show", typed])
    assert found.exit_code == 2
    said = found.output.partition("a typing error:")[2].splitlines()[:1]
    assert near in said[0] if near else not said


@pytest.mark.parametrize(
    "command", ["scores", "order", "verify S1 --models 1 --mutants-each 1 --jobs 1 --features", "audit"]
)
def test_names_do_not_steer_the_terminal(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In notes, reasons and refusals too, beside the tables."""
    monkeypatch.chdir(tmp_path)
    found = generated_features(3)
    names = tuple(f"{name}\x1b[2J\x9b" for name in found.environment_names or ())
    labels = tuple(f"class {c}\x1b[2J\x9b" for c in range(found.classes))
    label = np.where(np.arange(len(found)) % 7, found.label, 0)  # class 0 is everywhere: a note names it
    found = replace(found, environment_names=names, label_names=labels, label=label)
    for path in ("my.npz", "after.npz"):
        save_features(path, found)
    done = CliRunner().invoke(main, [*command.split(), "my.npz", *(["after.npz"] if command == "audit" else [])])
    assert done.exit_code == 0, done.output
    assert r"class 0\x1b[2J\x9b" in done.output
    assert not {"\x1b", "\x9b"} & set(done.output)
    done = CliRunner().invoke(main, [*command.split(), "none\x1b[2J.npz"])
    assert (done.exit_code, "\x1b" in done.output, r"none\x1b[2J.npz" in done.output or command == "audit") == (
        2,
        False,
        True,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_printed_json_is_json_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set as the command sets it: what the encoding lacks is escaped in Python's way, which JSON does not read."""
    names = ["høst", "工房", "\U0001f600", "\x85"]
    raw = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, errors="backslashreplace"))
        terminal.write_json(Path("-"), names)
        sys.stdout.flush()
        assert json.loads(raw.getvalue().decode()) == names


def test_json_holds_nothing_that_json_has_not() -> None:
    """A relation between matrices has no two sides that are numbers."""
    found = CliRunner().invoke(main, ["check", "T3.4", "--examples", "100", "--json", "-"])
    assert "NaN" not in found.output
    assert json.loads(found.output)["worst"]["quarter"]["lhs"] is None


@pytest.mark.parametrize("command", [["bench", "--only", "k0"], ["paper"], ["sweep", "x.toml"], ["audit", "--demo"]])
def test_a_file_is_no_output_folder(features: Path, command: list[str]) -> None:
    refused(*command, "--folder" if command[0] == "audit" else "--output", features, words="is a file")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "S1", "--models", "0"], "0 is not in the range"),
        (["verify", "S1", "--mutants-each", "-1"], "-1 is not in the range"),
        (["verify", "S1", "--jobs", "0"], "0 is not in the range"),
        (["verify", "S1", "--certificates", "somewhere"], "CLAIMS and --certificates together"),
        (["verify", "--certificates", "somewhere", "--json", "c.json"], "--json and --certificates together"),
        (["verify", "--rewrite", "--json", "c.json"], "--json and --rewrite together"),
        (["verify", "--rewrite", "--certificates", "somewhere"], "--certificates and --rewrite together"),
        (["check", "S1", "--seed", "-1"], "-1 is not in the range"),
        (["coalitions", "embedded:high", "embedded:high", "--seed", str(2**64)], f"{2**64} is not in the range"),
        (["bench", "--threads", "-2"], "-2 is not in the range"),
        (["paper", "--trace", "0.5", "--figure", "orders"], "--trace together with"),
        (["scores", "a.npz", "--cluster", "foo"], "foo: is no address"),
        (["sweep", "a.toml", "--dask", "tcp://host"], "tcp://host: is no address"),
        (["sweep"], "sweep --example"),
    ],
)
def test_values_out_of_range_and_options_that_exclude_each_other(arguments: list[str], words: str) -> None:
    refused(*arguments, words=words)


def test_an_unknown_kind_of_picture_is_refused_before_the_work(features: Path, tmp_path: Path) -> None:
    refused("scores", features, "--json", tmp_path / "s.json", "--figure", "s.xyz", words="type .xyz expected: one of")
    assert not (tmp_path / "s.json").exists()


def test_labels_that_are_no_class_numbers(features: Path, tmp_path: Path) -> None:
    found = load_features(features)
    np.savez(
        tmp_path / "ids.npz",
        image=found.image,
        text=found.text,
        environment=found.environment,
        label=found.label + 10**9,
    )
    ids = tmp_path / "ids.npz"
    for command in (["order", ids], ["audit", ids, ids], ["verify", "T1.3", "--jobs", 1, "--features", ids]):
        refused(*command, words="numpy.unique(label, return_inverse=True)[1]")


def test_bench_fails_where_an_item_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from crossmodal.kernels.benchmarks import suite

    failed = [{"item": "k0", "contender": "ours", "status": "FAILED: no memory", "p50_ms": 1.0}]
    monkeypatch.setattr(suite, "_run", lambda *_: failed)
    found = CliRunner().invoke(main, ["bench", "--only", "k0", "--output", str(tmp_path)])
    assert found.exit_code == 1
    failed.insert(0, {**failed[0], "status": "ok"})
    failed[1] = {"item": "k0", "contender": "a peer", "status": "not installed"}
    monkeypatch.setattr("crossmodal.kernels.benchmarks.plots.plot", lambda *_: None)
    assert CliRunner().invoke(main, ["bench", "--only", "k0", "--output", str(tmp_path)]).exit_code == 0


def test_titles_and_names_in_a_pipe(features: Path, tmp_path: Path) -> None:
    """Four matrices that look alike are told apart, and a tab in a name does not make two cells."""
    found = load_features(features)
    names = ["tab\there", "é", *(f"environment {k}" for k in range(2, len(found.environments)))]
    np.savez(tmp_path / "named.npz", image=found.image, text=found.text, environment=found.environment, label=found.label,
             environment_names=np.array(names))  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "crossmodal.cli", "scores", "named.npz"], cwd=tmp_path, capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode("ascii")
    for direction in ("image -> image", "image -> text", "text -> image", "text -> text"):
        assert f"# Con {direction} (rows: s, columns: t)" in out
    assert "\\xe9" in out
    rows = [line for line in out.splitlines() if line.startswith("tab here")]
    assert len(rows) == 5
    assert all(row.count("\t") == len(found.environments) for row in rows[:4])


def test_a_narrow_terminal_breaks_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = [("", "left"), *((f"environment {k}", "right") for k in range(4))]
    rows = [[f"environment {k}", *(f"-0.07{k}{j} +- 0.036" for j in range(4))] for k in range(4)]
    for width in (40, 200):
        monkeypatch.setattr(
            terminal, "console", Console(force_terminal=True, width=width, highlight=False, color_system=None)
        )
        terminal.table("Con", columns, rows)
        out = capsys.readouterr().out
        assert all(cell in out for row in rows for cell in row[1:])
        assert ("environment 0: -0.0700" in out) == (width == 40)
        assert max(map(len, out.splitlines())) <= width


BUFFERED = {
    k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"
}  # as most are; it hides what is written at the end


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "crossmodal.cli", "show"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=BUFFERED,
        )
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert done.returncode == 2


def test_a_closed_pipe_is_no_matter_for_words() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "crossmodal.cli", "show"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
        env=BUFFERED,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_file_larger_than_the_shell_allows_is_said(tmp_path: Path) -> None:
    """What is printed has no name; where a file has one, its permissions are not to blame."""
    command = f"ulimit -f 1; exec {sys.executable} -m crossmodal.cli show > out.txt"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=BUFFERED, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "ulimit -f" in done.stderr


def test_what_the_file_system_refuses_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    from crossmodal import show

    def denied(*_: object) -> str:
        raise PermissionError(13, "Permission denied", "/elsewhere/file")

    monkeypatch.setattr(show, "index", denied)
    refused("show", words="/elsewhere/file: Permission denied")


def test_too_little_memory_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    from crossmodal import show

    def full(*_: object) -> str:
        raise MemoryError("Unable to allocate 32.0 MiB")

    monkeypatch.setattr(show, "index", full)
    refused("show", words="out of memory (Unable to allocate 32.0 MiB)")


def test_characters_that_the_font_lacks_are_named_once(features: Path, tmp_path: Path) -> None:
    found = load_features(features)
    names = [f"环境 {k}" for k in found.environments]
    np.savez(tmp_path / "named.npz", image=found.image, text=found.text, environment=found.environment, label=found.label,
             environment_names=np.array(names))  # fmt: skip
    done = CliRunner().invoke(
        main,
        [
            "scores",
            str(tmp_path / "named.npz"),
            "--json",
            str(tmp_path / "s.json"),
            "--figure",
            str(tmp_path / "s.png"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "lacks a character: 环境\n" in done.stderr or "lacks" not in done.stderr  # a font may have them
    assert "Warning" not in done.output
    assert json.loads((tmp_path / "s.json").read_text())


def test_the_example_of_a_sweep_is_one(tmp_path: Path) -> None:
    from crossmodal.sweep import read_config

    text = CliRunner().invoke(main, ["sweep", "--example"]).output
    for mark in ("", "\ufeff"):  # some editors begin a file with a mark of its encoding
        (tmp_path / "sweep.toml").write_text(mark + text, encoding="utf-8")
        assert len(read_config(tmp_path / "sweep.toml").seeds) == 3
    for value in ("2.0", '"3"', "true"):
        (tmp_path / "sweep.toml").write_text(
            text.replace("environments = 3", f"environments = {value}"), encoding="utf-8"
        )
        with pytest.raises(InputError, match="a whole number"):
            read_config(tmp_path / "sweep.toml")


def test_pictures_listed_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossmodal.vlm_validation.datasets import open_pairs
    from PIL import Image

    for k in range(4):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(tmp_path / f"{k}.png")
    lines = ["file,caption,label,environment", *(f"{k}.png,a picture,{k % 2},{k // 2}" for k in range(4))]
    (tmp_path / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert len(open_pairs(".").captions) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "T3.4", "--examples", "0"], "fix: --examples 100000"),
        (["check", "T3.4", "--tighten", "nan"], "a percentage in place of a fraction"),
        (["check", "T3.4", "--drop", "nothing"], "fix: `crossmodal show T3.4` lists its assumptions"),
        (["audit", "FILE", "FILE", "--tau", "-1"], "fix: the numbers the run was trained with"),
        (["audit", "FILE", "FILE", "--order", "kitchem"], "fix: one --order NAME for each transition"),
        (["audit", "FILE", "FILE", "--folder", "x"], "fix: leave --folder out"),
        (["audit", "--demo", "FILE"], "fix: leave --demo out"),
        (["show", ""], "`crossmodal show` lists the claims"),
        (["coalitions", "embedded:no", "embedded:high"], "expected: "),
        (["paper", "--figure", "e3_order"], "a typing error: e3_orders?"),
        (["extract", "embedded:high", "embedded:high", "-o", "x.npz", "--limit", "1"], "fix: --limit 2"),
        (["extract", "embedded:high", "embedded:high", "-o", "x.npz", "--batch", "0"], "fix: --batch 64"),
    ],
)
def test_what_is_refused_says_what_to_do(features: Path, arguments: list[str], words: str) -> None:
    refused(*(features if x == "FILE" else x for x in arguments), words=words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seeds = []", "an empty list fix: name one"),
        ("seeds = [0, 0]", "1 different expected: at least one, and each once"),
        ("seeds = 3", "fix: seeds = [0, 1, 2]"),
        ("orders = [[1, 2]]", "counted from 1"),
        ("keep_weights = 'yes'", "fix: keep_weights = true"),
        ("protocol = [1]", "a value in place of a table"),
        ("[scenes]\nworld = ['high']", "world ['high']"),
        ("[scenes]\nworld = 'hihg'", "a typing error: high?"),
        ("[scenes]\nenvironments = '3'", "quotation marks or a decimal point"),
        ("[scenes]\ntrain = 7", "fix: train = "),
        ("[scenes]\nseeds = 1", "a typing error: seed?"),
        ("[[protocol]]\nmode = 'fulll'", "a typing error: full?"),
        ("[[protocol]]\nmode = {a = 1}", 'fix: mode = "frozen"'),
        ("[[protocol]]\nepochs = 1.5", "fix: epochs = 5, the default"),
        ("[[protocol]]\ntau = 0", "not negative, nor zero"),
        ("[[protocol]]\nweight = 'a'", "fix: weight = 0.5, the default"),
        ("[[protocol]]\nwieght = 1", "a typing error: weight"),
        ("[[protocol]]\nrank = 1000000000", "at most 96"),
        ("[[protocol]]\nweight = 1" + 400 * "0", "fix: weight = 0.5, the default"),
        ("[[protocol]]\nepochs = 1" + 5000 * "0", "cannot be read as TOML"),
        ("[scenes]\ntrain = 1500000000000", "more scenes than memory holds"),
    ],
)
def test_a_field_of_a_sweep_that_is_none_or_out_of_range(line: str, words: str, tmp_path: Path) -> None:
    """A list in place of a name used to end in a traceback.  Mutant: `world not in WORLDS` alone."""
    write_whole(tmp_path / "s.toml", line + "\n")
    refused("sweep", tmp_path / "s.toml", words=words)


def test_one_of_a_thing_is_in_the_singular() -> None:
    assert [counted(n, "cell") for n in (0, 1, 2)] == ["0 cells", "1 cell", "2 cells"]
    assert [counted(n, "class", "classes") for n in (1, 3)] == ["1 class", "3 classes"]
