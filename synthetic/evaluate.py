"""Evaluate a claim's statement in any arithmetic: the only way a formula becomes numbers.

`sides` walks the sympy expression of a relation; `judge` compares the two sides and says one of

* ``violated``: the error bound excludes the relation;
* ``holds``: an inequality that the error bound leaves no doubt of, an equation whose sides agree as far as they are known,
  at least to half of the digits of the arithmetic;
* ``within error``: the sides of an inequality agree so far, and which one is larger is not known;
* ``undecided``: less than half of the digits are known, or no number is, and nothing is violated.

An enclosure of the difference that contains 0 says the less the wider it is.  Half of the digits (`Bounded.half`,
`Exact.half`) is where more of them have been lost than compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import sympy
import torch
from sympy import MatrixSymbol
from sympy.matrices.expressions import Identity, Inverse, MatAdd, MatMul, MatPow, Trace, Transpose, ZeroMatrix

from ..theory.claim import Claim
from ..theory.errors import InputError
from ..theory.language import Inner, Relation
from .arithmetic import NORMAL, Ball, Enclosure, ball, lower_end, upper_end

Status = Literal["holds", "violated", "within error", "undecided"]


@dataclass(frozen=True)
class Judgement:
    """Outcome of one relation on one model (or the worst of a batch).

    Args:
        relation: its name.
        status: see the module.
        slack: ``rhs - lhs`` for ``<=``, its smallest eigenvalue for ``loewner<=``, minus the largest discrepancy
            for ``==``.
        error: bound of the error of `slack`; 0 in exact arithmetic.
        lhs, rhs: the sides where they are scalars, else nan.
        index: of the worst model in a batch.
        size: what `error` is to be compared with: the largest modulus of an entry of the sides, at least 1 where one of them is zero.
    """

    relation: str
    status: Status
    slack: float
    error: float
    lhs: float
    rhs: float
    index: int = 0
    size: float = math.nan


class Remembered(dict[str, Any]):
    """Values of symbols that also remember the values of expressions: what several relations share is computed once."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.memo: dict[Any, Any] = {}


def value(expr: Any, values: Mapping[str, Any], ops: Any) -> Any:
    """The value of a statement's expression."""
    expr = sympy.sympify(expr)
    if isinstance(expr, MatrixSymbol) or (expr.is_Symbol):
        if expr.name not in values:
            raise InputError(
                f"no value for {expr.name!r}", expected=f"one for every symbol of the statement, found {', '.join(values)}",
                causes=("a symbol that the claim's `bind` leaves out, or spells otherwise",), fix="give it in `bind`",
            )  # fmt: skip
        return values[expr.name]
    if not isinstance(values, Remembered):
        return computed(expr, values, ops)
    if expr not in values.memo:
        values.memo[expr] = computed(expr, values, ops)
    return values.memo[expr]


