"""The features file: (image, text) pairs through an encoder, each with an environment and a class label.

This is the door for anybody's model: whoever can write four arrays can run every protocol of the project.

    image        (N, d) float   unit vectors of the images
    text         (N, d) float   unit vectors of the captions, row i belonging to image i
    environment  (N,)   int     0 <= id; ids need not be contiguous
    label        (N,)   int     class, 0 <= label < C

Optional: `environment_names`, `label_names` (a name for every id), `ids` (N,), `captions` (N,), `prompts` (C, d)
class prompts through the text encoder, and `metadata` (encoder, checkpoint, normalised, template, and whatever else the
writer wants to record).  In `.npz` names, captions and string ids are unicode arrays and `metadata` one JSON text; in
`.safetensors` all of these are JSON texts in the header.  Other arrays are kept in `Features.extra` and reported.

Decisions a user meets:

- Features must be unit vectors, because every score is a cosine.  Norms within `NORM_TOLERANCE` of 1 (what half
  precision leaves behind) are accepted as they are; others are refused unless `normalise=True` is given, and then
  the fact is noted.  Nothing is rescaled silently: unnormalised features often mean the wrong layer was saved.
- An environment with one sample is refused: it has no variance, and no unbiased score with itself.
- One environment alone is accepted (its alignment and its variance are well defined); whatever needs a transition
  calls `require_environments(2)`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..theory.errors import InputError, counted
from .containers import read_container, write_container
from .feature_checks import (
    NORM_TOLERANCE,
    as_ids,
    as_integers,
    as_metadata,
    as_normalised,
    as_strings,
    as_vectors,
    check_distinct,
    check_norms,
    check_range,
    is_text,
    remarks_on,
)

REQUIRED = ("image", "text", "environment", "label")
NAMES = ("environment_names", "label_names", "captions")
OPTIONAL = (*NAMES, "ids", "prompts", "metadata")
LARGEST = 2**28  # numbers in a vector a class: 2 GiB
__all__ = [
    "NAMES",
    "NORM_TOLERANCE",
    "OPTIONAL",
    "REQUIRED",
    "Features",
    "load_features",
    "require_features",
    "save_features",
]


@dataclass(frozen=True, eq=False)
class Features:
    """Checked features.  Building one runs every check of the module; compare two by `content_hash()`.

    Attributes:
        image, text: (N, d) float32 or float64, unit rows (half precision is widened to float32, which is exact).
        environment, label: (N,) int64, not negative.
        environment_names: name of environment id k at position k, or None.
        label_names: name of class c at position c, or None.
        ids: (N,) int64 or unicode, or None.
        captions: N strings, or None.
        prompts: (C, d) unit rows, or None.
        metadata: JSON-serialisable; keys `encoder`, `checkpoint` (weight hash), `normalised`, `template` by convention.
        extra: arrays of the file that this format does not define.
        notes: what was done or noticed while reading, to be shown with every result.
        source: the file, for messages.

    Raises:
        InputError: features that break a rule of this module, naming source, field, what was found, and the fix.
    """

    image: np.ndarray
    text: np.ndarray
    environment: np.ndarray
    label: np.ndarray
    environment_names: tuple[str, ...] | None = None
    label_names: tuple[str, ...] | None = None
    ids: np.ndarray | None = None
    captions: tuple[str, ...] | None = None
    prompts: np.ndarray | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source: str = "features in memory"

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731  (frozen: the one door)
        put("image", as_vectors(self.image, "image", self.source))
        put("text", as_vectors(self.text, "text", self.source))
        count, width = self.image.shape
        if self.text.shape != self.image.shape:
            what = "d" if len(self.text) == count else "N"
            raise InputError(
                f"{self.source}: image has shape {self.image.shape} but text {self.text.shape}: {what} differs",
                expected="one text for each image, both (N, d), from the shared space of one encoder",
                causes=("one of them was saved before the projection into the shared space",)
                if what == "d" else ("several captions for an image",),
                fix="save image_embeds and text_embeds after the projections"
                if what == "d" else "keep one caption an image",
            )  # fmt: skip
        put("environment", as_integers(self.environment, "environment", count, self.source))
        put("label", as_integers(self.label, "label", count, self.source))
        for name in NAMES:
            put(name, as_strings(getattr(self, name), name, count if name == "captions" else None, self.source))
        if self.ids is not None:
            put("ids", as_ids(self.ids, count, self.source))
        if self.prompts is not None:
            put("prompts", as_vectors(self.prompts, "prompts", self.source, minimum=1))
            self._check_prompts(width)
        for name in ("image", "text", "prompts"):
            if getattr(self, name) is not None:
                check_norms(getattr(self, name), name, self.source)
        try:
            put("metadata", json.loads(json.dumps(dict(self.metadata))))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{self.source}: metadata is not JSON ({error})", expected="a dict of strings, numbers and lists",
                causes=("a tensor or a path object in it",), fix="store str(value)",
            ) from None  # fmt: skip
        self._check_environments()
        self._check_labels()

    @property
    def environments(self) -> tuple[int, ...]:
        """The environment ids that occur, ascending: the neutral order."""
        return tuple(int(k) for k in np.unique(self.environment))

    @property
    def dimension(self) -> int:
        return int(self.image.shape[1])

    @property
    def classes(self) -> int:
        """Number of classes C: of `label_names` or `prompts` where given, else the largest label plus one."""
        if self.label_names is not None:
            return len(self.label_names)
        return len(self.prompts) if self.prompts is not None else int(self.label.max()) + 1

    def __len__(self) -> int:
        return len(self.image)

    def name(self, environment: int) -> str:
        """The name of an environment id, or `environment <id>`."""
        return self.environment_names[environment] if self.environment_names else f"environment {environment}"

    def rows(self, environment: int | str) -> np.ndarray:
        """Row indices (int64, ascending) of an environment, given by id or by name.

        Raises:
            InputError: no such environment.
        """
        known = [self.name(k) for k in self.environments]
        wanted = environment
        if isinstance(environment, str) and environment in known:
            wanted = self.environments[known.index(environment)]
        if wanted not in self.environments:
            choices = ", ".join(f"{k} ({name})" for k, name in zip(self.environments, known, strict=True))
            raise InputError(f"{self.source}: no environment {environment!r}", expected=f"one of {choices}")
        return np.flatnonzero(self.environment == wanted)

    def select(self, rows: np.ndarray) -> Features:
        """The features of some rows (indices or mask), names, prompts and metadata kept.

        Names of environments that the selection leaves empty are kept too, since ids index them.

        Raises:
            InputError: neither a mask of all rows nor indices of some.
        """
        rows = np.asarray(rows)
        mask = rows.dtype == bool and rows.shape == (len(self),)
        whole = rows.ndim == 1 and rows.dtype.kind in "iu"
        if not mask and not (whole and bool(((rows >= -len(self)) & (rows < len(self))).all())):
            ends = f", from {rows.min()} to {rows.max()}" if whole else ""
            raise InputError(
                f"{self.source}: rows of type {rows.dtype} and shape {rows.shape}{ends}",
                expected=f"a mask of shape ({len(self)},), or indices below {len(self)}",
                causes=("a mask made from other features", "indices of another file, or not whole"),
                fix="features.select(features.environment == 1)",
            )  # fmt: skip
        rows = np.flatnonzero(rows) if mask else rows.astype(np.int64)
        captions = self.captions and tuple(self.captions[i] for i in rows)
        extra = {name: a[rows] if a.ndim and len(a) == len(self) else a for name, a in self.extra.items()}
        return replace(
            self, image=self.image[rows], text=self.text[rows], environment=self.environment[rows],
            label=self.label[rows], ids=None if self.ids is None else self.ids[rows], captions=captions,
            extra=extra, notes=(*self.notes, _SELECTED),
        )  # fmt: skip

    def split(self, fraction: float = 0.8, seed: int = 0) -> tuple[Features, Features]:
        """Two disjoint parts, `fraction` of every environment in the first, its classes spread evenly over both.

        Args:
            fraction: in (0, 1).
            seed: the same seed gives the same rows, whatever other environments are present.

        Raises:
            InputError: fraction out of range, or an environment with fewer than four samples.
        """
        if not 0 < fraction < 1:
            raise InputError(f"split fraction {fraction}", expected="a number between 0 and 1")
        first: list[np.ndarray] = []
        for environment in self.environments:
            rows = self.rows(environment)
            if len(rows) < 4:
                raise InputError(
                    f"{self.source}: environment {environment} ({self.name(environment)}) has {counted(len(rows), 'sample')}",
                    expected="at least 4, so that both parts of a split keep two",
                    fix="merge the environment with another, or add data",
                )
            rng = np.random.default_rng([seed, environment])
            rows = rng.permutation(rows)
            rows = rows[np.argsort(self.label[rows], kind="stable")]
            take = int(np.clip(round(fraction * len(rows)), 2, len(rows) - 2))
            # Every (1/fraction)-th row of the rows sorted by class, from a random start: each class gets its share.
            first.append(rows[np.sort((np.arange(take) * len(rows) // take + rng.integers(len(rows))) % len(rows))])
        chosen = np.zeros(len(self), dtype=bool)
        chosen[np.concatenate(first)] = True
        return self.select(chosen), self.select(~chosen)

    def require_environments(self, minimum: int, purpose: str) -> None:
        """Refuse features with fewer than `minimum` environments, saying what for.

        Raises:
            InputError: there are fewer.
        """
        if len(self.environments) < minimum:
            raise InputError(
                f"{self.source}: {counted(len(self.environments), 'environment')}, field 'environment'",
                expected=f"at least {minimum}, because {purpose}",
                causes=("the environment array was filled with one value",),
                fix="give every environment (task) its own id",
            )

    def require_class_numbers(self) -> None:
        """Refuse labels so large that they cannot count classes: what keeps a vector for each class would not fit into memory.

        Raises:
            InputError: there are some.
        """
        if self.classes > len(self) and self.classes * self.dimension > LARGEST:
            raise InputError(
                f"{self.source}: labels up to {self.classes - 1} in {counted(len(self), 'pair')}", expected="classes numbered from 0 upwards",
                causes=("ids of a database, or hashes, instead of class numbers",),
                fix="label = numpy.unique(label, return_inverse=True)[1]",
            )  # fmt: skip

    def content_hash(self) -> str:
        """sha256 (hex) of everything a result can depend on; not of `extra`, `notes` or `source`."""
        digest = hashlib.sha256(b"crossmodal features 1\n")
        for name in (*REQUIRED, *OPTIONAL):
            value = getattr(self, name)
            if isinstance(value, np.ndarray) and value.dtype.kind != "U":
                little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
                digest.update(f"{name} {little.dtype.str} {value.shape}\n".encode())
                digest.update(little.data)
            else:
                plain = value.tolist() if isinstance(value, np.ndarray) else value
                digest.update(f"{name} {json.dumps(plain, sort_keys=True)}\n".encode())
        return digest.hexdigest()

    def _check_prompts(self, width: int) -> None:
        assert self.prompts is not None
        wanted = len(self.label_names) if self.label_names is not None else len(self.prompts)
        if self.prompts.shape != (wanted, width):
            raise InputError(
                f"{self.source}: prompts has shape {self.prompts.shape}",
                expected=f"({wanted}, {width}): one row a class, as wide as image and text",
                causes=("prompts of another label set", "prompts of another encoder"),
                fix="encode one prompt for each of label_names with the encoder of the features",
            )

    def _check_environments(self) -> None:
        if self.environment_names is not None:
            check_distinct(self.environment_names, self.source)
            check_range(self.environment, len(self.environment_names), "environment", "environment_names", self.source)
        present, counts = np.unique(self.environment, return_counts=True)
        lonely = [int(k) for k, n in zip(present, counts, strict=True) if n < 2]
        if lonely:
            raise InputError(
                f"{self.source}: environment {', '.join(f'{k} ({self.name(k)})' for k in lonely)} has one sample",
                expected="at least 2 samples in every environment",
                causes=("a sample number was stored as environment", "a filter left one row"),
                fix="merge it with another environment, or leave its row out",
            )
        named = len(self.environment_names or ())
        empty = sorted(set(range(named)) - set(present.tolist()))
        if empty and _SELECTED not in self.notes:
            raise InputError(
                f"{self.source}: environment {', '.join(f'{k} ({self.name(k)})' for k in empty)} has no sample",
                expected="a row for every one of environment_names",
                causes=("ids that start at 1", "a filter removed its rows"),
                fix="let ids start at 0, or shorten environment_names",
            )

    def _check_labels(self) -> None:
        if self.label_names is not None:
            check_range(self.label, len(self.label_names), "label", "label_names", self.source)
        elif self.prompts is not None:
            check_range(self.label, len(self.prompts), "label", "prompts", self.source)


def require_features(value: object) -> None:
    """Refuse what is no `Features`, such as the name of their file.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, Features):
        raise InputError(
            f"{type(value).__name__} in place of features", expected="crossmodal.Features",
            causes=("the name of a features file, or its arrays",),
            fix="crossmodal.load_features(path), or crossmodal.Features(image=..., text=..., environment=..., label=...)",
        )  # fmt: skip


