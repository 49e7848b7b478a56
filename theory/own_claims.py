"""Claims in files of the user's own: a path that ends in ``.py`` names one; beside it lies its ``.certificate.json``."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from .claim import Claim, VerdictName
from .errors import InputError
from .language import Kind, Op

EXAMPLE = Path(__file__).with_name("own_claim_example.py")
_FIX = "`crossmodal show --example > my_claim.py` writes a claim to begin with"
_ids: dict[Path, str] = {}  # of the claims that were read, by file: its author may change it between two readings
_run: set[str] = set()  # files that were run, for telling their errors from ours


def is_own(name: str) -> bool:
    """Whether a claim is named by its file."""
    return name.endswith(".py")


def file_of(claim_id: str) -> Path | None:
    """The file that a claim was read from; None for a claim of the theory."""
    return next((path for path, known in _ids.items() if known == claim_id), None)


def load(name: str, taken: Collection[str]) -> Claim:
    """Run the file and return its `CLAIM`.  It is read at every call, for its author edits it between two.

    Args:
        name: path of the file.
        taken: ids of the theory's claims.

    Raises:
        InputError: no such file, no `CLAIM` in it, an id that another claim has.  What its code raises is explained by `blamed`.
    """
    path = Path(name)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({error.strerror})", expected="a Python file that defines CLAIM", causes=("a typing error",),
            fix=_FIX,
        ) from None  # fmt: skip
    _run.add(name)
    module = ModuleType(f"crossmodal_own_claim_{path.stem}")
    module.__file__ = name
    sys.modules[module.__name__] = module  # where dataclasses look up annotations
    # Not imported: that would leave compiled files beside the user's.
    exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)
    claim = getattr(module, "CLAIM", None)
    if not isinstance(claim, Claim):
        found = "no CLAIM" if claim is None else f"CLAIM is a {type(claim).__name__}"
        raise InputError(f"{name}: {found}", expected="one `CLAIM = Claim(...)` in the file", fix=_FIX)
    if mistakes := list(mistakes_of(claim)):
        raise InputError(f"{name}: " + "; ".join(mistakes), fix=_FIX)
    other = file_of(claim.id) or path
    if claim.id.upper() in taken or other.resolve() != path.resolve():
        whose = "a claim of the theory" if claim.id.upper() in taken else str(other)
        raise InputError(
            f"{name}: its id {claim.id!r} is that of {whose}", expected="an id of its own", causes=("a copied file",),
            fix="another id",
        )  # fmt: skip
    _ids[path] = claim.id
    return claim


def mistakes_of(claim: Claim) -> Iterator[str]:
    """Names that lead nowhere: what the tests hold against the theory's own claims, or what would end far from the file."""
    relations, assumptions = claim.statement.relations, claim.statement.assumptions
    for kind, things in (("relation", relations), ("assumption", assumptions), ("input", claim.inputs)):
        yield from (f"two {kind}s called {n!r}" for n, times in Counter(x.name for x in things).items() if times > 1)
    words: list[tuple[str, str, Any]] = [("the verdict", claim.verdict, VerdictName)]
    words += [(f"the kind of input {i.name!r}", i.kind, Kind) for i in claim.inputs]
    words += [
        (f"the sign of {r.text!r}", r.op, Op) for r in (*relations, *(r for a in assumptions for r in a.relations))
    ]
    for what, found, known in words:
        if found not in get_args(known):
            yield f"{what} is {found!r}, none of {', '.join(get_args(known))}"
    for name in claim.necessity:
        if name not in [a.name for a in claim.droppable()]:
            yield f"necessity of {name!r}, which is no assumption that can be dropped"
    for k, instance in enumerate(claim.tight, 1):  # models are drawn near it, so it has every input
        if lacking := [i.name for i in claim.inputs if i.name not in instance.values]:
            yield f"tight instance {k} has no {', '.join(lacking)}"
    for instance in (*claim.tight, *claim.necessity.values()):
        if instance.relation and instance.relation not in [r.name for r in relations]:
            yield f"the instance {instance.note!r} is of {instance.relation!r}, which is no relation"


def blamed(error: Exception) -> InputError | None:
    """What the code of a claim's file raised, with its line; None where no such code was running, or it is explained already."""
    if isinstance(error, SyntaxError) and error.filename in _run:
        at = f"{error.filename}, line {error.lineno}: {error.msg}"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in _run]
        if isinstance(error, InputError) or not frames:
            return None
        at = f"{frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}: {type(error).__name__}: {error}"
    return InputError(at, expected="code that runs", fix="mend that line, then the same command")
