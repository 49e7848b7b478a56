"""T1.3: the inner product of two gradients is the kernel times that of the residuals, up to covariances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Abs, Identity, Mul, Rational, sqrt

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, matrix, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge

weight, gram, rho, kernel = scalars("w gram rho K")
c_s, c_t, m_s, m_t = vectors("C_s C_t M_s M_t")
z_s, z_t, r_s, r_t = vectors("z_s z_t r_s r_t")
Z, R, A, B = matrix("Z", "N", "d"), matrix("R", "N", "C"), matrix("A", "N", "d"), matrix("B", "N", "C")
G, cov = matrix("G", "d", "C"), matrix("Cov", "d", "C")
zbar, rbar, one = matrix("zbar", "d", 1), matrix("rbar", "C", 1), matrix("one", "N", 1)


def size(x: Any) -> Any:
    return sqrt(norm2(x))


STATEMENT = Statement(
    text="The gradient g_s = E_s[z r'] is zbar_s rbar_s' + C_s with C_s = Cov_s(z, r).  So <g_s, g_t> = <rbar_s, rbar_t> K(s,t) + D with "
    "K(s,t) = <zbar_s, zbar_t> and |D| <= |C_s| |zbar_t| |rbar_t| + |C_t| |zbar_s| |rbar_s| + |C_s| |C_t| (Frobenius norms).",
    relations=(
        Relation("split", G, "==", zbar * rbar.T + cov),
        Relation("decoupled", gram - rho * kernel, "==", Inner(c_s, m_t) + Inner(m_s, c_t) + Inner(c_s, c_t)),
        Relation(
            "remainder", Abs(gram - rho * kernel), "<=",
            size(c_s) * size(z_t) * size(r_t) + size(c_t) * size(z_s) * size(r_s) + size(c_s) * size(c_t),
        ),
    ),
    assumptions=(
        Assumption("weights", "every sample has weight w, one over their number", (Relation("", weight * one.T * one, "==", Identity(1)),), True),
        Assumption("gradient", "G = E[z r'], the gradient of a linear head", (Relation("", G, "==", weight * Z.T * R),), True),
        Assumption("parts_z", "Z is its mean zbar plus the centred features A", (Relation("", Z, "==", one * zbar.T + A),), True),
        Assumption("parts_r", "R is its mean rbar plus the centred residuals B", (Relation("", R, "==", one * rbar.T + B),), True),
        Assumption("centred_z", "the rows of A sum to zero", (Relation("", A.T * one, "==", 0 * zbar),), True),
        Assumption("centred_r", "the rows of B sum to zero", (Relation("", B.T * one, "==", 0 * rbar),), True),
        Assumption("covariance", "Cov is the covariance of z and r", (Relation("", cov, "==", weight * A.T * B),), True),
        Assumption("gradients", "gram = <g_s, g_t>, where g = M + C on s and on t (`split`)", (
            Relation("", gram, "==", Inner(m_s + c_s, m_t + c_t)),), True),
        Assumption("kernel", "K = <zbar_s, zbar_t> (T1.1)", (Relation("", kernel, "==", Inner(z_s, z_t)),), True),
        Assumption("residuals", "rho = <rbar_s, rbar_t>", (Relation("", rho, "==", Inner(r_s, r_t)),), True),
        Assumption("outer", "M = zbar rbar': Frobenius products of outer products are products of inner products", (
            Relation("", Inner(m_s, m_t), "==", Inner(z_s, z_t) * Inner(r_s, r_t)),
            Relation("", norm2(m_s), "==", norm2(z_s) * norm2(r_s)), Relation("", norm2(m_t), "==", norm2(z_t) * norm2(r_t))), True),
    ),
    symbols={
        "G": "gradient of one environment", "Z": "its fused features as rows", "R": "its residuals as rows", "Cov": "their covariance",
        "zbar": "mean feature", "rbar": "mean residual", "gram": "<g_s, g_t>, Frobenius", "K": "mean kernel of s and t",
        "rho": "inner product of the mean residuals", "C_s": "Cov_s(z, r) as a vector", "M_s": "zbar_s rbar_s' as a vector",
        "z_s": "mean feature of s", "r_s": "mean residual of s", "one": "a column of ones",
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free(
        "split",
        using=[
            ("gradient", "G"),
            ("parts_z", "Z"),
            ("parts_r", "R"),
            ("covariance", "Cov"),
            "centred_z",
            "centred_r",
            ("weights", "one' one"),
        ],
        text="deviations sum to zero, so only the product of the means and the covariance are left",
    )
    p.ideal("decoupled", using=["gradients", "kernel", "residuals", "outer.1"], eliminate=[gram, kernel, rho, Inner(m_s, m_t)],
            text="multiply out (M_s + C_s, M_t + C_t)")  # fmt: skip
    root = {x: p.replaced[norm2(x)] for x in (c_s, c_t, z_s, z_t, r_s, r_t)}
    cross = (  # two Frobenius vectors, and the factors of the product of their lengths
        ("s", c_s, m_t, (c_s, z_t, r_t), "outer.3"),
        ("t", c_t, m_s, (c_t, z_s, r_s), "outer.2"),
        ("both", c_s, c_t, (c_s, c_t), ""),
    )
    for name, x, y, factors, outer in cross:
        lengths = [root[f] for f in factors]
        squares = [f"{r}.square" for r in lengths]
        bound = Mul(*lengths)
        p.positive(
            f"{name}_squared", bound**2 - Inner(x, y) ** 2,
            terms=[square(wedge(x, y), coef=Rational(1, 2))],
            using=[*squares, *([outer] if outer else [])], eliminate=[*lengths, norm2(y)], text="Cauchy and Schwarz",
        )  # fmt: skip
        for k, sign in ((1, 1), (2, -1)):
            p.refute(
                f"{name}_part.{k}", bound - sign * Inner(x, y),
                terms=[square(facts=["not", "not"]), square(facts=["not", *(f"{r}.sign" for r in lengths)], coef=2),
                       square(facts=[f"{name}_squared"])],
                text="take the square root",
            )  # fmt: skip
    for k in (1, 2):
        p.positive(
            f"remainder.{k}", terms=[square(facts=[f"{name}_part.{3 - k}"]) for name, *_ in cross], using=["decoupled"], eliminate=[gram],
            text="add the three",
        )  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    mean, gradient = {}, {}
    for env in ("s", "t"):
        rows, residuals = x[f"Z_{env}"], x[f"R_{env}"]
        count = ops.rows(rows)
        ones = ops.ones(count, 1, rows)
        mean[env] = ops.mean_row(rows), ops.mean_row(residuals)
        a, b = rows - ones @ mean[env][0], residuals - ones @ mean[env][1]
        share = ops.ratio(1, count)
        gradient[env], cov = ops.T(rows) @ residuals * share, ops.T(a) @ b * share
        out |= {f"C_{env}": ops.flatten(cov), f"z_{env}": mean[env][0], f"r_{env}": mean[env][1]}
        out |= {f"M_{env}": ops.flatten(ops.outer(*mean[env]))}
        if env == "s":
            out |= {
                "w": ops.ones(1, 1, rows) * share, "one": ones, "Z": rows, "R": residuals, "A": a, "B": b, "G": gradient[env], "Cov": cov,
                "zbar": ops.column(mean[env][0]), "rbar": ops.column(mean[env][1]),
            }  # fmt: skip
    out["gram"] = ops.trace(ops.T(gradient["s"]) @ gradient["t"])
    out["K"] = ops.mean_entry(x["Z_s"] @ ops.T(x["Z_t"]))
    out["rho"] = mean["s"][1] @ ops.T(mean["t"][1])
    return out


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s, t in zip(view.environments, view.environments[1:], strict=False):
        scores = {e: view.image(e) @ view.column(view.class_texts(s)) for e in (s, t)}  # a head of class texts
        yield f"class-text head of {view.name(s)}, then {view.name(t)}", {
            "Z_s": view.image(s), "R_s": scores[s] - view.onehot(s), "Z_t": view.image(t), "R_t": scores[t] - view.onehot(t),
        }  # fmt: skip


CLAIM = Claim(
    id="T1.3",
    title="Decoupling of features and residuals",
    family="loss drift",
    source="new",
    paper="The loss drift is linear in Con_IT and Con_TI.",
    statement=STATEMENT,
    inputs=(
        Input("Z_s", "rows", "N", "d"), Input("R_s", "rows", "N", "C"), Input("Z_t", "rows", "M", "d"), Input("R_t", "rows", "M", "C"),
    ),
    bind=bind,
    derive=derive,
    tight=(
        Instance({"Z_s": unit([1], [-1]), "R_s": unit([1], [-1]), "Z_t": unit([1], [-1]), "R_t": unit([1], [-1])},
                 "zero means: the gradients are the covariances", "remainder"),
        Instance({"Z_s": unit([2], [0]), "R_s": unit([2], [0]), "Z_t": unit([2], [0]), "R_t": unit([2], [0])},
                 "one dimension: all three terms at once", "remainder"),
    ),
    necessity_note="nothing is assumed but what the symbols mean: any features, any residuals",
    on_features=on_features,
    notes=("Spectral norms could stand for the Frobenius norm of C in the first two terms, since M has rank one; not certified here.",),
)  # fmt: skip
