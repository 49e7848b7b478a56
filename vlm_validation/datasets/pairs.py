"""What an encoder is fed: (image, caption) pairs, each with a class label and an environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...theory.errors import InputError, counted
from ..feature_checks import is_unicode


@dataclass(frozen=True, eq=False)
class Pairs:
    """A checked list of pairs; pictures are read when they are asked for, one by one.

    Attributes:
        name: of the data set, for results and messages.
        captions: N strings that are not empty.
        environment, label: (N,) int64, ids into the names; every environment has at least two pairs.
        ids: (N,) integers or unicode.
        environment_names, label_names: a name for every id.
        load: i -> PIL image in RGB.  It may be called from several threads.
        stamp: i -> a text that changes when the picture may have changed: file name, size, and last the time it was written, in
            nanoseconds; or "".
        template: of class prompts, with one `{}`.
        class_prompts: a prompt for every class, where the template alone does not give it.
        metadata: which split, which caption, which list of environments; JSON-serialisable.
        notes: what was left out or noticed while reading.

    Raises:
        InputError: no pairs, an empty caption, text that is no unicode, an environment with one pair or none.
    """

    name: str
    captions: Sequence[str]
    environment: np.ndarray
    label: np.ndarray
    ids: np.ndarray
    environment_names: tuple[str, ...]
    label_names: tuple[str, ...]
    load: Callable[[int], Any]
    stamp: Callable[[int], str] = lambda _: ""
    template: str = "a photo of a {}."
    class_prompts: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "environment", np.asarray(self.environment, dtype=np.int64))
        object.__setattr__(self, "label", np.asarray(self.label, dtype=np.int64))
        if not len(self):
            raise InputError(
                f"{self.name}: no pairs", expected="at least two pairs in every environment",
                causes=("an empty list", "a split without pictures"), fix="name another split or folder",
            )  # fmt: skip
        for index, caption in enumerate(self.captions):
            if not caption.strip():
                raise InputError(
                    f"{self.name}: the caption of {self.ids[index]} is empty", expected="a text for every picture",
                    fix="write a caption, or leave the row out",
                )  # fmt: skip
        named = [*self.environment_names, *self.label_names, *(self.ids.tolist() if self.ids.dtype.kind == "U" else ())]
        for text in (*self.captions, *named):
            if "\0" in text or not is_unicode(text):
                raise InputError(
                    f"{self.name}: the text {text!r}", expected="unicode text, which every file and tokenizer can hold",
                    causes=("half of a character pair (\\ud800 to \\udfff) or a NUL, left by a broken conversion",),
                    fix="write the text again, or leave its row out",
                )  # fmt: skip
        counts = np.bincount(self.environment, minlength=len(self.environment_names))
        few = [f"{self.environment_names[k]} ({n})" for k, n in enumerate(counts) if n < 2]
        if few:
            raise InputError(
                f"{self.name}: too few pairs in {', '.join(few)}",
                expected="at least 2 pairs in every environment; one alone has no variance",
                causes=("a typing error in an environment's name", "a limit or a split that leaves few pairs"),
                fix="merge it with another environment, leave its row out, or raise the limit",
            )
        homes: dict[int, set[int]] = {}
        for label, environment in set(zip(self.label.tolist(), self.environment.tolist(), strict=True)):
            homes.setdefault(label, set()).add(environment)
        shared = [self.label_names[c] for c in sorted(homes) if len(homes[c]) > 1]
        if shared:
            said = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
            note = f"in more than one environment, {counted(len(shared), 'class', 'classes')}: {said}"
            object.__setattr__(self, "notes", tuple(dict.fromkeys((*self.notes, note))))

    def __len__(self) -> int:
        return len(self.captions)

    def prompts(self) -> list[str]:
        """One prompt for every class."""
        made = (self.template.format(name.replace("_", " ")) for name in self.label_names)
        return list(self.class_prompts or made)

    def limited(self, per_environment: int | None) -> Pairs:
        """The first pairs of every environment, in the order of the list.

        Raises:
            InputError: fewer than two are asked for.
        """
        if per_environment is None:
            return self
        if per_environment < 2:
            raise InputError(
                f"limit {per_environment}",
                expected="at least 2 pairs an environment",
                causes=("one pair has no variance",),
                fix="--limit 2, or more",
            )
        firsts = [np.flatnonzero(self.environment == k)[:per_environment] for k in range(len(self.environment_names))]
        rows = np.sort(np.concatenate(firsts))
        load, stamp = self.load, self.stamp
        return replace(
            self, captions=[self.captions[i] for i in rows], environment=self.environment[rows], label=self.label[rows],
            ids=self.ids[rows], load=lambda i: load(int(rows[i])), stamp=lambda i: stamp(int(rows[i])),
            metadata={**self.metadata, "limit": f"the first {per_environment} pairs of every environment"},
        )  # fmt: skip


_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
          8: "ROTATE_90"}  # fmt: skip


def _orientation(image: Any) -> int:
    try:
        found = image.getexif().get(0x0112)
    except Exception:  # damaged EXIF fails in several parsers; no viewer turns such a picture
        return 1
    return found if isinstance(found, int) else 1


def open_image(path: Path) -> Any:
    """A picture in RGB, turned as its EXIF orientation says: so a viewer shows it, and so its caption describes it.

    Raises:
        InputError: no such file, not a picture, cut short, or numbers that are not 8-bit colours.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith(("I", "F")):
                raise InputError(
                    f"{path}: pixels of mode {image.mode}", expected="8-bit colours or greys",
                    causes=("a depth map, a mask or a 16-bit scan",), fix="convert it to 8 bit",
                )  # fmt: skip
            # a palette's transparent colour is black behind it, with no warning on the way
            rgb = image.convert("RGBA").convert("RGB") if "transparency" in image.info else image.convert("RGB")
            turn = _TURNS.get(_orientation(image))
            return rgb if turn is None else rgb.transpose(Image.Transpose[turn])
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such picture", causes=("it was moved while this ran",), fix="put it back"
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path}: not readable as a picture ({error})", expected="a whole JPEG, PNG, ... file",
            causes=("a download that was cut short", "an error page under a picture's name"),
            fix="download it again, or leave its row out; what is already computed is kept",
        ) from None  # fmt: skip


def from_files(paths: Sequence[Path]) -> tuple[Callable[[int], Any], Callable[[int], str]]:
    """`load` and `stamp` of pictures in files."""

    def stamp(index: int) -> str:
        try:
            found = os.stat(paths[index])
        except OSError:
            return f"{paths[index].name} missing"
        return f"{paths[index].name} {found.st_size} {found.st_mtime_ns}"

    return lambda index: open_image(paths[index]), stamp


def require_files(paths: Sequence[Path], named_by: Path) -> None:
    """Every picture is there, or one message says which are not.

    Raises:
        InputError: some are missing.
    """
    missing = [path for path in paths if not os.path.isfile(path)]  # `Path.is_file` raises for a name too long
    if missing:
        shown = ", ".join(path.name for path in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(
            f"{named_by}: missing, {len(missing)} of {counted(len(paths), 'picture')} it names: {shown}",
            expected=f"files such as {missing[0]}",
            causes=("pictures of another split", "names relative to another folder"),
            fix="download the pictures, or leave their rows out",
        )
