"""K4 and K5 on real transformers architectures with random weights: packed equals padded, layer by layer."""

from __future__ import annotations

import copy

import pytest
import torch
from crossmodal.kernels import dual as dual_module
from crossmodal.kernels import (
    dual_coalitions,
    factored_dual,
    fused_coalitions,
    model_coalitions,
    pack_coalitions,
    register_attention,
    shapley,
)
from crossmodal.kernels import fused as fused_module
from crossmodal.kernels.attention import packed_attention_forward, route_self_attention
from crossmodal.kernels.baselines import FusedTokens, permutations, replace_absent
from crossmodal.kernels.packing import PackedLayout, packed, packed_attention
from crossmodal.theory.errors import InputError

from .tiny_models import clip, pairs, to_double, vilt, vilt_inputs

transformers = pytest.importorskip("transformers")

BASELINES = ("tokens", "zero", "mean", "permute")


DUAL = ("clip", "clip, old end token", "siglip")


def as_exact(found: torch.Tensor, plain: torch.Tensor, exact: torch.Tensor) -> None:
    """`found` is as close to float64 as the padded float32 pass is, within a factor of two and four units."""
    size = float(exact.abs().max())
    own, other = float((found - exact).abs().max()), float((plain - exact).abs().max())
    assert own <= 2 * other + 4 * 2**-23 * size, (own, other, size)


@torch.no_grad()
@pytest.mark.parametrize("baseline", BASELINES)
def test_vilt_coalitions_layer_by_layer(baseline) -> None:
    model, inputs = vilt(), vilt_inputs()
    options = {"baseline": baseline, "output_hidden_states": True}
    found = pack_coalitions(model, inputs, **options)
    plain = pack_coalitions(model, inputs, **options, impl="naive")
    exact = pack_coalitions(copy.deepcopy(model).double(), to_double(inputs), **options, impl="naive")
    assert found.logits.shape == (4, 5, 7)
    assert len(found.hidden_states) == 4
    assert torch.equal(found.keep, exact.keep)
    for layers in zip(found.hidden_states, plain.hidden_states, exact.hidden_states, strict=True):
        as_exact(*layers)
    as_exact(found.logits, plain.logits, exact.logits)
    # the naive form is itself the model's own forward where nothing is absent
    own, right = model(**inputs).logits, copy.deepcopy(model).double()(**to_double(inputs)).logits
    as_exact(plain.logits[3], own, right)


@torch.no_grad()
def test_vilt_many_token_masks() -> None:
    model, inputs = vilt(), vilt_inputs()
    length = pack_coalitions(model, inputs).keep.shape[2]
    masks = torch.rand(12, 5, length) > 0.5
    found = pack_coalitions(model, inputs, token_masks=masks)
    plain = pack_coalitions(model, inputs, token_masks=masks, impl="naive")
    exact = pack_coalitions(copy.deepcopy(model).double(), to_double(inputs), token_masks=masks, impl="naive")
    as_exact(found.logits, plain.logits, exact.logits)
    assert not torch.equal(found.logits[0], found.logits[1])


@torch.no_grad()
def test_padding_and_the_class_token_whatever_the_mask() -> None:
    """Padding of both modalities is dropped and the class token kept; in the model's own forward as well."""
    model, inputs = vilt(), vilt_inputs()
    inputs["pixel_mask"] = torch.ones(5, 64, 64, dtype=torch.long)
    inputs["pixel_mask"][1, 32:], inputs["pixel_mask"][2, :, 48:] = 0, 0
    inputs["token_type_ids"] = torch.randint(0, 2, (5, 9))
    inputs["input_ids"][4, 0] = 7  # class tokens that differ are not computed once for all
    plain = pack_coalitions(model, inputs, impl="naive")
    exact = pack_coalitions(copy.deepcopy(model).double(), to_double(inputs), impl="naive")
    as_exact(pack_coalitions(model, inputs).logits, plain.logits, exact.logits)
    own, right = model(**inputs).logits, copy.deepcopy(model).double()(**to_double(inputs)).logits
    as_exact(plain.logits[3], own, right)
    real = torch.cat([inputs["attention_mask"].bool(), plain.keep[3, :, 9:]], 1)
    assert real[:, 9:].sum(1).tolist() == [17, 9, 13, 17, 17]
    masks = torch.rand(3, 5, 26) > 0.5
    masks[:, :, 0], masks[2] = False, True
    found = pack_coalitions(model, inputs, token_masks=masks).keep
    masks[:, :, 0] = True
    assert torch.equal(found, masks & real)


