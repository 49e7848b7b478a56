"""Containers against the libraries they are compatible with, and arrays that are mapped instead of read."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import containers
from crossmodal.vlm_validation.containers import read_container, write_container
from crossmodal.vlm_validation.features import Features, load_features, save_features
from crossmodal.vlm_validation.scores import estimate_scores

from .conftest import make_arrays

SUFFIXES = (".npz", ".safetensors")
MIXED = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.arange(3),
    "half": np.float16([1, 2]),
    "flag": np.array([True, False, True]),
    "scalar": np.array(7, dtype=np.int32),
    "none": np.zeros((0, 4)),
    "turned": np.arange(6.0).reshape(2, 3).T,
    "big": np.arange(3, dtype=">i8"),
}


def test_safetensors_are_those_of_the_library(tmp_path: Path) -> None:
    """The library keeps metadata in an unordered map, so with one entry its bytes are comparable."""
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "f.safetensors"
    write_container(path, MIXED, {"captions": ["é", "b"]})
    plain = {
        name: np.ascontiguousarray(x).reshape(x.shape).astype(x.dtype.newbyteorder("<")) for name, x in MIXED.items()
    }
    assert path.read_bytes() == safetensors.save(plain, metadata={"captions": json.dumps(["é", "b"])})
    write_container(path, MIXED, {"z": 1, "a": 2})
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert list(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]) == ["a", "z"]
    with pytest.raises(InputError, match="'c' has type complex"):
        write_container(path, {"c": np.zeros(2, dtype=complex)}, {})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_mapped_arrays_are_those_read(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"f{suffix}"
    write_container(path, MIXED, {"captions": ["a"]})
    read, _, _ = read_container(path)
    monkeypatch.setattr(containers, "MAPPED", 1)
    mapped, _, _ = read_container(path)
    assert mapped.keys() == read.keys() >= MIXED.keys()
    for name, array in read.items():
        assert (mapped[name].dtype, mapped[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(mapped[name], array)
    assert isinstance(mapped["b"], np.memmap)
    assert not isinstance(read["b"], np.memmap)
    before = path.read_bytes()
    mapped["b"][:] = 9
    assert path.read_bytes() == before, "whoever changes an array does not change the file"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_features_larger_than_memory(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, hashing, scoring and writing take less than the file; mutants: any of them that copies an array whole."""
    path, count, d = tmp_path / f"f{suffix}", 300_000, 64
    rows = np.full((count, d), d**-0.5, dtype=np.float32)
    rows[::2, 0] *= -1
    ids = np.arange(count) % 2
    write_container(path, {"image": rows, "text": rows[::-1], "environment": ids, "label": ids}, {})
    monkeypatch.setattr(containers, "MAPPED", 1 << 20)
    size = rows.nbytes
    del rows
    estimate_scores(Features(**make_arrays()))  # what has to be imported is
    tracemalloc.start()
    features = load_features(path)
    estimate_scores(features)
    save_features(tmp_path / f"again{suffix}", features)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 2, f"{peak / size:.2f} times one array"


