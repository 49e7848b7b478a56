"""Argument checks shared by the operations.  Each error names what was found, expected, why, and the fix."""

from __future__ import annotations

import torch
from crossmodal.theory.errors import InputError
from torch import Tensor, nn

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def describe(name: str, x: object) -> str:
    """``u: shape (3, 4), torch.float32, cpu``, or the type of something that is not a tensor."""
    if isinstance(x, Tensor):
        return f"{name}: shape {tuple(x.shape)}, {x.dtype}, {x.device}"
    shape = f" of shape {tuple(x.shape)}" if hasattr(x, "shape") else f" {x!r}"
    return f"{name}: {type(x).__name__}{shape}"[:200]


def require_float(op: str, ndim: int, **tensors: Tensor) -> None:
    """Floating tensors with `ndim` axes, all of one dtype and on one device."""
    found = "; ".join(describe(name, x) for name, x in tensors.items())
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise InputError(
                f"{op}: {describe(name, x)}",
                expected=f"a torch tensor with {ndim} axes",
                causes=["a numpy array or a list was passed"],
                fix=f"torch.as_tensor({name})",
            )
        if x.ndim != ndim:
            raise InputError(
                f"{op}: {describe(name, x)}",
                expected=f"{ndim} axes, found {x.ndim}",
                causes=["a single sample without its batch axis", "features that were not pooled"],
                fix=f"reshape {name} to {ndim} axes",
            )
        if x.dtype not in FLOATS:
            raise InputError(
                f"{op}: {describe(name, x)}",
                expected="float16, bfloat16, float32 or float64",
                causes=["labels or token ids were passed as features"],
                fix=f"{name}.float(), if these are features",
            )
    if len({x.dtype for x in tensors.values()}) > 1:
        raise InputError(
            f"{op}: dtypes differ ({found})",
            expected="one dtype",
            causes=["only one of the encoders ran under autocast"],
            fix="cast all of them to the same dtype",
        )
    same_device(op, **tensors)


def same_device(op: str, **tensors: Tensor | None) -> None:
    present = {name: x for name, x in tensors.items() if x is not None}
    if len({x.device for x in present.values()}) > 1:
        raise InputError(
            f"{op}: devices differ ({'; '.join(describe(n, x) for n, x in present.items())})",
            expected="one device",
            causes=["one tensor was left on the CPU"],
            fix="move all of them with .to(device)",
        )


def same_width(op: str, axis: int = -1, **tensors: Tensor) -> None:
    if len({x.shape[axis] for x in tensors.values()}) > 1:
        raise InputError(
            f"{op}: widths differ ({'; '.join(describe(n, x) for n, x in tensors.items())})",
            expected=f"the same size along axis {axis}",
            causes=["features of two different models", "a matrix that should be transposed"],
            fix="pass features of one model, samples along the first axis",
        )


def same_length(op: str, **tensors: Tensor) -> None:
    lengths = {x.shape[0] if isinstance(x, Tensor) and x.ndim else None for x in tensors.values()}
    if len(lengths) > 1 or None in lengths:
        raise InputError(
            f"{op}: numbers of samples differ ({'; '.join(describe(n, x) for n, x in tensors.items())})",
            expected="the same number of samples along the first axis",
            causes=["images and texts that are not matched pairs", "a truncated file"],
            fix="select matched pairs first",
        )


def require_samples(op: str, **tensors: Tensor) -> None:
    """Tensors with the same number of samples along the first axis, and at least one."""
    same_length(op, **tensors)
    if not all(x.shape[0] for x in tensors.values()):
        raise InputError(
            f"{op}: no samples ({'; '.join(describe(n, x) for n, x in tensors.items())})",
            expected="at least one sample",
            causes=["a filter that removed everything", "an empty last batch"],
            fix="skip empty batches",
        )


