"""What is proved of sequences of environments holds for environments of different numbers of rows."""

from __future__ import annotations

import json
from itertools import accumulate, pairwise

import pytest
import sympy
from crossmodal.theory import checker, registry
from crossmodal.theory.certify import derive
from sympy import Matrix, Rational, eye

THIRD = Rational(1, 3)
SEQUENCE = (  # orthonormal rows: two, one, three and two of them
    Matrix([[1, 0, 0, 0], [0, 1, 0, 0]]),
    Matrix([[Rational(3, 5), 0, Rational(4, 5), 0]]),
    Matrix([[2, 1, 2, 0], [1, 2, -2, 0], [0, 0, 0, 3]]) * THIRD,
    Matrix([[0, 2, 1, 2], [0, 1, 2, -2]]) * THIRD,
)  # fmt: skip


def blocks_below(gram: Matrix) -> Matrix:
    """What is below the blocks of the environments."""
    ends = [0, *accumulate(a.rows for a in SEQUENCE)]
    lower = gram * 0
    for first, last in pairwise(ends):
        lower[first:last, :first] = gram[first:last, :first]
    return lower


def learnt(error: Matrix, rate: sympy.Expr) -> Matrix:
    for a in SEQUENCE:
        error = error - rate * a.T * a * error
    return error


def test_residuals_of_environments_of_different_sizes() -> None:
    rows, start = Matrix.vstack(*SEQUENCE), Matrix([3, -1, 2, 5])
    gram = rows * rows.T
    lower = blocks_below(gram)
    assert gram == eye(gram.rows) + lower + lower.T
    inverse = (eye(gram.rows) + lower).inv()
    assert rows * learnt(start, Rational(1)) == -lower.T * inverse * rows * start  # T3.5
    rate = Rational(2, 7)
    inverse_of_rate = (eye(gram.rows) + rate * lower).inv()
    assert rows * learnt(start, rate) == rows * start - rate * gram * inverse_of_rate * rows * start  # T3.6
    every, total = eye(4), Rational(0)  # T3.12: losses at the end less those just after each environment's own step
    for a in SEQUENCE:
        every = every - rate * a.T * a * every
        total -= (a * every * every.T * a.T).trace()
    total += (rows * every * every.T * rows.T).trace()
    once, back = lower * inverse_of_rate, inverse_of_rate.T * lower
    parts = (lower.T * once).trace(), (once * once.T).trace(), (back * back.T).trace()
    assert total == rate * (2 - rate) * (2 * parts[0] - 2 * (1 - rate) * parts[1] - parts[2])
    residuals = rows * learnt(eye(4), Rational(1))  # T3.7
    quartic = lower.T * lower * inverse
    assert (residuals * residuals.T).trace() == (lower * lower.T - quartic * quartic.T).trace()


def test_certificates_speak_of_environments_of_any_size() -> None:
    for claim_id in ("T3.5", "T3.6", "T3.7", "T3.12"):
        certificate = derive(registry.get(claim_id))
        learning = certificate["recursions"]["learning"]
        assert learning["fresh"]["sizes"] == [learning["by"]]
        checker.check(certificate)
        assert f"a size {learning['by']} of its own" in show(claim_id)


def show(claim_id: str) -> str:
    from crossmodal.show import as_text

    return " ".join(as_text(registry.get(claim_id), None).split())


def test_what_outlives_a_step_does_not_share_its_size() -> None:
    """T3.6 with the rows of its single environment named as those of a step: it would tie all environments to that number."""
    text = json.dumps(derive(registry.get("T3.6")))
    checker.check_text(text)
    with pytest.raises(checker.Rejected, match="brings its own k"):
        checker.check_text(text.replace('"j"', '"k"'))
