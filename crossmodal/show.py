"""`crossmodal show`: a claim in full, generated from the claim object and its certificate."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

import sympy

from crossmodal.paper.tex import prose_tex
from crossmodal.theory import registry
from crossmodal.theory.certify import needs, proved
from crossmodal.theory.claim import Assumption, Claim
from crossmodal.theory.language import BlockRecursion, Relation, latex
from crossmodal.theory.own_claims import file_of

NARROWEST, WIDEST = 40, 100  # columns of text, in a terminal that has others


def index() -> str:
    """All claims, one a line."""
    rows = [registry.get(c) for c in registry.modules()]
    return "\n".join(f"{c.id:<6}{c.verdict:<11}{c.title}" for c in rows)


def show(claim_id: str, form: str) -> str:
    """A claim as text, Markdown or LaTeX."""
    claim = registry.get(claim_id)
    certificate = proved(claim) if claim.derive is not None else None
    return {"text": as_text, "markdown": as_markdown, "latex": as_latex}[form](claim, certificate)


def verdict(claim: Claim) -> str:
    """As registered, which the tests hold the theory's own claims to, and nobody those of a file."""
    own = file_of(claim.id)
    return claim.verdict if own is None else f"{claim.verdict} if `crossmodal verify {own}` says so"


def wrap(text: str, indent: str = "  ") -> str:
    width = min(WIDEST, max(NARROWEST, shutil.get_terminal_size((WIDEST, 0)).columns))
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)


def rational(data: Any) -> str:
    if isinstance(data, list | tuple):
        return "[" + ", ".join(rational(v) for v in data) + "]"
    return str(data)


def instance_text(instance: Any) -> str:
    values = ", ".join(f"{k} = {rational(v)}" for k, v in instance.values.items())
    return f"{instance.note}: {values}" if instance.note else values


