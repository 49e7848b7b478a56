"""The audit of a run: ledgers that add up, drift in the right column, bounds of the theorems, and what it must refuse."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.audit import Head, Run, audit, ledger, make_run, read_head, read_run
from crossmodal.vlm_validation.audit.assumptions import Check
from crossmodal.vlm_validation.audit.curvature import curvature, largest
from crossmodal.vlm_validation.audit.drift import drift
from crossmodal.vlm_validation.audit.ledger import Ledger, Point
from crossmodal.vlm_validation.audit.reliance import reliance
from crossmodal.vlm_validation.containers import write_container
from crossmodal.vlm_validation.features import Features, save_features
from scipy.special import logsumexp

from .conftest import make_arrays

D, C = 5, 6
ULPS = 2e-13  # some thousands of operations on numbers of size ten


def first_stage() -> Features:
    return Features(**make_arrays(per_environment=20), environment_names=("a", "b", "c"))


def nudged(features: Features, image: float, text: float, seed: int = 1) -> Features:
    rng = np.random.default_rng(seed)
    sides = []
    for x, size in ((features.image, image), (features.text, text)):
        y = x.astype(float) + size * rng.standard_normal(x.shape)
        sides.append((y / np.linalg.norm(y, axis=1, keepdims=True)).astype(np.float32) if size else x)
    return replace(features, image=sides[0], text=sides[1])


def random_head(width: int = D, seed: int = 0, biased: bool = False, scale: float = 1.0) -> Head:
    rng = np.random.default_rng([seed, width])
    bias = rng.standard_normal(C) * scale if biased else np.zeros(C)
    return Head(rng.standard_normal((width, C)) * scale, bias, biased)


def random_run(fusion: str = "image", biased: bool = False) -> Run:
    one = first_stage()
    width = 2 * D if fusion == "concat" else D
    heads = [random_head(width, seed, biased) for seed in (0, 1)]
    return make_run((one, nudged(one, 0.05, 0.1)), heads, fusion=fusion, p=0.6, q=0.8, tau=20.0, weight=0.5)


# -- ledgers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("fusion", ["image", "sum", "concat"])
def test_every_ledger_adds_up(fusion: str, biased: bool) -> None:
    run = random_run(fusion, biased)
    books = ledger.ledgers(run, 0, 1)
    assert {b.loss for b in books} == {"CE", "CLIP, image to text", "CLIP, text to image", "total"}
    for book in books:
        assert abs(book.closing) <= ULPS, book
        assert book.outside() == []


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0, 1000.0])
def test_confident_heads_add_up_too(scale: float) -> None:
    """The remainder of a long step, beside the loss less its tangent; it was once a quadrature, off by hundreds of nats."""
    one = first_stage()
    run = make_run((one, one), [random_head(seed=k, scale=scale) for k in (0, 1)])
    for environment in run.environments:
        book = ledger.cross_entropy(run, 0, 1, environment)
        assert abs(book.closing) <= ULPS * max(1.0, scale)
        assert book.outside() == []
        tangent = book.after - book.before - book.facts["slope"]
        assert book.entries["curvature"] == pytest.approx(tangent, rel=1e-11, abs=1e-14)


def test_losses_are_those_of_the_definition() -> None:
    run = random_run("sum", biased=True)
    book = ledger.cross_entropy(run, 0, 1, 1)
    for stage, value in ((0, book.before), (1, book.after)):
        u, v = run.pair(stage, 1)
        logits = (0.6 * u + 0.8 * v) @ run.heads[stage].weight + run.heads[stage].bias
        label = run.labels(1)
        assert value == pytest.approx((logsumexp(logits, axis=1) - logits[np.arange(len(u)), label]).mean(), abs=1e-14)
    clip = ledger.contrastive(run, 0, 1, 1)[1]
    u, v = run.pair(1, 1)
    z = 20.0 * v @ u.T
    assert clip.after == pytest.approx((logsumexp(z, axis=1) - np.diag(z)).mean(), abs=1e-13)


def closes(book: Ledger) -> None:
    assert abs(book.closing) <= ULPS


@pytest.mark.parametrize(
    "name", ["encoder, image", "step, image-image", "step, image-text", "step, covariances", "curvature"]
)
def test_a_dropped_or_wrong_entry_is_noticed(name: str) -> None:
    book = ledger.cross_entropy(random_run("sum"), 0, 1, 1)
    closes(book)
    for entries in (
        {k: x for k, x in book.entries.items() if k != name},
        {**book.entries, name: 1.01 * book.entries[name]},
    ):
        with pytest.raises(AssertionError):
            closes(replace(book, entries=entries))


def test_one_gradient_step_is_recognised() -> None:
    """The head moves by -eta g_t: the step's size is found, and nothing is left for other directions."""
    one = first_stage()
    start = random_head(scale=0.3)
    point = Point(one.image[one.rows(0)].astype(float), one.label[one.rows(0)], start.weight)
    moved = Head(start.weight - 0.25 * point.gradient(), start.bias, False)
    run = make_run((one, one), (start, moved))
    for environment in run.environments:
        book = ledger.cross_entropy(run, 0, 1, environment)
        assert book.facts["eta"] == pytest.approx(0.25, rel=1e-12)
        assert book.facts["explained"] == pytest.approx(1, abs=1e-12)
        assert abs(book.entries["step, other directions"]) < 1e-15
        assert abs(book.entries["step, covariances"]) <= book.facts["covariance_limit"]
        assert book.entries["encoder, image"] == 0


