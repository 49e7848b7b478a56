"""Learning one environment after the other, in one place: as numbers for `bind`, and as the recursion that proofs induct over.

An environment's least-norm step removes the error on its feature rows: ``e <- e - a'(a e)`` for orthonormal rows ``a``; a
gradient step of size eta removes that part times eta.  T3.5 to T3.9, O3 and the paper's claims on orders share it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .language import BlockRecursion, Relation, identity

MOST = 10  # environments of a features file whose groups of three or four are all measured: of 25, the groups of four are 303600


def learn(rows: Any, error: Any, ops: Any, order: Iterable[int] | None = None, rate: Any = None) -> Any:
    """The error after every row of `rows` has been learnt in turn, from `error` (``d x k``, every column an initial error).

    Args:
        order: positions of rows, first learnt first; default: as they stand.
        rate: eta of a gradient step; default: the least-norm step.
    """
    for k in range(ops.rows(rows)) if order is None else order:
        row = ops.slice_row(rows, k)
        seen = ops.T(row) @ (row @ error)
        error = error - (seen if rate is None else seen * rate)
    return error


def learn_with_residuals(rows: Any, error: Any, ops: Any, rate: Any) -> tuple[Any, Any]:
    """The error after every row has been learnt in turn, and the residuals on each just before its own step (``T x k``)."""
    before = rows @ error * 0
    eye = ops.eye(rows @ ops.T(rows))
    for k in range(ops.rows(rows)):
        before = before + eye[..., :, k : k + 1] @ (ops.slice_row(rows, k) @ error)
        error = learn(rows, error, ops, (k,), rate)
    return error, before


def isotropic_forgetting(rows: Any, order: Iterable[int], ops: Any) -> Any:
    """d times the expected total forgetting of an order for an isotropic target: the squared residuals of all initial errors at once."""
    return ops.total_square(rows @ learn(rows, ops.eye(ops.T(rows) @ rows), ops, order))


def norm_bound(lower: Any, ops: Any) -> Any:
    """A positive bound of the spectral norm of a strictly lower part, the better of two.

    The largest sum over a row or column is at most (T - 1) c, c the largest ``|score|``; and (1 + f^2)/2 >= f, the Frobenius norm.
    """
    largest = ops.max_entry(ops.absolute(lower))
    rows_sum = largest * (ops.rows(lower) - 1) + (1 - ops.positive(largest)) * ops.ratio(1, 2)  # positive even if L = 0
    return -ops.maximum(-rows_sum, -(1 + ops.total_square(lower)) * ops.ratio(1, 2))


def learning(a: Any, A: Any, L: Any, M: Any, s: Any, error: Any, start: Any, rate: Any = 1, name: str | None = "orthonormal") -> BlockRecursion:  # fmt: skip
    """The same as a recursion: with every environment, its ``k`` rows are added to A, and L and M grow by a block.

    Environments differ in their numbers of rows: ``k`` is the next one's.

    Args:
        a: feature rows of the next environment (``k x d``), orthonormal by fact `name`; None: any rows.
        A: rows so far; L: the strictly lower part of their Gram matrix; M: the inverse of ``I + rate L``.
        s: residual of every environment just before it is learnt; error: what is left, from `start`.
    """
    eye = identity("k")
    given = {} if name is None else {name: Relation("", a * a.T, "==", eye)}
    return BlockRecursion(
        dim="T", by="k", any_size=True, fresh=(a,), given=given,
        grow={
            A: [[A], [a]],
            L: [[L, 0 * A * a.T], [a * A.T, 0 * eye]],
            M: [[M, 0 * A * a.T], [-rate * a * A.T * M, eye]],
            s: [[s], [a * error]],
        },
        start={error: start}, update={error: error - rate * a.T * a * error},
    )  # fmt: skip
