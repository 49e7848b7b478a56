"""Pairs whose 2T x 2T score matrix is a given one: the converse of S4 (every positive semidefinite matrix occurs).

Features are unit vectors, so a matrix is feasible exactly when it is positive semidefinite with diagonal at most 1 (the squared
lengths of the means).  Rows are built as

    mean of the environment | class part | private part,

in orthogonal blocks of coordinates: means are a Gram factor of the matrix, class parts add up to zero in every environment, private
parts (opposite pairs, one triangle where the count is odd) add up to zero in every class of it and fill the length up to 1.  So the
means of the samples are the prescribed ones, to rounding in float64 and exactly in rationals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from numbers import Integral
from typing import Any

import numpy as np

from ...theory.errors import InputError
from ..evaluate import is_psd
from .pairs import Pairs, gather
from .rational import exact as rationals
from .rational import gram_factor, require_rational

Layout = Sequence[Mapping[int, int]]


class InfeasibleScores(InputError):
    """No unit features have this score matrix.

    Attributes:
        eigenvalue: the smallest eigenvalue of the matrix asked for.
        nearest: the feasible matrix nearest to it in the Frobenius norm (float64); pass it instead.
        distance: how far that is, in the Frobenius norm.
    """

    def __init__(self, scores: np.ndarray, reason: str) -> None:
        self.eigenvalue = float(np.linalg.eigvalsh(scores)[0])
        self.nearest = nearest_feasible(scores)
        self.distance = float(np.linalg.norm(self.nearest - scores))
        super().__init__(
            reason,
            expected="a positive semidefinite matrix with diagonal at most 1 (S4; means of unit vectors)",
            causes=("scores typed or edited entry by entry", "scores of different samples mixed in one matrix"),
            fix=f"use the nearest feasible matrix, {self.distance:.3g} away in the Frobenius norm: "
            "`except InfeasibleScores as error: prescribed(error.nearest, ...)`",
        )


def nearest_feasible(scores: Any, steps: int = 20_000) -> np.ndarray:
    """The feasible score matrix nearest in the Frobenius norm: positive semidefinite, diagonal at most 1.

    Dykstra's alternating projections on the two convex sets (Higham, IMA J. Numer. Anal. 2002, with the diagonal bounded
    instead of fixed).

    Args:
        scores: ``(n, n)``, symmetrised first.

    Returns:
        ``(n, n)`` float64, feasible to rounding.
    """
    now = np.asarray(scores, dtype=float)
    now = (now + now.T) / 2
    turned, cut, scale = np.zeros_like(now), np.zeros_like(now), max(1.0, float(np.abs(now).max()))
    for _ in range(steps):
        psd = clip(now + turned)
        turned = now + turned - psd
        bounded = psd + cut
        np.fill_diagonal(bounded, np.minimum(bounded.diagonal(), 1))
        cut = psd + cut - bounded
        moved, now = float(np.abs(bounded - now).max()), bounded
        if moved <= 1e-15 * scale and float(np.abs(bounded - psd).max()) <= 1e-14 * scale:
            break
    now = clip(now)
    shrink = 1 / np.sqrt(np.maximum(now.diagonal(), 1))
    return now * np.outer(shrink, shrink)


def clip(x: np.ndarray) -> np.ndarray:
    """Negative eigenvalues set to 0: the nearest positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(x)
    found: np.ndarray = (vectors * np.maximum(values, 0)) @ vectors.T
    return (found + found.T) / 2


