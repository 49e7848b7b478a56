"""Heatmaps of the four score matrices, every cell with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .scores import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "II": "images and images, Con$_{II}$",
    "IT": "images and texts, Con$_{IT}$",
    "TI": "texts and images, Con$_{TI}$",
    "TT": "texts and texts, Con$_{TT}$",
}
_SCALES = {"within one modality": ("II", "TT"), "across modalities": ("IT", "TI")}
_MOST_LABELLED = 8  # with more environments than this, numbers no longer fit their cells


def draw_scores(scores: Scores, *, width: float = 6.9) -> Figure:
    """The four matrices as heatmaps; rows are environment s, columns environment t.

    Cells give the unbiased estimate and, below, its 95 % normal interval (1.96 standard errors); the heading gives the widest
    distribution-free half-width (claim S7): one on a diagonal, 1.4 times those beside it where environments are of one
    size.  Cross-modal panels share one colour scale and intra-modal panels another: with a common one, the modality gap
    would be all there is to see.

    Args:
        scores: of `estimate_scores`.
        width: inches; 6.9 is a text width, 3.4 a column.

    Returns:
        A figure that belongs to no window; save it with `savefig`.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    small = width < 5
    size = 5.0 if small else 7.5
    engine = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.04, wspace=0.03, hspace=0.02)
    figure = Figure(figsize=(width, 1.08 * width), layout=engine)
    grid = figure.subplots(3, 2, height_ratios=(1, 1, 0.04))
    shown = scores.unbiased
    panels: dict[str, Axes] = dict(zip(TITLES, grid[:2].flat, strict=True))
    for column, (meaning, keys) in enumerate(_SCALES.items()):
        values = np.stack([shown[k] for k in keys])
        pad = max(1e-3, 0.02 * float(np.ptp(values)))
        low, high = values.min() - pad, values.max() + pad
        for key in keys:
            image = panels[key].imshow(shown[key], cmap="cividis", vmin=low, vmax=high)
        bar = figure.colorbar(image, cax=grid[2, column], orientation="horizontal")
        bar.ax.tick_params(labelsize=size, length=2)
        bar.set_label(f"mean cosine {meaning}", fontsize=size)
        bar.outline.set_visible(False)
    for key, axes in panels.items():
        axes.set_title(TITLES[key], fontsize=size + 1)
        _label(axes, scores, size, left=key in ("II", "TI"), bottom=key in ("TI", "TT"))
        if len(scores.environments) <= _MOST_LABELLED:
            _annotate(axes, shown[key], scores.standard_error[key], size, small)
    widest = max(float(matrix.max()) for matrix in scores.half_width.values())
    figure.suptitle(
        f"Contribution scores of {int(scores.counts.sum())} pairs, ± 1.96 standard errors\n"
        f"distribution-free half-width at level {1 - scores.delta:g}: at most {widest:.2f}",
        fontsize=size + 1.5,
    )
    return figure


def _label(axes: Axes, scores: Scores, size: float, *, left: bool, bottom: bool) -> None:
    ticks = np.arange(len(scores.names))
    names = [_short(name) for name in scores.names]
    counted = [f"{name} ({count})" for name, count in zip(names, scores.counts, strict=True)]
    axes.set_yticks(ticks, counted if left else [""] * len(ticks), fontsize=size)
    axes.set_xticks(
        ticks, names if bottom else [""] * len(ticks), rotation=35, ha="right", rotation_mode="anchor", fontsize=size
    )
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _annotate(axes: Axes, matrix: np.ndarray, error: np.ndarray, size: float, small: bool) -> None:
    image = axes.images[0]
    size *= min(1.0, 5 / len(matrix))
    for (s, t), value in np.ndenumerate(matrix):
        red, green, blue, _ = image.cmap(image.norm(value))
        colour = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"
        texts = f"{value:.3f}", f"±{1.96 * error[s, t]:.3f}"
        if small:  # no room for the zero before the point
            texts = texts[0].replace("0.", "."), texts[1].replace("0.", ".")
        for text, below, scale in zip(texts, (-0.13, 0.24), (1.0, 0.8), strict=True):
            axes.text(t, s + below, text, ha="center", va="center", color=colour, fontsize=scale * size)


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
