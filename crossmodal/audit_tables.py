"""The tables of `crossmodal audit`."""

from __future__ import annotations

from crossmodal.vlm_validation.audit import Audit
from crossmodal.vlm_validation.audit.contrastive import DIRECTIONS
from crossmodal.vlm_validation.audit.ledger import Ledger
from crossmodal.vlm_validation.audit.reliance import LEVEL, comparisons
from crossmodal.vlm_validation.audit.report import Transition

from . import terminal

Columns = list[tuple[str, str]]
NAME = 11  # letters of an environment's name that a narrow terminal keeps on one line
THEOREMS = {  # which theorem splits off a term
    "encoder": "C1", "step, covariances": "T1.3", "step, other": "T1.2", "step": "T1.1", "curvature": "T1.2", "all pairs": "T1.5",
    "matched pairs": "T1.5", "beyond": "T1.5", "CE": "T1.6", "lambda CLIP": "T1.6",
}  # fmt: skip


def report(found: Audit) -> None:
    """The verdict in short, tables of every transition, then what was forgotten over all of them."""
    in_short(found)
    for transition in found.transitions:
        show(transition)
    forgotten(found)
    run = found.run
    print(
        f"{f'fusion {run.fusion}, p {run.p:g}, q {run.q:g}, ' if run.heads else ''}tau {run.tau:g}, lambda {run.weight:g}; every ledger adds up "
        f"to its loss change within {found.closing:.1e} nats"
    )
    print(
        f"intervals of contributions hold for all {comparisons(run)} of this audit together at {LEVEL:.0%} (bootstrap of the largest deviation, "
        "Bonferroni over environments), for other samples and their mean features; those of accuracies one by one (Agresti and Min)"
    )
    if not run.heads:
        print("note: no heads, so no cross-entropy and no curvature; pass --heads once for every stage to have them")
    for note in run.notes:
        terminal.say(f"note: {note}")


def in_short(found: Audit) -> None:
    """A row a transition: what was forgotten since, what accuracy hides, and which theorems' assumptions failed."""
    lost = {f.environment: f for f in found.forgetting}
    last = {t.learnt: k for k, t in enumerate(found.transitions)}
    lines = []
    for k, t in enumerate(found.transitions):
        f = lost.get(t.learnt) if last[t.learnt] == k else None  # learnt once more, it is the later row's
        hidden = [f"{modality} of {r.environment}" for r in t.reliance for modality in r.hidden]
        failed = [c.theorem for c in t.checks if not c.holds]
        forgot = [nats(f.forgotten), term(f.largest) if f.largest else "-"] if f else ["-", "-"]
        lines.append([t.learnt, *forgot, few(hidden), ", ".join(failed) or "-"])
    texts = ("largest term", "hidden meanwhile", "assumptions that fail")
    head: Columns = [("learnt", "left"), ("forgotten", "right"), *((name, "left") for name in texts)]
    loss = next((f"forgotten since learnt ({f.loss}, nats), " for f in found.forgetting), "")
    terminal.table(f"in short: {loss}hidden and failed; explained below", head, lines)


