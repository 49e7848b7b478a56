"""K2 in row blocks: one pass over the weights, two softmaxes for four coalitions.

With ``A = W_I x_I + bias``, ``B = W_T x_T`` and the baselines' logits ``a0``, ``b0`` the four logits are
``a0 + b0``, ``A + b0``, ``a0 + B`` and ``A + B``.  With the softmax ``p`` of ``A`` and ``q`` of ``B``,

    lse(A + B) = lse(A) + lse(B) + log sum_c p_c q_c        lse(A + b0) = lse(A) + log sum_c p_c exp(b0_c)

and ``lse(A)`` is read off where ``A`` is largest: there it is ``A_c - log p_c``.  torch's softmax is one pass, two thirds
of the time of its exponential, and cannot overflow.  Factors can underflow where the sum does not: a row whose sum is too
small to prove the opposite is computed again with its own maximum (the same certificate as in `pair_lse`).  A bias is a
pass over all logits, and so made only where there is one.

torch's argmax on a CPU costs as much as an exponential, a maximum a tenth of that, and one with its index (the first,
by torch's word) half.  So classes come in groups: the maxima of the groups name the first group that reaches the row's
maximum, and only that group is searched.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from crossmodal.kernels.checks import accumulator
from crossmodal.kernels.ops.pair_lse.torch import certificate
from crossmodal.kernels.parallel import in_shares, workers
from torch import Tensor
from torch.nn.functional import pad

ROWS, PART = 1024, 512  # rows of one product, and how many of them are then looked at together: these stay in the cache
GROUP = 100  # classes a group, about: shorter reductions are slow, longer ones leave more to search


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
    groups = max(1, w_image.shape[0] // GROUP)
    padding = -w_image.shape[0] % groups  # classes that no softmax sees, so that groups are equal
    wi, wt = (pad(w.to(acc), (0, 0, 0, padding)) if padding else w.to(acc) for w in (w_image, w_text))
    biased = bool(bias.any())
    bias, no_bias = (pad(x, (0, padding), value=-torch.inf) for x in (bias.to(acc), torch.zeros_like(bias, dtype=acc)))
    a0, b0 = wi @ image_baseline.to(acc) + bias, wt @ text_baseline.to(acc) + no_bias
    lse, target = image.new_empty((4, n), dtype=acc), image.new_empty((4, n), dtype=acc)
    argmax = torch.empty((4, n), dtype=torch.int64, device=image.device)
    lse[0], argmax[0] = torch.logsumexp(a0 + b0, 0), (a0 + b0).argmax(0)
    target[0] = (a0 + b0)[labels.long()]
    largest_a0, largest_b0 = a0.max(), b0.max()
    exp_a0, exp_b0 = (a0 - largest_a0).exp(), (b0 - largest_b0).exp()
    # a constant does not move the argmax; zero baselines are the usual case
    flat_a0, flat_b0 = (bool((x[: w_image.shape[0]] == x[0]).all()) for x in (a0, b0))
    blocks, classes = -(-n // ROWS), wi.shape[0]
    shares = workers(blocks, image.device)
    # made here, for what a thread allocates stays with that thread's part of the allocator
    products = [image.new_empty(2, min(ROWS, n) * classes, dtype=acc) for _ in range(shares)]
    scratch = [image.new_empty(2, min(PART, n) * classes, dtype=acc) for _ in range(shares)]
    one, least = image.new_ones(min(PART, n), dtype=acc), certificate(acc)

    def work(share: int, mine: Iterable[int]) -> None:
        for block in mine:
            rows = slice(block * ROWS, min(block * ROWS + ROWS, n))
            count = rows.stop - rows.start
            a, b = (x[: count * classes].view(count, -1) for x in products[share])
            _product(image[rows].to(acc), wi, bias if biased or padding else None, a)
            _product(text[rows].to(acc), wt, no_bias if padding else None, b)
            start = rows.start
            for some_a, some_b in zip(a.split(PART), b.split(PART), strict=True):
                look(share, slice(start, start := start + len(some_a)), some_a, some_b)

    def look(share: int, rows: slice, a: Tensor, b: Tensor) -> None:
        """Everything about some rows, from what the image and the text alone make of them."""
        both, other = (x[: a.numel()].view_as(a) for x in scratch[share])
        index = labels[rows].long()
        a_y, b_y = a.gather(1, index[:, None])[:, 0], b.gather(1, index[:, None])[:, 0]
        target[1, rows], target[2, rows], target[3, rows] = a_y + b0[index], a0[index] + b_y, a_y + b_y

        largest_a, at_a = _first_maximum(a, groups)
        largest_b, at_b = _first_maximum(b, groups)
        argmax[3, rows] = _first_maximum(torch.add(a, b, out=both), groups)[1]
        argmax[1, rows] = at_a if flat_b0 else _first_maximum(torch.add(a, b0, out=both), groups)[1]
        argmax[2, rows] = at_b if flat_a0 else _first_maximum(torch.add(b, a0, out=both), groups)[1]

        p, q = torch.softmax(a, 1, out=both), torch.softmax(b, 1, out=other)
        lse_a = largest_a - p.gather(1, at_a[:, None])[:, 0].log()
        lse_b = largest_b - q.gather(1, at_b[:, None])[:, 0].log()
        sums = torch.stack([
            one[: len(p)] if flat_b0 else p @ exp_b0, one[: len(p)] if flat_a0 else q @ exp_a0, p.mul_(q).sum(1)
        ])  # fmt: skip
        lse[1:, rows] = sums.log()
        lse[1, rows] += lse_a + largest_b0
        lse[2, rows] += lse_b + largest_a0
        lse[3, rows] += lse_a + lse_b
        doubtful = (~(sums >= least)).any(0).nonzero()[:, 0]  # NaN too: infinite logits have a log-sum-exp
        if len(doubtful):
            at = rows.start + doubtful
            lse[1:, at] = _with_own_shift(image[at].to(acc), text[at].to(acc), wi, wt, bias, a0, b0)

    in_shares(work, blocks, shares)
    return lse, target, argmax


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """`rows` @ `weight`' + `bias`, which costs a pass over the result."""
    if bias is None:
        torch.mm(rows, weight.T, out=out)
    else:
        torch.addmm(bias, rows, weight.T, out=out)


def _first_maximum(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Maximum of every row of `x` (rows, groups * width) and the first index where it stands."""
    rows, width = x.shape[0], x.shape[1] // groups
    largest, group = x.view(rows, groups, width).amax(2).max(1)
    at = torch.arange(0, rows * groups, groups, device=x.device) + group
    found = x.view(rows * groups, width).index_select(0, at)
    return largest, group * width + found.max(1)[1]


def _with_own_shift(
    image: Tensor, text: Tensor, wi: Tensor, wt: Tensor, bias: Tensor, a0: Tensor, b0: Tensor
) -> Tensor:
    """(3, rows) log-sum-exp of the three non-empty coalitions, each with its own maximum."""
    a, b = image @ wi.T + bias, text @ wt.T
    return torch.stack([torch.logsumexp(x, 1) for x in (a + b0, b + a0, a + b)])
