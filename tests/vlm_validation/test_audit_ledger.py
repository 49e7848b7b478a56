"""Every line of the ledgers against an oracle in loops, from the definitions; sums, bounds, and what a swap would change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from crossmodal.vlm_validation.audit import Head, Run, make_run
from crossmodal.vlm_validation.audit.books import ledgers
from crossmodal.vlm_validation.audit.contrastive import reading
from crossmodal.vlm_validation.audit.cross_entropy import Point, cross_entropy
from crossmodal.vlm_validation.audit.ledger import Ledger, total
from crossmodal.vlm_validation.features import Features

from .audit_cases import FUSIONS, ULPS, first_stage, long_run, nudged, random_head, random_run

# -- the oracle: means over samples and pairs as sums over them, nothing from the package but the run's arrays ------------


def logsumexp(x: Sequence[float]) -> float:
    top = max(x)
    return top + math.log(math.fsum(math.exp(y - top) for y in x))


def fuse(run: Run, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """z of one sample."""
    return {"image": u, "sum": run.p * u + run.q * v, "concat": np.r_[run.p * u, run.q * v]}[run.fusion]


class Sides:
    """What the oracle needs of environment s in a transition."""

    def __init__(self, run: Run, before: int, after: int, s: int) -> None:
        rows = [i for i, e in enumerate(run.stages[0].environment) if e == s]
        self.y = [int(run.stages[0].label[i]) for i in rows]
        at = {k: run.stages[k] for k in (before, after)}
        self.u0, self.u1 = ([at[k].image[i].astype(float) for i in rows] for k in (before, after))
        self.v0, self.v1 = ([at[k].text[i].astype(float) for i in rows] for k in (before, after))


def ce(run: Run, u: list[np.ndarray], v: list[np.ndarray], y: list[int], head: Head) -> float:
    losses = []
    for a, b, label in zip(u, v, y, strict=True):
        logits = [fuse(run, a, b) @ head.weight[:, c] + head.bias[c] for c in range(head.classes)]
        losses.append(logsumexp(logits) - logits[label])
    return math.fsum(losses) / len(losses)


def residuals(run: Run, x: Sides, head: Head) -> list[np.ndarray]:
    out = []
    for a, b, label in zip(x.u1, x.v1, x.y, strict=True):
        logits = fuse(run, a, b) @ head.weight + head.bias
        out.append(np.array([math.exp(z - logsumexp(list(logits))) - (c == label) for c, z in enumerate(logits)]))
    return out


def gradient(run: Run, x: Sides, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Of the weight and of the bias, which counts where the head has one."""
    found = residuals(run, x, head)
    weight = sum(np.outer(fuse(run, a, b), r) for a, b, r in zip(x.u1, x.v1, found, strict=True)) / len(found)
    return weight, sum(found) / len(found) * head.biased


