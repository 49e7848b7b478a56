"""S7: how far a contribution score of finite samples is from the true one, and how many samples a width needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import sympy
from sympy import Abs, Rational, sqrt

from ..claim import Assumption, Claim, Statement
from ..errors import InputError
from ..language import Inner, Input, Instance, Relation, norm2, scalars, unit, vectors
from ..proof import Proof, square
from ..trust import MCDIARMID

n_s, n_t = scalars("n_s n_t")
before, swap_u, swap_v = scalars("Con Con_u Con_v")
w_s, w_t, total = scalars("c_s c_t C")
e, ell, width = scalars("e ell w")
u, u_new, v, v_new = vectors("u u_new v v_new")
rest_u, rest_v, mean_u, mean_v, all_u, all_v = vectors("rest_u rest_v mean_u mean_v U V")

HALF_WIDTH = sqrt((2 / n_s + 2 / n_t) * ell)  # solves 2 exp(-w^2 / (2/n_s + 2/n_t)) = delta for ell = log(2/delta)

STATEMENT = Statement(
    text="Exchanging one of n_s images moves the sample score Con^ (all pairs) by at most 2/n_s, one of n_t texts by at most "
    "2/n_t.  The squares of these ranges add up to C = 4/n_s + 4/n_t, so for samples of two environments, all drawn "
    "independently, P(|Con^ - Con| >= e) <= 2 exp(-2 e^2 / C) = 2 exp(-e^2 / (2 (1/n_s + 1/n_t))) for e >= 0: Con lies within "
    "sqrt(2 (1/n_s + 1/n_t) log(2/delta)) of Con^ with probability 1 - delta at least.",
    relations=(
        Relation("image", Abs(before - swap_u), "<=", 2 / n_s),
        Relation("text", Abs(before - swap_v), "<=", 2 / n_t),
        Relation("squares", total, "==", 4 / n_s + 4 / n_t),
        Relation("exponent", 2 * e**2 / total, "==", e**2 / (2 / n_s + 2 / n_t)),
        Relation("confidence", 2 * width**2 / total, "==", ell),
    ),
    assumptions=(
        Assumption("unit", "features have unit length", (
            Relation("", norm2(u), "==", 1), Relation("", norm2(u_new), "==", 1), Relation("", norm2(all_u), "==", 1),
            Relation("", norm2(v), "==", 1), Relation("", norm2(v_new), "==", 1), Relation("", norm2(all_v), "==", 1))),
        Assumption("count_s", "there is at least one image", (Relation("", 1, "<=", n_s),), True),
        Assumption("count_t", "there is at least one text", (Relation("", 1, "<=", n_t),), True),
        Assumption("mean_u", "mean_u is the mean of the images U (an element of L2 of the sample)",
                   (Relation("", Inner(all_u - mean_u, mean_u), "==", 0),), True),
        Assumption("mean_v", "mean_v is the mean of the texts V", (Relation("", Inner(all_v - mean_v, mean_v), "==", 0),), True),
        Assumption("pairs", "Con^ averages all pairs (S1); one image is singled out, then one text", (
            Relation("", n_s * before, "==", Inner(rest_u + u, mean_v)), Relation("", n_t * before, "==", Inner(rest_v + v, mean_u))), True),
        Assumption("swapped_u", "Con^ with one image exchanged", (Relation("", n_s * swap_u, "==", Inner(rest_u + u_new, mean_v)),), True),
        Assumption("swapped_v", "Con^ with one text exchanged", (Relation("", n_t * swap_v, "==", Inner(rest_v + v_new, mean_u)),), True),
        Assumption("range_s", "c_s is the range 2/n_s of an image", (Relation("", w_s, "==", 2 / n_s),), True),
        Assumption("range_t", "c_t is the range 2/n_t of a text", (Relation("", w_t, "==", 2 / n_t),), True),
        Assumption("sum", "C sums the squared ranges of all samples", (Relation("", total, "==", n_s * w_s**2 + n_t * w_t**2),), True),
        Assumption("half_width", "w is the half-width of the interval", (Relation("", width**2, "==", HALF_WIDTH**2),), True),
    ),
    symbols={
        "Con": "score of the samples, all pairs", "Con_u": "the same with one image exchanged", "Con_v": "with one text exchanged",
        "n_s": "number of images of s", "n_t": "number of texts of t", "C": "sum of the squared ranges",
        "ell": "log(2/delta)", "w": "half-width of the confidence interval", "e": "any deviation",
        "u": "the image that is exchanged", "u_new": "what it is exchanged for", "v": "the text that is exchanged", "v_new": "what it is exchanged for",
        "U": "the images, an element of L2 of the sample", "V": "the texts", "rest_u": "sum of the other images", "rest_v": "sum of the other texts",
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    over = {n: p.replaced["1/", n] for n in (n_s, n_t)}
    over_total, over_both = p.replaced["1/", total], p.replaced["1/", 2 * over[n_s] + 2 * over[n_t]]
    sides = (
        ("image", n_s, "count_s", u, u_new, all_v, mean_v, swap_u, ("unit.1", "unit.2", "unit.6"), "mean_v", "pairs.1", "swapped_u"),
        ("text", n_t, "count_t", v, v_new, all_u, mean_u, swap_v, ("unit.4", "unit.5", "unit.3"), "mean_u", "pairs.2", "swapped_v"),
    )  # fmt: skip
    for name, n, count, x, y, sample, mean, swap, lengths, centred, pairs, swapped in sides:
        p.positive(
            f"{name}_share", over[n],
            terms=[square(over[n], facts=[count]), square(over[n])], using=[f"{over[n]}.product"], eliminate=[n],
            text="1/n = (n - 1)/n^2 + 1/n^2 is not negative",
        )  # fmt: skip
        for k, sign in ((1, 1), (2, -1)):
            p.positive(
                f"{name}_step_{k}", 2 - sign * (n * before - n * swap),
                terms=[square(x - sign * mean, coef=Rational(1, 2)), square(y + sign * mean, coef=Rational(1, 2)), square(sample - mean)],
                using=[pairs, swapped, *lengths, centred],
                eliminate=[n * before, n, before, swap, Inner(sample, sample), Inner(sample, mean), Inner(x, x), Inner(y, y)],
                text="n times the change is <x - x', mean>; the mean of unit vectors is no longer than 1",
            )  # fmt: skip
            p.positive(
                f"{name}.{k}", terms=[square(facts=[f"{name}_share", f"{name}_step_{k}"])],
                using=[f"{over[n]}.product"], eliminate=[n], text="divide by n",
            )  # fmt: skip
    product = [f"{over[n]}.product" for n in (n_s, n_t)]
    p.ideal("squares", using=["sum", "range_s", "range_t", *product], eliminate=[total, w_s, w_t, n_s, n_t],
            text="n ranges of 2/n each, squared")  # fmt: skip
    p.ideal("twice", over_both - 2 * over_total, using=[(f"{over_total}.product", over_both), "squares", f"{over_both}.product"],
            eliminate=[total, over_both], text="C is twice 2/n_s + 2/n_t")  # fmt: skip
    p.ideal("exponent", using=["twice"], eliminate=[over_both], text="so the two exponents agree")
    p.ideal("confidence", using=["half_width", "twice", f"{over_both}.product"], eliminate=[width, over_total, over_both],
            text="at half-width w the exponent is log(2/delta), so the bound is delta")  # fmt: skip


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    images, texts, new_image, new_text = x["U"], x["V"], x["u_new"], x["v_new"]
    count_s, count_t = ops.rows(images), ops.rows(texts)
    first_image, first_text = ops.row(images, 0), ops.row(texts, 0)
    other_images = images + ops.eye(images)[..., :1] @ (new_image - first_image)  # the first image exchanged
    other_texts = texts + ops.eye(texts)[..., :1] @ (new_text - first_text)
    one = ops.ones(1, 1, images)
    squares = one * 0
    for count in (count_s, count_t):
        for _ in range(count):
            squares = squares + one * ops.ratio(4, count * count)
    mean_image, mean_text = ops.mean_row(images), ops.mean_row(texts)
    return {
        "n_s": one * count_s, "n_t": one * count_t, "Con": ops.mean_entry(images @ ops.T(texts)),
        "Con_u": ops.mean_entry(other_images @ ops.T(texts)), "Con_v": ops.mean_entry(images @ ops.T(other_texts)),
        "c_s": one * ops.ratio(2, count_s), "c_t": one * ops.ratio(2, count_t), "C": squares, "e": x["e"], "ell": x["ell"],
        "w": ops.sqrt(ops.ratio(2, count_s) * x["ell"] + ops.ratio(2, count_t) * x["ell"]),
        "u": first_image, "u_new": new_image, "v": first_text, "v_new": new_text, "U": ops.sample(images), "V": ops.sample(texts),
        "rest_u": count_s * mean_image - first_image, "rest_v": count_t * mean_text - first_text,
        "mean_u": mean_image, "mean_v": mean_text,
    }  # fmt: skip


def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for s in view.environments:
        for t in view.environments:
            if s != t and view.count(s) > 1 and view.count(t) > 1:
                images, texts = view.image(s), view.text(t)
                yield f"image {view.name(s)} / text {view.name(t)}, last sample for the first", {
                    "U": images[:-1], "V": texts[:-1], "u_new": images[-1:], "v_new": texts[-1:], "e": [["1/10"]], "ell": [[3]],
                }  # fmt: skip


# -- the confidence interval, as plain numbers ------------------------------------------------------------------


@cache
def _formula() -> Callable[[int, int, float], float]:
    delta = sympy.Symbol("delta", positive=True)
    found: Callable[[int, int, float], float] = sympy.lambdify(
        (n_s, n_t, delta), HALF_WIDTH.subs(ell, sympy.log(2 / delta)), "math"
    )
    return found


def half_width(n_s: int, n_t: int, delta: float) -> float:
    """Half-width of the interval around a sample score that holds the true one with probability ``1 - delta`` at least.

    Args:
        n_s, n_t: number of images and of texts, from two environments.
        delta: probability of an error, between 0 and 1.

    Returns:
        the solution of ``2 exp(-e^2 / (2 (1/n_s + 1/n_t))) = delta``, rounded up.

    Raises:
        InputError: an argument is out of range.
    """
    if n_s < 1 or n_t < 1:
        raise InputError(
            f"{n_s} images and {n_t} texts", expected="at least one of each", fix="check the environment ids"
        )
    _check_delta(delta)
    return _formula()(n_s, n_t, delta) * (
        1 + 2.0**-49
    )  # a few roundings, each below 2^-53 or so: stay on the safe side


MOST = 2**53  # samples; beyond, floating point does not tell their numbers apart


def sample_size(width: float, delta: float) -> int:
    """The smallest number of samples, in each of the two environments, whose `half_width` is at most `width`.

    Raises:
        InputError: an argument is out of range.
    """
    if not 0 < width < math.inf:
        raise InputError(f"half-width {width}", expected="a positive number", fix="ask for a positive half-width")
    _check_delta(delta)
    about = 4 * math.log(2 / delta) / width / width
    if about > MOST:
        raise InputError(
            f"half-width {width}: some {about:.0e} samples", expected="at most 2^53", fix="ask for a wider interval"
        )
    n = max(1, math.ceil(about))
    while half_width(n, n, delta) > width:
        n += 1
    while n > 1 and half_width(n - 1, n - 1, delta) <= width:
        n -= 1
    return n


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise InputError(
            f"error probability {delta}", expected="a number between 0 and 1", fix="0.05 gives 95 % intervals"
        )


AXIS = unit([1, 0])

CLAIM = Claim(
    id="S7",
    title="Confidence intervals of the scores",
    family="contribution scores",
    source="new; the method of bounded differences of McDiarmid, 1989",
    paper="",
    statement=STATEMENT,
    inputs=(
        Input("U", "unit_rows", "N", "d"), Input("V", "unit_rows", "M", "d"), Input("u_new", "unit_rows", "1", "d"),
        Input("v_new", "unit_rows", "1", "d"), Input("e", "real", low="0", high="2"), Input("ell", "real", low="1/2", high="8"),
    ),
    bind=bind,
    derive=derive,
    trust=(MCDIARMID,),
    tight=(
        Instance({"U": AXIS * 2, "V": AXIS * 3, "u_new": [[-1, 0]], "v_new": AXIS, "e": [[1]], "ell": [[1]]}, "an image turned round", "image"),
        Instance({"U": AXIS * 2, "V": AXIS * 3, "u_new": AXIS, "v_new": [[-1, 0]], "e": [[1]], "ell": [[1]]}, "a text turned round", "text"),
    ),
    necessity={"unit": Instance({"U": AXIS * 2, "V": AXIS, "u_new": [[-2, 0]], "v_new": AXIS, "e": [[1]], "ell": [[1]]}, "an image of length 2", "image")},
    on_features=on_features,
    notes=(
        "Certified: both ranges, the sum of their squares, the exponent and the half-width.  McDiarmid's inequality itself is trusted.",
        "The samples of s and t are independent, so E Con^ = Con exactly.  Within one environment (s = t, matched pairs) the mean over all pairs "
        "is biased by (CLV - Con)/n and exchanging a pair moves it by at most 4/n: there the exponent is n e^2/8 around the mean of the estimator.",
        "For unit features of which any two of one modality are known to lie within distance D the ranges are D/n instead of 2/n.",
    ),
)  # fmt: skip
