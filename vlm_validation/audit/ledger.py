"""The change of every loss in a transition, split by the terms of T1.1 to T1.6, as ledgers that add up.

Every entry is computed on its own; none is what the others leave over.  The head's remainder, say, is the
divergence of the predictions after its step from those before, which knows no label, and not the change less the slope.  So the
closing error, the change less the sum of the entries, is rounding, and it is shown.

Cross-entropy of environment s, when head and encoder move:

    encoder, image / text     moving that modality's features at the old head; the two orders averaged (C1)
    step, image-image ..      -eta rho p^2 Con_II(s,t), -eta rho p q (Con_IT + Con_TI), -eta rho q^2 Con_TT, -eta rho for a bias (T1.1, T1.3)
    step, covariances         -eta D (T1.3)
    step, other directions    <g_s, dW + eta g_t>: what of the head's step is no multiple of the gradient g_t of the environment learnt
    curvature                 R = E KL(softmax before, softmax after), with 0 <= R <= E|dW'z|^2 / 4 (T1.2)

eta is the least-squares step size of the head's move along -g_t.  The CLIP loss of an environment, each direction:
tau (dCbar - dCLV) + d delta, with bounds of delta (T1.5).  The total is CE + lambda CLIP; lambda* of T1.6 is where it changes sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from ...theory import registry
from ...theory.claims import c1_shapley as c1
from .. import lowered
from ..linear_reading import least_bound, shape_of
from .run import Head, Run


@dataclass(frozen=True)
class Ledger:
    """One loss of one environment in one transition.

    Attributes:
        environment, loss: names.
        before, after: the loss, in nats.
        entries: name -> nats, each computed on its own.
        bounds: name of an entry -> (low, high) that a theorem gives.
        facts: what the entries were computed from (eta, rho, share of the step explained, ...).
    """

    environment: str
    loss: str
    before: float
    after: float
    entries: Mapping[str, float]
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def closing(self) -> float:
        """The change less the exactly rounded sum of the entries."""
        return math.fsum((self.after, -self.before, *(-x for x in self.entries.values())))

    def outside(self) -> list[str]:
        """Entries outside their bounds by more than rounding."""
        slack = 1e-9 * max(1.0, abs(self.before), abs(self.after))
        return [k for k, (low, high) in self.bounds.items() if not low - slack <= self.entries[k] <= high + slack]

    def to_dict(self) -> dict[str, Any]:
        return {
            "environment": self.environment, "loss": self.loss, "before": self.before, "after": self.after, "change": self.change,
            "entries": dict(self.entries), "bounds": {k: list(v) for k, v in self.bounds.items()}, "facts": dict(self.facts),
            "closing": self.closing,
        }  # fmt: skip


# -- cross-entropy -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """Features, labels and head of one environment at one moment: z (n, D), with a column of ones for a bias."""

    z: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    @property
    def logits(self) -> np.ndarray:
        return np.asarray(self.z @ self.weight)

    def loss(self, weight: np.ndarray | None = None) -> float:
        logits = self.logits if weight is None else self.z @ weight
        return float((logsumexp(logits, axis=1) - logits[np.arange(len(logits)), self.label]).mean())

    def residual(self) -> np.ndarray:
        r = softmax(self.logits, axis=1)
        r[np.arange(len(r)), self.label] -= 1
        return np.asarray(r)

    def gradient(self) -> np.ndarray:
        return np.asarray(self.z.T @ self.residual() / len(self.z))


def augmented(z: np.ndarray, head: Head) -> np.ndarray:
    return np.hstack([z, np.ones((len(z), 1))]) if head.biased else z


def matrix(head: Head) -> np.ndarray:
    return np.vstack([head.weight, head.bias]) if head.biased else head.weight


def cross_entropy(run: Run, before: int, after: int, environment: int) -> Ledger:
    """The ledger of one environment; the run has heads."""
    old, new = run.heads[before], run.heads[after]
    (u0, v0), (u1, v1) = run.pair(before, environment), run.pair(after, environment)
    label = run.labels(environment)

    def at(u: np.ndarray, v: np.ndarray) -> Point:
        return Point(augmented(run.fused(u, v), old), label, matrix(old))

    moved = at(u1, v1)
    f_0, f_i, f_t, f_it = (p.loss() for p in (at(u0, v0), at(u1, v0), at(u0, v1), moved))
    image, text = c1.shapley(f_0, f_i, f_t, f_it)
    entries = {"encoder, image": float(image), "encoder, text": float(text)}
    if run.fusion == "image":
        entries = {"encoder, image": f_it - f_0}  # no text enters
    step = matrix(new) - matrix(old)
    slope, facts = first_order(run, before, after, environment, moved, step)
    entries |= slope
    entries["curvature"], most = curvature(moved, step)
    limit = facts["covariance_limit"]
    bounds = {"curvature": (0.0, most), "step, covariances": (-limit, limit)}
    return Ledger(run.name(environment), "CE", f_0, moved.loss(matrix(new)), entries, bounds, facts)


def first_order(
    run: Run, before: int, after: int, environment: int, point: Point, step: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """<g_s, dW>, split by where it comes from; and eta, rho, and the share of |dW|^2 that the gradient g_t explains."""
    learnt = run.order[before]
    u, v = run.pair(after, learnt)
    other = Point(augmented(run.fused(u, v), run.heads[before]), run.labels(learnt), point.weight)
    g_s, g_t = point.gradient(), other.gradient()
    size, length = float((g_t**2).sum()), float((step**2).sum())
    eta = -float((step * g_t).sum()) / size if size > 0 else 0.0
    r_s, r_t = point.residual(), other.residual()
    mean_r_s, mean_r_t, mean_z_s, mean_z_t = (x.mean(axis=0) for x in (r_s, r_t, point.z, other.z))
    rho = float(mean_r_s @ mean_r_t)
    c_s, c_t = ((x - m).T @ r / len(x) for x, m, r in ((point.z, mean_z_s, r_s), (other.z, mean_z_t, r_t)))
    m_s, m_t = np.outer(mean_z_s, mean_r_s), np.outer(mean_z_t, mean_r_t)
    vectors = {name: x.reshape(-1) for name, x in (("C_s", c_s), ("C_t", c_t), ("M_s", m_s), ("M_t", m_t))}
    rest = lowered.right("T1.3", "decoupled", **vectors)  # D = <C_s, C_t> + <C_s, M_t> + <C_t, M_s>
    means = {  # mean features by modality and environment
        f"{side}_{which}": run.pair(after, who)[k].mean(axis=0)
        for which, who in (("s", environment), ("t", learnt))
        for k, side in enumerate("IT")
    }
    parts = kernel(run, {a + b: float(means[f"{a}_s"] @ means[f"{b}_t"]) for a in "IT" for b in "IT"})
    if run.heads[before].biased:
        parts["bias"] = 1.0
    entries = {f"step, {name}": -eta * rho * k for name, k in parts.items()}
    entries["step, covariances"] = -eta * rest
    entries["step, other directions"] = float((g_s * (step + eta * g_t)).sum())
    explained = eta**2 * size / length if length > 0 else 1.0
    limit = lowered.right(
        "T1.3",
        "remainder",
        C_s=c_s.reshape(-1),
        C_t=c_t.reshape(-1),
        r_s=mean_r_s,
        r_t=mean_r_t,
        z_s=mean_z_s,
        z_t=mean_z_t,
    )
    return entries, {
        "eta": eta,
        "rho": rho,
        "explained": explained,
        "covariance_limit": abs(eta) * limit,
        "slope": float((g_s * step).sum()),
    }


def kernel(run: Run, con: Mapping[str, float]) -> dict[str, float]:
    """K(s,t) by the scores it is made of: the right side of T1.1 with all scores but one kind at zero."""
    name = {"image": "image_only", "sum": "fused", "concat": "concatenated"}[run.fusion]
    kinds = {"image-image": ("II",), "image-text": ("IT", "TI"), "text-text": ("TT",)}
    out = {}
    for kind, keys in kinds.items():
        scores = {f"Con_{key}": con[key] if key in keys else 0.0 for key in ("II", "IT", "TI", "TT")}
        used = {
            k: x for k, x in (scores | {"p": run.p, "q": run.q}).items() if k in lowered.relation("T1.1", name).symbols
        }
        value = lowered.right("T1.1", name, **used)
        if any(f"Con_{key}" in used for key in keys):
            out[kind] = value
    return out


def curvature(point: Point, step: np.ndarray) -> tuple[float, float]:
    """(R, its bound): the mean divergence of old and new predictions, and T1.2's E|dW'z|^2 / 4.

    The cross-entropy less its tangent in the logits is log-sum-exp less its own, whatever the label: KL(pi, pi'), for
    steps of any length.  A quadrature of the second derivative misses confident heads, whose softmax turns at once.
    """
    x = point.z @ step
    old, new = log_softmax(point.logits, axis=1), log_softmax(point.logits + x, axis=1)
    divergence = float((np.exp(old) * (old - new)).sum(axis=1).mean())
    return divergence, lowered.right("T1.2", "half_step", eta_ce=1.0, S=float((x**2).sum(axis=1).mean()))


# -- the CLIP loss -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """One direction of the CLIP loss of one environment: L = log N + tau (Cbar - CLV) + delta, and delta's bound."""

    loss: float
    everyone: float
    matched: float
    delta: float
    bound: float


def reading(u: np.ndarray, v: np.ndarray, tau: float, block: int = 1024) -> Reading:
    """From rows of u to rows of v; blocks of rows, so that memory is block x N."""
    n = len(u)
    losses, deltas, bounds = [], [], []
    for start in range(0, n, block):
        scores = u[start : start + block] @ v.T
        mean, own = scores.mean(axis=1), scores[np.arange(len(scores)), start + np.arange(len(scores))]
        losses.append(logsumexp(tau * scores, axis=1) - tau * own)
        centred = scores - mean[:, None]
        deltas.append(logsumexp(tau * centred, axis=1) - math.log(n))
        bounds.append(least_bound(registry.get("T1.5"), tau, *shape_of(scores)))
    loss, delta, bound = (float(np.concatenate(x).mean()) for x in (losses, deltas, bounds))
    return Reading(loss, float(u.mean(axis=0) @ v.mean(axis=0)), float((u * v).sum(axis=1).mean()), delta, bound)


def contrastive(run: Run, before: int, after: int, environment: int) -> list[Ledger]:
    """Both directions."""
    out = []
    pairs = run.pair(before, environment), run.pair(after, environment)
    for name, flip in (("CLIP, image to text", False), ("CLIP, text to image", True)):
        one, two = (reading(*(p[::-1] if flip else p), run.tau) for p in pairs)
        entries = {
            "all pairs": run.tau * (two.everyone - one.everyone),
            "matched pairs": -run.tau * (two.matched - one.matched),
            "beyond the linear reading": two.delta - one.delta,
        }
        bounds = {"beyond the linear reading": (-one.bound, two.bound)}
        out.append(
            Ledger(
                run.name(environment),
                name,
                one.loss,
                two.loss,
                entries,
                bounds,
                {"delta": two.delta, "delta_bound": two.bound},
            )
        )
    return out


def total(run: Run, environment: int, ce: Ledger | None, clip: list[Ledger]) -> Ledger:
    """CE + lambda CLIP, and the lambda at which the change would be of the other sign (T1.6)."""
    contrast = math.fsum(x.change for x in clip) / len(clip)
    entries = {"CE": ce.change} if ce is not None else {}
    entries["lambda CLIP"] = run.weight * contrast
    losses = [(ce.before, ce.after)] if ce is not None else []
    losses += [(run.weight * x.before / len(clip), run.weight * x.after / len(clip)) for x in clip]
    facts = {}
    if ce is not None and ce.change * contrast < 0:
        facts["lambda_star"] = lowered.right("T1.6", "threshold", D_CE=ce.change, D_CLIP=contrast)
    return Ledger(
        run.name(environment),
        "total",
        math.fsum(a for a, _ in losses),
        math.fsum(b for _, b in losses),
        entries,
        {},
        facts,
    )


def ledgers(run: Run, before: int, after: int) -> list[Ledger]:
    """All ledgers of a transition."""
    out = []
    for environment in run.environments:
        ce = cross_entropy(run, before, after, environment) if run.heads else None
        clip = contrastive(run, before, after, environment)
        out += [*([ce] if ce is not None else []), *clip, total(run, environment, ce, clip)]
    return out