@torch.no_grad()
def test_masks_name_the_patches_of_padded_images() -> None:
    """A padded image's patches come first, in reading order: its top half is 8 patches."""
    model, inputs = vilt(), vilt_inputs()
    top = {**inputs, "pixel_mask": torch.ones(5, 64, 64, dtype=torch.long)}
    top["pixel_mask"][:, 32:] = 0
    core, inputs["pixel_mask"] = model.vilt, torch.ones_like(top["pixel_mask"])
    half, whole = fused_module.embed(core, top), fused_module.embed(core, inputs)
    assert half.keep[:, 9:].sum(1).tolist() == [9] * 5
    assert half.keep[:, 9 : 9 + 9].all()
    # each row of patches of the whole image in its place: content differs from row to row, positions too
    patches = core.embeddings.patch_embeddings(inputs["pixel_values"]).flatten(2).transpose(1, 2)
    places = core.embeddings.position_embeddings[0, 1:]
    types = core.embeddings.token_type_embeddings.weight[1]
    assert torch.allclose(whole.embeddings[:, 10:], patches + places + types, atol=1e-5)
    assert torch.allclose(
        half.embeddings[:, 10:18] - half.embeddings[:, 10:11] - (patches[:, :8] - patches[:, :1]),
        (half.embeddings[:1, 10:18] - half.embeddings[:1, 10:11]) - (patches[:1, :8] - patches[:1, :1]),
        atol=1e-5,
    )


@torch.no_grad()
def test_many_masks_take_several_passes(monkeypatch) -> None:
    model, inputs = vilt(), vilt_inputs()
    whole = pack_coalitions(model, inputs, output_hidden_states=True)
    monkeypatch.setattr(fused_module, "PASS_TOKENS", 60)
    seen: list[int] = []
    right = PackedLayout.of
    monkeypatch.setattr(
        fused_module.PackedLayout, "of", staticmethod(lambda keep: seen.append(len(keep)) or right(keep))
    )
    parts = pack_coalitions(model, inputs, output_hidden_states=True)
    assert seen == [2] * 8  # of up to 26 tokens each
    assert torch.allclose(whole.logits, parts.logits, atol=1e-5)
    assert torch.allclose(whole.hidden_states[-1], parts.hidden_states[-1], atol=1e-4)


@torch.no_grad()
def test_vilt_image_tokens_are_in_reading_order() -> None:
    """ViLT draws patches in random order; masks must mean the same patches every time."""
    model, inputs = vilt(), vilt_inputs()
    masks = torch.ones(1, 5, 9 + 17, dtype=torch.bool)
    masks[0, :, 12:] = False
    first, second = (pack_coalitions(model, inputs, token_masks=masks).logits for _ in range(2))
    assert torch.equal(first, second)


@torch.no_grad()
def test_packing_fails_with_wrong_positions(monkeypatch) -> None:
    """Mutant: a pack that shifts tokens by one, so that kept tokens get their neighbours' positions."""
    model, inputs = vilt(), vilt_inputs()
    exact = pack_coalitions(model, inputs, impl="naive")
    right = PackedLayout.pack
    monkeypatch.setattr(PackedLayout, "pack", lambda self, x, *a: right(self, x.roll(1, 1), *a))
    found = pack_coalitions(model, inputs)
    with pytest.raises(AssertionError):
        as_exact(found.logits, exact.logits, exact.logits.double())


@torch.no_grad()
def test_empty_coalition_is_computed_once(monkeypatch) -> None:
    seen: list[int] = []
    right = fused_module.PackedLayout.of
    monkeypatch.setattr(
        fused_module.PackedLayout, "of", staticmethod(lambda keep: seen.append(len(keep)) or right(keep))
    )
    found = pack_coalitions(vilt(), vilt_inputs())
    assert seen == [3 * 5 + 1]
    assert (found.logits[0] == found.logits[0, 0]).all()


@torch.no_grad()
@pytest.mark.parametrize("impl", ["torch", "naive"])
def test_coalitions_in_any_order(impl) -> None:
    """Mutant: the empty coalition, computed once, is found only where it comes first."""
    model, inputs = vilt(), vilt_inputs()
    neutral = pack_coalitions(model, inputs, impl=impl)
    mixed = pack_coalitions(model, inputs, [("image", "text"), (), ("text",), (), ("image",)], impl=impl)
    for place, which in enumerate((3, 0, 2, 0, 1)):
        assert torch.allclose(mixed.logits[place], neutral.logits[which], atol=1e-5), place


