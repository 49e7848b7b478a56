"""Stored results: current, described, as computed now where that is quick; and refused when they are not what they say."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from crossmodal.paper import experiment, stored
from crossmodal.paper.stored import FOLDER, MOST_BYTES, experiments, load_stored
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import embedded_models, metrics, similarity_sweep
from crossmodal.vlm_validation.training.data import Choice
from crossmodal.vlm_validation.training.protocol import Protocol

names = pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))


def test_every_file_belongs_to_an_experiment() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(experiments())


@names
def test_current_small_described_and_of_named_origin(name: str) -> None:
    record = load_stored(name)
    assert (FOLDER / f"{name}.json").stat().st_size <= MOST_BYTES
    assert set(record["fields"]) == set(record["values"])
    origin = record["provenance"]
    assert origin["command"] == f"python -m crossmodal.paper.stored {name}"
    assert {"crossmodal", "python", "numpy", "torch", "transformers", "peft"} == set(origin["versions"])
    assert origin["seeds"] == list(experiments()[name].seeds)
    assert all(len(origin[key]) == 64 for key in stored.INPUTS)


def changed(record: dict[str, Any], kind: str) -> str:
    if kind in stored.INPUTS:
        record["provenance"][kind] = "0" * 64
    elif kind == "another experiment":
        record["experiment"] = "e9"
    elif kind == "a value less":
        record["values"].popitem()
    elif kind == "no provenance":
        del record["provenance"]
    text = json.dumps(record)
    return text[:-5] if kind == "torn" else text


@pytest.mark.parametrize(
    ("kind", "says"),
    [*((key, f"e4_transfer is stale: {key}") for key in stored.INPUTS), ("another experiment", "e9"),
     ("a value less", "fields in doubt"), ("no provenance", "provenance"), ("torn", "cannot be read")],
)  # fmt: skip
def test_a_file_that_is_not_what_it_says_is_refused_by_name(tmp_path: Path, kind: str, says: str) -> None:
    path = tmp_path / "e4_transfer.json"
    path.write_text(changed(load_stored("e4_transfer"), kind))
    with pytest.raises(InputError, match=r"e4_transfer\.json") as caught:
        load_stored("e4_transfer", tmp_path)
    assert says in str(caught.value)
    assert "python -m crossmodal.paper.stored e4_transfer" in str(caught.value)


def test_any_change_of_the_configuration_makes_it_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    old = experiments()["e2_lambda"]
    for new in (
        replace(old, seeds=(0, 1)),
        replace(old, settings=old.settings | {"order": "reversed"}),
        replace(old, choice=replace(old.choice, train=57)),
        replace(old, protocols=old.protocols | {"full": replace(old.protocols["full"], tau=11.0)}),
    ):
        monkeypatch.setattr(stored, "experiments", lambda new=new: {"e2_lambda": new})
        with pytest.raises(InputError, match="stale"):
            load_stored("e2_lambda")
    monkeypatch.setattr(experiment, "VERSION", experiment.VERSION + 1)
    with pytest.raises(InputError, match="config_hash"):
        load_stored("e2_lambda")


@pytest.mark.parametrize("name", ["e2_lambda", "e7_similarity"])
def test_another_configuration_of_the_checkpoint_makes_it_stale(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights stay and another activation reads them."""
    folder = shutil.copytree(embedded_models.EMBEDDED, tmp_path / "embedded")
    path = folder / "clip_high" / "config.json"
    path.write_text(path.read_text().replace("quick_gelu", "relu"))
    monkeypatch.setattr(embedded_models, "EMBEDDED", folder)
    with pytest.raises(InputError, match="stale: config_hash no longer"):
        load_stored(name)


