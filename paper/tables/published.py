"""Published values beside ours, for every number that our data can speak to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from scipy.stats import pearsonr

from ...synthetic.orders import cheapest_path
from ...vlm_validation import metrics
from ...vlm_validation import predictors as pre
from ...vlm_validation.embedded import default_features
from ...vlm_validation.ood_protocol import cumulative_ood, pairwise_ood
from ...vlm_validation.orders import OrderRuns, excess, ratio
from ...vlm_validation.scores import estimate_scores
from ..results import Data, provenance
from ..stored import load_stored
from ..tabular import Quoted
from ..trained import frozen_orders, ratio_in_words, regret_in_words

FILE = Path(__file__).parent.parent / "published.json"
CAPTION = (
    "Published (arXiv preprint, as given in a digest: {encoder}, frozen, {told_seeds} seeds, unless the row says otherwise; of what else a range is one the digest does not say) beside ours, with the same head and no number fitted: {features_source} as "
    "given, and the embedded sets 'high' in the role of COCO and 'low' in the role of CUB ({protocol}).  The published totals are set beside means and "
    "sums, for a digest does not say which they are.  On the features given worst over best order is {ratio} (published: "
    "{published_ratio:.2f}); the order of least cumulative Con$_{{IT}}$ has a regret of {regret:.1%} ({means}), and its cost correlates with "
    "forgetting at {pearson:+.2f}: {conclusion}.  The last {trained} rows need an encoder trained with the contrastive loss: they are stored results of the embedded "
    "worlds, {seeds} seeds, neutral order unless said."
)


@dataclass(frozen=True)
class Measured:
    """What one set of features says about every published number."""

    dispersion: float
    best: float
    worst: float
    best_sum: float
    worst_sum: float
    ratio: float
    spared: float
    pearson: float
    regret: float
    rule_bwt: float
    neutral_bwt: float
    auroc: float
    auroc_pearson: float
    rule_ood: float
    neutral_ood: float


def measure(features: Any) -> tuple[Measured, OrderRuns]:
    """Train every order (E3), and detect out-of-distribution images by MCM (E5, E6)."""
    runs = frozen_orders(features)
    scores = estimate_scores(features)
    con = scores.con["IT"]
    mean, total = (
        np.array([float(measure_of(R, convention="paper", kind="loss")) for R in runs.loss[0]])
        for measure_of in (metrics.forgetting, metrics.total_forgetting)
    )
    rule, _ = cheapest_path(con)
    neutral = tuple(range(len(con)))
    place = {tuple(o): k for k, o in enumerate(runs.orders.tolist())}
    chosen, plain = place[tuple(int(k) for k in rule)], place[neutral]
    cost = pre.consecutive_cost(con, runs.orders)
    pairs = pairwise_ood(features)
    ids = list(features.environments)
    ood = {o: float(np.mean([r.auroc for r in cumulative_ood(features, [ids[k] for k in o])])) for o in (rule, neutral)}
    bwt = [float(metrics.bwt(runs.loss[0][k], convention="paper", kind="loss")) for k in (chosen, plain)]
    found = Measured(
        dispersion=scores.dispersion["IT"], best=float(mean.min()), worst=float(mean.max()), best_sum=float(total.min()),
        worst_sum=float(total.max()), ratio=ratio(total), spared=ratio(total[[chosen, int(total.argmax())]]),
        pearson=float(pearsonr(cost, total).statistic), regret=excess(float(total[chosen]), total), rule_bwt=-bwt[0], neutral_bwt=-bwt[1],
        auroc=pairs.mean_auroc["MCM"], auroc_pearson=pairs.pearson_mcm, rule_ood=ood[rule], neutral_ood=ood[neutral],
    )  # fmt: skip
    return found, runs


@cache
def embedded(name: str) -> Measured:
    return measure(default_features(name))[0]


def compute(features: Any, seed: int) -> Data:
    """One row a published quantity; the convention is in the row."""
    features.require_environments(3, "ordering two environments is no choice")
    mine, runs = measure(features)
    told = json.loads(FILE.read_text(encoding="utf-8"), parse_float=Quoted)
    encoder = "ViT-B/16"
    each, cub = told["T3_total_forgetting_frozen"]["coco"], told["T3_total_forgetting_frozen"]["cub"]["all"]
    coco = each[encoder]
    ood, order_ood, transfer = (
        told["ood_pairwise_mean_auroc"],
        told["ood_cumulative_auroc_vitb16"],
        told["backward_transfer_vitb16_frozen"],
    )
    get: list[tuple[str, str, Any, Any, Callable[[Measured], float]]] = [
        ("dispersion of Con_IT", "standard deviation off the diagonal", told["dispersion_sigma_I"]["coco"], told["dispersion_sigma_I"]["cub"], lambda m: m.dispersion),
        ("forgetting, best order", "loss, mean over environments (paper)", coco["best"], None, lambda m: m.best),
        ("forgetting, worst order", "loss, mean over environments (paper)", coco["worst"], None, lambda m: m.worst),
        ("forgetting, best order", "loss, sum over environments (paper)", coco["best"], None, lambda m: m.best_sum),
        ("forgetting, worst order", "loss, sum over environments (paper)", coco["worst"], None, lambda m: m.worst_sum),
        ("worst over best order", "all orders", coco["ratio"], cub["ratio"], lambda m: m.ratio),
        ("worst over best order", "all orders, all encoders", ends(each, "ratio"), cub["ratio"], lambda m: m.ratio),
        ("worst over least contribution", "all orders", None, None, lambda m: m.spared),
        ("cost against forgetting", "Pearson, cumulative Con_IT", coco["pearson"], None, lambda m: m.pearson),
        ("cost against forgetting", "Pearson, cumulative Con_IT, all encoders", ends(each, "pearson"), tuple(cub["pearson_range"]), lambda m: m.pearson),
        ("regret of the rule", "over the best order", None, None, lambda m: m.regret),
        ("backward transfer, neutral order", "loss increase (paper)", transfer["coco"]["neutral"], None, lambda m: m.neutral_bwt),
        ("backward transfer, least contribution", "loss increase (paper)", transfer["coco"]["contribution_order"], str(transfer["cub"]), lambda m: m.rule_bwt),
        ("OOD, pairs", "mean AUROC, MCM", tuple(ood["coco_frozen"]), tuple(ood["cub_frozen"]), lambda m: m.auroc),
        ("Con_IT against AUROC", "Pearson over pairs", tuple(ood["pearson_con_IT_vs_auroc_coco"]), None, lambda m: m.auroc_pearson),
        ("OOD along the neutral order", "mean AUROC, MCM", order_ood["coco"]["neutral"], order_ood["cub"]["neutral"], lambda m: m.neutral_ood),
        ("OOD along the least contribution", "mean AUROC, MCM", order_ood["coco"]["contribution_order"], order_ood["cub"]["contribution_order"], lambda m: m.rule_ood),
    ]  # fmt: skip
    high, low = embedded("high"), embedded("low")
    trained = trained_rows(told)
    rows = [[name, how, a, b, f(mine), f(high), f(low)] for name, how, a, b, f in get] + trained
    steps, step = runs.protocol["steps"], float(runs.protocol["step"])
    protocol = f"a shared linear head from zero, {steps} full-batch gradient steps of size {step:g} an environment"
    return Data(
        values={
            "columns": ["quantity", "convention", "published COCO", "published CUB", "these features", "embedded high", "embedded low"],
            "rows": rows, "encoder": encoder, "told_seeds": told["protocol"]["seeds"], "features_source": PurePath(features.source).name, "protocol": protocol,
            "regret": mine.regret, "pearson": mine.pearson, "source": told["source"], "ratio": ratio_in_words(mine.ratio), "means": regret_in_words(mine.best), "published_ratio": coco["ratio"],
            "conclusion": conclusion(mine), "trained": len(trained), "seeds": len(load_stored("adapted_high")["provenance"]["seeds"]),
        },
        provenance=provenance(("E3", "E4", "E5", "E6", "P7", "P8", "P9"), features, seed),
    )  # fmt: skip


def ends(each: dict[str, dict[str, float]], key: str) -> tuple[float, float]:
    """Least and largest over encoders."""
    values = [one[key] for one in each.values()]
    return min(values), max(values)


def trained_rows(told: dict[str, Any]) -> list[list[Any]]:
    """What needs training with the contrastive loss, from stored results of the embedded worlds; nothing for features as given."""
    drift, lambdas = load_stored("e1_drift")["values"], load_stored("e2_lambda")["values"]
    high, low = (load_stored(f"adapted_{world}")["values"] for world in ("high", "low"))
    table, r2 = drift["table"]["frozen"], told["T1"]
    fits = {
        (mode, reading): terms["ce"][-1]["r2"]
        for mode, readings in drift["regression"].items()
        for reading, terms in readings.items()
    }
    ce, clip = (np.array(table["transition"][term][-1]) for term in ("ce", "clip"))
    reversed_, consecutive = np.sign(ce) != np.sign(ce + clip), np.array(table["pairs"])
    neutral = [
        int(reversed_[(consecutive == (t, t + 1)).all(axis=1)].all()) for t in range(len(drift["environments"]) - 1)
    ]
    epochs = len(drift["regression"]["full"]["step"]["ce"])
    frozen_clv = float(np.ptp(np.array(lambdas["clv"]["frozen"]), axis=0).max())
    frozen, coco, cub = "CE + lambda CLIP, frozen", "T2", "cub_vitb16_adaptive_clv"
    mean = {
        (world, key): np.array(values[key]).mean(axis=1)
        for world, values in (("high", high), ("low", low)) for key in ("clv", "auroc", "forgetting")
    }  # fmt: skip
    at = {weight: k for k, weight in enumerate(high["lambda"])}
    ood = told["ood_pairwise_mean_auroc"]
    clv = told[coco]
    return [
        ["drift of CLIP over seeds", f"largest standard deviation, balanced orders, {frozen}", r2["coco_vitb16_frozen_lambda1"]["delta_clip_std_over_seeds"], None, None,
         float(np.max(table["seed_sd"]["transition"]["clip"])), None],
        ["transitions whose drift changes sign", f"CE against CE + CLIP, neighbours of the neutral order, in every balanced order with them, frozen, of {len(neutral)}", r2["coco_vitb16_frozen_lambda1"]["sign_reversal_transition"],
         None, None, ", ".join(f"E{t + 1}->E{t + 2}" for t, found in enumerate(neutral) if found) or "none", None],
        *(["R² of the drift of CE", f"{mode}, {reading}, balanced orders, last of {epochs} epochs" + ("" if mode == "frozen" else "; published: adaptive, epoch 10"), r2["ols_r2_frozen"] if mode == "frozen" else r2["ols_r2_adaptive_epoch10"]["coco"],
           None if mode == "frozen" else r2["ols_r2_adaptive_epoch10"]["cub"], None, found, None] for (mode, reading), found in fits.items()),
        *(["CLV after training", f"lambda {weight}, adaptive in full", None, clv[cub][f"lambda_{weight}"], None,
           float(mean["high", "clv"][at[weight]]), float(mean["low", "clv"][at[weight]])] for weight in (0, 5)),
        ["CLV over lambda", "least to largest mean, adaptive in full", tuple(clv["coco_vitb16_adaptive_clv_range"]), None, None,
         *((float(mean[w, "clv"].min()), float(mean[w, "clv"].max())) for w in ("high", "low"))],
        ["CLV over lambda", "largest change, frozen", clv["frozen_sensitivity"], None, None, frozen_clv, None],
        ["forgetting, neutral order", "loss, sum over environments (paper), adaptive in full, lambda 1; published: all orders", None,
         tuple(told["T3_adaptive_cub_total_forgetting_range"]), None, *(float(mean[w, "forgetting"][at[1]]) for w in ("high", "low"))],
        ["OOD, pairs", "mean AUROC, MCM, adaptive in full, lambda 1", ood["coco_adaptive"], ood["cub_adaptive"], None,
         *(float(mean[w, "auroc"][at[1]]) for w in ("high", "low"))],
        ["OOD, pairs", "mean AUROC, MCM, the same scenes before training", None, None, None, high["start_auroc"], low["start_auroc"]],
    ]  # fmt: skip


def conclusion(found: Measured) -> str:
    """In plain words whether the rule explains the range: it must rank the orders, and choose one about as good as the best."""
    ranks, chooses = found.pearson >= 0.5, found.regret <= 0.01
    if ranks and chooses:
        return "here the rule does what it is credited with"
    if chooses:
        return "here the rule chooses well and does not rank the others"
    return (
        "the range is there, but the rule does not explain it"
        if not ranks
        else "the rule ranks the orders and does not find the best"
    )
