"""The build: registry, bytes, provenance, captions, bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from crossmodal.paper import build, gallery, tabular
from crossmodal.paper.results import Data, caption, plain, provenance, typed_numbers
from crossmodal.theory import registry
from crossmodal.theory.errors import InputError

EXPERIMENTS = re.compile(r"E[1-8]$|K[0-5]$")  # experiments and kernels


@pytest.fixture
def data() -> Data:
    return Data({"x": 0.125, "n": 3}, provenance(("T3.4",), None, 0))


@pytest.mark.parametrize("name", build.registry())
def test_every_figure_has_a_caption_without_typed_numbers(name: str) -> None:
    source = build.module(name)
    assert typed_numbers(source.CAPTION) == []
    assert len(source.CAPTION) > 80


@pytest.mark.parametrize("name", build.registry())
def test_data_of_every_figure(name: str, compute: Any) -> None:
    """JSON-serialisable, from claims or experiments that exist, and quoted in the caption without a gap."""
    found = compute(name)
    json.dumps(found.to_json(), allow_nan=False)
    assert found.provenance.sources
    for source in found.provenance.sources:
        assert source in registry.modules() or EXPERIMENTS.match(source), source
    assert len(caption(build.module(name).CAPTION, found)) > 80


@pytest.mark.parametrize("name", ["t3_4_two_environments", "t1_5_linear_reading"])  # curves; a picture and contours
def test_same_seed_same_bytes(tmp_path: Path, name: str) -> None:
    """Two builds into two folders agree byte for byte, in every format."""
    one, two = (build.build([name], None, tmp_path / x, 0) for x in ("one", "two"))
    assert {p.suffix for p in one} == {".pdf", ".png", ".svg", ".json"}
    for a, b in zip(one, two, strict=True):
        assert a.name == b.name
        assert a.read_bytes() == b.read_bytes(), a.name


def test_the_last_bits_of_a_layout_change_nothing() -> None:
    """Constrained layout's differ from process to process; clip paths are named by a hash of corners."""
    import matplotlib
    from crossmodal.paper import style
    from matplotlib.figure import Figure

    def drawn(shift: float) -> bytes:
        figure = Figure()
        for k in range(2):
            figure.add_axes((0.1 + 0.4 * k + shift, 0.1, 0.3, 0.8)).plot([0, 1], [k, 1])
        return build.render(figure, "svg")

    with matplotlib.rc_context():
        style.apply()
        svg, near, far = map(drawn, (0.0, 2e-14, 0.01))
    assert near == svg
    assert far != svg
    names = re.findall(rb'clipPath id="(\w+)"', svg)
    assert len(names) == len(set(names)) == 2
    assert set(re.findall(rb"url\(#(\w+)\)", svg)) == set(names)


def test_another_seed_another_figure(features: Any) -> None:
    one, two = (build.module("t3_4_two_environments").compute(features, seed) for seed in (0, 1))
    assert one.content_hash() != two.content_hash()
    assert (one["random_mean"] != two["random_mean"]).any()


@pytest.mark.parametrize("stamp", [b"CreationDate", b"Matplotlib v", b"dc:date", str(Path.cwd()).encode()])
def test_no_stamp_in_the_files(stamp: bytes, features: Any) -> None:
    for content in build.make("t3_4_two_environments", features, 0).images.values():
        assert stamp not in content


def test_fonts_are_embedded(features: Any) -> None:
    pdf = build.make("t3_4_two_environments", features, 0, formats=("pdf",)).images["pdf"]
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf


def test_a_users_style_changes_nothing(features: Any) -> None:
    import matplotlib

    name = "t3_4_two_environments"
    before = build.make(name, features, 0, formats=("svg",)).images
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "lines.linewidth": 9}):
        assert build.make(name, features, 0, formats=("svg",)).images == before
        assert matplotlib.rcParams["font.size"] == 20


def test_figures_stand_in_the_order_of_the_theory() -> None:
    names = ["verdicts", "e3_orders", "d2_x", "t3_10_x", "t3_9_x", "t1_5_x", "score_heatmaps"]
    shown = ["score_heatmaps", "t1_5_x", "t3_9_x", "t3_10_x", "d2_x", "e3_orders", "verdicts"]
    assert sorted(names, key=build.place) == shown


