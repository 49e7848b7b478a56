"""What no order of rank-one environments can forget less than, with a proven bound of every rounding error (T3.7's forgetting).

Let an order end with the environments U, learnt after the set S of all others.  An initial error splits into a part in the span of S and
a part Q orthogonal to it, on which learning S has no effect.  With ``P_U`` the product of the projections of U, ``E_S`` that of S,

    d E[F] = |A P_U E_S|^2 = |A P_U Q|^2 + |A P_U E_S (1 - Q)|^2,

and the second term is ``|D A_S E_S|^2`` with ``D = A P_U A_S^+``, so at least the smallest squared singular value of D times the
forgetting of S among itself.  So, whatever the order of S,

    F(S then U) >= |A P_U Q|^2 + s_min(D)^2 F*(S),        F*(S) = least forgetting of S alone.

With one environment in U this is a recursion over subsets that gives a lower bound of F* for all of them (`subset_bounds`); with longer
endings it prunes a search from the last environment to the first (`endings_bound`).  Scores may be large; the bound is weak only where
environments are nearly dependent, and nothing (0) where they are.

Everything is a rational function of the scores: ``A P_U = C A`` for a matrix C, ``X = G_US G_SS^{-1}``, and

    D = C_S + C_U X,        |A P_U Q|^2 = tr C_U (G_UU - X G_SU) C_U'.

The argument above is the proof of the formula; the numbers are float64 balls (`arithmetic`: inverses and eigenvalues with proven
enclosures), and what is returned is their lower end.  A float64 score is rounded itself: the balls of the scores have radius
`RADIUS`, and a bound holds for all directions whose scores lie within.  Rational scores are enclosed exactly.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch

from ..theory.errors import InputError
from .arithmetic import Ball, U, arithmetic
from .evaluate import is_psd
from .orders import all_orders

LONGEST_SUBSETS = 18  # 2^18 inverses of 18 x 18
SMALL = 4  # subsets up to this size are solved by trying all orders
RADIUS = 2.0**-50  # of a float64 score: eight roundings
ops = arithmetic("bounded")


def enclosed(gram: Any) -> Ball:
    """``(T, T)`` scores of unit directions as balls.

    Args:
        gram: float64 (each score known up to `RADIUS`, or up to what the diagonal is off 1), or an object array of rationals, which are
            taken as they are: a diagonal of exactly 1.

    Raises:
        InputError: no square matrix of finite scores with diagonal 1; no Gram matrix, nor near one.
    """
    exact = isinstance(gram, np.ndarray) and gram.dtype == object
    mid = torch.from_numpy(gram.astype(float)) if exact else torch.as_tensor(gram).double()
    if mid.ndim != 2 or mid.shape[0] != mid.shape[1] or not bool(torch.isfinite(mid).all()):
        raise InputError(f"scores of shape {tuple(mid.shape)}", expected="a (T, T) matrix of finite numbers")
    given, allowed = (gram, 0.0) if exact else (mid, 1e-9)
    off, skew = abs(given.diagonal() - 1).max(), abs(given - given.T).max()
    if off > allowed or skew > allowed:
        raise InputError(
            f"scores with a diagonal off 1 by {float(off):.3g}, symmetric up to {float(skew):.3g}", expected="a Gram matrix of unit directions",
            causes=("means that were not normalised",), fix="normalise the directions, then take their products",
        )  # fmt: skip
    mid = ((mid + mid.mT) / 2).fill_diagonal_(1.0)
    radius = U if exact else max(RADIUS, float(off), float(skew))
    found = Ball(mid, torch.full_like(mid, radius).fill_diagonal_(0.0))
    least = ops.smallest_eigenvalue(found)
    if not is_psd(gram) if exact else bool(least.mid + least.err < 0):  # of whatever lies within the radius
        raise InputError(
            "scores that no directions have",
            expected="a positive semidefinite matrix",
            fix="`environments.nearest_feasible`",
        )
    return found


def low(x: Ball) -> torch.Tensor:
    """The lower end of a ball, lowered by the rounding of this difference; not a number counts as nothing known."""
    end = x.mid - x.err
    return torch.nan_to_num(end - 2 * U * (x.mid.abs() + x.err), nan=-torch.inf)


def placed(scores: Ball, order: np.ndarray) -> Ball:
    """Scores ``(n, k, k)`` of environments in the order of the rows ``(n, k)``."""
    index = torch.as_tensor(order)
    return scores[index[:, :, None], index[:, None, :]]


def inverted(x: Ball) -> tuple[torch.Tensor, Ball]:
    """Which of the matrices are invertible whatever lies in their balls ``(n,)``, and their inverses (of the others, nothing)."""
    good = torch.linalg.inv_ex(x.mid)[1] == 0
    inverse = ops.inv(Ball(torch.where(good[:, None, None], x.mid, torch.eye(x.shape[-1], dtype=torch.float64)), x.err))
    good &= torch.isfinite(inverse.err).all(-1).all(-1)
    return good, Ball(inverse.mid, torch.where(good[:, None, None], inverse.err, 0.0))


def pushed_back(own: Ball, first: int) -> Ball:
    """C with ``A P_U = C A`` of environments placed with U from position `first` on, the last one learnt first among these."""
    count = own.shape[-1]
    c = Ball(
        *(
            x.expand(own.shape).clone()
            for x in (torch.eye(count, dtype=torch.float64), torch.zeros(count, count).double())
        )
    )
    for j in range(first, count):
        column = c[..., j : j + 1] - c @ own[..., :, j : j + 1]
        c.mid[..., j : j + 1], c.err[..., j : j + 1] = column.mid, column.err
    return c


def total(x: Ball) -> Ball:
    """Sum of all entries of every matrix."""
    one = ops.ones(x.shape[-1], 1, x)
    return ops.T(x @ one) @ ops.ones(x.shape[-2], 1, x)


def forgotten(own: Ball) -> Ball:
    """``d E[F]`` ``(n, 1, 1)`` of orders placed backwards: tr C G C'."""
    c = pushed_back(own, 0)
    return total((c @ own) * c)


