"""The language in which statements are written: sympy, plus vectors of any real inner-product space.

Three dialects, each with its own exact proof rules in the checker and its own evaluation:

* scalars: sympy symbols and polynomials, `sqrt`, `Abs`, `Max`, `Min`;
* vectors: `vectors("u v")` and `Inner(u - v, u)`, no dimension and no coordinates;
* matrices: sympy matrix expressions with symbolic sizes, `matrix("A", "T", "d")`.

A `Relation` is written once and lowered from here: to polynomials and words for the certificate
(`lowering`), to rationals, batched tensors and features (`crossmodal.synthetic.evaluate`), to LaTeX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import sympy
from sympy import MatrixSymbol, Symbol
from sympy.core.sorting import default_sort_key
from sympy.printing.latex import LatexPrinter


class Vector(Symbol):
    """A vector of some real inner-product space; only sums, multiples and `Inner` make sense."""


class Inner(sympy.Function):
    """The inner product of two linear combinations of vectors; symmetric."""

    nargs = 2

    @classmethod
    def eval(cls, x: Any, y: Any) -> Any:
        if x == 0 or y == 0:
            return sympy.Integer(0)
        if default_sort_key(x) > default_sort_key(y):
            return cls(y, x)
        return None

    def _latex(self, printer: LatexPrinter, exp: str | None = None) -> str:
        text = rf"\langle {printer._print(self.args[0])}, {printer._print(self.args[1])} \rangle"
        return text if exp is None else rf"{text}^{{{exp}}}"

    def _sympystr(self, printer: Any) -> str:
        return f"<{printer._print(self.args[0])}, {printer._print(self.args[1])}>"


def norm2(x: Any) -> Any:
    """Squared norm."""
    return Inner(x, x)


def scalars(names: str) -> Any:
    """Real scalars by name, as `sympy.symbols`."""
    return sympy.symbols(names, real=True)


def vectors(names: str) -> Any:
    """One vector, or a tuple of them."""
    found = [Vector(name, real=True) for name in names.replace(",", " ").split()]
    return found[0] if len(found) == 1 else tuple(found)


def matrix(name: str, rows: str | int, cols: str | int) -> MatrixSymbol:
    """A matrix of symbolic size; a side may be 1."""
    sides = [Symbol(s, integer=True, positive=True) if isinstance(s, str) else sympy.Integer(s) for s in (rows, cols)]
    return MatrixSymbol(name, *sides)


def identity(size: str) -> sympy.Identity:
    return sympy.Identity(Symbol(size, integer=True, positive=True))


Op = Literal["==", "<=", "<", "loewner<="]


@dataclass(frozen=True)
class Relation:
    """Two sides and what holds between them.

    Args:
        name: short, unique in the claim, used in reports and as the name of the certificate's goal.
        lhs, rhs: sympy expressions; for ``==`` and ``loewner<=`` matrix expressions too.
        op: ``loewner<=`` says that ``rhs - lhs`` is positive semidefinite.
    """

    name: str
    lhs: Any
    op: Op
    rhs: Any

    @property
    def latex(self) -> str:
        sign = {"==": "=", "<=": r"\le", "<": "<", "loewner<=": r"\preceq"}[self.op]
        return f"{latex(self.lhs)} {sign} {latex(self.rhs)}"

    @property
    def text(self) -> str:
        sign = {"loewner<=": "<= (Loewner)"}.get(self.op, self.op)
        return f"{self.lhs} {sign} {self.rhs}"

    @cached_property
    def symbols(self) -> frozenset[str]:
        """Names of everything that needs a value before the two sides can be evaluated."""
        found: set[Any] = set()
        for side in map(sympy.sympify, (self.lhs, self.rhs)):
            found |= side.free_symbols | side.atoms(MatrixSymbol)
        sizes = {s for m in found if isinstance(m, MatrixSymbol) for s in m.shape}
        return frozenset(str(s) for s in found if s not in sizes)


def latex(expr: Any) -> str:
    """LaTeX of an expression, in the project's own conventions."""
    return str(sympy.latex(sympy.sympify(expr), mat_symbol_style="plain"))


