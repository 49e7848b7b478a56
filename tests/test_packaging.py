"""The package as it is installed: every folder listed, every data file shipped, no file in two places."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from crossmodal.theory import checker, registry

from crossmodal.cli import main

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_package_is_listed() -> None:
    mapping = {folder: name for name, folder in CONFIG["package-dir"].items()}
    found = set()
    for folder, name in mapping.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(ROOT / folder).parts]))
    assert found == set(CONFIG["packages"])


def test_schema_names_the_rules_of_the_checker() -> None:
    schema = json.loads((ROOT / "theory" / "certificate.schema.json").read_text(encoding="utf-8"))
    rules = schema["$defs"]["step"]["properties"]["by"]["properties"]["rule"]["enum"]
    assert set(rules) == set(checker.RULES) | set(checker.INTRODUCE)
    assert schema["properties"]["schema"]["const"] == checker.SCHEMA


@pytest.mark.parametrize("claim_id", list(registry.modules()))
def test_stored_certificates_follow_the_schema(claim_id: str) -> None:
    path = registry.CERTIFICATES / f"{claim_id}.json"
    if registry.get(claim_id).derive is None:
        assert not path.exists()
        return
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    schema = json.loads((ROOT / "theory" / "certificate.schema.json").read_text(encoding="utf-8"))
    assert not [e.message for e in validator(schema).iter_errors(json.loads(path.read_text(encoding="utf-8")))]


def test_no_stored_certificate_without_a_claim() -> None:
    assert {p.stem for p in registry.CERTIFICATES.glob("*.json")} <= set(registry.modules())


def test_every_file_of_claims_is_one_claim_and_no_two_have_one_id() -> None:
    """Of two files with one id the registry would keep one and say nothing."""
    stems = {path.stem for path in registry.CLAIMS.glob("*.py")} - {"__init__"}
    assert stems == set(registry.modules().values())


def test_commands_of_readme_and_contributing_are_there_with_their_options() -> None:
    seen = set()
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for pair in re.findall(r"^\$ crossmodal (.*)|`crossmodal (.*?)`", text, re.MULTILINE):
            command, *words = "".join(pair).split(" #")[0].split()
            seen.add(command)
            options = {option for parameter in main.commands[command].params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options, command
    assert seen == set(main.commands) - {"paper"}  # which `make paper` calls


def test_readme_says_how_many_claims_there_are() -> None:
    count = re.search(r"^([A-Z][a-z]+-[a-z]+) claims;", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert count is not None
    assert (count[1], len(registry.modules())) == ("Fifty-seven", 57)


def test_the_name_that_contributing_gives_a_new_claim_is_free() -> None:
    (name,) = re.findall(r"`t(\d+)_(\d+)_something\.py`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert f"T{'.'.join(name)}" not in registry.modules()


def test_make_paper_installs_what_the_figures_need() -> None:
    """Two of them run a shipped model; in a clean clone nothing but this target has been made."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\n$(VENV)/.paper:")[1].split("\n$(VENV)")[0]
    assert {"paper", "vlm"} <= set(re.findall(r"\w+", recipe[recipe.index("'.[") :]))