def test_the_step_is_that_of_the_environment_learnt() -> None:
    """The same step, attributed to another environment: it is explained no longer."""
    one = first_stage()
    start = random_head(scale=0.3)
    point = Point(one.image[one.rows(0)].astype(float), one.label[one.rows(0)], start.weight)
    moved = Head(start.weight - 0.25 * point.gradient(), start.bias, False)
    run = make_run((one, one), (start, moved), order=("b",))
    assert ledger.cross_entropy(run, 0, 1, 0).facts["explained"] < 0.9


def test_blocks_of_rows_change_nothing() -> None:
    rng = np.random.default_rng(0)
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.standard_normal((2, 37, 4)))
    whole, parts = (ledger.reading(u, v, 30.0, block) for block in (100, 7))
    assert whole.loss == pytest.approx(parts.loss, abs=1e-14)
    assert whole.bound == pytest.approx(parts.bound, abs=1e-13)
    assert 0 <= whole.delta <= whole.bound


def test_lambda_star_is_where_the_total_turns() -> None:
    run = random_run()
    for book in ledger.ledgers(run, 0, 1):
        if "lambda_star" in book.facts:
            ce, clip = book.entries["CE"], book.entries["lambda CLIP"] / run.weight
            assert ce + book.facts["lambda_star"] * clip == pytest.approx(0, abs=1e-13)
            return
    pytest.fail("no environment of this run has changes of different sign")


# -- drift -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("image", "text"), [(0.0, 0.1), (0.1, 0.0)])
def test_a_planted_drift_is_in_its_column(image: float, text: float) -> None:
    one = first_stage()
    run = make_run((one, nudged(one, image, text)))
    found = drift(run, 0, 1)
    for m in found.movements:
        assert (m.image > 0.05) == (image > 0)
        assert (m.text > 0.05) == (text > 0)
    still = "II" if image == 0 else "TT"
    assert np.abs(found.change[still]).max() == 0
    assert 0 < found.used <= 1
    assert (np.abs(found.change["IT"]) <= found.bound + 1e-15).all()
    assert (found.bound <= found.plain + 1e-6).all(), "the sharp form is no weaker for unit features"


# -- curvature ---------------------------------------------------------------------------------------------------


def test_curvature_by_the_whole_hessian() -> None:
    run = random_run("sum")
    u, v = run.pair(1, 0)
    point = Point(run.fused(u, v), run.labels(0), run.heads[1].weight)
    pi = np.exp(point.logits - logsumexp(point.logits, axis=1)[:, None])
    whole = sum(
        np.kron(np.outer(z, z), np.diag(q) - np.outer(q, q)) for z, q in zip(point.z, pi, strict=True)
    ) / len(pi)  # fmt: skip
    value, error = largest(point)
    assert value == pytest.approx(np.linalg.eigvalsh(whole)[-1], rel=1e-9)
    assert error <= 1e-8
    found = curvature(run, 1, 0)
    assert found.ce <= found.softmax_bound
    assert found.squared <= found.modality_bound * (1 + 1e-12)
    assert found.stable_step == pytest.approx(2 / found.ce)


# -- contributions -----------------------------------------------------------------------------------------------


def test_hidden_forgetting_is_flagged() -> None:
    """A head that reads both modalities comes to read the text alone: accuracy stays, the image's contribution goes."""
    rng = np.random.default_rng(0)
    label = np.tile([0, 1], 60)
    environment = np.repeat([0, 1], 60)
    side = np.eye(4)[label] + 0.05 * rng.standard_normal((120, 4))
    x = (side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32)
    one = Features(image=x, text=x[:, ::-1].copy(), environment=environment, label=label)
    both, text = np.zeros((8, 2)), np.zeros((8, 2))
    both[0, 0] = both[1, 1] = both[7, 0] = both[6, 1] = 3
    text[7, 0] = text[6, 1] = 6
    run = make_run((one, one), (Head(both, np.zeros(2), False), Head(text, np.zeros(2), False)))
    assert run.fusion == "concat"
    for row in reliance(run, 0, 1):
        assert row.accuracy == (1, 1)
        assert row.hidden == ("image", "text")
        assert row.high[0] < 0 < row.low[1]
    still = make_run((one, one), (Head(both, np.zeros(2), False),) * 2)
    assert all(row.hidden == () and row.change == (0, 0) for row in reliance(still, 0, 1))


