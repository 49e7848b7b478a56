"""MKL's functions, used once by one thread before several use them at once.

MKL finds the variant of `exp` for this processor when a process first calls it.  Two threads that call it for the first
time together may get one of half the digits: in one process of some tens, torch 2.13's very first
exponential of a large tensor was off by 1e-4 in the part of the second thread.  Whoever bounds or compares
exponentials imports this module.
"""

from __future__ import annotations

import torch

FUNCTIONS = ("exp", "expm1", "log", "log10", "log1p", "log2", "sqrt", "erf", "erfc", "tanh", "sin", "cos")

for _dtype in (torch.float32, torch.float64):
    for _name in FUNCTIONS:
        getattr(torch, _name)(torch.ones(1, dtype=_dtype, device="cpu"))  # too small to be divided between threads
