"""`crossmodal sweep`: configurations read or refused with their reason, two tables written, nothing done twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from crossmodal.theory.errors import InputError

from crossmodal import sweep
from crossmodal.cli import main

CONFIG = """
seeds = [0, 3]
orders = [[0, 1, 2], [2, 1, 0]]
keep_weights = false
[scenes]
environments = 3
train = 6
judged = 6
[[protocol]]
epochs = 1
weight = [0.0, 1]
[[protocol]]
mode = "lora"
epochs = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(CONFIG)
    return path


def test_a_configuration_is_read(config: Path) -> None:
    plan = sweep.read_config(config)
    assert [(p.mode, p.weight, p.epochs) for p in plan.protocols] == [
        ("frozen", 0, 1),
        ("frozen", 1, 1),
        ("lora", 0.5, 1),
    ]
    assert (plan.seeds, plan.orders, plan.keep_weights) == ((0, 3), ((0, 1, 2), (2, 1, 0)), False)
    assert plan.choice.environments == 3
    assert len(plan.cells()) == 3 * 2 * (1 + 2 * 3)
    config.write_text('orders = "neutral"')
    assert sweep.read_config(config).orders == ((0, 1, 2, 3, 4),)
    config.write_text("seeds = [0]")
    assert sweep.read_config(config).orders is None


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("seeds = [0, 3]", "seeds = [0, 0]", "2 seeds, 1 different"),
        ("seeds = [0, 3]", "seeds = [-1]", "not negative"),
        ("seeds = [0, 3]", "seed = [0]", "field 'seed'"),
        ("[[0, 1, 2], [2, 1, 0]]", "[[0, 1]]", "order"),
        ("[[0, 1, 2], [2, 1, 0]]", '"some"', "neutral"),
        ("keep_weights = false", "keep_weights = 1", "true or false"),
        ("environments = 3", "environment = 3", "field 'environment'"),
        ("train = 6", "train = 7", "multiple of 3"),
        ("[scenes]", "[scene]", "field 'scene'"),
        ('mode = "lora"', 'mode = "low"', "frozen, full, lora"),
        ("[[protocol]]", "[[protocols]]", "field 'protocols'"),
        ("weight = [0.0, 1]", "weight = [0.0, 0]", "protocols"),
        ("seeds = [0, 3]", "seeds = [0, 3", "TOML"),
    ],
)
def test_mistakes_are_explained(config: Path, before: str, after: str, says: str) -> None:
    config.write_text(CONFIG.replace(before, after))
    with pytest.raises(InputError, match=r"small\.toml") as caught:
        sweep.read_config(config)
    assert says in str(caught.value)


def test_no_file() -> None:
    result = CliRunner().invoke(main, ["sweep", "nowhere.toml"])
    assert result.exit_code == 2
    assert "nowhere.toml" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_command_writes_both_tables_and_resumes(config: Path) -> None:
    pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so nothing was trained")
    first = CliRunner().invoke(main, ["sweep", str(config)], catch_exceptions=False)
    assert first.exit_code == 0
    folder = config.with_suffix(".sweep")
    assert first.stdout.splitlines() == [f"42 cells in {folder}", str(folder / "cells.csv"), str(folder / "scores.csv")]
    tables = [(folder / name).read_bytes() for name in ("cells.csv", "scores.csv")]
    cells = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    torn = next(iter(cells))
    torn.write_bytes(torn.read_bytes()[:40])
    again = CliRunner().invoke(main, ["sweep", str(config)], catch_exceptions=False)
    assert again.exit_code == 0
    assert f"note: {torn}: torn or foreign" in again.stdout
    assert [(folder / name).read_bytes() for name in ("cells.csv", "scores.csv")] == tables
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.json") if path != torn}
    assert kept == {path: time for path, time in cells.items() if path != torn}
