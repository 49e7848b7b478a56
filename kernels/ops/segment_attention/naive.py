"""K3 as one masked softmax a coalition."""

from __future__ import annotations

import torch
from crossmodal.kernels.checks import accumulator
from torch import Tensor


def segment_attention_naive(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: tuple[int, ...],
    coalitions: tuple[tuple[int, ...], ...],
    keep: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Output (S, B, H, Nq, D) and log-sum-exp (S, B, H, Nq) of every coalition."""
    acc = accumulator(q.dtype)
    scores = (q.to(acc) @ k.to(acc).transpose(-1, -2)) * scale
    outputs, lses = [], []
    for coalition in coalitions:
        present = torch.zeros(k.shape[0], k.shape[2], dtype=torch.bool, device=k.device)
        for g in coalition:
            present[:, bounds[g] : bounds[g + 1]] = True
        if keep is not None:
            present &= keep
        empty = ~present.any(1)[:, None, None].expand(scores.shape[:-1])
        # a row without keys gets scores 0 for the sake of the gradient, and its result is replaced
        masked = torch.where(present[:, None, None, :], scores, -torch.inf)
        masked = torch.where(empty[..., None], 0.0, masked)
        lse = torch.logsumexp(masked, -1)
        output = torch.exp(masked - lse[..., None]) @ v.to(acc)
        outputs.append(torch.where(empty[..., None], 0.0, output).to(v.dtype))
        lses.append(torch.where(empty, -torch.inf, lse))
    return torch.stack(outputs), torch.stack(lses)
