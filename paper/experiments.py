"""The experiments behind `paper/stored/`: scenes, protocols, seeds, and what the values mean."""

from __future__ import annotations

from dataclasses import replace

from ..vlm_validation.sweeps.cells import MEASURED
from ..vlm_validation.training.data import Choice
from ..vlm_validation.training.protocol import Protocol
from .computations import (
    adapted,
    adaptive_orders,
    drift_regression,
    lambda_sweep,
    recommended_transfer,
    similarity,
    similarity_scenes,
)
from .experiment import Experiment

LAMBDAS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SEEDS = (0, 1, 2)
MORE_SEEDS = (*SEEDS, 3)
# Rates at which no run below diverges; they were not chosen by any result.
PROTOCOLS = {
    "frozen": Protocol(mode="frozen", epochs=10),
    "full": Protocol(mode="full", epochs=10, encoder_rate=0.01),
    "lora": Protocol(mode="lora", epochs=10, encoder_rate=0.1),
}
SHORT = {
    "frozen": Protocol(mode="frozen"),
    "full": Protocol(mode="full", encoder_rate=0.01),
    "lora": Protocol(mode="lora", encoder_rate=0.1),
}
_FINAL = "after training all environments: protocol -> [lambda][seed][environment]"
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
            "intervals": "leave out one environment at a time, with every transition from and to it",
        },
        fields={
            "environments": "names; positions below refer to them",
            "orders": "orders trained, (10, 5) positions",
            "coefficients": "names of the three entries of coefficients, low and high in `regression`",
            "regression": (
                "protocol -> reading -> term -> one regression an epoch (ordinary least squares; 95 % intervals low, high by leaving out one environment at a time; "
                "r2 None where the drift does not vary).  Readings: transition: L_t after e epochs on t less L_s after e epochs "
                "on s; step: L_s after e epochs on t less L_s before t.  Terms: ce, clip, total = ce + lambda clip; nats, unseen pairs"
            ),
            "table": (
                "protocol -> pairs (n, 2) of (s, t); con_it, con_ti (n,) when training on t begins; reading -> term -> "
                "[epoch][n] drift averaged over seeds; seed_sd: reading -> term -> (n,) standard deviation over seeds (n - 1 degrees of freedom) after the last epoch"
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
            "predictors": "protocol -> predictor -> spearman, kendall: mean of those with the forgetting of each seed, and its 90 % interval over seeds (value, low, high); regret: by the mean over seeds",
            "predictors_training": "the same as predictors, judged on the training pairs",
            "summary": "protocol -> forgetting averaged over seeds of the best and the worst order, their ratio, which they are, training stages of one seed, and between_seeds: mean Spearman correlation of two seeds",
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
            "scenes": 500,
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
        drawn=similarity_scenes,
    ),
    *(
        Experiment(
            name=f"adapted_{world}",
            source="E2, E3, E5; P5, P9",
            what=f"World '{world}' after training in full along the neutral order: alignment, detection by MCM, forgetting.",
            choice=Choice(world=world),
            protocols={"full": PROTOCOLS["full"]},
            seeds=SEEDS,
            settings={
                "lambda": [0.0, 1.0, 5.0],
                "order": "neutral",
                "concepts of MCM": "mean caption of every class, an image's own left out",
            },
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
