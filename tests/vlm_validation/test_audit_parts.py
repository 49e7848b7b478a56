"""Drift, contributions, assumptions and forgetting of an audit, each beside its definition."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from crossmodal.vlm_validation import mean_baseline
from crossmodal.vlm_validation.audit import Head, Run, audit, make_run
from crossmodal.vlm_validation.audit import reliance as module
from crossmodal.vlm_validation.audit.assumptions import Check, linear
from crossmodal.vlm_validation.audit.contrastive import DIRECTIONS
from crossmodal.vlm_validation.audit.cross_entropy import Point
from crossmodal.vlm_validation.audit.drift import drift
from crossmodal.vlm_validation.audit.forgetting import ADVICE
from crossmodal.vlm_validation.audit.ledger import Ledger
from crossmodal.vlm_validation.audit.reliance import comparisons, paired, reliance, together
from crossmodal.vlm_validation.features import Features

from .audit_cases import C, D, first_stage, long_run, nudged, random_head, random_run

# -- drift -------------------------------------------------------------------------------------------------------


def test_drift_by_hand() -> None:
    run = long_run()
    for before, after in run.transitions:
        found = drift(run, before, after)
        means = [[[x.mean(axis=0) for x in run.pair(k, e)] for e in run.environments] for k in (before, after)]
        for s, m in enumerate(found.movements):
            (u0, v0), (u1, v1) = (run.pair(k, run.environments[s]) for k in (before, after))
            image, text = ((b - a) ** 2 for a, b in ((u0, u1), (v0, v1)))
            assert (m.image, m.text) == pytest.approx([x.sum(1).mean() ** 0.5 for x in (image, text)])
            assert (m.image_most, m.text_most) == pytest.approx([x.sum(1).max() ** 0.5 for x in (image, text)])
            assert m.clv == pytest.approx((u1 * v1).sum(1).mean() - (u0 * v0).sum(1).mean(), abs=1e-12)
            for t in range(3):
                for key in ("II", "IT", "TI", "TT"):
                    a, b = ("IT".index(x) for x in key)
                    change = means[1][s][a] @ means[1][t][b] - means[0][s][a] @ means[0][t][b]
                    assert found.change[key][s, t] == pytest.approx(change, abs=1e-6)
                lengths = np.linalg.norm(means[0][s][0]), np.linalg.norm(means[1][t][1])
                e_i, e_t = m.image, found.movements[t].text
                assert found.bound[s, t] == pytest.approx(e_i * lengths[1] + e_t * lengths[0], rel=1e-6)
                assert found.plain[s, t] == pytest.approx(e_i + e_t)
        assert found.used == pytest.approx((np.abs(found.change["IT"]) / found.bound).max())
        assert 0 < found.used <= 1


# -- contributions -----------------------------------------------------------------------------------------------


def contribution(run: Run, stage: int, environment: int) -> tuple[float, float]:
    """Mean contributions of image and text, sample by sample, an absent modality at its mean."""
    u, v = run.pair(stage, environment)
    label, head = run.labels(environment), run.heads[stage] if run.heads else None
    out = []
    for k in range(len(u)):
        f = {}
        for i, x in enumerate((u.mean(0), u[k])):
            for t, y in enumerate((v.mean(0), v[k])):
                if head is None:
                    f[i, t] = x @ y
                    continue
                logits = run.fused(x[None], y[None])[0] @ head.weight + head.bias
                f[i, t] = math.exp(logits[label[k]]) / sum(math.exp(z) for z in logits)
        image = ((f[1, 0] - f[0, 0]) + (f[1, 1] - f[0, 1])) / 2
        out.append((image, f[1, 1] - f[0, 0] - image))
    return tuple(np.mean(out, axis=0))


@pytest.mark.parametrize("fusion", ["sum", "concat", "image", "none"])
def test_contributions_by_hand(fusion: str) -> None:
    run = long_run(fusion, biased=True) if fusion != "none" else replace(long_run(), heads=())
    for e in run.environments:
        for row, (before, after) in zip(reliance(run, e), run.transitions, strict=True):
            one, two = (contribution(run, k, e) for k in (before, after))
            assert row.environment == run.name(e)
            assert row.before == pytest.approx(one, abs=1e-12)
            assert row.after == pytest.approx(two, abs=1e-12)
            assert row.change == pytest.approx(np.subtract(two, one), abs=1e-12)
            assert all(low <= x <= high for low, x, high in zip(row.low, row.change, row.high, strict=True))
            if run.heads:
                hits = []
                for k in (before, after):
                    logits = run.fused(*run.pair(k, e)) @ run.heads[k].weight + run.heads[k].bias
                    hits.append(float((logits.argmax(1) == run.labels(e)).mean()))
                assert row.accuracy == pytest.approx(tuple(hits))
                assert row.accuracy_change[0] == pytest.approx(hits[1] - hits[0])


def cancelling(rng: np.random.Generator, n: int) -> Run:
    """A text that adds to a sample's own cosine what its image lacks towards the mean text: <u, v> + <u, E v> = 0.4."""
    x, side = rng.uniform(-0.5, 0.5, n), rng.choice([-1.0, 1.0], n)
    y = np.sqrt(1 - x**2)
    b = (0.4 - 0.6 * x) / y
    u = np.stack([x, side * y, 0 * x], axis=1)
    v = np.stack([0 * x + 0.3, side * b, np.sqrt(1 - 0.09 - b**2)], axis=1)
    apart = np.tile([0.0, 0.0, 1.0], (n, 1))
    shared = {"environment": np.zeros(n, dtype=int), "label": np.arange(n) % 2}
    return make_run([Features(image=u, text=t, **shared) for t in (apart, v)])


