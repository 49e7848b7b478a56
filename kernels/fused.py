"""K4 `pack_coalitions`: a fused encoder under many token masks in one packed pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from crossmodal.kernels import checks
from crossmodal.kernels.attention import route_self_attention
from crossmodal.kernels.baselines import BASELINES, FusedTokens, replace_absent
from crossmodal.kernels.ops.coalition_head.api import COALITIONS
from crossmodal.kernels.packing import PackedLayout, packed
from torch import Tensor, nn

PASS_TOKENS = 65536  # more tokens than this are taken in several passes, so that memory stays bounded


class FusedOutput(NamedTuple):
    """What `pack_coalitions` returns for K masks of B samples."""

    pooled: Tensor
    """(K, B, D) pooler output."""
    logits: Tensor | None
    """(K, B, C) of the model's classification head, or None for a model without one."""
    keep: Tensor
    """(K, B, L) boolean: which tokens took part."""
    hidden_states: tuple[Tensor, ...] | None
    """(K, B, L, D) for the embeddings and every layer, zero at dropped tokens; None unless asked for."""


def pack_coalitions(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    coalitions: Sequence[Sequence[str]] = COALITIONS,
    *,
    token_masks: Tensor | None = None,
    baseline: str = "tokens",
    seed: int = 0,
    output_hidden_states: bool = False,
    impl: str = "auto",
) -> FusedOutput:
    """All modality coalitions, or many token masks, of a fused encoder in one call (K4).

    Tokens of absent modalities are dropped and the rest keep their position embeddings, so one packed pass of
    variable-length sequences replaces K padded ones.  The result equals padded passes with masked keys, because a
    masked key has weight zero.  The class token in front of the text is the pooled token and always kept; the
    empty coalition holds nothing else, does not depend on the sample, and is computed once.

    A model with ``config.max_image_length > 0`` draws that many patches of a larger image at random, here as in its own
    forward; ``torch.manual_seed`` before the call makes it draw the same ones.

    Args:
        model: a ViLT model of `transformers`, with or without a head; in eval mode unless dropout is wanted.
        inputs: the model's keyword arguments for B samples: ``input_ids`` (B, Lt), ``pixel_values`` (B, 3, H, W),
            optionally ``attention_mask``, ``pixel_mask``, ``token_type_ids``.
        coalitions: K tuples of ``"image"`` and ``"text"``; by default ``(), image, text, both``.
        token_masks: (K, B, L) boolean instead of coalitions, over text tokens followed by image tokens; padding
            is dropped besides, and `baseline` has no say.  Image tokens are in reading order after one class token; find L in
            ``FusedOutput.keep``.
        baseline: what stands for an absent modality: ``tokens`` drops its tokens; ``zero``, ``mean`` and
            ``permute`` replace its input embeddings by zero, by the mean over the batch, or by another sample's.
        seed: of the permutation.
        output_hidden_states: also return every layer's hidden states, unpacked.
        impl: ``auto`` or ``torch`` for the packed pass, ``naive`` for one padded pass a mask.

    Returns:
        A `FusedOutput`; differentiable by autograd.

    Raises:
        InputError: an unsupported model, coalition, baseline, mask shape or implementation; no sample; texts without
            their class token; gradient checkpointing.
    """
    core, head = _core(model), _head(model)
    if impl not in ("auto", "torch", "naive"):
        raise checks.InputError(
            f"pack_coalitions: impl={impl!r}",
            expected="'auto', 'torch' or 'naive'",
            causes=["attention kernels are torch's own here; there is no Triton form"],
            fix="impl='auto'",
        )
    if baseline not in BASELINES:
        raise checks.InputError(
            f"pack_coalitions: baseline={baseline!r}",
            expected=f"one of {BASELINES}",
            causes=["a typing error"],
            fix="baseline='tokens'",
        )
    if token_masks is not None and baseline != "tokens":
        raise checks.InputError(
            f"pack_coalitions: baseline={baseline!r} together with token_masks",
            expected="token_masks, which always drop tokens, or coalitions with a baseline",
            causes=["a call for coalitions that was turned into one for masks"],
            fix="leave baseline out",
        )
    tokens = embed(core, inputs)
    if token_masks is None:
        embeddings, keep = replace_absent(tokens, _present(coalitions), baseline, seed)
    else:
        batch, length = tokens.keep.shape
        count = checks.masks_found(token_masks)
        checks.require_mask("pack_coalitions", "token_masks", token_masks, (count, batch, length), tokens.keep.device)
        embeddings, keep = tokens.embeddings, (token_masks & tokens.keep) | tokens.always
    run = _padded if impl == "naive" else _packed
    states, pooled_tokens = run(core, embeddings, keep, output_hidden_states)
    pooled = core.pooler(core.layernorm(pooled_tokens).flatten(0, 1)[:, None]).unflatten(0, keep.shape[:2])
    return FusedOutput(pooled, None if head is None else head(pooled), keep, states)


