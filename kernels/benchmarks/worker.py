"""Runs one item in this process and prints its rows as JSON; started by `suite`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from crossmodal.kernels.benchmarks import cpu_items, curves
from crossmodal.kernels.benchmarks.measure import Case, Run, interleaved, limits, machine
from crossmodal.theory.errors import not_installed

GEMMS = {"one GEMM", "torch.mm"}


def rows_of(item: str, case: Case, device: str, rounds: int) -> list[dict[str, Any]]:
    """One row a contender; or, when the result is wrong, one row that says so and no speed at all."""
    facts: dict[str, Any] = {"item": item, "shape": case.shape, "dtype": case.dtype, "threads": torch.get_num_threads()}
    facts |= machine(device)
    error, allowed = case.error()
    facts |= {"error": error, "allowed_error": allowed, "note": case.note}
    if not error <= allowed:
        return [{**facts, "contender": "ours", "status": f"WRONG: error {error:.2g} exceeds {allowed:.2g}"}]
    runs: dict[str, Run] = {"ours": case.ours}
    runs |= {name: run for name, run in case.peers.items() if callable(run)}
    timings = {t.name: t for t in interleaved(runs, rounds, device)}
    rate, bandwidth = limits(device, getattr(torch, case.dtype))
    for name in GEMMS & set(timings):  # the same product, timed in the rounds themselves
        rate = max(rate, case.flops / min(timings[name].rounds) * 1e3)
    floor = max(case.flops / rate, case.bytes / bandwidth) * 1e3
    ours, out = timings["ours"], []
    for name, timing in timings.items():
        ratios = torch.tensor(timing.rounds) / torch.tensor(ours.rounds)
        row: dict[str, Any] = {
            **facts,
            "contender": name,
            "status": "ok",
            "rounds": len(timing.rounds),
            "min_ms": min(timing.rounds),
            "p5_ms": timing.percentile(0.05),
            "p50_ms": timing.percentile(0.5),
            "p95_ms": timing.percentile(0.95),
            "peak_mib": timing.peak_mib,
            "speedup_of_ours_min": min(timing.rounds) / min(ours.rounds),
            "speedup_of_ours_median": float(ratios.median()),
        }
        if name == "ours":
            bound = "products" if case.flops / rate >= case.bytes / bandwidth else "bytes"
            row |= {"floor_ms": floor, "floor_by": bound, "times_floor": min(ours.rounds) / floor} if floor else {}
        if name in case.targets:
            target = case.targets[name]
            row |= {"target_speedup": target, "target_met": float(ratios.median()) >= target}
        if case.memory_target and case.memory_target[0] == name:
            times = timing.peak_mib / max(ours.peak_mib, 1e-9)
            row |= {"memory_ratio": times, "target_memory_ratio": case.memory_target[1]}
            row |= {"memory_target_met": times >= case.memory_target[1]}
        out.append(row)
    out += [{**facts, "contender": name, "status": why} for name, why in case.peers.items() if isinstance(why, str)]
    return out


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("item")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with torch.no_grad():
        if options.item in curves.CURVES:
            facts = {"item": options.item, "threads": options.threads, **machine(options.device)}
            rows = [{**facts, **row} for row in curves.CURVES[options.item](options.quick, options.device)]
        else:
            items: dict[str, Callable[[bool], Case]] = dict(cpu_items.ITEMS)
            if options.device == "cuda":
                from crossmodal.kernels.benchmarks import gpu_items

                items = dict(gpu_items.ITEMS)
            try:
                case = items[options.item](options.quick)
            except ModuleNotFoundError as error:
                if error.name != "transformers":
                    raise
                told = not_installed("transformers", "vlm")
                sys.exit(f"{told.found}; fix: {told.fix}")  # in a line, for the status
            rows = rows_of(options.item, case, options.device, options.rounds)
    print("\n" + json.dumps(rows))


if __name__ == "__main__":
    main()
