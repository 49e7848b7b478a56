"""E5 and E6: how well one environment is told from another, beside the contribution scores and the bounds D1 and D2.

Two scores are measured, because the theorem speaks of one and the paper of the other: MCM over the class prompts of the
in-distribution environment, and the concept score `<u, mean text of the environment>`, whose means are contribution
scores (D2).  Bounds are lowered from the statements of the claims, not written again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..synthetic.evaluate import least_factor
from ..theory import registry
from . import lowered
from .features import Features
from .ood import OodReport, concept_scores, cosines, mcm_scores, ood_report
from .scores import score_matrices

ROUNDING = 1e-12  # of a mean of cosines or a share: where scores are constant, nothing smaller says which is larger


@dataclass(frozen=True)
class OodPair:
    """One ordered pair of environments.

    Attributes:
        inside, outside: environment ids; the first is in-distribution.
        mcm: MCM over the prompts of the in-distribution classes.
        concept: the concept score of D2.  Its mean text holds every in-image's own caption, as the bounds need it, which helps: two
            environments of one law, whose AUROC is 1/2, have 0.77 with 20 pairs each (and a bound D1 of 0.36), 0.56 with 100, 0.51
            with 500, where a row is the sum of a common direction, one of its pair and one of its own, on the sphere in 512
            dimensions.  It speaks of these pairs, and so do the bounds.  Its interval takes the concept as given: it holds the AUROC of
            other images in 13, 66 and 90 % of draws of such environments.
        con_IT: Con_IT(outside, inside).
        bound_D1: lower bound on the concept score's AUROC from its means and variances; 0 where the means are reversed.
        bound_D2: the same from contribution scores alone.
    """

    inside: int
    outside: int
    mcm: OodReport
    concept: OodReport
    con_IT: float
    bound_D1: float
    bound_D2: float


@dataclass(frozen=True)
class OodTable:
    """E5: every ordered pair, and how AUROC goes with Con_IT.

    Attributes:
        pairs: T(T-1) of them.
        prompts: where the concept vectors of MCM came from.
        temperature: of MCM.
        pearson_mcm, pearson_concept: correlation of Con_IT with the AUROC of either score over pairs; NaN if one is constant.
    """

    pairs: tuple[OodPair, ...]
    prompts: str
    temperature: float
    pearson_mcm: float
    pearson_concept: float

    @property
    def mean_auroc(self) -> dict[str, float]:
        return {
            "MCM": float(np.mean([pair.mcm.auroc for pair in self.pairs])),
            "concept": float(np.mean([pair.concept.auroc for pair in self.pairs])),
        }


def pairwise_ood(features: Features, *, temperature: float = 1.0) -> OodTable:
    """E5 on frozen features.

    Args:
        features: T >= 2 environments; with `prompts`, or class texts are averaged from the captions instead.
        temperature: of MCM, on cosines.

    Raises:
        InputError: a single environment; temperature not positive.
    """
    features.require_environments(2, "a pair needs two environments")
    prompts, origin = concept_vectors(features)
    con = score_matrices(features)
    ids = features.environments
    pairs = []
    for i, inside in enumerate(ids):
        own = np.unique(features.label[features.rows(inside)])
        concept = features.text[features.rows(inside)].mean(axis=0, dtype=np.float64)
        for j, outside in enumerate(ids):
            if i == j:
                continue
            x, y = features.image[features.rows(inside)], features.image[features.rows(outside)]
            a, b = concept_scores(x, concept), concept_scores(y, concept)
            con_tt, con_st, own_text = (float(c) for c in (con["IT"][i, i], con["IT"][j, i], con["TT"][i, i]))
            settings = {"name": "MCM", "temperature": temperature, "prompts": origin}
            pairs.append(OodPair(
                inside, outside,
                ood_report(mcm(features, prompts, features.rows(inside), own, temperature), mcm(features, prompts, features.rows(outside), own, temperature), settings),
                ood_report(a, b, {"name": "concept score (D2)"}),
                con_st,
                lower_bound("D1", "cantelli", D=con_tt - con_st, V_in=a.var(), V_out=b.var()),
                lower_bound("D2", "separation", D=con_tt - con_st, Con_IT_tt=con_tt, Con_IT_st=con_st, Con_TT_tt=own_text),
            ))  # fmt: skip
    scores = [pair.con_IT for pair in pairs]
    return OodTable(
        tuple(pairs),
        origin,
        temperature,
        pearson(scores, [pair.mcm.auroc for pair in pairs]),
        pearson(scores, [pair.concept.auroc for pair in pairs]),
    )


def cumulative_ood(features: Features, order: Sequence[int], *, temperature: float = 1.0) -> list[OodReport]:
    """E6: after each environment of the order but the last, MCM over all classes seen so far against all that is to come.

    Args:
        order: environment ids, each once.

    Returns:
        T-1 reports.

    Raises:
        InputError: a single environment.
    """
    features.require_environments(2, "something must be left to come")
    prompts, origin = concept_vectors(features)
    reports = []
    for k in range(1, len(order)):
        seen = np.isin(features.environment, list(order[:k]))
        classes = np.unique(features.label[seen])
        score = mcm(features, prompts, np.arange(len(features)), classes, temperature)
        settings = {"name": "MCM", "temperature": temperature, "prompts": origin, "environments seen": k}
        reports.append(ood_report(score[seen], score[~seen], settings))
    return reports


def concept_vectors(features: Features) -> tuple[np.ndarray, str]:
    """(C, d) unit concept vectors and where they came from: the file's prompts, or mean captions of every class."""
    if features.prompts is not None:
        return features.prompts, f"class prompts, template {features.metadata.get('template', 'not recorded')!r}"
    features.require_class_numbers()
    vectors = np.zeros((features.classes, features.dimension))
    np.add.at(vectors, features.label, features.text.astype(np.float64))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    origin = "mean caption of every class, an image's own left out (the file has no prompts)"
    return vectors / np.where(norms > 0, norms, 1), origin


