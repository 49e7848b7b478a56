"""What each stored experiment trains, and what it keeps of it."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..synthetic.orders import stages
from ..vlm_validation import metrics
from ..vlm_validation.features import Features
from ..vlm_validation.ood_protocol import pairwise_ood
from ..vlm_validation.order_oracle import judge_predictors, recommend_order
from ..vlm_validation.orders import OrderRuns, all_orders, progress_bar, ratio
from ..vlm_validation.predictors import consecutive_cost
from ..vlm_validation.scores import score_matrices
from ..vlm_validation.similarity_sweep import scenes_hash, sweep_similarity
from ..vlm_validation.sweeps.cells import MEASURED, Store
from ..vlm_validation.sweeps.runner import Sweep, run_sweep
from ..vlm_validation.training import drift
from ..vlm_validation.training.data import Choice, Environments, load_environments
from ..vlm_validation.training.loop import Measurement, Trainer, batch_count, run_order
from ..vlm_validation.training.protocol import Protocol
from .experiment import Experiment

SCENES = {"unseen": "", "training": "_training"}  # what the names of values end in
CELLS = Path("build") / "cells"  # of long sweeps: what was finished before a crash is found again there


def lambda_sweep(experiment: Experiment) -> dict[str, Any]:
    """E2: the neutral order, trained with every lambda."""
    environments = load_environments(experiment.choice)
    order, lambdas = range(len(environments)), experiment.settings["lambda"]
    finals: dict[str, dict[str, Any]] = {
        name: {} for name in ("clv", "clip", "ce", "accuracy", "fitted_clv", "fitted_clip")
    }
    runs = len(experiment.protocols) * len(lambdas) * len(experiment.seeds)
    with progress_bar(runs, "lambda sweep", True) as advance:
        for title, protocol in experiment.protocols.items():
            kept = []
            for weight in lambdas:
                for seed in experiment.seeds:
                    run = run_order(environments, replace(protocol, weight=weight), seed, order)
                    kept.append(run)
                    advance(1)
            for name, values in finals.items():
                shape = (len(lambdas), len(experiment.seeds), len(environments))
                moments = [run.fitted[-1] if name.startswith("fitted_") else run.records[-1] for run in kept]
                found = [getattr(moment, name.removeprefix("fitted_")) for moment in moments]
                values[title] = np.stack(found).reshape(shape)
            start = kept[0].records[0]
    return {
        "lambda": lambdas,
        "environments": environments.names,
        "start_clv": start.clv,
        "start_clip": start.clip,
        **finals,
    }


def drift_regression(experiment: Experiment) -> dict[str, Any]:
    """E1: orders in which every ordered pair is consecutive equally often."""
    environments = load_environments(experiment.choice)
    orders = drift.balanced_orders(len(environments))
    tables, regressions = {}, {}
    with progress_bar(len(experiment.protocols) * len(orders) * len(experiment.seeds), "drift", True) as advance:
        for title, protocol in experiment.protocols.items():
            runs = []
            for order in orders:
                for seed in experiment.seeds:
                    runs.append(run_order(environments, protocol, seed, order, every_epoch=True))
                    advance(1)
            tables[title] = drift.drift_table(runs, protocol.weight)
            found = drift.regress(tables[title])
            regressions[title] = {
                reading: {term: [asdict(fit) for fit in fits] for term, fits in terms.items()}
                for reading, terms in found.items()
            }
    return {
        "environments": environments.names,
        "orders": orders,
        "coefficients": ["intercept", "Con_IT", "Con_TI"],
        "regression": regressions,
        "table": tables,
    }


def training_features(environments: Environments) -> Features:
    """Features of the training scenes through the checkpoint as shipped: what a recommendation may look at."""
    trainer = Trainer(environments, Protocol(), 0)
    return trainer.features(trainer.start(), trained=True)


def all_order_runs(experiment: Experiment, title: str, folder: Path) -> dict[str, OrderRuns]:
    """Every order of the environments, as cells of a sweep that share their prefixes; by the scenes judged on.

    Cells that `folder` holds already are not trained again.
    """
    sweep = Sweep(experiment.choice, (experiment.protocols[title],), experiment.seeds, keep_weights=False)
    orders = all_orders(experiment.choice.environments)
    run_sweep(sweep, folder, workers=os.cpu_count() or 1)
    store = Store(folder)
    records = {(cell.seed, cell.prefix): store.read(cell) for cell in sweep.cells()}

    def matrices(scenes: str, kind: str) -> np.ndarray:
        def row(seed: int, order: np.ndarray, k: int) -> np.ndarray:
            record = records[seed, tuple(order[:k].tolist())]
            assert record is not None
            return np.asarray(getattr(Measurement.from_dict(record[scenes]), kind)[order])

        return np.array([
            [[row(seed, order, k) for k in range(len(order) + 1)] for order in orders] for seed in experiment.seeds
        ])  # fmt: skip

    return {
        scenes: OrderRuns(
            orders, matrices(scenes, "ce"), matrices(scenes, "accuracy"), experiment.seeds, experiment.choice.names, 1.0, 1.0,
            stages(experiment.choice.environments), {},
        )
        for scenes in MEASURED
    }  # fmt: skip


def steps_of(choice: Choice, protocol: Protocol) -> tuple[int, float]:
    """Gradient steps of the head on an environment, and their size: what a predictor of training has to know."""
    return protocol.epochs * batch_count(choice.train, protocol.batch), protocol.head_rate


def adaptive_orders(experiment: Experiment) -> dict[str, Any]:
    """E3: every order trained, every predictor judged by it; run again, it goes on from the cells in `CELLS`."""
    features = training_features(load_environments(experiment.choice))
    values: dict[str, dict[str, Any]] = {
        name + end: {} for name in ("forgetting", "bwt_accuracy", "predictors", "summary") for end in SCENES.values()
    }
    for title in experiment.protocols:
        for scenes, runs in all_order_runs(experiment, title, CELLS).items():
            forgetting, end = runs.forgetting(), SCENES[scenes]
            values["forgetting" + end][title] = forgetting
            values["bwt_accuracy" + end][title] = [
                [metrics.bwt(R, convention="gem", kind="accuracy").value for R in seed] for seed in runs.accuracy
            ]
            values["predictors" + end][title] = judged(experiment, title, features, forgetting)
            values["summary" + end][title] = summary(runs.orders, forgetting, runs.stages)
    return {"environments": experiment.choice.names, "orders": all_orders(experiment.choice.environments), **values}


def summary(orders: np.ndarray, forgetting: np.ndarray, trained: int) -> dict[str, Any]:
    """Forgetting (S, M) of all orders in short, averaged over seeds; `trained` stages a seed."""
    mean = forgetting.mean(axis=0)
    return {
        "best": mean.min(), "worst": mean.max(), "ratio": ratio(mean), "best_order": orders[mean.argmin()],
        "worst_order": orders[mean.argmax()], "stages": trained, "between_seeds": agreement(forgetting),
    }  # fmt: skip


def judged(experiment: Experiment, title: str, features: Features, forgetting: np.ndarray) -> dict[str, Any]:
    """Every predictor against the forgetting (S, M) of all orders, trained with S seeds by the protocol of that title."""
    steps, step = steps_of(experiment.choice, experiment.protocols[title])
    rows = judge_predictors(features, all_orders(experiment.choice.environments), forgetting, steps=steps, step=step)
    return {row.name: {"spearman": row.spearman, "kendall": row.kendall, "regret": row.regret} for row in rows}


def agreement(forgetting: np.ndarray) -> float:
    """Mean Spearman correlation of the orders' forgetting between two seeds: no predictor can be expected above it by much."""
    from scipy.stats import spearmanr

    pairs = [(i, j) for j in range(len(forgetting)) for i in range(j)]
    return float(np.mean([spearmanr(forgetting[i], forgetting[j]).statistic for i, j in pairs]))


