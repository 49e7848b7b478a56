"""Formulas for the page: LaTeX of the claims as MathML, facts of a certificate as LaTeX."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from ..theory.errors import not_installed
from ..theory.language import Inner, Relation, Vector

_COMMAND = re.compile(r"\\(?:operatorname|mathrm|text|begin|end)\{[^}]*\}|\\[A-Za-z]+")
_NAME_ENDS = re.compile(r"(?:^|[^\\A-Za-z])[A-Za-z]{2,}(?:[_^]\{[^{}]*\})*$")
_NAME_BEGINS = re.compile(r"[A-Za-z]{2,}")
_RELATION = re.compile(r"\\(?:le|ge|ne|preceq|succeq|leftarrow)$")
_ENDS_FACTOR = re.compile(r"(?<!\\langle)(?<!matrix\})(?<=[A-Za-z0-9)}])$")
_BEGINS_FACTOR = re.compile(
    r"[A-Za-z0-9]|\\(?!(?:le|ge|ne|preceq|succeq|leftarrow|rangle|right|end|text|\\)(?![A-Za-z]))"
)


def readable(latex: str) -> str:
    """Names of several letters upright and apart from the next factor, subscripts of several words spaced."""
    latex = latex.replace(" + - ", " - ")  # as sympy prints some sums of matrices
    latex = latex.replace(r"\mathbb{I}", r"\mathrm{I}")  # few fonts on phones have the double-struck letter
    latex = re.sub(r"_\{[^{}]*\}", lambda m: m.group().replace(" ", r"\,"), latex)
    latex = re.sub(r"\\text\{[^{}]*\}", lambda m: m.group().replace(" ", "~"), latex)
    pieces = latex.split(" ")
    for k, (left, right) in enumerate(pairwise(pieces)):
        # Con n is a product: without a space it would read as one name.
        named = _NAME_ENDS.search(left) or _NAME_BEGINS.match(right)
        if named and _ENDS_FACTOR.search(left) and not _RELATION.search(left) and _BEGINS_FACTOR.match(right):
            pieces[k] += r"\,"
    latex = " ".join(pieces)
    parts, end = [], 0
    for command in _COMMAND.finditer(latex):
        parts += [_words(latex[end : command.start()]), command.group().replace("~", " ")]
        end = command.end()
    return "".join([*parts, _words(latex[end:])])


def _words(text: str) -> str:
    return re.sub(r"[A-Za-z]{2,}", lambda m: r"\mathrm{" + m.group() + "}", text)


# A minus that opens a row or follows an opening, a comma or a relation is a sign: browsers would space it as a difference.
_BEFORE_SIGN = "|".join(f"&#x{ord(c):05X};" for c in "([⟨,=<≤≥⪯⪰←")
_SIGN_FOLLOWS = re.compile(rf"(<m(?:row|td)[^>]*>|<m([io])[^>]*>(?:{_BEFORE_SIGN})</m\2>)<mo>(?=&#x02212;)")
_LETTERS = re.compile(r'<mrow>((?:<mi mathvariant="normal">[A-Za-z]</mi>){2,})</mrow>')


def to_mathml(latex: str, display: bool = False) -> str:
    """MathML that a browser shows without any file beside the page.

    Raises:
        InputError: latex2mathml is not installed.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise not_installed("latex2mathml", "paper") from None
    latex = re.sub(r"\\mathrm\{([A-Za-z])\}", r"\\text{\1}", readable(latex))  # a single letter would come out italic
    text = str(convert(latex, display="block" if display else "inline"))
    text = _LETTERS.sub(lambda m: f"<mi>{re.sub('<[^>]*>', '', m[1])}</mi>", text)
    text = re.sub(r"<mi>(&#x0(?:2AAF|2AB0);)</mi>", r"<mo>\1</mo>", text)  # the order of matrices is a relation
    return _SIGN_FOLLOWS.sub(r'\1<mo form="prefix">', text)


# -- formulas in running text ----------------------------------------------------------------------------------

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "psi": "ψ", "omega": "ω",
    "Delta": "Δ", "Lambda": "Λ", "Sigma": "Σ",
}  # fmt: skip
_PROSE = re.compile(
    r"`(?P<code>[^`]+)`|'(?P<code1>[a-z]+_\w+)'"
    r"|\^(?:\{(?P<sup>[^}]*)\}|\((?P<sup2>[^()]*)\)|(?P<sup1>\*|−?\w[^\W_]*))"
    r"|(?<=[\w>'}*|)])_(?:\{(?P<sub>[^}]*)\}|(?P<sub1>[^\W_]+))"
)
_SIGNS = (
    (re.compile(r"<=>"), "⇔"),
    (re.compile(r"<="), "≤"),
    (re.compile(r">="), "≥"),
    (re.compile(r"!="), "≠"),
    (re.compile(r"->"), "→"),
    (re.compile(r"<(?=\S)([^<>]*,[^<>]*)(?<=\S)>"), r"⟨\1⟩"),
    (re.compile(r"\bsqrt\("), "√("),
    (re.compile(r"(?<=[A-Za-z])@(?=[A-Za-z])"), "⊗"),
    (re.compile(r"(?<= )-(?= )|(?<![\w)\]}'|-])-(?=[\w(|√⟨])"), "−"),
    (re.compile(r"(?<![A-Za-z])(d?)(" + "|".join(GREEK) + r")(?![A-Za-z])"), lambda m: m[1] + GREEK[m[2]]),
)


