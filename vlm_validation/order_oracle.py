"""Which order forgets least: a recommendation before training, and how well each predictor ranks orders after it.

The recommendation uses claim T3.10 on class prototypes refined to a fifth as many groups as there are samples: it needs
nothing but the contribution scores of these groups, and its unit is that of forgetting itself.  With class means alone it
ranks COCO features well and the well-separated embedded sets badly, because there outliers are what is forgotten.  The
other predictors are there to be compared.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..theory.errors import InputError, counted
from . import predictors as pre
from . import span
from .features import Features, require_features
from .orders import MOST_ENUMERATED, OrderRuns, all_orders, excess, progress_bar
from .prototypes import Prototypes, class_prototypes
from .scores import KEYS, score_matrices

SHARE, FEWEST, MOST = 5, 64, 512  # samples a prototype, and the limits of their number
RIVALS, CLOSE = 24, 0.01  # orders that could win, and what counts as winning too
ROUNDING = 1e-9  # of the largest prediction; sums and products of scores in float64 are off by less, and differ by more


def refinement(samples: int) -> int:
    """How many prototypes predict the orders of so many samples, at a fiftieth of the cost of training them all."""
    return min(max(samples // SHARE, FEWEST), MOST)


def predict(
    features: Features, orders: np.ndarray, *, budget: int | None = None, steps: int = 200, step: float = 5.0
) -> np.ndarray:
    """Forgetting of every order as the recommendation predicts it (T3.10), nats; (M,).

    Args:
        budget: number of prototypes, 0 for class means alone; None: `refinement`.
        steps, step: of the training to be predicted.
    """
    prototypes = class_prototypes(features, budget=refinement(len(features)) if budget is None else budget)
    return _predicted(prototypes, orders, steps, step)


def _predicted(prototypes: Prototypes, orders: np.ndarray, steps: int, step: float) -> np.ndarray:
    return span.span_forgetting(prototypes, orders, steps=steps, step=step, dtype=np.float32, shortened=True)


@dataclass(frozen=True, eq=False)
class OrderReport:
    """A recommended order.

    Attributes:
        order: (T,) positions into `names`, first environment first.
        names: T environments, in ascending order of their ids (the neutral order).
        predicted: forgetting in nats (mean loss increase of the first T-1 environments) of the recommended order.
        interval: `predicted` plus and minus the 95 % quantile of Student's t (of as many resamples) times the standard deviation over
            bootstrap resamples of the data.  Where the mean prediction over data sets of the same size is known (three environments of
            the generated set, 150 sets), it holds that in about 80 % of them with 20 pairs an environment and in 89 to 95 %, by the
            draw, with 80.  What prototypes leave out is not in it: they predict too little for all orders alike, by 5 to 12 % on CLIP
            features of COCO (497 pairs; in other groupings by 1 to 14 %), by a fifth to a half on the generated set and on those of
            the shipped models.
        neutral: predicted forgetting of the neutral order.
        worst: largest predicted forgetting among the orders evaluated.
        stability: share of resamples in which the recommended order is within 1 % of the best of the 24 orders predicted best, itself
            one of them (`orders.excess`); the other orders are not predicted again.
        orders: (M, T) every order evaluated; all T! of them where `exhaustive`.
        forgetting: (M,) their predicted forgetting.
        exhaustive: whether every order was evaluated; if not, `order` is a local optimum.
        reason: why this order, in words.
        predictor: name and settings.
        seconds: wall time of the prediction without the bootstrap.
    """

    order: tuple[int, ...]
    names: tuple[str, ...]
    predicted: float
    interval: tuple[float, float]
    neutral: float
    worst: float
    stability: float
    orders: np.ndarray
    forgetting: np.ndarray
    exhaustive: bool
    reason: str
    predictor: dict[str, Any]
    seconds: float

    @property
    def named_order(self) -> tuple[str, ...]:
        return tuple(self.names[k] for k in self.order)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; without `seconds`, so that the same features and seed give the same bytes."""
        plain = asdict(self) | {
            "orders": self.orders.tolist(),
            "forgetting": self.forgetting.tolist(),
            "named_order": list(self.named_order),
        }
        del plain["seconds"]
        return plain

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, sort_keys=True) + "\n"


