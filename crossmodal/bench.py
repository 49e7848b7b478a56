"""`crossmodal bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossmodal.kernels.benchmarks import item_names, main

from . import terminal


def bench(only: Sequence[str], output: Path, threads: int | None, quick: bool, device: str) -> int:
    """Measure, write one CSV and plot an item, print ours beside the best peer.

    Returns:
        The exit status: 1 where an item is wrong or could not run.
    """
    with terminal.progress() as bar:
        task = bar.add_task("benchmark", total=len(only) or len(item_names(device)))

        def tell(done: int, total: int, item: str) -> None:
            bar.update(task, completed=done, total=total, description=f"benchmark {item}".strip())

        found = main(output, only or None, threads, quick, device, tell)
    rows = [
        [item, row.get("contender", ""), row.get("status", ""), shown(row.get("p50_ms")), shown(row.get("peak_mib"))]
        for item, many in found.items()
        for row in many
    ]
    columns = [
        ("item", "left"),
        ("contender", "left"),
        ("status", "left"),
        ("median ms", "right"),
        ("peak MiB", "right"),
    ]
    terminal.table(f"kernels on {device}{' (quick: the numbers mean nothing)' if quick else ''}", columns, rows)
    print(f"wrote {output}")
    ours = [row for many in found.values() for row in many if row.get("contender", "ours") == "ours"]
    return int(any(row.get("status", "ok") != "ok" for row in ours))


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float | int) else "-"
