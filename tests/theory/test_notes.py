"""The examples that notes give in numbers, and what some say of all instances, computed again from definitions alone."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, pairwise, permutations, product

import numpy as np
import pytest
import sympy
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.evaluate import bound_values
from crossmodal.theory import registry

Rows = list[list[Fraction]]
FRACTION = r"\d+/\d+"


def dot(x: list[Fraction], y: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


def forgets(rows: Rows) -> Fraction:
    """d times the expected total forgetting, for an isotropic target: each environment projects all initial errors."""
    size = len(rows[0])
    errors = [[Fraction(int(i == j)) for j in range(size)] for i in range(size)]
    for a in rows:
        along = [dot(a, e) for e in errors]
        errors = [[x - share * y for x, y in zip(e, a, strict=True)] for e, share in zip(errors, along, strict=True)]
    return sum((dot(a, e) ** 2 for a in rows for e in errors), Fraction(0))


def cost(rows: Rows) -> Fraction:
    """What the paper's rule adds up: the score of every environment and the one before it."""
    return sum((dot(a, b) for a, b in pairwise(rows)), Fraction(0))


def directions(note: str) -> Rows:
    """``e_3, (0, 3, 4)/5`` as vectors: at least as many entries as the longest has."""
    found = re.findall(r"e_(\d)|\((-?[\d/]+(?:, -?[\d/]+)+)\)(?:/(\d+))?", note)
    size = max(len(entries.split(", ")) if entries else int(axis) for axis, entries, _ in found)
    rows = []
    for axis, entries, over in found:
        if axis:
            rows.append([Fraction(int(k + 1 == int(axis))) for k in range(size)])
        else:
            rows.append([Fraction(x) / int(over or 1) for x in entries.split(", ")])
    assert all(dot(a, a) == 1 for a in rows)
    return rows


def of_the_rule(rows: Rows) -> list[Fraction]:
    """What the cheapest orders forget, the least first."""
    orders = list(permutations(rows))
    least = min(map(cost, orders))
    return sorted({forgets(o) for o in orders if cost(o) == least})


def note(claim_id: str, words: str) -> str:
    (found,) = (n for n in registry.get(claim_id).notes if words in n)
    return found