def recommend_order(
    features: Features,
    *,
    steps: int = 200,
    step: float = 5.0,
    resamples: int = 20,
    seed: int = 0,
    progress: bool = True,
) -> OrderReport:
    """Recommend an order of the environments by predicted forgetting (T3.10).

    Up to seven environments: every order is predicted.  More: local search over moves of one environment, from
    three starting orders, and the report says so.

    Args:
        features: T >= 2 environments.
        steps, step: the training to be predicted: full-batch gradient steps per environment, and their size.
        resamples: bootstrap resamples of the data within every environment, for the uncertainty; at least 2, or 0 for none.
        seed: of the bootstrap and of the starting orders.
        progress: show a bar on a terminal.

    Raises:
        InputError: fewer than two environments; labels that are no class numbers; steps < 1 or step <= 0; training that would diverge; one resample, or a
            negative number of them.
    """
    require_features(features)
    features.require_environments(2, "an order needs something to order")
    features.require_class_numbers()
    if steps < 1 or not 0 < step < np.inf:
        raise InputError(f"{counted(steps, 'step')} of size {step}", expected="at least one step of positive size")
    if resamples < 0 or resamples == 1:
        raise InputError(
            f"{counted(resamples, 'resample')}", expected="at least 2, whose spread is the uncertainty, or 0 for none",
            causes=("one resample has no spread",) if resamples == 1 else (),
        )  # fmt: skip
    T = len(features.environments)
    started = time.perf_counter()
    prototypes = class_prototypes(features, budget=refinement(len(features)))
    exhaustive = T <= MOST_ENUMERATED

    def evaluate(orders: np.ndarray) -> np.ndarray:
        return _predicted(prototypes, orders, steps, step)

    orders, predicted = (_enumerate if exhaustive else _search)(T, evaluate, seed, progress)
    seconds = time.perf_counter() - started
    if not np.isfinite(predicted).all():
        raise InputError(
            f"{counted(steps, 'step')} of size {step:g}: predicted losses beyond single precision", expected="training that converges",
            causes=("steps too long for unit features, whose curvature is at most 1/2",), fix="step=5.0, or smaller",
        )  # fmt: skip
    best = int(np.argmin(predicted))
    neutral = float(evaluate(np.arange(T)[None])[0])
    rivals = np.argsort(predicted, kind="stable")[:RIVALS]
    draws = _resampled(features, orders[rivals], steps, step, resamples, seed, progress)
    # Resampling repeats rows, which lengthens class means and shifts the prediction: the spread is used, not the place.
    margin = _reach(resamples) * float(draws[:, 0].std(ddof=1)) if resamples else float("nan")
    stable = float(np.mean([excess(draw[0], draw) <= CLOSE for draw in draws])) if resamples else float("nan")
    return OrderReport(
        order=tuple(int(k) for k in orders[best]),
        names=tuple(features.name(k) for k in features.environments),
        predicted=float(predicted[best]),
        interval=(float(predicted[best]) - margin, float(predicted[best]) + margin),
        neutral=neutral,
        worst=float(predicted.max()),
        stability=stable,
        orders=orders,
        forgetting=predicted,
        exhaustive=exhaustive,
        reason=_reason(features, prototypes, orders[best], predicted, neutral, exhaustive, steps, step),
        predictor={
            "claim": "T3.10",
            "prototypes": len(prototypes.label),
            "steps": steps,
            "step": step,
            "resamples": resamples,
            "seed": seed,
        },
        seconds=seconds,
    )


def _reach(draws: int) -> float:
    """Standard deviations on either side of a 90 % interval; few resamples, or seeds, know their own spread badly."""
    from scipy.stats import t

    return float(t.ppf(0.95, draws - 1))


@dataclass(frozen=True)
class PredictorRow:
    """How one predictor ranks trained orders.

    Every order was trained, so nothing is estimated from a sample of orders, and no interval speaks of other orders.  What another
    training would have given differs by its seed: rank correlations come as (value, low, high), the mean of those with the forgetting of
    each seed and its 90 % interval over seeds (`over_seeds`).  With one seed low and high are NaN.

    Attributes:
        name: predictor.
        spearman, kendall: rank correlation with trained forgetting; 1 is perfect, -1 upside down.
        regret: forgetting (mean over seeds) of the order the predictor prefers, over that of the best order, minus one; the mean of
            several that it prefers alike (`as_tied`).  See `orders.excess` for where the best order forgets nothing.
        seconds: processor time of predicting all orders, scores included.
        cost: `seconds` over the processor time of training all orders with one seed.
    """

    name: str
    spearman: tuple[float, float, float]
    kendall: tuple[float, float, float]
    regret: float
    seconds: float
    cost: float


def compare_predictors(features: Features, runs: OrderRuns) -> list[PredictorRow]:
    """Judge every predictor by what training did.

    Args:
        features: those the orders were trained on.
        runs: of `train_orders`.
    """
    return judge_predictors(
        features, runs.orders, runs.forgetting(), steps=int(runs.protocol["steps"]), step=float(runs.protocol["step"]),
        training=runs.cpu_seconds / len(runs.seeds),
    )  # fmt: skip


