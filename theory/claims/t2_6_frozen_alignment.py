"""T2.6: with a frozen encoder the alignment does not depend on lambda."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof
from ..trust import L2

clv_1, clv_2 = scalars("CLV_1 CLV_2")
u, v, x, y = vectors("u v du dv")

STATEMENT = Statement(
    text="If the features do not move with lambda (frozen encoder), CLV is the same for every lambda: dCLV/dlambda = 0.",
    relations=(Relation("constant", clv_1, "==", clv_2),),
    assumptions=(
        Assumption(
            "frozen",
            "image and text features move by nothing",
            (Relation("", 0, "==", norm2(x)), Relation("", 0, "==", norm2(y))),
        ),
        Assumption(
            "alignment",
            "CLV = E<u, v> at each lambda",
            (Relation("", clv_1, "==", Inner(u, v)), Relation("", clv_2, "==", Inner(u + x, v + y))),
            True,
        ),
    ),
    symbols={
        "CLV_1": "CLV at one lambda",
        "CLV_2": "at another",
        "u": "image features (an element of L2)",
        "v": "text features",
        "du": "how far the image features move",
        "dv": "the text features",
    },
)


def derive(p: Proof) -> None:
    p.vanish("still_v", fact="frozen.1", vector=x, other=v, text="a vector of length 0 is orthogonal to all")
    p.vanish("still_y", fact="frozen.1", vector=x, other=y, text="the same")
    p.vanish("still_u", fact="frozen.2", vector=y, other=u, text="the same")
    p.ideal(
        "constant",
        using=["alignment.1", "alignment.2", "still_v", "still_y", "still_u"],
        eliminate=[clv_1, clv_2],
        text="expand",
    )


def bind(i: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    image, text = i["U"], i["V"]
    moved = i["move"] if "move" in i else image * 0
    still = text * 0

    def clv(a: Any, b: Any) -> Any:
        return ops.mean_entry(ops.diagonal(a @ ops.T(b)))

    return {
        "CLV_1": clv(image, text),
        "CLV_2": clv(image + moved, text + still),
        "u": image,
        "v": text,
        "du": moved,
        "dv": still,
    }


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        yield view.name(s), {"U": view.image(s), "V": view.text(s)}


CLAIM = Claim(
    id="T2.6",
    title="A frozen encoder's alignment ignores lambda",
    family="contribution balance",
    source="arXiv 2606.14883, frozen-encoder experiments",
    paper="lambda does not control CLV(t) when the encoder is frozen.",
    statement=STATEMENT,
    inputs=(Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "N", "d")),
    bind=bind,
    derive=derive,
    trust=(L2,),
    tight_note="an identity",
    necessity={"frozen": Instance({"U": unit([1, 0]), "V": unit([1, 0]), "move": unit([-1, 1])}, "the image feature turns")},
    on_features=on_features,
)  # fmt: skip
