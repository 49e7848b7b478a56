"""T3.12: what is forgotten where only a share of every environment is learnt: nothing on average at about one half.

Forgetting is computed by running the gradient steps of the claim's own model along every order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...synthetic.arithmetic import arithmetic
from ...synthetic.evaluate import bound_values, sides
from ...theory import registry
from ...theory.claim import Claim
from ...vlm_validation.view import FeaturesView
from .. import style
from ..results import Data, provenance
from .t3_7_order_spread import ENVIRONMENTS, LARGEST, MOST, orders_of, random_gram, rms, rows_of

DRAWS, SHARES = 8, 33
SIMILARITIES = (0.02, 0.2, LARGEST)  # root mean square cosine
LOOKS = ((style.BLUE, "-"), (style.ORANGE, "--"), (style.RED, "-."))

CAPTION = (
    "What is forgotten where only a share of every environment is learnt (T3.12): expected total forgetting times the dimension, isotropic target, "
    "divided by the sum of the squared scores of all pairs.  Left: {environments} rank-one environments with unequal positive cosines, {draws} drawn Gram matrices at each "
    "root mean square cosine; lines: means over all {orders} orders and draws; bands: all of them.  Dotted: the term of second order, "
    "$\\eta (2 - \\eta)(2 \\eta - 1)$, which changes its sign at one half; below zero, later environments help earlier ones on the whole.  The mean crosses zero at "
    "{crossings}.  Right: mean image directions of the features (root mean square cosine {features_similarity:.3f}), all {features_orders} orders; "
    "their mean crosses zero at {features_crossing}."
)


def compute(features: Any, seed: int) -> Data:
    """Forgetting by share, order and draw on drawn Gram matrices, and on features."""
    claim = registry.get("T3.12")
    rng = np.random.default_rng([312, seed])
    share = np.linspace(0, 1, SHARES)
    drawn = np.empty((len(SIMILARITIES), SHARES, DRAWS, len(orders_of(ENVIRONMENTS))))
    for draw in range(DRAWS):
        gram = random_gram(rng)
        for k, c in enumerate(SIMILARITIES):
            scaled = np.eye(ENVIRONMENTS) + c / rms(gram) * (gram - np.eye(ENVIRONMENTS))
            drawn[k, :, draw] = over_orders(claim, rows_of(scaled), share)
    measured, at = measure(claim, features, share)
    crossings = [crossing(share, runs.mean(axis=(1, 2))) for runs in drawn]
    return Data(
        values={
            "environments": ENVIRONMENTS, "orders": len(orders_of(ENVIRONMENTS)), "draws": DRAWS, "share": share, "similarity": np.array(SIMILARITIES),
            "drawn": drawn, "leading": share * (2 - share) * (2 * share - 1), "features": measured, "features_orders": measured.shape[1],
            "features_similarity": at, "features_crossing": spoken(crossing(share, measured.mean(axis=1))) if measured.size else "no share",
            "crossings": ", ".join(f"{spoken(x)} ({c:g})" for x, c in zip(crossings, SIMILARITIES, strict=True)),
        },
        provenance=provenance(("T3.12",), features, seed),
    )  # fmt: skip


def over_orders(claim: Claim, rows: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(shares, orders): forgetting of every order of unit rows over the sum of their squared scores."""
    ops = arithmetic("plain")
    batch = torch.as_tensor(rows[orders_of(len(rows))])
    gram = rows @ rows.T
    total = float((np.tril(gram, -1) ** 2).sum())
    (exact,) = (r for r in claim.statement.relations if r.name == "exact")
    out = []
    for eta in share:
        values = bound_values(
            claim, {"A": batch, "eta": torch.full((len(batch), 1, 1), float(eta), dtype=batch.dtype)}, ops
        )
        forgetting, _ = sides(exact, values, ops)
        out.append(forgetting.reshape(-1).numpy() / total)
    return np.array(out)


def measure(claim: Claim, features: Any, share: np.ndarray) -> tuple[np.ndarray, float]:
    """Forgetting of the mean image directions (shares, orders) and their rms cosine; no orders where there are too many."""
    view = FeaturesView(features)
    if not 2 <= len(view.environments) <= MOST:
        return np.empty((len(share), 0)), float("nan")
    rows = view.normalise(view.stack([view.mean(view.image(t)) for t in view.environments])).mid.numpy()
    gram = rows @ rows.T
    return over_orders(claim, rows_of(gram), share), rms(gram)


def crossing(share: np.ndarray, mean: np.ndarray) -> float:
    """Where a mean goes from below zero to above, between two shares on the straight line; nan where it never does."""
    (up,) = np.nonzero((mean[:-1] < 0) & (mean[1:] >= 0))
    if not len(up):
        return float("nan")
    k = int(up[-1])
    return float(share[k] - mean[k] * (share[k + 1] - share[k]) / (mean[k + 1] - mean[k]))


def spoken(where: float) -> str:
    return "no share" if np.isnan(where) else f"{where:.2f}"


def draw(data: Data) -> Any:
    figure, (left, right) = style.canvas(style.TEXT, 2.5, 1, 2)
    share = data["share"]
    for (colour, line), c, runs in zip(LOOKS, data["similarity"], data["drawn"], strict=True):
        left.fill_between(share, runs.min(axis=(1, 2)), runs.max(axis=(1, 2)), color=colour, alpha=0.25, linewidth=0)
        left.plot(share, runs.mean(axis=(1, 2)), color=colour, linestyle=line, label=f"cosine {c:g}")
    left.set_title("drawn environments")
    left.set_ylabel("forgetting / sum of squared scores")
    right.set_title("mean image directions of the features")
    if data["features"].size:
        right.fill_between(
            share,
            data["features"].min(axis=1),
            data["features"].max(axis=1),
            color=style.GREEN,
            alpha=0.25,
            linewidth=0,
        )
        right.plot(share, data["features"].mean(axis=1), color=style.GREEN, label="all orders: mean and range")
    else:
        right.text(0.5, 0.5, f"not between 2 and {MOST} environments", ha="center", transform=right.transAxes)
    for axes in (left, right):
        axes.plot(share, data["leading"], color=style.BLACK, linestyle=":", linewidth=1, label="second order")
        axes.axhline(0, color=style.GREY, linewidth=0.6)
        axes.set_xlabel("share of each environment that is learnt")
        axes.legend(loc="upper left", borderaxespad=0.1, handlelength=2.6)
    return figure
