"""Mutants of statements, and who kills them.

`crossmodal.theory.mutants` changes certificates, and the checker must reject them.  Here the statement itself is changed.
An equation gets another coefficient, sign or exponent, or a right side one percent smaller.  An inequality is turned round and,
where the claim has a tight instance of it, made one percent tighter; other changes of its terms may weaken it, and then it is
true.  An assumption is dropped.  Each mutant must be refuted by an exact model: one of the claim's own instances (a witness) or
a drawn one (a property test).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import sympy

from ..theory.certify import derive
from ..theory.checker import Rejected, check
from ..theory.claim import Claim
from ..theory.language import Relation
from ..theory.proof import DerivationError
from .arithmetic import arithmetic
from .check import assumptions_hold, necessity
from .draw import draw_exact
from .evaluate import bound_values, judge, tightened


@dataclass(frozen=True)
class Killed:
    """A statement mutant and who killed it: ``witness``, ``property test``, or "" for a survivor.

    ``equivalent`` is no kill: the changed statement is true as well, and the checker accepts a certificate for it.
    """

    change: str
    killer: str


def changed_numbers(expr: Any) -> Iterator[tuple[str, Any]]:
    """Every rational number in an expression changed, every term's sign turned, every exponent raised."""
    expr = sympy.sympify(expr)
    seen = set()
    for node in nodes(expr):
        coefficient = (
            [a for a in node.args if isinstance(a, sympy.Rational)]
            if isinstance(node, sympy.Mul | sympy.MatMul)
            else []
        )
        if coefficient and node not in seen:
            seen.add(node)
            scaled = node * sympy.Rational(8, 7)
            yield f"{node} -> {scaled}", replace_node(expr, node, scaled)
        if isinstance(node, sympy.Add | sympy.MatAdd) and len(node.args) < 9:
            for k, arg in enumerate(node.args):
                flipped = node.func(*(-a if i == k else a for i, a in enumerate(node.args)))
                yield f"sign of {arg}", replace_node(expr, node, flipped)
        if isinstance(node, sympy.Pow) and node.exp.is_Integer and node.exp > 0:
            yield f"{node} -> power {node.exp + 1}", replace_node(expr, node, node.base ** (node.exp + 1))


def nodes(expr: Any) -> Iterator[Any]:
    """Every subexpression, without the sizes of matrix symbols."""
    yield expr
    if not isinstance(expr, sympy.MatrixSymbol | sympy.Identity | sympy.ZeroMatrix):
        for arg in expr.args:
            yield from nodes(arg)


def replace_node(expr: Any, old: Any, new: Any) -> Any:
    return new if expr == old else expr.xreplace({old: new})


def statement_mutants(claim: Claim) -> Iterator[tuple[str, Relation]]:
    """Changes that make a relation false somewhere: equations altered, bounds turned round and (where tight) tightened."""
    tight = {i.relation for i in claim.tight}
    for r in claim.statement.relations:
        if r.op == "==":
            yield f"{r.name}: one percent less", tightened(r)
            for side in ("lhs", "rhs"):
                for what, expr in changed_numbers(getattr(r, side)):
                    sides = {"lhs": r.lhs, "rhs": r.rhs, side: expr}
                    yield f"{r.name}: {side} {what}", Relation(r.name, sides["lhs"], "==", sides["rhs"])
        else:
            if r.name in tight:
                yield f"{r.name}: one percent tighter", tightened(r)
            yield f"{r.name}: turned round", Relation(r.name, r.rhs, r.op, r.lhs)


def kill(claim: Claim, mutant: Relation, models: int = 40, seed: int = 0) -> str:
    """Look for an exact model within the assumptions on which the mutant is false."""
    ops = arithmetic("exact")
    for instance in claim.tight:
        values = bound_values(claim, instance.values, ops)
        if assumptions_hold(claim, values, ops) and judge(mutant, values, ops).status == "violated":
            return "witness"
    for index in range(models):
        values = bound_values(claim, draw_exact(claim, seed, index), ops)
        if assumptions_hold(claim, values, ops) and judge(mutant, values, ops).status == "violated":
            return "property test"
    return ""


def statement_report(claim: Claim, seed: int = 0) -> list[Killed]:
    """All mutants of a claim's statement with their killers; an assumption dropped counts as one."""
    out = [Killed(f"without '{name}'", "witness" if all(both) else "") for name, both in necessity(claim).items()]
    if claim.verdict == "REFUTED":
        return out
    seen = set()
    for change, mutant in statement_mutants(claim):
        key = (mutant.lhs, mutant.op, mutant.rhs)
        if key not in seen:
            seen.add(key)
            killer = kill(claim, mutant, seed=seed)
            out.append(Killed(change, killer or ("equivalent" if proved(claim, mutant) else "")))
    return out


def proved(claim: Claim, mutant: Relation) -> bool:
    """Whether the claim's own derivation proves the changed statement too (then it is true, not a survivor)."""
    relations = tuple(mutant if r.name == mutant.name else r for r in claim.statement.relations)
    changed = replace(claim, statement=replace(claim.statement, relations=relations))
    try:
        check(json.loads(json.dumps(derive(changed))))
    except (Rejected, DerivationError, ValueError):
        return False
    return True
