"""Products in int8 digits: against float64, against the promised error, and wrong variants that the tests must notice."""

from __future__ import annotations

import pytest
import torch
from crossmodal.kernels import pair_lse, products
from crossmodal.kernels.ops.pair_lse import torch as tiled

needs_amx = pytest.mark.skipif(not products.supported(), reason="this processor has no matrix units for int8")
SHAPES = [(40, 30, 64), (1, 1, 384), (300, 65, 512), (7, 129, 1024), (130, 3, 128), (33, 95, 448)]


def by_definition(total, x, y, scale, columns, _no_shift):
    """What oneDNN's product must give, by any processor."""
    product = (x.double() @ y.to_dense().double() * scale * columns.double()).float()
    return product if total is None else total.add_(product)


@pytest.fixture(params=["oneDNN", "by definition"])
def arithmetic(request, monkeypatch) -> None:
    """The processor's own matrix units where it has some, and their definition everywhere."""
    if request.param == "by definition":
        monkeypatch.setattr(products, "_add_digits", by_definition)
    elif not products.supported():
        pytest.skip("this processor has no matrix units for int8")


def in_digits(u: torch.Tensor, v: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    a = products.left(u, torch.empty(3, *u.shape, dtype=torch.int8))
    b = products.right(v.float())
    assert a.digits is not None
    assert b.digits is not None
    return products.product(a, b, scale)


def error(u: torch.Tensor, v: torch.Tensor, found: torch.Tensor) -> float:
    """Largest error relative to the lengths of the rows; a row of zeros has none."""
    u, v = u.double(), v.double()
    size = u.norm(dim=1)[:, None] * v.norm(dim=1)
    return float(((found.double() - u @ v.T).abs() / size.where(size > 0, torch.inf)).max())


def unit(n: int, d: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, d), dim=1)