def prescribed(
    scores: Any,
    *,
    pairs: int | Sequence[int] = 8,
    classes: Layout | None = None,
    class_share: Any = 0,
    alignment: Sequence[Any] | None = None,
    exact: bool = False,
    directions: int = 4,
    rotate: int | None = None,
) -> Pairs:
    """Pairs whose sample scores are the given matrix: all four of Con_II, Con_IT, Con_TI, Con_TT, between and within environments.

    Args:
        scores: ``(2T, 2T)``, images first, ``[[Con_II, Con_IT], [Con_TI, Con_TT]]``.
        pairs: pairs an environment (one class each), where `classes` is not given.
        classes: for every environment, class -> number of its pairs.
        class_share: the part in [0, 1) of the variance within an environment that lies between its class means.  A
            class has the same direction in both modalities and all environments; in rationals, which lack the square roots for that, the
            cosine of two of its directions is only positive.
        alignment: CLV of every environment; None leaves the private parts of image and text unrelated.
        exact: rationals throughout; the scores (and `alignment`, `class_share`) must then be rational, and are met exactly.
        directions: private directions used in turn; more of them spread the features over more dimensions.
        rotate: seed of a random rotation of all features; None leaves them in coordinates (float64 only).

    Returns:
        pairs, environments in order, classes ascending within each.

    Raises:
        InfeasibleScores: no unit features have these scores; it carries the nearest matrix that is feasible.
        InputError: counts, class share or alignment that cannot be met; the message names the range that can.
    """
    matrix = check_scores(scores, exact)
    count = len(matrix) // 2
    layout = check_layout(pairs, classes, count)
    if exact and rotate is not None:
        raise InputError("rotate with exact=True", expected="one of the two", fix="a random rotation is not rational")
    number = Fraction if exact else float
    share = number(str(class_share)) if exact else float(class_share)
    if not 0 <= share < 1:
        raise InputError(
            f"class_share {class_share}", expected="a fraction in [0, 1)", fix="0 puts no variance between classes"
        )
    wanted = [None] * count if alignment is None else list(alignment)
    if len(wanted) != count:
        raise InputError(f"{len(wanted)} alignments for {count} environments", expected="one CLV an environment")
    factor = gram_factor if exact else float_factor
    means = factor(matrix)
    names = sorted({c for cells in layout for c in cells})
    blocks: dict[str, list[Any]] = {"image": [], "text": []}
    for t, cells in enumerate(layout):
        room = tuple(
            max(number(1) - matrix[k, k], number(0)) for k in (t, count + t)
        )  # a length may be 1 and a rounding
        parts = environment_rows(
            t, cells, room, share, wanted[t], matrix[t, count + t], names, max(2, directions), factor, number
        )
        for name, mean, part in zip(blocks, (means[t], means[count + t]), parts, strict=True):
            blocks[name].append(np.hstack([np.repeat(mean[None], len(part), 0), part]))
    width = max(x.shape[1] for x in (*blocks["image"], *blocks["text"]))
    image, text = ([pad(x, width) for x in blocks[name]] for name in ("image", "text"))
    if rotate is not None:
        turn = np.linalg.qr(np.random.default_rng([2, rotate]).standard_normal((width, width)))[0]
        image, text = ([x @ turn for x in side] for side in (image, text))
    labels = [[c for c in sorted(cells) for _ in range(cells[c])] for cells in layout]
    return gather(
        image, text, labels, {"generator": "prescribed scores", "class_share": float(share), "rotate": rotate}
    )


