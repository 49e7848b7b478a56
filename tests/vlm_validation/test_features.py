"""Every way a features file can be wrong has a test in which it is wrong, and one in which it is right."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import feature_checks
from crossmodal.vlm_validation.containers import write_container
from crossmodal.vlm_validation.features import Features, load_features, save_features
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from .conftest import make_arrays

Arrays = dict[str, Any]
both_formats = pytest.mark.parametrize("suffix", [".npz", ".safetensors"])


def write(path: Path, arrays: Arrays) -> Path:
    """As a user would: numpy.savez or safetensors, strings of the latter as JSON in its metadata."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        from safetensors.numpy import save_file

        texts = {k: v for k, v in arrays.items() if not (isinstance(v, np.ndarray) and v.dtype.kind != "U")}
        metadata = {k: json.dumps(v.tolist() if isinstance(v, np.ndarray) else v) for k, v in texts.items()}
        save_file({k: v for k, v in arrays.items() if k not in texts}, str(path), metadata=metadata or None)
    return path


def change(arrays: Arrays, **changes: Any) -> Arrays:
    return {k: v for k, v in (arrays | changes).items() if v is not None}


def with_value(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


# name -> (mutation of good arrays, words the message must hold besides the file's name)
WRONG: dict[str, tuple[Callable[[Arrays], Arrays], tuple[str, ...]]] = {
    "missing image": (lambda a: change(a, image=None), ("'image' missing", "text (18, 5)", "numpy.savez")),
    "missing two": (lambda a: change(a, text=None, label=None), ("'text', 'label' missing",)),
    "NaN": (lambda a: change(a, image=with_value(a["image"], (3, 1), np.nan)), ("image", "NaN", "1 of 18 rows (3)")),
    "infinity": (lambda a: change(a, text=with_value(a["text"], (4, 0), np.inf)), ("text", "infinity", "(4)")),
    "many NaN": (
        lambda a: change(a, image=with_value(a["image"], slice(2, 9), np.nan)),
        ("7 of 18 rows (2, 3, 4, 5, 6, ...)",),
    ),
    "zero vector": (lambda a: change(a, text=with_value(a["text"], 7, 0)), ("text", "zero vector", "1 of 18 rows (7)")),
    "unnormalised": (lambda a: change(a, image=3 * a["image"]), ("image", "norms from 3 to 3", "--normalise")),
    "one long row": (
        lambda a: change(a, text=with_value(a["text"], 2, 1.01 * a["text"][2])),
        ("text", "1 of 18 rows (2)", "--normalise"),
    ),
    "d differs": (lambda a: change(a, text=np.full((18, 4), 0.5, np.float32)), ("(18, 5)", "(18, 4)")),
    "N differs": (lambda a: change(a, text=a["text"][:-1]), ("N differs", "(17, 5)")),
    "one row": (lambda a: {k: v[:1] for k, v in a.items()}, ("shape (1, 5)", "N >= 2")),
    "token features": (lambda a: change(a, image=a["image"][:, None]), ("(18, 1, 5)", "pool")),
    "a vector": (lambda a: change(a, image=a["image"][0]), ("image has shape (5,)",)),
    "pixels": (lambda a: change(a, image=np.ones((18, 5), np.uint8)), ("image has type uint8", "float32")),
    "short labels": (lambda a: change(a, label=a["label"][:-2]), ("label has shape (16,)", "(18,)")),
    "one-hot labels": (lambda a: change(a, label=np.eye(6, dtype=int)[a["label"]]), ("(18, 6)", "multi-label")),
    "float environments": (lambda a: change(a, environment=a["environment"] * 1.0), ("environment", "float64")),
    "boolean labels": (lambda a: change(a, label=a["label"] > 2), ("label has type bool",)),
    "negative environment": (
        lambda a: change(a, environment=with_value(a["environment"], 5, -1)),
        ("environment is -1 in 1 of 18 rows (5)", "ids from 0 to 2147483647"),
    ),
    "negative label": (lambda a: change(a, label=with_value(a["label"], 0, -3)), ("label is -3",)),
    "huge label": (lambda a: change(a, label=with_value(a["label"], 0, 2**40)), ("label is 1099511627776",)),
    "label out of range": (
        lambda a: change(a, label_names=np.array(["a", "b", "c", "d", "e"])),
        ("label is 5", "out of range", "0 to 4"),
    ),
    "label without prompt": (lambda a: change(a, prompts=np.eye(5, dtype=np.float32)), ("label is 5", "prompts has 5")),
    "environment out of range": (
        lambda a: change(a, environment_names=np.array(["a", "b"])),
        ("environment is 2", "0 to 1"),
    ),
    "environment of one": (
        lambda a: change(a, environment=with_value(a["environment"], 4, 7)),
        ("environment 7", "one sample", "at least 2"),
    ),
    "environment of none": (
        lambda a: change(a, environment_names=np.array(["a", "b", "c", "d"])),
        ("environment 3 (d) has no sample",),
    ),
    "captions short": (lambda a: change(a, captions=np.array(["x"] * 17)), ("captions has 17 entries", "18")),
    "captions of numbers": (lambda a: change(a, captions=np.arange(18)), ("captions is not a list of strings",)),
    "ids that are measurements": (lambda a: change(a, ids=np.arange(18) / 2), ("ids has type float64", "integers or")),
    "ids short": (lambda a: change(a, ids=np.arange(17)), ("ids", "(17,)", "(18,)")),
    "prompts of another encoder": (lambda a: change(a, prompts=np.eye(6, dtype=np.float32)), ("(6, 6)", "(6, 5)")),
    "prompts of other classes": (
        lambda a: change(a, prompts=a["image"][:4], label_names=np.array(list("abcdef"))),
        ("prompts has shape (4, 5)", "(6, 5)"),
    ),
    "prompts unnormalised": (lambda a: change(a, prompts=2 * a["image"][:6]), ("prompts is not normalised",)),
    "metadata a list": (lambda a: change(a, metadata=np.array("[1, 2]")), ("metadata", "JSON object")),
}


@both_formats
@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_file_is_refused_with_the_reason(case: str, suffix: str, arrays: Arrays, tmp_path: Path) -> None:
    mutate, words = WRONG[case]
    path = write(tmp_path / f"mine{suffix}", mutate(arrays))
    with pytest.raises(InputError) as caught:
        load_features(path)
    message = str(caught.value)
    for word in (str(path), *words):
        assert word in message
    assert caught.value.expected
    assert caught.value.__cause__ is None


@both_formats
def test_right_file_is_read(suffix: str, arrays: Arrays, tmp_path: Path) -> None:
    features = load_features(write(tmp_path / f"mine{suffix}", arrays))
    assert features.environments == (0, 1, 2)
    assert features.notes == ()
    assert (len(features), features.dimension, features.classes) == (18, 5, 6)
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(features, name), array)