def test_a_flipped_byte_of_a_mapped_array_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.npz"
    save_features(path, Features(**make_arrays()))
    monkeypatch.setattr(containers, "MAPPED", 1)
    data = bytearray(path.read_bytes())
    data[data.index(b"image.npy") + 200] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="member 'image' of the archive cannot be read"):
        load_features(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_numpy_are_mapped_where_they_can_be(
    save: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "MAPPED", 1)
    path, arrays = tmp_path / "f.npz", make_arrays()
    arrays["turned"] = np.asfortranarray(arrays["image"])
    save(path, **arrays)  # type: ignore[operator]
    found, _, _ = read_container(path)
    assert isinstance(found["image"], np.memmap) == (save is np.savez)
    np.testing.assert_array_equal(found["image"], arrays["image"])
    np.testing.assert_array_equal(found["turned"], arrays.pop("turned"))
    wanted = Features(**arrays)
    assert load_features(path).content_hash() == wanted.content_hash()


HEADER = "{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n"


def archive_of(arrays: dict[str, np.ndarray], packing: int = zipfile.ZIP_STORED, **headers: str) -> bytes:
    """An .npz archive; `headers` replace those of its members, so that they say what is not so."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            content = member.getvalue()
            if name in headers:
                text = headers[name].encode()
                content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + array.tobytes()
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize(
    "header",
    [
        *(HEADER.format(descr="<f4", shape=shape) for shape in
          ((10**13, 4), (10**8, 4), (10**30, 4), (True, 4), (19, 4), (0, 4), (-1, 4), (10**11, 0))),
        *(HEADER.format(descr=descr, shape=(20, 4)) for descr in ("<U500000000", "<U0", "|V0", "<f8", "<f3")),
        "(" * 5000, "{[1]: 2}", "{'descr': '''", "-" * 4000 + "1", "\n  1\n 2", "", " " * 20_000,
    ],
)  # fmt: skip
def test_a_header_that_does_not_fit_is_refused_before_anything_is_allocated(
    packing: int, header: str, tmp_path: Path
) -> None:
    path, arrays = tmp_path / "f.npz", make_arrays()
    arrays["image"] = np.ones((20, 4), dtype=np.float32)
    path.write_bytes(archive_of(arrays, packing, image=header))
    tracemalloc.start()
    with pytest.raises(InputError, match="member 'image' of the archive cannot be read"):
        read_container(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize(("descr", "shape"), [("<f4", (10**11, 0)), ("<U0", (10**9,))])
def test_entries_without_bytes_are_counted_too(descr: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """A header that fits its member, for neither has a byte; whoever lists the entries would need all memory."""
    path = tmp_path / "f.npz"
    nothing = np.zeros(0, dtype=np.float32)
    path.write_bytes(archive_of({"image": nothing}, image=HEADER.format(descr=descr, shape=shape)))
    with pytest.raises(InputError, match="member 'image' of the archive cannot be read"):
        read_container(path)
    path.write_bytes(archive_of({"image": nothing}, image=HEADER.format(descr=descr, shape=(3, *shape[1:]))))
    assert read_container(path)[0]["image"].shape == (3, *shape[1:])


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_flipped_bytes_of_any_packing_are_explained(packing: int, tmp_path: Path) -> None:
    """No member that is encrypted, of another packing or undone by its decompressor ends in another exception."""
    path, arrays = tmp_path / "f.npz", make_arrays()
    content = archive_of(arrays, packing)
    for at in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        path.write_bytes(bytes(damaged))
        try:
            found, _, _ = read_container(path)
        except InputError:
            continue
        assert found.keys() == arrays.keys(), f"byte {at} hides a member"
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


def test_a_checksum_that_differs_is_noticed(tmp_path: Path) -> None:
    path, arrays = tmp_path / "f.npz", make_arrays()
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        content = bytearray(archive_of(arrays, packing))
        content[content.index(b"PK\1\2") + 16] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(InputError, match="Bad CRC-32"):
            read_container(path)


@pytest.mark.parametrize("second", ["image.npy", "image"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_twice_is_refused(second: str, tmp_path: Path) -> None:
    path, arrays = tmp_path / "f.npz", make_arrays()
    np.savez(path, **arrays)  # type: ignore[arg-type]
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, -arrays["image"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(second, buffer.getvalue())
    with pytest.raises(InputError, match="two members 'image'"):
        read_container(path)


def test_a_zip_under_the_suffix_of_safetensors_is_no_torn_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", a=np.zeros(2))
    (tmp_path / "f.npz").rename(tmp_path / "f.safetensors")
    with pytest.raises(InputError, match=r"a zip archive, as \.npz and torch.save write(.|\n)*renamed"):
        read_container(tmp_path / "f.safetensors")


def safetensors_of(metadata: dict[str, str], **tensors: tuple[str, list[int], bytes]) -> bytes:
    header: dict[str, object] = {"__metadata__": metadata}
    data = b""
    for name, (kind, shape, content) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def test_tensors_without_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    for tensor in (("F4", [4, 2], b"1234"), ("F32", [10**11, 0], b"")):
        path.write_bytes(safetensors_of({}, a=tensor))
        with pytest.raises(InputError, match=r"cannot be read as \.safetensors"):
            read_container(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "[1"])
def test_metadata_no_parser_takes_is_a_text(text: str, tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(safetensors_of({"metadata": text}, a=("F32", [1], b"\0" * 4)))
    assert read_container(path)[1] == {"metadata": text}
    np.savez(tmp_path / "f.npz", metadata=np.array(text), **make_arrays())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="metadata is str"):
        load_features(tmp_path / "f.npz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_no_file_can_have(suffix: str, tmp_path: Path) -> None:
    for name in ("a" * 300, "/".join(["a" * 200] * 30), "a\0b", "a\ud800"):
        with pytest.raises(InputError, match="no such file"):
            read_container(tmp_path / (name + suffix))
        with pytest.raises(InputError, match="cannot be written"):
            write_container(tmp_path / (name + suffix), MIXED, {})


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_that_memory_does_not_hold_is_not_called_torn(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of shards set aside what is torn: a whole shard would be missing from the result."""

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    path = tmp_path / f"a{suffix}"
    write_container(path, make_arrays(), {})
    monkeypatch.setattr(np.lib.format, "read_array", full)
    monkeypatch.setattr(containers, "_mapped_tensor", full)
    with pytest.raises(MemoryError):
        read_container(path)
