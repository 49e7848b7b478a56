"""Which implementation runs: by device, by what is installed, and (in the operations themselves) by size."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from importlib import metadata
from typing import ParamSpec, TypeVar

import torch
from crossmodal.kernels import first_use  # noqa: F401
from crossmodal.theory.errors import InputError

IMPLEMENTATIONS = ("auto", "triton", "torch", "naive")
OLDEST_TRITON = (3, 6)  # whose machine code the tests judge; torch before 2.10 brings an older one
log = logging.getLogger("crossmodal.kernels")

P = ParamSpec("P")
R = TypeVar("R")


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` as if no autocast region were active.

    Autocast would round the float32 products inside to half precision, and only on the calling thread.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        active = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
        if not active:
            return function(*args, **kwargs)
        with ExitStack() as stack:
            for device in active:
                stack.enter_context(torch.autocast(device, enabled=False))
            return function(*args, **kwargs)

    return run


@functools.cache
def triton_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache
def triton_too_old() -> str:
    """The version of a Triton older than `OLDEST_TRITON`; empty for a newer one, and where no version is known."""
    try:
        version = metadata.version("triton")
    except metadata.PackageNotFoundError:
        return ""
    return version if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_TRITON else ""


def interpreting() -> bool:
    """Triton's interpreter runs kernels on CPU tensors; the variable must be set before Triton is imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def say_once(message: str) -> None:
    log.warning(message)


def missing_for_triton(device: torch.device) -> str:
    """Why Triton cannot run on `device`; empty when it can."""
    if not triton_installed():
        return "Triton is not installed"
    if triton_too_old():
        return f"Triton {triton_too_old()} is older than {'.'.join(map(str, OLDEST_TRITON))}"
    if device.type != "cuda" and not interpreting():
        return f"the tensors are on {device}, and Triton needs a CUDA device"
    return ""


def on_device_of(x: torch.Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current GPU, which need not be the one that holds the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def resolve(op: str, impl: str, device: torch.device) -> str:
    """Turn ``auto`` into ``triton`` or ``torch``, and check the three others.

    Without a GPU or without Triton ``auto`` is ``torch``, and one line a process says so.
    """
    if impl not in IMPLEMENTATIONS:
        raise InputError(
            f"{op}: impl={impl!r}", expected=f"one of {IMPLEMENTATIONS}", causes=["a typing error"], fix="impl='auto'"
        )
    if impl in ("torch", "naive"):
        return impl
    reason = missing_for_triton(device)
    if impl == "triton":
        if reason:
            raise InputError(
                f"{op}: impl='triton', but {reason}",
                expected="CUDA tensors and the triton package",
                causes=["no GPU on this machine", "a CPU build of torch, or one before 2.10: no Triton, or an old one"],
                fix="impl='auto' or impl='torch': the same results on any device",
            )
        return "triton"
    if not reason and not interpreting():
        return "triton"
    if reason:
        say_once(f"{reason}: using the torch implementations (same results, slower than on a GPU)")
    return "torch"
