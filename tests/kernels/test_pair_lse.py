"""K1: log-sum-exp of all pairs, against float64, and wrong variants of itself that each test must notice."""

from __future__ import annotations

import pytest
import torch
from crossmodal.kernels import pair_lse
from crossmodal.kernels.ops.pair_lse import api
from crossmodal.kernels.ops.pair_lse import torch as tiled
from crossmodal.theory.errors import InputError

SHAPES = [(252, 507, 123), (1, 1, 3), (1, 65, 96), (65, 1, 7), (300, 65, 64), (1025, 300, 32)]
NAMES = ("row_lse", "col_lse", "row_max", "diagonal")


def reference(u, v, scale, **keep):
    return pair_lse(u.double(), v.double(), scale, impl="naive", **keep)


def close(found, expected, rel: float = 1e-6) -> None:
    """Same infinities, no NaN, and an error of at most `rel` times the largest result (absolute below one).

    A single product can cancel to zero, so its error is relative to the products' size, not to itself.
    """
    size = max([1.0, *(float(x[torch.isfinite(x)].abs().max()) for x in expected if torch.isfinite(x).any())])
    for name in NAMES:
        x, y = getattr(found, name).double(), getattr(expected, name)
        assert x.shape == y.shape, name
        assert torch.equal(torch.isneginf(x), torch.isneginf(y)), name
        finite = ~torch.isneginf(y)
        assert torch.isfinite(x[finite]).all(), name
        assert ((x - y)[finite].abs() <= rel * size).all(), name


@pytest.fixture
def small_tiles(monkeypatch) -> None:
    """Tiles so small that small inputs take many."""
    monkeypatch.setattr(tiled, "ROWS", 16)
    monkeypatch.setattr(tiled, "COLUMNS", 32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("impl", ["torch", "naive", "auto"])
def test_float32_against_float64(unit, poisoned, shape, scale, impl) -> None:
    n, m, d = shape
    u, v = unit(n, d), unit(m, d)
    close(pair_lse(u, v, scale, impl=impl), reference(u, v, scale))


@pytest.mark.usefixtures("small_tiles", "poisoned")
@pytest.mark.parametrize("shape", SHAPES)
def test_many_tiles(unit, shape) -> None:
    n, m, d = shape
    u, v = unit(n, d), unit(m, d)
    close(pair_lse(u, v, 100.0, impl="torch"), reference(u, v, 100.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_at_clip_temperature(unit, dtype) -> None:
    u, v = unit(252, 123, dtype), unit(507, 123, dtype)
    found, expected = pair_lse(u, v, 100.0, impl="torch"), reference(u, v, 100.0)
    assert found.row_lse.dtype == torch.float32
    assert float((found.row_lse - expected.row_lse).abs().max()) <= 1e-4
    assert float((found.col_lse - expected.col_lse).abs().max()) <= 1e-4


@pytest.mark.usefixtures("small_tiles")
def test_float64_stays_float64(unit) -> None:
    u, v = unit(50, 9, torch.float64), unit(70, 9, torch.float64)
    close(pair_lse(u, v, 100.0, impl="torch"), reference(u, v, 100.0), 1e-14)


def test_all_negative_logits_and_65_columns(unit) -> None:
    """A column block of 64 leaves one column over; padding it with 0 would beat logits near -100."""
    u = unit(5, 96, spread=0.05)
    v = -unit(65, 96, spread=0.05)
    expected = reference(u, v, 100.0)
    assert float(expected.row_max.max()) < -90
    close(pair_lse(u, v, 100.0, impl="torch"), expected)


def test_ties() -> None:
    u, v = torch.ones(7, 4) / 2, torch.ones(65, 4) / 2
    found = pair_lse(u, v, 3.0, impl="torch")
    assert torch.equal(found.row_max, torch.full((7,), 3.0))
    assert torch.allclose(found.row_lse, 3 + torch.full((7,), 65.0).log())
    assert torch.allclose(found.col_lse, 3 + torch.full((65,), 7.0).log())


def far_below() -> tuple[torch.Tensor, torch.Tensor]:
    """Column 1 lies 360 or more below every row's maximum: shifted by those, all its terms underflow."""
    return torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.95, 0.05]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])


@pytest.mark.parametrize("tiles", [(16, 32), (1, 1), (2, 4096)])
def test_columns_far_below_the_rows(monkeypatch, tiles) -> None:
    monkeypatch.setattr(tiled, "ROWS", tiles[0])
    monkeypatch.setattr(tiled, "COLUMNS", tiles[1])
    u, v = far_below()
    close(pair_lse(u, v, 200.0, impl="torch"), reference(u, v, 200.0))


