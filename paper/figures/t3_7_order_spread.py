"""T3.7: how much the order of learning can matter, against the similarity of the environments.

Forgetting is computed by running the projections of the claim's own model on every order; the certified band comes from its
relations `quartic_above` and `quartic_below`.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import sympy
import torch

from ...synthetic.arithmetic import arithmetic
from ...synthetic.evaluate import bound_values, sides, value
from ...theory import registry
from ...theory.claim import Claim
from ...vlm_validation.view import FeaturesView
from .. import style
from ..results import Data, provenance

ENVIRONMENTS, DRAWS, POINTS = 5, 24, 15
MOST = 7  # environments whose orders are all tried
SMALLEST, LARGEST = 0.01, 0.5  # root mean square cosine

CAPTION = (
    "Order sensitivity is of fourth order in the scores (T3.7).  Expected total forgetting times the dimension, for {environments} "
    "rank-one environments with unequal cosines and an isotropic target, all {orders} orders of {draws} drawn Gram matrices at each "
    "similarity (lines: medians; bands: all draws).  The part that no order changes grows like the square of the cosines "
    "(fitted exponent {leading_slope:.3f}), the spread between best and worst order like their fourth power ({spread_slope:.3f}, "
    "over the lower half of the axis).  Dashed: the largest spread that the claim's bounds on the quartic term allow (median; {beyond} of {count} draws exceed their own).  With equal "
    "cosines the spread is zero: {equal:.0e}, which is rounding.  Diamond: mean image directions of the features, all {features_orders} "
    "orders, spread {features_spread:.3f}."
)


def compute(features: Any, seed: int) -> Data:
    """Spread over orders on drawn Gram matrices, on equal cosines, and on features."""
    claim = registry.get("T3.7")
    rng = np.random.default_rng([37, seed])
    similarity = np.geomspace(SMALLEST, LARGEST, POINTS)
    leading, spread, allowed = (np.empty((POINTS, DRAWS)) for _ in range(3))
    for draw in range(DRAWS):
        gram = random_gram(rng)
        for k, c in enumerate(similarity):
            scaled = np.eye(ENVIRONMENTS) + c / rms(gram) * (gram - np.eye(ENVIRONMENTS))
            leading[k, draw], spread[k, draw], allowed[k, draw] = over_orders(claim, rows_of(scaled))
    equal = max(over_orders(claim, rows_of(equicorrelated(c)))[1] for c in similarity)
    low = slice(0, POINTS // 2 + 1)
    on_features, at, orders = measure(claim, features)
    return Data(
        values={
            "environments": ENVIRONMENTS, "orders": len(orders_of(ENVIRONMENTS)), "draws": DRAWS, "similarity": similarity,
            "leading": leading, "spread": spread, "allowed": allowed, "equal": equal,
            "beyond": int((spread > allowed).sum()), "count": spread.size,
            "leading_slope": slope(similarity[low], leading[low]), "spread_slope": slope(similarity[low], spread[low]),
            "features_similarity": at, "features_leading": on_features[0], "features_spread": on_features[1],
            "features_orders": orders,
        },
        provenance=provenance(("T3.7",), features, seed),
    )  # fmt: skip


def random_gram(rng: np.random.Generator) -> np.ndarray:
    """Unequal positive cosines, of root mean square at least LARGEST."""
    while True:
        rows = np.abs(rng.standard_normal((ENVIRONMENTS, ENVIRONMENTS)))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        gram = rows @ rows.T
        if rms(gram) >= LARGEST:  # so that scaling down towards the identity keeps it positive definite
            return gram


def equicorrelated(c: float) -> np.ndarray:
    return (1 - c) * np.eye(ENVIRONMENTS) + c * np.ones((ENVIRONMENTS, ENVIRONMENTS))


def rms(gram: np.ndarray) -> float:
    """Root mean square of the off-diagonal cosines."""
    off = gram[~np.eye(len(gram), dtype=bool)]
    return float(np.sqrt((off**2).mean()))


def rows_of(gram: np.ndarray) -> np.ndarray:
    """Unit rows with these inner products."""
    values, vectors = np.linalg.eigh(gram)
    rows = vectors * np.sqrt(np.clip(values, 0, None))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def orders_of(count: int) -> np.ndarray:
    return np.array(list(permutations(range(count))))


def over_orders(claim: Claim, rows: np.ndarray) -> tuple[float, float, float]:
    """Of all orders of unit rows: the order-free part, the spread of forgetting, and the spread that the claim allows."""
    ops = arithmetic("plain")
    batch = torch.as_tensor(rows[orders_of(len(rows))])
    norm = torch.linalg.matrix_norm(torch.tril(batch @ batch.mT, -1), ord=2)[:, None, None]
    values = bound_values(claim, {"A": batch, "ell": norm}, ops)
    relation = {r.name: r for r in claim.statement.relations}
    forgetting, leading = (x.reshape(-1) for x in sides(relation["bounded"], values, ops))
    above, below = relation["quartic_above"], relation["quartic_below"]
    plain = value(above.rhs, values, ops).reshape(-1)  # |L'L|^2, between factor * quartic term on either side
    (quartic,) = sympy.sympify(above.lhs).atoms(sympy.Trace)
    least, most = (plain / value(side / quartic, values, ops).reshape(-1) for side in (below.rhs, above.lhs))
    within = norm.reshape(-1) < 1  # above a norm of one the claim bounds nothing but the order-free part
    most = torch.minimum(torch.where(within, most, torch.inf), leading)
    return float(leading.mean()), float(forgetting.max() - forgetting.min()), float(most.max() - least.min())


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Exponent of the median of `y` (points, draws) as a power of `x`."""
    return float(np.polyfit(np.log(x), np.log(np.median(y, axis=1)), 1)[0])


def measure(claim: Claim, features: Any) -> tuple[tuple[float, float], float, int]:
    """(order-free part, spread), rms cosine and number of orders of the mean image directions; nan for too many orders."""
    view = FeaturesView(features)
    count = len(view.environments)
    if not 2 <= count <= MOST:
        return (float("nan"), float("nan")), float("nan"), 0
    rows = view.normalise(view.stack([view.mean(view.image(t)) for t in view.environments])).mid.numpy()
    gram = rows @ rows.T
    leading, spread, _ = over_orders(claim, rows_of(gram))
    return (leading, spread), rms(gram), len(orders_of(count))


def draw(data: Data) -> Any:
    figure, axes = style.canvas(height=2.7)
    x = data["similarity"]
    for name, colour, label in (
        ("leading", style.GREY, "order-free part"),
        ("spread", style.BLUE, "spread over orders"),
    ):
        axes.fill_between(x, data[name].min(axis=1), data[name].max(axis=1), color=colour, alpha=0.25, linewidth=0)
        axes.plot(x, np.median(data[name], axis=1), color=colour, label=label)
    axes.plot(
        x,
        np.median(data["allowed"], axis=1),
        color=style.RED,
        linestyle="--",
        linewidth=1,
        label="spread allowed by T3.7",
    )
    axes.plot(data["features_similarity"], data["features_spread"], "D", color=style.YELLOW, markeredgecolor="black",
              markeredgewidth=0.5, label="features")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("similarity: root mean square cosine")
    axes.set_ylabel("forgetting × dimension")
    axes.legend(loc="upper left", borderaxespad=0.1)
    return figure
