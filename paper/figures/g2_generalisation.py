"""G1 and G2: generalisation error of least-norm updates along a sequence, and what one modality's error leaks into the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...synthetic.arithmetic import arithmetic
from ...synthetic.evaluate import bound_values, sides
from ...synthetic.learners import least_norm
from ...theory import registry
from ...theory.claims.g1_generalisation import rates
from .. import style
from ..results import Data, provenance

DIMENSION, SAMPLES, STEPS, REPEATS = 48, 16, 10, 400
NOISES = (0.0, 0.3)
RANKS = (1, 4, 8, 16, 24, 32, 40, 44, 47)
CAPTION = (
    "Generalisation of least-norm updates on Gaussian features, {samples} samples in {dimension} dimensions, half of them of each "
    "modality.  Left: squared distance from the first environment's target along {steps} environments whose targets lie at distances up to "
    "{farthest:.1f} from it, with label noise {noises}; lines: closed form (G1); dots and squares: means of {repeats} runs of the learner, bars: {level:.0%} "
    "intervals.  Right: an error of squared length one in the texts alone, after one update on a sample that both targets explain: what is "
    "found in the image coordinates; line: closed form (G2), dots: learner.  It is largest, {peak:.3f}, at {peak_at} samples.  The "
    "largest deviation from the closed forms is {sigmas:.1f} standard errors, among {compared} comparisons."
)


def compute(features: Any, seed: int) -> Data:
    """Closed forms and runs; features are not used."""
    rng = np.random.default_rng([1, seed])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    distance = np.linspace(0, 2, STEPS) ** 2  # environment t's target from the first one's, squared
    theory = np.array([closed_form(distance, s) for s in NOISES])
    runs = np.array([sequence(distance, s, generator) for s in NOISES])  # (noise, repeat, step)
    ranks = np.arange(1, DIMENSION)
    leak_theory = np.array([leakage(int(m)) for m in ranks])
    leaks = np.array([leaked(m, generator) for m in RANKS])  # (rank, repeat)
    mean, error = moments(runs, 1)
    leak_mean, leak_error = moments(leaks, 1)
    deviation = [
        *np.abs((mean - theory) / error).ravel(),
        *np.abs((leak_mean - leak_theory[np.array(RANKS) - 1]) / leak_error),
    ]
    return Data(
        values={
            "dimension": DIMENSION, "samples": SAMPLES, "steps": STEPS, "repeats": REPEATS, "farthest": float(np.sqrt(distance.max())),
            "noise": list(NOISES), "noises": " and ".join(f"{s:g}" for s in NOISES), "distance": distance, "theory": theory,
            "mean": mean, "error": error, "ranks": ranks, "leak_theory": leak_theory, "leak_ranks": list(RANKS), "leak_mean": leak_mean,
            "leak_error": leak_error, "peak": float(leak_theory.max()), "peak_at": int(ranks[leak_theory.argmax()]), "level": 0.95,
            "sigmas": float(max(deviation)), "compared": len(deviation),
        },
        provenance=provenance(("G1", "G2"), None, seed),
    )  # fmt: skip


def moments(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and its standard error."""
    return x.mean(axis=axis), x.std(axis=axis, ddof=1) / np.sqrt(x.shape[axis])


def closed_form(distance: np.ndarray, noise: float) -> np.ndarray:
    """(steps,) G1's right side after every environment, starting from a zero head and a first target of length one."""
    claim, ops = registry.get("G1"), arithmetic("plain")
    relation = registry.relation("G1", "closed")
    one = torch.ones(1, 1, dtype=torch.float64)
    share, extra = rates(SAMPLES, DIMENSION, noise)
    out = []
    for t in range(1, len(distance) + 1):
        values = bound_values(claim, {
            "Q": one, "x": one, "y": one, "D": torch.as_tensor(distance[:t, None]), "E_0": one, "r": one * share, "v": one * extra,
        }, ops)  # fmt: skip
        out.append(float(sides(relation, values, ops)[1]))
    return np.array(out)


def normal(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def sequence(distance: np.ndarray, noise: float, generator: torch.Generator) -> np.ndarray:
    """(repeats, steps) squared distance of the head from the first target, from learners run in one batch."""
    ops = arithmetic("plain")
    first, away = (torch.eye(DIMENSION, dtype=torch.float64)[:, k : k + 1] for k in (0, DIMENSION - 1))
    head = torch.zeros(REPEATS, DIMENSION, 1, dtype=torch.float64)
    out = []
    for d in distance:
        x = normal(REPEATS, SAMPLES, DIMENSION, generator=generator)
        y = x @ (first + float(d) ** 0.5 * away) + noise * normal(REPEATS, SAMPLES, 1, generator=generator)
        head = least_norm(head, x, y, ops)
        out.append(((head - first) ** 2).sum((1, 2)))
    return torch.stack(out, dim=1).numpy()


def leakage(rank: int) -> float:
    """G2's right side for an error of length one in the other modality."""
    claim, ops = registry.get("G2"), arithmetic("plain")
    numbers = {"m": rank, "P": DIMENSION, "d_I": DIMENSION // 2, "e2": 1}
    values = bound_values(
        claim, {k: torch.full((1, 1), float(v), dtype=torch.float64) for k, v in numbers.items()}, ops
    )
    relation = registry.relation("G2", "leakage")
    return float(sides(relation, values, ops)[1])


def leaked(samples: int, generator: torch.Generator) -> np.ndarray:
    """(repeats,) squared error in the image coordinates after one update, when all error was in a text coordinate."""
    ops = arithmetic("plain")
    head = torch.zeros(REPEATS, DIMENSION, 1, dtype=torch.float64)
    head[:, -1] = 1  # the target is zero
    x = normal(REPEATS, samples, DIMENSION, generator=generator)
    head = least_norm(head, x, torch.zeros(REPEATS, samples, 1, dtype=torch.float64), ops)
    return np.asarray((head[:, : DIMENSION // 2] ** 2).sum((1, 2)).numpy())


def draw(data: Data) -> Any:
    figure, (left, right) = style.canvas(style.TEXT, 2.4, 1, 2)
    steps = np.arange(1, data["steps"] + 1)
    for k, (colour, line, mark) in enumerate(((style.BLUE, "-", "o"), (style.RED, "--", "s"))):
        left.plot(steps, data["theory"][k], color=colour, linestyle=line)
        left.errorbar(steps, data["mean"][k], yerr=1.96 * data["error"][k], fmt=mark, color=colour, elinewidth=0.8,
                      label=f"noise {data['noise'][k]:g}")  # fmt: skip
    left.set_xlabel("environments learnt")
    left.set_ylabel("error on the first environment")
    left.set_ylim(bottom=0)
    left.legend(loc="upper left", borderaxespad=0)
    right.plot(data["ranks"], data["leak_theory"], color=style.BLUE, label="closed form G2")
    right.errorbar(
        data["leak_ranks"],
        data["leak_mean"],
        yerr=1.96 * data["leak_error"],
        fmt="o",
        color=style.RED,
        elinewidth=0.8,
        label="learner",
    )
    right.set_xlabel("samples of the update")
    right.set_ylabel("text error found in the images")
    right.set_ylim(bottom=0)
    right.legend(loc="lower center")
    return figure
