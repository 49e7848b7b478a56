"""Kernel targets and what was recorded."""

from __future__ import annotations

from typing import Any

from ...kernels.benchmarks.recorded import content_hash, folders, items, recorded
from ..results import Data, Provenance

CAPTION = (
    "Kernels: speed relative to the peer (time of the peer over time of ours, median over rounds and ratio of the minima), targets, peak memory "
    "and error against double precision, as recorded (files {files}): {recordings}.  Targets of speed met: {met}.  GPU: {gpu}."
)


def compute(features: Any, seed: int) -> Data:
    """Read the recorded files; nothing is timed here."""
    rows: list[list[Any]] = []
    met: dict[str, list[bool]] = {}
    dates: dict[str, set[str]] = {}
    for folder in folders():
        for item in items(folder=folder):
            table = [row for row in recorded(item, folder=folder) if row["status"] == "ok"]
            ours = next(row for row in table if row["contender"] == "ours")
            device = ours["device"]
            dates.setdefault(device, set()).add(str(ours["date"]))
            for row in table:
                if row is ours:
                    continue
                reached = row.get("target_met")
                if reached is not None:
                    met.setdefault(device, []).append(reached)
                rows.append([
                    f"{item.split('-')[0].upper()}: {row['shape']}", row["contender"], device, int(row["threads"]),
                    row["speedup_of_ours_median"], row["speedup_of_ours_min"],
                    row.get("target_speedup"), reached, ours["peak_mib"], row["peak_mib"], ours["error"],
                ])  # fmt: skip
    columns = [
        "kernel", "peer", "processor", "threads", "speed-up", "of minima", "target", "met", "MiB ours", "MiB peer", "error",
    ]  # fmt: skip
    gpu = [item for folder in folders() for item in items(folder=folder, device="cuda")]
    return Data(
        values={
            "columns": columns, "rows": rows, "files": content_hash()[:12],
            "recordings": "; ".join(f"{device} on {' and '.join(sorted(days))}" for device, days in dates.items()),
            "met": "; ".join(f"{sum(map(bool, each))} of {len(each)} on {device}" for device, each in met.items()),
            "gpu": "recorded for " + ", ".join(gpu) if gpu else "no run recorded yet",
        },
        provenance=Provenance(tuple(dict.fromkeys(str(row[0]).split(":")[0] for row in rows)), "", "", seed),
    )  # fmt: skip
