"""Formulas for the page: LaTeX of the claims as MathML, facts of a certificate as LaTeX."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from ..theory.errors import not_installed

_COMMAND = re.compile(r"\\(?:operatorname|mathrm|text|begin|end)\{[^}]*\}|\\[A-Za-z]+")


def readable(latex: str) -> str:
    """Names of several letters upright, subscripts of several words spaced."""
    latex = latex.replace(r"\mathbb{I}", r"\mathrm{I}")  # few fonts on phones have the double-struck letter
    parts, end = [], 0
    for command in _COMMAND.finditer(latex):
        parts += [_words(latex[end : command.start()]), command.group()]
        end = command.end()
    return "".join([*parts, _words(latex[end:])])


def _words(text: str) -> str:
    return re.sub(r"[A-Za-z]{2,}(?: [A-Za-z]{2,})*", lambda m: r"\mathrm{" + m.group().replace(" ", r"\,") + "}", text)


def to_mathml(latex: str, display: bool = False) -> str:
    """MathML that a browser shows without any file beside the page.

    Raises:
        InputError: latex2mathml is not installed.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise not_installed("latex2mathml", "paper") from None
    return str(convert(readable(latex), display="block" if display else "inline"))


# -- formulas in running text ----------------------------------------------------------------------------------

_GREEK = {
    "alpha": "α", "beta": "β", "delta": "δ", "eta": "η", "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "theta": "θ", "epsilon": "ε",
}  # fmt: skip


def prose(text: str) -> str:
    """A sentence with formulas in plain characters (``e_0``, ``c^2 <= 1/4``) as HTML."""
    text = html.escape(text, quote=False)
    for plain, sign in (("&lt;=", "≤"), ("&gt;=", "≥"), ("-&gt;", "→")):
        text = text.replace(plain, sign)
    text = re.sub(r"\^(?:\{([^}]*)\}|(\*|-?\w[^\W_]*))", lambda m: f"<sup>{m[1] or m[2]}</sup>", text)
    text = re.sub(r"(?<=[\w>])_(?:\{([^}]*)\}|([^\W_]+))", lambda m: f"<sub>{m[1] or m[2]}</sub>", text)
    return re.sub(r"(?<![A-Za-z])(" + "|".join(_GREEK) + r")(?![A-Za-z])", lambda m: _GREEK[m[1]], text)


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
