"""K2: the head under four coalitions, against four float64 passes."""

from __future__ import annotations

import pytest
import torch
from crossmodal.kernels import coalition_head
from crossmodal.kernels.ops.coalition_head import torch as blocked
from crossmodal.theory.errors import InputError
from torch._subclasses.fake_tensor import FakeTensorMode

SHAPES = [(130, 65, 96, 33), (1, 1, 1, 1), (1100, 300, 70, 70), (7, 1000, 3, 5), (9, 307, 6, 5)]


VECTORS = {"bias": 3, "image_baseline": 2, "text_baseline": 2}


def problem(n: int, c: int, di: int, dt: int, size: float = 1.0, dtype=torch.float32, baselines: bool = True) -> dict:
    made = {
        "image": torch.randn(n, di),
        "text": torch.randn(n, dt),
        "w_image": torch.randn(c, di) * size / di**0.5,
        "w_text": torch.randn(c, dt) * size / dt**0.5,
    }
    if baselines:
        made |= {"bias": torch.randn(c), "image_baseline": torch.randn(di), "text_baseline": torch.randn(dt)}
    made = {name: x.to(dtype) for name, x in made.items()}
    return made | {"labels": torch.randint(c, (n,))}


def double(made: dict) -> dict:
    return {name: x.double() if x.is_floating_point() else x for name, x in made.items()}


def close(found, expected, size: float, rel: float = 1e-6) -> None:
    """Errors relative to the size of the logits; a different class only where two logits are that close."""
    assert float((found.lse - expected.lse).abs().max()) <= rel * max(1.0, size)
    assert float((found.target - expected.target).abs().max()) <= rel * max(1.0, size)
    assert torch.equal(found.argmax, expected.argmax)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1.0, 60.0])
@pytest.mark.parametrize("baselines", [False, True])
@pytest.mark.parametrize("impl", ["torch", "naive", "auto"])
def test_float32_against_float64(shape, size, baselines, impl) -> None:
    made = problem(*shape, size, baselines=baselines)
    expected = coalition_head(**double(made), impl="naive")
    close(coalition_head(**made, impl=impl), expected, float(expected.lse.abs().max()))


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("classes", [65, 307])
def test_vectors_of_zeros_but_for_one(name: str, classes: int) -> None:
    """Zeros are the usual case and cost less; one number among them counts.  307 classes are padded, 65 are not."""
    made = problem(20, classes, 6, 5, baselines=False)
    made[name] = torch.zeros({"bias": classes, "image_baseline": 6, "text_baseline": 5}[name])
    without = coalition_head(**made, impl="torch")
    made[name][1] = 4.0
    found, expected = coalition_head(**made, impl="torch"), coalition_head(**double(made), impl="naive")
    close(found, expected, float(expected.lse.abs().max()))
    assert float((found.lse - without.lse).abs().max()) > 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype) -> None:
    made = problem(100, 65, 96, 64, 20.0, dtype)
    found, expected = coalition_head(**made, impl="torch"), coalition_head(**double(made), impl="naive")
    assert found.lse.dtype == torch.float32
    assert float((found.lse - expected.lse).abs().max()) <= 1e-4


def opposed() -> dict:
    """Image and text prefer different classes by 300: the factored exponentials meet nowhere."""
    return {
        "image": torch.tensor([[300.0]]),
        "text": torch.tensor([[300.0]]),
        "w_image": torch.tensor([[1.0], [0.0]]),
        "w_text": torch.tensor([[0.0], [1.0]]),
        "image_baseline": torch.tensor([-200.0]),
        "text_baseline": torch.tensor([-200.0]),
        "labels": torch.tensor([1]),
    }


def test_opposed_modalities_do_not_underflow() -> None:
    close(coalition_head(**opposed(), impl="torch"), coalition_head(**double(opposed()), impl="naive"), 300.0)


@pytest.mark.parametrize(("rows", "part"), [(2, 512), (4, 3), (2, 1)])
def test_doubtful_rows_in_a_later_block(rows, part, monkeypatch) -> None:
    """Rows are found again in the whole batch, and the bias belongs to what is computed again."""
    monkeypatch.setattr(blocked, "ROWS", rows)
    monkeypatch.setattr(blocked, "PART", part)
    made = opposed() | {"bias": torch.tensor([3.0, -8.0]), "labels": torch.tensor([1, 0, 0, 1, 0])}
    made["image"] = torch.tensor([[1.0], [2.0], [-1.0], [300.0], [290.0]])
    made["text"] = torch.tensor([[0.5], [1.0], [2.0], [300.0], [310.0]])
    close(coalition_head(**made, impl="torch"), coalition_head(**double(made), impl="naive"), 300.0)