def test_vilt_gradients_flow_through_the_packed_pass() -> None:
    model, inputs = vilt().double(), to_double(vilt_inputs(3))
    grads = []
    for impl in ("torch", "naive"):
        model.zero_grad()
        pack_coalitions(model, inputs, impl=impl).logits.square().sum().backward()
        grads.append([p.grad.clone() for p in model.vilt.encoder.parameters()])
    for a, b in zip(*grads, strict=True):
        # a key bias moves all scores of a row alike: its gradient is zero up to rounding
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * max(float(g.abs().max()) for g in grads[1]))


@torch.no_grad()
def test_routing_leaves_the_model_as_it_was() -> None:
    model, inputs = vilt(), vilt_inputs()
    before = model(**inputs).logits
    pack_coalitions(model, inputs)
    assert not any("forward" in vars(m) for m in model.modules())
    # patches come in another order, which changes rounding only
    assert torch.allclose(before, model(**inputs).logits, atol=1e-4)


@torch.no_grad()
def test_dropout_reaches_the_packed_pass() -> None:
    """Dropout of attention weights alone: on in training, off in evaluation."""
    model, inputs = vilt(), vilt_inputs()
    for layer in model.vilt.encoder.layer:
        layer.attention.attention.dropout.p = 0.5
    quiet, again = (pack_coalitions(model, inputs).logits for _ in range(2))
    assert torch.allclose(quiet, again, atol=1e-5)
    assert not torch.allclose(quiet[1:], pack_coalitions(model.train(), inputs).logits[1:], atol=1e-3)


@torch.no_grad()
def test_routing_puts_back_what_a_module_had() -> None:
    """Such as the hook of another library, or an outer routing."""
    model, inputs = vilt(), vilt_inputs()
    module = model.vilt.encoder.layer[0].attention.attention
    own = module.forward
    module.forward = lambda *args, **kwargs: own(*args, **kwargs)
    hook = module.forward
    pack_coalitions(model, inputs)
    assert module.forward is hook
    with route_self_attention(model):
        outer = module.forward
        pack_coalitions(model, inputs)
        assert module.forward is outer


@torch.no_grad()
@pytest.mark.parametrize("kind", DUAL)
def test_dual_masks_layer_by_layer(kind) -> None:
    model, batch = clip(kind), pairs()
    image_masks, text_masks = torch.rand(3, 4, 16) > 0.5, torch.rand(2, 4, 12) > 0.5
    image_masks[0], image_masks[1], text_masks[0] = True, False, True
    masks = {"image_masks": image_masks, "text_masks": text_masks}
    wide = copy.deepcopy(model).double()
    found, plain = (factored_dual(model, **batch, **masks, impl=i) for i in ("torch", "naive"))
    exact = factored_dual(wide, **to_double(batch), **masks, impl="naive")
    assert found.scores.shape == (3, 2, 4)
    assert torch.isfinite(found.scores).all()
    for parts in zip(found, plain, exact, strict=True):
        as_exact(*parts)

    keep = torch.cat([torch.ones(3, 4, int(kind != "siglip"), dtype=torch.bool), image_masks], 2)
    x = model.vision_model.embeddings(batch["pixel_values"])
    with dual_module.layer_states(model.vision_model) as states:
        dual_module._run(model.vision_model, x, keep[:1], naive=True)
        dual_module._run(model.vision_model, x, keep[:1], naive=False)
    layout = PackedLayout.of(keep[0])
    with dual_module.layer_states(wide.vision_model) as exact_states:
        dual_module._run(wide.vision_model, x.double(), keep[:1], naive=True)
    assert len(states) == 6
    for padded, ours, right in zip(states[:3], states[3:], exact_states, strict=True):
        dropped = ~keep[0][..., None]
        as_exact(layout.unpack(ours[0]), padded.masked_fill(dropped, 0), right.masked_fill(dropped, 0))


@torch.no_grad()
@pytest.mark.parametrize("kind", DUAL)
def test_full_masks_are_the_model_itself(kind) -> None:
    model, batch = clip(kind), pairs()
    found, own = factored_dual(model, **batch), model(**batch)
    exact = copy.deepcopy(model).double()(**to_double(batch))
    as_exact(found.image[0], own.image_embeds, exact.image_embeds)
    as_exact(found.text[0], own.text_embeds, exact.text_embeds)


