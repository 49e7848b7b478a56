"""Formulas and LaTeX as they are written: page and paper say the same, and no engine can fail on the source.

The two readers below know nothing of `crossmodal.paper.mathml`: each turns its own notation into one plain form.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import crossmodal.theory
import pytest
from crossmodal.paper import build, document, tabular
from crossmodal.paper.mathml import LONGEST, abbreviated, fact_latex, readable, shortened, to_mathml
from crossmodal.paper.results import Data, provenance
from crossmodal.theory import registry

from crossmodal.show import recursions_of, relations_of

pytest.importorskip("latex2mathml", reason="the extra `paper` is not installed")

SIGNS = {
    "alpha": "α", "beta": "β", "bar": "¯", "delta": "δ", "epsilon": "ϵ", "eta": "η", "kappa": "κ", "lambda": "λ", "Lambda": "Λ",
    "gamma": "γ", "mu": "μ", "nu": "ν", "omega": "ω", "phi": "ϕ", "pi": "π", "psi": "ψ", "rho": "ρ", "sigma": "σ", "Sigma": "Σ", "tau": "τ",
    "theta": "θ", "zeta": "ζ", "Delta": "Δ", "ell": "ℓ", "le": "≤", "ge": "≥", "ne": "≠", "neq": "≠", "preceq": "⪯", "succeq": "⪰",
    "leftarrow": "←", "langle": "⟨", "rangle": "⟩", "min": "min", "max": "max", "log": "log", "exp": "exp", ",": "", "left": "",
    "right": "", "qquad": "", "cdot": "⋅",
}  # fmt: skip
ALIKE = str.maketrans({"−": "-", "φ": "ϕ", "ε": "ϵ", "\xa0": None, " ": None, "~": None})


def of_latex(latex: str) -> str:
    """LaTeX in the plain form: ``a_(b)^(c)``, ``(a)/(b)``, ``√(a)``, ``[a,b;c,d]``."""
    tokens = re.findall(
        r"\\[A-Za-z]+|\\.|[^\s]", re.sub(r"\\(?:begin|end)\{bmatrix\}", lambda m: m.group()[:4] + " ", latex)
    )
    out, rest = row(tokens)
    assert not rest, rest
    return out.translate(ALIKE)


def row(tokens: list[str]) -> tuple[str, list[str]]:
    """Everything up to a closing brace or the end of a matrix, and what follows it."""
    out = ""
    while tokens and tokens[0] not in ("}", r"\end"):
        atom, tokens = one(tokens)
        scripts = {"_": "", "^": ""}
        while tokens and tokens[0] in scripts:
            sign = tokens[0]
            scripts[sign], tokens = one(tokens[1:])
        out += atom + "".join(f"{sign}({text})" for sign, text in scripts.items() if text)
    return out, tokens


def one(tokens: list[str]) -> tuple[str, list[str]]:
    head, rest = tokens[0], tokens[1:]
    if head == "{":
        inside, rest = row(rest)
        return inside, rest[1:]
    if head == r"\beg":
        inside, rest = row(rest)
        return "[" + inside + "]", rest[1:]
    if head == r"\frac":
        top, rest = one(rest)
        bottom, rest = one(rest)
        return f"({top})/({bottom})", rest
    if head in (r"\sqrt", r"\bar"):
        inside, rest = one(rest)
        return ("√" if head == r"\sqrt" else "bar") + f"({inside})", rest
    if head in (r"\mathrm", r"\operatorname", r"\text", r"\mathbb"):
        return one(rest)
    if head in ("&", r"\\"):
        return "," if head == "&" else ";", rest
    return (SIGNS[head[1:]] if head.startswith("\\") else head), rest


def of_mathml(text: str) -> str:
    """MathML in the plain form."""
    return walk(ElementTree.fromstring(text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))).translate(
        ALIKE
    )


def walk(node: Any) -> str:
    parts = [walk(child) for child in node]
    if node.tag in ("mi", "mo", "mn", "mtext"):
        return str(node.text)
    if node.tag == "mspace":
        return ""
    if node.tag in ("math", "mrow", "mstyle", "mtd"):
        return "".join(parts)
    if node.tag == "mtable":
        return ";".join(parts)
    if node.tag == "mtr":
        return ",".join(parts)
    if node.tag == "msqrt":
        return f"√({''.join(parts)})"
    form = {"msub": "{}_({})", "msup": "{}^({})", "msubsup": "{}_({})^({})", "mfrac": "({})/({})", "mover": "bar({})"}[
        node.tag
    ]
    assert node.tag != "mover" or parts[1] == "¯"
    return form.format(*parts)


def formulas(claim_id: str) -> Iterator[str]:
    """Every formula that the document shows of a claim."""
    claim = registry.get(claim_id)
    relations = [
        *claim.statement.relations,
        *(r for a in claim.statement.assumptions for r, _ in relations_of(claim, a)),
    ]
    for relation in relations:
        short, names = shortened(relation)
        yield from (short, *names)
    yield from (tex for _, _, moves in recursions_of(claim) for _, tex in moves)
    yield from (tex for _, tex in claim.statement.conditions())
    stored = Path(crossmodal.theory.__file__).parent / "certificates" / f"{claim_id}.json"
    for step in json.loads(stored.read_text(encoding="utf-8"))["steps"] if stored.exists() else ():
        for fact in step.get("facts") or [step.get("fact", {})]:
            if text := fact_latex(fact):
                yield text


@pytest.mark.parametrize("claim_id", registry.modules())
def test_page_and_paper_show_the_same_formulas(claim_id: str) -> None:
    """What a browser is given and what LaTeX is given read alike, and as sympy wrote it but for the spacing of sums."""
    for formula in formulas(claim_id):
        assert of_mathml(to_mathml(formula)) == of_latex(readable(formula)) == of_latex(formula).replace("+-", "-"), (
            formula
        )
        assert "merror" not in to_mathml(formula)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("msub>", "msup>"), ("&#x02264;", "&#x0003C;"), ("<mi>a</mi>", "<mi>b</mi>"), ("msqrt>", "mrow>"), ("<mn>2</mn>", "<mn>3</mn>"),
     ("mfrac>", "mrow>"), ("&#x02212;", "&#x0002B;"), ("Con", "con")],
)  # fmt: skip
def test_a_wrong_formula_is_seen(right: str, wrong: str) -> None:
    latex = r"- \frac{a_{1}^{2} x_{2}}{2} \le \sqrt{Con}"
    text = to_mathml(latex)
    assert right in text
    assert of_mathml(text.replace(right, wrong)) != of_latex(latex)


def test_how_formulas_look() -> None:
    """What browsers would space or slant otherwise."""
    assert "<mi>Con</mi><mspace" in to_mathml("Con n_{s}")
    assert "<mtext>I</mtext>" in to_mathml(r"\mathbb{I}")
    assert "<mo>&#x02AAF;</mo>" in to_mathml(r"0 \preceq G")
    signs = to_mathml(r"\langle - a, b - c \rangle = - \left(- d\right) - \left|{e}\right| - f")
    assert re.findall(r'<mo( form="prefix")?>&#x02212;', signs) == [
        ' form="prefix"',
        "",
        *[' form="prefix"'] * 2,
        "",
        "",
    ]


LONG = {
    f"{c}: {r.text[:9]}": r
    for c in registry.modules()
    for a in registry.get(c).statement.assumptions
    for r in a.relations
    if len(r.latex) > LONGEST
}


@pytest.mark.parametrize("case", LONG)
def test_abbreviations_say_the_same(case: str) -> None:
    """Put back one by one, the abbreviations give the relation again; nothing shown is too long to read."""
    relation = LONG[case]
    short, names = abbreviated(relation.rhs)
    for name, value in reversed(names.items()):
        assert name not in relation.rhs.free_symbols
        short = short.xreplace({name: value})
    assert short == relation.rhs
    formula, where = shortened(relation)
    assert max(map(len, (formula, *where))) <= LONGEST


# -- the LaTeX source ------------------------------------------------------------------------------------------


def faults(source: str) -> list[str]:
    """What would make an engine stop or warn, as far as it can be seen without one."""
    out = [f"a character no engine is sure to have: {c}" for c in sorted(set(source)) if not c.isascii()]
    plain = re.sub(r"\\[{}$\\]", "", re.sub(r"(?<!\\)%.*", "", source))
    if plain.count("$") % 2:
        out.append("a formula is not closed")
    depth = 0
    for c in plain:
        depth += {"{": 1, "}": -1}.get(c, 0)
        if depth < 0:
            break
    if depth:
        out.append("braces do not match")
    body = source.split(r"\begin{document}")[1]
    open_ = ["document"]
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", body):
        if kind == "begin":
            open_.append(name)
        elif not open_ or open_.pop() != name:
            out.append(f"{name} ends and was not begun")
            break
    labels = re.findall(r"\\claim\{([^}]*)\}", body)
    out += [f"two labels {x}" for x in set(labels) if labels.count(x) > 1]
    wanted = re.findall(r"\\pageref\{([^}]*)\}|\\hyperref\[([^]]*)\]", body)
    out += [f"no label {x}" for x in {a or b for a, b in wanted} - set(labels)]
    for columns, table in re.findall(r"\\begin\{longtable\}\{((?:L\{[\d.]+\})+)\}(.*?)\\end\{longtable\}", body, re.S):
        for line in re.sub(r"\\&", "", table).split("\n"):
            if "&" in line and line.count("&") + 1 != columns.count("L"):
                out.append(f"a row of {line.count('&') + 1} cells: {line}")
    return out


@pytest.fixture(scope="module")
def source(features: Any) -> str:
    tables = [tabular.make("metric_conventions", features, 0), awkward()]
    return document.paper_tex([build.make("t3_4_two_environments", features, 0, formats=())], features, 0, tables)


def awkward() -> tabular.BuiltTable:
    """A table of what people call things."""
    rows = [["Zürich & Łódź, 50% of #1", 0.5], ["京都 $x$ {a} ~ ^ \\ _", (-1.0, 2.0)], ["--output", None]]
    data = Data({"columns": ["name", "value"], "rows": rows}, provenance(("S1",), None, 0))
    return tabular.BuiltTable("awkward", data, "A caption.", "A caption.")


def test_the_source_has_no_faults(source: str) -> None:
    assert faults(source) == []
    assert r"Z\"{u}rich \& \L{}\'{o}d\'{z}" in source
    assert "[U+4EAC][U+90FD]" in source


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("Verdicts", "Verdicts ≤", "character"), (r"\fit{", r"\fit{{", "braces"), (r"\end{points}", "", "ends and was not begun"),
        (r"\claim{S2}", r"\claim{S3}", "no label S2"), (r"\claim{S2}", r"\claim{S7}", "two labels S7"), (r"\maketitle", "$", "not closed"),
        ("gem & ", "gem & & ", "a row of"),
    ],
)  # fmt: skip
def test_a_fault_is_seen(source: str, before: str, after: str, fault: str) -> None:
    assert before in source
    assert any(fault in found for found in faults(source.replace(before, after, 1)))


def test_shares_of_a_table_fill_the_page() -> None:
    shares = [float(x) for x in re.findall(r"L\{([\d.]+)\}", document.widths(awkward()))]
    assert len(shares) == 2
    assert sum(shares) == pytest.approx(1, abs=len(shares) * 5e-5)  # each is printed with four digits
    assert shares[0] > shares[1]


@pytest.mark.parametrize("name", build.registry())
def test_what_a_figure_shows_is_said_in_a_sentence(name: str, compute: Any) -> None:
    said = document.alt(build.caption(build.module(name).CAPTION, compute(name)))
    assert 20 < len(said) < 400
    assert said.count("(") == said.count(")"), said  # not cut at the point of a T3.4
    assert not re.search(r"[$\\{}]", said), said
    assert html.escape(said, quote=False).isprintable()
