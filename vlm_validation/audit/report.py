"""All parts of an audit in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ... import __version__
from .assumptions import Check, checks
from .curvature import Curvature, curvature
from .drift import Drift, drift
from .ledger import Ledger, ledgers
from .reliance import Reliance, reliance
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
            "transitions": [t.to_dict() for t in self.transitions],
            "notes": list(run.notes),
        }  # fmt: skip


def audit(run: Run, *, seed: int = 0, advance: Callable[[], None] = lambda: None) -> Audit:
    """Every transition of a run.

    Args:
        seed: of the bootstrap.
        advance: called after each transition.
    """
    found = []
    for before, after in run.transitions:
        moved, books = drift(run, before, after), ledgers(run, before, after)
        bends = [curvature(run, after, e) for e in run.environments] if run.heads else []
        relied = reliance(run, before, after, seed=seed)
        judged = checks(run, before, after, moved, books, bends)
        found.append(
            Transition(run.name(run.order[before]), moved, tuple(books), tuple(bends), tuple(relied), tuple(judged))
        )
        advance()
    return Audit(run, tuple(found))
