"""T3.4: what a least-norm learner forgets of a first environment, against the similarity of a second.

The curve is the claim's own statement: the largest eigenvalue of the right side of its relation `spectrum`, evaluated on
projectors at every cosine; the line is its relation `quarter`.  The dots are learners that were run: image and text
features, a fused feature, targets of a linear teacher, two least-norm fits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...synthetic.arithmetic import arithmetic
from ...synthetic.environments import teach
from ...synthetic.evaluate import bound_values, sides
from ...synthetic.learners import least_norm
from ...theory import registry
from ...theory.claim import Claim
from ...vlm_validation.view import FeaturesView
from .. import style
from ..results import Data, provenance

CURVE, SIMILARITIES, TARGETS, RANK = 201, 21, 400, 3
GAP = 0.6  # radians between an image feature and its fused direction: the modality gap of the generated pairs

CAPTION = (
    "Two environments forget most at intermediate similarity (T3.4).  Squared residual on the first environment after a "
    "least-norm learner has fitted the second, as a share of the squared norm of the target, against the cosine $c$ of the "
    "principal angles.  Curve: the claim, largest eigenvalue of $C - C^2$.  Dots: learners run on generated image-text "
    "environments of rank {rank}, worst target; band: the middle {coverage:.0%} of {targets} random targets, line inside: "
    "their mean.  {exceeded} of {learners} learners exceeded the bound {bound:g}; the largest residual seen was {worst:.6f}, at $c$ = {worst_at:.2f}.  "
    "Ticks: principal cosines between class means of {pairs} ordered pairs of environments of the features; diamonds: the "
    "worst target for each pair, at most {features_worst:.3f}."
)


def compute(features: Any, seed: int) -> Data:
    """Theory, simulation and the same quantity on features.

    Args:
        features: of `crossmodal.vlm_validation.features`.
        seed: of targets and of the rotation of the environments.
    """
    claim = registry.get("T3.4")
    rng = np.random.default_rng([34, seed])
    cosine = np.linspace(0, 1, CURVE)
    theory, bound = evaluate(claim, plane(cosine))
    at = np.linspace(0, 1, SIMILARITIES)
    worst, drawn = simulate(at, rng)
    low, high = np.quantile(drawn, (0.05, 0.95), axis=1)
    where, found, ticks = on_features(claim, features)
    limit = float(bound.max())
    return Data(
        values={
            "cosine": cosine, "theory": theory, "bound": limit, "similarity": at, "worst_target": worst,
            "random_low": low, "random_high": high, "random_mean": drawn.mean(axis=1), "coverage": 0.9, "targets": TARGETS,
            "exceeded": int((worst > limit).sum() + (drawn > limit).sum()), "learners": worst.size + drawn.size,
            "rank": RANK, "worst": float(worst.max()), "worst_at": float(at[worst.argmax()]),
            "features_cosine": where, "features_forgetting": found, "features_ticks": ticks, "pairs": len(where),
            "features_worst": float(found.max(initial=0.0)),
        },
        provenance=provenance(("T3.4",), features, seed),
    )  # fmt: skip


def plane(cosine: np.ndarray) -> dict[str, torch.Tensor]:
    """Two lines in the plane at every cosine, as projectors: Q1, Q2, (n, 2, 2)."""
    c = torch.as_tensor(cosine)
    one = torch.stack([torch.ones_like(c), torch.zeros_like(c)], -1)
    two = torch.stack([c, (1 - c * c).sqrt()], -1)
    return {name: a[:, :, None] * a[:, None, :] for name, a in (("Q1", one), ("Q2", two))}


def evaluate(claim: Claim, inputs: dict[str, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the claim's worst forgetting and (n,) its bound: largest eigenvalues of the right sides of its relations."""
    ops = arithmetic("plain")
    values = bound_values(claim, inputs, ops)
    by_name = {relation.name: relation for relation in claim.statement.relations}
    return (
        largest(sides(by_name["spectrum"], values, ops)[1]),
        largest(sides(by_name["quarter"], values, ops)[1]),
    )


def largest(matrix: torch.Tensor) -> np.ndarray:
    top: np.ndarray = torch.linalg.eigvalsh((matrix + matrix.mT) / 2)[..., -1].numpy()
    return top