def test_that_check_fails_for_one_shared_shift(monkeypatch) -> None:
    """Mutant: trust the shared shift without its certificate."""
    monkeypatch.setattr(tiled, "certificate", lambda _: -1.0)
    monkeypatch.setattr(tiled, "plain_limits", lambda *_: (torch.inf, -torch.inf))
    u, v = far_below()
    found = pair_lse(u, v, 200.0, impl="torch")
    assert torch.isneginf(found.col_lse[1])
    assert round(float(reference(u, v, 200.0).col_lse[1])) == -180, "as the README says"
    with pytest.raises(AssertionError):
        close(found, reference(u, v, 200.0))


def at_heights(*heights: float, columns: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Sixteen rows (a small tile) at each height, the columns up to one below it and one a hundred below."""
    u = torch.tensor([[height, 1.0] for height in heights for _ in range(16)])
    v = torch.stack([torch.ones(columns), -torch.linspace(0, 1, columns)], 1)
    v[7, 1] = -100.0
    return u, v


HEIGHTS = {
    "plain": (0.0, 60.0, -40.0),
    "too high": (60.0, 86.0, 300.0, 0.0),
    "too low": (0.0, -60.0, -300.0, 50.0),
    "only low": (-300.0, -60.0, -90.0),
    "both": (-300.0, 0.0, 300.0, 0.0, -300.0),
    "one after the other": (78.0, 104.5, 60.0, 90.0),
}


@pytest.mark.usefixtures("small_tiles", "poisoned")
@pytest.mark.parametrize("case", HEIGHTS)
def test_tiles_with_and_without_a_shift(case) -> None:
    u, v = at_heights(*HEIGHTS[case])
    close(pair_lse(u, v, impl="torch"), reference(u, v, 1.0))
    close(pair_lse(v, u, impl="torch"), reference(v, u, 1.0))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("height", [88.0, 95.0, 100.0, 104.5, 110.0])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("flush", [True, False])
def test_a_high_tile_beside_a_plain_one(height, first, flush) -> None:
    """exp(-height) is denormal or zero, but the plain tile's sums, in units of exp(78), are not small beside exp(height)."""
    u, v = torch.zeros(32, 3), torch.zeros(20, 3)
    u[0, 1], u[1:16, 0], u[16:, 2] = 1, 1, 1
    v[:, 0], v[:, 1], v[:, 2] = height - 47, height - 47, 78
    v[0, 1] = height
    u = u if first else u.flip(0)
    if flush and not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps denormal numbers")
    try:
        found = pair_lse(u, v, impl="torch")
    finally:
        torch.set_flush_denormal(False)
    close(found, reference(u, v, 1.0))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(
    ("case", "limits"),
    [
        pytest.param("too high", lambda *_: (-46.0, torch.inf), id="no upper limit"),
        pytest.param("too high", lambda *_: (-46.0, 88.0), id="room for one term only"),
        pytest.param("only low", lambda *_: (-torch.inf, 80.0), id="no lower limit"),
    ],
)
def test_that_check_fails_for_other_limits(monkeypatch, case, limits) -> None:
    u, v = at_heights(*HEIGHTS[case])
    monkeypatch.setattr(tiled, "plain_limits", limits)
    with pytest.raises(AssertionError):
        close(pair_lse(u, v, impl="torch"), reference(u, v, 1.0))


@pytest.mark.parametrize("rows", [1, 2])
def test_row_blocks_that_sink_by_hundreds(monkeypatch, rows) -> None:
    """A shift that followed the blocks down would overflow, in the shared form and in the columns' own."""
    monkeypatch.setattr(tiled, "ROWS", rows)
    sinking = torch.tensor([[500.0, 0.0], [250.0, -350.0], [0.0, -700.0], [-300.0, -900.0]])
    rising = torch.tensor([[500.0, 0.0], [500.0, 1.0], [500.0, 2.0]])
    for u in (sinking, rising):
        close(pair_lse(u, torch.eye(2), impl="torch"), reference(u, torch.eye(2), 1.0), 1e-7)


def test_certificate_counts_what_is_lost_in_many_rows() -> None:
    """3000 terms of 6e-39 underflow beside one of 7e-36: a column sum far above the smallest float32 misses 70 %."""
    u = torch.tensor([[-1.0, 0.0]]).repeat(3001, 1)
    u[0] = torch.tensor([88.0, 7.0])
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps denormal numbers")
    try:
        found = pair_lse(u, torch.eye(2), impl="torch")
    finally:
        torch.set_flush_denormal(False)
    close(found, reference(u, torch.eye(2), 1.0))


def test_every_column_doubtful(unit) -> None:
    """The adversarial case for the certificate: rows that dwarf all others, in one direction."""
    u, v = unit(40, 8), unit(30, 8)
    u[0] *= 50
    close(pair_lse(u, v, 100.0, impl="torch"), reference(u, v, 100.0))


KEEPS = {
    "some": (torch.arange(20) % 3 > 0, torch.arange(33) % 2 > 0),
    "one": (torch.arange(20) == 7, torch.arange(33) == 32),
    "no column": (torch.ones(20, dtype=torch.bool), torch.zeros(33, dtype=torch.bool)),
    "no row": (torch.zeros(20, dtype=torch.bool), torch.ones(33, dtype=torch.bool)),
    "nothing": (torch.zeros(20, dtype=torch.bool), torch.zeros(33, dtype=torch.bool)),
}


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("case", KEEPS)
@pytest.mark.parametrize("impl", ["torch", "naive"])
def test_keep_masks(unit, case, impl) -> None:
    u, v = unit(20, 5), unit(33, 5)
    u_keep, v_keep = KEEPS[case]
    found = pair_lse(u, v, 10.0, u_keep=u_keep, v_keep=v_keep, impl=impl)
    z = 10 * u.double() @ v.double().T
    z[~u_keep], z[:, ~v_keep] = -torch.inf, -torch.inf
    rows, cols = torch.logsumexp(z, 1), torch.logsumexp(z, 0)
    close(found, type(found)(rows, cols, z.amax(1), z.diagonal()))


@pytest.mark.parametrize("impl", ["torch", "naive"])
def test_fully_masked_has_zero_gradient(unit, impl) -> None:
    u, v = unit(4, 3).requires_grad_(), unit(5, 3).requires_grad_()
    u_keep = torch.tensor([True, False, True, False])
    found = pair_lse(u, v, 2.0, u_keep=u_keep, impl=impl)
    total = found.row_lse[u_keep].sum() + found.col_lse.sum()
    du, dv = torch.autograd.grad(total, (u, v))
    assert torch.isfinite(du).all()
    assert torch.isfinite(dv).all()
    assert (du[~u_keep] == 0).all()
    assert (du[u_keep] != 0).any()


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck(masked) -> None:
    u = torch.randn(19, 3, dtype=torch.float64, requires_grad=True)
    v = torch.randn(35, 3, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    u_keep = torch.arange(19) % 4 > 0 if masked else torch.ones(19, dtype=torch.bool)

    def run(u, v, scale):
        out = pair_lse(u, v, scale, u_keep=u_keep, impl="torch")
        return out.row_lse[u_keep], out.col_lse, out.diagonal[u_keep]

    assert torch.autograd.gradcheck(run, (u, v, scale))


def test_gradcheck_fails_without_the_column_term(monkeypatch) -> None:
    """Mutant: a backward that forgets the column log-sum-exp."""
    right = tiled.pair_lse_backward
    monkeypatch.setattr(tiled, "pair_lse_backward", lambda *a: right(*a[:6], torch.zeros_like(a[6])))
    u = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    v = torch.randn(5, 3, dtype=torch.float64)
    assert not torch.autograd.gradcheck(
        lambda u: pair_lse(u, v, 1.0, impl="torch").col_lse, (u,), raise_exception=False
    )


def test_clip_loss_and_its_gradient(unit) -> None:
    u, v = unit(300, 16).requires_grad_(), unit(300, 16).requires_grad_()
    out = pair_lse(u, v, 100.0, impl="torch")
    loss = ((out.row_lse - out.diagonal).mean() + (out.col_lse - out.diagonal).mean()) / 2
    z, labels = 100 * u @ v.T, torch.arange(300)
    expected = (torch.nn.functional.cross_entropy(z, labels) + torch.nn.functional.cross_entropy(z.T, labels)) / 2
    assert torch.allclose(loss, expected, rtol=1e-5)
    for found, right in zip(torch.autograd.grad(loss, (u, v)), torch.autograd.grad(expected, (u, v)), strict=True):
        assert float((found - right).abs().max()) <= 1e-5 * float(right.abs().max())


@pytest.mark.parametrize("impl", ["torch", "naive"])
@pytest.mark.parametrize("wanted", ["u", "v", "scale"])
def test_gradient_of_one_argument_alone(unit, impl, wanted) -> None:
    made = {"u": unit(6, 3, torch.float64), "v": unit(5, 3, torch.float64), "scale": torch.tensor(2.0).double()}
    made[wanted].requires_grad_()
    out = pair_lse(**made, impl=impl)
    assert not out.row_max.requires_grad
    (found,) = torch.autograd.grad(out.row_lse.sum() + out.col_lse.sum() + 3 * out.diagonal.sum(), made[wanted])
    z = made["scale"] * made["u"] @ made["v"].T
    total = z.logsumexp(1).sum() + z.logsumexp(0).sum() + 3 * z.diagonal().sum()
    assert torch.allclose(found, torch.autograd.grad(total, made[wanted])[0], rtol=1e-12)


def test_second_derivatives_are_right_or_refused(unit) -> None:
    """A gradient penalty; the tiled form's gradient would be a constant to it, and the penalty without effect."""
    u, v = unit(6, 3, torch.float64).requires_grad_(), unit(5, 3, torch.float64)
    (first,) = torch.autograd.grad(pair_lse(u, v, 2.0, impl="naive").row_lse.sum(), u, create_graph=True)
    (penalty,) = torch.autograd.grad(first.square().sum(), u)
    assert bool(penalty.any())
    with pytest.raises(InputError, match="create_graph=True") as error:
        torch.autograd.grad(pair_lse(u, v, 2.0, impl="torch").row_lse.sum(), u, create_graph=True)
    assert all(word in str(error.value) for word in ("expected", "likely cause", "impl='naive'"))


@pytest.mark.parametrize("grad", [False, True])
def test_diagonal_survives_cancellation(grad) -> None:
    u = torch.tensor([[1e4, 1.0, -1e4]], requires_grad=grad)
    v = torch.tensor([[1e4, 2.0**-10, 1e4], [1.0, 0.0, 0.0]])
    assert pair_lse(u, v, 2.0, impl="torch").diagonal.tolist() == [2.0**-9]
    u = torch.tensor([[1 + 2.0**-12, 1.0]], requires_grad=grad)
    v = torch.tensor([[1 + 2.0**-12, -1 - 2.0**-11]])
    assert pair_lse(u, v, 2.0, impl="torch").diagonal.tolist() == [2.0**-23]


def test_diagonal_on_a_gpu_takes_few_launches_and_little_memory(allocated) -> None:
    """A loop of small blocks took 3000 launches for 65536 rows, which is longer than all the products take."""
    u, v = (torch.empty(65536, 512, dtype=torch.bfloat16, device="meta") for _ in range(2))
    with allocated:
        api._diagonal(u, v, torch.ones((), device="meta"), None, None)
    assert allocated.calls <= 100
    assert allocated.peak <= 40e6


def test_diagonal_keeps_the_features_alone(unit) -> None:
    u, v = unit(200, 8).requires_grad_(), unit(150, 8).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        api._diagonal(u, v, torch.tensor(2.0), None, None)
    assert sum(x.nbytes for x in kept if x.numel() > 200) == u.nbytes + v.nbytes


def test_backward_on_a_gpu_takes_few_launches_and_little_memory(allocated) -> None:
    """Gradients in float32, and in their own dtype: four times the features in bfloat16, and a few tiles."""
    u, v = (torch.empty(65536, 512, dtype=torch.bfloat16, device="meta") for _ in range(2))
    lse = torch.empty(65536, device="meta")
    with allocated:
        tiled.pair_lse_backward(u, v, 100.0, lse, lse, lse, lse)
    assert allocated.calls <= 20_000
    assert allocated.peak <= 4 * u.nbytes + 120e6


def test_no_matrix_of_all_pairs(unit, largest) -> None:
    u = unit(2000, 8).requires_grad_()
    with largest:
        pair_lse(u, u.detach(), 100.0, impl="torch").row_lse.sum().backward()
    assert largest.numel <= tiled.ROWS * tiled.COLUMNS
    with type(largest)() as naive:
        pair_lse(u.detach(), u.detach(), 100.0, impl="naive")
    assert naive.numel >= 2000 * 2000 > tiled.ROWS * tiled.COLUMNS


def test_auto_dispatches_on_size(unit, largest) -> None:
    small, large = unit(100, 4), unit(600, 4)
    assert 100 * 100 <= api.SMALL < 600 * 600
    with largest:
        pair_lse(small, small)
    assert largest.numel >= 100 * 100
    with type(largest)() as seen:
        pair_lse(large, large)
    assert seen.numel < 600 * 600


def test_non_contiguous(unit) -> None:
    u, v = unit(90, 20).T.contiguous().T[::2], unit(400, 40)[::3, ::2]
    close(pair_lse(u, v, 50.0, impl="torch"), reference(u, v, 50.0))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("impl", ["torch", "naive"])
@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 0, 3), (4, 5, 0)])
def test_nothing_to_compare(impl, shape) -> None:
    """No rows, no columns, or no dimensions: then every logit is zero."""
    n, m, d = shape
    u, v = torch.ones(n, d, requires_grad=True), torch.ones(m, d, requires_grad=True)
    found = pair_lse(u, v, 7.0, impl=impl)
    rows, cols = (torch.full((size,), float(other)).log() for size, other in ((n, m), (m, n)))
    close(found, type(found)(rows, cols, rows * 0 if m else rows, torch.zeros(min(n, m))))
    assert found.row_lse.requires_grad
    (found.row_lse.sum() + found.col_lse.sum()).backward()
    assert all(x.grad is None or not x.grad.any() for x in (u, v))


