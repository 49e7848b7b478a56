"""Walk through the GPU benchmark on a CPU: every item built, tuned, judged and called once, at sizes that Triton's interpreter can take.

Run by `test_triton.py` in a process of its own with TRITON_INTERPRET=1 and a cache of its own.  What only a GPU has is left out:
its types (bfloat16, which the interpreter computes wrongly), recorded graphs, compiled peers, its own limits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import torch
from crossmodal.kernels import autotune
from crossmodal.kernels.benchmarks import gpu_items, worker
from crossmodal.kernels.ops.coalition_head import triton as head
from crossmodal.kernels.ops.pair_lse import triton as pair
from crossmodal.kernels.ops.segment_attention import triton as segment

SMALL = {"k1": {"n": 40}, "k2": {"n": 40, "classes": 70}, "k3": {"batch": 3, "heads": 1}}
KERNELS = {"k1": pair, "k2": head, "k3": segment}


def chosen(module: ModuleType, run: Callable[[], object]) -> list[str]:
    """Under which names a kernel looks for what was tuned."""
    found, right = [], module.choose

    def choose(*arguments: object) -> autotune.Config:
        found.append(autotune.key(*arguments[:-1]))
        return right(*arguments)

    module.choose = choose
    try:
        run()
    finally:
        module.choose = right
    return found


def main() -> None:
    tune = autotune.tune
    autotune.tune = lambda op, shape, dtype, device, candidates, run: tune(
        op, shape, dtype, device, candidates[:1], run, repeats=1
    )
    gpu_items.DTYPE, gpu_items.SOME = torch.float16, 8
    torch.compile = lambda function, **_: function
    worker.limits = lambda *_: (1e12, 1e10)
    out = {}
    for name, sizes in SMALL.items():
        torch.manual_seed(0)
        with torch.no_grad():
            case = gpu_items.CASES[name](**sizes, device="cpu")
            compared, timed = (chosen(KERNELS[name], run) for run in (case.error, case.ours))
            wrong = replace(case, error=lambda case=case: (2 * case.error()[1], case.error()[1]))
            rows, of_wrong = (worker.rows_of(name, c, "cpu", rounds=1) for c in (case, wrong))
            out[name] = {"rows": rows, "wrong": of_wrong, "targets": sorted(case.targets)}
            out[name] |= {"compared": compared, "timed": timed}
    print(json.dumps({"items": out, "cached": sorted(autotune._table())}))


if __name__ == "__main__":
    main()