EXAMPLES = {
    "four dimensions": note("T3.9", "simplest counterexample").partition("With rational")[0],
    "three dimensions": note("T3.9", "simplest counterexample").partition("With rational")[2],
    "all different": note("T3.9", "does not need"),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_rule_and_the_best_order_forget_what_is_said(example: str) -> None:
    text = EXAMPLES[example]
    rows = directions(text)
    assert len(rows) == 4
    *rule, best = (Fraction(x) for x in re.findall(FRACTION, text.partition("the rule")[2]))
    found = of_the_rule(rows)
    assert (rule if "at least" not in text else rule[:1]) == (found if "at least" not in text else found[:1])
    assert best == min(forgets(o) for o in permutations(rows)) < found[0]
    for times in re.findall(r"([\d.]+) times less", text):
        assert times == f"{float(found[0] / best):.2f}"


def test_scores_of_the_simplest_counterexample() -> None:
    rows = directions(EXAMPLES["four dimensions"])
    assert {dot(a, b) for k, a in enumerate(rows) for b in rows[:k]} == {0, Fraction(1, 2), 1}


def test_smaller_denominators_make_no_counterexample_in_three_dimensions() -> None:
    """Nor axes alone; with three axes and thirds, the entries of the last direction may come in any order."""
    *axes, last = directions(EXAMPLES["three dimensions"])
    for other in permutations(last):
        rows = [*axes, list(other)]
        assert of_the_rule(rows)[0] > min(forgets(o) for o in permutations(rows))
    for rows in combinations_with_replacement(directions("e_1, e_2, e_3"), 4):
        assert of_the_rule(list(rows))[0] == min(forgets(o) for o in permutations(rows))


def test_a_cheapest_order_of_four_forgets_little_where_delta_is_large() -> None:
    """Why T3.9 says delta <= eps^2 of both of its bounds: at eps = 5/13, delta = 12/13 the order 4, 3, 1, 2 forgets nothing."""
    text = registry.get("T3.9").statement.text
    assert "Once delta <= eps^2, each of them forgets at least eps^2 - eps^4, while" in text
    eps, zero = Fraction(5, 13), Fraction(0)
    first, second = [Fraction(1), zero], [zero, Fraction(1)]
    rows = [[Fraction(12, 13), eps], second, first, second]
    assert cost(rows) == eps == min(map(cost, permutations(rows)))
    assert forgets(rows) == 0 < eps**2 - eps**4


def test_of_a_cheapest_order_of_three_and_its_reverse_one_is_best() -> None:
    """And only one, in general: what P7, P8, P10 and T3.9 say of T3.8."""
    of, worse = directions("e_1, e_2, e_3, (1, 2, 2)/3, (2, 1, 2)/3, (2, 2, 1)/3, (2, 3, 6)/7"), 0
    for rows in combinations_with_replacement(of, 3):
        found = {o: forgets([rows[k] for k in o]) for o in permutations(range(3))}
        costs = {o: cost([rows[k] for k in o]) for o in found}
        for o in found:
            if costs[o] == min(costs.values()):
                assert min(found[o], found[o[::-1]]) == min(found.values())
                worse += found[o] > min(found.values())
    assert worse


def test_the_remainder_of_the_quartic_expansion_is_within_its_bound() -> None:
    """T3.7: with l the bound of the Frobenius norm; and why it is for environments of one direction each."""
    text = note("T3.7", "one direction each")
    assert "|L|_F <= c sqrt(T (T - 1) / 2)" in text
    assert "at most |L'L|^2 (1/(1 - l)^2 - 1) for l < 1" in text
    rng, checked = np.random.default_rng(0), 0
    for size in (1, 2, 3, 4, 5):
        for _ in range(20):
            a = rng.normal(size=(size, 40))
            a /= np.linalg.norm(a, axis=1, keepdims=True)
            lower = np.tril(a @ a.T, -1)
            bound = float(np.abs(lower).max()) * np.sqrt(size * (size - 1) / 2)
            assert np.linalg.norm(lower) <= bound + 1e-12
            if bound < 1:
                error = np.eye(40)
                for row in a:
                    error = error - np.outer(row, row @ error)
                plain = np.sum((lower.T @ lower) ** 2)
                remainder = np.sum((a @ error) ** 2) - np.sum(lower**2) + plain
                assert abs(remainder) <= plain * (1 / (1 - bound) ** 2 - 1) + 1e-12
                checked += 1
    assert checked > 50
    first, second = np.eye(2), np.array([[3, 4], [-4, 3]]) / 5  # two environments of two directions each: c = 4/5
    assert np.linalg.norm(second @ first.T, 2) > 4 / 5 * np.sqrt(2 * 1 / 2)


def test_what_gradient_steps_forget() -> None:
    """T3.6: the squared residuals at the end less those just after each environment's own step."""
    assert "forgotten is |r|^2 - (1 - eta)^2 |s|^2 in all" in registry.get("T3.6").statement.text
    rows = directions("e_1, (3, 4, 0)/5, (2, 1, 2)/3, (0, 3, 4)/5")
    start, eta = [Fraction(1), Fraction(-2), Fraction(3)], Fraction(1, 3)
    error, before, after = start, [], []
    for a in rows:
        before.append(dot(a, error))
        error = [x - eta * before[-1] * y for x, y in zip(error, a, strict=True)]
        after.append(dot(a, error))
    for k, a in enumerate(rows):  # s solves (I + eta L) s = A e_0
        assert before[k] + eta * sum(dot(a, b) * s for b, s in zip(rows[:k], before, strict=False)) == dot(a, start)
    residuals = [dot(a, error) for a in rows]
    forgotten = sum(r**2 - x**2 for r, x in zip(residuals, after, strict=True))
    assert forgotten == sum(r**2 for r in residuals) - (1 - eta) ** 2 * sum(s**2 for s in before)


def forgets_of_a_share(rows: Rows, eta: Fraction) -> Fraction:
    """d times the expected forgetting of an order, by its definition: losses at the end less those just after each step."""
    errors = [
        [Fraction(int(i == j)) for j in range(len(rows[0]))] for i in range(len(rows[0]))
    ]  # one initial error each
    total = Fraction(0)
    for a in rows:
        errors = [[x - eta * dot(a, e) * y for x, y in zip(e, a, strict=True)] for e in errors]
        total -= sum(dot(a, e) ** 2 for e in errors)
    return total + sum(dot(a, e) ** 2 for a in rows for e in errors)


def forgets_of_gram(number: int, score: sympy.Rational, share: sympy.Rational) -> sympy.Rational:
    """What environments that all have one score with each other forget for an isotropic target, times d: steps on residuals alone."""
    gram = sympy.Matrix(number, number, lambda i, j: 1 if i == j else score)
    left, just_after = sympy.eye(number), 0  # coefficients of every residual in the initial ones
    for k in range(number):
        just_after += (1 - share) ** 2 * (left.row(k) * gram * left.row(k).T)[0]
        left -= share * gram.col(k) * left.row(k)
    return (left * gram * left.T).trace() - just_after


def test_what_a_share_forgets() -> None:
    """T3.12: both order-free terms, two environments in closed form, three at one half."""
    rows, eta = directions("e_1, (3, 4, 0)/5, (2, 1, 2)/3, (0, 3, 4)/5"), Fraction(2, 7)
    gram = [[dot(a, b) for b in rows] for a in rows]
    pairs = sum(gram[i][j] ** 2 for i, j in combinations(range(4), 2))
    triples = sum(gram[i][j] * gram[j][k] * gram[i][k] for i, j, k in combinations(range(4), 3))
    assert "each unordered triple once" in note("T3.12", "tr(L'L^2)")
    assert {"L_ij L_jk L_ik" in note("T3.12", "tr(L'L^2)")} == {True}
    for order in permutations(range(4)):
        lower = [[gram[order[i]][order[j]] * (i > j) for j in range(4)] for i in range(4)]
        assert sum(x**2 for row in lower for x in row) == pairs
        assert (
            sum(lower[i][j] * lower[j][k] * lower[i][k] for i in range(4) for j in range(4) for k in range(4))
            == triples
        )
    assert (
        len({forgets_of_a_share([rows[k] for k in order], eta) for order in permutations(range(4))}) > 1
    )  # the rest depends on it

    two = note("T3.12", "Two environments")
    assert "eta (2 - eta) c^2 (2 eta - 1 - eta^2 c^2)" in two
    assert "(1 - sqrt(1 - c^2))/c^2" in two
    pair, c = directions("e_1, (3, 4)/5"), Fraction(3, 5)
    for eta in (Fraction(1, 4), Fraction(1, 2), Fraction(5, 6), Fraction(1)):
        found = forgets_of_a_share(pair, eta)
        assert found == eta * (2 - eta) * c**2 * (2 * eta - 1 - eta**2 * c**2) == forgets_of_a_share(pair[::-1], eta)
    root = (1 - Fraction(4, 5)) / c**2  # sqrt(1 - 9/25) = 4/5
    assert forgets_of_a_share(pair, root) == 0 > forgets_of_a_share(pair, root - Fraction(1, 9))
    assert Fraction(1, 2) < root < 1

    said = re.search(
        r"where (\d+/\d+) of .* forget ([\d.]+) in one order and gain ([\d.]+) in", note("P8", "may be near 0")
    )
    assert said is not None
    three = directions(note("P8", "above 1.74").partition(" forget")[0])
    amounts = [forgets_of_a_share(list(order), Fraction(said[1])) for order in permutations(three)]
    assert (f"{float(max(amounts)):.4f}", f"{-float(min(amounts)):.4f}") == (said[2], said[3])

    assert "three environments with scores 1/10" in note("T3.12", "half is not always safe")
    two_fifths = sympy.Rational(2, 5)
    assert 0 < forgets_of_gram(3, sympy.Rational(1, 10), sympy.Rational(1, 2)) < sympy.Rational(1, 1000)
    assert "2/5 five environments gain, six forget" in note("T3.12", "half is not always safe")
    assert forgets_of_gram(5, two_fifths, two_fifths) < 0 < forgets_of_gram(6, two_fifths, two_fifths)


def test_prototypes_lose_a_second_order_part_under_cross_entropy() -> None:
    """T3.11 and T3.13: half the deviations, a quarter of F, half of the one bound and a quarter of the other."""
    assert "F itself is second order" in note("T3.11", "first order")
    rng = np.random.default_rng(0)
    member = np.eye(3)[np.arange(12) % 3]
    weights = rng.random((12, 1))
    weights /= weights.sum()
    means, deviations, head = rng.normal(size=(3, 4)), rng.normal(size=(12, 4)), rng.normal(size=(4, 5))
    deviations -= member @ (member.T @ (weights * deviations) / (member.T @ weights))

    def softmax(logits: np.ndarray) -> np.ndarray:
        exps = np.exp(logits)
        return exps / exps.sum(axis=1, keepdims=True)

    def push(share: float) -> tuple[float, float, float]:
        z = member @ means + share * deviations
        f = (weights * z).T @ (softmax(z @ head) - member @ softmax(means @ head))
        scatter = np.sum(weights * (share * deviations @ head) ** 2)
        longest, spread = np.max(np.sum(means**2, axis=1)), np.sum(weights * (share * deviations) ** 2)
        first, second = np.sum(weights * z**2) * scatter, scatter * (longest * scatter + 2 * spread)
        return float(np.linalg.norm(f)), float(np.sqrt(first) / 2), float(np.sqrt(second) / 2)

    (large, above, above_2), (small, below, below_2) = push(1e-2), push(5e-3)
    assert small < large < above_2 < above
    assert large / small == pytest.approx(4, rel=0.05)
    assert above / below == pytest.approx(2, rel=0.05)
    assert above_2 / below_2 == pytest.approx(4, rel=0.05)


def test_a_softmax_is_its_tangent_up_to_an_eighth_of_a_fourth_power() -> None:
    """T3.13 `remainder` and `spread`, for softmaxes far from and near to uniform; the former is not best possible."""
    rng = np.random.default_rng(1)
    largest = 0.0
    for _ in range(3000):
        logits = rng.normal(size=rng.integers(2, 6)) * 10 ** rng.uniform(-1, 1)
        b = rng.normal(size=len(logits)) * 10 ** rng.uniform(-2, 1)
        q, moved = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (logits, logits + b))
        rest = moved - q - q * (b - q @ b)
        largest = max(largest, float(rest @ rest / (b @ b) ** 2))
        assert ((b - q @ b) ** 2 <= 2 * (b @ b) * (1 + 1e-12)).all()
    assert 1 / 60 < largest < 1 / 8  # two classes come to about 1/54