@torch.no_grad()
def test_text_masks_are_the_models_attention_mask() -> None:
    model, batch = clip("clip"), pairs()
    keep = torch.rand(4, 12) > 0.5
    keep[:, 0] = True
    keep[torch.arange(4), (batch["input_ids"] == 59).int().argmax(1)] = True
    found = factored_dual(model, **batch, text_masks=keep[None])
    own = model(**batch, attention_mask=keep.long()).text_embeds
    assert torch.allclose(found.text[0], own, atol=1e-5)
    assert not torch.allclose(factored_dual(model, **batch).text[0], own, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("kind", DUAL)
def test_sequences_in_several_passes(monkeypatch, kind) -> None:
    model, batch = clip(kind), pairs()
    masks = {"image_masks": torch.rand(4, 4, 16) > 0.5, "text_masks": torch.rand(3, 4, 12) > 0.5}
    whole = factored_dual(model, **batch, **masks)
    monkeypatch.setattr(dual_module, "ROWS", 5)
    for a, b in zip(factored_dual(model, **batch, **masks), whole, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert model.vision_model.config._attn_implementation != "crossmodal_packed"


@torch.no_grad()
def test_attention_mask_and_structural_tokens() -> None:
    """The tokenizer's mask is one text mask more, and the first and the pooled token stay whatever masks say."""
    model, batch = clip("clip"), pairs()
    mask, texts = (torch.rand(4, 12) > 0.4).long(), torch.rand(2, 4, 12) > 0.4
    mask[:, 0] = 1  # or the text would start further on
    mask[torch.arange(4), (batch["input_ids"] == 59).int().argmax(1)] = 1  # or the model would pool what is not seen
    found = factored_dual(model, **batch, attention_mask=mask, text_masks=texts).text
    assert torch.equal(found, factored_dual(model, **batch, text_masks=texts & mask.bool()).text)
    assert not torch.allclose(found, factored_dual(model, **batch, text_masks=texts).text, atol=1e-3)
    for structural in (torch.zeros(4, dtype=torch.long), (batch["input_ids"] == 59).int().argmax(1)):
        without, with_it = texts.clone(), texts.clone()
        without[:, torch.arange(4), structural], with_it[:, torch.arange(4), structural] = False, True
        kept, told = (factored_dual(model, **batch, text_masks=m).text for m in (without, with_it))
        assert torch.equal(kept, told)


@torch.no_grad()
def test_siglip_pools_kept_patches_only() -> None:
    """Against the model's own head on the kept patches, image by image; over none its attention gives zero."""
    head = clip("siglip").vision_model.head
    hidden, keep = torch.randn(4, 16, 48), torch.rand(4, 16) > 0.5
    keep[2] = False
    found = dual_module._pool(head, hidden, keep)
    for row in (0, 1, 3):
        assert torch.allclose(found[row], head(hidden[row : row + 1, keep[row]])[0], atol=1e-5)
    state = head.attention.out_proj.bias
    assert torch.allclose(found[2], state + head.mlp(head.layernorm(state)), atol=1e-6)


@torch.no_grad()
def test_2k_encodings_serve_k_squared_scores(monkeypatch) -> None:
    model, batch = clip("clip"), pairs()
    rows: list[int] = []
    right = PackedLayout.of
    monkeypatch.setattr(
        dual_module.PackedLayout, "of", staticmethod(lambda keep: rows.append(len(keep)) or right(keep))
    )
    image_masks, text_masks = torch.rand(6, 4, 16) > 0.3, torch.rand(6, 4, 12) > 0.3
    scores = factored_dual(model, **batch, image_masks=image_masks, text_masks=text_masks).scores
    assert sum(rows) == 2 * 6 * 4
    one = factored_dual(model, **batch, image_masks=image_masks[2:3], text_masks=text_masks[4:5]).scores
    assert torch.allclose(scores[2, 4], one[0, 0], atol=1e-6)


@torch.no_grad()
def test_registered_attention_is_chosen_by_a_string() -> None:
    model, batch = clip("clip"), pairs()
    before = model(**batch).logits_per_image
    model.set_attn_implementation(register_attention())
    assert model.vision_model.config._attn_implementation == "crossmodal_packed"
    assert torch.allclose(model(**batch).logits_per_image, before, atol=1e-5)


def test_registered_attention_outside_a_packed_context_is_ordinary() -> None:
    q, k, v = torch.randn(3, 2, 4, 5, 8)
    with packed(PackedLayout.of(torch.ones(1, 5, dtype=torch.bool))):
        pass  # which ends here
    found = packed_attention_forward(torch.nn.Identity(), q, k, v, None, scaling=0.3, is_causal=False)[0]
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2)
    assert torch.allclose(found, expected, atol=1e-6)


def test_packed_attention_takes_a_scale() -> None:
    layout = PackedLayout.of(torch.ones(1, 5, dtype=torch.bool))
    q, k, v = torch.randn(3, 5, 2, 4)
    found = packed_attention(q, k, v, layout, scale=0.3)
    weights = torch.einsum("nhd,mhd->hnm", q, k).mul(0.3).softmax(-1)
    assert torch.allclose(found, torch.einsum("hnm,mhd->nhd", weights, v), atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_packed_attention_repeats_grouped_keys(causal) -> None:
    """Through the function that `transformers` calls, with the causality of the module or of the call."""
    layout = PackedLayout.of(torch.tensor([[True, True, False], [True, True, True], [False, True, False]]))
    q, k, v = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 8)
    module = torch.nn.Identity()
    module.is_causal = causal
    with packed(layout):
        found = packed_attention_forward(module, q, k, v, None, scaling=0.3)[0][0]
        told = packed_attention_forward(torch.nn.Identity(), q, k, v, None, scaling=0.3, is_causal=causal)[0][0]
    assert torch.equal(found, told)
    for first, last in ((0, 1), (1, 3), (3, 6)):  # by length
        at = slice(first, last)
        scores = torch.einsum("hnd,hmd->hnm", q[0, :, at], k[0].repeat_interleave(2, 0)[:, at]) * 0.3
        if causal:
            scores = scores.masked_fill(~torch.ones(scores.shape[1:], dtype=torch.bool).tril(), -torch.inf)
        expected = torch.einsum("hnm,hmd->nhd", scores.softmax(-1), v[0].repeat_interleave(2, 0)[:, at])
        assert torch.allclose(found[at], expected, atol=1e-6)


def test_packed_attention_checks_and_gradients() -> None:
    keep = torch.rand(3, 5) > 0.4
    keep[1] = False
    layout = PackedLayout.of(keep)
    x = torch.randn(3, 5, 2, dtype=torch.float64)
    assert torch.equal(layout.unpack(layout.pack(x)), x * keep[..., None])
    q, k, v = (torch.randn(layout.tokens, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda *a: packed_attention(*a, layout), (q, k, v))
    with pytest.raises(InputError, match="active layout"):
        packed_attention(q[1:], k[1:], v[1:], layout)
    with pytest.raises(InputError, match="cross-attention"):
        packed_attention(q, torch.cat([k, k]), torch.cat([v, v]), layout)
    rows = torch.zeros(2, 2, layout.tokens, 3)
    with packed(layout), pytest.raises(InputError, match="a batch of 2 rows"):
        packed_attention_forward(torch.nn.Identity(), rows, rows, rows, None)
    for wrong in (keep.long(), keep[0], keep.tolist()):
        with pytest.raises(InputError, match="boolean"):
            PackedLayout.of(wrong)
    nothing = PackedLayout.of(torch.zeros(2, 4, dtype=torch.bool))
    assert packed_attention(*torch.zeros(3, 0, 2, 3), nothing).shape == (0, 2, 3)


def test_packed_attention_drops_weights() -> None:
    layout = PackedLayout.of(torch.ones(2, 8, dtype=torch.bool))
    q, k, v = torch.randn(3, 16, 2, 4)
    assert not torch.allclose(packed_attention(q, k, v, layout, dropout=0.5), packed_attention(q, k, v, layout))


def test_shapley_and_interaction() -> None:
    values = torch.tensor([[1.0], [3.0], [4.0], [10.0]])
    phi, interaction = shapley(values)
    assert phi.flatten().tolist() == [4.0, 5.0]
    assert phi.sum() == values[3] - values[0]
    assert interaction.item() == 4.0


@pytest.mark.parametrize("baseline", BASELINES)
def test_dual_coalition_values(baseline) -> None:
    model, batch = clip("clip"), pairs(6)
    halves = [{k: x[:3] for k, x in batch.items()}, {k: x[3:] for k, x in batch.items()}]
    told: list[tuple] = []
    found = dual_coalitions(model, halves, baseline=baseline, progress=lambda *x: told.append(x))
    assert found.values.shape == (4, 6)
    assert told == [(3, 6), (6, 6)]
    assert torch.allclose(found.shapley.sum(0), found.values[3] - found.values[0], atol=1e-12)
    features = factored_dual(model, **batch)
    u, v = features.image[0].double(), features.text[0].double()
    assert torch.allclose(found.values[3], (u * v).sum(1), atol=1e-6)
    if baseline != "tokens":
        image, text = permutations(6, seed=0)
        stand_ins = {"zero": (u * 0, v * 0), "permute": (u[image], v[text])}
        u_absent, v_absent = stand_ins.get(baseline, (u.mean(0), v.mean(0)))
        own = torch.stack([(u_absent * v_absent).sum(-1).expand(6), (u * v_absent).sum(1), (u_absent * v).sum(1)])
        assert torch.allclose(found.values[:3], own, atol=1e-6)
    else:
        full, nothing = (torch.full((1, 6, size), bool(x)) for x, size in ((1, 16), (0, 12)))
        only_image = factored_dual(model, **batch, image_masks=full, text_masks=nothing).scores[0, 0].double()
        assert torch.allclose(found.values[1], only_image, atol=1e-6)
    if baseline == "mean":  # C4
        expected = ((u - u.mean(0)) * (v - v.mean(0))).sum(1)
        assert torch.allclose(found.interaction, expected, atol=1e-6)
    if baseline == "zero":
        assert (found.values[:3] == 0).all()
    if baseline == "permute":
        again, other = (dual_coalitions(model, halves, baseline=baseline, seed=seed) for seed in (0, 1))
        assert torch.equal(found.values, again.values)
        assert not torch.equal(found.values, other.values)


@pytest.mark.parametrize("baseline", BASELINES)
def test_fused_coalition_values(baseline) -> None:
    model, batch = vilt(), vilt_inputs(6)
    labels = torch.randint(7, (6,))
    found = model_coalitions(model.train(), [{**batch, "labels": labels}], baseline=baseline)
    assert model.training
    assert found.value == "log-probability of the label"
    with torch.no_grad():
        own = model.eval()(**batch).logits.log_softmax(-1)[torch.arange(6), labels]
    assert torch.allclose(found.values[3].float(), own, atol=1e-4)
    unlabelled = fused_coalitions(model, [batch], baseline=baseline)
    assert unlabelled.value == "logit of the predicted class"
    assert {x.dtype for x in (unlabelled.values, unlabelled.shapley, unlabelled.interaction)} == {torch.float64}
    with torch.no_grad():
        assert torch.allclose(unlabelled.values[3].float(), model(**batch).logits.amax(1), atol=1e-4)
    again = model_coalitions(model, [{**batch, "labels": labels}], baseline=baseline)
    assert torch.allclose(found.values, again.values, atol=1e-5)


def test_each_part_of_a_model_gets_its_mode_back() -> None:
    model = vilt().train()
    model.vilt.encoder.eval()  # frozen
    before = [m.training for m in model.modules()]
    assert 0 < sum(before) < len(before)
    fused_coalitions(model, [vilt_inputs()])
    assert [m.training for m in model.modules()] == before


def test_the_mean_of_many_half_precision_tokens() -> None:
    """600 texts and images of 130 tokens each: more of either than the largest float16, 65504."""
    x = torch.cat([torch.full((600, 131, 2), 0.5), torch.full((600, 130, 2), -2.0)], 1).half()
    tokens = FusedTokens(x, torch.ones(600, 261, dtype=torch.bool), 131)
    for dtype in (torch.float16, torch.bfloat16):
        found, _ = replace_absent(
            tokens._replace(embeddings=x.to(dtype)), torch.zeros(1, 2, dtype=torch.bool), "mean", 0
        )
        assert found.dtype == dtype
        assert torch.equal(found[0], x.to(dtype))


def test_what_stands_for_an_absent_modality() -> None:
    """Against a sample-by-sample account: class token, two texts, three patches, some of them padding."""
    x = torch.randn(4, 6, 2)
    keep = torch.ones(4, 6, dtype=torch.bool)
    keep[1, 2] = keep[2, 5] = keep[3, 4:] = False
    tokens, present = (
        FusedTokens(x, keep, 3),
        torch.tensor([[False, False], [True, False], [False, True], [True, True]]),
    )
    other_image, other_text = permutations(4, seed=5)
    for baseline in BASELINES:
        found, found_keep = replace_absent(tokens, present, baseline, seed=5)
        found = found.expand(4, 4, 6, 2)
        for k, (image, text) in enumerate(present.tolist()):
            for b in range(4):
                for i in range(6):
                    kind, there = (slice(1, 3), text) if i in (1, 2) else (slice(3, 6), image or i == 0)
                    value, kept = x[b, i], bool(keep[b, i])
                    if not there and baseline == "tokens":
                        kept = False
                    elif not there and baseline == "permute":
                        from_sample = (other_text if i < 3 else other_image)[b]
                        value, kept = x[from_sample, i], bool(keep[from_sample, i])
                    elif not there:
                        value = x[:, kind][keep[:, kind]].mean(0) if baseline == "mean" else torch.zeros(2)
                    assert torch.allclose(found[k, b, i], value, atol=1e-6), (baseline, k, b, i)
                    assert bool(found_keep[k, b, i]) == kept, (baseline, k, b, i)


def test_batches_are_permuted_each_in_its_own_way() -> None:
    """Mutant: the same seed for every batch, so that each sample's stand-in has the same place in all of them."""
    model, batch = vilt(), vilt_inputs(6)
    found = fused_coalitions(model, [batch, batch], baseline="permute").values
    assert torch.allclose(found[3, :6], found[3, 6:], atol=1e-5)
    assert not torch.allclose(found[1, :6], found[1, 6:], atol=1e-3)
    other = fused_coalitions(model, [batch, batch], baseline="permute", seed=1).values
    assert not torch.allclose(found[1], other[1], atol=1e-3)


def test_a_score_and_a_loader_that_knows_its_length() -> None:
    """A head with one output gives its score, labels or not; models are in evaluation mode while they run."""
    model, batch = vilt(), vilt_inputs(5)
    ranked = transformers.ViltForImageAndTextRetrieval(model.config)
    ranked.vilt, told, modes = model.vilt, [], set()
    ranked.rank_output.weight.data.normal_()
    rows = [{k: x[i] for k, x in batch.items()} for i in range(5)]
    loader = torch.utils.data.DataLoader(rows, batch_size=2)
    watch = ranked.rank_output.register_forward_hook(lambda module, *_: modes.add(module.training))
    found = fused_coalitions(ranked.train(), loader, progress=lambda *x: told.append(x))
    watch.remove()
    assert found.value == "score"
    assert torch.allclose(found.values[3].float(), ranked.eval()(**batch).logits[:, 0], atol=1e-4)
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert modes == {False}
    dual, told = clip("clip").train(), []
    watch = dual.visual_projection.register_forward_hook(lambda module, *_: modes.add(module.training))
    dual_coalitions(dual, iter([pairs()]), progress=lambda *x: told.append(x))
    watch.remove()
    assert modes == {False}
    assert told == [(4, None)]
    assert dual.training


def test_permuted_baselines_are_never_the_own_or_a_matched_pair() -> None:
    for count in (3, 4, 17):
        image, text = permutations(count, seed=count)
        own = torch.arange(count)
        assert sorted(image.tolist()) == sorted(text.tolist()) == own.tolist()
        assert not (image == own).any()
        assert not (text == own).any()
        assert not (image == text).any()
    with pytest.raises(InputError, match="at least 3"):
        permutations(2, seed=0)


def test_bad_input_is_explained() -> None:
    fused, dual, inputs, batch = vilt(), clip("clip"), vilt_inputs(), pairs()
    wrong, full = torch.ones(2, 5, 3, dtype=torch.bool), torch.ones(1, 5, 26, dtype=torch.bool)
    left = inputs["attention_mask"].clone()
    left[3, :2] = 0
    cases = [
        (lambda: pack_coalitions(dual, inputs), "CLIPModel"),
        (lambda: pack_coalitions(fused, {"input_ids": inputs["input_ids"]}), "pixel_values"),
        (lambda: pack_coalitions(fused, inputs, [("audio",)]), "audio"),
        (lambda: pack_coalitions(fused, inputs, ["image"]), "image"),
        (lambda: pack_coalitions(fused, inputs, baseline="noise"), "noise"),
        (lambda: pack_coalitions(fused, inputs, impl="triton"), "triton"),
        (lambda: pack_coalitions(fused, inputs, token_masks=wrong), "(2, 5, 3)"),
        (lambda: pack_coalitions(fused, inputs, token_masks=wrong.long()), "int64"),
        (lambda: pack_coalitions(fused, inputs, token_masks=full[:0]), "(0, 5, 26)"),
        (lambda: pack_coalitions(fused, inputs, token_masks=full[0, 0, 0]), "shape ()"),
        (lambda: pack_coalitions(fused, inputs, token_masks=full, baseline="mean"), "together with token_masks"),
        (lambda: pack_coalitions(fused, inputs, None), "coalitions None"),
        (lambda: pack_coalitions(fused, inputs, [1]), "coalitions [1]"),
        (lambda: pack_coalitions(fused, inputs, []), "coalitions []"),
        (lambda: pack_coalitions(fused, {**inputs, "attention_mask": torch.ones(5, 1)}), "(5, 1)"),
        (lambda: pack_coalitions(fused, {**inputs, "attention_mask": torch.zeros(5, 9) - 1}), "holding -1.0"),
        (lambda: pack_coalitions(fused, {**inputs, "attention_mask": torch.zeros(5, 9).long() - 1}), "holding -1"),
        (lambda: pack_coalitions(fused, {**inputs, "attention_mask": left}), "first token of sample 3"),
        (lambda: pack_coalitions(fused, {k: x[:0] for k, x in inputs.items()}), "no samples"),
        (lambda: factored_dual(fused, **batch), "ViltForQuestionAnswering"),
        (lambda: factored_dual(dual, **batch, image_masks=wrong), "(2, 4, 16)"),
        (lambda: factored_dual(dual, batch["pixel_values"][:2], batch["input_ids"]), "(2, 3, 32, 32)"),
        (lambda: factored_dual(dual, **batch, impl="triton"), "triton"),
        (lambda: factored_dual(dual, **batch, image_masks=torch.ones(0, 4, 16).bool()), "(0, 4, 16)"),
        (lambda: factored_dual(dual, **batch, text_masks=torch.tensor(True)), "shape ()"),
        (lambda: factored_dual(dual, **batch, attention_mask=torch.ones(4, 1)), "(4, 1)"),
        (lambda: factored_dual(dual, **batch, attention_mask=torch.ones(3, 12)), "(3, 12)"),
        (lambda: factored_dual(dual, **batch, attention_mask=[[1] * 12] * 4), "list"),
        (lambda: factored_dual(dual, **batch, attention_mask=torch.arange(48).view(4, 12)), "holding 2"),
        (lambda: factored_dual(dual, **batch, attention_mask=torch.full((4, 12), torch.nan)), "holding nan"),
        (lambda: factored_dual(dual, batch["pixel_values"], None), "NoneType"),
        (lambda: factored_dual(dual, **{k: x[:0] for k, x in batch.items()}), "no samples"),
        (lambda: dual_coalitions(dual, []), "no batch"),
        (lambda: dual_coalitions(dual, [batch], baseline="noise"), "noise"),
        (lambda: dual_coalitions(dual, [{"input_ids": batch["input_ids"]}]), "pixel_values"),
        (lambda: fused_coalitions(vilt(head=False), [inputs]), "no classification head"),
        (lambda: fused_coalitions(fused, [{**inputs, "labels": torch.full((5,), 9)}]), "labels"),
        (lambda: fused_coalitions(fused, [{**inputs, "labels": torch.arange(3)}]), "labels: shape (3,)"),
        (lambda: fused_coalitions(fused, [{**inputs, "labels": torch.arange(0)}]), "labels: shape (0,)"),
        (lambda: fused_coalitions(fused, [inputs, {**inputs, "labels": torch.arange(5)}]), "others do not"),
    ]
    for call, word in cases:
        with pytest.raises(InputError, match="expected") as error:
            call()
        assert word in str(error.value)
    with pytest.raises(InputError, match="no self-attention"), route_self_attention(torch.nn.Linear(2, 2)):
        pass
    layout = PackedLayout.of(torch.ones(1, 3, dtype=torch.bool))
    model = clip("clip")
    model.set_attn_implementation(register_attention())
    with packed(layout), pytest.raises(InputError, match="active layout"):
        model(**batch)
