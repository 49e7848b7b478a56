"""P1: the paper: drift is linear in the cross-modal scores.  False even to first order in the step; T1.4 has the remainder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, scalars, unit

drift, slope, eta, rho, c_i, c_t, con_it, con_ti = scalars("drift slope eta rho c_I c_T Con_IT Con_TI")
predicted = -rho * (c_i + con_it + con_ti + c_t) / 4  # fused with p = q = 1/2

STATEMENT = Statement(
    text="Even if Con_II and Con_TT do not change along the transition at all, one gradient step of size eta on t changes the squared loss of s by "
    "exactly -eta rho (p^2 c_I + p q Con_IT + p q Con_TI + q^2 c_T), p = q = 1/2, at least to first order in eta (slope of the drift at eta = 0).",
    relations=(
        Relation("first_order", slope, "==", predicted),
        Relation("linear", drift, "==", eta * predicted),
    ),
    assumptions=(
        Assumption("steady_image", "Con_II(s,t) = c_I (Environment Smooth Transition with e = 0)"),
        Assumption("steady_text", "Con_TT(s,t) = c_T"),
    ),
    symbols={
        "drift": "change of the loss of s", "slope": "its derivative at step size zero, -<g_s, g_t>", "rho": "product of the mean residuals",
        "c_I": "Con_II(s,t)", "c_T": "Con_TT(s,t)",
    },
)  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    half = ops.ratio(1, 2)
    z = {k: (x[f"U_{k}"] + x[f"V_{k}"]) * half for k in "st"}
    residual = {k: -x[f"y_{k}"] for k in "st"}  # of a zero head
    gradient = {k: ops.T(z[k]) @ residual[k] * ops.ratio(1, ops.rows(z[k])) for k in "st"}
    after = z["s"] @ gradient["t"] * (-x["eta"]) - x["y_s"]
    return {
        "drift": (ops.mean_square(after) - ops.mean_square(x["y_s"])) * half, "slope": -(ops.T(gradient["s"]) @ gradient["t"]), "eta": x["eta"],
        "rho": ops.mean_entry(residual["s"]) * ops.mean_entry(residual["t"]),
        "c_I": ops.mean_entry(x["U_s"] @ ops.T(x["U_t"])), "c_T": ops.mean_entry(x["V_s"] @ ops.T(x["V_t"])),
        "Con_IT": ops.mean_entry(x["U_s"] @ ops.T(x["V_t"])), "Con_TI": ops.mean_entry(x["V_s"] @ ops.T(x["U_t"])),
    }  # fmt: skip


OPPOSITE = unit([1, 0], [-1, 0])

CLAIM = Claim(
    id="P1",
    title="Drift is linear in the cross-modal scores",
    family="the paper's claims",
    source="arXiv 2606.14883, first theorem and its Assumption 4.3",
    paper="Under Environment Smooth Transition the loss drift is linear in Con_IT and Con_TI, for the CE and the CLIP part.",
    statement=STATEMENT,
    inputs=(
        *(Input(f"{a}_s", "unit_rows", "N", "d") for a in "UV"), *(Input(f"{a}_t", "unit_rows", "M", "d") for a in "UV"),
        Input("y_s", "column", "N"), Input("y_t", "column", "M"), Input("eta", "real", low="0"),
    ),
    bind=bind,
    witness=Instance(
        {f"{a}_{k}": OPPOSITE for a in "UV" for k in "st"} | {"y_s": [[1], [-1]], "y_t": [[1], [-1]], "eta": [[1]]},
        "labels go with the features: all scores are 0 and no drift is predicted, yet the slope is -1 and the drift -1/2",
    ),
    tight_note="refuted as an equality",
    necessity_note="refuted with all assumptions in force",
    features_note="see T1.4, which measures the remainder",
    verdict="REFUTED",
    notes=(
        "With the labels of t exchanged in the witness, every score is the same and the slope is +1: no function of the scores, linear or not, gives the "
        "drift, nor its sign.",
        "Cross-entropy is no different: with the same features, a zero head and the sign of the label as class, the slope is -1/2, and 1/2 with the labels "
        "of t exchanged.",
        "What is true: the linear form holds up to the remainder of T1.4: eta |rho| (p^2 + q^2) e (smoothness), eta |D| (covariance of features and "
        "residuals, which the witness exploits; T1.3), eta^2/2 B |g|^2 (curvature).  It is exact where the three vanish.",
        "For the CLIP part T1.5 bounds the remainder, which is not small at CLIP's own temperature.",
    ),
)  # fmt: skip