def test_two_environments_forget_the_same_in_either_order_on_average() -> None:
    """P11: for an isotropic target, not for every target: of one along the first direction nothing is forgotten if it comes first."""
    text = note("P11", "either order")
    assert "not for every target" in text
    assert "quadratic where all is learnt (T3.7), and has a cubic term too where less is" in text
    half, scores = sympy.Rational(1, 2), (sympy.Rational(1, 10), sympy.Rational(1, 1000))
    cubes = [forgets_of_gram(3, c, half) / c**3 for c in scores]  # the quadratic term vanishes at one half
    assert abs(cubes[1] - sympy.Rational(3, 4)) < sympy.Rational(2, 1000) < abs(cubes[0] - cubes[1])
    squares = [forgets_of_gram(3, c, sympy.Integer(1)) / c**2 for c in scores]
    assert abs(squares[1] - 3) < sympy.Rational(1, 100)
    rows = directions("(1, 0), (3/5, 4/5)")
    assert forgets(rows) == forgets(rows[::-1])
    found = []
    for order in (rows, rows[::-1]):
        error = rows[0]
        for a in order:
            along = dot(a, error)
            error = [x - along * y for x, y in zip(error, a, strict=True)]
        found.append(sum(dot(a, error) ** 2 for a in order))
    assert found[0] == 0 < found[1]


