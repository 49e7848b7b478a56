"""E1: loss drift over consecutive environments, regressed on the cross-modal contribution scores.

Two readings of drift from environment s to the next one, t, after each epoch e on t:

- `transition`: L_t after e epochs on t, less L_s after e epochs on s: what P3 must mean, since its contrastive part is not
  zero where the encoder is frozen.
- `step`: L_s after e epochs on t, less L_s before t: what training on t did to s (T1.2 to T1.4).

The regressors are Con_IT(s, t) and Con_TI(s, t) when training on t begins.  Rows are averaged over seeds first: runs that
differ in their minibatches alone are not independent observations of a pair.  Nor are two transitions that share an
environment: what is peculiar to it is in both.  So the intervals take the environments as the observations, and leave out
one at a time with every transition from and to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...theory.errors import InputError
from .loop import Measurement, OrderRun

READINGS = ("transition", "step")
TERMS = ("ce", "clip", "total")


@dataclass(frozen=True)
class Regression:
    """Ordinary least squares with intercept.

    Attributes:
        coefficients: of the intercept, Con_IT and Con_TI.
        low, high: ends of their 95 % intervals, see `ols`.
        r2: share of the variance explained; None where the response does not vary.
        adjusted_r2: the same, less what as many random regressors would explain.
        rows: n.
        clusters: groups of rows that were left out in turn; rows without one, n.
        condition: of the standardised regressors; large where the two scores say the same.
    """

    coefficients: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    r2: float | None
    adjusted_r2: float | None
    rows: int
    clusters: int
    condition: float


def ols(response: np.ndarray, regressors: np.ndarray, clusters: np.ndarray | None = None) -> Regression:
    """Regress (n,) on the columns of (n, p), n > p + 1.

    Args:
        clusters: (n,) the group of each row, or (n, k) its k groups; rows without a common group are independent.  The
            intervals come from leaving out one group at a time (the jackknife, CR3; Bell & McCaffrey, Survey Methodology
            2002) and Student's t with one degree of freedom less than there are groups.  None: errors independent and of
            one variance, the textbook's.

    Raises:
        InputError: too few rows, or regressors of which one is constant or a combination of the others, without one group even.
    """
    from scipy.stats import t

    n, p = regressors.shape
    if n <= p + 1:
        raise InputError(f"{n} rows for {p} regressors", expected=f"at least {p + 2}", fix="more orders")
    design = np.column_stack([np.ones(n), regressors])
    beta = _coefficients(design, response)
    residual = response - design @ beta
    squares, total = float(residual @ residual), float(((response - response.mean()) ** 2).sum())
    if clusters is None:
        groups, freedom = n, n - p - 1
        spread = np.sqrt(squares / freedom * np.diag(np.linalg.inv(design.T @ design)))
    else:
        names = np.unique(clusters)
        groups, freedom = len(names), len(names) - 1
        rest = [(clusters.reshape(n, -1) != g).all(axis=1) for g in names]
        without = np.stack([_coefficients(design[rows], response[rows]) for rows in rest])
        spread = np.sqrt(freedom / groups * ((without - beta) ** 2).sum(axis=0))
    half = t.ppf(0.975, freedom) * spread
    r2 = None if np.ptp(response) == 0 else 1 - squares / total
    adjusted = None if r2 is None else 1 - (1 - r2) * (n - 1) / (n - p - 1)
    scaled = (regressors - regressors.mean(axis=0)) / regressors.std(axis=0)
    ends = [tuple(map(float, x)) for x in (beta, beta - half, beta + half)]
    return Regression(ends[0], ends[1], ends[2], r2, adjusted, n, groups, float(np.linalg.cond(scaled)))


def _coefficients(design: np.ndarray, response: np.ndarray) -> np.ndarray:
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise InputError(
            "regressors that are constant or dependent", expected="scores that differ among transitions",
            causes=("fewer than four environments, of which one is left out",),
        )  # fmt: skip
    return np.asarray(np.linalg.lstsq(design, response, rcond=None)[0])


def balanced_orders(count: int) -> list[tuple[int, ...]]:
    """Orders in which every ordered pair of environments is consecutive equally often (Williams, 1949).

    `count` orders where it is even, each pair once; 2 `count` where it is odd, each pair twice.
    """
    zigzag = [(k + 1) // 2 if k % 2 else (count - k // 2) % count for k in range(count)]
    rows = [tuple((x + shift) % count for x in zigzag) for shift in range(count)]
    return rows if count % 2 == 0 else rows + [row[::-1] for row in rows]


def drift_table(runs: Sequence[OrderRun], weight: float) -> dict[str, Any]:
    """Drifts of every transition of some orders, each trained with the same number of seeds, every epoch measured.

    Args:
        runs: of one protocol.
        weight: lambda, for the total.

    Returns:
        `pairs` (n, 2) positions (s, t); `con_it`, `con_ti` (n,); and reading -> term -> (epochs, n) drift in nats, all
        averaged over seeds; `seed_sd`: reading -> term -> (n,) standard deviation over seeds after the last epoch, with one
        degree of freedom less than there are seeds; NaN where there is one.
    """
    transitions: dict[tuple[tuple[int, ...], int], list[dict[Any, Any]]] = {}
    for run in runs:
        curves = [(*between, last) for between, last in zip(run.epochs, run.records[1:], strict=True)]
        for k in range(len(run.order) - 1):
            s, t = run.order[k], run.order[k + 1]
            before = run.records[k + 1]
            row: dict[Any, Any] = {"con_it": before.con["IT"][s, t], "con_ti": before.con["TI"][s, t]}
            for term in TERMS:
                first, second = ([_term(m, term, weight) for m in curve] for curve in (curves[k], curves[k + 1]))
                row["transition", term] = [b[t] - a[s] for a, b in zip(first, second, strict=True)]
                row["step", term] = [b[s] - first[-1][s] for b in second]
            transitions.setdefault((run.order, k), []).append(row)
    keys = list(transitions)

    def mean(key: Any) -> np.ndarray:
        return np.array([np.mean([row[key] for row in transitions[k]], axis=0) for k in keys])

    def deviation(key: Any) -> np.ndarray:
        last = [np.array([row[key][-1] for row in transitions[k]]) for k in keys]
        # less the first seed's: seeds that agree to the last bit, as where nothing is trained, deviate by exactly nothing
        return np.array([np.std(seeds - seeds[0], ddof=1) if len(seeds) > 1 else np.nan for seeds in last])

    return {
        "pairs": np.array([order[k : k + 2] for order, k in keys]),
        "con_it": mean("con_it"),
        "con_ti": mean("con_ti"),
        **{reading: {term: mean((reading, term)).T for term in TERMS} for reading in READINGS},
        "seed_sd": {reading: {term: deviation((reading, term)) for term in TERMS} for reading in READINGS},
    }


def regress(table: dict[str, Any]) -> dict[str, dict[str, list[Regression]]]:
    """Reading -> term -> the regression after each epoch, each transition belonging to both its environments."""
    scores = np.column_stack([table["con_it"], table["con_ti"]])
    return {
        reading: {term: [ols(drift, scores, table["pairs"]) for drift in table[reading][term]] for term in TERMS}
        for reading in READINGS
    }


def _term(m: Measurement, term: str, weight: float) -> np.ndarray:
    return {"ce": m.ce, "clip": m.clip, "total": m.ce + weight * m.clip}[term]
