"""The lemma that claims about softmax share: ``0 <= diag(w) - w w' <= I/2`` at one vector, by induction over the classes.

A recursion runs over the classes; class after class it sums P = w, A = w x, Q = w x^2, M = w^2 x^2 and S = x^2.  `covariance` proves
``P Q >= A^2`` and `half` proves ``S/2 - 2 Q + 2 M >= 0`` and ``P Q + A^2 - 2 M >= 0``, whose sum is the upper bound once P = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sympy import Rational

from .proof import Proof, square


@dataclass(frozen=True)
class Form:
    """A number of every class and its sums.

    Args:
        x: the number, of the new class; w: its weight, w >= 0 by fact `weight`.
        mass, first, second: P, A and Q.
        suffix: of the names of the facts, where a claim has several forms.
        recursion: name of the recursion.
    """

    x: Any
    w: Any
    mass: Any
    first: Any
    second: Any
    suffix: str = ""
    recursion: str = "classes"


def nothing_yet(p: Proof, name: str, goal: Any) -> None:
    """The base of an induction over sums."""
    p.positive(name, goal, terms=[], text="nothing is summed yet")


def grows(*terms: Any) -> Any:
    """A step that adds terms of a sum of squares."""

    def step(p: Proof, name: str, goal: Any) -> None:
        p.positive(name, goal, terms=[square(facts=["hypothesis"]), *terms], text="a new class adds nothing negative")

    return step


def induct(p: Proof, form: Form, name: str, expr: Any, step: Any, text: str) -> None:
    p.induction(name, expr, recursion=form.recursion, relation=">=0", base=nothing_yet, step=step, text=text)


def weights(p: Proof, form: Form) -> None:
    """Fact `mass`: P >= 0."""
    induct(p, form, "mass", form.mass, grows(square(facts=["weight"])), "P >= 0")


def covariance(p: Proof, form: Form) -> None:
    """Facts `second` and `variance`: Q >= 0 and P Q - A^2 >= 0; needs `weights`."""
    induct(p, form, f"second{form.suffix}", form.second, grows(square(form.x, facts=["weight"])), "Q >= 0")
    induct(p, form, f"variance{form.suffix}", form.mass * form.second - form.first**2, _against(form, -1),
           "P Q - A^2 = sum over pairs of w w' (x - x')^2 is not negative")  # fmt: skip


def half(p: Proof, form: Form, square_mass: Any, total: Any) -> None:
    """Facts `pairs` and `own`: P Q + A^2 - 2 M >= 0 and S/2 - 2 Q + 2 M >= 0; needs `covariance`."""
    induct(p, form, f"pairs{form.suffix}", form.mass * form.second + form.first**2 - 2 * square_mass, _against(form, 1),
           "P Q + A^2 - 2 M = sum over pairs of w w' (x + x')^2 is not negative")  # fmt: skip

    def step(p: Proof, name: str, goal: Any) -> None:
        p.positive(name, goal, terms=[square(facts=["hypothesis"]), square((1 - 2 * form.w) * form.x, coef=Rational(1, 2))],
                   text="a new class adds (1 - 2 w)^2 x^2 / 2")  # fmt: skip

    induct(
        p,
        form,
        f"own{form.suffix}",
        total / 2 - 2 * form.second + 2 * square_mass,
        step,
        "S/2 - 2 Q + 2 M = sum of (1 - 2 w)^2 x^2 / 2",
    )


def _against(form: Form, sign: int) -> Any:
    """``P x^2 + 2 sign A x + Q >= 0`` for the new class, from ``P Q >= A^2``; then the step of the induction."""
    mass, first, second, x = form.mass, form.first, form.second, form.x

    def step(p: Proof, label: str, goal: Any) -> None:
        known = "hypothesis" if sign < 0 else f"variance{form.suffix}"
        p.refute(
            f"{label}.form", mass * x**2 + 2 * sign * first * x + second,
            terms=[
                square(facts=["not", "not"]), square(x, facts=["not", "mass"], coef=2), square(facts=["not", f"second{form.suffix}"], coef=2),
                square(mass * x**2 - second), square(x, facts=[known], coef=4),
            ],
            text="the squares of both sides of the contrary contradict P Q >= A^2",
        )  # fmt: skip
        p.positive(label, goal, terms=[square(facts=["hypothesis"]), square(facts=["weight", f"{label}.form"])],
                   text="a new class adds w (P x^2 + 2 A x + Q) with the sign of A chosen")  # fmt: skip

    return step
