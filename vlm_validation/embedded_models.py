"""The two small VLMs of the embedded default: how they are built, fed, and loaded.

Both are plain `transformers` models: `CLIPModel`, a dual encoder, and `ViltForImageAndTextRetrieval`, a fused encoder
with a matching head.  The fused checkpoint also holds the classification head of `ViltForQuestionAnswering`, which reads
the same encoder, so either class loads from the one folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..theory.errors import InputError, not_installed
from .scenes import SIZE, vocabulary

SPECIAL = ("[PAD]", "[UNK]", "[BOS]", "[EOS]", "[MASK]")
MAX_WORDS = 20
PATCH = 8
EMBEDDED = Path(__file__).parent / "embedded"
_MEAN, _STD = 0.5, 0.25  # of pixel values in [0, 1]


def library() -> Any:
    """`transformers`, which is imported where a model is built or read and nowhere earlier.

    Raises:
        InputError: it is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise not_installed("transformers", "vlm") from None
    return transformers


def build_tokenizer() -> Any:
    """A word-level tokenizer over the captions' closed vocabulary, as a `PreTrainedTokenizerFast`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate((*SPECIAL, *vocabulary()))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", ids["[BOS]"]), ("[EOS]", ids["[EOS]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]",
        cls_token="[BOS]", sep_token="[EOS]", mask_token="[MASK]", model_max_length=MAX_WORDS,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def build_clip() -> Any:
    """A CLIP dual encoder of about half a million parameters, randomly initialised from torch's global generator."""
    from transformers import CLIPConfig, CLIPModel

    text = {
        "hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 2,
        "vocab_size": len(SPECIAL) + len(vocabulary()), "max_position_embeddings": MAX_WORDS, "projection_dim": 64,
        "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    }  # fmt: skip
    vision = {
        "hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 4, "num_hidden_layers": 3,
        "image_size": SIZE, "patch_size": PATCH, "projection_dim": 64,
    }  # fmt: skip
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def build_fused(classes: int) -> Any:
    """A ViLT encoder with a matching head; its configuration also describes the classification head."""
    from transformers import ViltConfig, ViltForImageAndTextRetrieval

    words = len(SPECIAL) + len(vocabulary())
    return ViltForImageAndTextRetrieval(
        ViltConfig(
            hidden_size=64, intermediate_size=256, num_attention_heads=4, num_hidden_layers=4, vocab_size=words,
            max_position_embeddings=MAX_WORDS, image_size=SIZE, patch_size=PATCH, max_image_length=-1, num_labels=classes,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=0, type_vocab_size=2,
        )
    )  # fmt: skip


def pixel_tensor(pixels: np.ndarray) -> torch.Tensor:
    """(N, 32, 32, 3) uint8 to (N, 3, 32, 32) float32, standardised as in training."""
    scaled = (pixels.astype(np.float32) / 255 - _MEAN) / _STD
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))


def tokens(tokenizer: Any, captions: Sequence[str]) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, (N, L) int64, padded to the longest caption."""
    batch = tokenizer(list(captions), padding=True, truncation=True, max_length=MAX_WORDS, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def unit(x: Any) -> torch.Tensor:
    """Rows to unit length; accepts the output object `transformers` 5 returns from `get_image_features`."""
    vectors: torch.Tensor = x if isinstance(x, torch.Tensor) else x.pooler_output
    return vectors / vectors.norm(dim=-1, keepdim=True)


def model_folder(kind: str, world: str) -> Path:
    """The shipped checkpoint of `kind` ("clip" or "fused") trained on `world` ("high" or "low").

    Raises:
        InputError: unknown name, or the checkpoint is not installed.
    """
    if kind not in ("clip", "fused") or world not in ("high", "low"):
        raise InputError(
            f"no shipped model {kind!r} of world {world!r}",
            expected="embedded:high or embedded:low; fused: embedded:fused_high or embedded:fused_low",
            causes=("a typing error",),
        )
    folder = EMBEDDED / f"{kind}_{world}"
    if not (folder / "model.safetensors").is_file():
        raise InputError(
            f"{folder}: no model.safetensors", expected="the checkpoint shipped with the package",
            causes=("an installation without package data",),
            fix="python -m crossmodal.vlm_validation.train_embedded (about half an hour on one core)",
        )  # fmt: skip
    return folder


def load_clip(world: str) -> tuple[Any, Any]:
    """The shipped dual encoder, in evaluation mode, and its tokenizer.

    Raises:
        InputError: no such world, or `transformers` is not installed.
    """
    transformers, folder = library(), model_folder("clip", world)
    model = transformers.CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def load_fused(world: str) -> tuple[Any, Any, Any]:
    """The shipped fused encoder with its matching head, the classifier over its pooled output, and the tokenizer.

    Raises:
        InputError: no such world, or `transformers` is not installed.
    """
    from safetensors.torch import load_file

    transformers, folder = library(), model_folder("fused", world)
    config = transformers.ViltConfig.from_pretrained(folder, local_files_only=True)
    # Both begin with random weights, all replaced below: the caller's generator must not notice.
    with torch.random.fork_rng(devices=[]):
        matcher = transformers.ViltForImageAndTextRetrieval(config)
        answerer = transformers.ViltForQuestionAnswering(config)
    state = load_file(folder / "model.safetensors")
    heads = ("rank_output.", "classifier.")
    matcher.load_state_dict({k: v for k, v in state.items() if not k.startswith(heads[1])})
    answerer.load_state_dict({k: v for k, v in state.items() if not k.startswith(heads[0])})
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return matcher.eval(), answerer.classifier.eval(), tokenizer
