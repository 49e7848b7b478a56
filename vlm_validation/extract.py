"""From pairs to a features file, batch by batch, so that a killed run loses one batch.

Every batch becomes a shard in the folder `<output>.parts`: written whole or not at all, named by its number and a hash of
what it depends on (encoder, preprocessing, library versions, ids, captions, state of the picture files).  A run
computes the shards that are missing and merges all of them at the end; the result has the same bytes whether or not it
was interrupted.  Shards that cannot be read or belong to another configuration are set aside, with a message.

Several processes, started by `accelerate launch` or `torchrun`, share the batches; a single one needs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from ..theory.errors import InputError, counted
from .containers import SUFFIXES, read_container, write_container
from .datasets import Pairs
from .encoders import Encoder, reproducible
from .features import Features, load_features, save_features
from .orders import progress_bar
from .processes import Processes, running_processes

_FORMAT = 2  # 1 did not turn pictures as their EXIF orientation says
_SHARD = re.compile(r"\d{6,}-[0-9a-f]{16}\.npz")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Extraction:
    """What a run did.

    Attributes:
        output: the features file.
        pairs, dimension: N and d.
        computed, kept: batches computed by this process, and found from an earlier run.
        notes: what results should be shown with.
    """

    output: Path
    pairs: int
    dimension: int
    computed: int
    kept: int
    notes: tuple[str, ...]


def extract_features(
    encoder: Encoder,
    pairs: Pairs,
    output: str | os.PathLike[str],
    *,
    batch: int = 64,
    overwrite: bool = False,
    progress: bool = True,
    say: Say = print,
) -> Extraction:
    """Encode all pairs and the class prompts, and write a features file.

    Args:
        encoder: from `load_encoder`.
        pairs: from `open_pairs`.
        output: ends in `.npz` or `.safetensors`.  A file that is there with the same configuration is left as it is.
        batch: pairs encoded at a time; it takes part in the bytes, because rounding depends on it.
        overwrite: replace a file of another configuration.
        progress: show a bar on a terminal.
        say: takes messages, such as which shards were set aside.

    Raises:
        InputError: a picture that cannot be read, a file in the way, a folder that cannot be written, features that are
            zero or not finite.  Shards computed before are kept.
    """
    output = Path(output)
    processes = running_processes()
    check_output(output, batch)
    parts = _Parts(output.with_name(output.name + ".parts"), encoder, pairs, batch)
    done = None if overwrite else _finished(output, parts)
    if done is not None:
        if processes.main and parts.folder.is_dir():
            parts.clean(say)  # a run that was killed after it had written its output left them
        return Extraction(output, len(pairs), encoder.dimension, 0, len(parts), (*done.notes, "it was there already"))
    if processes.main:
        parts.sort_out(say)
    processes.wait()
    missing = [k for k in range(processes.index, len(parts), processes.count) if not parts.path(k).is_file()]
    own = len(range(processes.index, len(parts), processes.count))
    show = progress and processes.main
    with progress_bar(sum(parts.size(k) for k in missing), "encoding", show) as advance:
        for k, images in _loaded(pairs, parts, missing):
            parts.write(k, images)
            advance(parts.size(k))
    processes.wait()
    if processes.main:
        notes = _merge(parts, encoder, pairs, output, say)
    else:
        notes = ()
    processes.wait()
    return Extraction(output, len(pairs), encoder.dimension, len(missing), own - len(missing), notes)


class _Parts:
    """The shards of one configuration."""

    def __init__(self, folder: Path, encoder: Encoder, pairs: Pairs, batch: int) -> None:
        self.folder, self.encoder, self.pairs, self.batch = folder, encoder, pairs, batch
        common = {"format": _FORMAT, "encoder": encoder.metadata, "data": dict(pairs.metadata), "batch": batch}
        self._common = json.dumps(common, sort_keys=True)
        self._keys: dict[int, str] = {}
        digest = hashlib.sha256(self._common.encode())
        # The configuration is in the output, whose bytes must not depend on when the pictures were copied to where they lie.
        stamps = [_parted(pairs.stamp(i)) for i in range(len(pairs))]
        sizes, times = [size for size, _ in stamps], [time for _, time in stamps]
        for names in (
            pairs.environment_names,
            pairs.label_names,
            pairs.prompts(),
            pairs.ids.tolist(),
            pairs.captions,
            sizes,
        ):
            digest.update(json.dumps(list(names)).encode())
        digest.update(pairs.environment.tobytes() + pairs.label.tobytes())
        self.newest = max(times)
        self.configuration = digest.hexdigest()

    def __len__(self) -> int:
        return -(-len(self.pairs) // self.batch)

    def rows(self, k: int) -> range:
        return range(k * self.batch, min((k + 1) * self.batch, len(self.pairs)))

    def size(self, k: int) -> int:
        return len(self.rows(k))

    def key(self, k: int) -> str:
        if k not in self._keys:
            rows = [[str(self.pairs.ids[i]), self.pairs.captions[i], self.pairs.stamp(i)] for i in self.rows(k)]
            self._keys[k] = hashlib.sha256(f"{self._common}{k}{json.dumps(rows)}".encode()).hexdigest()
        return self._keys[k]

    def path(self, k: int) -> Path:
        return self.folder / f"{k:06d}-{self.key(k)[:16]}.npz"

    def write(self, k: int, images: Sequence[Any]) -> None:
        captions = [self.pairs.captions[i] for i in self.rows(k)]
        with reproducible(k):
            image = self.encoder.image_features(images, [self.pairs.ids[i] for i in self.rows(k)])
            text = self.encoder.text_features(captions)
        arrays = {"image": image, "text": text, "too_long": np.array(self.encoder.too_long(captions))}
        write_container(self.path(k), arrays, {"key": self.key(k)})

    def read(self, k: int) -> dict[str, np.ndarray]:
        """A shard's arrays.

        Raises:
            InputError: torn, or not what its name says.
        """
        arrays, _, _ = read_container(self.path(k))
        shape = (self.size(k), self.encoder.dimension)
        right = all(name in arrays and arrays[name].shape == shape for name in ("image", "text"))
        if not right or "too_long" not in arrays or str(arrays.get("key")) != json.dumps(self.key(k)):
            raise InputError(f"{self.path(k)}: not the shard its name says")
        return arrays

    def sort_out(self, say: Say) -> None:
        """Make the folder; rename what is torn or foreign."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be made ({error.strerror})", expected="an existing folder that can be written",
                causes=("the folder does not exist", "a file of this name"), fix="create it, or name another output",
            ) from None  # fmt: skip
        expected = {self.path(k): k for k in range(len(self))}
        for path in sorted(self.folder.iterdir()):
            if not _SHARD.fullmatch(path.name):
                continue
            if path not in expected:
                why = "it belongs to another model, data set or batch size"
            else:
                try:
                    self.read(expected[path])
                    continue
                except InputError as error:
                    why = error.found
            os.replace(path, path.with_name(path.name + ".aside"))
            say(f"set aside {path.name}.aside: {why}")

    def clean(self, say: Say) -> None:
        """Remove the shards and what a killed writer left; the folder too, if nothing else is in it."""
        ours = {self.path(k) for k in range(len(self))}
        for path in [*self.folder.iterdir()]:
            if path in ours or path.name.endswith(".tmp"):
                path.unlink()
        if any(self.folder.iterdir()):
            say(f"kept {self.folder}: it holds shards that were set aside")
        else:
            self.folder.rmdir()


