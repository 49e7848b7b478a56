"""E3: every order trained, against what each predictor said before training (`crossmodal.vlm_validation.order_oracle`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...vlm_validation.order_oracle import compare_predictors, predictor_functions, refined, refinement
from ...vlm_validation.orders import ratio
from .. import style
from ..results import Data, provenance
from ..trained import frozen_orders, ratio_in_words, regret_in_words

RULE = "cumulative Con_IT"
CAPTION = (
    "All {orders} orders of {environments} environments (E3): a shared linear head on frozen image features, {steps:g} full-batch "
    "gradient steps of size {step:g} with cross entropy on each environment, starting at zero.  Forgetting: mean increase of the "
    "training loss of all environments but the last since each was learnt, in nats; from {best:.2f} to {worst:.2f}, a ratio of "
    "{ratio}.  Left: against the cumulative cost of the paper's rule.  Middle: against the prediction from {prototypes} prototypes "
    "(T3.10).  Crosses: the order each would choose.  Right: rank correlation of every predictor with trained "
    "forgetting; every order is trained and the head starts at zero, so it has no error of sampling.  Beside it the regret, {means}.  The rule: Spearman {rule_spearman:.2f}, regret {rule_regret:.1%}; prototypes: "
    "{span_spearman:.3f} and {span_regret:.1%}."
)


def compute(features: Any, seed: int) -> Data:
    """Train along every order and judge the predictors; the head starts at zero, so the seed changes nothing."""
    runs = frozen_orders(features)
    rows = compare_predictors(features, runs)
    truth = runs.forgetting().mean(axis=0)
    predict = predictor_functions(features, int(runs.protocol["steps"]), float(runs.protocol["step"]))
    by_name = {row.name: row for row in rows}
    chosen = refined(refinement(len(features)))  # what `crossmodal order` goes by
    return Data(
        values={
            "orders": len(runs.orders), "environments": len(runs.names), "names": list(runs.names), "order": runs.orders,
            "steps": runs.protocol["steps"], "step": runs.protocol["step"], "trained": truth, "best": float(truth.min()),
            "worst": float(truth.max()), "ratio": ratio_in_words(ratio(truth)), "means": regret_in_words(float(truth.min())), "rule": predict[RULE](runs.orders),
            "span": predict[chosen](runs.orders), "predictors": [r.name for r in rows],
            "spearman": np.array([r.spearman[0] for r in rows]), "regret": np.array([r.regret for r in rows]),
            "rule_spearman": by_name[RULE].spearman[0], "rule_regret": by_name[RULE].regret,
            "span_spearman": by_name[chosen].spearman[0], "span_regret": by_name[chosen].regret,
            "prototypes": refinement(len(features)),
        },
        provenance=provenance(("E3", "T3.5", "T3.6", "T3.7", "T3.10"), features, seed),
    )  # fmt: skip


def draw(data: Data) -> Any:
    figure, (left, middle, right) = style.canvas(style.TEXT, 2.75, 1, 3, width_ratios=(1, 1, 1.05))
    for axes, key, colour, label in (
        (left, "rule", style.RED, "cumulative Con$_{IT}$"),
        (middle, "span", style.BLUE, "predicted by T3.10 (nats)"),
    ):
        axes.plot(data[key], data["trained"], "o", color=colour, markersize=2.6, alpha=0.6, markeredgewidth=0)
        k = int(np.argmin(data[key]))
        axes.plot(
            data[key][k],
            data["trained"][k],
            "X",
            color="black",
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.6,
        )
        axes.set_xlabel(label)
    left.set_ylabel("trained forgetting (nats)")
    middle.tick_params(labelleft=False)
    middle.sharey(left)
    y = np.arange(len(data["predictors"]))
    right.axvline(0, color=style.GREY, linewidth=0.6)
    right.plot(data["spearman"], y, "o", color=style.BLUE, markersize=3)
    for k, regret in enumerate(data["regret"]):
        right.text(1.3, k, f"{regret:.1%}", va="center", ha="right", transform=right.get_yaxis_transform(), fontsize=7)
    right.text(1.3, -1.0, "regret", ha="right", va="center", transform=right.get_yaxis_transform(), fontsize=7)
    right.set_yticks(y, [short(name) for name in data["predictors"]], fontsize=7)
    right.set_ylim(len(y) - 0.5, -0.7)
    right.set_xlim(-1.05, 1.05)
    right.set_xlabel("Spearman correlation")
    right.tick_params(axis="y", length=0)
    return figure


def short(name: str) -> str:
    """A predictor's name as an axis label: ``cumulative Con_IT squared`` is Σ Con²."""
    if name.startswith("cumulative Con_"):
        key, *power = name.removeprefix("cumulative Con_").split()
        return rf"Σ Con$_{{{key}}}{'^2' if power else ''}$"
    return name.replace("T3.7 fourth-order criterion", "T3.7 fourth order").replace(
        "rank one, half steps", "half steps"
    )
