"""K5 `factored_dual`: a dual encoder under K x K token masks with 2K encodings and one product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from crossmodal.kernels import checks
from crossmodal.kernels.attention import use_packed_attention
from crossmodal.kernels.packing import PackedLayout, packed
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention

ROWS = 256  # sequences encoded at a time


class DualOutput(NamedTuple):
    """What `factored_dual` returns for Ki image masks and Kt text masks of B pairs."""

    image: Tensor
    """(Ki, B, d) unit image features."""
    text: Tensor
    """(Kt, B, d) unit text features."""
    scores: Tensor
    """(Ki, Kt, B) cosine of each matched pair under each pair of masks, in [-1, 1]."""


def factored_dual(
    model: nn.Module,
    pixel_values: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    image_masks: Tensor | None = None,
    text_masks: Tensor | None = None,
    impl: str = "auto",
) -> DualOutput:
    """Scores of matched pairs under every combination of an image mask and a text mask (K5).

    A dual encoder's score is a product of two features, so Ki + Kt encodings serve Ki x Kt combinations.  Masked
    tokens are dropped, the rest keep their position embeddings, and each encoder runs packed, without padding.
    Structural tokens are always kept: the image's class token, the text's pooled token, and in a causal model (CLIP)
    its first.  The first token of a text is the first that `attention_mask` shows, so that padding on the left takes
    no part.

    Args:
        model: a CLIP or SigLIP model of `transformers` (or one built alike); in eval mode unless dropout is wanted.
        pixel_values: (B, 3, H, W) images.
        input_ids: (B, L) texts.
        attention_mask: (B, L) of 0 and 1, or boolean; None means what the model makes of it: every token counts.
            SigLIP pools its last position, padding or not, and was trained without a mask: leave it out there.  A mask
            that hides what is pooled is refused: the model would pool a token that no token sees, itself included.
        image_masks: (Ki, B, P) boolean over patches in reading order; None is one full mask.
        text_masks: (Kt, B, L) boolean; None is one full mask.
        impl: ``auto`` or ``torch`` for packed passes, ``naive`` for a padded pass a mask.

    Returns:
        A `DualOutput`; differentiable by autograd.  An image without any patch gives the features of its class
        token alone, or, in a model without one (SigLIP), those of a pool whose attention output is zero.

    Raises:
        InputError: an unsupported model, mask shape or implementation, a hidden pooled token, no sample, or
            gradient checkpointing.
    """
    vision, text = towers(model)
    if impl not in ("auto", "torch", "naive"):
        raise checks.InputError(
            f"factored_dual: impl={impl!r}",
            expected="'auto', 'torch' or 'naive'",
            causes=["attention kernels are torch's own here; there is no Triton form"],
            fix="impl='auto'",
        )
    checks.require_samples("factored_dual", pixel_values=pixel_values, input_ids=input_ids)
    image = encode_images(model, vision, pixel_values, image_masks, naive=impl == "naive")
    words = encode_texts(model, text, input_ids, attention_mask, text_masks, naive=impl == "naive")
    image, words = normalize(image, dim=-1), normalize(words, dim=-1)
    return DualOutput(image, words, torch.einsum("ibd,jbd->ijb", image, words))


def towers(model: nn.Module) -> tuple[Any, Any]:
    """The vision and the text model, which have all that is used of them and nothing that would be left out."""
    vision, text = getattr(model, "vision_model", None), getattr(model, "text_model", None)
    table = getattr(vision, "embeddings", None)
    unmet = {
        "a vision_model with embeddings, encoder, post_layernorm": _has(
            vision, "embeddings", "encoder", "post_layernorm"
        ),
        "a class token or a pool with a probe": _has(table, "class_embedding") or _has(vision, "head.probe"),
        "patches made from whole images": not isinstance(getattr(table, "patch_embedding", None), nn.Linear),
        "normalisation before the encoder by CLIP's name, pre_layrnorm": not hasattr(vision, "pre_layernorm"),
        "a text_model with embeddings, encoder, final_layer_norm": _has(
            text, "embeddings", "encoder", "final_layer_norm"
        ),
        "an eos_token_id to pool or a head": _has(text, "eos_token_id") or _has(text, "head"),
    }
    missing = [part for part, met in unmet.items() if not met]
    if missing:
        raise checks.InputError(
            f"factored_dual: {type(model).__name__} is not a dual encoder this function knows; it lacks: {'; '.join(missing)}",
            expected="CLIPModel, MetaClip2Model, CLIPSegModel or SiglipModel, or a model built alike",
            causes=["a dual encoder of another family", "a fused encoder such as ViLT", "one tower of a dual encoder"],
            fix="pack_coalitions for fused encoders; the model's own passes for other dual ones",
        )
    return vision, text


def _has(part: object, *names: str) -> bool:
    for name in names:
        found = part
        for step in name.split("."):
            found = getattr(found, step, None)
        if found is None:
            return False
    return True


def encode_images(model: Any, vision: Any, pixels: Tensor, masks: Tensor | None, naive: bool) -> Tensor:
    """(Ki, B, d) image features before normalisation."""
    x = vision.embeddings(pixels)
    x = vision.pre_layrnorm(x) if hasattr(vision, "pre_layrnorm") else x
    has_class = int(hasattr(vision.embeddings, "class_embedding"))
    batch, patches = x.shape[0], x.shape[1] - has_class
    masks = _masks("image_masks", masks, batch, patches, x.device)
    keep = torch.cat([masks.new_ones(*masks.shape[:2], has_class), masks], 2)
    hidden, layout_keep = _run(vision, x, keep, naive)
    if has_class:
        features = vision.post_layernorm(hidden[:, 0])
    else:
        features = _pool(vision.head, vision.post_layernorm(hidden), layout_keep)
    projection = getattr(model, "visual_projection", None)
    features = features if projection is None else projection(features)
    return features.unflatten(0, keep.shape[:2])


def encode_texts(
    model: Any, text: Any, ids: Tensor, attention_mask: Tensor | None, masks: Tensor | None, naive: bool
) -> Tensor:
    """(Kt, B, d) text features before normalisation."""
    x = text.embeddings(input_ids=ids)
    causal = not hasattr(text, "head")  # CLIP pools the end token of a causal model, SigLIP the last position
    pooled = _pooled_position(text, ids, causal)
    masks = _masks("text_masks", masks, ids.shape[0], ids.shape[1], x.device)
    first = torch.zeros_like(pooled)
    if attention_mask is not None:
        attended = checks.attention_mask("factored_dual", attention_mask, ids)
        unseen = int((~attended.gather(1, pooled[:, None])).sum())
        if unseen:  # it would stay, as what is pooled does, and be seen
            raise checks.InputError(
                f"factored_dual: attention_mask hides the pooled token of {unseen} of {len(ids)} texts, "
                f"and {type(model).__name__} would pool a state that no token sees",
                expected="an attention_mask that shows the pooled token: the end token (CLIP), the last position (SigLIP)",
                causes=[
                    "texts padded on the left with the end token, the first of which CLIP pools",
                    "texts padded on the right, with the mask of a tokenizer, for SigLIP, which was trained to see its padding",
                    "a text without any token",
                ],
                fix="tokenizer.padding_side = 'right' for CLIP, no attention_mask for SigLIP; text_masks drop words",
            )
        masks, first = masks & attended, attended.int().argmax(1)
    position = torch.arange(ids.shape[1], device=ids.device)
    always = position == pooled[:, None]
    if causal:
        always = always | (position == first[:, None])
        masks = masks & (position <= pooled[:, None])  # a causal model never looks behind the pooled token
    keep = masks | always
    hidden, _ = _run(text, x, keep, naive, causal=causal)
    row = torch.arange(hidden.shape[0], device=ids.device)
    features = text.final_layer_norm(hidden[row, pooled.repeat(keep.shape[0])])
    features = text.head(features) if hasattr(text, "head") else features
    projection = getattr(model, "text_projection", None)
    features = features if projection is None else projection(features)
    return features.unflatten(0, keep.shape[:2])


def _masks(name: str, masks: Tensor | None, batch: int, length: int, device: torch.device) -> Tensor:
    if masks is None:
        return torch.ones(1, batch, length, dtype=torch.bool, device=device)
    checks.require_mask("factored_dual", name, masks, (checks.masks_found(masks), batch, length), device)
    return masks


def _pooled_position(text: Any, ids: Tensor, causal: bool) -> Tensor:
    """(B,) index of the token whose state is pooled, by the model's own rule."""
    if not causal:
        return torch.full((ids.shape[0],), ids.shape[1] - 1, device=ids.device)
    if text.eos_token_id == 2:  # configurations written before the end token was recorded: it has the largest id
        return ids.argmax(1)
    return (ids == text.eos_token_id).int().argmax(1)


