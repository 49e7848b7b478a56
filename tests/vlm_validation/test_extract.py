"""Encoders and extraction: every kind of checkpoint, resumed bytes, shards that are torn or foreign, and bad checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import extract as job
from crossmodal.vlm_validation.datasets import Pairs, open_pairs
from crossmodal.vlm_validation.embedded import default_features
from crossmodal.vlm_validation.embedded_models import model_folder
from crossmodal.vlm_validation.encoders import Encoder, load_encoder
from crossmodal.vlm_validation.extract import extract_features
from crossmodal.vlm_validation.features import Features, load_features

from .fake_data import fake_folder, picture, tiny_checkpoint

transformers = pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so no encoder was run")

KINDS = ("clip", "siglip", "vilt")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: tiny_checkpoint(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("embedded:high")


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    return open_pairs(str(fake_folder(tmp_path / "data", 14, 2)))


def silent(_: str) -> None:
    pass


def test_shipped_features_are_reproduced(encoder: Encoder, tmp_path: Path) -> None:
    shipped = default_features("high")
    extract_features(encoder, open_pairs("embedded:high"), tmp_path / "f.npz", say=silent)
    found = load_features(tmp_path / "f.npz")
    for name in ("image", "text", "prompts"):
        np.testing.assert_allclose(getattr(found, name), getattr(shipped, name), atol=2e-6)
    assert found.captions == shipped.captions
    assert found.metadata["checkpoint"] == shipped.metadata["checkpoint"]
    assert found.metadata["normalised"] is True
    assert found.notes == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.npz"]


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_model(kind: str, folders: dict[str, Path], pairs: Pairs) -> None:
    """Against `transformers` called by hand: its own class, its own processor, no batch."""
    found = load_encoder(str(folders[kind]))
    images, captions = (
        [pairs.load(i) for i in range(5)],
        ["a star", "two red cups over tiles", "a bus", "star", "a moon"],
    )
    u, v = found.image_features(images), found.text_features(captions)
    assert (u.dtype, u.shape, v.shape) == (np.float32, (5, found.dimension), (5, found.dimension))
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1, atol=1e-6)
    title = {"clip": "CLIPModel", "siglip": "SiglipModel", "vilt": "ViltModel"}[kind]
    model = getattr(transformers, title).from_pretrained(folders[kind]).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        padding = {"padding": "max_length", "max_length": 20} if kind == "siglip" else {}
        words = dict(tokenizer([caption], return_tensors="pt", **padding))
        pixels = dict(processor(images=[image], return_tensors="pt"))
        with torch.no_grad():
            if kind == "vilt":
                a, b = (vilt_alone(model, words, pixels, tokenizer, keep) for keep in ("image", "text"))
            else:
                if kind == "siglip":
                    del words["attention_mask"]
                a, b = model.get_image_features(**pixels).pooler_output, model.get_text_features(**words).pooler_output
        for ours, theirs in ((u[k], a[0]), (v[k], b[0])):
            np.testing.assert_allclose(ours, theirs / theirs.norm(), atol=2e-6)


def vilt_alone(model: Any, words: dict, pixels: dict, tokenizer: Any, keep: str) -> torch.Tensor:
    """ViLT's own forward with the other modality masked out; the class token is the first word."""
    if keep == "image":
        words = dict(tokenizer([""], return_tensors="pt"))
        words["attention_mask"] = torch.zeros_like(words["attention_mask"])
        words["attention_mask"][:, 0] = 1
        return model(**words, **pixels).pooler_output
    core = model  # every picture token hidden: run the encoder on text embeddings alone
    x = core.embeddings.text_embeddings(input_ids=words["input_ids"], token_type_ids=words.get("token_type_ids"))
    x = x + core.embeddings.token_type_embeddings.weight[0]
    return core.pooler(core.layernorm(core.encoder(x).last_hidden_state))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_goes_behind_the_words(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """A tokenizer may ask for padding in front; mutant: it gets its way, and positions are those of other words."""
    shutil.copytree(folders[kind], tmp_path / kind)
    _edit(tmp_path / kind / "tokenizer_config.json", padding_side="left")
    captions = ["a star", "two red cups over tiles"]
    left, right = (load_encoder(str(folder)) for folder in (tmp_path / kind, folders[kind]))
    assert (left.tokenizer.padding_side, right.tokenizer.padding_side) == ("left", "right")
    np.testing.assert_array_equal(left.text_features(captions), right.text_features(captions))


def test_a_picture_nothing_is_left_of_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    """ViLT keeps the shape of a picture: 1 x 300 pixels become 0 x 48."""
    root = fake_folder(tmp_path / "data", 6, 2)
    picture(root / "pictures" / "5.png", 5, (1, 300))
    with pytest.raises(InputError, match=r"pictures/5\.png: 1 x 300 pixels, which ViltImageProcessor"):
        extract_features(
            load_encoder(str(folders["vilt"])), open_pairs(str(root)), tmp_path / "f.npz", batch=2, say=silent
        )
    assert len(list((tmp_path / "f.npz.parts").glob("*.npz"))) == 2, "what was computed before is kept"
    found = load_encoder(str(folders["clip"]))
    assert found.image_features([open_pairs(str(root)).load(5)]).shape == (1, 24)


def test_tokens_the_model_does_not_have(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["clip"], tmp_path / "clip")
    path = tmp_path / "clip" / "tokenizer.json"
    text = json.loads(path.read_text())
    text["model"]["vocab"]["star"] = 5000
    path.write_text(json.dumps(text))
    found = load_encoder(str(tmp_path / "clip"))
    with pytest.raises(InputError, match="gives the token 5000, and the model has"):
        found.text_features(["a star"])
    assert found.text_features(["a bus"]).shape == (1, 24)


def test_weights_in_several_files(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["clip"], tmp_path / "clip")
    (tmp_path / "clip" / "model.safetensors").unlink()
    transformers.CLIPModel.from_pretrained(folders["clip"]).save_pretrained(tmp_path / "clip", max_shard_size="60KB")
    parts = sorted((tmp_path / "clip").glob("model-*.safetensors"))
    assert len(parts) > 1
    one, several = (load_encoder(str(folder)) for folder in (folders["clip"], tmp_path / "clip"))
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, several.model.state_dict()[name]), name
    before = several.metadata["checkpoint"]
    data = bytearray(parts[1].read_bytes())
    data[-1] ^= 1
    parts[1].write_bytes(bytes(data))
    assert load_encoder(str(tmp_path / "clip")).metadata["checkpoint"] != before, "the hash sees every file"
    parts[1].unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_encoder(str(tmp_path / "clip"))


