"""ViLT, CLIP and SigLIP of a few thousand random weights, and inputs for them."""

from __future__ import annotations

import pytest
import torch

transformers = pytest.importorskip("transformers")


def enlarge(model: torch.nn.Module) -> torch.nn.Module:
    """Weights far from their small initial values, so that attention is far from uniform."""
    for p in model.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=0.15)
    return model.eval()


def vilt(head: bool = True) -> torch.nn.Module:
    torch.manual_seed(0)
    config = transformers.ViltConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        vocab_size=100,
        num_labels=7,
        max_image_length=-1,
    )
    return enlarge(transformers.ViltForQuestionAnswering(config) if head else transformers.ViltModel(config))


def vilt_inputs(batch: int = 5) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 100, (batch, 9))
    ids[:, 0] = 1
    mask = torch.ones_like(ids)
    mask[1, 5:], mask[2, 3:] = 0, 0
    return {"input_ids": ids, "pixel_values": torch.randn(batch, 3, 64, 64), "attention_mask": mask}


def clip(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    text = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    text |= {"vocab_size": 60, "max_position_embeddings": 12, "eos_token_id": 59, "bos_token_id": 58}
    vision = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision |= {"image_size": 32, "patch_size": 8}
    if kind == "siglip":
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        return enlarge(transformers.SiglipModel(config))
    if kind == "clip, old end token":
        text["eos_token_id"] = 2
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
    return enlarge(transformers.CLIPModel(config))


def pairs(batch: int = 4) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 58, (batch, 12))
    ids[:, 0], ids[:, 11] = 58, 59
    ids[0, 7:] = 59
    return {"pixel_values": torch.randn(batch, 3, 32, 32), "input_ids": ids}


def to_double(inputs: dict) -> dict:
    return {k: x.double() if x.is_floating_point() else x for k, x in inputs.items()}
