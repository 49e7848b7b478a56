"""Solvers as refuters: z3 and, as a second opinion, cvc5 attack the statements that are polynomial.

Hypotheses and goals are read from the certificate, so what is attacked is what the checker accepted.  Vectors get
coordinates in R^k for small k, sums of any length a few terms.  The claim itself must not be refuted; with an assumption
dropped, or a tight constant tightened by one percent, a witness must be found.

A solver is never believed.  Its model is turned into rationals and every fact is evaluated again here, exactly; and its
silence is no proof: "not refuted" is about k dimensions and n terms, "gave up" says nothing at all.
"""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing import get_context
from typing import Any, Literal

import sympy

from ..theory import lowering
from ..theory.certify import derive
from ..theory.claim import Claim
from ..theory.errors import InputError
from ..theory.language import Relation
from ..theory.proof import Proof
from .arithmetic import lower_end, root, upper_end

SOLVERS = ("z3", "cvc5")
DIMENSIONS = (1, 2, 3)  # of the vectors, where a witness is wanted
LENGTHS = (1, 2)  # of sums of any length
PERCENT = sympy.Rational(1, 100)
LEGS = (
    (0, 1, 1),
    (3, 4, 5),
    (5, 12, 13),
    (8, 15, 17),
    (7, 24, 25),
    (20, 21, 29),
    (9, 40, 41),
    (28, 45, 53),
    (33, 56, 65),
)
CIRCLE = sorted(
    {Fraction(s * a, c) for p, q, c in LEGS for a in (p, q) for s in (1, -1)}
)  # coordinates of unit vectors
SMALL = sorted({Fraction(s * p, q) for q in (1, 2, 3, 4) for p in range(2 * q + 1) for s in (1, -1)})

Outcome = Literal["refuted", "not refuted", "gave up"]
Poly = Mapping[str, str]
Fact = Mapping[str, Any]  # {"poly": .., "is": "=0" | ">=0" | ">0"}


@dataclass(frozen=True)
class Attack:
    """One attack and how it went.

    Args:
        variant: ``the claim``, ``without NAME``, or ``RELATION 1% tighter``.
        goal: the fact refuted, or those tried.
        outcome: ``refuted`` (with a witness), ``not refuted`` (no model exists within the sizes tried, says the
            solver), ``gave up`` (time).
        witness: free symbols and what follows from them: fractions, vectors as lists of them; in an algebraic witness
            the solver's own notation.
        confirmed: all facts were evaluated again in exact rationals here.  False for algebraic witnesses.
    """

    claim: str
    variant: str
    goal: str
    solver: str
    outcome: Outcome
    witness: Mapping[str, Any] | None = None
    confirmed: bool = False
    seconds: float = 0.0


# -- what is attacked -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Hypotheses and a fact to refute; ``dropped`` names of hypotheses are left out.

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
        return Problem(kept, self.goal_name, self.goal, self.recursions, self.vectors, self.where)


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


# -- polynomials in any arithmetic ----------------------------------------------------------------------------


class Values:
    """Values of the symbols of a certificate in some ring: solver terms, fractions, enclosures.

    ``defined`` maps a scalar or an inner product to the polynomial it is equal to.
    """

    def __init__(
        self, scalars: dict[str, Any], vectors: dict[str, list[Any]], defined: Mapping[str, Poly], number: Any
    ):
        self.scalars, self.vectors, self.defined, self.number = scalars, vectors, defined, number
        self.known: dict[str, Any] = {}
        self.constants = {t: Fraction(p.get("1", 0)) for t, p in defined.items() if set(p) <= {"1"}}
        self.product = self.inner  # how an inner product that nothing defines gets its value

    def inner(self, token: str) -> Any:
        x, y = (self.vectors[v] for v in token[1:-1].split(","))
        return sum((a * b for a, b in zip(x, y, strict=True)), self.number(Fraction(0)))

    def moved(self, scalars: Mapping[str, Any], vectors: Mapping[str, list[Any]]) -> Values:
        """The same with some symbols replaced."""
        return Values({**self.scalars, **scalars}, {**self.vectors, **vectors}, self.defined, self.number)

    def __getitem__(self, token: str) -> Any:
        if token in self.scalars:
            return self.scalars[token]
        if token not in self.known:
            if token in self.defined:
                self.known[token] = self.poly(self.defined[token])
            else:
                self.known[token] = self.product(token)
        return self.known[token]

    def poly(self, data: Poly) -> Any:
        total = self.number(Fraction(0))
        data = folded(data, self.constants) if self.constants else data
        for text, c in data.items():
            term = self.number(Fraction(c))
            for token, k in factors(text):
                for _ in range(k):
                    term = term * self[token]
            total = total + term
        return total

    def combination(self, data: Mapping[str, Poly]) -> list[Any]:
        size = len(next(iter(self.vectors.values())))
        total = [self.number(Fraction(0))] * size
        for name, coefficient in data.items():
            c = self.poly(coefficient)
            total = [a + c * b for a, b in zip(total, self.vectors[name], strict=True)]
        return total

    def run(self, recursion: Mapping[str, Any], fresh: list[tuple[dict[str, Any], dict[str, Any]]]) -> Values:
        """The values after as many steps of a recursion as there are fresh symbols."""
        now = self
        moves: list[tuple[Any, Any]] = [(recursion["start"], ({}, {})), *((recursion["update"], f) for f in fresh)]
        for move, (scalars, vectors) in moves:
            here = now.moved(scalars, vectors)
            new_vectors = {k: here.combination(v) for k, v in move.items() if nested(v)}
            new_scalars = {k: here.poly(v) for k, v in move.items() if not nested(v)}
            now = now.moved(new_scalars, new_vectors)
        return now


