"""The public function of K0; it lives apart from the package, where the name `torch` is the submodule."""

from __future__ import annotations

from typing import NamedTuple

from crossmodal.kernels import checks
from crossmodal.kernels.dispatch import IMPLEMENTATIONS, resolve, without_autocast
from torch import Tensor


class PairMoments(NamedTuple):
    """Population moments of ``<u_i, v_j>`` over all pairs (i, j); float64 scalars as 0-d tensors.

    ``variance = image + text + interaction`` (S1): what is left when the text is averaged out, when the image is
    averaged out, and what only their combination explains.
    """

    mean: Tensor
    """``<mu_u, mu_v>``, the contribution score; in [-1, 1] for unit features."""
    variance: Tensor
    """Variance of all N M scores, divided by N M (the V-statistic)."""
    image: Tensor
    """``mu_v' Sigma_u mu_v``."""
    text: Tensor
    """``mu_u' Sigma_v mu_u``."""
    interaction: Tensor
    """``<Sigma_u, Sigma_v>_F``."""


@without_autocast
def moments(u: Tensor, v: Tensor, *, impl: str = "auto") -> PairMoments:
    """Mean and the three variance parts of all pairwise scores ``<u_i, v_j>`` in O((N + M) d^2) (K0, S1).

    Features are centred before they are squared: raw float32 moments of scores with mean 0.99 are off by
    percents of a variance of 4e-7.  The d x d combination is in float64.  Differentiable by autograd.

    Errors of a part are below 1e-6 of the variance for float32 features, and image and text part are right to 1e-6 of
    themselves also where they are a thousandth of what surrounds them: in one narrow cone, up to a mean of 0.9999.
    Spreads from 1e-15 to 1e17 have squares that float32 holds.

    Args:
        u: (N, d) image features: float16, bfloat16, float32 or float64.
        v: (M, d) text features of the same dtype, on the same device.  M may differ from N.
        impl: ``auto``, ``torch`` or ``naive``.  There is no Triton kernel: the work is two matrix products, which
            the vendor's library does best; ``triton`` is an error that says so.

    Returns:
        A `PairMoments`.

    Raises:
        InputError: shapes, dtypes or devices do not fit, no sample at all; on the CPU also for NaN, infinity and
            squares that overflow.
    """
    checks.require_float("moments", 2, u=u, v=v)
    checks.same_width("moments", u=u, v=v)
    for name, x in (("u", u), ("v", v)):
        if not x.shape[0]:
            raise checks.InputError(
                f"moments: {checks.describe(name, x)}",
                expected="at least one sample",
                causes=["an environment without samples"],
                fix="drop the environment, or look for a filter that removed everything",
            )
    checks.require_finite("moments", u=u, v=v)
    if impl == "triton":
        raise checks.InputError(
            "moments: impl='triton'",
            expected=f"one of {tuple(i for i in IMPLEMENTATIONS if i != 'triton')}",
            causes=["the other operations have a Triton kernel; this one is two matrix products"],
            fix="impl='auto', which also runs on a GPU",
        )
    chosen = impl if impl == "auto" else resolve("moments", impl, u.device)
    if chosen == "auto":
        # the matrix of scores costs N M d, the moments (N + M) d^2: few samples of many dimensions go the plain way
        small = u.shape[0] * v.shape[0] < (u.shape[0] + v.shape[0]) * u.shape[1]
        chosen = "naive" if small else "torch"
    if chosen == "naive":
        from crossmodal.kernels.ops.moments.naive import moments_naive

        return PairMoments(*moments_naive(u, v))
    from crossmodal.kernels.ops.moments.torch import FeatureMoments, combine

    return PairMoments(*combine(FeatureMoments.of(u), FeatureMoments.of(v)))
