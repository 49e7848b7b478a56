"""K0 `moments`: mean and variance parts of all pairwise scores from first and second moments."""

from crossmodal.kernels.ops.moments.api import PairMoments, moments
from crossmodal.kernels.ops.moments.streaming import PairMarginals, stream_marginals, stream_moments
from crossmodal.kernels.ops.moments.torch import FeatureMoments

__all__ = ["FeatureMoments", "PairMarginals", "PairMoments", "moments", "stream_marginals", "stream_moments"]
