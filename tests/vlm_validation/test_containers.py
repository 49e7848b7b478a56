"""Containers against the libraries they are compatible with, and arrays that are mapped instead of read."""

from __future__ import annotations

import json
import struct
import tracemalloc
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
