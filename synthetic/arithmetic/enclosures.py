"""Real numbers known to lie in a rational interval: roots, exponentials and logarithms of exact arithmetic.

Of a rational number, a root's interval is 1e-72 wide; those of exponentials and logarithms are below 1e-85, or below that share
of a value beyond one.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from mpmath.libmp import from_rational, mpf_log

DIGITS = 72
BITS = 384  # that ends of a proper interval keep: 1e-115 relative, far below its width, and no growth from product to product
FIXED = 320  # bits behind the point of an exponential and a logarithm
LARGEST = 1 << 20  # argument of an exponential: its value has 1.4 times as many binary digits
TERMS = 32  # of the exponential series: (2^-8)^32 / 32! < 2^-373


class Enclosure:
    """A real number known to lie in ``[lo, hi]``, both rational."""

    __slots__ = ("hi", "lo")

    def __init__(self, lo: Fraction, hi: Fraction) -> None:
        self.lo, self.hi = lo, hi

    def __add__(self, other: Any) -> Enclosure:
        x = enclosure(other)
        return rounded_outward(self.lo + x.lo, self.hi + x.hi)

    def __neg__(self) -> Enclosure:
        return Enclosure(-self.hi, -self.lo)

    def __sub__(self, other: Any) -> Enclosure:
        return self + (-enclosure(other))

    def __rsub__(self, other: Any) -> Enclosure:
        return enclosure(other) - self

    def __mul__(self, other: Any) -> Enclosure:
        if not isinstance(other, Enclosure):
            x = Fraction(other)  # a float would make its product one
            low, high = (self.lo, self.hi) if x >= 0 else (self.hi, self.lo)
            return rounded_outward(low * x, high * x)
        if self.lo.numerator >= 0 and other.lo.numerator >= 0:  # the usual case: exponentials, norms
            return rounded_outward(self.lo * other.lo, self.hi * other.hi)
        ends = [a * b for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return rounded_outward(min(ends), max(ends))

    def __truediv__(self, other: Any) -> Enclosure:
        x = enclosure(other)
        if x.lo <= 0 <= x.hi:
            raise ZeroDivisionError("division by an interval that contains 0")
        return self * Enclosure(1 / x.hi, 1 / x.lo)

    def __rtruediv__(self, other: Any) -> Enclosure:
        return enclosure(other) / self

    def __pow__(self, k: int) -> Enclosure:
        if k < 0:
            return (1 / self) ** -k
        out = Enclosure(Fraction(1), Fraction(1))
        for _ in range(k):
            out = out * self
        return out

    __radd__, __rmul__ = __add__, __mul__

    def __float__(self) -> float:
        return float((self.lo + self.hi) / 2)

    def __repr__(self) -> str:
        return f"{float(self):.12g}"


def rounded_outward(low: Fraction, high: Fraction) -> Enclosure:
    """The interval with ends of `BITS` bits around a proper one; a single number stays what it is."""
    if low == high:
        return Enclosure(low, high)
    return Enclosure(low if low.denominator.bit_length() <= BITS else _shortened(low),
                     high if high.denominator.bit_length() <= BITS else -_shortened(-high))  # fmt: skip


def _shortened(x: Fraction) -> Fraction:
    """The largest number of about `BITS` bits that is not above x."""
    n, d = x.numerator, x.denominator
    shift = BITS - n.bit_length() + d.bit_length()
    return Fraction((n << shift) // d, 1 << shift) if shift > 0 else x


def enclosure(x: Any) -> Enclosure:
    return x if isinstance(x, Enclosure) else Enclosure(Fraction(x), Fraction(x))


def root(x: Any) -> Any:
    """Square root: a fraction where the argument is a perfect square, an enclosure otherwise."""
    if isinstance(x, Enclosure):
        if x.hi < 0:
            raise ValueError(f"square root of {x}")
        low, high = root(max(x.lo, Fraction(0))), root(x.hi)
        return Enclosure(enclosure(low).lo, enclosure(high).hi)
    x = Fraction(x)
    if x < 0:
        raise ValueError(f"square root of {x}")
    p, q = math.isqrt(x.numerator), math.isqrt(x.denominator)
    if p * p == x.numerator and q * q == x.denominator:
        return Fraction(p, q)
    scale = 10**DIGITS
    low = math.isqrt(x.numerator * scale * scale // x.denominator)
    return Enclosure(Fraction(low, scale), Fraction(low + 1, scale))


def transcendental(name: str, x: Any) -> Enclosure:
    """exp or log of a rational or an enclosure; both increase.

    Raises:
        OverflowError: an exponential of what is larger than `LARGEST` in size.
        ValueError: the logarithm of what is not surely positive.
    """
    e = enclosure(x)
    if name == "log" and e.lo <= 0:
        raise ValueError(f"logarithm of {x}, which may be 0 or less")
    function = {"exp": exponential, "log": logarithm}[name]
    low = function(e.lo)
    return low if e.lo == e.hi else Enclosure(low.lo, function(e.hi).hi)


def exponential(x: Fraction) -> Enclosure:
    """Taylor's series at r = |x|/2^k < 2^-8 in integers, squared k times; the lower end is always rounded down, the upper one up.

    Nothing is left to a library: one that computes with guard digits and rounds the result upwards may still end below the true value, as
    mpmath does for exp(2^-258) at 72 digits.
    """
    if not x:
        return enclosure(1)
    if abs(x) > LARGEST:
        raise OverflowError(f"exponential of {float(x):.6g}")
    k = (abs(x.numerator) // x.denominator).bit_length() + 8
    bits = FIXED + k  # every squaring doubles the relative error
    one = 1 << bits
    low = (abs(x.numerator) << bits - k) // x.denominator
    high = low + 1
    # exp r = 1 + r (1 + r/2 (1 + .. r/(n-1) (1 + rest))), 0 <= rest <= (r/n) / (1 - r) <= 2 r/n
    below, above = one, one - -2 * high // TERMS
    for j in range(TERMS - 1, 0, -1):
        below, above = one + (below * low >> bits) // j, one - (-above * high >> bits) // j
    for _ in range(k):
        below, above = below * below >> bits, -(-above * above >> bits)
    if x < 0:
        return Enclosure(Fraction(one, above), Fraction(one, below))
    return Enclosure(Fraction(below, one), Fraction(above, one))


def logarithm(x: Fraction) -> Enclosure:
    """About an approximation y: ``log x = y + log(1 + d)`` with ``d = x exp(-y) - 1``, and ``d/(1 + d) <= log(1 + d) <= d``."""
    y = from_mpf(mpf_log(from_rational(x.numerator, x.denominator, FIXED), FIXED))
    d = x * exponential(-y) - 1
    return Enclosure(y + d.lo / (1 + d.lo), y + d.hi)


def from_mpf(x: Any) -> Fraction:
    sign, mantissa, exponent, _ = x
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def lower_end(x: Any) -> Fraction:
    return x.lo if isinstance(x, Enclosure) else Fraction(x)


def upper_end(x: Any) -> Fraction:
    return x.hi if isinstance(x, Enclosure) else Fraction(x)


def step(x: Any) -> Any:
    """1 where x > 0, else 0; both where an enclosure does not tell."""
    if upper_end(x) > 0 >= lower_end(x):
        return Enclosure(Fraction(0), Fraction(1))
    return Fraction(int(lower_end(x) > 0))


def larger(a: Any, b: Any) -> Any:
    if isinstance(a, Enclosure) or isinstance(b, Enclosure):
        p, q = enclosure(a), enclosure(b)
        return Enclosure(max(p.lo, q.lo), max(p.hi, q.hi))
    return max(a, b)