def test_a_lower_score_improves_the_bound_from_scores_alone() -> None:
    """P9 of D2's bound, D^2 / (D^2 + 2 Con_TT(t,t) - Con_IT(t,t)^2 - Con_IT(s,t)^2), wherever such scores exist."""
    assert "the one of D2 always" in note("P9", "What holds in general")
    grid = [Fraction(k, 8) for k in range(-8, 9)]
    checked = 0
    for own, inside in product(grid, grid):
        outside = [x for x in grid if x < inside and x**2 <= own]  # ascending
        if inside**2 <= own:
            bounds = [(inside - x) ** 2 / ((inside - x) ** 2 + 2 * own - inside**2 - x**2) for x in outside]
            assert bounds == sorted(bounds, reverse=True)
            checked += len(bounds) > 1
    assert checked > 20


def test_the_example_of_different_environments_is_as_it_is_called() -> None:
    rows = directions(EXAMPLES["all different"])
    assert all(0 < dot(a, b) < 1 for k, a in enumerate(rows) for b in rows[:k])
    orders = list(permutations(rows))
    cheapest = [o for o in orders if cost(o) == min(map(cost, orders))]
    assert len(cheapest) == 2
    assert cheapest[0] == cheapest[1][::-1]


def test_a_factor_beyond_the_published_one() -> None:
    text = note("P8", "factor above")
    rows = directions(text)
    worst, best = (Fraction(x) for x in re.findall(FRACTION, text.partition("forget")[2]))
    found = [forgets(o) for o in permutations(rows)]
    assert (worst, best) == (max(found), min(found))
    assert re.findall(r"([\d.]+) times less", text) == [f"{float(worst / best):.1f}"]