def test_intervals_cover_what_other_samples_would_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image of `cancelling` contributes 0.2: (E <u, v> - <E u, E v>) / 2.  Mutant: mean features taken as given."""

    def covered() -> int:
        rng, inside = np.random.default_rng(0), 0
        for _ in range(150):
            (row,) = reliance(cancelling(rng, 80), 0)
            inside += row.low[0] <= 0.2 <= row.high[0]
        return inside

    assert covered() >= 132  # 95 % of 150, less four standard errors
    cosines = mean_baseline.cosines

    def given(u: np.ndarray, v: np.ndarray) -> mean_baseline.Values:
        own = cosines(u, v).own
        return mean_baseline.Values(own, own, lambda drawn: drawn @ own)

    monkeypatch.setattr("crossmodal.vlm_validation.audit.reliance.cosines", given)
    assert covered() < 90


def test_the_interval_of_an_accuracy() -> None:
    """Agresti and Min's by hand: of 10 samples 4 turn right and 1 wrong; and of 15 with true change 0.1 it covers."""
    flips = np.array([1.0, 1, 1, 1, -1] + [0] * 5)
    half = 1.959964 * math.sqrt(4.5 + 1.5 - 3**2 / 12) / 12
    assert paired(flips) == pytest.approx((3 / 12 - half, 3 / 12 + half), abs=1e-6)
    low, high = paired(np.zeros(20))
    assert low == -high < 0, "no flip seen is not no flip"
    assert paired(np.ones(15))[1] == 1
    assert paired(-np.ones(15))[0] == -1
    rng = np.random.default_rng(0)
    drawn = rng.choice([1.0, -1.0, 0.0], p=[0.15, 0.05, 0.8], size=(4000, 15))
    ends = np.array([paired(x) for x in drawn])
    assert ((ends[:, 0] <= 0.1) & (0.1 <= ends[:, 1])).mean() >= 0.94
    resampled = rng.multinomial(15, np.full(15, 1 / 15), size=400) / 15
    bootstrap = np.quantile(drawn[:400] @ resampled.T, (0.025, 0.975), axis=1)
    assert ((bootstrap[0] <= 0.1) & (0.1 <= bootstrap[1])).mean() < 0.92


def reading_both() -> tuple[Features, np.ndarray, np.ndarray]:
    """Two classes told by either modality; a head that reads both, and one that reads the text alone."""
    rng = np.random.default_rng(0)
    label = np.tile([0, 1], 60)
    side = np.eye(4)[label] + 0.05 * rng.standard_normal((120, 4))
    x = (side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32)
    one = Features(image=x, text=x[:, ::-1].copy(), environment=np.repeat([0, 1], 60), label=label)
    both, text = np.zeros((8, 2)), np.zeros((8, 2))
    both[0, 0] = both[1, 1] = both[7, 0] = both[6, 1] = 3
    text[7, 0] = text[6, 1] = 6
    return one, both, text


