"""P9: the paper: lower Con_IT goes with better OOD separation.  True of the certified bound, false of AUROC itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars, unit

auroc_low, auroc_high, con_low, con_high = scalars("AUROC_low AUROC_high Con_low Con_high")

STATEMENT = Statement(
    text="Of two out-of-distribution environments with Con_low <= Con_high to the in-distribution concept, the one with the lower score is "
    "separated at least as well: AUROC_high <= AUROC_low, for the concept score <u, mu>.",
    relations=(Relation("separation", auroc_high, "<=", auroc_low),),
    assumptions=(
        Assumption(
            "lower", "the first environment has the lower contribution score", (Relation("", con_low, "<=", con_high),)
        ),
    ),
    symbols={
        "AUROC_low": "probability that an in-distribution score exceeds one of the environment with Con_low, ties one half"
    },
)


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    concept = x["mu"]
    inside = x["U_in"] @ concept
    out = {}
    for name in ("low", "high"):
        outside = x[f"U_{name}"] @ concept
        gaps = inside @ ops.ones(1, ops.rows(outside), inside) - ops.ones(ops.rows(inside), 1, inside) @ ops.T(outside)
        half = ops.ratio(1, 2)
        out[f"AUROC_{name}"] = ops.mean_entry((ops.positive(gaps) - ops.positive(-gaps)) * half) + half
        out[f"Con_{name}"] = ops.mean_entry(outside)
    return out


CLAIM = Claim(
    id="P9",
    title="Lower scores go with better OOD separation",
    family="the paper's claims",
    source="arXiv 2606.14883, OOD experiment",
    paper="Lower Con_IT goes with better OOD separation.",
    statement=STATEMENT,
    inputs=(Input("U_in", "unit_rows", "N", "d"), Input("U_low", "unit_rows", "N", "d"), Input("U_high", "unit_rows", "N", "d"),
            Input("mu", "unit_column", "d")),
    bind=bind,
    witness=Instance(
        {"U_in": unit(["4/5", "3/5"]), "U_low": unit([1, 0], [1, 0], [-1, 0]), "U_high": unit(["3/5", "4/5"]), "mu": [[1], [0]]},
        "scores 1, 1, -1 have a low mean but mostly exceed 4/5: AUROC 1/3 against 1",
    ),
    tight_note="refuted",
    necessity_note="refuted with the assumption in force",
    features_note="see D1 and D2, which are measured on features",
    verdict="REFUTED",
    notes=("The paper reports a tendency: correlations of Con_IT and AUROC from -0.55 to -0.42 over pairs of environments of MS-COCO.  What is refuted is the rule for any two "
           "environments, not the tendency, which is a matter of data: E5 measures it.",
           "It holds where the out-of-distribution scores differ by a shift, or more generally where those of the one environment lie below those of the "
           "other sample by sample, for then every comparison in AUROC is won as well.",
           "What holds in general: the gap D = Con_IT(t,t) - Con_IT(s,t) bounds AUROC from below (D1, D2), and that bound improves as Con_IT(s,t) falls "
           "below Con_IT(t,t): the one of D1 at equal variances that are not both 0, the one of D2 always.",),
)  # fmt: skip
