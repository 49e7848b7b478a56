"""Checkpoints in the format of `transformers`: found, checked before anything is loaded, and hashed.

Only safetensors are read, and no code that comes with a checkpoint is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..theory.errors import InputError, counted
from .embedded_models import EMBEDDED, library, model_folder

MODELS = {"clip": "CLIPModel", "siglip": "SiglipModel", "vilt": "ViltModel"}
HEADS = ("ViltForQuestionAnswering", "ViltForImageAndTextRetrieval")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_WANTED = ("config.json", "adapter_config.json", "*.safetensors", "*.safetensors.index.json", "*processor_config.json", "*token*.json",
           "vocab.txt", "vocab.json", "merges.txt", "*.model")  # fmt: skip
_PROCESSING = (
    ("tokenizer", "AutoTokenizer", ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model"), "tokenizer"),
    ("image processor", "AutoImageProcessor", ("preprocessor_config.json", "processor_config.json"), "image_processor"),
)
_IGNORED = ("classifier.", "rank_output.", "mlm_score.")  # heads: no feature depends on them
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds a model this project knows.

    Attributes:
        title: what results call it.
        folder: where it lies.
        kind: "clip", "siglip" or "vilt".
        config: its config.json.
        weights: its safetensors files, sorted.
        embedded: one of the shipped models, whose preprocessing is the project's own.
    """

    title: str
    folder: Path
    kind: str
    config: dict[str, Any]
    weights: tuple[Path, ...]
    embedded: bool

    def sha256(self) -> str:
        """Hex hash of the weights: of the file where there is one, else of the files' names and hashes."""
        return file_hash(self.weights[0]) if len(self.weights) == 1 else _together(self.weights)


def find_checkpoint(name: str) -> Checkpoint:
    """The checked folder behind a name.

    Raises:
        InputError: see `encoders.load_encoder`.
    """
    title = name
    if name.startswith("embedded:"):
        kind, _, world = name.removeprefix("embedded:").rpartition("_")
        folder = model_folder(kind or "clip", world)
    elif os.path.isdir(name):  # unlike `Path.is_dir`, it takes a name too long for any folder
        folder = Path(name)
        title = folder.resolve().name
    else:
        folder = _downloaded(name)
    if (folder / "adapter_config.json").is_file():
        # transformers would take the base model from elsewhere, or leave the adapter out where peft is not installed
        raise InputError(
            f"{folder}: an adapter of peft (adapter_config.json)", expected="one model, with its adapter merged into its weights",
            causes=("low-rank training that saved the adapter alone, or beside the model",),
            fix=f"peft.PeftModel.from_pretrained(base, {str(folder)!r}).merge_and_unload().save_pretrained(another folder), "
            "then its tokenizer and image processor",
        )  # fmt: skip
    embedded = folder.resolve().parent == EMBEDDED.resolve()
    if embedded:
        title = f"crossmodal embedded {folder.resolve().name}"
    config = _config(folder)
    kind = str(config.get("model_type"))
    if kind not in MODELS:
        raise InputError(
            f"{folder}: its config.json says model_type {config.get('model_type')!r}, architectures {config.get('architectures')}",
            expected=f"model_type {', '.join(MODELS)}",
            causes=("a model of one modality, such as BERT", "a vision-language model of another family"),
            fix="name a CLIP, SigLIP or ViLT checkpoint, or write a features file from your own model (see features.py)",
        )
    return Checkpoint(title, folder, kind, config, _weights(folder), embedded)


def load_model(found: Checkpoint, head: bool) -> Any:
    """The model in float32 on the CPU, every one of its weights from the file.

    Raises:
        InputError: torn weights, weights that are missing, of other shapes or without a place, no head where one is wanted.
    """
    import torch

    transformers = library()
    title = MODELS[found.kind]
    if head and found.kind == "vilt":
        # the shipped fused checkpoints hold two heads; the one for matching has a score for any pair
        title = HEADS[1] if found.embedded else (found.config.get("architectures") or ["none"])[0]
        if title not in HEADS:
            raise InputError(
                f"{found.folder}: architecture {title}", expected=f"a ViLT with a head: {' or '.join(HEADS)}",
                causes=("a checkpoint from pretraining",), fix="name a fine-tuned checkpoint",
            )  # fmt: skip
    try:
        with quiet():
            model, report = getattr(transformers, title).from_pretrained(
                found.folder, local_files_only=True, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True, dtype=torch.float32,
            )  # fmt: skip
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InputError(
            f"{found.folder}: {title} cannot be loaded ({_first_line(error)})",
            expected="every file of the checkpoint, its weights in the shapes of config.json",
            causes=("a download that was cut short", "config.json and weights of two different checkpoints"), fix="download the checkpoint again",
        ) from None  # fmt: skip
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(
            f"{found.folder}: missing, {counted(len(missing), 'weight')} of {title}, the first {missing[0]}",
            expected="every weight in the safetensors files; what is missing would be random numbers",
            causes=("a checkpoint of one tower", "weights saved under other names by a wrapper"),
            fix="save the whole model with save_pretrained",
        )
    unread = sorted(
        key for key in report["unexpected_keys"] if not key.startswith(_IGNORED) and not key.endswith("position_ids")
    )
    if unread:
        raise InputError(
            f"{found.folder}: {title} has no place for {counted(len(unread), 'weight')} of the file, the first {unread[0]}",
            expected="weights of this architecture alone; what is left out would be missing from the features",
            causes=("adapters, prompts or a head of your own beside the model", "fewer layers in config.json than in the weights"),
            fix="merge adapters into the model; where the rest is a head, "
            f"transformers.{title}.from_pretrained(folder).save_pretrained(another) leaves it out",
        )  # fmt: skip
    # Weights that stay mapped lie where the file's header ends, and some processors round products by alignment: the same
    # weights saved again gave features that differed in their last bit.
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model