def test_hidden_forgetting_is_flagged() -> None:
    """Accuracy stays, and the image's contribution goes."""
    one, both, text = reading_both()
    run = make_run((one, one), (Head(both, np.zeros(2), False), Head(text, np.zeros(2), False)))
    for e in run.environments:
        (row,) = reliance(run, e)
        assert row.accuracy == (1, 1)
        assert row.hidden == ("image", "text")
        assert row.high[0] < 0 < row.low[1]
    still = make_run((one, one), (Head(both, np.zeros(2), False),) * 2)
    assert all(row.hidden == () and row.change == (0, 0) for e in still.environments for row in reliance(still, e))


def test_hidden_names_the_modality_that_moved() -> None:
    one, both, _ = reading_both()
    for rows, name in ((slice(0, 4), "image"), (slice(4, 8), "text")):
        alone = np.zeros((8, 2))
        alone[rows] = both[rows]
        run = make_run((one, one), (Head(alone / 3, np.zeros(2), False), Head(alone, np.zeros(2), False)))
        assert reliance(run, 0)[0].hidden == (name,)


def test_a_fall_that_accuracy_shows_is_not_hidden() -> None:
    one = first_stage()
    right_way = np.stack([40 * one.image[one.label == c].mean(axis=0) for c in range(C)], axis=1)
    run = make_run((one, one), [Head(w, np.zeros(C), False) for w in (right_way, np.roll(right_way, 1, axis=1))])
    for e in run.environments:
        (row,) = reliance(run, e)
        assert row.accuracy_change[2] < 0
        assert row.high[0] < 0
        assert row.hidden == ()


@pytest.mark.parametrize(("n", "rare", "skewed"), [(20, 0.33, None), (50, 0.63, 0.84), (10, None, 0.73)])
def test_what_no_sample_showed_is_missed_as_often_as_told(n: int, rare: float | None, skewed: float | None) -> None:
    rng = np.random.default_rng([3, n])
    held = []
    for _ in range(600):
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=1000) / n
        seldom = np.where(rng.random((n, 1)) < 0.02, 0.5, 0.0001)
        for moves, mean in (
            (seldom, 0.01 + 0.98 * 0.0001),
            (0.01 * np.exp(1.5 * rng.standard_normal((n, 2))), 0.01 * np.exp(1.125)),
        ):
            _, low, high = together(moves, drawn, 0.95)
            held.append(bool(np.all((low <= mean) & (mean <= high))))
    for share, told in zip(np.reshape(held, (-1, 2)).mean(axis=0), (rare, skewed), strict=True):
        assert told is None or share == pytest.approx(told, abs=0.06)


def test_intervals_hold_together() -> None:
    """18 comparisons where nothing moved: one by one nearly half of the audits would report a movement."""
    rng = np.random.default_rng(0)
    alone = together_wrong = 0
    for _ in range(60):
        wrong = single = False
        for _ in range(3):
            moves = rng.standard_normal((40, 3, 2)) ** 3
            drawn = rng.multinomial(40, np.full(40, 1 / 40), size=400) / 40
            _, low, high = together(moves, drawn, 1 - 0.05 / 3)
            wrong |= bool(((low > 0) | (high < 0)).any())
            ends = np.quantile(drawn @ moves.reshape(40, -1), (0.025, 0.975), axis=0)
            single |= bool(((ends[0] > 0) | (ends[1] < 0)).any())
        together_wrong += wrong
        alone += single
    assert together_wrong <= 9  # 5 % of 60, and three standard errors
    assert alone >= 20
    assert comparisons(long_run()) == 18


def test_large_environments_are_drawn_less_often() -> None:
    assert [module.resamples(n) for n in (2, 4000, 8192, 10**7)] == [4000, 4000, 2048, 1000]


def test_joint_intervals_against_their_definition() -> None:
    """As narrow as holds in 90 % of the resamples for all columns, each column missed as often as the others.

    Mutants: deviations that are not studentised; intervals that hold one by one.
    """
    rng, n = np.random.default_rng(0), 12
    moves = rng.standard_normal((n, 3)) ** 3 * [0.1, 0.03, 0.01]
    counts = rng.multinomial(n, np.full(n, 1 / n), size=301)
    mean, low, high = together(moves, counts / n, 0.9)
    np.testing.assert_allclose(mean, moves.mean(axis=0))
    np.testing.assert_allclose(high - mean, mean - low)
    samples = [np.repeat(moves, times, axis=0) for times in counts]
    t = np.array([np.abs(x.mean(axis=0) - mean) / x.std(axis=0) for x in samples])
    reach = (high - mean) / moves.std(axis=0)

    def held(factor: float) -> int:
        return int((t <= factor * reach).all(axis=1).sum())

    assert held(1 - 1e-9) < 271 <= held(1 + 1e-9)  # 0.9 of 300 gaps between 301 resamples
    own = np.sort(t, axis=0)[270]
    np.testing.assert_allclose(reach / own, (reach / own)[0])
    assert reach[0] > own[0]


