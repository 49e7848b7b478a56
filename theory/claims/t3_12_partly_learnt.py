"""T3.12: expected forgetting where only a share of every environment is learnt: two order-free terms and a quartic one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice, permutations, product
from typing import Any

from sympy import Trace

from ..claim import Assumption, Claim, Statement
from ..language import Input, Instance, Relation, identity, matrix, scalars, unit
from ..proof import Proof, square
from ..sequences import learn_with_residuals, learning, norm_bound

eta, ell, inv_ell = scalars("eta ell u")
A, L, M = matrix("A", "T", "d"), matrix("L", "T", "T"), matrix("M", "T", "T")
E, X, S = matrix("E", "d", "d"), matrix("X", "T", "d"), matrix("s", "T", "d")
a = matrix("a", "k", "d")
eye_t, eye_d = identity("T"), identity("d")

MEASURED = 8  # orders of a features file, for each share
SHARES = ("1/4", "1/2", "3/4")


def size(x: Any) -> Any:
    """Squared Frobenius norm."""
    return Trace(x.T * x)


forgetting = Trace(X * X.T) - (1 - eta) ** 2 * Trace(S * S.T)
triangles = Trace(L.T * L * L)
# 2 (1 - eta) (|L'L|^2 - |L'L + L L M|^2) - |M'L'L|^2, with the square multiplied out
quartic = -2 * (1 - eta) * (2 * Trace(L.T * L * L * L * M) + size(L * L * M)) - Trace(L.T * L * M * M.T * L.T * L)

STATEMENT = Statement(
    text="Environments with orthonormal feature rows, of any number each, are learnt in turn, of each the share eta: a gradient step of size eta, or m "
    "of size eta_0 with eta = 1 - (1 - eta_0)^m (T3.6).  For an isotropic target d times the expected total forgetting, the loss at the end less that just "
    "after its own turn, is exactly eta (2 - eta) (2 <L, L M> - 2 (1 - eta) |L M|^2 - |M'L|^2), which is eta (2 - eta) ((2 eta - 1) |L|^2 + 4 eta (1 - eta) "
    "tr(L'L^2) + eta^2 Q), L the strictly lower part of the Gram matrix of scores in that order and M = (I + eta L)^{-1}.  |L|^2 is the sum of the squared scores "
    "of all pairs, tr(L'L^2) that of the products of the three scores of all triples: neither depends on the order.  Q is of fourth order: for 0 <= eta <= 1, "
    "a bound l of the spectral norm of L and eta l <= 1, (1 + eta l)^2 Q <= (2 (1 - eta) (1 + eta l)^2 - 1) |L'L|^2 and -(1 - eta l)^2 Q <= "
    "2 (1 - eta) ((1 - eta l)^2 |L'L|^2 + 2 |L^2|^2) + |L'L|^2, where neither |L'L|^2 nor |L^2|^2 exceeds l^2 |L|^2.  So order sensitivity is of fourth order in "
    "the scores whatever share is learnt, and the term of second order changes its sign at one half: to second order later environments help "
    "earlier ones where less is learnt, on average.  eta = 1 is T3.7.",
    relations=(
        Relation("exact", forgetting, "==", eta * (2 - eta) * (2 * Trace(L.T * L * M) - 2 * (1 - eta) * size(L * M) - size(M.T * L))),
        Relation("expanded", forgetting, "==", eta * (2 - eta) * ((2 * eta - 1) * size(L) + 4 * eta * (1 - eta) * triangles + eta**2 * quartic)),
        Relation("above", (1 + eta * ell) ** 2 * quartic, "<=", (2 * (1 - eta) * (1 + eta * ell) ** 2 - 1) * size(L.T * L)),
        Relation(
            "below", -((1 - eta * ell) ** 2) * quartic, "<=",
            2 * (1 - eta) * ((1 - eta * ell) ** 2 * size(L.T * L) + 2 * size(L * L)) + size(L.T * L),
        ),
        Relation("back", size(L.T * L), "<=", ell**2 * size(L)),
        Relation("on", size(L * L), "<=", ell**2 * size(L)),
    ),
    assumptions=(
        Assumption("orthonormal", "the feature rows of every environment are orthonormal (rank one: unit length)", each=("orthonormal",)),
        Assumption("forward", "eta is not negative", (Relation("", 0, "<=", eta),)),
        Assumption("share", "no step overshoots: eta <= 1", (Relation("", eta, "<=", 1),)),
        Assumption("norm", "l bounds the spectral norm of L: L L' <= l^2 I", (Relation("", L * L.T, "loewner<=", ell**2 * eye_t),)),
        Assumption("small", "eta l <= 1", (Relation("", eta * ell, "<=", 1),)),
        Assumption("positive", "u = 1/l is positive", (Relation("", 0, "<=", inv_ell),), True),
        Assumption("reciprocal", "u l = 1", (Relation("", inv_ell * ell * eye_t, "==", eye_t),), True),
        Assumption("residual", "X = A E maps the initial error to all residuals; with E[e_0 e_0'] = I/d the expected loss at the end is tr(X X')/d, and "
                   "(1 - eta)^2 tr(s s')/d just after every turn", (Relation("", X, "==", A * E),), True),
    ),
    symbols={
        "A": "feature rows in order", "L": "strictly lower part of A A'", "M": "inverse of I + eta L", "E": "initial error -> error at the end",
        "X": "initial error -> residuals at the end", "s": "initial error -> residual of each environment just before its turn",
        "eta": "share of each environment's residual that its turn removes", "ell": "bound l of the spectral norm of L", "u": "1/l",
        "a": "feature rows of the next environment",
    },
    recursions={"learning": learning(a, A, L, M, S, E, eye_d, rate=eta)},
)  # fmt: skip


def derive(p: Proof) -> None:
    p.blocks(
        "pass",
        [
            Relation("", E, "==", eye_d - eta * A.T * S),
            Relation("", A, "==", (eye_t + eta * L) * S),
            Relation("", A * A.T, "==", eye_t + L + L.T),
            Relation("", M * L, "==", L * M),
            Relation("", M * (eye_t + eta * L), "==", eye_t),
            Relation("", (eye_t + eta * L) * M, "==", eye_t),
            Relation("", Trace(L), "==", 0),
            Relation("", Trace(L * M), "==", 0),
        ],
        recursion="learning",
        text="by induction on the number of environments (T3.6 for all initial errors at once); what is strictly lower has no trace",
    )
    left, right, unfold = ("pass.5", "M L"), ("pass.6", "L M"), ("pass.6", "M")
    p.free("solved", Relation("", S, "==", M * A), using=[("pass.2", "A"), left], text="s = M A")
    p.free("moved", Relation("", X, "==", ((1 - eta) * eye_t - eta * L.T) * M * A),
           using=[("residual", "X"), ("pass.1", "E"), ("solved", "s"), ("pass.3", "A A'"), right], text="X = ((1 - eta) I - eta L') M A")  # fmt: skip
    p.free("gram", Relation("", eta * M * A * A.T * M.T, "==", M + M.T - (2 - eta) * M * M.T), using=[("pass.3", "A A'"), left],
           text="eta M G M' = M + M' - (2 - eta) M M', because M (I + eta L) = I")  # fmt: skip
    p.free("behind", Relation("", L.T * M, "==", L.T - eta * L.T * L * M), using=[unfold], text="M = I - eta L M")
    p.free("weighed", Relation("", eta * L.T * M * A * A.T * M.T, "==", L.T * (M + M.T - (2 - eta) * M * M.T)), using=[("gram", "M A A' M'")],
           text="times L'")  # fmt: skip
    p.free("once", Relation("", eta * Trace(L.T * M * A * A.T * M.T), "==", eta * ((2 - eta) * size(L * M) - Trace(L.T * L * M))),
           using=[("weighed", "L' M A A' M'"), ("behind", "L' M"), "pass.7", "pass.8"], text="with tr L = tr L M = 0")  # fmt: skip
    p.free("twice", Relation("", eta * Trace(L.T * M * A * A.T * M.T * L), "==", 2 * Trace(L.T * L * M) - (2 - eta) * size(M.T * L)),
           using=[("gram", "M A A' M'"), ("pass.4", "M L")], text="M and L commute")  # fmt: skip
    p.free("exact", using=[("moved", "X"), ("solved", "s"), ("once", "L' M A A' M'"), ("twice", "L' M A A' M' L")],
           text="(1 - eta)^2 tr M G M' cancels")  # fmt: skip

    p.free("next", Relation("", L * M, "==", L - eta * L * L * M), using=[unfold], text="M = I - eta L M")
    p.free("turned", Relation("", M.T * L, "==", L - eta * M.T * L.T * L), using=[unfold], text="M' = I - eta M'L'")
    step, back = ("next", "L L M"), ("turned", "M' L' L")
    p.free(
        "mixed",
        Relation("", Trace(L.T * L * M), "==", size(L) - eta * triangles + eta**2 * Trace(L.T * L * L * L * M)),
        using=[step],
        text="twice",
    )
    p.free("product", Relation("", size(L * M), "==", 2 * Trace(L.T * L * M) - size(L) + eta**2 * size(L * L * M)), using=[step],
           text="|L - L M|^2 = eta^2 |L L M|^2")  # fmt: skip
    p.free("other", Relation("", size(M.T * L), "==", 2 * Trace(L.T * M * L) - size(L) + eta**2 * Trace(L.T * L * M * M.T * L.T * L)), using=[back],
           text="|L - M'L|^2 = eta^2 |M'L'L|^2")  # fmt: skip
    p.free(
        "expanded",
        using=[
            ("exact", "X X'"),
            ("product", "M' L' L M"),
            ("other", "L' M M' L"),
            ("pass.4", "M L"),
            ("mixed", "L' L M"),
        ],
        text="put them in",
    )

    p.positive("rest", 1 - eta, terms=[square(facts=["share"])], text="1 - eta >= 0")
    p.positive("room", 1 - eta * ell, terms=[square(facts=["small"])], text="1 - eta l >= 0")
    p.psd("lower", Relation("", (1 - eta * ell) ** 2 * eye_t, "loewner<=", (eye_t + eta * L) * (eye_t + eta * L.T)),
          squares=[(1, ell * eye_t + L.T, None, ["forward", "positive"]), (1, eye_t, "norm", ["forward", "positive", "room"])], using=["reciprocal"],
          text="(I + eta L)(I + eta L)' - (1 - eta l)^2 I = eta/l ((l I + L)(l I + L)' + (1 - eta l)(l^2 I - L L'))")  # fmt: skip
    p.psd("upper", Relation("", (eye_t + eta * L) * (eye_t + eta * L.T), "loewner<=", (1 + eta * ell) ** 2 * eye_t),
          squares=[(1, ell * eye_t - L.T, None, ["forward", "positive"]), (1, eye_t, "norm", ["forward", "positive"]), (1, eta * eye_t, "norm")],
          using=["reciprocal"], text="(1 + eta l)^2 I - (I + eta L)(I + eta L)' = eta/l ((l I - L)(l I - L)' + (1 + eta l)(l^2 I - L L'))")  # fmt: skip
    p.psd("inverse_above", Relation("", (1 - eta * ell) ** 2 * M * M.T, "loewner<=", eye_t), squares=[(1, M.T, "lower")], using=[left],
          text="multiply by M from both sides")  # fmt: skip
    p.psd("inverse_below", Relation("", eye_t, "loewner<=", (1 + eta * ell) ** 2 * M * M.T), squares=[(1, M.T, "upper")], using=[left],
          text="multiply by M from both sides")  # fmt: skip
    both = (1 + eta * ell) * (L.T * L + L * L * M)
    p.free("above", squares=[(2, both, None, ["rest"]), (1, L.T * L, "inverse_below")], using=[],
           text="Q = 2 (1 - eta) (|L'L|^2 - |L'L + L L M|^2) - |M'L'L|^2")  # fmt: skip
    apart = (1 - eta * ell) * (L.T * L - L * L * M)
    p.free("below", squares=[(2, apart, None, ["rest"]), (4, L.T * L.T, "inverse_above", ["rest"]), (1, L.T * L, "inverse_above")], using=[],
           text="2 tr(L'L L L M) <= |L'L|^2 + |L L M|^2")  # fmt: skip
    p.free("back", squares=[(1, L, "norm")], using=[], text="tr L'(l^2 I - L L')L >= 0")
    p.free("on", squares=[(1, L.T, "norm")], using=[], text="tr L(l^2 I - L L')L' >= 0")


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    rows, rate = x["A"], x["eta"]
    every = ops.eye(ops.T(rows) @ rows)  # an isotropic target: every initial error at once
    error, before = learn_with_residuals(rows, every, ops, rate)
    lower = ops.strictly_lower(rows @ ops.T(rows))
    bound = x["ell"] if "ell" in x else norm_bound(lower, ops)
    return {
        "A": rows, "E": error, "X": rows @ error, "s": before, "L": lower, "M": ops.inv(ops.eye(lower) + rate * lower), "eta": rate,
        "ell": bound, "u": ops.reciprocal(bound),
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    means = {t: view.mean(view.image(t)) for t in view.environments}
    for order, share in product(islice(permutations(view.environments), MEASURED), SHARES):
        (rows,) = view.span(view.normalise(view.stack([means[t] for t in order])))
        yield (
            f"mean image directions, order {', '.join(view.name(t) for t in order)}, share {share}",
            {"A": rows, "eta": [[share]]},
        )


CLAIM = Claim(
    id="T3.12",
    title="Order sensitivity is of fourth order whatever share is learnt",
    family="forgetting and order",
    source="new; the case eta = 1 is T3.7",
    paper="Continual VLMs are robust to the order of the environments.",
    statement=STATEMENT,
    inputs=(Input("A", "unit_rows", "T", "d"), Input("eta", "real", low="0", high="1")),
    bind=bind,
    derive=derive,
    tight=(Instance({"A": unit([1, 0], ["3/5", "4/5"]), "eta": [["1/2"]]}, "two environments: L has one entry, which is its norm", "back"),),
    necessity={
        "orthonormal": Instance({"A": unit([2]), "eta": [["1/2"]]}, "one direction, of length 2", "exact"),
        "forward": Instance({"A": unit([1, 0], ["3/5", "4/5"]), "eta": [[-1]], "ell": [["3/5"]]}, "a step uphill", "above"),
        "share": Instance({"A": unit([1, 0], ["3/5", "4/5"]), "eta": [["3/2"]], "ell": [["3/5"]]}, "a step that overshoots", "above"),
        "norm": Instance({"A": unit([1, 0], ["3/5", "4/5"]), "eta": [["1/2"]], "ell": [["1/10"]]}, "l below the norm", "back"),
        "small": Instance({"A": unit([1, 0], [1, 0], [1, 0]), "eta": [[1]], "ell": [[3]]}, "l = 3", "below"),
    },
    on_features=on_features,
    notes=(
        f"Of features, the first {MEASURED} orders are measured, for each of the shares {', '.join(SHARES)}.",
        "L holds each unordered pair of environments once, and tr(L'L^2) = sum over i > j > k of L_ij L_jk L_ik each unordered triple once: so both are the same for "
        "every order.  Where all scores are equal so is L, and no order forgets more than another (O3), whatever share is learnt.",
        "Two environments with score c forget eta (2 - eta) c^2 (2 eta - 1 - eta^2 c^2) in either order, which is 0 where eta = (1 - sqrt(1 - c^2))/c^2, from one half for "
        "faint scores to 1 for the same environment twice, and below 0 where less is learnt.",
        "At eta = 1 `above` and `below` are the bounds of T3.7, whose ratio tends to 1 with the scores; for smaller shares they are not best possible.",
        "Second order decides where scores are small and environments few.  Of scores that are not negative the triples add to what is forgotten, and there are more of "
        "them the more environments: half is not always safe, for at eta = 1/2 three environments with scores 1/10 forget, if little; and at eta = 2/5, where of scores "
        "2/5 five environments gain, six forget.",
    ),
)  # fmt: skip
