"""What the theory says about the forgetting of an order before anything is trained.

Every predictor maps orders (M, T) of positions 0..T-1 to M numbers, lower meaning less forgetting.  All read contribution
scores only: of environments, or (`blocks`) of class prototypes.  Claims T3.5, T3.6, T3.7; T3.10 is in `span`.
"""

from __future__ import annotations

import numpy as np
import torch

from ..synthetic import orders as closed
from ..synthetic.arithmetic import arithmetic
from ..synthetic.evaluate import value


def consecutive_cost(con: np.ndarray, orders: np.ndarray, *, power: int = 1) -> np.ndarray:
    """The paper's cumulative cost: sum over consecutive environments of Con(previous, next) to `power`; (M,)."""
    return np.asarray((con[orders[:, :-1], orders[:, 1:]] ** power).sum(axis=1))


def unit_gram(con: np.ndarray) -> np.ndarray:
    """(T, T) cosines of the environments' mean directions, from their intra-modal scores."""
    scale = np.sqrt(np.diag(con))
    return np.asarray(con / np.outer(scale, scale))


def fourth_order(gram: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """T3.7 to fourth order in the scores, `isotropic_formula` with I for (I + L)^{-1}; (M,)."""
    lower = closed.ordered(torch.from_numpy(gram)[None], orders)["L"]
    values = {"L": lower, "M": torch.eye(gram.shape[0], dtype=lower.dtype)}
    return np.asarray(value(closed.isotropic_formula(), values, arithmetic("plain"))[0, :, 0, 0])


def rank_one(gram: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """T3.5 with an isotropic target, in the closed form of T3.7; environments as unit directions; (M,)."""
    return closed.closed_forgetting(torch.from_numpy(gram)[None], orders)[0].numpy()


def rank_one_steps(gram: np.ndarray, orders: np.ndarray, *, step: float) -> np.ndarray:
    """T3.6 with an isotropic target: the same for one gradient step of size `step` in (0, 1] an environment; (M,).

    The residual of environment s just after its own step is subtracted, so that this too is forgetting.
    """
    return closed.closed_forgetting(torch.from_numpy(gram)[None], orders, eta=step)[0].numpy()


def blocks(prototypes: np.ndarray, environment: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """T3.5 in block form with an isotropic target: each environment the span of its class prototypes; (M,).

    Args:
        prototypes: (K, r) coordinates of the class prototypes (any isometric ones).
        environment: (K,) position of each prototype's environment.
    """
    T = orders.shape[1]
    bases = []
    for t in range(T):
        u, s, _ = np.linalg.svd(prototypes[environment == t].T, full_matrices=False)
        bases.append(u[:, s > 1e-10 * s[0]])
    projectors = np.stack([q @ q.T for q in bases])
    identity = np.eye(prototypes.shape[1])
    total = np.zeros(len(orders))
    for m, order in enumerate(orders):
        error = identity
        for t in order:
            error = error - projectors[t] @ error
        total[m] = sum(((bases[t].T @ error) ** 2).sum() for t in order[:-1])
    return total
