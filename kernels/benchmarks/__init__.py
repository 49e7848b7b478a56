"""Speed and memory of the kernels beside their peers: ``main(output_dir, only, threads, quick)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossmodal.kernels.benchmarks.suite import item_names as item_names
    from crossmodal.kernels.benchmarks.suite import main as main

__all__ = ["item_names", "main"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from crossmodal.kernels.benchmarks import suite

    return getattr(suite, name)
