"""The change of the cross-entropy of an environment when encoder and head move, split by the terms of T1.1 to T1.4.

    encoder, image / text       moving that modality's features at the old head; the two orders averaged (C1)
    step, image-image ..        -eta rho p^2 Con_II(s,t), -eta rho p q Con_IT(s,t), -eta rho p q Con_TI(s,t), -eta rho q^2 Con_TT(s,t),
                                and -eta rho for a bias (T1.1, T1.3): Con_IT takes the image of the environment s whose loss it is
                                and the text of the environment t that was learnt
    step, covariances           -eta D (T1.3)
    step, other directions      <g_s, dW + eta g_t>: what of the head's step is no multiple of the gradient g_t
    curvature                   R, the divergence of the predictions after the step from those before; 0 <= R <= E|dW'z|^2 / 4 (T1.2)

eta is the least-squares step size of the head's move along -g_t.  R is no remainder of a subtraction: it knows no label, and
it is exact for steps of any length, where a quadrature of the second derivative misses confident heads.  The head's part, all entries
but the encoder's, is at most slope + Lambda/2 |dW|^2 (T3.1), Lambda a bound of the curvature that holds for every head (T1.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from ...theory import registry
from ...theory.claims import c1_shapley as c1
from .. import lowered
from .ledger import Ledger
from .run import Head, Run

KINDS = {"image-image": "II", "image-text": "IT", "text-image": "TI", "text-text": "TT"}


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


def point(run: Run, features: int, head: int, environment: int) -> Point:
    """An environment's features at one stage with the head of one."""
    return Point(
        augmented(run.fused(*run.pair(features, environment)), run.heads[head]),
        run.labels(environment),
        matrix(run.heads[head]),
    )


def cross_entropy(run: Run, before: int, after: int, environment: int) -> Ledger:
    """The ledger of one environment; the run has heads."""
    moved = point(run, after, before, environment)
    entries, old = encoders(run, before, after, environment, moved)
    step = matrix(run.heads[after]) - matrix(run.heads[before])
    slope, facts = first_order(run, before, after, environment, moved, step)
    bend, most = remainder(moved, step)
    entries |= slope | {"curvature": bend}
    limit = facts["covariance_limit"]
    facts["head"] = math.fsum((*slope.values(), bend))
    allowed = lowered.right("T3.1", "bound", slope=facts["slope"], Lambda=largest_curvature(moved), D=step.reshape(-1))
    bounds = {"curvature": (0.0, most), "step, covariances": (-limit, limit), "head": (facts["slope"], allowed)}
    new = moved.loss(matrix(run.heads[after]))
    return Ledger(run.name(environment), "CE", old, new, entries, bounds, facts)


def encoders(run: Run, before: int, after: int, environment: int, moved: Point) -> tuple[dict[str, float], float]:
    """What moving the features changes at the old head, by modality; and the loss before."""
    (u0, v0), (u1, v1) = run.pair(before, environment), run.pair(after, environment)
    old = run.heads[before]
    f_0, f_i, f_t = (
        Point(augmented(run.fused(u, v), old), moved.label, moved.weight).loss()
        for u, v in ((u0, v0), (u1, v0), (u0, v1))
    )
    if run.fusion == "image":
        return {"encoder, image": moved.loss() - f_0}, f_0  # no text enters
    image, text = c1.shapley(f_0, f_i, f_t, moved.loss())
    return {"encoder, image": float(image), "encoder, text": float(text)}, f_0


def first_order(
    run: Run, before: int, after: int, environment: int, here: Point, step: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """<g_s, dW>, split by where it comes from; and eta, rho, and the share of |dW|^2 that the gradient g_t explains."""
    learnt = run.order[before]
    there = point(run, after, before, learnt)
    g_s, g_t = here.gradient(), there.gradient()
    size, length = float((g_t**2).sum()), float((step**2).sum())
    eta = -float((step * g_t).sum()) / size if size > 0 else 0.0
    z_s, z_t = here.z.mean(axis=0), there.z.mean(axis=0)
    r_s, r_t = here.residual().mean(axis=0), there.residual().mean(axis=0)
    rho = float(r_s @ r_t)
    c_s, c_t = ((x.z - x.z.mean(axis=0)).T @ x.residual() / len(x.z) for x in (here, there))
    c_s, c_t, m_s, m_t = (x.reshape(-1) for x in (c_s, c_t, np.outer(z_s, r_s), np.outer(z_t, r_t)))
    rest = lowered.right("T1.3", "decoupled", C_s=c_s, C_t=c_t, M_s=m_s, M_t=m_t)
    means_s, means_t = ([x.mean(axis=0) for x in run.pair(after, who)] for who in (environment, learnt))
    con = {a + b: float(means_s[j] @ means_t[k]) for j, a in enumerate("IT") for k, b in enumerate("IT")}
    parts = kernel(run, con)
    if run.heads[before].biased:
        parts["bias"] = 1.0
    entries = {f"step, {name}": -eta * rho * k for name, k in parts.items()}
    entries["step, covariances"] = -eta * rest
    entries["step, other directions"] = float((g_s * (step + eta * g_t)).sum())
    limit = lowered.right("T1.3", "remainder", C_s=c_s, C_t=c_t, r_s=r_s, r_t=r_t, z_s=z_s, z_t=z_t)
    return entries, {
        "eta": eta, "rho": rho, "explained": eta**2 * size / length if length > 0 else 1.0, "covariance_limit": abs(eta) * limit,
        "slope": float((g_s * step).sum()),
    }  # fmt: skip


def kernel(run: Run, con: Mapping[str, float]) -> dict[str, float]:
    """K(s,t) by the scores it is made of: the right side of T1.1 with all scores but one at zero."""
    name = {"image": "image_only", "sum": "fused", "concat": "concatenated"}[run.fusion]
    known = {str(s) for s in registry.relation("T1.1", name).rhs.free_symbols}
    weights = {k: x for k, x in (("p", run.p), ("q", run.q)) if k in known}
    scores = {f"Con_{key}" for key in KINDS.values()} & known
    return {
        kind: lowered.right("T1.1", name, **weights, **dict.fromkeys(scores, 0.0) | {f"Con_{key}": con[key]})
        for kind, key in KINDS.items()
        if f"Con_{key}" in scores
    }


def remainder(here: Point, step: np.ndarray) -> tuple[float, float]:
    """(R, its bound): T1.2's divergence of the predictions, and its E|dW'z|^2 / 4."""
    x = here.z @ step
    old, new = log_softmax(here.logits, axis=1), log_softmax(here.logits + x, axis=1)
    apart = lowered.right(
        "T1.2", "divergence", pi=np.exp(old).reshape(-1), log_old=old.reshape(-1), log_new=new.reshape(-1)
    )
    return apart / len(x), lowered.right("T1.2", "half_step", eta_ce=1.0, S=float((x**2).sum() / len(x)))


def largest_curvature(here: Point) -> float:
    """Lambda, no smaller than the curvature of the cross-entropy along any direction at any head: half of lmax E[zz'] (T1.2).

    A step D has remainder at most E|D'z|^2 / 4 <= lmax E[zz'] |D|^2 / 4, and that is Lambda/2 |D|^2.
    """
    return 2 * lowered.right("T1.2", "half_step", eta_ce=1.0, S=second_moment(here.z))


def second_moment(z: np.ndarray) -> float:
    """lmax E[zz']; by the smaller of the two Gram matrices."""
    gram = z @ z.T if len(z) < z.shape[1] else z.T @ z
    return float(np.linalg.eigvalsh(gram / len(z))[-1])