def all_pairs(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    return math.fsum(float(a @ b) for a in x for b in y) / (len(x) * len(y))


def dot(x: tuple[np.ndarray, np.ndarray], y: tuple[np.ndarray, np.ndarray]) -> float:
    return float((x[0] * y[0]).sum() + (x[1] * y[1]).sum())


def oracle_ce(run: Run, before: int, after: int, s: int) -> dict[str, float]:
    old, new = run.heads[before], run.heads[after]
    x, t = Sides(run, before, after, s), Sides(run, before, after, run.order[before])
    here = {(i, j): ce(run, u, v, x.y, old) for i, u in enumerate((x.u0, x.u1)) for j, v in enumerate((x.v0, x.v1))}
    out = {"encoder, image": ((here[1, 0] - here[0, 0]) + (here[1, 1] - here[0, 1])) / 2}
    if run.fusion != "image":
        out["encoder, text"] = ((here[0, 1] - here[0, 0]) + (here[1, 1] - here[1, 0])) / 2
    g_s, g_t = gradient(run, x, old), gradient(run, t, old)
    move = new.weight - old.weight, (new.bias - old.bias) * old.biased
    eta = -dot(move, g_t) / dot(g_t, g_t)
    r_s, r_t = (sum(residuals(run, k, old)) / len(k.y) for k in (x, t))
    rho = float(r_s @ r_t)
    p, q = run.p, run.q
    kernel = {"step, image-image": p * p * all_pairs(x.u1, t.u1)}
    if run.fusion == "sum":
        kernel |= {"step, image-text": p * q * all_pairs(x.u1, t.v1), "step, text-image": p * q * all_pairs(x.v1, t.u1)}
    if run.fusion != "image":
        kernel["step, text-text"] = q * q * all_pairs(x.v1, t.v1)
    if old.biased:
        kernel["step, bias"] = 1.0
    out |= {name: -eta * rho * k for name, k in kernel.items()}
    out["step, covariances"] = -eta * (dot(g_s, g_t) - rho * math.fsum(kernel.values()))
    out["step, other directions"] = dot(g_s, move) + eta * dot(g_s, g_t)
    out["curvature"] = ce(run, x.u1, x.v1, x.y, new) - here[1, 1] - dot(g_s, move)
    return out


def info_nce(x: list[np.ndarray], y: list[np.ndarray], tau: float) -> tuple[float, float]:
    """The loss from x to y, and delta."""
    losses, deltas = [], []
    for i, a in enumerate(x):
        row = [tau * float(a @ b) for b in y]
        losses.append(logsumexp(row) - row[i])
        deltas.append(logsumexp(row) - math.log(len(row)) - math.fsum(row) / len(row))
    return math.fsum(losses) / len(x), math.fsum(deltas) / len(x)


def oracle_clip(run: Run, before: int, after: int, s: int, direction: str) -> dict[str, float]:
    x = Sides(run, before, after, s)
    own = [math.fsum(float(a @ b) for a, b in zip(u, v, strict=True)) / len(u) for u, v in ((x.u0, x.v0), (x.u1, x.v1))]
    everyone = [all_pairs(x.u0, x.v0), all_pairs(x.u1, x.v1)]
    sides = [(x.u0, x.v0), (x.u1, x.v1)]
    (_, one), (_, two) = (info_nce(*(pair if "image to text" in direction else pair[::-1]), run.tau) for pair in sides)
    return {
        "all pairs": run.tau * (everyone[1] - everyone[0]),
        "matched pairs": -run.tau * (own[1] - own[0]),
        "beyond the linear reading": two - one,
    }


TRANSITIONS = ((0, 1), (1, 2), (2, 3))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_line_of_the_cross_entropy(fusion: str, biased: bool) -> None:
    run = long_run(fusion, biased)
    assert run.transitions == list(TRANSITIONS)
    for before, after in TRANSITIONS:
        for s in run.environments:
            book = cross_entropy(run, before, after, s)
            expected = oracle_ce(run, before, after, s)
            assert book.environment == run.name(s)
            assert book.entries == pytest.approx(expected, rel=1e-9, abs=1e-13)
            assert list(book.entries) == list(expected)
            x = Sides(run, before, after, s)
            assert book.before == pytest.approx(ce(run, x.u0, x.v0, x.y, run.heads[before]), abs=1e-13)
            assert book.after == pytest.approx(ce(run, x.u1, x.v1, x.y, run.heads[after]), abs=1e-13)


def test_the_oracle_tells_environments_modalities_and_transitions_apart() -> None:
    """Otherwise its agreement would say little."""
    run = long_run()
    values = [
        x
        for before, after in TRANSITIONS
        for s in run.environments
        for name, x in oracle_ce(run, before, after, s).items()
        if "other" not in name
        and not (name == "step, text-image" and s == run.order[before])  # Con_IT(t,t) = Con_TI(t,t)
    ]
    assert len({round(x, 9) for x in values}) == len(values)


def test_every_line_of_the_clip_loss() -> None:
    run = long_run()
    for before, after in TRANSITIONS:
        for s in run.environments:
            books = {b.loss: b for b in ledgers(run, before, after, s)}
            x = Sides(run, before, after, s)
            contrast = 0.0
            for direction in ("CLIP, image to text", "CLIP, text to image"):
                book = books[direction]
                assert book.entries == pytest.approx(oracle_clip(run, before, after, s, direction), rel=1e-9, abs=1e-13)
                flip = slice(None) if "image to" in direction else slice(None, None, -1)
                one, two = (info_nce(*pair[flip], run.tau)[0] for pair in ((x.u0, x.v0), (x.u1, x.v1)))
                assert (book.before, book.after) == pytest.approx((one, two), abs=1e-13)
                contrast += (two - one) / 2
            total = books["total"]
            assert total.entries == pytest.approx({"CE": books["CE"].change, "lambda CLIP": 0.3 * contrast}, abs=1e-13)
            both = books["CLIP, image to text"].before + books["CLIP, text to image"].before
            assert total.before == pytest.approx(books["CE"].before + 0.3 * both / 2, abs=1e-13)


# -- sums and bounds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_ledger_adds_up(fusion: str, biased: bool) -> None:
    run = random_run(fusion, biased)
    books = [b for s in run.environments for b in ledgers(run, 0, 1, s)]
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
        book = cross_entropy(run, 0, 1, environment)
        assert abs(book.closing) <= ULPS * max(1.0, scale)
        assert book.outside() == []
        tangent = book.after - book.before - book.facts["slope"]
        assert book.entries["curvature"] == pytest.approx(tangent, rel=1e-11, abs=1e-14)


def closes(book: Ledger) -> None:
    assert abs(book.closing) <= ULPS


def test_a_dropped_or_wrong_entry_is_noticed() -> None:
    book = cross_entropy(random_run("sum"), 0, 1, 1)
    closes(book)
    for name in book.entries:
        for entries in (
            {k: x for k, x in book.entries.items() if k != name},
            {**book.entries, name: 1.01 * book.entries[name]},
        ):
            with pytest.raises(AssertionError):
                closes(replace(book, entries=entries))


def test_every_theorem_bounds_its_entry() -> None:
    run = long_run("sum")
    books = ledgers(run, 0, 1, 1)
    named = {b.loss: set(b.bounds) for b in books}
    assert named["CE"] == {"curvature", "step, covariances", "head"}
    assert named["CLIP, image to text"] == named["CLIP, text to image"] == {"beyond the linear reading"}
    for book in books:  # a bound that says nothing would catch nothing
        for entry, (low, high) in book.bounds.items():
            for value in (high + 1, low - 1):
                changed = {entry: value}
                assert replace(book, entries={**book.entries, **changed}).outside() == [entry]
                if entry in book.facts:
                    assert replace(book, facts={**book.facts, **changed}).outside() == [entry]


def test_bounds_by_hand() -> None:
    """T1.2's and T3.1's, from the step and the features; T1.3's from the covariances."""
    run = long_run("sum")
    for before, after in TRANSITIONS:
        book = cross_entropy(run, before, after, 2)
        x, t = Sides(run, before, after, 2), Sides(run, before, after, run.order[before])
        z = np.array([fuse(run, a, b) for a, b in zip(x.u1, x.v1, strict=True)])
        step = run.heads[after].weight - run.heads[before].weight
        pushed = float(((z @ step) ** 2).sum(axis=1).mean())
        assert book.bounds["curvature"] == (0, pytest.approx(pushed / 4))
        slope = dot(gradient(run, x, run.heads[before]), (step, np.zeros(step.shape[1])))
        top = np.linalg.eigvalsh(z.T @ z / len(z))[-1]
        assert book.facts["slope"] == pytest.approx(slope)
        assert book.bounds["head"] == pytest.approx((slope, slope + top / 4 * (step**2).sum()))
        moved = ce(run, x.u1, x.v1, x.y, run.heads[after]) - ce(run, x.u1, x.v1, x.y, run.heads[before])
        assert book.facts["head"] == pytest.approx(moved, abs=1e-13)
        sizes = []
        for k in (x, t):
            zs, rs = (
                np.array([fuse(run, a, b) for a, b in zip(k.u1, k.v1, strict=True)]),
                np.array(residuals(run, k, run.heads[before])),
            )
            cov = (zs - zs.mean(axis=0)).T @ (rs - rs.mean(axis=0)) / len(zs)
            sizes.append((np.linalg.norm(cov), np.linalg.norm(zs.mean(axis=0)), np.linalg.norm(rs.mean(axis=0))))
        (c_s, z_s, r_s), (c_t, z_t, r_t) = sizes
        limit = abs(book.facts["eta"]) * (c_s * z_t * r_t + c_t * z_s * r_s + c_s * c_t)
        assert book.bounds["step, covariances"] == pytest.approx((-limit, limit))


def test_delta_stays_within_its_bounds_and_blocks_of_rows_change_nothing() -> None:
    rng = np.random.default_rng(0)
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.standard_normal((2, 37, 4)))
    whole, parts = (reading(u, v, 30.0, block) for block in (100, 7))
    for name in ("loss", "everyone", "matched", "delta", "bound"):
        assert getattr(whole, name) == pytest.approx(getattr(parts, name), abs=1e-13)
    assert 0 <= whole.delta <= whole.bound
    run = long_run()
    book = ledgers(run, 0, 1, 0)[1]
    (u0, v0), (u1, v1) = run.pair(0, 0), run.pair(1, 0)
    limits = [reading(x, y, run.tau).bound for x, y in ((u0, v0), (u1, v1))]
    assert book.bounds["beyond the linear reading"] == pytest.approx((-limits[0], limits[1]))