def nested(value: Mapping[str, Any]) -> bool:
    return any(isinstance(v, Mapping) for v in value.values())


def factors(monomial: str) -> Iterator[tuple[str, int]]:
    for token in monomial.split():
        if token != "1":
            name, caret, k = token.partition("^")
            yield name, int(k) if caret else 1


def folded(poly: Poly, constants: Mapping[str, Fraction]) -> dict[str, str]:
    """The polynomial with constants put for some symbols, like terms added: far fewer terms with lengths 1."""
    out: dict[str, Fraction] = {}
    for text, c in poly.items():
        value, rest = Fraction(c), []
        for item, (token, k) in zip(text.split(), factors(text), strict=False):
            if token in constants:
                value *= constants[token] ** k
            else:
                rest.append(item)
        key = " ".join(rest) or "1"
        out[key] = out.get(key, Fraction(0)) + value
    return {m: str(c) for m, c in out.items() if c}


def tokens(poly: Poly) -> set[str]:
    return {name for text in poly for name, _ in factors(text)}


def definitions(problem: Problem) -> dict[str, tuple[str, Poly]]:
    """Symbols that a hypothesis expresses by others: ``{symbol: (hypothesis, polynomial)}``, without circles.

    Scalars come first; then inner products (whose coordinates keep the hypothesis as a constraint).
    """
    state = {s for r in problem.recursions.values() for s in r["update"]}
    found: dict[str, tuple[str, Poly]] = {}

    def needs(token: str, seen: set[str]) -> set[str]:
        if token not in seen:
            seen.add(token)
            for inside in tokens(found[token][1]) if token in found else ():
                needs(inside, seen)
        return seen

    for inner in (False, True):
        for name, fact in problem.hypotheses:
            if fact["is"] != "=0" or name in {n for n, _ in found.values()} or name.endswith((".square", ".product")):
                continue
            for text, c in fact["poly"].items():
                rest = {m: str(-Fraction(v) / Fraction(c)) for m, v in fact["poly"].items() if m != text}
                free = text not in state and text not in found and text not in tokens(rest)
                if " " in text or "^" in text or text == "1" or text.startswith("<") != inner or not free:
                    continue
                if all(text not in needs(t, set()) for t in tokens(rest)):
                    found[text] = (name, rest)
                    break
    return found


# -- solvers --------------------------------------------------------------------------------------------------


class Solver:
    """One of the two, behind the interface they share."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self.api = importlib.import_module("z3" if name == "z3" else "cvc5.pythonic")
        except ImportError:
            raise InputError(
                f"the refuter {name} is not installed",
                expected="z3-solver and cvc5",
                fix="pip install 'crossmodal[test]'",
            ) from None

    def new(self, seconds: float) -> Any:
        milliseconds = max(1, int(seconds * 1000))
        if self.name == "z3":
            solver = self.api.Then("simplify", "propagate-values", "qfnra-nlsat").solver()
            solver.set("timeout", milliseconds)
        else:
            solver = self.api.SolverFor("QF_NRA")
            solver.setOption("tlimit-per", milliseconds)
            solver.setOption("produce-models", "true")
        return solver

    def number(self, x: Fraction) -> Any:
        return self.api.Q(x.numerator, x.denominator)

    def holds(self, value: Any, relation: str) -> Any:
        return {"=0": value == 0, ">=0": value >= 0, ">0": value > 0}[relation]

    def fails(self, value: Any, relation: str) -> Any:
        return {"=0": value != 0, ">=0": value < 0, ">0": value <= 0}[relation]


def fraction(value: Any) -> Fraction | None:
    """A solver's number as a fraction; None where it is irrational."""
    try:
        return Fraction(str(value))
    except ValueError:
        return None