def test_either_cross_modal_score_turns_the_direction() -> None:
    """p = q = 1: K of a note and every score, where the sign of one cross-modal score alone changes, first of the one and then of the other."""
    text = note("P2", "direction is the sign")

    def vector(said: str) -> list[Fraction]:
        if found := re.fullmatch(r"(-?)e_(\d)", said):
            return [Fraction(int(f"{found[1]}1")) * int(i + 1 == int(found[2])) for i in range(3)]
        return [Fraction(x) for x in said.strip("()").split(", ")]

    each = r"(-?e_\d|\([^)]*\))"
    (start,) = re.findall(r"u_s = (e_\d), v_s = (e_\d)", text)
    u_s, v_s = map(vector, start)
    turns = re.findall(
        rf"([uv])_t = {each}, with (?:Con_II = Con_TT = 0 and )?Con_(\w\w) = (\S+), (?:K|it) is (\S+) for ([uv])_t = {each}"
        rf".*? and (-\S+) for \6_t = {each}",
        text,
    )
    assert [turn[0] + turn[5] for turn in turns] == ["uv", "vu"]
    for fixed, there, name, score, first, moved, one, second, other in turns:
        for k, end in ((first, one), (second, other)):
            target = {fixed: vector(there), moved: vector(end)}
            scores = {"IT": dot(u_s, target["v"]), "TI": dot(v_s, target["u"])}
            assert dot(u_s, target["u"]) == dot(v_s, target["v"]) == 0
            assert scores[name] == Fraction(score)
            assert {abs(scores["IT"]), abs(scores["TI"])} == {1, Fraction(score)}
            fused = [[a + b for a, b in zip(*z, strict=True)] for z in ((u_s, v_s), (target["u"], target["v"]))]
            assert dot(*fused) == Fraction(k) == sum(scores.values())
        assert Fraction(first) > 0 > Fraction(second)


def test_equal_environments_may_forget_differently() -> None:
    """The instance that P6's note speaks of: no cross-modal difference, and yet two numbers."""
    claim = registry.get("P6")
    exact = arithmetic("exact")
    values = bound_values(claim, claim.necessity["within"].values, exact)
    found = [values[name].item() for name in ("F_s", "F_t")]
    (stated,) = re.findall(r"forgetting (\d) against (\d/\d)", note("P6", "equal environments"))
    assert found == [Fraction(x) for x in stated]
    assert [len(claim.necessity["within"].values[name]) for name in "UV"] == [1, 1]  # one pair can be paired in one way


