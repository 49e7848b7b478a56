"""`crossmodal paper`: every figure from computed results, as vector PDF, PNG, SVG and its data as JSON.

A figure is a file in `figures/`; its name is the file's.  The same seed and features give the same bytes: no date, no
path and no random id is written.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..theory.errors import InputError, unknown_name
from ..theory.files import write_whole
from .results import Data, caption

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .tabular import BuiltTable

FIGURES = Path(__file__).parent / "figures"
FORMATS = ("pdf", "png", "svg")
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


@dataclass(frozen=True)
class Built:
    """One figure, computed and drawn, before it is written.

    Args:
        name: of its file.
        data: what it shows.
        caption: filled from the data.
        template: the caption before it was filled.
        images: suffix -> bytes.
        narrow: whether it fills one column of a two-column page.
    """

    name: str
    data: Data
    caption: str
    template: str
    images: dict[str, bytes]
    narrow: bool

    def record(self) -> dict[str, Any]:
        return {"figure": self.name, "caption": self.caption, **self.data.to_json()}


@cache
def registry() -> tuple[str, ...]:
    """Names of all figures in the order of the paper (scores, claims by number, the rest); imports none of them."""
    return tuple(sorted((path.stem for path in FIGURES.glob("*.py") if not path.stem.startswith("_")), key=place))


def place(name: str) -> tuple[int, int, list[int], str]:
    """Where a figure stands: `t3_4_words` is about claim T3.4."""
    found = re.match(r"([stogdce])((?:\d+_)+)", name)
    if found is None:
        return (0 if name.startswith("score") else 2, 0, [], name)
    return (1, "stogdce".index(found[1]), [int(k) for k in found[2].split("_") if k], name)


def module(name: str) -> ModuleType:
    """The file of a figure.

    Raises:
        InputError: no such figure.
    """
    if name not in registry():
        raise unknown_name(f"no figure {name!r}", name, registry(), fix="`crossmodal paper` draws them all")
    return importlib.import_module(f"{__package__}.figures.{name}")


def read_features(path: Path | None) -> Any:
    """Checked features of a file, or the generated set."""
    from ..vlm_validation.features import load_features
    from ..vlm_validation.generated import generated_features

    return load_features(path) if path is not None else generated_features()


def render(figure: Figure, suffix: str, dpi: int = 300) -> bytes:
    """A drawn figure as bytes of that format, without anything that changes from run to run."""
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix, metadata=_METADATA[suffix], dpi=dpi)
    return numbered(stream.getvalue()) if suffix == "svg" else stream.getvalue()


def numbered(svg: bytes) -> bytes:
    """Clip paths by number instead of by a hash of their corners, of which the layout's last bits differ from run to run."""
    names = {name: b"clip%d" % k for k, name in enumerate(re.findall(rb'<clipPath id="(\w+)"', svg))}
    return re.sub(rb'(id="|url\(#)(\w+)', lambda m: m[1] + names.get(m[2], m[2]), svg)


