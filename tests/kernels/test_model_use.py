"""How models are used: by several threads, in training, with padding on the left, and those that are not supported."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch
from crossmodal.kernels import factored_dual, model_coalitions, pack_coalitions, register_attention
from crossmodal.kernels.attention import packed_attention_forward, route_self_attention, use_packed_attention
from crossmodal.kernels.packing import PackedLayout, packed
from crossmodal.theory.errors import InputError
from torch.nn.functional import normalize

from .tiny_models import clip, enlarge, pairs, to_double, vilt, vilt_inputs

transformers = pytest.importorskip("transformers")


def switched(model: torch.nn.Module) -> bool:
    """Whether a packed pass left something behind."""
    towers = (getattr(model, name, None) for name in ("vision_model", "text_model"))
    names = {tower.config._attn_implementation for tower in towers if tower is not None}
    return "crossmodal_packed" in names or any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("kind", ["fused", "dual"])
def test_a_model_is_switched_by_one_thread_at_a_time(kind) -> None:
    model = vilt() if kind == "fused" else clip("clip")
    inside: list[str] = []

    def context():
        return route_self_attention(model) if kind == "fused" else use_packed_attention(model.text_model.config)

    def other() -> None:
        with context():
            inside.append("other")

    thread = threading.Thread(target=other)
    with context():
        with context():  # the same thread may come again
            assert switched(model)
        thread.start()
        thread.join(0.2)
        assert inside == []
    thread.join()
    assert inside == ["other"]
    assert not switched(model)


@pytest.mark.parametrize("kind", ["fused", "dual"])
def test_threads_share_a_model(kind) -> None:
    """Every layer hands over to the other threads, and a plain pass of the model runs among the packed ones."""
    if kind == "fused":
        model, inputs = vilt(), vilt_inputs(3)
        layers, run = model.vilt.encoder.layer, lambda: pack_coalitions(model, inputs).logits
        plain = lambda: model(**inputs).logits  # noqa: E731
    else:
        model, inputs = clip("clip"), pairs()
        layers, run = model.text_model.encoder.layers, lambda: factored_dual(model, **inputs).scores
        plain = lambda: model(**inputs).logits_per_image  # noqa: E731
    for layer in layers:
        layer.register_forward_hook(lambda *_: time.sleep(0.002))
    with torch.no_grad():
        expected = {run: run(), plain: plain()}
    wrong: list[str] = []

    def call(function: Callable[[], torch.Tensor]) -> None:
        with torch.no_grad():
            for _ in range(4):
                try:
                    found = function()
                except Exception as error:  # a thread's would be lost
                    wrong.append(repr(error))
                    return
                if not torch.allclose(found, expected[function], atol=1e-4):
                    wrong.append(f"off by {float((found - expected[function]).abs().max())}")

    threads = [threading.Thread(target=call, args=(function,)) for function in (run, run, run, plain)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not switched(model)


@torch.no_grad()
def test_a_routed_model_without_a_layout_is_the_model_itself() -> None:
    model, inputs = vilt(), vilt_inputs()
    before = model(**inputs).logits
    called: list[int] = []
    module = model.vilt.encoder.layer[0].attention.attention
    own = module.forward
    module.forward = lambda *args, **kwargs: called.append(1) or own(*args, **kwargs)  # another library's hook
    with route_self_attention(model):
        assert torch.allclose(model(**inputs).logits, before, atol=1e-4)  # patches come in another order
    assert called == [1]


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("kind", ["fused", "dual"])
def test_gradient_checkpointing_is_refused_where_it_would_be_wrong(kind) -> None:
    """A layer that is computed again in the backward pass would see neither the layout nor the routing."""
    if kind == "fused":
        model, inputs = vilt().double(), to_double(vilt_inputs(3))
        call = lambda impl: pack_coalitions(model, inputs, impl=impl).logits  # noqa: E731
        weight = model.vilt.encoder.layer[0].output.dense.weight
    else:
        model, inputs = clip("clip").double(), to_double(pairs())
        call = lambda impl: factored_dual(model, **inputs, impl=impl).scores  # noqa: E731
        weight = model.text_model.encoder.layers[0].mlp.fc1.weight

    def gradient(impl: str) -> torch.Tensor:
        (grad,) = torch.autograd.grad(call(impl).square().sum(), weight)
        return grad

    expected = gradient("torch")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert torch.allclose(gradient("torch"), expected)  # in evaluation it does nothing
    model.train()
    with pytest.raises(InputError, match="in training with gradient checkpointing") as error:
        call("torch")
    assert all(word in str(error.value) for word in ("expected", "likely cause", "fix"))
    assert torch.allclose(gradient("naive"), expected)
    with torch.no_grad():
        call("torch")


@torch.no_grad()
@pytest.mark.parametrize("impl", ["torch", "naive"])
def test_padding_on_the_left(impl) -> None:
    """The first token is the first that the mask shows; a text without padding beside it, and one without a mask."""
    model, batch = clip("clip").double(), to_double(pairs())
    mask = torch.ones(4, 12, dtype=torch.long)
    mask[1, :4] = 0
    batch["input_ids"][1, :4], batch["input_ids"][1, 4] = 1, 58
    own = normalize(model(**batch, attention_mask=mask).text_embeds, dim=-1)
    found = factored_dual(model, **batch, attention_mask=mask, impl=impl).text[0]
    assert torch.allclose(found, own, atol=1e-12)
    # the first attended token is structural, the padding before it is not
    texts = torch.ones(1, 4, 12, dtype=torch.bool)
    texts[0, 1, 4] = False
    told = factored_dual(model, **batch, attention_mask=mask, text_masks=texts, impl=impl).text[0]
    assert torch.equal(told, found)
    batch["input_ids"][1, 0] = 7
    assert torch.equal(factored_dual(model, **batch, attention_mask=mask, impl=impl).text[0], found)


@torch.no_grad()
@pytest.mark.parametrize("impl", ["torch", "naive"])
@pytest.mark.parametrize("kind", ["clip", "clip, old end token"])
def test_clip_pools_an_end_token_that_is_seen(kind, impl) -> None:
    """CLIP's tokenizers pad with the end token: on the left the first of them is pooled, and a text like any other follows."""
    model, batch = clip(kind).double(), to_double(pairs())
    mask = torch.ones(4, 12, dtype=torch.long)
    mask[0, 8:] = 0  # padded on the right, the first end token seen
    own = normalize(model(**batch, attention_mask=mask).text_embeds, dim=-1)
    found = factored_dual(model, **batch, attention_mask=mask, impl=impl).text[0]
    assert torch.allclose(found, own, atol=1e-12)
    batch["input_ids"][1, :3], mask[1, :3] = 59, 0
    mask[3] = 0
    with pytest.raises(InputError, match="hides the pooled token of 2 of 4 texts, and CLIPModel") as error:
        factored_dual(model, **batch, attention_mask=mask, impl=impl)
    assert all(word in str(error.value) for word in ("expected", "on the left", "without any token", "fix"))


