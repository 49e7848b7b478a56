"""From a claim to its certificate and back: derive, store, compare, check."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import checker, own_claims, registry
from .claim import Claim
from .errors import InputError
from .files import write_whole
from .lowering import CannotLower
from .proof import DerivationError, Proof, dumps
from .terms import referenced


@dataclass(frozen=True)
class Certified:
    """What became of a claim's certificate.

    Args:
        accepted: the checker accepted the freshly derived certificate, and the claim says all that it assumes.
        reason: why not, or "".
        stored: ``same``, ``differs`` or ``missing``: the certificate file beside the derived one.
        certificate: the derived one, or None.
    """

    accepted: bool
    reason: str
    stored: str
    certificate: dict[str, Any] | None


def derive(claim: Claim) -> dict[str, Any]:
    """Derive the certificate of a claim from its statement.

    Raises:
        DerivationError: the search found no proof.
    """
    if claim.derive is None:
        raise DerivationError(f"{claim.id}: no derivation")
    proof = Proof(claim)
    claim.derive(proof)
    return proof.certificate()


def proved(claim: Claim) -> dict[str, Any]:
    """The certificate of a claim that somebody may still be working at.

    Raises:
        InputError: no proof found, or the checker rejects it.
    """
    try:
        certificate = derive(claim)
        checker.check_text(dumps(certificate))
    except (DerivationError, CannotLower, checker.Rejected) as error:
        raise InputError(
            f"{own_claims.file_of(claim.id) or claim.id}: no proof found: {error}", expected="a `derive` that proves every relation",
            fix="`crossmodal verify` says what else is missing, `crossmodal check` looks for a counterexample",
        ) from None  # fmt: skip
    return certificate


def path_of(claim_id: str) -> Path:
    """Where a certificate is stored: with the package, or beside the file of a claim of one's own."""
    own = own_claims.file_of(claim_id)
    return own.with_suffix(".certificate.json") if own else registry.CERTIFICATES / f"{claim_id}.json"


def certify(claim: Claim) -> Certified:
    """Derive, check, and compare with the stored file."""
    path = path_of(claim.id)
    try:
        certificate = derive(claim)
        text = dumps(certificate)
        stored = (
            "missing" if not path.is_file() else ("same" if path.read_text(encoding="utf-8") == text else "differs")
        )
        checker.check_text(text)
    except (DerivationError, CannotLower, checker.Rejected) as error:
        return Certified(False, str(error), "missing", None)
    if hidden := claim.statement.unattributed():  # the checker accepts it, but no reader of the claim would see it
        return Certified(
            False, f"given about a step and said by no assumption: {', '.join(hidden)}", stored, certificate
        )
    return Certified(True, "", stored, certificate)


def rewrite(claim: Claim) -> Path:
    """Derive the certificate again and store it, if the checker accepts it; errors are those of `proved`."""
    path = path_of(claim.id)
    write_whole(path, dumps(proved(claim)))
    return path


def of_goal(certificate: Mapping[str, Any], goal: str) -> dict[str, Any]:
    """The part of a certificate that proves one goal: a theorem without the assumptions of the others.

    What the checker says of a certificate holds where all its hypotheses do; a relation of a claim may need few of them,
    and be meant for where another one fails.  The part is a certificate of its own, for the checker to decide.
    """
    wanted, kept, read = {goal}, list[Mapping[str, Any]](), set[str]()
    for step in reversed(certificate["steps"]):  # a step uses earlier ones only
        name, by = step["name"], step["by"]
        if (
            name in wanted
            or any(n.startswith(f"{name}.") for n in wanted)
            or (by["rule"] == "trace" and by["as"] in read)
        ):
            kept.append(step)
            wanted |= referenced(step) | inducted(step)
            if by["rule"] == "read":  # it speaks of traces by the scalars that stand for them
                read |= {atom for monomial in step["fact"]["poly"] for atom in re.split("[ ^]", monomial)}
    recursions = {
        name: {**r, "given": [g for g in r["given"] if g["name"] in wanted]}
        for name, r in certificate.get("recursions", {}).items()
        if name in wanted
    }
    return {
        **certificate, "steps": kept[::-1], "recursions": recursions,
        "hypotheses": [h for h in certificate["hypotheses"] if h["name"] in wanted],
        "goals": [g for g in certificate["goals"] if g["name"] == goal],
    }  # fmt: skip


