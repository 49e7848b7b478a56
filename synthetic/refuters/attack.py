"""The attack on a claim: itself, without each assumption, with tight constants one percent tighter."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, Literal

from ...theory.claim import Claim
from ...theory.language import BlockRecursion
from .encoding import DIMENSIONS, GRAM, solve
from .matrices import MatrixProblem, NotPolynomial, matrix_variants
from .problem import Problem, belongs, polynomial_variants
from .solver import SOLVERS, Solver

LENGTHS = (1, 2)  # of sums of any length
GROWING = ((1, 1), (1, 2), (2, 1), (2, 2), (2, 3))  # size of every dimension, steps of a matrix recursion
BLOCKS = (
    ((2,), 2, 1),
    ((1, 2), 2, 2),
    ((2, 1), 2, 2),
    ((2, 2), 3, 2),
)  # the same with blocks of several rows: their rows first
FIXED = ((1, 0), (2, 0))
MOST_VECTORS = 8  # for an encoding by inner products: 2^8 - 1 minors
FIRST_SHARE = 0.25  # seconds a case in the first round
FEW = 4  # cases in the first round, and more of them in every further one

Outcome = Literal["refuted", "not refuted", "gave up"]


@dataclass(frozen=True)
class Attack:
    """One attack and how it went.

    Args:
        variant: ``the claim``, ``without NAME``, or ``RELATION 1% tighter``.
        goal: the fact refuted, or those tried.
        outcome: ``refuted`` (with a witness), ``not refuted`` (no model exists within the sizes tried, says the
            solver), ``gave up`` (time, or a fact that is no polynomial).
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


Case = tuple["Problem | MatrixProblem", int, int]  # what to refute, the size, the number of steps


def attempt(claim: str, variant: str, cases: list[Case], solver: Solver, timeout_s: float) -> Attack:
    """One variant: refuted as soon as one of its cases is.

    In rounds: the first few cases, which are wanted most, get little time; every further round takes in some more and doubles
    the time of each.  So what is easy is found at once, and what is hard in at most a few times what it takes by itself,
    however slow the machine.
    """
    start = now = time.monotonic()
    deadline = start + timeout_s
    left, algebraic, share, width = list(cases), None, min(FIRST_SHARE, timeout_s), FEW
    unasked = False
    while left and now < deadline:
        for case in left[:width]:
            problem, k, n = case
            until = min(deadline, now + share)
            try:
                if isinstance(problem, Problem):
                    answer, witness, confirmed = solve(problem, k, n, solver, until)
                else:
                    answer, witness, confirmed = problem.solve(k, n, solver, until)
            except NotPolynomial:
                answer, unasked = "unsat", True  # nothing for a solver, so nothing that it says
            now = time.monotonic()
            if answer == "unsat":
                left = [other for other in left if other is not case]
                width -= 1
            elif answer == "sat":
                seconds = now - start
                found = Attack(claim, variant, problem.goal_name, solver.name, "refuted", witness, confirmed, seconds)
                if confirmed:
                    return found
                algebraic = algebraic or found
            if now > deadline:
                break
        share, width = 2 * share, width + FEW
    if algebraic is not None:
        return algebraic
    outcome: Outcome = "gave up" if left or unasked else "not refuted"
    return Attack(claim, variant, goals_of(cases), solver.name, outcome, seconds=time.monotonic() - start)


def goals_of(cases: list[Case]) -> str:
    return ", ".join(dict.fromkeys(problem.goal_name for problem, _, _ in cases))


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
        cases: list[Case],
        solver: str,
        timeout_s: float,
    ) -> Attack:
        """`attempt`, ended a second after its time; then it gave up, and a new process stands ready."""
        self.connection.send((claim, variant, cases, solver, timeout_s))
        try:
            if self.connection.poll(timeout_s + 1.0):
                found: Attack | Exception = self.connection.recv()
                if isinstance(found, Exception):
                    raise found  # a fault of ours must not pass for a solver that gave up
                return found
        except EOFError:  # the solver took its process with it
            pass
        self.stop()
        self.start()
        return Attack(claim, variant, goals_of(cases), solver, "gave up", seconds=timeout_s + 1.0)


def serve(connection: Any) -> None:
    """The loop of the process."""
    solvers: dict[str, Solver] = {}
    connection.send("ready")
    while True:
        try:
            claim, variant, cases, name, timeout_s = connection.recv()
        except EOFError:
            return
        found: Attack | Exception
        try:
            found = attempt(claim, variant, cases, solvers.setdefault(name, Solver(name)), timeout_s)
        except Exception as error:  # whatever it is, the other process shows it
            found = RuntimeError(f"{claim}, {variant}, {name}: {type(error).__name__}: {error}")
        connection.send(found)


def attack(
    claim: Claim,
    timeout_s: float = 5.0,
    solvers: Iterable[str] = SOLVERS,
    worker: Worker | None = None,
    variants: Mapping[str, list[Case]] | None = None,
) -> list[Attack]:
    """Attack a claim, the claim without each droppable assumption, and each tight constant tightened by one percent.

    Args:
        timeout_s: for every variant and solver, all sizes together.
        worker: one to use; a new one is started otherwise (seconds).
        variants: some of `variants_of(claim)`; all of them by default.

    Returns:
        one `Attack` a variant and solver; empty where no goal is polynomial (a maximum inside a sum, say).

    Raises:
        InputError: a solver is not installed.
    """
    chosen = [Solver(s).name for s in solvers]
    found = variants_of(claim) if variants is None else variants
    if not found:
        return []
    with nullcontext(worker) if worker else Worker() as w:
        return [w.attempt(claim.id, name, cases, s, timeout_s) for name, cases in found.items() for s in chosen]


def variants_of(claim: Claim) -> dict[str, list[Case]]:
    """The claim, the claim without each assumption, each tight constant one percent tighter: what to refute in each."""
    out: dict[str, list[Case]] = {}
    found: list[tuple[str, Sequence[Problem | MatrixProblem]]] = [*polynomial_variants(claim), *matrix_variants(claim)]
    for name, problem_list in found:
        dropped = name.removeprefix("without ")
        wanted = claim.necessity[dropped].relation if dropped in claim.necessity else ""
        cases = [case for problem in problem_list for case in sized(problem, name == "the claim")]
        out[name] = sorted(out.get(name, []) + cases, key=lambda c: not (wanted and belongs(c[0].goal_name, wanted)))
    return out


def sized(problem: Problem | MatrixProblem, whole: bool) -> list[Case]:
    """A problem at the sizes to be tried: small ones for a witness, the largest alone where none should exist."""
    if isinstance(problem, MatrixProblem):
        grows = [r for r in problem.statement.recursions.values() if isinstance(r, BlockRecursion)]
        several = BLOCKS if any(r.by != "1" for r in grows) else ()
        if whole:
            return [(problem, 2, 2 if grows else 0), *((replace(problem, heights=h), k, n) for h, k, n in several[1:2])]
        plain: list[Case] = [(problem, k, n) for k, n in (GROWING if grows else FIXED)]
        return plain + [(replace(problem, heights=h), k, n) for h, k, n in several]
    lengths = LENGTHS if problem.recursions else (0,)
    dimensions = [k for k in DIMENSIONS if k <= max(len(problem.vectors), 1)]
    if whole:
        return [(problem, min(2, dimensions[-1]), lengths[-1])]
    gram = [(GRAM, 0)] if not problem.recursions and 0 < len(problem.vectors) <= MOST_VECTORS else []
    return [(problem, k, n) for k, n in gram + [(k, n) for n in lengths for k in dimensions]]