_SELECTED = "some rows of the file were selected"


def load_features(path: str | os.PathLike[str], *, normalise: bool = False) -> Features:
    """Read and check a features file (`.npz` without pickle, or `.safetensors`).

    Args:
        path: the file.
        normalise: divide every row of image, text and prompts by its norm, and say so in `Features.notes`.

    Returns:
        Checked features; `notes` lists renormalisation, norms a little off 1, arrays set aside, gaps in the environment ids, and classes that
        occur in more than one environment.

    Raises:
        InputError: missing, foreign, torn or pickled file; missing field; wrong shape, type, range or norm; NaN or
            infinity; zero vectors; an environment with one sample or none.
    """
    source = str(path)
    arrays, strings, unreadable = read_container(path)
    found: dict[str, Any] = {**strings, **arrays}
    for name in (*REQUIRED, *OPTIONAL):
        if name in unreadable:
            raise InputError(
                f"{source}: field {name!r} is {unreadable[name]}",
                expected="a plain array; pickles run code when read and are never opened",
                causes=("a list of arrays or of strings was given to numpy.savez",),
                fix=f"numpy.asarray({name}, dtype=str) for strings, numpy.stack for vectors, then save again",
            )
    missing = [name for name in REQUIRED if name not in arrays]
    if missing:
        held = ", ".join(f"{name} {value.shape}" for name, value in arrays.items()) or "no arrays"
        raise InputError(
            f"{source}: field {', '.join(map(repr, missing))} missing; the file holds {held}",
            expected=f"the fields {', '.join(REQUIRED)}",
            causes=("the arrays were saved under other names", "a results file was given"),
            fix="rename: numpy.savez(path, image=..., text=..., environment=..., label=...)",
        )
    notes = []
    texts = {name: np.asarray(value) for name, value in strings.items() if is_text(value)}
    extra = {name: value for name, value in (texts | arrays).items() if name not in (*REQUIRED, *OPTIONAL)}
    aside = set(extra) | set(unreadable) | (set(strings) - set(OPTIONAL))
    if aside:
        notes.append(f"fields this format does not define were set aside: {', '.join(sorted(aside))}")
    if normalise:
        for name in ("image", "text", "prompts"):
            if name in arrays:
                found[name], note = as_normalised(arrays[name], name, source)
                notes.extend(note)
    features = Features(
        image=found["image"],
        text=found["text"],
        environment=found["environment"],
        label=found["label"],
        environment_names=found.get("environment_names"),
        label_names=found.get("label_names"),
        ids=found.get("ids"),
        captions=found.get("captions"),
        prompts=found.get("prompts"),
        metadata=as_metadata(found.get("metadata"), source),
        extra=extra,
        source=source,
    )
    return replace(features, notes=(*notes, *remarks_on(features)))


