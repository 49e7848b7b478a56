"""Claims about expectations and probabilities, simulated: S7 (coverage), G1, G2 (Gaussian features) and D1 (AUROC).

A `Study` draws independent replicates of a statistic whose mean a claim equals or bounds; the reference is lowered from the claim.  The
sample size is not chosen by eye: a pilot measures the spread and, for a bound, how close the mean comes to it, and the size is such that a constant
wrong by the study's factor (two percent, as a rule) is rejected with a stated power at a stated level.  The true and the wrong constant see the same draws (common random numbers: the seed
of a chunk depends on nothing else), so what differs between two runs is the constant alone.

``python -m crossmodal.synthetic.monte_carlo`` prints every study with its interval.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import torch
from scipy.stats import beta

from ..theory import registry
from ..theory.claims.g1_generalisation import rates
from ..theory.claims.s7_finite_samples import half_width
from ..theory.errors import InputError, counted
from .arithmetic import arithmetic
from .evaluate import bound_values, least_factor, sides, value
from .learners import least_norm

plain = arithmetic("plain")
CHUNK = 2048  # replicates drawn at once
PILOT = 4096
LARGEST_PILOT = 2**20
DOUBT = NormalDist().cdf(-3.0)  # probability with which a pilot may err on the mean


@dataclass(frozen=True)
class Study:
    """One claim about a mean.

    Args:
        claim, relation: whose constant is tested; label: what is drawn.
        op: how the mean stands to the reference where the claim is true.
        wrong: factor by which the mutant's constant is off.
        sample: (generator, size, factor) -> ``(size,)`` replicates; the factor matters where the constant is inside.
        reference: factor -> what the mean is compared with.
        indicator: replicates are 0 or 1; the interval is then that of Clopper and Pearson, valid for any number of samples.
    """

    claim: str
    relation: str
    label: str
    op: Literal["==", "<=", ">="]
    wrong: float
    sample: Callable[[torch.Generator, int, float], torch.Tensor]
    reference: Callable[[float], float]
    indicator: bool = False


@dataclass(frozen=True)
class Outcome:
    """Args: mean with its interval ``[low, high]`` at the level (one-sided studies: one end is infinite), and the verdict.

    The interval is that of the normal approximation, for indicators that of Clopper and Pearson.
    """

    mean: float
    low: float
    high: float
    reference: float
    samples: int
    rejected: bool


def tail(study: Study, level: float) -> float:
    """Probability of a true constant beyond one end of the interval."""
    return level / 2 if study.op == "==" else level


def interval(study: Study, mean: float, spread: float, samples: int, beyond: float) -> tuple[float, float]:
    """Both ends; each is missed with probability `beyond` (indicators: at most)."""
    if not study.indicator:
        half = NormalDist().inv_cdf(1 - beyond) * spread / math.sqrt(samples)
        return mean - half, mean + half
    hits = round(mean * samples)
    low = float(beta.ppf(beyond, hits, samples - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - beyond, hits + 1, samples - hits)) if hits < samples else 1.0
    return low, high


def replicates(
    study: Study, samples: int, factor: float, seed: int, progress: Callable[[int], None] | None = None
) -> tuple[float, float]:
    """Mean and standard deviation; memory bounded by `CHUNK`."""
    total = square = 0.0
    shift = study.reference(1.0)  # sums of what is left after it lose no digits
    for index, start in enumerate(range(0, samples, CHUNK)):
        size = min(CHUNK, samples - start)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        x = study.sample(generator, CHUNK, factor)[:size] - shift
        total, square = total + float(x.sum()), square + float(x.square().sum())
        if progress:
            progress(size)
    mean = total / samples
    if not math.isfinite(square):
        raise InputError(f"{study.claim} {study.relation}: draws that are not finite", expected="numbers",
                         fix="look at what the study samples: no interval holds such a mean")  # fmt: skip
    return mean + shift, math.sqrt(max(square / samples - mean**2, 0.0) * samples / max(samples - 1, 1))


def run(
    study: Study, samples: int, factor: float = 1.0, seed: int = 0, level: float = 0.01,
    progress: Callable[[int], None] | None = None,
) -> Outcome:  # fmt: skip
    """Simulate and decide: is a constant off by `factor` (1: the claim's own) compatible with the draws?

    Args:
        level: probability with which a true constant is rejected.
    """
    if samples < 2:
        raise InputError(counted(samples, "sample"), expected="at least 2", fix="`plan` says how many a power needs")
    mean, spread = replicates(study, samples, factor, seed, progress)
    if study.indicator:
        mean = round(mean * samples) / samples
    low, high = interval(study, mean, spread, samples, tail(study, level))
    low = -math.inf if study.op == ">=" else low
    high = math.inf if study.op == "<=" else high
    reference = study.reference(factor)
    return Outcome(mean, low, high, reference, samples, not low <= reference <= high)


def plan(study: Study, power: float = 0.95, level: float = 0.01, seed: int = 0) -> int:
    """How many replicates reject the wrong constant with probability `power`, from a pilot with draws of its own.

    Where the claim is a bound, how far the mean is from the wrong constant is not known either: the pilot grows until it is, to a third,
    and the distance at the near end of the pilot's interval counts.  So the power is reached unless the pilot misses the mean by three
    standard errors, and the size may be up to 9/4 of what would do.

    Raises:
        InputError: the mean satisfies the wrong constant too, as far as the largest pilot can see: no number of samples is enough.
    """
    reference, pilot = study.reference(study.wrong), PILOT
    while True:
        mean, spread = replicates(study, pilot, study.wrong, seed + 10_000_000)
        if study.op == "==":
            least = likely = most = abs(reference - study.reference(1.0))
        else:
            low, high = interval(study, mean, spread, pilot, DOUBT)
            low, mean, high = (low, mean, high) if study.op == "<=" else (-high, -mean, -low)
            bound = reference if study.op == "<=" else -reference
            least, likely, most = low - bound, mean - bound, high - bound
            at = reference + least if study.op == "<=" else reference - least  # the near end
        if most <= 0 or least >= likely * 2 / 3 or pilot >= LARGEST_PILOT:
            break
        pilot *= 4
    if least <= 0:
        raise InputError(
            f"{study.claim} {study.relation}: a constant off by a factor {study.wrong:g} holds as well for {study.label}",
            expected="draws on which the claim is nearly tight", fix="take a case closer to equality, or a wronger constant",
        )  # fmt: skip
    far, near = NormalDist().inv_cdf(1 - tail(study, level)), NormalDist().inv_cdf(power)
    needed = ((far + near) * spread / least) ** 2
    if study.indicator:
        needed = hits_needed(reference, study.reference(1.0) if study.op == "==" else at, far, near)
    return max(256, math.ceil(1.1 * needed))  # a tenth more, for what the pilot does not know of the spread


def hits_needed(reference: float, mean: float, far: float, near: float) -> float:
    """Replicates of an indicator of this mean that reject a reference, given the normal quantiles of level and power.

    The interval knows no spread but that of the reference, which is not that of the mean where both are rare; and a count loses up to one hit
    as it moves in steps, and ``(far^2 - 1)/6`` to the skewness of its distribution (the next term of Cornish and Fisher's expansion).
    """
    distance = abs(reference - mean)
    spreads = [math.sqrt(max(x * (1 - x), 0.0)) for x in (reference, mean)]
    width = far * spreads[0] + near * spreads[1]
    return ((width + math.sqrt(width**2 + 4 * distance * (1 + far**2 / 6))) / (2 * distance)) ** 2


# -- what is lowered from the claims ----------------------------------------------------------------------------------


def side(claim_id: str, name: str, values: Mapping[str, Any], which: int) -> float:
    """One side of a relation."""
    return float(sides(registry.relation(claim_id, name), values, plain)[which])


def column(*entries: float) -> torch.Tensor:
    return torch.tensor([[float(x)] for x in entries], dtype=torch.float64)


# -- the studies ------------------------------------------------------------------------------------------------------


def generalisation(dimension: int, samples: int, noise: float, distances: tuple[float, ...], start: float) -> Study:
    """G1: squared distance from one target after least-norm updates on Gaussian features of several environments.

    Args:
        distances: squared distance of every environment's target from the first one's; start: squared distance at the start.
    """

    def sample(generator: torch.Generator, size: int, factor: float) -> torch.Tensor:
        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(size, *shape, generator=generator, dtype=torch.float64)

        away = torch.eye(dimension, dtype=torch.float64)
        head = math.sqrt(start) * away[:, :1].expand(size, -1, -1)  # the target is 0
        for k, distance in enumerate(distances):
            x = normal(samples, dimension)
            target = math.sqrt(distance) * away[:, k + 1 : k + 2]
            head = least_norm(head, x, x @ target + noise * normal(samples, 1), plain)
        return head.square().sum((-2, -1))

    share, extra = rates(samples, dimension, noise)
    one = column(1)
    values = bound_values(registry.get("G1"), {
        "Q": one, "x": one, "y": one, "D": column(*distances), "E_0": column(start), "r": column(share), "v": column(extra),
    }, plain)  # fmt: skip
    return Study("G1", "closed", f"{len(distances)} environments, n = {samples}, P = {dimension}, noise {noise:g}", "==", 1.02,
                 sample, lambda factor: factor * side("G1", "closed", values, 1))  # fmt: skip


def leakage(dimension: int, samples: int, own: int) -> Study:
    """G2: what an error in one modality's coordinates leaks into the other's `own` coordinates in one update."""

    def sample(generator: torch.Generator, size: int, factor: float) -> torch.Tensor:
        x = torch.randn(size, samples, dimension, generator=generator, dtype=torch.float64)
        error = torch.eye(dimension, dtype=torch.float64)[:, -1:].expand(size, -1, -1)
        found = least_norm(error, x, torch.zeros(size, samples, 1, dtype=torch.float64), plain)
        return found[:, :own].square().sum((-2, -1))

    values = bound_values(
        registry.get("G2"), {"m": column(samples), "P": column(dimension), "d_I": column(own), "e2": column(1)}, plain
    )
    return Study("G2", "leakage", f"n = {samples}, P = {dimension}, {own} coordinates", "==", 1.02, sample,
                 lambda factor: factor * side("G2", "leakage", values, 1))  # fmt: skip


def separation(inside: tuple[float, ...], outside: tuple[float, ...]) -> Study:
    """D1: AUROC of scores drawn from equally likely values, against the bound from their two moments."""
    values = bound_values(registry.get("D1"), {
        "X_in": column(*inside), "X_out": column(*outside), "scale": column(1), "t": column(1),
    }, plain)  # fmt: skip
    bound = float(value(least_factor(registry.relation("D1", "cantelli"), "AUROC"), values, plain))

    def sample(generator: torch.Generator, size: int, factor: float) -> torch.Tensor:
        a, b = (torch.tensor(x)[torch.randint(len(x), (size,), generator=generator)] for x in (inside, outside))
        return (a > b).double()

    return Study(
        "D1", "cantelli", f"in {inside}, out {outside}", ">=", 1.02, sample, lambda factor: factor * bound, True
    )


def opposite(generator: torch.Generator, size: int, count: int, share: float) -> torch.Tensor:
    """``(size,)`` scores of samples of `count` images, each a fixed vector with probability `share`, else its opposite; texts are the vector."""
    trials, chance = (torch.full((size,), x, dtype=torch.float64) for x in (float(count), share))
    return 2 * torch.binomial(trials, chance, generator=generator) / count - 1


def coverage(n_s: int, delta: float, wrong: float) -> Study:
    """S7: how often a score misses the true one by the half-width or more; the constant scales the width.

    Images are one vector or its opposite, the widest spread there is; texts are constant, and many.
    """
    width = half_width(n_s, 10**15, delta)

    def sample(generator: torch.Generator, size: int, factor: float) -> torch.Tensor:
        return (opposite(generator, size, n_s, 0.5).abs() >= factor * width).double()  # the true score is 0

    return Study(
        "S7",
        "confidence",
        f"opposite images, n = {n_s}, delta = {delta:g}",
        "<=",
        wrong,
        sample,
        lambda factor: delta,
        True,
    )


def rare_coverage(n_s: int, logarithm: float) -> Study:
    """S7 where it is nearly tight: images that are one vector or its opposite, texts constant, a tiny delta.

    Probabilities of exp(-`logarithm`) are met by drawing images from the exponentially tilted distribution and weighing; what is
    averaged is the probability over delta.
    """
    delta, n_t = 2 * math.exp(-logarithm), 10**15

    def sample(generator: torch.Generator, size: int, factor: float) -> torch.Tensor:
        width = factor * half_width(n_s, n_t, delta)
        tilt = math.atanh(min(width, 1 - 1e-9))
        score = opposite(generator, size, n_s, (1 + width) / 2)
        log_weight = n_s * (math.log(math.cosh(tilt)) - tilt * score) + math.log(2) - math.log(delta)  # both sides
        return torch.where(score >= width, log_weight.exp(), 0.0)

    return Study(
        "S7",
        "confidence",
        f"opposite images, n = {n_s}, delta = 2 exp(-{logarithm:g}), tilted",
        "<=",
        0.98,
        sample,
        lambda factor: 1.0,
    )


def studies() -> list[Study]:
    """The studies that are run and tested."""
    return [
        generalisation(24, 8, 0.0, (1.0, 0.5), 1.0),
        generalisation(24, 8, 0.7, (0.0, 2.0, 1.0), 0.5),
        generalisation(16, 9, 0.5, (1.0,), 0.0),
        leakage(12, 4, 6),
        leakage(20, 16, 5),
        separation((0.0, 1.0), (0.0,)),
        separation((0.0, 0.0, 0.0, 2.0), (0.0, 0.0)),
        coverage(100, 0.05, 0.65),
        coverage(1000, 0.001, 0.8),
        rare_coverage(4096, 150.0),
    ]


def main() -> None:
    """One line a study: mean and interval for the claim's constant, and what becomes of the wrong one on the same draws."""
    from rich.console import Console
    from rich.progress import track

    for study in track(
        studies(), "studies", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ):
        samples = plan(study)
        for factor in (1.0, study.wrong):
            found = run(study, samples, factor)
            print(f"{study.claim} {study.relation}: {study.label}; constant x {factor:g}: mean {found.mean:.6g} in [{found.low:.6g}, {found.high:.6g}] "
                  f"{study.op} {found.reference:.6g}: {'rejected' if found.rejected else 'stands'}, {found.samples} samples")  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