# -- steps that are known -------------------------------------------------------------------------------------------


def stepped(eta: float = 0.25) -> tuple[Head, Head]:
    """A head before and after a gradient step on environment a of `first_stage`."""
    one, start = first_stage(), random_head(scale=0.3)
    here = Point(one.image[one.rows(0)].astype(float), one.label[one.rows(0)], start.weight)
    return start, Head(start.weight - eta * here.gradient(), start.bias, False)


def test_one_gradient_step_is_recognised() -> None:
    """The head moves by -eta g_t: the step's size is found, and nothing is left for other directions."""
    one = first_stage()
    run = make_run((one, one), stepped())
    for environment in run.environments:
        book = cross_entropy(run, 0, 1, environment)
        assert book.facts["eta"] == pytest.approx(0.25, rel=1e-12)
        assert book.facts["explained"] == pytest.approx(1, abs=1e-12)
        assert abs(book.entries["step, other directions"]) < 1e-15
        assert book.entries["encoder, image"] == 0


def test_the_step_is_that_of_the_environment_learnt() -> None:
    """The same step, attributed to another environment: it is explained no longer."""
    one = first_stage()
    run = make_run((one, one), stepped(), order=("b",))
    assert cross_entropy(run, 0, 1, 0).facts["explained"] < 0.9


