"""Mutants of certificates: small changes, each of which the checker must reject.

A mutant changes one thing: a coefficient, a sign, an exponent, a factor's place, a hypothesis or a term or a step that
is dropped, a relation made stronger.  A mutant of the proof that still proves the same theorem (say, ``x`` for ``-x``
inside a square) would be no error of the checker; none of the changes below is of that kind by design, and one that is
accepted all the same is shown as a survivor.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from . import checker


@dataclass(frozen=True)
class Mutant:
    """A changed certificate and what was changed."""

    change: str
    certificate: dict[str, Any]


Path = tuple[str | int, ...]
_EXPRESSIONS = {"poly", "words", "times", "left", "right", "word", "on"}


def walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every node below, with its path; texts and titles are left out."""
    yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in ("text", "title", "statement", "trust", "claim", "schema", "source"):
                yield from walk(value, (*path, key))
    elif isinstance(node, list):
        for k, value in enumerate(node):
            yield from walk(value, (*path, k))


def at(node: Any, path: Path) -> Any:
    for key in path:
        node = node[key]
    return node


def is_expression(node: Any) -> bool:
    """``{monomial or word: coefficient}``"""
    return isinstance(node, dict) and bool(node) and all(isinstance(v, str) and _rational(v) for v in node.values())


def _rational(text: str) -> bool:
    try:
        Fraction(text)
    except (ValueError, ZeroDivisionError):
        return False
    return True


def candidates(certificate: dict[str, Any]) -> list[tuple[str, Path, Callable[[dict[str, Any]], None]]]:
    """All single changes: (kind, where, what to do)."""
    out: list[tuple[str, Path, Callable[[dict[str, Any]], None]]] = []
    for path, node in walk(certificate):
        last = path[-1] if path else ""
        in_square = "squares" in path
        if is_expression(node):
            for monomial in node:
                out.append(("coefficient + 1", (*path, monomial), _change(path, monomial, lambda c: c + 1)))
                if not (in_square and len(at(certificate, path)) == 1):
                    out.append(("sign", (*path, monomial), _change(path, monomial, lambda c: -c)))
                if len(monomial.split()) > 1 and ("words" in path or last in ("left", "right", "word")):
                    out.append(("factors swapped", (*path, monomial), _rename(path, monomial, _swap(monomial))))
                if monomial != "1":
                    out.append(("factor repeated", (*path, monomial), _rename(path, monomial, _repeat(monomial))))
                    flipped = _transpose(monomial)
                    if flipped != monomial and ("words" in path or last in ("left", "right", "word")):
                        out.append(("transposed", (*path, monomial), _rename(path, monomial, flipped)))
        if last == "coef":
            out.append(("term weight + 1", path, _set(path, str(Fraction(node) + 1))))
            out.append(("term weight negated", path, _set(path, str(-Fraction(node)))))
        if last == "is" and node == ">=0" and is_goal(certificate, path):
            out.append(("made strict", path, _set(path, ">0")))
        if last == "is" and node == "=0" and not {"hypotheses", "given"} & set(path):
            out.append(("relation exchanged", path, _set(path, ">0")))
        if len(path) == 2 and path[0] in ("hypotheses", "steps"):
            out.append((f"{str(path[0])[:-1]} dropped", path, _drop(path)))
        if len(path) >= 2 and path[-2] in ("terms", "equalities", "given", "squares") and isinstance(last, int):
            out.append((f"{path[-2]} entry dropped", path, _drop(path)))
    return out


def is_goal(certificate: dict[str, Any], path: Path) -> bool:
    """Whether the path lies in the fact of a goal; an auxiliary step may well be true in a stronger form."""
    return (
        path[0] == "steps"
        and len(path) == 4
        and any(certificate["steps"][path[1]]["name"] == goal["name"] for goal in certificate["goals"])
    )


def _change(path: Path, key: str, f: Callable[[Fraction], Fraction]) -> Callable[[dict[str, Any]], None]:
    def act(c: dict[str, Any]) -> None:
        node = at(c, path)
        node[key] = str(f(Fraction(node[key])))

    return act