def _run(tower: Any, x: Tensor, keep: Tensor, naive: bool, causal: bool = False) -> tuple[Tensor, Tensor]:
    """Last hidden states (K * B, L, D), zero at dropped tokens, and the mask (K * B, L)."""
    flat, batch = keep.flatten(0, 1), x.shape[0]
    extra = {"is_causal": True} if causal else {}
    if naive:
        states = [_padded(tower, x, present, causal) for present in keep]
        return torch.cat(states), flat
    checks.no_checkpointing("factored_dual", tower)
    out = []
    with use_packed_attention(tower.config):
        for start in range(0, flat.shape[0], ROWS):
            rows = torch.arange(start, min(start + ROWS, flat.shape[0]), device=x.device)
            layout = PackedLayout.of(flat[rows])
            if not layout.tokens:  # an empty image in a model without class token
                out.append(x.new_zeros(len(rows), *x.shape[1:]))
                continue
            with packed(layout):
                tokens = layout.pack(x, rows % batch)
                states = tower.encoder(inputs_embeds=tokens[None], attention_mask=None, **extra).last_hidden_state
            out.append(layout.unpack(states[0]))
    return torch.cat(out), flat


def _padded(tower: Any, x: Tensor, keep: Tensor, causal: bool) -> Tensor:
    """The reference: one padded pass with absent keys at minus infinity."""
    visible = keep[:, None, None, :]
    if causal:
        visible = visible & torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
    # a query without any key keeps its own, so that its (unused) state is finite
    visible = visible | (torch.eye(x.shape[1], dtype=torch.bool, device=x.device) & ~visible.any(-1, keepdim=True))
    additive = torch.zeros(visible.shape, dtype=x.dtype, device=x.device).masked_fill_(~visible, -torch.inf)
    states = tower.encoder(inputs_embeds=x, attention_mask=additive).last_hidden_state
    return states * keep[..., None]


