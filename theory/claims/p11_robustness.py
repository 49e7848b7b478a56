"""P11: the paper's summary: robust to task order and similarity.  Exactly so for two environments, on average; T3.7 says how nearly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars, unit
from ..sequences import isotropic_forgetting

f_123, f_132 = scalars("F_123 F_132")

STATEMENT = Statement(
    text="Robust in the strictest sense, for the summary names no measure: the total forgetting of three environments does not depend on their order, "
    "F(1,2,3) = F(1,3,2).",
    relations=(Relation("robust", f_123, "==", f_132),),
    assumptions=(Assumption("unit", "directions have unit length"),),
    symbols={"F_123": "d times the expected forgetting of the order 1, 2, 3"},
)


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows = x["A"]
    out = {}
    for order in ((1, 2, 3), (1, 3, 2)):
        out["F_" + "".join(map(str, order))] = isotropic_forgetting(rows, [t - 1 for t in order], ops)
    return out


CLAIM = Claim(
    id="P11",
    title="Contributions are robust to task order and similarity",
    family="the paper's claims",
    source="arXiv 2606.14883, summary",
    paper="Contributions are robust to task order and to inter-task similarity; generalisation improves.",
    statement=STATEMENT,
    inputs=(Input("A", "unit_rows", "3", "d"),),
    bind=bind,
    witness=Instance({"A": unit([1, 0], [1, 0], ["3/5", "4/5"])}, "scores 1, 3/5, 3/5"),
    tight_note="refuted as an equality",
    necessity_note="refuted with the assumption in force",
    features_note="see T3.7, measured over orders",
    verdict="REFUTED",
    notes=("The summary says it of contributions.  Those between environments are functions of the features: where the encoders are frozen no order moves them.  What is "
           "refuted is that forgetting, which they are to govern, is independent of the order; how far it depends on it is a matter of size.",
           "What holds: for an isotropic target all order dependence of forgetting is one term of fourth order in the scores, whatever share of each environment is "
           "learnt; the rest is quadratic where all is learnt (T3.7), and has a cubic term too where less is (T3.12); two environments forget the same in either order, for an isotropic target and for the worst one (not for every target), the worst "
           "between 0 and 1/4 depending on their similarity (T3.4); swapping neighbours moves "
           "the head by a commutator (O1).  Generalisation is G1 and G2.",),
)  # fmt: skip
