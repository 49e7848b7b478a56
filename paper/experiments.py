"""The experiments behind `paper/stored/`: what is trained, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..vlm_validation.orders import progress_bar
from ..vlm_validation.training.data import Choice, load_environments
from ..vlm_validation.training.loop import run_order
from ..vlm_validation.training.protocol import Protocol
from .stored import Experiment

LAMBDAS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SEEDS = (0, 1, 2)
# Rates at which no run below diverges; they were not chosen by any result.
PROTOCOLS = {
    "frozen": Protocol(mode="frozen", epochs=10),
    "full": Protocol(mode="full", epochs=10, encoder_rate=0.01),
    "lora": Protocol(mode="lora", epochs=10, encoder_rate=0.1),
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
                moments = [run.fitted if name.startswith("fitted_") else run.records[-1] for run in kept]
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


_FINAL = "after training all environments: protocol -> [lambda][seed][environment]"
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
)
