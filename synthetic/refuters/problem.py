"""What is attacked where a claim speaks of scalars and vectors: the goals of its certificate, under all that it assumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy

from ...theory import lowering
from ...theory.certify import derive
from ...theory.claim import Claim
from ...theory.language import Relation
from ...theory.proof import Proof
from .polynomials import Fact, Poly, nested, tokens

PERCENT = sympy.Rational(1, 100)


@dataclass(frozen=True)
class Problem:
    """Hypotheses and a fact to refute; `without` leaves out those of an assumption.

    ``where`` are facts added to a case (the sign of a side, for a tightened constant).
    """

    hypotheses: tuple[tuple[str, Fact], ...]
    goal_name: str
    goal: Fact
    recursions: Mapping[str, Any]
    vectors: tuple[str, ...]
    where: tuple[Fact, ...] = ()

    def without(self, assumption: str) -> Problem:
        kept = tuple(h for h in self.hypotheses if not belongs(h[0], assumption))
        return replace(self, hypotheses=kept)

    def split(self) -> tuple[Problem, Problem | None]:
        """What shares symbols with the goal, directly or through other facts; and the rest, to be satisfied beside it.

        The rest has a goal that fails anywhere, so a refutation of it is a model of its hypotheses.
        """
        groups = [symbols_of(self.goal["poly"]), *(symbols_of(f["poly"]) for f in self.where)]
        near = set().union(*groups)
        apart = {name: symbols_of(fact["poly"]) for name, fact in self.hypotheses}
        moving = {name: recursion_symbols(r) for name, r in self.recursions.items()}
        grown = True
        while grown:
            touched = [group for group in (*apart.values(), *moving.values()) if group & near and not group <= near]
            grown = bool(touched)
            near = near.union(*touched)

        def part(inside: bool) -> dict[str, Any]:
            return {
                "hypotheses": tuple(h for h in self.hypotheses if (apart[h[0]] <= near) == inside),
                "recursions": {name: r for name, r in self.recursions.items() if (moving[name] <= near) == inside},
                "vectors": tuple(v for v in self.vectors if (v in near) == inside),
            }

        rest = replace(self, goal_name="", goal={"poly": {"1": "-1"}, "is": ">=0"}, where=(), **part(False))
        return replace(self, **part(True)), rest if rest.hypotheses or rest.recursions else None


def symbols_of(poly: Poly) -> set[str]:
    """Names of scalars and vectors."""
    return {name for token in tokens(poly) for name in (token[1:-1].split(",") if token.startswith("<") else (token,))}


def recursion_symbols(recursion: Mapping[str, Any]) -> set[str]:
    """Names of scalars and vectors that take part in a recursion."""
    found = {name for group in recursion["fresh"].values() for name in group} | set(recursion["update"])
    for value in (*recursion["start"].values(), *recursion["update"].values()):
        for poly in value.values() if nested(value) else (value,):
            found |= symbols_of(poly)
        found |= set(value) if nested(value) else set()
    return found.union(*(symbols_of(g["fact"]["poly"]) for g in recursion["given"]))


def belongs(hypothesis: str, assumption: str) -> bool:
    return hypothesis == assumption or hypothesis.startswith(assumption + ".")


def problems(claim: Claim) -> list[Problem]:
    """The goals of a claim that speak of scalars and vectors only; empty where all of them need matrices."""
    if claim.derive is not None:
        certificate = derive(claim)
    else:  # nothing is proved: the statement as a proof would begin with it
        try:
            certificate = statement_only(claim)
        except lowering.CannotLower:  # a maximum inside a sum, say
            return []
    scalar = without_matrices(certificate)
    stated = Proof(claim).hypotheses  # a certificate lists what it uses, a model satisfies all of it
    hypotheses = tuple((h["name"], h["fact"]) for h in stated if "poly" in h["fact"])
    recursions = {k: r for k, r in certificate["recursions"].items() if r["kind"] == "scalars"}
    goals = {g["name"]: g["fact"] for g in certificate["goals"]}
    vectors = tuple(certificate["symbols"]["vectors"])
    return [Problem(hypotheses, n, goals[n], recursions, vectors) for n in goals if n in scalar]


def statement_only(claim: Claim) -> dict[str, Any]:
    proof = Proof(claim)
    steps = [
        {"name": f"{r.name}.{k + 1}" if len(facts) > 1 else r.name, "fact": fact, "by": {}}
        for r in claim.statement.relations
        for facts in [facts_of(proof, r)]
        for k, fact in enumerate(facts)
    ]
    return {
        "hypotheses": proof.hypotheses,
        "recursions": proof.recursions,
        "steps": steps,
        "goals": [{"name": s["name"], "fact": s["fact"]} for s in steps],
        "symbols": {"vectors": sorted(proof.known_vectors)},
    }


def facts_of(proof: Proof, relation: Relation) -> list[dict[str, Any]]:
    clean = Relation(relation.name, proof.clean(relation.lhs), relation.op, proof.clean(relation.rhs))
    try:
        return lowering.facts_of(clean, proof.letters)
    except lowering.CannotLower:  # an exponential, a maximum inside a sum: not for these solvers
        return []


def without_matrices(certificate: Mapping[str, Any]) -> set[str]:
    """Names of the facts whose proofs use no matrix fact, directly or further down."""
    clean = {h["name"] for h in certificate["hypotheses"] if "poly" in h["fact"]}
    matrix = {h["name"] for h in certificate["hypotheses"]} - clean
    for step in certificate["steps"]:
        text = set(strings(step["by"]))
        many = [f"{step['name']}.{k + 1}" for k in range(len(step.get("facts", ())))]
        if "poly" in step.get("fact", {}) and not text & matrix:
            clean.add(step["name"])
        else:
            matrix |= {step["name"], f"{step['name']}.sign", *many} if "fact" in step or many else set()
    return clean


def strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for v in data.values():
            yield from strings(v)
    elif isinstance(data, list | tuple):
        for v in data:
            yield from strings(v)


def tightenings(claim: Claim) -> dict[str, list[tuple[tuple[Fact, ...], Fact]]]:
    """Tight relation -> cases (facts of the case, tightened fact): ``lhs <= rhs - |rhs|/100`` by the sign of rhs."""
    tight = {i.relation for i in claim.tight}
    out: dict[str, list[tuple[tuple[Fact, ...], Fact]]] = {}
    proof = Proof(claim)  # knows the names of square roots
    for r in claim.statement.relations:
        if (r.name not in tight and "" not in tight) or sympy.sympify(r.rhs) == 0 or is_matrix(r):
            continue
        if r.op == "==":
            out[r.name] = [((), f) for f in facts_of(proof, Relation(r.name, r.lhs, "==", (1 - PERCENT) * r.rhs))]
            continue
        out[r.name] = []
        for sign in (1, -1):
            case = tuple(facts_of(proof, Relation(r.name, 0, "<=", sign * sympy.sympify(r.rhs))))
            tighter = Relation(r.name, r.lhs, r.op, (1 - sign * PERCENT) * r.rhs)
            out[r.name] += [(case, fact) for fact in facts_of(proof, tighter)]
    return out


def is_matrix(relation: Relation) -> bool:
    sides = (sympy.sympify(relation.lhs), sympy.sympify(relation.rhs))
    return any(isinstance(s, sympy.MatrixExpr) or s.has(sympy.Trace) for s in sides)


def polynomial_variants(claim: Claim) -> list[tuple[str, list[Problem]]]:
    """As `matrix_variants`, for what speaks of scalars and vectors."""
    goals = problems(claim)
    if not goals:
        return []
    out = [("the claim", goals)]
    names = [name for name, _ in goals[0].hypotheses]
    spoken = [a.name for a in claim.droppable() if any(belongs(name, a.name) for name in names)]
    out += [(f"without {name}", [p.without(name) for p in goals]) for name in spoken]
    for relation, cases in tightenings(claim).items():
        if any(belongs(p.goal_name, relation) for p in goals):
            tighter = [replace(goals[0], goal_name=relation, goal=goal, where=where) for where, goal in cases]
            out.append((f"{relation} 1% tighter", tighter))
    return out
