"""Lemmas that T3.11 and T3.13 share: how long a weighted sum of rank-one pushes is, and what a contraction and a push make together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sympy import Rational

from . import softmax
from .language import Inner, norm2
from .proof import Proof, square, wedge


@dataclass(frozen=True)
class Push:
    """A weighted sum over a recursion and two sums of squares beside it.

    Args:
        total, one: the sum, and what a sample adds to it, times its weight (vectors).
        weight: of the sample, not negative by fact `share`.
        long, x: sum of weight x^2; wide, y: of weight y^2.
        short: of length: by fact `product` ``|one|^2 = x^2 short^2``, and by fact `half` ``4 short^2 <= y^2``.
        product, half: names of those facts.
        recursion: name of the recursion.
    """

    total: Any
    one: Any
    weight: Any
    long: Any
    x: Any
    wide: Any
    y: Any
    short: Any
    product: str
    half: str
    recursion: str = "data"


def take_root(p: Proof, name: str, difference: Any) -> None:
    """Fact ``{name}.cross``: a difference x - y is not negative, from facts ``{name}.bound`` x >= 0 and ``{name}.room`` x^2 >= y^2."""
    p.refute(
        f"{name}.cross", difference,
        terms=[square(facts=["not", "not"]), square(facts=["not", f"{name}.bound"], coef=2), square(facts=[f"{name}.room"])],
        text="take the root",
    )  # fmt: skip


def sums_of_squares(p: Proof, push: Push) -> None:
    """Facts `long` and `wide`: both sums are not negative."""
    for name, total, x in (("long", push.long, push.x), ("wide", push.wide, push.y)):
        p.induction(
            name, total, recursion=push.recursion, relation=">=0", base=softmax.nothing_yet,
            step=lambda p, label, goal, x=x: p.positive(
                label, goal, terms=[square(facts=["hypothesis"]), square(x, facts=["share"])], text="one more square"
            ),
            text="a weighted sum of squares",
        )  # fmt: skip


def length_of_sum(p: Proof, name: str, push: Push) -> None:
    """The goal ``4 |total|^2 <= long wide``, by induction over the samples; needs `sums_of_squares`."""
    long, wide, x, y = push.long, push.wide, push.x, push.y

    def step(p: Proof, name: str, goal: Any) -> None:
        inner, bound = Inner(push.total, push.one), long * y**2 + wide * x**2
        p.positive(
            f"{name}.bound",
            bound,
            terms=[square(y, facts=["long"]), square(x, facts=["wide"])],
            text="not negative",
        )
        p.positive(
            f"{name}.cauchy",
            norm2(push.total) * norm2(push.one) - inner**2,
            terms=[square(wedge(push.total, push.one), coef=Rational(1, 2))],
            text="Cauchy and Schwarz",
        )
        p.positive(
            f"{name}.room", bound**2 - 64 * inner**2,
            terms=[
                square(facts=[f"{name}.cauchy"], coef=64), square(long * y**2 - wide * x**2),
                square(x, push.short, facts=["hypothesis"], coef=16), square(x, facts=["long", "wide", push.half], coef=4),
            ],
            using=[push.product], eliminate=[norm2(push.one)], text="the bounds so far and the inequality of the means",
        )  # fmt: skip
        take_root(p, name, bound - 8 * inner)
        p.positive(
            name, goal,
            terms=[square(facts=["hypothesis"]), square(facts=["share", f"{name}.cross"]), square(push.weight, x, facts=[push.half])],
            using=[push.product], eliminate=[norm2(push.one)], text="a new sample adds omega times the cross terms and its own square",
        )  # fmt: skip

    p.induction(
        name,
        recursion=push.recursion,
        relation=">=0",
        base=softmax.nothing_yet,
        step=step,
        text="by induction on the number of samples",
    )


def after_a_contraction(p: Proof, shrunk: Any, gap: Any, push: Any, eta: Any, bound: Any) -> None:
    """The goal `step`, ``|shrunk - eta push| <= |gap| + eta sqrt(bound) / 2``.

    From facts `stable` ``|shrunk| <= |gap|``, `push` ``4 |push|^2 <= bound`` and `forward` ``eta >= 0``.
    """
    new, old, size = (p.replaced[x] for x in (norm2(shrunk - eta * push), norm2(gap), bound))
    inner = Inner(shrunk, push)
    p.positive(
        "cauchy",
        norm2(shrunk) * norm2(push) - inner**2,
        terms=[square(wedge(shrunk, push), coef=Rational(1, 2))],
        text="Cauchy and Schwarz",
    )
    p.positive(
        "room", (old * size) ** 2 - 4 * inner**2,
        terms=[square(facts=["cauchy"], coef=4), square(shrunk, facts=["push"]), square(size, facts=["stable"])],
        using=[f"{old}.square", f"{size}.square"], eliminate=[norm2(gap)], text="the contracted error is no longer than the error",
    )  # fmt: skip
    p.refute(
        "mixed", old * size + 2 * inner,
        terms=[square(facts=["not", "not"]), square(facts=["not", f"{old}.sign", f"{size}.sign"], coef=2), square(facts=["room"])],
        text="take the root",
    )  # fmt: skip
    p.refute(
        "step",
        terms=[
            square(facts=["not", "not"]), square(facts=["not", f"{old}.sign"], coef=2), square(facts=["not", "forward", f"{size}.sign"]),
            square(facts=["forward", "mixed"]), square(facts=["stable"]), square(eta, facts=["push"], coef=Rational(1, 4)),
        ],
        using=[f"{r}.square" for r in (new, old, size)], eliminate=[norm2(shrunk), norm2(gap)], text="the triangle inequality",
    )  # fmt: skip
