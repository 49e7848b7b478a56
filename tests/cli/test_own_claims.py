"""A claim in a file of the user's own, from the example to a verdict, and what goes wrong on the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from crossmodal.theory import registry
from crossmodal.theory.errors import InputError

from crossmodal.cli import main

FAST = ["--models", "4", "--mutants-each", "6"]


def run(*args: str, status: int = 0) -> str:
    found = CliRunner().invoke(main, list(args))
    assert found.exit_code == status, (found.output, found.exception)
    return found.output


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example's text; the working directory is an empty folder."""
    from crossmodal.theory import own_claims

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_claims, "_ids", {})
    monkeypatch.setattr(own_claims, "_run", set())
    return run("show", "--example")


def test_the_example_becomes_a_proved_claim(example: str) -> None:
    Path("my_claim.py").write_text(example)
    first = run("verify", "my_claim.py", *FAST, "--jobs", "1", status=1)
    assert "1 UNDECIDED" in first
    assert "`crossmodal verify --rewrite my_claim.py` stores the one derived now" in first
    assert run("verify", "--rewrite", "my_claim.py").strip() == "my_claim.certificate.json"
    # in processes of their own, beside a claim of the theory
    out = run("verify", "my_claim.py", "s3", *FAST, "--jobs", "2", "--mutants")
    assert "2 PROVED; 12 of 12 certificate mutants rejected" in out
    assert out.index("\nS3\t") < out.index("\nE1\t")
    assert "holds on 5" in out
    assert "gap: none" in run("show", "my_claim.py")
    assert "so 'unit' is needed" in run("check", "my_claim.py", "--examples", "512", "--drop", "unit", status=1)
    assert registry.get("my_claim.py").missing() == []
    assert {p.name for p in Path().iterdir()} == {"my_claim.py", "my_claim.certificate.json"}


def test_a_certificate_stored_before_a_change_is_not_its_own(example: str) -> None:
    Path("my.py").write_text(example)
    run("verify", "--rewrite", "my.py")
    Path("my.py").write_text(
        example.replace('scalars("Con_IT Con_II', 'scalars("Con_IT Con_JJ').replace('"Con_II"', '"Con_JJ"')
    )
    out = run("verify", "my.py", *FAST, "--jobs", "1", status=1)
    assert "1 UNDECIDED" in out
    assert "stored certificate differs" in out


def test_a_false_claim_is_refuted_with_its_counterexample(example: str) -> None:
    Path("wrong.py").write_text(example.replace("(1 + con_ii) / 2", "(1 + con_ii) / 3"))
    out = run("verify", "wrong.py", *FAST, "--jobs", "1", status=1)
    assert "1 REFUTED" in out
    assert "violated exactly on a drawn model: bound\n" in out
    assert "\n  U = [['" in out


MISTAKES = [
    ("def derive(p: Proof)", "def derive p: Proof)", r"my.py, line 4\d: unmatched"),
    ("con_it, con_ii, con_tt = ", "con_it, con_ii, con_t = ", r"my.py, line \d+, in <module>: NameError: .*con_tt"),
    ('"mu": ops.mean_row(images), ', "", "no value for 'mu'\n.*found Con_IT, Con_II, Con_TT, nu"),
    ("ops.mean_row(images)", "images @ texts", r"my.py, line \d+, in bind: ValueError"),
    ('"scores.3"]', '"scores.4"]', r"my.py, line \d+, in derive: KeyError: 'scores.4'"),
    ("view.image(s)", "view.images(s)", r"my.py, line \d+, in on_features: AttributeError: .*images"),
    ('Input("U", "unit_rows"', 'Input("U", "unit_row"', "the kind of input 'U' is 'unit_row', none of unit_rows, rows"),
    ('"<=", (1', '"=<", (1', "the sign of .* is '=<', none of ==, <="),
    ('Relation("gap"', 'Relation("bound"', "two relations called 'bound'"),
    ('{"unit": Instance', '{"units": Instance', "necessity of 'units', which is no assumption that can be dropped"),
    ('"V": [[1, 0]]}', '"v": [[1, 0]]}', "tight instance 1 has no V"),
    ('the same", "bound")', 'the same", "bounds")', "the instance 'one image .* is of 'bounds', which is no relation"),
    ('id="E1"', 'id="t3.5"', "its id 't3.5' is that of a claim of the theory"),
    ("CLAIM = Claim(", "CLAIM = dict(", "CLAIM is a dict"),
    ("CLAIM = Claim(", "THEOREM = Claim(", "no CLAIM"),
    ('"<=", (1 + con_ii) / 2', '"<=", __import__("sympy").sin(con_ii)', r"no value for sin\(Con_II\)"),
]


@pytest.mark.parametrize(("right", "wrong", "words"), MISTAKES)
def test_mistakes_are_explained(right: str, wrong: str, words: str, example: str) -> None:
    assert example.count(right) == 1
    Path("my.py").write_text(example.replace(right, wrong))
    out = run("verify", "my.py", *FAST, "--jobs", "1", status=2)
    assert re.search(words, out), out


def test_a_mistake_in_another_process(example: str) -> None:
    Path("my.py").write_text(example.replace("view.image(s)", "view.images(s)"))
    assert "in on_features: AttributeError" in run("verify", "S1", "my.py", *FAST, "--jobs", "2", status=2)


def test_a_claim_without_a_proof(example: str) -> None:
    Path("my.py").write_text(example.replace('coef="1/2"), square(facts', 'coef="1/3"), square(facts'))
    assert "certificate: E1: left over" in run("verify", "my.py", *FAST, "--jobs", "1", status=1)
    for command in (["show"], ["verify", "--rewrite"]):
        assert "my.py: no proof found: E1: left over" in run(*command, "my.py", status=2)
    Path("my.py").write_text(example.replace("    derive=derive,\n", ""))
    assert "[PROVED if `crossmodal verify my.py` says so]" in run("show", "my.py")


def test_files_are_read_again_and_have_ids_of_their_own(example: str) -> None:
    Path("my.py").write_text(example)
    assert registry.get("my.py").title == "The gap between the modalities"
    plain = example.replace("from __future__ import annotations\n", "def f(x: int) -> int: ...\n")
    Path("my.py").write_text(plain + "\nassert f.__annotations__ == {'x': int, 'return': int}\n")
    assert registry.get("my.py").title == "The gap between the modalities", "as Python reads it, and no file of ours"
    Path("my.py").write_text(example.replace('title="The gap between', 'title="A gap between'))
    assert registry.get("my.py").title == "A gap between the modalities"
    Path("copy.py").write_text(example)
    with pytest.raises(InputError, match=r"copy.py: its id 'E1' is that of my.py"):
        registry.get("copy.py")
    Path("my.py").write_text(example.replace('id="E1"', 'id="E2"'))
    assert (registry.get("my.py").id, registry.get("copy.py").id) == ("E2", "E1"), "the id is free again"
    for name, word in (("none.py", "No such file"), ("folder.py", "Is a directory")):
        Path("folder.py").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=f"{name}: cannot be read .{word}"):
            registry.get(name)
