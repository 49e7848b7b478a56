"""Coalition values of a model over a data set, and each modality's Shapley contribution (C1, C4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import NamedTuple

import torch
from crossmodal.kernels import checks
from crossmodal.kernels.baselines import BASELINES, permutations
from crossmodal.kernels.dual import factored_dual, towers
from crossmodal.kernels.fused import FusedOutput, pack_coalitions
from crossmodal.kernels.ops.coalition_head.api import COALITIONS
from torch import Tensor, nn
from torch.nn.functional import normalize

Batch = Mapping[str, Tensor]
Progress = Callable[[int, int | None], None]
TENSORS = ("input_ids", "pixel_values", "attention_mask", "pixel_mask", "token_type_ids")


class CoalitionValues(NamedTuple):
    """Values ``f(S)`` of N samples and what follows from them; float64, on the CPU."""

    values: Tensor
    """(4, N); the first axis follows `coalitions`."""
    shapley: Tensor
    """(2, N): the contribution of the image and of the text; their sum is ``f(IT) - f()``."""
    interaction: Tensor
    """(N,): ``f(IT) - f(I) - f(T) + f()``."""
    baseline: str
    """What stood for an absent modality."""
    value: str
    """What ``f`` is: ``cosine``, ``log-probability of the label``, ..."""
    coalitions: tuple[tuple[str, ...], ...] = COALITIONS


def shapley(values: Tensor) -> tuple[Tensor, Tensor]:
    """Shapley values (2, N) and interaction (N,) from coalition values (4, N) (C1)."""
    from crossmodal.theory.claims.c1_shapley import interaction
    from crossmodal.theory.claims.c1_shapley import shapley as contributions

    none, image, text, both = values
    return torch.stack(contributions(none, image, text, both)), interaction(none, image, text, both)


def model_coalitions(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    baseline: str = "tokens",
    seed: int = 0,
    progress: Progress | None = None,
) -> CoalitionValues:
    """Values of all coalitions over a data set: `fused_coalitions` for a fused encoder, `dual_coalitions` for a dual one.

    Each modality's Shapley contribution and the interaction (C1, C4) come with them.  A model in training is in evaluation
    mode meanwhile: give it to one call at a time.

    Args:
        model: a ViLT model with a head, or a dual encoder that `factored_dual` knows.
        batches: dictionaries of tensors, the model's keyword arguments for some samples each.
        baseline: what stands for an absent modality: ``tokens``, ``zero``, ``mean`` or ``permute``.
        seed: of the permutation.
        progress: called with (samples done, samples in all or None) after every batch.
    """
    run = dual_coalitions if hasattr(model, "vision_model") else fused_coalitions
    return run(model, batches, baseline=baseline, seed=seed, progress=progress)


def fused_coalitions(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    baseline: str = "tokens",
    seed: int = 0,
    progress: Progress | None = None,
) -> CoalitionValues:
    """Coalition values of a fused encoder with a classification head, over a data set (C1, K4).

    The value is the log-probability of the label where a batch holds ``labels`` (N,), the logit itself for a head
    with a single output, and otherwise the logit of the class that the full input predicts.

    Args:
        model: a ViLT model with a head.
        batches: dictionaries of tensors, as for `pack_coalitions`, with optional ``labels``.
        baseline: ``tokens``, ``zero``, ``mean`` or ``permute``; the last two within a batch.
        seed: of the permutation.
        progress: called with (samples done, samples in all or None) after every batch.

    Returns:
        A `CoalitionValues`.

    Raises:
        InputError: no batch, no head, a value that is NaN or infinite, or what `pack_coalitions` raises.
    """
    values, names, done = [], set(), 0
    with torch.inference_mode(), _eval(model):
        for batch in _on_device(model, batches):
            output = pack_coalitions(model, batch, baseline=baseline, seed=seed + done)
            value, name = _fused_value(model, output, batch.get("labels"))
            values.append(value.double().cpu())
            _require_sound(torch.isfinite(values[-1]), "value that is not finite", done)
            names.add(name)
            done += value.shape[1]
            _tell(progress, done, batches, value.shape[1])
    _require_some(values)
    if len(names) > 1:
        raise checks.InputError(
            "coalitions: some batches hold labels and others do not",
            expected="labels in all batches, or in none",
            causes=["a data set with unlabelled samples"],
            fix="drop the unlabelled samples, or the labels",
        )
    return _finish(torch.cat(values, 1), baseline, names.pop())


def _fused_value(model: nn.Module, output: FusedOutput, labels: Tensor | None) -> tuple[Tensor, str]:
    if output.logits is None:
        raise checks.InputError(
            f"coalitions: {type(model).__name__} has no classification head",
            expected="a model whose output is a score, such as ViltForQuestionAnswering",
            causes=["the bare encoder was loaded"],
            fix="load the checkpoint with its head",
        )
    logits = output.logits
    if logits.shape[-1] == 1:
        return logits[..., 0], "score"
    if labels is None:
        chosen, name, table = logits[-1].argmax(-1), "logit of the predicted class", logits
    else:
        whole = not labels.is_floating_point() and not labels.is_complex()
        chosen = labels.long() if whole else labels  # unsigned numbers have neither a minimum nor an index
        if not whole or chosen.shape != logits.shape[1:2] or not 0 <= chosen.min() <= chosen.max() < logits.shape[-1]:
            raise checks.InputError(
                f"coalitions: {checks.describe('labels', labels)}",
                expected=f"({logits.shape[1]},) integers in [0, {logits.shape[-1]})",
                causes=["soft or one-hot labels", "labels of another data set", "labels of another batch"],
                fix="labels.argmax(1) for one-hot labels",
            )
        name, table = "log-probability of the label", logits.double().log_softmax(-1)
    index = chosen.expand(logits.shape[0], -1)[..., None]
    return table.gather(-1, index)[..., 0], name


def dual_coalitions(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    baseline: str = "tokens",
    seed: int = 0,
    progress: Progress | None = None,
) -> CoalitionValues:
    """Coalition values of a dual encoder over a data set: the cosine of each matched pair (C1, C4, K5).

    With ``tokens`` an absent modality is encoded without its patches or words.  The other baselines replace its
    unit feature over the whole data set: by zero, by the mean feature (then the interaction is
    ``<u - mu^I, v - mu^T>``, C4), or by another sample's.  Replaced features are not normalised again.

    Args:
        model: a CLIP or SigLIP model.
        batches: dictionaries with ``pixel_values``, ``input_ids`` and optionally ``attention_mask``.
        baseline: ``tokens``, ``zero``, ``mean`` or ``permute``.
        seed: of the permutation.
        progress: called with (samples done, samples in all or None) after every batch.

    Returns:
        A `CoalitionValues`; values are cosines, in [-1, 1].

    Raises:
        InputError: no batch, an unknown baseline, a feature that is zero or not finite, or what `factored_dual` raises.
    """
    if baseline not in BASELINES:
        raise checks.InputError(
            f"coalitions: baseline={baseline!r}",
            expected=f"one of {BASELINES}",
            causes=["a typing error"],
            fix="baseline='mean'",
        )
    towers(model)  # before masks are made of parts that only these models have
    images, texts, done = [], [], 0
    with torch.inference_mode(), _eval(model):
        for batch in _on_device(model, batches):
            keep_image, keep_text = _with_and_without(model, batch) if baseline == "tokens" else (None, None)
            out = factored_dual(
                model,
                batch["pixel_values"],
                batch["input_ids"],
                batch.get("attention_mask"),
                image_masks=keep_image,
                text_masks=keep_text,
            )
            images.append(out.image.double().cpu())
            texts.append(out.text.double().cpu())
            for name, x in (("image", images[-1]), ("text", texts[-1])):
                _require_sound(
                    torch.isfinite(x).all(-1) & x.any(-1), f"{name} feature that is zero or not finite", done
                )
            done += out.image.shape[1]
            _tell(progress, done, batches, out.image.shape[1])
    _require_some(images)
    image, text = (normalize(torch.cat(x, 1), dim=-1) for x in (images, texts))
    if baseline == "tokens":
        (u, u_absent), (v, v_absent) = image, text
    else:
        u, v = image[0], text[0]
        u_absent, v_absent = _absent_features(u, v, baseline, seed)
    pairs = [(u_absent, v_absent), (u, v_absent), (u_absent, v), (u, v)]
    return _finish(torch.stack([(a * b).sum(-1) for a, b in pairs]), baseline, "cosine")


def _with_and_without(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Two masks a modality: everything, nothing (structural tokens stay by themselves)."""
    positions = model.vision_model.embeddings  # type: ignore[union-attr]
    patches, ids = int(positions.num_patches), batch["input_ids"]  # type: ignore[union-attr, arg-type]
    both = torch.tensor([True, False], device=ids.device)[:, None, None]
    return both.expand(2, ids.shape[0], patches), both.expand(2, *ids.shape)


