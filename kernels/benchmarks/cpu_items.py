"""The items of the CPU targets table: each builds its inputs and returns a `Case`."""

from __future__ import annotations

import torch
from crossmodal.kernels import coalition_head, factored_dual, moments, pack_coalitions, pair_lse, segment_attention
from crossmodal.kernels.benchmarks.measure import Case, Run, largest_error
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, scaled_dot_product_attention


def features(n: int, d: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    """Unit features that share a direction, like those of one encoder."""
    x = torch.randn(n, d, device=device) / d**0.5
    return normalize(x + 0.7 * normalize(torch.ones(d, device=device), dim=0), dim=1).to(dtype)


def k0(quick: bool, device: str = "cpu") -> Case:
    """Mean and variance of all pairs from moments, beside the matrix of scores."""
    n, d = (1024, 64) if quick else (16384 if device == "cpu" else 65536, 256)
    u, v = features(n, d, device=device), features(n, d, device=device)

    def matrix() -> tuple[Tensor, Tensor]:
        scores = u @ v.T
        return scores.mean(), scores.var(correction=0)

    def error() -> tuple[float, float]:
        part, other = u[:1500], v[:1200]
        some = moments(part, other, impl="torch"), moments(part, other, impl="naive")
        whole = moments(u, v, impl="torch"), moments(u.double(), v.double(), impl="torch")
        worst = 0.0
        for found, expected in (some, whole):
            relative = [float(abs(a - b) / expected.variance) for a, b in zip(found[1:], expected[1:], strict=True)]
            worst = max(worst, *relative, float(abs(found.mean - expected.mean)))
        return worst, 1e-6

    return Case(
        shape=f"{n}x{n} pairs, d={d}",
        dtype="float32",
        ours=lambda: moments(u, v, impl="torch"),
        peers={"materialised mean and var": matrix},
        error=error,
        flops=2 * n * d * (d + 1),  # two symmetric d x d products
        bytes=2 * n * d * 4,
        targets={} if quick else {"materialised mean and var": 30.0},
    )


def clip_loss(u: Tensor, v: Tensor, scale: float) -> Tensor:
    """The loss as open_clip computes it: two products, two cross entropies."""
    per_image, per_text = scale * u @ v.T, scale * v @ u.T
    labels = torch.arange(u.shape[0], device=u.device)
    return (cross_entropy(per_image, labels) + cross_entropy(per_text, labels)) / 2


def our_clip_loss(u: Tensor, v: Tensor, scale: float, impl: str = "auto") -> Tensor:
    out = pair_lse(u, v, scale, impl=impl)
    return ((out.row_lse - out.diagonal).mean() + (out.col_lse - out.diagonal).mean()) / 2


def torch_linear_loss(u: Tensor, v: Tensor, scale: float) -> Run | str:
    """torch's own fused linear cross entropy, once a direction."""
    fused = getattr(torch.nn.functional, "linear_cross_entropy", None)
    if fused is None:
        return f"not in torch {torch.__version__}"
    labels = torch.arange(u.shape[0], device=u.device)
    return lambda: (fused(scale * u, v, labels) + fused(scale * v, u, labels)) / 2


def pair_error(u: Tensor, v: Tensor, scale: float) -> tuple[float, float]:
    found = pair_lse(u, v, scale)
    expected = pair_lse(u.double(), v.double(), scale, impl="naive")
    size = float(expected.row_lse.abs().max())
    return max(largest_error(a, b) for a, b in zip(found, expected, strict=True)) / size, 1e-6


def k1(quick: bool) -> Case:
    """CLIP loss of one large batch."""
    n, d, scale = (512 if quick else 4096), 512, 100.0
    u, v = features(n, d), features(n, d)
    return Case(
        shape=f"N={n}, d={d}",
        dtype="float32",
        ours=lambda: our_clip_loss(u, v, scale),
        peers={
            "one GEMM": lambda: u @ v.T,
            "open_clip-style loss": lambda: clip_loss(u, v, scale),
            "naive pair_lse": lambda: our_clip_loss(u, v, scale, "naive"),
            "F.linear_cross_entropy, both ways": torch_linear_loss(u, v, scale),
        },
        error=lambda: pair_error(u, v, scale),
        flops=2 * n * n * d,
        bytes=2 * n * d * 4,
        targets={} if quick else {"one GEMM": 1 / 1.4, "open_clip-style loss": 3.0},
        memory_target=None if quick else ("open_clip-style loss", 10.0),
    )


def k1_small(quick: bool) -> Case:
    """A batch so small that the plain form wins: `auto` must not lose to it."""
    n, d, scale = 256, 512, 100.0
    u, v = features(n, d), features(n, d)
    return Case(
        shape=f"N={n}, d={d}",
        dtype="float32",
        ours=lambda: our_clip_loss(u, v, scale),
        peers={
            "tiled pair_lse": lambda: our_clip_loss(u, v, scale, "torch"),
            "open_clip-style loss": lambda: clip_loss(u, v, scale),
        },
        error=lambda: pair_error(u, v, scale),
        flops=2 * n * n * d,
        bytes=2 * n * d * 4,
        note="size-aware dispatch",
    )


def k2(quick: bool, d: int = 512) -> Case:
    """A linear head under four coalitions, beside four eager passes on concatenated features."""
    n, classes = (512, 100) if quick else (8192, 1000)
    image, text = torch.randn(n, d), torch.randn(n, d)
    w_image, w_text = torch.randn(classes, d) / d**0.5, torch.randn(classes, d) / d**0.5
    labels = torch.randint(classes, (n,))
    weight = torch.cat([w_image, w_text], 1)

    def eager() -> list[tuple[Tensor, Tensor, Tensor]]:
        out = []
        for with_image, with_text in ((0, 0), (1, 0), (0, 1), (1, 1)):
            parts = [image if with_image else torch.zeros_like(image), text if with_text else torch.zeros_like(text)]
            logits = torch.cat(parts, 1) @ weight.T
            out.append((logits.logsumexp(1), logits.gather(1, labels[:, None]), logits.argmax(1)))
        return out

    def error() -> tuple[float, float]:
        found = coalition_head(image, text, w_image, w_text, labels)
        x, y, a, b = (t.double() for t in (image, text, w_image, w_text))
        expected = coalition_head(x, y, a, b, labels, impl="naive")
        if not torch.equal(found.argmax, expected.argmax):
            rows = found.argmax != expected.argmax
            if int(rows.sum()) > 2:  # a near tie may fall the other way in float32
                return float("inf"), 1e-6
        size = float(expected.lse.abs().max())
        return max(largest_error(a, b) for a, b in zip(found[:2], expected[:2], strict=True)) / size, 1e-6

    return Case(
        shape=f"N={n}, d={d}+{d}, C={classes}",
        dtype="float32",
        ours=lambda: coalition_head(image, text, w_image, w_text, labels),
        peers={"four eager passes": eager, "one GEMM": lambda: torch.cat([image, text], 1) @ weight.T},
        error=error,
        flops=2 * n * 2 * d * classes,
        bytes=(n + classes) * 2 * d * 4,
        targets={} if quick else {"four eager passes": 4.0},
    )


def k2_narrow(quick: bool) -> Case:
    """The same with features half as wide, where what is not a product weighs more."""
    return k2(quick, d=256)


def k3(quick: bool) -> Case:
    """Attention of a ViT-B layer over 257 image and 77 text tokens under four coalitions."""
    batch, heads, image, text, width = (1, 2, 33, 9, 64) if quick else (4, 12, 257, 77, 64)
    tokens = image + text
    q, k, v = (torch.randn(batch, heads, tokens, width) for _ in range(3))
    is_image = torch.arange(tokens) < image
    masks = [torch.zeros(tokens, dtype=torch.bool), is_image, ~is_image, torch.ones(tokens, dtype=torch.bool)]

    def error() -> tuple[float, float]:
        found = segment_attention(q, k, v, (0, image, tokens))
        expected = segment_attention(q.double(), k.double(), v.double(), (0, image, tokens), impl="naive")
        size = float(expected.lse[1:].abs().max())
        return max(largest_error(a, b) for a, b in zip(found[:2], expected[:2], strict=True)) / size, 1e-6

    return Case(
        shape=f"B={batch}, H={heads}, tokens={image}+{text}, D={width}",
        dtype="float32",
        ours=lambda: segment_attention(q, k, v, (0, image, tokens)),
        peers={
            "four masked SDPA": lambda: [
                scaled_dot_product_attention(q, k, v, attn_mask=m[None, None, None, :]) for m in masks
            ],
            "one SDPA": lambda: scaled_dot_product_attention(q, k, v),
        },
        error=error,
        flops=4 * batch * heads * tokens * tokens * width,
        bytes=(3 + 4) * batch * heads * tokens * width * 4,
        targets={} if quick else {"four masked SDPA": 3.0},
    )


def vilt(layers: int, size: int, text: int, width: int, heads: int) -> torch.nn.Module:
    from transformers import ViltConfig, ViltForQuestionAnswering

    config = ViltConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        image_size=size,
        patch_size=16,
        max_position_embeddings=text,
        vocab_size=1000,
        num_labels=100,
        max_image_length=-1,
    )
    return ViltForQuestionAnswering(config).eval()


