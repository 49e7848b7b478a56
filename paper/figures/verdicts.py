"""The verdict of every claim, and what was done to earn it (the rows of `crossmodal verify`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import style
from .. import verdicts as dashboard
from ..mathml import marked
from ..results import Data, provenance

COLUMNS = ("certificate", "mutants", "exact models", "tight", "assumptions", "features", "witness")
LEFT, RIGHT = -11.3, 8.6  # where titles begin and verdicts end, in columns
PASSED, EMPTY, FAILED = 1, 0, -1
CAPTION = (
    "Every claim and what it withstood: {proved} PROVED, {refuted} REFUTED, {undecided} UNDECIDED of {count}.  Filled: passed; "
    "ring: does not apply (an identity or a separation has no slack to be tight in; a claim that no features enter is not measured) or is undecided; cross: "
    "failed.  certificate: the checker accepts what was derived now and it equals what is stored.  mutants: {killed} of "
    "{tried} altered certificates rejected.  exact models: no violation on {models} models in rationals.  tight: at least one of its bounds "
    "fails when it is one percent smaller.  assumptions: each one dropped has an exact counterexample.  features: no violation beyond its "
    "proven rounding error unless an assumption fails there.  witness: a false claim has an exact counterexample, for which it is REFUTED."
)


def compute(features: Any, seed: int) -> Data:
    found = dashboard.rows(features, seed)
    count = {v: sum(r.verdict == v for r in found) for v in style.VERDICTS}
    return Data(
        values={
            "claims": [r.claim for r in found], "titles": [r.title for r in found], "verdicts": [r.verdict for r in found],
            "cells": [cells(r) for r in found], "columns": list(COLUMNS), "count": len(found), "proved": count["PROVED"],
            "refuted": count["REFUTED"], "undecided": count["UNDECIDED"], "tried": sum(r.mutants[0] for r in found),
            "killed": sum(r.mutants[1] for r in found), "models": sum(r.models for r in found if r.registered != "REFUTED"),
        },
        provenance=provenance([r.claim for r in found], features, seed),
    )  # fmt: skip


def cells(row: Any) -> list[int]:
    """One mark for each of COLUMNS."""

    def mark(applies: object, passed: bool) -> int:
        return (PASSED if passed else FAILED) if applies else EMPTY

    measured, refuted = row.measurement, row.registered == "REFUTED"
    decided = measured["violations"] or not measured["undecided"]
    return [
        mark(row.registered == "PROVED", row.certificate == "accepted" or row.verdict == "PROVED"),
        mark(row.mutants[0], row.mutants[0] == row.mutants[1]),
        mark(row.models and not refuted, row.witness is None),
        mark(row.tight, all(holds and fails for _, _, holds, fails in row.tight)),
        mark(row.necessity, all(all(both) for both in row.necessity.values())),
        mark(
            measured["instances"] and decided and not refuted,
            not measured["violations"] or bool(measured["assumptions_violated"]),
        ),
        mark(refuted, row.witness is not None),
    ]


def title(text: str) -> str:
    """With its scripts raised and lowered (``p^2``)."""
    signs = {"sup": "^", "sub": "_"}
    return "".join(f"${signs[kind]}{{{part}}}$" if kind in signs else part for kind, part in marked(text))


def draw(data: Data) -> Any:
    n = len(data["claims"])
    line = 0.155
    figure, axes = style.canvas(style.TEXT, 0.75 + line * n)
    y = np.arange(n)
    table = np.array(data["cells"])
    for value, marker, face in ((PASSED, "o", "full"), (EMPTY, "o", "none"), (FAILED, "X", "full")):
        row, column = np.nonzero(table == value)
        colour = [
            style.VERDICTS[data["verdicts"][k]] if value == PASSED else style.RED if value == FAILED else style.GREY
            for k in row
        ]
        axes.scatter(
            column,
            row,
            s=26,
            marker=marker,
            linewidths=0.7,
            edgecolors=colour,
            facecolors="none" if face == "none" else colour,
        )
    for k in y:
        verdict = data["verdicts"][k]
        axes.text(LEFT + 0.05, k, data["claims"][k], va="center", weight="bold")
        axes.text(LEFT + 1.35, k, title(data["titles"][k]), va="center", fontsize=7)
        axes.text(len(COLUMNS) - 0.5, k, verdict, va="center", color=style.WORDS[verdict], weight="bold", fontsize=7)
    axes.hlines(y + 0.5, LEFT, RIGHT, color="black", linewidth=0.15)
    axes.set_xlim(LEFT, RIGHT)
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks(range(len(COLUMNS)), data["columns"], rotation=30, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