def test_what_moved_all_samples_alike_is_as_uncertain_as_the_means() -> None:
    """No spread to divide by: the quantile of the resamples' deviations themselves."""
    drawn = np.full((21, 4), 0.25)
    again = 0.3 + np.arange(21.0)[:, None] / 100
    mean, low, high = together(np.full((4, 1), 0.3), drawn, 0.9, again)
    assert (mean[0], low[0], high[0]) == pytest.approx((0.3, 0.3 - 0.18, 0.3 + 0.18))


def test_environments_share_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = []

    def spy(
        moves: np.ndarray, drawn: np.ndarray, level: float, *more: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        levels.append(level)
        return together(moves, drawn, level, *more)

    monkeypatch.setattr("crossmodal.vlm_validation.audit.reliance.together", spy)
    reliance(long_run(), 0)
    assert levels == [pytest.approx(1 - 0.05 / 3)]


def test_two_samples_say_nothing_and_stay_numbers() -> None:
    one = first_stage().select(np.r_[0:2, 20:22])
    found = reliance(make_run((one, nudged(one, 0.3, 0.3)), (random_head(), random_head(seed=1))), 0)[0]
    assert np.isfinite([*found.low, *found.high]).all()
    assert found.hidden == ()


def test_two_samples_that_are_alike_say_nothing_either() -> None:
    """Two samples move the mean cosine alike, whatever they are.  Mutant: what moved all alike is known however few moved."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(40):
        (row,) = reliance(cancelling(rng, 2), 0)
        covered += row.low[0] <= 0.2 <= row.high[0]
    assert covered == 40


def test_ties_of_huge_logits_move_no_further_than_they_can() -> None:
    """Where no feature tells two classes apart, slopes times logits cancel but for rounding.  Mutant: the mean influence as the change."""
    one, _, _ = reading_both()
    tied = 1e20 * np.random.default_rng(0).standard_normal((8, 3))
    tied[:, 1] = tied[:, 0]
    run = make_run((one, nudged(one, 0.1, 0.1)), (Head(tied, np.zeros(3), False),) * 2)
    for e in run.environments:
        (row,) = reliance(run, e)
        assert np.abs(np.subtract(row.after, row.before) - row.change).max() < 1e-12
        assert all(low <= x <= high for low, x, high in zip(row.low, row.change, row.high, strict=True))


def test_without_heads_an_own_caption_says_nothing_of_the_class() -> None:
    """Classes are drawn at random, so a third is right; the pair's own direction would tell the class by the caption."""
    rng = np.random.default_rng(0)
    pairs, image, text = rng.standard_normal((3, 60, 64))
    sides = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (pairs + image, pairs + text)]
    one = Features(*sides, environment=np.zeros(60, dtype=int), label=np.arange(60) % 3)
    assert module.right(make_run((one, one)), 0, 0).mean() < 0.5


# -- assumptions -------------------------------------------------------------------------------------------------


def check_of(run: Run, theorem: str, words: str, transition: int = 0) -> Check:
    return next(c for c in audit(run).transitions[transition].checks if c.theorem == theorem and words in c.assumption)


def test_a_check_at_its_limit_holds() -> None:
    check = Check("x", "", 1.0, 1.0, "good", "bad")
    assert (check.holds, check.means) == (True, "good")
    over = replace(check, measured=math.nextafter(1.0, 2))
    assert (over.holds, over.means) == (False, "bad")


def test_frozen_features_and_unit_length() -> None:
    one = first_stage()
    assert check_of(make_run((one, one)), "T1.7", "frozen").holds
    for image, text in ((0.1, 0.0), (0.0, 0.1)):
        run = make_run((one, nudged(one, image, text)))
        most = max(
            np.linalg.norm(b - a, axis=1).max()
            for e in run.environments
            for a, b in zip(run.pair(0, e), run.pair(1, e), strict=True)
        )
        check = check_of(run, "T1.7", "frozen")
        assert not check.holds
        assert check.measured == pytest.approx(most)
    for side, length in itertools.product(("image", "text"), (1.0005, 0.9995)):  # of either stage
        off = replace(one, **{side: getattr(one, side) * np.where(np.arange(len(one)) == 3, length, 1.0)[:, None]})
        for stages in ((one, off), (off, one)):
            check = check_of(make_run(stages), "S6", "unit")
            assert not check.holds
            assert check.measured == pytest.approx(5e-4, rel=1e-2)