def endings_bound(scores: Ball, endings: np.ndarray, bounds: np.ndarray | None = None) -> np.ndarray:
    """What every order with one of these endings forgets at least ``(n,)``; its own forgetting where all environments stand in it.

    Args:
        scores: `enclosed`.
        endings: ``(n, m)``, from the last environment backwards.
        bounds: of all subsets (`subset_bounds`); None says nothing of what is learnt before the ending.
    """
    count, m = scores.shape[-1], endings.shape[1]
    left = count - m
    taken = (endings[:, :, None] == np.arange(count)).any(1)
    rest = np.argsort(taken, axis=1, kind="stable")[:, :left]
    own = placed(scores, np.concatenate([rest, endings], 1))
    if not left:
        return low(forgotten(own))[:, 0, 0].clamp_min(0).numpy()
    c = pushed_back(own, left)
    first, last = c[..., :left], c[..., left:]
    good, inverse = inverted(own[..., :left, :left])
    x = own[..., left:, :left] @ inverse
    d = first + last @ x
    inside = own[..., left:, left:] - x @ own[..., :left, left:]
    found = low(total((last @ inside) * last))[:, 0, 0].clamp_min(0)
    if bounds is not None:
        stretch = low(ops.smallest_eigenvalue(ops.T(d) @ d))[:, 0, 0].clamp_min(0)
        found = found + stretch * torch.from_numpy(bounds[(1 << rest).sum(1)]) * (1 - 4 * U)
    return torch.where(good, found * (1 - 2 * U), 0.0).numpy()


