"""Finds claims: one file in `claims/` is one claim, named `<id>_<words>.py` (`t3_5_any_sequence.py` is T3.5); see `own_claims` for others."""

from __future__ import annotations

import importlib
import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from . import own_claims
from .claim import Claim
from .errors import InputError
from .language import Relation

CLAIMS = Path(__file__).parent / "claims"
CERTIFICATES = Path(__file__).parent / "certificates"
_NAME = re.compile(r"([a-z])(\d+)(?:_(\d+))?_[a-z]\w*$")
_FAMILIES = "stogdcp"


@cache
def modules() -> dict[str, str]:
    """Claim id -> module name, in the order of the theory; imports nothing."""
    found = {}
    for path in CLAIMS.glob("*.py"):
        if match := _NAME.match(path.stem):
            letter, *numbers = match.groups()
            parts = [n for n in numbers if n]
            order = (_FAMILIES.find(letter), *map(int, parts))
            found[order] = (letter.upper() + ".".join(parts), path.stem)
    return dict(found[key] for key in sorted(found))


def _near(wanted: str) -> list[str]:
    """Claims that may have been meant: those of a theorem named without its part, those of the nearest numbers, or similar names."""
    if parts := [name for name in modules() if name.startswith(f"{wanted}.")]:
        return parts
    stem = wanted.rstrip("0123456789")
    beside = {name: int(name.removeprefix(stem)) for name in modules() if re.fullmatch(re.escape(stem) + r"\d+", name)}
    if wanted == stem or not beside:
        return get_close_matches(wanted, modules(), n=5)
    nearest = sorted(beside, key=lambda name: abs(beside[name] - int(wanted.removeprefix(stem))))[:3]
    return [name for name in beside if name in nearest]


def get(name: str) -> Claim:
    """The claim of that id, or in that file (a path that ends in ``.py``).

    Raises:
        InputError: no such claim; see `own_claims.load` for those of files.
    """
    return own_claims.load(name, modules()) if own_claims.is_own(name) else _of_the_theory(name)


@cache
def _of_the_theory(claim_id: str) -> Claim:
    wanted = claim_id.upper()
    if wanted not in modules():
        near = _near(wanted)
        raise InputError(
            f"no claim {claim_id!r}",
            expected=", ".join(modules()),
            causes=(f"a typing error: {', '.join(near)}?",) if near else (),
            fix="`crossmodal show` lists the claims; one of your own is named by its file, my_claim.py",
        )
    module = importlib.import_module(f"{__package__}.claims.{modules()[wanted]}")
    claim: Claim | None = getattr(module, "CLAIM", None)
    if claim is None:
        raise InputError(f"{modules()[wanted]}.py defines no CLAIM", expected="one `CLAIM = Claim(...)` in the file")
    if claim.id != wanted:
        raise InputError(f"{modules()[wanted]}.py defines {claim.id}, its name says {wanted}")
    return claim


def relation(claim_id: str, name: str) -> Relation:
    """The relation of that name of a claim."""
    return next(r for r in get(claim_id).statement.relations if r.name == name)


def all_claims() -> list[Claim]:
    """All claims, in the theory's order."""
    return [get(claim_id) for claim_id in modules()]
