"""Wrong variants of the Triton kernels, made from their source by replacement; used by the two scripts here."""

from __future__ import annotations

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
    # Triton reads kernels from their file, so the mutant needs one
    path = Path(FOLDER.name) / f"{name}_mutant_{len(list(Path(FOLDER.name).iterdir()))}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
