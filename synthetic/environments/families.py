"""Families of environments: random ones (Gaussian, spiked) and ones with scores that are known beforehand.

All return `Pairs`; the same arguments give the same bytes.  Families with prescribed scores are built by `prescribed`, so their scores
are those stated, to rounding; with ``exact=True`` they are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ...theory import registry
from ...theory.errors import InputError, counted
from ..arithmetic import arithmetic
from ..evaluate import value
from .pairs import Pairs, gather
from .prescribed import check_scores, float_factor, prescribed
from .rational import gram_factor, require_rational


def normalise(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return found


def require(good: bool, found: str, expected: str) -> None:
    if not good:
        raise InputError(found, expected=expected)


def fraction(value: Any, what: str) -> Fraction:
    """A number, or text such as '1/3', as it is written; nan, infinity and words are refused."""
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{what} {value}", expected="a finite number, or text such as '1/3'") from None


def gaussian(
    seed: int, *, environments: int = 5, pairs: int = 40, dimension: int = 16, classes: int = 4, spread: float = 1.0
) -> Pairs:
    """Gaussian features around random means, on the sphere.

    Args:
        pairs: pair k of an environment has class ``k % classes``.
        spread: size of the noise against the mean; means and class means are drawn independently for each modality.
    """
    require(min(environments, pairs, dimension, classes) >= 1 and 0 <= spread < np.inf,
            f"{environments} environments of {pairs} pairs, {classes} classes in {dimension} dimensions, spread {spread}",
            "positive counts and a finite spread that is not negative")  # fmt: skip
    rng = np.random.default_rng([3, seed])
    label = np.arange(pairs) % classes
    sides = []
    for _ in range(2):
        centre = normalise(rng.standard_normal((environments, 1, dimension)))
        kinds = normalise(rng.standard_normal((classes, dimension)))
        noise = rng.standard_normal((environments, pairs, dimension)) / dimension**0.5
        sides.append(normalise(centre + kinds[label] / 2 + spread * noise))
    return gather(list(sides[0]), list(sides[1]), [label] * environments,
                  {"generator": "gaussian", "seed": seed, "spread": spread})  # fmt: skip


def spiked(
    seed: int, *, environments: int = 5, pairs: int = 40, dimension: int = 32, classes: int = 4, latent: int = 4,
    shared: float = 1.0, private: float = 0.5, gap: float = 0.5, nuisance: float = 0.0,
) -> Pairs:  # fmt: skip
    """Spiked shared-latent model: what a dual encoder sees of one scene.

    An image is ``shared S (m_t + k_c + z) + private P_I n_I + gap g`` on the sphere, its caption the same with ``P_T n_T`` and ``-gap g``: z is the
    shared latent of the pair, the private latents n_I, n_T have correlation `nuisance` coordinate by coordinate, and S, P_I, P_T
    and g have orthonormal columns.

    Args:
        latent: number of shared and of private coordinates (each); ``3 latent + 1 <= dimension``.
        shared, private, gap: sizes of the parts; nuisance in [-1, 1].
    """
    require(dimension >= 3 * latent + 1 and latent >= 1, f"{latent} latent coordinates in {dimension} dimensions",
            f"at most {(dimension - 1) // 3}: shared, image and text parts and the gap are orthogonal")  # fmt: skip
    require(
        min(environments, pairs, classes) >= 1,
        f"{environments} environments of {pairs} pairs, {classes} classes",
        "positive counts",
    )
    require(bool(np.isfinite([shared, private, gap]).all()) and any((shared, private, gap)),
            f"parts of sizes {shared}, {private} and {gap}", "finite sizes, not all 0: features have a direction")  # fmt: skip
    require(-1 <= nuisance <= 1, f"nuisance correlation {nuisance}", "a number in [-1, 1]")
    rng = np.random.default_rng([4, seed])
    basis = np.linalg.qr(rng.standard_normal((dimension, 3 * latent + 1)))[0].T
    both, own = basis[:latent], (basis[latent : 2 * latent], basis[2 * latent : 3 * latent])
    label = np.arange(pairs) % classes
    place = normalise(rng.standard_normal((environments, 1, latent)))
    kinds = normalise(rng.standard_normal((classes, latent)))
    scene = place + kinds[label] / 2 + rng.standard_normal((environments, pairs, latent)) / latent**0.5 / 2
    first, second = rng.standard_normal((2, environments, pairs, latent)) / latent**0.5
    noise = (first, nuisance * first + (1 - nuisance**2) ** 0.5 * second)
    sides = [normalise(shared * scene @ both + private * n @ p + sign * gap * basis[-1])
             for n, p, sign in zip(noise, own, (1, -1), strict=True)]  # fmt: skip
    return gather(list(sides[0]), list(sides[1]), [label] * environments,
                  {"generator": "spiked", "seed": seed, "shared": shared, "private": private, "gap": gap, "nuisance": nuisance})  # fmt: skip


# -- rank-one and block-rank environments ------------------------------------------------------------------------


def unit_gram(cosines: Any, exact: bool) -> np.ndarray:
    """Cosines of directions, one at least; in float64 the diagonal is 1 to rounding, as that of computed directions is."""
    gram: np.ndarray = require_rational(cosines, "a matrix of cosines") if exact else np.asarray(cosines, dtype=float)
    require(
        gram.ndim == 2 and gram.shape[0] == gram.shape[1] >= 1,
        f"cosines of shape {gram.shape}",
        "(T, T) with diagonal 1",
    )
    unit = gram.diagonal() == 1 if exact else np.abs(gram.diagonal() - 1) <= 64 * 2.0**-53
    require(bool(unit.all()), f"cosines with diagonal {[str(v) for v in gram.diagonal()]}", "diagonal 1")
    return gram


def rank_one(cosines: Any, *, pairs: int = 2, exact: bool = False) -> Pairs:
    """Environments of one direction each: all images and texts of environment t are the unit vector a_t.

    Args:
        cosines: ``(T, T)`` Gram matrix of the directions, diagonal 1 (T3.5 and T3.7 depend on it alone).

    Raises:
        InfeasibleScores: no directions have these cosines.
    """
    gram = unit_gram(cosines, exact)
    return prescribed(np.block([[gram, gram], [gram, gram]]), pairs=pairs, exact=exact)


def equal_cosines(count: int, cosine: Any) -> np.ndarray:
    """``(T, T)``: 1 on the diagonal, one cosine elsewhere; 0 gives orthogonal environments, 1 identical ones."""
    return np.array([[1 if s == t else cosine for t in range(count)] for s in range(count)]).reshape(count, count)


def orthogonal(count: int, *, pairs: int = 2, exact: bool = False) -> Pairs:
    """Rank-one environments at right angles: no forgetting in any order (O2)."""
    return rank_one(equal_cosines(count, 0), pairs=pairs, exact=exact)


def identical(count: int, *, pairs: int = 2, exact: bool = False) -> Pairs:
    """Rank-one environments of one and the same direction: no forgetting either (O2)."""
    return rank_one(equal_cosines(count, 1), pairs=pairs, exact=exact)


def block_rank(cosines: Sequence[Any], *, exact: bool = False) -> Pairs:
    """Environments that are subspaces: the pairs of environment t are an orthonormal basis of it, images and texts alike.

    Args:
        cosines: one ``(T, T)`` Gram matrix with diagonal 1 for every basis vector; basis vectors of different number are
            orthogonal, so the principal cosines of environments s and t are ``|cosines[k][s, t]|``, k = 0 .. rank-1.

    Raises:
        InfeasibleScores: no directions have these cosines.
    """
    grams = [unit_gram(g, exact) for g in cosines]
    sizes = sorted({len(g) for g in grams})
    require(
        len(sizes) == 1,
        f"{len(grams)} matrices of cosines, of {sizes} environments",
        "one matrix or more, all of the same environments",
    )
    for gram in grams:
        check_scores(np.kron(np.ones((2, 2), dtype=int), gram), exact)  # symmetric and positive semidefinite
    factor = gram_factor if exact else float_factor
    blocks = [factor(g) for g in grams]
    count, width = len(blocks[0]), sum(b.shape[1] for b in blocks)
    rows = []
    for t in range(count):
        block, at = np.zeros((len(blocks), width), dtype=blocks[0].dtype), 0
        for k, b in enumerate(blocks):
            block[k, at : at + b.shape[1]] = b[t]
            at += b.shape[1]
        rows.append(arithmetic("exact").array(block) if exact else block)
    return gather(rows, rows, [np.arange(len(blocks))] * count, {"generator": "block rank"})


# -- smooth transitions and sweeps -------------------------------------------------------------------------------


def transition_parameter(pairs: Pairs, c_image: Any, c_text: Any) -> Any:
    """The least e for which the pairs satisfy Environment Smooth Transition with reference values c_I and c_T.

    Both sides are those of T1.4's assumption 'smooth', over all pairs of different environments.
    """
    assumption = next(a for a in registry.get("T1.4").statement.assumptions if a.name == "smooth")
    ops, scores = arithmetic("exact" if pairs.exact else "plain"), pairs.scores()
    count = len(scores) // 2
    known = {"c_I": ops.array([[c_image]]), "c_T": ops.array([[c_text]])}
    found = []
    for s in range(count):
        for t in range(count):
            if s != t:
                own = {"Con_II": ops.array([[scores[s, t]]]), "Con_TT": ops.array([[scores[count + s, count + t]]])}
                found += [value(r.lhs, known | own, ops)[0, 0] for r in assumption.relations]
    return max(found, default=Fraction(0)) if pairs.exact else max((float(x) for x in found), default=0.0)


def drifting(
    seed: int, parameter: Any, *, environments: int = 5, c_image: Any = "1/2", c_text: Any = "1/2", cross: Any = "1/4",
    length: Any = "9/10", pairs: int = 8, exact: bool = False,
) -> Pairs:  # fmt: skip
    """Environment Smooth Transition with parameter e, met with equality by some pair of environments.

    Con_II(s, t) and Con_TT(s, t), s != t, are c_I and c_T plus random multiples of e between -1 and 1 (the largest is 1 or -1); all
    cross-modal scores are `cross`, all own scores `length`.

    Raises:
        InfeasibleScores: e, c_I, c_T and the lengths do not go together.
    """
    require(environments >= 2, counted(environments, "environment"), "at least two, for a transition")
    given = {"transition parameter": parameter, "c_image": c_image, "c_text": c_text, "cross": cross, "length": length}
    e, c_i, c_t, x, d = (fraction(value, name) for name, value in given.items())
    require(e >= 0, f"transition parameter {parameter}", "a number that is not negative")
    rng = np.random.default_rng([5, seed])
    scores = np.full((2 * environments, 2 * environments), x, dtype=object)
    for k, c in enumerate((c_i, c_t)):
        steps = rng.integers(-12, 13, size=(environments, environments))
        steps[0, 1] = 12 if rng.random() < 0.5 else -12
        for s in range(environments):
            for t in range(environments):
                low, high = min(s, t), max(s, t)
                own = d if s == t else c + e * Fraction(int(steps[low, high]), 12)
                scores[k * environments + s, k * environments + t] = own
    found = prescribed(scores, pairs=pairs, exact=exact)
    note = {"generator": "drifting", "seed": seed, "parameter": float(e), "c_I": float(c_i), "c_T": float(c_t)}
    return Pairs(found.image, found.text, found.label, found.environment, note)


def similarity_sweep(
    first: Any, last: Any, steps: int, *, exact: bool = False, **options: Any
) -> Iterator[tuple[Any, Pairs]]:
    """Pairs whose scores go from one matrix to another: ``(1 - x) first + x last`` for x = 0, 1/(steps-1), .., 1.

    Feasible matrices form a convex set, so every step is feasible where the ends are.

    Args:
        first, last: ``(2T, 2T)`` score matrices.
        options: as for `prescribed`.

    Yields:
        x and the pairs.
    """
    require(steps >= 2, counted(steps, "step"), "at least 2, the two ends")
    ends = [require_rational(m, "a score matrix") if exact else np.asarray(m, dtype=float) for m in (first, last)]
    for k in range(steps):
        x: Any = Fraction(k, steps - 1) if exact else k / (steps - 1)
        yield x, prescribed((1 - x) * ends[0] + x * ends[1], exact=exact, **options)
