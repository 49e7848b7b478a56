"""Tables on a terminal and in a pipe."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from crossmodal import terminal
from crossmodal.cli import main


@pytest.mark.parametrize("text", ["E[zz']", "[bold]street[/bold]", "[+0.1, +0.2]"])
def test_brackets_are_text(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """An environment may be called anything: nothing in a table is markup."""
    out = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=out, force_terminal=True, width=80, color_system=None))
    terminal.table(text, [(text, "left")], [[text]])
    assert out.getvalue().count(text) == 3


@pytest.mark.parametrize("on_terminal", [True, False])
def test_names_do_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], on_terminal: bool
) -> None:
    """An escape in a file's names is shown, and does nothing."""
    out = io.StringIO()
    monkeypatch.setattr(
        terminal,
        "console",
        Console(file=out, force_terminal=on_terminal, width=80, color_system=None, legacy_windows=False),
    )
    text = "x\x1b]0;y\x07\x9b2J"
    terminal.table(text, [(text, "left")], [[text]])
    shown = out.getvalue() + capsys.readouterr().out
    assert shown.count(r"x\x1b]0;y\x07\x9b2J") == 3
    assert "\x1b]" not in shown
    assert not {"\x07", "\x9b"} & set(shown)


def test_a_pipe_gets_tabs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "console", Console(file=io.StringIO(), force_terminal=False))
    terminal.table("title", [("a", "left"), ("b", "right")], [[1, "x\ty\nz"]])
    assert capsys.readouterr().out == "# title\na\tb\n1\tx y z\n"


def test_notes_keep_their_brackets() -> None:
    """The extra to install stands in them."""
    with terminal.errors.capture() as caught:
        terminal.errors.print("fix: pip install 'crossmodal[vlm]' :smile:")
    assert "'crossmodal[vlm]' :smile:" in caught.get()


@pytest.mark.parametrize(
    "command",
    ["extract embedded:high embedded:high --limit 2 -o f.npz", "coalitions embedded:high embedded:high --limit 4"],
)
def test_loading_a_model_is_seen(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It takes seconds, most of them imports; on a terminal something moves meanwhile."""
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    monkeypatch.setattr(terminal, "errors", Console(file=out, force_terminal=True, width=80, color_system=None))
    assert CliRunner().invoke(main, command.split()).exit_code == 0
    assert "reading data and model" in out.getvalue()
