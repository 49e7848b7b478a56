"""Encoders: the shipped models, a local folder or a Hugging Face name of CLIP, SigLIP or ViLT, as unit features.

What is loaded is safetensors and nothing else: a checkpoint with pickled weights only is refused, and code that comes with a
checkpoint is never run.  Preprocessing is the checkpoint's own; without its description a checkpoint is refused,
because a wrong one gives wrong features and no error.

Features of CLIP and SigLIP are the projected embeddings.  ViLT has no feature of one modality: what stands for it is its
pooled output over that modality's tokens alone, behind the class token (as in K4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..theory.errors import InputError
from .checkpoints import Checkpoint, find_checkpoint, load_model, load_processing, quiet, settings_hash
from .embedded_models import MAX_WORDS, SIZE, pixel_tensor

Tensors = dict[str, torch.Tensor]
_FEATURES = {
    "clip": "projected embeddings of each tower",
    "siglip": "pooled output of each tower",
    "vilt": "pooled output over the class token and the tokens of one modality alone",
}


@dataclass(frozen=True, eq=False)
class Encoder:
    """A loaded model with its own preprocessing; build one by `load_encoder`.

    Attributes:
        name: as it was asked for.
        kind: "clip", "siglip" or "vilt".
        model: the `transformers` model, float32, in evaluation mode.
        tokenizer: its tokenizer.
        processor: its image processor, or None for the shipped models, which have their own.
        longest: tokens kept of a caption.
        metadata: `encoder`, `architecture`, `checkpoint` ("sha256:<hex>" of the weights), `settings` (the same of configuration,
            tokenizer and preprocessing files), `normalised`, `features`, `activation`, `preprocessing`, `tokens`, `versions`;
            JSON-serialisable.
    """

    name: str
    kind: str
    model: Any
    tokenizer: Any
    processor: Any
    longest: int
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def dimension(self) -> int:
        """d of the features."""
        config = self.model.config
        if self.kind == "clip":
            return int(config.projection_dim)
        return int(config.hidden_size if self.kind == "vilt" else config.vision_config.hidden_size)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def pixels(self, images: Sequence[Any], names: Sequence[object] = ()) -> Tensors:
        """`pixel_values` (N, 3, H, W) float32, and `pixel_mask` (N, H, W) for ViLT, from PIL images in RGB.

        Raises:
            InputError: a picture the processor cannot take (called by its entry of `names`), or makes of another size than the model's.
        """
        if self.processor is None:
            from PIL import Image

            arrays = [
                np.asarray(x if x.size == (SIZE, SIZE) else x.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
                for x in images
            ]
            return {"pixel_values": pixel_tensor(np.stack(arrays))}
        try:
            found = self.processor(images=list(images), return_tensors="pt")
        except (ValueError, ZeroDivisionError) as error:
            raise self._unfit(images, names, error) from None
        self._check_size(found["pixel_values"])
        wanted = ("pixel_values", "pixel_mask") if self.kind == "vilt" else ("pixel_values",)
        return {name: found[name] for name in wanted if name in found}

    def tokens(self, captions: Sequence[str]) -> Tensors:
        """`input_ids` (N, L) and, but for SigLIP, `attention_mask` (N, L).

        SigLIP was trained on captions padded to full length, padding seen; that is repeated here.  Padding goes behind the
        words whatever the tokenizer says: the models count positions, and ViLT's class token, from the first one.

        Raises:
            InputError: a token the model does not have.
        """
        full = self.kind == "siglip"
        found = self.tokenizer(
            list(captions), padding="max_length" if full else True, truncation=True, max_length=self.longest,
            padding_side="right", return_tensors="pt",
        )  # fmt: skip
        size = int(getattr(self.model.config, "text_config", self.model.config).vocab_size)
        if (largest := int(found["input_ids"].max())) >= size:
            raise InputError(
                f"{self.name}: its tokenizer gives the token {largest}, and the model has {size}",
                expected="the tokenizer the model was trained with", causes=("files of two different checkpoints",),
                fix="download the checkpoint again",
            )  # fmt: skip
        wanted = {"clip": ("attention_mask",), "siglip": (), "vilt": ("attention_mask", "token_type_ids")}[self.kind]
        return {name: found[name] for name in ("input_ids", *wanted) if name in found}

    def too_long(self, captions: Sequence[str]) -> int:
        """How many of the captions lose words, because they have more tokens than the model takes."""
        with quiet():
            lengths = [len(ids) for ids in self.tokenizer(list(captions), truncation=False)["input_ids"]]
        return sum(length > self.longest for length in lengths)

    def inputs(self, images: Sequence[Any], captions: Sequence[str], names: Sequence[object] = ()) -> Tensors:
        """Both modalities of N pairs, as the model takes them; `names` are for messages."""
        return {**self.pixels(images, names), **self.tokens(captions)}

    @torch.inference_mode()
    def image_features(self, images: Sequence[Any], names: Sequence[object] = ()) -> np.ndarray:
        """(N, d) float32 unit rows of N PIL images in RGB; `names` are for messages.

        Raises:
            InputError: a picture the processor cannot take, or a feature that is not finite or is zero.
        """
        inputs = self._moved(self.pixels(images, names))
        if self.kind == "vilt":
            return self._unit(self._pooled({**self._moved(self.tokens([""] * len(images))), **inputs}, "image"))
        return self._unit(self.model.get_image_features(**inputs))

    @torch.inference_mode()
    def text_features(self, captions: Sequence[str]) -> np.ndarray:
        """(N, d) float32 unit rows of N captions.

        Raises:
            InputError: a feature is not finite or is zero.
        """
        inputs = self._moved(self.tokens(captions))
        if self.kind == "vilt":
            side = 2 * int(self.model.config.patch_size)  # its patches are dropped again: the smallest picture serves
            blank = torch.zeros(len(captions), 3, side, side, device=self.device)
            return self._unit(self._pooled({**inputs, "pixel_values": blank}, "text"))
        return self._unit(self.model.get_text_features(**inputs))

    def _pooled(self, inputs: Tensors, modality: str) -> torch.Tensor:
        from ..kernels import pack_coalitions

        return pack_coalitions(self.model, inputs, [(modality,)]).pooled[0]

    def _unfit(self, images: Sequence[Any], names: Sequence[object], error: Exception) -> InputError:
        """Which of the pictures the processor refuses."""
        for k, image in enumerate(images):
            try:
                self._check_size(self.processor(images=[image], return_tensors="pt")["pixel_values"])
            except InputError as unfit:
                return unfit
            except (ValueError, ZeroDivisionError) as alone:
                title = names[k] if k < len(names) else f"picture {k} of a batch"
                return InputError(
                    f"{title}: {image.width} x {image.height} pixels, which {type(self.processor).__name__} cannot take ({alone})",
                    expected="a picture with some width and some height after resizing",
                    causes=("a picture far longer than wide, of which resizing leaves nothing",),
                    fix="leave its row out; what is already computed is kept",
                )  # fmt: skip
        return InputError(f"{self.name}: {type(self.processor).__name__} cannot take a batch of pictures ({error})")

    def _check_size(self, pixels: torch.Tensor) -> None:
        """Refuse pictures of another size than the model has positions for; ViLT fits its positions to any size."""
        if self.kind == "vilt":
            return
        side = int(self.model.config.vision_config.image_size)
        height, width = pixels.shape[-2:]
        if (height, width) != (side, side):
            raise InputError(
                f"{self.name}: its {type(self.processor).__name__} gives pictures of {height} x {width} pixels, and the model takes {side} x {side}",
                expected="the preprocessing the model was trained with",
                causes=("the image processor of another checkpoint", "a processor that does not crop"),
                fix="copy preprocessor_config.json from the checkpoint that the model came from",
            )  # fmt: skip

    def _moved(self, inputs: Tensors) -> Tensors:
        return {name: x.to(self.device) for name, x in inputs.items()}

    def _unit(self, output: Any) -> np.ndarray:
        # transformers 5 returns an output object here, transformers 4 the tensor
        vectors = output if isinstance(output, torch.Tensor) else output.pooler_output
        x = vectors.double().cpu().numpy()
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise InputError(
                f"{self.name}: a feature is zero or not finite", expected="finite vectors that are not zero",
                causes=("a damaged checkpoint", "weights that overflowed in half precision when they were saved"),
                fix="compare the checkpoint's hash with its publisher's, or use another",
            )  # fmt: skip
        return np.asarray(x / norms, dtype=np.float32)


def load_encoder(name: str, *, head: bool = False, device: str | None = None) -> Encoder:
    """An encoder by name.

    Args:
        name: `embedded:high` or `embedded:low` (the shipped dual encoders; `embedded:fused_high` and `embedded:fused_low` the
            fused ones), a folder in the format of `transformers`, or a Hugging Face name, `NAME@REVISION` where it
            matters.
        head: load the head of a fused encoder too (what `model_coalitions` needs).
        device: of torch; default: the GPU where there is one.

    Raises:
        InputError: no such folder or name, no network, another architecture than CLIP, SigLIP or ViLT, an adapter, no safetensors,
            weights that are torn, missing, of other shapes or without a place, no description of the preprocessing, a
            tokenizer without the token that is pooled, an unknown device.
    """
    found = find_checkpoint(name)
    model = load_model(found, head)
    tokenizer, processor = load_processing(found)
    longest = _longest(found, tokenizer)
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if where.type == "meta":
            raise RuntimeError("tensors without numbers")
        model = model.to(where).eval()
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {device!r}: {str(error).splitlines()[0]}", expected="'cpu', or 'cuda' where there is a GPU",
            causes=("a machine without a GPU, or torch built without CUDA",), fix="leave the device out",
        ) from None  # fmt: skip
    _check_marks(found, model, tokenizer)
    metadata = _metadata(found, model, tokenizer, processor, longest)
    return Encoder(name, found.kind, model, tokenizer, processor, longest, metadata)


def _check_marks(found: Checkpoint, model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that does not set the token whose state is pooled: CLIP's end token, ViLT's class token.

    Without it both pool the first word, whatever follows, and say nothing.
    """
    texts = [list(ids) for ids in tokenizer(["", "a photo", "two cats"])["input_ids"]]
    if found.kind == "clip":
        end = model.config.text_config.eos_token_id
        # 2: configurations written before the end token was recorded, where the largest token is pooled
        right, mark = end == 2 or all(end in ids for ids in texts), f"the end token {end} of config.json in every text"
    elif found.kind == "vilt":
        first = {tuple(ids[:1]) for ids in texts}
        right, mark = len(first) == 1 and () not in first, "one class token in front of every text"
    else:
        return
    if not right:
        raise InputError(
            f"{found.folder}: its tokenizer makes {texts[1]} of 'a photo'", expected=f"{mark}: the model's text feature is read there",
            causes=("a tokenizer that was built without a post-processor", "a config.json with the token ids of another tokenizer"),
            fix="save the tokenizer the model was trained with, or correct text_config.eos_token_id",
        )  # fmt: skip


