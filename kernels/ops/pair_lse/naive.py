"""K1 as one writes it on a blackboard: the whole matrix, then log-sum-exp along both axes."""

from __future__ import annotations

import torch
from torch import Tensor


def pair_lse_naive(
    u: Tensor, v: Tensor, scale: Tensor, u_keep: Tensor | None = None, v_keep: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row and column log-sum-exp, row maximum and diagonal; O(N M) memory, differentiable by autograd."""
    z = scale * (u.to(scale.dtype) @ v.to(scale.dtype).T)
    if u_keep is not None:
        z = torch.where(u_keep[:, None], z, -torch.inf)
    if v_keep is not None:
        z = torch.where(v_keep[None, :], z, -torch.inf)
    # amax of nothing is an error in torch; the maximum of an empty row is -inf
    row_max = z.detach().amax(1) if z.shape[1] else z.new_full((z.shape[0],), -torch.inf)
    return _lse(z, 1), _lse(z, 0), row_max, torch.diagonal(z)


def _lse(z: Tensor, axis: int) -> Tensor:
    """logsumexp whose gradient is zero, not NaN, along slices that are -inf throughout."""
    empty = torch.isneginf(z.detach()).all(axis)
    safe = torch.where(empty.unsqueeze(axis), 0.0, z)
    return torch.where(empty, -torch.inf, torch.logsumexp(safe, axis))
