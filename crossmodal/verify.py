"""`crossmodal verify`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from crossmodal import __version__, dashboard
from crossmodal.theory import registry
from crossmodal.theory.certify import check_folder, whose
from crossmodal.theory.certify import rewrite as derive_and_store
from crossmodal.theory.errors import counted
from crossmodal.theory.own_claims import is_own

from . import terminal


def wanted(claims: tuple[str, ...]) -> list[str]:
    """The claims asked for, in the theory's order, then files of one's own; what is no claim is refused before any work."""
    if not claims:
        return list(registry.modules())
    asked = {registry.get(c).id: c for c in claims}
    own = [c for c in asked.values() if is_own(c)]
    return [c for c in registry.modules() if c in asked] + own


def check_alone(folder: Path) -> int:
    """The small checker over a folder of certificates, and whether each states what the claim it names does."""
    rows, bad = [], 0
    for name, reason, goals in check_folder(folder):
        if goals is None:
            bad += 1
            rows.append([name, "rejected", "", reason])
            continue
        statement = whose(json.loads((folder / name).read_text(encoding="utf-8")))
        bad += statement.startswith("not ")
        rows.append([name, "accepted", statement, ", ".join(goals)])
    columns = [("file", "left"), ("checker", "left"), ("statement", "left"), ("goals / reason", "left")]
    terminal.table(f"certificates in {folder}", columns, rows)
    return 1 if bad else 0


def rewrite(claims: tuple[str, ...]) -> int:
    for claim_id in wanted(claims):
        claim = registry.get(claim_id)
        if claim.derive is not None:
            path = derive_and_store(claim)
            print(path if is_own(claim_id) else path.name)
    return 0


def verify(claims: tuple[str, ...], settings: dashboard.Settings, jobs: int | None, json_path: Path | None) -> int:
    """Run the dashboard and print it; 0 when every verdict is as registered."""
    ids = wanted(claims)
    measured = dashboard.features(settings)  # a bad file is refused here, before any work
    start = time.perf_counter()
    with terminal.progress() as bar:
        task = bar.add_task("checking claims", total=len(ids))
        rows = dashboard.run(ids, settings, jobs=jobs, done=lambda row: bar.advance(task))
    seconds = time.perf_counter() - start
    if json_path is not None:
        record = {
            "crossmodal": __version__,
            "settings": asdict(settings),
            "features": {"source": measured.source, "hash": measured.content_hash(), "notes": list(measured.notes)},
            "claims": [{**asdict(row), "as_registered": row.as_registered} for row in rows],
        }
        terminal.write_json(json_path, record)
    if json_path is None or str(json_path) != "-":
        print_rows(rows, measured)
        if settings.statements:
            print_mutants(rows)
    failed = [row for row in rows if not row.as_registered]
    if str(json_path) != "-":
        counts = {v: sum(r.verdict == v for r in rows) for v in ("PROVED", "REFUTED", "UNDECIDED")}
        tried = sum(r.mutants[0] for r in rows)
        killed = sum(r.mutants[1] for r in rows)
        print(
            f"{', '.join(f'{n} {v}' for v, n in counts.items() if n)}; {killed} of {counted(tried, 'certificate mutant')} rejected; "
            f"{counted(sum(r.models for r in rows), 'exact model')}; {seconds:.1f} s"
        )
        for row in failed:
            for problem in row.problems or (f"{row.verdict}, registered as {row.registered}",):
                print(f"{row.claim}: {problem}")
            if row.witness is not None and row.registered != "REFUTED":
                print("\n".join(f"  {name} = {rows_}" for name, rows_ in row.witness["inputs"].items()))
    return 1 if failed else 0


def print_mutants(rows: list[dashboard.Row]) -> None:
    """Who killed the mutants: the checker those of certificates, witnesses and property tests those of statements."""
    killers = ("witness", "property test", "equivalent", "survived")
    columns = [("claim", "left"), ("checker", "right"), *((k, "right") for k in killers)]
    counts = []
    for row in rows:
        tried, rejected = row.mutants
        *killed, survived = (row.statement_mutants.get(k, 0) for k in killers)
        counts.append([rejected, *killed, survived + tried - rejected])
    cells: list[list[object]] = [[row.claim, *count] for row, count in zip(rows, counts, strict=True)]
    cells.append(["all", *map(sum, zip(*counts, strict=True))])
    terminal.table("mutants by who killed them ('equivalent': proved to be true as well)", columns, cells)


def print_rows(rows: list[dashboard.Row], measured: object) -> None:
    """The verdicts; a narrow terminal gets three columns, with the measurement under the title."""
    source = getattr(measured, "source", "features")
    title = f"verdicts; measured on {source}"
    if terminal.console.is_terminal and terminal.console.width < 110:
        narrow = [("claim", "left"), ("verdict", "left"), ("theorem, and on these features", "left")]
        terminal.table(
            title,
            narrow,
            [[r.claim, terminal.verdict(r.verdict), f"{r.title}\n  {r.measurement['summary']}"] for r in rows],
        )
    else:
        wide = [
            ("claim", "left"), ("theorem", "left"), ("verdict", "left"), ("mutants killed", "right"), ("exact models", "right"),
            ("tight", "left"), ("trusts", "left"), ("on these features", "left"),
        ]  # fmt: skip
        terminal.table(title, wide, [wide_cells(row) for row in rows])
    for note in getattr(measured, "notes", ()):
        terminal.say(f"note: {note}")


def wide_cells(row: dashboard.Row) -> list[object]:
    tight = "yes" if row.tight and all(a and b for _, _, a, b in row.tight) else "identity" if row.identity else "no"
    mutants = f"{row.mutants[1]}/{row.mutants[0]}" if row.mutants[0] else "-"
    return [
        row.claim, row.title, terminal.verdict(row.verdict), mutants, row.models, tight, ", ".join(row.trust) or "-",
        row.measurement["summary"],
    ]  # fmt: skip