@dataclass
class Encoding:
    """A problem in k dimensions with n terms a sum, for one solver."""

    problem: Problem
    k: int
    n: int
    free: dict[str, Any] = field(default_factory=dict)  # unknown -> solver's variable
    fresh: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.defined = definitions(self.problem)

    def values(self, unknown: Any, number: Any, overrides: bool, exact: bool = False) -> tuple[Values, list[Any]]:
        """Values of every symbol with `unknown(name)` for what is free, and the facts of the fresh symbols.

        Rotations change nothing, so vector number i has no coordinates beyond i (Gram and Schmidt).
        """
        p = self.problem
        defined = {t: poly for t, (_, poly) in self.defined.items() if overrides or not t.startswith("<")}
        count = iter(range(10**6))

        def vector(name: str) -> list[Any]:
            i = next(count)
            return [unknown(f"{name}[{j}]") if j <= i else number(Fraction(0)) for j in range(self.k)]

        state = {s for r in p.recursions.values() for s in r["update"]}
        inside = {s for r in p.recursions.values() for group in r["fresh"].values() for s in group}
        facts = [f for _, f in p.hypotheses] + [p.goal, *p.where]
        named = set().union(*(tokens(f["poly"]) for f in facts), *(tokens(d) for d in defined.values()))
        for r in p.recursions.values():
            polys = [
                *(v for part in ("start", "update") for v in r[part].values()),
                *(g["fact"]["poly"] for g in r["given"]),
            ]
            named |= {t for v in polys for q in (v.values() if nested(v) else (v,)) for t in tokens(q)}
        vectors = {v: vector(v) for v in p.vectors if v not in state and v not in inside} or {"": [number(Fraction(0))]}
        plain = sorted(
            t for t in named if not t.startswith("<") and t not in state | inside | set(defined) | set(p.vectors)
        )
        values = Values({}, vectors, defined, number)
        special = self.special() if exact else {}
        for t in plain:
            if t not in special:
                values.scalars[t] = unknown(t)
        for t, make in special.items():
            values.scalars[t] = make(values)
        given: list[Any] = []
        for name, r in p.recursions.items():
            steps = []
            for step in range(self.n):
                scalars = {s: unknown(f"{s}#{name}{step}") for s in r["fresh"].get("scalars", ())}
                steps.append((scalars, {v: vector(f"{v}#{name}{step}") for v in r["fresh"].get("vectors", ())}))
                here = values.moved(*steps[-1])
                given += [(here.poly(g["fact"]["poly"]), g["fact"]["is"]) for g in r["given"]]
            values = values.run(r, steps)
        return values, given

    def special(self) -> dict[str, Any]:
        """Square roots and reciprocals, which follow from the rest: ``{symbol: value from values}``."""
        out = {}
        for name, fact in self.problem.hypotheses:
            symbol, _, kind = name.rpartition(".")
            if kind == "square":
                rest = {
                    m: str(-Fraction(c) / Fraction(fact["poly"][f"{symbol}^2"]))
                    for m, c in fact["poly"].items()
                    if m != f"{symbol}^2"
                }
                out[symbol] = lambda v, rest=rest: root(v.poly(rest))
            elif kind == "product":  # symbol * base - 1, up to a factor
                scale = -1 / Fraction(fact["poly"]["1"])
                base = {
                    " ".join(t for t in m.split() if t != symbol) or "1": str(Fraction(c) * scale)
                    for m, c in fact["poly"].items()
                    if m != "1"
                }
                out[symbol] = lambda v, base=base: 1 / v.poly(base)
        return out

    def constraints(self, solver: Solver) -> list[Any]:
        def unknown(name: str) -> Any:
            return self.free.setdefault(name, solver.api.Real(name))

        full, given = self.values(unknown, solver.number, overrides=True)
        plain, _ = self.values(unknown, solver.number, overrides=False)
        products: dict[str, Any] = {}
        full.product = lambda token: products.setdefault(token, solver.api.Real(token))
        found = self.defined
        out = [solver.holds(v, r) for v, r in given]
        for name, fact in self.problem.hypotheses:
            token = next((t for t, (n, _) in found.items() if n == name), None)
            if token is None:
                out.append(solver.holds(full.poly(fact["poly"]), fact["is"]))
            elif token.startswith("<"):  # the inner product was replaced: its coordinates must agree
                out.append(plain[token] == full.poly(found[token][1]))
        out += [solver.holds(full.poly(f["poly"]), f["is"]) for f in self.problem.where]
        out.append(solver.fails(full.poly(self.problem.goal["poly"]), self.problem.goal["is"]))
        return out + [x == plain[token] for token, x in products.items()]

    def confirm(self, point: Mapping[str, Fraction]) -> dict[str, Any] | None:
        """Evaluate every fact exactly at a rational point: the witness, or None if it is none."""
        try:
            values, given = self.values(lambda name: point[name], lambda x: x, overrides=False, exact=True)
            facts = [
                (values.poly(f["poly"]), f["is"])
                for n, f in self.problem.hypotheses
                if not n.endswith((".square", ".product"))
            ]
            facts += [*given, *((values.poly(f["poly"]), f["is"]) for f in self.problem.where)]
            goal = values.poly(self.problem.goal["poly"])
        except (ZeroDivisionError, ValueError, KeyError):
            return None
        if not all(certainly(v, r) for v, r in facts) or not certainly_not(goal, self.problem.goal["is"]):
            return None
        scalars = {t: str(values[t]) for t in sorted({*values.scalars, *values.defined}) if not t.startswith("<")}
        return {**scalars, **{v: [str(x) for x in row] for v, row in values.vectors.items() if v}}


