"""P3: the paper: with a frozen encoder the CLIP term does not vary over seeds, yet can reverse the sign of the drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars
from ..proof import Proof, square

d_ce, d_clip, clip_1, clip_2, lam, total = scalars("D_CE D_CLIP CLIP_1 CLIP_2 lambda D")

STATEMENT = Statement(
    text="With a frozen encoder the CLIP term is a function of the features alone, so it is the same for every seed of the head.  "
    "If D_CE > 0 > D_CLIP, the total drift D_CE + lambda D_CLIP is negative for every lambda beyond -D_CE / D_CLIP.",
    relations=(
        Relation("no_variance", (clip_1 - clip_2) ** 2, "==", 0),
        Relation("reversed", total, "<", 0),
    ),
    assumptions=(
        Assumption("frozen", "both seeds share the encoder, hence the features and the CLIP term", (
            Relation("", clip_1, "==", d_clip), Relation("", clip_2, "==", d_clip))),
        Assumption("heavy", "lambda |D_CLIP| exceeds D_CE", (Relation("", 0, "<", -d_ce - lam * d_clip),)),
        Assumption("total", "D = D_CE + lambda D_CLIP", (Relation("", total, "==", d_ce + lam * d_clip),), True),
    ),
    symbols={"D_CE": "drift of the cross-entropy", "D_CLIP": "drift of the CLIP loss", "CLIP_1": "its drift with seed 1", "CLIP_2": "with seed 2",
             "D": "total drift"},
)  # fmt: skip


def derive(p: Proof) -> None:
    p.ideal("no_variance", using=["frozen.1", "frozen.2"], eliminate=[clip_1, clip_2], text="both equal D_CLIP")
    p.positive(
        "reversed",
        terms=[square(facts=["heavy"])],
        using=["total"],
        eliminate=[total],
        strict=True,
        text="lambda is beyond the reversal",
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    clip = -x["drop"]
    return {
        "D_CE": x["rise"], "D_CLIP": clip, "CLIP_1": clip, "CLIP_2": x.get("other", clip), "lambda": x["lambda"],
        "D": x["rise"] + x["lambda"] * clip,
    }  # fmt: skip


CLAIM = Claim(
    id="P3",
    title="The CLIP term is fixed by a frozen encoder, and can reverse the drift",
    family="the paper's claims",
    source="arXiv 2606.14883, frozen-encoder experiments",
    paper="With a frozen encoder the CLIP term has zero variance over seeds, yet can reverse the sign of the drift.",
    statement=STATEMENT,
    inputs=(Input("rise", "real", low="0"), Input("drop", "real", low="0"), Input("lambda", "real", low="0", high="5")),
    bind=bind,
    derive=derive,
    tight_note="a strict inequality; the reversal happens exactly at lambda = -D_CE / D_CLIP (T1.6)",
    necessity={
        "frozen": Instance({"rise": [[1]], "drop": [[1]], "lambda": [[2]], "other": [[0]]}, "an adapting encoder: seeds differ", relation="no_variance"),
        "heavy": Instance({"rise": [[1]], "drop": [[1]], "lambda": [["1/2"]]}, "lambda too small", relation="reversed"),
    },
    features_note="a statement about losses of two training runs; see T1.6 and T1.7",
    notes=("Exact counterparts: T1.6 (where the sign turns) and T1.7 (why a frozen encoder has no CLIP gradient in the head).",),
)  # fmt: skip
