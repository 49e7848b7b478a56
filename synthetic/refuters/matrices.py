"""Statements about matrices for the solvers of `refuters`: sizes chosen small, entries unknown, recursions run.

Nothing is read from a certificate here: what is attacked is the statement itself, evaluated by `evaluate.value` on arrays
of the solver's terms.  An assumption that says what a symbol is defines it; the others are constraints.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from sympy import MatrixSymbol

from ...theory.claim import Assumption, Claim
from ...theory.language import BlockRecursion, Recursion, Relation, Vector
from ..evaluate import has_free_size, is_psd, sides, value
from .encoding import principal_minors
from .problem import PERCENT, is_matrix
from .solver import SQUARES, Search

DIRECTION = "direction"  # along which a matrix inequality fails


class TermOps:
    """Arithmetic on arrays whose entries are solver terms or fractions; what needs a root or a limit is refused."""

    exact = True

    def __init__(self, number: Callable[[Fraction], Any]) -> None:
        self.number = number

    def filled(self, rows: int, cols: int, entry: Callable[[int, int], Any]) -> np.ndarray:
        out = np.empty((rows, cols), dtype=object)
        for i, j in itertools.product(range(rows), range(cols)):
            out[i, j] = entry(i, j)
        return out

    def ratio(self, p: int, q: int) -> np.ndarray:
        return self.filled(1, 1, lambda i, j: self.number(Fraction(p, q)))

    def T(self, x: np.ndarray) -> np.ndarray:
        return x.T

    def eye(self, like: np.ndarray) -> np.ndarray:
        return self.filled(len(like), len(like), lambda i, j: self.number(Fraction(i == j)))

    def ones(self, rows: int, cols: int, like: Any) -> np.ndarray:
        return self.filled(rows, cols, lambda i, j: self.number(Fraction(1)))

    def trace(self, x: np.ndarray) -> np.ndarray:
        return self.filled(1, 1, lambda i, j: sum((x[k, k] for k in range(len(x))), self.number(Fraction(0))))

    def total_square(self, x: np.ndarray) -> np.ndarray:
        return self.filled(1, 1, lambda i, j: sum((e * e for e in x.reshape(-1)), self.number(Fraction(0))))

    def inner(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x @ y.T


class NotPolynomial(Exception):
    """A side has a root, an inverse or a function in it."""


def polynomial(relation: Relation) -> bool:
    """Whether both sides are polynomials in the entries of their symbols."""
    for side in map(sympy.sympify, (relation.lhs, relation.rhs)):
        for node in sympy.preorder_traversal(side):
            if isinstance(node, sympy.Function | sympy.Inverse) and type(node).__name__ != "Inner":
                return False
            if isinstance(node, sympy.Max | sympy.Min | sympy.Abs):
                return False
            if isinstance(node, sympy.Pow | sympy.MatPow) and not (node.exp.is_Integer and node.exp > 0):
                return False
    return True


@dataclass(frozen=True)
class MatrixProblem:
    """One relation of a claim to be refuted, with an assumption dropped perhaps.

    Attributes:
        statement: whose assumptions and recursions hold.
        relation: to be refuted.
        dropped: name of an assumption, or "".
        heights: rows of the blocks that steps bring, in turn; the first of them for all, where all blocks are of one size.
    """

    statement: Any
    relation: Relation
    dropped: str = ""
    heights: tuple[int, ...] = (1,)

    @property
    def goal_name(self) -> str:
        return self.relation.name

    def solve(self, k: int, n: int, solver: Any, deadline: float) -> tuple[str, dict[str, Any] | None, bool]:
        """As `refuters.solve`: dimensions of size k, recursions of n steps."""
        free: dict[str, Any] = {}
        model = Model(self, k, n, lambda name: free.setdefault(name, solver.api.Real(name)), solver.number)
        constraints = []
        for relation, lhs, rhs in model.facts():
            constraints += [solver.holds(x, kind) for x, kind in model.wanted(relation, lhs, rhs)]
        failing = [solver.fails(x, kind) for x, kind in model.broken()]
        goal = failing[0] if len(failing) == 1 else solver.api.Or(*failing)
        special = {name for name in free if name.startswith(f"{DIRECTION}[")}  # the matrix itself is looked at
        search = Search(
            solver,
            [*constraints, goal],
            free,
            lambda point: self.confirm(k, n, point),
            special,
            guesses=self.guesses(free),
            preferred=self.preferred,
        )
        return search.run(deadline)

    def preferred(self, name: str) -> list[Fraction]:
        """Symmetric matrices are projectors, mostly; one with such a diagonal is rational."""
        letter, _, place = name.rstrip("]").partition("[")
        i, _, j = place.partition(",")
        return SQUARES if letter in self.statement.symmetric and i == j else []

    def guesses(self, free: Mapping[str, Any]) -> Iterator[dict[str, Fraction]]:
        """One direction chosen, for most claims are invariant under rotations: a projector, or the first environment."""
        firsts = [f"{s}#{name}0" for name, r in self.statement.recursions.items() for s in r.fresh]
        for letter in (*self.statement.symmetric, *firsts):
            entries = [name for name in free if name.startswith(f"{letter}[")]
            if entries:
                yield {name: Fraction(name == f"{letter}[0,0]") for name in entries}

    def confirm(self, k: int, n: int, point: Mapping[str, Fraction]) -> dict[str, Any] | None:
        """All facts in exact rationals at that point: the witness, or None."""
        model = Model(self, k, n, lambda name: point[name], lambda x: x)
        if not all(exactly(relation, lhs, rhs) for relation, lhs, rhs in model.facts()):
            return None
        lhs, rhs = sides(self.relation, model.needed(self.relation), model.ops)
        if exactly(self.relation, lhs, rhs):
            return None
        return {name: [[str(x) for x in row] for row in v] for name, v in sorted(model.values.items())}


def exactly(relation: Relation, lhs: np.ndarray, rhs: np.ndarray) -> bool:
    difference = rhs - lhs
    if relation.op == "loewner<=":
        return is_psd(difference)
    tests = {"==": lambda x: x == 0, "<=": lambda x: x >= 0, "<": lambda x: x > 0}
    return all(tests[relation.op](x) for x in difference.reshape(-1))


@dataclass
class Model:
    """Values of the symbols of a claim: unknown entries, and what follows from them."""

    problem: MatrixProblem
    size: int
    steps: int
    unknown: Callable[[str], Any]
    number: Callable[[Fraction], Any]
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ops = TermOps(self.number)
        self.statement = self.problem.statement
        self.lengths: dict[str, int] = {}
        self.given: list[tuple[Relation, np.ndarray, np.ndarray]] = []
        self.moving: dict[str, tuple[str, BlockRecursion]] = {}
        for name, r in self.statement.recursions.items():
            if isinstance(r, BlockRecursion):
                self.moving |= {str(s): (name, r) for s in (*r.grow, *r.start)}
        self.run_already: set[str] = set()
        self.defined = self.definitions()

    def kept(self) -> list[tuple[Assumption, Relation]]:
        return [(a, r) for a in self.statement.assumptions if a.name != self.problem.dropped for r in a.relations]

    def definitions(self) -> dict[str, tuple[Relation, Any]]:
        """Symbol -> the assumption that says what it is, and the expression; without circles."""
        found: dict[str, tuple[Relation, Any]] = {}

        def leads_to(name: str, expr_symbols: frozenset[str]) -> bool:
            return name in expr_symbols or any(leads_to(name, symbols(found[s][1])) for s in expr_symbols if s in found)

        for _, relation in self.kept():
            for side, other in ((relation.lhs, relation.rhs), (relation.rhs, relation.lhs)):
                plain = isinstance(side, MatrixSymbol | sympy.Symbol) and relation.op == "==" and polynomial(relation)
                name = str(side)
                if plain and name not in found and name not in self.moving and not leads_to(name, symbols(other)):
                    if name in self.statement.symmetric:
                        continue  # the definition may not be symmetric: it stays a constraint
                    found[name] = (relation, other)
                    break
        return found

    def needed(self, relation: Relation) -> dict[str, np.ndarray]:
        """Values of the symbols of a relation, made on demand."""
        found = set()
        for side in map(sympy.sympify, (relation.lhs, relation.rhs)):
            found |= side.free_symbols | side.atoms(MatrixSymbol)
        dims = {s for m in found if isinstance(m, MatrixSymbol) for s in m.shape}
        for symbol in sorted(found - dims, key=str):
            self.make(symbol)
        return self.values

    def make(self, symbol: Any) -> None:
        name = str(symbol)
        if name in self.values:
            return
        if name in self.moving:
            self.run(*self.moving[name])
            return
        if name in self.defined:
            relation, expr = self.defined[name]
            self.needed(relation_without(name, relation))
            shape = self.shape(symbol)
            like = np.empty(shape, dtype=object)
            self.values[name] = sides(Relation("", expr, "==", symbol), {**self.values, name: like}, self.ops)[0]
            return
        self.values[name] = self.fresh(symbol, name)

    def shape(self, symbol: Any) -> tuple[int, int]:
        if isinstance(symbol, MatrixSymbol):
            rows, cols = (int(s) if s.is_Integer else self.lengths.get(str(s), self.size) for s in symbol.shape)
            return rows, cols
        return (1, self.size) if isinstance(symbol, Vector) else (1, 1)

    def fresh(self, symbol: Any, name: str) -> np.ndarray:
        rows, cols = self.shape(symbol)
        mirrored = str(symbol) in self.statement.symmetric
        return self.ops.filled(
            rows,
            cols,
            lambda i, j: self.unknown(f"{name}[{min(i, j) if mirrored else i},{max(i, j) if mirrored else j}]"),
        )

    def run(self, label: str, r: BlockRecursion) -> None:
        """The growing matrices after `steps` steps, from nothing."""
        if label in self.run_already:
            return
        self.run_already.add(label)
        own = {str(s) for s in (*r.grow, *r.start, *r.fresh)}
        outside = set()
        for expr in (
            *r.start.values(),
            *r.update.values(),
            *(e for rows in r.grow.values() for row in rows for e in row),
        ):
            expr = sympy.sympify(expr)
            outside |= {s for s in expr.atoms(MatrixSymbol) | expr.free_symbols if str(s) not in own}
        sizes = {s for m in r.grow for s in m.shape} | {s for f in r.fresh for s in getattr(f, "shape", ())}
        heights = self.problem.heights
        for symbol in sorted(
            outside - sizes - {s for m in outside if isinstance(m, MatrixSymbol) for s in m.shape}, key=str
        ):
            self.make(symbol)
        self.lengths[r.dim] = 0
        state = {str(s): np.empty(self.shape(s), dtype=object) for s in r.grow}
        for s, expr in r.start.items():
            state[str(s)] = self.of(expr, s, state)
        for step in range(self.steps):
            by = 1 if r.by == "1" else heights[step % len(heights) if r.any_size else 0]
            if r.by != "1":
                self.lengths[r.by] = by
            here = {**state, **{str(s): self.fresh(s, f"{s}#{label}{step}") for s in r.fresh}}
            for name, relation in r.given.items():
                if not self.is_dropped(name):
                    self.given.append((relation, *sides(relation, {**self.values, **here}, self.ops)))
            grown = {
                str(m): self.blocks(m, [[sympy.sympify(e) for e in row] for row in rows], here, by)
                for m, rows in r.grow.items()
            }
            moved = {str(s): self.of(expr, s, here) for s, expr in r.update.items()}
            state = {**state, **grown, **moved}
            self.lengths[r.dim] = self.lengths[r.dim] + by
        self.values |= state

    def is_dropped(self, given: str) -> bool:
        return any(given in a.each for a in self.statement.assumptions if a.name == self.problem.dropped)

    def of(self, expr: Any, symbol: Any, here: Mapping[str, np.ndarray]) -> np.ndarray:
        """The value of an expression that becomes the value of `symbol`, which gives bare identities their size."""
        like = np.empty(self.shape(symbol), dtype=object)
        marker = MatrixSymbol("_like", *like.shape) if isinstance(symbol, MatrixSymbol) else sympy.Symbol("_like")
        if sympy.sympify(expr).is_zero or isinstance(expr, sympy.ZeroMatrix):
            return self.ops.filled(*like.shape, lambda i, j: self.number(Fraction(0)))
        values = {**self.values, **here, "_like": like}
        return np.asarray(sides(Relation("", expr, "==", marker), values, self.ops)[0])

    def blocks(self, symbol: Any, rows: list[list[Any]], here: Mapping[str, np.ndarray], by: int) -> np.ndarray:
        """A matrix put together from blocks; a zero or identity block has the size that its place leaves."""
        shape = self.shape(symbol)
        many_rows, many_cols = len(rows) > 1, len(rows[0]) > 1
        heights = [shape[0], by] if many_rows else [shape[0]]
        widths = [shape[1], by] if many_cols else [shape[1]]
        out = []
        for expr_row, height in zip(rows, heights, strict=True):
            line = []
            for expr, width in zip(expr_row, widths, strict=True):
                if isinstance(expr, sympy.ZeroMatrix) or expr == 0:
                    line.append(self.ops.filled(height, width, lambda i, j: self.number(Fraction(0))))
                elif isinstance(expr, sympy.Identity):
                    line.append(self.ops.filled(height, width, lambda i, j: self.number(Fraction(i == j))))
                else:
                    line.append(value(expr, {**self.values, **here}, self.ops).reshape(height, width))
            out.append(np.concatenate(line, axis=1))
        return np.concatenate(out, axis=0)

    def both(self, relation: Relation) -> tuple[np.ndarray, np.ndarray]:
        """Both sides; multiples of an identity on both of them are compared as numbers."""
        lhs, rhs = sympy.sympify(relation.lhs), sympy.sympify(relation.rhs)
        values = self.needed(relation)
        if has_free_size(lhs) and has_free_size(rhs):
            lhs, rhs = (
                sympy.Mul(
                    *[f for f in (x.args if isinstance(x, sympy.MatMul) else ()) if not isinstance(f, sympy.MatrixExpr)]
                )
                for x in (lhs, rhs)
            )
        return sides(Relation(relation.name, lhs, relation.op, rhs), values, self.ops)

    # -- what the solver is asked --------------------------------------------------------------------------------

    def facts(self) -> Iterator[tuple[Relation, np.ndarray, np.ndarray]]:
        """Assumptions on what the goal speaks of, and what is known of the fresh symbols; definitions hold anyway.

        Raises:
            NotPolynomial: the goal, or an assumption about its symbols, is none.
        """
        if not polynomial(self.problem.relation):
            raise NotPolynomial(self.problem.relation.name)
        self.needed(self.problem.relation)
        done: set[int] = set()
        grown = True
        while grown:
            grown = False
            for k, (_, relation) in enumerate(self.kept()):
                defines = any(relation is d for d, _ in self.defined.values())
                touches = bool(symbols(relation.lhs, relation.rhs) & set(self.values))
                if k in done or defines or not touches:
                    continue
                if not polynomial(relation):
                    raise NotPolynomial(relation.text)
                done.add(k)
                grown = True
                yield relation, *self.both(relation)
        yield from self.given

    def wanted(self, relation: Relation, lhs: np.ndarray, rhs: np.ndarray) -> list[tuple[Any, str]]:
        difference = rhs - lhs
        if relation.op == "loewner<=":
            return [(m, ">=0") for m in principal_minors(difference.tolist())]
        kind = {"==": "=0", "<=": ">=0", "<": ">0"}[relation.op]
        return [(x, kind) for x in difference.reshape(-1)]

    def broken(self) -> list[tuple[Any, str]]:
        """Facts of which one must fail; for a matrix inequality along an unknown direction."""
        lhs, rhs = sides(self.problem.relation, self.needed(self.problem.relation), self.ops)
        if self.problem.relation.op != "loewner<=":
            return self.wanted(self.problem.relation, lhs, rhs)
        x = self.ops.filled(len(lhs), 1, lambda i, j: self.unknown(f"{DIRECTION}[{i}]"))
        return [((x.T @ (rhs - lhs) @ x)[0, 0], ">=0")]


def symbols(*expressions: Any) -> frozenset[str]:
    return Relation("", expressions[0], "==", expressions[-1]).symbols


def relation_without(name: str, relation: Relation) -> Relation:
    """The side of a definition that is not the symbol itself."""
    other = relation.rhs if str(relation.lhs) == name else relation.lhs
    return Relation("", other, "==", other)


def matrix_variants(claim: Claim) -> list[tuple[str, list[MatrixProblem]]]:
    """The claim's matrix relations; those without each droppable assumption; tight matrix bounds one percent tighter."""
    sums = {str(s) for r in claim.statement.recursions.values() if isinstance(r, Recursion) for s in r.update}

    def make(relation: Relation, dropped: str = "") -> MatrixProblem:
        return MatrixProblem(claim.statement, relation, dropped)

    goals = [r for r in claim.statement.relations if is_matrix(r) and polynomial(r) and not r.symbols & sums]
    if not goals:
        return []
    out = [("the claim", [make(r) for r in goals])]
    for assumption in claim.droppable():
        wanted = claim.necessity[assumption.name].relation if assumption.name in claim.necessity else ""
        first = sorted(goals, key=lambda r: r.name != wanted)
        out.append((f"without {assumption.name}", [make(r, assumption.name) for r in first]))
    tight = {i.relation for i in claim.tight}
    for r in goals:
        if r.op != "==" and (r.name in tight or "" in tight):
            tighter = Relation(r.name, r.lhs, r.op, (1 - PERCENT) * r.rhs)
            out.append((f"{r.name} 1% tighter", [make(tighter)]))
    return out