def subset_bounds(gram: Any) -> np.ndarray:
    """``(2^T,)``: a lower bound of the forgetting of every subset of environments (bit t: environment t) among itself.

    Raises:
        InputError: more than 18 environments.
    """
    scores = gram if isinstance(gram, Ball) else enclosed(gram)
    count = scores.shape[-1]
    if count > LONGEST_SUBSETS:
        raise InputError(
            f"{count} environments have 2^{count} subsets", expected=f"at most {LONGEST_SUBSETS}",
            fix="`faint_bound` holds for any number; `local_search` uses it",
        )  # fmt: skip
    bounds = np.zeros(1 << count)
    for size in range(2, count + 1):
        members = np.array(list(combinations(range(count), size)))
        for part in np.array_split(members, -(-len(members) // 5_000)):
            bounds[(1 << part).sum(1)] = bounds_of(scores, part, bounds)
    return bounds


def bounds_of(scores: Ball, members: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The recursion for subsets ``(n, k)`` of one size, given the bounds of smaller ones.

    With u last, ``G_S^{-1} g`` and ``g' G_S^{-1} g`` (g its scores with S) stand in the inverse of the subset's own Gram
    matrix, and D is ``I - g (G_S^{-1} g)'``, a rank-one change whose singular values solve a quadratic equation: the smaller root of
    ``r^2 - (2 l + k) r + l^2``, ``l = 1 - g' G_S^{-1} g`` and ``k = |g|^2 |G_S^{-1} g|^2``, grows with l and falls with k.
    """
    size = members.shape[1]
    if size <= SMALL:
        every = members[:, all_orders(size)].reshape(-1, size)
        return low(forgotten(placed(scores, every)))[:, 0, 0].reshape(len(members), -1).amin(1).clamp_min(0).numpy()
    own = placed(scores, members)
    good, inverse = inverted(own)
    corner = ops.diagonal(inverse)  # 1 over the squared distance of u from the span of the others
    left = ops.reciprocal(corner)
    one = ops.ones(1, size, own)
    squares = one @ (own * own) - 1  # |g|^2
    ratio = inverse * left  # columns: -G_S^{-1} g, and 1 on the diagonal
    weights = one @ (ratio * ratio) - 1
    distance = low(left).clamp_min(0)[:, 0]
    product = squares * weights
    k = (product.mid + product.err)[:, 0] * (1 + 4 * U)
    k = k.clamp_min(0) / 2
    # half^2 - l^2 = k/2 (2 l + k/2) has no cancellation: every operation is right to a few roundings
    stretch = distance**2 / (distance + k + (k * (2 * distance + k)).sqrt()) * (1 - 32 * U)
    smaller = torch.from_numpy(bounds[(1 << members).sum(1)[:, None] - (1 << members)])
    found = low(left * squares)[:, 0].clamp_min(0) + stretch.nan_to_num(0.0) * smaller
    return torch.where(good, found.amin(1) * (1 - 4 * U), 0.0).clamp_min(0).numpy()


def faint_bound(gram: Any) -> float:
    """No order forgets less than this, for any number of environments; says something for faint scores only.

    ``F = |L|^2 - |L'L M|^2`` (T3.7).  ``|M| <= 2/(1 + g)``, g the smallest eigenvalue of G, because ``I + L`` has the symmetric part
    ``(I + G)/2``; and every entry of ``L'L`` is a partial sum of products of scores.  Sums have at most T^2 terms of size at most 1: `slack`
    covers their rounding and that of the scores.
    """
    scores = gram if isinstance(gram, Ball) else enclosed(gram)
    count = scores.shape[-1]
    off = scores.mid - torch.eye(count, dtype=torch.float64)
    slack = count * (count + 4) * (U + 2 * float(scores.err.max()))
    squares = float(off.square().sum()) / 2
    smallest = max(float(low(ops.smallest_eigenvalue(scores[None]))), 0.0)
    entries = 0.0
    for i in range(count):  # the sum over environments after both i and j, at most all terms of one sign
        products = off[i] * off
        largest = torch.maximum(products.clamp_min(0).sum(1), (-products).clamp_min(0).sum(1)) + slack
        largest = largest.square()
        entries += float(largest.sum() - largest[i])
    own = off.square().sum(1).sort(descending=True).values + slack
    own = own.cumsum(0).clamp_max(squares + slack)  # sums of squares after i: shares of |L|^2
    entries += float((torch.diff(own, prepend=own[:1] * 0) + slack).square().sum())
    return max(squares - slack - entries * (1 + slack) * 4 / (1 + smallest) ** 2, 0.0)


def lower_bound(gram: Any) -> float:
    """No order forgets less than this: the best of `faint_bound`, `subset_bounds` (up to 18) or the last two environments (beyond)."""
    scores = enclosed(gram)
    faint, count = faint_bound(scores), scores.shape[-1]
    if count <= LONGEST_SUBSETS:
        return max(faint, float(subset_bounds(scores)[-1]))
    pairs = np.array([(s, t) for s in range(count) for t in range(count) if s != t])
    parts = np.array_split(pairs, -(-len(pairs) // 256))
    return max(faint, min(float(endings_bound(scores, part).min()) for part in parts))