def test_labels_alone_turn_the_drift() -> None:
    """P1's witness: slopes at a zero head for squared loss and cross-entropy, and those with the labels of t exchanged."""
    claim = registry.get("P1")
    assert claim.witness is not None
    given = {k: [[Fraction(x) for x in row] for row in v] for k, v in claim.witness.values.items()}

    def slope(swap: int, residuals: dict[int, list[Fraction]]) -> Fraction:
        gradient = {}
        for k, sign in (("s", 1), ("t", swap)):
            pairs = zip(given[f"U_{k}"], given[f"V_{k}"], strict=True)
            fused = [[(a + b) / 2 for a, b in zip(u, v, strict=True)] for u, v in pairs]
            rows = [residuals[sign * int(y)] for (y,) in given[f"y_{k}"]]
            assert not any(map(sum, zip(*rows, strict=True)))  # no mean residual, so nothing is predicted
            gradient[k] = [dot(z, r) / len(fused) for z in zip(*fused, strict=True) for r in zip(*rows, strict=True)]
        return -dot(gradient["s"], gradient["t"])

    half = Fraction(1, 2)
    squared, entropy = {1: [Fraction(-1)], -1: [Fraction(1)]}, {1: [-half, half], -1: [half, -half]}
    (kept,) = re.findall(r"the slope is (-?\d) and", claim.witness.note)
    (turned,) = re.findall(r"the slope is \+(\d)", note("P1", "labels of t exchanged in the witness"))
    assert [slope(1, squared), slope(-1, squared)] == [int(kept), int(turned)]
    found = re.findall(r"-?\d/\d", note("P1", "Cross-entropy is"))
    assert [slope(1, entropy), slope(-1, entropy)] == [Fraction(x) for x in found]


def test_when_a_scaled_mask_keeps_as_much_as_the_best() -> None:
    """P4: no product negative, every positive one with the largest score; the best scale is the largest."""
    assert "no product is negative and every positive one has the largest score" in note("P4", "What holds")
    for size in (1, 2, 3):
        for products, scores in product(product((-1, 0, 2), repeat=size), product((1, 2, 3), repeat=size)):
            best = sum(max(a, 0) for a in products)
            kept = Fraction(sum(c * a for c, a in zip(scores, products, strict=True)), max(scores))  # s = 1/max
            said = min(products) >= 0 and all(c == max(scores) for c, a in zip(scores, products, strict=True) if a > 0)
            assert (kept >= best) == said  # for a smaller scale the sum is nearer to 0, and best is not negative


def test_both_blocks_are_best_exactly_where_it_is_said() -> None:
    """T2.2, over small numbers of either sign: cosines are compared by their signed squares."""
    text = note("T2.2", "second block alone")
    assert all(words in text for words in ("n_1, n_2 > 0", "a_1 + a_2 >= 0 and", "whatever the signs"))

    def cosine(a: int, n: int) -> Fraction:
        return Fraction(a * abs(a), n)

    for a_1, a_2, n_1, n_2 in product(range(-4, 5), range(-4, 5), (1, 2, 4, 9), (1, 2, 4, 9)):
        a, n = a_1 + a_2, n_1 + n_2
        alone = {1: cosine(a_1, n_1) <= cosine(a, n), 2: cosine(a_2, n_2) <= cosine(a, n)}
        condition = {1: a**2 * n_1 >= a_1**2 * n, 2: a**2 * n_2 >= a_2**2 * n}
        assert all(alone.values()) == (a >= 0 and all(condition.values()))
        if a_1 > 0:
            assert alone[1] == (a >= 0 and condition[1])


def test_the_hessian_of_softmax_is_a_sum_of_squares_below_a_half() -> None:
    """T1.2: I/2 - diag(pi) + pi pi' is the sum that the note gives, and two equally likely classes attain the half."""
    text = note("T1.2", "any number of classes")
    assert "(1 - 2 pi_c)^2 e_c e_c' / 2 and of pi_c pi_d (e_c + e_d)(e_c + e_d)' over pairs" in text
    for weights in ([1], [1, 1], [0, 1], [3, 1, 2], [5, 0, 1, 1]):
        pi = [Fraction(w, sum(weights)) for w in weights]
        size = range(len(pi))
        left = [[(Fraction(1, 2) - pi[c]) * (c == d) + pi[c] * pi[d] for d in size] for c in size]
        right = [[(1 - 2 * pi[c]) ** 2 / 2 * (c == d) + pi[c] * pi[d] * (c != d) for d in size] for c in size]
        for c in size:
            right[c][c] += sum((pi[c] * pi[d] for d in size if d != c), Fraction(0))
        assert left == right
    half = Fraction(1, 2)
    hessian = [[half * (c == d) - half * half for d in range(2)] for c in range(2)]
    assert [sum(row[d] * x for d, x in enumerate((1, -1))) for row in hessian] == [half, -half]  # along (1, -1)
    assert "along (1, -1)" in note("T1.2", "best possible")


