"""False claims through the whole way from a statement to a certificate: however they are argued, none is accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from crossmodal.theory.certify import certify
from crossmodal.theory.claim import Assumption, Claim, Statement
from crossmodal.theory.language import Recursion, Relation, identity, matrix, scalars
from crossmodal.theory.proof import Proof, square
from sympy import Trace

x, y, S, T = scalars("x y S T")
A, B = matrix("A", "n", "d"), matrix("B", "m", "d")


def claim(relation: Relation, derive: Callable[[Proof], None], *assumed: Relation, **more: Any) -> Claim:
    assumptions = tuple(Assumption(f"a{k}", "", (r,)) for k, r in enumerate(assumed))
    statement = Statement("false", (relation,), assumptions, **more)
    return Claim(
        id="X1",
        title="false",
        family="",
        source="",
        paper="",
        statement=statement,
        inputs=(),
        bind=lambda x, ops: {},
        derive=derive,
    )


def traces(p: Proof) -> None:
    """Two identities of different size look alike as words."""
    p.free("false", using=[("a0", "A A'"), ("a1", "B B'")])


def chosen(p: Proof) -> None:
    """The proof calls a root of 1 by the name of the symbol that the statement is about."""
    p.positive("one", 1, terms=[square()], strict=True)
    p.sqrt("s", of="one", as_=x)
    p.positive("pos", 1 + x, terms=[square(facts=["s.sign"]), square()], strict=True)
    p.inverse("i", of="pos", as_=y)
    p.ideal("false", using=[("s.square", -y), ("i.product", x - 1)])


def entangled(p: Proof) -> None:
    """T starts at S: the first S, or the last one?"""

    def base(p: Proof, name: str, goal: Any) -> None:
        p.ideal(name, goal, using=[])

    def same(p: Proof, name: str) -> None:
        p.induction(
            name, T - S, recursion="R2", base=base, step=lambda p, n, goal: p.ideal(n, goal, using=["hypothesis"])
        )

    def step(p: Proof, name: str, goal: Any) -> None:
        same(p, "inner")
        p.ideal(name, goal, using=[("inner", -S - 1)])

    p.induction("product", S * (S - T - 1), recursion="R1", base=base, step=step)
    same(p, "top")
    p.ideal("false", using=[("product", 1), ("top", S)])


FALSE = {
    "tr AA' = tr BB' where AA' = I_n and BB' = I_m": (
        claim(Relation("false", Trace(A * A.T), "==", Trace(B * B.T)), traces,
              Relation("", A * A.T, "==", identity("n")), Relation("", B * B.T, "==", identity("m"))),
        "left over",
    ),
    "every number is 1": (claim(Relation("false", x, "==", 1), chosen), "said already"),
    "a counter of steps is 0": (
        claim(Relation("false", S, "==", 0), entangled, recursions={
            "R1": Recursion(start={S: 0}, update={S: S + 1}), "R2": Recursion(start={T: S}, update={T: T})}),
        "state",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_no_certificate_for_a_false_claim(name: str) -> None:
    false, why = FALSE[name]
    found = certify(false)
    assert not found.accepted
    assert why in str(found.reason)


def test_the_trace_of_an_identity_is_not_in_the_language() -> None:
    false = claim(
        Relation("false", Trace(identity("n")), "==", Trace(identity("m"))), lambda p: p.free("false", using=[])
    )
    found = certify(false)
    assert not found.accepted
    assert "its size" in found.reason
