"""The one style of all figures: column width, 8 pt, colours that colour-blind readers can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, TEXT = 3.35, 6.9  # inches: one column of a two-column page, and both

# Okabe and Ito's palette, in the order in which a figure should use it.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000",
)  # fmt: skip
GREY = "#767676"
MAP = "cividis"
VERDICTS = {"PROVED": GREEN, "REFUTED": PURPLE, "UNDECIDED": ORANGE}
WORDS = {"PROVED": "#00674b", "REFUTED": "#99447a", "UNDECIDED": "#8a5a00"}  # the same, dark enough to be read as text

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs, and so the same bytes, everywhere
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "image.cmap": MAP,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # fonts embedded as TrueType: searchable text, accepted by publishers
    "svg.fonttype": "path",
    "svg.hashsalt": "crossmodal",  # ids in the file come from this, not from a random number
    "path.simplify": True,
}


def apply() -> None:
    """Make this the style of what is drawn next; the caller restores the reader's own (`matplotlib.rc_context`)."""
    import matplotlib

    for name, value in RC.items():
        matplotlib.rcParams[name] = value  # type: ignore[index]


def canvas(
    width: float = COLUMN, height: float = 2.4, rows: int = 1, columns: int = 1, **more: Any
) -> tuple[Figure, Any]:
    """A figure that belongs to no window, and its axes (one, or an array of them).

    Args:
        width, height: inches.
        rows, columns: of axes; `more` goes to `Figure.subplots`.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.04, hspace=0.04)
    figure = Figure(figsize=(width, height), layout=engine)
    return figure, figure.subplots(rows, columns, **more)
