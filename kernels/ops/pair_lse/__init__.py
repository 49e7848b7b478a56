"""K1 `pair_lse`: row and column log-sum-exp of all scaled inner products, without the N x M matrix."""

from crossmodal.kernels.ops.pair_lse.api import PairLSE, pair_lse

__all__ = ["PairLSE", "pair_lse"]
