"""Data sets as pairs: layouts, labels, environments, and everything that can be wrong with the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.datasets import Pairs, coco, cub, open_pairs
from crossmodal.vlm_validation.datasets.lists import environment_list
from crossmodal.vlm_validation.embedded import default_features

from .conftest import REALDATA

pytest.importorskip("PIL", reason="the extra 'vlm' is not installed")
from .fake_data import SUPERCATEGORIES, fake_coco, fake_cub, fake_folder, picture


@pytest.mark.parametrize("world", ["high", "low"])
def test_embedded_pairs_are_those_of_the_shipped_features(world: str) -> None:
    pairs, shipped = open_pairs(f"embedded:{world}"), default_features(world)
    assert tuple(pairs.captions) == shipped.captions
    assert pairs.ids.tolist() == shipped.ids.tolist()
    for name in ("label", "environment"):
        np.testing.assert_array_equal(getattr(pairs, name), getattr(shipped, name))
    assert pairs.load(3).size == (32, 32)
    assert len(pairs.prompts()) == 15


def test_folder_keeps_order_quotes_and_names(tmp_path: Path) -> None:
    pairs = open_pairs(str(fake_folder(tmp_path)))
    assert pairs.captions[4] == 'a red star, "number" 4'
    assert pairs.environment.tolist() == [0, 1, 2] * 4
    assert pairs.environment_names == ("place 0", "place 1", "place 2")
    assert [pairs.label_names[c] for c in pairs.label[:4]] == ["class 00", "class 10", "class 20", "class 01"]
    assert pairs.ids[5] == "pictures/5.png"
    assert pairs.load(5).mode == "RGB"
    before = pairs.stamp(5)
    picture(tmp_path / "pictures" / "5.png", 99, (50, 50))
    assert pairs.stamp(5) != before
    lines = (tmp_path / "captions.csv").read_text().splitlines()[1:]
    rows = [
        dict(zip(("file", "environment"), (line.split(",")[0], line.rsplit(",", 1)[1]), strict=True)) for line in lines
    ]
    (tmp_path / "captions.csv").unlink()
    (tmp_path / "captions.jsonl").write_text(
        "".join(json.dumps({**r, "caption": "é", "label": 3}) + "\n" for r in rows)
    )
    again = open_pairs(str(tmp_path))
    assert again.label_names == ("3",)
    assert again.environment.tolist() == pairs.environment.tolist()
    assert again.notes == ("in more than one environment, 1 class: 3",)


def test_pictures_without_a_row_are_counted(tmp_path: Path) -> None:
    fake_folder(tmp_path)
    assert open_pairs(str(tmp_path)).notes == ()
    for name in ("100.PNG", "101.png", "notes.txt"):
        (tmp_path / "pictures" / name).write_bytes(b"")
    expected = "left out, without a row in captions.csv: 2 pictures"
    assert open_pairs(str(tmp_path)).notes == (expected,)


def test_limit_takes_the_first_of_every_environment(tmp_path: Path) -> None:
    pairs = open_pairs(str(fake_folder(tmp_path))).limited(2)
    assert pairs.ids.tolist() == [f"pictures/{k}.png" for k in range(6)]
    whole = open_pairs(str(tmp_path))
    part = open_pairs("embedded:high").limited(2)
    assert len(part) == 10
    assert part.load(9).tobytes() == open_pairs("embedded:high").load(int(part.ids[9].rsplit("/")[-1])).tobytes()
    with pytest.raises(InputError, match="at least 2"):
        whole.limited(1)


def test_coco_labels_captions_and_environments(tmp_path: Path) -> None:
    pairs = open_pairs(str(fake_coco(tmp_path)))
    assert pairs.ids.tolist() == sorted(range(989, 1001))
    assert pairs.captions[0] == "first of 989"
    # image 1000 - k belongs to supercategory k: two boxes of 20 outweigh one of 30; mutants below take them away
    assert pairs.label.tolist() == list(range(12))[::-1]
    groups = environment_list("coco")["environments"]
    for name, home in zip((pairs.label_names[c] for c in pairs.label), pairs.environment, strict=True):
        assert name in groups[home]["supercategories"]
    assert pairs.notes == ("left out, for they have no box outside crowds: 1 of 13 images",)
    assert pairs.metadata["caption"] == "the first by annotation id"
    assert sorted(SUPERCATEGORIES) == sorted(
        [
            "person",
            "vehicle",
            "outdoor",
            "animal",
            "accessory",
            "sports",
            "kitchen",
            "food",
            "furniture",
            "electronic",
            "appliance",
            "indoor",
        ]
    )


def test_mutants_of_the_coco_label_are_seen(tmp_path: Path) -> None:
    """Largest single box, most boxes, and crowds counted: each gives another label than the total area does."""
    fake_coco(tmp_path)
    found = json.loads((tmp_path / "annotations" / "instances_val2017.json").read_text())
    right = coco._labels(found, tuple(SUPERCATEGORIES))
    boxes = found["annotations"]
    largest = coco._labels({**found, "annotations": [b for k, b in enumerate(boxes) if k % 4]}, tuple(SUPERCATEGORIES))
    crowds = coco._labels({**found, "annotations": [{**b, "iscrowd": 0} for b in boxes]}, tuple(SUPERCATEGORIES))
    assert right[1000] == 0
    assert largest[1000] == crowds[1000] == 1
    tie = [{"image_id": 1, "category_id": c, "bbox": [0, 0, 2, 2]} for c in (14, 12, 13)]
    assert coco._labels({**found, "annotations": tie}, tuple(SUPERCATEGORIES)) == {1: 2}


def test_a_coco_image_with_a_blank_caption_is_left_out(tmp_path: Path) -> None:
    path = fake_coco(tmp_path) / "annotations" / "captions_val2017.json"
    assert "first of\\n 989 " in path.read_text()
    before = open_pairs(str(tmp_path))
    extra = {
        "images": [{"id": 5, "file_name": "000000000990.jpg"}],
        "annotations": [{"image_id": 5, "id": 2, "caption": " "}],
    }
    found = json.loads(path.read_text())
    path.write_text(json.dumps({key: found[key] + extra[key] for key in extra}))
    instances = path.with_name("instances_val2017.json")
    boxes = json.loads(instances.read_text())
    boxes["annotations"].append({"image_id": 5, "category_id": 10, "bbox": [0, 0, 5, 4], "iscrowd": 0})
    instances.write_text(json.dumps(boxes))
    after = open_pairs(str(tmp_path))
    assert after.captions == before.captions
    assert "left out, for they have no caption: 1 of 14 images" in after.notes


def test_several_coco_splits_need_a_name(tmp_path: Path) -> None:
    for split in ("val2017", "train2017"):
        fake_coco(tmp_path, split)
    assert open_pairs(str(tmp_path), split="train2017").name == "COCO train2017"
    for split in (None, "test2017"):
        with pytest.raises(InputError, match="one of train2017, val2017"):
            open_pairs(str(tmp_path), split=split)


def test_cub_templates_captions_and_splits(tmp_path: Path) -> None:
    pairs = open_pairs(str(fake_cub(tmp_path)))
    assert pairs.captions[0] == "a photo of a Black footed Albatross, a type of bird."
    assert pairs.label.tolist()[:4] == [0, 0, 1, 1]
    assert len(pairs.label_names) == 200
    names = [pairs.environment_names[k] for k in pairs.environment[::2]]
    assert names == ["water birds"] * 2 + ["other non-passerines", "water birds"] + ["wood warblers"] * 2 + [
        "other Passeroidea"] * 2 + ["other passerines"] * 2  # fmt: skip
    assert "share one text" in pairs.notes[0]
    with pytest.raises(InputError, match=r"other non-passerines \(0\)"):
        open_pairs(str(tmp_path), split="test")
    assert open_pairs(str(tmp_path), split="train").ids.tolist() == [k for k in range(1, 21) if (k - 1) % 4 < 2]
    lines = [{"image_id": k + 1, "caption": f"{word} {k}"} for word in ("first", "second") for k in range(20)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = open_pairs(str(tmp_path / "CUB_200_2011"), captions=tmp_path / "own.jsonl")
    assert own.captions[:2] == ["first 0", "first 1"]
    assert own.notes == ()
    (tmp_path / "own.jsonl").write_text(json.dumps(lines[0]))
    with pytest.raises(InputError, match="no caption for 19 of 20 images, the first 2"):
        open_pairs(str(tmp_path), captions=tmp_path / "own.jsonl")


def test_cub_list_has_every_class_once() -> None:
    listed = environment_list("cub")
    numbers = [number for group in listed["environments"] for number, _ in group["classes"]]
    assert sorted(numbers) == list(range(1, 201))
    assert [(g["name"], tuple(g["taxa"])) for g in listed["environments"]] == list(cub.TAXA.items())
    assert all(name.startswith(f"{number:03d}.") for g in listed["environments"] for number, name in g["classes"])


@pytest.mark.realdata
def test_cub_list_is_derived_from_the_tree(tmp_path: Path) -> None:
    tree = REALDATA / "cub200"
    if not tree.is_dir():
        pytest.skip(f"REAL DATA MISSING: {tree} is not there, so the list was not derived again")
    sources = [
        tree / f"cvjena_{name}.txt" for name in ("cub_wikispecies.parent-child", "classes_wikispecies-hierarchy")
    ]
    found = cub.taxonomic_environments(*sources, tree / "classes.txt")
    assert found == environment_list("cub")
    # mutant: one class hung under another order moves to another environment
    changed = tmp_path / "tree.txt"
    lines = sources[0].read_text().splitlines()
    changed.write_text("\n".join("247 1" if line == "220 1" else line for line in lines))
    assert cub.taxonomic_environments(changed, sources[1], tree / "classes.txt") != found


def test_taxonomy_of_a_small_tree(tmp_path: Path) -> None:
    """A class of Parulidae is a wood warbler although Passeroidea is above it too; a loop and an orphan are explained."""
    write = lambda name, text: (tmp_path / name).write_text(text) and tmp_path / name  # noqa: E731
    names = write("names", "1 a\n2 b\n3 Parulidae\n4 Passeroidea\n5 Passeriformes\n6 Aves\n7 Gaviiformes\n")
    classes = write("classes", "1 001.A\n2 002.B\n")
    tree = write("tree", "6 5\n5 4\n4 3\n3 1\n6 7\n7 2\n")
    found = {g["name"]: g["classes"] for g in cub.taxonomic_environments(tree, names, classes)["environments"]}
    assert found["wood warblers"] == [[1, "001.A"]]
    assert found["water birds"] == [[2, "002.B"]]
    for text, word in (
        ("6 5\n5 4\n4 3\n3 1\n3 2\n7 2\n", "one parent"),
        ("6 1\n7 2\n", "001.A"),
        ("2 1\n1 2\n", "001.A"),
        ("x", "line 1"),
    ):
        with pytest.raises(InputError, match=word):
            cub.taxonomic_environments(write("bad", text), names, classes)


Damage = Callable[[Path], object]
CSV = "captions.csv"


def _swap(name: str, old: str, new: str) -> Damage:
    def damage(root: Path) -> None:
        path = next(root.rglob(name))
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return damage


FOLDER: list[tuple[Damage, str]] = [
    (lambda root: (root / "pictures" / "3.png").unlink(), "missing, 1 of 12 pictures it names: 3.png"),
    (_swap(CSV, "pictures/3.png", "3" * 300), "missing, 1 of 12 pictures it names: 333"),
    (_swap(CSV, "file,caption", "path,caption"), "line 1: the header lacks file"),
    (_swap(CSV, '"a red star, ""number"" 0"', "a red star, number 0"), "line 2: more or fewer cells"),
    (_swap(CSV, '"a red star, ""number"" 2"', '"a red star'), "captions.csv, line"),
    (_swap(CSV, '"a red star, ""number"" 2"', '" "'), "the caption of pictures/2.png is empty"),
    (_swap(CSV, "place 1", "plcae 1"), r"too few pairs in plcae 1 \(1\)"),
    (_swap(CSV, ",class 10,", ",,"), "line 3: label is empty"),
    (_swap(CSV, ",place 1", ", "), "line 3: environment is empty"),
    (lambda root: (root / CSV).write_text("file,caption,label,environment\n"), "no pairs"),
    (lambda root: (root / CSV).write_bytes(b"file,caption\xff"), "not UTF-8"),
    (lambda root: (root / "captions.jsonl").write_text("{}"), "both of captions.csv"),
    (lambda root: (root / CSV).rename(root / "captions.jsonl"), "captions.jsonl, line 1: not JSON"),
    (lambda root: (root / CSV).unlink() or (root / "captions.jsonl").write_text("[1]"), "line 1: a JSON list"),
    (lambda root: (root / CSV).unlink() or (root / "captions.jsonl").write_text('{"file": "a"}'), "no caption, label"),
    (lambda root: (root / CSV).unlink() or (root / "captions.jsonl").write_text("[" * 100_000), "line 1: not JSON"),
    (lambda root: (root / CSV).unlink() or (root / "captions.jsonl").write_text('{"file": "a", "caption": "b", "label": false, "environment": 0}'), "label is false, no text"),
    (lambda root: (root / CSV).unlink() or (root / "captions.jsonl").write_text('{"file": "a", "caption": "b", "label": 1.5, "environment": 0}'), r"label is 1\.5, no text(.|\n)*another type"),
    (lambda root: (root / CSV).unlink() or (root / "captions.jsonl").write_text('{"file": "a", "caption": null, "label": 1, "environment": 0}'), "no caption"),
    (lambda root: (root / CSV).write_text((root / CSV).read_text().replace(",", ";")), r"lacks file, caption(.|\n)*semicolons"),
    (lambda root: (root / CSV).unlink(), "no known layout"),
]  # fmt: skip
COCO: list[tuple[Damage, str]] = [
    (lambda root: next((root / "val2017").glob("*990.jpg")).unlink(), "1 of 12 pictures"),
    (_swap("captions_val2017.json", "}]", "}"), "not readable as JSON"),
    (_swap("instances_val2017.json", '"bbox"', '"box"'), "entry cannot be understood"),
    (_swap("instances_val2017.json", '"annotations"', '"notes"'), "no list annotations"),
    (_swap("instances_val2017.json", '"supercategory": "person"', '"supercategory": "robot"'), "robot belong to no"),
    (_swap("instances_val2017.json", '"category_id": 10', '"category_id": 999'), "entry cannot be understood"),
    (lambda root: (root / "annotations" / "instances_val2017.json").unlink(), "no such file"),
    (lambda root: (root / "annotations" / "captions_val2017.json").write_text("[]"), "no list images, annotations"),
    (lambda root: (root / "annotations" / "captions_val2017.json").write_text("[" * 100_000), "not readable as JSON"),
    *(
        (_swap("captions_val2017.json", '"id": 1000', f'"id": {other}'), "entry cannot be understood")
        for other in ("1000.7", "true", "Infinity", "-1", "1" + "0" * 30, "999", '"1000"')
    ),
    *(
        (_swap("instances_val2017.json", "[0, 0, 5, 4]", box), "entry cannot be understood")
        for box in ("[0, 0, NaN, 4]", "[0, 0, Infinity, 4]", "[0, 0, -5, 4]", "[0, 0, 5]", "null")
    ),
    (_swap("instances_val2017.json", '"id": 11', '"id": 10'), "the id 10 twice"),
    (_swap("instances_val2017.json", '"annotations": [{', '"annotations": [1, {'), "entry cannot be understood"),
    (_swap("captions_val2017.json", "000000000990.jpg", "9" * 300), "1 of 12 pictures"),
]
CUB: list[tuple[Damage, str]] = [
    (lambda root: next(root.rglob("bird_3.jpg")).unlink(), "1 of 20 pictures"),
    (_swap("classes.txt", "001.Black_footed_Albatross", "001.White_footed_Albatross"), "class 1 is '001.White"),
    (_swap("image_class_labels.txt", "1 1\n", ""), "no class for image 1"),
    (_swap("image_class_labels.txt", "1 1\n", "1 201\n"), "no class for image 1"),
    (_swap("image_class_labels.txt", "1 1\n", "1 2\n"), "image 1 is of class 2, and its file is '001"),
    (_swap("image_class_labels.txt", "20 30\n", "20 3"), "image 20 is of class 3"),
    (_swap("image_class_labels.txt", "1 1\n", "1 ²\n"), "no class for image 1"),
    (_swap("image_class_labels.txt", "2 1\n", "1 1\n"), "image_class_labels.txt, line 2: 1 a second time"),
    (
        lambda root: next(root.rglob("images.txt")).write_text(
            "".join(next(root.rglob("images.txt")).read_text().splitlines(True)[:-1])
        ),
        "image 20 is not in images.txt",
    ),
    (_swap("images.txt", "1 001", "² 001"), "images.txt, line 1"),
    (_swap("images.txt", "1 001", "1" * 5000 + " 001"), "images.txt, line 1"),
    (_swap("images.txt", "1 001", "one 001"), "images.txt, line 1"),
    (lambda root: next(root.rglob("classes.txt")).unlink(), "no known layout"),
]


@pytest.mark.parametrize(
    ("make", "damage", "word"),
    [(make, *case) for make, cases in ((fake_folder, FOLDER), (fake_coco, COCO), (fake_cub, CUB)) for case in cases],
)
def test_damaged_data_is_explained(make: Callable[[Path], Path], damage: Damage, word: str, tmp_path: Path) -> None:
    root = make(tmp_path / "data")
    open_pairs(str(root))
    damage(root)
    with pytest.raises(InputError, match=word):
        open_pairs(str(root))


def test_blanks_around_a_cell_make_no_other_environment(tmp_path: Path) -> None:
    """JSONL as CSV; mutant: 'place ' beside 'place', with half of its pairs each."""
    picture(tmp_path / "a.png", 0)
    row = {"file": "a.png", "caption": " a star", "label": "b", "environment": "place"}
    rows = [row | {"environment": f"place{blank}", "label": f"{blank}b"} for blank in ("", " ", "\t", "\n")]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = open_pairs(str(tmp_path))
    assert (found.environment_names, found.label_names) == (("place",), ("b",))
    assert set(found.captions) == {"a star"}


def test_a_picture_named_in_two_ways_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a path from the root and by one from here; mutant: its folder is counted twice."""
    monkeypatch.chdir(tmp_path)
    fake_folder(Path("data"))
    path = Path("data", CSV)
    path.write_text(path.read_text().replace("pictures/0.png", str(tmp_path / "data" / "pictures" / "1.png")))
    notes = open_pairs("data").notes
    assert "1 row with a picture of another row" in notes
    assert "left out, without a row in captions.csv: 1 picture" in notes