def load_processing(found: Checkpoint) -> tuple[Any, Any]:
    """Tokenizer and image processor (None for a shipped model).

    Raises:
        InputError: files of either are missing, or need a package that is not installed; no padding token.
    """
    transformers = library()
    options = {"local_files_only": True, "trust_remote_code": False}
    wanted = _PROCESSING[:1] if found.embedded else _PROCESSING
    loaded: dict[str, Any] = {}
    for part, loader, files, word in wanted:
        if not any((found.folder / file).is_file() for file in files):
            raise InputError(
                f"{found.folder}: no {part}", expected=f"one of the files {', '.join(files)}",
                causes=("only the model was saved",), fix=f"{word}.save_pretrained({str(found.folder)!r})",
            )  # fmt: skip
        try:
            with quiet():
                loaded[part] = getattr(transformers, loader).from_pretrained(found.folder, **options)
        except Exception as error:
            # a damaged file, an unknown class, a missing package: each library under this call has its own exceptions
            raise InputError(
                f"{found.folder}: its {part} cannot be loaded ({_first_line(error)})",
                expected="the files save_pretrained writes",
                causes=("a damaged file", "code of its own, which is never run", "a package that is not installed"),
                fix=f"write it again: {word}.save_pretrained({str(found.folder)!r})",
            ) from None
    if loaded["tokenizer"].pad_token_id is None:
        raise InputError(
            f"{found.folder}: its tokenizer has no padding token", expected="one, because captions differ in length",
            causes=("a tokenizer that was built by hand",),
            fix="tokenizer.pad_token = tokenizer.eos_token (what CLIP does), then tokenizer.save_pretrained(folder)",
        )  # fmt: skip
    return loaded["tokenizer"], loaded.get("image processor")


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines and no progress bars of `transformers` inside: what matters is checked and said by this module."""
    logging = library().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _downloaded(name: str) -> Path:
    """The local copy of a Hugging Face repository, fetched without anything but JSON, safetensors and vocabularies."""
    repository, _, revision = name.partition("@")
    looks_like_a_path = name.startswith((".", "/", "~")) or name.endswith("/") or os.sep * 2 in name
    is_file = os.path.isfile(name)
    if looks_like_a_path or is_file or not _NAME.fullmatch(repository):
        what = "a file" if is_file else "no such folder"
        raise InputError(
            f"{name}: {what}", expected="embedded:high, embedded:low, a checkpoint's folder, or a Hugging Face name",
            causes=("a typing error", "a path relative to another folder"), fix="check the path",
        )  # fmt: skip
    library()
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_WANTED)))
    except Exception as error:
        # many libraries lie under this call, each with exceptions of its own; all mean that there is no checkpoint
        raise InputError(
            f"{name}: neither a folder here nor to be had from Hugging Face ({type(error).__name__}: {_first_line(error)})",
            expected="an existing folder, or a public repository and a network",
            causes=("a typing error", "no network", "a private or gated repository"),
            fix="download the checkpoint elsewhere and name its folder, or use embedded:high",
        ) from None


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no config.json", expected="a checkpoint in the format of transformers",
            causes=("a folder of another kind", "an open_clip or original OpenAI checkpoint"),
            fix="convert it: model.save_pretrained(folder)",
        ) from None  # fmt: skip
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not readable as JSON ({_first_line(error)})", expected="the config.json of a checkpoint",
            causes=("a download that was cut short",), fix="download the checkpoint again",
        ) from None  # fmt: skip
    if not isinstance(config, dict):
        raise InputError(f"{path}: {type(config).__name__}", expected="a JSON object, the config.json of a checkpoint")
    return config


def _weights(folder: Path) -> tuple[Path, ...]:
    from safetensors import SafetensorError, safe_open

    found = tuple(sorted(folder.glob("model*.safetensors")))
    if not found:
        pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        raise InputError(
            f"{folder}: no model.safetensors" + (f", only pickled weights ({', '.join(pickled)})" if pickled else ""),
            expected="weights as safetensors; a pickle runs code when it is read and is never opened",
            causes=("a checkpoint older than safetensors",) if pickled else ("a download that was cut short",),
            fix="model.save_pretrained(folder) in a version of transformers from 4.35 on, where the file is trusted",
        )
    for path in found:
        try:
            with safe_open(path, framework="numpy") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path}: cannot be read ({_first_line(error)})", expected="a whole .safetensors file",
                causes=("a download that was cut short", "a Git LFS pointer instead of the file"),
                fix="download the checkpoint again",
            ) from None  # fmt: skip
    return found


def file_hash(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def settings_hash(folder: Path) -> str:
    """Hex sha256 of what a checkpoint's folder holds beside weights and decides what they compute: configuration, tokenizer, preprocessing."""
    read = [pattern for pattern in _WANTED if ".safetensors" not in pattern]
    return _together(sorted(path for path in folder.iterdir() if any(fnmatch(path.name, pattern) for pattern in read)))


def _together(paths: Sequence[Path]) -> str:
    return hashlib.sha256("".join(f"{path.name} {file_hash(path)}\n" for path in paths).encode()).hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