@pytest.mark.parametrize("impl", ["torch", "naive"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_any_integer_type(impl, dtype) -> None:
    made = problem(6, 5, 3, 2)
    expected = coalition_head(**made, impl=impl)
    found = coalition_head(**made | {"labels": made["labels"].to(dtype)}, impl=impl)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def lost_beside_a_large_factor() -> dict:
    """2000 classes at e^-48, half of them with a factor e^-88 that underflows: more than the certificate without the other factor."""
    w_image, w_text = torch.full((4000, 1), -87.2), torch.full((4000, 1), 39.0)
    w_image[::2] = -88.0
    w_image[0], w_text[0] = 0.0, -60.0  # what makes the sums of either modality alone large
    return {
        "image": torch.ones(1, 1), "text": torch.ones(1, 1), "w_image": w_image, "w_text": w_text,
        "labels": torch.tensor([1]),
    }  # fmt: skip


def test_what_a_large_factor_would_have_brought_back() -> None:
    """Exponentials without a shift: the certificate has to allow for the largest factor."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps denormal numbers")
    try:
        found = coalition_head(**lost_beside_a_large_factor(), impl="torch")
    finally:
        torch.set_flush_denormal(False)
    close(found, coalition_head(**double(lost_beside_a_large_factor()), impl="naive"), 88.0)


@pytest.mark.parametrize("height", [20.0, 37.0, 38.5, 39.5, 41.0, 43.5, 60.0, 88.0, 300.0])
def test_logits_of_every_height(height, monkeypatch) -> None:
    """On both sides of where exponentials need a shift, and blocks of both kinds in one batch; nothing overflows."""
    monkeypatch.setattr(blocked, "ROWS", 3)
    made = problem(9, 700, 1, 1, baselines=False)
    made["image"], made["text"] = torch.linspace(-1, 1, 9)[:, None], torch.linspace(0, 1, 9)[:, None]
    made["w_image"], made["w_text"] = height * made["w_image"].tanh(), height * made["w_text"].tanh()
    close(coalition_head(**made, impl="torch"), coalition_head(**double(made), impl="naive"), 2 * height)


def test_that_check_fails_without_the_certificate(monkeypatch) -> None:
    """Mutant: trust the factored exponentials."""
    monkeypatch.setattr(blocked, "certificate", lambda _: -1.0)
    found = coalition_head(**opposed(), impl="torch")
    assert torch.isneginf(found.lse).any()
    with pytest.raises(AssertionError):
        close(found, coalition_head(**double(opposed()), impl="naive"), 300.0)


@pytest.mark.parametrize("impl", ["torch", "naive"])
def test_ties_go_to_the_lowest_class(impl) -> None:
    made = problem(5, 4, 3, 2, baselines=False)
    made["w_image"], made["w_text"] = made["w_image"][[0, 1, 1, 0]], made["w_text"][[0, 1, 1, 0]]
    found = coalition_head(**made, impl=impl)
    assert (found.argmax < 2).all()
    assert (found.argmax[0] == 0).all()  # zero baselines, no bias: all four logits are zero


@pytest.mark.parametrize("shift", [0.0, -700.0])
def test_ties_across_groups_of_classes_go_to_the_lowest(shift) -> None:
    """307 classes are 3 groups and 2 classes of padding: the same maximum in all groups, and nothing above it."""
    made = problem(6, 307, 3, 2, baselines=False)
    best = torch.tensor([100, 101, 203, 306])
    made["bias"] = torch.full((307,), shift)
    made["image"], made["text"] = torch.ones(6, 3), torch.ones(6, 2)
    made["w_image"], made["w_text"] = torch.zeros(307, 3), torch.zeros(307, 2)
    made["w_image"][best] = made["w_text"][best] = 1.0
    found = coalition_head(**made, impl="torch")
    assert (found.argmax[1:] == 100).all()
    assert (found.argmax[0] == 0).all()
    assert torch.equal(found.argmax, coalition_head(**made, impl="naive").argmax)


def test_no_tensor_is_made_on_the_cpu_for_another_device() -> None:
    with FakeTensorMode():
        largest, at = blocked._first_maximum(torch.empty(4, 200, device="cuda"), 2)
    assert largest.device == at.device == torch.device("cuda:0")


@pytest.mark.parametrize("impl", ["torch", "naive"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.uint16, torch.uint32, torch.uint64])
def test_labels_of_any_whole_dtype(impl, dtype) -> None:
    made = problem(9, 6, 4, 4)
    made["labels"] = made["labels"] % 2
    expected = coalition_head(**made, impl=impl)
    found = coalition_head(**{**made, "labels": made["labels"].to(dtype)}, impl=impl)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_empty_coalition_does_not_depend_on_the_sample() -> None:
    found = coalition_head(**problem(9, 6, 4, 4), impl="torch")
    assert (found.lse[0] == found.lse[0, 0]).all()


def test_all_negative_logits() -> None:
    made = problem(3, 65, 4, 4)
    made["bias"] = torch.full((65,), -500.0)
    expected = coalition_head(**double(made), impl="naive")
    close(coalition_head(**made, impl="torch"), expected, 500.0)


def test_logits_are_never_written(largest) -> None:
    made = problem(20000, 50, 4, 4)
    with largest:
        coalition_head(**made, impl="torch")
    assert largest.numel < 20000 * 50 / 3


def test_no_samples() -> None:
    found = coalition_head(**problem(0, 5, 3, 3), impl="torch")
    assert found.lse.shape == found.argmax.shape == (4, 0)


def test_naive_is_differentiable_and_torch_says_that_it_is_not() -> None:
    made = problem(4, 3, 2, 2)
    made["w_image"].requires_grad_()
    coalition_head(**made, impl="naive").lse.sum().backward()
    assert made["w_image"].grad is not None
    with pytest.raises(InputError, match="no backward"):
        coalition_head(**made, impl="torch")
    with torch.no_grad():
        coalition_head(**made, impl="torch")


def test_non_contiguous() -> None:
    made = problem(60, 30, 8, 8)
    made["image"] = torch.randn(8, 60).T
    made["w_text"] = torch.randn(60, 16)[::2, ::2]
    expected = coalition_head(**double(made), impl="naive")
    close(coalition_head(**made, impl="torch"), expected, float(expected.lse.abs().max()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": torch.full((4,), 3)}, ("values 3 to 3", "3 classes")),
        ({"labels": torch.full((4,), -100)}, ("-100",)),
        ({"labels": torch.ones(4)}, ("labels", "integers")),
        ({"labels": torch.ones(5, dtype=torch.long)}, ("labels: shape (5,)",)),
        ({"labels": torch.tensor(1)}, ("labels: shape ()", "integers")),
        ({"labels": torch.ones(4, 1, dtype=torch.long)}, ("labels: shape (4, 1)", "integers")),
        ({"labels": [0, 1, 2, 0]}, ("labels: list", "torch.as_tensor")),
        ({"text": torch.ones(5, 2)}, ("(5, 2)",)),
        ({"w_text": torch.ones(4, 2)}, ("(4, 2)",)),
        ({"w_image": torch.ones(3, 7)}, ("(3, 7)",)),
        ({"bias": torch.ones(4)}, ("bias", "(3,)")),
        ({"image_baseline": torch.ones(4, 2)}, ("image_baseline", "1 axes")),
        ({"text": torch.full((4, 2), torch.nan)}, ("text", "NaN")),
        ({"bias": torch.tensor([0.0, torch.inf, 0.0])}, ("bias", "infinite")),
        ({"labels": torch.ones(4, dtype=torch.long, device="meta")}, ("labels", "meta", "one device")),
        ({name: torch.ones(size).double() for name, size in VECTORS.items()}, ("float64", "torch.float32")),
    ],
)
def test_bad_input_is_explained(change, words) -> None:
    made = problem(4, 3, 2, 2) | change
    with pytest.raises(InputError) as error:
        coalition_head(**made)
    assert all(word in str(error.value) for word in (*words, "expected", "likely cause", "fix"))


@pytest.mark.parametrize("impl", ["torch", "naive"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["image", "text", "w_image", "w_text", "image_baseline", "text_baseline", "bias"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_bad_number_anywhere_is_found(impl, value, name, sign) -> None:
    """Whatever the signs of the weights, all the same or mixed."""
    for weight in (torch.ones(7, 3) * sign, torch.randn(7, 3), torch.zeros(7, 3)):
        given = {
            "image": torch.rand(9, 3), "text": torch.rand(9, 3), "w_image": weight.clone(), "w_text": weight.clone(),
            "image_baseline": torch.rand(3), "text_baseline": torch.rand(3), "bias": torch.rand(7),
        }  # fmt: skip
        given[name].view(-1)[1] = value
        with pytest.raises(InputError, match=rf"{name}: .* 1 NaN or infinite values"):
            coalition_head(**given, labels=torch.zeros(9, dtype=torch.int64), impl=impl)