def marked(text: str) -> list[tuple[str, str]]:
    """A sentence with formulas in plain characters (``e_0``, ``c^2 <= 1/4``) as (kind, text): plain, sup, sub or code."""
    for before, after in _SIGNS:
        text = before.sub(after, text)
    out, end = [], 0
    for found in _PROSE.finditer(text):
        out += [
            ("plain", text[end : found.start()]),
            (str(found.lastgroup).rstrip("12"), str(found[found.lastgroup or 0])),
        ]
        end = found.end()
    return [(kind, part) for kind, part in (*out, ("plain", text[end:])) if part]


def prose(text: str) -> str:
    """A sentence with formulas in plain characters as HTML."""
    parts = []
    for kind, part in marked(text):
        escaped = html.escape(part, quote=False) if kind in ("plain", "code") else prose(part)
        parts.append(escaped if kind == "plain" else f"<{kind}>{escaped}</{kind}>")
    return "".join(parts).replace("</sub><sub>", "</sub>\u2009<sub>")


# -- formulas too long to read ---------------------------------------------------------------------------------

LONGEST = 400  # characters of LaTeX; beyond, vectors inside inner products get names


def shortened(relation: Relation) -> tuple[str, tuple[str, ...]]:
    """LaTeX of a relation, and of the abbreviations in it where it would be too long to read, in order of use."""
    if len(relation.latex) <= LONGEST:
        return relation.latex, ()
    short, names = abbreviated(relation.rhs)
    formula = Relation(relation.name, relation.lhs, relation.op, short).latex
    return formula, tuple(Relation("", name, "==", value).latex for name, value in names.items())


def abbreviated(expression: Any) -> tuple[Any, dict[Any, Any]]:
    """The expression with every sum inside an inner product named x_1, x_2, ..., and the names in order of use."""
    import sympy

    names: dict[Any, Any] = {}

    def walk(e: Any) -> Any:
        if not e.args:
            return e
        args = [walk(a) for a in e.args]
        return e.func(*(named(a) if isinstance(e, Inner) and isinstance(a, sympy.Add) else a for a in args))

    def named(total: Any) -> Any:
        for name, value in names.items():  # what was named before may be a part of it, or all
            if set(value.args) <= set(sympy.Add.make_args(total)):
                total = total - value + name
        if isinstance(total, sympy.Add):
            names[new := Vector(f"x_{len(names) + 1}", real=True)] = total
            return new
        return total

    return walk(expression), names


# -- facts of a certificate ------------------------------------------------------------------------------------

_SIGN = {
    "=0": "= 0", ">=0": r"\ge 0", ">0": "> 0", "psd": r"\succeq 0", "trace=0": "= 0", "trace>=0": r"\ge 0",
}  # fmt: skip
MOST_TERMS = 12  # longer polynomials are in the certificate, where a program reads them


def fact_latex(fact: Mapping[str, Any]) -> str:
    """What a step of a certificate establishes, or "" where it is too long to read."""
    words = fact.get("words", fact.get("poly"))
    if not isinstance(words, Mapping) or len(words) > MOST_TERMS or fact.get("is") not in _SIGN:
        return ""
    one = r"\mathbb{I}" if "shape" in fact else ""  # in a matrix identity the number 1 stands for the identity
    terms = [_term(word, coefficient, one) for word, coefficient in words.items()]
    # What is added before what is subtracted: x - y reads better than -y + x.
    terms.sort(key=lambda term: term.startswith("-"))
    body = "".join(t if i == 0 or t.startswith("-") else "+" + t for i, t in enumerate(terms)) or "0"
    if fact["is"].startswith("trace"):
        body = rf"\operatorname{{tr}}\left( {body} \right)"
    return f"{body} {_SIGN[fact['is']]}"


def _term(word: str, coefficient: str, one: str) -> str:
    letters = " ".join(_letter(x) for x in _split(word)) if word != "1" else one
    sign, size = ("-", coefficient[1:]) if coefficient.startswith("-") else ("", coefficient)
    if size == "1" and letters:
        size = ""
    elif "/" in size:
        size = r"\frac{{{}}}{{{}}}".format(*size.split("/"))
    return f"{sign}{size} {letters}".replace("  ", " ").rstrip() if size else f"{sign}{letters}"


def _split(word: str) -> list[str]:
    """Letters of a word; an inner product `<x,y>` may hold spaces."""
    return re.findall(r"<[^>]*>(?:\^\d+)?|\S+", word)


def _letter(text: str) -> str:
    import sympy

    if text.startswith("<"):
        inside, _, power = text[1:].rpartition(">")
        base = rf"\langle {', '.join(_letter(x.strip()) for x in inside.split(','))} \rangle"
        power = power.lstrip("^")
    else:
        name, _, power = text.partition("^")
        power = "T" if name.endswith("'") else power
        base = str(sympy.latex(sympy.Symbol(name.rstrip("'"))))
    return f"{base}^{{{power}}}" if power else base