def test_metadata_say_what_was_done(folders: dict[str, Path]) -> None:
    import hashlib

    for kind in KINDS:
        found = load_encoder(str(folders[kind])).metadata
        weights = (folders[kind] / "model.safetensors").read_bytes()
        assert found["checkpoint"] == "sha256:" + hashlib.sha256(weights).hexdigest()
        assert found["preprocessing"]["image_mean"]
        assert found["encoder"] == kind
        assert json.loads(json.dumps(found)) == found
    assert "one modality alone" in load_encoder(str(folders["vilt"])).metadata["features"]


def test_half_precision_weights_are_widened(folders: dict[str, Path], tmp_path: Path) -> None:
    model = transformers.CLIPModel.from_pretrained(folders["clip"]).half()
    for part in (transformers.AutoTokenizer, transformers.AutoImageProcessor):
        part.from_pretrained(folders["clip"]).save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert {p.dtype for p in load_encoder(str(tmp_path)).model.parameters()} == {torch.float32}


def test_a_caption_that_just_fits_is_whole(encoder: Encoder) -> None:
    words = encoder.longest - len(encoder.tokenizer("")["input_ids"])
    assert encoder.too_long(["star " * words]) == 0
    assert encoder.too_long(["star " * words, "star " * (words + 1)]) == 1


