"""Figures of experiments and recorded results, on their data: oracles of their own, and mutants that must fail."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from crossmodal.kernels.benchmarks import recorded
from crossmodal.paper import tabular
from crossmodal.paper.figures import e5_ood_mcm, e8_coalitions, t2_4_alignment
from crossmodal.paper.results import Data, caption
from crossmodal.paper.stored import load_stored
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation.mean_baseline import fixed


def mutated(data: Data, **changes: Any) -> Data:
    return Data({**data.values, **changes}, data.provenance, data.native)


# -- T2.4 ------------------------------------------------------------------------------------------------------


def keeps_the_theorem(data: Data) -> None:
    assert (np.diff(data["loss"], axis=0) <= 0).all()
    assert (data["gap"][1:] >= data["bound"][1:]).all()
    assert np.ptp(data["frozen"], axis=0).max() == 0


def test_alignment_follows_lambda(compute: Any) -> None:
    data = compute("t2_4_alignment")
    keeps_the_theorem(data)
    assert data["gradient"] < 1e-9, "minimisers, not points on the way"
    gap, loss = (
        data["gap"],
        data["loss"],
    )  # the bound by hand: G_2 >= G_1 - delta_1 / tau, delta from the loss's definition
    delta = loss - math.log(data["pairs"]) + data["tau"] * gap
    assert (delta >= -1e-12).all()
    by_hand = np.maximum.accumulate(gap - delta / data["tau"], axis=0)[:-1]
    np.testing.assert_allclose(data["bound"][1:], by_hand, rtol=1e-12, atol=1e-12)


def test_a_loss_that_rises_and_an_alignment_that_moves_when_frozen_are_noticed(compute: Any) -> None:
    data = compute("t2_4_alignment")
    for changes in (
        {"loss": data["loss"][::-1]},
        {"gap": data["gap"][::-1]},
        {"frozen": data["frozen"] * data["lambda"][:, None]},
    ):
        with pytest.raises(AssertionError):
            keeps_the_theorem(mutated(data, **changes))


def test_the_caption_counts_rises(compute: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = compute("t2_4_alignment")
    assert f"rises at 0 of {data['steps']} steps" in caption(t2_4_alignment.CAPTION, data)
    right = t2_4_alignment.train

    def upside_down(*args: Any, **options: Any) -> Any:
        path = right(*args, **options)
        return replace(path, contrastive=path.contrastive.flip(0))

    monkeypatch.setattr(t2_4_alignment, "train", upside_down)
    mutant = t2_4_alignment.compute(None, 0)
    assert mutant["rises"] == (np.diff(data["loss"], axis=0) < 0).sum() > 0
    assert f"rises at {mutant['rises']} of" in caption(t2_4_alignment.CAPTION, mutant)


def test_the_bound_is_the_claims() -> None:
    assert t2_4_alignment.transferred()(0.5, 2.0, 0.4) == pytest.approx(0.5 - 0.4 / 2.0)


# -- E5, E6 ----------------------------------------------------------------------------------------------------


def test_ood_by_hand(compute: Any, features: Any) -> None:
    data = compute("e5_ood_mcm")
    count = len(features.environments)
    assert data["pairs"] == count * (count - 1)
    assert data["curves"].shape == (math.factorial(count), count - 1)
    first, second = features.environments[:2]
    own = np.unique(features.label[features.rows(first)])
    inside, outside = (softmax_top(features.image[features.rows(k)], features.prompts[own]) for k in (first, second))
    wins = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
    assert data["auroc"][0] == pytest.approx(wins, abs=1e-12)
    assert (data["low"] < data["auroc"]).all()
    assert (data["auroc"] < data["high"]).all()
    assert data["pearson"] == pytest.approx(np.corrcoef(data["con"], data["auroc"])[0, 1], abs=1e-12)
    assert data["pearson_low"] <= data["pearson"] <= data["pearson_high"]
    assert (data["curves"].min(axis=0) <= data["rule_curve"]).all()
    assert (data["rule_curve"] <= data["curves"].max(axis=0)).all()


def softmax_top(image: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    z = image.astype(float) @ prompts.astype(float).T
    p = np.exp(z - z.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True)).max(1)


def test_the_rule_is_the_cheapest_order(compute: Any, features: Any) -> None:
    from itertools import pairwise, permutations

    from crossmodal.vlm_validation.scores import score_matrices

    con = score_matrices(features)["IT"]
    cheapest = min(permutations(range(len(con))), key=lambda o: sum(con[s, t] for s, t in pairwise(o)))
    assert compute("e5_ood_mcm")["rule_order"] == list(cheapest)


def test_interval_leaves_environments_out(compute: Any, features: Any) -> None:
    """By hand; mutant: one pair at a time."""
    from scipy.stats import t

    data, ids = compute("e5_ood_mcm"), features.environments
    pairs = np.array([(a, b) for a in ids for b in ids if a != b])
    rows = [slice(None), *((pairs != g).all(axis=1) for g in ids)]
    z, *rest = (np.arctanh(np.corrcoef(data["con"][k], data["auroc"][k])[0, 1]) for k in rows)
    count = len(ids)
    half = t.ppf(0.975, count - 1) * np.sqrt((count - 1) / count * sum((other - z) ** 2 for other in rest))
    assert (data["pearson_low"], data["pearson_high"]) == pytest.approx((np.tanh(z - half), np.tanh(z + half)))
    text = caption(e5_ood_mcm.CAPTION, data)
    assert f"{data['pearson_low']:.2f} to {data['pearson_high']:.2f}, the {count} environments left out" in text


def test_too_few_environments_for_an_interval_are_said(features: Any) -> None:
    three = replace(features.select(features.environment < 3), environment_names=features.environment_names[:3])
    assert "(no interval from 3 environments)" in caption(e5_ood_mcm.CAPTION, e5_ood_mcm.compute(three, 0))


def test_of_many_environments_some_orders_are_drawn_and_the_caption_says_so(compute: Any, features: Any) -> None:
    assert "Band: 120 orders, all there are;" in caption(e5_ood_mcm.CAPTION, compute("e5_ood_mcm"))
    seven = replace(features, environment=np.arange(len(features)) % 7, environment_names=None)
    data = e5_ood_mcm.compute(seven, 0)
    assert data["curves"].shape == (e5_ood_mcm.DRAWN, 6)
    assert len(np.unique(data["curves"], axis=0)) > 100
    assert "Band: 120 orders, drawn at random;" in caption(e5_ood_mcm.CAPTION, data)


# -- E8 --------------------------------------------------------------------------------------------------------


def test_contributions_along_a_sequence(compute: Any) -> None:
    data = compute("e8_coalitions")
    for kind in ("fused", "dual"):
        assert (data[f"{kind}_phi_low"] <= data[f"{kind}_phi"]).all()
        assert (data[f"{kind}_phi"] <= data[f"{kind}_phi_high"]).all()
        np.testing.assert_allclose(data[f"{kind}_phi"][0], 0, atol=1e-12, err_msg="a zero head owes nothing to either")
    run = e8_coalitions.fused_run(0)
    learnt, end = run.shapley()[1, 0], run.shapley()[-1, 0]
    np.testing.assert_allclose(data["contribution"][:2], end - learnt)
    assert data["moves"] == 2 * (len(run.names) - 1) + 2 * (len(data["dual_phi"]) - 2)
    assert 0 <= data["fallen"] <= data["hidden"]


def test_hidden_forgetting_is_counted() -> None:
    """Accuracy of every sample stays, the image's part falls: each environment's image row is hidden forgetting."""
    stays = np.tile(np.array([0.1, 0.9, 0.1, 0.9]), (3, 40, 1))  # the image explains everything
    stays[2] = [0.1, 0.5, 0.5, 0.9]  # now both do
    run = e8_coalitions.CoalitionRun(
        ("a", "b"),
        np.ones((3, 2, 4)),
        stays.mean(1)[:, None].repeat(2, 1),
        "",
        (tuple(map(fixed, stays)),) * 2,
        (np.ones((3, 40)),) * 2,
    )
    (image, text) = e8_coalitions.moves(run, "x", np.random.default_rng(0), 1)
    assert e8_coalitions.hidden(image)
    assert e8_coalitions.hidden(text)
    assert (image["contribution"], text["contribution"]) == (pytest.approx(-0.4), pytest.approx(0.4))
    assert image["accuracy_low"] == -image["accuracy_high"] < 0 == image["accuracy"], "no flip seen, which is not none"
    assert image["high"] < 0 < text["low"]


def test_nothing_is_hidden_where_nothing_moves() -> None:
    """Sixteen changes by chance alone: intervals of each its own would find one in most figures, these in one of twenty."""
    rng, figures, found, alone = np.random.default_rng(0), 40, 0, 0
    hits = (np.ones((3, 80)),) * 2
    for _ in range(figures):
        rows: list[dict[str, Any]] = []
        for _ in range(8):
            values = rng.normal(0.5, 0.1, size=(3, 80, 4))
            run = e8_coalitions.CoalitionRun(
                ("a", "b"), np.ones((3, 2, 4)), np.ones((3, 2, 4)), "", (tuple(map(fixed, values)),) * 2, hits
            )
            rows += e8_coalitions.moves(run, "x", rng, 8)
            change = e8_coalitions.split(values[2] - values[1])
            alone += bool((np.abs(change.mean(axis=0)) > 1.96 * change.std(axis=0, ddof=1) / np.sqrt(80)).any())
        found += any(map(e8_coalitions.hidden, rows))
    assert found <= 8, "binomial with 1 of 20: more than 8 of 40 has probability 1e-4"
    assert alone > figures / 2, "the check can fail"


def test_coalitions_neither_use_nor_move_the_generator() -> None:
    """ViLT draws the order of its patches; mutants: from whatever the caller has drawn before, or from a seed that stays set."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            found.append(e8_coalitions.fused_run.__wrapped__(0).confidence)
            assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(*found)


