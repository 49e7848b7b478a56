"""What a claim carries, and the object that carries it.

A claim file defines one `CLAIM`.  The registry finds it by its file name; a claim that lacks one of nine points fails
`tests/theory/test_claims.py` by name: (1) statement and source, (2) derivation, (3) certificate, (4) mutants, all of them rejected,
(5) numerical check, (6) tightness, (7) necessity of every assumption, (8) measurement on features, (9) a witness where it is REFUTED.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import sympy

from .language import BlockRecursion, Inner, Input, Instance, Recursion, Relation, latex

if TYPE_CHECKING:
    from .proof import Proof

VerdictName = Literal["PROVED", "REFUTED", "UNDECIDED"]


@dataclass(frozen=True)
class Assumption:
    """A named hypothesis of a claim.

    Args:
        name: how necessity and reports refer to it.
        text: in words.
        relations: formal; they become hypotheses of the certificate.  Without any, the assumption is in words or in `each`.
        by_model: true for what holds by the definition of the symbols (``mu = E u``): such facts cannot be dropped.
        each: names of the `given` relations of recursions by which it says the same of every step.
    """

    name: str
    text: str
    relations: tuple[Relation, ...] = ()
    by_model: bool = False
    each: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """The claim itself, formal and in words."""

    text: str
    relations: tuple[Relation, ...]
    assumptions: tuple[Assumption, ...] = ()
    symbols: Mapping[str, str] = field(default_factory=dict)  # name -> meaning
    recursions: Mapping[str, Recursion | BlockRecursion] = field(default_factory=dict)
    symmetric: tuple[str, ...] = ()  # letters that are symmetric matrices

    @property
    def latex(self) -> str:
        return r",\qquad ".join(r.latex for r in self.relations)

    def given(self) -> dict[str, list[tuple[str, Relation]]]:
        """What is given about the steps of recursions: name -> (recursion, relation), of every recursion that gives it."""
        out: dict[str, list[tuple[str, Relation]]] = {}
        for recursion, r in self.recursions.items():
            for name, relation in r.given.items():
                out.setdefault(name, []).append((recursion, relation))
        return out

    def unattributed(self) -> list[str]:
        """What is given about a step and said by no assumption, a hypothesis that no reader of the claim would see; or the other way round."""
        said = {name for a in self.assumptions for name in a.each}
        return sorted(set(self.given()) ^ said)

    def matrices(self) -> dict[str, str]:
        """Sides of every matrix, and whether it is symmetric: sides of one name are assumed to be equal."""
        relations = [*self.relations, *(r for a in self.assumptions for r in a.relations)]
        parts = [side for r in relations for side in (r.lhs, r.rhs)]
        for r in self.recursions.values():
            blocks = (
                [b for rows in r.grow.values() for row in rows for b in row] if isinstance(r, BlockRecursion) else []
            )
            parts += [*blocks, *r.start, *r.start.values(), *r.update.values(), *r.fresh]
            parts += [side for g in r.given.values() for side in (g.lhs, g.rhs)]
        found = {m for part in map(sympy.sympify, parts) for m in part.atoms(sympy.MatrixSymbol)}
        return {
            m.name: f"{m.shape[0]} x {m.shape[1]}" + ", symmetric" * (m.name in self.symmetric)
            for m in sorted(found, key=lambda m: str(m.name))
        }

    def conditions(self) -> list[tuple[str, str]]:
        """What must hold for roots, quotients and inverses to exist, as (text, LaTeX): hypotheses that no assumption states.

        What always holds, the square of a length under a root, is left out.
        """
        relations = [*self.relations, *(r for a in self.assumptions for r in a.relations)]
        relations += [r for given in self.given().values() for _, r in given]
        sides = [sympy.sympify(side) for r in relations for side in (r.lhs, r.rhs)]
        out: dict[tuple[str, str], None] = {}
        nodes = [node for side in sides for node in sympy.preorder_traversal(side)]
        for node in (n for n in nodes if isinstance(n, sympy.matrices.expressions.Inverse)):
            out[f"{node.arg} has an inverse", rf"{latex(node.arg)}\text{{ has an inverse}}"] = None
        for node in (n for n in nodes if isinstance(n, sympy.Pow)):
            base, quotient, root = node.base, node.exp.could_extract_minus_sign(), not node.exp.is_integer
            a_length = isinstance(base, Inner) and base.args[0] == base.args[1]
            if base.free_symbols and (quotient or (root and not a_length)):
                text, tex = ("> 0", "> 0") if quotient and root else (">= 0", r"\ge 0") if root else ("!= 0", r"\ne 0")
                out[f"{base} {text}", f"{latex(base)} {tex}"] = None
        return list(out)


@dataclass(frozen=True)
class Fact:
    """A fact that is trusted rather than proved here."""

    name: str
    statement: str
    source: str


Bind = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]
OnFeatures = Callable[[Any], Iterable[tuple[str, Mapping[str, Any]]]]


@dataclass(frozen=True)
class Claim:
    """One theorem, with everything needed to check it.

    Args:
        id, title, family: ``T3.5``, a short name, the section of the theory.
        source: paper and theorem number, or "new".
        paper: the paper's own wording (our paraphrase), or "".
        statement: see `Statement`.
        derive: fills a `Proof` from the statement; ``None`` if the verdict is REFUTED or UNDECIDED.
        trust: classical facts cited and not proved.
        inputs: what a model consists of.
        bind: ``bind(inputs, ops) -> {symbol: value}``: runs the primitives (means over all pairs, projections one by
            one) in any arithmetic.
        tight: instances where a relation with a right side one percent smaller fails; an empty tuple needs `tight_note`.
        necessity: assumption name -> instance that violates it and the claim.
        witness: for REFUTED, the exact instance on which the statement is false.
        on_features: yields (label, inputs) from a features view; ``None`` needs `features_note`.
    """

    id: str
    title: str
    family: str
    source: str
    paper: str
    statement: Statement
    inputs: tuple[Input, ...]
    bind: Bind
    derive: Callable[[Proof], None] | None = None
    trust: tuple[Fact, ...] = ()
    tight: tuple[Instance, ...] = ()
    tight_note: str = ""
    necessity: Mapping[str, Instance] = field(default_factory=dict)
    necessity_note: str = ""
    witness: Instance | None = None
    on_features: OnFeatures | None = None
    features_note: str = ""
    verdict: VerdictName = "PROVED"
    notes: Sequence[str] = ()

    def droppable(self) -> list[Assumption]:
        """Assumptions that are not true by the definition of the symbols."""
        return [a for a in self.statement.assumptions if not a.by_model]

    def missing(self) -> list[str]:
        """Which of the nine points (see the module) the object itself lacks; empty for a complete claim."""
        gaps = []
        if not self.statement.text or not self.statement.relations:
            gaps.append("1 statement")
        if hidden := self.statement.unattributed():
            gaps.append(f"1 statement: no assumption, or no step, for {', '.join(hidden)}")
        if self.verdict == "PROVED" and self.derive is None:
            gaps.append("2 derivation, 3 certificate")
        if not self.source:
            gaps.append("1 source")
        if not self.inputs or self.bind is None:
            gaps.append("5 numerical check")
        if not self.tight and not self.tight_note:
            gaps.append("6 tightness")
        undropped = [a.name for a in self.droppable() if a.name not in self.necessity]
        if undropped and not self.necessity_note:
            gaps.append(f"7 necessity of {', '.join(undropped)}")
        if self.on_features is None and not self.features_note:
            gaps.append("8 measurement on features")
        if self.verdict == "REFUTED" and self.witness is None:
            gaps.append("9 witness")
        return gaps