def _rename(path: Path, old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def act(c: dict[str, Any]) -> None:
        node = at(c, path)
        value = node.pop(old)
        node[new] = str(Fraction(value) + Fraction(node.get(new, 0)))

    return act


def _set(path: Path, value: Any) -> Callable[[dict[str, Any]], None]:
    def act(c: dict[str, Any]) -> None:
        at(c, path[:-1])[path[-1]] = value

    return act


def _drop(path: Path) -> Callable[[dict[str, Any]], None]:
    def act(c: dict[str, Any]) -> None:
        del at(c, path[:-1])[path[-1]]

    return act


def _swap(monomial: str) -> str:
    parts = monomial.split()
    return " ".join([*parts[:-2], parts[-1], parts[-2]])


def _repeat(monomial: str) -> str:
    return f"{monomial} {monomial.split()[-1]}"


def _transpose(word: str) -> str:
    parts = word.split()
    parts[-1] = parts[-1][:-1] if parts[-1].endswith("'") else parts[-1] + "'"
    return " ".join(parts)


def mutants(certificate: dict[str, Any], count: int, seed: int = 0) -> list[Mutant]:
    """`count` different mutants (fewer if there are not so many), drawn evenly over the kinds of change.

    Changes that leave the certificate's meaning alone (commuting scalars swapped, a symmetric letter transposed) are not
    counted as mutants: their canonical form is that of the original.
    """
    rng = random.Random(f"{certificate['claim']}/{seed}")
    kinds: dict[str, list[Any]] = {}
    for item in candidates(certificate):
        kinds.setdefault(item[0], []).append(item)
    for items in kinds.values():
        rng.shuffle(items)
    original = canonical(certificate)
    out: list[Mutant] = []
    while kinds and len(out) < count:
        for kind in list(kinds):
            if not kinds[kind]:
                del kinds[kind]
                continue
            _, path, act = kinds[kind].pop()
            changed = copy.deepcopy(certificate)
            act(changed)
            if canonical(changed) != original and len(out) < count:
                out.append(Mutant(f"{kind} at {'/'.join(map(str, path))}", changed))
    return out


def canonical(certificate: dict[str, Any]) -> Any:
    """A form in which two certificates agree if they say the same with the same proof."""
    declared = certificate["symbols"]
    scalars, symmetric = set(declared["scalars"]), set(declared["symmetric"])

    def normal(monomial: str) -> str:
        tokens = [t if t.rstrip("'") not in symmetric else t.rstrip("'") for t in monomial.split()]
        commuting = sorted(t for t in tokens if t.partition("^")[0] in scalars or t.startswith("<"))
        return " ".join(commuting + [t for t in tokens if t not in commuting])

    def turned(word: str) -> str:
        tokens = normal(word).split()
        front = [t for t in tokens if t.partition("^")[0] in scalars]
        letters = tokens[len(front) :]
        flipped = [t if t in symmetric else (t[:-1] if t.endswith("'") else t + "'") for t in reversed(letters)]
        turns = [w[i:] + w[:i] for w in (letters, flipped) for i in range(max(1, len(w)))]
        return " ".join(front + min(turns))

    def visit(node: Any) -> Any:
        if isinstance(node, dict) and str(node.get("is", "")).startswith("trace") and "words" in node:
            return tuple(sorted((turned(k), str(Fraction(v))) for k, v in node["words"].items())), node["is"]
        if is_expression(node):
            return tuple(sorted((normal(k), str(Fraction(v))) for k, v in node.items() if Fraction(v)))
        if isinstance(node, dict):
            return tuple(sorted((k, visit(v)) for k, v in node.items() if k not in ("text", "statement")))
        if isinstance(node, list):
            return tuple(map(visit, node))
        return node

    return visit(certificate)


def survivors(certificate: dict[str, Any], count: int, seed: int = 0) -> tuple[int, list[Mutant]]:
    """How many mutants were tried, and those that the checker accepted."""
    tried = mutants(certificate, count, seed)
    alive = []
    for mutant in tried:
        try:
            checker.check(mutant.certificate)
        except checker.Rejected:
            continue
        alive.append(mutant)
    return len(tried), alive
