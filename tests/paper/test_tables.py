"""Tables on their data, their provenance, and what a wrong one would look like."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crossmodal.paper import build, document, tabular, trace
from crossmodal.paper.results import Data, Provenance, typed_numbers
from crossmodal.paper.stored import load_stored
from crossmodal.paper.tables import published
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import metrics


@pytest.fixture(scope="module")
def table(features: Any) -> Any:
    return cache(lambda name: tabular.make(name, features, 0))


@pytest.mark.parametrize("name", tabular.registry())
def test_every_table_is_data_with_provenance(name: str, table: Any) -> None:
    built = table(name)
    json.dumps(built.record(), allow_nan=False)
    assert built.rows
    assert typed_numbers(tabular.module(name).CAPTION) == []
    assert built.data.provenance.sources
    assert len(built.markdown().splitlines()) == len(built.rows) + 4


@pytest.mark.slow
def test_the_embedded_models_are_judged_anew(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far above chance, near the cards and not them; a dual encoder that has learned nothing is seen."""
    pytest.importorskip("transformers", reason="the extra 'vlm' is not installed, so no shipped model was run")
    from crossmodal.vlm_validation import embedded_models as models
    from crossmodal.vlm_validation import train_embedded

    found = table("embedded_models").data.values
    assert len(found["rows"]) == 16
    assert found["ratio"] > 8
    assert found["matching"] > 0.75
    assert 0 < found["apart"] < 0.1, "other scenes, so not the cards' own numbers"
    trained = models.load_clip
    torch.manual_seed(0)
    monkeypatch.setattr(models, "load_clip", lambda world: (models.build_clip().eval(), trained(world)[1]))
    fused = {  # the same encoders on the same scenes: judged above
        world: {
            title: {"value": value, "chance": chance, "scenes": scenes}
            for place, kind, title, value, _, chance, scenes in found["rows"]
            if (place, kind) == (world, "fused")
        }
        for world in ("high", "low")
    }
    monkeypatch.setattr(train_embedded, "judge_fused", lambda world, *_: fused[world])
    untrained = tabular.module("embedded_models").compute(None, 0).values
    assert [row for row in untrained["rows"] if row[1] == "fused"] == [
        row for row in found["rows"] if row[1] == "fused"
    ]
    assert untrained["ratio"] < 3


def test_published_values_are_those_of_the_file(table: Any) -> None:
    told = json.loads(published.FILE.read_text())
    rows = {(row[0], row[1]): row for row in table("published").rows}
    assert rows["worst over best order", "all orders"][2:4] == [
        told["T3_total_forgetting_frozen"]["coco"]["ViT-B/16"]["ratio"], told["T3_total_forgetting_frozen"]["cub"]["all"]["ratio"]
    ]  # fmt: skip
    # the digest gives CUB's correlations as one range, over all encoders
    correlation = rows["cost against forgetting", "Pearson, cumulative Con_IT, all encoders"]
    assert list(correlation[3]) == told["T3_total_forgetting_frozen"]["cub"]["all"]["pearson_range"]
    assert rows["cost against forgetting", "Pearson, cumulative Con_IT"][3] is None
    assert all("epoch 10" in how for what, how in rows if what.startswith("R²") and "frozen" not in how)
    trained = table("published").data["trained"]
    assert all(row[4] is not None for row in table("published").rows[:-trained])
    assert all(row[5] is not None for row in table("published").rows)


def test_every_published_number_is_in_the_table(table: Any) -> None:
    """But for the protocol, and for forgetting in nats through other encoders, which no data of ours can speak to."""

    def leaves(value: Any, path: str = "") -> dict[str, Any]:
        if isinstance(value, dict):
            return {k: v for key, x in value.items() for k, v in leaves(x, f"{path}/{key}").items()}
        if isinstance(value, list):
            return {k: v for i, x in enumerate(value) for k, v in leaves(x, f"{path}/{i}").items()}
        return {path: value}

    told = leaves(json.loads(published.FILE.read_text()))
    shown = {
        x
        for row in table("published").rows
        for cell in row[2:4]
        for x in (cell if isinstance(cell, tuple) else (cell,))
    }
    absent = {path for path, value in told.items() if value not in shown}
    encoders = {
        f"/T3_total_forgetting_frozen/coco/{e}/{end}"
        for e in ("RN50", "ViT-B/32")
        for end in ("best", "worst", "ratio", "pearson")
    }
    assert {path for path in absent if not path.startswith(("/source", "/protocol"))} <= encoders


def test_published_numbers_keep_their_digits(table: Any) -> None:
    written = set(re.findall(r"-?\d+\.\d+", published.FILE.read_text()))
    shown = [text for row in table("published").printed for text in row[2:4]]
    quoted = {number for text in shown for number in re.findall(r"-?\d+\.\d+", text)}
    assert {"2.011", "0.50", "0.90"} <= quoted <= written


def test_rows_of_trained_encoders_by_hand(table: Any) -> None:
    rows = {
        (row[0], row[1].split(",")[0], row[1].split(",")[-1]): row
        for row in table("published").rows[-table("published").data["trained"] :]
    }
    drift = load_stored("e1_drift")["values"]
    low = load_stored("adapted_low")["values"]
    assert rows["CLV after training", "lambda 5", " adaptive in full"][6] == pytest.approx(np.mean(low["clv"][2]))
    (auroc,) = (row for row in rows.values() if row[0] == "OOD, pairs" and "lambda 1" in row[1])
    assert auroc[5] == pytest.approx(np.mean(load_stored("adapted_high")["values"]["auroc"][1]))
    (signs,) = (row for row in rows.values() if row[0].startswith("transitions"))
    pairs, transition = drift["table"]["frozen"]["pairs"], drift["table"]["frozen"]["transition"]
    found = []
    for t in range(4):
        turned = [
            ce * (ce + clip) < 0
            for p, ce, clip in zip(pairs, transition["ce"][-1], transition["clip"][-1], strict=True)
            if p == [t, t + 1]
        ]
        found += [f"E{t + 1}->E{t + 2}"] if all(turned) else []
    assert signs[5] == (", ".join(found) or "none")


