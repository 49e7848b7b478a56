"""Train the two small VLMs of the embedded default on scenes the project renders, and ship what they see.

    python -m crossmodal.vlm_validation.train_embedded            both worlds, about a quarter of an hour each on one core
    python -m crossmodal.vlm_validation.train_embedded --world low

For each world this writes, under `vlm_validation/embedded/`: `clip_<world>/` and `fused_<world>/` (transformers folders,
safetensors), `features_<world>.npz` (500 unseen pairs through the dual encoder) and `card_<world>.json` (data hash, weight
hashes, seed, and accuracies on unseen scenes beside chance).  The same seed gives the same bytes on one kind of machine.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch.nn import functional as F

from ..theory.files import atomic_writer
from . import embedded_models as models
from .checkpoints import file_hash
from .features import Features, save_features
from .processes import one_thread
from .scenes import VERSION, WORLDS, Scene, brief_caption, draw_scenes, render

CLIP_STEPS, FUSED_STEPS = 2400, 2000
_GROUPS, _PER_GROUP = 8, 16  # a batch: scenes alike in colour and background, so that the noun must be looked at


@dataclass(frozen=True, eq=False)
class Data:
    """Scenes of one world as tensors.

    Attributes:
        scenes: N scenes.
        pixels: (N, 3, 32, 32) float32.
        full, brief: token ids and masks, (N, L) int64, of the full caption and of one with parts left out.
        label: (N,) int64.
        groups: rows alike in what is not the class.
    """

    scenes: list[Scene]
    pixels: torch.Tensor
    full: dict[str, torch.Tensor]
    brief: dict[str, torch.Tensor]
    label: torch.Tensor
    groups: list[torch.Tensor]


def training_scenes(world: str, count: int, seed: int) -> list[Scene]:
    """Scenes as environments are; in world "high" two thirds come from the common pools, so that every object is seen on every ground."""
    if world == "low":
        return draw_scenes(world, count, seed=seed)
    third = count // 3
    return draw_scenes(world, third, seed=seed) + draw_scenes(world, count - third, seed=seed, similarity=1.0)


def prepare(world: str, scenes: list[Scene], tokenizer: Any, seed: int = 0) -> Data:
    """Render and tokenise."""
    rng = np.random.default_rng([seed, 17])
    captions = [scene.caption for scene in scenes]
    briefs = [brief_caption(scene, WORLDS[world], rng) for scene in scenes]
    both = models.tokens(tokenizer, captions + briefs)
    half = len(scenes)
    context: dict[tuple[str, str], list[int]] = {}
    for row, scene in enumerate(scenes):
        context.setdefault((scene.background, scene.texture if scene.wing else scene.colour), []).append(row)
    return Data(
        scenes,
        models.pixel_tensor(np.stack([render(scene) for scene in scenes])),
        {key: value[:half] for key, value in both.items()},
        {key: value[half:] for key, value in both.items()},
        torch.tensor([scene.label for scene in scenes]),
        [torch.tensor(rows) for rows in context.values() if len(rows) >= _PER_GROUP],
    )


def train_clip(world: str, data: Data, tokenizer: Any, *, steps: int, seed: int) -> Any:
    """InfoNCE over batches of look-alikes, plus InfoNCE of images against the class prompts."""
    torch.manual_seed(seed)
    model = models.build_clip().train()
    prompts = models.tokens(tokenizer, [WORLDS[world].prompt(k) for k in range(len(WORLDS[world].label_names))])
    optimiser, schedule = _optimiser(model, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in _progress(range(steps), f"CLIP on {world}"):
        rows = _batch(data, generator)
        short = torch.rand(len(rows), 1, generator=generator) < 0.5
        captions = {key: torch.where(short, data.brief[key][rows], data.full[key][rows]) for key in data.full}
        image = models.unit(model.get_image_features(pixel_values=data.pixels[rows]))
        text = models.unit(model.get_text_features(**captions))
        classes = models.unit(model.get_text_features(**prompts))
        scale = model.logit_scale.exp()
        logits, own = scale * image @ text.T, torch.arange(len(rows))
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        _update(loss + F.cross_entropy(scale * image @ classes.T, data.label[rows]), model, optimiser, schedule)
        with torch.no_grad():
            model.logit_scale.clamp_(0, float(np.log(100)))
    return model.eval()


def train_fused(world: str, data: Data, *, steps: int, seed: int) -> tuple[Any, torch.nn.Module]:
    """Matching against captions of look-alikes, and classification with either modality missing now and then."""
    from transformers import ViltForQuestionAnswering

    torch.manual_seed(seed)
    matcher = models.build_fused(len(WORLDS[world].label_names)).train()
    classifier = ViltForQuestionAnswering(matcher.config).classifier.train()
    both = torch.nn.ModuleList([matcher, classifier])
    optimiser, schedule = _optimiser(both, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in _progress(range(steps), f"ViLT on {world}"):
        rows = _batch(data, generator)
        other, wrong = mismatched(data, rows, generator)
        pixels, captions = data.pixels[rows].clone(), {key: data.full[key][other].clone() for key in data.full}
        missing = torch.rand(len(rows), generator=generator)
        no_image, no_text = missing < 0.12, missing > 0.88
        pixels[no_image] = 0
        captions["attention_mask"][no_text] = absent(captions["attention_mask"][no_text])
        pooled = matcher.vilt(pixel_values=pixels, **captions).pooler_output
        whole = ~(no_image | no_text)
        match = matcher.rank_output(pooled)[:, 0]
        loss = F.binary_cross_entropy_with_logits(match[whole], (~wrong[whole]).float())
        # The class is that of the image; a mismatched caption must not speak for a missing image.
        usable = ~(wrong & no_image)
        loss = loss + 0.5 * F.cross_entropy(classifier(pooled)[usable], data.label[rows][usable])
        _update(loss, both, optimiser, schedule)
    return matcher.eval(), classifier.eval()


def absent(mask: torch.Tensor) -> torch.Tensor:
    """The attention mask of a missing caption: nothing but its first token is seen."""
    hidden = torch.zeros_like(mask)
    hidden[:, 0] = 1
    return hidden


def mismatched(data: Data, rows: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """For half of `rows` the caption of another scene: first a look-alike's, for a third of them anybody's.

    Returns:
        Rows of the captions to show, and whether they are wrong (the other scene may happen to look the same).
    """
    n = len(rows)
    shift = 1 + int(torch.randint(_PER_GROUP - 1, (1,), generator=generator))
    index = torch.arange(n)
    alike = (index // _PER_GROUP) * _PER_GROUP + (index + shift) % _PER_GROUP
    anybody = torch.randint(n, (n,), generator=generator)
    draw = torch.rand(n, generator=generator)
    other = rows[torch.where(draw < 0.5, index, torch.where(draw < 0.83, alike.clamp(max=n - 1), anybody))]
    looks = [_visible(data.scenes[i]) for i in rows.tolist()]
    said = [_visible(data.scenes[i]) for i in other.tolist()]
    return other, torch.tensor([a != b for a, b in zip(looks, said, strict=True)])


@torch.no_grad()
def judge_clip(world: str, model: Any, tokenizer: Any, seed: int, count: int = 600) -> dict[str, dict[str, float]]:
    """Zero-shot classification and retrieval on unseen combinations, in both kinds of surroundings."""
    names = WORLDS[world].label_names
    prompts = models.unit(
        model.get_text_features(**models.tokens(tokenizer, [WORLDS[world].prompt(k) for k in range(len(names))]))
    )
    table = {}
    for title, similarity in (("own surroundings", 0.0), ("any surroundings", 1.0)):
        data = prepare(
            world, draw_scenes(world, count, split="unseen", seed=seed + 1, similarity=similarity), tokenizer
        )
        image = models.unit(model.get_image_features(pixel_values=data.pixels))
        text = models.unit(model.get_text_features(**data.full))
        correct = (image @ prompts.T).argmax(dim=1) == data.label
        table[f"zero-shot accuracy, unseen, {title}"] = _row(correct.float().mean(), 1 / len(names), count)
        # One scene of a kind, or a caption would have several right images.
        first = list({_visible(scene): row for row, scene in reversed(list(enumerate(data.scenes)))}.values())[:100]
        hits = (image[first] @ text[first].T).argmax(dim=1) == torch.arange(len(first))
        table[f"recall@1 of {len(first)}, unseen, {title}"] = _row(hits.float().mean(), 1 / len(first), len(first))
    return table


@torch.no_grad()
def judge_fused(
    world: str, matcher: Any, classifier: torch.nn.Module, tokenizer: Any, seed: int, count: int = 1200
) -> dict[str, dict[str, float]]:
    """Matching and classification on unseen combinations; the latter with each modality missing."""
    similarity = 1.0 if world == "high" else 0.0
    data = prepare(world, draw_scenes(world, count, split="unseen", seed=seed + 2, similarity=similarity), tokenizer)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.cat([group[: len(group) // _PER_GROUP * _PER_GROUP] for group in data.groups])
    other, wrong = mismatched(data, rows, generator)
    captions = {key: value[other] for key, value in data.full.items()}
    pooled = matcher.vilt(pixel_values=data.pixels[rows], **captions).pooler_output
    says = matcher.rank_output(pooled)[:, 0] > 0
    right = says != wrong
    balanced = (right[wrong].float().mean() + right[~wrong].float().mean()) / 2
    table = {"matching accuracy, unseen, balanced": _row(balanced, 0.5, len(rows))}
    for title, no_image, no_text in (("both", 0, 0), ("image only", 0, 1), ("caption only", 1, 0)):
        inputs = {key: value[rows].clone() for key, value in data.full.items()}
        if no_text:
            inputs["attention_mask"] = absent(inputs["attention_mask"])
        pixels = data.pixels[rows] * (0.0 if no_image else 1.0)
        guess = classifier(matcher.vilt(pixel_values=pixels, **inputs).pooler_output).argmax(dim=1)
        chance = 1 / len(WORLDS[world].label_names)
        table[f"classification, unseen, {title}"] = _row((guess == data.label[rows]).float().mean(), chance, len(rows))
    return table


@torch.no_grad()
def embed(world: str, model: Any, tokenizer: Any, scenes: list[Scene], metadata: dict[str, Any]) -> Features:
    """The features file of some scenes through a dual encoder, class prompts included."""
    place = WORLDS[world]
    pixels = models.pixel_tensor(np.stack([render(scene) for scene in scenes]))
    image = models.unit(model.get_image_features(pixel_values=pixels))
    text = models.unit(model.get_text_features(**models.tokens(tokenizer, [scene.caption for scene in scenes])))
    prompts = models.tokens(tokenizer, [place.prompt(k) for k in range(len(place.label_names))])
    return Features(
        image=image.numpy(), text=text.numpy(),
        environment=np.array([scene.environment for scene in scenes]),
        label=np.array([scene.label for scene in scenes]),
        environment_names=tuple(environment.name for environment in place.environments),
        label_names=place.label_names, ids=np.array([scene.id for scene in scenes]),
        captions=tuple(scene.caption for scene in scenes),
        prompts=models.unit(model.get_text_features(**prompts)).numpy(), metadata=metadata,
    )  # fmt: skip


def train_world(
    world: str, out: Path, *, seed: int = 0, clip_steps: int = CLIP_STEPS, fused_steps: int = FUSED_STEPS,
    count: int = 7500,
    judged: int = 600,
) -> dict[str, Any]:  # fmt: skip
    """Train, judge and write everything of one world; returns the model card.

    Args:
        world: "high" or "low".
        out: folder to write to.
        seed: of scenes, initial weights and batches.
        clip_steps, fused_steps, count: optimiser steps and training scenes.
        judged: unseen scenes for each accuracy of the dual encoder; the fused one is judged on twice as many.
    """
    tokenizer = models.build_tokenizer()
    scenes = training_scenes(world, count, seed)
    data = prepare(world, scenes, tokenizer, seed)
    started = time.perf_counter()
    clip = train_clip(world, data, tokenizer, steps=clip_steps, seed=seed)
    clip_seconds = time.perf_counter() - started
    _save(clip, clip.state_dict(), tokenizer, out / f"clip_{world}")
    fused, classifier = train_fused(world, data, steps=fused_steps, seed=seed)
    fused_seconds = time.perf_counter() - started - clip_seconds
    state = fused.state_dict() | {f"classifier.{key}": value for key, value in classifier.state_dict().items()}
    _save(fused, state, tokenizer, out / f"fused_{world}")
    hashes = {kind: file_hash(out / f"{kind}_{world}" / "model.safetensors") for kind in ("clip", "fused")}
    metadata = {
        "encoder": f"crossmodal embedded CLIP, world {world}", "checkpoint": f"sha256:{hashes['clip']}",
        "normalised": True, "template": "a {}", "scenes": f"{world}-{VERSION}/unseen",
    }  # fmt: skip
    features = embed(world, clip, tokenizer, draw_scenes(world, 500, split="unseen", seed=seed + 7), metadata)
    save_features(out / f"features_{world}.npz", features)
    card = {
        "world": world, "scenes_version": VERSION, "seed": seed, "training_scenes": count,
        "data_sha256": data_hash(scenes), "weights_sha256": hashes, "features": features.content_hash(),
        "steps": {"clip": clip_steps, "fused": fused_steps},
        "accuracy": judge_clip(world, clip, tokenizer, seed, judged)
        | judge_fused(world, fused, classifier, tokenizer, seed, 2 * judged),
    }  # fmt: skip
    with atomic_writer(out / f"card_{world}.json") as handle:
        handle.write((json.dumps(card, indent=1) + "\n").encode())
    click.echo(f"{world}: dual encoder {clip_seconds:.0f} s, fused encoder {fused_seconds:.0f} s")
    return card


def data_hash(scenes: Iterable[Scene]) -> str:
    """sha256 of ids, captions and pixels, in order."""
    digest = hashlib.sha256()
    for scene in scenes:
        digest.update(f"{scene.id}\n{scene.caption}\n".encode())
        digest.update(render(scene).tobytes())
    return digest.hexdigest()


def _visible(scene: Scene) -> tuple[Any, ...]:
    return scene.label, scene.colour, scene.texture, scene.background, scene.count, scene.place


def _batch(data: Data, generator: torch.Generator) -> torch.Tensor:
    """Rows of one batch: `_GROUPS` times `_PER_GROUP` look-alikes."""
    chosen = torch.randint(len(data.groups), (_GROUPS,), generator=generator).tolist()
    return torch.cat([
        data.groups[k][torch.randperm(len(data.groups[k]), generator=generator)[:_PER_GROUP]] for k in chosen
    ])  # fmt: skip


def _optimiser(model: torch.nn.Module, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    rise = max(1, min(100, steps // 10))

    def rate(k: int) -> float:
        return (k + 1) / rise if k < rise else 0.5 + 0.5 * float(np.cos(np.pi * (k - rise) / max(1, steps - rise)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


def _update(loss: torch.Tensor, model: torch.nn.Module, optimiser: torch.optim.Optimizer, schedule: Any) -> None:
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    schedule.step()


def _save(model: Any, state: dict[str, torch.Tensor], tokenizer: Any, folder: Path) -> None:
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kept = {key: value.contiguous() for key, value in state.items() if not key.endswith("position_ids")}
    with atomic_writer(folder / "model.safetensors") as handle:
        handle.write(save(kept, metadata={"format": "pt"}))


def _row(value: Any, chance: float, count: int) -> dict[str, float]:
    return {"value": round(float(value), 4), "chance": round(chance, 4), "scenes": count}


def _progress(steps: Iterable[int], title: str) -> Iterator[int]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(steps, description=title, console=console, disable=not console.is_terminal)


@click.command()
@click.option("--world", type=click.Choice(["high", "low", "both"]), default="both", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=models.EMBEDDED, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(world: str, out: Path, seed: int) -> None:
    """Train the embedded dual and fused encoders and write their features files and model cards."""
    out.mkdir(parents=True, exist_ok=True)
    with one_thread():
        for name in ("high", "low") if world == "both" else (world,):
            card = train_world(name, out, seed=seed)
            for title, row in card["accuracy"].items():
                click.echo(f"  {title}: {row['value']:.3f} (chance {row['chance']:.3f}, {row['scenes']:.0f} scenes)")


if __name__ == "__main__":
    main()
