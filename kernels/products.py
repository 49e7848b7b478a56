"""Products of features, tile by tile: as they are, or in int8 digits where the processor has matrix units for those.

A processor with AMX multiplies int8 many times faster than float32.  So a row of d float32 numbers is written in units of
a power of two with three digits to the base 256, each from -128 to 127,

    x = unit (65536 a + 256 b + c) + rest,    |rest| <= unit / 2,    unit < 2^-21.9 max |x|,

and a product of two rows is a sum of eight products of digits, each exact in int32; the ninth, of the last digits, lies
below what the rests change.  This is the splitting of Ozaki, Ogita, Oishi and Rump, "Error-free transformations of matrix
multiplication" (2012).  `bound` says how far off it can be, relative to the lengths of the two rows; a float32 product
promises 2^-24 d.  Numbers far smaller than the largest of their row are rounded with it, so a product of nothing but
small ones is no better than the bound, where a float32 product may be.

``torch.backends.mkldnn.enabled = False`` turns the digits off.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

# From the first on the products outweigh adding them up, and up to the last int32 holds the sum.  Widths between multiples
# of 64, which is a row of the matrix units, are left out: oneDNN 3.12 gets them wrong where 33 to 95 columns are left over.
WIDTHS = range(384, 32769, 64)
WORTH = 1024  # rows and columns, their harmonic mean halved, from which on the products outweigh finding the digits
RANGE = 2.0**-40, 2.0**40  # of a row's largest number, and of the scale: nothing overflows or underflows
CHUNK = 128  # rows whose digits are found at a time, in the cache
ORDER = (1, 2), (2, 1), (0, 2), (1, 1), (2, 0), (0, 1), (1, 0), (0, 0)  # of digits: the least products first


class Left(NamedTuple):
    """Rows on the left of a product."""

    values: Tensor
    """(R, d), of any floating dtype."""
    digits: Tensor | None = None
    """(3, R, d) int8, most significant first; None where the product is one of `values`."""
    unit: Tensor | None = None
    """(R,) powers of two."""


class Right(NamedTuple):
    """Rows on the right of a product, which are the columns of its result."""

    values: Tensor
    """(C, d), in the dtype of the result."""
    digits: tuple[Tensor, ...] | None = None
    """Three of (d, C) int8, in oneDNN's keeping."""
    unit: Tensor | None = None
    """(C,) powers of two."""


def bound(width: int) -> float:
    """Largest error of a product in digits, relative to the lengths of the two rows."""
    return 2.0**-21.9 * width**0.5 + 2.0**-29.9 * width + 2.0**-21  # the rests, the last digits, eight float32 sums


@functools.cache
def supported() -> bool:
    """Whether this processor has matrix units for int8, and this torch multiplies with them exactly."""
    if not getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)():
        return False
    # more than one matrix unit holds, some left over in both directions; no default of the program's decides where or what
    numbers = torch.tensor([[-128, 127, -1, 0], [-128, 127, 127, 1]], dtype=torch.int8, device="cpu")
    x, y = numbers[0].repeat(40, 112), numbers[1, :, None].repeat(112, 72)
    columns = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float32, device="cpu").repeat(18)
    try:
        found = _add_digits(None, x, y.to_mkldnn(), 0.5, columns, columns.int() * 0)
        found = _add_digits(found, x, y.to_mkldnn(), 2.0, columns, columns.int() * 0)
    except (RuntimeError, AttributeError, TypeError):  # a torch without oneDNN, or of other days
        return False
    return torch.equal(found.double(), (x.double() @ y.double()) * 2.5 * columns)


def worthwhile(u: Tensor, v: Tensor, scale: float, dtype: torch.dtype) -> bool:
    """Whether ``scale * u v'``, with a result of this dtype, is faster in digits."""
    (rows, width), columns = u.shape, v.shape[0]
    large = rows * columns >= WORTH * (rows + columns) and width in WIDTHS
    fits = dtype == torch.float32 and u.device.type == "cpu" and RANGE[0] <= abs(scale) <= RANGE[1]
    return large and fits and bool(torch.backends.mkldnn.enabled) and supported()