def few(names: list[str]) -> str:
    """The first three; the tables have them all."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "-"


def nats(x: float) -> str:
    """Four decimals; the size alone where these say nothing, and zero for rounding."""
    x = 0.0 if abs(x) < 1e-12 else x
    return f"{x:+.4f}" if x == 0 or 5e-5 <= abs(x) < 1e5 else f"{x:+.1e}"


def share(x: float) -> str:
    """A change of a contribution or an accuracy: three decimals, and no sign on nothing."""
    return f"{0.0 if abs(x) < 5e-4 else x:+.3f}"


def interval(value: float, low: float, high: float) -> str:
    return f"{share(value)} [{share(low)}, {share(high)}]"


def term(name: str) -> str:
    """An entry with the theorem it is a term of."""
    return f"{name} ({next(t for start, t in THEOREMS.items() if name.startswith(start))})"


def by_environment(title: str, first: str, names: list[str], rows: list[list[str]]) -> None:
    """A table with a column an environment; on a narrow terminal several, so that no number is broken.

    Args:
        first: title of the first column.
        names: of the environments.
        rows: a label and a cell an environment.
    """
    label = min(max(len(row[0]) for row in rows), 26)
    widest = max(len(word) for row in rows for cell in row[1:] for word in cell.split())
    widest = max(widest, min(NAME, max(len(name) for name in names)))
    fit = max((terminal.console.width - label - 4) // (widest + 3), 1) if terminal.console.is_terminal else len(names)
    for start in range(0, len(names), fit):
        part = slice(start, start + fit)
        columns: Columns = [(first, "left"), *((name, "right") for name in names[part])]
        terminal.table(
            title if start == 0 else f"{title.split(':')[0]}, continued",
            columns,
            [[row[0], *row[1:][part]] for row in rows],
        )


def show(t: Transition) -> None:
    """One transition."""
    drift(t)
    for kind in ("CE", *DIRECTIONS, "total"):
        books = [b for b in t.ledgers if b.loss == kind]
        if books:
            ledger(kind, books)
    if t.curvature:
        curvature(t)
    relied(t)
    head: Columns = [("theorem", "left"), ("assumption", "left"), ("", "left"), ("so", "left")]
    lines = [[c.theorem, c.assumption, f"holds, {c.measured:.3g} <= {c.limit:.3g}" if c.holds else f"FAILS, {c.measured:.3g} > {c.limit:.3g}", c.means]
             for c in t.checks]  # fmt: skip
    terminal.table(f"assumptions while learning {t.learnt}", head, lines)


def drift(t: Transition) -> None:
    """How far features and scores moved."""
    moved, change = t.drift.movements, t.drift.change
    rows = [
        ["image features moved by", *(f"{m.image:.4f}" for m in moved)],
        ["text features moved by", *(f"{m.text:.4f}" for m in moved)],
        *([f"change of Con_{key}", *(nats(x) for x in change[key].diagonal())] for key in ("II", "IT", "TT")),
        ["|change of Con_IT| <= (S6)", *(f"{x:.4f}" for x in t.drift.bound.diagonal())],
        ["change of CLV", *(nats(m.clv) for m in moved)],
    ]
    title = (
        f"while learning {t.learnt}: features (root mean square) and scores of each environment with itself; of all scores Con_IT none took "
        f"more than {t.drift.used:.0%} of what S6 allows"
    )  # fmt: skip
    by_environment(title, "drift", [m.environment for m in moved], rows)


def curvature(t: Transition) -> None:
    """Certified ends of the largest eigenvalue, its bounds, and T3.1."""
    bends = t.curvature
    rows = [
        ["largest, cross-entropy: from", *(f"{c.low:.4f}" for c in bends)],
        ["to", *(f"{c.high:.4f}" for c in bends)],
        ["this end rests on", *(c.rests_on for c in bends)],
        ["at any head, at most (T1.2)", *(f"{c.everywhere:.4f}" for c in bends)],
        ["largest, squared loss", *(f"{c.squared:.4f}" for c in bends)],
    ]
    if all(c.modality_bound is not None for c in bends):
        rows.append(["at most, by modality (T3.2)", *(f"{c.modality_bound:.4f}" for c in bends)])
    rows.append(["CE by the head's move (nats)", *(nats(c.head) for c in bends)])
    rows.append(["at most (T3.1)", *(nats(c.allowed) for c in bends)])
    by_environment(
        "curvature in the head after it, and what T3.1 makes of it", "curvature", [c.environment for c in bends], rows
    )


def ledger(kind: str, books: list[Ledger]) -> None:
    """One loss of all environments."""
    lines = [[term(name), *(nats(b.entries[name]) for b in books)] for name in books[0].entries]
    lines.append(["change", *(nats(b.change) for b in books)])
    if any("lambda_star" in b.facts for b in books):
        stars = (f"{b.facts['lambda_star']:.3g}" if "lambda_star" in b.facts else "" for b in books)
        lines.append(["changes sign at lambda (T1.6)", *stars])
    name = "CE + lambda CLIP" if kind == "total" else kind
    by_environment(f"{name}: what its change is made of (nats)", "term", [b.environment for b in books], lines)


def relied(t: Transition) -> None:
    """Contributions beside accuracy."""
    rows = [
        *(
            [f"{name}, change", *(interval(r.change[k], r.low[k], r.high[k]) for r in t.reliance)]
            for k, name in enumerate(("image", "text"))
        ),
        ["accuracy", *(f"{r.accuracy[1]:.2f}" for r in t.reliance)],
        ["accuracy, change", *(interval(*r.accuracy_change) for r in t.reliance)],
        ["hidden", *(", ".join(r.hidden) or "-" for r in t.reliance)],
    ]
    title = (
        "contribution of each modality (C1); hidden: it moved, up or down, and the interval of the accuracy holds zero"
    )
    by_environment(title, "contribution", [r.environment for r in t.reliance], rows)


def forgotten(found: Audit) -> None:
    """What was lost since each environment was learnt, by what, and what to try."""
    rows = found.forgetting
    if not rows:
        return
    lines = [
        [f.environment, nats(f.forgotten), f"{term(f.largest)} {nats(f.entries[f.largest])}" if f.largest else "-"]
        for f in rows
    ]
    head: Columns = [("environment", "left"), ("forgotten", "right"), ("the term that added most", "left")]
    terminal.table(f"forgotten since learnt ({rows[0].loss}, nats; below zero: improved)", head, lines)
    for name, advice in {f.largest: f.advice for f in rows if f.advice}.items():
        print(f"{term(name)}: {advice}")
