"""`crossmodal audit`, run as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from crossmodal.vlm_validation.audit.demo import PROTOCOL

from crossmodal.cli import main


@pytest.mark.slow
def test_the_demonstration(tmp_path: Path) -> None:
    """Trains, audits, keeps its files; auditing these files again gives the same."""
    asked = ["--lambda", "0.25", "--folder", str(tmp_path), "--json", str(tmp_path / "a.json")]
    done = CliRunner().invoke(main, ["audit", "--demo", *asked])
    assert done.exit_code == 0, done.output
    for words in (
        "# in short: forgotten since learnt (CE, nats)",
        "# while learning sky",
        "CE: what its change is made of",
        "hidden",
        "assumptions",
        "forgotten since learnt",
        "every ledger adds up",
        "18 of this audit together",
        "for other samples and their mean features",
    ):
        assert words in done.output
    found = json.loads((tmp_path / "a.json").read_text())
    assert [t["learnt"] for t in found["transitions"]] == ["sky", "garden", "street"]
    assert found["largest_closing_error"] < 1e-12
    for later in found["transitions"][1:]:  # as the README tells
        sky = later["reliance"][0]
        assert (sky["environment"], sky["accuracy_change"][0], sky["hidden"]) == ("sky", 0, ["image"])
        assert sky["high"][0] < 0
    assert (found["tau"], found["lambda"]) == (PROTOCOL.tau, 0.25) != (PROTOCOL.tau, PROTOCOL.weight)
    files = [str(tmp_path / f"after_{k}.npz") for k in range(4)]
    heads = [x for k in range(4) for x in ("--heads", str(tmp_path / f"head_{k}.safetensors"))]
    settings = ["--tau", str(found["tau"]), "--lambda", str(found["lambda"])]
    again = CliRunner().invoke(main, ["audit", *files, *heads, *settings, "--json", "-"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.output)["transitions"] == found["transitions"]


def test_checkpoints_of_one_data_set() -> None:
    done = CliRunner().invoke(main, ["audit", "embedded:high", "embedded:low", "--data", "embedded:high"])
    assert done.exit_code == 0, done.output
    assert "\n# in short: hidden and failed; explained below\nlearnt\tforgotten\t" in f"\n{done.stdout}"
    assert done.stdout.index("# in short") < done.stdout.index("# while learning sky")
    assert "no heads" in done.output


def test_bad_input_is_one_message() -> None:
    done = CliRunner().invoke(main, ["audit", "one.npz", "two.npz"])
    assert done.exit_code == 2
    assert "one.npz" in done.output
    assert "Traceback" not in done.output
    assert CliRunner().invoke(main, ["audit"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.npz", "b.npz", "--demo"], "beside --demo"),
        (["--demo", "--order", "x"], "--order beside --demo"),
        (["--demo", "--fusion", "concat"], "--fusion beside --demo"),
        (["a.npz", "b.npz", "--folder", "x"], "without --demo or --data"),
        (["embedded:high", "embedded:low"], "pass --data"),
        (["embedded:high", "embedded:fused_high", "--data", "embedded:high"], "another architecture, model_type vilt"),
        (["a.npz", "b.npz", "--seed", "-1"], "'--seed': -1"),
        (["a.npz", "b.npz", "--json", "."], "is a folder"),
        (["--demo", "--json", str(Path(__file__) / "a.json")], "is a file"),
    ],
)
def test_options_that_cannot_be_met_are_one_message(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(main, ["audit", *arguments])
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output


def test_features_and_checkpoints_in_one_run(tmp_path: Path) -> None:
    """A features file stands for its checkpoint; data with no checkpoint, and a folder of another run, are refused."""
    models = ["embedded:high", "embedded:low", "--data", "embedded:high"]
    keep = CliRunner().invoke(main, ["audit", *models, "--folder", str(tmp_path), "--json", "-"])
    assert keep.exit_code == 0, keep.output
    stage = str(tmp_path / "stage_1.npz")
    mixed = CliRunner().invoke(main, ["audit", "embedded:high", stage, "--data", "embedded:high", "--json", "-"])
    assert json.loads(mixed.output)["transitions"] == json.loads(keep.output)["transitions"]
    alone = CliRunner().invoke(main, ["audit", stage, stage, "--data", "embedded:high"])
    assert "no checkpoint among 2 files" in alone.output
    other = CliRunner().invoke(main, ["audit", *models[1::-1], *models[2:], "--folder", str(tmp_path)])
    assert other.exit_code == 2
    assert "another --folder" in other.output


def test_numbers_of_every_size() -> None:
    from crossmodal.audit_tables import interval, nats

    assert [nats(x) for x in (0.0, -1e-15, 0.25, -3e-6, 2e7)] == [
        "+0.0000",
        "+0.0000",
        "+0.2500",
        "-3.0e-06",
        "+2.0e+07",
    ]
    assert interval(-1e-9, -0.25, 0.1) == "+0.000 [-0.250, +0.100]"


def made_up(learnt: list[str], hidden: dict[str, tuple[str, ...]], fail: list[str], lost: dict[str, float]) -> Any:
    """As much of an audit as its summary reads; all transitions are the same but for what is learnt."""
    transitions = [
        SimpleNamespace(
            learnt=name,
            reliance=[SimpleNamespace(environment=e, hidden=h) for e, h in hidden.items()],
            checks=[SimpleNamespace(theorem=x, holds=x not in fail) for x in ("S6", "T1.7", "T1.4", "T3.11")],
        )
        for name in learnt
    ]
    forgetting = [
        SimpleNamespace(environment=e, loss="CE", forgotten=x, largest="step, covariances" if x else "")
        for e, x in lost.items()
    ]
    return SimpleNamespace(transitions=transitions, forgetting=forgetting)


def test_the_verdict_in_short(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from crossmodal import audit_tables, terminal

    hidden: dict[str, tuple[str, ...]] = {"sky": ("image", "text"), "garden": ()}
    lost = {"sky": 0.25, "garden": 0.0}
    audit_tables.in_short(made_up(["sky", "garden", "sky"], hidden, ["T1.4", "T3.11"], lost))
    _, head, *lines = capsys.readouterr().out.splitlines()
    rows = [line.split("\t") for line in lines]
    assert head.split("\t")[2] == "largest term", (
        "it may be far from most of what was forgotten, or added where others took more"
    )
    rest = ["image of sky, text of sky", "T1.4, T3.11"]
    assert rows == [
        ["sky", "-", "-", *rest],  # learnt again: what was forgotten counts from then
        ["garden", "+0.0000", "-", *rest],
        ["sky", "+0.2500", "step, covariances (T1.3)", *rest],
    ]
    audit_tables.in_short(made_up(["sky"], dict.fromkeys("abcde", ("text",)), [], {}))
    assert capsys.readouterr().out.splitlines()[2] == "sky\t-\t-\ttext of a, text of b, text of c and 2 more\t-"

    monkeypatch.setattr(terminal, "console", Console(width=80, force_terminal=True, no_color=True))
    lost = {"sky": 0.25, "garden": 0.5}
    audit_tables.in_short(made_up(["sky", "garden", "street"], {"sky": ("image",)}, ["T1.7", "T1.4", "T3.11"], lost))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert len(shown) < 24  # a screen
    assert max(map(len, shown)) <= 80


def test_a_narrow_terminal_breaks_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from crossmodal import audit_tables, terminal

    monkeypatch.setattr(terminal, "console", Console(width=60, force_terminal=True, no_color=True))
    names = [f"environment-{k}" for k in range(5)]
    numbers = [f"+{k}.12345678" for k in range(5)]
    audit_tables.by_environment("title: more", "term", names, [["a term of some length", *numbers]])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert all(x in shown for x in numbers)
    assert "title, continued" in shown
    assert max(len(line) for line in shown.splitlines()) <= 60
