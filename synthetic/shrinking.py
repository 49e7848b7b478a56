"""From an instance that was found to one that a person can read: fewer rows, more zeros, smaller denominators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from .domains import DENOMINATORS, Inputs, Slot, to_rational, whole
from .evaluate import Judgement

Repair = Callable[[list[Slot], Inputs], Inputs | None]  # makes the equations of an instance hold again
Wanted = Callable[[Inputs], Judgement | None]  # an exact judgement where the instance is what is looked for


def weight(inputs: Inputs) -> int:
    """How much there is to read: digits, with a zero for almost nothing."""
    return sum(1 if x == 0 else 1 + len(str(x)) for rows in inputs.values() for row in rows for x in row)


def shrink(
    round_slots: list[Slot], inputs: Inputs, wanted: Wanted, budget: int, repair: Repair | None = None
) -> tuple[list[Slot], Inputs]:
    """Make an instance readable as long as it stays what is wanted; every step is confirmed exactly."""
    spent = 0
    improved = True
    while improved and spent < budget:
        improved = False
        for new_slots, candidate in simpler(round_slots, inputs):
            if candidate is None or weight(candidate) >= weight(inputs):
                continue
            spent += 1
            mended = candidate if repair is None else repair(new_slots, candidate)
            if mended is not None and weight(mended) < weight(inputs) and wanted(mended) is not None:
                candidate = mended
                round_slots, inputs, improved = new_slots, candidate, True
                break
            if spent >= budget:
                break
    return round_slots, inputs


def simpler(round_slots: list[Slot], inputs: Inputs) -> Iterator[tuple[list[Slot], Inputs | None]]:
    """Candidates: a size less, a coarser rounding, an entry 0 or a row equal to another."""
    for name in sorted({n for s in round_slots for n in s.sides if n and not n.isdigit()}):
        size = next(s.shape[s.sides.index(name)] for s in round_slots if name in s.sides)
        for k in range(size) if size > 1 else ():
            smaller = [
                replace(s, shape=(s.shape[0] - (s.sides[0] == name), s.shape[1] - (s.sides[1] == name)))
                for s in round_slots
            ]
            rows = {s.name: cut(s, inputs[s.name], name, k) for s in round_slots}
            repaired = {s.name: to_rational(s, rows[s.name], 1000) for s in smaller}
            yield smaller, whole(repaired)
    for denominator in DENOMINATORS[:-3]:
        yield round_slots, whole({s.name: to_rational(s, inputs[s.name], denominator) for s in round_slots})
        for s in round_slots:
            yield round_slots, whole({**inputs, s.name: to_rational(s, inputs[s.name], denominator)})
    for s in round_slots:
        entries = inputs[s.name]
        for i, row in enumerate(entries):
            for j, x in enumerate(row):
                for value in (0, 1, -1) if x not in (0, 1, -1) else (0,):
                    changed = [
                        [Fraction(value) if (i, j) == (k, l) else y for l, y in enumerate(r)]
                        for k, r in enumerate(entries)
                    ]
                    yield round_slots, whole({**inputs, s.name: to_rational(s, changed, 12)})


def cut(slot: Slot, rows: list[list[Fraction]], name: str, k: int) -> list[list[Fraction]]:
    rows = [r for i, r in enumerate(rows) if not (slot.sides[0] == name and i == k)]
    return [[x for j, x in enumerate(r) if not (slot.sides[1] == name and j == k)] for r in rows]
