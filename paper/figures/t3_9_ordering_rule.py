"""T3.9: four environments on which the ordering rule fails, and why."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

import numpy as np
import sympy
import torch

from ...synthetic.arithmetic import arithmetic
from ...synthetic.evaluate import bound_values, value
from ...theory import registry
from ...theory.claims import t3_9_four_environments as source
from .. import style
from ..results import Data, provenance

SHOWN = 0.2  # the parameter of the claim's family at which the orders are drawn
CAPTION = (
    "The ordering rule fails for four environments (T3.9).  Environments {twins} are the same; a fourth has score {eps:.2f} with them.  "
    "Left: cumulative consecutive contribution and expected forgetting (times the dimension) of all {orders} orders; the rule "
    "leaves {ties} orders, the best of which, {rule}, forgets {ratio:.1f} times as much as the best order, {best}.  Middle: squared residual of every environment "
    "after every step (white: not learnt yet; dot: learnt in this step).  The rule keeps environment {fourth} away from between the "
    "twins, where it would pay its score twice, and what is spoilt is never repaired.  The best order pays: {fourth} spoils the first "
    "twin, and learning the second twin repairs it.  Right: the ratio to the order {certified} along the family, above its certified lower "
    "bound; it reaches {largest:.0f} and has no limit."
)


def compute(features: Any, seed: int) -> Data:
    """Everything follows from the claim's family; neither features nor random numbers are used."""
    ops = arithmetic("plain")
    claim = registry.get("T3.9")
    rows = directions(SHOWN)
    gram = rows @ rows.T
    orders = list(permutations(range(4)))
    cost = np.array([sum(gram[i, j] for i, j in pairwise(o)) for o in orders])
    total = np.array([residuals(rows, o)[-1].sum() for o in orders])
    least = np.flatnonzero(cost <= cost.min() + 1e-12)  # ties up to rounding: reversal, and exchange of the twins
    rule = int(least[total[least].argmin()])  # the best of the orders that the rule may pick
    best = int(total.argmin())
    s = np.geomspace(0.01, 0.25, 41)
    values = bound_values(claim, {"s": torch.as_tensor(s)[:, None, None]}, ops)
    relation = {r.name: r for r in claim.statement.relations}
    ratio = np.min([ratios(relation[f"ratio_{''.join(map(str, o))}"], o, values, ops) for o in source.RULE], axis=0)
    return Data(
        values={
            "eps": float(gram[1, 3]), "delta": float(gram[0, 3]), "gram": gram, "orders": len(orders), "cost": cost, "total": total,
            "names": [name(o) for o in orders], "rule": name(orders[rule]), "best": name(orders[best]), "rule_index": rule,
            "ties": len(least), "certified": ", ".join(map(str, source.BETTER)), "best_index": best, "ratio": float(total[rule] / total[best]), "rule_steps": residuals(rows, orders[rule]),
            "best_steps": residuals(rows, orders[best]), "twins": "2 and 3", "fourth": "4", "family_eps": values["eps"].reshape(-1).numpy(),
            "family_ratio": ratio[0], "family_bound": ratio[1], "largest": float(ratio[0].max()),
        },
        provenance=provenance(("T3.9",), None, seed),
    )  # fmt: skip


def directions(s: float) -> np.ndarray:
    """(4, 3) the unit directions of the family: 2 and 3 are equal."""
    three = source.family(torch.full((1, 1), s, dtype=torch.float64), arithmetic("plain"))
    rows: np.ndarray = three.reshape(3, 3).numpy()[[0, 1, 1, 2]]
    return rows


def residuals(rows: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """(steps, environments) squared residuals for an isotropic target, times d; nan for what is not learnt yet."""
    error = np.eye(rows.shape[1])
    out = np.full((len(order), len(rows)), np.nan)
    for k, t in enumerate(order):
        error = error - np.outer(rows[t], rows[t] @ error)
        seen = list(order[: k + 1])
        out[k, seen] = ((rows[seen] @ error) ** 2).sum(axis=1)
    return out


def ratios(relation: Any, order: tuple[int, int, int, int], values: Any, ops: Any) -> np.ndarray:
    """(2, n) F(rule)/F(better) and what the claim's relation makes of it: ``a F(better) <= b F(rule)``, so at least a/b."""
    better, rule = source.F[source.BETTER], source.F[order]
    a, b = sympy.sympify(relation.lhs) / better, sympy.sympify(relation.rhs) / rule
    found = [value(x, values, ops).reshape(-1).numpy() for x in (rule / better, a / b)]
    return np.array(found)


def name(order: tuple[int, ...]) -> str:
    return ", ".join(str(t + 1) for t in order)


def draw(data: Data) -> Any:
    figure, panels = style.canvas(style.TEXT, 2.3, 1, 4, width_ratios=(1.1, 0.85, 0.85, 0.95))
    scatter, left, right, family = panels
    scatter.plot(data["cost"], data["total"], "o", color=style.GREY, alpha=0.5, markersize=4, markeredgewidth=0)
    for key, colour, label, shift in (("rule", style.RED, "rule", (-2, 8)), ("best", style.GREEN, "best", (-2, 7))):
        k = data[f"{key}_index"]
        scatter.plot(data["cost"][k], data["total"][k], "o", color=colour, markersize=6)
        scatter.annotate(f"{label}: {data[key]}", (data["cost"][k], data["total"][k]), xytext=shift, textcoords="offset points",
                         color=colour, weight="bold", fontsize=7.5)  # fmt: skip
    scatter.set_xlabel("cost by the rule")
    scatter.set_ylabel("forgetting × dimension")
    scatter.set_xlim(left=0)
    scatter.set_ylim(bottom=0)
    top = np.nanmax([data["rule_steps"], data["best_steps"]])
    for axes, key, colour in ((left, "rule", style.RED), (right, "best", style.GREEN)):
        steps = data[f"{key}_steps"].T
        axes.imshow(steps, cmap="Oranges", vmin=0, vmax=1.6 * top, aspect="auto")
        order = data[key].split(", ")
        for (environment, step), residual in np.ndenumerate(steps):
            if residual == residual and order[step] != str(environment + 1):
                axes.text(step, environment, f"{residual:.2f}", ha="center", va="center", fontsize=7)
        axes.plot(range(4), [int(t) - 1 for t in order], "o", color=style.BLUE, markersize=4)
        axes.set_xticks(range(4), order)
        axes.set_yticks(range(4), ["1", "2", "3", "4"])
        axes.set_xticks(np.arange(0.5, 3), minor=True)
        axes.set_yticks(np.arange(0.5, 3), minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(f"{key}: {data[key]}", color=colour)
        axes.set_xlabel("environment learnt")
    left.set_ylabel("squared residual of")
    family.plot(data["family_eps"], data["family_ratio"], color=style.BLUE, label="computed")
    family.plot(
        data["family_eps"], data["family_bound"], color=style.RED, linestyle="--", linewidth=1, label="certified"
    )
    family.axhline(1, color=style.GREY, linewidth=0.6)
    family.set_xscale("log")
    family.set_yscale("log")
    family.set_xticks([0.02, 0.1, 0.4], ["0.02", "0.1", "0.4"])
    family.minorticks_off()
    family.set_xlabel("score of 4 with the twins")
    family.set_ylabel("forgetting, rule / better order")
    family.legend(loc="upper right", borderaxespad=0)
    return figure