def k4(quick: bool) -> Case:
    """A ViLT-B/16 with random weights on 256 patches and 77 words under four coalitions."""
    layers, size, text, width, heads, batch = (2, 64, 9, 48, 4, 2) if quick else (12, 256, 77, 768, 12, 2)
    model = vilt(layers, size, text, width, heads)
    inputs = {"input_ids": torch.randint(5, 1000, (batch, text)), "pixel_values": torch.randn(batch, 3, size, size)}
    tokens = text + 1 + (size // 16) ** 2
    everything = torch.ones(4, batch, tokens, dtype=torch.bool)

    def logits(impl: str) -> Tensor:
        out = pack_coalitions(model, inputs, impl=impl).logits
        assert out is not None
        return out

    def error() -> tuple[float, float]:
        found, expected = logits("auto"), logits("naive")
        return largest_error(found, expected) / float(expected.abs().max()), 1e-4

    linear = 12 * width * width * 2  # multiply-adds of the projections and the MLP, a token and layer
    lengths = [tokens, tokens - text + 1, text]
    flops = layers * batch * sum(n * linear + 4 * n * n * width for n in lengths)
    return Case(
        shape=f"layers={layers}, width={width}, tokens={text}+{tokens - text}, B={batch}",
        dtype="float32",
        ours=lambda: logits("auto"),
        peers={
            "four padded passes": lambda: logits("naive"),
            "four full passes, same attention": lambda: pack_coalitions(model, inputs, token_masks=everything),
        },
        error=error,
        flops=flops,
        targets={} if quick else {"four padded passes": 1.8},
        note="the gate compares with padded float32 passes; float64 layer by layer is in the tests",
    )


def k5(quick: bool) -> Case:
    """A CLIP with patches of 32, 4 layers of width 512, under 4 x 4 token masks."""
    from transformers import CLIPConfig, CLIPModel

    width, layers, count, batch = (48, 2, 2, 2) if quick else (512, 4, 4, 4)
    part = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    part |= {"num_attention_heads": width // (16 if quick else 64)}
    text = {**part, "vocab_size": 1000, "max_position_embeddings": 32, "eos_token_id": 999, "bos_token_id": 998}
    vision = {**part, "image_size": 224, "patch_size": 32}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width)).eval()
    ids = torch.randint(3, 998, (batch, 32))
    ids[:, -1] = 999
    pixels = torch.randn(batch, 3, 224, 224)
    image_masks, text_masks = torch.rand(count, batch, 49) > 0.5, torch.rand(count, batch, 32) > 0.5

    def every_pair() -> Tensor:
        rows = [
            [
                factored_dual(model, pixels, ids, image_masks=i[None], text_masks=t[None], impl="naive").scores[0, 0]
                for t in text_masks
            ]
            for i in image_masks
        ]
        return torch.stack([torch.stack(row) for row in rows])

    def ours() -> Tensor:
        return factored_dual(model, pixels, ids, image_masks=image_masks, text_masks=text_masks).scores

    return Case(
        shape=f"{count}x{count} masks, layers={layers}, width={width}, B={batch}",
        dtype="float32",
        ours=ours,
        peers={"K^2 padded passes": every_pair},
        error=lambda: (largest_error(ours(), every_pair()), 1e-5),
    )


ITEMS = {"k0": k0, "k1": k1, "k1-small": k1_small, "k2": k2, "k2-narrow": k2_narrow, "k3": k3, "k4": k4, "k5": k5}