def environment_rows(
    t: int, cells: Mapping[int, int], room: tuple[Any, ...], share: Any, wanted: Any, own: Any, names: list[int],
    directions: int, factor: Any, number: Any,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Class and private parts of one environment's images and texts: they add up to zero and fill the length up to 1."""
    total = sum(cells.values())
    weight = np.array([number(cells.get(c, 0)) / total for c in names])
    spread = 1 - (weight * weight).sum()
    if share and not spread:
        raise InputError(
            f"environment {t} has one class", expected="two classes for a class_share above 0", fix="give `classes`"
        )
    scale = [share * r / spread if spread else number(0) for r in room]  # squared size of a class offset e_c - w
    if number is Fraction:  # the shorter offset is a part of the longer one
        common, corner = min(scale), factor(np.array([[scale[0], min(scale)], [min(scale), scale[1]]]))
    else:
        common, corner = (scale[0] * scale[1]) ** 0.5, np.array([[s**0.5] for s in scale])
    present = sorted(cells)
    offset = {c: np.array([number(int(c == k)) for k in names]) - weight for c in present}
    left = {c: [r - s * (offset[c] @ offset[c]) for r, s in zip(room, scale, strict=True)] for c in present}
    tiny = 0 if number is Fraction else 1e-14
    if min(min(v) for v in left.values()) < -tiny:
        most = spread / max(offset[c] @ offset[c] for c in present)
        raise InputError(f"class_share {float(share):g} leaves environment {t} too long a class mean", expected=f"at most {float(most):g} here",
                         causes=("a rare class lies farther from the mean than the others",), fix="balance the classes or lower class_share")  # fmt: skip
    between = common * spread  # what the class parts add to the alignment
    if wanted is not None and number is float and not np.isfinite(float(wanted)):
        raise InputError(f"alignment {wanted} of environment {t}", expected="a number between -1 and 1")
    link = number(0) if wanted is None else number(wanted) - own - between
    if link:
        most = min(left[c][0] * left[c][1] for c in present)
        if abs(link) > tiny and link * link > most * (1 + tiny):
            low, high = (float(own + between) + s * max(float(most), 0.0) ** 0.5 for s in (-1, 1))
            raise InputError(f"alignment {float(wanted):g} of environment {t}", expected=f"between {low:.6g} and {high:.6g} for these scores",
                             fix="raise the lengths of the means' complement, or ask for an alignment in this range")  # fmt: skip
        link = link if number is Fraction else float(np.clip(link, -(max(most, 0.0) ** 0.5), max(most, 0.0) ** 0.5))
    rows: tuple[list[Any], list[Any]] = ([], [])
    for c in present:
        a, b = (max(v, number(0)) for v in left[c])
        if cells[c] == 1 and max(a, b) > tiny:
            raise InputError(f"environment {t} has one pair of class {c}", expected="at least two, or means of length 1",
                             fix="a single unit vector is its own mean: give the class more pairs")  # fmt: skip
        private = factor(np.array([[a, link], [link, b]]))
        for position in (
            balanced(cells[c], directions, factor, number) if max(a, b) > tiny else [np.array([number(0)])] * cells[c]
        ):
            for side in range(2):
                rows[side].append((np.kron(offset[c], corner[side]), np.kron(position, private[side])))
    heads = [np.array([h for h, _ in side]) for side in rows]
    width = max(len(p) for side in rows for _, p in side)
    tails = [np.array([pad(p[None], width)[0] for _, p in side]) for side in rows]
    wide = (
        8 if number is Fraction else 2
    )  # coordinates of a factor of a 2 x 2 matrix, at most: environments share the blocks
    heads = [pad(h.reshape(len(h), len(names), -1), wide).reshape(len(h), -1) for h in heads]
    return np.hstack([heads[0], tails[0]]), np.hstack([heads[1], tails[1]])


def balanced(count: int, directions: int, factor: Any, number: Any) -> list[np.ndarray]:
    """`count` unit vectors that add up to zero: opposite pairs along coordinates in turn, and a triangle if the count is odd."""
    one, half = number(1), number(-1) / 2
    triangle = (
        factor(np.array([[one, half, half], [half, one, half], [half, half, one]])) if count % 2 else np.zeros((0, 1))
    )
    width = max(directions, triangle.shape[1])
    out = [pad(row[None], width)[0] for row in triangle]
    for k in range((count - len(out)) // 2):
        axis = np.array([number(int(j == k % directions)) for j in range(width)])
        out += [axis, -axis]
    return out


def float_factor(gram: np.ndarray) -> np.ndarray:
    """``B`` with ``B B' = gram``, as many columns as rows."""
    values, vectors = np.linalg.eigh(np.asarray(gram, dtype=float))
    found: np.ndarray = vectors * np.sqrt(np.maximum(values, 0))
    return found


def pad(x: np.ndarray, width: int) -> np.ndarray:
    """Zero columns up to a width (of the last axis)."""
    zero = np.zeros((*x.shape[:-1], width - x.shape[-1]), dtype=x.dtype)
    return np.concatenate(
        [x, rationals.array(zero.astype(int)) if x.dtype == object and zero.ndim == 2 else zero], axis=-1
    )


def check_layout(pairs: int | Sequence[int], classes: Layout | None, count: int) -> list[dict[int, int]]:
    """class -> pairs of every environment."""
    sizes = [pairs] * count if isinstance(pairs, Integral) else list(pairs)  # type: ignore[arg-type]
    for n in sizes if classes is None else [n for cells in classes for item in cells.items() for n in item]:
        if not isinstance(n, Integral):
            raise InputError(f"{n!r} among classes and counts of pairs", expected="whole numbers")
    if classes is None:
        layout = [{0: int(n)} for n in sizes]
    else:
        layout = [{int(c): int(n) for c, n in cells.items()} for cells in classes]
    if len(layout) != count:
        raise InputError(
            f"{len(layout)} environments laid out, scores for {count}", expected="one entry an environment"
        )
    for t, cells in enumerate(layout):
        if not cells or min(cells.values()) < 1 or min(cells) < 0:
            raise InputError(
                f"environment {t} holds {dict(cells)}", expected="class (0, 1, ..) -> positive number of pairs"
            )
    return layout


def check_scores(scores: Any, exact: bool) -> np.ndarray:
    """The matrix, symmetric and feasible."""
    matrix: np.ndarray = require_rational(scores, "the score matrix") if exact else np.asarray(scores, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) % 2 or not len(matrix):
        raise InputError(f"a score matrix of shape {matrix.shape}", expected="(2T, 2T): T images, then T texts",
                         causes=("only one of the four T x T blocks was passed",), fix="np.block([[II, IT], [IT.T, TT]])")  # fmt: skip
    plain = matrix.astype(float)
    if not np.isfinite(plain).all():
        raise InputError("the score matrix holds values that are not finite", expected="numbers between -1 and 1")
    gap = float(np.abs(plain - plain.T).max())
    rounding = 0.0 if exact else 64 * len(matrix) * 2.0**-53 * max(1.0, float(np.abs(plain).max()))
    if gap > rounding or (exact and (matrix != matrix.T).any()):
        i, j = (int(k) for k in np.unravel_index(np.abs(plain - plain.T).argmax(), plain.shape))
        raise InputError(f"the score matrix is not symmetric: entries ({i}, {j}) and ({j}, {i}) differ by {gap:.3g}",
                         expected="Con_TI = Con_IT' (S2)", fix="use (M + M.T) / 2 if that is what is meant")  # fmt: skip
    if not exact:
        plain = (plain + plain.T) / 2
    names = [f"{m} {t}" for m in ("image", "text") for t in range(len(matrix) // 2)]
    lengths = matrix.diagonal() if exact else plain.diagonal()  # rationals may differ by less than float64 shows
    longest = int(np.argmax(lengths))
    if lengths[longest] > 1 + (0 if exact else rounding):
        raise InfeasibleScores(
            plain,
            f"the score of {names[longest]} with itself is {float(lengths[longest]):.6g}, above 1 by {float(lengths[longest] - 1):.3g}",
        )
    values, vectors = np.linalg.eigh(plain)
    if not is_psd(matrix) if exact else values[0] < -rounding:
        mostly = ", ".join(names[k] for k in np.argsort(-np.abs(vectors[:, 0]))[:3])
        found = (
            f"the negative eigenvalue {values[0]:.6g}"
            if values[0] < 0
            else "an eigenvalue below 0 by less than float64 shows"
        )
        raise InfeasibleScores(plain, f"the score matrix has {found} (mostly {mostly})")
    return matrix if exact else plain
