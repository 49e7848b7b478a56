"""The experiments behind `paper/stored/`: what is trained, and what is kept of it."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..vlm_validation import metrics
from ..vlm_validation.features import Features
from ..vlm_validation.ood_protocol import pairwise_ood
from ..vlm_validation.order_oracle import judge_predictors, recommend_order
from ..vlm_validation.orders import OrderRuns, all_orders, progress_bar
from ..vlm_validation.predictors import consecutive_cost
from ..vlm_validation.scores import score_matrices
from ..vlm_validation.similarity_sweep import sweep_similarity
from ..vlm_validation.sweeps.cells import MEASURED, Store
from ..vlm_validation.sweeps.runner import Sweep, run_sweep
from ..vlm_validation.training import drift
from ..vlm_validation.training.data import Choice, Environments, load_environments
from ..vlm_validation.training.loop import Measurement, Trainer, run_order
from ..vlm_validation.training.protocol import Protocol
from .stored import Experiment

LAMBDAS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SEEDS = (0, 1, 2)
MORE_SEEDS = (*SEEDS, 3)
# Rates at which no run below diverges; they were not chosen by any result.
PROTOCOLS = {
    "frozen": Protocol(mode="frozen", epochs=10),
    "full": Protocol(mode="full", epochs=10, encoder_rate=0.01),
    "lora": Protocol(mode="lora", epochs=10, encoder_rate=0.1),
}
SCENES = {"unseen": "", "training": "_training"}  # what the names of values end in
SHORT = {
    "frozen": Protocol(mode="frozen"),
    "full": Protocol(mode="full", encoder_rate=0.01),
    "lora": Protocol(mode="lora", encoder_rate=0.1),
}


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


def all_order_runs(experiment: Experiment, title: str) -> dict[str, OrderRuns]:
    """Every order of the environments, as cells of a sweep that share their prefixes; by the scenes judged on."""
    sweep = Sweep(experiment.choice, (experiment.protocols[title],), experiment.seeds, keep_weights=False)
    orders = all_orders(experiment.choice.environments)
    with tempfile.TemporaryDirectory() as folder:
        run_sweep(sweep, Path(folder))
        store = Store(Path(folder))
        records = {(cell.seed, cell.prefix): store.read(cell) for cell in sweep.cells()}

    def matrices(scenes: str, kind: str) -> np.ndarray:
        def row(seed: int, order: np.ndarray, k: int) -> np.ndarray:
            record = records[seed, tuple(order[:k].tolist())]
            assert record is not None
            return np.asarray(getattr(Measurement.from_dict(record[scenes]), kind)[order])

        return np.array([
            [[row(seed, order, k) for k in range(len(order) + 1)] for order in orders] for seed in experiment.seeds
        ])  # fmt: skip

    steps, step = steps_of(experiment.choice, sweep.protocols[0])
    return {
        scenes: OrderRuns(
            orders, matrices(scenes, "ce"), matrices(scenes, "accuracy"), experiment.seeds, experiment.choice.names, 1.0, 1.0,
            len(sweep.cells()), {"steps": steps, "step": step},
        )
        for scenes in MEASURED
    }  # fmt: skip


def steps_of(choice: Choice, protocol: Protocol) -> tuple[int, float]:
    """Gradient steps of the head on an environment, and their size: what a predictor of training has to know."""
    return protocol.epochs * (round(choice.train / protocol.batch) if protocol.batch else 1), protocol.head_rate


def adaptive_orders(experiment: Experiment) -> dict[str, Any]:
    """E3: every order trained, every predictor judged by it."""
    features = training_features(load_environments(experiment.choice))
    values: dict[str, dict[str, Any]] = {
        name + end: {} for name in ("forgetting", "bwt_accuracy", "predictors", "summary") for end in SCENES.values()
    }
    for title in experiment.protocols:
        for scenes, runs in all_order_runs(experiment, title).items():
            forgetting = runs.forgetting()
            mean, end = forgetting.mean(axis=0), SCENES[scenes]
            values["forgetting" + end][title] = forgetting
            values["bwt_accuracy" + end][title] = [
                [metrics.bwt(R, convention="gem", kind="accuracy").value for R in seed] for seed in runs.accuracy
            ]
            values["predictors" + end][title] = judged(experiment, title, features, forgetting)
            values["summary" + end][title] = {
                "best": mean.min(), "worst": mean.max(), "ratio": mean.max() / mean.min(),
                "best_order": runs.orders[mean.argmin()], "worst_order": runs.orders[mean.argmax()],
                "stages": runs.stages, "between_seeds": agreement(forgetting),
            }  # fmt: skip
    return {"environments": experiment.choice.names, "orders": all_orders(experiment.choice.environments), **values}


def judged(experiment: Experiment, title: str, features: Features, forgetting: np.ndarray) -> dict[str, Any]:
    """Every predictor against the mean over seeds of forgetting (S, M) of all orders, trained by the protocol of that title."""
    steps, step = steps_of(experiment.choice, experiment.protocols[title])
    rows = judge_predictors(
        features, all_orders(experiment.choice.environments), forgetting.mean(axis=0), steps=steps, step=step
    )
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


_FINAL = "after training all environments: protocol -> [lambda][seed][environment]"


UNSEEN_SCENES = 500  # for each value of the knob


def similarity(experiment: Experiment) -> dict[str, Any]:
    """E7: the knob of the world turned from 0 to 1, every order of five environments trained at each value."""
    knob = experiment.settings["similarity"]
    runs = [sweep_similarity(knob, scenes=UNSEEN_SCENES, seed=seed, progress=False) for seed in experiment.seeds]
    names = [name for name in experiment.fields if name != "similarity"]
    return {"similarity": knob} | {
        name: [[round(float(getattr(points[k], name)), 12) for points in runs] for k in range(len(knob))]
        for name in names
    }


_EACH = "[similarity][seed]"
EXPERIMENTS = (
    Experiment(
        name="e2_lambda",
        source="E2; T2.4, T2.6, P5",
        what="Alignment and contrastive loss after training along the neutral order, against lambda, frozen and adaptive.",
        choice=Choice(),
        protocols=PROTOCOLS,
        seeds=SEEDS,
        settings={"lambda": list(LAMBDAS), "order": "neutral"},
        fields={
            "lambda": "weights of the contrastive loss, (L,)",
            "environments": "names, in the neutral order, which is the order of training",
            "start_clv": "CLV(t) of the checkpoint before training, (T,)",
            "start_clip": "symmetric InfoNCE of the checkpoint, nats, all unseen pairs of an environment, (T,)",
            "clv": f"CLV(t), mean cosine of matched unseen pairs, {_FINAL}",
            "clip": f"symmetric InfoNCE of all unseen pairs of an environment at the protocol's tau, nats, {_FINAL}",
            "ce": f"cross entropy of the shared head on unseen pairs, nats, {_FINAL}",
            "fitted_clv": f"CLV(t) of the training pairs, {_FINAL}",
            "fitted_clip": f"InfoNCE of all training pairs of an environment; the last one's was minimised last, nats, {_FINAL}",
            "accuracy": f"accuracy of the shared head on unseen pairs, in [0, 1], {_FINAL}",
        },
        compute=lambda_sweep,
    ),
    Experiment(
        name="e1_drift",
        source="E1; T1.4, T1.5, T1.7, P1, P3",
        what="Loss drift over consecutive environments regressed on Con_IT and Con_TI, per epoch, frozen, in full and low rank.",
        choice=Choice(judged=30),
        protocols={name: replace(protocol, epochs=4) for name, protocol in PROTOCOLS.items()},
        seeds=SEEDS,
        settings={
            "orders": "balanced: every ordered pair consecutive twice",
            "averaged": "over seeds, before regression",
            "clusters": "unordered pairs of environments",
        },
        fields={
            "environments": "names; positions below refer to them",
            "orders": "orders trained, (10, 5) positions",
            "coefficients": "names of the three entries of coefficients, low and high in `regression`",
            "regression": (
                "protocol -> reading -> term -> one regression an epoch (ordinary least squares; 95 % intervals low, high by leaving out one unordered pair of environments at a time; "
                "r2 None where the drift does not vary).  Readings: transition: L_t after e epochs on t less L_s after e epochs "
                "on s; step: L_s after e epochs on t less L_s before t.  Terms: ce, clip, total = ce + lambda clip; nats, unseen pairs"
            ),
            "table": (
                "protocol -> pairs (n, 2) of (s, t); con_it, con_ti (n,) when training on t begins; reading -> term -> "
                "[epoch][n] drift averaged over seeds; seed_sd: reading -> term -> (n,) deviation over seeds after the last epoch"
            ),
        },
        compute=drift_regression,
    ),
    Experiment(
        name="e3_adaptive",
        source="E3; T3.10, P7, P8",
        what="Forgetting along all orders of five environments, frozen and adaptive, and how predictors rank it.",
        choice=Choice(),
        protocols=SHORT,
        seeds=MORE_SEEDS,
        settings={
            "orders": "all",
            "judged on": list(MEASURED),
            "predictors see": "training scenes through the checkpoint as shipped",
        },
        fields={
            "environments": "names; positions below refer to them",
            "orders": "all orders, (120, 5), lexicographic",
            "forgetting": "protocol -> [seed][order], mean increase of cross entropy of the first four environments since each was learned, nats (convention paper), unseen pairs",
            "forgetting_training": "the same as forgetting, judged on the training pairs",
            "bwt_accuracy": "protocol -> [seed][order], backward transfer of accuracy (convention gem), unseen pairs",
            "bwt_accuracy_training": "the same as bwt_accuracy, judged on the training pairs",
            "predictors": "protocol -> predictor -> spearman, kendall, regret against the mean over seeds, each (value, low, high), 90 % bootstrap over orders",
            "predictors_training": "the same as predictors, judged on the training pairs",
            "summary": "protocol -> forgetting averaged over seeds of the best and the worst order, their ratio, which they are, training stages, and between_seeds: mean Spearman correlation of two seeds",
            "summary_training": "the same as summary, judged on the training pairs",
        },
        compute=adaptive_orders,
    ),
    Experiment(
        name="e4_transfer",
        source="E4; T3.10, P7, P8",
        what="Backward transfer of the recommended order, the order of least cumulative contribution and the neutral one.",
        choice=Choice(),
        protocols=SHORT,
        seeds=SEEDS,
        settings={"judged on": list(MEASURED), "score": "Con_IT of training scenes through the checkpoint as shipped"},
        fields={
            "environments": "names; positions below refer to them",
            "orders": "protocol -> name -> order (5,); chosen before training; the rule's is the first of least sum of Con_IT(previous, next)",
            "bwt": "protocol -> name -> accuracy and loss -> [seed], backward transfer; negative: earlier environments got worse; loss in nats, unseen pairs",
            "bwt_training": "the same as bwt, judged on the training pairs",
            "convention": "of bwt; see crossmodal.vlm_validation.metrics",
        },
        compute=recommended_transfer,
    ),
    Experiment(
        name="e7_similarity",
        source="E7; T3.4, T3.7, O2",
        what="Forgetting of all orders against the similarity of the environments, a head on the shipped dual encoder.",
        choice=Choice(),
        protocols={},
        seeds=(7, 8, 9),
        settings={
            "similarity": [0.0, 0.25, 0.5, 0.75, 1.0],
            "scenes": UNSEEN_SCENES,
            "steps": 200,
            "step": 5.0,
            "orders": "all",
        },
        fields={
            "similarity": "share of scenes that take colour and background from the common pool, in [0, 1]",
            "con_II": f"mean off-diagonal Con_II, {_EACH}",
            "con_IT": f"mean off-diagonal Con_IT, {_EACH}",
            "sigma_I": f"standard deviation of the off-diagonal Con_IT, {_EACH}",
            "best": f"forgetting of the best of all 120 orders, nats, mean over environments (convention paper), {_EACH}",
            "mean": f"mean over orders, {_EACH}",
            "worst": f"of the worst order, {_EACH}",
            "spread": f"worst over best, {_EACH}",
            "spearman": f"of the recommendation's prediction with forgetting over all orders, {_EACH}",
        },
        compute=similarity,
    ),
    *(
        Experiment(
            name=f"adapted_{world}",
            source="E2, E3, E5; P5, P9",
            what=f"World '{world}' after training in full along the neutral order: alignment, detection by MCM, forgetting.",
            choice=Choice(world=world),
            protocols={"full": PROTOCOLS["full"]},
            seeds=SEEDS,
            settings={"lambda": [0.0, 1.0, 5.0], "order": "neutral", "concepts of MCM": "mean caption of every class"},
            fields={
                "lambda": "weights of the contrastive loss, (L,)",
                "start_auroc": "mean AUROC by MCM over ordered pairs of environments, unseen scenes, checkpoint before training",
                "clv": "[lambda][seed], mean CLV(t) over environments, unseen pairs",
                "auroc": "[lambda][seed], as start_auroc, after training",
                "forgetting": "[lambda][seed], sum over environments of the increase of cross entropy since each was learned, nats (convention paper), unseen pairs",
            },
            compute=adapted,
        )
        for world in ("high", "low")
    ),
)
