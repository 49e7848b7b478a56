"""E8: what each modality contributes to the prediction, per environment and along a sequence of environments.

A coalition is the set of modalities present: "", "I", "T", "IT".  An absent modality is replaced by its baseline: in a fused
encoder a grey image or a caption whose tokens are masked out, in a dual encoder the mean feature of the environment.  The
value f(S) is what a head makes of the coalition's features, and claim C1 splits `f(IT) - f()` between the modalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..theory.claims import c1_shapley as c1
from ..theory.errors import InputError
from .features import Features
from .mean_baseline import Values, fixed, probabilities

COALITIONS = ("", "I", "T", "IT")


@dataclass(frozen=True, eq=False)
class CoalitionRun:
    """Coalition values along one order of environments.

    Attributes:
        names: T environments, in the order of training.
        accuracy: (T+1, T, 4) accuracy in [0, 1]: after k environments, on environment j, coalitions as in `COALITIONS`.
        confidence: (T+1, T, 4) mean probability of the true class.
        baseline: what stands for an absent modality.
        values: T tuples of T+1 `mean_baseline.Values`: probability of the true class of the n_j samples of environment j.
        hits: T arrays (T+1, n_j): whether the full input of every sample is classified right; a tie counts its share.
    """

    names: tuple[str, ...]
    accuracy: np.ndarray
    confidence: np.ndarray
    baseline: str
    values: tuple[tuple[Values, ...], ...] = ()
    hits: tuple[np.ndarray, ...] = ()

    def shapley(self, value: str = "confidence") -> np.ndarray:
        """(T+1, T, 2) contributions of image and text (C1); they sum to f(IT) - f()."""
        return split(getattr(self, value))

    def interaction(self, value: str = "confidence") -> np.ndarray:
        """(T+1, T) f(IT) - f(I) - f(T) + f() (C1)."""
        return np.asarray(c1.interaction(*np.moveaxis(getattr(self, value), -1, 0)))


def split(values: np.ndarray) -> np.ndarray:
    """(..., 2) contributions of image and text from coalition values (..., 4) in the order of `COALITIONS` (C1)."""
    return np.stack(c1.shapley(*np.moveaxis(values, -1, 0)), axis=-1)


def run_coalitions(
    inputs: Mapping[str, np.ndarray],
    environment: np.ndarray,
    label: np.ndarray,
    order: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    baseline: str = "",
    of_means: bool = False,
    steps: int = 200,
    step: float = 1.0,
) -> CoalitionRun:
    """Train a linear head on the full coalition, one environment after the other, and value every coalition throughout.

    Args:
        inputs: coalition -> (N, d) features of the same samples, each with the head's input in that coalition.
        environment, label: (N,) ints.
        order: environment ids in training order.
        names: of the environments in that order.
        baseline: what stands for an absent modality, in words.
        of_means: it is the mean of the environment, as in `dual_encoder_inputs`.
        steps, step: full-batch gradient steps an environment, from a zero head.

    Raises:
        InputError: a coalition is missing, or shapes differ.
    """
    shapes = {key: np.shape(inputs[key]) for key in COALITIONS if key in inputs}
    if len(shapes) < 4 or len(set(shapes.values())) != 1:
        raise InputError(
            f"coalition inputs have shapes {shapes}", expected="four arrays of one shape, for '', 'I', 'T' and 'IT'",
            causes=("an absent modality was dropped instead of replaced by its baseline",),
        )  # fmt: skip
    # Features of different coalitions share centre and scale, those of the full one: the head must not see the difference.
    full = np.asarray(inputs["IT"], dtype=np.float64)
    centre, scale = full.mean(axis=0), np.sqrt(((full - full.mean(axis=0)) ** 2).sum(axis=1).mean())
    z = {key: torch.tensor((np.asarray(inputs[key], dtype=np.float64) - centre) / scale) for key in COALITIONS}
    y, classes = torch.tensor(label), int(label.max()) + 1
    onehot = torch.nn.functional.one_hot(y, classes).double()
    rows = [torch.tensor(np.flatnonzero(environment == k)) for k in order]
    head = torch.zeros(full.shape[1] + 1, classes, dtype=torch.float64)
    extended = {key: torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1) for key, x in z.items()}
    accuracy, confidence = [], []
    values: list[list[Values]] = [[] for _ in rows]
    hits: list[list[np.ndarray]] = [[] for _ in rows]
    for turn in range(len(order) + 1):
        if turn:
            own = rows[turn - 1]
            x = extended["IT"][own]
            for _ in range(steps):
                head = head - step * x.T @ (torch.softmax(x @ head, dim=1) - onehot[own]) / len(own)
        probability = {key: torch.softmax(x @ head, dim=1) for key, x in extended.items()}
        right = {key: share_right(p, y) for key, p in probability.items()}
        accuracy.append([[float(right[key][r].mean()) for key in COALITIONS] for r in rows])
        confidence.append([[float(probability[key][r, y[r]].mean()) for key in COALITIONS] for r in rows])
        for j, r in enumerate(rows):
            hits[j].append(right["IT"][r].numpy())
            if not of_means:
                values[j].append(fixed(np.stack([probability[key][r, y[r]].numpy() for key in COALITIONS], axis=-1)))
                continue
            # both are present, less the text that is absent: what the text adds, but for what its mean adds
            text = ((extended["IT"][r] - extended["I"][r]) @ head).numpy()
            values[j].append(probabilities((extended["I"][r] @ head).numpy(), text, label[r.numpy()]))
    titles = tuple(names) if names is not None else tuple(f"environment {k}" for k in order)
    whole = tuple(np.stack(found) for found in hits)
    return CoalitionRun(titles, np.array(accuracy), np.array(confidence), baseline, tuple(map(tuple, values)), whole)


def share_right(probability: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """(N,) 1 where the true class is the most probable one, 1/k where it ties with k - 1 others (a zero head ties all)."""
    top = probability == probability.amax(dim=1, keepdim=True)
    return top.gather(1, label[:, None])[:, 0].double() / top.sum(dim=1)


def dual_encoder_inputs(features: Features) -> dict[str, np.ndarray]:
    """Coalition -> (N, 2d) concatenated features of a dual encoder, an absent modality at its mean over the environment."""
    u, v = features.image.astype(np.float64), features.text.astype(np.float64)
    no_u, no_v = np.empty_like(u), np.empty_like(v)
    for k in features.environments:
        rows = features.rows(k)
        no_u[rows], no_v[rows] = u[rows].mean(axis=0), v[rows].mean(axis=0)
    return {
        "": np.hstack([no_u, no_v]), "I": np.hstack([u, no_v]), "T": np.hstack([no_u, v]), "IT": np.hstack([u, v])
    }  # fmt: skip


@torch.no_grad()
def fused_encoder_inputs(
    encoder: Any, pixels: torch.Tensor, tokens: Mapping[str, torch.Tensor], *, batch: int = 256
) -> dict[str, np.ndarray]:
    """Coalition -> (N, d) pooled output of a ViLT-style encoder.

    Args:
        encoder: `ViltModel` in evaluation mode.
        pixels: (N, 3, H, W), standardised so that zero is grey: the image baseline.
        tokens: `input_ids`, `attention_mask`, (N, L); the text baseline hides all tokens but the first.
    """
    found: dict[str, list[torch.Tensor]] = {key: [] for key in COALITIONS}
    for start in range(0, len(pixels), batch):
        part = slice(start, start + batch)
        ids, mask = tokens["input_ids"][part], tokens["attention_mask"][part]
        hidden = torch.zeros_like(mask)
        hidden[:, 0] = 1
        for key in COALITIONS:
            x = pixels[part] if "I" in key else torch.zeros_like(pixels[part])
            seen = mask if "T" in key else hidden
            found[key].append(encoder(pixel_values=x, input_ids=ids, attention_mask=seen).pooler_output)
    return {key: torch.cat(parts).double().numpy() for key, parts in found.items()}
