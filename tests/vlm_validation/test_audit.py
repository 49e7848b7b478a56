"""The audit of a run: ledgers that add up, drift in the right column, bounds of the theorems, and what it must refuse."""

from __future__ import annotations

import json
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


# -- what a swap or a missing condition would change --------------------------------------------------------------


def test_encoder_share_is_of_the_modality_that_moved() -> None:
    one = first_stage()
    heads = (random_head(),) * 2
    for image, text, still in ((0.0, 0.1, "encoder, image"), (0.1, 0.0, "encoder, text")):
        run = make_run((one, nudged(one, image, text)), heads, fusion="sum", p=0.6, q=0.8)
        entries = ledger.cross_entropy(run, 0, 1, 0).entries
        assert abs(entries[still]) < 1e-15
        assert abs(sum(entries[k] for k in ("encoder, image", "encoder, text"))) > 1e-4


@pytest.mark.parametrize("fusion", ["image", "sum", "concat"])
def test_kernel_by_kind(fusion: str) -> None:
    """K(s,t) by hand, one kind of score at a time."""
    run = random_run(fusion)
    con = {"II": 0.9, "IT": 0.3, "TI": 0.2, "TT": 0.5}
    p, q = run.p, run.q
    by_hand = {"image-image": p * p * 0.9, "text-text": q * q * 0.5, "image-text": p * q * (0.3 + 0.2)}
    kinds = {"image": ["image-image"], "sum": list(by_hand), "concat": ["image-image", "text-text"]}[fusion]
    assert ledger.kernel(run, con) == pytest.approx({kind: by_hand[kind] for kind in kinds})


def test_drift_bound_by_hand() -> None:
    """e_I goes with the texts' length and e_T with the images'; they differ here."""
    rng = np.random.default_rng(5)
    tight = np.eye(6)[np.zeros(40, int)] + 0.02 * rng.standard_normal((40, 6))
    wide = rng.standard_normal((40, 6))
    image, text = ((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (tight, wide))
    one = Features(image=image, text=text, environment=np.repeat([0, 1], 20), label=np.tile([0, 1], 20))
    run = make_run((one, nudged(one, 0.2, 0.02)))
    found = drift(run, 0, 1)
    (u0, _), (u1, v1), (_, v0) = run.pair(0, 0), run.pair(1, 0), run.pair(0, 0)
    e_i, e_t = (np.sqrt(((b - a) ** 2).sum(1).mean()) for a, b in ((u0, u1), (v0, v1)))
    lengths = [np.linalg.norm(x.mean(axis=0)) for x in (u0, v1)]
    assert lengths[0] > 2 * lengths[1]
    assert found.bound[0, 0] == pytest.approx(e_i * lengths[1] + e_t * lengths[0], rel=1e-6)


def test_a_fall_that_accuracy_shows_is_not_hidden() -> None:
    one = first_stage()
    label, right_way = one.label, np.zeros((D, C))
    for c in range(C):
        right_way[:, c] = 40 * one.image[label == c].mean(axis=0)
    wrong_way = np.roll(right_way, 1, axis=1)
    run = make_run((one, one), (Head(right_way, np.zeros(C), False), Head(wrong_way, np.zeros(C), False)))
    for row in reliance(run, 0, 1):
        assert row.accuracy_change[2] < 0
        assert row.high[0] < 0
        assert row.hidden == ()


def test_every_theorem_bounds_its_entry() -> None:
    books = ledger.ledgers(random_run("sum"), 0, 1)
    named = {b.loss: set(b.bounds) for b in books}
    assert named["CE"] == {"curvature", "step, covariances"}
    assert named["CLIP, image to text"] == named["CLIP, text to image"] == {"beyond the linear reading"}
    for book in books:  # a bound that says nothing would catch nothing
        for entry, (low, high) in book.bounds.items():
            assert replace(book, entries={**book.entries, entry: high + 1}).outside() == [entry]
            assert replace(book, entries={**book.entries, entry: low - 1}).outside() == [entry]


def check_of(run: Run, theorem: str, words: str) -> Check:
    return next(c for c in audit(run).transitions[0].checks if c.theorem == theorem and words in c.assumption)


def test_a_large_step_stretches() -> None:
    one = first_stage()
    start = random_head(scale=0.3)
    point = Point(one.image[one.rows(0)].astype(float), one.label[one.rows(0)], start.weight)
    for eta, holds in ((3.9, True), (4.1, False)):  # unit features: the curvature is at most 1/2
        moved = Head(start.weight - eta * point.gradient(), start.bias, False)
        assert check_of(make_run((one, one), (start, moved)), "T3.11", "stretch").holds == holds


def test_smooth_transition_by_hand() -> None:
    """e, half the range of the intra-modal scores, against p q / (p^2 + q^2) times that of Con_IT + Con_TI."""
    run = random_run("sum")
    found = check_of(run, "T1.4", "Smooth")
    means = [[x.mean(axis=0) for x in run.pair(1, k)] for k in run.environments]
    off = [(s, t) for s in range(3) for t in range(3) if s != t]
    score = {a + b: [means[s]["IT".index(a)] @ means[t]["IT".index(b)] for s, t in off] for a in "IT" for b in "IT"}
    assert found.measured == pytest.approx(max(np.ptp(score["II"]), np.ptp(score["TT"])) / 2, rel=1e-6)
    cross = np.ptp(np.add(score["IT"], score["TI"])) / 2
    assert found.limit == pytest.approx(0.6 * 0.8 * cross / (0.6**2 + 0.8**2), rel=1e-6)
    assert check_of(random_run("image"), "T1.4", "Smooth").limit == 0


# -- more that is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"p": 0.0, "q": 0.0}, {"p": math.nan}, {"tau": math.inf}, {"tau": 0.0}, {"weight": math.nan}, {"weight": math.inf}, {"q": -1.0}],
)  # fmt: skip
def test_weights_without_meaning_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="finite"):
        make_run((first_stage(),) * 2, (random_head(),) * 2, fusion="sum", **settings)


def test_heads_that_differ_in_kind_are_refused() -> None:
    one = first_stage()
    with pytest.raises(InputError, match="no bias, and another stage has one"):
        make_run((one, one), (random_head(), random_head(biased=True)))
    single = replace(one, label=np.zeros(len(one), dtype=np.int64))
    with pytest.raises(InputError, match="one class"):
        make_run((single, single), (Head(np.zeros((D, 1)), np.zeros(1), False),) * 2)


def test_other_names_and_a_longer_order_are_refused() -> None:
    one = first_stage()
    with pytest.raises(InputError, match="environment_names"):
        make_run((one, replace(one, environment_names=("b", "a", "c"))))
    with pytest.raises(InputError, match="1 transitions and 2 environments"):
        make_run((one, one), order=("a", "b"))


@pytest.mark.parametrize(("fusion", "biased"), [("concat", False), ("image", True)])
def test_the_record_is_json(fusion: str, biased: bool) -> None:
    text = json.dumps(audit(random_run(fusion, biased)).to_dict(), allow_nan=False)
    assert json.loads(text)["transitions"][0]["curvature"][0]["modality_bound"] is None
