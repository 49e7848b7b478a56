"""The largest curvature of a loss in the head, between two certified ends, beside its bounds by modality (T1.2, T3.1, T3.2).

Lanczos says that an eigenvalue is near, not that it is the largest.  Both ends here are certified, rounding allowed for:

* a Rayleigh quotient never exceeds the largest eigenvalue, whatever vectors Lanczos found;
* in an orthonormal basis that begins with these vectors H is [[T, R'], [R, S]], and |H|_F and tr H are exact sums over pairs of samples and
  over samples.  H >= 0, so |S| is at most c, the smaller of sqrt(|H|_F^2 - |T|_F^2) and tr H - tr T; and lmax H is at most the larger
  eigenvalue of [[lmax T, |R|_F], [|R|_F, c]].  Where c falls below lmax T nothing larger can hide, and the ends meet.

Where they do not, the upper end may be T1.2's half of lmax E[zz'], which holds for every head.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from inspect import signature
from typing import Any

import numpy as np
import sympy
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from scipy.special import softmax

from ...theory import registry
from .. import lowered
from .cross_entropy import Point, largest_curvature, point, second_moment
from .ledger import Ledger
from .run import Run

ROUNDING = 1e-12  # of E|z|^2, which bounds tr H; a sum over C classes of terms below one is off by some C / 1e16
MOST, MEMORY = 128, 2**24  # Lanczos vectors, and numbers in them, before the upper end is left open
SEED = (
    {"rng": 0} if "rng" in signature(eigsh).parameters else {}
)  # ARPACK draws where its subspace is exhausted; old ones have a seed of their own
BLOCK = 1024  # rows of samples at a time in sums over pairs


@dataclass(frozen=True)
class Curvature:
    """Of one environment after a transition.

    Attributes:
        environment: its name.
        low, high: certified ends of the largest eigenvalue of the Hessian of the cross-entropy in the head.
        rests_on: what the upper end rests on: `Lanczos` (and the norm and trace of what it left) or `T1.2`.
        everywhere: T1.2's bound of it for every head, half of `squared`.
        squared: largest eigenvalue of the Hessian of the squared loss, E[z z'].
        modality_bound: (p sqrt(lmax S_II) + q sqrt(lmax S_TT))^2, which that cannot exceed (T3.2); None for concatenation and with
            a bias, of which T3.2 does not speak.
        head, allowed: change of the cross-entropy by the head's move alone, and what T3.1 allows: slope + everywhere/2 |dW|^2.
    """

    environment: str
    low: float
    high: float
    rests_on: str
    everywhere: float
    squared: float
    modality_bound: float | None
    head: float
    allowed: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def curvature(run: Run, stage: int, environment: int, book: Ledger) -> Curvature:
    """At the head and features of a stage, and what the ledger of the transition that led there says of the head's part."""
    here = point(run, stage, stage, environment)
    ends = {"Lanczos": 0.0, "T1.2": largest_curvature(here)}
    low, ends["Lanczos"] = largest(here)
    rests_on = min(ends, key=lambda k: ends[k])
    modality = None
    if run.fusion != "concat" and not run.heads[stage].biased:
        a, b = (math.sqrt(second_moment(x)) for x in run.pair(stage, environment))
        rhs = registry.relation("T3.2", "bound").rhs
        factor = sympy.Mul(*[f for f in rhs.args if not isinstance(f, sympy.MatrixExpr)])
        modality = lowered.evaluate(factor, a=a, t=b / a if a > 0 else 0.0, p=run.p, q=run.q)
    return Curvature(
        run.name(environment), low, ends[rests_on], rests_on, ends["T1.2"], second_moment(here.z), modality, book.facts["head"],
        book.bounds["head"][1],
    )  # fmt: skip


def largest(here: Point) -> tuple[float, float]:
    """Certified ends of the largest eigenvalue of the Hessian: by one Lanczos vector, and by more where one does not settle it.

    Equal predictions have C - 1 equal eigenvalues, so after one vector the next try takes a few more than that, and doubles.
    """
    square, trace = norms(here)
    low, high = 0.0, min(math.sqrt(square), trace)
    count, more = 1, here.weight.shape[1] + 4
    most = max(min(MOST, MEMORY // here.weight.size, here.weight.size - 1), 1)
    while True:
        found = ends(here, lanczos(here, count), square, trace)
        low, high = max(low, found[0]), min(high, found[1])
        if high - low <= 4 * slack(here) or count == most:
            return low, high
        count, more = min(more, most), 2 * more


def slack(here: Point) -> float:
    """What is added for rounding."""
    return ROUNDING * float((here.z**2).sum(axis=1).mean())


def product(here: Point, pi: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The Hessian times a (D, C) matrix, without forming it."""
    moved = here.z @ x
    pushed = pi * moved - pi * (pi * moved).sum(axis=1, keepdims=True)
    return np.asarray(here.z.T @ pushed / len(here.z))


def lanczos(here: Point, count: int) -> np.ndarray:
    """(count or fewer, D, C) orthonormal approximations to the leading eigenvectors; what they are worth, `ends` says."""
    pi, shape = softmax(here.logits, axis=1), here.weight.shape
    operator = LinearOperator(
        (here.weight.size,) * 2, matvec=lambda x: product(here, pi, x.reshape(shape)).reshape(-1), dtype=np.float64
    )
    start = np.cos(np.arange(1, here.weight.size + 1, dtype=np.float64))  # the same for everybody
    try:
        _, vectors = eigsh(operator, k=count, which="LA", v0=start, tol=1e-10, **SEED)
    except ArpackNoConvergence as partial:
        vectors = partial.eigenvectors
    except ArpackError:  # a Hessian that is zero as far as rounding sees, under a head that is sure of everything
        vectors = np.zeros((here.weight.size, 0))
    return np.linalg.qr(vectors)[0].T.reshape(-1, *shape)


def ends(here: Point, basis: np.ndarray, square: float, trace: float) -> tuple[float, float]:
    """Certified ends from orthonormal vectors, and |H|_F^2 and tr H; see the head of the file."""
    if len(basis) == 0:
        return 0.0, math.inf
    pi, more = softmax(here.logits, axis=1), slack(here)
    pushed = np.stack([product(here, pi, x) for x in basis]).reshape(len(basis), -1)
    flat = basis.reshape(len(basis), -1)
    inside = flat @ pushed.T
    across = float(np.linalg.norm(pushed - inside.T @ flat)) + more
    top = float(np.linalg.eigvalsh((inside + inside.T) / 2)[-1])
    left = max(square - float((inside**2).sum()), 0.0), max(trace - float(np.trace(inside)), 0.0)
    rest = min(math.sqrt(left[0]), left[1])
    return top - more, (top + rest) / 2 + math.hypot((top - rest) / 2, across) + more


def norms(here: Point) -> tuple[float, float]:
    """(|H|_F^2, tr H) of the Hessian E[zz' x (diag(pi) - pi pi')], by sums over pairs and over samples; no less, whatever the rounding."""
    pi, length = softmax(here.logits, axis=1), (here.z**2).sum(axis=1)
    total = 0.0
    for start in range(0, len(pi), BLOCK):
        rows = slice(start, start + BLOCK)
        joint = pi[rows] @ pi.T
        apart = joint - pi[rows] ** 2 @ pi.T - pi[rows] @ (pi**2).T + joint**2  # <A_i, A_j>, A = diag(pi) - pi pi'
        total += float(((here.z[rows] @ here.z.T) ** 2 * apart).sum())
    square, trace = total / len(pi) ** 2, float((length * (1 - (pi**2).sum(axis=1))).mean())
    more = slack(here)
    return max(square, 0.0) + more * float(length.mean()), max(trace, 0.0) + more