def test_ours_by_hand(table: Any, features: Any) -> None:
    """Best and worst order from the matrices R themselves, the rule by enumeration."""
    from itertools import pairwise

    from crossmodal.vlm_validation.orders import train_orders
    from crossmodal.vlm_validation.scores import score_matrices

    runs = train_orders(features, progress=False)
    total = np.array([(R[-1] - np.diagonal(R[1:]))[:-1].sum() for R in runs.loss[0]])
    con = score_matrices(features)["IT"]
    cost = np.array([sum(con[s, t] for s, t in pairwise(o)) for o in runs.orders.tolist()])
    rows = {(row[0], row[1]): row[4] for row in table("published").rows}
    assert rows["forgetting, best order", "loss, sum over environments (paper)"] == pytest.approx(total.min())
    assert rows["forgetting, worst order", "loss, mean over environments (paper)"] == pytest.approx(total.max() / 4)
    assert rows["regret of the rule", "over the best order"] == pytest.approx(total[cost.argmin()] / total.min() - 1)
    assert rows["cost against forgetting", "Pearson, cumulative Con_IT"] == pytest.approx(
        np.corrcoef(cost, total)[0, 1]
    )


@pytest.mark.parametrize(
    ("pearson", "regret", "words"),
    [(0.9, 0.0, "credited"), (0.1, 0.0, "chooses well"), (0.1, 0.2, "does not explain"), (0.9, 0.2, "does not find")],
)
def test_the_conclusion_follows_the_numbers(pearson: float, regret: float, words: str) -> None:
    nothing = dict.fromkeys(published.Measured.__dataclass_fields__, 0.0)
    assert words in published.conclusion(published.Measured(**{**nothing, "pearson": pearson, "regret": regret}))


def test_conventions_are_those_of_the_metrics(table: Any) -> None:
    built = table("metric_conventions")
    assert [row[0] for row in built.rows] == [*metrics.CONVENTIONS, "zscl"]
    R = np.array(built.data["R"])
    column = built.columns.index("forgetting")
    for row in built.rows[:-1]:
        assert row[column] == float(metrics.forgetting(R, convention=row[0]))
    *_, transfer, avg, last = built.rows[-1]
    assert built.columns[-3:] == ["transfer", "avg", "last"]
    T = R.shape[1]
    assert transfer == pytest.approx(np.mean([R[1 : j + 1, j].mean() for j in range(1, T)]))
    assert (avg, last) == pytest.approx((R[1:].mean(), R[T].mean()))
    assert built.rows[-1][1:-3] == [None] * (len(built.columns) - 4)


def test_an_uneven_table_is_refused(monkeypatch: pytest.MonkeyPatch, features: Any) -> None:
    class Wrong:
        CAPTION = "A table whose second row lacks a cell, which nobody should print."

        @staticmethod
        def compute(features: Any, seed: int) -> Data:
            return Data({"columns": ["a", "b"], "rows": [[1, 2], [3]]}, Provenance(("E3",), "", "", seed))

    monkeypatch.setattr(tabular, "module", lambda name: Wrong)
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        tabular.make("wrong", features, 0)


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(InputError, match=r"no table 'nothing'(.|\n)*published"):
        tabular.module("nothing")


def test_cells() -> None:
    values = [None, float("nan"), True, False, 0.12345, 1234.5, (0.5, 1.0), 7, "text"]
    assert [tabular.cell(x) for x in values] == ["", "", "yes", "no", "0.123", "1.23e+03", "0.5 to 1", "7", "text"]


def test_markdown_by_hand() -> None:
    data = Data(
        {"columns": ["name", "|x|"], "rows": [["a|b", 0.12345], ["c", None]]}, Provenance(("E3",), "", "", 7, "0")
    )
    assert tabular.BuiltTable("some", data, "Two rows.", "").markdown() == (
        "| name | \\|x\\| |\n| --- | --- |\n| a\\|b | 0.123 |\n| c |  |\n\nTwo rows. (E3; seed 7; crossmodal 0)\n"
    )


def test_tables_are_on_the_page_in_latex_and_traced(table: Any, features: Any, tmp_path: Path) -> None:
    tables = [table(name) for name in tabular.registry()]
    page = document.page([], features, 0, tables)
    source = document.paper_tex([], features, 0, tables)
    for built in tables:
        assert f'id="{built.name}"' in page
        assert built.data.provenance.line().split(";")[0].replace("_", r"\_") in source
    (tmp_path / trace.FILE).write_text(trace.dumps([], tables), encoding="utf-8")
    ratio = next(row for row in table("published").rows if row[0] == "worst over best order")[4]
    origins = trace.trace(tabular.cell(ratio), tmp_path)
    assert any(o["figure"] == "published" and "these features" in o["field"] for o in origins)


def test_a_table_is_built_by_name(tmp_path: Path) -> None:
    paths = build.build(["kernel_targets"], None, tmp_path, 0)
    assert [p.name for p in paths] == ["kernel_targets.json", "kernel_targets.md"]