def save_features(path: str | os.PathLike[str], features: Features) -> None:
    """Write a features file, whole or not at all; the same features give the same bytes.

    Args:
        path: ends in `.npz` or `.safetensors`.
        features: what to write; `notes` and `source` are not stored, `extra` is.  Where a selection left named environments
            empty, their names are not stored either, and ids count those that are left: a file has no name without a row.

    Raises:
        InputError: unknown suffix, a folder that cannot be written, something else than features.
    """
    require_features(features)
    kept = features.environments
    if features.environment_names and len(kept) < len(features.environment_names):
        names = tuple(features.name(k) for k in kept)
        features = replace(features, environment=np.searchsorted(kept, features.environment), environment_names=names)
    arrays = {name: getattr(features, name) for name in REQUIRED}
    strings: dict[str, Any] = {
        name: list(getattr(features, name)) for name in NAMES if getattr(features, name) is not None
    }
    if features.ids is not None and features.ids.dtype.kind == "U":
        strings["ids"] = features.ids.tolist()
    elif features.ids is not None:
        arrays["ids"] = features.ids
    if features.prompts is not None:
        arrays["prompts"] = features.prompts
    if features.metadata:
        strings["metadata"] = dict(features.metadata)
    for name, value in features.extra.items():
        if value.dtype.kind == "U":
            strings[name] = value.tolist()
        else:
            arrays[name] = value
    write_container(path, arrays, strings)