def test_unknown_figure_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no figure or table 'e4_transfr'") as caught:
        build.build(["t3_4_two_environments", "e4_transfr"], None, tmp_path / "out", 0)
    assert all(name in caught.value.expected for name in (*build.registry(), *tabular.registry()))
    assert caught.value.causes[0].startswith("a typing error: e4_transfer")
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="--output") as caught:
        build.build(["t3_4_two_environments"], None, tmp_path / "file" / "out", 0)
    assert caught.value.causes


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build.write_bytes(tmp_path / "a.png", b"old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(build.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        build.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["at most 0.25", "all 120 orders", "$c = 0.25$", "a factor of 2", "$12 c$"])
def test_typed_numbers_are_refused(text: str, data: Data) -> None:
    with pytest.raises(ValueError, match="without provenance"):
        caption(text, data)


@pytest.mark.parametrize("text", ["claim T3.4 says {x:.2f}", "$c^2 (1 - c^2)$ is {x}", "see P7, E3 and {n}"])
def test_names_and_formulas_are_not_numbers(text: str, data: Data) -> None:
    assert "{" not in caption(text, data)


@pytest.mark.parametrize("text", ["", "  ", "the value {y}"])
def test_caption_that_cannot_be_filled(text: str, data: Data) -> None:
    with pytest.raises(ValueError, match="caption"):
        caption(text, data)


def test_plain_values() -> None:
    found = plain({"a": np.array([1.5, np.nan]), 2: (np.int64(3), "x", None, True), "inf": float("inf")})
    assert found == {"a": [1.5, None], "2": [3, "x", None, True], "inf": "inf"}
    with pytest.raises(TypeError, match="not data"):
        plain({"a": object()})


def test_provenance_names_no_folder(features: Any, tmp_path: Path) -> None:
    from crossmodal.vlm_validation.features import load_features, save_features

    save_features(tmp_path / "mine.npz", features)
    found = provenance(("S1",), load_features(tmp_path / "mine.npz"), 7)
    assert found.features_source == "mine.npz"
    assert found.features == features.content_hash()
    assert found.line() == f"S1; features {found.features[:12]} (mine.npz); seed 7; crossmodal {found.version}"


def test_gallery_is_current_and_small(tmp_path: Path) -> None:
    """The images in the README are what the code draws now; each is light."""
    if tuple(map(int, matplotlib.__version__.split(".")[:2])) < (3, 11):
        pytest.skip("matplotlib before 3.11 sets letters otherwise, and with them the layout")
    for path in gallery.main(tmp_path):
        stored = gallery.FOLDER / path.name
        assert stored.stat().st_size < 150_000
        # Another processor may round a curve into another shade of its edge; another curve changes far more pixels.
        change = np.abs(pixels(stored) - pixels(path)).max(axis=-1)
        assert (change > 32).mean() < 1e-4, f"run `python -m crossmodal.paper.gallery` ({path.name})"


def pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"), dtype=np.int16)


def test_features_that_do_not_allow_a_figure(tmp_path: Path, features: Any, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """One environment: named figures are refused, the default build leaves them out and says so."""
    from dataclasses import replace

    from crossmodal.vlm_validation.features import save_features

    one = replace(features.select(features.rows(0)), environment_names=None, notes=())
    save_features(tmp_path / "one.npz", one)
    for name in ("d2_separation", "t1_5_linear_reading", "e3_orders"):
        with pytest.raises(InputError, match="at least 2"):
            build.build([name], tmp_path / "one.npz", tmp_path / "out", 0)
    monkeypatch.setattr(build, "registry", lambda: ("score_heatmaps", "d2_separation"))
    monkeypatch.setattr(tabular, "registry", lambda: ())
    monkeypatch.setattr(build, "write_document", lambda *_: [])
    paths = build.build([], tmp_path / "one.npz", tmp_path / "out", 0)
    assert {p.stem for p in paths} == {"score_heatmaps"}
    assert "no d2_separation" in capsys.readouterr().err
