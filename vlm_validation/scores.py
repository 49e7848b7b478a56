"""Contribution scores of features, in one file or in shards, with intervals.

For modalities a, b in {I, T} and environments s, t, `Con_ab(s,t) = E <a(x), b(x')>` with x ~ E_s and x' ~ E_t
independent (section S of the theory; the paper: arXiv 2606.14883).  By claim S1 every estimate is an inner product of
sample means, so nothing here ever forms N x N pairs: all numbers come from the moments of `score_moments.py`, which
shards merge.  A bootstrap is not among them, since it draws the samples again; `standard_error` is what moments give.

Which estimator:

- `con[ab]`, T x T, is the V-statistic: the mean over *all* pairs, matched and equal ones included.  For s != t it is
  unbiased.  For s = t it is not: it leans by 1/n towards the mean over equal indices, which is 1 for II and TT and
  CLV for IT and TI.  It is the one whose 2T x 2T matrix is positive semidefinite (S4): claims and figures use it.
- `con_within[ab]`, (T,), is the U-statistic for s = t: the mean over pairs of different samples, unbiased.

Which interval (level 1 - delta for each score; `simultaneous=True` shares delta among all distinct scores):

- `half_width`, s != t: claim S7, for any distribution on the unit sphere; wide, because it assumes nothing.
- `half_width`, s = t: S7 needs two independent samples, and there is only one.  Exchanging one pair moves the
  U-statistic by at most 4/n (2(n-1) of the n(n-1) terms, each by at most 2), so McDiarmid's inequality holds with 4/n
  where S7 has 1/n_s + 1/n_t: twice S7's half-width at 2n and 2n.  It is centred on `con_within`, not on `con`.
- `clv_half_width`: a mean of n terms in [-1, 1]; the same inequality with 1/n, which is S7's formula at 2n and 2n.
- `standard_error`: no guarantee, but what to expect: the exact variance of S1 with sample moments put in.  For s = t
  its leading term, with matched pairs kept together; the lean of `con` is not in it and can be several times as large,
  so that it belongs to `con_within` as well.

What is printed and drawn with an interval is therefore `unbiased`: `con` with `con_within` on the diagonals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..theory.errors import InputError
from .features import Features, require_features
from .score_moments import Moments, moments_of

HalfWidth = Callable[[int, int, float], float]
PAIRS = (("I", "I"), ("I", "T"), ("T", "I"), ("T", "T"))
KEYS = tuple(a + b for a, b in PAIRS)
PARTS = ("image", "text", "interaction")


@dataclass(frozen=True, eq=False)
class Scores:
    """Contribution scores of T environments.  All numbers are cosines or their spreads, float64, without unit.

    Attributes:
        environments: ids, in the order of rows and columns.
        names: their names.
        counts: (T,) samples.
        con: 'II', 'IT', 'TI', 'TT' -> (T, T) V-statistics in [-1, 1]; row s, column t is Con_ab(s, t).
        con_within: the same keys -> (T,) U-statistics for s = t.
        clv: (T,) mean cosine of matched pairs, in [-1, 1].
        half_width: key -> (T, T) half-widths at `delta`; diagonal: around `con_within`.
        clv_half_width: (T,).
        standard_error: key -> (T, T), plug-in; diagonal: of `con_within`.
        clv_standard_error: (T,).
        cosine_variance: (T, T, 3) variance of the pairwise image-text cosines of environments (s, t), split as in claim
            S1 into the parts named in `PARTS`; their sum is the variance.
        delta: miss probability of one interval, or of all together where `simultaneous`.
        simultaneous: whether delta is shared among all distinct scores (Bonferroni).
        provenance: content hash of the features, their metadata and notes.
    """

    environments: tuple[int, ...]
    names: tuple[str, ...]
    counts: np.ndarray
    con: dict[str, np.ndarray]
    con_within: dict[str, np.ndarray]
    clv: np.ndarray
    half_width: dict[str, np.ndarray]
    clv_half_width: np.ndarray
    standard_error: dict[str, np.ndarray]
    clv_standard_error: np.ndarray
    cosine_variance: np.ndarray
    delta: float
    simultaneous: bool
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def delta_each(self) -> float:
        """Miss probability of each interval."""
        return self.delta / _distinct(len(self.environments)) if self.simultaneous else self.delta

    @property
    def unbiased(self) -> dict[str, np.ndarray]:
        """'II', 'IT', 'TI', 'TT' -> (T, T): `con`, on the diagonal `con_within`; what intervals are about."""
        own = np.eye(len(self.environments), dtype=bool)
        return {key: np.where(own, self.con_within[key], matrix) for key, matrix in self.con.items()}

    @property
    def dispersion(self) -> dict[str, float]:
        """Standard deviation of the T(T-1) off-diagonal entries of each matrix; NaN for one environment."""
        off = ~np.eye(len(self.environments), dtype=bool)
        return {key: float(matrix[off].std()) if off.any() else float("nan") for key, matrix in self.con.items()}

    @property
    def sigma_I(self) -> float:
        """The paper's dispersion read from images to texts: of the off-diagonal `Con_IT`."""
        return self.dispersion["IT"]

    @property
    def sigma_T(self) -> float:
        """The same from texts to images.  `Con_TI` is the transpose of `Con_IT` (S2), so it always equals `sigma_I`."""
        return self.dispersion["TI"]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for JSON; NaN as None."""
        plain = {
            "estimator": {"con": "V-statistic (all pairs)", "con_within": "U-statistic (i != j), s = t"},
            "environments": list(self.environments),
            "names": list(self.names),
            "counts": self.counts.tolist(),
            "con": {k: v.tolist() for k, v in self.con.items()},
            "con_within": {k: v.tolist() for k, v in self.con_within.items()},
            "clv": self.clv.tolist(),
            "half_width": {k: v.tolist() for k, v in self.half_width.items()},
            "clv_half_width": self.clv_half_width.tolist(),
            "standard_error": {k: v.tolist() for k, v in self.standard_error.items()},
            "clv_standard_error": self.clv_standard_error.tolist(),
            "cosine_variance": {part: self.cosine_variance[..., i].tolist() for i, part in enumerate(PARTS)},
            "dispersion": {k: None if np.isnan(v) else v for k, v in self.dispersion.items()},
            "delta": self.delta,
            "simultaneous": self.simultaneous,
            "provenance": self.provenance,
        }
        return plain

    def to_json(self) -> str:
        """`to_dict()` as text, keys sorted: the same scores give the same bytes."""
        return json.dumps(self.to_dict(), indent=1, sort_keys=True, allow_nan=False) + "\n"


def estimate_scores(
    features: Features, *, delta: float = 0.05, simultaneous: bool = False, half_width: HalfWidth | None = None,
    progress: Callable[[], None] | None = None,
) -> Scores:  # fmt: skip
    """Estimate every contribution score of `features`.

    Args:
        features: N pairs in T >= 1 environments.
        delta: in (0, 1); see `Scores.delta`.
        simultaneous: intervals that hold together.
        half_width: `(n_s, n_t, delta) -> e` with P(|Con^ - Con| >= e) <= delta; default: claim S7.
        progress: called after every environment.

    Returns:
        Scores in ascending order of environment ids.  Cost: O(N d^2).

    Raises:
        InputError: delta outside (0, 1), something else than features.
    """
    require_features(features)
    _check_delta(delta)
    moments = moments_of(features.image, features.text, features.environment, progress)
    provenance = {
        "features": features.content_hash(),
        "metadata": dict(features.metadata),
        "notes": list(features.notes),
    }
    names = {k: features.name(k) for k in features.environments}
    return scores_of(moments, names, provenance, delta=delta, simultaneous=simultaneous, half_width=half_width)


def scores_of(
    moments: Moments, names: Mapping[int, str], provenance: dict[str, Any], *, delta: float = 0.05,
    simultaneous: bool = False, half_width: HalfWidth | None = None,
) -> Scores:  # fmt: skip
    """Scores from the moments of every environment: of one file, or merged from shards.

    Args:
        moments: of environments with at least two pairs each.
        names: of the environments.
        provenance: see `Scores`.
        delta, simultaneous, half_width: as in `estimate_scores`.

    Raises:
        InputError: delta outside (0, 1).
    """
    _check_delta(delta)
    interval = half_width or _claim_s7()
    ids = sorted(moments)
    found = [moments[k] for k in ids]
    counts = np.array([m.count for m in found])
    d = found[0].rows.mean.shape[0] // 2
    parts = {"I": slice(0, d), "T": slice(d, 2 * d)}
    means = {a: np.stack([m.rows.mean[p].numpy() for m in found]) for a, p in parts.items()}
    covariance = {
        a + b: np.stack([m.rows.scatter[parts[a], parts[b]].numpy() / m.count for m in found]) for a, b in PAIRS
    }
    con = {a + b: means[a] @ means[b].T for a, b in PAIRS}
    matched = {key: np.diag(con[key]) + np.trace(covariance[key], axis1=1, axis2=2) for key in KEYS}
    clv = np.array([float(m.cosine.mean[0]) for m in found])
    matched["IT"] = matched["TI"] = clv  # the same number, and measured as such
    variance = {a + b: _cosine_variance(covariance[a + a], covariance[b + b], means[a], means[b]) for a, b in PAIRS}
    each = delta / _distinct(len(ids)) if simultaneous else delta
    width = _half_widths(counts, each, interval)
    spread = np.array([float(m.cosine.scatter[0, 0]) / (m.count - 1) for m in found])
    return Scores(
        environments=tuple(ids),
        names=tuple(names[k] for k in ids),
        counts=counts,
        con=con,
        con_within={key: (counts * np.diag(con[key]) - matched[key]) / (counts - 1) for key in KEYS},
        clv=clv,
        half_width={key: width.copy() for key in KEYS},
        clv_half_width=np.array([interval(2 * n, 2 * n, each) for n in counts.tolist()]),
        standard_error={a + b: _standard_errors(a, b, variance[a + b], covariance, means, counts) for a, b in PAIRS},
        clv_standard_error=np.sqrt(spread / counts),
        cosine_variance=variance["IT"],
        delta=delta,
        simultaneous=simultaneous,
        provenance=provenance,
    )


def score_matrices(features: Features) -> dict[str, np.ndarray]:
    """'II', 'IT', 'TI', 'TT' -> (T, T) V-statistics alone, by claim S1 in O(N d)."""
    rows = [features.rows(k) for k in features.environments]
    means = {
        "I": np.stack([features.image[r].mean(axis=0, dtype=np.float64) for r in rows]),
        "T": np.stack([features.text[r].mean(axis=0, dtype=np.float64) for r in rows]),
    }
    return {a + b: means[a] @ means[b].T for a, b in PAIRS}


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise InputError(f"delta is {delta}", expected="a probability between 0 and 1", fix="delta=0.05")


def _claim_s7() -> HalfWidth:
    from ..theory.claims.s7_finite_samples import half_width

    return half_width


def _distinct(T: int) -> int:
    """II and TT are symmetric, TI is the transpose of IT, and there are T alignments."""
    return T * (T + 1) + T * T + T


def _half_widths(counts: np.ndarray, delta: float, half_width: HalfWidth) -> np.ndarray:
    n = counts.tolist()
    return np.array([
        [2 * half_width(2 * n[s], 2 * n[s], delta) if s == t else half_width(n[s], n[t], delta) for t in range(len(n))]
        for s in range(len(n))
    ])  # fmt: skip


def _cosine_variance(sigma_a: np.ndarray, sigma_b: np.ndarray, mu: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """S1: nu' Sigma_u nu (image), mu' Sigma_v mu (text), <Sigma_u, Sigma_v> (interaction), for all (s, t)."""
    image = np.stack([_form(sigma, nu, nu) for sigma in sigma_a])
    text = np.stack([_form(sigma, mu, mu) for sigma in sigma_b], axis=1)
    interaction = sigma_a.reshape(len(mu), -1) @ sigma_b.reshape(len(nu), -1).T
    return np.stack([image, text, interaction], axis=-1)


def _form(sigma: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left_i' sigma right_i for every row i."""
    return np.einsum("ni,ni->n", left @ sigma, right)


def _standard_errors(
    a: str, b: str, parts: np.ndarray, covariance: Mapping[str, np.ndarray], means: Mapping[str, np.ndarray], n: np.ndarray
) -> np.ndarray:  # fmt: skip
    mu, nu = means[a], means[b]
    variance = parts[..., 0] / n[:, None] + parts[..., 1] / n[None, :] + parts[..., 2] / (n[:, None] * n[None, :])
    for s, one in enumerate(nu):  # one sample on both sides: its two roles correlate
        both = 2 * (one @ covariance[a + b][s] @ mu[s])
        variance[s, s] = (parts[s, s, 0] + parts[s, s, 1] + both) / n[s]
    return np.sqrt(np.maximum(variance, 0.0))  # rounding may leave -1e-18 of constant features
