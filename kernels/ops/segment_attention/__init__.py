"""K3 `segment_attention`: attention per token segment, merged exactly into any coalition's output."""

from crossmodal.kernels.ops.segment_attention.api import SegmentAttention, segment_attention

__all__ = ["SegmentAttention", "segment_attention"]
