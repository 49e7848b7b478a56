"""Environments to test theorems on: tasks of a linear teacher, and (image, text) pairs with prescribed scores or of a family.

`tasks`: features and targets, exact or batched.  `pairs`: the small dataclass all generators return.  `prescribed`: pairs whose
scores are a given matrix (S4).  `families`: Gaussian, spiked, rank-one, block-rank, drifting and others.  `rational`: unit vectors and
Gram factors in rationals.
"""

from __future__ import annotations

from .pairs import Pairs
from .prescribed import InfeasibleScores, nearest_feasible, prescribed
from .tasks import Environment, contribution, rational_environments, teach

__all__ = [
    "Environment", "InfeasibleScores", "Pairs", "contribution", "nearest_feasible", "prescribed", "rational_environments", "teach",
]  # fmt: skip