def _absent_features(u: Tensor, v: Tensor, baseline: str, seed: int) -> tuple[Tensor, Tensor]:
    if baseline == "zero":
        return torch.zeros_like(u), torch.zeros_like(v)
    if baseline == "mean":
        return u.mean(0).expand_as(u), v.mean(0).expand_as(v)
    image, text = permutations(u.shape[0], seed)
    return u[image], v[text]


class _eval:
    """Evaluation mode inside, the previous mode afterwards."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.before = model, [(module, module.training) for module in model.modules()]

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        for module, training in self.before:  # each its own: parts of a model in training may be frozen
            module.training = training


def _on_device(model: nn.Module, batches: Iterable[Batch]) -> Iterator[dict[str, Tensor]]:
    device = next(model.parameters()).device
    single = isinstance(batches, Mapping)
    if single or not isinstance(batches, Iterable):
        raise _not_batches("batches are one batch" if single else checks.describe("batches", batches))
    for batch in batches:
        if not isinstance(batch, Mapping):
            raise _not_batches(checks.describe("a batch", batch))
        yield _to_device(device, batch)


def _not_batches(found: str) -> checks.InputError:
    return checks.InputError(
        f"coalitions: {found}",
        expected="an iterable of dictionaries of tensors",
        causes=["one batch that is not in a list", "a data set of tuples"],
        fix="[batch], or a DataLoader whose batches are dictionaries",
    )


def _to_device(device: torch.device, batch: Batch) -> dict[str, Tensor]:
    wanted = {name: batch[name] for name in (*TENSORS, "labels") if batch.get(name) is not None}
    for name in ("pixel_values", "input_ids"):
        if name not in wanted:
            raise checks.InputError(
                f"coalitions: a batch holds {sorted(batch)}, without {name}",
                expected="input_ids and pixel_values",
                causes=["a batch of one modality"],
                fix="processor(images, texts, return_tensors='pt', padding=True)",
            )
    return {name: torch.as_tensor(x, device=device) for name, x in wanted.items()}


def _tell(progress: Progress | None, done: int, batches: Iterable[Batch], size: int) -> None:
    if progress is None:
        return
    dataset = getattr(batches, "dataset", None)
    if isinstance(dataset, Sized):
        total: int | None = len(dataset)
    else:
        total = max(done, len(batches) * size) if isinstance(batches, Sized) else None
    progress(done, total)


def _require_some(values: list[Tensor]) -> None:
    if not values:
        raise checks.InputError(
            "coalitions: no batch",
            expected="at least one batch",
            causes=["an empty data set", "an iterator that was already used up"],
            fix="pass a list or a DataLoader",
        )


def _require_sound(sound: Tensor, what: str, before: int) -> None:
    """Refuse a batch, of which `sound` (K, N) says what is usable; its first sample has the number `before`."""
    bad = (~sound.all(0)).nonzero()[:, 0]
    if len(bad):
        raise checks.InputError(
            f"coalitions: {len(bad)} of a batch's {sound.shape[1]} samples have a {what}, the first is sample {before + int(bad[0])}",
            expected="finite logits, or features with a direction, for every coalition",
            causes=[
                "half precision overflowed in the encoder",
                "pixels that are NaN",
                "weights that diverged in training",
            ],
            fix="model.float(); where that does not help, leave the sample out or look for NaN in the weights",
        )


def _finish(values: Tensor, baseline: str, name: str) -> CoalitionValues:
    return CoalitionValues(values, *shapley(values), baseline, name)
