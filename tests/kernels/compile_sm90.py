"""Compile every Triton kernel for an H100/H200 without a GPU, and print what is in the machine code as JSON.

Run by `test_compile.py` in a process of its own, with one version of Triton first on the path.  Mutants can be named
on the command line: kernels made wrong on purpose, which the test must notice.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import triton
from crossmodal.kernels.ops.coalition_head import triton as head
from crossmodal.kernels.ops.pair_lse import triton as pair
from crossmodal.kernels.ops.segment_attention import triton as segment
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

HEAD_INPUTS = {"image_ptr", "text_ptr", "wi_ptr", "wt_ptr"}
SEGMENT_INPUTS = {"q_ptr", "k_ptr", "v_ptr", "out0_ptr", "out1_ptr", "out01_ptr"}
TYPES = {"fp16": "*fp16", "bf16": "*bf16", "fp32": "*fp32"}


def signature(fn, dtype: str, inputs: set[str], constants: dict[str, int]) -> dict[str, str]:
    """Argument types by name: inputs in `dtype`, results in float32, sizes and strides int32, as they are up to 2^31."""
    types = {}
    for name in fn.arg_names:
        if name in constants:
            types[name] = "constexpr"
        elif name in inputs:
            types[name] = TYPES[dtype]
        elif name in ("label_ptr", "argmax_ptr"):
            types[name] = "*i64"
        elif name == "keep_ptr":
            types[name] = "*i8"
        elif name == "faint_ptr":
            types[name] = "*i32"
        elif name.endswith("_ptr"):
            types[name] = "*fp32"
        else:
            types[name] = "fp32" if name == "scale_log2e" else "i32"
    return types


def compiled(
    fn, dtype: str, inputs: set[str], config: dict[str, int], smallest: bool = False, **constants: int
) -> dict:
    """Machine code facts of one configuration.  Inner strides are 1 and pointers aligned, as for torch tensors.

    A launch makes whole numbers that are 1 constants of the kernel; with `smallest` all are, but for the bounds of segments.
    """
    constants = {**{k: v for k, v in config.items() if k.isupper()}, **constants}
    types = signature(fn, dtype, inputs, constants)
    ones = r"(?!bound)\w+" if smallest else r"stride_\w+d"
    inner = [n for n in fn.arg_names if types[n] == "i32" and re.fullmatch(ones, n)]
    constants |= dict.fromkeys(inner, 1)
    types |= dict.fromkeys(inner, "constexpr")
    even = ("stride", "d")  # the feature widths are d, d_image, d_text
    aligned = [n for n in types if (n.endswith("_ptr") or n.startswith(even)) and n not in constants]
    attrs = {(fn.arg_names.index(n),): [["tt.divisibility", 16]] for n in aligned}
    source = ASTSource(fn, types, constants, attrs)
    options = {"num_warps": config["num_warps"], "num_stages": config["num_stages"]}
    kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return facts(kernel) | {"kernel": fn.__name__, "dtype": dtype, "config": config}


def facts(kernel) -> dict:
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [tools / "cuobjdump", "-res-usage", file.name], capture_output=True, text=True, check=True
        )
        # code only, no flow of data: half the time of `cuobjdump -sass`, and the same instructions
        code = [tools / "nvdisasm", "-c", "-ndf", file.name]
        sass = subprocess.run(code, capture_output=True, text=True, check=True).stdout
    numbers = dict(re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", usage.stdout + usage.stderr))
    ptx = kernel.asm["ptx"]
    return {
        "registers": int(numbers["REG"]),
        "stack": int(numbers["STACK"]),
        "local": int(numbers["LOCAL"]),
        "shared": int(kernel.metadata.shared),
        "hgmma": sass.count("HGMMA"),
        "spills": len(re.findall(r"\b(?:STL|LDL)\b", sass)),
        "tf32": ptx.count(".tf32"),
        "wide_offsets": wide(kernel.asm["ttir"]),
        "atomics": len(re.findall(r"\batom\.|\bred\.", ptx)),
    }


def wide(ttir: str) -> bool:
    """True when every pointer moves by a 64-bit offset."""
    offsets = re.findall(r"tt\.addptr [^\n]*, (?:tensor<(?:\d+x)*)?(i\d+)>? loc", ttir)
    return bool(offsets) and set(offsets) == {"i64"}


def kernels() -> Iterator[dict]:
    """Every configuration that can be chosen: all candidates in bfloat16, the defaults in the other types."""
    for dtype in ("bf16", "fp16", "fp32"):
        full, half = dtype == "fp32", dtype == "fp16"
        for config in [pair.DEFAULT_FP32] if full else pair.CANDIDATES[: 1 if half else None]:
            yield compiled(pair.pair_lse_kernel, dtype, {"u_ptr", "v_ptr"}, config)
            yield compiled(pair.faint_columns_kernel, dtype, {"u_ptr", "v_ptr"}, config)
        for config in [head.DEFAULT_FP32] if full else head.CANDIDATES[: 1 if half else None]:
            yield compiled(head.coalition_head_kernel, dtype, HEAD_INPUTS, config)
        for width, candidates in ((64, segment.CANDIDATES), (128, segment.CANDIDATES_WIDE)):
            if full and width > segment.WIDEST_FP32:
                continue
            for config in [segment.DEFAULT_FP32] if full else candidates[: 1 if half else None]:
                constants = {"BLOCK_D": width, "HAS_KEEP": int(not half)}
                yield compiled(segment.segment_attention_kernel, dtype, SEGMENT_INPUTS, config, **constants)
    for fn in (pair.pair_lse_kernel, pair.faint_columns_kernel):
        yield compiled(fn, "bf16", {"u_ptr", "v_ptr"}, pair.DEFAULT, smallest=True)
    yield compiled(head.coalition_head_kernel, "bf16", HEAD_INPUTS, head.DEFAULT, smallest=True)
    constants = {"BLOCK_D": 16, "HAS_KEEP": 1}
    yield compiled(segment.segment_attention_kernel, "bf16", SEGMENT_INPUTS, segment.DEFAULT, True, **constants)


def main() -> None:
    if len(sys.argv) > 1:
        import compile_mutants

        found = [kernel for name in sys.argv[1:] for kernel in getattr(compile_mutants, name)()]
    else:
        found = list(kernels())
    print(json.dumps({"triton": triton.__version__, "kernels": found}))


if __name__ == "__main__":
    main()
