"""The three arithmetics agree, and the error bounds are bounds: exact rationals are the oracle."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from crossmodal.synthetic.arithmetic import (
    Ball,
    Bounded,
    Enclosure,
    Exact,
    Plain,
    ball,
    lower_end,
    root,
    transcendental,
    upper_end,
)
from crossmodal.synthetic.arithmetic.enclosures import from_mpf
from crossmodal.synthetic.arithmetic.lanes import as_batch, as_lanes
from hypothesis import given
from hypothesis import strategies as st

exact, bounded, plain = Exact(), Bounded(), Plain()
floats = st.floats(-1e3, 1e3, allow_subnormal=False)


def matrices(rows: int, cols: int) -> st.SearchStrategy[list[list[float]]]:
    return st.lists(st.lists(floats, min_size=cols, max_size=cols), min_size=rows, max_size=rows)


def tensor(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def exactly(rows: list[list[float]]) -> np.ndarray:
    return exact.array([[Fraction(v) for v in row] for row in rows])


def contains(found: Ball, truth: np.ndarray, shrink: float = 1.0) -> bool:
    for mid, err, true in zip(found.mid.reshape(-1), found.err.reshape(-1), truth.reshape(-1), strict=True):
        if abs(Fraction(float(mid)) - true) > Fraction(float(err)) * Fraction(shrink):
            return False
    return True


EXPRESSIONS = {
    "sum": lambda ops, a, b: a + b,
    "difference": lambda ops, a, b: a - b,
    "product": lambda ops, a, b: a * b,
    "matrix product": lambda ops, a, b: a @ ops.T(b),
    "long": lambda ops, a, b: (a @ ops.T(b)) @ (a - b) * ops.ratio(1, 3) + a,
    "mean row": lambda ops, a, b: ops.mean_row(a) - ops.mean_row(b),
    "total square": lambda ops, a, b: ops.total_square(a - b),
    "inner": lambda ops, a, b: ops.inner(a, b),
    "trace": lambda ops, a, b: ops.trace(a @ ops.T(b)),
    "power": lambda ops, a, b: (a - b) ** 3,
    "lower": lambda ops, a, b: ops.strictly_lower(a @ ops.T(b)) @ a,
    "flat": lambda ops, a, b: ops.flatten(a) @ ops.T(ops.flatten(b)),
    "maximum": lambda ops, a, b: ops.maximum(a, b) + ops.minimum(a, b) * ops.max_entry(a) + ops.absolute(b),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
@given(a=matrices(3, 2), b=matrices(3, 2))
def test_error_bound_holds(name: str, a: list[list[float]], b: list[list[float]]) -> None:
    f = EXPRESSIONS[name]
    ball = f(bounded, bounded.array(tensor(a)), bounded.array(tensor(b)))
    assert contains(ball, f(exact, exactly(a), exactly(b)))


def test_the_bound_test_can_fail() -> None:
    """With error bounds a hundred times too small the same test fails on ordinary numbers."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(50):
        a, b = rng.standard_normal((2, 3, 2))
        f = EXPRESSIONS["long"]
        ball = f(bounded, bounded.array(a), bounded.array(b))
        truth = f(exact, exactly(a.tolist()), exactly(b.tolist()))
        assert contains(ball, truth)
        missed += not contains(ball, truth, shrink=0.01)
    assert missed > 10


@given(st.lists(st.lists(st.integers(-5, 5), min_size=3, max_size=3), min_size=3, max_size=3))
def test_inverse(rows: list[list[int]]) -> None:
    """Diagonally dominant, so never singular."""
    a = exact.array([[v + 30 * (i == j) for j, v in enumerate(row)] for i, row in enumerate(rows)])
    inverse = exact.inv(a)
    assert (a @ inverse == exact.eye(a)).all()
    ball = bounded.inv(bounded.array(a))
    assert contains(ball, inverse)
    assert float(ball.err.max()) < 1e-12


def test_inverse_of_a_singular_matrix() -> None:
    with pytest.raises(ZeroDivisionError):
        exact.inv(exact.array([[1, 2], [2, 4]]))