@torch.no_grad()
@pytest.mark.parametrize("impl", ["torch", "naive"])
def test_siglip_pools_a_position_that_is_seen(impl) -> None:
    """The model lets no token see a pooled position that the mask hides; here it would stay: such a mask is refused."""
    model, batch = clip("siglip").double(), to_double(pairs())
    mask = torch.ones(4, 12, dtype=torch.long)
    mask[1, 3:7], mask[2, :4] = 0, 0
    own = normalize(model(**batch, attention_mask=mask).text_embeds, dim=-1)
    found = factored_dual(model, **batch, attention_mask=mask, impl=impl).text[0]
    assert torch.allclose(found, own, atol=1e-12)
    mask[:2, 9:] = 0
    with pytest.raises(InputError, match="hides the pooled token of 2 of 4 texts, and SiglipModel") as error:
        factored_dual(model, **batch, attention_mask=mask, impl=impl)
    assert all(word in str(error.value) for word in ("expected", "likely cause", "fix"))


TEXT = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
TEXT |= {"vocab_size": 60, "max_position_embeddings": 16, "eos_token_id": 59, "bos_token_id": 58, "pad_token_id": 1}
VISION = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
VISION |= {"image_size": 32, "patch_size": 8}
GROUPS = {"depths": [1, 1, 1], "num_group_tokens": [4, 2, 0], "num_output_groups": [4, 2, 0]}
BERT = TEXT | {"type_vocab_size": 2}
OTHERS = {
    "Siglip": (TEXT, VISION | {"vision_use_head": False}, {}),
    "Siglip2": (TEXT, VISION | {"num_patches": 16}, {}),
    "OwlViT": (TEXT, VISION, {"projection_dim": 32}),
    "Owlv2": (TEXT, VISION, {"projection_dim": 32}),
    "AltCLIP": (BERT | {"project_dim": 48}, VISION, {"projection_dim": 32}),
    "ChineseCLIP": (BERT, VISION, {"projection_dim": 32}),
    "GroupViT": (TEXT, VISION | GROUPS, {"projection_dim": 32, "projection_intermediate_dim": 32}),
    "Aimv2": (TEXT, VISION, {"projection_dim": 32}),
    "XCLIP": (TEXT, VISION | {"num_frames": 2}, {"projection_dim": 32}),
    "Blip": (BERT | {"is_decoder": False}, VISION, {"projection_dim": 32}),
}


