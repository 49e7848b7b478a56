"""Sentences and names for LaTeX: every character that it obeys is escaped, formulas in plain characters are set."""

from __future__ import annotations

import re
import unicodedata

from .mathml import GREEK, marked

_TEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "{": r"\{", "}": r"\}", "$": r"\$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}", "…": r"\ldots{}", "’": "'", "–": r"\textendash{}", "\u2009": r"\,",
    **{sign: rf"\ensuremath{{\{name}}}" for sign, name in {
        "±": "pm", "×": "times", "·": "cdot", "≤": "le", "≥": "ge", "≠": "ne", "→": "to", "⇔": "Leftrightarrow", "⊗": "otimes",
        "⟨": "langle", "⟩": "rangle", "√": "surd", "∞": "infty", "‖": "Vert", **{sign: name for name, sign in GREEK.items()},
    }.items()},
    "−": r"\ensuremath{-}", "²": r"\textsuperscript{2}", "³": r"\textsuperscript{3}",
}  # fmt: skip
_LETTER = {
    "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "dj", "Đ": "DJ", "ð": "dh",
    "Ð": "DH", "þ": "th", "Þ": "TH", "ı": "i",
}  # fmt: skip
_ACCENT = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327\u0328", "`'^~=u.\"rHvck", strict=True)
)


def tex(text: str, formulas: bool = False) -> str:
    """Plain text for LaTeX; with `formulas`, what stands between dollar signs stays."""
    pieces = re.split(r"(\$[^$]*\$)", text) if formulas else [text]
    # Two hyphens of an option would be set as a dash.
    plain = ("".join(map(_character, p)).replace("--", "-{}-") for p in pieces)
    return "".join(p if formulas and p.startswith("$") else q for p, q in zip(pieces, plain, strict=True))


def _character(c: str) -> str:
    """In ASCII, for every engine; what LaTeX has no command for (a name in another script) as its number."""
    letter, *accent = list(unicodedata.normalize("NFD", c))
    if c in _TEX or c.isascii():
        return _TEX.get(c, c)
    if c in _LETTER:
        return rf"\{_LETTER[c]}{{}}"
    if letter.isascii() and len(accent) == 1 and accent[0] in _ACCENT:
        return rf"\{_ACCENT[accent[0]]}{{{letter}}}"
    return f"[U+{ord(c):04X}]"


def prose_tex(text: str) -> str:
    """A sentence with formulas in plain characters (``c^2 <= 1/4``) for LaTeX."""
    command = {"sup": "textsuperscript", "sub": "textsubscript", "code": "texttt"}
    parts = []
    for kind, part in marked(text):
        inside = prose_tex(part) if kind in ("sup", "sub") else tex(part)
        parts.append(inside if kind == "plain" else rf"\{command[kind]}{{{inside}}}")
    return re.sub(r"(\\textsubscript\{[^{}]*\})(?=\\textsubscript)", r"\1\\,", "".join(parts))
