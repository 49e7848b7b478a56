"""Sides of the claims' relations as functions of numbers and vectors: formulas stay in `theory/claims/`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import sympy
import torch

from ..synthetic.arithmetic import arithmetic
from ..synthetic.evaluate import value
from ..theory import registry

Number = float | np.ndarray


@cache
def solved(claim: str, name: str, symbol: str) -> Any:
    """The expression of a symbol that makes both sides of a relation equal."""
    r = registry.relation(claim, name)
    (found,) = sympy.solve(sympy.Eq(r.lhs, r.rhs), sympy.Symbol(symbol, real=True))
    return found


def evaluate(expression: Any, **values: Number) -> float:
    """A scalar expression; numbers stand for scalars, 1-d arrays for vectors."""
    tensors = {name: torch.as_tensor(np.atleast_2d(np.asarray(x, dtype=np.float64))) for name, x in values.items()}
    found = value(expression, tensors, arithmetic("plain"))
    return float(found.reshape(-1)[0]) if isinstance(found, torch.Tensor) else float(found)


def right(claim: str, name: str, **values: Number) -> float:
    """The right side of a relation."""
    return evaluate(registry.relation(claim, name).rhs, **values)


def left(claim: str, name: str, **values: Number) -> float:
    """The left side of a relation."""
    return evaluate(registry.relation(claim, name).lhs, **values)