def test_a_head_that_stays_has_no_step() -> None:
    one = first_stage()
    book = cross_entropy(make_run((one, nudged(one, 0.1, 0.1)), (random_head(),) * 2), 0, 1, 0)
    assert book.facts["explained"] == 1
    assert all(x == 0 for name, x in book.entries.items() if "encoder" not in name)


def test_a_head_sure_of_everything_has_no_gradient() -> None:
    """Its loss has no slope, so no step is along it; what the head then loses is curvature alone."""
    label = np.repeat(np.arange(6), 3)
    features = Features(image=np.eye(6)[label], text=np.eye(6)[label], environment=label // 2, label=label)
    heads = [Head(1000 * (np.eye(6) + other), np.zeros(6), False) for other in (0, 2 * np.eye(6)[::-1])]
    book = cross_entropy(make_run((features, features), heads), 0, 1, 0)
    assert (book.facts["eta"], book.facts["explained"], book.facts["slope"]) == (0, 0, 0)
    assert book.entries["curvature"] == pytest.approx(book.change) == pytest.approx(1000)


def test_encoder_share_is_of_the_modality_that_moved() -> None:
    one = first_stage()
    heads = (random_head(),) * 2
    for image, text, still in ((0.0, 0.1, "encoder, image"), (0.1, 0.0, "encoder, text")):
        run = make_run((one, nudged(one, image, text)), heads, fusion="sum", p=0.6, q=0.8)
        entries = cross_entropy(run, 0, 1, 0).entries
        assert abs(entries[still]) < 1e-15
        assert abs(sum(entries[k] for k in ("encoder, image", "encoder, text"))) > 1e-4


def test_lambda_star_is_where_the_total_turns() -> None:
    run = random_run()
    turned = 0
    for s in run.environments:
        *_, book = ledgers(run, 0, 1, s)
        values = book.entries["CE"], book.entries["lambda CLIP"] / run.weight
        assert ("lambda_star" in book.facts) == (values[0] * values[1] < 0)
        if "lambda_star" in book.facts:
            turned += 1
            assert values[0] + book.facts["lambda_star"] * values[1] == pytest.approx(0, abs=1e-13)
    assert turned > 0


def test_rounding_is_a_share_of_the_losses_or_of_one() -> None:
    """Mutants: of the smaller one; of nothing less than the losses."""
    for before, after, most in ((0.0, 1e-3, 1e-9), (1e6, 2.0, 1e-3), (2.0, 1e6, 1e-3)):
        book = Ledger("a", "CE", before, after, {}, {"low": (0.0, 9.0), "high": (-9.0, 0.0)})
        inside = {"low": -0.9 * most, "high": 0.9 * most}
        assert replace(book, facts=inside).outside() == []
        assert replace(book, facts={name: x * 1.2 for name, x in inside.items()}).outside() == ["low", "high"]


def test_total_by_hand() -> None:
    """The CLIP loss falls by 0.02 and the cross-entropy rises by 0.1: even at lambda 5, and at no lambda where both rise."""
    clip = Ledger("a", "one", 2.0, 1.97, {}), Ledger("a", "other", 3.0, 2.99, {})
    rises, falls = Ledger("a", "CE", 0.5, 0.6, {}), Ledger("a", "CE", 0.6, 0.5, {})
    book = total(4.0, rises, clip)
    assert (book.before, book.after) == pytest.approx((0.5 + 4 * 2.5, 0.6 + 4 * 2.48))
    assert book.entries == pytest.approx({"CE": 0.1, "lambda CLIP": -0.08})
    assert book.facts == pytest.approx({"lambda_star": 5.0})
    assert total(5.0, rises, clip).change == pytest.approx(0, abs=1e-12)
    assert total(4.0, falls, clip).facts == {}
    alone = total(4.0, None, clip)
    assert (alone.environment, alone.entries, alone.facts) == ("a", pytest.approx({"lambda CLIP": -0.08}), {})
    assert alone.change == pytest.approx(-0.08)
