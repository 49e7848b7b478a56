"""What a figure is drawn from: computed values and where they come from.

A figure file in `paper/figures/` defines

    compute(features, seed) -> Data     everything that is drawn or quoted, computed now
    draw(data) -> Figure                draws it, computes nothing
    CAPTION                             text with `{fields}` of the data; numbers are never typed

`caption` fills the text and refuses one in which a number was typed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

import numpy as np

from .. import __version__

# Digits that are not results: names of claims and experiments (T3.4, P7, E3), and in $formulas$ single ones such as an
# exponent or the 1 of 1 - c^2.
_NAMES = re.compile(r"\b[A-Z]{1,2}\d+(\.\d+)?\b")
_FORMULA = re.compile(r"\$[^$]*\$")
_STRUCTURAL = re.compile(r"(?<![\d.])\d(?![\d.]|\s*\d)")


@dataclass(frozen=True)
class Provenance:
    """Where values come from.

    Args:
        sources: ids of the claims or experiments whose statements or protocols were evaluated.
        features: content hash of the features, or "" where none were used.
        features_source: the file, or what generated them.
        seed: of everything random.
        version: of the package.
    """

    sources: tuple[str, ...]
    features: str
    features_source: str
    seed: int
    version: str = __version__

    def line(self) -> str:
        """One line for a reader."""
        measured = f"; features {self.features[:12]} ({self.features_source})" if self.features else ""
        return f"{', '.join(self.sources)}{measured}; seed {self.seed}; crossmodal {self.version}"


@dataclass(frozen=True)
class Data:
    """The data of one figure or table.

    Args:
        values: name -> number, text, list or array: all that is drawn, and what the caption quotes.
        provenance: of all values.
        native: the object that values were taken from, where a drawing function needs it; not written.
    """

    values: Mapping[str, Any]
    provenance: Provenance
    native: Any = field(default=None, repr=False, compare=False)

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def to_json(self) -> dict[str, Any]:
        return {
            "values": plain(self.values),
            "provenance": {
                "sources": list(self.provenance.sources),
                "features": self.provenance.features,
                "features_source": self.provenance.features_source,
                "seed": self.provenance.seed,
                "version": self.provenance.version,
            },
        }

    def content_hash(self) -> str:
        """sha256 (hex) of the values and their provenance."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def provenance(sources: Sequence[str], features: Any, seed: int) -> Provenance:
    """Of values that claims or experiments `sources` gave on `features` (None where none were used)."""
    if features is None:
        return Provenance(tuple(sources), "", "", seed)
    from pathlib import Path

    # The name of the file, not its folder: the same data must give the same bytes wherever it lies.
    return Provenance(tuple(sources), features.content_hash(), Path(features.source).name, seed)


def plain(value: Any) -> Any:
    """As JSON takes it: arrays as lists, NaN and infinity (which JSON lacks) as None and strings."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None if value != value else str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} is not data: {value!r}")


def typed_numbers(template: str) -> list[str]:
    """Numbers typed into a caption's text, outside its fields: there should be none."""
    text = "".join(literal for literal, *_ in Formatter().parse(template))
    text = _FORMULA.sub(lambda m: _STRUCTURAL.sub("", m.group()), text)
    return re.findall(r"\d+(?:\.\d+)?", _NAMES.sub("", text))


def quoted(template: str) -> list[tuple[str, str]]:
    """(field, format) of every value that a caption quotes."""
    return [(name, spec or "") for _, name, spec, _ in Formatter().parse(template) if name]


def caption(template: str, data: Data) -> str:
    """A caption filled from data.

    Raises:
        ValueError: the caption is empty, a number is typed in it, or a field is not in the data.
    """
    if not template.strip():
        raise ValueError("a figure needs a caption")
    if found := typed_numbers(template):
        raise ValueError(
            f"numbers without provenance in a caption: {', '.join(found)}; quote a field of the data instead"
        )
    missing = [name for name, _ in quoted(template) if name not in data.values]
    if missing:
        raise ValueError(f"the caption quotes {', '.join(missing)}, which the data does not hold")
    return template.format(**data.values)