def with_outlier(n: int, d: int) -> torch.Tensor:
    x = unit(n, d)
    x[:, d // 2] = 1.0
    return x


KINDS = {
    "directions": unit,
    "an outlying dimension": with_outlier,
    "of all sizes": lambda n, d: torch.randn(n, d) * torch.logspace(-8, 2, n)[:, None],
    "heavy tails": lambda n, d: torch.randn(n, d).pow(5),
    "signs": lambda n, d: torch.randn(n, d).sign(),
    "all the same": lambda n, d: torch.full((n, d), 0.0421),
    "same but for one": lambda n, d: torch.full((n, d), 0.0421).index_fill(1, torch.tensor([0]), 1.0),
    "just below a power of two": lambda n, d: torch.full((n, d), 1 - 2.0**-24) * torch.randn(n, d).sign(),
    "at the guard": lambda n, d: torch.full((n, d), 1.992 / 2).nextafter(torch.tensor(2.0)) * torch.randn(n, d).sign(),
    "below the guard": lambda n, d: torch.full((n, d), 1.992 / 2) * torch.randn(n, d).sign(),
    "with rows of zeros": lambda n, d: unit(n, d) * (torch.arange(n) % 2)[:, None],
}  # fmt: skip


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_error_is_within_the_promise(kind, shape) -> None:
    n, m, d = shape
    u, v = KINDS[kind](n, d), KINDS[kind](m, d)
    for a, b in ((u, v), (u, -v), (u, unit(m, d))):
        assert error(a, b, in_digits(a, b)) <= products.bound(d)


def test_the_promise_is_the_better_one() -> None:
    """Of the two: what is known of float32 products in any order of summation is d 2^-24."""
    for d in (products.WIDTHS.start, 512, 1024, products.WIDTHS.stop - 1):
        assert products.bound(d) < d * 2.0**-24 / 3
    assert products.WIDTHS.stop * 3 * 2**14 < 2**31  # three products of digits a number in int32, were they added there


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("kind", ["directions", "an outlying dimension", "same but for one", "all the same"])
def test_no_worse_than_float32_in_fact(kind) -> None:
    """Root mean square over many pairs, with a tenth for chance.

    Beside what digits take the place of, the processor's own product, where it has the units; on others, whose order of summation
    may err less (an AMD EPYC's by an eighth), beside float32 sums of one term after the other.
    """
    u, v = KINDS[kind](256, 512), KINDS[kind](256, 512)
    expected = u.double() @ v.double().T
    plain = u @ v.T if products.supported() else one_after_the_other(u, v)
    ours, other = ((x.double() - expected).square().mean().sqrt() for x in (in_digits(u, v), plain))
    assert ours <= 1.1 * other + 1e-12


def one_after_the_other(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(len(u), len(v))
    for x, y in zip(u.T, v.T, strict=True):
        total.addcmul_(x[:, None], y[None])
    return total


@pytest.mark.usefixtures("arithmetic")
def test_whole_numbers_are_exact() -> None:
    u, v = (torch.randint(-(2**11), 2**11, (50, 400)).float() for _ in range(2))
    u[:, :380] = 0  # so that sums stay below 2^24 times a unit
    assert torch.equal(in_digits(u, v).double(), (u.double() @ v.double().T).float().double())


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_not_rounded_again(dtype) -> None:
    """Numbers of 8 or 11 bits within 2^12 of the largest have no rest at all."""
    u, v = ((torch.rand(30, 64) + 0.5).to(dtype) for _ in range(2))
    assert error(u, v, in_digits(u, v, 1.0)) <= 2.0**-22


def digits_of(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    made = products.left(x, torch.empty(3, *x.shape, dtype=torch.int8))
    assert made.digits is not None
    assert made.unit is not None
    return made.digits.double(), made.unit.double()


@pytest.mark.parametrize("rows", [1, products.CHUNK - 1, products.CHUNK, products.CHUNK + 1])
@pytest.mark.parametrize("kind", KINDS)
def test_digits_write_the_nearest_whole_number(kind, rows) -> None:
    x = KINDS[kind](rows, 65)
    (a, b, c), unit_of_row = digits_of(x)
    whole = 65536 * a + 256 * b + c
    assert torch.equal(whole, (x.double() / unit_of_row[:, None]).round())
    assert (unit_of_row.log2() % 1 == 0).all()
    some = x.abs().amax(1) > 0
    assert (unit_of_row[some] < 2.0**-21.9 * x.abs().amax(1).double()[some]).all()


def test_every_digit_is_written() -> None:
    """All whole numbers near the extremes and near every carry; 2^22 makes the unit one."""
    near = torch.arange(-3, 4)
    carries = torch.cat(
        [near + k for k in (-8355000, -32896, -32768, -384, -128, 0, 127, 128, 255, 32639, 32768, 8355000)]
    )
    x = torch.cat([carries, torch.tensor([2**22 + 2**21])]).float()[None]
    (a, b, c), unit_of_row = digits_of(x)
    assert unit_of_row.tolist() == [1.0]
    assert torch.equal(65536 * a + 256 * b + c, x.double())
    assert {float(c.min()), float(c.max())} == {-128.0, 127.0}


def test_that_check_fails_without_a_guard(monkeypatch) -> None:
    """Mutant: a unit that is always the same power of two below the largest number; the first digit becomes -128."""
    right = torch.where
    monkeypatch.setattr(products.torch, "where", lambda c, a, b: b if isinstance(a, torch.Tensor) else right(c, a, b))
    x = KINDS["just below a power of two"](4, 64)
    (a, b, c), unit_of_row = digits_of(x)
    assert not torch.equal(65536 * a + 256 * b + c, (x.double() / unit_of_row[:, None]).round())


@pytest.mark.parametrize("left_out", range(8))
def test_that_every_product_of_digits_is_needed(monkeypatch, left_out) -> None:
    """Mutants: seven of the eight products.  Without the sixth to eighth nothing is right at all."""
    monkeypatch.setattr(products, "_add_digits", by_definition)
    monkeypatch.setattr(products, "ORDER", products.ORDER[:left_out] + products.ORDER[left_out + 1 :])
    # one large number sets the unit, and digits of the others are large and alike, in the lower places or in all three
    low, high = torch.full((3, 512), 32639 / 2.0**22), torch.full((3, 512), (2.0**21 + 32639) / 2.0**22)
    low[:, 0] = high[:, 0] = 1.0
    assert max(error(x, y, in_digits(x, y)) for x in (low, high) for y in (low, high)) > products.bound(512)


OUT_OF_RANGE = {
    "not a number": torch.nan,
    "infinite": torch.inf,
    "huge": 2.0**41,
    "tiny": 2.0**-41,
    "denormal": 2.0**-130,
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_rows_without_digits_are_multiplied_as_they_are(case, side) -> None:
    u, v = unit(5, 64), unit(6, 64)
    row = (u if side == "left" else v)[3]
    row[:] = 0.0
    row[7] = OUT_OF_RANGE[case]
    a, b = products.left(u, torch.empty(3, 5, 64, dtype=torch.int8)), products.right(v)
    assert (a.digits is None, b.digits is None) == (side == "left", side == "right")
    out = torch.empty(5, 6)
    found = products.product(a, b, 3.0, out)
    assert found is out
    assert torch.allclose(found, 3.0 * (u @ v.T), rtol=1e-5, atol=1e-30, equal_nan=True)


@needs_amx
def test_a_product_that_is_wrong_or_missing_is_not_used(monkeypatch) -> None:
    right = products._add_digits
    for wrong in (
        lambda *arguments: right(*arguments).add_(1.0),
        lambda total, x, y, scale, *rest: right(None, x, y, scale, *rest),
        lambda total, x, y, scale, columns, shift: right(total, x, y, scale, columns * 0 + 1, shift),
        lambda total, x, y, *rest: right(total, x.clamp_min(-127), y, *rest),
    ):
        monkeypatch.setattr(products, "_add_digits", wrong)
        assert not products.supported.__wrapped__()

    def missing(*_):
        raise AttributeError("qlinear_pointwise")

    monkeypatch.setattr(products, "_add_digits", missing)
    assert not products.supported.__wrapped__()
    monkeypatch.setattr(products, "_add_digits", right)
    assert products.supported.__wrapped__()


@needs_amx
def test_defaults_of_the_program_do_not_decide() -> None:
    """The answer is kept for ever, so it must not depend on who asks first."""
    with torch.device("meta"):
        assert products.supported.__wrapped__()
    torch.set_default_dtype(torch.float64)
    try:
        assert products.supported.__wrapped__()
    finally:
        torch.set_default_dtype(torch.float32)


@needs_amx
@pytest.mark.parametrize("columns", [33, 64, 95])
@pytest.mark.parametrize("width", [384, 400, 413, 512, 1000])
def test_columns_left_over(width, columns) -> None:
    """oneDNN's product is wrong by the size of the result for these where the width is no multiple of 64."""
    u, v = unit(2048, width), unit(2048 + columns, width)
    found, expected = pair_lse(u, v, 100.0, impl="torch"), pair_lse(u.double(), v.double(), 100.0, impl="naive")
    for name, x in zip(expected._fields, found, strict=True):
        assert float((x.double() - getattr(expected, name)).abs().max()) <= 1e-4, name


def test_digits_are_used_where_they_win(monkeypatch) -> None:
    def worthwhile(n=2048, m=2048, d=512, scale=100.0, dtype=torch.float32, device="cpu"):
        u, v = torch.empty(n, d, device=device), torch.empty(m, d, device=device)
        return products.worthwhile(u, v, scale, dtype)

    monkeypatch.setattr(products, "supported", lambda: True)
    assert worthwhile()
    assert worthwhile(scale=-1.0)
    for other in (
        {"n": 1000}, {"m": 1000}, {"d": 320}, {"d": 400}, {"d": 1000}, {"d": 32832}, {"scale": 0.0}, {"scale": 1e-30}, {"scale": 1e30},
        {"dtype": torch.float64}, {"device": "meta"},
    ):  # fmt: skip
        assert not worthwhile(**other), other
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not worthwhile()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", True)
    assert worthwhile()
    monkeypatch.setattr(products, "supported", lambda: False)
    assert not worthwhile()


@pytest.fixture
def small_panels(monkeypatch, arithmetic) -> None:
    """Digits for every size, in panels of two small tiles."""
    monkeypatch.setattr(products, "supported", lambda: True)
    monkeypatch.setattr(products, "WORTH", 0)
    monkeypatch.setattr(products, "WIDTHS", range(1, 32769))
    monkeypatch.setattr(tiled, "DIGIT_ROWS", 16)
    monkeypatch.setattr(tiled, "PANEL", 32 * 40)
    monkeypatch.setattr(tiled, "COLUMNS", 32)


@pytest.fixture
def seen(monkeypatch) -> list[int]:
    """How many tiles were products of digits."""
    count, right = [0], products.product

    def product(a, b, *rest):
        count[0] += a.digits is not None and b.digits is not None
        return right(a, b, *rest)

    monkeypatch.setattr(tiled, "product", product)
    return count


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1, 3), (33, 65, 40), (100, 31, 40), (130, 70, 7)])
@pytest.mark.parametrize("kind", ["directions", "of all sizes", "with rows of zeros"])
def test_pairs_in_panels(kind, shape, threads, seen) -> None:
    n, m, d = shape
    u, v = KINDS[kind](n, d), unit(m, d)
    if kind == "of all sizes":
        u *= 20 / u.norm(dim=1).max()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = pair_lse(u, v, 100.0, impl="torch")
    finally:
        torch.set_num_threads(before)
    expected = pair_lse(u.double(), v.double(), 100.0, impl="naive")
    size = max(1.0, float(expected.row_lse.abs().max()))
    for name, x in zip(expected._fields, found, strict=True):
        assert float((x.double() - getattr(expected, name)).abs().max()) <= 1e-6 * size, name
    assert seen[0] >= -(-n // 16) * -(-m // 32)


@pytest.mark.usefixtures("small_panels")
def test_a_panel_far_below_the_others(seen) -> None:
    """Columns 400 below the rows' maxima in one panel and the largest in another; one stripe has no digits."""
    u, v = torch.zeros(96, 40), torch.zeros(70, 40)
    u[:, 0], u[32:, 0], u[50, 1] = 1.0, -1.0, 2.0**-41
    u[50, 0] = 0.0
    v[:, 0], v[::3, 0], v[5, 1] = 200.0, -200.0, 1.0
    found = pair_lse(u, v, 1.0, impl="torch")
    expected = pair_lse(u.double(), v.double(), 1.0, impl="naive")
    for x, y in zip(found, expected, strict=True):
        assert float((x.double() - y).abs().max()) <= 1e-6 * 400
    assert 0 < seen[0] < 6 * 3


@pytest.mark.usefixtures("small_panels")
def test_columns_are_not_rounded_with_every_panel() -> None:
    """A thousand panels that add a thousandth each; in float32 every one would round a sum near 20."""
    u, v = torch.zeros(32 * 400, 40), torch.full((1, 40), 0.0)
    u[:, 0], v[0, 0] = torch.rand(len(u)), 20.0
    found = pair_lse(u, v, 1.0, impl="torch").col_lse
    assert abs(float(found) - float(torch.logsumexp(20.0 * u[:, 0].double(), 0))) <= 2e-6


@needs_amx
def test_gradient_with_digits() -> None:
    u, v = unit(2100, 384).requires_grad_(), unit(2100, 384).requires_grad_()
    out = pair_lse(u, v, 30.0, impl="torch")
    loss = (out.row_lse - out.diagonal).mean() + (out.col_lse - out.diagonal).mean()
    z, labels = 30.0 * u @ v.T, torch.arange(len(u))
    expected = torch.nn.functional.cross_entropy(z, labels) + torch.nn.functional.cross_entropy(z.T, labels)
    assert abs(float((loss - expected).detach())) <= 1e-5
    for x, y in zip(torch.autograd.grad(loss, (u, v)), torch.autograd.grad(expected, (u, v)), strict=True):
        assert float((x - y).abs().max()) <= 1e-5 * float(y.abs().max())