@both_formats
def test_names_of_environments_differ(suffix: str, arrays: Arrays, tmp_path: Path) -> None:
    """An audit tells its ledgers apart by them, and would add up those of two environments."""
    path = tmp_path / f"mine{suffix}"
    write_container(path, arrays, {"environment_names": ["a", "b", "a"]})
    refused(path, "environment_names has 'a' more than once")


@both_formats
@pytest.mark.parametrize("name", ["captions", "ids", "label_names", "environment_names"])
def test_text_that_no_terminal_can_show(name: str, suffix: str, arrays: Arrays, tmp_path: Path) -> None:
    count = {"environment_names": 3, "label_names": 6}.get(name, 18)
    path = tmp_path / f"mine{suffix}"
    write_container(path, arrays, {name: [f"a{k}" for k in range(count - 1)] + ["\ud800"]})
    refused(path, f"{name} holds '\\ud800' in entry {count - 1}", "unicode text")


def refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_features(path)
    for word in (path.name, *words):
        assert word in str(caught.value)
    assert caught.value.fix


@both_formats
def test_file_level_mistakes(suffix: str, arrays: Arrays, tmp_path: Path) -> None:
    refused(tmp_path / f"none{suffix}", "no such file")
    (tmp_path / f"dir{suffix}").mkdir()
    refused(tmp_path / f"dir{suffix}", "is a folder")
    whole = write(tmp_path / f"whole{suffix}", arrays).read_bytes()
    for name, content in {
        "empty": b"", "text": b"<html>not found</html>", "pickled": pickle.dumps(arrays),
        "torn": whole[: len(whole) // 2],
        "head": whole[:4], "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }.items():  # fmt: skip
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        refused(path)
    path = tmp_path / "mine.csv"
    path.write_bytes(whole)
    refused(path, "suffix .csv", ".npz or .safetensors")


def test_npz_says_what_the_file_really_is(arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(pickle.dumps(arrays))
    refused(path, "a pickle", "savez")
    with open(path, "wb") as handle:
        np.save(handle, arrays["image"])
    refused(path, "single array (.npy)")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path.write_bytes(buffer.getvalue()[:-30])
    refused(path, "torn", "cut short")
    torch = pytest.importorskip("torch")
    torch.save({"image": torch.ones(2, 2)}, path)
    refused(path, "torch.save", "runs code")


def test_flipped_byte_inside_an_array_is_noticed(arrays: Arrays, tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", arrays)
    raw = bytearray(path.read_bytes())
    at = raw.find(arrays["image"].tobytes()[:64])
    raw[at + 10] ^= 1
    path.write_bytes(raw)
    refused(path, "'image'", "CRC")


def test_pickle_inside_the_archive_never_runs(arrays: Arrays, tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (mark,))

    path = tmp_path / "evil.npz"
    np.savez(path, **change(arrays, image=np.array([Evil()], dtype=object)))
    refused(path, "'image'", "object array", "pickle")
    np.savez(path, **change(arrays, captions=np.array([["a"], ["b", "c"]], dtype=object)))
    refused(path, "'captions'", "object array")
    np.savez(path, **arrays, history=np.array([Evil()], dtype=object))
    assert "history" in load_features(path).notes[0]
    assert not mark.exists()


def test_normalise_is_reported_and_otherwise_refused(arrays: Arrays, tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", change(arrays, image=(7 * arrays["image"]), prompts=2 * arrays["text"][:6]))
    features = load_features(path, normalise=True)
    np.testing.assert_allclose(features.image, arrays["image"], atol=2 * np.finfo(np.float32).eps)
    assert any("image was renormalised" in note and "norms from 7 to 7" in note for note in features.notes)
    assert any("prompts was renormalised" in note for note in features.notes)
    zero = write(tmp_path / "b.npz", change(arrays, image=with_value(arrays["image"], 0, 0)))
    with pytest.raises(InputError, match="zero vector"):
        load_features(zero, normalise=True)


@both_formats
def test_a_selection_is_written_so_that_it_can_be_read(suffix: str, arrays: Arrays, tmp_path: Path) -> None:
    """The reader refuses a name without a row, which a selection leaves."""
    features = Features(**change(arrays, environment_names=np.array(list("abc"))))
    some = features.select(np.flatnonzero(features.environment != 1))
    save_features(tmp_path / f"some{suffix}", some)
    again = load_features(tmp_path / f"some{suffix}")
    assert again.environment_names == ("a", "c")
    assert [again.name(k) for k in again.environment] == [some.name(k) for k in some.environment]
    np.testing.assert_array_equal(again.image, some.image)


@pytest.mark.parametrize(("scale", "accepted"), [(1.0009, True), (0.9991, True), (1.0011, False), (0.9989, False)])
def test_norm_tolerance_is_as_documented(scale: float, accepted: bool, arrays: Arrays) -> None:
    changed = change(arrays, image=arrays["image"] * np.float32(scale))
    if accepted:
        np.testing.assert_array_equal(Features(**changed).image, changed["image"])
    else:
        with pytest.raises(InputError, match="not normalised"):
            Features(**changed)
    with pytest.raises(InputError, match="not normalised") as caught:
        Features(**change(arrays, image=arrays["image"] * np.float32(1.005)))
    assert not any("bfloat16" in cause for cause in caught.value.causes), "it rounds by 1/256 at most"


def test_half_precision_is_widened(arrays: Arrays, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    half = {k: v.astype(np.float16) if v.dtype.kind == "f" else v for k, v in arrays.items()}
    features = load_features(write(tmp_path / "half.npz", half))
    assert features.image.dtype == np.float32
    np.testing.assert_array_equal(features.image, half["image"].astype(np.float32))
    assert any(note.startswith("norms of image are 0.99") for note in features.notes), "reported, never mended"
    assert load_features(write(tmp_path / "full.npz", arrays)).notes == ()
    brain = torch.from_numpy(arrays["image"]).bfloat16()
    save_file({**{k: torch.from_numpy(v) for k, v in arrays.items()}, "image": brain}, str(tmp_path / "b.safetensors"))
    with pytest.raises(InputError, match="not normalised") as caught:
        load_features(tmp_path / "b.safetensors")
    assert caught.value.causes[0] == "unit vectors were rounded to bfloat16"
    loaded = load_features(tmp_path / "b.safetensors", normalise=True)
    assert loaded.image.dtype == np.float32
    exact = brain.double().numpy()
    np.testing.assert_allclose(loaded.image, exact / np.linalg.norm(exact, axis=1, keepdims=True), rtol=1e-6)


@both_formats
def test_double_precision_and_ids_of_64_bits_are_kept(suffix: str, arrays: Arrays, tmp_path: Path) -> None:
    """Hashes beyond int64 as text; and two pairs are enough."""
    double = np.repeat(np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0][:2], 9, axis=0)
    ids = np.arange(18, dtype=np.uint64) + np.uint64(2**64 - 18)
    features = load_features(write(tmp_path / f"d{suffix}", change(arrays, image=double, ids=ids)))
    assert (features.image.dtype, features.text.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(features.image, double)
    assert features.ids is not None
    assert [int(x) for x in features.ids.tolist()] == ids.tolist()
    assert len(load_features(write(tmp_path / f"two{suffix}", {k: v[:2] for k, v in arrays.items()}))) == 2


def test_what_is_allowed_is_remarked(arrays: Arrays, tmp_path: Path) -> None:
    gaps = load_features(write(tmp_path / "a.npz", change(arrays, environment=3 * arrays["environment"] + 1)))
    assert gaps.environments == (1, 4, 7)
    assert "not contiguous: 1, 4, 7" in gaps.notes[0]
    shared = load_features(write(tmp_path / "b.npz", change(arrays, label=with_value(arrays["label"], 17, 0))))
    assert "in more than one environment, 1 class: 0" in shared.notes[0]
    single = load_features(write(tmp_path / "c.npz", change(arrays, environment=0 * arrays["environment"])))
    assert "single environment" in single.notes[0]
    with pytest.raises(InputError, match="at least 2, because an order needs"):
        single.require_environments(2, "an order needs something to order")
    single.require_environments(1, "anything")
    more = load_features(write(tmp_path / "d.npz", change(arrays, boxes=np.ones((18, 4)))))
    assert "set aside: boxes" in more.notes[0]
    np.testing.assert_array_equal(more.extra["boxes"], np.ones((18, 4)))


def test_rows_and_names(arrays: Arrays) -> None:
    features = Features(**arrays, environment_names=("street", "kitchen", "garden"))
    np.testing.assert_array_equal(features.rows("kitchen"), np.arange(6, 12))
    np.testing.assert_array_equal(features.rows(2), np.arange(12, 18))
    for wrong in ("cellar", 3):
        with pytest.raises(InputError, match=r"one of 0 \(street\), 1 \(kitchen\), 2 \(garden\)"):
            features.rows(wrong)


@pytest.mark.parametrize("damage", ["nan", "zero", "long", "wrong norm"])
def test_rows_of_every_block_are_checked_and_mended(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutants: the last block left out, or mended by the norms of the first."""
    monkeypatch.setattr(feature_checks, "BLOCK", 4)
    arrays = make_arrays(environments=3)
    scale = np.linspace(0.5, 2, 18)[:, None].astype(np.float32)
    mended, _ = feature_checks.as_normalised(arrays["image"] * scale, "image", "here")
    np.testing.assert_allclose(mended, arrays["image"], atol=1e-6)
    factor = {"nan": np.nan, "zero": 0.0, "long": 1.002, "wrong norm": 0.998}[damage]
    arrays["image"][17] *= np.float32(factor)
    with pytest.raises(InputError, match=r"1 of 18 rows \(17\)"):
        Features(**arrays)


def test_split_is_disjoint_stratified_and_seeded(arrays: Arrays) -> None:
    features = Features(**arrays, ids=np.arange(18))
    first, second = features.split(2 / 3, seed=1)
    assert first.ids is not None
    assert second.ids is not None
    assert sorted([*first.ids, *second.ids]) == list(range(18))
    for part, each in ((first, 2), (second, 1)):
        assert np.bincount(part.label).tolist() == [each] * 6
    assert features.split(2 / 3, seed=1)[0].content_hash() == first.content_hash()
    assert len({features.split(2 / 3, seed=s)[0].content_hash() for s in range(5)}) > 1
    for fraction in (0, 1, -1):
        with pytest.raises(InputError, match="between 0 and 1"):
            features.split(fraction)
    with pytest.raises(InputError, match="at least 4"):
        features.select(np.array([0, 1, 2, 6, 7, 8, 9, 12, 13, 14, 15])).split()


@pytest.mark.parametrize("rows", [[0.5, 1.5], [True, False], [0, 10**6], [[0, 1]], ["0"], []])
def test_rows_that_are_none_of_these(arrays: Arrays, rows: list[object]) -> None:
    """Half a row was row 0, and a mask of other features selected the first of these."""
    with pytest.raises(InputError, match="expected: a mask of shape"):
        Features(**arrays).select(np.array(rows))


def test_select_keeps_rows_together(arrays: Arrays) -> None:
    features = Features(**arrays, captions=[f"c{i}" for i in range(18)], environment_names=("a", "b", "c"))
    part = features.select(features.environment == 1)
    assert part.captions == tuple(f"c{i}" for i in range(6, 12))
    np.testing.assert_array_equal(part.image, arrays["image"][6:12])
    assert part.environments == (1,)


def test_metadata_must_be_json(arrays: Arrays) -> None:
    with pytest.raises(InputError, match="metadata is not JSON"):
        Features(**arrays, metadata={"model": object()})


@pytest.mark.parametrize("make", ["gradient", "bfloat16", "ragged"])
@pytest.mark.parametrize("name", ["image", "environment", "ids"])
def test_what_is_no_array_is_explained(make: str, name: str, arrays: Arrays) -> None:
    """Features straight from a training loop; mutant: torch's own error, which names no field."""
    import torch

    wrong = {
        "gradient": torch.zeros(18, 4, requires_grad=True), "bfloat16": torch.zeros(18, 4).bfloat16(), "ragged": [[1, 2], [3]]
    }[make]  # fmt: skip
    with pytest.raises(InputError, match=rf"{name} of type \w+ is no array(.|\n)*{name}\.detach\(\)"):
        Features(**{**arrays, name: wrong})
    plain = torch.as_tensor(arrays["image"])
    np.testing.assert_array_equal(Features(**{**arrays, "image": plain}).image, arrays["image"])


@pytest.mark.parametrize("wrong", ["my.npz", None, {"image": 0}])
def test_something_else_than_features(wrong: Any, tmp_path: Path) -> None:
    import crossmodal as cm

    claim = cm.get_claim("S1")
    calls: tuple[Callable[[], Any], ...] = (
        lambda: cm.estimate_scores(wrong), lambda: cm.recommend_order(wrong), lambda: cm.measure(claim, wrong),
        lambda: cm.make_run([wrong, wrong]), lambda: cm.save_features(tmp_path / "f.npz", wrong),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(InputError, match=r"in place of features(.|\n)*load_features"):
            call()
    with pytest.raises(InputError, match=r"str in place of a claim(.|\n)*get_claim"):
        cm.measure("S1", wrong)  # type: ignore[arg-type]


word = st.text(max_size=6).map(lambda s: s.rstrip("\0"))  # nothing is filtered: hypothesis gives up where too much is
words = st.lists(word, min_size=6, max_size=6)


@st.composite
def any_features(draw: st.DrawFn) -> Features:
    d = draw(st.integers(1, 4))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    numbers = st.one_of(st.floats(2**-10, 1, width=32), st.floats(-1, -(2**-10), width=32))

    def vectors() -> np.ndarray:
        x = draw(hnp.arrays(np.float64, (6, d), elements=numbers))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)

    ids = draw(st.one_of(st.none(), hnp.arrays(np.int64, 6), words.map(lambda w: np.array(w, dtype=np.str_))))
    return Features(
        image=vectors(), text=vectors(), environment=np.array([0, 0, 1, 1, 2, 2]),
        label=draw(hnp.arrays(np.int32, 6, elements=st.integers(0, 5))),
        environment_names=draw(st.one_of(st.none(), st.lists(word, min_size=3, max_size=3, unique=True).map(tuple))),
        label_names=draw(st.one_of(st.none(), words)), captions=draw(st.one_of(st.none(), words)), ids=ids,
        prompts=draw(st.sampled_from([None, vectors()])),
        metadata=draw(st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5)))),
    )  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(features=any_features(), suffix=st.sampled_from([".npz", ".safetensors"]))
def test_round_trip(features: Features, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"round{suffix}"
    save_features(path, features)
    again = load_features(path)
    assert again.content_hash() == features.content_hash()
    assert (again.captions, again.label_names) == (features.captions, features.label_names)
    assert dict(again.metadata) == dict(features.metadata)
    first = path.read_bytes()
    save_features(path, again)
    assert path.read_bytes() == first


def last_row_turned(rows: np.ndarray) -> np.ndarray:
    return np.vstack([rows[:-1], -rows[-1:]])


def test_hash_sees_every_field(arrays: Arrays) -> None:
    base = dict(
        arrays, ids=np.arange(18), captions=["x"] * 18, prompts=arrays["text"][:6], metadata={"encoder": "a"},
        label_names=tuple("abcdef"), environment_names=tuple("abc"),
    )  # fmt: skip
    changed: dict[str, Any] = {
        "image": last_row_turned(arrays["image"]), "text": last_row_turned(arrays["text"]), "environment": arrays["environment"][::-1],
        "label": arrays["label"][::-1], "ids": np.arange(18) + 1, "captions": ["y"] + ["x"] * 17,
        "prompts": arrays["image"][:6], "metadata": {"encoder": "b"}, "label_names": tuple("abcdeg"),
        "environment_names": tuple("abd"),
    }  # fmt: skip
    hashes = {Features(**(base | {name: value})).content_hash() for name, value in changed.items()}
    assert len(hashes | {Features(**base).content_hash()}) == len(changed) + 1
    assert Features(**base, notes=("n",), source="elsewhere", extra={"e": np.ones(3)}).content_hash() == (
        Features(**base).content_hash()
    )
    assert Features(**(base | {"label": arrays["label"].astype(np.uint8)})).content_hash() == (
        Features(**base).content_hash()
    )


def test_extra_arrays_and_trailing_nul(arrays: Arrays, tmp_path: Path) -> None:
    features = Features(**arrays, extra={"boxes": np.ones((18, 4)), "tags": np.array(["a", "b"])})
    for suffix in (".npz", ".safetensors"):
        save_features(tmp_path / f"e{suffix}", features)
        again = load_features(tmp_path / f"e{suffix}")
        assert sorted(again.extra) == ["boxes", "tags"]
        assert again.extra["tags"].tolist() == ["a", "b"]
    nul = Features(**arrays, captions=["x\0"] * 18)
    with pytest.raises(InputError, match="NUL"):
        save_features(tmp_path / "nul.npz", nul)
    save_features(tmp_path / "nul.safetensors", nul)
    assert load_features(tmp_path / "nul.safetensors").captions == nul.captions


@both_formats
def test_bytes_do_not_depend_on_day_or_process(suffix: str, features: Features, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    code = (
        "import sys; from crossmodal.vlm_validation.features import *; from pathlib import Path\n"
        "f = load_features(sys.argv[1]); import dataclasses\n"
        "f = dataclasses.replace(f, captions=['x'] * len(f), metadata={'a': 1, 'encoder': 'e', 'b': 2}, ids=f.label)\n"
        "save_features(sys.argv[1], f)\n"
    )
    seen = set()
    for seed in ("1", "2", "3"):
        save_features(path, features)
        subprocess.run([sys.executable, "-c", code, path], check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        seen.add(path.read_bytes())
    assert len(seen) == 1
    if suffix == ".npz":
        assert {info.date_time[0] for info in zipfile.ZipFile(path).infolist()} == {1980}


@both_formats
@pytest.mark.parametrize("moment", ["os.fsync", "os.replace"])
def test_killed_writer_leaves_the_old_file_whole(suffix: str, moment: str, features: Features, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    save_features(path, features)
    before = path.read_bytes()
    code = (
        "import os, signal, sys, dataclasses; from crossmodal.vlm_validation.features import *\n"
        "f = load_features(sys.argv[1])\n"
        f"{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "save_features(sys.argv[1], dataclasses.replace(f, image=-f.image))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert load_features(path).content_hash() == features.content_hash()


def test_failed_write_leaves_nothing_behind(
    features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        save_features(tmp_path / "no" / "such" / "folder.npz", features)
    with pytest.raises(InputError, match=r"suffix \.pkl"):
        save_features(tmp_path / "a.pkl", features)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_features(tmp_path / "a.npz", features)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.realdata
def test_real_file(coco500: Features) -> None:
    assert len(coco500) == 497
    assert np.bincount(coco500.environment).tolist() == [93, 185, 43, 106, 70]
    assert coco500.environment_names is not None
    assert coco500.environment_names[1] == "vehicle"
    assert sorted(coco500.extra) == ["label80_names", "labels80"]
    assert "labels80" in coco500.notes[0]