def half_of_square(expr: Any) -> Any:
    """B where an expression is the product B B' of matrices, else None."""
    if (
        not isinstance(expr, MatMul)
        or len(expr.args) % 2
        or not all(isinstance(a, sympy.MatrixExpr) for a in expr.args)
    ):
        return None
    half = expr.args[: len(expr.args) // 2]
    if any(left.T != right for left, right in zip(half, reversed(expr.args), strict=False)):
        return None
    return half[0] if len(half) == 1 else MatMul(*half)


def computed(expr: Any, values: Mapping[str, Any], ops: Any) -> Any:
    if expr.is_Rational:
        return ops.ratio(int(expr.p), int(expr.q))
    args = expr.args
    if isinstance(expr, Inner):
        return ops.inner(value(args[0], values, ops), value(args[1], values, ops))
    if isinstance(expr, Trace):
        half = half_of_square(expr.arg)  # tr B B' is the sum of squares of B: half the products, and no cancellation
        return ops.trace(value(expr.arg, values, ops)) if half is None else ops.total_square(value(half, values, ops))
    if isinstance(expr, Transpose):
        return ops.T(value(expr.arg, values, ops))
    if isinstance(expr, Inverse):
        return ops.inv(value(expr.arg, values, ops))
    if isinstance(expr, MatAdd):
        return matrix_sum(args, values, ops)
    if isinstance(expr, Identity):
        if expr.shape[0] == 1:
            return ops.ones(1, 1, None)
        raise ValueError("an identity needs a neighbour to take its size from")
    if isinstance(expr, MatMul) or expr.is_Mul:
        out = None
        for arg in args:
            if isinstance(arg, Identity):
                continue
            factor = value(arg, values, ops)
            if out is None:
                out = factor
            elif (
                isinstance(arg, sympy.MatrixExpr)
                and is_matrix(out)
                and out.shape[-1] == factor.shape[-2]
                and (isinstance(expr, MatMul) and seen_matrix(args, arg))
            ):
                out = out @ factor
            else:
                out = out * factor
        return out
    if expr.is_Add:
        out = value(args[0], values, ops)
        for arg in args[1:]:
            out = out + value(arg, values, ops)
        return out
    if isinstance(expr, MatPow) and expr.exp.is_Integer:
        base, k = value(expr.base, values, ops), int(expr.exp)
        if k < 0:
            base, k = ops.inv(base), -k
        out = base
        for _ in range(k - 1):
            out = out @ base
        return out
    if expr.is_Pow:
        return power(value(expr.base, values, ops), expr.exp, ops)
    if isinstance(expr, sympy.exp):
        return ops.exp(value(args[0], values, ops))
    if isinstance(expr, sympy.log):
        return ops.log(value(args[0], values, ops))
    if isinstance(expr, sympy.Abs):
        return ops.absolute(value(args[0], values, ops))
    if isinstance(expr, sympy.Max | sympy.Min):
        f = ops.maximum if isinstance(expr, sympy.Max) else ops.minimum
        out = value(args[0], values, ops)
        for arg in args[1:]:
            out = f(out, value(arg, values, ops))
        return out
    raise InputError(
        f"no value for {expr}: {type(expr).__name__} is no part of what statements are written in",
        expected="sums, products, powers, roots, exp, log, Abs, Max, Min, inner products, traces, matrices",
    )


def seen_matrix(args: Any, arg: Any) -> bool:
    """True when a matrix factor stands before ``arg`` in a product (scalar coefficients come first)."""
    for other in args:
        if other is arg:
            return False
        if isinstance(other, sympy.MatrixExpr) and not isinstance(other, Identity):
            return True
    return False


def power(base: Any, exponent: Any, ops: Any) -> Any:
    if exponent == sympy.Rational(1, 2):
        return ops.sqrt(base)
    if not exponent.is_Integer:
        return power(ops.sqrt(base), 2 * exponent, ops)
    k = int(exponent)
    if k < 0:
        base, k = ops.reciprocal(base), -k
    out = base
    for _ in range(k - 1):
        out = out * base
    return out


def is_matrix(x: Any) -> bool:
    return hasattr(x, "shape") and len(x.shape) >= 2


def matrix_sum(args: Any, values: Mapping[str, Any], ops: Any) -> Any:
    """A sum in which identities and zero matrices take the size of their neighbours."""
    plain = [a for a in args if not has_free_size(a)]
    out = value(plain[0], values, ops)
    for arg in plain[1:]:
        out = out + value(arg, values, ops)
    for arg in args:
        if has_free_size(arg):
            scale = sympy.Mul(*[f for f in getattr(arg, "args", ()) if not isinstance(f, sympy.MatrixExpr)])
            if isinstance(arg, Identity):
                out = out + ops.eye(out)
            elif isinstance(arg, MatMul):
                out = out + ops.eye(out) * value(scale, values, ops)
    return out


def has_zero_side(relation: Relation) -> bool:
    return any(side == 0 or isinstance(side, ZeroMatrix) for side in (relation.lhs, relation.rhs))


def has_free_size(arg: Any) -> bool:
    if isinstance(arg, Identity | ZeroMatrix):
        return True
    return isinstance(arg, MatMul) and all(
        isinstance(a, Identity) or not isinstance(a, sympy.MatrixExpr) for a in arg.args
    )


def least_factor(relation: Relation, name: str) -> Any:
    """The expression of the least value of a symbol that a relation ``x <= symbol * y``, y > 0, leaves: x / y."""
    symbol = sympy.Symbol(name, real=True)
    rest = sympy.sympify(relation.rhs) / symbol
    if relation.op != "<=" or sympy.sympify(relation.lhs).has(symbol) or rest.has(symbol):
        raise AssertionError(f"'{relation.name}' does not read x <= {name} * y")
    return relation.lhs / rest


def sides(relation: Relation, values: Mapping[str, Any], ops: Any) -> tuple[Any, Any]:
    """Both sides; a side that is only zero or an identity takes the other's size."""
    lhs, rhs = sympy.sympify(relation.lhs), sympy.sympify(relation.rhs)
    out: list[Any] = [None, None]
    free = [has_free_size(x) for x in (lhs, rhs)]
    for k, (expr, alone) in enumerate(zip((lhs, rhs), free, strict=True)):
        if not alone:
            out[k] = value(expr, values, ops)
    for k, expr in enumerate((lhs, rhs)):
        if free[k]:
            other = out[1 - k]
            if isinstance(expr, ZeroMatrix):
                out[k] = other * 0
            elif isinstance(expr, Identity):
                out[k] = ops.eye(other)
            else:
                scale = sympy.Mul(*[f for f in expr.args if not isinstance(f, sympy.MatrixExpr)])
                out[k] = ops.eye(other) * value(scale, values, ops)
    return out[0], out[1]


def judge(relation: Relation, values: Mapping[str, Any], ops: Any, among: torch.Tensor | None = None) -> Judgement:
    """Evaluate and compare; on a batch the worst model counts (`rank`), of those that the mask `among` admits."""
    lhs, rhs = sides(relation, values, ops)
    if ops.exact:
        return judge_exact(relation, lhs, rhs, ops)
    mid, err = slacks(relation, lhs, rhs, ops)
    size = extent(relation, lhs, rhs).expand_as(mid)
    if among is None or mid.numel() != among.numel():  # a single value does not depend on the model
        among = torch.ones_like(mid, dtype=torch.bool)
    high = mid + err
    known = high.isfinite()
    violated = among & known & ((high <= 0) if relation.op == "<" else (high < 0))
    # below the smallest normal number, roundings are as large as they are, whatever the sides
    compared = known & (err <= ops.half * size.clamp_min(NORMAL))
    surely = compared if relation.op == "==" else known & ((mid - err > 0) if relation.op == "<" else (mid - err >= 0))
    outcomes: dict[Status, torch.Tensor] = {
        "violated": violated,
        "undecided": among & ~surely & ~compared,
        "within error": among & ~surely & compared,
        "holds": among,
    }
    status: Status = next((name for name, where in outcomes.items() if bool(where.any())), "holds")
    # not a number decides nothing, and nothing is worse among what is undecided
    worse = high if status == "violated" else torch.where(known, mid, -torch.inf)
    k = int(torch.where(outcomes[status], worse, torch.inf).argmin())
    slack, error = (float(mid[k]), float(err[k])) if bool(known[k]) else (float("nan"), float("inf"))
    return Judgement(relation.name, status, slack, error, scalar(lhs, k), scalar(rhs, k), k, float(size[k]))


def extent(relation: Relation, lhs: Any, rhs: Any) -> torch.Tensor:
    """Largest modulus of an entry of the sides, of every model of a batch.

    A side that is zero has no size, and rounding leaves of the other one what is as large as itself: such a relation is measured in units
    of the inputs, which are of order one.
    """
    mids = [x.mid if isinstance(x, Ball) else x for x in map(as_array, (lhs, rhs))]
    left, right = ((x.abs().amax((-2, -1)) if x.ndim >= 2 else x.abs()).reshape(-1) for x in mids)
    size = torch.maximum(left, right)
    return size.clamp_min(1.0) if has_zero_side(relation) else size


def slacks(relation: Relation, lhs: Any, rhs: Any, ops: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Slack and its error bound of every model of a batch."""
    difference = as_array(rhs - lhs)
    if relation.op == "loewner<=":
        slack = ops.smallest_eigenvalue(difference)
    elif relation.op == "==":
        slack = -ops.max_entry(ops.absolute(difference))
    else:
        slack = ops.min_entry(difference)
    if isinstance(slack, Ball):
        return slack.mid.reshape(-1), slack.err.reshape(-1)
    return slack.reshape(-1), torch.zeros_like(slack.reshape(-1))


def admitted(claim: Claim, values: Mapping[str, Any], ops: Any, batch: int) -> torch.Tensor:
    """Which models of a float64 batch satisfy every assumption that can be evaluated, up to its error bound.

    A slack that is not a number rules nothing out: what follows of such a model is undecided, and is said to be.
    """
    mask = torch.ones(batch, dtype=torch.bool)
    for assumption in claim.statement.assumptions:
        for relation in assumption.relations:
            if relation.symbols <= set(values):
                mid, err = slacks(relation, *sides(relation, values, ops), ops)
                mask &= ~(mid + err < 0).expand(batch) if mid.numel() in (1, batch) else True
    return mask


def as_array(x: Any) -> Any:
    return x if isinstance(x, Ball | torch.Tensor) else ball(x)


def judge_exact(relation: Relation, lhs: Any, rhs: Any, ops: Any) -> Judgement:
    difference = rhs - lhs
    entries = difference.reshape(-1) if isinstance(difference, np.ndarray) else [difference]
    if relation.op == "loewner<=":
        good = is_psd(difference)
        approx = np.array(difference, dtype=float)
        slack = float(np.linalg.eigvalsh((approx + approx.T) / 2)[0])
        return Judgement(relation.name, "holds" if good else "violated", slack, 0.0, np.nan, np.nan)
    width = max((float(e.hi - e.lo) for e in entries if isinstance(e, Enclosure)), default=0.0)
    size = max(abs(float(e)) for x in (lhs, rhs) for e in (x.reshape(-1) if isinstance(x, np.ndarray) else [x]))
    compared = width <= ops.half * max(size, 1.0)  # an enclosure is as wide as it is, whatever its middle
    if relation.op == "==":
        worst = max(entries, key=lambda v: abs(float(v)))
        bad = any(lower_end(v) > 0 or upper_end(v) < 0 for v in entries)
        slack = -abs(float(worst))
        good = compared
    else:
        worst = min(entries, key=float)
        slack = float(worst)
        bad = any(upper_end(v) < 0 or (relation.op == "<" and upper_end(v) <= 0) for v in entries)
        good = all(lower_end(v) > 0 or (relation.op == "<=" and lower_end(v) >= 0) for v in entries)
    status: Status = "violated" if bad else "holds" if good else "within error" if compared else "undecided"
    return Judgement(relation.name, status, slack, width, scalar(lhs, 0), scalar(rhs, 0), 0, size)


def scalar(x: Any, k: int) -> float:
    if isinstance(x, Ball):
        x = x.mid
    if isinstance(x, int | float | Fraction | Enclosure):
        return float(x)
    flat = x.reshape(-1)
    if any(side != 1 for side in x.shape[-2:]):
        return float("nan")
    return float(flat[min(k, len(flat) - 1)])


def is_psd(x: Any) -> bool:
    """Exact: symmetric elimination in rationals; a zero pivot needs a zero row."""
    work = [[Fraction(v) for v in row] for row in x]
    n = len(work)
    if any(work[i][j] != work[j][i] for i in range(n) for j in range(i)):
        return False
    for k in range(n):
        if work[k][k] < 0 or (work[k][k] == 0 and any(work[k][j] for j in range(k, n))):
            return False
        if work[k][k] > 0:
            for i in range(k + 1, n):
                factor = work[i][k] / work[k][k]
                work[i] = [a - factor * b for a, b in zip(work[i], work[k], strict=True)]
    return True


def bound_values(claim: Claim, inputs: Mapping[str, Any], ops: Any) -> Mapping[str, Any]:
    """Run the claim's primitives on inputs given as nested lists, arrays or tensors.

    Rationals are slow and small, so what several relations share is kept; a batch would fill the memory.
    """
    values = claim.bind({k: ops.array(v) for k, v in inputs.items()}, ops)
    return Remembered(values) if ops.exact else values


def judge_assumptions(claim: Claim, values: Mapping[str, Any], ops: Any) -> dict[str, Judgement]:
    """Those assumptions whose symbols all have values; the worst relation of each."""
    out: dict[str, Judgement] = {}
    for assumption in claim.statement.assumptions:
        for relation in assumption.relations:
            if relation.symbols <= set(values):
                found = judge(relation, values, ops)
                worst = out.get(assumption.name)
                if worst is None or rank(found) < rank(worst):
                    out[assumption.name] = found
    return out


def rank(found: Judgement) -> tuple[int, float]:
    """The worse, the less: violated, undecided, within error, holding (a strict relation is violated at slack 0); then by slack.

    A slack that is not a number comes first among what is undecided, so that no later number replaces it.
    """
    slack = found.slack if found.slack == found.slack else -math.inf
    return ("violated", "undecided", "within error", "holds").index(found.status), slack


def tightened(relation: Relation, by: Fraction = Fraction(1, 100)) -> Relation:
    """The same bound, one percent tighter: ``rhs - by |rhs|``."""
    c = sympy.Rational(by.numerator, by.denominator)
    rhs = sympy.sympify(relation.rhs)
    if relation.op == "==":
        return Relation(relation.name, relation.lhs, "==", (1 - c) * rhs)
    if isinstance(rhs, sympy.MatrixExpr):
        return Relation(relation.name, relation.lhs, relation.op, (1 - c) * rhs)
    return Relation(relation.name, relation.lhs, relation.op, rhs - c * sympy.Abs(rhs))
