"""Wrong variants of the Triton kernels, made from their source by replacement; used by the two scripts here."""

from __future__ import annotations

import ast
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from crossmodal.kernels.ops.coalition_head import triton as head
from crossmodal.kernels.ops.pair_lse import triton as pair
from crossmodal.kernels.ops.segment_attention import triton as segment

MODULES = {"pair": pair, "head": head, "segment": segment}

FOLDER = tempfile.TemporaryDirectory(prefix="mutants-")  # until the process ends


def mutant(name: str, *replacements: tuple[str, str]) -> ModuleType:
    """The kernel module `name` with every replacement made; a replacement that finds nothing is an error."""
    original = MODULES[name]
    source = Path(original.__file__).read_text()
    for old, new in replacements:
        if old not in source:
            raise ValueError(f"{name}: nothing to replace: {old!r}")
        source = source.replace(old, new)
    return _imported(name, source)


def contracted(name: str) -> ModuleType:
    """The kernel module `name` as a compiler may make it: a product that something is added to is not rounded first.

    The interpreter rounds every product, so what relies on that is right there and wrong on a GPU.
    """
    source = Path(MODULES[name].__file__).read_text()
    return _imported(name, ast.unparse(_Contract().visit(ast.parse(source))) + FUSED)


FUSED = """

@triton.jit
def _fused(a, b, c):
    x = a * b
    if x.dtype == tl.float32:
        # the product of two float32 numbers is exact in float64
        x = tl.cast(a, tl.float32).to(tl.float64) * tl.cast(b, tl.float32).to(tl.float64)
        return (x + c).to(tl.float32)
    return x + c
"""


class _Contract(ast.NodeTransformer):
    """Writes ``a * b + c`` and ``a * b - c`` as ``_fused(a, b, c)`` in kernels."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self.generic_visit(node) if [ast.unparse(d) for d in node.decorator_list] == ["triton.jit"] else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        left, right = node.left, node.right
        if (
            not isinstance(node.op, ast.Add | ast.Sub)
            or not isinstance(left, ast.BinOp)
            or not isinstance(left.op, ast.Mult)
        ):
            return node
        right = right if isinstance(node.op, ast.Add) else ast.UnaryOp(ast.USub(), right)
        return ast.Call(ast.Name("_fused"), [left.left, left.right, right], [])


def _imported(name: str, source: str) -> ModuleType:
    # Triton reads kernels from their file, so the mutant needs one
    path = Path(FOLDER.name) / f"{name}_mutant_{len(list(Path(FOLDER.name).iterdir()))}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