def proof_steps(certificate: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """(name, rule, reason) of every step."""
    if certificate is None:
        return []
    return [(s["name"], s["by"]["rule"], s["text"]) for s in certificate["steps"]]


def sections(claim: Claim, certificate: dict[str, Any] | None) -> list[tuple[str, list[str]]]:
    """Title and lines of everything but the formulas."""
    steps = [f"{k + 1}. {name} (by {rule}): {text}" for k, (name, rule, text) in enumerate(proof_steps(certificate))]
    trust = [f"{f.name}: {f.statement} ({f.source})" for f in claim.trust] or ["nothing beyond the checker's own rules"]
    needed = [f"{name}: {instance_text(i)}" for name, i in claim.necessity.items()] or [claim.necessity_note]
    sides = "; ".join(f"{name}: {text}" for name, text in claim.statement.matrices().items())
    out = [
        *([("matrices (sides of one name are equal)", [sides])] if sides else []),
        *([("assumptions used", used)] if (used := assumptions_used(claim, certificate)) else []),
        ("proof", steps or ["none"]),
        ("trust base", trust),
        ("tight", [instance_text(i) for i in claim.tight] or [claim.tight_note]),
        ("fails without", [n for n in needed if n] or ["every assumption holds by definition of the symbols"]),
    ]
    if claim.witness is not None:
        out.append(("counterexample", [instance_text(claim.witness)]))
    if claim.paper:
        out.append(("the paper says (our paraphrase)", [claim.paper]))
    out.append(("source", [claim.source]))
    if claim.notes:
        out.append(("notes", list(claim.notes)))
    return out


def assumptions_used(claim: Claim, certificate: dict[str, Any] | None) -> list[str]:
    """Relation by relation, the assumptions that its proof uses; definitions that only give a name are left out.  Empty where there is no choice."""
    # of a definition only what it restricts is something to know: that a step size is not negative
    choices = [a for a in claim.statement.assumptions if not a.by_model or any(r.op != "==" for r in a.relations)]
    if certificate is None or not choices or len(claim.statement.relations) < 2:
        return []
    facts = needs(certificate)
    out = []
    for relation in claim.statement.relations:
        used = set().union(*(names for goal, names in facts.items() if goal.split(".")[0] == relation.name))
        found = [
            a.name for a in choices if not used.isdisjoint(a.each) or any(name.split(".")[0] == a.name for name in used)
        ]  # fmt: skip
        out.append(f"{relation.name}: {', '.join(found) or 'none'}")
    return out


def symbols_of(claim: Claim) -> list[tuple[str, str, str]]:
    """Every symbol whose meaning the statement gives, in its order: name, LaTeX, meaning (some refer to the one before)."""
    return [(name, latex(sympy.Symbol(name)), meaning) for name, meaning in claim.statement.symbols.items()]


def relations_of(claim: Claim, assumption: Assumption) -> list[tuple[Relation, str]]:
    """What an assumption says formally, each with a remark: of the steps of which recursion it says so, if any."""
    given = claim.statement.given()
    every_step = [(relation, f" (each step of {at})") for name in assumption.each for at, relation in given[name]]
    return [*((r, "") for r in assumption.relations), *every_step]


def recursions_of(claim: Claim) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Name, a remark on the symbols that each step brings in, and (text, LaTeX) of every start and step."""
    out = []
    for name, r in claim.statement.recursions.items():
        own_size = [f"a size {r.by} of its own"] if isinstance(r, BlockRecursion) and r.any_size else []
        brought = [*map(str, r.fresh), *own_size]
        brings = f" (each step brings {', '.join(brought)})" if brought else ""
        out.append((name, brings, r.moves()))
    return out


def as_text(claim: Claim, certificate: dict[str, Any] | None) -> str:
    lines = [f"{claim.id}  {claim.title}  [{verdict(claim)}]", "", wrap(claim.statement.text), "", "  formally:"]
    lines += [f"    {r.name}: {r.text}" for r in claim.statement.relations]
    lines += ["", "  symbols:", wrap("; ".join(f"{name}: {meaning}" for name, _, meaning in symbols_of(claim)), "    ")]
    lines += ["", "  assuming:"]
    for a in claim.statement.assumptions:
        kind = "definition" if a.by_model else "assumption"
        formulas = "".join(f"; {r.text}" + remark for r, remark in relations_of(claim, a))
        lines.append(wrap(f"{a.name} ({kind}): {a.text}{formulas}", "    "))
    if conditions := claim.statement.conditions():
        lines.append(wrap("where it has a value: " + ", ".join(text for text, _ in conditions), "    "))
    if claim.statement.recursions:
        lines += ["", "  step by step, any number of times:"]
        for name, brings, moves in recursions_of(claim):
            lines.append(wrap(f"{name}{brings}: " + "; ".join(text for text, _ in moves), "    "))
    for title, body in sections(claim, certificate):
        lines += ["", f"  {title}:", *(wrap(line, "    ") for line in body)]
    return "\n".join(lines)


def as_markdown(claim: Claim, certificate: dict[str, Any] | None) -> str:
    lines = [f"## {claim.id}. {claim.title}", "", f"**{verdict(claim)}.** {claim.statement.text}", ""]
    lines += [f"$$ {r.latex} $$" for r in claim.statement.relations]
    lines += ["", "**Symbols** " + "; ".join(f"${tex}$: {meaning}" for _, tex, meaning in symbols_of(claim))]
    lines += ["", "**Assuming**", ""]
    for a in claim.statement.assumptions:
        formulas = ", ".join(f"${r.latex}$" + remark for r, remark in relations_of(claim, a))
        lines.append(
            f"- *{a.name}*{' (definition)' if a.by_model else ''}: {a.text}" + (f" ({formulas})" if formulas else "")
        )
    if conditions := claim.statement.conditions():
        lines.append("- where it has a value: " + ", ".join(f"${tex}$" for _, tex in conditions))
    if claim.statement.recursions:
        lines += ["", "**Step by step, any number of times**", ""]
        for name, brings, moves in recursions_of(claim):
            lines.append(f"- *{name}*{brings}: " + ", ".join(f"${m}$" for _, m in moves))
    for title, body in sections(claim, certificate):
        lines += ["", f"**{title.capitalize()}**", "", *(line if title == "proof" else f"- {line}" for line in body)]
    return "\n".join(lines)


def as_latex(claim: Claim, certificate: dict[str, Any] | None) -> str:
    lines = [
        rf"\begin{{theorem}}[{claim.id}: {prose_tex(claim.title)}]",
        prose_tex(claim.statement.text),
        r"\begin{gather*}",
    ]
    lines += [r" \\ ".join(r.latex for r in claim.statement.relations), r"\end{gather*}"]
    lines += [
        "; ".join(f"${tex}$: {prose_tex(meaning)}" for _, tex, meaning in symbols_of(claim)) + ".",
        r"\end{theorem}",
    ]
    lines.append(r"\begin{itemize}")
    for a in claim.statement.assumptions:
        formulas = ", ".join(f"${r.latex}$" + prose_tex(remark) for r, remark in relations_of(claim, a))
        lines.append(rf"\item \emph{{{prose_tex(a.name)}}}: {prose_tex(a.text)} {formulas}")
    if conditions := claim.statement.conditions():
        lines.append(r"\item where it has a value: " + ", ".join(f"${tex}$" for _, tex in conditions))
    for name, brings, moves in recursions_of(claim):
        formulas = ", ".join(f"${m}$" for _, m in moves)
        lines.append(rf"\item \emph{{{prose_tex(name)}}}, any number of steps{prose_tex(brings)}: {formulas}")
    lines.append(r"\end{itemize}")
    for title, body in sections(claim, certificate):
        lines += [
            rf"\paragraph{{{prose_tex(title)}}}",
            r"\begin{itemize}",
            *(rf"\item {prose_tex(b)}" for b in body),
            r"\end{itemize}",
        ]
    return "\n".join(lines)