def judge_predictors(
    features: Features, orders: np.ndarray, truth: np.ndarray, *, steps: int, step: float, training: float = np.nan
) -> list[PredictorRow]:
    """`compare_predictors` for forgetting (S, M) of all orders (M, T) that was measured elsewhere with S seeds, in any unit.

    Args:
        steps, step: of the head's training, which T3.10 predicts.
        training: processor seconds of measuring one seed of `truth`, for `cost`.
    """
    rows = []
    for name, predict in predictor_functions(features, steps, step).items():
        started = time.process_time()
        predicted = predict(orders)
        seconds = time.process_time() - started
        rows.append(_judge(name, predicted, truth, seconds, training))
    return rows


def predictor_functions(features: Features, steps: int, step: float) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Name -> function of orders, every predictor of the comparison; each computes the scores it needs itself."""

    def cost(key: str, power: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda orders: pre.consecutive_cost(score_matrices(features)[key], orders, power=power)

    def gram() -> np.ndarray:
        return pre.unit_gram(score_matrices(features)["II"])

    def by_blocks(orders: np.ndarray) -> np.ndarray:
        prototypes = class_prototypes(features)
        return pre.blocks(prototypes.coordinates(), prototypes.environment, orders)

    named = {f"cumulative Con_{key}": cost(key, 1) for key in KEYS}
    named |= {f"cumulative Con_{key} squared": cost(key, 2) for key in KEYS}
    named["T3.7 fourth-order criterion"] = lambda orders: pre.fourth_order(gram(), orders)
    named["T3.5 rank one"] = lambda orders: pre.rank_one(gram(), orders)
    named["T3.6 rank one, half steps"] = lambda orders: pre.rank_one_steps(gram(), orders, step=0.5)
    named["T3.5 class blocks"] = by_blocks

    def by_span(budget: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda orders: predict(features, orders, budget=budget, steps=steps, step=step)

    named["T3.10 class prototypes"] = by_span(0)
    chosen = refinement(len(features))
    for budget in (chosen // 2, chosen):
        named[refined(budget)] = by_span(budget)
    return named


def refined(budget: int) -> str:
    """Name of the predictor with so many prototypes."""
    return f"T3.10 refined to {budget} prototypes"


def as_tied(predicted: np.ndarray) -> np.ndarray:
    """Predictions (M,) that rounding alone tells apart, made equal: with symmetric scores an order and its reverse have one cost.

    Otherwise the last bits of a machine would say which of the two is preferred, and count as a rank.
    """
    order = np.argsort(predicted, kind="stable")
    ranked = predicted[order]
    first = np.concatenate([[True], np.diff(ranked) > ROUNDING * np.abs(predicted).max()])
    out = np.empty_like(ranked)
    out[order] = ranked[first][first.cumsum() - 1]
    return out


def _judge(name: str, predicted: np.ndarray, truth: np.ndarray, seconds: float, training: float) -> PredictorRow:
    from scipy.stats import kendalltau, spearmanr

    predicted = as_tied(predicted)

    def by_seed(measure: Callable[..., Any]) -> tuple[float, float, float]:
        return over_seeds([
            0.0 if np.ptp(predicted) == 0 or np.ptp(f) == 0 else float(measure(predicted, f).statistic) for f in truth
        ], len(predicted))  # fmt: skip

    mean = truth.mean(axis=0)
    regret = excess(float(mean[predicted == predicted.min()].mean()), mean)
    return PredictorRow(name, by_seed(spearmanr), by_seed(kendalltau), regret, seconds, seconds / training)


def over_seeds(correlations: Sequence[float], orders: int) -> tuple[float, float, float]:
    """Mean of rank correlations with the forgetting of S seeds, and its 90 % interval: Student's t on Fisher's scale.

    With 120 normal orders, four seeds that agree at 0.3 to 0.997 and predictors at 0 to 1 with what seeds share, such intervals held the
    mean over all seeds in 89 to 91 % of 2,000 draws in every case.

    Args:
        correlations: S values in [-1, 1], of seeds drawn independently.
        orders: M, how many were ranked; +-1, infinite on that scale, counts there as half of the least step below it.

    Returns:
        value, low, high; NaN the latter two with one seed, or with fewer than six orders, which can hardly be ranked in two ways.
    """
    S, value = len(correlations), float(np.mean(correlations))
    if S < 2 or orders < 6:
        return value, math.nan, math.nan
    edge = 1 - 6 / (orders * (orders**2 - 1))  # an exchange of neighbours in rank costs Spearman's 12 / (M (M^2 - 1))
    z = np.arctanh(np.clip(correlations, -edge, edge))
    half = _reach(S) * z.std(ddof=1) / math.sqrt(S)
    low, high = np.tanh([z.mean() - half, z.mean() + half])
    return value, min(float(low), value), max(float(high), value)


Evaluate = Callable[[np.ndarray], np.ndarray]
Order = tuple[int, ...]


def _enumerate(T: int, evaluate: Evaluate, seed: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    orders = all_orders(T)
    return orders, evaluate(orders)


def _search(T: int, evaluate: Evaluate, seed: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Descent over moves of one environment, from the neutral and two random orders.

    Every move of one environment to another place is tried; then the best move alone, the best two one after the other,
    and so on.  The best order of all is where the next round begins.
    """
    rng = np.random.default_rng([seed, T])
    starts = [np.arange(T), *(rng.permutation(T) for _ in range(2))]
    seen: dict[Order, float] = {}

    def look(orders: Iterable[Order]) -> None:
        if fresh := sorted(set(orders) - set(seen)):
            seen.update(zip(fresh, evaluate(np.array(fresh)).tolist(), strict=True))

    rounds = 2 * T
    with progress_bar(len(starts) * rounds, "searching orders", progress) as advance:
        for start in starts:
            current: Order = tuple(start.tolist())
            for turn in range(rounds):
                look([current])
                tried = [(moved(current, e, place), e, place) for e in current for place in range(T)]
                look(order for order, *_ in tried)
                gains = sorted((seen[order], e, place) for order, e, place in tried if seen[order] < seen[current])
                if not gains:
                    advance(rounds - turn)
                    break
                best_of = {e: place for _, e, place in reversed(gains)}  # of every environment its best move
                several, candidates = current, []
                for e in dict.fromkeys(e for _, e, _ in gains):
                    several = moved(several, e, best_of[e])
                    candidates.append(several)
                look(candidates)
                current = min(candidates, key=lambda order: (seen[order], order))
                advance(1)
    orders = sorted(seen)
    return np.array(orders), np.array([seen[order] for order in orders])


