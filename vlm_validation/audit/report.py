"""All parts of an audit in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ... import __version__
from ...theory.errors import InputError
from .assumptions import Check, checks
from .books import ledgers
from .curvature import Curvature, curvature
from .drift import Drift, drift
from .forgetting import Forgetting, forgetting
from .ledger import Ledger
from .reliance import LEVEL, PARTS, Reliance, comparisons, reliance
from .run import Run


@dataclass(frozen=True)
class Transition:
    """What happened while one environment was learnt.

    Attributes:
        learnt: name of the environment.
        drift, ledgers, curvature (after it; empty without heads), reliance, checks: see their modules.
    """

    learnt: str
    drift: Drift
    ledgers: tuple[Ledger, ...]
    curvature: tuple[Curvature, ...]
    reliance: tuple[Reliance, ...]
    checks: tuple[Check, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "learnt": self.learnt,
            "drift": self.drift.to_dict(),
            **{k: [x.to_dict() for x in getattr(self, k)] for k in ("ledgers", "curvature", "reliance", "checks")},
        }


@dataclass(frozen=True)
class Audit:
    """The audit of a run."""

    run: Run
    transitions: tuple[Transition, ...]

    @property
    def forgetting(self) -> list[Forgetting]:
        """Of every environment that others followed."""
        return forgetting([t.learnt for t in self.transitions], [t.ledgers for t in self.transitions])

    @property
    def closing(self) -> float:
        """The largest closing error of any ledger, in nats."""
        return max(abs(book.closing) for t in self.transitions for book in t.ledgers)

    def to_dict(self) -> dict[str, Any]:
        run = self.run
        return {
            "version": __version__,
            "stages": [{"source": PurePath(s.source).name, "features": s.content_hash()} for s in run.stages],
            "heads": [PurePath(h.source).name for h in run.heads],
            "order": [run.name(k) for k in run.order],
            "fusion": run.fusion, "p": run.p, "q": run.q, "tau": run.tau, "lambda": run.weight,
            "largest_closing_error": self.closing,
            "intervals": {"level": LEVEL, "contributions_together": comparisons(run)},
            "transitions": [t.to_dict() for t in self.transitions],
            "forgetting": [f.to_dict() for f in self.forgetting],
            "notes": list(run.notes),
        }  # fmt: skip


def audit(run: Run, *, seed: int = 0, advance: Callable[[], None] = lambda: None) -> Audit:
    """Every transition of a run.

    Args:
        run: of `crossmodal.make_run`.
        seed: of the bootstrap, not negative.
        advance: called `steps(run)` times.

    Raises:
        InputError: a negative seed.
    """
    if seed < 0:
        raise InputError(f"seed {seed}", expected="0 or more", fix="seed=0")
    relied = {}
    for e in run.environments:
        relied[e] = reliance(run, e, seed=seed, advance=advance)
    found = []
    for k, (before, after) in enumerate(run.transitions):
        moved = drift(run, before, after)
        books: list[Ledger] = []
        bends = []
        for e in run.environments:
            own = ledgers(run, before, after, e)
            books += own
            if run.heads:
                bends.append(curvature(run, after, e, own[0]))
            advance()
        judged = checks(run, before, after, moved, books, bends)
        found.append(
            Transition(
                run.name(run.order[before]),
                moved,
                tuple(books),
                tuple(bends),
                tuple(relied[e][k] for e in run.environments),
                tuple(judged),
            )
        )
    return Audit(run, tuple(found))


def steps(run: Run) -> int:
    """How often `audit` calls `advance`."""
    return len(run.environments) * ((1 + PARTS) * len(run.stages) + len(run.transitions))