def make(name: str, features: Any, seed: int, formats: Sequence[str] = FORMATS, dpi: int = 300) -> Built:
    """Compute and draw one figure; `dpi` is that of the PNG.

    Raises:
        InputError: no such figure, or features it cannot be drawn from.
        ValueError: a caption that is missing, quotes what was not computed, or has a number typed in it.
    """
    import matplotlib
    import torch

    from . import style

    source = module(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, whatever the machine: the same seed gives the same bytes
    try:
        data: Data = source.compute(features, seed)
    finally:
        torch.set_num_threads(threads)
    text = caption(source.CAPTION, data)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's matplotlibrc must not change the figure
        style.apply()
        figure = source.draw(data)
        images = {suffix: render(figure, suffix, dpi) for suffix in formats}
        narrow = figure.get_figwidth() < (style.COLUMN + style.TEXT) / 2
    return Built(name, data, text, source.CAPTION, images, narrow)


def write(built: Built, output: Path) -> list[Path]:
    """Write the images and the data of a figure, each whole or not at all."""
    paths = []
    for suffix, content in built.images.items():
        paths.append(write_bytes(output / f"{built.name}.{suffix}", content))
    text = json.dumps(built.record(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    paths.append(write_bytes(output / f"{built.name}.json", text.encode()))
    return paths


def build(names: Sequence[str], features: Path | None, output: Path, seed: int) -> list[Path]:
    """Build figures and tables into a folder, and the document when all of them are built.

    Args:
        names: of figures or tables; empty for all and the document (figures that these features do not allow are left out, with a note).
        features: a features file, or None for the generated set.
        output: created if missing; files of the same name are replaced.
        seed: the same seed gives the same bytes.

    Returns:
        The paths written.

    Raises:
        InputError: an unknown figure (before any work), a bad features file, a folder that cannot be written, a named
            figure that these features do not allow.
    """
    from .. import terminal
    from . import tabular

    everything = (*registry(), *tabular.registry())
    for name in names:
        if name not in everything:
            raise unknown_name(f"no figure or table {name!r}", name, everything, fix="name one of these")
    wanted = [n for n in dict.fromkeys(names) if n not in tabular.registry()] if names else list(registry())
    wanted_tables = [n for n in dict.fromkeys(names) if n in tabular.registry()] if names else list(tabular.registry())
    output = writable(output)
    measured = read_features(features)
    built: list[Built] = []
    tables: list[tabular.BuiltTable] = []
    paths: list[Path] = []
    with terminal.progress() as bar:
        task = bar.add_task("figures", total=len(wanted) + len(wanted_tables) + (not names))
        for name in wanted:
            bar.update(task, description=name)
            try:
                built.append(make(name, measured, seed))
            except InputError as error:
                if names:
                    raise
                terminal.errors.print(f"no {name}: {error}")  # the other figures need not suffer
            else:
                paths += write(built[-1], output)
            bar.advance(task)
        for name in wanted_tables:
            bar.update(task, description=name)
            try:
                tables.append(tabular.make(name, measured, seed))
            except InputError as error:
                if names:
                    raise
                terminal.errors.print(f"no {name}: {error}")
            else:
                paths += tabular.write(tables[-1], output)
            bar.advance(task)
        if not names:
            bar.update(task, description="document")
            paths += write_document(built, measured, seed, output, tables)
            bar.advance(task)
    return paths


def write_document(
    figures: Sequence[Built], features: Any, seed: int, output: Path, tables: Sequence[BuiltTable] = ()
) -> list[Path]:
    """The page, its LaTeX, the origin of every number, and a PDF where a LaTeX engine is installed.

    Without the packages of the extra `paper` the figures are left as they are and a note says what is missing.
    """
    from .. import terminal
    from . import document, trace

    paths = [write_bytes(output / trace.FILE, trace.dumps(figures, tables).encode())]
    try:
        paths.append(write_bytes(output / "index.html", document.page(figures, features, seed, tables).encode()))
        source = write_bytes(output / "paper.tex", document.paper_tex(figures, features, seed, tables).encode())
    except InputError as missing:
        terminal.errors.print(f"no document: {missing}")
        return paths
    pdf, note = document.typeset(source)
    if note:
        terminal.errors.print(note)
    return [*paths, source, *([pdf] if pdf else [])]


def writable(folder: Path) -> Path:
    """The folder, created.

    Raises:
        InputError: it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be created ({error.strerror})", expected="a folder to write to",
                         causes=("a folder around it that is read-only", "a file of that name"), fix="pass another --output") from None  # fmt: skip
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: no permission to write there", expected="a folder to write to",
                         causes=("a read-only folder, or another user's",), fix="pass another --output")  # fmt: skip
    return folder


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all; an equal one is left as it is."""
    return path if path.is_file() and path.read_bytes() == content else write_whole(path, content)