def simulate(cosines: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Run learners: (n,) the worst unit target's squared residual, and (n, TARGETS) of random unit targets.

    Every environment has RANK pairs whose fused features are orthonormal; all principal cosines are equal.  The heads
    start at zero, so minus the target is the initial error.
    """
    ops = arithmetic("plain")
    d = 3 * RANK
    frame = torch.as_tensor(np.linalg.qr(rng.standard_normal((d, d)))[0])
    first, other, spare = frame[:RANK], frame[RANK : 2 * RANK], frame[2 * RANK :]
    random = torch.as_tensor(rng.standard_normal((d, TARGETS)))
    random = random / random.norm(dim=0)
    worst: list[np.ndarray] = []
    drawn: list[np.ndarray] = []
    for c in cosines.tolist():
        second = c * first + (1 - c * c) ** 0.5 * other
        every = residuals(first, second, spare, torch.eye(d, dtype=torch.float64), ops)  # a head for every axis at once
        target = torch.linalg.svd(every)[2][:1].mT  # the unit target that is forgotten most
        for found, teacher in ((worst, target), (drawn, random)):
            r = residuals(first, second, spare, teacher, ops)
            found.append((r * r).sum(-2).numpy())
    return np.array(worst)[:, 0], np.array(drawn)


def residuals(
    first: torch.Tensor, second: torch.Tensor, spare: torch.Tensor, teacher: torch.Tensor, ops: Any
) -> torch.Tensor:
    """(RANK, k) residuals on the first environment after the second, for k teachers given as columns."""
    weight = 0.5 / np.cos(GAP)  # p = q such that fusing the two modalities gives back the direction
    tasks = []
    for rows in (first, second):
        image, text = (np.cos(GAP) * rows + sign * np.sin(GAP) * spare for sign in (1, -1))
        environment = teach(image, text, teacher, weight, weight)
        tasks.append((environment.fused(weight, weight), environment.target))
    head = torch.zeros_like(teacher)
    for x, y in tasks:
        head = least_norm(head, x, y, ops)
    x, y = tasks[0]
    return x @ head - y


def on_features(claim: Claim, features: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every ordered pair of environments: the principal cosine that forgets most, its forgetting; and all cosines."""
    ops = arithmetic("plain")
    where, found, ticks = [], [], []
    assert claim.on_features is not None
    for _, inputs in claim.on_features(FeaturesView(features)):
        values = bound_values(claim, {k: v.mid for k, v in inputs.items()}, ops)
        r = values["R"]
        squares = torch.linalg.eigvalsh((values["C"] + values["C"].mT) / 2).clamp(0, 1)
        found.append(float(largest(r @ r.mT)))
        cosines = squares.sqrt()
        rank = int(torch.linalg.matrix_rank(inputs["Q1"].mid))
        ticks += cosines[-rank:].tolist()  # the rest are directions outside the first environment
        where.append(float(cosines[(squares - squares * squares).argmax()]))
    return np.array(where), np.array(found), np.array(ticks)


def draw(data: Data) -> Any:
    figure, axes = style.canvas(height=2.5)
    axes.axhline(data["bound"], color=style.GREY, linestyle="--", linewidth=0.9)
    axes.annotate(f"bound {data['bound']:g}", (0, data["bound"]), xytext=(2, -2), textcoords="offset points", va="top",
                  color=style.GREY)  # fmt: skip
    axes.fill_between(data["similarity"], data["random_low"], data["random_high"], color=style.SKY, alpha=0.35, linewidth=0,
                      label="random targets")  # fmt: skip
    axes.plot(data["similarity"], data["random_mean"], color=style.SKY, linewidth=1)
    axes.plot(data["cosine"], data["theory"], color=style.BLUE, label="theorem T3.4")
    axes.plot(data["similarity"], data["worst_target"], "o", color=style.RED, label="learner, worst target", zorder=3)
    if len(data["features_cosine"]):
        axes.plot(data["features_cosine"], data["features_forgetting"], "D", color=style.YELLOW, markersize=3.2,
                  markeredgecolor="black", markeredgewidth=0.5, label="features", zorder=4)  # fmt: skip
        axes.plot(data["features_ticks"], np.full(len(data["features_ticks"]), -0.012), "|", color="black", markersize=4,
                  markeredgewidth=0.4, alpha=0.5)  # fmt: skip
    axes.set_xlabel("similarity: cosine $c$ of the environments")
    axes.set_ylabel("forgetting of the first\n(share of squared target)")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.02, 0.36)
    axes.legend(loc="upper center", ncols=2, columnspacing=1, borderaxespad=0)
    return figure
