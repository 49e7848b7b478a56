"""The public function of K2; it lives apart from the package, where the name `torch` is the submodule."""

from __future__ import annotations

from typing import NamedTuple

from crossmodal.kernels import checks
from crossmodal.kernels.dispatch import resolve, without_autocast
from torch import Tensor

COALITIONS: tuple[tuple[str, ...], ...] = ((), ("image",), ("text",), ("image", "text"))
"""The order of the first axis of every result, here and in `crossmodal.kernels.coalitions`."""


class CoalitionHead(NamedTuple):
    """What `coalition_head` returns; the first axis follows `COALITIONS`."""

    lse: Tensor
    """(4, N) log-sum-exp of the logits; float32, or float64 for float64 features."""
    target: Tensor
    """(4, N) logit of the label; ``target - lse`` is the log-likelihood."""
    argmax: Tensor
    """(4, N) int64 predicted class, the lowest index among equals."""


@without_autocast
def coalition_head(
    image: Tensor,
    text: Tensor,
    w_image: Tensor,
    w_text: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    image_baseline: Tensor | None = None,
    text_baseline: Tensor | None = None,
    impl: str = "auto",
) -> CoalitionHead:
    """Linear head ``W_I x_I + W_T x_T + bias`` under all four coalitions, without writing the logits (K2).

    An absent modality is replaced by its baseline.  The head is linear, so two partial products serve all four
    coalitions.  Concatenation ``[p u ; q v]`` with weight (C, d_I + d_T) is ``w_image = p W[:, :d_I]`` and
    ``w_text = q W[:, d_I:]``; the sum ``p u + q v`` is ``w_image = p W`` and ``w_text = q W``.

    Args:
        image: (N, d_I) image features: float16, bfloat16, float32 or float64.
        text: (N, d_T) text features.
        w_image: (C, d_I) weights.
        w_text: (C, d_T) weights.
        labels: (N,) integers in [0, C).
        bias: (C,), or None.
        image_baseline: (d_I,), or None for zero.
        text_baseline: (d_T,), or None for zero.
        impl: ``auto``, ``triton``, ``torch`` or ``naive``; only ``naive`` has a gradient.

    Returns:
        A `CoalitionHead`.

    Raises:
        InputError: shapes, dtypes, devices or labels do not fit, or an input requires grad while grad is enabled.
    """
    floats = {"image": image, "text": text, "w_image": w_image, "w_text": w_text}
    checks.require_float("coalition_head", 2, **floats)
    labels = _whole_labels(labels)
    checks.same_length("coalition_head", image=image, text=text, labels=labels)
    checks.same_length("coalition_head", w_image=w_image, w_text=w_text)
    checks.same_width("coalition_head", image=image, w_image=w_image)
    checks.same_width("coalition_head", text=text, w_text=w_text)
    classes = w_image.shape[0]
    image_baseline = image.new_zeros(image.shape[1]) if image_baseline is None else image_baseline
    text_baseline = text.new_zeros(text.shape[1]) if text_baseline is None else text_baseline
    bias = image.new_zeros(classes) if bias is None else bias
    vectors = {"image_baseline": image_baseline, "text_baseline": text_baseline, "bias": bias}
    checks.require_float("coalition_head", 1, **vectors)
    for (name, x), size in zip(vectors.items(), (image.shape[1], text.shape[1], classes), strict=True):
        if x.shape != (size,) or x.dtype != image.dtype:
            raise checks.InputError(
                f"coalition_head: {checks.describe(name, x)}",
                expected=f"shape {(size,)}, {image.dtype}",
                causes=["a baseline a sample; this head takes one for all", "the other modality's baseline"],
                fix="features.mean(0) is a mean baseline",
            )
    checks.same_device("coalition_head", **floats, **vectors, labels=labels)
    _check_label_values(labels, classes)
    # a class whose weight is infinite may drop out of a sum unseen; a feature that is not finite spoils every class
    checks.require_finite("coalition_head", w_image=w_image, w_text=w_text, **vectors)
    chosen = resolve("coalition_head", impl, image.device)
    if chosen == "naive":
        from crossmodal.kernels.ops.coalition_head.naive import coalition_head_naive as run
    else:
        checks.no_backward("coalition_head", *floats.values(), *vectors.values())
        if chosen == "triton":
            from crossmodal.kernels.ops.coalition_head.triton import coalition_head_triton as run
        else:
            from crossmodal.kernels.ops.coalition_head.torch import coalition_head_torch as run
    found = CoalitionHead(*run(image, text, w_image, w_text, labels, bias, image_baseline, text_baseline))
    checks.require_finite_results("coalition_head", found.lse, image=image, text=text)
    return found


def _whole_labels(labels: Tensor) -> Tensor:
    """The labels as int64; torch finds neither a minimum nor an element by wide unsigned numbers."""
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise checks.InputError(
            f"coalition_head: {checks.describe('labels', labels)}",
            expected="(N,) integers",
            causes=["one-hot labels", "labels read as floats", "a list or a numpy array"],
            fix="labels.argmax(1) for one-hot labels, torch.as_tensor(labels).long() otherwise",
        )
    return labels.long()


def _check_label_values(labels: Tensor, classes: int) -> None:
    if not classes or (labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes):
        found = f"values {int(labels.min())} to {int(labels.max())}" if labels.numel() else "no labels"
        raise checks.InputError(
            f"coalition_head: labels hold {found}, and the head has {classes} classes",
            expected=f"labels in [0, {classes})",
            causes=["labels that start at 1", "-100 for samples without label", "a head for another data set"],
            fix="subtract 1, or select the labelled samples first",
        )
