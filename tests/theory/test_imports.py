"""`crossmodal.theory` is light, and the checker depends on the standard library alone."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import crossmodal.theory.checker as checker
import pytest
from crossmodal.theory import registry

FORBIDDEN = {"torch", "numpy", "scipy", "matplotlib", "transformers"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or "").split(".")[0])
    return names


def test_checker_imports_the_standard_library_only() -> None:
    folder = Path(checker.__file__).parent
    assert imported(folder / "checker.py") <= {*sys.stdlib_module_names, ".algebra"}
    assert imported(folder / "algebra.py") <= set(sys.stdlib_module_names)


def test_theory_imports_no_array_library() -> None:
    for path in registry.CLAIMS.parent.rglob("*.py"):
        assert not imported(path) & FORBIDDEN, path.name


def test_import_is_quick_and_light() -> None:
    code = "import crossmodal, crossmodal.theory, sys; print(sorted({'torch', 'sympy', 'numpy'} & set(sys.modules)))"
    best = 60.0
    for _ in range(3):
        start = time.perf_counter()
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        best = min(best, time.perf_counter() - start)
    assert out.strip() == "[]"
    assert best < 1.0


def test_every_public_name_is_there_and_documented() -> None:
    import crossmodal

    assert set(crossmodal.__all__) <= set(dir(crossmodal))
    for name in crossmodal.__all__:
        assert getattr(crossmodal, name).__doc__, name
    assert crossmodal.get_claim("T3.4").verdict == "PROVED"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        crossmodal.nothing  # noqa: B018
