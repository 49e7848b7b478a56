"""Hand-computed values of every convention on one matrix, and of every OOD measure on one pair of samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import metrics, ood
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

# four environments; column 1 recovers, column 2 peaks before it is learned, column 3 is best at the end
R = np.array([
    [0.10, 0.20, 0.10, 0.20],
    [0.80, 0.90, 0.20, 0.30],
    [0.60, 0.70, 0.30, 0.20],
    [0.90, 0.50, 0.60, 0.40],
    [0.70, 0.40, 0.65, 0.90],
])  # fmt: skip

# worked out by hand from the definitions in the module's table
HAND = {
    "gem": {
        "acc": 2.65 / 4,
        "bwt": (-0.10 - 0.30 + 0.05) / 3,
        "fwt": ((0.90 - 0.20) + (0.30 - 0.10) + (0.40 - 0.20)) / 3,
        "forgetting": (0.10 + 0.30 - 0.05) / 3,
    },
    "chaudhry": {"acc": 2.65 / 4, "forgetting": ((0.90 - 0.70) + (0.90 - 0.40) + (0.60 - 0.65)) / 3},
    "avalanche": {"acc": 2.65 / 4, "bwt": -0.35 / 3, "fwt": 1.10 / 3, "forgetting": 0.35 / 3},
    "mammoth": {"acc": 2.65 / 4, "bwt": -0.35 / 3, "fwt": 1.10 / 3, "forgetting": (0.20 + 0.50 + 0.00) / 3},
    "continuum": {
        "acc": (0.80 + (0.60 + 0.70) + (0.90 + 0.50 + 0.60) + 2.65) / 10,
        # k=3: j=1; k=4: j=1,2
        "bwt": ((0.90 - 0.80) + (0.70 - 0.80) + (0.40 - 0.70)) / 6,
        "fwt": (0.60 + (0.90 + 0.50) + (0.70 + 0.40 + 0.65)) / 6,
        # j=1: best of rows 1, 2; j=2: row 2; j=3 left out; divided by 3
        "forgetting": ((0.80 - 0.70) + (0.70 - 0.40)) / 3,
    },
    "paper": {"acc": 2.65 / 4, "bwt": -0.35 / 3, "fwt": 1.10 / 3, "forgetting": 0.35 / 3},
}


@pytest.mark.parametrize("convention", metrics.CONVENTIONS)
def test_hand_computed(convention: str) -> None:
    found = metrics.all_metrics(R, convention=convention)
    hand = HAND[convention] | {"total forgetting": 3 * HAND[convention]["forgetting"]}
    assert {name: float(metric) for name, metric in found.items()} == pytest.approx(hand)
    assert {metric.convention for metric in found.values()} == {convention}
    assert convention in str(found["forgetting"])


def test_conventions_disagree() -> None:
    values = [float(metrics.forgetting(R, convention=c)) for c in ("mammoth", "chaudhry", "continuum", "avalanche")]
    assert len({round(v, 6) for v in values}) == 4


def test_transfer_avg_last() -> None:
    found = metrics.transfer_avg_last(R)
    # columns 2, 3, 4 before their turn: .9 | .2 .3 | .3 .2 .4
    assert float(found["transfer"]) == pytest.approx((0.9 + 0.25 + 0.3) / 3)
    assert float(found["avg"]) == pytest.approx((2.2 + 1.8 + 2.4 + 2.65) / 16)
    assert float(found["last"]) == pytest.approx(2.65 / 4)


@pytest.mark.parametrize("convention", metrics.CONVENTIONS)
def test_loss_is_negated(convention: str) -> None:
    loss = metrics.all_metrics(-R, convention=convention, kind="loss")
    accuracy = metrics.all_metrics(R, convention=convention)
    assert {k: float(v) for k, v in loss.items()} == {k: float(v) for k, v in accuracy.items()}
    assert loss["forgetting"].kind == "loss"


def test_paper_forgetting_is_the_loss_increase() -> None:
    losses = np.array([[2.0, 2.0], [0.5, 3.0], [4.5, 0.4]])
    assert float(metrics.forgetting(losses, convention="paper", kind="loss")) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"R": R[1:]}, "row 0, before training"),
        ({"R": R[0]}, r"shape \(4,\)"),
        ({"R": np.where(R == 0.65, np.nan, R)}, "NaN"),
        ({"R": np.where(R == 0.65, np.inf, R), "kind": "loss"}, "NaN"),
        ({"convention": "sklearn"}, "sklearn"),
        ({"kind": "error"}, "error"),
        ({"R": np.ones((2, 1))}, "T >= 2"),
    ],
)
def test_wrong_input(wrong: dict[str, object], word: str) -> None:
    arguments: dict[str, object] = {"R": R, "convention": "gem", "kind": "accuracy"} | wrong
    with pytest.raises(InputError, match=word):
        metrics.forgetting(arguments.pop("R"), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [metrics.bwt, metrics.fwt, metrics.total_forgetting, metrics.transfer_avg_last])
def test_one_environment_has_a_performance_and_no_transfer(function: Any) -> None:
    alone = np.array([[0.1], [0.7]])
    settings = {} if function is metrics.transfer_avg_last else {"convention": "continuum"}
    with pytest.raises(InputError, match="T >= 2"):
        function(alone, **settings)
    assert float(metrics.acc(alone, convention="continuum")) == 0.7


FUNCTIONS = (metrics.acc, metrics.bwt, metrics.fwt, metrics.forgetting, metrics.forgetting_by_environment,
             metrics.total_forgetting, metrics.all_metrics)  # fmt: skip


@pytest.mark.parametrize("function", [*FUNCTIONS, metrics.transfer_avg_last])
@pytest.mark.parametrize(("scale", "first"), [(100, "percentages"), (1000, "losses"), (-1, "losses")])
def test_accuracies_are_shares(function: Any, scale: float, first: str) -> None:
    settings = {} if function is metrics.transfer_avg_last else {"convention": "gem"}
    with pytest.raises(InputError, match=r"R holds accuracies from .* to ") as refused:
        function(R * scale, **settings)
    assert refused.value.causes[0] == first
    function(R * scale, **settings, kind="loss")  # a loss may be any number
    function(np.array([[0.0, 0], [1, 0], [1, 1]]), **settings)
    function(np.array([[-6e-8, 0], [1, 0], [1, 1 + 1.2e-7]]), **settings)  # ends of the range, rounded in float32


@pytest.mark.parametrize(
    ("entry", "other", "first"),
    [(1.4, 0, "percentages"), (100, 0, "percentages"), (101, 0, "losses"), (50, -2, "losses"), (0.5, -0.1, "losses")],
)
def test_what_no_accuracy_can_be(entry: float, other: float, first: str) -> None:
    """Just above one, a hundred per cent, more; negative, with and without numbers above one elsewhere."""
    with pytest.raises(InputError, match="R holds accuracies") as refused:
        metrics.acc(np.array([[0.0, 0], [entry, 0], [other, 1]]), convention="gem")
    assert refused.value.causes[0] == first


def test_undefined_metrics_say_so() -> None:
    for function in (metrics.bwt, metrics.fwt):
        with pytest.raises(InputError, match="define forgetting and intransigence only"):
            function(R, convention="chaudhry")


# in: 5 4 4 3 1, out: 4 2 2 0 by hand:
# pairs won: 5 beats 4; 4 beats 3 and ties 1 (twice); 3 beats 3; 1 beats 1 -> 4 + 3.5 + 3.5 + 3 + 1 = 15 of 20
INSIDE, OUTSIDE = np.array([5.0, 4, 4, 3, 1]), np.array([4.0, 2, 2, 0])


def test_ood_hand_computed() -> None:
    assert ood.auroc(INSIDE, OUTSIDE) == 15 / 20
    # thresholds 5, 4, 3, 1: recall steps 1/5, 2/5, 1/5, 1/5 at precision 1/1, 3/4, 4/5, 5/8
    assert ood.aupr_in(INSIDE, OUTSIDE) == pytest.approx((1 * 1 + 2 * 3 / 4 + 4 / 5 + 5 / 8) / 5)
    # found by low scores: thresholds 0, 2, 4: recall steps 1/4, 2/4, 1/4 at precision 1/1, 3/4, 4/8
    assert ood.aupr_out(INSIDE, OUTSIDE) == pytest.approx((1 * 1 + 2 * 3 / 4 + 4 / 8) / 4)
    # all 5 in-samples must be accepted: threshold 1 lets 3 of 4 out-samples in
    assert ood.fpr95(INSIDE, OUTSIDE, orientation="in") == 3 / 4
    # all 4 out-samples must be rejected: threshold 4 rejects 4 of 5 in-samples
    assert ood.fpr95(INSIDE, OUTSIDE, orientation="out") == 4 / 5


def test_fpr95_takes_the_twentieth_sample() -> None:
    inside = np.arange(1.0, 21.0)
    assert ood.fpr95(inside, np.array([1.5, 2.0, 2.5]), orientation="in") == 2 / 3
    assert ood.fpr95(inside[:19], np.array([1.5, 2.0, 2.5]), orientation="in") == 1.0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_ood_against_brute_force(a: list[int], b: list[int]) -> None:
    inside, outside = np.array(a, dtype=float), np.array(b, dtype=float)
    brute = np.mean([(x > y) + 0.5 * (x == y) for x in a for y in b])
    assert ood.auroc(inside, outside) == pytest.approx(brute)
    precision = recall = area = 0.0
    for threshold in sorted(set(a + b), reverse=True):
        accepted_in, accepted_out = (inside >= threshold).sum(), (outside >= threshold).sum()
        precision = accepted_in / (accepted_in + accepted_out)
        area += (accepted_in / len(a) - recall) * precision
        recall = accepted_in / len(a)
    assert ood.aupr_in(inside, outside) == pytest.approx(area)
    report = ood.ood_report(inside, outside, {"name": "test"})
    assert (report.auroc, report.aupr_in, report.n_in, report.n_out) == pytest.approx((brute, area, len(a), len(b)))
    swapped = ood.ood_report(-outside, -inside, {"name": "test"})
    assert (report.aupr_in, report.fpr95_in) == pytest.approx((swapped.aupr_out, swapped.fpr95_out))


def test_mcm_by_hand() -> None:
    image = np.array([[1.0, 0.0], [0.0, 1.0]])
    prompts = np.array([[1.0, 0.0], [0.6, 0.8]])
    expected = [np.exp(1) / (np.exp(1) + np.exp(0.6)), np.exp(0.8) / (1 + np.exp(0.8))]
    np.testing.assert_allclose(ood.mcm_scores(ood.cosines(image, prompts)), expected)
    sharp = ood.mcm_scores(ood.cosines(image, prompts), temperature=0.01)
    assert sharp.min() > 0.999
    np.testing.assert_array_equal(ood.concept_scores(image, prompts[1]), [0.6, 0.8])


def test_ood_wrong_input() -> None:
    for a, b in (([], [1.0]), ([1.0], []), ([2.0, np.nan], [1.0]), ([1.0], [2.0, np.nan]), ([[1.0]], [1.0])):
        with pytest.raises(InputError, match="distribution scores"):
            ood.auroc(np.array(a), np.array(b))
    with pytest.raises(InputError, match="orientation"):
        ood.fpr95(INSIDE, OUTSIDE, orientation="sklearn")
    with pytest.raises(InputError, match="temperature"):
        ood.mcm_scores(np.eye(2), temperature=0)
    for image, prompts in ((np.ones((3, 2)), np.ones((2, 3))), (np.ones(2), np.eye(2)), (np.eye(2), np.ones(2))):
        with pytest.raises(InputError, match="another encoder"):
            ood.cosines(image, prompts)


def test_intervals_of_auroc() -> None:
    """Where nearly every pair is won as well, and one side is all there is to know.  Mutant: resampled images, which lose what none lost."""
    interval = ood.auroc_interval
    rng, trials = np.random.default_rng(0), 200
    # outside scores are above all inside ones with probability 0.05: their number alone decides
    covered = resampled = 0
    for _ in range(trials):
        inside, outside = np.zeros(40), np.where(rng.random(20) < 0.05, 1.0, -1.0)
        low, high = interval(inside, outside)
        covered += low <= 0.95 <= high
        ends = np.quantile((rng.choice(outside, (200, 20)) < 0).mean(axis=1), (0.025, 0.975))
        resampled += ends[0] <= 0.95 <= ends[1]
    assert covered >= 0.88 * trials  # 95 %, less four standard errors
    assert resampled < 0.8 * trials
    # by hand: half of 8 images win all, so that DeLong's variance is 2/7 over 8, that of 7 trials
    half = 2.364624 * 0.5 / math.sqrt(7 + 2.364624**2)  # Student's t with 7 degrees of freedom
    scores = np.array([-1.0, -1, -1, -1, 1, 1, 1, 1])
    assert interval(np.zeros(8), scores) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    for sign in (1, -1):
        low, high = interval(np.full(5, float(sign)), np.zeros(9))
        assert (high if sign > 0 else low) == (1 if sign > 0 else 0)
        assert high - low == pytest.approx(1.959964**2 / (5 + 1.959964**2), abs=1e-6)
    assert interval(np.ones(1), np.zeros(1)) == pytest.approx((1 / (1 + 1.959964**2), 1), abs=1e-6)
    rng = np.random.default_rng(1)  # five images know their own spread badly; the normal's intervals hold in 86 %
    held = [
        low <= 0.8 <= high
        for low, high in (interval(rng.normal(1.190232, 1, 5), rng.normal(size=200)) for _ in range(1000))
    ]
    assert np.mean(held) > 0.89
    a, b = np.array([0.0, 1, 1, 2]), np.array([1.0, 1, 0, 3, 2])  # ties one half, as in the AUROC itself
    low, high = interval(a, b)
    assert low < ood.auroc(a, b) < high
    assert interval(-b, -a) == pytest.approx((low, high))
    assert ood.ood_report(a, b, {}).auroc_interval == (low, high)


@pytest.mark.parametrize("ties", [0.5, 0.0, 1.0])
def test_ends_of_the_interval_are_where_its_definition_puts_them(ties: float) -> None:
    """Wilson's ends are z deviations of so many trials away; shares and DeLong's variance from the table of who wins against whom."""
    for inside, outside in (
        ([0, 1, 1, 2, 3], [1, 1, 0, 3, 2, -1]),
        ([1, 0], [0, 0, 1, 2, -1, -1, 0]),
        ([2, 1, 0], [1, 0]),
    ):
        a, b = np.array(inside, dtype=float), np.array(outside, dtype=float)
        won = np.where(a[:, None] == b, ties, a[:, None] > b)
        share = won.mean()
        parts = [won.mean(axis=1).var(ddof=1) / len(a), won.mean(axis=0).var(ddof=1) / len(b)]
        freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
        z, trials = t.ppf(0.95, freedom), share * (1 - share) / sum(parts)
        assert 1 < trials < len(a) + len(b)
        low, high = ood.auroc_interval(a, b, level=0.9, ties=ties)
        assert low < share < high
        for end in (low, high):
            assert (end - share) ** 2 == pytest.approx(z**2 * end * (1 - end) / trials)
    if ties == 0.5:
        assert ood.auroc_interval(a, b) == ood.auroc_interval(a, b, ties=0.5, level=0.95)
