"""crossmodal: the theory of cross-modal contributions in continual vision-language models, made checkable.

The names below are all that is public; each is imported at its first use, so that `import crossmodal` stays instant.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING

__version__ = "0.1.0"


# In a clone the sibling folders are this package's parts; without this, `python` started at the root of the clone
# would find this folder first and none of them.
_root = _Path(__file__).parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "theory").is_dir():
    __path__.append(str(_root))

if TYPE_CHECKING:
    from crossmodal.kernels import (
        coalition_head,
        factored_dual,
        model_coalitions,
        moments,
        pack_coalitions,
        pair_lse,
        segment_attention,
        stream_moments,
    )
    from crossmodal.theory.certify import certify
    from crossmodal.theory.checker import check_text
    from crossmodal.theory.errors import InputError
    from crossmodal.theory.registry import all_claims
    from crossmodal.theory.registry import get as get_claim
    from crossmodal.vlm_validation import metrics
    from crossmodal.vlm_validation.audit import audit as run_audit
    from crossmodal.vlm_validation.audit import make_run
    from crossmodal.vlm_validation.features import Features, load_features, save_features
    from crossmodal.vlm_validation.measure import measure
    from crossmodal.vlm_validation.order_oracle import recommend_order
    from crossmodal.vlm_validation.scores import estimate_scores

_WHERE = {
    "kernels": (
        "coalition_head", "factored_dual", "model_coalitions", "moments", "pack_coalitions", "pair_lse", "segment_attention",
        "stream_moments",
    ),
    "theory.certify": ("certify",),
    "theory.checker": ("check_text",),
    "theory.errors": ("InputError",),
    "theory.registry": ("all_claims", "get_claim"),
    "vlm_validation": ("metrics",),
    "vlm_validation.audit": ("make_run", "run_audit"),
    "vlm_validation.features": ("Features", "load_features", "save_features"),
    "vlm_validation.measure": ("measure",),
    "vlm_validation.order_oracle": ("recommend_order",),
    "vlm_validation.scores": ("estimate_scores",),
}  # fmt: skip
_THERE = {"get_claim": "get", "run_audit": "audit"}  # where the name at home says less than it must here
_HOME = {name: module for module, names in _WHERE.items() for name in names}
__all__ = [
    "Features", "InputError", "all_claims", "certify", "check_text", "coalition_head", "estimate_scores", "factored_dual", "get_claim",
    "load_features", "make_run", "measure", "metrics", "model_coalitions", "moments", "pack_coalitions", "pair_lse", "recommend_order",
    "run_audit", "save_features", "segment_attention", "stream_moments",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'crossmodal' has no attribute {name!r}")
    module = f"crossmodal.{_HOME[name]}"
    found = (
        _import_module(f"{module}.{name}")
        if name == "metrics"
        else getattr(_import_module(module), _THERE.get(name, name))
    )
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