def test_other_scenes_of_the_similarity_sweep_make_it_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the hash of scenes that the sweep never draws."""
    right = similarity_sweep.draw_scenes

    def differently(*args: Any, **options: Any) -> Any:
        scenes = right(*args, **options)
        return [*scenes[:-1], replace(scenes[-1], count=scenes[-1].count % 3 + 1)]

    monkeypatch.setattr(similarity_sweep, "draw_scenes", differently)
    similarity_sweep.scenes_hash.cache_clear()
    with pytest.raises(InputError, match="stale: data_hash no longer"):
        load_stored("e7_similarity")
    similarity_sweep.scenes_hash.cache_clear()


def test_stages_of_all_orders_are_those_of_one_seed_and_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so nothing was trained")
    from crossmodal.paper.computations import all_order_runs
    from crossmodal.vlm_validation.training.loop import Trainer

    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    small = replace(
        experiments()["e3_adaptive"], choice=Choice(environments=2, train=6, judged=6), seeds=(0, 1),
        protocols={"frozen": Protocol(epochs=1)},
    )  # fmt: skip
    first = all_order_runs(small, "frozen", tmp_path)
    for runs in first.values():
        assert runs.loss.shape == (2, 2, 3, 2)
        assert runs.stages == 2 + 2
    trained, stage = [], Trainer.stage
    monkeypatch.setattr(Trainer, "stage", lambda self, *given: trained.append(given) or stage(self, *given))
    min(tmp_path.glob("*.json")).unlink()  # as if killed before that cell was written
    for scenes, runs in all_order_runs(small, "frozen", tmp_path).items():
        assert (runs.loss == first[scenes].loss).all()
    assert len(trained) <= 2  # a cell, from the start of its order; there are 10 of them


def test_predictors_know_the_steps_that_are_made() -> None:
    from crossmodal.paper.computations import steps_of

    choice = Choice(train=30)
    assert steps_of(choice, Protocol(epochs=5, batch=100, head_rate=2.0)) == (5, 2.0), (
        "no batch is larger than the data"
    )
    assert [steps_of(choice, Protocol(epochs=5, batch=batch))[0] for batch in (0, 7, 15, 30, 60, 61)] == [
        5,
        20,
        10,
        5,
        5,
        5,
    ]


def test_storing_is_atomic_described_and_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="versions of the extra 'vlm' are part of what is stored")
    old = experiments()["e4_transfer"]
    values: dict[str, Any] = {key: np.arange(3) / 3 for key in old.fields}
    monkeypatch.setattr(stored, "experiments", lambda: {"e4_transfer": replace(old, compute=lambda _: values)})
    first = stored.store("e4_transfer", tmp_path).read_bytes()
    assert stored.store("e4_transfer", tmp_path).read_bytes() == first
    assert load_stored("e4_transfer", tmp_path)["values"]["bwt"] == [0, 1 / 3, 2 / 3]
    values["bwt"] = np.random.default_rng(0).random(20_000)
    with pytest.raises(ValueError, match="more than"):
        stored.store("e4_transfer", tmp_path)
    del values["bwt"]
    with pytest.raises(ValueError, match="descriptions differ"):
        stored.store("e4_transfer", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["e4_transfer.json"]


def test_the_command_lists_and_names_mistakes(tmp_path: Path) -> None:
    listed = CliRunner().invoke(stored.main, [])
    assert listed.exit_code == 0
    assert all(f"{name}: " in listed.stdout for name in experiments())
    assert listed.stdout.count("[current]") == len(experiments())
    wrong = CliRunner().invoke(stored.main, ["e2_lambda", "e7"])
    assert wrong.exit_code == 1
    assert "no stored experiment 'e7'" in wrong.stderr
    with pytest.raises(InputError, match="no such file"):
        load_stored("e2_lambda", tmp_path)


def test_stored_numbers_are_those_of_the_code() -> None:
    """One frozen run of E2 and one of E4, trained now; another machine may differ in the last digits of float32."""
    pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so nothing was trained")
    from crossmodal.vlm_validation.training.data import load_environments
    from crossmodal.vlm_validation.training.loop import run_order

    e2, e4 = experiments()["e2_lambda"], experiments()["e4_transfer"]
    assert e2.choice == e4.choice
    environments = load_environments(e2.choice)
    values = load_stored("e2_lambda")["values"]
    run = run_order(environments, replace(e2.protocols["frozen"], weight=values["lambda"][3]), e2.seeds[1], range(5))
    for name in ("clv", "clip", "ce"):
        np.testing.assert_allclose(getattr(run.records[-1], name), values[name]["frozen"][3][1], atol=1e-4)
    values = load_stored("e4_transfer")["values"]
    order = values["orders"]["frozen"]["least cumulative contribution"]
    run = run_order(environments, e4.protocols["frozen"], e4.seeds[2], order)
    found = metrics.bwt(run.matrix("loss"), convention=values["convention"], kind="loss").value
    assert found == pytest.approx(values["bwt"]["frozen"]["least cumulative contribution"]["loss"][2], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("title", ["frozen", "full", "lora"])
def test_stored_forgetting_is_that_of_the_code(title: str) -> None:
    """One of E3's 120 orders, one seed, trained now."""
    pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so nothing was trained")
    from crossmodal.vlm_validation.training.data import load_environments
    from crossmodal.vlm_validation.training.loop import run_order

    e3, values = experiments()["e3_adaptive"], load_stored("e3_adaptive")["values"]
    run = run_order(load_environments(e3.choice), e3.protocols[title], e3.seeds[1], values["orders"][77])
    transfer = metrics.bwt(run.matrix("loss"), convention="paper", kind="loss").value
    assert -transfer == pytest.approx(values["forgetting"][title][1][77], abs=1e-4)


