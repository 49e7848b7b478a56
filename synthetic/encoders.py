"""Linear two-modality encoders trained with CE + lambda CLIP: the adaptive case in miniature.

Raw features of both modalities pass through linear encoders and are brought to length below 1, ``u = x F / sqrt(s^2 + |x F|^2)`` and v
likewise (s = `SOFT`; at s = 0 directions jump where a sample is sent to 0, and trainings end in such jumps instead of at minimisers); a linear
head on u predicts the class.  The objective is ``A + lambda B`` with

    A = cross-entropy + decay/2 (|W|^2 + |F - F_0|^2 + |H - H_0|^2),     B = CLIP loss at inverse temperature tau.

The decay gives A a minimiser and keeps the encoders near where they start.  With frozen encoders only the head is trained.  T2.4 to T2.6 are
statements about the minimisers; `train` follows them along lambda (each starts where the last ended), batched over models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.func import grad, jacrev, vmap

from ..theory.errors import InputError


@dataclass(frozen=True)
class Worlds:
    """A batch of raw data sets of equal sizes.

    Attributes:
        image: ``(models, n, a)``; text: ``(models, n, b)``; float64.
        target: ``(models, n, C)`` one-hot.
    """

    image: torch.Tensor
    text: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True)
class Path:
    """Minimisers along lambda, ``(lambdas, models)`` each.

    Attributes:
        task: A; contrastive: B; alignment: CLV; gap: CLV - Cbar, the alignment above that of all pairs.
        rate: ``-grad B' Hess^{-1} grad B``, the slope dB/dlambda of T2.5 where `curvature` is positive.
        gradient: largest entry of the gradient of A + lambda B, which says how well the minimiser was found.
        curvature: smallest eigenvalue of the Hessian of A + lambda B: positive at a strict local minimiser.
    """

    lambdas: tuple[float, ...]
    task: torch.Tensor
    contrastive: torch.Tensor
    alignment: torch.Tensor
    gap: torch.Tensor
    rate: torch.Tensor
    gradient: torch.Tensor
    curvature: torch.Tensor


def worlds(seed: int, models: int, *, pairs: int = 12, width: int = 4, classes: int = 3, noise: float = 0.5) -> Worlds:
    """Random data sets: a class part and a shared part seen through different linear maps by image and text, and noise."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(models, *shape, generator=generator, dtype=torch.float64)

    label = torch.arange(pairs) % classes
    scene = normal(classes, width)[:, label] + normal(pairs, width)
    image, text = (scene @ normal(width, width) / width**0.5 + noise * normal(pairs, width) for _ in range(2))
    target = torch.eye(classes, dtype=torch.float64)[label].expand(models, -1, -1)
    return Worlds(image, text, target)


SOFT = 0.5


def soft_unit(x: torch.Tensor) -> torch.Tensor:
    return x / (SOFT**2 + x.square().sum(-1, keepdim=True)).sqrt()


def clip_loss(image: torch.Tensor, text: torch.Tensor, tau: float) -> torch.Tensor:
    """Mean of both directions of InfoNCE over matched rows ``(.., n, k)``."""
    logits = tau * image @ text.mT
    matched = logits.diagonal(dim1=-2, dim2=-1)
    rows, columns = (torch.logsumexp(logits, d) - matched for d in (-1, -2))
    return (rows + columns).mean(-1) / 2


