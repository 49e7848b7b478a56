"""K2 as four forward passes of the head."""

from __future__ import annotations

import torch
from crossmodal.kernels.checks import accumulator
from torch import Tensor


def coalition_head_naive(
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
    acc = accumulator(image.dtype)
    weight = torch.cat([w_image, w_text], 1).to(acc)
    lse, target, argmax = [], [], []
    for with_image, with_text in ((False, False), (True, False), (False, True), (True, True)):
        x = torch.cat(
            [
                image if with_image else image_baseline.expand_as(image),
                text if with_text else text_baseline.expand_as(text),
            ],
            1,
        )
        logits = x.to(acc) @ weight.T + bias.to(acc)
        lse.append(torch.logsumexp(logits, 1))
        target.append(logits.gather(1, labels.long()[:, None])[:, 0])
        argmax.append(logits.argmax(1))
    return torch.stack(lse), torch.stack(target), torch.stack(argmax)
