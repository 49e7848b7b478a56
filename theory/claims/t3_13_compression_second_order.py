"""T3.13: what class prototypes lose under cross-entropy is of second order in the deviations, as for the squared loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Rational, sqrt

from .. import pushes, softmax
from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Recursion, Relation, matrix, norm2, scalars, unit, vectors
from ..proof import Proof, square, wedge
from ..trust import TAYLOR_TWICE_OF_SOFTMAX
from .t3_11_compression_cross_entropy import FAINT, on_features, setting

# one class: its samples, its prototype, the softmax at either
Z, C, O, N, A = (
    matrix("Z", "n", "f"),
    matrix("C", 1, "f"),
    matrix("o", "n", 1),
    matrix("N", "n", "f"),
    matrix("A", "n", "n"),
)
U, J = matrix("U", "f", "c"), matrix("J", "c", "c")
S, S1, V = matrix("S", "n", "c"), matrix("S_1", 1, "c"), matrix("V", "n", "c")

# one class of the softmax against the others: probability w_0, number b_0
w_0, b_0, w_1, b_1 = scalars("w_0 b_0 w_1 b_1")
whole, mean, total = scalars("P_o mu_o B_o")
# softmax at one sample, classes one after the other: probability w, remainder e, change of the logit b
w, e, b, mu, reach, eta = scalars("w e b mu B eta")
mass, rest, shift = scalars("P_s rho_2 b_2")
A_e, A_b, A_x, Q_ee, Q_bb, Q_ex, Q_xx, M_ee, M_bb = scalars("A_e A_b A_x Q_ee Q_bb Q_ex Q_xx M_ee M_bb")
off = b - mu
# the samples one after the other
spread, scatter, longest = scalars("n_2 s_2 c_2")
omega, gamma, delta, nu, eps, beta = scalars("omega gamma delta nu epsilon beta")
G, H, g, h, gap, shrunk = vectors("G H g h E QE")
BOUND = scatter * (longest * scatter + 2 * spread)

STATEMENT = Statement(
    text="In T3.11's setting the sum F = sum of omega_i z_i (r_i - q_k(i))', by which a step on the samples and one on the prototypes differ, is G + H with "
    "G = sum of omega_i c_k(i) rho_i' and H = sum of omega_i n_i (r_i - q_k(i))'.  Here z_i = c_k(i) + n_i, and rho_i is what is left of r_i - q_k(i) beyond its part linear in "
    "U'n_i, which sums to zero in every class as the deviations do.  A softmax is its tangent up to |rho_i|^2 <= |U'n_i|^4 / 8, for no number is further from a "
    "weighted mean of them all than sqrt(2) times the length of their vector.  So 4 |F|^2 <= s_2 (c_2 s_2 + 2 n_2): s_2 = sum of omega |U'n|^2 is the scatter of the logits "
    "within classes, n_2 = sum of omega |n|^2 that of the features, c_2 the largest squared length of a prototype.  What prototypes lose is of second order in the deviations, as for the "
    "squared loss (T3.10); for any number of classes and any head.  With a stable step size |J_1 - U_1| <= |J - U| + eta/2 sqrt(s_2 (c_2 s_2 + 2 n_2)) after a step.",
    relations=(
        Relation("split", Z.T * A * (S - O * S1), "==", C.T * O.T * A * V + N.T * A * (S - O * S1)),
        Relation("spread", (b_0 - mean) ** 2, "<=", 2 * total),
        Relation("remainder", 8 * rest, "<=", shift**2),
        Relation("along", 8 * norm2(G), "<=", longest * scatter**2),
        Relation("across", 4 * norm2(H), "<=", spread * scatter),
        Relation("push", 4 * norm2(G + H), "<=", BOUND),
        Relation("step", sqrt(norm2(shrunk - eta * (G + H))), "<=", sqrt(norm2(gap)) + eta * sqrt(BOUND) / 2),
    ),
    assumptions=(
        Assumption("samples", "every feature of the class is its prototype plus a deviation", (Relation("", Z, "==", O * C + N),), True),
        Assumption("centred", "weighted deviations sum to zero in the class", (Relation("", O.T * A * N, "==", 0 * (O.T * A * N)),), True),
        Assumption("linear", "V holds what the softmax moves beyond its tangent at the prototype", (Relation("", S - O * S1, "==", N * U * J + V),), True),
        Assumption("one", "w_0 is one of the weights, which sum to 1", (Relation("", 0, "<=", w_0), Relation("", whole, "==", 1)), True),
        Assumption("probabilities", "the softmax sums to 1; mu and B are sums over its classes", (
            Relation("", mass, "==", 1), Relation("", mu, "==", A_b), Relation("", reach, "==", shift)), True),
        Assumption("weights", "softmax weights and the weights of the samples are not negative", (), True, ("weight", "weight_1", "share")),
        Assumption("near", "no number is further than sqrt(2 B) from the mean: `spread`", (), True, ("near",)),
        Assumption("second_order", "<rho, rho> is half the second derivative of <rho, softmax> somewhere between the two logits, with w the softmax there", (
            Relation("", 2 * rest, "==", Q_ex - A_e * A_x),), True),
        Assumption("parts", "a sample adds g = c rho' to G and h = n (r - q)' to H, of lengths |c| |rho| and |n| |r - q|", (), True, ("along_c", "along_n")),
        Assumption("lengths", "|c|^2 <= c_2, 8 |rho|^2 <= |U'n|^4 (`remainder`) and |r - q| <= |U'n| / 2 (T3.11)", (), True, ("longest", "curved", "half")),
        Assumption("forward", "the step size is not negative", (Relation("", 0, "<=", eta),), True),
        Assumption("stable", "a step on the samples does not stretch: |E - eta (g(J) - g(U))| <= |E| for E = J - U, g the gradient on the samples "
                   "(eta at most 2 over the largest curvature)", (Relation("", norm2(shrunk), "<=", norm2(gap)),)),
    ),
    symbols={
        "Z": "features of one class, one row a sample", "C": "its prototype, a row", "o": "a column of ones", "N": "deviations from the prototype",
        "A": "diagonal matrix of the weights omega", "U": "head", "J": "diag(w) - w w' at the prototype, the derivative of the softmax",
        "S": "softmax at the samples", "S_1": "softmax at the prototype", "V": "rows rho_i'",
        "b_0": "one of the numbers", "w_0": "its weight", "P_o": "sum of the weights", "mu_o": "weighted mean of the numbers", "B_o": "sum of their squares",
        "w_1": "weight of the next number", "b_1": "the next number",
        "P_s": "sum of w over classes", "w": "softmax of one class, somewhere between the logits", "e": "entry of rho for one class", "b": "change of its logit, an entry of U'n",
        "mu": "sum of w b", "B": "|U'n_i|^2", "rho_2": "|rho_i|^2, sum of e^2", "b_2": "|U'n_i|^2, sum of b^2", "A_e": "sum of w e", "A_b": "sum of w b",
        "A_x": "sum of w (b - mu)^2", "Q_ee": "sum of w e^2", "Q_bb": "sum of w b^2", "Q_ex": "sum of w e (b - mu)^2", "Q_xx": "sum of w (b - mu)^4",
        "M_ee": "sum of w^2 e^2", "M_bb": "sum of w^2 b^2",
        "n_2": "sum of omega |n|^2, the scatter within classes", "s_2": "sum of omega |U'n|^2, that of the logits", "c_2": "largest |c|^2",
        "G": "sum of omega c rho', classes stacked", "H": "sum of omega n (r - q)'", "g": "c rho' of one sample", "h": "n (r - q)' of one sample",
        "omega": "its weight", "gamma": "its |c|", "delta": "its |rho|", "nu": "its |n|", "epsilon": "its |r - q|", "beta": "its |U'n|",
        "E": "J - U", "QE": "E - eta (g(J) - g(U))", "eta": "step size",
    },
    recursions={
        "others": Recursion(
            start={whole: w_0, mean: w_0 * b_0, total: b_0**2}, update={whole: whole + w_1, mean: mean + w_1 * b_1, total: total + b_1**2},
            fresh=(w_1, b_1), given={"weight_1": Relation("", 0, "<=", w_1)},
        ),
        "classes": Recursion(
            start=dict.fromkeys((mass, rest, shift, A_e, A_b, A_x, Q_ee, Q_bb, Q_ex, Q_xx, M_ee, M_bb), 0),
            update={
                mass: mass + w, rest: rest + e**2, shift: shift + b**2, A_e: A_e + w * e, A_b: A_b + w * b, A_x: A_x + w * off**2,
                Q_ee: Q_ee + w * e**2, Q_bb: Q_bb + w * b**2, Q_ex: Q_ex + w * e * off**2, Q_xx: Q_xx + w * off**4,
                M_ee: M_ee + w**2 * e**2, M_bb: M_bb + w**2 * b**2,
            },
            fresh=(w, e, b), given={"weight": Relation("", 0, "<=", w), "near": Relation("", off**2, "<=", 2 * reach)},
        ),
        "data": Recursion(
            start={spread: 0, scatter: 0, G: 0, H: 0},
            update={spread: spread + omega * nu**2, scatter: scatter + omega * beta**2, G: G + omega * g, H: H + omega * h},
            fresh=(omega, gamma, delta, nu, eps, beta, g, h),
            given={
                "share": Relation("", 0, "<=", omega), "along_c": Relation("", norm2(g), "==", gamma**2 * delta**2), "longest": Relation("", gamma**2, "<=", longest),
                "curved": Relation("", 8 * delta**2, "<=", beta**4), "along_n": Relation("", norm2(h), "==", nu**2 * eps**2),
                "half": Relation("", 4 * eps**2, "<=", beta**2),
            },
        ),
    },
    symmetric=("A",),
)  # fmt: skip


def derive(p: Proof) -> None:
    p.free(
        "split",
        using=[("samples", "Z"), ("linear", "V"), ("centred", "o' A N")],
        text="what is linear in the deviations meets the prototype as o'A N = 0",
    )
    far(p)
    tangent(p)
    across = pushes.Push(H, h, omega, spread, nu, scatter, beta, eps, "along_n", "half")
    pushes.sums_of_squares(p, across)
    pushes.length_of_sum(p, "across", across)
    along(p)
    p.positive("push", terms=[square(G - H, coef=4), square(facts=["along"]), square(facts=["across"], coef=2)],
               text="|G + H|^2 <= 2 |G|^2 + 2 |H|^2")  # fmt: skip
    pushes.after_a_contraction(p, shrunk, gap, G + H, eta, BOUND)


def far(p: Proof) -> None:
    """``(b_0 - mean)^2 <= 2 |b|^2``, one number after the other."""
    off_ = b_0 * whole - mean

    def induct(name: str, goal: Any, base: list[Any], step: Any, text: str) -> None:
        p.induction(
            name, goal, recursion="others", relation=">=0", step=step, text=text,
            base=lambda p, label, goal: p.positive(label, goal, terms=base, text="the number itself"),
        )  # fmt: skip

    def adds(*terms: Any) -> Any:
        return lambda p, label, goal: p.positive(
            label, goal, terms=[square(facts=["hypothesis"]), *terms], text="a number adds nothing negative"
        )

    induct("some", whole, [square(facts=["one.1"])], adds(square(facts=["weight_1"])), "weights are not negative")
    induct("itself", total - b_0**2, [], adds(square(b_1)), "b_0^2 is one of the squares")

    def step(p: Proof, label: str, goal: Any) -> None:
        reach_ = 2 * whole * (total + b_1**2)
        p.positive(f"{label}.squares", total, terms=[square(facts=["itself"]), square(b_0)], text="not negative")
        p.positive(f"{label}.bound", reach_, terms=[square(facts=["some", f"{label}.squares"], coef=2), square(b_1, facts=["some"], coef=2)],
                   text="not negative")  # fmt: skip
        p.positive(
            f"{label}.room", reach_**2 - off_**2 * (b_0 - b_1) ** 2,
            terms=[
                square(b_0 - b_1, facts=["hypothesis"]), square(whole, b_0 + b_1, facts=[f"{label}.squares"], coef=2),
                square(whole, facts=[f"{label}.squares", "itself"], coef=4), square(whole, b_1, facts=[f"{label}.squares"], coef=4),
                square(whole * b_1**2, coef=4),
            ],
            text="(b_0 - b_1)^2 <= 2 b_0^2 + 2 b_1^2",
        )  # fmt: skip
        pushes.take_root(p, label, reach_ - off_ * (b_0 - b_1))
        p.positive(
            label, goal,
            terms=[
                square(facts=["hypothesis"]), square(whole, b_1, coef=2), square(facts=["weight_1", f"{label}.cross"], coef=2),
                square(w_1, facts=["itself"], coef=2), square(w_1, b_0 + b_1),
            ],
            text="another number adds the cross terms and its own squares",
        )  # fmt: skip

    induct(
        "weighed",
        2 * whole**2 * total - off_**2,
        [square(w_0, b_0, coef=2)],
        step,
        "(P b_0 - sum of w b)^2 <= 2 P^2 |b|^2",
    )
    p.positive(
        "spread", terms=[square(facts=["weighed"])], using=["one.2"], eliminate=[whole], text="with weights of sum 1"
    )


def tangent(p: Proof) -> None:
    """``8 |rho|^2 <= |b|^4``: half the covariance of rho and (b - mu)^2, of which the latter varies by |b|^4 at most."""
    apart = softmax.Form(4 * e - off**2, w, mass, 4 * A_e - A_x, 16 * Q_ee - 8 * Q_ex + Q_xx, "_ex")
    softmax.weights(p, apart)
    softmax.covariance(p, apart)
    for x, first, second, own, total_ in ((e, A_e, Q_ee, M_ee, rest), (b, A_b, Q_bb, M_bb, shift)):
        form = softmax.Form(x, w, mass, first, second, f"_{x}")
        softmax.covariance(p, form)
        softmax.half(p, form, own, total_)
        p.positive(f"flat_{x}", total_ / 2 - second + first**2, terms=[square(facts=[f"own_{x}"]), square(facts=[f"pairs_{x}"])],
                   using=["probabilities.1"], eliminate=[mass], text=f"diag(w) - w w' <= I/2, at {x}")  # fmt: skip
    p.induction(
        "squares",
        shift,
        recursion="classes",
        relation=">=0",
        base=softmax.nothing_yet,
        step=softmax.grows(square(b)),
        text="|b|^2 >= 0",
    )
    p.induction("tail", 2 * reach * A_x - Q_xx, recursion="classes", relation=">=0", base=softmax.nothing_yet,
                step=softmax.grows(square(off, facts=["weight", "near"])), text="(b - mu)^4 <= 2 B (b - mu)^2")  # fmt: skip
    p.induction(
        "centre", A_x - Q_bb + 2 * mu * A_b - mu**2 * mass, recursion="classes",
        base=lambda p, name, goal: p.ideal(name, goal, using=[], text="nothing is summed yet"),
        step=lambda p, name, goal: p.ideal(name, goal, using=["hypothesis"], text="(b - mu)^2 = b^2 - 2 mu b + mu^2"),
        text="the variance is the mean square less the square of the mean",
    )  # fmt: skip
    p.positive(
        "remainder",
        terms=[
            square(facts=["variance_ex"]), square(facts=["flat_e"], coef=16), square(facts=["tail"]), square(facts=["squares", "flat_b"], coef=2), square(A_x),
        ],
        using=["second_order", "centre", "probabilities.1", "probabilities.2", "probabilities.3"], eliminate=[Q_ex, A_x, reach, mu, mass],
        text="16 Var(e) - 8 Cov(e, x) + Var(x) >= 0 for x = (b - mu)^2, Cov = 2 |rho|^2, Var(e) <= |rho|^2 / 2 and Var(x) <= 2 B Var(b) <= B^2",
    )  # fmt: skip


def along(p: Proof) -> None:
    """``8 |G|^2 <= c_2 s_2^2``, one sample after the other."""

    def step(p: Proof, name: str, goal: Any) -> None:
        inner, bound = Inner(G, g), longest * scatter * beta**2
        p.positive(
            f"{name}.length", longest, terms=[square(facts=["longest"]), square(gamma)], text="c_2 >= |c|^2 >= 0"
        )
        p.positive(f"{name}.bound", bound, terms=[square(beta, facts=[f"{name}.length", "wide"])], text="not negative")
        p.positive(
            f"{name}.cauchy",
            norm2(G) * norm2(g) - inner**2,
            terms=[square(wedge(G, g), coef=Rational(1, 2))],
            text="Cauchy and Schwarz",
        )
        p.positive(f"{name}.own", longest * beta**4 - 8 * gamma**2 * delta**2, terms=[square(beta**2, facts=["longest"]), square(gamma, facts=["curved"])],
                   text="8 |g|^2 <= c_2 beta^4")  # fmt: skip
        p.positive(
            f"{name}.room", bound**2 - 64 * inner**2,
            terms=[
                square(facts=[f"{name}.cauchy"], coef=64), square(gamma, delta, facts=["hypothesis"], coef=8),
                square(scatter, facts=[f"{name}.length", f"{name}.own"]),
            ],
            using=["along_c"], eliminate=[norm2(g)], text="the bounds so far",
        )  # fmt: skip
        pushes.take_root(p, name, bound - 8 * inner)
        p.positive(
            name, goal, terms=[square(facts=["hypothesis"]), square(facts=["share", f"{name}.cross"], coef=2), square(omega, facts=[f"{name}.own"])],
            using=["along_c"], eliminate=[norm2(g)], text="a new sample adds omega times the cross terms and its own square",
        )  # fmt: skip

    p.induction(
        "along",
        recursion="data",
        relation=">=0",
        base=softmax.nothing_yet,
        step=step,
        text="by induction on the number of samples",
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    m = setting(x, ops)
    rows, head, means, share, at_samples = m.rows, m.head, m.means, m.share, m.at_samples
    count, ones = ops.rows(rows), ops.ones(ops.rows(x["U"]), 1, x["U"])
    at_means = m.member @ m.at_means
    changes, shifts = at_samples - at_means, m.deviation @ head
    tangents = at_means * (shifts - (at_means * shifts) @ ones)  # diag(q) - q q' times the change of the logits
    rests = changes - tangents
    along_c = ops.T(m.member @ means) @ rests * share
    across_n = ops.T(m.deviation) @ changes * share
    lengths = ops.diagonal(means @ ops.T(means))

    # the first class by itself, the others without weight
    of_first = m.member[..., :, :1]
    prototype, q = means[..., :1, :], m.at_means[..., :1, :]
    one = ops.ones(count, 1, rows)
    tangent_ = ops.eye(x["U"]) * q - ops.T(q) @ q
    apart = rows - one @ prototype
    # the first sample, with the weights at its prototype
    b_, w_ = shifts[..., :1, :], at_means[..., :1, :]
    return {
        "Z": rows, "C": prototype, "o": one, "N": apart, "A": ops.eye(rows) * of_first * share, "U": head, "J": tangent_,
        "S": at_samples, "S_1": q, "V": at_samples - one @ q - apart @ head @ tangent_,
        "b_0": ops.entry(b_, 0, 0), "w_0": ops.entry(w_, 0, 0), "P_o": w_ @ ones, "mu_o": w_ @ ops.T(b_), "B_o": ops.total_square(b_),
        "rho_2": ops.total_square(rests[..., :1, :]), "b_2": ops.total_square(b_),
        "n_2": ops.total_square(m.deviation) * share, "s_2": ops.total_square(shifts) * share, "c_2": ops.max_entry(lengths),
        "G": ops.flatten(along_c), "H": ops.flatten(across_n), "E": ops.flatten(m.error), "QE": ops.flatten(m.moved), "eta": m.size,
    }  # fmt: skip


CLAIM = Claim(
    id="T3.13",
    title="What prototypes lose under cross-entropy is of second order",
    family="forgetting and order",
    source="new; beside T3.11, whose bound is of first order",
    paper="Forgetting is governed by the contributions.",
    statement=STATEMENT,
    inputs=(
        Input("Z", "rows", "n", "f"), Input("U", "rows", "c", "f"), Input("J_minus_U", "rows", "c", "f"), Input("eta", "real", low="0"),
    ),
    bind=bind,
    derive=derive,
    trust=(TAYLOR_TWICE_OF_SOFTMAX,),
    tight=(Instance(FAINT, "one class around zero, small logits: all of the features is deviation", "across"),),
    necessity={
        "stable": Instance({"Z": unit([1], [-1]), "P": [[1, 0], [1, 0]], "U": [[0], [0]], "J_minus_U": [["1/2"], ["-1/2"]], "eta": [[1]], "step": [[9]]},
                           "a step size beyond stability stretches the difference of the heads", "step"),
    },
    on_features=on_features,
    notes=(
        "Of this and T3.11's bound, s_2 z_2 with z_2 = sum of omega |z|^2, either may be smaller: for unit features and weights that sum to 1 this one where s_2 + 2 n_2 < 1.  Finer groups make s_2 and n_2 "
        "no larger, leave z_2 as it is, and may make c_2 larger.",
        "The eighth is not best possible: of two classes |rho|^2 is at most |U'n|^4 / 54 to leading order.",
        "Steps add up as in T3.10 'drift': from a common start |J - U| is at most the sum of the bounds of the steps made.",
    ),
)  # fmt: skip