def test_stored_judgements_are_those_of_the_code() -> None:
    """Predictors of E3 and orders of E4, from the checkpoint's features and the stored forgetting; near ties may fall otherwise elsewhere."""
    pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so nothing was trained")
    from crossmodal.paper.computations import judged, steps_of, training_features
    from crossmodal.vlm_validation.order_oracle import recommend_order
    from crossmodal.vlm_validation.training.data import load_environments

    e3, e4 = experiments()["e3_adaptive"], experiments()["e4_transfer"]
    assert e3.choice == e4.choice
    features, values = training_features(load_environments(e3.choice)), load_stored("e3_adaptive")["values"]
    for end in ("", "_training"):
        rows = judged(e3, "full", features, np.array(values["forgetting" + end]["full"]))
        stored_rows = values["predictors" + end]["full"]
        assert set(rows) == set(stored_rows)
        for name, row in rows.items():
            assert row["spearman"][0] == pytest.approx(stored_rows[name]["spearman"][0], abs=0.02), name
    for title, orders in load_stored("e4_transfer")["values"]["orders"].items():
        steps, step = steps_of(e4.choice, e4.protocols[title])
        report = recommend_order(features, steps=steps, step=step, resamples=0, progress=False)
        assert list(report.order) == orders["recommended"]


def test_stored_similarity_sweep_is_that_of_the_code() -> None:
    """One draw at one value of E7, every order trained now."""
    pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so nothing was trained")
    from crossmodal.vlm_validation.similarity_sweep import sweep_similarity

    values, e7 = load_stored("e7_similarity")["values"], experiments()["e7_similarity"]
    settings = e7.settings
    assert values["similarity"] == settings["similarity"]
    (point,) = sweep_similarity(
        [values["similarity"][1]], scenes=settings["scenes"], steps=settings["steps"], step=settings["step"], seed=e7.seeds[2], progress=False
    )  # fmt: skip
    for name in ("con_II", "con_IT", "sigma_I", "best", "mean", "worst", "spread"):
        assert getattr(point, name) == pytest.approx(values[name][1][2], rel=1e-3), name
    assert point.spearman == pytest.approx(values["spearman"][1][2], abs=0.02)


def test_what_theory_says_of_frozen_encoders_holds_in_what_is_stored() -> None:
    e2 = load_stored("e2_lambda")["values"]
    for name in ("clv", "clip"):
        assert np.array_equal(e2[name]["frozen"], np.broadcast_to(e2[f"start_{name}"], np.shape(e2[name]["frozen"])))
        assert np.ptp(e2[name]["full"], axis=0).max() > 0
    e1 = load_stored("e1_drift")["values"]["table"]
    assert not np.any(e1["frozen"]["seed_sd"]["transition"]["clip"])
    assert not np.any(e1["frozen"]["step"]["clip"])
    assert np.any(e1["frozen"]["transition"]["clip"])
    assert np.any(e1["full"]["step"]["clip"])


@pytest.mark.parametrize("world", ["high", "low"])
def test_more_of_the_contrastive_loss_lowers_clv_as_the_readme_says(world: str) -> None:
    values = load_stored(f"adapted_{world}")["values"]
    assert (values["lambda"][0], values["lambda"][-1]) == (0, 5)
    assert (np.array(values["clv"][-1]) < np.array(values["clv"][0])).all()
