"""Reading a run to audit: what it takes, what it must refuse in one message, and the record of the whole."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.audit import Head, audit, make_run, read_head, read_run, steps
from crossmodal.vlm_validation.audit.cross_entropy import cross_entropy
from crossmodal.vlm_validation.audit.curvature import curvature
from crossmodal.vlm_validation.containers import write_container
from crossmodal.vlm_validation.features import Features, save_features

from .audit_cases import C, D, first_stage, long_run, nudged, random_head, random_run

# -- what is refused ---------------------------------------------------------------------------------------------


def stages(tmp_path: Path, *features: Features) -> list[Path]:
    paths = [tmp_path / f"{k}.npz" for k in range(len(features))]
    for path, one in zip(paths, features, strict=True):
        save_features(path, one)
    return paths


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda f: f.select(np.arange(59)), "image has shape"),
        (lambda f: replace(f, label=np.roll(f.label, 1)), "'label' differs .* from row 0 on"),
        (lambda f: replace(f, environment=f.environment[::-1].copy()), "'environment' differs"),
        (lambda f: replace(f, ids=np.arange(len(f))), "0.npz: no 'ids'"),
        (
            lambda f: replace(
                f,
                text=f.text[:, :4] / np.linalg.norm(f.text[:, :4], axis=1)[:, None],
                image=f.image[:, 1:] / np.linalg.norm(f.image[:, 1:], axis=1)[:, None],
            ),
            "image has shape",
        ),
    ],
)
def test_other_samples_are_refused(tmp_path: Path, other: Any, words: str) -> None:
    one = first_stage()
    paths = stages(tmp_path, one, other(one))
    with pytest.raises(InputError, match=words):
        read_run(paths)


def test_a_single_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two"):
        read_run(stages(tmp_path, first_stage()))


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    one = first_stage()
    with pytest.raises(InputError, match="1 head for 2 stages"):
        make_run((one, one), (random_head(),))
    for heads in ((random_head(7), random_head(7)), (random_head(), random_head(7))):
        with pytest.raises(InputError, match="width 7"):
            make_run((one, one), heads)
    few = Head(np.zeros((D, C - 1)), np.zeros(C - 1), False)
    for heads in ((few, few), (few, random_head()), (random_head(), few)):
        with pytest.raises(InputError, match=f"expected: {C} classes"):
            make_run((one, one), heads)
    huge = Head(np.full((D, C), 1e200), np.zeros(C), False)
    for heads in ((huge, huge), (random_head(), replace(huge, weight=np.full((D, C), np.nan)))):
        with pytest.raises(InputError, match="at most 1e"):
            make_run((one, one), heads)
    path = tmp_path / "head.safetensors"
    for arrays, words in (
        ({"w": np.zeros((6, 5))}, "expected: `weight`"),
        ({"weight": np.zeros((6, 5)), "bias": np.zeros(5)}, "bias of shape"),
        ({"weight": np.full((6, 5), np.nan)}, "NaN"),
        ({"weight": np.zeros((6, 5)), "bias": np.full(6, np.inf)}, "NaN or infinity"),
        ({"weight": np.zeros((6, 5), dtype=bool)}, "of type bool"),
    ):
        write_container(path, arrays, {})
        with pytest.raises(InputError, match=words):
            read_head(path)


def test_a_torn_stage_and_an_unknown_environment_are_refused(tmp_path: Path) -> None:
    paths = stages(tmp_path, first_stage(), first_stage())
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    with pytest.raises(InputError, match=r"1\.npz"):
        read_run(paths)
    with pytest.raises(InputError, match="environment 'x' in the order"):
        make_run((first_stage(),) * 2, order=("x",))
    with pytest.raises(InputError, match="2 transitions and 1 environment "):
        make_run((first_stage(),) * 3, order=("a",))


def test_a_head_comes_back_as_it_was_written(tmp_path: Path) -> None:
    head = random_head(biased=True)
    write_container(tmp_path / "h.safetensors", {"weight": np.ascontiguousarray(head.weight.T), "bias": head.bias}, {})
    found = read_head(tmp_path / "h.safetensors")
    assert found.biased
    np.testing.assert_array_equal(found.weight, head.weight)
    np.testing.assert_array_equal(found.bias, head.bias)
    write_container(tmp_path / "w.safetensors", {"weight": np.ascontiguousarray(head.weight.T)}, {})
    assert not read_head(tmp_path / "w.safetensors").biased


# -- more that is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"p": 0.0, "q": 0.0}, {"p": math.nan}, {"tau": math.inf}, {"tau": 0.0}, {"weight": math.nan}, {"weight": math.inf}, {"q": -1.0}, {"tau": 1e60}],
)  # fmt: skip
def test_weights_without_meaning_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="finite"):
        make_run((first_stage(),) * 2, (random_head(),) * 2, fusion="sum", **settings)


def test_heads_that_differ_in_kind_are_refused() -> None:
    one = first_stage()
    with pytest.raises(InputError, match="no bias, and another stage has one"):
        make_run((one, one), (random_head(), random_head(biased=True)))
    single = replace(one, label=np.zeros(len(one), dtype=np.int64))
    with pytest.raises(InputError, match="one class"):
        make_run((single, single), (Head(np.zeros((D, 1)), np.zeros(1), False),) * 2)


def test_names_that_only_some_stages_have_are_no_difference() -> None:
    one = first_stage()
    bare = replace(one, environment_names=None, metadata={})
    captions = tuple(map(str, range(len(one))))
    named = replace(one, metadata={"architecture": "a", "features": "b"}, captions=captions)
    for stages in ((bare, named), (named, bare)):
        make_run(stages)


def test_other_names_and_a_longer_order_are_refused() -> None:
    one = first_stage()
    with pytest.raises(InputError, match="environment_names"):
        make_run((one, replace(one, environment_names=("b", "a", "c"))))
    with pytest.raises(InputError, match="1 transition and 2 environments"):
        make_run((one, one), order=("a", "b"))


def test_ids_and_captions_in_another_order_are_refused() -> None:
    one = replace(first_stage(), ids=np.arange(60), captions=tuple(f"caption {k}" for k in range(60)))
    make_run((one, one))
    for name, value in (("ids", np.roll(one.ids, 1)), ("captions", one.captions[::-1])):
        with pytest.raises(InputError, match=f"'{name}' differs .* from row 0 on"):
            make_run((one, replace(one, **{name: value})))


@pytest.mark.parametrize("field", ["architecture", "features"])
def test_features_of_another_model_are_refused(field: str) -> None:
    one, two = (replace(first_stage(), metadata={field: name}, source=name) for name in ("CLIPModel", "ViltModel"))
    with pytest.raises(InputError, match=f"ViltModel: {field} 'ViltModel'"):
        make_run((one, one, two))
    make_run((one, first_stage()))  # a file that does not say


def test_an_unknown_fusion_is_refused() -> None:
    with pytest.raises(InputError, match="fusion 'product'"):
        make_run((first_stage(),) * 2, fusion="product")


# -- what is read, and noted ------------------------------------------------------------------------------------------


def test_fusion_by_the_width_of_the_heads() -> None:
    one = first_stage()
    assert make_run((one, one), (random_head(),) * 2).fusion == "image"
    found = make_run((one, one), (random_head(2 * D),) * 2, q=0.5)
    assert (found.fusion, found.p, found.q) == ("concat", 1.0, 0.5)
    image = make_run((one, one), (random_head(),) * 2, p=0.5, q=0.5)
    assert (image.p, image.q) == (1.0, 0.0)
    assert any("p 0.5 and q 0.5 are not used" in note for note in image.notes)
    assert not any("not used" in note for note in found.notes)


def test_fused_features_by_hand() -> None:
    u, v = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    for fusion, z in (("image", [[1, 0]]), ("sum", [[0.6, 0.8]]), ("concat", [[0.6, 0, 0, 0.8]])):
        np.testing.assert_array_equal(random_run(fusion).fused(u, v), z)


def test_order_and_its_note() -> None:
    one = first_stage()
    run = make_run((one, nudged(one, 0.1, 0.1), one))
    assert run.order == (0, 1)
    assert any("learnt in this order: a, b" in note for note in run.notes)
    named = make_run((one, one, one), order=("c", "1"))
    assert named.order == (2, 1)
    assert not any("order" in note for note in named.notes)
    assert sum("over again" in note for note in named.notes) == 2


def test_one_environment_alone_can_be_audited() -> None:
    one = first_stage().select(np.arange(20))
    found = audit(make_run((one, nudged(one, 0.1, 0.1)), (random_head(), random_head(seed=1))))
    assert [c.theorem for c in found.transitions[0].checks].count("T1.4") == 0
    json.dumps(found.to_dict(), allow_nan=False)


# -- the record ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fusion", "biased"), [("concat", False), ("image", True), ("sum", False)])
def test_the_record_is_json(fusion: str, biased: bool) -> None:
    found = json.loads(json.dumps(audit(random_run(fusion, biased)).to_dict(), allow_nan=False))
    bound = found["transitions"][0]["curvature"][0]["modality_bound"]
    assert (bound is None) == (fusion == "concat" or biased)


def test_confident_heads_and_frozen_features_are_json() -> None:
    one = first_stage()
    run = make_run((one, one), [random_head(seed=k, scale=1e4) for k in (0, 1)], fusion="sum")
    json.dumps(audit(run).to_dict(), allow_nan=False)


def test_every_transition_is_its_own() -> None:
    """The parts of the record belong to the transition and the environment they stand under."""
    run, calls = long_run(), []
    found = audit(run, advance=lambda: calls.append(1))
    assert len(calls) == steps(run)
    assert [t.learnt for t in found.transitions] == ["c", "a", "b"]
    for k, t in enumerate(found.transitions):
        alone = audit(
            replace(run, stages=run.stages[k : k + 2], heads=run.heads[k : k + 2], order=run.order[k : k + 1])
        ).transitions[0]
        assert t.drift.to_dict() == alone.drift.to_dict()
        assert (t.ledgers, t.curvature, t.checks) == (alone.ledgers, alone.curvature, alone.checks)
        assert [r.environment for r in t.reliance] == ["a", "b", "c"]
        for e, found_after in zip(run.environments, t.curvature, strict=True):
            assert found_after == curvature(run, k + 1, e, cross_entropy(run, k, k + 1, e))
        assert [(r.change, r.accuracy) for r in t.reliance] == [(r.change, r.accuracy) for r in alone.reliance]
    assert found.closing == max(abs(b.closing) for t in found.transitions for b in t.ledgers)


def test_progress_is_shown_within_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two calls of `advance` at most one part of the resamples of one stage is computed."""
    from crossmodal.vlm_validation.audit import reliance as module

    done: list[str] = []
    read = module.values

    def values(*arguments: Any) -> Any:
        found = read(*arguments)
        return replace(found, resampled=lambda drawn: done.append("part") or found.resampled(drawn))

    monkeypatch.setattr(module, "values", values)
    run = random_run("sum")
    module.reliance(run, run.environments[0], advance=lambda: done.append("shown"))
    assert done.count("part") == module.PARTS * len(run.stages) > 0
    assert all(following == "shown" for this, following in pairwise([*done, "shown"]) if this == "part")


def test_the_same_seed_gives_the_same_audit() -> None:
    run = random_run("sum")
    one, two, other = (audit(run, seed=k).to_dict() for k in (0, 0, 1))
    assert one == two != other
    with pytest.raises(InputError, match="seed -1"):
        audit(run, seed=-1)