def certainly(value: Any, relation: str) -> bool:
    low, high = lower_end(value), upper_end(value)
    return {"=0": low == high == 0, ">=0": low >= 0, ">0": low > 0}[relation]


def certainly_not(value: Any, relation: str) -> bool:
    low, high = lower_end(value), upper_end(value)
    return {"=0": low > 0 or high < 0, ">=0": high < 0, ">0": high <= 0}[relation]


def solve(problem: Problem, k: int, n: int, solver: Solver, deadline: float) -> tuple[str, dict[str, Any] | None, bool]:
    """``sat`` with a witness and whether it is confirmed, ``unsat``, or ``unknown``."""
    encoding = Encoding(problem, k, n)
    constraints = encoding.constraints(solver)

    def check(extra: Iterable[Any], seconds: float) -> tuple[str, dict[str, Any]]:
        one = solver.new(max(0.05, seconds))
        for c in (*constraints, *extra):
            one.add(c)
        answer = str(one.check())
        model = one.model() if answer == "sat" else None
        shown = {name: str(model.eval(v, model_completion=True)) for name, v in encoding.free.items()} if model else {}
        return answer, shown

    answer, shown = check((), deadline - time.monotonic())
    if answer != "sat":
        return answer, None, False
    pins: list[Any] = []
    while True:  # pin one irrational unknown after another to a number that a person can read
        point = {name: fraction(v) for name, v in shown.items()}
        rational = {name: v for name, v in point.items() if v is not None}
        special = encoding.special()
        if len(rational) == len(point) or all(name in special for name in set(point) - set(rational)):
            witness = encoding.confirm(rational)
            if witness is not None:
                return "sat", witness, True
        name = next((m for m, v in point.items() if v is None and m not in special), None)
        if name is None or time.monotonic() > deadline:
            return "sat", shown, False
        near = approximation(shown[name])
        close = [sorted(numbers, key=lambda x: abs(x - near))[:8] for numbers in (CIRCLE, SMALL)]
        for value in itertools.chain(*close):
            pin = encoding.free[name] == solver.number(value)
            answer, found = check((*pins, pin), min(0.5, deadline - time.monotonic()))
            if answer == "sat":
                pins, shown = [*pins, pin], found
                break
            if time.monotonic() > deadline:
                return "sat", shown, False
        else:
            return "sat", shown, False


def approximation(text: str) -> float:
    """Roughly the number a solver printed: ``1.414?``, or an isolating interval ``(5/4, 3/2)``."""
    try:
        return float(text.rstrip("?"))
    except ValueError:
        ends = text.rpartition("(")[2].strip(" )>").split(",")
        numbers = [float(Fraction(e.strip())) for e in ends if fraction(e.strip()) is not None]
        return sum(numbers) / len(numbers) if numbers else 0.0