def left(rows: Tensor, digits: Tensor) -> Left:
    """`rows` (R, d) with their digits, for which `digits` (3, R, d) int8 is the room, if they have any."""
    single = rows.float()
    unit = _units(single)
    if unit is None:
        return Left(rows)
    _write_digits(single, unit[:, None], digits)
    return Left(rows, digits, unit)


def right(rows: Tensor) -> Right:
    """`rows` (C, d) in the dtype of the result with their digits, if they have any."""
    unit = _units(rows)
    if unit is None:
        return Right(rows)
    digits = rows.new_empty((3, *rows.T.shape), dtype=torch.int8)
    _write_digits(rows.T.contiguous(), unit, digits)
    return Right(rows, tuple(digit.to_mkldnn() for digit in digits), unit)


def product(a: Left, b: Right, scale: float, out: Tensor | None = None) -> Tensor:
    """``scale * a b'``, (R, C); in `out`, which may be None, unless it is a product of digits."""
    if a.digits is None or a.unit is None or b.digits is None or b.unit is None:
        out = b.values.new_empty(a.values.shape[0], b.values.shape[0]) if out is None else out
        return torch.addmm(out, a.values.to(out.dtype), b.values.T, beta=0, alpha=scale, out=out)
    columns, no_shift = b.unit * scale, torch.zeros_like(b.unit, dtype=torch.int32)
    total = None
    for i, j in ORDER:
        total = _add_digits(total, a.digits[i], b.digits[j], 256.0 ** (4 - i - j), columns, no_shift)
    assert total is not None
    return total.mul_(a.unit[:, None])


def _add_digits(total: Tensor | None, x: Tensor, y: Tensor, scale: float, columns: Tensor, no_shift: Tensor) -> Tensor:
    """``scale * columns * (x y)``, (R, C) float32, added to `total`, for int8 `x` (R, d) and `y` (d, C), the latter oneDNN's."""
    onednn, of_result = torch.ops.onednn.qlinear_pointwise, (None, 1.0, 0, torch.float32)
    if total is None:
        return onednn.default(x, scale, 0, y, columns, no_shift, *of_result, "none", [], "")
    return onednn.binary(x, scale, 0, y, columns, no_shift, total, *of_result, 1.0, 0, "sum", 1.0, "none", [], "")


def _units(rows: Tensor) -> Tensor | None:
    """(R,) powers of two, 8355711 of which reach each row's largest number; None if numbers are out of `RANGE`, or NaN."""
    top = torch.maximum(rows.amax(1), -rows.amin(1))
    if not bool(((top == 0) | ((top >= RANGE[0]) & (top <= RANGE[1]))).all()):
        return None
    power = (top.view(torch.int32) & 0x7F800000).view(torch.float32)  # its exponent alone: top is below twice as much
    unit = torch.where(top > 1.992 * power, power * 2.0**-21, power * 2.0**-22)
    return torch.where(top == 0, 1.0, unit)


def _write_digits(x: Tensor, unit: Tensor, digits: Tensor) -> None:
    """Three digits of ``x / unit``, rounded to a whole number, to the base 256 from -128 to 127."""
    per_unit = (1 / unit).expand_as(x)  # exact
    number, whole = x.new_empty(CHUNK, x.shape[1]), x.new_empty(CHUNK, x.shape[1], dtype=torch.int32)
    for i in range(0, x.shape[0], CHUNK):
        rows = slice(i, min(i + CHUNK, x.shape[0]))
        n = rows.stop - i
        rest = whole[:n].copy_(torch.mul(x[rows], per_unit[rows], out=number[:n]).round_())
        digits[2, rows].copy_(rest)  # int8 keeps the lowest eight bits: the number from -128 to 127 that leaves a
        for place in (1, 0):  # multiple of 256
            digits[place, rows].copy_(rest.add_(128).bitwise_right_shift_(8))