def refused(model: torch.nn.Module) -> None:
    batch = pairs()
    for call in (lambda: factored_dual(model, **batch), lambda: model_coalitions(model, [batch])):
        with pytest.raises(InputError, match=f"{type(model).__name__} is not a dual encoder .*; it lacks: ") as error:
            call()
        assert all(word in str(error.value) for word in ("CLIPModel", "SiglipModel", "likely cause", "fix"))


@pytest.mark.parametrize("family", OTHERS)
def test_other_dual_encoders_are_refused_by_name(family) -> None:
    if not hasattr(transformers, f"{family}Model"):
        pytest.skip("not in this version of transformers")
    text, vision, more = OTHERS[family]
    config = getattr(transformers, f"{family}Config")(text_config=text, vision_config=vision, **more)
    refused(getattr(transformers, f"{family}Model")(config))


def test_a_dual_encoder_of_two_others_is_refused() -> None:
    for vision in (transformers.ViTConfig(**VISION), transformers.CLIPVisionConfig(**VISION)):
        config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
            vision, transformers.BertConfig(**BERT)
        )
        refused(transformers.VisionTextDualEncoderModel(config))


@torch.no_grad()
@pytest.mark.parametrize("family", ["MetaClip2", "CLIPSeg"])
def test_families_built_like_clip(family) -> None:
    config = getattr(transformers, f"{family}Config")(text_config=TEXT, vision_config=VISION, projection_dim=32)
    model, batch = enlarge(getattr(transformers, f"{family}Model")(config)).double(), to_double(pairs())
    found, own = factored_dual(model, **batch), model(**batch)
    assert torch.allclose(found.image[0], normalize(own.image_embeds, dim=-1), atol=1e-12)
    assert torch.allclose(found.text[0], normalize(own.text_embeds, dim=-1), atol=1e-12)