@given(st.fractions(min_value=0, max_value=1000))
def test_root_encloses(x: Fraction) -> None:
    r = root(x)
    if isinstance(r, Enclosure):
        assert r.lo**2 <= x <= r.hi**2
        assert r.hi - r.lo == Fraction(1, 10**72)
    else:
        assert r * r == x
    ball = bounded.sqrt(bounded.array([[x]]))
    low, high = (r.lo, r.hi) if isinstance(r, Enclosure) else (r, r)
    mid, err = Fraction(float(ball.mid)), Fraction(float(ball.err))
    assert mid - err <= low
    assert high <= mid + err


@given(st.fractions(min_value=Fraction(1, 50), max_value=20, max_denominator=1000))
def test_exponential_and_logarithm_enclose(x: Fraction) -> None:
    for name in ("exp", "log"):
        e = transcendental(name, x)
        value = getattr(math, name)(float(x))
        assert abs(float(e.lo) - value) <= 1e-14 * max(1.0, abs(value))
        assert e.hi - e.lo < Fraction(1, 10**60)
        ball = getattr(bounded, name)(bounded.array([[x]]))
        assert Fraction(float(ball.mid)) - Fraction(float(ball.err)) <= e.lo
        assert e.hi <= Fraction(float(ball.mid)) + Fraction(float(ball.err))


@given(st.fractions(), st.fractions(), st.fractions())
def test_enclosures_contain(x: Fraction, y: Fraction, w: Fraction) -> None:
    a, b = Enclosure(min(x, y), max(x, y)), Enclosure(w, w + 1)
    for p in (x, y, (x + y) / 2):
        for q in (w, w + 1):
            for found, true in ((a + b, p + q), (a - b, p - q), (a * b, p * q), (2 - a, 2 - p), (a**2, p * p)):
                assert found.lo <= true <= found.hi


def test_smallest_eigenvalue_is_enclosed() -> None:
    """Matrices with known rational eigenvalues: Q diag(v) Q' with a rational rotation Q."""
    q = exact.array([["3/5", "-4/5"], ["4/5", "3/5"]])
    for low in (Fraction(0), Fraction(-1, 7), Fraction(1, 3)):
        a = q @ exact.array([[low, 0], [0, 1]]) @ q.T
        found = bounded.smallest_eigenvalue(bounded.array(a))
        assert abs(Fraction(float(found.mid)) - low) <= Fraction(float(found.err))
        assert float(found.err) < 1e-13