def test_long_captions_are_cut_and_counted(encoder: Encoder, pairs: Pairs, tmp_path: Path) -> None:
    long = replace(pairs, captions=["star " * 30, *pairs.captions[1:]])
    done = extract_features(encoder, long, tmp_path / "f.npz", batch=5, say=silent)
    assert done.notes == ("cut to the tokens that the encoder takes: 1 caption",)
    assert load_features(tmp_path / "f.npz").metadata["captions_cut"] == 1


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("broken", [0, 2, 4, 5])  # 5: all are there, and their merge is missing
def test_resumed_bytes_are_undisturbed_bytes(encoder: Encoder, pairs: Pairs, tmp_path: Path, broken: int, suffix: str,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    whole, torn = tmp_path / f"whole{suffix}", tmp_path / f"torn{suffix}"
    extract_features(encoder, pairs, whole, batch=3, say=silent)
    right, calls = Encoder.text_features, []

    def fails(self: Encoder, captions: Any) -> np.ndarray:
        calls.append(len(captions))
        if len(calls) == broken + 1:
            raise KeyboardInterrupt
        return right(self, captions)

    monkeypatch.setattr(Encoder, "text_features", fails)
    with pytest.raises(KeyboardInterrupt):
        extract_features(encoder, pairs, torn, batch=3, say=silent)
    assert not torn.exists()
    assert len(list((tmp_path / f"torn{suffix}.parts").glob("*.npz"))) == broken
    calls.clear()
    calls.extend([0] * 99)
    done = extract_features(encoder, pairs, torn, batch=3, say=silent)
    assert (done.computed, done.kept) == (5 - broken, broken)
    assert len(calls) == 99 + 5 - broken + 1, "no batch twice; the last call is that of the class prompts"
    assert torn.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f"torn{suffix}.parts").exists()
    again = extract_features(encoder, pairs, torn, batch=3, say=silent)
    assert "it was there already" in again.notes


