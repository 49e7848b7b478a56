"""A run to be audited: features of the same samples after each environment, and the heads there were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...theory.errors import InputError
from ..containers import read_container
from ..features import Features, load_features

FUSIONS = ("image", "sum", "concat")


@dataclass(frozen=True, eq=False)
class Head:
    """A linear head on fused features: logits = z W + b.

    Attributes:
        weight: (D, C) float64.
        bias: (C,) float64, zero where the file has none.
        biased: whether the file has one.
        source: the file.
    """

    weight: np.ndarray
    bias: np.ndarray
    biased: bool
    source: str = "head in memory"

    @property
    def classes(self) -> int:
        return int(self.weight.shape[1])


@dataclass(frozen=True, eq=False)
class Run:
    """Checked stages of a run.

    Attributes:
        stages: K+1 features, before training and after each environment; same samples in the same order.
        heads: one a stage, or empty.
        order: (K,) environment ids, in the order learnt; K may be less than the number of environments.
        fusion: `image` (z = u), `sum` (z = p u + q v) or `concat` (z = [p u; q v]).
        p, q: weights of the modalities in z.
        tau: inverse temperature of the CLIP loss.
        weight: lambda in CE + lambda CLIP.
        notes: what was noticed, to be shown.
    """

    stages: tuple[Features, ...]
    heads: tuple[Head, ...]
    order: tuple[int, ...]
    fusion: str = "image"
    p: float = 1.0
    q: float = 0.0
    tau: float = 100.0
    weight: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def environments(self) -> tuple[int, ...]:
        return self.stages[0].environments

    @property
    def transitions(self) -> list[tuple[int, int]]:
        """(stage before, stage after) of each."""
        return [(k, k + 1) for k in range(len(self.stages) - 1)]

    def name(self, environment: int) -> str:
        return self.stages[0].name(environment)

    def pair(self, stage: int, environment: int) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) image and text features, float64."""
        f = self.stages[stage]
        rows = f.rows(environment)
        return f.image[rows].astype(np.float64), f.text[rows].astype(np.float64)

    def fused(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """z of image and text features."""
        if self.fusion == "concat":
            return np.hstack([self.p * u, self.q * v])
        return self.p * u + self.q * v if self.fusion == "sum" else u

    def labels(self, environment: int) -> np.ndarray:
        return np.asarray(self.stages[0].label[self.stages[0].rows(environment)])


def read_run(
    paths: Sequence[Path], heads: Sequence[Path] = (), order: Sequence[str] = (), *, fusion: str | None = None, p: float = 1.0,
    q: float = 1.0, tau: float = 100.0, weight: float = 1.0, normalise: bool = False,
) -> Run:  # fmt: skip
    """Read the stages of a run from features files, and its heads.

    Args:
        paths: features files (`.npz` or `.safetensors`), before training first.
        heads: as many heads (`weight` (C, D) as torch.nn.Linear stores it, optional `bias` (C,)), or none.
        order: names or ids of the environments in the order learnt; default: ascending ids.
        fusion: what the heads read; default: `concat` for heads of width 2d, else `image`.

    Raises:
        InputError: fewer than two stages, other samples in a later stage, heads that do not fit, an unknown environment.
    """
    stages = tuple(load_features(path, normalise=normalise) for path in paths)
    return make_run(
        stages, tuple(read_head(path) for path in heads), order, fusion=fusion, p=p, q=q, tau=tau, weight=weight
    )


def make_run(
    stages: Sequence[Features], heads: Sequence[Head] = (), order: Sequence[str] = (), *, fusion: str | None = None, p: float = 1.0,
    q: float = 1.0, tau: float = 100.0, weight: float = 1.0,
) -> Run:  # fmt: skip
    """As `read_run`, from memory."""
    if len(stages) < 2:
        raise InputError(
            f"{len(stages)} stage(s) of a run", expected="at least two: before training, and after an environment",
            fix="crossmodal audit before.npz after_first.npz after_second.npz ...",
        )  # fmt: skip
    for later in stages[1:]:
        same_samples(stages[0], later)
    if not all(math.isfinite(x) and x >= 0 for x in (tau, weight, p, q)) or tau == 0 or p == q == 0:
        raise InputError(
            f"tau {tau}, lambda {weight}, p {p}, q {q}", expected="finite: tau > 0, the others not negative, p or q > 0"
        )
    learnt = learnt_order(stages[0], order, len(stages) - 1)
    kind = fusion or "image"
    if heads:
        if len(heads) != len(stages):
            raise InputError(f"{len(heads)} heads for {len(stages)} stages", expected="one a stage, or none")
        kind = fusion or ("concat" if len(heads[0].weight) == 2 * stages[0].dimension else "image")
        width = stages[0].dimension * (2 if kind == "concat" else 1)
        for head in heads:
            if head.weight.shape != (width, heads[0].classes) or head.classes < stages[0].classes:
                raise InputError(
                    f"{head.source}: weight of {head.classes} classes and width {len(head.weight)}",
                    expected=f"at least {stages[0].classes} classes, the same in all heads, width {width} (fusion '{kind}')",
                    causes=("another fusion than the head was trained on", "heads of different tasks"),
                    fix="pass --fusion image, sum or concat",
                )  # fmt: skip
        if heads[0].classes < 2:
            raise InputError(
                f"{heads[0].source}: a head of one class", expected="at least two: one has nothing to confuse"
            )
        if len({head.biased for head in heads}) > 1:
            lacking = next(head.source for head in heads if not head.biased)
            raise InputError(f"{lacking}: no bias, and another stage has one", expected="a bias in all heads or in none",
                             fix="write a bias of zeros")  # fmt: skip
    if kind not in FUSIONS:
        raise InputError(f"fusion {kind!r}", expected=f"one of {', '.join(FUSIONS)}")
    p, q = (1.0, 0.0) if kind == "image" else (p, q)
    notes = tuple(dict.fromkeys(f"{s.source}: {note}" for s in stages for note in s.notes))
    return Run(tuple(stages), tuple(heads), learnt, kind, p, q, tau, weight, notes)


def read_head(path: Path) -> Head:
    """A head from `.safetensors` or `.npz`.

    Raises:
        InputError: no `weight`, another shape than (C, D), NaN.
    """
    arrays, _, _ = read_container(path)
    if "weight" not in arrays or arrays["weight"].ndim != 2:
        found = {k: v.shape for k, v in arrays.items()}
        raise InputError(
            f"{path}: holds {found}",
            expected="`weight` (C, D) and optionally `bias` (C,), as torch.nn.Linear stores them",
        )
    weight = np.asarray(arrays["weight"], dtype=np.float64).T
    bias = np.asarray(arrays.get("bias", np.zeros(weight.shape[1])), dtype=np.float64)
    if bias.shape != (weight.shape[1],):
        raise InputError(f"{path}: bias of shape {bias.shape}", expected=f"({weight.shape[1]},), one a class")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise InputError(f"{path}: NaN or infinity in the head", expected="finite numbers", causes=("a diverged run",))
    return Head(weight, bias, "bias" in arrays, str(path))


def same_samples(first: Features, later: Features) -> None:
    """Refuse stages that are not of the same samples in the same order.

    Raises:
        InputError: another number, other ids, labels or environments.
    """
    fix = "extract every checkpoint on the same data in the same order"
    for name in ("image", "text"):
        one, two = getattr(first, name).shape, getattr(later, name).shape
        if one != two:
            raise InputError(
                f"{later.source}: {name} has shape {two}", expected=f"{one}, that of {first.source}", fix=fix
            )
    for name in ("environment_names", "label_names"):
        if (a := getattr(first, name)) is not None and (b := getattr(later, name)) is not None and a != b:
            raise InputError(
                f"{later.source}: {name} {list(b)}", expected=f"{list(a)}, those of {first.source}", fix=fix
            )
    for name in ("environment", "label", "ids"):
        a, b = getattr(first, name), getattr(later, name)
        if (a is None) != (b is None) or (a is not None and not np.array_equal(a, b)):
            where = "" if a is None or b is None else f" from row {int(np.flatnonzero(np.asarray(a != b))[0])} on"
            raise InputError(
                f"{later.source}: '{name}' differs from {first.source}{where}", expected="the same samples in the same order",
                causes=("a shuffled loader", "another split"), fix=fix,
            )  # fmt: skip


def learnt_order(features: Features, order: Sequence[str], transitions: int) -> tuple[int, ...]:
    """Environment ids in the order learnt, one a transition.

    Raises:
        InputError: an unknown name; more transitions than environments.
    """
    ids = list(features.environments)
    known = {str(k): k for k in ids} | {features.name(k): k for k in ids}
    unknown = [x for x in order if x not in known]
    if unknown:
        raise InputError(
            f"environment {unknown[0]!r} in the order",
            expected=f"names or ids: {', '.join(features.name(k) for k in ids)}",
        )
    found = [known[x] for x in order] or ids
    if len(found) < transitions or len(order) > transitions:
        raise InputError(
            f"{transitions} transitions and {len(found)} environments in the order", expected="one environment a transition",
            fix="pass --order with one environment for every stage after the first",
        )  # fmt: skip
    return tuple(found[:transitions])
