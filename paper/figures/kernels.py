"""The kernels beside their peers and their floors, from the recorded benchmark files."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.benchmarks.recorded import LATEST, content_hash, folders, items, recorded
from .. import style
from ..results import Data, Provenance

CAPTION = (
    "Kernels beside their peers, as recorded on {device} ({threads}, {dtype}, torch {torch}, {dates}, load {load_low:g} to {load_high:g}; "
    "recorded files {files}); contenders take turns, ratios are medians over rounds, dots the ratios of the minima.  Left: how many times longer the peer takes, and the "
    "target where there is one; {met} of {targets} targets met; the same on {others}.  Middle: time of ours over the floor, the same arithmetic at the speed of the "
    "machine's own matrix product.  Right: time and peak memory of K1 against the number of pairs; at {largest:.0f} pairs it needs "
    "{memory:.1f} MiB where the matrix takes {matrix:.0f} MiB.  GPU figures recorded: {gpu}."
)
MARKS = (("diamonds", "D", style.GREEN), ("triangles", "^", style.RED))  # of the machines recorded beside the latest


def compute(features: Any, seed: int) -> Data:
    """Read the recorded files; nothing is timed here."""
    rows = [row for item in items() for row in recorded(item) if row["status"] == "ok"]
    ours = {row["item"]: row for row in rows if row["contender"] == "ours"}
    peers = [row for row in rows if row["contender"] != "ours"]
    goals = [row for row in peers if "target_speedup" in row]
    curve = recorded("k1-curve")
    shown = [*rows, *curve]
    dates = sorted({str(row["date"]) for row in shown})
    floors = [(item, row["times_floor"]) for item, row in ours.items() if "times_floor" in row]
    threads = sorted({int(row["threads"]) for row in rows})
    others = [name for name in folders() if "/" not in name and name != LATEST]
    elsewhere = [
        {(row["item"], row["contender"]): row for item in items(folder=name) for row in recorded(item, folder=name)}
        for name in others
    ]
    named = [
        f"{mark[0]}: {next(iter(there.values()))['device']}" for mark, there in zip(MARKS, elsewhere, strict=False)
    ]
    return Data(
        values={
            "peer": [f"{row['item'].upper()}  {row['contender']}" for row in peers],
            "speedup": np.array([row["speedup_of_ours_median"] for row in peers]),
            "speedup_of_minima": np.array([row["speedup_of_ours_min"] for row in peers]),
            "target": np.array([row.get("target_speedup", np.nan) for row in peers]),
            "speedup_elsewhere": np.array([
                [there.get((row["item"], row["contender"]), {}).get("speedup_of_ours_median", np.nan) for row in peers] for there in elsewhere
            ]),
            "others": "; ".join(named) or "no other",
            "floor_item": [item.upper() for item, _ in floors], "times_floor": np.array([x for _, x in floors]),
            "curve_n": np.array([row["n"] for row in curve]), "curve_ms": np.array([row["ms"] for row in curve]),
            "curve_mib": np.array([row["peak_mib"] for row in curve]), "curve_matrix": np.array([row["matrix_mib"] for row in curve]),
            "met": sum(bool(row["target_met"]) for row in goals), "targets": len(goals), "device": " and ".join(dict.fromkeys(str(row["device"]) for row in shown)),
            "threads": " and ".join(map(str, threads)) + (" thread" if threads == [1] else " threads"),
            "torch": rows[0]["torch"], "dtype": rows[0]["dtype"], "width": int(curve[0]["d"]), "dates": " to ".join(dict.fromkeys((dates[0], dates[-1]))), "files": content_hash()[:12],
            "load_low": min(row["load"] for row in shown), "load_high": max(row["load"] for row in shown),
            "largest": curve[-1]["n"], "memory": curve[-1]["peak_mib"], "matrix": curve[-1]["matrix_mib"],
            "gpu": ", ".join(item for name in folders() for item in items(folder=name, device="cuda")) or "none",
        },
        provenance=Provenance(tuple(dict.fromkeys(item.split("-")[0].upper() for item in ours)), "", "", seed),
    )  # fmt: skip


def draw(data: Data) -> Any:
    figure, (left, middle, right) = style.canvas(style.TEXT, 3.1, 1, 3, width_ratios=(1.25, 0.75, 1))
    y = np.arange(len(data["peer"]))
    reached = ~(data["speedup"] < data["target"])
    left.barh(y, data["speedup"], color=[style.BLUE if ok else style.ORANGE for ok in reached], height=0.62)
    left.plot(data["target"], y, "|", color="black", markersize=8, markeredgewidth=1.4)
    left.plot(
        data["speedup_of_minima"], y, "o", color="white", markeredgecolor="black", markersize=2.6, markeredgewidth=0.5
    )
    for (_, mark, colour), there in zip(MARKS, data["speedup_elsewhere"], strict=False):
        left.plot(there, y, mark, color=colour, markersize=3.2, markeredgewidth=0)
    left.set_xscale("log")
    left.set_xticks([1, 3, 10, 30], ["1", "3", "10", "30"])
    left.minorticks_off()
    left.axvline(1, color=style.GREY, linewidth=0.6)
    left.set_yticks(y, data["peer"], fontsize=6.5)
    left.invert_yaxis()
    left.set_xlabel("time of the peer / time of ours\n(stroke: target; orange: missed)")
    k = np.arange(len(data["floor_item"]))
    middle.barh(k, data["times_floor"], color=style.SKY, height=0.62)
    middle.axvline(1, color="black", linewidth=0.8)
    middle.set_yticks(k, data["floor_item"], fontsize=6.5)
    middle.invert_yaxis()
    middle.set_xlabel("time / floor")
    right.loglog(data["curve_n"], data["curve_ms"] / 1000, "o-", color=style.BLUE, label="time (s)")
    right.loglog(data["curve_n"], data["curve_mib"], "s-", color=style.GREEN, label="memory (MiB)")
    right.loglog(data["curve_n"], data["curve_matrix"], ":", color=style.RED, label="N x N matrix (MiB)")
    right.minorticks_off()
    right.set_xticks(data["curve_n"], [f"{n / 1024:g}k" for n in data["curve_n"]])
    right.set_xlabel(f"pairs N (K1, d = {data['width']})")
    right.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, fontsize=7)
    return figure
