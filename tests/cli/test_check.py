"""`crossmodal check` as a user meets it: random models, adversarial search, dropped assumptions, JSON, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.check import assumptions_hold
from crossmodal.synthetic.evaluate import bound_values, judge, tightened
from crossmodal.synthetic.falsify import without
from crossmodal.theory import registry

from crossmodal.cli import main

exact = arithmetic("exact")


def run(*args: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["check", *args])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.output


def test_adversarial_search_reports_how_tight_a_bound_is() -> None:
    out = run("S5", "--examples", "500", "--adversarial")
    assert "lhs/rhs reached" in out
    line = next(x for x in out.splitlines() if x.startswith("smooth\t") and "=" in x)
    assert 0.999 <= float(line.split("\t")[1]) <= 1
    assert "no counterexample" in out
    assert "lhs/rhs" not in run("S5", "--examples", "500")


def test_search_finds_what_random_models_miss(tmp_path: Path) -> None:
    """A bound tightened by a hundredth of a percent: 200 random models see nothing, the search finds a model and confirms it."""
    args = ("S6", "--examples", "200", "--tighten", "0.0001")
    assert "no counterexample" in run(*args)
    target = tmp_path / "s6.json"
    out = run(*args, "--adversarial", "--json", str(target), status=1)
    assert "confirmed in exact rationals" in out
    found = json.loads(target.read_text())
    claim = registry.get("S6")
    relation = next(r for r in claim.statement.relations if r.name == found["witness"]["relation"])
    values = bound_values(claim, found["witness"]["inputs"], exact)
    assert assumptions_hold(claim, values, exact)
    assert judge(relation, values, exact).status != "violated", "an equality of roots cannot be told from a tiny slack"
    assert judge(tightened(relation, Fraction(1, 10_000)), values, exact).status == "violated"


def test_dropping_an_assumption(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    out = run(
        "T3.4", "--examples", "200", "--drop", registry.get("T3.4").droppable()[0].name, "--json", str(target), status=1
    )
    assert "is needed" in out
    found = json.loads(target.read_text())
    claim = registry.get("T3.4")
    values = bound_values(claim, found["witness"]["inputs"], exact)
    assert not assumptions_hold(claim, values, exact) or found["dropped"] not in {
        a.name for a in claim.statement.assumptions if a.relations
    }
    assert assumptions_hold(without(claim, found["dropped"]).weakened, values, exact)
    assert "no assumption 'nothing' to drop" in run("S6", "--drop", "nothing", status=2)


def test_json_holds_everything_and_is_the_same_twice(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        run("S4", "--examples", "300", "--adversarial", "--json", str(tmp_path / name))
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]
    found = json.loads(texts[0])
    assert found["examples"] == 300
    assert found["adversarial"]["searches"] > 0
    assert found["adversarial"]["found"] is False
    reached = found["adversarial"]["tightness"]["corollary"]
    values = bound_values(registry.get("S4"), reached["inputs"], exact)
    relation = next(r for r in registry.get("S4").statement.relations if r.name == "corollary")
    again = judge(relation, values, exact)
    assert again.lhs / again.rhs == pytest.approx(reached["ratio"], rel=1e-12)
    assert json.loads(run("S4", "--examples", "300", "--json", "-"))["adversarial"] is None


MEMORY = """
import resource
from crossmodal.check import check
for examples in (20_000, 200_000):
    check("D1", examples, 0, 0.0, None)
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_examples() -> None:
    """In a process of its own, whose peak so far is asked after few examples and after ten times as many."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    peaks = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak")]
    assert len(peaks) == 2
    assert peaks[1] < 1.15 * peaks[0]  # kilobytes