def train(
    data: Worlds,
    lambdas: Sequence[float],
    *,
    seed: int = 0,
    dimension: int = 4,
    tau: float = 2.0,
    decay: float = 0.2,
    frozen: bool = False,
    steps: int = 100,
    precision: float = 1e-10,
) -> Path:
    """Minimisers of A + lambda B for every lambda in turn, by damped Newton steps on all models at once.

    Args:
        lambdas: in the order in which they are followed.
        dimension: of the common space.
        frozen: train the head alone.
        steps: at most so many Newton steps for each lambda; stops when no gradient entry exceeds `precision`.

    Raises:
        InputError: a decay that is not positive (there need be no minimiser then).
    """
    if decay <= 0:
        raise InputError(
            f"decay {decay}", expected="a positive number", causes=("separable classes have no minimiser without one",)
        )
    generator = torch.Generator().manual_seed(seed)
    models, classes = len(data.image), data.target.shape[-1]
    sizes = [(data.image.shape[-1], dimension), (data.text.shape[-1], dimension), (dimension, classes)]
    start = [torch.randn(models, *s, generator=generator, dtype=torch.float64) for s in sizes[:2]]
    start = [torch.linalg.qr(x if x.shape[-2] >= dimension else x.mT)[0] for x in start]  # orthonormal columns, or rows
    start = [x if x.shape[-2:] == s else x.mT for x, s in zip(start, sizes[:2], strict=True)]
    start.append(torch.zeros(models, *sizes[2], dtype=torch.float64))
    flat = torch.cat([x.flatten(1) for x in start], -1)
    free = slice(sum(p * q for p, q in sizes[:2]) if frozen else 0, flat.shape[-1])

    def parts(
        x: torch.Tensor, anchor: torch.Tensor, image: torch.Tensor, text: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """A, B, CLV and Cbar of one model; x holds what is trained."""
        whole = torch.cat([anchor[: free.start], x])
        f, h, w = (m.reshape(s) for m, s in zip(whole.split([p * q for p, q in sizes]), sizes, strict=True))
        u, v = soft_unit(image @ f), soft_unit(text @ h)
        entropy = -(target * torch.log_softmax(u @ w, -1)).sum() / len(u)
        task = entropy + decay / 2 * (whole - anchor).square().sum()
        return task, clip_loss(u, v, tau), (u * v).sum(-1).mean(), u.mean(0) @ v.mean(0)

    fixed = (flat, data.image, data.text, data.target)

    def objective(x: torch.Tensor, weight: torch.Tensor, *model: torch.Tensor) -> torch.Tensor:
        task, contrastive, _, _ = parts(x, *model)
        return task + weight * contrastive

    batch = (0, None, 0, 0, 0, 0)
    value_at = vmap(objective, batch)
    gradient_at, hessian_at = vmap(grad(objective), batch), vmap(jacrev(grad(objective)), batch)
    slope_at = vmap(grad(lambda x, *model: parts(x, *model)[1]))
    now, found = flat[:, free].clone(), []
    for lam in lambdas:
        weight = torch.tensor(lam, dtype=torch.float64)
        for step in range(steps + 1):
            slope, curve = gradient_at(now, weight, *fixed), hessian_at(now, weight, *fixed)
            values, vectors = torch.linalg.eigh(curve)
            if step == steps or float(slope.abs().max()) <= precision:
                break
            along = (vectors.mT @ slope[..., None]) / values.abs().clamp_min(1e-3)[..., None]
            now = descend(now, -(vectors @ along)[..., 0], slope, lambda x, w=weight: value_at(x, w, *fixed))  # type: ignore[misc]
        task, contrastive, matched, everyone = vmap(parts)(now, *fixed)
        push = slope_at(now, *fixed)[..., None]
        rate = -(push.mT @ (vectors @ ((vectors.mT @ push) / values[..., None])))[..., 0, 0]
        found.append((task, contrastive, matched, matched - everyone, rate, slope.abs().amax(-1), values[..., 0]))
    return Path(tuple(float(x) for x in lambdas), *(torch.stack(x) for x in zip(*found, strict=True)))


def descend(
    x: torch.Tensor, step: torch.Tensor, slope: torch.Tensor, value: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The point of every model after the longest of the steps 1, 1/2, 1/4, .. that lowers its value enough (Armijo)."""
    step = step / (step.norm(dim=-1, keepdim=True)).clamp_min(1.0)  # no longer than 1
    before, size = value(x), torch.ones(len(x), 1, dtype=x.dtype)
    promised = (slope * step).sum(-1, keepdim=True)
    for _ in range(40):
        enough = (
            value(x + size * step)[:, None] <= before[:, None] + 1e-4 * size * promised + 1e-15 * before.abs()[:, None]
        )
        if bool(enough.all()):
            break
        size = torch.where(enough, size, size / 2)
    return torch.where(enough, x + size * step, x)