def test_the_share_of_the_step_that_is_no_gradient() -> None:
    run = random_run("sum")
    here = Point(run.fused(*run.pair(1, 0)), run.labels(0), run.heads[0].weight)
    g, step = here.gradient(), run.heads[1].weight - run.heads[0].weight
    cosine = (g * step).sum() / np.linalg.norm(g) / np.linalg.norm(step)
    down = (
        run if cosine < 0 else replace(run, heads=(run.heads[0], Head(run.heads[0].weight - step, np.zeros(C), False)))
    )
    assert check_of(down, "T1.2", "gradient step").measured == pytest.approx(1 - cosine**2)


def test_a_step_up_the_gradient_is_no_gradient_step() -> None:
    """The head moves along it exactly, and the other way; that stretches, however short the step."""
    one, start = first_stage(), random_head(scale=0.3)
    g = Point(one.image[one.rows(0)].astype(float), one.label[one.rows(0)], start.weight).gradient()
    for step, holds in ((0.1, True), (-0.1, False)):
        run = make_run((one, one), (start, Head(start.weight - step * g, start.bias, False)), order=("a",))
        assert [check_of(run, *x).holds for x in (("T1.2", "gradient step"), ("T3.11", "stretch"))] == [holds, holds]
    assert "up its gradient" in check_of(run, "T1.2", "gradient step").means


def test_a_large_step_stretches_by_the_environment_learnt() -> None:
    one = first_stage()
    start = random_head(scale=0.3)
    tops = [np.linalg.eigvalsh(x.T @ x / len(x))[-1] for x in (one.image[one.rows(e)].astype(float) for e in range(3))]
    assert len({round(t, 3) for t in tops}) == 3
    for e, name in enumerate("abc"):
        point = Point(one.image[one.rows(e)].astype(float), one.label[one.rows(e)], start.weight)
        for share, holds in ((0.99, True), (1.01, False), (0.01, True), (-0.01, False)):
            moved = Head(start.weight - share * 4 / tops[e] * point.gradient(), start.bias, False)
            check = check_of(make_run((one, one), (start, moved), order=(name,)), "T3.11", "stretch")
            assert check.holds == holds
            assert check.measured == pytest.approx(abs(1 - 2 * share))


@pytest.mark.parametrize("flipped", [False, True])
def test_smooth_transition_by_hand(flipped: bool) -> None:
    """e, half the larger range of the intra-modal scores, against p q / (p^2 + q^2) times that of Con_IT + Con_TI."""
    run = replace(random_run("sum"), p=0.9, q=0.5)
    if flipped:
        run = replace(run, stages=tuple(replace(f, image=f.text, text=f.image) for f in run.stages))
    found = check_of(run, "T1.4", "Smooth")
    means = [[x.mean(axis=0) for x in run.pair(1, k)] for k in run.environments]
    off = [(s, t) for s in range(3) for t in range(3) if s != t]
    score = {a + b: [means[s]["IT".index(a)] @ means[t]["IT".index(b)] for s, t in off] for a in "IT" for b in "IT"}
    assert found.measured == pytest.approx(max(np.ptp(score["II"]), np.ptp(score["TT"])) / 2, rel=1e-6)
    cross = np.ptp(np.add(score["IT"], score["TI"])) / 2
    assert found.limit == pytest.approx(0.9 * 0.5 * cross / (0.9**2 + 0.5**2), rel=1e-6)
    none = check_of(random_run("image"), "T1.4", "Smooth")
    two = [f.select(f.environment < 2) for f in run.stages]  # whose scores both ways are the same: nothing to rank
    for without in (
        make_run(two, run.heads, fusion="sum"),
        make_run(run.stages),
    ):  # or no head, of whose step it speaks
        assert "T1.4" not in [c.theorem for c in audit(without).transitions[0].checks]
    assert none.limit == 0
    assert "no cross-modal term" in none.assumption
    assert "no cross-modal term" not in found.assumption


def test_linear_reading_by_hand() -> None:
    run = long_run()
    for k, t in enumerate(audit(run).transitions):
        clip = [b for b in t.ledgers if b.loss.startswith("CLIP")]
        found = check_of(run, "T1.5", "linear", k)
        rest = [abs(b.entries["beyond the linear reading"]) for b in clip]
        tenth = [abs(b.change - b.entries["beyond the linear reading"]) / 10 for b in clip]
        worst = int(np.argmax(np.subtract(rest, tenth)))
        assert found.measured == rest[worst]
        assert found.limit == pytest.approx(tenth[worst])