def _longest(found: Checkpoint, tokenizer: Any) -> int:
    if found.embedded:
        return MAX_WORDS
    positions = found.config.get("text_config", found.config).get("max_position_embeddings")
    default = {"clip": 77, "siglip": 64, "vilt": 40}[found.kind]
    return min(int(positions or default), int(tokenizer.model_max_length or default))


def _metadata(found: Checkpoint, model: Any, tokenizer: Any, processor: Any, longest: int) -> dict[str, Any]:
    import transformers

    parts = [model.config] if found.kind == "vilt" else [model.config.vision_config, model.config.text_config]
    if processor is None:
        preprocessing: dict[str, Any] = {"resize": f"bicubic to {SIZE} x {SIZE}", "mean": 0.5, "std": 0.25}
    else:
        shown = ("size", "crop_size", "resample", "image_mean", "image_std", "rescale_factor", "size_divisor")
        flags = ("do_resize", "do_center_crop", "do_normalize", "do_rescale", "do_pad")
        described = processor.to_dict()
        preprocessing = {"processor": type(processor).__name__}
        preprocessing |= {key: _plain(described[key]) for key in (*shown, *flags) if described.get(key) is not None}
    padding = "to full length, seen by the model" if found.kind == "siglip" else "masked out"
    return {
        "encoder": found.title, "architecture": type(model).__name__, "checkpoint": f"sha256:{found.sha256()}",
        "settings": f"sha256:{settings_hash(found.folder)}",
        "normalised": True, "normalisation": "each row divided by its Euclidean norm, in float64",
        "features": _FEATURES[found.kind], "activation": sorted({str(part.hidden_act) for part in parts}),
        "preprocessing": preprocessing,
        "tokens": {"tokenizer": type(tokenizer).__name__, "longest": longest, "padding": padding},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """A JSON form of what an image processor describes itself with."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): _plain(x) for key, x in value.items() if x is not None}
    return [_plain(x) for x in value] if isinstance(value, (list, tuple)) else str(value)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """torch's generator seeded inside, as before afterwards: ViLT draws patches where a picture has too many of them."""
    before = torch.get_rng_state()
    torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
