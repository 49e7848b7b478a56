"""The largest curvature of a loss in the head, by Lanczos with an error bar, beside its certified bounds (T1.2, T3.1, T3.2)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sympy
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from scipy.special import softmax

from .. import lowered
from .ledger import Point, augmented, matrix
from .run import Run


@dataclass(frozen=True)
class Curvature:
    """Of one environment at one stage.

    Attributes:
        environment: its name.
        ce: largest eigenvalue of the Hessian of the cross-entropy in the head (Lanczos).
        error: there is an eigenvalue within this of `ce`: the norm of the residual of the eigenpair found.  That it is the largest
            is Lanczos' word.
        softmax_bound: max |z|^2 / 2, which it cannot exceed (T1.2).
        squared: largest eigenvalue of the Hessian of the squared loss, E[z z'].
        modality_bound: (p sqrt(lmax S_II) + q sqrt(lmax S_TT))^2, which that cannot exceed (T3.2); None for concatenation and with
            a bias, of which T3.2 does not speak.
    """

    environment: str
    ce: float
    error: float
    softmax_bound: float
    squared: float
    modality_bound: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def curvature(run: Run, stage: int, environment: int) -> Curvature:
    """At the head and features of a stage."""
    u, v = run.pair(stage, environment)
    z = augmented(run.fused(u, v), run.heads[stage])
    point = Point(z, run.labels(environment), matrix(run.heads[stage]))
    ce, error = largest(point)
    longest = float((z**2).sum(axis=1).max())
    half = lowered.relation("T1.2", "half").rhs  # eta^2/4 |z|^2 |G|^2 is eta^2/2 B |G|^2
    bound = 2 * lowered.evaluate(half, eta_ce=1.0, z=np.array([longest**0.5]), B=1.0)
    top = float(np.linalg.eigvalsh(z.T @ z / len(z))[-1])
    modality = None
    if run.fusion != "concat" and not run.heads[stage].biased:
        a, b = (float(np.linalg.eigvalsh(x.T @ x / len(x))[-1]) ** 0.5 for x in (u, v))
        rhs = lowered.relation("T3.2", "bound").rhs
        factor = sympy.Mul(*[f for f in rhs.args if not isinstance(f, sympy.MatrixExpr)])
        modality = lowered.evaluate(factor, a=a, t=b / a if a > 0 else 0.0, p=run.p, q=run.q)
    return Curvature(run.name(environment), ce, error, bound, top, modality)


def largest(point: Point) -> tuple[float, float]:
    """Largest eigenvalue of the Hessian, matrix-free, and the norm of its eigenpair's residual."""
    n, width = point.z.shape
    classes = point.weight.shape[1]
    pi = softmax(point.logits, axis=1)

    def product(x: np.ndarray) -> np.ndarray:
        moved = point.z @ x.reshape(width, classes)
        pushed = pi * moved - pi * (pi * moved).sum(axis=1, keepdims=True)
        return np.asarray(point.z.T @ pushed / n).reshape(-1)

    size = width * classes
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.cos(np.arange(1, size + 1, dtype=np.float64))  # the same for everybody
    try:
        values, vectors = eigsh(operator, k=1, which="LA", v0=start, tol=1e-10)
        value, vector = float(values[0]), vectors[:, 0]
    except ArpackNoConvergence as partial:
        if len(partial.eigenvalues) == 0:
            return float("nan"), float("inf")
        value, vector = float(partial.eigenvalues[0]), partial.eigenvectors[:, 0]
    vector = vector / np.linalg.norm(vector)
    return value, float(np.linalg.norm(product(vector) - value * vector))