def test_a_large_linear_change_excuses_no_other_environment() -> None:
    books = [
        Ledger(name, DIRECTIONS[0], 0.0, 0.0, {"all pairs": read, "matched pairs": 0.0, "beyond the linear reading": rest})
        for name, read, rest in (("a", 5.0, 0.01), ("b", 0.05, 0.015))
    ]  # fmt: skip
    assert (linear(books).holds, linear(books).measured, linear(books).limit) == (False, 0.015, 0.005)
    assert linear(books[:1]).holds


def test_entries_outside_their_bounds_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    run = random_run("sum")
    assert check_of(run, "T1, T3.1", "outside").holds
    monkeypatch.setattr("crossmodal.vlm_validation.audit.ledger.Ledger.outside", lambda self: ["x"])
    assert check_of(run, "T1, T3.1", "outside").measured == 4 * len(run.environments)


# -- forgetting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [True, False])
def test_forgetting_is_the_loss_since_an_environment_was_learnt(heads: bool) -> None:
    run = long_run() if heads else replace(long_run(), heads=())
    found = audit(run)
    assert [f.environment for f in found.forgetting] == ["c", "a"]  # b was learnt last
    for k, f in enumerate(found.forgetting):
        books = [
            [
                b
                for b in t.ledgers
                if b.environment == f.environment and (b.loss == "CE" if heads else "CLIP," in b.loss)
            ]
            for t in found.transitions
        ]
        last, learnt = books[-1], books[k]
        assert f.loss == ("CE" if heads else "CLIP")
        assert f.transitions == 2 - k
        assert f.forgotten == pytest.approx(
            np.mean([b.after for b in last]) - np.mean([b.after for b in learnt]), abs=1e-12
        )
        assert math.fsum(f.entries.values()) == pytest.approx(f.forgotten, abs=1e-12)
        for term, x in f.entries.items():
            assert x == pytest.approx(
                sum(np.mean([b.entries[term] for b in later]) for later in books[k + 1 :]), abs=1e-12
            )
        assert f.entries[f.largest] == max(f.entries.values())
        assert f.advice == (ADVICE[f.largest] if f.forgotten > 0 else "")


def test_there_is_advice_on_every_term() -> None:
    terms = {name for fusion in ("sum", "concat", "image") for t in audit(long_run(fusion, biased=True)).transitions for b in t.ledgers
             if b.loss != "total" for name in b.entries}  # fmt: skip
    assert terms == set(ADVICE)


def test_means_that_point_apart_are_not_said_to_be_shared() -> None:
    """Two environments with opposite mean images, mostly of one class both: a step on the second costs the first, by Con_II < 0."""
    rng, n, d = np.random.default_rng(0), 40, 8
    environment, label = np.repeat([0, 1], n), (rng.random(2 * n) < 0.9).astype(int)
    x = np.eye(d)[0] * np.where(environment, -1, 1)[:, None] + 0.4 * rng.standard_normal((2 * n, d))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    one, heads = (
        Features(image=x, text=x, environment=environment, label=label),
        [Head(np.zeros((d, 2)), np.zeros(2), False)],
    )
    for e in (0, 1):
        here = Point(x[environment == e].astype(float), label[environment == e], heads[-1].weight)
        heads.append(replace(heads[-1], weight=heads[-1].weight - 2 * here.gradient()))
    (found,) = audit(make_run((one, one, one), heads)).forgetting
    assert found.largest == "step, image-image"
    assert x[environment == 0].mean(axis=0) @ x[environment == 1].mean(axis=0) < 0
    assert "share" not in found.advice


def test_an_environment_learnt_again_counts_from_the_last_time() -> None:
    run = replace(long_run(), order=(0, 1, 0))
    assert [(f.environment, f.transitions) for f in audit(run).forgetting] == [("b", 1)]


def test_what_nothing_followed_was_not_forgotten() -> None:
    one = first_stage()
    run = make_run((one, one, one), (Head(np.zeros((D, C)), np.zeros(C), False),) * 3)
    (found,) = audit(run).forgetting
    assert (found.forgotten, found.largest, found.advice) == (0, "", "")
    assert audit(random_run()).forgetting == []