def _core(model: nn.Module) -> Any:
    """The encoder under the head."""
    core: Any = getattr(model, "base_model", model)
    parts = ("embeddings", "encoder", "layernorm", "pooler")
    if any(getattr(core, part, None) is None for part in parts) or not hasattr(core.embeddings, "text_embeddings"):
        raise checks.InputError(
            f"pack_coalitions: {type(model).__name__} is not a fused encoder this function knows",
            expected="a ViLT model with a pooler (ViltModel, ViltForQuestionAnswering, ...)",
            causes=["a dual encoder such as CLIP", "a model built with add_pooling_layer=False"],
            fix="factored_dual for dual encoders",
        )
    return core


def _head(model: nn.Module) -> nn.Module | None:
    """What makes logits of one image's pooled output; None for a model without it."""
    head = getattr(model, "classifier", None) or getattr(model, "rank_output", None)
    first = next((m for m in head.modules() if isinstance(m, nn.Linear)), None) if head is not None else None
    width = model.config.hidden_size  # type: ignore[union-attr]
    if first is not None and first.in_features != width:
        raise checks.InputError(
            f"pack_coalitions: {type(model).__name__} has a head of {first.in_features} inputs",
            expected=f"a head on the pooled output of one image and text, of width {width}",
            causes=["a head on several images at once (NLVR2)"],
            fix="the encoder without its head, image by image",
        )
    return head


def _present(coalitions: Sequence[Sequence[str]]) -> Tensor:
    """(K, 2) boolean: image, text."""
    iterable = isinstance(coalitions, Iterable) and all(isinstance(c, Iterable) for c in coalitions)
    wanted = [frozenset(c) for c in coalitions] if iterable else []
    unknown = {m for c in wanted for m in c} - {"image", "text"}
    if unknown or not wanted or any(isinstance(c, str) for c in coalitions):
        raise checks.InputError(
            f"pack_coalitions: coalitions {coalitions!r}",
            expected="tuples of 'image' and 'text'",
            causes=["a string where a tuple was meant: ('image') is not ('image',)"],
            fix="coalitions=[(), ('image',), ('text',), ('image', 'text')]",
        )
    return torch.tensor([["image" in c, "text" in c] for c in wanted], device="cpu")


def embed(core: Any, inputs: Mapping[str, Tensor]) -> FusedTokens:
    """Input embeddings of both modalities, computed once for all coalitions."""
    held = inputs if isinstance(inputs, Mapping) else {}
    missing = [name for name in ("input_ids", "pixel_values") if held.get(name) is None]
    if missing:
        found = f"hold {sorted(held)}" if isinstance(inputs, Mapping) else f"are of type {type(inputs).__name__}"
        raise checks.InputError(
            f"pack_coalitions: inputs {found}, and {missing} are missing",
            expected="input_ids and pixel_values",
            causes=["a batch of one modality", "the output of a tokenizer instead of a processor"],
            fix="inputs = processor(images, texts, return_tensors='pt', padding=True)",
        )
    ids, pixels = inputs["input_ids"], inputs["pixel_values"]
    checks.require_samples("pack_coalitions", input_ids=ids, pixel_values=pixels)
    mask = inputs.get("attention_mask")
    mask = (
        torch.ones_like(ids, dtype=torch.bool) if mask is None else checks.attention_mask("pack_coalitions", mask, ids)
    )
    if not bool(mask[:, 0].all()):
        raise checks.InputError(
            f"pack_coalitions: attention_mask drops the first token of sample {int((~mask[:, 0]).nonzero()[0])}",
            expected="texts that start with the class token, which is pooled",
            causes=["padding on the left", "a text without any token"],
            fix="tokenizer.padding_side = 'right'; an empty text still has its class token",
        )
    pixel_mask = inputs.get("pixel_mask")
    if pixel_mask is None:
        pixel_mask = torch.ones(pixels.shape[0], *pixels.shape[2:], dtype=torch.long, device=pixels.device)
    table, types = core.embeddings, core.embeddings.token_type_embeddings.weight
    text = table.text_embeddings(input_ids=ids, token_type_ids=inputs.get("token_type_ids")) + types[0]
    image, image_keep, (place, (_, width)) = table.visual_embed(
        pixels, pixel_mask, max_image_length=core.config.max_image_length
    )
    # ViLT draws its patches in random order; in reading order a token mask means the same thing every time
    rank = place[..., 0] * width + place[..., 1] + (1 - image_keep[:, 1:]) * (1 << 30)
    order = torch.cat([torch.zeros_like(rank[:, :1]), 1 + rank.argsort(1)], 1)
    image = image.gather(1, order[..., None].expand_as(image)) + types[1]
    keep = torch.cat([mask, image_keep.gather(1, order).bool()], 1)
    return FusedTokens(torch.cat([text, image], 1), keep, ids.shape[1])


