"""Coalition values where an absent modality is at its mean over the samples, and what their intervals need (C1, C4).

Other samples would have had other means.  So a sample counts twice: by its own value, and by what it moves everybody's baseline.
`Values.influence` is the sum of both (the influence function of the mean value, but for a constant); its mean is that of the values.
It is a derivative, and the probability of a sure head is no straight line: `Values.resampled` is the mean value of samples drawn again,
with their means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax

PIECE = 2**22  # pairs of a resample and a sample at a time
CERTAIN = 1e-200  # a sum of products of exponentials above this has lost nothing to underflow


@dataclass(frozen=True, eq=False)
class Values:
    """Values of n samples in the coalitions '', I, T, IT.

    Attributes:
        own: (n, 4) value of every sample.
        influence: (n, 4) the same and what the sample moves the mean value by through the mean baselines.
        resampled: (R, n) shares of the samples in each resample, rows summing to 1 -> (R, 4) mean values of the resamples.
    """

    own: np.ndarray
    influence: np.ndarray
    resampled: Callable[[np.ndarray], np.ndarray]


def fixed(own: np.ndarray) -> Values:
    """Values (n, 4) whose baseline does not hang on the samples (a grey image, say): each counts by its own alone."""
    return Values(own, own, lambda drawn: drawn @ own)


def probabilities(image: np.ndarray, text: np.ndarray, label: np.ndarray) -> Values:
    """The value is the probability of the true class, of a head that is linear in both modalities.

    Args:
        image, text: (n, C) what each modality adds to the logits; a bias is in one of them.
        label: (n,) true classes.
    """
    mean = [np.broadcast_to(x.mean(axis=0), x.shape) for x in (image, text)]
    full, row = image + text, np.arange(len(label))
    own, moved = [], []
    for logits in (mean[0] + mean[1], image + mean[1], mean[0] + text, full):
        p = softmax(logits, axis=1)
        own.append(p[row, label])
        chosen = label[:, None] == np.arange(p.shape[1])
        slope = own[-1][:, None] * (chosen - p)  # of the own probability, in the logits
        moved.append((full - logits) @ slope.mean(axis=0))
    values = np.stack(own, axis=-1)

    order = np.argsort(label, kind="stable")  # sums over the samples of a class are then sums of neighbours
    x, y, c, whole = image[order], text[order], label[order], values[order, 3]

    def resampled(drawn: np.ndarray) -> np.ndarray:
        out, step = [], max(1, PIECE // len(label))
        for start in range(0, len(drawn), step):
            w = drawn[start : start + step, order]
            at_image, at_text = w @ x, w @ y
            none = (softmax(at_image + at_text, axis=1) * by_class(w, c, x.shape[1])).sum(axis=1)
            out.append(np.stack([none, beside(x, at_text, c, w), beside(y, at_image, c, w), w @ whole], axis=-1))
        return np.concatenate(out)

    return Values(values, values + np.stack(moved, axis=-1), resampled)


def by_class(x: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """(R, classes) sums of the columns of x (R, n) with each label; labels ascend."""
    found, first = np.unique(label, return_index=True)
    out = np.zeros((len(x), classes))
    out[:, found] = np.add.reduceat(x, first, axis=1)
    return out


def beside(present: np.ndarray, absent: np.ndarray, label: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(R,) mean probability of the true class, weights w (R, n), of n samples' logits beside R means of the other modality's.

    Exponentials factor, so that all denominators are one product of matrices; where one might have underflown it is taken again.
    """
    e, f = softmax(present, axis=1), np.exp(absent - absent.max(axis=1, keepdims=True))
    total = f @ e.T
    r, k = np.nonzero(total < CERTAIN) if total.min() < CERTAIN else np.empty((2, 0), dtype=int)
    total[r, k] = np.inf
    np.divide(w, total, out=total)
    total *= e[np.arange(len(label)), label]
    mean = (by_class(total, label, f.shape[1]) * f).sum(axis=1)
    step = max(1, PIECE // e.shape[1])
    for start in range(0, len(r), step):
        i, j = r[start : start + step], k[start : start + step]
        logits = present[j] + absent[i]
        own = np.exp(logits[np.arange(len(j)), label[j]] - logsumexp(logits, axis=1))
        np.add.at(mean, i, w[i, j] * own)
    return mean


def cosines(u: np.ndarray, v: np.ndarray) -> Values:
    """The value is the product of a pair's features (n, d)."""
    no_u, no_v = u.mean(axis=0), v.mean(axis=0)
    both = (u * v).sum(axis=1)
    own = np.stack([np.full(len(u), no_u @ no_v), u @ no_v, v @ no_u, both], axis=-1)

    def resampled(drawn: np.ndarray) -> np.ndarray:
        apart = ((drawn @ u) * (drawn @ v)).sum(axis=1)
        return np.stack([apart, apart, apart, drawn @ both], axis=-1)

    return Values(own, own + through_mean_features(own), resampled)


def through_mean_features(own: np.ndarray) -> np.ndarray:
    """(n, 4) what every sample moves the mean cosine of every coalition by; sums to 0.

    The mean cosine is bilinear in the two mean features, but for the full coalition: where the image is absent, sample i moves it
    by `<u_i - mean u, mean v>`, which is its f(I) less the mean of all.

    Args:
        own: (n, 4) cosines in the coalitions '', I, T, IT.
    """
    centred = own - own.mean(axis=0)
    image, text = centred[:, 1], centred[:, 2]
    return np.stack([image + text, text, image, np.zeros_like(image)], axis=-1)
