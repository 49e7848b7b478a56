"""How far the CLIP loss is from linear in the scores (T1.5): the shape of a row of scores, and what bounds its remainder delta."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy
import torch

from ..synthetic.arithmetic import arithmetic
from ..synthetic.evaluate import value
from ..theory.claim import Claim


def shape_of(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Largest deviation from the mean, range and variance of every row: b, R and V of the claim."""
    own = scores - scores.mean(axis=-1, keepdims=True)
    return own.max(axis=-1), np.ptp(own, axis=-1), own.var(axis=-1)


def least_bound(claim: Claim, tau: Any, top: np.ndarray, width: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The least of the claim's three bounds of delta, evaluated from its relations (arrays that broadcast).

    A constant row, and a temperature at which an exponential overflows, leave Bennett's bound out.
    """
    ops = arithmetic("plain")
    by_name = {r.name: r for r in claim.statement.relations}
    names = ("tau", "b", "R", "V")
    arrays = np.broadcast_arrays(np.asarray(tau, dtype=np.float64), top, width, variance)
    values: dict[str, Any] = {k: torch.from_numpy(np.array(x)) for k, x in zip(names, arrays, strict=True)}
    values["E_b"] = torch.exp(values["tau"] * values["b"])
    bennett = by_name["bennett"]  # b^2 (e^delta - 1) <= rhs
    moment = next(s for s in sympy.sympify(bennett.lhs).free_symbols if str(s) == "M")
    weight = value(sympy.sympify(bennett.lhs) / (moment - 1), values, ops)
    bounds = [value(by_name[k].rhs, values, ops) for k in ("maximum", "hoeffding")]
    bounds.append(torch.log1p(value(bennett.rhs, values, ops) / weight))
    return np.asarray(np.fmin.reduce([x.numpy() for x in bounds]))
