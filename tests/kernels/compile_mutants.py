"""Kernels that compile without an error and are wrong: each must be visible in the facts of its machine code."""

from __future__ import annotations

from compile_sm90 import HEAD_INPUTS, compiled
from mutate import mutant

PAIR = {"u_ptr", "v_ptr"}


def tf32() -> list[dict]:
    """The default precision of a float32 product."""
    module = mutant("pair", (', input_precision="ieee"', ""))
    return [compiled(module.pair_lse_kernel, "fp32", PAIR, module.DEFAULT_FP32)]


def narrow_offsets() -> list[dict]:
    """32-bit row numbers: wrong beyond 2^31 elements."""
    module = mutant("pair", ("row_block.to(tl.int64)", "row_block"), ("split.to(tl.int64)", "split"))
    return [compiled(module.pair_lse_kernel, "bf16", PAIR, module.DEFAULT)]


def spilling() -> list[dict]:
    """A tile too large for the registers."""
    module = mutant("head")
    return [compiled(module.coalition_head_kernel, "bf16", HEAD_INPUTS, module.DEFAULT | {"BLOCK_N": 128})]


def too_much_shared_memory() -> list[dict]:
    """A pipeline too deep for the chip."""
    module = mutant("pair")
    return [compiled(module.pair_lse_kernel, "bf16", PAIR, module.DEFAULT | {"num_stages": 9})]


def no_tensor_cores() -> list[dict]:
    """Operands widened to float32 before the product."""
    module = mutant("pair", ("tl.dot(a, b, z", "tl.dot(a.to(tl.float32), b.to(tl.float32), z"))
    config = module.DEFAULT_FP32
    return [compiled(module.pair_lse_kernel, "bf16", PAIR, config)]


def atomics() -> list[dict]:
    """Column sums added up in whatever order the programs arrive."""
    old = "tl.store(col_l_ptr + at, col_l, mask=col_ok)"
    module = mutant("pair", (old, "tl.atomic_add(col_l_ptr + at, col_l, mask=col_ok)"))
    return [compiled(module.pair_lse_kernel, "bf16", PAIR, module.DEFAULT)]
