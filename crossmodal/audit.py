"""`crossmodal audit`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from crossmodal.vlm_validation.audit import Audit, read_run
from crossmodal.vlm_validation.audit import audit as run_audit
from crossmodal.vlm_validation.audit.report import Transition

from . import terminal


def audit(
    files: Sequence[Path], heads: Sequence[Path], order: Sequence[str], fusion: str | None, p: float, q: float, tau: float, weight: float,
    normalise: bool, seed: int, json_path: Path | None, demo: bool, folder: Path | None, data: str | None = None,
) -> None:  # fmt: skip
    """Print the audit of a run, or write it as JSON."""
    made = demo or data is not None
    keep = nullcontext(str(folder)) if folder is not None or not made else tempfile.TemporaryDirectory()
    with keep as place:
        if demo:
            from crossmodal.vlm_validation.audit.demo import ENVIRONMENTS, PROTOCOL, write_demo

            with terminal.progress() as bar:
                task = bar.add_task("training the demonstration", total=ENVIRONMENTS + 1)
                files, heads = write_demo(Path(place), seed=seed, advance=lambda: bar.advance(task))
            tau, weight = PROTOCOL.tau, PROTOCOL.weight
        elif data is not None:
            files = extracted(files, data, Path(place))
        run = read_run(files, heads, order, fusion=fusion, p=p, q=q, tau=tau, weight=weight, normalise=normalise)
        with terminal.progress() as bar:
            task = bar.add_task("auditing", total=len(run.transitions))
            found = run_audit(run, seed=seed, advance=lambda: bar.advance(task))
    if json_path is not None:
        terminal.write_json(json_path, found.to_dict())
        if str(json_path) == "-":
            return
    report(found)


def extracted(models: Sequence[Path], data: str, folder: Path) -> list[Path]:
    """Features files of a data set through every checkpoint, in the order given."""
    from crossmodal.vlm_validation.datasets import open_pairs
    from crossmodal.vlm_validation.encoders import load_encoder
    from crossmodal.vlm_validation.extract import extract_features

    folder.mkdir(parents=True, exist_ok=True)
    pairs = open_pairs(data)
    out = []
    for k, model in enumerate(models):
        out.append(folder / f"stage_{k}.npz")
        extract_features(load_encoder(str(model)), pairs, out[-1], overwrite=True, say=terminal.errors.print)
    return out


def report(found: Audit) -> None:
    """Tables of every transition."""
    for transition in found.transitions:
        show(transition)
    run = found.run
    words = (
        f"fusion {run.fusion}, p {run.p:g}, q {run.q:g}, "
        if run.heads
        else "no heads, so no cross-entropy and no curvature; "
    )
    print(
        f"{words}tau {run.tau:g}, lambda {run.weight:g}; every ledger adds up to its loss change within {found.closing:.1e} nats; "
        "intervals are 95 % over resampled samples"
    )
    for note in run.notes:
        print(f"note: {note}")


def show(t: Transition) -> None:
    """One transition."""
    columns = [("environment", "left"), *((x, "right") for x in ("image rms", "text rms", "dCLV"))]
    rows = [[m.environment, f"{m.image:.4f}", f"{m.text:.4f}", f"{m.clv:+.4f}"] for m in t.drift.movements]
    terminal.table(
        f"while learning {t.learnt}: how far features moved (S6: scores took {t.drift.used:.0%} of their bound)",
        columns,
        rows,
        titled=True,
    )
    for kind in ("CE", "CLIP, image to text", "CLIP, text to image", "total"):
        books = [b for b in t.ledgers if b.loss == kind]
        if not books:
            continue
        columns = [("term", "left"), *((b.environment, "right") for b in books)]
        lines = [[name, *(f"{b.entries[name]:+.4f}" for b in books)] for name in books[0].entries]
        lines.append(["change", *(f"{b.change:+.4f}" for b in books)])
        if any("lambda_star" in b.facts for b in books):
            lines.append(
                [
                    "lambda* (T1.6)",
                    *(f"{b.facts['lambda_star']:.3g}" if "lambda_star" in b.facts else "" for b in books),
                ]
            )
        terminal.table(f"{kind}: what its change is made of (nats)", columns, lines, titled=True)
    if t.curvature:
        columns = [
            ("environment", "left"),
            *((x, "right") for x in ("lmax of CE", "+-", "<= T1.2", "lmax E[zz']", "<= T3.2")),
        ]
        lines = [[c.environment, f"{c.ce:.4f}", f"{c.error:.0e}", f"{c.softmax_bound:.4f}", f"{c.squared:.4f}",
                  "" if c.modality_bound is None else f"{c.modality_bound:.4f}"] for c in t.curvature]  # fmt: skip
        terminal.table("curvature in the head", columns, lines, titled=True)
    columns = [
        ("environment", "left"),
        *((x, "right") for x in ("image", "text", "accuracy", "d accuracy")),
        ("hidden", "left"),
    ]
    lines = [
        [r.environment, *(f"{r.change[k]:+.3f} [{r.low[k]:+.3f}, {r.high[k]:+.3f}]" for k in range(2)), f"{r.accuracy[1]:.2f}",
         "{:+.3f} [{:+.3f}, {:+.3f}]".format(*r.accuracy_change), ", ".join(r.hidden)]
        for r in t.reliance
    ]  # fmt: skip
    terminal.table(
        "change of each modality's contribution (C1); hidden: moved while the accuracy did not",
        columns,
        lines,
        titled=True,
    )
    columns = [("theorem", "left"), ("assumption", "left"), ("measured", "right"), ("limit", "right"), ("", "left")]
    lines = [[c.theorem, c.assumption, f"{c.measured:.3g}", f"{c.limit:.3g}", "holds: " + c.means if c.holds else "FAILS; not available: " + c.means]
             for c in t.checks]  # fmt: skip
    terminal.table("assumptions", columns, lines, titled=True)
