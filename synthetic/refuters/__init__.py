"""Solvers as refuters: z3 and, as a second opinion, cvc5 attack the statements that are polynomial.

Goals about scalars and vectors are read from the certificate, so what is attacked is what the checker accepted; their hypotheses
are all that the claim states.  Statements about matrices are evaluated as they stand.  Vectors get coordinates in R^k for small
k, or inner products alone; sums of any length get a few terms.  The claim itself must not be refuted; with an assumption
dropped, or a tight constant tightened by one percent, a witness must be found.

A solver is never believed.  Its model is turned into rationals and every fact is evaluated again here, exactly; and its
silence is no proof: "not refuted" is about k dimensions and n terms, "gave up" says nothing at all.
"""

from .attack import Attack, Worker, attack
from .encoding import Encoding, solve
from .problem import Problem, problems, without_matrices
from .solver import SOLVERS, Solver

__all__ = [
    "SOLVERS",
    "Attack",
    "Encoding",
    "Problem",
    "Solver",
    "Worker",
    "attack",
    "problems",
    "solve",
    "without_matrices",
]