def attention_mask(op: str, mask: Tensor, ids: Tensor) -> Tensor:
    """A tokenizer's attention mask for `ids`, 0 and 1 or boolean, as booleans."""
    fits = isinstance(mask, Tensor) and mask.shape == ids.shape
    other = mask[(mask != 0) & (mask != 1)][:1].tolist() if fits else []  # NaN too
    if not fits or other:
        raise InputError(
            f"{op}: {describe('attention_mask', mask)}{f', holding {other[0]}' if other else ''}",
            expected=f"shape {tuple(ids.shape)} like input_ids, 1 for a token and 0 for padding",
            causes=[
                "a mask for other texts",
                "an additive mask, in which 0 keeps a token",
                "numbers of packed sequences",
            ],
            fix="the attention_mask that the tokenizer returned with input_ids",
        )
    return mask.bool()


def masks_found(masks: object) -> int:
    """Size of the first axis, which counts masks; one for what has none, so that the expected shape reads well."""
    return max(1, masks.shape[0]) if isinstance(masks, Tensor) and masks.ndim else 1


def require_mask(op: str, name: str, mask: Tensor | None, shape: tuple[int, ...], device: torch.device) -> None:
    """A boolean tensor of exactly this shape on this device; None is accepted."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != shape:
        raise InputError(
            f"{op}: {describe(name, mask)}",
            expected=f"a boolean tensor of shape {shape}, True where present",
            causes=["an attention mask of 0 and 1, or an additive one", "a mask for another batch"],
            fix=f"{name}.bool(), with shape {shape}",
        )
    if mask.device != device:
        raise InputError(
            f"{op}: {describe(name, mask)}",
            expected=f"a mask on {device}, like the data",
            causes=["the mask was left on the CPU"],
            fix=f"{name}.to({str(device)!r})",
        )


def require_finite(op: str, **tensors: Tensor) -> None:
    """NaN and infinity are refused on the CPU.  On a GPU the check would wait for the stream, so it is not done."""
    for name, x in tensors.items():
        if x.device.type != "cpu" or not x.numel():
            continue
        if torch.isfinite(x.detach().sum(dtype=accumulator(x.dtype))):
            continue  # infinity and NaN survive a sum; one pass, no copy
        bad = ~torch.isfinite(x.detach())
        if not bool(bad.any()):
            continue
        where = tuple(int(i) for i in bad.nonzero()[0])
        raise InputError(
            f"{op}: {describe(name, x)} holds {int(bad.sum())} NaN or infinite values, the first at {where}",
            expected="finite values",
            causes=["a zero vector was normalised", "half precision overflowed in the encoder"],
            fix="find the sample at that index in the features file and encode it again in float32",
        )


def require_finite_results(op: str, *results: Tensor, **inputs: Tensor) -> None:
    """As `require_finite`, after the work: for inputs whose NaN and infinities cannot but reach the results.

    Those are small, while a pass over the features costs what a maximum over all products does.
    """
    if not all(r.device.type != "cpu" or bool(torch.isfinite(r.detach()).all()) for r in results):
        require_finite(op, **inputs)  # finite inputs may overflow


def no_backward(op: str, *tensors: object, instead: str = "") -> None:
    """Refuse to cut a gradient silently; `instead` is what autograd understands, by default the naive form."""
    instead = instead or f"{op}(..., impl='naive')"
    if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in tensors):
        raise InputError(
            f"{op}: an input requires grad, and this operation has no backward",
            expected="tensors without grad, or torch.no_grad()",
            causes=["the model's parameters require grad and the call is outside torch.no_grad()"],
            fix=f"wrap the call in torch.no_grad(), or use {instead}, which autograd understands",
        )


def no_checkpointing(op: str, tower: nn.Module) -> None:
    """Refuse gradient checkpointing: a layer that is computed again in the backward pass no longer sees the layout."""
    if not torch.is_grad_enabled():
        return
    for module in tower.modules():
        if module.training and getattr(module, "gradient_checkpointing", False):
            raise InputError(
                f"{op}: {type(module).__name__} is in training with gradient checkpointing",
                expected="no checkpointing, whose recomputation would be without packing and give wrong gradients",
                causes=["gradient_checkpointing_enable() for the model's own training"],
                fix="model.gradient_checkpointing_disable(), or impl='naive', which may be recomputed",
            )


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """float64 stays float64, everything else accumulates in float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
