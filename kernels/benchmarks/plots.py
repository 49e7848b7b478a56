"""One small picture an item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...theory.errors import counted


def plot(item: str, rows: list[dict[str, Any]], path: Path) -> None:
    """Bars with the 5th to 95th percentile for contenders, lines on two logarithmic axes for a curve."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "crossmodal", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(6, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        if item.endswith("-curve"):
            _curve(left, right, rows)
        else:
            _bars(left, right, [row for row in rows if row["status"] == "ok"])
        figure.suptitle(
            f"{item}: {rows[0].get('shape', 'd=' + str(rows[0].get('d')))}, {counted(rows[0]['threads'], 'thread')}"
        )
        figure.savefig(path, metadata={"Date": None})


def _bars(left: Any, right: Any, rows: list[dict[str, Any]]) -> None:
    names = [row["contender"] for row in rows]
    median = [row["p50_ms"] for row in rows]
    spread = [[m - row["p5_ms"] for m, row in zip(median, rows, strict=True)]]
    spread.append([row["p95_ms"] - m for m, row in zip(median, rows, strict=True)])
    left.barh(names, median, xerr=spread, color=["C0"] + ["C7"] * (len(rows) - 1))
    left.set_xlabel("time (ms), 5th to 95th percentile")
    if "floor_ms" in rows[0]:
        left.axvline(rows[0]["floor_ms"], color="C3", linewidth=1)
    left.invert_yaxis()
    right.barh(names, [row["peak_mib"] for row in rows], color=["C0"] + ["C7"] * (len(rows) - 1))
    right.set_xlabel("peak memory (MiB)")
    right.set_yticks([])
    right.invert_yaxis()


def _curve(left: Any, right: Any, rows: list[dict[str, Any]]) -> None:
    n = [row["n"] for row in rows]
    time = "seconds" if "seconds" in rows[0] else "ms"
    memory = "peak_anonymous_mib" if "peak_anonymous_mib" in rows[0] else "peak_mib"
    left.loglog(n, [row[time] for row in rows], "o-", label="measured")
    power = 2 if "matrix_mib" in rows[0] else 1
    left.loglog(n, [rows[-1][time] * (x / n[-1]) ** power for x in n], ":", label=f"N^{power}")
    left.set_xlabel("N")
    left.set_ylabel("time (s)" if time == "seconds" else "time (ms)")
    left.legend()
    right.loglog(n, [row[memory] for row in rows], "o-", label="ours")
    if "matrix_mib" in rows[0]:
        right.loglog(n, [row["matrix_mib"] for row in rows], ":", label="N x N matrix")
    else:
        right.loglog(n, [row["file_gib"] * 1024 for row in rows], ":", label="the data")
    right.set_xlabel("N")
    right.set_ylabel("memory (MiB)")
    right.legend()