def recommended_transfer(experiment: Experiment) -> dict[str, Any]:
    """E4: backward transfer of three orders, chosen from the checkpoint's features before any training."""
    environments = load_environments(experiment.choice)
    features, orders = training_features(environments), all_orders(len(environments))
    cost = consecutive_cost(score_matrices(features)["IT"], orders)
    chosen: dict[str, dict[str, tuple[int, ...]]] = {}
    transfer: dict[str, dict[str, Any]] = {scenes: {title: {} for title in experiment.protocols} for scenes in MEASURED}
    with progress_bar(3 * len(experiment.protocols) * len(experiment.seeds), "backward transfer", True) as advance:
        for title, protocol in experiment.protocols.items():
            steps, step = steps_of(experiment.choice, protocol)
            report = recommend_order(features, steps=steps, step=step, resamples=0, progress=False)
            chosen[title] = {
                "recommended": tuple(report.order),
                "least cumulative contribution": tuple(orders[cost.argmin()].tolist()),
                "neutral": tuple(range(len(environments))),
            }
            for name, order in chosen[title].items():
                kept: dict[str, dict[str, list[float]]] = {scenes: {"accuracy": [], "loss": []} for scenes in MEASURED}
                for seed in experiment.seeds:
                    run = run_order(environments, protocol, seed, order)
                    for scenes, kinds in kept.items():
                        for kind, found in kinds.items():
                            R = run.matrix(kind, trained=scenes == "training")
                            found.append(metrics.bwt(R, convention="gem", kind=kind).value)
                    advance(1)
                for scenes, kinds in kept.items():
                    transfer[scenes][title][name] = kinds
    return {"environments": environments.names, "orders": chosen, "convention": "gem"} | {
        "bwt" + SCENES[scenes]: found for scenes, found in transfer.items()
    }


