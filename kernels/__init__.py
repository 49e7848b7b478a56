"""Fused kernels for masked-modality forward passes and statistics of all image-text pairs.

Every operation below takes ``impl = "auto" | "torch" | "naive"``, and K1 to K3 ``"triton"`` too.  ``naive`` is the
readable reference, ``torch`` is what a machine without a GPU runs, ``triton`` needs a CUDA device, and ``auto`` picks
by device and size.  Importing this package imports neither torch nor Triton nor transformers.

====================  ===================================================================  ==================
name                  computes                                                             backward
====================  ===================================================================  ==================
``moments``           mean and variance parts of all pairwise cosines (K0, S1)             autograd
``pair_lse``          row and column log-sum-exp of all scaled cosines (K1)                recomputation
``coalition_head``    linear head under the four modality coalitions (K2)                  none
``segment_attention`` attention per token segment, merged into coalitions (K3)             none
``pack_coalitions``   fused encoder under many token masks in one packed pass (K4)         autograd
``factored_dual``     dual encoder under K x K token masks with 2K encodings (K5)          autograd
====================  ===================================================================  ==================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossmodal.kernels.attention import register_attention as register_attention
    from crossmodal.kernels.coalitions import dual_coalitions as dual_coalitions
    from crossmodal.kernels.coalitions import fused_coalitions as fused_coalitions
    from crossmodal.kernels.coalitions import model_coalitions as model_coalitions
    from crossmodal.kernels.coalitions import shapley as shapley
    from crossmodal.kernels.dual import factored_dual as factored_dual
    from crossmodal.kernels.fused import pack_coalitions as pack_coalitions
    from crossmodal.kernels.graphs import GraphedCall as GraphedCall
    from crossmodal.kernels.ops.coalition_head import CoalitionHead as CoalitionHead
    from crossmodal.kernels.ops.coalition_head import coalition_head as coalition_head
    from crossmodal.kernels.ops.moments import FeatureMoments as FeatureMoments
    from crossmodal.kernels.ops.moments import PairMoments as PairMoments
    from crossmodal.kernels.ops.moments import moments as moments
    from crossmodal.kernels.ops.moments import stream_marginals as stream_marginals
    from crossmodal.kernels.ops.moments import stream_moments as stream_moments
    from crossmodal.kernels.ops.pair_lse import PairLSE as PairLSE
    from crossmodal.kernels.ops.pair_lse import pair_lse as pair_lse
    from crossmodal.kernels.ops.segment_attention import SegmentAttention as SegmentAttention
    from crossmodal.kernels.ops.segment_attention import segment_attention as segment_attention

_HOME = {
    "moments": "ops.moments",
    "stream_marginals": "ops.moments",
    "stream_moments": "ops.moments",
    "FeatureMoments": "ops.moments",
    "PairMoments": "ops.moments",
    "pair_lse": "ops.pair_lse",
    "PairLSE": "ops.pair_lse",
    "coalition_head": "ops.coalition_head",
    "CoalitionHead": "ops.coalition_head",
    "segment_attention": "ops.segment_attention",
    "SegmentAttention": "ops.segment_attention",
    "register_attention": "attention",
    "pack_coalitions": "fused",
    "factored_dual": "dual",
    "fused_coalitions": "coalitions",
    "dual_coalitions": "coalitions",
    "model_coalitions": "coalitions",
    "shapley": "coalitions",
    "GraphedCall": "graphs",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
