"""Derivations: sympy searches, the steps are written down, and the checker decides.

A claim's `derive` fills a `Proof`.  Hypotheses and goals come from the statement alone, so a certificate cannot
prove something else than what the claim says.  Every method below names a rule of `checker` and finds the
multipliers for it; when the search fails it raises `DerivationError` with what is left over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sympy
from sympy import Inverse, MatrixSymbol, Pow, Rational, Symbol

from . import lowering
from .claim import Claim
from .language import BlockRecursion, Recursion, Relation, Vector
from .lowering import Letters, flat, letter, nc_terms, poly_json, words_json
from .terms import (
    DerivationError,
    Tensor,
    Term,
    block_substitute,
    norm2_of,
    parse_poly,
    parse_words,
    referenced,
    shape_of,
    square,
    substitute,
    tensor_json,
    wedge,
)

SCHEMA = "crossmodal-certificate/1"


class Proof:
    """A growing certificate.  See the module's docstring."""

    def __init__(self, claim: Claim) -> None:
        statement = claim.statement
        self.claim = claim
        self.letters = Letters(frozenset(statement.symmetric))
        self.exprs: dict[str, Any] = {}  # fact name -> flat or noncommutative sympy expression
        self.relation: dict[str, str] = {}
        self.shape: dict[str, tuple[str, str]] = {}
        self.symbols: set[str] = set()
        self.known_vectors: set[str] = set()
        self.fresh_names: set[str] = set()
        self.hypotheses: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.replaced: dict[Any, Any] = {}
        self.automatic: set[str] = set()  # facts that define roots and reciprocals: kept only where used
        self.recursions: dict[str, Any] = {}
        for assumption in statement.assumptions:
            many = len(assumption.relations) > 1
            for k, relation in enumerate(assumption.relations):
                name = f"{assumption.name}.{k + 1}" if many else assumption.name
                self._hypothesis(name, assumption.text, self._clean(relation))
        for name, recursion in statement.recursions.items():
            self._recursion(name, recursion)
        self.goal_names: list[str] = []
        self.goals: dict[str, dict[str, Any]] = {}
        for relation in statement.relations:
            facts = self._facts(self._clean(relation))
            for k, fact in enumerate(facts):
                name = f"{relation.name}.{k + 1}" if len(facts) > 1 else relation.name
                self.goal_names.append(name)
                self.goals[name] = fact
        for arg, name in self.letters.inverses.items():
            self._inverse_hypotheses(arg, name)

    # -- reading the statement ---------------------------------------------------------------------------------

    def _clean(self, relation: Relation) -> Relation:
        return Relation(relation.name, self.clean(relation.lhs), relation.op, self.clean(relation.rhs))

    def clean(self, expr: Any) -> Any:
        """Replace square roots and reciprocals by scalars with the facts that define them."""
        expr = sympy.sympify(expr)
        if isinstance(expr, sympy.MatrixExpr) or expr.has(sympy.Trace):
            return expr
        return expr.replace(lambda n: isinstance(n, Pow) and not n.exp.is_Integer, self._root).replace(
            lambda n: isinstance(n, Pow) and n.exp.is_Integer and n.exp < 0, self._reciprocal
        )

    def _root(self, node: Any) -> Any:
        base, exponent = node.base, 2 * node.exp
        if not exponent.is_Integer:
            raise lowering.CannotLower(f"{node}: only square roots")
        if base not in self.replaced:
            root = Symbol(f"root{len(self.replaced) + 1}", real=True)
            self.replaced[base] = root
            text = f"{root} is the square root of {base}"
            self.automatic |= {f"{root}.sign", f"{root}.square"}
            self._hypothesis(f"{root}.sign", text, Relation("", 0, "<=", root))
            self._hypothesis(f"{root}.square", text, Relation("", self.clean(base), "==", root**2))
        return self.replaced[base] ** exponent

    def _reciprocal(self, node: Any) -> Any:
        key = ("1/", node.base)
        if key not in self.replaced:
            inverse = Symbol(f"over{len(self.replaced) + 1}", real=True)
            self.replaced[key] = inverse
            name = f"{inverse}.product"
            self._hypothesis(name, f"{inverse} is 1 over {node.base}", Relation("", node.base * inverse, "==", 1))
        return self.replaced[key] ** (-node.exp)

    def _inverse_hypotheses(self, arg: Any, name: str) -> None:
        shape = self.letters.shapes[name]
        inside, m = self.letters.nc(arg), letter(name, False)
        for suffix, expr in (("left", m * inside - 1), ("right", inside * m - 1)):
            fact = {"words": words_json(nc_terms(expr)), "shape": list(shape), "is": "=0"}
            self._put(f"{name}.{suffix}", fact, expr, shape)
            self.hypotheses.append(
                {"name": f"{name}.{suffix}", "text": f"{name} is the inverse of {arg}", "fact": fact}
            )

    def _facts(self, relation: Relation) -> list[dict[str, Any]]:
        self.note(relation.lhs, relation.rhs)
        return lowering.facts_of(relation, self.letters)

    def _hypothesis(self, name: str, text: str, relation: Relation) -> None:
        facts = self._facts(relation)
        for k, fact in enumerate(facts):
            label = f"{name}.{k + 1}" if len(facts) > 1 else name
            self._put(label, fact)
            self.hypotheses.append({"name": label, "text": text, "fact": fact})

    def note(self, *exprs: Any) -> None:
        """Remember which scalars and vectors occur, for the declaration of symbols."""
        for expr in exprs:
            expr = sympy.sympify(expr)
            sizes = {s for m in expr.atoms(MatrixSymbol) for s in m.shape} if hasattr(expr, "atoms") else set()
            sizes |= {s for i in expr.atoms(sympy.Identity, sympy.ZeroMatrix) for s in i.shape}
            for s in expr.free_symbols - sizes:
                if isinstance(s, Vector):
                    self.known_vectors.add(str(s))
                elif isinstance(s, Symbol) and s.is_commutative and not str(s).startswith("<"):
                    self.symbols.add(str(s))

    def _put(self, name: str, fact: dict[str, Any], expr: Any = None, shape: tuple[str, str] | None = None) -> None:
        if name in self.exprs:
            raise DerivationError(f"{self.claim.id}: fact {name!r} twice")
        self.relation[name] = fact["is"]
        if "poly" in fact:
            self.exprs[name] = parse_poly(fact["poly"])
        else:
            self.exprs[name] = expr if expr is not None else parse_words(fact["words"], self.letters)
            self.shape[name] = shape or shape_of(fact)

    def _recursion(self, name: str, r: Recursion | BlockRecursion) -> None:
        given = []
        for label, relation in r.given.items():
            (fact,) = self._facts(relation)
            given.append({"name": label, "fact": fact})
        fresh: dict[str, Any] = {}
        if isinstance(r, Recursion):
            fresh["scalars"] = [str(s) for s in r.fresh if not isinstance(s, Vector)]
            fresh["vectors"] = [str(s) for s in r.fresh if isinstance(s, Vector)]
            moves = {}
            for part in ("start", "update"):
                moves[part] = {str(k): self._value(k, v) for k, v in getattr(r, part).items()}
                self.note(*getattr(r, part), *getattr(r, part).values())
            self.recursions[name] = {"kind": "scalars", "fresh": fresh, **moves, "given": given}
        else:
            self.note(
                *r.start.values(), *r.update.values(), *(b for rows in r.grow.values() for row in rows for b in row)
            )
            matrices = [m for m in r.fresh if isinstance(m, MatrixSymbol)]
            fresh["matrices"] = {m.name: [str(s) for s in m.shape] for m in matrices}
            fresh["scalars"] = [str(s) for s in r.fresh if not isinstance(s, MatrixSymbol)]
            if r.any_size:
                fresh["sizes"] = [r.by]
            grow = {}
            for m, blocks in r.grow.items():
                self.letters.see(m)
                grow[m.name] = [[words_json(nc_terms(self.letters.nc(b))) for b in row] for row in blocks]
            moves = {}
            for part in ("start", "update"):
                moves[part] = {m.name: words_json(nc_terms(self.letters.nc(e))) for m, e in getattr(r, part).items()}
            self.recursions[name] = {
                "kind": "blocks", "dim": r.dim, "by": r.by, "fresh": fresh, "grow": grow, **moves, "given": given,
            }  # fmt: skip
        self.fresh_names |= {n for kind, group in fresh.items() if kind != "sizes" for n in group}

    def _value(self, symbol: Any, value: Any) -> Any:
        if isinstance(symbol, Vector):
            return {} if value == 0 else {str(v): poly_json(c) for v, c in lowering.coefficients(value).items()}
        return poly_json(value)

    # -- scalar rules ------------------------------------------------------------------------------------------

    def ideal(
        self, name: str, expr: Any = None, *, using: Sequence[Any], text: str = "", eliminate: Sequence[Any] = ()
    ) -> None:
        """Prove ``expr = 0`` (default: the goal of that name) as a combination of the equalities ``using``."""
        goal = self._goal(name, expr, "=0")
        by = {"rule": "ideal", "equalities": self._multipliers(goal, using, eliminate)}
        self._step(name, {"poly": poly_json(goal), "is": "=0"}, by, text)

    def positive(
        self, name: str, expr: Any = None, *, terms: Sequence[Term], using: Sequence[Any] = (), text: str = "",
        strict: bool = False, eliminate: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        """Prove ``expr >= 0`` (``> 0`` if strict) as a sum of nonnegative terms and equalities."""
        goal = self._goal(name, expr, ">0" if strict else ">=0")
        rest = sympy.expand(goal - sum(self._expand(t) for t in terms))
        by = {
            "rule": "positive",
            "terms": [self._term(t) for t in terms],
            "equalities": self._multipliers(rest, using, eliminate),
        }
        self._step(name, {"poly": poly_json(goal), "is": ">0" if strict else ">=0"}, by, text)

    def refute(
        self, name: str, expr: Any = None, *, terms: Sequence[Term], using: Sequence[Any] = (), text: str = "",
        strict: bool = False, eliminate: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        """Prove ``expr >= 0``: its negation (fact ``not``) makes a sum of nonnegative terms vanish that is positive."""
        goal = self._goal(name, expr, ">0" if strict else ">=0")
        self.exprs["not"], self.relation["not"] = -goal, ">=0" if strict else ">0"
        rest = sympy.expand(-sum(self._expand(t) for t in terms))
        by = {
            "rule": "refute",
            "terms": [self._term(t) for t in terms],
            "equalities": self._multipliers(rest, using, eliminate),
        }
        del self.exprs["not"], self.relation["not"]
        self._step(name, {"poly": poly_json(goal), "is": ">0" if strict else ">=0"}, by, text)

    def sqrt(self, name: str, *, of: str, as_: Symbol, text: str = "") -> None:
        """A new scalar with facts ``name.sign`` and ``name.square``."""
        self._introduce(name, {"rule": "sqrt", "of": of, "as": str(as_)}, text)
        self.exprs[f"{name}.sign"], self.relation[f"{name}.sign"] = as_, ">=0"
        self.exprs[f"{name}.square"], self.relation[f"{name}.square"] = as_**2 - self.exprs[of], "=0"

    def inverse(self, name: str, *, of: str, as_: Symbol, text: str = "") -> None:
        """A new scalar with facts ``name.sign`` and ``name.product``."""
        self._introduce(name, {"rule": "inverse", "of": of, "as": str(as_)}, text)
        self.exprs[f"{name}.sign"], self.relation[f"{name}.sign"] = as_, ">0"
        self.exprs[f"{name}.product"], self.relation[f"{name}.product"] = as_ * self.exprs[of] - 1, "=0"

    def vanish(self, name: str, *, fact: str, vector: Vector, other: Vector, text: str = "") -> None:
        """From ``<x,x> = 0`` to ``<x,y> = 0``."""
        expr = flat(lowering.Inner(vector, other))
        by = {"rule": "vanish", "fact": fact, "vector": str(vector), "with": str(other)}
        self._step(name, {"poly": poly_json(expr), "is": "=0"}, by, text)

    def cases(
        self, name: str, expr: Any = None, *, on: Any, branches: Any, text: str = "", relation: str = ">=0"
    ) -> None:
        """Prove the goal where ``on`` is negative, zero, positive: ``branches(proof, sign, case, goal_name)``."""
        goal = self._goal(name, expr, relation)
        by: dict[str, Any] = {"rule": "cases", "as": f"{name}.case", "on": poly_json(flat(on))}
        for sign, value, rel in (("negative", -flat(on), ">0"), ("zero", flat(on), "=0"), ("positive", flat(on), ">0")):
            with _Inside(self, {f"{name}.case": (value, rel)}) as inner:
                branches(self, sign, f"{name}.case", f"{name}.{sign}")
                by[sign] = inner.steps
        self._step(name, {"poly": poly_json(goal), "is": relation}, by, text)

    def induction(
        self, name: str, expr: Any = None, *, recursion: str, base: Any, step: Any, text: str = "", relation: str = "=0"
    ) -> None:
        """Prove the goal for every number of steps of a recursion.

        ``base(proof, name, goal)`` and ``step(proof, name, goal)`` add steps whose last one is called ``name`` and
        proves ``goal``; inside the step the fact ``hypothesis`` is the goal before it.
        """
        goal = self._goal(name, expr, relation)
        r = self.claim.statement.recursions[recursion]
        assert isinstance(r, Recursion)
        by: dict[str, Any] = {"rule": "induction", "recursion": recursion}
        unflat = self.clean(expr) if expr is not None else self._goal_source(name)
        with _Inside(self, {}) as inner:
            base(self, f"{name}.start", flat(substitute(unflat, r.start)))
            by["base"] = inner.steps
        given = {k: (flat(v.rhs - v.lhs), {"==": "=0", "<=": ">=0", "<": ">0"}[v.op]) for k, v in r.given.items()}
        with _Inside(self, {"hypothesis": (goal, relation), **given}) as inner:
            step(self, f"{name}.next", flat(substitute(unflat, r.update)))
            by["step"] = inner.steps
        self._step(name, {"poly": poly_json(goal), "is": relation}, by, text)

    def _goal_source(self, name: str) -> Any:
        for relation in self.claim.statement.relations:
            if relation.name == name:
                return self.clean(relation.rhs) - self.clean(relation.lhs)
        raise DerivationError(f"{name!r} is no single goal; give the expression")

    # -- matrix rules ------------------------------------------------------------------------------------------

    def free(
        self,
        name: str,
        relation: Relation | None = None,
        *,
        using: Sequence[Any],
        squares: Sequence[Any] = (),
        text: str = "",
    ) -> None:
        """Prove a matrix identity (or trace fact) by rewriting with the facts ``using``.

        An item of ``using`` is a fact name, or ``(fact name, leading word)`` to say what is rewritten.
        """
        fact, expr, shape = self._matrix_goal(name, relation)
        traced = fact["is"] != "=0"
        by: dict[str, Any] = {"rule": "free"}
        if squares:
            by["squares"] = [self._square(s) for s in squares]
            expr = sympy.expand(expr - sum(self._square_expr(s) for s in squares))
        by["terms"] = self._rewrite(expr, using, traced, shape)
        self._step(name, fact, by, text, expr=self._matrix_goal(name, relation)[1], shape=shape)

    def psd(
        self,
        name: str,
        relation: Relation | None = None,
        *,
        squares: Sequence[Any],
        using: Sequence[Any] = (),
        text: str = "",
    ) -> None:
        """Prove that a symmetric expression is positive semidefinite.

        ``squares`` holds ``(coef, word expression[, psd fact])`` for ``coef * word' fact word``.
        """
        fact, expr, shape = self._matrix_goal(name, relation)
        rest = sympy.expand(expr - sum(self._square_expr(s) for s in squares))
        by = {
            "rule": "psd",
            "squares": [self._square(s) for s in squares],
            "terms": self._rewrite(rest, using, False, shape),
        }
        self._step(name, fact, by, text, expr=expr, shape=shape)

    def blocks(
        self, name: str, relations: Sequence[Relation], *, recursion: str, using: Sequence[Any] = (), text: str = ""
    ) -> None:
        """Prove identities together for every size, as facts ``name.1``, ``name.2``, ..."""
        r = self.claim.statement.recursions[recursion]
        assert isinstance(r, BlockRecursion)
        goals = [self._matrix_goal("", rel) for rel in relations]
        given = {k: self._facts(v)[0] for k, v in r.given.items()}
        by: dict[str, Any] = {"rule": "blocks", "recursion": recursion, "base": [], "step": []}
        start = {m.name: sympy.Matrix([[self.letters.nc(e)]]) for m, e in r.start.items()}
        empty = {m.name: sympy.Matrix([[0]]) for m in r.grow}
        for fact, expr, shape in goals:
            if fact["is"] != "=0":
                value = self._block_trace(expr, {**empty, **start}, [r.dim])
                by["base"].append(self._rewrite(value, using, True, shape))
                continue
            value = block_substitute(expr, {**empty, **start}, self.letters)
            by["base"].append(self._rewrite(value[0, 0], using, False, shape) if r.dim not in shape else [])
        images = {
            m.name: sympy.Matrix([[self.letters.nc(b) for b in row] for row in blocks]) for m, blocks in r.grow.items()
        }
        images |= {m.name: sympy.Matrix([[self.letters.nc(e)]]) for m, e in r.update.items()}
        local = {f"hypothesis.{k + 1}": (expr, fact["is"]) for k, (fact, expr, _) in enumerate(goals)}
        local |= {k: (parse_words(f["words"], self.letters), f["is"]) for k, f in given.items()}
        with _Inside(self, local):
            for k, (_, _, shape) in enumerate(goals):
                self.shape[f"hypothesis.{k + 1}"] = shape
            for label, fact in given.items():
                self.shape[label] = shape_of(fact)
            names = [*using, *local]
            for fact, expr, shape in goals:
                if fact["is"] != "=0":
                    value = self._block_trace(expr, images, [r.dim, r.by])
                    by["step"].append(self._rewrite(value, names, True, shape))
                    continue
                sides = [[r.dim, r.by] if s == r.dim else [s] for s in shape]
                grid = block_substitute(expr, images, self.letters, (len(sides[0]), len(sides[1])))
                by["step"].append([
                    [self._rewrite(grid[i, j], names, False, (sides[0][i], sides[1][j])) for j in range(len(sides[1]))]
                    for i in range(len(sides[0]))
                ])  # fmt: skip
        self.steps.append({"name": name, "text": text, "facts": [f for f, _, _ in goals], "by": by})
        for k, (fact, expr, shape) in enumerate(goals):
            self._put(f"{name}.{k + 1}", fact, expr, shape)

    def _block_trace(self, expr: Any, images: Mapping[str, Any], split: list[str]) -> Any:
        """Words whose traces add up to that of a sum of words with block matrices in place of letters."""
        total = sympy.Integer(0)
        for word, c in nc_terms(expr).items():
            sides = split if self._side(word[0], 0) == split[0] else [""]
            grid = block_substitute(
                c * sympy.Mul(*(letter(x.rstrip("'"), x.endswith("'")) for x in word)),
                images,
                self.letters,
                (len(sides),) * 2,
            )
            total += grid.trace()
        return sympy.expand(total)

    def trace(self, name: str, expr: Any, as_: Symbol, text: str = "") -> None:
        """Name the trace of one word by a scalar."""
        words = words_json(nc_terms(self.letters.nc(expr)))
        shape = [str(s) for s in expr.shape]
        self._introduce(name, {"rule": "trace", "words": words, "shape": shape, "as": str(as_)}, text)

    def read(self, name: str, expr: Any = None, *, fact: str, text: str = "", relation: str | None = None) -> None:
        """Turn a trace fact into a scalar fact, each trace replaced by the scalar `trace` gave it."""
        rel = relation or ("=0" if self.relation[fact] == "trace=0" else ">=0")
        goal = self._goal(name, expr, rel)
        self._step(name, {"poly": poly_json(goal), "is": rel}, {"rule": "read", "fact": fact}, text)

    # -- inside ------------------------------------------------------------------------------------------------

    def _goal(self, name: str, expr: Any, relation: str) -> Any:
        if expr is None:
            if name not in self.goals or "poly" not in self.goals[name]:
                raise DerivationError(f"{self.claim.id}: {name!r} is no scalar goal; goals are {self.goal_names}")
            return parse_poly(self.goals[name]["poly"])
        expr = self.clean(expr)
        self.note(expr)
        return sympy.expand(flat(expr))

    def _matrix_goal(self, name: str, relation: Relation | None) -> tuple[dict[str, Any], Any, tuple[str, str]]:
        fact = self.goals[name] if relation is None else self._facts(relation)[0]
        return fact, parse_words(fact["words"], self.letters), shape_of(fact)

    def _expand(self, term: Term) -> Any:
        value = sympy.sympify(term.coef)
        for name in term.facts:
            value *= self.exprs[name]
        for item in term.squares:
            value *= flat(norm2_of(item))
        return sympy.expand(value)

    def _term(self, term: Term) -> dict[str, Any]:
        self.note(*(s for s in term.squares if not isinstance(s, Tensor)))
        return {
            "coef": str(Rational(term.coef)),
            "facts": list(term.facts),
            "squares": [tensor_json(s) for s in term.squares],
        }

    def _multipliers(self, rest: Any, using: Sequence[Any], eliminate: Sequence[Any]) -> list[dict[str, Any]]:
        """Polynomials p_k with ``rest = sum p_k e_k``, by division; the symbols of ``eliminate`` come first.

        An item ``(fact name, multiplier)`` of ``using`` is taken as it stands, before the division.
        """
        given = [(n, self.clean(by)) for n, by in (item for item in using if not isinstance(item, str))]
        rest = sympy.expand(rest - sum(flat(by) * self.exprs[n] for n, by in given))
        fixed = [{"fact": n, "times": poly_json(by)} for n, by in given]
        using = [item for item in using if isinstance(item, str)]
        if rest == 0:
            return fixed
        facts = [self.exprs[n] for n in using]
        gens = set(rest.free_symbols).union(*(f.free_symbols for f in facts)) if facts else rest.free_symbols
        first = [s for s in (flat(e) for e in eliminate) if s in gens]
        order = first + sorted(gens - set(first), key=str)
        if not facts:
            raise DerivationError(f"{self.claim.id}: left over {rest}")
        quotients, left = sympy.reduced(rest, facts, *order, order="lex", domain="QQ")
        if left != 0:
            raise DerivationError(f"{self.claim.id}: left over {left}")
        found = [{"fact": n, "times": poly_json(q)} for n, q in zip(using, quotients, strict=True) if q != 0]
        return fixed + found

    def _square(self, item: Any) -> dict[str, Any]:
        coef, expr, *more = item
        words = nc_terms(self.letters.nc(expr))
        shape = [str(s) for s in expr.shape]
        out: dict[str, Any] = {
            "coef": str(Rational(coef)),
            "word": words_json(words),
            "rows": shape[0],
            "cols": shape[1],
        }
        if more and more[0]:
            out["fact"] = more[0]
        if len(more) > 1:
            out["weights"] = list(more[1])
        return out

    def _square_expr(self, item: Any) -> Any:
        coef, expr, *more = item
        middle = self.exprs[more[0]] if more and more[0] else 1
        weight = sympy.Mul(*[self.exprs[w] for w in more[1]]) if len(more) > 1 else 1
        return sympy.expand(coef * weight * self.letters.nc(expr, True) * middle * self.letters.nc(expr))

    def _rewrite(self, rest: Any, using: Sequence[Any], traced: bool, shape: tuple[str, str]) -> list[dict[str, Any]]:
        rules: list[
            tuple[str, dict[Any, Any], Any, bool | None]
        ] = []  # last: transposed, or None for what is said of traces
        for item in using:
            name, lead = item if isinstance(item, tuple) else (item, None)
            terms = nc_terms(self.exprs[name])
            if self.relation[name] == "trace=0":
                if traced:
                    terms = self._cyclic(terms)
                    (word,) = (
                        self._cyclic({tuple(lead.split()): 1}) if lead else [max(terms, key=lambda w: (len(w), w))]
                    )
                    rules.append((name, terms, word, None))
                continue
            word = tuple(lead.split()) if lead else max(terms, key=lambda w: (len(w), w))
            rules.append((name, terms, word, False))
            flipped = {self._flip(w): c for w, c in terms.items()}
            if self._flip(word) != word or flipped != terms:
                rules.append((name, flipped, self._flip(word), True))
        rules.sort(key=lambda rule: rule[3] is not None)  # what is said of a whole word comes first
        out: list[dict[str, Any]] = []
        current = nc_terms(rest)
        if traced:
            current = self._cyclic(current)
        for _ in range(2000):
            if not current:
                return out
            found = self._match(current, rules, traced)
            if found is None:
                shown = ", ".join(f"{c}*{' '.join(w) or '1'}" for w, c in list(current.items())[:6])
                raise DerivationError(f"{self.claim.id}: left over {shown}")
            word, (name, terms, lead, flip), left, right = found
            c = sympy.cancel(current[word] / terms[lead])
            step: dict[str, Any]
            if flip is None:
                step = {"fact": name, "times": poly_json(c)}
            else:
                sides = self.shape[name] if not flip else self.shape[name][::-1]
                step = {
                    "fact": name,
                    "left": words_json({left: c}),
                    "right": words_json({right: sympy.Integer(1)}),
                }
                if flip:
                    step["transpose"] = True
                if traced:
                    step["ends"] = self._side(left[0], 0) if left else sides[0]
            out.append(step)
            for w, coefficient in terms.items():
                key = left + w + right
                value = sympy.expand(current.get(key, 0) - c * coefficient)
                current[key] = value
            current = {w: v for w, v in current.items() if v != 0}
            if traced:
                current = self._cyclic(current)
        raise DerivationError(f"{self.claim.id}: rewriting does not end")

    def _match(self, current: Mapping[Any, Any], rules: Sequence[Any], traced: bool) -> Any:
        for rule in rules:
            lead = rule[2]
            for word in current:
                turns = [word[i:] + word[:i] for i in range(max(1, len(word)))] if traced else [word]
                if rule[3] is None:  # a trace fact says something of whole words only
                    if word == lead:
                        return word, rule, (), ()
                    continue
                for turned in turns:
                    for i in range(len(turned) - len(lead) + 1):
                        if turned[i : i + len(lead)] == lead:
                            if traced:
                                return word, rule, turned[:i], turned[i + len(lead) :]
                            return word, rule, word[:i], word[i + len(lead) :]
        return None

    def _side(self, name: str, k: int) -> str:
        shape = self.letters.shapes[name.rstrip("'")]
        return shape[1 - k] if name.endswith("'") else shape[k]

    def _flip(self, word: tuple[str, ...]) -> tuple[str, ...]:
        def flip(x: str) -> str:
            return x if x in self.letters.symmetric else (x[:-1] if x.endswith("'") else x + "'")

        return tuple(flip(x) for x in reversed(word))

    def _cyclic(self, terms: Mapping[Any, Any]) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for word, c in terms.items():
            turns = [w[i:] + w[:i] for w in (word, self._flip(word)) for i in range(max(1, len(w)))]
            key = min(turns)
            out[key] = sympy.expand(out.get(key, 0) + c)
        return {w: c for w, c in out.items() if c != 0}

    def _step(self, name: str, fact: dict[str, Any], by: dict[str, Any], text: str, **put: Any) -> None:
        self.steps.append({"name": name, "text": text, "fact": fact, "by": by})
        self._put(name, fact, **put)

    def _introduce(self, name: str, by: dict[str, Any], text: str) -> None:
        if by["as"] in self.symbols | self.known_vectors | set(self.letters.shapes) | self.fresh_names:
            raise DerivationError(
                f"{self.claim.id}: {name} would introduce {by['as']}, of which something is said already"
            )
        self.steps.append({"name": name, "text": text, "by": by})
        self.fresh_names.add(by["as"])

    def certificate(self) -> dict[str, Any]:
        """The certificate; every goal of the statement must have been proved."""
        unproved = [g for g in self.goal_names if g not in self.exprs]
        if unproved:
            raise DerivationError(f"{self.claim.id}: not proved: {', '.join(unproved)}")
        used = referenced(self.steps)
        matrices = {n: list(s) for n, s in sorted(self.letters.shapes.items()) if n not in self.fresh_names}
        return {
            "schema": SCHEMA,
            "claim": self.claim.id,
            "title": self.claim.title,
            "statement": {r.name: r.text for r in self.claim.statement.relations},
            "trust": [{"name": f.name, "statement": f.statement, "source": f.source} for f in self.claim.trust],
            "symbols": {
                "scalars": sorted(self.symbols - self.fresh_names),
                "vectors": sorted(self.known_vectors - self.fresh_names),
                "matrices": matrices,
                "symmetric": sorted(self.letters.symmetric),
            },
            "recursions": self.recursions,
            "hypotheses": [h for h in self.hypotheses if h["name"] in used or h["name"] not in self.automatic],
            "steps": self.steps,
            "goals": [{"name": g, "fact": self.goals[g]} for g in self.goal_names],
        }


class _Inside:
    """Steps proved under local facts; on leaving, the local facts are forgotten."""

    def __init__(self, proof: Proof, facts: Mapping[str, tuple[Any, str]]) -> None:
        self.proof, self.facts = proof, facts
        self.steps: list[dict[str, Any]] = []

    def __enter__(self) -> _Inside:
        p = self.proof
        self.saved = p.steps, dict(p.exprs), dict(p.relation), dict(p.shape)
        p.steps = self.steps
        for name, (expr, relation) in self.facts.items():
            p.exprs[name], p.relation[name] = expr, relation
        return self

    def __exit__(self, *_: object) -> None:
        self.proof.steps, self.proof.exprs, self.proof.relation, self.proof.shape = self.saved


def dumps(certificate: Mapping[str, Any]) -> str:
    """The bytes of a certificate file: one form only, so that files can be compared."""
    return json.dumps(certificate, indent=1, ensure_ascii=False, sort_keys=False) + "\n"


__all__ = ["DerivationError", "Inverse", "Proof", "Tensor", "Term", "dumps", "square", "wedge"]