def concept_cosines(
    features: Features, vectors: np.ndarray, rows: np.ndarray, classes: np.ndarray | None = None
) -> np.ndarray:
    """(n, c) cosines of some images with the concepts of some classes.

    Of mean captions the image's own is left out, unless its class has no other: with it, two environments of one law, 20 pairs in three
    classes each, have a mean AUROC by MCM of 0.95 (rows as in `OodPair.concept`).

    Args:
        vectors: (C, d) of `concept_vectors`.
        rows: (n,) of the images.
        classes: (c,) ascending; None: all.
    """
    classes = np.arange(len(vectors)) if classes is None else classes
    found, label = cosines(features.image[rows], vectors[classes]), features.label[rows]
    if features.prompts is None:
        own, place = np.flatnonzero(np.isin(label, classes)), np.searchsorted(classes, label)
        for k in np.unique(label[own]).tolist():
            mine = np.flatnonzero(features.label == k)
            if len(mine) < 2:
                continue
            chosen = own[label[own] == k]
            rest = features.text[mine].sum(axis=0, dtype=np.float64) - features.text[rows[chosen]]
            norms = np.linalg.norm(rest, axis=1)
            across = np.einsum("nd,nd->n", features.image[rows[chosen]], rest)
            found[chosen, place[chosen]] = across / np.where(norms > 0, norms, 1)
    return found


def mcm(
    features: Features, vectors: np.ndarray, rows: np.ndarray, classes: np.ndarray, temperature: float
) -> np.ndarray:
    """(n,) scores of some images by MCM over some classes; arguments as of `concept_cosines`."""
    return mcm_scores(concept_cosines(features, vectors, rows, classes), temperature=temperature)


def lower_bound(claim: str, relation: str, *, D: float, **values: float) -> float:
    """AUROC >= this, by a relation of D1 or D2; 0 where the gap `D` of the mean scores is not positive, or is rounding.

    Args:
        values: of the other symbols of the relation.
    """
    return (
        lowered.evaluate(least_factor(registry.relation(claim, relation), "AUROC"), D=D, **values)
        if D > ROUNDING
        else 0.0
    )


def pearson_interval(x: np.ndarray, y: np.ndarray, pairs: np.ndarray, level: float) -> tuple[float, float]:
    """Interval of Pearson's correlation over ordered pairs of environments, which are not independent: pairs share environments.

    The environments are the observations, and one is left out at a time with all its pairs: the jackknife over vertices of
    Snijders & Borgatti (Connections 1999), but with the factor (T-1)/T, right where environments have effects, for their
    (T-2)/(2T), right where pairs are independent (there the interval is wider than need be).  Fisher's z, on which the
    interval is symmetric, and Student's t with T-1 degrees of freedom.

    Args:
        x, y: (n,) one value a pair.
        pairs: (n, 2) the environments of each.
        level: probability of covering.

    Returns:
        Low and high.  NaN where there are fewer than four environments, two of three being one pair in its two directions, or
        where x or y is constant over the pairs that are left.
    """
    from scipy.stats import t

    names = np.unique(pairs)
    count = len(names)
    rest = [(pairs != g).all(axis=1) for g in names]
    found = np.array([pearson(x, y), *(pearson(x[rows], y[rows]) for rows in rest)])
    if count < 4 or np.isnan(found).any():
        return float("nan"), float("nan")
    edge = 1 - np.finfo(np.float64).eps  # z of a perfect correlation is infinite
    z, *without = np.arctanh(found.clip(-edge, edge)).tolist()
    half = t.ppf((1 + level) / 2, count - 1) * np.sqrt((count - 1) / count * ((np.array(without) - z) ** 2).sum())
    return float(np.tanh(z - half)), float(np.tanh(z + half))


def pearson(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Pearson's correlation; NaN where x or y is constant, or varies by rounding alone."""
    if len(x) < 2 or any(np.ptp(z) <= ROUNDING * np.abs(z).max() for z in (x, y)):
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