@given(a=matrices(3, 2), b=matrices(3, 2))
def test_plain_agrees_with_bounded(a: list[list[float]], b: list[list[float]]) -> None:
    for f in EXPRESSIONS.values():
        fast = f(plain, plain.array(tensor(a)), plain.array(tensor(b)))
        slow = f(bounded, bounded.array(tensor(a)), bounded.array(tensor(b)))
        assert torch.allclose(torch.as_tensor(fast), slow.mid, rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_ends_of_enclosures_stay_short_and_outside(sign: int) -> None:
    """Products would double the length of the ends; they are rounded, away from what is inside, and by next to nothing."""
    found = Enclosure(Fraction(7, 3), Fraction(7, 3) + Fraction(1, 10**72))
    for k in range(1, 30):
        low, high = found.lo, found.hi
        found = found * found * Fraction(sign, 4) + Fraction(1, k)
        exact = sorted(x * y * Fraction(sign, 4) + Fraction(1, k) for x, y in ((low, low), (low, high), (high, high)))
        assert found.lo <= exact[0] <= exact[-1] <= found.hi
        assert max(exact[0] - found.lo, found.hi - exact[-1]) <= Fraction(1, 10**110)
        assert max(end.denominator.bit_length() for end in (found.lo, found.hi)) < 500
    single = Enclosure(Fraction(1, 3**500), Fraction(1, 3**500))
    assert (single * single - single * single).lo == 0  # a single number is not rounded
    by_float = found * 0.1
    assert isinstance(by_float.lo, Fraction)
    assert by_float.lo <= found.lo * Fraction(0.1) <= found.hi * Fraction(0.1) <= by_float.hi


def test_a_logarithm_of_what_may_be_nothing_is_refused() -> None:
    one, tiny = Fraction(1), Fraction(1, 10**60)
    for bad in (0, Fraction(-1, 2), Enclosure(Fraction(0), tiny), Enclosure(-one, one), Enclosure(-one, -tiny)):
        with pytest.raises(ValueError, match=r"logarithm of .* may be 0 or less"):
            transcendental("log", bad)
    found = transcendental("log", Enclosure(tiny, one))
    assert found.lo < -138
    assert found.hi == 0


def test_a_root_of_what_is_negative_is_refused() -> None:
    for bad in (Fraction(-1), Enclosure(Fraction(-2), Fraction(-1))):
        with pytest.raises(ValueError, match="square root of -1"):
            root(bad)
    partly = root(Enclosure(Fraction(-1), Fraction(4)))
    assert (partly.lo, partly.hi) == (0, 2)


def test_nothing_is_known_of_the_root_of_what_is_surely_negative() -> None:
    for mid, err in ((-1.0, 0.0), (-1.0, 0.5), (-5e-324, 0.0)):
        assert not bounded.sqrt(Ball(tensor([[mid]]), tensor([[err]]))).err.isfinite()
    for mid, err in ((-1.0, 1.0), (-1e-17, 2e-17), (0.0, 0.0)):  # rounding of what is not
        found = bounded.sqrt(Ball(tensor([[mid]]), tensor([[err]])))
        assert float(found.err) ** 2 >= mid + err


@pytest.mark.parametrize("exponent", [300, 310, 320, 330, 400])
def test_numbers_below_the_smallest_have_a_radius(exponent: int) -> None:
    for sign in (1, -1):
        x = Fraction(sign * 10**9 + 1, 10 ** (exponent + 9))
        assert contains(ball(x), exact.array(x))
        assert float(ball(x).err) < 1e-300
    assert contains(
        bounded.array([[10**300]]) * Fraction(1, 10**exponent), exact.array(Fraction(10**300, 10**exponent))
    )
    assert float(ball(Fraction(1, 2**exponent)).err) == 0


def test_the_step_of_what_is_not_known_is_in_doubt() -> None:
    """A radius without end, or one that is not a number, covers both values; a number without radius has one."""
    nan, inf = math.nan, math.inf
    for mid, err in ((0.0, nan), (-1.0, nan), (1.0, nan), (nan, 0.0), (-1.0, inf), (1.0, inf)):
        found = bounded.positive(Ball(tensor([[mid]]), tensor([[err]])))
        assert abs(float(found.mid) - 0) <= float(found.err)
        assert abs(float(found.mid) - 1) <= float(found.err)
    for mid, value in ((-1.0, 0.0), (0.0, 0.0), (1.0, 1.0), (5e-324, 1.0)):
        found = bounded.positive(Ball(tensor([[mid]]), tensor([[0.0]])))
        assert (float(found.mid), float(found.err)) == (value, 0.0)


def test_the_power_zero_is_one_in_every_arithmetic() -> None:
    rows = [[3.0, -2.0], [0.0, 0.5]]
    powers = (
        exact.array(rows) ** 0,
        (bounded.array(tensor(rows)) ** 0).mid,
        plain.array(tensor(rows)) ** 0,
        as_lanes(tensor(rows)) ** 0,
    )
    for found in powers[:3]:
        assert (found == 1).all()
    assert bool((as_batch(powers[3]) == 1).all())
    assert not (bounded.array(tensor(rows)) ** 0).err.any()


@pytest.mark.parametrize("k", [-1, -2, -3])
def test_negative_powers_are_those_of_the_reciprocal_in_every_arithmetic(k: int) -> None:
    rows = [[3.0, -2.0], [0.7, 0.5]]
    truth = exact.array([[Fraction(v) ** k for v in row] for row in rows])
    assert (exactly(rows) ** k == truth).all()
    found = bounded.array(tensor(rows)) ** k
    assert contains(found, truth)
    assert float(found.err.max()) < 1e-13
    others = (plain.array(tensor(rows)) ** k, as_batch(as_lanes(tensor(rows)) ** k)[0])
    for other in others:
        torch.testing.assert_close(other, found.mid, rtol=1e-14, atol=0)
    wide = Ball(tensor([[3.0, -2.0]]), tensor([[1.0, 1.0]])) ** k  # of the number known to lie in [2, 4], [-3, -1]
    for end in ([[2.0, -1.0]], [[4.0, -3.0]]):
        assert contains(wide, exactly(end) ** k)
    for sign in (1, -1):
        low, high = sorted((Fraction(sign * 2), Fraction(sign * 3)))
        enclosed = Enclosure(low, high) ** k
        assert sorted((low**k, high**k)) == [enclosed.lo, enclosed.hi]


@pytest.mark.parametrize("k", [-1, -2])
def test_a_negative_power_of_what_may_be_nothing_is_refused_or_in_doubt(k: int) -> None:
    """As a division is: exact arithmetic refuses it, a radius has no end."""
    for low, high in ((0, 0), (-1, 1), (0, 1), (-1, 0)):
        with pytest.raises(ZeroDivisionError, match="interval that contains 0"):
            Enclosure(Fraction(low), Fraction(high)) ** k
    for mid, err in ((0.0, 0.0), (1.0, 1.0), (-1.0, 2.0)):
        assert not (Ball(tensor([[mid]]), tensor([[err]])) ** k).err.isfinite().any()


def test_an_exponential_that_underflows_keeps_its_radius() -> None:
    """What is below the smallest normal number has no digits that a radius could be a multiple of."""
    for mid, err in ((-800.0, 100.0), (-760.0, 30.0), (-735.0, 2.0), (-744.5, 1.0), (-1000.0, 1000.0)):
        found = bounded.exp(Ball(tensor([[mid]]), tensor([[err]])))
        top = transcendental("exp", Fraction(mid) + Fraction(err)).hi
        if math.isfinite(float(found.err)):
            assert top <= Fraction(float(found.mid)) + Fraction(float(found.err))
    assert float(bounded.exp(Ball(tensor([[-800.0]]), tensor([[100.0]]))).err) < 1e-260


@pytest.mark.parametrize("terms", [1, 3, 4, 64])
def test_products_below_the_smallest_number_are_counted_term_by_term(terms: int) -> None:
    """Here the middle, and either part of the radius, round to 0 in every term."""
    half, quarter = 2.0**-537, 2.0**-538
    a = Ball(tensor([[half] * terms]), tensor([[quarter] * terms]))
    b = Ball(tensor([[quarter]] * terms), tensor([[quarter]] * terms))
    end = terms * (Fraction(half) + Fraction(quarter)) * 2 * Fraction(quarter)
    assert contains(a @ b, exact.array([[end]]))


@pytest.mark.parametrize("exponent", [-1070, -1000, -600, -500, 500])
def test_the_smallest_eigenvalue_of_tiny_and_huge_matrices_is_enclosed(exponent: int) -> None:
    """Squares of their entries leave the range of float64; the eigenvalues are those of [[2, 1], [1, 2]] by a power of two, so rational."""
    scale = 2.0**exponent
    x = tensor([[2 * scale, scale], [scale, 2 * scale]])
    radius = Ball(x, torch.eye(2, dtype=torch.float64) * scale / 4)
    for found, true in ((bounded.array(x), 1), (radius, Fraction(3, 4)), (radius, Fraction(5, 4))):
        assert contains(bounded.smallest_eigenvalue(found), exact.array([[true * Fraction(scale)]]))
    assert float(bounded.smallest_eigenvalue(radius).err) < 0.36 * scale + 1e-320
    q = tensor([[1 / 3, 0.7, 0.2], [0.7, -0.1, 0.3], [0.2, 0.3, 0.9]])
    there = bounded.smallest_eigenvalue(bounded.array(q * scale))
    here = bounded.smallest_eigenvalue(bounded.array(q))
    if exponent > -1000:  # the same matrix: so is its radius, but for the last digits
        assert float(there.err) > float(here.err) * scale / 10
    unknown = bounded.smallest_eigenvalue(bounded.array(torch.full((2, 2), math.nan, dtype=torch.float64)))
    assert not math.isfinite(float(unknown.err))


def test_rows_of_an_inverse_have_errors_of_their_own() -> None:
    a = exact.array([[Fraction(3, 10**8), 10**8], [Fraction(1, 10**8), 2 * 10**8]])
    found = bounded.inv(bounded.array(a))
    assert contains(found, exact.inv(a))
    wide = bounded.inv(Ball(tensor([[1e-8, 0.0], [0.0, 1e8]]), tensor([[0.0, 0.0], [0.0, 0.0]])))
    assert float(wide.err[0].max()) < 1e-7
    assert float(wide.err[1].max()) < 1e-22
    rng = np.random.default_rng(0)
    for _ in range(50):
        size = int(rng.integers(1, 5))
        mid = rng.standard_normal((size, size)) * 10.0 ** rng.integers(-9, 9, size)
        err = np.abs(mid) * 1e-6 * rng.random((size, size))
        moved = exactly(mid.tolist()) + exactly((err * rng.choice((-1, 1), (size, size))).tolist())
        near = bounded.inv(Ball(torch.from_numpy(mid), torch.from_numpy(err)))
        assert not near.err.isfinite().all() or contains(near, exact.inv(moved))


def test_an_exponential_near_one_lies_above_its_tangent() -> None:
    """Guard digits that are rounded do not help where the argument is as small as they are."""
    for exponent in range(200, 340):
        for sign in (1, -1):
            x = Fraction(sign * 7, 8 * 2**exponent)
            found = transcendental("exp", x)
            assert found.lo <= 1 + x + x * x
            assert 1 + x <= found.hi
    assert (transcendental("exp", 0).lo, transcendental("exp", 0).hi) == (1, 1)


@given(st.fractions(min_value=-50, max_value=50), st.integers(0, 80))
def test_exponentials_and_logarithms_are_enclosed_at_twice_the_digits(x: Fraction, digits: int) -> None:
    x = x / 10**digits
    with mpmath.workdps(200):
        for name, argument in (("exp", x), ("log", 1 + x), ("log", abs(x))):
            if name == "log" and argument <= 0:
                continue
            true = from_mpf(getattr(mpmath, name)(mpmath.mpf(argument.numerator) / argument.denominator)._mpf_)
            found = transcendental(name, argument)
            assert found.lo - Fraction(1, 10**190) <= true <= found.hi + Fraction(1, 10**190)
            assert found.hi - found.lo < Fraction(1, 10**85) * max(1, abs(true))


def test_an_exponential_with_more_digits_than_memory_is_refused() -> None:
    for x in (Fraction(10**16), Fraction(-(10**16)), Enclosure(Fraction(0), Fraction(10**9))):
        with pytest.raises(OverflowError, match="exponential of"):
            transcendental("exp", x)
    assert transcendental("exp", 700).lo > 10**304


def test_the_exact_step_of_an_enclosure_that_does_not_tell_is_in_doubt() -> None:
    tiny = Fraction(1, 10**70)
    for low, high, ends in (
        (-tiny, tiny, (0, 1)),
        (Fraction(0), tiny, (0, 1)),
        (-tiny, Fraction(0), (0, 0)),
        (tiny, 2 * tiny, (1, 1)),
    ):
        found = exact.positive(exact.array([[Enclosure(low, high)]]))[0, 0]
        assert (lower_end(found), upper_end(found)) == ends


def test_an_inverse_of_rows_known_unequally_well() -> None:
    """A row known to 0.01 leans on one known to 0.4: 0.01 / (1 - 0.4), the exact end.  Mutant: each row by its own radius."""
    radius = torch.tensor([[0.0, 0.01], [0.0, 0.4]], dtype=torch.float64)
    found = bounded.inv(Ball(torch.eye(2, dtype=torch.float64), radius))
    for sign in (1, -1):
        within = torch.linalg.inv(torch.eye(2, dtype=torch.float64) - sign * radius)
        assert ((within - found.mid).abs() <= found.err + 1e-15).all()
    assert float(found.err[0, 1]) == pytest.approx(0.01 / 0.6)


def test_below_the_diagonal_errors_stay() -> None:
    mid = torch.arange(9, dtype=torch.float64).reshape(3, 3) + 1
    found = bounded.strictly_lower(Ball(mid, mid / 8))
    lower = torch.tensor([[0.0, 0, 0], [4, 0, 0], [7, 8, 0]], dtype=torch.float64)
    assert torch.equal(found.mid, lower)
    assert torch.equal(found.err, lower / 8)