def test_a_head_on_several_images_is_refused() -> None:
    config = vilt().config
    config.num_images, config.modality_type_vocab_size = 2, 3
    with pytest.raises(InputError, match="a head of 96 inputs"):
        pack_coalitions(transformers.ViltForImagesAndTextClassification(config), vilt_inputs())


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 9, 4])
def test_a_sliding_window_is_kept_or_refused(window) -> None:
    """A model with windows shorter than a sequence would see all of it; longer ones hide nothing."""
    config = transformers.MistralConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, sliding_window=window,
    )  # fmt: skip
    model, lengths = enlarge(transformers.MistralModel(config)).double(), (2, 5, 8)
    layout = PackedLayout.of(torch.arange(8) < torch.tensor(lengths)[:, None])
    ids = torch.randint(3, 60, (layout.tokens,))
    alone = torch.cat([model(part[None]).last_hidden_state[0] for part in ids.split(lengths)])
    model.set_attn_implementation(register_attention())
    position = torch.cat([torch.arange(n) for n in lengths])

    def run(**more: torch.Tensor) -> torch.Tensor:
        with packed(layout):
            return model(ids[None], position_ids=position[None], **more).last_hidden_state[0]

    if window == 4:
        with pytest.raises(InputError, match="MistralAttention has an attention mask of its own") as error:
            run()
        assert all(word in str(error.value) for word in ("expected", "likely cause", "sliding window", "fix"))
        return
    assert torch.allclose(run(), alone, atol=1e-12)
    padding = torch.ones(1, layout.tokens, dtype=torch.long)
    padding[0, 3] = 0
    with pytest.raises(InputError, match="mask of its own"):
        run(attention_mask=padding)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_that_packing_does_not_know_is_refused(causal) -> None:
    layout = PackedLayout.of(torch.arange(3) < torch.tensor([1, 3, 2, 3])[:, None])
    q, k, v = torch.randn(3, 1, 2, layout.tokens, 4)
    module = torch.nn.Identity()
    row = torch.repeat_interleave(torch.arange(4), torch.tensor([1, 2, 3, 3]))  # by length
    own = row[:, None] == row
    own = own.tril() if causal else own
    added = torch.where(own, 0.0, -torch.inf)

    def run(mask: torch.Tensor | None, **more: object) -> torch.Tensor:
        with packed(layout):
            return packed_attention_forward(module, q, k, v, mask, scaling=0.3, is_causal=causal, **more)[0]

    everybody = own | (row[:, None] != row)  # other sequences are the layout's business
    for mask in (own[None, None], everybody.expand(1, 2, -1, -1), added[None, None]):
        assert torch.equal(run(mask), run(None))
    bias = added.clone()
    bias[8, 7] = -0.5
    fewer, more = own.clone(), own.clone()
    fewer[8, 7], more[7, 8] = False, True
    for mask in (fewer, bias, own[-1:], *([more] if causal else [])):
        with pytest.raises(InputError, match="Identity has an attention mask of its own"):
            run(mask[None, None])
    for name in ("position_bias", "softcap", "s_aux"):
        assert torch.equal(run(None, **{name: None}), run(None))
        with pytest.raises(InputError, match=f"Identity has {name}"):
            run(None, **{name: torch.ones(1)})


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.uint16, torch.int32])
def test_labels_of_any_whole_dtype(dtype) -> None:
    model, batch = vilt(), vilt_inputs(4)
    labels = torch.tensor([0, 1, 1, 0])
    found, expected = (model_coalitions(model, [{**batch, "labels": x}]).values for x in (labels.to(dtype), labels))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["fused", "dual"])
def test_what_holds_no_batches_is_explained(kind) -> None:
    model, batch = (vilt(), vilt_inputs()) if kind == "fused" else (clip("clip"), pairs())
    for batches, word in (
        (batch, "one batch"),
        (None, "batches: NoneType"),
        ([[1]], "a batch: list [1]"),
        (3, "int 3"),
    ):
        with pytest.raises(InputError, match="an iterable of dictionaries") as error:
            model_coalitions(model, batches)
        assert word in str(error.value)
    if kind == "fused":
        for inputs in (None, [1]):
            with pytest.raises(InputError, match=f"inputs are of type {type(inputs).__name__}"):
                pack_coalitions(model, inputs)


@pytest.mark.parametrize("baseline", ["tokens", "zero", "mean", "permute"])
@pytest.mark.parametrize("kind", ["fused", "dual"])
def test_values_that_are_not_finite_are_refused(kind, baseline) -> None:
    """One picture that overflows in half precision: with a mean baseline it would spoil every sample."""
    model, batch = (vilt().half(), vilt_inputs(4)) if kind == "fused" else (clip("clip").half(), pairs())
    sound = {k: x.clone() for k, x in batch.items()}
    assert torch.isfinite(model_coalitions(model, [sound], baseline=baseline).values).all()
    batch["pixel_values"][2] *= 6e4
    with pytest.raises(InputError, match=r"samples have a .* not finite, the first is sample ") as error:
        model_coalitions(model, [sound, batch], baseline=baseline)
    first = 4 if kind == "fused" and baseline in ("mean", "permute") else 6
    if baseline != "permute" or kind == "dual":
        assert f"the first is sample {first}" in str(error.value)
    assert all(word in str(error.value) for word in ("half precision", "likely cause", "fix"))


def test_features_without_a_direction_are_refused() -> None:
    """Their cosine is no number, and zero would be taken for one."""
    model = clip("clip")
    torch.nn.init.zeros_(model.text_projection.weight)
    with pytest.raises(InputError, match="4 of a batch's 4 samples have a text feature that is zero"):
        model_coalitions(model, [pairs()])


def test_a_log_probability_of_minus_infinity_is_refused() -> None:
    model, batch = vilt(), vilt_inputs()
    model.classifier[-1].bias.data[3] = -torch.inf
    labels = torch.tensor([0, 1, 3, 2, 3])
    with pytest.raises(
        InputError, match="2 of a batch's 5 samples have a value that is not finite, the first is sample 2"
    ):
        model_coalitions(model, [{**batch, "labels": labels}])