def adapted(experiment: Experiment) -> dict[str, Any]:
    """E2, E3 and E5 after training in full along the neutral order: what the paper reports of adaptive encoders."""
    environments, (protocol,) = load_environments(experiment.choice), experiment.protocols.values()
    lambdas, order = experiment.settings["lambda"], range(len(environments))
    found: dict[str, list[list[float]]] = {name: [[] for _ in lambdas] for name in ("clv", "auroc", "forgetting")}
    with progress_bar(len(lambdas) * len(experiment.seeds), "adapted encoders", True) as advance:
        for k, weight in enumerate(lambdas):
            for seed in experiment.seeds:
                trainer = Trainer(environments, replace(protocol, weight=weight), seed)
                states = [trainer.start()]
                for t in order:
                    states.append(trainer.stage(states[-1], range(t + 1)))
                R = np.stack([trainer.measure(state).ce for state in states])
                features = trainer.features(states[-1])
                found["clv"][k].append(float(trainer.measure(states[-1]).clv.mean()))
                found["auroc"][k].append(pairwise_ood(features).mean_auroc["MCM"])
                found["forgetting"][k].append(metrics.total_forgetting(R, convention="paper", kind="loss").value)
                start = trainer.features(states[0])
                advance(1)
    return {"lambda": lambdas, "start_auroc": pairwise_ood(start).mean_auroc["MCM"], **found}


def similarity_scenes(experiment: Experiment) -> str:
    """Hash of what E7 draws."""
    settings = experiment.settings
    return scenes_hash(tuple(settings["similarity"]), settings["scenes"], experiment.seeds)


def similarity(experiment: Experiment) -> dict[str, Any]:
    """E7: the knob of the world turned from 0 to 1, every order of five environments trained at each value."""
    settings, knob = experiment.settings, experiment.settings["similarity"]
    sizes = {name: settings[name] for name in ("scenes", "steps", "step")}
    runs = [sweep_similarity(knob, **sizes, seed=seed, progress=False) for seed in experiment.seeds]
    names = [name for name in experiment.fields if name != "similarity"]
    return {"similarity": knob} | {
        name: [[round(float(getattr(points[k], name)), 12) for points in runs] for k in range(len(knob))]
        for name in names
    }