# -- what a claim is a statement about: its inputs, drawn by `crossmodal.synthetic.draw` ---------------------

Kind = Literal["unit_rows", "rows", "simplex", "column", "real", "unit_column", "projector", "sorted_triple"]


@dataclass(frozen=True)
class Input:
    """One ingredient of a model.

    Kinds: ``unit_rows`` (rows of unit length), ``rows`` (any entries), ``simplex`` (a column of nonnegative
    weights of sum 1), ``column``, ``unit_column``, ``real`` (a scalar in ``[low, high]``), ``projector`` (an orthogonal
    one, of any rank), ``sorted_triple`` (three unit rows with cosines ``0 <= c12 <= c23 <= c13``).  Sizes are names,
    drawn once per model and shared by all inputs that name them, or numbers.
    """

    name: str
    kind: Kind
    rows: str = ""
    cols: str = ""
    low: str = "-1"
    high: str = "1"


@dataclass(frozen=True)
class Instance:
    """Exact values of the inputs of a claim: nested lists of integers or strings such as '3/5'."""

    values: Mapping[str, Any]
    note: str = ""
    relation: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)


def unit(*pairs: Sequence[Any]) -> list[list[Any]]:
    """Rows, spelled so that instances read well."""
    return [list(p) for p in pairs]


# -- how the symbols of a statement come about, for statements of any length -----------------------------------


@dataclass(frozen=True)
class Recursion:
    """Scalars and vectors that start somewhere and move at every step: sums of any length, iterations.

    Args:
        start, update: symbol -> expression; an update may use the fresh symbols and the state before the step.
        fresh: symbols that every step brings in anew.
        given: what is known of the fresh symbols, by name.
    """

    start: Mapping[Any, Any]
    update: Mapping[Any, Any]
    fresh: tuple[Any, ...] = ()
    given: Mapping[str, Relation] = field(default_factory=dict)

    def moves(self) -> list[tuple[str, str]]:
        """Start and step of every symbol, as (text, LaTeX)."""
        return [*_at_start(self.start), *(_step(s, str(value), latex(value)) for s, value in self.update.items())]


@dataclass(frozen=True)
class BlockRecursion:
    """Matrices that grow by one block row and/or column at every step.

    Args:
        dim: the growing size; ``by``: the size of a new block, the same at every step.
        any_size: every step brings a block of its own size ``by``, which no symbol that outlives the step may have.
        grow: matrix -> its blocks after the step (rows of expressions; 0 for a zero block).
        start, update: letters of fixed size that move along, as in `Recursion`.
        fresh, given: as in `Recursion`.
    """

    dim: str
    by: str
    grow: Mapping[Any, Sequence[Sequence[Any]]]
    start: Mapping[Any, Any] = field(default_factory=dict)
    update: Mapping[Any, Any] = field(default_factory=dict)
    fresh: tuple[Any, ...] = ()
    given: Mapping[str, Relation] = field(default_factory=dict)
    any_size: bool = False

    def moves(self) -> list[tuple[str, str]]:
        """Start and step of every letter, as (text, LaTeX); a growing letter starts without rows or columns."""
        blocks = [
            _step(
                m,
                "[" + "; ".join(", ".join(map(str, row)) for row in rows) + "]",
                r"\begin{bmatrix} " + r" \\ ".join(" & ".join(map(latex, row)) for row in rows) + r" \end{bmatrix}",
            )
            for m, rows in self.grow.items()
        ]
        moved = [_step(m, str(value), latex(value)) for m, value in self.update.items()]
        return [*_at_start(self.start), *blocks, *moved]


def _at_start(start: Mapping[Any, Any]) -> list[tuple[str, str]]:
    return [
        (f"{s} = {value} at the start", rf"{latex(s)} = {latex(value)} \text{{ at the start}}")
        for s, value in start.items()
    ]


def _step(symbol: Any, text: str, tex: str) -> tuple[str, str]:
    return f"{symbol} becomes {text}", rf"{latex(symbol)} \leftarrow {tex}"