# -- kernels ---------------------------------------------------------------------------------------------------


def test_kernel_figure_shows_what_was_recorded(compute: Any) -> None:
    data = compute("kernels")
    rows = {f"{r['item'].upper()}  {r['contender']}": r for i in recorded.items() for r in recorded.recorded(i)}
    for name, ratio in zip(data["peer"], data["speedup"], strict=True):
        assert rows[name]["speedup_of_ours_median"] == ratio
    assert data["met"] == sum(r.get("target_met") is True for r in rows.values())
    assert data["met"] <= data["targets"]
    for folder, ratios in zip(("xeon", "xeon-amx"), data["speedup_elsewhere"], strict=True):  # a mark for each
        for name, ratio in zip(data["peer"], ratios, strict=True):
            item = name.split("  ")[0].lower()
            there = {f"{item.upper()}  {r['contender']}": r for r in recorded.recorded(item, folder=folder)}
            assert there[name]["speedup_of_ours_median"] == ratio != rows[name]["speedup_of_ours_median"]
    assert data["gpu"] == "none"


def test_recordings_are_found_by_machine() -> None:
    assert recorded.folders() == [
        "epyc",
        "epyc/two-threads",
        "xeon",
        "xeon/two-threads",
        "xeon-amx",
        "xeon-amx/two-threads",
    ]
    for name in recorded.folders():
        rows = [row for item in recorded.items(folder=name) for row in recorded.recorded(item, folder=name)]
        assert len({str(row["device"]).partition(",")[0] for row in rows}) == 1  # later recordings name the vectors too
        assert {row["threads"] for row in rows} == ({2.0} if name.endswith("two-threads") else {1.0})


