"""From statements to what the checker reads: polynomials, words, facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy
from sympy import Abs, MatrixSymbol, Max, Min, Poly, Rational, Symbol
from sympy.matrices.expressions import (
    Identity,
    Inverse,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    Trace,
    Transpose,
    ZeroMatrix,
)

from .language import Inner, Relation, Vector


class CannotLower(ValueError):
    """The expression is outside the language of certificates."""


def flat(expr: Any) -> Any:
    """Inner products expanded, innermost first, into plain symbols ``<x,y>``, so that polynomial tools apply."""

    def expand(x: Any, y: Any) -> Any:
        left, right = coefficients(x), coefficients(y)
        return sympy.Add(*(a * b * inner_symbol(v, w) for v, a in left.items() for w, b in right.items()))

    return sympy.sympify(expr).replace(Inner, expand)


def coefficients(x: Any) -> dict[Any, Any]:
    """``2*u - a*v`` as ``{u: 2, v: -a}``."""
    x = sympy.expand(flat(x) if sympy.sympify(x).has(Inner) else x)
    out: dict[Any, Any] = {}
    for term in sympy.Add.make_args(x):
        found = [v for v in term.free_symbols if isinstance(v, Vector)]
        factor, rest = term.as_independent(*found, as_Add=False)
        if len(found) != 1 or rest != found[0]:
            raise CannotLower(f"{x} is not a linear combination of vectors")
        out[rest] = out.get(rest, 0) + factor
    return out


def inner_symbol(x: Any, y: Any) -> Symbol:
    first, second = sorted((str(x), str(y)))
    return Symbol(f"<{first},{second}>", real=True)


def poly_json(expr: Any) -> dict[str, str]:
    """A polynomial as ``{monomial: coefficient}``."""
    expr = sympy.expand(flat(expr))
    if expr == 0:
        return {}
    gens = sorted(expr.free_symbols, key=str)
    if not gens:
        return {"1": str(Rational(expr))}
    try:
        poly = Poly(expr, *gens, domain="QQ")
    except sympy.PolynomialError as error:
        raise CannotLower(f"{expr}: {error}") from None
    return {monomial(gens, powers): str(c) for powers, c in sorted(poly.terms(), reverse=True)}


def monomial(gens: list[Any], powers: tuple[int, ...]) -> str:
    parts = [f"{g}^{k}" if k > 1 else str(g) for g, k in zip(gens, powers, strict=True) if k]
    return " ".join(parts) or "1"


# -- matrices: sympy's noncommutative symbols do the algebra --------------------------------------------------


class Letters:
    """Matrix symbols as noncommutative letters; remembers which are symmetric and the inverses met."""

    def __init__(self, symmetric: frozenset[str] = frozenset()) -> None:
        self.symmetric = symmetric
        self.shapes: dict[str, tuple[str, str]] = {}
        self.inverses: dict[Any, str] = {}

    def see(self, m: MatrixSymbol) -> None:
        self.shapes[m.name] = (str(m.shape[0]), str(m.shape[1]))

    def nc(self, expr: Any, transposed: bool = False) -> Any:
        """A matrix expression as a polynomial in noncommutative symbols (``A'`` is the symbol of a transpose)."""
        if isinstance(expr, MatrixSymbol):
            self.see(expr)
            return letter(expr.name, transposed and expr.name not in self.symmetric)
        if isinstance(expr, Transpose):
            return self.nc(expr.arg, not transposed)
        if isinstance(expr, MatAdd):
            return sympy.Add(*[self.nc(a, transposed) for a in expr.args])
        if isinstance(expr, Inverse):
            name = self.inverses.setdefault(expr.arg, f"inv{len(self.inverses) + 1}")
            self.shapes[name] = (str(expr.shape[0]), str(expr.shape[1]))
            return letter(name, transposed)
        if isinstance(expr, MatPow) and expr.exp.is_Integer and expr.exp >= 0:
            return self.nc(expr.base, transposed) ** expr.exp
        if isinstance(expr, MatMul):
            parts = [a if not isinstance(a, MatrixExpr) else self.nc(a, transposed) for a in expr.args]
            return sympy.Mul(*(reversed(parts) if transposed else parts))
        if isinstance(expr, Identity):
            return sympy.Integer(1)
        if isinstance(expr, ZeroMatrix):
            return sympy.Integer(0)
        if not isinstance(expr, MatrixExpr):
            return sympy.sympify(expr)
        raise CannotLower(f"no letters for {type(expr).__name__}: {expr}")


def letter(name: str, transposed: bool) -> Symbol:
    return Symbol(name + "'" * transposed, commutative=False)


def nc_terms(expr: Any) -> dict[tuple[str, ...], Any]:
    """``{word: scalar coefficient}``, words as tuples of letters such as ``("A'", "s")``."""
    out: dict[tuple[str, ...], Any] = {}
    for term in sympy.Add.make_args(sympy.expand(expr)):
        scalar, letters = term.args_cnc()
        word: list[str] = []
        for item in letters:
            base, k = item.as_base_exp()
            word += [str(base)] * int(k)
        value = out.get(tuple(word), 0) + sympy.Mul(*scalar)
        out[tuple(word)] = value
    return {w: c for w, c in ((w, sympy.expand(c)) for w, c in out.items()) if c != 0}


def words_json(terms: Mapping[tuple[str, ...], Any]) -> dict[str, str]:
    out: dict[str, str] = {}
    for word, coefficient in sorted(terms.items()):
        for scalars, c in poly_json(coefficient).items():
            text = " ".join(([] if scalars == "1" else [scalars]) + list(word))
            out[text or "1"] = c
    return out


def trace_terms(expr: Any, letters: Letters) -> Any:
    """``2*Trace(A) - Trace(B)`` as ``2*A - B``: words that stand for their traces."""
    total = sympy.Integer(0)
    for term in sympy.Add.make_args(sympy.expand(expr)):
        factors = sympy.Mul.make_args(term)
        traces = [a for a in factors if isinstance(a, Trace)]
        if len(traces) != 1:
            raise CannotLower(f"{term}: exactly one trace in each term")
        words = letters.nc(traces[0].arg)
        if () in nc_terms(words):
            raise CannotLower(f"{term}: the trace of an identity is its size, which certificates do not speak of")
        total += sympy.Mul(*[a for a in factors if a is not traces[0]]) * words
    return total


def facts_of(relation: Relation, letters: Letters) -> list[dict[str, Any]]:
    """The facts that together say the relation; ``|x| <= y`` and ``max(x, y) <= z`` are two."""
    lhs, op, rhs = sympy.sympify(relation.lhs), relation.op, sympy.sympify(relation.rhs)
    if isinstance(lhs, MatrixExpr) or isinstance(rhs, MatrixExpr):
        shape = [str(s) for s in (lhs if isinstance(lhs, MatrixExpr) else rhs).shape]
        words = words_json(nc_terms(letters.nc(rhs) - letters.nc(lhs)))
        return [{"words": words, "shape": shape, "is": {"==": "=0", "loewner<=": "psd"}[op]}]
    if (rhs - lhs).has(Trace):
        words = words_json(nc_terms(trace_terms(rhs - lhs, letters)))
        return [{"words": words, "is": {"==": "trace=0", "<=": "trace>=0"}[op]}]
    if op != "==" and isinstance(lhs, Abs):
        return [
            f for side in (lhs.args[0], -lhs.args[0]) for f in facts_of(Relation(relation.name, side, op, rhs), letters)
        ]
    if op != "==" and isinstance(lhs, Max):
        return [f for side in lhs.args for f in facts_of(Relation(relation.name, side, op, rhs), letters)]
    if op != "==" and isinstance(rhs, Min):
        return [f for side in rhs.args for f in facts_of(Relation(relation.name, lhs, op, side), letters)]
    return [{"poly": poly_json(rhs - lhs), "is": {"==": "=0", "<=": ">=0", "<": ">0"}[op]}]