@pytest.mark.parametrize("place", ["caption", "label", "environment"])
@pytest.mark.parametrize("text", ["half of a pair \ud800", "nul\0"])
def test_text_that_no_file_can_hold(place: str, text: str, tmp_path: Path) -> None:
    """JSON can say it; mutant: it reaches the tokenizer, or the end of a long run, and fails there."""
    picture(tmp_path / "a.png", 0)
    row = {"file": "a.png", "caption": "a", "label": "b", "environment": "c"}
    rows = [row | {place: text}] * 2
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match="expected: unicode text"):
        open_pairs(str(tmp_path))
    (tmp_path / "captions.jsonl").write_text("\n".join(json.dumps(row | {place: "星 🌟 e\u0301"}) for _ in range(2)))
    assert len(open_pairs(str(tmp_path))) == 2


def test_pictures_of_many_kinds(tmp_path: Path) -> None:
    from crossmodal.vlm_validation.datasets.pairs import open_image
    from PIL import Image

    grey = Image.fromarray(np.full((4, 4), 7, dtype=np.uint8))
    grey.save(tmp_path / "grey.png")
    assert open_image(tmp_path / "grey.png").getpixel((0, 0)) == (7, 7, 7)
    palette = grey.convert("P")
    palette.save(tmp_path / "palette.png", transparency=bytes([0] * 7 + [128]))
    assert open_image(tmp_path / "palette.png").mode == "RGB"
    Image.fromarray(np.full((4, 4), 700, dtype=np.uint16)).save(tmp_path / "deep.png")
    picture(tmp_path / "whole.jpg", 0, (200, 200))
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, word in (
        ("deep", "mode I"),
        ("torn", "truncated"),
        ("page", "cannot identify"),
        ("empty", "identify"),
        ("none", "no such"),
    ):
        with pytest.raises(InputError, match=word):
            open_image(tmp_path / f"{name}.{'png' if name == 'deep' else 'jpg'}")


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_pictures_are_turned_as_their_exif_says(kind: str, orientation: int, tmp_path: Path) -> None:
    """As Pillow's own `exif_transpose` turns them; 0 and 9 mean nothing."""
    from crossmodal.vlm_validation.datasets.pairs import open_image
    from PIL import Image, ImageOps

    picture(tmp_path / "plain.png", 0, (24, 16))
    note = Image.Exif()
    note[0x0112] = orientation
    Image.open(tmp_path / "plain.png").save(tmp_path / f"a.{kind}", exif=note)
    with Image.open(tmp_path / f"a.{kind}") as image:
        right = ImageOps.exif_transpose(image).convert("RGB")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / f"a.{kind}")), np.asarray(right))
    assert open_image(tmp_path / f"a.{kind}").size == ((16, 24) if orientation in range(5, 9) else (24, 16))