def moved(order: Order, environment: int, place: int) -> Order:
    """The order with one environment taken out and put back at `place`."""
    rest = [e for e in order if e != environment]
    return (*rest[:place], environment, *rest[place:])


def _resampled(
    features: Features, orders: np.ndarray, steps: int, step: float, resamples: int, seed: int, progress: bool
) -> np.ndarray:
    """(resamples, M) predicted forgetting with the rows of every environment drawn again.

    Not class by class: a class of one sample would never vary, and the interval would claim what nobody knows.
    """
    rng = np.random.default_rng([seed, 1])
    groups = [features.rows(k) for k in features.environments]
    out = np.empty((resamples, len(orders)))
    with progress_bar(resamples, "bootstrap", progress) as advance:
        for draw in range(resamples):
            rows = np.concatenate([rng.choice(group, len(group)) for group in groups])
            prototypes = class_prototypes(features, budget=refinement(len(features)), rows=rows)
            out[draw] = _predicted(prototypes, orders, steps, step)
            advance(1)
    return out


def _reason(
    features: Features, prototypes: Prototypes, order: np.ndarray, predicted: np.ndarray, neutral: float,
    exhaustive: bool, steps: int, step: float,
) -> str:  # fmt: skip
    T = len(order)
    names = [features.name(k) for k in features.environments]
    pair = np.stack([order, np.arange(T)])
    each = span.span_forgetting_by_environment(
        prototypes, pair, steps=steps, step=step, dtype=np.float32, shortened=True
    )
    each = np.where(
        np.abs(each) > ROUNDING * np.abs(each).max(), each, 0.0
    )  # the last environment has not been followed
    spread = float(np.ptp(predicted) / np.abs(predicted).max()) if predicted.any() else 0.0
    every = f"all {len(predicted)} orders" if exhaustive else f"the {len(predicted)} orders evaluated"
    if spread < 0.05:
        return f"The order matters little here: {every} are predicted within {100 * spread:.1f} % of each other."
    if (order == np.arange(T)).all():
        return (
            f"The neutral order is the best of {every}: predicted forgetting spans {shown(predicted.min())} to "
            f"{shown(predicted.max())} nats."
        )
    saved = each[1] - each[0]
    gain, loss = int(np.argmax(saved)), int(np.argmin(saved))
    text = (
        f"Predicted forgetting over {every} spans {shown(predicted.min())} to {shown(predicted.max())} "
        f"nats; the neutral order has {shown(neutral)}."
    )
    if saved[gain] > 0:
        text += (
            f" Against the neutral order most is saved on {names[gain]} ({shown(each[1, gain])} to {shown(each[0, gain])}), "
            f"now in place {int(np.flatnonzero(order == gain)[0]) + 1} of {T}"
        )
        if saved[loss] < 0:
            text += f", at the expense of {names[loss]} ({shown(each[1, loss])} to {shown(each[0, loss])})"
        text += "."
    return text


def shown(x: float) -> str:
    """Three digits, so that small forgettings can be told apart; zero for rounding."""
    return f"{0.0 if abs(x) < 1e-12 else x:.3g}"
