"""P1: the paper: drift is linear in the cross-modal scores.  Exactly so only without curvature; T1.4 has the remainder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars, unit

drift, eta, rho, half, c_i, c_t, con_it, con_ti = scalars("drift eta rho p c_I c_T Con_IT Con_TI")

STATEMENT = Statement(
    text="Even if Con_II and Con_TT do not change along the transition at all, one gradient step on t changes the squared loss of s by "
    "exactly -eta rho (p^2 c_I + p q Con_IT + p q Con_TI + q^2 c_T), p = q.",
    relations=(Relation("linear", drift, "==", -eta * rho * half**2 * (c_i + con_it + con_ti + c_t)),),
    assumptions=(
        Assumption("steady_image", "Con_II(s,t) = c_I (Environment Smooth Transition with e = 0)"),
        Assumption("steady_text", "Con_TT(s,t) = c_T"),
    ),
    symbols={
        "drift": "change of the loss of s",
        "rho": "product of the mean residuals",
        "p": "weight of either modality",
    },
)


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    p = ops.ratio(1, 2)
    z_s, z_t = (x["u_s"] + x["v_s"]) * p, (x["u_t"] + x["v_t"]) * p
    r_s, r_t = -x["y"], -x["y"]  # residuals of a zero head on one sample each
    step = z_t * r_t * (-x["eta"])
    after = z_s @ ops.T(step) - x["y"]
    return {
        "drift": (after * after - r_s * r_s) * p, "eta": x["eta"], "rho": r_s * r_t, "p": ops.ones(1, 1, z_s) * p,
        "c_I": ops.inner(x["u_s"], x["u_t"]), "c_T": ops.inner(x["v_s"], x["v_t"]),
        "Con_IT": ops.inner(x["u_s"], x["v_t"]), "Con_TI": ops.inner(x["v_s"], x["u_t"]),
    }  # fmt: skip


CLAIM = Claim(
    id="P1",
    title="Drift is linear in the cross-modal scores",
    family="the paper's claims",
    source="arXiv 2606.14883, first theorem and its Assumption 4.3",
    paper="Under Environment Smooth Transition the loss drift is linear in Con_IT and Con_TI, for the CE and the CLIP part.",
    statement=STATEMENT,
    inputs=(*(Input(k, "unit_rows", "1", "d") for k in ("u_s", "v_s", "u_t", "v_t")), Input("y", "real"), Input("eta", "real", low="0")),
    bind=bind,
    witness=Instance({k: unit([1, 0]) for k in ("u_s", "v_s", "u_t", "v_t")} | {"y": [[1]], "eta": [[1]]}, "one sample: the step solves it, drift -1/2 not -1"),
    tight_note="refuted as an equality",
    necessity_note="refuted with all assumptions in force",
    features_note="see T1.4, which measures the remainder",
    verdict="REFUTED",
    notes=("True to first order: T1.4 proves it with an explicit remainder (smoothness e, decoupling |D|, curvature eta^2/2 B |g|^2); for the "
           "CLIP part T1.5 bounds the remainder, which is not small at CLIP's own temperature.",),
)  # fmt: skip