def inducted(node: Any) -> set[str]:
    """Names of the recursions over which there is an induction, however deep."""
    if isinstance(node, Mapping):
        here = {node["recursion"]} if isinstance(node.get("recursion"), str) else set()
        return here.union(*(inducted(v) for v in node.values()))
    return set().union(*(inducted(v) for v in node)) if isinstance(node, list) else set()


def needs(certificate: Mapping[str, Any]) -> dict[str, set[str]]:
    """For every goal the hypotheses, and what is given about steps, that its proof uses.

    Raises:
        Rejected: the part that proves a goal is no proof by itself.
    """
    out = {}
    for goal in certificate["goals"]:
        part = of_goal(certificate, goal["name"])
        checker.check(part)
        given = [g for r in part["recursions"].values() for g in r["given"]]
        out[goal["name"]] = {fact["name"] for fact in (*part["hypotheses"], *given)}
    return out


def check_folder(folder: Path) -> Iterator[tuple[str, str, list[str] | None]]:
    """Run the checker alone over ``*.json``: (file name, what is wrong or "", goals).

    Raises:
        InputError: no such folder, or no certificate in it.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: {'a file' if folder.is_file() else 'no such folder'}",
            expected="a folder of certificates (*.json)",
            fix="check the path",
        )
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise InputError(
            f"{folder}: holds no *.json file",
            expected="certificates, one file a claim",
            fix="`crossmodal verify --rewrite` derives and stores them",
        )
    for path in paths:
        try:
            yield path.name, "", checker.check_text(path.read_text(encoding="utf-8"))
        except (checker.Rejected, UnicodeDecodeError) as error:
            yield path.name, str(error), None


def whose(certificate: Mapping[str, Any]) -> str:
    """Whether an accepted certificate states what the claim it names states: "as T3.4 says", or what is wrong.

    The checker proves the facts of a file; that they are those of a claim is a comparison with the claim's statement.
    """
    claim_id = str(certificate.get("claim", ""))
    try:
        claim = registry.get(claim_id)
    except InputError:
        return f"of no claim here ({claim_id!r})"
    try:
        proof = Proof(claim)
    except CannotLower:  # a statement that has no certificate
        return f"not what {claim_id} says"
    # The facts of a file are words, which say what its symbols make of them: a matrix that is called a scalar is a multiple of I.
    stated = {h["name"]: h["fact"] for h in proof.hypotheses}
    same = (
        {g["name"]: g["fact"] for g in certificate["goals"]} == proof.goals
        and certificate.get("recursions", {}) == json.loads(json.dumps(proof.recursions))
        and all(stated.get(h["name"]) == h["fact"] for h in certificate["hypotheses"])
        and set(certificate["symbols"].get("scalars", ())) >= proof.symbols - proof.fresh_names
        and set(certificate["symbols"].get("symmetric", ())) == set(claim.statement.symmetric)
        and all(
            tuple(certificate["symbols"].get("matrices", {}).get(n, ())) == s
            for n, s in proof.letters.shapes.items()
            if n not in proof.fresh_names  # of a step's own symbols the recursions tell
        )
    )
    return f"as {claim_id} says" if same else f"not what {claim_id} says"


def statement_part(certificate: dict[str, Any]) -> str:
    """What a certificate says, without how it proves it: two certificates that agree here prove the same theorem."""
    keep = {k: certificate.get(k) for k in checker.STATEMENT}
    return json.dumps(keep, sort_keys=True)
