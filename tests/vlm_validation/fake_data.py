"""Small data sets in the layouts of the big ones, and small checkpoints with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crossmodal.vlm_validation.datasets.lists import environment_list
from crossmodal.vlm_validation.embedded_models import MAX_WORDS, SPECIAL, build_tokenizer
from crossmodal.vlm_validation.scenes import vocabulary

SUPERCATEGORIES = [name for group in environment_list("coco")["environments"] for name in group["supercategories"]]


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 36)) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def fake_folder(root: Path, rows: int = 12, environments: int = 3) -> Path:
    """`rows` pictures in captions.csv, two classes an environment, captions with commas and quotes."""
    lines = ["file,caption,label,environment"]
    for k in range(rows):
        picture(root / "pictures" / f"{k}.png", k)
        home = k % environments
        lines.append(f'pictures/{k}.png,"a red star, ""number"" {k}",class {home}{k // environments % 2},place {home}')
    (root / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def fake_coco(root: Path, split: str = "val2017") -> Path:
    """Twelve images, one a supercategory of the list, captions in scrambled order, a crowd, an image without boxes."""
    categories = [{"id": 10 + k, "name": f"thing{k}", "supercategory": name} for k, name in enumerate(SUPERCATEGORIES)]
    images, captions, boxes = [], [], []
    for k in range(12):
        image = 1000 - k
        images.append({"id": image, "file_name": f"{image:012d}.jpg"})
        picture(root / split / f"{image:012d}.jpg", k)
        captions += [
            {"image_id": image, "id": 500 - 2 * k, "caption": f"second of {image}"},
            {"image_id": image, "id": 400 - 2 * k, "caption": f"first of\n {image} "},
            {"image_id": image, "id": 600 - 2 * k, "caption": f"third of {image}"},
        ]
        # two boxes of the right supercategory outweigh a larger and longer one of the next; a huge crowd does not count
        boxes += [{"image_id": image, "category_id": 10 + k, "bbox": [0, 0, 5, 4], "iscrowd": 0}] * 2
        other = 10 + (k + 1) % 12
        boxes.append({"image_id": image, "category_id": other, "bbox": [0, 0, 1, 30], "iscrowd": 0})
        boxes.append({"image_id": image, "category_id": other, "bbox": [0, 0, 40, 36], "iscrowd": 1})
    images.append({"id": 7, "file_name": "bare.jpg"})
    captions.append({"image_id": 7, "id": 1, "caption": "nothing that is labelled"})
    notes = root / "annotations"
    notes.mkdir(parents=True, exist_ok=True)
    (notes / f"captions_{split}.json").write_text(json.dumps({"images": images, "annotations": captions}))
    (notes / f"instances_{split}.json").write_text(json.dumps({"categories": categories, "annotations": boxes}))
    return root


def fake_cub(root: Path, classes: tuple[int, ...] = (1, 2, 4, 52, 158, 159, 9, 10, 29, 30)) -> Path:
    """CUB's text files with all 200 classes, and two pictures of each of a few."""
    home = root / "CUB_200_2011"
    home.mkdir(parents=True)
    names = {number: name for group in environment_list("cub")["environments"] for number, name in group["classes"]}
    (home / "classes.txt").write_text("".join(f"{k} {names[k]}\n" for k in sorted(names)))
    files, labels, halves = [], [], []
    for k, number in enumerate(n for n in classes for _ in range(2)):
        file = f"{names[number]}/bird_{k}.jpg"
        picture(home / "images" / file, k)
        files.append(f"{k + 1} {file}\n")
        labels.append(f"{k + 1} {number}\n")
        halves.append(f"{k + 1} {int(k % 4 < 2)}\n")
    (home / "images.txt").write_text("".join(files))
    (home / "image_class_labels.txt").write_text("".join(labels))
    (home / "train_test_split.txt").write_text("".join(halves))
    return root


def tiny_checkpoint(folder: Path, kind: str) -> Path:
    """A model of two layers with random weights, its tokenizer and its image processor, as `save_pretrained` writes them."""
    import transformers

    torch.manual_seed(0)
    words = len(SPECIAL) + len(vocabulary())
    both = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**both, "vocab_size": words, "max_position_embeddings": MAX_WORDS, "pad_token_id": 0}
    text |= {"bos_token_id": 2, "eos_token_id": 3}
    vision = {**both, "image_size": 32, "patch_size": 8}
    size = {"height": 32, "width": 32}
    model: Any
    processor: Any
    if kind == "clip":
        model = transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        )
        processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    elif kind == "siglip":
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
        processor = transformers.SiglipImageProcessor(size=size)
    else:
        config = {**both, "vocab_size": words, "max_position_embeddings": MAX_WORDS, "image_size": 32, "patch_size": 8}
        model = transformers.ViltForQuestionAnswering(
            transformers.ViltConfig(**config, max_image_length=-1, num_labels=5, hidden_dropout_prob=0.1)
        )
        processor = transformers.ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=8)
    for part in (model, build_tokenizer(), processor):
        part.save_pretrained(folder)
    return folder