def _packed(
    core: Any, embeddings: Tensor, keep: Tensor, output_hidden_states: bool
) -> tuple[tuple[Tensor, ...] | None, Tensor]:
    """One pass over all kept tokens (several if they are very many); returns hidden states (K, B, L, D) and the pooled tokens (K, B, D)."""
    checks.no_checkpointing("pack_coalitions", core)
    masks, batch, length = keep.shape
    rows, copies = _unique_rows(embeddings, keep)
    shared = embeddings.ndim == 3
    flat = embeddings if shared else embeddings.flatten(0, 1)
    first, layers = [], []
    with route_self_attention(core.encoder):
        for some in rows.split(max(1, PASS_TOKENS // length)):
            layout = PackedLayout.of(keep.flatten(0, 1)[some])
            tokens = layout.pack(flat, some % batch if shared else some)
            with packed(layout):
                result = core.encoder(tokens[None], output_hidden_states=output_hidden_states)
            first.append(result.last_hidden_state[0, layout.starts])
            if output_hidden_states:
                layers.append([layout.unpack(h[0]) for h in result.hidden_states])
    states = None
    if output_hidden_states:
        whole = (torch.cat(parts)[copies] for parts in zip(*layers, strict=True))
        states = tuple(h.view(masks, batch, length, -1) for h in whole)
    return states, torch.cat(first)[copies].view(masks, batch, -1)


def _unique_rows(embeddings: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the K x B sequences to compute, and which of those each one equals.

    Rows that keep the class token alone are equal when that token's embedding is: one of them is enough.
    """
    total = keep.shape[0] * keep.shape[1]
    everything = torch.arange(total, device=keep.device)
    alone = (keep.sum(2) == 1).flatten().nonzero()[:, 0]
    first_tokens = embeddings.expand(keep.shape[0], *embeddings.shape[-3:])[:, :, 0].flatten(0, 1)[alone]
    if len(alone) < 2 or not bool((first_tokens == first_tokens[:1]).all()):
        return everything, everything
    computed = torch.ones(total, dtype=torch.bool, device=keep.device)
    computed[alone[1:]] = False
    copies = computed.cumsum(0) - 1
    copies[alone] = copies[alone[0]].clone()
    return computed.nonzero()[:, 0], copies


def _padded(
    core: Any, embeddings: Tensor, keep: Tensor, output_hidden_states: bool
) -> tuple[tuple[Tensor, ...] | None, Tensor]:
    """The reference: one padded pass a mask, absent keys at minus infinity."""
    per_mask, last = [], []
    for index, present in enumerate(keep):
        x = embeddings if embeddings.ndim == 3 else embeddings[index]
        additive = torch.zeros(present.shape, dtype=x.dtype, device=x.device).masked_fill_(~present, -torch.inf)
        result = core.encoder(x, attention_mask=additive[:, None, None, :], output_hidden_states=output_hidden_states)
        last.append(result.last_hidden_state[:, 0])
        if output_hidden_states:
            per_mask.append([h * present[..., None] for h in result.hidden_states])
    states = tuple(torch.stack(layer) for layer in zip(*per_mask, strict=True)) if output_hidden_states else None
    return states, torch.stack(last)
