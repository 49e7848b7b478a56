"""K2 `coalition_head`: a linear head under the four modality coalitions."""

from crossmodal.kernels.ops.coalition_head.api import COALITIONS, CoalitionHead, coalition_head

__all__ = ["COALITIONS", "CoalitionHead", "coalition_head"]
