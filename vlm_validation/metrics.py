"""Continual-learning metrics from one matrix, under named conventions.

`R` is (T+1) x T: row 0 before training, row k after the k-th environment of the order; column j the j-th environment of
the order.  Entries are accuracies in [0, 1] (`kind="accuracy"`) or losses (`kind="loss"`).  Below, R[k, j] is meant with
k and j from 1, and losses count negatively, so that higher is always better; `forgetting` is positive when something was
lost, and `bwt`, `fwt` are positive when something was gained, but for continuum: its forgetting of two environments is 0 whatever
was lost, and its fwt is a mean performance on environments already learnt.

Tools differ under the same names, so every value carries its convention:

| convention | acc | bwt | fwt | forgetting of environment j < T, then averaged |
|---|---|---|---|---|
| gem        | mean of R[T, j]       | mean over j < T of R[T, j] - R[j, j] | mean over j > 1 of R[j-1, j] - R[0, j] | -bwt |
| chaudhry   | mean of R[T, j]       | -                                    | -                                      | max over 1 <= k < T of R[k, j], less R[T, j] |
| avalanche  | mean of R[T, j]       | as gem                               | as gem                                 | R[j, j] - R[T, j] |
| mammoth    | mean of R[T, j]       | as gem                               | as gem                                 | max over 1 <= k <= T of R[k, j], less R[T, j] |
| continuum  | mean of R[k, j], j <= k | sum over j < k-1 of R[k, j] - R[j, j], over T(T-1)/2 | mean of R[k, j], j < k | see below |
| paper      | mean of R[T, j]       | as gem                               | as gem                                 | R[j, j] - R[T, j] |

Sources: gem: Lopez-Paz & Ranzato, NeurIPS 2017, eq. 2-4 (forgetting is not defined there; it is -bwt).  chaudhry: Chaudhry
et al., ECCV 2018, eq. 3 (bwt and fwt are not defined there).  avalanche: `StreamForgetting`, `StreamForwardTransfer`.
mammoth: `utils/metrics.py`, given all of R; its training loop leaves R[k, j] at zero for k < j - 1.  continuum: `metrics.py` of
release 1.2.7 as it computes: its forgetting takes the maximum over j <= k <= T-2, leaves out environment T-1 and still divides by
T-1, and its bwt skips j = k-1.  paper: arXiv 2606.14883 in our reading of a digest: loss increase since learning, mean over the
first T-1 environments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..theory.errors import InputError

CONVENTIONS = ("gem", "chaudhry", "avalanche", "mammoth", "continuum", "paper")
KINDS = ("accuracy", "loss")
ROUNDING = 1e-6  # of an accuracy averaged in float32 over batches


@dataclass(frozen=True)
class Metric:
    """A number with its name and convention; `float(metric)` is the number."""

    name: str
    value: float
    convention: str
    kind: str

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} ({self.convention}, {self.kind})"


def acc(R: np.ndarray, *, convention: str, kind: str = "accuracy") -> Metric:
    """Final performance; see the table.  Accuracy in [0, 1], or (kind "loss") minus a loss in nats.

    Raises:
        InputError: unknown convention or kind, wrong shape, NaN, accuracies outside [0, 1].
    """
    G = _gains(R, convention, kind)
    T = G.shape[1]
    value = np.mean([G[k, j] for k in range(1, T + 1) for j in range(k)]) if convention == "continuum" else G[T].mean()
    return Metric("acc", float(value), convention, kind)


def bwt(R: np.ndarray, *, convention: str, kind: str = "accuracy") -> Metric:
    """Backward transfer; negative when earlier environments got worse.  T >= 2.

    Raises:
        InputError: as `acc`; T < 2; the convention does not define it.
    """
    G = _gains(R, convention, kind, transfer=True)
    _defined(convention, "bwt")
    T = G.shape[1]
    if convention == "continuum":
        value = sum(G[k, j] - G[j + 1, j] for k in range(2, T + 1) for j in range(k - 2)) / (T * (T - 1) / 2)
    else:
        value = (G[T] - _diagonal(G))[:-1].mean()
    return Metric("bwt", float(value), convention, kind)


def fwt(R: np.ndarray, *, convention: str, kind: str = "accuracy") -> Metric:
    """Forward transfer: what earlier environments did for one not yet learned, over the start (continuum: see the module).  T >= 2.

    Raises:
        InputError: as `bwt`.
    """
    G = _gains(R, convention, kind, transfer=True)
    _defined(convention, "fwt")
    T = G.shape[1]
    if convention == "continuum":
        value = np.mean([G[k, j] for k in range(1, T + 1) for j in range(k - 1)])
    else:
        value = np.mean([G[j, j] - G[0, j] for j in range(1, T)])
    return Metric("fwt", float(value), convention, kind)


def forgetting(R: np.ndarray, *, convention: str, kind: str = "accuracy") -> Metric:
    """Mean forgetting; positive when something was lost.  T >= 2.

    Raises:
        InputError: as `acc`; T < 2.
    """
    value = float(forgetting_by_environment(R, convention=convention, kind=kind).mean())
    return Metric("forgetting", value, convention, kind)


def forgetting_by_environment(R: np.ndarray, *, convention: str, kind: str = "accuracy") -> np.ndarray:
    """(T-1,) forgetting of each environment but the last, in training order; its mean is `forgetting`.

    Raises:
        InputError: as `forgetting`.
    """
    G = _gains(R, convention, kind, transfer=True)
    T = G.shape[1]
    if convention == "chaudhry":
        best = G[1:T].max(axis=0)
    elif convention == "mammoth":
        best = G[1:].max(axis=0)
    elif convention == "continuum":
        best = np.array([G[j + 1 : T - 1, j].max() if j < T - 2 else G[T, j] for j in range(T)])
    else:
        best = _diagonal(G)
    return np.asarray((best - G[T])[:-1])


def total_forgetting(R: np.ndarray, *, convention: str, kind: str = "accuracy") -> Metric:
    """Sum instead of mean: T-1 times `forgetting`.

    Raises:
        InputError: as `forgetting`.
    """
    value = float(forgetting_by_environment(R, convention=convention, kind=kind).sum())
    return Metric("total forgetting", value, convention, kind)


def transfer_avg_last(R: np.ndarray, *, kind: str = "accuracy") -> dict[str, Metric]:
    """Transfer, Avg and Last of Zheng et al. (ZSCL, ICCV 2023), for models with zero-shot ability.  T >= 2.

    Transfer: mean over j > 1 of the mean over 1 <= k < j of R[k, j]; Avg: mean of R[k, j], k >= 1; Last: mean of R[T, j].

    Raises:
        InputError: as `forgetting`.
    """
    G = _gains(R, "gem", kind, transfer=True)
    T = G.shape[1]
    values = {
        "transfer": np.mean([G[1 : j + 1, j].mean() for j in range(1, T)]),
        "avg": G[1:].mean(),
        "last": G[T].mean(),
    }
    return {name: Metric(name, float(value), "zscl", kind) for name, value in values.items()}


def all_metrics(R: np.ndarray, *, convention: str, kind: str = "accuracy") -> dict[str, Metric]:
    """Every metric the convention defines, by name.

    Raises:
        InputError: as `forgetting`.
    """
    chosen: list[Any] = [acc, forgetting, total_forgetting]
    if convention != "chaudhry":
        chosen += [bwt, fwt]
    found = [function(R, convention=convention, kind=kind) for function in chosen]
    return {metric.name: metric for metric in found}


def _gains(R: np.ndarray, convention: str, kind: str, transfer: bool = False) -> np.ndarray:
    if convention not in CONVENTIONS:
        raise InputError(
            f"convention {convention!r}", expected=f"one of {', '.join(CONVENTIONS)}",
            causes=("a tool's name in another spelling",), fix="see the table in crossmodal.vlm_validation.metrics",
        )  # fmt: skip
    if kind not in KINDS:
        raise InputError(f"kind {kind!r}", expected=f"one of {', '.join(KINDS)}")
    G = np.asarray(R, dtype=np.float64)
    if G.ndim != 2 or G.shape[0] != G.shape[1] + 1 or G.shape[1] < 1 + transfer:
        raise InputError(
            f"R has shape {G.shape}", expected="(T+1, T)" + (" with T >= 2" if transfer else ""),
            causes=("row 0, before training, is missing",) if G.ndim == 2 and G.shape[0] == G.shape[1]
            else ("one environment has no transfer",),
            fix="evaluate all T environments before training and after each of them",
        )  # fmt: skip
    if not np.isfinite(G).all():
        raise InputError("R holds NaN or infinity", expected="a value for every pair", causes=("a diverged run",))
    if kind == "accuracy" and (G.min() < -ROUNDING or G.max() > 1 + ROUNDING):
        percent = G.min() >= -ROUNDING and G.max() <= 100 * (1 + ROUNDING)
        raise InputError(
            f"R holds accuracies from {G.min():.6g} to {G.max():.6g}", expected="shares of the samples, from 0 to 1",
            causes=("percentages", "losses")[:: 1 if percent else -1],
            fix="R / 100 for percentages, kind='loss' for losses",
        )  # fmt: skip
    return -G if kind == "loss" else G


def _diagonal(G: np.ndarray) -> np.ndarray:
    """R[j, j]: just after learning environment j."""
    return np.diagonal(G[1:])


def _defined(convention: str, name: str) -> None:
    if convention == "chaudhry":
        raise InputError(
            f"{name} under convention 'chaudhry'", expected="a convention that defines it",
            causes=("Chaudhry et al. define forgetting and intransigence only",), fix="convention='gem'",
        )  # fmt: skip