def test_repeats_bit_for_bit(unit) -> None:
    u, v = unit(700, 33), unit(900, 33)
    first, second = (pair_lse(u, v, 100.0, impl="torch") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"u": torch.ones(4)}, ("u: shape (4,)", "2 axes")),
        ({"v": torch.ones(4, 3)}, ("(4, 3)",)),
        ({"v": torch.ones(5, 2).half()}, ("float16", "float32")),
        ({"v": [[1.0, 2.0]]}, ("list",)),
        ({"v": torch.ones(5, 2, device="meta")}, ("meta", "cpu")),
        ({"u_keep": torch.ones(4)}, ("u_keep", "boolean")),
        ({"v_keep": torch.ones(4, dtype=torch.bool)}, ("v_keep", "(5,)")),
        ({"v_keep": torch.ones(5, dtype=torch.bool, device="meta")}, ("v_keep", "meta", "a mask on cpu")),
        ({"scale": torch.ones(3)}, ("scale", "one finite number")),
        ({"scale": float("inf")}, ("scale",)),
        ({"scale": None}, ("scale: NoneType", "one finite number")),
        ({"scale": "100"}, ("scale: str '100'",)),
        ({"scale": 10**400}, ("scale: int 1000", "one finite number")),
        ({"u": torch.full((4, 2), torch.inf)}, ("8 NaN or infinite",)),
        ({"impl": "cuda"}, ("impl='cuda'", "naive")),
        ({"impl": "triton"}, ("impl='triton'",)),
    ],
)
def test_bad_input_is_explained(change, words) -> None:
    arguments = {"u": torch.ones(4, 2), "v": torch.ones(5, 2), "scale": 1.0} | change
    with pytest.raises(InputError) as error:
        pair_lse(**arguments)
    assert all(word in str(error.value) for word in (*words, "expected", "likely cause", "fix"))


