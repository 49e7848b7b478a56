"""A run to be audited: features of the same samples after each environment, and the heads there were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...theory.errors import InputError, counted, unknown_name
from ..containers import read_container
from ..features import Features, load_features, require_features
from .stages import learnt_order, same_model, same_samples

FUSIONS = ("image", "sum", "concat")
LARGEST = 1e50  # of a weight or a setting; the ledgers square products of two


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
    """The stages of a run, checked against each other, and its heads: what `crossmodal.run_audit` takes.

    Args:
        stages: features of the same samples, before training first, then after each environment.
        heads: one a stage, or none.
        order: names or ids of the environments in the order learnt; default: ascending ids.
        fusion: what the heads read; default: `concat` for heads of width 2d, else `image`.
        p, q: weights of image and text where they read both.
        tau, weight: inverse temperature of the CLIP loss, and its weight lambda beside the cross-entropy.

    Raises:
        InputError: fewer than two stages, other samples in a later stage, heads that do not fit, an unknown environment, a number out of range.
    """
    if len(stages) < 2:
        raise InputError(
            f"{counted(len(stages), 'stage')} of a run", expected="at least two: before training, and after an environment",
            fix="crossmodal audit before.npz after_first.npz after_second.npz ...",
        )  # fmt: skip
    for stage in stages:
        require_features(stage)
    for later in stages[1:]:
        same_samples(stages[0], later)
        same_model(stages[0], later)
    if not all(0 <= x <= LARGEST for x in (tau, weight, p, q)) or tau == 0 or p == q == 0:  # NaN is in no range
        raise InputError(
            f"tau {tau:g}, lambda {weight:g}, p {p:g}, q {q:g}",
            expected=f"finite, at most {LARGEST:g}: tau > 0, the others not negative, p or q > 0",
            causes=(
                "a temperature in place of its inverse, or its logarithm (as CLIP stores it)",
                "a sign or digits too many",
            ),
            fix="the numbers the run was trained with, such as --tau 100 --lambda 0.5",
        )
    kind = fusion or ("concat" if heads and len(heads[0].weight) == 2 * stages[0].dimension else "image")
    if kind not in FUSIONS:
        raise unknown_name(f"fusion {kind!r}", kind, FUSIONS, fix="leave it out: the heads' width tells")
    if heads:
        check_heads(heads, stages, kind)
    learnt = learnt_order(stages[0], order, len(stages) - 1)
    notes = list(dict.fromkeys(f"{s.source}: {note}" for s in stages for note in s.notes))
    if not order and len(learnt) > 1:
        notes.append(
            f"taken as learnt in this order: {', '.join(stages[0].name(k) for k in learnt)}; --order says another"
        )
    if kind == "image" and not (p == 1 and q in (0, 1)):
        notes.append(
            f"p {p:g} and q {q:g} are not used: fusion image reads the image alone (--fusion sum or concat reads both)"
        )
    for one, two in pairwise(stages):
        if not heads and np.array_equal(one.image, two.image) and np.array_equal(one.text, two.text):
            notes.append(
                f"{two.source}: the features of {one.source} over again, and no heads: nothing can have changed"
            )
    p, q = (1.0, 0.0) if kind == "image" else (p, q)
    return Run(tuple(stages), tuple(heads), learnt, kind, p, q, tau, weight, tuple(notes))


def check_heads(heads: Sequence[Head], stages: Sequence[Features], kind: str) -> None:
    """Refuse heads that are not those of a run.

    Raises:
        InputError: not one a stage, shapes that differ or do not fit, numbers too large, a bias in some only.
    """
    if len(heads) != len(stages):
        raise InputError(f"{counted(len(heads), 'head')} for {counted(len(stages), 'stage')}", expected="one a stage, or none",
                         fix="pass --heads once for every features file, in the same order")  # fmt: skip
    width, classes = stages[0].dimension * (2 if kind == "concat" else 1), heads[0].classes
    for head in heads:
        if head.weight.shape != (width, classes) or classes < stages[0].classes:
            raise InputError(
                f"{head.source}: weight of {counted(head.classes, 'class', 'classes')} and width {len(head.weight)}",
                expected=f"{max(classes, stages[0].classes)} classes and width {width} (fusion '{kind}'), as in every head",
                causes=("another fusion than the head was trained on", "a head of another task or label set"),
                fix="pass --fusion image, sum or concat, or the heads of this run",
            )  # fmt: skip
        largest = max(float(np.abs(x).max()) for x in (head.weight, head.bias))
        if not largest <= LARGEST:
            raise InputError(f"{head.source}: a weight of size {largest:.3g}", expected=f"finite numbers, at most {LARGEST:g}",
                             causes=("a diverged run",), fix="audit the stages before it")  # fmt: skip
    if classes < 2:
        raise InputError(
            f"{heads[0].source}: a head of one class",
            expected="at least two: one has nothing to confuse",
            causes=("a regression head, or one saved the wrong way round",),
            fix="a weight of shape (C, D)",
        )
    if len({head.biased for head in heads}) > 1:
        lacking = next(head.source for head in heads if not head.biased)
        raise InputError(f"{lacking}: no bias, and another stage has one", expected="a bias in all heads or in none",
                         fix="write a bias of zeros")  # fmt: skip


def read_head(path: Path) -> Head:
    """A head from `.safetensors` or `.npz`.

    Raises:
        InputError: no `weight`, another shape than (C, D), NaN.
    """
    arrays, _, _ = read_container(path)
    if "weight" not in arrays or arrays["weight"].ndim != 2:
        found = ", ".join(f"{k} {v.shape}" for k, v in arrays.items()) or "no readable array"
        raise InputError(
            f"{path}: holds {found}", expected="`weight` (C, D) and optionally `bias` (C,), as torch.nn.Linear stores them",
            causes=("a features file given as a head", "the whole model, or names with a prefix such as 'head.weight'"),
            fix="save head.state_dict() alone: safetensors.torch.save_file(head.state_dict(), path)",
        )  # fmt: skip
    for name in ("weight", "bias"):
        if name in arrays and arrays[name].dtype.kind not in "fiu":
            raise InputError(
                f"{path}: {name} of type {arrays[name].dtype}",
                expected="real numbers",
                causes=("the wrong array",),
                fix="save weight and bias as float32",
            )
    weight = np.asarray(arrays["weight"], dtype=np.float64).T
    bias = np.asarray(arrays.get("bias", np.zeros(weight.shape[1])), dtype=np.float64)
    if bias.shape != (weight.shape[1],):
        raise InputError(
            f"{path}: bias of shape {bias.shape}",
            expected=f"({weight.shape[1]},), one a class",
            causes=("weight of shape (D, C)",),
            fix="save `weight` as (C, D) and `bias` as (C,)",
        )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise InputError(f"{path}: NaN or infinity in the head", expected="finite numbers", causes=("a diverged run",),
                         fix="audit the stages before it")  # fmt: skip
    return Head(weight, bias, "bias" in arrays, str(path))
