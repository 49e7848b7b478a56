"""What derivations are written with: terms of a sum of squares, tensors, and expressions read back from a certificate's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Rational, Symbol

from . import lowering
from .language import Vector
from .lowering import Letters, coefficients, flat, letter, nc_terms, poly_json


class DerivationError(Exception):
    """The search found no proof; says what is left over."""


@dataclass(frozen=True)
class Term:
    """One nonnegative term: ``coef * product(facts) * product(squares)``.

    A square is a scalar expression, a combination of vectors, or a `tensor`.
    """

    coef: Any = 1
    facts: tuple[str, ...] = ()
    squares: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Tensor:
    """A combination of tensor words, ``{(x, y): 1, (y, x): -1}`` for ``x@y - y@x``."""

    terms: Mapping[Any, Any]  # tuple of vectors -> coefficient


def square(*expressions: Any, coef: Any = 1, facts: Iterable[str] = ()) -> Term:
    """``coef * facts * ||expression||^2 * ...``"""
    return Term(coef, tuple(facts), tuple(expressions))


def wedge(x: Any, y: Any) -> Tensor:
    """``x@y - y@x`` of two combinations of vectors: its squared norm is ``2(|x|^2 |y|^2 - <x,y>^2)``, Cauchy and Schwarz without a case."""
    terms: dict[tuple[Any, Any], Any] = {}
    for v, p in coefficients(x).items():
        for w, q in coefficients(y).items():
            for word, c in (((v, w), p * q), ((w, v), -p * q)):
                terms[word] = terms.get(word, 0) + c
    return Tensor({word: c for word, c in terms.items() if c != 0})


def referenced(node: Any) -> set[str]:
    """Names of all facts that the steps refer to."""
    if isinstance(node, Mapping):
        found = set().union(*(referenced(v) for v in node.values()))
        for key in ("fact", "of"):
            if isinstance(node.get(key), str):
                found.add(node[key])
        for key in ("facts", "weights"):
            found |= {v for v in node.get(key, ()) if isinstance(v, str)}
        return found
    return set().union(*(referenced(v) for v in node)) if isinstance(node, list) else set()


def shape_of(fact: Mapping[str, Any]) -> tuple[str, str]:
    return (fact["shape"][0], fact["shape"][1]) if "shape" in fact else ("*", "*")


def substitute(expr: Any, values: Mapping[Any, Any]) -> Any:
    return sympy.sympify(expr).subs(dict(values), simultaneous=True)


def norm2_of(item: Any) -> Any:
    """The squared norm of a scalar, a combination of vectors, or a tensor, with plain symbols for inner products."""
    if isinstance(item, Tensor):
        total = sympy.Integer(0)
        for v, a in item.terms.items():
            for w, b in item.terms.items():
                total += a * b * sympy.Mul(*[lowering.Inner(x, y) for x, y in zip(v, w, strict=True)])
        return total
    item = sympy.sympify(item)
    if any(isinstance(s, Vector) for s in item.free_symbols) and not is_scalar(item):
        return lowering.Inner(item, item)
    return item**2


def is_scalar(expr: Any) -> bool:
    """True when every vector stands inside an inner product."""
    return not any(isinstance(s, Vector) for s in flat(expr).free_symbols)


def tensor_json(item: Any) -> dict[str, Any]:
    if isinstance(item, Tensor):
        return {"@".join(str(v) for v in word): poly_json(c) for word, c in item.terms.items()}
    item = sympy.sympify(item)
    if is_scalar(item):
        return {"1": poly_json(item)}
    return {str(v): poly_json(c) for v, c in lowering.coefficients(item).items()}


def parse_poly(data: Mapping[str, str]) -> Any:
    """Back from JSON to a sympy expression in plain symbols."""
    terms = []  # added up at once: one after another, the time grows with the square of their number
    for text, c in data.items():
        value: Any = Rational(c)
        for token in text.split():
            if token != "1":
                name, caret, k = token.partition("^")
                value *= Symbol(name, real=True) ** (int(k) if caret else 1)
        terms.append(value)
    return sympy.Add(*terms)


def parse_words(data: Mapping[str, str], letters: Letters) -> Any:
    terms = []
    for text, c in data.items():
        value: Any = Rational(c)
        for token in text.split():
            name = token.rstrip("'")
            if name in letters.shapes:
                value *= letter(name, token != name)
            elif token != "1":
                scalar, caret, k = token.partition("^")
                value *= Symbol(scalar, real=True) ** (int(k) if caret else 1)
        terms.append(value)
    return sympy.Add(*terms)


def block_substitute(expr: Any, images: Mapping[str, Any], letters: Letters, size: tuple[int, int] = (1, 1)) -> Any:
    """Put block matrices for letters; sympy multiplies the noncommutative blocks."""
    out = sympy.zeros(*size)
    for word, c in nc_terms(expr).items():
        grid = sympy.eye(size[0])
        for token in word:
            name, flipped = token.rstrip("'"), token.endswith("'")
            image = images.get(name)
            if image is None:
                image = sympy.Matrix([[letter(name, flipped)]])
            elif flipped:
                image = sympy.Matrix(image.cols, image.rows, lambda i, j, m=image: flip_expr(m[j, i], letters))
            grid = sympy.Matrix(
                grid.rows,
                image.cols,
                lambda i, j, a=grid, b=image: sum(
                    (sympy.expand(a[i, k] * b[k, j]) for k in range(a.cols)), sympy.Integer(0)
                ),
            )
        out += c * grid if grid.shape == tuple(size) else sympy.zeros(*size) + c * grid
    return out.applyfunc(sympy.expand)


def flip_expr(expr: Any, letters: Letters) -> Any:
    total = sympy.Integer(0)
    for word, c in nc_terms(expr).items():
        value: Any = c
        for token in reversed(word):
            name = token.rstrip("'")
            value *= letter(name, name not in letters.symmetric and not token.endswith("'"))
        total += value
    return total
