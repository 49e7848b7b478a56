"""The small images of the README, by the code of the paper's figures: `python -m crossmodal.paper.gallery [FOLDER]`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from .build import make, read_features, writable, write_bytes

GALLERY = {  # image -> figure, and the features it is drawn from: the generated ones, or an embedded set
    "two_environments": ("t3_4_two_environments", ""),
    "score_heatmaps": ("score_heatmaps", ""),
    "ordering_rule": ("t3_9_ordering_rule", ""),
    "orders": ("e3_orders", "high"),
}
FOLDER = Path(__file__).parent / "gallery"
COLOURS = 256  # of a palette image, a third of the size of a true-colour one; no figure here uses a photograph


def shrink(png: bytes) -> bytes:
    """The same picture with a palette."""
    from PIL import Image

    stream = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def main(folder: Path = FOLDER, seed: int = 0) -> list[Path]:
    """Write every image of the gallery."""
    from ..vlm_validation.embedded import default_features

    folder = writable(folder)
    paths = []
    for short, (name, world) in GALLERY.items():
        features = default_features(world) if world else read_features(None)
        png = make(name, features, seed, formats=("png",), dpi=200).images["png"]
        paths.append(write_bytes(folder / f"{short}.png", shrink(png)))
    return paths


if __name__ == "__main__":
    for path in main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        print(path)