def attempt(
    claim: str, variant: str, cases: list[Problem], sizes: list[tuple[int, int]], solver: Solver, timeout_s: float
) -> Attack:
    """One variant: refuted as soon as one of its cases is."""
    start = time.monotonic()
    deadline = start + timeout_s
    answers, algebraic = [], None
    queue = [(p, k, n) for p in cases for k, n in sizes]
    for i, (problem, k, n) in enumerate(queue):
        now = time.monotonic()
        share = max((deadline - now) / (len(queue) - i) * 2, 0.0)
        if now > deadline:
            answers.append("unknown")
            break
        answer, witness, confirmed = solve(problem, k, n, solver, min(deadline, now + share))
        answers.append(answer)
        if answer == "sat":
            found = Attack(
                claim, variant, problem.goal_name, solver.name, "refuted", witness, confirmed, time.monotonic() - start
            )
            if confirmed:
                return found
            algebraic = algebraic or found
    if algebraic is not None:
        return algebraic
    goals = ", ".join(dict.fromkeys(p.goal_name for p in cases))
    outcome: Outcome = "gave up" if "unknown" in answers else "not refuted"
    return Attack(claim, variant, goals, solver.name, outcome, seconds=time.monotonic() - start)


class Worker:
    """A process that runs attempts, because a solver inside an algebraic computation heeds no time limit of its own."""

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.connection.recv()  # it is ready: loading does not count

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def attempt(
        self,
        claim: str,
        variant: str,
        cases: list[Problem],
        sizes: list[tuple[int, int]],
        solver: str,
        timeout_s: float,
    ) -> Attack:
        """`attempt`, ended a second after its time; then it gave up, and a new process stands ready."""
        self.connection.send((claim, variant, cases, sizes, solver, timeout_s))
        try:
            if self.connection.poll(timeout_s + 1.0):
                found: Attack = self.connection.recv()
                return found
        except EOFError:  # the solver took its process with it
            pass
        self.stop()
        self.start()
        goals = ", ".join(dict.fromkeys(p.goal_name for p in cases))
        return Attack(claim, variant, goals, solver, "gave up", seconds=timeout_s + 1.0)


def serve(connection: Any) -> None:
    """The loop of the process."""
    solvers: dict[str, Solver] = {}
    connection.send("ready")
    while True:
        try:
            claim, variant, cases, sizes, name, timeout_s = connection.recv()
        except EOFError:
            return
        solver = solvers.setdefault(name, Solver(name))
        connection.send(attempt(claim, variant, cases, sizes, solver, timeout_s))


def attack(
    claim: Claim,
    timeout_s: float = 5.0,
    solvers: Iterable[str] = SOLVERS,
    worker: Worker | None = None,
    only: str = "",
) -> list[Attack]:
    """Attack a claim, the claim without each droppable assumption, and each tight constant tightened by one percent.

    Args:
        timeout_s: for every variant and solver, all sizes together.
        worker: one to use; a new one is started otherwise (seconds).
        only: the label of one variant (such as ``the claim``), or ``variants`` for all but the claim.

    Returns:
        one `Attack` a variant and solver; empty where every goal needs matrices (those are attacked by
        `crossmodal.synthetic.falsify`).

    Raises:
        InputError: a solver is not installed.
    """
    chosen = [Solver(s).name for s in solvers]
    goals = problems(claim)
    if not goals:
        return []
    n_vectors = len(goals[0].vectors)
    lengths = LENGTHS if goals[0].recursions else (0,)
    dimensions = [k for k in DIMENSIONS if k <= max(n_vectors, 1)]
    sizes = [(k, n) for n in lengths for k in dimensions]
    largest = [(min(2, dimensions[-1]), lengths[-1])]
    variants: list[tuple[str, list[Problem], list[tuple[int, int]]]] = [("the claim", goals, largest)]
    for assumption in claim.droppable():
        if not any(belongs(name, assumption.name) for name, _ in goals[0].hypotheses):
            continue
        wanted = claim.necessity[assumption.name].relation if assumption.name in claim.necessity else ""
        first = sorted(goals, key=lambda p: not (wanted and belongs(p.goal_name, wanted)))
        variants.append((f"without {assumption.name}", [p.without(assumption.name) for p in first], sizes))
    for relation, cases in tightenings(claim).items():
        if any(belongs(p.goal_name, relation) for p in goals):
            p = goals[0]
            tighter = [Problem(p.hypotheses, relation, goal, p.recursions, p.vectors, where) for where, goal in cases]
            variants.append((f"{relation} 1% tighter", tighter, sizes))
    if only:
        variants = [v for v in variants if v[0] == only or (only == "variants" and v[0] != "the claim")]
    with nullcontext(worker) if worker else Worker() as w:
        return [w.attempt(claim.id, name, cases, at, s, timeout_s) for name, cases, at in variants for s in chosen]