def _pool(head: Any, hidden: Tensor, keep: Tensor) -> Tensor:
    """SigLIP's attention pool over kept tokens only; over none, its attention output is zero."""
    attention = head.attention
    wq, wk, wv = attention.in_proj_weight.chunk(3)
    bq, bk, bv = attention.in_proj_bias.chunk(3)
    heads = (-1, attention.num_heads, attention.head_dim)
    q = nn.functional.linear(head.probe, wq, bq).expand(hidden.shape[0], -1, -1)
    k, v = nn.functional.linear(hidden, wk, bk), nn.functional.linear(hidden, wv, bv)
    q, k, v = (t.unflatten(-1, heads[1:]).transpose(1, 2) for t in (q, k, v))
    empty = ~keep.any(1)[:, None, None, None]
    mixed = scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None, :] | empty)
    mixed = torch.where(empty, 0.0, mixed).transpose(1, 2).flatten(2)
    state = attention.out_proj(mixed)
    return (state + head.mlp(head.layernorm(state)))[:, 0]


@contextmanager
def layer_states(tower: Any) -> Iterator[list[Tensor]]:
    """Collect the output of every layer of a tower inside the context, packed or padded as they come."""
    states: list[Tensor] = []

    def keep_output(_module: nn.Module, _args: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    with ExitStack() as stack:
        for layer in tower.encoder.layers:
            stack.callback(layer.register_forward_hook(keep_output).remove)
        yield states
