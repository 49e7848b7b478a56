"""E1: the gap between the modalities of one environment, as a claim to begin with: rename it, change it, run it.

crossmodal verify my_claim.py             the verdict, and what is still missing; on your features with --features FILE
crossmodal verify --rewrite my_claim.py   derive the certificate and store it beside this file
crossmodal check my_claim.py --tighten 0.01, --drop unit, --adversarial      attack it
crossmodal show my_claim.py               statement, assumptions, proof
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crossmodal.theory.claim import Assumption, Claim, Statement
from crossmodal.theory.language import Inner, Input, Instance, Relation, norm2, scalars, vectors
from crossmodal.theory.proof import Proof, square

# What the statement is written in: numbers, and vectors of any inner-product space.  `language.py` has matrices and recursions too.
con_it, con_ii, con_tt = scalars("Con_IT Con_II Con_TT")
mu, nu = vectors("mu nu")

STATEMENT = Statement(
    text="The score of an environment's images and texts is the mean of Con_II and Con_TT less half the squared distance of the "
    "mean image and the mean text, so it is at most (1 + Con_II)/2.",
    relations=(
        Relation("gap", con_it, "==", (con_ii + con_tt - norm2(mu - nu)) / 2),
        Relation("bound", con_it, "<=", (1 + con_ii) / 2),
    ),
    assumptions=(
        # What may fail on somebody's features: it needs an instance in `necessity`, below.
        Assumption("unit", "texts have unit length, so their mean is no longer", (Relation("", con_tt, "<=", 1),)),
        # What holds by the definition of the symbols.
        Assumption("scores", "scores are inner products of means (S1)", (
            Relation("", con_it, "==", Inner(mu, nu)), Relation("", con_ii, "==", norm2(mu)), Relation("", con_tt, "==", norm2(nu))), True),
    ),
    symbols={"Con_IT": "score of images and texts", "Con_II": "of images alone", "Con_TT": "of texts alone", "mu": "mean image", "nu": "mean text"},
)  # fmt: skip


def derive(p: Proof) -> None:
    """The proof.  Multipliers are found; what is named here is the squares and facts it needs (`Proof` has the other rules)."""
    facts = ["scores.1", "scores.2", "scores.3"]
    p.ideal("gap", using=facts, eliminate=[con_it, con_ii, con_tt], text="expand the square")
    p.positive("bound", terms=[square(mu - nu, coef="1/2"), square(facts=["unit"], coef="1/2")], using=facts,
               eliminate=[con_it, con_ii], text="half a square, and half of what is assumed")  # fmt: skip


def bind(x: Any, ops: Any) -> dict[str, Any]:
    """Every symbol from the inputs, by the definitions and not by the formulas, in any arithmetic (`protocols.py` lists `ops`)."""
    images, texts = x["U"], x["V"]
    return {
        "Con_IT": ops.mean_entry(images @ ops.T(texts)), "Con_II": ops.mean_entry(images @ ops.T(images)),
        "Con_TT": ops.mean_entry(texts @ ops.T(texts)), "mu": ops.mean_row(images), "nu": ops.mean_row(texts),
    }  # fmt: skip


def on_features(view: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the claim is evaluated on when somebody measures it on features (`View` in `protocols.py`)."""
    for s in view.environments:
        yield view.name(s), {"U": view.image(s), "V": view.text(s)}


CLAIM = Claim(
    id="E1",
    title="The gap between the modalities",
    family="my own",
    source="new",
    paper="",
    statement=STATEMENT,
    inputs=(Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "M", "d")),
    bind=bind,
    derive=derive,
    # A bound one percent tighter must fail at each of these.
    tight=(Instance({"U": [[1, 0]], "V": [[1, 0]]}, "one image and one text, the same", "bound"),),
    # For every assumption an instance that violates it, and the claim.
    necessity={"unit": Instance({"U": [[1, 0]], "V": [[2, 0]]}, "a text of length 2", "bound")},
    on_features=on_features,
)