def mean(values: list[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def test_the_bound_of_separation_grows_while_that_of_a_variance_grows() -> None:
    text = note("D2", "even where that of V_out does").partition("falls from")[2]
    before, after, inside, own, *bounds = (Fraction(x) for x in re.findall(r"\b\d+(?:/\d+)?\b", text))
    out = [own - x**2 for x in (before, after)]
    gaps = [(inside - x) ** 2 for x in (before, after)]
    assert out[0] < out[1]
    assert bounds == [gap / (gap + own - inside**2 + v) for gap, v in zip(gaps, out, strict=True)]


@pytest.mark.parametrize("n", [2, 3])
def test_scores_within_one_environment(n: int) -> None:
    """Every sample of n of three equally likely pairs: what notes of S7 and S8 say of the mean over all pairs."""
    axis, opposite, slope = ([Fraction(x, 5) for x in row] for row in ((5, 0), (-5, 0), (3, 4)))
    pairs = [(axis, axis), (opposite, opposite), (slope, axis)]
    inner = [[dot(u, v) for _, v in pairs] for u, _ in pairs]
    con = mean([x for row in inner for x in row])
    synergy = mean([inner[i][i] for i in range(3)]) - con
    samples = list(product(range(3), repeat=n))
    together = [mean([inner[i][j] for i in s for j in s]) for s in samples]
    apart = [mean([inner[i][j] for i, j in permutations(s, 2)]) for s in samples]
    assert "biased by (CLV - Con)/n" in note("S7", "Within one environment")
    assert "by synergy/n on average; the mean over i != j does not" in note("S8", "overstates Con_IT")
    assert mean(together) - con == synergy / n != 0
    assert mean(apart) == con


@pytest.mark.parametrize("n", [2, 3, 4])
def test_exchanging_a_matched_pair(n: int) -> None:
    text = note("S7", "Within one environment")
    ((most, rate),) = re.findall(r"at most (\d)/n: there the exponent is n e\^2/(\d)", text)
    signs = [Fraction(1), Fraction(-1)]
    score = {s: mean(list(s[:n])) * mean(list(s[n:])) for s in product(signs, repeat=2 * n)}
    moves = [abs(x - score[u, *s[1:n], v, *s[n + 1 :]]) for s, x in score.items() for u, v in product(signs, repeat=2)]
    assert max(moves) == Fraction(4 * (n - 1), n**2) <= Fraction(int(most), n)
    assert 2 / (n * Fraction(int(most), n) ** 2) == Fraction(n, int(rate))


def test_the_bound_for_gaussian_scores_lies_below_the_normal_distribution() -> None:
    assert "exactly the normal distribution function" in note("D1", "For Gaussian scores")
    assert all(math.erfc(x / math.sqrt(2)) <= math.exp(-(x**2) / 2) for x in np.arange(0, 6, 1 / 16))


def test_second_moment_of_projectors_on_a_line_and_beside_one() -> None:
    """G2 for the twelve lines of D_4, whose fourth moments are those of a random line, and for what is orthogonal to them."""
    one = np.array([[Fraction(int(i == j)) for j in range(4)] for i in range(4)])
    lines = [one[i] + sign * one[j] for i, j in combinations(range(4), 2) for sign in (1, -1)]
    along = [np.outer(q, q) / 2 for q in lines]
    image, error = one * [1, 1, 0, 0], one[2] + 2 * one[3]
    for m, projectors in ((1, along), (3, [one - q for q in along])):
        y = Fraction(m * (4 - m), 4 * 3 * 6)
        x = (m - y * 4 * 5) / 4
        for a in (image, one[[1, 0, 2, 3]], np.outer(error, error)):
            assert (sum(q @ a @ q for q in projectors) / 12 == (x + y) * a + y * np.trace(a) * one).all()
        assert sum(((image @ q @ error) ** 2).sum() for q in projectors) / 12 == y * 2 * 5


def test_finer_groups_may_make_a_bound_larger() -> None:
    """T3.13's bound s_2 (c_2 s_2 + 2 n_2) of four equal weights, one class and then two, logits 2 x the first entry."""
    assert "no larger, leave z_2 as it is, and may make c_2 larger" in note("T3.13", "Finer groups")

    def parts(groups: list[list[tuple[int, int]]]) -> tuple[Fraction, Fraction, Fraction]:
        samples = sum(map(len, groups))
        centres = [[Fraction(sum(x[i] for x in group), len(group)) for i in range(2)] for group in groups]
        off = [[x[i] - c[i] for i in range(2)] for group, c in zip(groups, centres, strict=True) for x in group]
        spread = Fraction(sum(4 * x[0] ** 2 for x in off), samples), Fraction(sum(dot(x, x) for x in off), samples)
        return *spread, max(dot(c, c) for c in centres)

    corners = [(1, 3), (-1, 3), (1, -3), (-1, -3)]
    one, two = parts([corners]), parts([corners[:2], corners[2:]])
    assert all(b <= a for a, b in zip(one[:2], two[:2], strict=True))
    bounds = [s_2 * (c_2 * s_2 + 2 * n_2) for s_2, n_2, c_2 in (one, two)]
    assert bounds == [80, 152]


def test_the_published_factor_is_a_mean_over_encoders() -> None:
    """P8's note from the published numbers alone: every figure in it, the mean ratio and the gain in backward transfer."""
    from crossmodal.paper.tables.published import FILE

    text = note("P8", "mean of the ratios")
    told = json.loads(FILE.read_text(encoding="utf-8"))
    each = list(told["T3_total_forgetting_frozen"]["coco"].values())
    ratios, costs = [e["ratio"] for e in each], [e["pearson"] for e in each]
    transfer = told["backward_transfer_vitb16_frozen"]["coco"]
    neutral, rule = transfer["neutral"], transfer["contribution_order"]
    expected = [
        f"{sum(ratios) / len(ratios):.2f}",
        *(f"{r:.2f}" for r in ratios),
        f"{min(costs)}",
        f"{max(costs)}",
        f"{neutral}",
        f"{rule}",
    ]
    assert re.findall(r"-?\d+\.\d+", text) == [*expected, f"{neutral / rule:.2f}"]
    assert expected[0] in registry.get("P8").paper


def test_the_published_tendency() -> None:
    from crossmodal.paper.tables.published import FILE

    low, high = json.loads(FILE.read_text(encoding="utf-8"))["ood_pairwise_mean_auroc"]["pearson_con_IT_vs_auroc_coco"]
    assert f"from {low} to {high}" in note("P9", "tendency")


@pytest.mark.parametrize(("weight", "smaller"), [(Fraction(1, 10), False), (Fraction(1, 2), None)])
def test_when_the_second_order_bound_is_the_smaller(weight: Fraction, smaller: bool | None) -> None:
    """Unit features 1 and -1 of one class, its prototype 0: s_2 + 2 n_2 < 1 decides only where weights sum to 1, as T3.13 says."""
    assert "for unit features and weights that sum to 1 this one where s_2 + 2 n_2 < 1" in note(
        "T3.13", "either may be smaller"
    )
    head = Fraction(1, 10)  # logits +- head times the feature
    n_2, z_2, s_2 = 2 * weight, 2 * weight, 2 * weight * 2 * head**2
    decided = (s_2 * 2 * n_2 < s_2 * z_2) if s_2 + 2 * n_2 < 1 else None
    assert decided is smaller


def test_the_witness_against_the_rule_is_one_of_cross_modal_scores() -> None:
    """P7: with image = text = direction all four scores are the cosines, so the paper's own cost is least for the same orders."""
    assert "all four scores agree" in note("P7", "cosines of one direction")
    rows = [[Fraction(x) for x in row] for row in registry.get("P7").witness.values["A"]]  # type: ignore[union-attr]
    images, texts, p, q = rows, rows, Fraction(1, 3), Fraction(2, 3)
    fused = [[p * x + q * y for x, y in zip(u, v, strict=True)] for u, v in zip(images, texts, strict=True)]
    assert fused == rows
    for s, t in product(range(4), repeat=2):
        scores = {dot(a[s], b[t]) for a, b in product((images, texts), repeat=2)}
        assert scores == {dot(rows[s], rows[t])}
    assert of_the_rule(fused)[0] > min(forgets([fused[k] for k in o]) for o in permutations(range(4)))
