"""K2 in row blocks: one pass over the weights, two exponentials for four coalitions.

With ``A = W_I x_I + bias``, ``B = W_T x_T`` and the baselines' logits ``a0``, ``b0`` the four logits are
``a0 + b0``, ``A + b0``, ``a0 + B`` and ``A + B``.  So ``sum_c exp(A_c + B_c)`` is a dot product of ``exp(A)`` and
``exp(B)``, and ``sum_c exp(A_c + b0_c)`` a matrix-vector product.  Factored exponentials can underflow where the
sum does not; a row whose sum is too small to prove the opposite is computed again with its own maximum
(the same certificate as in `pair_lse`).
"""

from __future__ import annotations

import torch
from crossmodal.kernels.checks import accumulator
from crossmodal.kernels.ops.pair_lse.torch import certificate
from torch import Tensor

ROWS = 512


def coalition_head_torch(
    image: Tensor,
    text: Tensor,
    w_image: Tensor,
    w_text: Tensor,
    labels: Tensor,
    bias: Tensor,
    image_baseline: Tensor,
    text_baseline: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp, target logit and argmax, each (4, N), in the order of `COALITIONS`."""
    acc, n = accumulator(image.dtype), image.shape[0]
    wi, wt, bias = w_image.to(acc), w_text.to(acc), bias.to(acc)
    a0, b0 = wi @ image_baseline.to(acc) + bias, wt @ text_baseline.to(acc)
    lse, target = image.new_empty((4, n), dtype=acc), image.new_empty((4, n), dtype=acc)
    argmax = torch.empty((4, n), dtype=torch.int64, device=image.device)
    lse[0], argmax[0] = torch.logsumexp(a0 + b0, 0), (a0 + b0).argmax(0)
    target[0] = (a0 + b0)[labels.long()]
    largest_a0, largest_b0 = a0.max(), b0.max()
    exp_a0, exp_b0 = (a0 - largest_a0).exp(), (b0 - largest_b0).exp()
    flat_a0, flat_b0 = bool((a0 == a0[0]).all()), bool((b0 == b0[0]).all())
    position = torch.arange(wi.shape[0], device=image.device).to(acc)
    size = min(ROWS, n) * wi.shape[0]
    buffers = [image.new_empty(size, dtype=acc) for _ in range(3)]
    for start in range(0, n, ROWS):
        rows = slice(start, min(start + ROWS, n))
        count = rows.stop - start
        a, b, both = (x[: count * wi.shape[0]].view(count, -1) for x in buffers)
        torch.addmm(bias, image[rows].to(acc), wi.T, out=a)
        torch.mm(text[rows].to(acc), wt.T, out=b)
        torch.add(a, b, out=both)
        index = labels[rows].long()[:, None]
        a_y, b_y = a.gather(1, index)[:, 0], b.gather(1, index)[:, 0]
        target[1, rows], target[2, rows], target[3, rows] = a_y + b0[index[:, 0]], a0[index[:, 0]] + b_y, a_y + b_y

        argmax[3, rows] = _argmax(both.sub_(both.amax(1, keepdim=True)), position, both)
        if not flat_b0:  # a constant does not move the argmax; zero baselines are the usual case
            torch.add(a, b0, out=both)
            argmax[1, rows] = _argmax(both.sub_(both.amax(1, keepdim=True)), position, both)
        if not flat_a0:
            torch.add(b, a0, out=both)
            argmax[2, rows] = _argmax(both.sub_(both.amax(1, keepdim=True)), position, both)
        largest_a, largest_b = a.amax(1), b.amax(1)
        a.sub_(largest_a[:, None])
        b.sub_(largest_b[:, None])
        if flat_b0:
            argmax[1, rows] = _argmax(a, position, both)
        if flat_a0:
            argmax[2, rows] = _argmax(b, position, both)

        a.exp_()
        b.exp_()
        sums = torch.stack([a @ exp_b0, b @ exp_a0, torch.mul(a, b, out=both).sum(1)])
        shifts = torch.stack([largest_a + largest_b0, largest_b + largest_a0, largest_a + largest_b])
        lse[1:, rows] = shifts + sums.log()
        doubtful = (sums < certificate(acc)).any(0).nonzero()[:, 0]
        if len(doubtful):
            at = start + doubtful
            lse[1:, at] = _with_own_shift(image[at].to(acc), text[at].to(acc), wi, wt, bias, a0, b0)
    return lse, target, argmax


def _argmax(shifted: Tensor, position: Tensor, scratch: Tensor) -> Tensor:
    """First index of the row maximum, given rows minus their maximum.  `scratch` may be `shifted` itself.

    torch's CPU argmax costs as much as an exponential.  The indicator of the maximum times the indices gives the
    index at the price of an addition; only tied rows need the slow way.
    """
    if shifted.shape[1] >= 1 << 24:  # float32 no longer holds every index
        return shifted.argmax(1)
    indicator = torch.sign(shifted, out=scratch).add_(1)
    found = (indicator @ position).long()
    tied = (indicator.sum(1) != 1).nonzero()[:, 0]
    if len(tied):
        found[tied] = indicator[tied].argmax(1)
    return found


def _with_own_shift(
    image: Tensor, text: Tensor, wi: Tensor, wt: Tensor, bias: Tensor, a0: Tensor, b0: Tensor
) -> Tensor:
    """(3, rows) log-sum-exp of the three non-empty coalitions, each with its own maximum."""
    a, b = image @ wi.T + bias, text @ wt.T
    return torch.stack([torch.logsumexp(x, 1) for x in (a + b0, b + a0, a + b)])
