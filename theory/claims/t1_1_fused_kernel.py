"""T1.1: which scores a linear head on fused features can see at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Relation, matrix, scalars, vectors
from ..proof import Proof

p_, q_ = scalars("p q")
fused, joined, alone = scalars("K K_cat K_image")
ii, it, ti, tt = scalars("Con_II Con_IT Con_TI Con_TT")
mu_s, mu_t, nu_s, nu_t = vectors("mu_I_s mu_I_t mu_T_s mu_T_t")
a_s, a_t, b_s, b_t = vectors("left_s left_t right_s right_t")
W = matrix("W", "d", "C")
m_s, m_t, n_s, n_t = matrix("m_s", "d", 1), matrix("m_t", "d", 1), matrix("n_s", "d", 1), matrix("n_t", "d", 1)
r_s, r_t, y_s, y_t = matrix("r_s", "C", 1), matrix("r_t", "C", 1), matrix("y_s", "C", 1), matrix("y_t", "C", 1)

STATEMENT = Statement(
    text="For fused features z = p u + q v, <z, z'> averages over s x t to K(s,t) = p^2 Con_II + p q (Con_IT + Con_TI) + q^2 Con_TT.  For "
    "concatenated features z = [p u ; q v] it is p^2 Con_II + q^2 Con_TT, for images alone Con_II: the cross-modal scores do not occur in it. "
    "An image-only head W whose columns are the class texts brings them back through the mean residuals r = W'u - y of the squared "
    "loss: <r_s, r_t> = mu_s' W W' mu_t - Con_IT(s,t) - Con_TI(s,t) + <y_s, y_t>, where the text of a sample is that of its class.",
    relations=(
        Relation("fused", fused, "==", p_**2 * ii + p_ * q_ * (it + ti) + q_**2 * tt),
        Relation("concatenated", joined, "==", p_**2 * ii + q_**2 * tt),
        Relation("image_only", alone, "==", ii),
        Relation("text_head", r_s.T * r_t, "==", m_s.T * W * W.T * m_t - m_s.T * n_t - n_s.T * m_t + y_s.T * y_t),
    ),
    assumptions=(
        Assumption("image", "Con_II(s,t) (S1)", (Relation("", ii, "==", Inner(mu_s, mu_t)),), True),
        Assumption("cross_it", "Con_IT(s,t)", (Relation("", it, "==", Inner(mu_s, nu_t)),), True),
        Assumption("cross_ti", "Con_TI(s,t)", (Relation("", ti, "==", Inner(nu_s, mu_t)),), True),
        Assumption("text", "Con_TT(s,t)", (Relation("", tt, "==", Inner(nu_s, nu_t)),), True),
        Assumption("kernel", "K averages <z, z'> over all pairs (S1), z = p u + q v", (
            Relation("", fused, "==", Inner(p_ * mu_s + q_ * nu_s, p_ * mu_t + q_ * nu_t)),), True),
        Assumption("kernel_cat", "K_cat averages <z, z'> over all pairs, z = [p u ; q v]", (
            Relation("", joined, "==", Inner(p_ * a_s + q_ * b_s, p_ * a_t + q_ * b_t)),), True),
        Assumption("kernel_image", "K_image averages <u, u'> over all pairs", (Relation("", alone, "==", Inner(mu_s, mu_t)),), True),
        Assumption("slots", "[u ; 0] and [0 ; v] keep inner products and are orthogonal", (
            Relation("", Inner(a_s, a_t), "==", Inner(mu_s, mu_t)), Relation("", Inner(b_s, b_t), "==", Inner(nu_s, nu_t)),
            Relation("", Inner(a_s, b_t), "==", 0), Relation("", Inner(b_s, a_t), "==", 0)), True),
        Assumption("residual_s", "r_s is the mean residual of the head on s", (Relation("", r_s, "==", W.T * m_s - y_s),), True),
        Assumption("residual_t", "r_t is the mean residual of the head on t", (Relation("", r_t, "==", W.T * m_t - y_t),), True),
        Assumption("texts_s", "the mean text of s is that of its labels", (Relation("", n_s, "==", W * y_s),), True),
        Assumption("texts_t", "the mean text of t is that of its labels", (Relation("", n_t, "==", W * y_t),), True),
    ),
    symbols={
        "K": "mean kernel of fused features", "K_cat": "of concatenated features", "K_image": "of images alone", "p": "weight of the image",
        "q": "weight of the text", "mu_I_s": "mean image of s", "mu_T_s": "mean text of s", "left_s": "[mu_I_s ; 0]", "right_s": "[0 ; mu_T_s]",
        "W": "head with the class texts as columns", "m_s": "mean image of s", "n_s": "mean class text of s", "y_s": "mean label of s",
        "r_s": "mean residual on s",
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    scores = [ii, it, ti, tt]
    p.ideal("fused", using=["kernel", "image", "cross_it", "cross_ti", "text"], eliminate=[fused, *scores],
            text="multiply out")  # fmt: skip
    p.ideal("concatenated", using=["kernel_cat", "slots.1", "slots.2", "slots.3", "slots.4", "image", "text"],
            eliminate=[joined, *scores, Inner(a_s, a_t), Inner(b_s, b_t), Inner(a_s, b_t), Inner(b_s, a_t)],
            text="the cross terms meet in different slots and vanish")  # fmt: skip
    p.ideal("image_only", using=["kernel_image", "image"], eliminate=[alone, ii], text="by definition")
    p.free("text_head", using=[("residual_s", "r_s"), ("residual_t", "r_t"), ("texts_s", "n_s"), ("texts_t", "n_t")],
           text="W y is the mean text of the class labels, so the labels meet the images as cross-modal scores")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    u_s, u_t, v_s, v_t, p, q, head = (x[k] for k in ("U_s", "U_t", "V_s", "V_t", "p", "q", "W"))
    slots = ops.eye(ops.ones(2 * u_s.shape[-1], 1, u_s))
    left, right = (
        slots[..., : u_s.shape[-1], :],
        slots[..., u_s.shape[-1] :, :],
    )  # u @ left = [u ; 0], v @ right = [0 ; v]
    z_s, z_t = p * u_s + q * v_s, p * u_t + q * v_t
    cat_s, cat_t = p * (u_s @ left) + q * (v_s @ right), p * (u_t @ left) + q * (v_t @ right)
    label_s, label_t = x["Y_s"], x["Y_t"]
    head = ops.T(head)  # given with one class text a row
    mean = {k: ops.mean_row(v) for k, v in (("u_s", u_s), ("u_t", u_t), ("v_s", v_s), ("v_t", v_t))}
    return {
        "p": p, "q": q, "W": head, "K": ops.mean_entry(z_s @ ops.T(z_t)), "K_cat": ops.mean_entry(cat_s @ ops.T(cat_t)),
        "K_image": ops.mean_entry((1 * u_s + 0 * v_s) @ ops.T(1 * u_t + 0 * v_t)), "Con_II": ops.mean_entry(u_s @ ops.T(u_t)),
        "Con_IT": ops.mean_entry(u_s @ ops.T(v_t)), "Con_TI": ops.mean_entry(v_s @ ops.T(u_t)), "Con_TT": ops.mean_entry(v_s @ ops.T(v_t)),
        "mu_I_s": mean["u_s"], "mu_I_t": mean["u_t"], "mu_T_s": mean["v_s"], "mu_T_t": mean["v_t"],
        "left_s": mean["u_s"] @ left, "left_t": mean["u_t"] @ left, "right_s": mean["v_s"] @ right, "right_t": mean["v_t"] @ right,
        "m_s": ops.column(mean["u_s"]), "m_t": ops.column(mean["u_t"]), "y_s": ops.column(ops.mean_row(label_s)),
        "y_t": ops.column(ops.mean_row(label_t)), "r_s": ops.column(ops.mean_row(u_s @ head - label_s)),
        "r_t": ops.column(ops.mean_row(u_t @ head - label_t)),
        "n_s": ops.column(ops.mean_row(label_s @ ops.T(head))), "n_t": ops.column(ops.mean_row(label_t @ ops.T(head))),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        yield f"{view.name(s)} -> {view.name(t)}", {
            "U_s": view.image(s), "V_s": view.text(s), "U_t": view.image(t), "V_t": view.text(t), "p": [["1/2"]], "q": [["1/2"]],
            "W": view.class_texts(s), "Y_s": view.onehot(s), "Y_t": view.onehot(t),
        }  # fmt: skip


CLAIM = Claim(
    id="T1.1",
    title="The kernel of a fused head",
    family="loss drift",
    source="new; the fusion is that of arXiv 2606.14883",
    paper="Both cross-modal scores are needed to predict the direction of a transition.",
    statement=STATEMENT,
    inputs=(
        Input("U_s", "unit_rows", "N", "d"), Input("V_s", "unit_rows", "N", "d"), Input("U_t", "unit_rows", "M", "d"),
        Input("V_t", "unit_rows", "M", "d"), Input("p", "real", low="0", high="2"), Input("q", "real", low="0", high="2"),
        Input("W", "rows", "C", "d"), Input("Y_s", "rows", "N", "C"), Input("Y_t", "rows", "M", "C"),
    ),
    bind=bind,
    derive=derive,
    tight_note="identities: both sides agree on every instance",
    necessity_note="nothing is assumed but what the symbols mean; unit length is not used",
    on_features=on_features,
    notes=(
        "So whether the kernel needs the cross-modal scores is decided by the fusion: it needs their sum where the modalities are added (p q not "
        "zero), and neither of them for concatenation or images alone.  Residuals need their sum again where the head starts from the class texts.",
        "`text_head` is for the squared loss, where residuals are linear; for cross-entropy the same texts enter through the softmax, and the "
        "identity is not claimed.",
        "The residual form holds for labels of any kind (soft labels too) and for any head W, not only at initialisation, as long as "
        "'the text of a class' means its column of W.",
    ),
)  # fmt: skip
