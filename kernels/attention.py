"""The packed attention as a `transformers` attention implementation, chosen by a string.

Models that go through the attention interface (CLIP, SigLIP and most others) need only
``attn_implementation="crossmodal_packed"``.  ViLT, VisualBERT and FLAVA compute attention inside their
self-attention modules; `route_self_attention` sends those modules through the same function for a while.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from crossmodal.kernels.checks import InputError
from crossmodal.kernels.packing import PackedLayout, active_layout, packed_attention
from crossmodal.theory.errors import not_installed
from torch import Tensor, nn

NAME = "crossmodal_packed"
CHANGES = ("position_bias", "softcap", "s_aux")  # arguments of `transformers` that make other scores of the products

# Both contexts below change a model that other threads may be changing too: interleaved, one would record the other's
# change as the state to go back to, and a model is never put back.  So one switched pass runs at a time.
_SWITCHED = threading.RLock()


@functools.cache
def register_attention() -> str:
    """Register the packed attention with `transformers`; returns its name, ``"crossmodal_packed"``.

    Outside a packed context it is ordinary scaled dot-product attention, so a model may keep it all the time:
    ``AutoModel.from_pretrained(..., attn_implementation=register_attention())``.

    Raises:
        InputError: `transformers` is not installed.
    """
    try:
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask
    except ImportError as error:
        raise not_installed("transformers", "vlm") from error
    AttentionInterface.register(NAME, packed_attention_forward)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def packed_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The signature `transformers` expects: (B, H, N, D) in, (B, N, H, D) out.

    Inside a packed context B is 1, and the layout says who sees whom.

    Raises:
        InputError: inside a packed context, a batch, tokens of another number than the layout's, or attention that is neither
            full nor causal: a mask that says otherwise within a sequence, or one of `CHANGES`.
    """
    layout = active_layout()
    if layout is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            **kwargs,
        )
    if query.shape[0] != 1:
        raise InputError(
            f"packed attention: a batch of {query.shape[0]} rows of tokens",
            expected="one row that holds all sequences of the active layout",
            causes=["a padded batch inside the packed context"],
            fix="layout.pack(tokens)[None]",
        )
    causal = bool(is_causal) if is_causal is not None else bool(getattr(module, "is_causal", False))
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    found = [name for name in CHANGES if kwargs.get(name) is not None]
    fits = len(q) == layout.tokens  # what does not is refused with the products
    if found or (fits and attention_mask is not None and not _is_plain(attention_mask, layout, causal)):
        raise InputError(
            f"packed attention: {type(module).__name__} has {found[0] if found else 'an attention mask of its own within a sequence'}",
            expected=f"{'causal' if causal else 'full'} attention of every sequence of the layout to itself",
            causes=["a sliding window or chunks of attention", "scores with a bias, a cap or a sink", "a padding mask"],
            fix="leave padding to the layout; run models with other attention padded",
        )
    return packed_attention(q, k, v, layout, scale=scaling, is_causal=causal, dropout=dropout)[None], None


def _is_plain(mask: Tensor, layout: PackedLayout, causal: bool) -> bool:
    """Whether a mask (..., T, T), boolean or added to the scores, lets every sequence see itself: all of it, or what came before."""
    seen = mask if mask.dtype == torch.bool else mask == 0
    seen = seen.expand(*seen.shape[:-2], layout.tokens, layout.tokens)
    for first, count, length in layout.blocks:
        own = torch.ones(length, length, dtype=torch.bool, device=seen.device)
        own = own.tril() if causal else own
        for start in range(first, first + count * length, length):
            tokens = slice(start, start + length)
            if not bool((seen[..., tokens, tokens] == own).all()):
                return False
    return True


@contextmanager
def use_packed_attention(config: Any) -> Iterator[None]:
    """Switch a submodel's attention implementation by its configuration, and back; one thread at a time."""
    name = register_attention()
    with _SWITCHED:
        before, config._attn_implementation = config._attn_implementation, name
        try:
            yield
        finally:
            config._attn_implementation = before


def _is_self_attention(module: nn.Module) -> bool:
    names = ("query", "key", "value", "num_attention_heads", "attention_head_size")
    return all(hasattr(module, name) for name in names)


@contextmanager
def route_self_attention(model: nn.Module) -> Iterator[None]:
    """Send BERT-style self-attention modules of `model` through the packed attention inside the context.

    One thread at a time.  A call without a layout, such as another thread's, takes the way the modules had before.
    """
    modules = [m for m in model.modules() if _is_self_attention(m)]
    if not modules:
        raise InputError(
            f"{type(model).__name__} has no self-attention module with query, key and value projections",
            expected="a BERT-style fused encoder, such as ViLT",
            causes=["a dual encoder", "a model that uses the attention interface"],
            fix=f"for those, attn_implementation={NAME!r}",
        )
    with _SWITCHED:
        before = [vars(module).get("forward") for module in modules]  # a hook, or a routing around this one
        for module in modules:
            module.forward = functools.partial(_routed_forward, module, module.forward)
        try:
            yield
        finally:
            for module, own in zip(modules, before, strict=True):
                if own is None:
                    del module.forward  # the class's own method shows through again
                else:
                    module.forward = own


def _routed_forward(
    module: Any, unrouted: Callable[..., Any], hidden_states: Tensor, *args: Any, **kwargs: Any
) -> tuple[Tensor]:
    layout = active_layout()
    if layout is None:
        return unrouted(hidden_states, *args, **kwargs)
    x = hidden_states[0]
    heads = (-1, module.num_attention_heads, module.attention_head_size)
    q, k, v = (projection(x).view(heads) for projection in (module.query, module.key, module.value))
    dropout = module.dropout.p if module.training else 0.0
    return (packed_attention(q, k, v, layout, dropout=dropout).flatten(1)[None],)
