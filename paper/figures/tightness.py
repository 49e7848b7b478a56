"""How tight every bound is: the ratio of its two sides on random models, and at the claim's own tight instance."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy

from ...synthetic.arithmetic import Ball, arithmetic, ball
from ...synthetic.check import tightness
from ...synthetic.draw import draw_batch
from ...synthetic.evaluate import admitted, bound_values, sides
from ...theory import registry
from ...theory.claim import Claim
from ...theory.language import Relation
from .. import style, verdicts
from ..results import Data, provenance

BATCHES, SIZE = 4, 1024
CAPTION = (
    "How tight every bound is: left side over right side, one bound a row; {bounds} bounds of {claims} claims.  Bar: the "
    "middle {coverage:.0%} of up to {models} random small models that satisfy the assumptions and make both sides positive; tick: their median; dot: the largest "
    "ratio drawn (lower ends of intervals that hold the exact ratio); diamond: the claim's own instance of equality, in exact arithmetic.  {attained} of the {with_instance} "
    "bounds with such an instance attain it.  Of a matrix inequality, largest eigenvalues.  Bounds of another form, such as those between two quantities of either sign, have no ratio: "
    "{left_out}."
)


def compute(features: Any, seed: int) -> Data:
    """Ratios of all bounds that have one; `features` are not used."""
    rows, left_out = [], []
    for claim_id in verdicts.claims():
        claim = registry.get(claim_id)
        bounds = [r for r in claim.statement.relations if r.op in ("<=", "loewner<=")]
        if not bounds or claim.verdict != "PROVED":
            continue
        drawn = ratios(claim, bounds, seed)
        exact = tight_ratios(claim)
        for relation in bounds:
            found = drawn[relation.name]
            if len(found) or relation.name in exact:
                rows.append((f"{claim.id} {relation.name.replace('_', ' ')}", found, exact.get(relation.name, np.nan)))
            else:
                left_out.append(f"{claim.id} {relation.name}")
    quantiles = [np.quantile(x, (0.05, 0.5, 0.95, 1)) if len(x) else np.full(4, np.nan) for _, x, _ in rows]
    instance = np.array([e for *_, e in rows])
    return Data(
        values={
            "bounds": len(rows), "claims": len({name.split()[0] for name, *_ in rows}), "names": [name for name, *_ in rows],
            "quantiles": np.array(quantiles), "instance": instance, "models": BATCHES * SIZE, "coverage": 0.9,
            "with_instance": int(np.isfinite(instance).sum()), "attained": int((instance == 1).sum()),
            "left_out": ", ".join(left_out) or "none",
        },
        provenance=provenance(sorted({name.split()[0] for name, *_ in rows}), None, seed),
    )  # fmt: skip


def ratios(claim: Claim, bounds: list[Relation], seed: int) -> dict[str, np.ndarray]:
    """Relation -> ratios of its sides on random models within the assumptions, where both sides are positive.

    Each is the lower end of an interval that holds the exact ratio, so a true bound never shows more than 1.
    """
    ops = arithmetic("bounded")
    found: dict[str, list[np.ndarray]] = {relation.name: [] for relation in bounds}
    for index in range(BATCHES):
        values = bound_values(claim, draw_batch(claim, seed, index, SIZE), ops)
        among = admitted(claim, values, ops, SIZE).numpy()
        for relation in bounds:
            pair = two_sides(relation, values, ops)
            if pair is None or pair[0].mid.numel() != SIZE:
                continue
            (lhs, lhs_error), (rhs, rhs_error) = ((x.mid.reshape(-1).numpy(), x.err.reshape(-1).numpy()) for x in pair)
            lhs, lhs_error, rhs, rhs_error = np.broadcast_arrays(lhs, lhs_error, rhs, rhs_error)
            use = among & (rhs > rhs_error) & (lhs > lhs_error)  # both sides surely positive
            found[relation.name].append((lhs[use] - lhs_error[use]) / (rhs[use] + rhs_error[use]))
    return {name: np.concatenate(x) if x else np.empty(0) for name, x in found.items()}


def two_sides(relation: Relation, values: Any, ops: Any) -> tuple[Ball, Ball] | None:
    """Both sides as numbers with error bounds, (n, 1, 1); None where the relation has no ratio."""
    lhs, rhs = sympy.sympify(relation.lhs), sympy.sympify(relation.rhs)
    if rhs == 0 or lhs == 0 or getattr(lhs, "is_zero_matrix", False):
        return None
    left, right = (ball(x) for x in sides(relation, values, ops))
    if lhs.is_number:  # -1 <= x is read as -x <= 1
        left, right = -right, -left
    if relation.op == "loewner<=":
        if rhs.atoms(sympy.MatrixSymbol):
            return None
        left, right = (-ops.smallest_eigenvalue(-x) for x in (left, right))
    return left, right


def tight_ratios(claim: Claim) -> dict[str, float]:
    """Relation -> ratio at its tight instance; 1 for a matrix inequality whose slack is singular there."""
    found: dict[str, float] = {}
    for label, ratio, holds, fails in tightness(claim):
        name = label.split(":")[0]
        if holds and fails:
            found[name] = max(found.get(name, 0.0), 1.0 if np.isnan(ratio) else ratio)
    return found


def draw(data: Data) -> Any:
    n = data["bounds"]
    figure, axes = style.canvas(style.COLUMN, 0.65 + 0.155 * n)
    y = np.arange(n)
    low, middle, high, most = data["quantiles"].T
    axes.axvline(1, color=style.GREY, linestyle="--", linewidth=0.8)
    axes.barh(y, high - low, left=low, height=0.5, color=style.SKY, alpha=0.7, label="random models")
    axes.plot(middle, y, "|", color=style.BLUE, markersize=6, markeredgewidth=1.2)
    axes.plot(most, y, "o", color=style.BLUE, markersize=3, label="largest drawn")
    axes.plot(data["instance"], y, "D", color=style.RED, markersize=3.6, markerfacecolor="none", label="exact instance")
    axes.set_yticks(y, data["names"])
    axes.set_ylim(n - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.06)
    axes.set_xlabel("left side / right side")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right", ncols=3, columnspacing=0.8, handletextpad=0.3)
    return figure