def test_without_heads_the_cosine_is_split() -> None:
    one = first_stage()
    run = make_run((one, nudged(one, 0.0, 0.3)))
    found = audit(run)
    (transition,) = found.transitions
    assert transition.curvature == ()
    assert {b.loss for b in transition.ledgers} == {"CLIP, image to text", "CLIP, text to image", "total"}
    clv = [m.clv for m in transition.drift.movements]
    for k, row in enumerate(transition.reliance):  # efficiency of C1: contributions add up to f(IT) - f()
        u0, v0 = run.pair(0, k)
        u1, v1 = run.pair(1, k)
        empty = u1.mean(0) @ v1.mean(0) - u0.mean(0) @ v0.mean(0)
        assert sum(row.change) == pytest.approx(clv[k] - empty, abs=1e-7)


# -- assumptions -------------------------------------------------------------------------------------------------


def test_assumptions_that_fail_are_named() -> None:
    frozen = make_run((first_stage(),) * 2)
    moving = random_run()
    checks = {c.theorem: c for c in audit(frozen).transitions[0].checks}
    assert checks["T1.7"].holds
    found = [c for c in audit(moving).transitions[0].checks if c.theorem == "T1.7"]
    assert not found[0].holds
    assert found[0].measured > 0.1
    assert Check("x", "", 1.0, 1.0, "").holds
    assert not Check("x", "", math.nextafter(1.0, 2), 1.0, "").holds


# -- what is refused ---------------------------------------------------------------------------------------------


def stages(tmp_path: Path, *features: Features) -> list[Path]:
    paths = [tmp_path / f"{k}.npz" for k in range(len(features))]
    for path, one in zip(paths, features, strict=True):
        save_features(path, one)
    return paths


def changed(**arrays: Any) -> Features:
    return replace(first_stage(), **arrays)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda f: f.select(np.arange(59)), "image has shape"),
        (lambda f: replace(f, label=np.roll(f.label, 1)), "'label' differs .* from row 0 on"),
        (lambda f: replace(f, environment=f.environment[::-1].copy()), "'environment' differs"),
        (lambda f: replace(f, ids=np.arange(len(f))), "'ids' differs"),
    ],
)
def test_other_samples_are_refused(tmp_path: Path, other: Any, words: str) -> None:
    one = first_stage()
    paths = stages(tmp_path, one, other(one))
    with pytest.raises(InputError, match=words):
        read_run(paths)


def test_a_single_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two"):
        read_run(stages(tmp_path, first_stage()))


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    one = first_stage()
    with pytest.raises(InputError, match="1 heads for 2 stages"):
        make_run((one, one), (random_head(),))
    with pytest.raises(InputError, match="width 7"):
        make_run((one, one), (random_head(7), random_head(7)))
    path = tmp_path / "head.safetensors"
    for arrays, words in (
        ({"w": np.zeros((6, 5))}, "expected: `weight`"),
        ({"weight": np.zeros((6, 5)), "bias": np.zeros(5)}, "bias of shape"),
        ({"weight": np.full((6, 5), np.nan)}, "NaN"),
    ):
        write_container(path, arrays, {})
        with pytest.raises(InputError, match=words):
            read_head(path)


def test_a_torn_stage_and_an_unknown_environment_are_refused(tmp_path: Path) -> None:
    paths = stages(tmp_path, first_stage(), first_stage())
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    with pytest.raises(InputError, match=r"1\.npz"):
        read_run(paths)
    with pytest.raises(InputError, match="environment 'x' in the order"):
        make_run((first_stage(),) * 2, order=("x",))
    with pytest.raises(InputError, match="2 transitions and 1 environments"):
        make_run((first_stage(),) * 3, order=("a",))


def test_a_head_comes_back_as_it_was_written(tmp_path: Path) -> None:
    head = random_head(biased=True)
    write_container(tmp_path / "h.safetensors", {"weight": np.ascontiguousarray(head.weight.T), "bias": head.bias}, {})
    found = read_head(tmp_path / "h.safetensors")
    assert found.biased
    np.testing.assert_array_equal(found.weight, head.weight)
