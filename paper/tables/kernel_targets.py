"""Kernel targets and what was recorded."""

from __future__ import annotations

from typing import Any

from ...kernels.benchmarks.recorded import content_hash, items, recorded
from ..results import Data, Provenance

CAPTION = (
    "Kernels: speed relative to the peer (time of the peer over time of ours, median over rounds and ratio of the minima), targets, peak memory "
    "and error against double precision, as recorded on {device} on {date} (files {files}).  {met} of {targets} speed targets are met.  GPU: {gpu}."
)


def compute(features: Any, seed: int) -> Data:
    """Read the recorded files; nothing is timed here."""
    rows, goals = [], []
    for folder in ("", "two-threads"):
        for item in items(folder=folder):
            table = [row for row in recorded(item, folder=folder) if row["status"] == "ok"]
            ours = next(row for row in table if row["contender"] == "ours")
            for row in table:
                if row is ours:
                    continue
                met = row.get("target_met")
                goals += [met] if met is not None else []
                rows.append([
                    f"{item.split('-')[0].upper()}: {row['shape']}", row["contender"], int(row["threads"]), row["speedup_of_ours_median"],
                    row["speedup_of_ours_min"],
                    row.get("target_speedup"), met, ours["peak_mib"], row["peak_mib"], ours["error"],
                ])  # fmt: skip
    columns = ["kernel", "peer", "threads", "speed-up", "of minima", "target", "met", "MiB ours", "MiB peer", "error"]
    gpu = items(device="cuda")
    first = recorded(items()[0])[0]
    return Data(
        values={
            "columns": columns, "rows": rows, "met": sum(map(bool, goals)), "targets": len(goals), "device": first["device"],
            "date": max(str(row["date"]) for item in items() for row in recorded(item)), "files": content_hash()[:12],
            "gpu": "recorded for " + ", ".join(gpu) if gpu else "no run recorded yet",
        },
        provenance=Provenance(tuple(dict.fromkeys(str(row[0]).split(":")[0] for row in rows)), "", "", seed),
    )  # fmt: skip
