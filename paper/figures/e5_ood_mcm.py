"""E5 and E6: out-of-distribution detection by MCM, pair by pair and along the orders of the environments."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...synthetic.orders import cheapest_path
from ...vlm_validation.ood import OodReport
from ...vlm_validation.ood_protocol import cumulative_ood, pairwise_ood, pearson_interval
from ...vlm_validation.orders import all_orders
from ...vlm_validation.scores import score_matrices
from .. import style
from ..results import Data, provenance

LEVEL = 0.95
ENUMERATED, DRAWN = 6, 120  # environments whose orders are all tried, and orders drawn of more
CAPTION = (
    "Out-of-distribution detection by MCM (temperature {temperature:g}; {prompts}).  Left (E5): AUROC and false positive rate (share of "
    "out-images accepted where {recall:.0%} of in-images are) of all {pairs} ordered pairs of environments against Con$_{{IT}}$, bars: {level:.0%} intervals of AUROC for other images (Wilson's, with DeLong's variance and Student's t); mean AUROC "
    "{mean:.2f}, Pearson correlation {pearson:.2f} ({interval}).  "
    "Right (E6): AUROC of the classes seen against environments to come.  Band: {orders} orders, {which}; the order of least cumulative "
    "contribution averages {rule:.3f}, the neutral order {neutral:.3f}, the median of all orders' averages is {median:.3f}, and {better:.0%} of those orders "
    "do better than that rule."
)


def compute(features: Any, seed: int) -> Data:
    """Every pair, and every order or, of many environments, some; an order's mean AUROC is over its T-1 stages."""
    table = pairwise_ood(features)
    con, auroc = (np.array([f(p) for p in table.pairs]) for f in (lambda p: p.con_IT, lambda p: p.mcm.auroc))
    ends = np.array([p.mcm.auroc_interval for p in table.pairs])
    ids = list(features.environments)
    low, high = pearson_interval(con, auroc, np.array([(p.inside, p.outside) for p in table.pairs]), LEVEL)
    every, rng = len(ids) <= ENUMERATED, np.random.default_rng([5, seed])
    orders = all_orders(len(ids)) if every else np.array([rng.permutation(len(ids)) for _ in range(DRAWN)])
    seen: dict[frozenset[int], OodReport] = {}
    curves = np.array([curve(features, [ids[k] for k in order], seen) for order in orders.tolist()])
    path, _ = cheapest_path(score_matrices(features)["IT"])
    rule, neutral = (np.array(curve(features, [ids[k] for k in o], seen)) for o in (path, range(len(ids))))
    means = curves.mean(axis=1)
    return Data(
        values={
            "con": con, "auroc": auroc, "low": ends[:, 0], "high": ends[:, 1], "level": LEVEL, "fpr95": np.array([p.mcm.fpr95_in for p in table.pairs]), "pairs": len(con),
            "mean": float(auroc.mean()), "pearson": table.pearson_mcm, "pearson_low": low, "pearson_high": high, "interval": said(low, high, len(ids)),
            "recall": 0.95,
            "temperature": table.temperature, "prompts": table.prompts, "curves": curves, "rule_curve": rule, "neutral_curve": neutral,
            "rule_order": list(path), "orders": len(orders), "which": "all there are" if every else "drawn at random", "rule": float(rule.mean()), "neutral": float(neutral.mean()),
            "median": float(np.median(means)), "better": float((means > rule.mean()).mean()),
        },
        provenance=provenance(("E5", "E6"), features, seed),
    )  # fmt: skip


def curve(features: Any, order: list[int], seen: dict[frozenset[int], OodReport]) -> list[float]:
    """AUROC after each environment but the last; a stage depends on the set of environments seen, so sets are shared."""
    keys = [frozenset(order[:k]) for k in range(1, len(order))]
    if any(key not in seen for key in keys):
        seen.update(zip(keys, cumulative_ood(features, order), strict=True))
    return [seen[key].auroc for key in keys]


def said(low: float, high: float, environments: int) -> str:
    """The interval in words."""
    if np.isnan(low):
        return f"no interval from {environments} environments"
    return (
        f"{LEVEL:.0%} interval {low:.2f} to {high:.2f}, the {environments} environments left out one at a time with all their pairs, for pairs "
        f"that share one are not independent; jackknife of Fisher's z, Student's t with {environments - 1} degrees of freedom"
    )


def draw(data: Data) -> Any:
    figure, (left, right) = style.canvas(style.TEXT, 2.6, 1, 2)
    bars = np.maximum([data["auroc"] - data["low"], data["high"] - data["auroc"]], 0)
    left.errorbar(data["con"], data["auroc"], yerr=bars, fmt="o", color=style.BLUE, elinewidth=0.8, label="AUROC")
    left.plot(data["con"], data["fpr95"], "v", color=style.ORANGE, markerfacecolor="none", label="FPR95")
    left.set_xlabel("Con$_{IT}(s,t)$: images of $s$, texts of $t$")
    left.set_ylabel("rate")
    left.set_ylim(-0.03, 1.03)
    left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    stage = np.arange(1, data["curves"].shape[1] + 1)
    right.fill_between(stage, data["curves"].min(axis=0), data["curves"].max(axis=0), color=style.SKY, alpha=0.35, linewidth=0,
                       label=f"{data['orders']} orders")  # fmt: skip
    right.plot(stage, np.median(data["curves"], axis=0), color=style.SKY, label="median of each stage")
    right.plot(stage, data["neutral_curve"], color="black", marker="s", label="neutral")
    right.plot(stage, data["rule_curve"], color=style.RED, marker="o", label="least contribution")
    right.axhline(0.5, color=style.GREY, linewidth=0.6, linestyle="--")
    right.set_xticks(stage)
    right.set_xlabel("environments seen")
    right.set_ylabel("AUROC of seen against to come")
    right.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, columnspacing=0.9, handletextpad=0.4
    )
    return figure
