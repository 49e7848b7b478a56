"""Named arrays and strings in one file: `.npz` without pickle, or `.safetensors`; written whole or not at all.

Arrays are written from where they lie, and large ones are mapped instead of read, so a file may be larger than memory.
Nothing here knows what the arrays mean.  `features.py` does.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from ..theory.errors import InputError
from ..theory.files import atomic_writer

SUFFIXES = (".npz", ".safetensors")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold: the same arrays give the same bytes on any day
MAPPED = (
    1 << 28
)  # bytes from which on an array is mapped: smaller ones are read, and do not depend on the file any more
_SAFE = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
         "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL"}  # fmt: skip
_DIRECTORY_END = 22 + 65535  # bytes of a zip's last record and the longest comment
_DEFLATED = 1100  # a byte of deflate stands for 1032 at most
_EMPTY = 1 << 24  # entries of an array of no bytes that may still be listed
_TORN = ("the copy or download was cut short, or its writer was killed",)


def write_container(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], strings: Mapping[str, Any]) -> None:
    """Write `arrays` and the JSON-serialisable `strings`; the same content gives the same bytes.

    In `.npz` a list of strings is a unicode array and anything else a JSON text; in `.safetensors`, which holds numbers
    only, each of `strings` is a JSON text in the header's metadata.

    Raises:
        InputError: unknown suffix, or a folder that cannot be written.
    """
    path = Path(path)
    _check_suffix(path)
    if path.suffix == ".npz":
        members = dict(arrays) | {name: _unicode_array(value) for name, value in strings.items()}
        with atomic_writer(path) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
            for name, array in members.items():
                info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
                info.create_system = 3  # otherwise the platform that wrote the file is part of its bytes
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(
                        member, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False
                    )
        return
    texts = {name: json.dumps(value, sort_keys=True) for name, value in strings.items()}
    with atomic_writer(path) as handle:
        _write_safetensors(handle, arrays, texts)


def _write_safetensors(handle: IO[bytes], arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """What `safetensors.numpy.save` writes, but array by array, and with the metadata sorted: theirs is an unordered map."""
    largest_first = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(texts.items()))}
    stop = 0
    for name in largest_first:
        array = arrays[name]
        start, stop = stop, stop + array.nbytes
        if array.dtype.name not in _SAFE:
            raise InputError(
                f"the array {name!r} has type {array.dtype}", expected="numbers a .safetensors file can hold",
                causes=("bytes, dates or complex numbers",), fix="save as .npz, or convert the array",
            )  # fmt: skip
        header[name] = {"dtype": _SAFE[array.dtype.name], "shape": list(array.shape), "data_offsets": [start, stop]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    handle.write(struct.pack("<Q", len(text)) + text)
    for name in largest_first:
        array = np.ascontiguousarray(arrays[name])
        handle.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data.cast("B") if array.size else b"")


def read_container(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, str]]:
    """Read what `write_container`, `numpy.savez` or `safetensors` wrote.

    Returns:
        The arrays; the strings (of `.safetensors`: parsed JSON, or the text where it is not JSON); and what could not
        be read without running code, name -> reason.

    Raises:
        InputError: the file is missing, has another format, or is torn.
    """
    path = Path(path)
    _check_suffix(path)
    if not os.path.isfile(path):  # unlike `Path.is_file`, it takes a name too long for any file
        what = "is a folder" if os.path.isdir(path) else "no such file"
        raise InputError(
            f"{path}: {what}",
            expected="a features file (.npz or .safetensors)",
            causes=("a typing error in the path", "a path relative to another folder"),
            fix="check the path; it is taken relative to the current folder",
        )
    try:
        return _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
    except PermissionError:
        raise InputError(
            f"{path}: no permission to read it", causes=("it belongs to another user",), fix=f"chmod u+r {path}"
        ) from None


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, str]]:
    with open(path, "rb") as handle:
        head = handle.read(8)
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: {_what_is_it(head)}", **_npz_advice(head))
    arrays: dict[str, np.ndarray] = {}
    unreadable: dict[str, str] = {}
    name = ""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            for name, info in members.items():
                value = _member(path, archive, info)
                if isinstance(value, str):
                    unreadable[name] = value
                else:
                    arrays[name] = value
    except (InputError, MemoryError):  # a whole file that memory does not hold is not torn
        raise
    except Exception as error:
        # a damaged member fails in the archive, a decompressor, numpy's header or Python's parser of it, each with exceptions of its own
        where = f"member {name!r} of the archive" if name else "the archive"
        raise InputError(
            f"{path}: {where} cannot be read ({str(error)[:200] or type(error).__name__})", expected="a whole .npz archive",
            causes=_TORN, fix="copy or write the file again",
        ) from None  # fmt: skip
    return arrays, {}, unreadable


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by the names of their arrays, each once and all there.

    Raises:
        InputError: a pickle of torch, a name twice.
        zipfile.BadZipFile: fewer members than the archive says it has: a damaged directory hides those that follow the damage.
    """
    infos = archive.infolist()
    if any(info.filename.endswith("data.pkl") for info in infos):
        raise _pickled(path, "the file", "it was written by torch.save, which is pickle in a zip")
    with open(path, "rb") as handle:
        handle.seek(-min(path.stat().st_size, _DIRECTORY_END), os.SEEK_END)
        tail = handle.read()
    (count,) = struct.unpack_from("<H", tail, tail.rindex(b"PK\5\6") + 10)
    if count not in (len(infos), 0xFFFF):  # 0xFFFF: the number is elsewhere, as in archives of 65535 members and more
        raise zipfile.BadZipFile(f"{len(infos)} of its {count} members are listed")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise InputError(
                f"{path}: two members {name!r}", expected="every array once; readers do not agree which of two counts",
                causes=("an archive that was appended to",), fix="write the file again",
            )  # fmt: skip
        found[name] = info
    return found


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray | str:
    """The array of a member, or why it is none; its header is compared with what the member holds before anything is allocated."""
    packed = info.compress_size * {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATED}.get(
        info.compress_type, np.inf
    )
    if info.file_size > packed or info.compress_size > path.stat().st_size:
        raise ValueError(f"{info.file_size} bytes are said to be in {info.compress_size}")
    with archive.open(info) as member:
        if member.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            return "not an array"
    with archive.open(info) as member:
        shape, fortran, dtype = _array_header(member)
        start = member.tell()
    if dtype.hasobject:
        return "an object array, which only pickle can read"
    size, held = math.prod(shape) * dtype.itemsize, info.file_size - start
    # an empty array may have an axis of any length, and a text no letters: neither takes a byte, but a list of it does
    if size != held or math.prod(max(n, 1) for n in shape) > max(held, _EMPTY):
        raise ValueError(f"shape {shape} of {dtype} in {held} bytes")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size >= MAPPED:
        return _mapped_member(path, archive, info, start, shape, dtype, "F" if fortran else "C")
    with archive.open(info) as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _array_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version} of the array format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(member)
    return shape, fortran, dtype


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, str]]:
    from safetensors import safe_open

    arrays: dict[str, np.ndarray] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            names = list(file.keys())
            foreign = [name for name in names if file.get_slice(name).get_dtype()[:2] in ("BF", "F8")]
            for name in names:
                shape = file.get_slice(name).get_shape()
                if 0 in shape and math.prod(max(n, 1) for n in shape) > _EMPTY:
                    raise ValueError(f"{name!r} of shape {shape} in no bytes")
                if name not in foreign:
                    mapped = _mapped_tensor(path, name)
                    arrays[name] = file.get_tensor(name) if mapped is None else mapped
        if foreign:  # numpy has no such types; widening to float32 is exact
            with safe_open(path, framework="pt") as file:
                for name in foreign:
                    arrays[name] = file.get_tensor(name).float().numpy()
    except MemoryError:
        raise
    except Exception as error:
        # the library, numpy and torch refuse types and shapes with exceptions of their own, and some by an attribute they lack
        with open(path, "rb") as handle:
            head = handle.read(8)
        what = _what_is_it(head) if head[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05") else f"{error}"
        renamed = zipfile.is_zipfile(path)
        what = "a zip archive, as .npz and torch.save write" if renamed else what
        raise InputError(
            f"{path}: cannot be read as .safetensors ({what})", expected="a whole .safetensors file",
            causes=("the file was renamed",) if renamed else _TORN,
            fix="copy or write the file again, or give it the suffix of its real format",
        ) from None  # fmt: skip
    return arrays, {name: _parsed(text) for name, text in texts.items()}, {}


def _mapped_member(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, start: int, shape: tuple[int, ...], dtype: np.dtype[Any],
    order: Literal["C", "F"],
) -> np.ndarray:  # fmt: skip
    """A large array of an uncompressed archive, its checksum verified, on the disk until it is used."""
    with archive.open(info) as member:
        while member.read(1 << 20):  # the last read compares the checksum
            pass
    with open(path, "rb") as handle:
        handle.seek(info.header_offset + 26)
        handle.seek(sum(struct.unpack("<HH", handle.read(4))), os.SEEK_CUR)  # past the member's name and extra field
        start += handle.tell()
    return _mapped(path, dtype, shape, start, order)


def _mapped_tensor(path: Path, name: str) -> np.ndarray | None:
    """The same of a `.safetensors` file whose header was checked."""
    with open(path, "rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        entry = json.loads(handle.read(length))[name]
    start, stop = entry["data_offsets"]
    kinds = [kind for kind, safe in _SAFE.items() if safe == entry["dtype"]]
    if stop - start < MAPPED or not kinds:
        return None
    return _mapped(path, np.dtype(kinds[0]).newbyteorder("<"), tuple(entry["shape"]), 8 + length + start, "C")


def _mapped(
    path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, order: Literal["C", "F"]
) -> np.ndarray:
    # copy on write: whoever changes an array changes memory, never the file
    return np.memmap(path, dtype=dtype, mode="c", offset=offset, shape=shape, order=order)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, brackets without end
        return text


def _unicode_array(value: Any) -> np.ndarray:
    if isinstance(value, (list, tuple)):
        for item in value:
            if item.endswith("\0"):
                raise InputError(
                    f"the string {item!r} ends in a NUL character",
                    expected="strings that a .npz can hold (it strips trailing NULs)",
                    fix="remove the character, or save as .safetensors",
                )
        return np.array(list(value), dtype=np.str_) if value else np.zeros(0, dtype="<U1")
    return np.array(json.dumps(value, sort_keys=True))


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{path}: suffix {path.suffix or '(none)'} is not that of a features file",
            expected=" or ".join(SUFFIXES),
            causes=("another format",),
            fix="save it with crossmodal.vlm_validation.features.save_features, numpy.savez or safetensors",
        )


def _what_is_it(head: bytes) -> str:
    if not head:
        return "an empty file"
    if head.startswith(b"\x93NUMPY"):
        return "a single array (.npy), not an .npz archive"
    if head.startswith(b"PK"):
        return "a torn zip archive (its directory, at the end, is missing)"
    if head[:1] == pickle.PROTO and head[1] <= pickle.HIGHEST_PROTOCOL:
        return "a pickle, not an .npz archive"
    if head.startswith(b"version "):
        return "a Git LFS pointer, not the file it stands for"
    return "not an .npz archive"


def _npz_advice(head: bytes) -> dict[str, Any]:
    if head[:1] == pickle.PROTO:
        return {
            "expected": "a zip archive of plain arrays; a pickle runs code when it is read and is never opened",
            "causes": ("it was written by pickle.dump, joblib or numpy.save(allow_pickle=True)",),
            "fix": "write it again with numpy.savez(path, image=..., text=..., environment=..., label=...)",
        }
    causes = _TORN if head.startswith(b"PK") or not head else ("the file was renamed, or an error page was downloaded",)
    return {"expected": "a zip archive of plain arrays", "causes": causes, "fix": "copy or write the file again"}


def _pickled(path: Path, where: str, cause: str) -> InputError:
    return InputError(
        f"{path}: {where} is a pickle",
        expected="plain arrays; a pickle runs code when it is read and is never opened",
        causes=(cause,),
        fix="write it again with numpy.savez(path, image=..., text=..., environment=..., label=...) or safetensors",
    )