def test_a_picture_with_damaged_exif_is_read(tmp_path: Path) -> None:
    from crossmodal.vlm_validation.datasets.pairs import open_image
    from PIL import Image

    text = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\x006\0\0\0\0\0\0\0"  # the orientation is a text
    for damaged in (b"Exif\0\0garbage", text):
        Image.new("RGB", (6, 4)).save(tmp_path / "a.png", exif=damaged)
        assert open_image(tmp_path / "a.png").size == (6, 4)


def test_a_split_that_was_cut_short_is_no_test_split(tmp_path: Path) -> None:
    """What the list does not name is neither in the one half nor in the other."""
    root = fake_cub(tmp_path)
    _swap("train_test_split.txt", "20 0\n", "")(root)
    with pytest.raises(InputError, match="no split for image 20"):
        open_pairs(str(root), split="test")


def test_wrong_names_and_options(tmp_path: Path) -> None:
    fake_folder(tmp_path)
    for data, options, word in (
        ("embedded:middle", {}, "middle"), (str(tmp_path / "nowhere"), {}, "no such folder"),
        *((str(tmp_path / name), {}, "no such folder") for name in ("a" * 300, "a/" * 3000, "a\0", "\ud800")),
        (str(tmp_path), {"split": "val"}, "split given"), ("embedded:high", {"captions": tmp_path}, "captions given"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            open_pairs(data, **options)


def test_pairs_can_be_made_by_hand() -> None:
    pairs = Pairs(
        "mine",
        ["a"] * 4,
        np.array([0, 0, 1, 1]),
        np.array([0, 1, 0, 1]),
        np.arange(4),
        ("x", "y"),
        ("c_1", "d"),
        lambda i: i,
    )
    assert pairs.prompts() == ["a photo of a c 1.", "a photo of a d."]
    assert pairs.notes == ("in more than one environment, 2 classes: c_1, d",)
    assert pairs.stamp(0) == ""