def interrupted(encoder: Encoder, pairs: Pairs, output: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Shards of a run that was killed just before merging."""
    with monkeypatch.context() as patch:
        patch.setattr(job, "_merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            extract_features(encoder, pairs, output, batch=3, say=silent)
    return sorted(output.with_name(output.name + ".parts").glob("*.npz"))


def test_torn_and_foreign_shards_are_set_aside(
    encoder: Encoder, pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_features(encoder, pairs, tmp_path / "whole.npz", batch=3, say=silent)
    output, said = tmp_path / "f.npz", []
    shards = interrupted(encoder, pairs, output, monkeypatch)
    data = shards[0].read_bytes()
    shards[0].write_bytes(data[: len(data) // 2])
    os.replace(shards[1], shards[2])  # a shard under another one's name: whole, but not what its name says
    (shards[0].parent / "000077-0123456789abcdef.npz").write_bytes(data)
    flipped = bytearray(shards[3].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    shards[3].write_bytes(bytes(flipped))
    (shards[0].parent / ".000001-x.npz.abc.tmp").write_bytes(b"left by a killed writer")
    done = extract_features(encoder, pairs, output, batch=3, say=said.append)
    assert (done.computed, done.kept) == (4, 1)
    text = "\n".join(said)
    assert text.count("set aside") == 5, "four shards, and that the folder is kept"
    assert "another model" in text
    assert "not the shard its name says" in text
    assert output.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert all(path.name.endswith(".aside") for path in shards[0].parent.iterdir())


@pytest.mark.parametrize("change", ["picture", "caption", "model", "batch"])
def test_what_a_shard_depends_on(
    change: str, encoder: Encoder, pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutants of the hash: a key without one of these would serve old features for new data."""
    interrupted(encoder, pairs, tmp_path / "f.npz", monkeypatch)
    batch, kept = 3, 4
    if change == "picture":
        picture(tmp_path / "data" / "pictures" / "13.png", 999, (31, 31))
    elif change == "caption":
        path = tmp_path / "data" / "captions.csv"
        path.write_text(path.read_text().replace("number", "numeral", 1))
    elif change == "model":
        encoder, kept = load_encoder("embedded:low"), 0
    else:
        batch, kept = 4, 0
    pairs = open_pairs(str(tmp_path / "data"))
    done = extract_features(encoder, pairs, tmp_path / "f.npz", batch=batch, say=silent)
    assert done.kept == kept
    extract_features(encoder, pairs, tmp_path / "again.npz", batch=batch, say=silent)
    assert (tmp_path / "f.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


@pytest.mark.parametrize("change", ["picture", "picture of another size", "template", "tokenizer", "nothing"])
def test_what_a_finished_file_depends_on(change: str, folders: dict[str, Path], pairs: Pairs, tmp_path: Path) -> None:
    """Mutants of the configuration: old features served for new pictures, prompts or words."""
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    output = tmp_path / "f.npz"
    extract_features(load_encoder(str(folder)), pairs, output, batch=3, say=silent)
    before = output.read_bytes()
    file = tmp_path / "data" / "pictures" / "0.png"
    if change == "picture":
        picture(file, 999)
    elif change == "picture of another size":  # unpacked from an archive, with the time it had there
        picture(file, 999, (31, 31))
        os.utime(file, (1, 1))
        pairs = open_pairs(str(tmp_path / "data"))
    elif change == "template":
        pairs = replace(pairs, template="a drawing of a {}.")
    elif change == "tokenizer":
        words = json.loads((folder / "tokenizer.json").read_text())
        vocabulary = words["model"]["vocab"]
        vocabulary["red"], vocabulary["star"] = vocabulary["star"], vocabulary["red"]
        (folder / "tokenizer.json").write_text(json.dumps(words))
    encoder = load_encoder(str(folder))
    if change == "nothing":
        assert "it was there already" in extract_features(encoder, pairs, output, batch=3, say=silent).notes
        return
    word = "older than some of the pictures" if change == "picture" else "another configuration"
    with pytest.raises(InputError, match=rf"{word}(.|\n)*pictures that were changed"):
        extract_features(encoder, pairs, output, batch=3, say=silent)
    assert output.read_bytes() == before, "it is the user who says --overwrite"
    extract_features(encoder, pairs, output, batch=3, overwrite=True, say=silent)
    assert output.read_bytes() != before


def test_shards_left_behind_the_output_are_removed(
    encoder: Encoder, pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the features file and the removal of the shards."""
    output = tmp_path / "f.npz"
    with monkeypatch.context() as patch:
        patch.setattr(job._Parts, "clean", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            extract_features(encoder, pairs, output, batch=3, say=silent)
    assert output.is_file()
    assert any((tmp_path / "f.npz.parts").iterdir())
    assert "it was there already" in extract_features(encoder, pairs, output, batch=3, say=silent).notes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "f.npz"]


def test_a_picture_of_the_same_size_is_another_one(encoder: Encoder, pairs: Pairs, tmp_path: Path) -> None:
    """Limited pairs too; mutants: a stamp of name and size alone, or of the row number before the limit."""
    half = pairs.limited(3)
    before = [half.stamp(i) for i in range(6)]
    assert before == [pairs.stamp(i) for i in range(6)], "the first three of each of two environments, by turns"
    late = replace(pairs, environment=np.array([0, 0, 0, 0] + [1, 0] * 5)).limited(2)
    assert [late.stamp(i).split()[0] for i in range(4)] == ["0.png", "1.png", "4.png", "6.png"]
    path = tmp_path / "data" / "pictures" / "5.png"
    os.utime(path, ns=(0, 123_456_789))
    assert [half.stamp(i) == old for i, old in enumerate(before)] == [True] * 5 + [False]


def test_rows_keep_their_places(encoder: Encoder, pairs: Pairs, tmp_path: Path) -> None:
    """Mutant: batches merged in another order, or the last, shorter one at a wrong place."""
    extract_features(encoder, pairs, tmp_path / "f.npz", batch=4, say=silent)
    found = load_features(tmp_path / "f.npz")
    alone = encoder.image_features([pairs.load(13)])
    np.testing.assert_allclose(found.image[13], alone[0], atol=2e-6)
    assert found.ids is not None
    assert found.ids[13] == "pictures/13.png"
    assert len({row.tobytes() for row in found.image}) == 14


def test_patches_that_are_drawn_are_drawn_alike(folders: dict[str, Path], pairs: Pairs, tmp_path: Path) -> None:
    """A ViLT that takes 5 of 16 patches draws them; mutant: extraction without a seed."""
    shutil.copytree(folders["vilt"], tmp_path / "vilt")
    _config(tmp_path / "vilt", max_image_length=5)
    found = load_encoder(str(tmp_path / "vilt"))
    for name in ("a", "b"):
        extract_features(found, pairs, tmp_path / f"{name}.npz", batch=3, say=silent)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    images = [pairs.load(0)]
    assert not np.array_equal(found.image_features(images), found.image_features(images)), "the check can fail"


def test_a_corrupt_picture_loses_nothing(encoder: Encoder, pairs: Pairs, tmp_path: Path) -> None:
    file = tmp_path / "data" / "pictures" / "10.png"
    good = file.read_bytes()
    file.write_bytes(good[:100])
    with pytest.raises(InputError, match=r"10\.png: not readable as a picture"):
        extract_features(encoder, pairs, tmp_path / "f.npz", batch=3, say=silent)
    assert len(list((tmp_path / "f.npz.parts").glob("*.npz"))) == 3
    file.write_bytes(good)
    assert extract_features(encoder, pairs, tmp_path / "f.npz", batch=3, say=silent).kept == 3


def test_outputs_in_the_way(encoder: Encoder, pairs: Pairs, tmp_path: Path) -> None:
    (tmp_path / "notes.npz").write_text("mine")
    for name, word in (("notes.npz", "something else"), ("f.csv", "suffix"), ("no/where.npz", "no folder")):
        with pytest.raises(InputError, match=word):
            extract_features(encoder, pairs, tmp_path / name, say=silent)
    extract_features(encoder, pairs, tmp_path / "f.npz", say=silent)
    with pytest.raises(InputError, match="another configuration"):
        extract_features(encoder, pairs.limited(3), tmp_path / "f.npz", say=silent)
    with pytest.raises(InputError, match="another configuration"):
        extract_features(encoder, pairs, tmp_path / "f.npz", batch=5, say=silent)
    extract_features(encoder, pairs.limited(3), tmp_path / "f.npz", overwrite=True, say=silent)
    assert len(load_features(tmp_path / "f.npz")) == 6
    with pytest.raises(InputError, match="batch 0"):
        extract_features(encoder, pairs, tmp_path / "g.npz", batch=0, say=silent)


def test_memory_of_the_merge_does_not_hold_the_arrays(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes to `save_features` lies in files, so the system can take the memory back."""
    seen: list[Any] = []
    monkeypatch.setattr(job, "save_features", lambda path, features: seen.append(features.image))
    extract_features(encoder, open_pairs("embedded:high").limited(4), tmp_path / "f.npz", say=silent)
    base = seen[0]
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_a_second_run_does_not_empty_the_rows_of_the_first(
    encoder: Encoder, pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command twice at once: the second is killed in its merge while the first writes its output."""
    extract_features(encoder, pairs, tmp_path / "whole.npz", batch=3, say=silent)
    output, read, save, reads = tmp_path / "f.npz", job._Parts.read, job.save_features, []

    def killed(parts: Any, k: int) -> Any:
        reads.append(k)
        if len(reads) > 5 + 1:  # all of them to see what is there, and one to merge
            raise KeyboardInterrupt
        return read(parts, k)

    def slow(path: Path, features: Features) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(job._Parts, "read", killed)
            with pytest.raises(KeyboardInterrupt):
                extract_features(encoder, pairs, output, batch=3, say=silent)
        save(path, features)

    monkeypatch.setattr(job, "save_features", slow)
    extract_features(encoder, pairs, output, batch=3, say=silent)
    assert len(reads) == 7
    assert output.read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.slow
def test_a_disk_without_room_for_the_merge_is_said(tmp_path: Path) -> None:
    """153 kB of shards fit into 200 kB and the 154 kB of their rows do not."""
    small = f"mount -t tmpfs -o size=200k none {tmp_path} && exec"
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*alone, f"{small} true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    command = f"{sys.executable} -m crossmodal.cli extract embedded:high embedded:high --limit 60 -o {tmp_path}/f.npz"
    done = subprocess.run([*alone, f"{small} {command}"], capture_output=True, text=True)
    assert done.returncode == 2, done
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_checking_features_takes_less_than_a_copy(tmp_path: Path) -> None:
    """Mutant: widening all rows to float64 at once takes four times their size."""
    import tracemalloc

    shape = (40_000, 128)
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", dtype=np.float32, shape=shape)
    rows[:] = 128**-0.5
    ids = np.arange(len(rows)) % 2
    tracemalloc.start()
    Features(image=rows, text=rows, environment=ids, label=ids)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.nbytes


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one(pairs: Pairs, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from click.testing import CliRunner

    from crossmodal.cli import main

    command = ["extract", "embedded:high", str(tmp_path / "data"), "--batch", "3", "--device", "cpu", "--output"]
    alone = CliRunner().invoke(main, [*command, str(tmp_path / "one.npz")])
    assert alone.exit_code == 0, alone.output
    two = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "crossmodal.cli"]
    done = subprocess.run(
        [sys.executable, "-m", *two, *command, str(tmp_path / "two.npz")], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [out.count("14 pairs") for out in (alone.stdout, done.stdout)] == [1, 1]
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def _pickle_only(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _config(folder: Path, **changes: Any) -> None:
    _edit(folder / "config.json", **changes)


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _without(folder: Path, prefix: str) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    kept = {name: x for name, x in state.items() if not name.startswith(prefix)}
    assert len(kept) < len(state)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _more(folder: Path, *names: str) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors") | {name: torch.ones(2) for name in names}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _part(folder: Path, part: str, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    _config(folder, **{part: {**config[part], **changes}})


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


BAD: list[tuple[Callable[[Path], object], str]] = [
    (_pickle_only, r"only pickled weights \(pytorch_model.bin\)"),
    (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
    (lambda folder: _truncate(folder / "model.safetensors"), "cannot be read"),
    (
        lambda folder: _config(folder, model_type="bert", architectures=["BertModel"]),
        "'bert', architectures .'BertModel'",
    ),
    (lambda folder: _config(folder, projection_dim=25), "cannot be loaded"),
    (lambda folder: _without(folder, "text_projection"), "missing, 1 weight of CLIPModel, the first text_projection"),
    (
        lambda folder: _part(folder, "vision_config", num_hidden_layers=1),
        "no place for 16 weights.*vision_model.encoder.layers.1",
    ),
    (
        lambda folder: _more(folder, "prompt_learner.ctx"),
        "no place for 1 weight of the file, the first prompt_learner.ctx",
    ),
    (lambda folder: _more(folder, "visual_projection.lora_A.weight"), "no place for 1 weight"),
    (lambda folder: (folder / "adapter_config.json").write_text("{}"), r"adapter of peft(.|\n)*merge_and_unload"),
    (
        lambda folder: _part(folder, "text_config", eos_token_id=97),
        r"tokenizer makes .* of 'a photo'(.|\n)*the end token 97",
    ),
    (lambda folder: _edit(folder / "tokenizer.json", post_processor=None), "the end token 3"),
    (
        lambda folder: _config(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
        "cannot be loaded",
    ),
    (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    (lambda folder: (folder / "config.json").write_text("{"), "not readable as JSON"),
    (lambda folder: (folder / "config.json").write_text("[" * 100_000), "not readable as JSON"),
    (lambda folder: (folder / "config.json").write_text("[]"), "list"),
    (lambda folder: (folder / "preprocessor_config.json").unlink(), "no image processor"),
    (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "image processor cannot be loaded"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
    (lambda folder: _edit(folder / "tokenizer_config.json", pad_token=None), "tokenizer has no padding token"),
    (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer cannot be loaded"),
]


@pytest.mark.parametrize(("damage", "word"), BAD)
def test_bad_checkpoints_are_explained(
    damage: Callable[[Path], object], word: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(folders["clip"], tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(InputError, match=word):
        load_encoder(str(tmp_path / "model"))


def test_weights_that_no_feature_depends_on_are_left_out(
    folders: dict[str, Path], pairs: Pairs, tmp_path: Path
) -> None:
    """A classifier beside CLIP, positions that older versions stored."""
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    _more(folder, "classifier.weight", "vision_model.embeddings.position_ids")
    images, encoders = [pairs.load(0)], [load_encoder(str(x)) for x in (folder, folders["clip"])]
    np.testing.assert_array_equal(*(encoder.image_features(images) for encoder in encoders))
    # what makes them the same on every processor: weights where torch puts its own, not where a file's header ends
    assert {p.data_ptr() % 64 for encoder in encoders for p in encoder.model.parameters()} == {0}


def test_a_tokenizer_without_class_token(folders: dict[str, Path], tmp_path: Path) -> None:
    """ViLT would pool the first word in its place."""
    folder = shutil.copytree(folders["vilt"], tmp_path / "vilt")
    _edit(folder / "tokenizer.json", post_processor=None)
    with pytest.raises(InputError, match=r"of 'a photo'(.|\n)*one class token in front of every text"):
        load_encoder(str(folder))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("command", ["extract", "coalitions"])
def test_the_image_processor_of_another_checkpoint(
    kind: str, command: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from crossmodal.cli import main

    folder = shutil.copytree(folders[kind], tmp_path / kind)
    side = {"height": 48, "width": 48}
    _edit(folder / "preprocessor_config.json", size=side, crop_size=side)
    output = ["--output", str(tmp_path / "f.npz")] if command == "extract" else []
    done = CliRunner().invoke(main, [command, str(folder), str(fake_folder(tmp_path / "data")), *output])
    assert done.exit_code == 2, done.output
    assert "gives pictures of 48 x 48 pixels, and the model takes 32 x 32" in done.stderr


def test_a_processor_that_does_not_crop(folders: dict[str, Path], tmp_path: Path) -> None:
    """Pictures of different shapes do not make a batch; which one the model cannot take is said of one alone."""
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    _edit(folder / "preprocessor_config.json", do_center_crop=False)
    found, shapes = load_encoder(str(folder)), ((40, 40), (80, 40))
    from PIL import Image

    images = [Image.new("RGB", shape) for shape in shapes]
    for some in (images, images[1:]):
        with pytest.raises(InputError, match=r"32 x 64 pixels, and the model takes 32 x 32"):
            found.pixels(some)
    assert found.pixels(images[:1])["pixel_values"].shape == (1, 3, 32, 32)


def test_a_real_bert_is_refused_by_name(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="BertModel"):
        load_encoder(str(tmp_path))


def test_names_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def offline(*_: Any, **__: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    for name, word in (
        ("embedded:middle", "middle"), (str(tmp_path / "none"), "no such folder"), ("./none", "no such folder"),
        ("someone/clip@main", "neither a folder here nor to be had"), ("a/b/c", "no such folder"),
        ("./" + "a" * 300, "no such folder"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            load_encoder(name)
    for device in ("abacus", "meta", "meta:0"):  # torch knows the latter, which hold no numbers
        with pytest.raises(InputError, match="device"):
            load_encoder("embedded:high", device=device)


def test_only_harmless_files_are_downloaded(monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(folders["siglip"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_encoder("someone/siglip@refs/pr/3").metadata["encoder"] == "someone/siglip@refs/pr/3"
    assert (asked["name"], asked["revision"]) == ("someone/siglip", "refs/pr/3")
    assert not [pattern for pattern in asked["allow_patterns"] if pattern.endswith((".bin", ".py", "*"))]


def test_shipped_folders_are_known_by_path() -> None:
    found = load_encoder(str(model_folder("fused", "low")))
    assert (found.kind, found.processor) == ("vilt", None)


def test_heads_of_fused_encoders(folders: dict[str, Path], tmp_path: Path) -> None:
    assert type(load_encoder(str(folders["vilt"]), head=True).model).__name__ == "ViltForQuestionAnswering"
    assert type(load_encoder("embedded:fused_high", head=True).model).__name__ == "ViltForImageAndTextRetrieval"
    tiny_checkpoint(tmp_path / "bare", "vilt")
    _config(tmp_path / "bare", architectures=["ViltForMaskedLM"])
    with pytest.raises(InputError, match="a ViLT with a head"):
        load_encoder(str(tmp_path / "bare"), head=True)


def test_an_interrupted_command_says_how_to_go_on(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from crossmodal.cli import main

    right = Encoder.text_features

    def interrupted_later(self: Encoder, captions: Any) -> np.ndarray:
        if list((tmp_path / "f.npz.parts").glob("*.npz")):
            raise KeyboardInterrupt
        return right(self, captions)

    command = ["extract", "embedded:high", str(tmp_path / "data"), "--batch", "3", "--output", str(tmp_path / "f.npz")]
    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "text_features", interrupted_later)
        done = CliRunner().invoke(main, command)
    assert done.exit_code == 130
    assert done.stderr == "finished batches are kept; the same command goes on from them\ncrossmodal: interrupted\n"
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "of 5 batches, there from an earlier run: 1" in done.stdout


def test_what_can_be_refused_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from crossmodal.cli import main

    done = CliRunner().invoke(main, ["extract", "no/such/model", "no such data", "--output", str(tmp_path / "f.txt")])
    assert done.exit_code == 2
    assert "suffix .txt" in done.stderr


def test_coalitions_say_which_captions_were_cut(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from crossmodal.cli import main

    root = fake_folder(tmp_path / "data", 4, 2)
    path = root / "captions.csv"
    path.write_text(path.read_text().replace("a red star", "a red star" + " star" * 40, 1))
    done = CliRunner().invoke(main, ["coalitions", "embedded:high", str(root), "--baseline", "zero"])
    assert "note: cut to the tokens that the encoder takes: 1 caption" in done.stdout, done.output
