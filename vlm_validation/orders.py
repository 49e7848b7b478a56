"""Training a frozen-encoder head along every order of the environments, by prefix tree (E3).

The protocol: a shared linear head on fixed features, `steps` full-batch gradient steps of size `step` with cross entropy on
one environment after the other.  Orders with a common beginning share it, so five environments need 325 training
stages, not 600; all prefixes of one length with the same first and the same last environment are trained as one batch.  Full-batch gradient
descent carries no optimiser state, so there is none to reset; and no random draw but the initial head, which is derived
from the seed alone, so sharing prefixes changes no result.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..theory.errors import InputError, counted
from .features import Features

MOST_ENUMERATED = 7


@dataclass(frozen=True, eq=False)
class Tasks:
    """What a head is trained on: T weighted samples, features in one space.

    Attributes:
        points: T tensors (n_t, d).
        labels: T tensors (n_t,) int64, classes below `classes`.
        weights: T tensors (n_t,), each summing to one.
        classes: C.
        names: T names.
    """

    points: tuple[torch.Tensor, ...]
    labels: tuple[torch.Tensor, ...]
    weights: tuple[torch.Tensor, ...]
    classes: int
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, eq=False)
class OrderRuns:
    """Losses and accuracies along every order.

    Attributes:
        orders: (M, T) int64 positions into `names`, lexicographic.
        loss, accuracy: (S, M, T+1, T) float64; [s, m, k, j] after k environments of order m with seed s, on the j-th
            environment *of that order*: each [s, m] is the matrix R of `metrics`.  Loss in nats.
        seeds: (S,) of the initial heads.
        names: T environments.
        seconds, cpu_seconds: wall and processor time of training, all seeds.
        stages: training stages run, per seed.
        protocol: step, steps, initial scale, dtype, evaluation data.
    """

    orders: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    seeds: tuple[int, ...]
    names: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    stages: int
    protocol: dict[str, float | str]

    def forgetting(self) -> np.ndarray:
        """(S, M) mean loss increase of the first T-1 environments since each was learned (convention "paper")."""
        after = np.diagonal(self.loss[:, :, 1:], axis1=2, axis2=3)
        return np.asarray((self.loss[:, :, -1] - after)[..., :-1].mean(axis=-1))


def tasks_of(features: Features, *, dtype: torch.dtype = torch.float32) -> Tasks:
    """The environments of `features` as tasks of an image head, all samples of an environment weighted equally."""
    points, labels, weights = [], [], []
    for environment in features.environments:
        rows = features.rows(environment)
        points.append(torch.tensor(features.image[rows], dtype=dtype))
        labels.append(torch.tensor(features.label[rows]))
        weights.append(torch.full((len(rows),), 1 / len(rows), dtype=dtype))
    names = tuple(features.name(k) for k in features.environments)
    return Tasks(tuple(points), tuple(labels), tuple(weights), features.classes, names)


def all_orders(T: int) -> np.ndarray:
    """(T!, T) int64, lexicographic.

    Raises:
        InputError: T > 7; more orders than can be enumerated.
    """
    if T > MOST_ENUMERATED:
        raise InputError(
            f"{T} environments have {math.factorial(T)} orders",
            expected=f"at most {MOST_ENUMERATED} environments where every order is trained",
            fix="use recommend_order, which searches instead of enumerating, or merge environments",
        )
    return np.array(list(itertools.permutations(range(T))), dtype=np.int64).reshape(math.factorial(T), T)


def train_orders(
    features: Features,
    *,
    steps: int = 200,
    step: float = 5.0,
    seeds: Sequence[int] = (0,),
    initial_scale: float = 0.0,
    evaluate_on: Features | None = None,
    dtype: torch.dtype = torch.float32,
    progress: bool = True,
) -> OrderRuns:
    """Train the head along every order.

    Args:
        features: T >= 2 environments.
        steps, step: gradient steps per environment and their size.
        seeds: of the initial head; with `initial_scale` 0 the head starts at zero and all seeds agree.
        initial_scale: standard deviation of the initial head's entries.
        evaluate_on: held-out features of the same environments and classes; default: the training features.
        dtype: torch.float32 or torch.float64.
        progress: show a bar on a terminal.

    Raises:
        InputError: fewer than two environments, or more orders than can be enumerated; other environments or classes in
            `evaluate_on`; training that diverged.
    """
    features.require_environments(2, "an order needs something to order")
    if evaluate_on is not None:
        _check_judged(features, evaluate_on)
    tasks = tasks_of(features, dtype=dtype)
    judged = tasks if evaluate_on is None else tasks_of(evaluate_on, dtype=dtype)
    orders = all_orders(len(tasks))
    started, cpu = time.perf_counter(), time.process_time()
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        head = torch.randn(tasks.points[0].shape[1], tasks.classes, generator=generator, dtype=torch.float64)
        rows.append(_walk(tasks, judged, (initial_scale * head).to(dtype), steps, step, progress))
    loss, accuracy = (np.stack([_matrices(found[i], orders) for found in rows]) for i in range(2))
    if not np.isfinite(loss).all():
        raise InputError(
            f"training diverged: no numbers among {counted(loss.size, 'loss', 'losses')}", expected="finite losses",
            causes=(f"steps of size {step:g}",), fix="step=5.0, or smaller",
        )  # fmt: skip
    return OrderRuns(
        orders=orders,
        loss=loss,
        accuracy=accuracy,
        seeds=tuple(seeds),
        names=tasks.names,
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu,
        stages=sum(math.perm(len(tasks), k) for k in range(1, len(tasks) + 1)),
        protocol={
            "steps": steps, "step": step, "initial_scale": initial_scale, "dtype": str(dtype).removeprefix("torch."),
            "evaluated on": "training features" if evaluate_on is None else "held-out features",
        },
    )  # fmt: skip


def excess(value: float, forgetting: np.ndarray) -> float:
    """How much more is forgotten than by the best order, as a share; 0 is as little as the best, whatever the signs.

    The share is of what the best order forgets, which gives F / F(best) - 1.  Where the best order forgets nothing or gains,
    that says nothing; there the share is of the largest amount, lost or gained, over all orders.

    Args:
        value: forgetting of an order, or a mean of several.
        forgetting: (M,) of the orders that it is compared with.
    """
    least = float(forgetting.min())
    if least > 0:
        return value / least - 1
    return (value - least) / (float(np.abs(forgetting).max()) or 1.0)


def ratio(forgetting: np.ndarray) -> float:
    """Forgetting of the worst order over that of the best; NaN where the best order forgets nothing or gains."""
    least = float(forgetting.min())
    return float(forgetting.max()) / least if least > 0 else float("nan")


def _check_judged(features: Features, judged: Features) -> None:
    split = "split one features file: features.split()"
    if judged.environments != features.environments:
        raise InputError(
            f"{judged.source}: environments {judged.environments}",
            expected=f"{features.environments}, those of the training features", fix=split,
        )  # fmt: skip
    if (largest := int(judged.label.max())) >= features.classes:
        raise InputError(
            f"{judged.source}: label {largest}", expected=f"labels below {features.classes}, the classes of the training features",
            causes=("a class that was never trained", "files with other lists of classes"), fix=split,
        )  # fmt: skip
    names = features.label_names, judged.label_names
    if None not in names and names[0] != names[1]:
        raise InputError(
            f"{judged.source}: other names of classes than in {features.source}", expected="the same classes in the same order",
            causes=("files with other lists of classes",), fix=split,
        )  # fmt: skip


Heads = dict[tuple[int, ...], torch.Tensor]
Rows = dict[tuple[int, ...], np.ndarray]


def _walk(
    tasks: Tasks, judged: Tasks, head: torch.Tensor, steps: int, step: float, progress: bool
) -> tuple[Rows, Rows]:
    """(loss, accuracy) rows (T,) of every prefix, the empty one included."""
    T = len(tasks)
    losses: Rows = {}
    accuracies: Rows = {}
    _record(judged, [()], head[None], losses, accuracies)
    with progress_bar(sum(math.perm(T, k) for k in range(1, T + 1)), "training orders", progress) as advance:
        for first in range(T):  # one subtree at a time: a T-th of the memory
            level: Heads = {(first,): head}
            while level:
                trained: Heads = {}
                for last in range(T):
                    prefixes = [p for p in level if p[-1] == last]
                    if not prefixes:
                        continue
                    heads = _descend(tasks, last, torch.stack([level[p] for p in prefixes]), steps, step)
                    _record(judged, prefixes, heads, losses, accuracies)
                    trained.update(zip(prefixes, heads, strict=True))
                    advance(len(prefixes))
                level = {(*p, t): w for p, w in trained.items() for t in range(T) if t not in p}
    return losses, accuracies


def _descend(tasks: Tasks, t: int, heads: torch.Tensor, steps: int, step: float) -> torch.Tensor:
    """`steps` gradient steps on environment t for a batch of heads (B, d, C), as one matrix product a step.

    A linear head moves within the span of the samples, so it is enough to follow the logits of the n samples by their
    n x n Gram matrix, and to apply the summed residuals to the head once at the end.  With more samples than twice the
    dimension the head itself is cheaper to follow.
    """
    x, target = tasks.points[t], torch.nn.functional.one_hot(tasks.labels[t], tasks.classes).to(heads.dtype)[:, None]
    weight = (step * tasks.weights[t])[:, None, None]
    B, d, C = heads.shape
    n = len(x)
    flat = heads.permute(1, 0, 2).reshape(d, B * C).contiguous()
    if n > 2 * d:
        for _ in range(steps):
            residual = torch.softmax((x @ flat).view(n, B, C), dim=-1).sub_(target).mul_(weight)
            flat.addmm_(x.T, residual.view(n, B * C), alpha=-1)
    else:
        gram, logits = x @ x.T, x @ flat
        summed = torch.zeros_like(logits)
        for _ in range(steps):
            residual = torch.softmax(logits.view(n, B, C), dim=-1).sub_(target).mul_(weight).view(n, B * C)
            logits.addmm_(gram, residual, alpha=-1)
            summed += residual
        flat.addmm_(x.T, summed, alpha=-1)
    return flat.view(d, B, C).permute(1, 0, 2)


def _record(judged: Tasks, prefixes: list[tuple[int, ...]], heads: torch.Tensor, losses: Rows, hits: Rows) -> None:
    B, d, C = heads.shape
    flat = heads.permute(1, 0, 2).reshape(d, B * C)
    loss, accuracy = [], []
    for x, y, w in zip(judged.points, judged.labels, judged.weights, strict=True):
        logits = (x @ flat).view(-1, B, C).double()
        entropy = torch.logsumexp(logits, dim=-1) - logits.gather(2, y[:, None, None].expand(-1, B, 1))[..., 0]
        loss.append(w.double() @ entropy)
        accuracy.append(w.double() @ (logits.argmax(dim=-1) == y[:, None]).double())
    for i, prefix in enumerate(prefixes):
        losses[prefix] = np.array([float(value[i]) for value in loss])
        hits[prefix] = np.array([float(value[i]) for value in accuracy])


def _matrices(rows: Rows, orders: np.ndarray) -> np.ndarray:
    """(M, T+1, T): the rows of each order's prefixes, columns in the order of training."""
    T = orders.shape[1]
    return np.stack([
        np.stack([rows[tuple(order[:k].tolist())][order] for k in range(T + 1)]) for order in orders
    ])  # fmt: skip


class progress_bar:
    """A rich progress bar on a terminal, silence elsewhere; entering gives the function that advances it."""

    def __init__(self, total: int, title: str, show: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        console.quiet = not (show and console.is_terminal)  # rich before 14.3 ends a disabled bar with an empty line
        self._bar = Progress(console=console, disable=console.quiet, transient=True)
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Callable[[int], None]:
        self._bar.start()
        return lambda done: self._bar.advance(self._task, done)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
