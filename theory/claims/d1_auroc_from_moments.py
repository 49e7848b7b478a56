"""D1: how well two scores separate, from their means and variances alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sympy import Rational

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Relation, norm2, scalars, vectors
from ..proof import Proof, square, wedge
from ..trust import L2

auroc, gap, m_in, m_out, v_in, v_out = scalars("AUROC D m_in m_out V_in V_out")
proxy, bound, tilted_mass, t = scalars("S E H t")
a, b, one, won, tilt = vectors("X_in X_out one won tilt")
y = a - b  # difference of the two scores

MOMENTS = (
    Assumption("order", "in-distribution scores are at least as high on average", (Relation("", 0, "<=", gap),)),
    Assumption("gap", "D = m_in - m_out", (Relation("", gap, "==", m_in - m_out),), True),
    Assumption("constant", "one is the constant 1", (Relation("", norm2(one), "==", 1),), True),
    Assumption("means", "m_in and m_out are the means", (Relation("", Inner(a, one), "==", m_in), Relation("", Inner(b, one), "==", m_out)), True),
    Assumption("independent", "the scores are drawn independently, hence uncorrelated", (Relation("", Inner(a, b), "==", m_in * m_out),), True),
    Assumption("variance_in", "V_in is the variance of the in-score", (Relation("", v_in, "==", norm2(a - m_in * one)),), True),
    Assumption("variance_out", "V_out is the variance of the out-score", (Relation("", v_out, "==", norm2(b - m_out * one)),), True),
    Assumption("auroc", "AUROC = P(in > out) = E won (ties count for nothing; counting them half only helps)", (
        Relation("", auroc, "==", Inner(won, one)),), True),
    Assumption("indicator", "won is 0 or 1", (Relation("", norm2(won), "==", Inner(won, one)),), True),
    Assumption("lost", "where won is 0, in - out <= 0", (Relation("", Inner(y, one - won), "<=", 0),), True),
)  # fmt: skip

STATEMENT = Statement(
    text="Let an in- and an out-of-distribution score be independent, with means m_in >= m_out and D = m_in - m_out.  Then "
    "AUROC >= P(in > out) >= D^2 / (D^2 + V_in + V_out).  If the difference of the scores is sub-Gaussian with variance proxy S (scores in "
    "intervals of lengths R_in, R_out are, with S = (R_in^2 + R_out^2)/4), then 1 - AUROC <= exp(-D^2 / (2 S)), and no other "
    "exponent t in exp(-t D + t^2 S/2) gives more.  If the distribution tilted by exp(-D (in - out)/S), not normalised, puts a mass of H/2 at most "
    "where in <= out, then 1 - AUROC <= H/2; for Gaussian scores, S = V_in + V_out, it is centred at in = out and has mass exp(-D^2 / (2 S)) in all, which "
    "is then H: the bound is halved.",
    relations=(
        Relation("cantelli", gap**2, "<=", auroc * (gap**2 + v_in + v_out)),
        Relation("sub_gaussian", 1 - auroc, "<=", bound),
        Relation("gaussian", 1 - auroc, "<=", tilted_mass / 2),
        Relation("exponent", 2 * proxy * (t * gap - t**2 * proxy / 2), "<=", gap**2),
    ),
    assumptions=(
        *MOMENTS,
        Assumption("tails", "E exp(-D Y/S) <= exp(-D^2/(2 S)) for the difference Y: sub-Gaussian with proxy S", (
            Relation("", Inner(tilt, one), "<=", bound),)),
        Assumption("centred", "the tilted distribution, not normalised, has a mass of H/2 at most where in <= out (Gaussian scores: exactly half of E)", (
            Relation("", 2 * Inner(tilt, one - won), "<=", tilted_mass),)),
        Assumption("proxy", "a variance proxy is positive", (Relation("", 0, "<", proxy),), True),
        Assumption("tilt_positive", "tilt = exp(-D Y/S) is positive where in > out", (Relation("", 0, "<=", Inner(tilt, won)),), True),
        Assumption("tangent", "tilt >= 1 - D Y/S: an exponential lies above its tangent at 0, whatever the sign of D (taken where in <= out)", (
            Relation("", 0, "<=", proxy * (Inner(tilt, one - won) - Inner(one, one - won)) + gap * Inner(y, one - won)),), True),
    ),
    symbols={
        "AUROC": "probability that an in-score exceeds an out-score", "D": "gap of the means", "V_in": "variance of the in-score",
        "V_out": "of the out-score", "X_in": "in-score, an element of L2", "X_out": "out-score",
        "won": "1 where in > out, else 0", "tilt": "exp(-D Y/S), Y = in - out", "S": "variance proxy of Y", "E": "exp(-D^2/(2 S))", "H": "a bound of twice the tilted mass where in <= out; E for Gaussian scores",
        "t": "any other exponent", "one": "the constant 1", "m_in": "mean in-score", "m_out": "mean out-score",
    },
)  # fmt: skip


def cantelli(p: Proof) -> None:
    """Prove the fact `cantelli` from `MOMENTS` (D2 uses it too)."""
    moments = ["means.1", "means.2", "constant"]
    p.positive("gain", Inner(y, won) - gap, terms=[square(facts=["lost"])], using=["gap", "means.1", "means.2"],
               eliminate=[gap, Inner(a, one), Inner(b, one)], text="E[Y won] >= E Y = D: what is left out is not positive")  # fmt: skip
    p.positive(
        "cantelli", auroc * (gap**2 + v_in + v_out) - gap**2,
        terms=[
            square(wedge(y, won), coef=Rational(1, 2)),
            square(Inner(y, won) - gap),
            square(facts=["order", "gain"], coef=2),
        ],
        using=["auroc", "variance_in", "variance_out", "indicator", "gap", *moments, "independent"],
        eliminate=[auroc, v_in, v_out, gap, norm2(won), Inner(a, one), Inner(b, one), norm2(one), Inner(a, b)],
        text="Cauchy and Schwarz: D^2 <= E[Y won]^2 <= E Y^2 E won^2 = (D^2 + V_in + V_out) AUROC",
    )  # fmt: skip


def derive(p: Proof) -> None:
    cantelli(p)
    over = scalars("iS")
    p.inverse("over_S", of="proxy", as_=over, text="1/S")
    p.positive("tilted_loss", Inner(tilt, one - won) - Inner(one, one - won), terms=[
        square(facts=["over_S.sign", "tangent"]), square(facts=["over_S.sign", "order", "lost"]),
    ], using=["over_S.product"], eliminate=[over], text="tilt is at least 1 on average where in <= out, because D >= 0")  # fmt: skip
    p.positive("sub_gaussian", terms=[square(facts=["tilt_positive"]), square(facts=["tilted_loss"]), square(facts=["tails"])],
               using=["auroc", "constant"], eliminate=[auroc, norm2(one)], text="Markov: 1 - won <= exp(-D Y/S) on average")  # fmt: skip
    p.positive("gaussian", terms=[square(facts=["tilted_loss"]), square(facts=["centred"], coef=Rational(1, 2))],
               using=["auroc", "constant"], eliminate=[auroc, norm2(one)], text="only the tilted mass where in <= out counts")  # fmt: skip
    p.positive("exponent", terms=[square(gap - t * proxy)], text="a square, zero at t = D/S")


def moments(inside: Any, outside: Any, ops: Any) -> dict[str, Any]:
    """Means, variances and AUROC of two samples of scores; every pair of an in- and an out-score is one equally likely row."""
    count, other = ops.rows(inside), ops.rows(outside)
    right, left = ops.ones(1, other, inside), ops.ones(count, 1, inside)
    first, second = (ops.column(ops.flatten(table)) for table in (inside @ right, left @ ops.T(outside)))
    m_in, m_out = ops.mean_row(inside), ops.mean_row(outside)
    won = ops.positive(first - second)
    return {
        "AUROC": ops.mean_row(won), "D": m_in - m_out, "m_in": m_in, "m_out": m_out, "V_in": ops.mean_square(inside - left @ m_in),
        "V_out": ops.mean_square(outside - ops.ones(other, 1, inside) @ m_out), "X_in": first, "X_out": second,
        "one": ops.ones(count * other, 1, inside), "won": won,
    }  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    out = moments(x["X_in"], x["X_out"], ops)
    spread = [ops.max_entry(x[k]) - ops.min_entry(x[k]) for k in ("X_in", "X_out")]
    # a proxy may be too large: the last summand keeps it positive for constant scores
    proxy = x["scale"] * ((spread[0] * spread[0] + spread[1] * spread[1]) * ops.ratio(1, 4) + ops.ratio(1, 100))
    rate = out["D"] * ops.reciprocal(proxy)
    out |= {"S": proxy, "t": x["t"], "E": ops.exp(-1 * (out["D"] * rate) * ops.ratio(1, 2))}
    tilt_ = ops.exp(-1 * ((out["X_in"] - out["X_out"]) * rate))
    lost = ops.inner(ops.T(tilt_), ops.T(out["one"] - out["won"])) * ops.ratio(1, ops.rows(tilt_))
    return out | {"tilt": tilt_, "H": x["H"] if "H" in x else lost * 2}


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for t_env in view.environments:
        concept = view.column(view.mean(view.text(t_env)))
        for s in view.environments:
            if s != t_env:
                yield f"images of {view.name(t_env)} against {view.name(s)}, concept score", {
                    "X_in": view.image(t_env)[:200] @ concept, "X_out": view.image(s)[:200] @ concept, "scale": [[1]], "t": [[1]],
                }  # fmt: skip


CLAIM = Claim(
    id="D1",
    title="AUROC from two moments",
    family="OOD detection",
    source="Cantelli, 1928; the application to AUROC is new",
    paper="Contribution scores indicate out-of-distribution separation; no guarantee is given.",
    statement=STATEMENT,
    inputs=(
        Input("X_in", "column", "N"), Input("X_out", "column", "M"), Input("scale", "real", low="1", high="2"), Input("t", "real", low="0", high="4"),
    ),
    bind=bind,
    derive=derive,
    trust=(L2,),
    tight=(
        Instance({"X_in": [[0], [1]], "X_out": [[0]], "scale": [[1]], "t": [[1]]}, "half of the in-scores tie with the out-score", "cantelli"),
        Instance({"X_in": [[0], [2]], "X_out": [[0]], "scale": [["100/101"]], "t": [[1]]}, "t = D/S", "exponent"),
    ),
    necessity={
        "centred": Instance({"X_in": [[0], [1]], "X_out": [[0]], "scale": [[1]], "t": [[1]], "H": [["1/2"]]}, "H below twice the tilted mass", "gaussian"),
        "order": Instance({"X_in": [[0]], "X_out": [[1]], "scale": [[1]], "t": [[1]]}, "the out-score is always higher", "cantelli"),
        "tails": Instance({"X_in": [[0], [1]], "X_out": [[0]], "scale": [["1/10"]], "t": [[1]]}, "a proxy far below the variance", "sub_gaussian"),
    },
    on_features=on_features,
    notes=(
        "Cantelli's inequality is proved here, from moments, not cited.  Written as D^2 <= AUROC (D^2 + V_in + V_out) it needs no D > 0.",
        "`sub_gaussian` is certified from the tail assumption and Markov's pointwise inequality.  That bounded scores satisfy the assumption with "
        "S = (R_in^2 + R_out^2)/4 is Hoeffding's lemma (T1.5) for each score and independence.",
        "What the definitions say of tilt = exp(-D Y/S), that it lies above its tangent at D = 0, holds for every sign of D; that it is at least 1 where "
        "in <= out needs D >= 0, which is what the assumption of the order is for.",
        "For Gaussian scores AUROC is exactly the normal distribution function at D / sqrt(V_in + V_out); `gaussian` certifies the bound "
        "1 - exp(-D^2 / (2 (V_in + V_out)))/2 below it, given that tilting centres a Gaussian.",
    ),
)  # fmt: skip