def _loaded(pairs: Pairs, parts: _Parts, missing: Sequence[int]) -> Iterator[tuple[int, list[Any]]]:
    """Batches of pictures, the next one read by threads while the last one is encoded."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        ahead = [pool.submit(pairs.load, i) for i in parts.rows(missing[0])] if missing else []
        try:
            for k, following in zip(missing, [*missing, None][1:], strict=True):
                images = [future.result() for future in ahead]
                ahead = [] if following is None else [pool.submit(pairs.load, i) for i in parts.rows(following)]
                yield k, images
        finally:
            for future in ahead:
                future.cancel()


def _merge(parts: _Parts, encoder: Encoder, pairs: Pairs, output: Path, say: Say) -> tuple[str, ...]:
    """All shards into one file; the arrays lie in files meanwhile, so memory does not grow with N.

    These files are without a name, so that another run of the same command cannot empty them, and written before they are
    mapped: of a full disk a write tells, where a page that finds no room ends the process.
    """
    too_long = 0
    with TemporaryFile(dir=parts.folder) as image, TemporaryFile(dir=parts.folder) as text:
        files = {"image": image, "text": text}
        for k in range(len(parts)):
            shard = parts.read(k)
            for name, file in files.items():
                file.write(np.ascontiguousarray(shard[name], dtype=np.float32).data)
            too_long += int(shard["too_long"])
        for file in files.values():
            file.flush()
        shape = (len(pairs), encoder.dimension)
        arrays = {name: np.memmap(file, np.float32, "r", shape=shape) for name, file in files.items()}
        features = Features(
            image=arrays["image"], text=arrays["text"], environment=pairs.environment, label=pairs.label,
            environment_names=pairs.environment_names, label_names=pairs.label_names, ids=pairs.ids,
            captions=tuple(pairs.captions), prompts=encoder.text_features(pairs.prompts()), source=str(output),
            metadata={
                **encoder.metadata, **pairs.metadata, "template": pairs.template, "batch": parts.batch,
                "captions_cut": too_long, "notes": list(pairs.notes), "configuration": parts.configuration,
            },
        )  # fmt: skip
        save_features(output, features)
        del features, arrays
    parts.clean(say)
    cut = (f"cut to the tokens that the encoder takes: {counted(too_long, 'caption')}",) if too_long else ()
    return (*pairs.notes, *cut)


def check_output(output: Path, batch: int) -> None:
    """What can be refused before a model is loaded.

    Raises:
        InputError: another suffix, no such folder, or a batch below one.
    """
    if batch < 1:
        raise InputError(f"batch {batch}", expected="at least 1", fix="--batch 64, the default")
    if output.suffix not in SUFFIXES:
        raise InputError(
            f"{output}: suffix {output.suffix or '(none)'}", expected=" or ".join(SUFFIXES), fix="--output features.npz"
        )
    if not output.parent.is_dir():
        raise InputError(
            f"{output}: no folder {output.parent}", expected="an existing folder", fix=f"create {output.parent}"
        )


def _parted(stamp: str) -> tuple[str, int]:
    """A stamp's name and size, and its time; 0 where it has none."""
    rest, _, time = stamp.rpartition(" ")
    return (rest, int(time)) if time.isdigit() else (stamp, 0)


def _finished(output: Path, parts: _Parts) -> Features | None:
    """The features of an earlier run with this configuration, or None where there is no file yet."""
    if not output.exists():
        return None
    try:
        found = load_features(output)
    except InputError as error:
        there = f"something else ({error.found})"
    else:
        if found.metadata.get("configuration") != parts.configuration:
            there = f"features of another configuration ({found.metadata.get('encoder', 'unknown encoder')})"
        elif parts.newest < output.stat().st_mtime_ns:
            return found
        else:
            there = "features that are older than some of the pictures"
    raise InputError(
        f"{output} holds {there}", expected="a new file, or one of this very configuration and later than the pictures",
        causes=(
            "another model, data set, limit or batch size", "another version of torch or transformers",
            "pictures that were changed, or copied without their times, since",
        ),
        fix="--overwrite, or another --output",
    )  # fmt: skip


__all__ = ["Extraction", "Processes", "check_output", "extract_features"]