@pytest.mark.parametrize("impl", ["torch", "naive"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("side", ["u", "v"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("kept", [False, True])
def test_one_bad_feature_anywhere_is_found(impl, value, side, sign, kept) -> None:
    """Whatever the signs on the other side, all the same or mixed; in a dropped row as well."""
    for other in (torch.ones(40, 3) * sign, torch.randn(40, 3), torch.zeros(40, 3)):
        for row in (0, 39):
            bad = torch.randn(40, 3)
            bad[row, 1] = value
            u, v = (bad, other) if side == "u" else (other, bad)
            keep = {f"{side}_keep": torch.arange(40) != row} if kept else {}
            with pytest.raises(InputError, match=rf"{side}: .* 1 NaN or infinite values, the first at \({row}, 1\)"):
                pair_lse(u, v, 2.0, impl=impl, **keep)


def test_finite_features_may_overflow() -> None:
    u = torch.full((70, 2), 1e30)
    for impl in ("torch", "naive"):
        assert not torch.isfinite(pair_lse(u, u, impl=impl).row_lse).any()


def test_an_array_of_numpy_is_named_by_its_shape() -> None:
    u = torch.randn(4, 3)
    with pytest.raises(InputError, match=r"u: ndarray of shape \(4, 3\)\n(.|\n)*torch\.as_tensor\(u\)"):
        pair_lse(u.numpy(), u.numpy(), 1.0)
