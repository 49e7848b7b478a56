"""CUDA graphs: record a call once, replay it without launch cost.  For kernels that take less than about 100 us."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from crossmodal.kernels.checks import InputError, describe
from torch import Tensor


class GraphedCall:
    """A call with tensor arguments of fixed shapes, replayed as one CUDA graph.

    On the CPU, and for arguments that are not all on one GPU, it is an ordinary call: `graphed` says which.  A
    replay writes into the same output tensors every time; clone what must outlive the next call.  Arguments are copied to
    where the graph reads them, unless they are those tensors: `example`, which may be written in place.

    Args:
        function: takes tensors and returns a tensor or a tuple of tensors.  It must not wait for the GPU: no
            ``.item()``, no boolean indexing.
        example: tensors of the shapes, dtypes and device to come.
        warmup: calls before recording, which also compile kernels.
    """

    def __init__(self, function: Callable[..., Any], *example: Tensor, warmup: int = 3) -> None:
        self.function = function
        _require_tensors(example)
        self.example = tuple(x.clone() for x in example)
        devices = {x.device for x in example}
        self.graphed = len(devices) == 1 and example[0].is_cuda
        if self.graphed:
            with torch.cuda.device(example[0].device):  # streams and graphs belong to the current one
                self._record(warmup)

    def _record(self, warmup: int) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), torch.no_grad():
            for _ in range(warmup):
                self.function(*self.example)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph), torch.no_grad():
            self.output = self.function(*self.example)

    def __call__(self, *arguments: Tensor) -> Any:
        """The function's result for these arguments."""
        self._check(arguments)
        if not self.graphed:
            return self.function(*arguments)
        for buffer, x in zip(self.example, arguments, strict=True):
            if x is not buffer:
                buffer.copy_(x)
        self.graph.replay()
        return self.output

    def _check(self, arguments: tuple[Tensor, ...]) -> None:
        _require_tensors(arguments)
        expected = [(x.shape, x.dtype, x.device) for x in self.example]
        if [(x.shape, x.dtype, x.device) for x in arguments] != expected:
            raise InputError(
                "GraphedCall: " + "; ".join(describe(str(i), x) for i, x in enumerate(arguments)),
                expected="; ".join(describe(str(i), x) for i, x in enumerate(self.example)),
                causes=["a last batch that is smaller than the others"],
                fix="call the function itself for batches of another shape",
            )


def _require_tensors(arguments: Sequence[object]) -> None:
    if not all(isinstance(x, Tensor) for x in arguments):
        raise InputError(
            "GraphedCall: " + "; ".join(describe(str(i), x) for i, x in enumerate(arguments)),
            expected="tensors only",
            causes=["a number, which a recorded graph would keep for ever", "a numpy array"],
            fix="bind what is no tensor: GraphedCall(lambda u, v: function(u, v, 3.0), u, v)",
        )