def test_recorded_numbers_are_parsed() -> None:
    assert [recorded.parsed(x) for x in ("1.5", "True", "False", "ok")] == [1.5, True, False, "ok"]
    assert recorded.recorded("nothing") == []


# -- E2 --------------------------------------------------------------------------------------------------------


def test_lambda_sweep_is_the_stored_one(compute: Any) -> None:
    data = compute("e2_lambda")
    values = load_stored("e2_lambda")["values"]
    full = np.array(values["clv"]["full"])
    np.testing.assert_allclose(data["clv_full"].mean(axis=1), full.mean(axis=(1, 2)))
    assert data["frozen_change"] == 0, "T2.6: a frozen encoder's CLV does not move at all"
    means = full.mean(axis=(1, 2))
    assert data["falls"] == sum(b < a for a, b in pairwise(means))
    assert data["seeds"] == full.shape[1] >= 3


def test_a_stale_sweep_is_refused(tmp_path: Any) -> None:
    import json

    record = load_stored("e2_lambda")
    record["provenance"]["data_hash"] = "0" * 64
    (tmp_path / "e2_lambda.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="stale: data_hash"):
        load_stored("e2_lambda", tmp_path)


# -- E7 --------------------------------------------------------------------------------------------------------


def test_similarity_caption_says_what_is_drawn(compute: Any) -> None:
    data, values = compute("e7_similarity"), load_stored("e7_similarity")["values"]
    assert np.all(np.array(values["best"]) < np.array(values["mean"]))
    assert np.all(np.array(values["mean"]) < np.array(values["worst"]))
    np.testing.assert_allclose(data["spread"], np.array(values["worst"]) / np.array(values["best"]), rtol=1e-9)
    knob = values["similarity"]
    middle = [sum(row) / len(row) for row in values["spread"]]
    assert data["peak"] == max(zip((sum(row) for row in values["mean"]), knob, strict=True))[1]
    assert (data["narrowest"], data["widest"]) == (knob[middle.index(min(middle))], knob[middle.index(max(middle))])


# -- E3 --------------------------------------------------------------------------------------------------------


def test_orders_that_forget_nothing_have_no_ratio(features: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses turned around: every order gains, the best one most."""
    from crossmodal.paper.figures import e3_orders
    from crossmodal.paper.trained import frozen_orders

    small = replace(features.select(features.environment < 3), environment_names=features.environment_names[:3])
    runs = frozen_orders(small)
    for sign, words in (
        (1, f"a ratio of {runs.forgetting().max() / runs.forgetting().min():.2f}"),
        (-1, "a ratio of undefined"),
    ):
        monkeypatch.setattr(e3_orders, "frozen_orders", lambda _, sign=sign: replace(runs, loss=sign * runs.loss))
        data = e3_orders.compute(small, 0)
        assert words in caption(e3_orders.CAPTION, data)
        assert ("over the largest amount" in caption(e3_orders.CAPTION, data)) == (sign < 0)
        assert (data["regret"] >= 0).all()


# -- E1 and E4 -------------------------------------------------------------------------------------------------


def explained(columns: list[np.ndarray], drift: np.ndarray) -> float:
    """R² of least squares, by projection."""
    design = np.stack([np.ones_like(drift), *columns], axis=1)
    residual = drift - design @ np.linalg.lstsq(design, drift, rcond=None)[0]
    return float(1 - residual @ residual / ((drift - drift.mean()) ** 2).sum())


def test_drift_regressions_by_hand(compute: Any) -> None:
    data = compute("e1_drift")
    table = load_stored("e1_drift")["values"]["table"]
    for mode in ("frozen", "full"):
        scores = [np.array(table[mode][key]) for key in ("con_it", "con_ti")]
        for reading in ("transition", "step"):
            by_hand = explained(scores, data[f"drift_{reading}_{mode}"])
            assert data[f"{reading}_{mode}_r2"] == pytest.approx(by_hand, abs=1e-9)
            assert explained(scores[:1], data[f"drift_{reading}_{mode}"]) < by_hand + 1e-12


def test_transfer_table_is_the_stored_one(features: Any) -> None:
    built = tabular.make("e4_transfer", features, 0)
    values = load_stored("e4_transfer")["values"]
    assert len(built.rows) == sum(len(orders) for orders in values["bwt"].values())
    for mode, name, path, loss, (low, high), _ in built.rows:
        stored = values["bwt"][mode][name]["loss"]
        assert loss == pytest.approx(np.mean(stored))
        assert (low, high) == (min(stored), max(stored))
        assert sorted(path.split(", ")) == sorted(values["environments"])


def test_adaptive_orders_are_the_stored_ones(features: Any) -> None:
    built = tabular.make("e3_adaptive", features, 0)
    values = load_stored("e3_adaptive")["values"]
    for mode, name, spearman, (low, high), regret, *fitted in built.rows:
        assert [spearman, low, high] == values["predictors"][mode][name]["spearman"]
        assert regret == values["predictors"][mode][name]["regret"]
        assert fitted[0] == values["predictors_training"][mode][name]["spearman"][0]
    for mode, forgetting in values["forgetting"].items():  # the summary by hand
        mean = np.array(forgetting).mean(axis=0)
        assert values["summary"][mode]["ratio"] == pytest.approx(mean.max() / mean.min())
    prefixes = 5 + 5 * 4 + 5 * 4 * 3 + 2 * math.factorial(5)
    assert {s["stages"] for end in ("", "_training") for s in values["summary" + end].values()} == {prefixes}
    assert built.data["steps"] == prefixes * built.data["seeds"] * len(values["forgetting"]) == 3900
