"""Files that appear whole or not at all, whenever their writer is killed."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .errors import InputError


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file that appears under `path` complete, or not at all, whenever the writer is killed.

    It is written under another name in the same folder, synchronised to the disk, and renamed.  Where `path` is a link, the file
    that it leads to is replaced; a device or a pipe (/dev/stdout) is written to and stays what it is.

    Raises:
        InputError: the folder is missing or cannot be written.
    """
    path = Path(path)
    if not path.name or os.path.isdir(path):  # `Path.is_dir` raises for a name too long
        raise InputError(f"{path}: is a folder", expected="the name of a file", fix=f"{path / 'result'}, say")
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as handle:
            yield handle
        return
    try:
        path = Path(os.path.realpath(path))
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        handle = open(temporary, "xb")  # noqa: SIM115  (its own errors are explained, those of the body are not)
    except ValueError:
        raise InputError(
            f"{str(path)!r}: cannot be written", expected="the name of a file",
            causes=("a NUL, or half of a character pair (\\ud800 to \\udfff), left by a broken conversion",), fix="name another file",
        ) from None  # fmt: skip
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror})",
            expected="an existing folder with permission to write",
            causes=("the folder does not exist",)
            if isinstance(error, FileNotFoundError)
            else ("the folder is read-only",),
            fix=f"create {path.parent}, or name another place"
            if isinstance(error, FileNotFoundError)
            else f"change the permissions of {path.parent}, or name another place",
        ) from None
    try:
        with handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # which file the disk had no room for
        raise


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write a file with `atomic_writer`, text as UTF-8; folders that are missing are made.

    Raises:
        InputError: the folder cannot be written.
    """
    path = Path(path)
    with suppress(OSError):  # opening the file says what is wrong, and what to do
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(path) as handle:
        handle.write(content.encode() if isinstance(content, str) else content)
    return path


def write_table(path: Path, fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """A CSV file with these columns."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_whole(path, text.getvalue())
