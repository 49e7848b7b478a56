"""Rational polynomials and matrix words for the checker.  Standard library only.

Polynomials in scalars and inner products are ``{monomial: Fraction}``; sums of words in letters and transposed
letters, with scalar monomials in front, are ``{(monomial, word): Fraction}``.  `Context` reads both from the strings of
a certificate over the symbols it declares.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Literal, NamedTuple

MAX_EXPONENT = 64


class Rejected(Exception):
    """The certificate does not prove what it says; the message says where it fails."""


# -- polynomials in scalars and inner products: {monomial: coefficient} --------------------------------

Monomial = tuple[tuple[str, int], ...]
Poly = dict[Monomial, Fraction]
Letter = tuple[str, bool]  # name, transposed
Word = tuple[Letter, ...]
Words = dict[tuple[Monomial, Word], Fraction]
Grid = list[list[Words]]  # a block matrix
ANY = ("*", "*")  # the shape of a trace fact
ONE: Poly = {(): Fraction(1)}


def add(p: Mapping[Any, Fraction], q: Mapping[Any, Fraction], c: Fraction = Fraction(1)) -> dict[Any, Fraction]:
    """p + c q, zeros dropped (for polynomials, words and vectors of coefficients alike)."""
    out = dict(p)
    for key, value in q.items():
        total = out.get(key, Fraction(0)) + c * value
        if total:
            out[key] = total
        else:
            out.pop(key, None)
    return out


def times(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(a)
    for atom, k in b:
        powers[atom] = powers.get(atom, 0) + k
    return tuple(sorted(powers.items()))


def mul(p: Poly, q: Poly) -> Poly:
    out: Poly = {}
    for a, x in p.items():
        for b, y in q.items():
            key = times(a, b)
            total = out.get(key, Fraction(0)) + x * y
            if total:
                out[key] = total
            else:
                out.pop(key, None)
    return out


def power(p: Poly, k: int) -> Poly:
    out = ONE
    for _ in range(k):
        out = mul(out, p)
    return out


class Fact(NamedTuple):
    """A scalar fact (``kind='poly'``) or a matrix fact (``kind='words'``, with its shape)."""

    kind: Literal["poly", "words"]
    value: Any
    relation: str
    shape: tuple[str, str] | None = None


Subst = Mapping[str, Poly | Mapping[str, Poly]]  # scalar -> polynomial, vector -> combination


class Context:
    """The declared symbols, and the reading of strings into polynomials and words over them."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        known_keys(declared, "scalars", "vectors", "matrices", "symmetric")
        scalars, vectors = many(declared.get("scalars", ())), many(declared.get("vectors", ()))
        self.scalars, self.vectors = set(scalars), set(vectors)
        self.matrices = {k: (size_name(r), size_name(c)) for k, (r, c) in declared.get("matrices", {}).items()}
        self.symmetric = set(many(declared.get("symmetric", ())))
        names = [*scalars, *vectors, *self.matrices]  # lists: in a set, a symbol named again would go unnoticed
        if len(names) != len(set(names)):
            raise Rejected("a symbol is declared twice")
        for name in names:
            if not isinstance(name, str) or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise Rejected(f"{name!r} cannot name a symbol")
        for name in self.symmetric:
            if name not in self.matrices or self.matrices[name][0] != self.matrices[name][1]:
                raise Rejected(f"{name!r} is called symmetric but is no square matrix")

    # scalar polynomials
    def atom(self, text: str) -> str:
        if text.startswith("<") and text.endswith(">"):
            x, _, y = text[1:-1].partition(",")
            if x not in self.vectors or y not in self.vectors:
                raise Rejected(f"{text!r}: not two declared vectors")
            return inner(x, y)
        if text not in self.scalars:
            raise Rejected(f"undeclared scalar {text!r}")
        return text

    def monomial(self, text: str) -> Monomial:
        out: Monomial = ()
        for token in text.split():
            if token == "1":
                continue
            name, caret, exponent = token.partition("^")
            k = 1 if not caret else int(exponent) if re.fullmatch("[1-9][0-9]?", exponent) else 0
            if not 1 <= k <= MAX_EXPONENT:
                raise Rejected(f"exponent in {text!r}: a whole number from 1 to {MAX_EXPONENT}")
            out = times(out, ((self.atom(name), k),))
        return out

    def poly(self, data: Mapping[str, str]) -> Poly:
        out: Poly = {}
        for text, coefficient in data.items():
            out = add(out, {self.monomial(text): rational(coefficient)})
        return out

    def combination(self, data: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, ...], Poly]:
        """``{"x@y": poly, ...}``: a tensor whose words all have one length."""
        out: dict[tuple[str, ...], Poly] = {}
        for text, coefficient in data.items():
            word = () if text == "1" else tuple(text.split("@"))
            if not set(word) <= self.vectors:
                raise Rejected(f"{text!r}: not declared vectors")
            out[word] = add(out.get(word, {}), self.poly(coefficient))
        if len({len(word) for word in out}) > 1:
            raise Rejected("a square mixes tensors of different degree")
        return out

    def square(self, data: Mapping[str, Mapping[str, str]]) -> Poly:
        terms = self.combination(data)
        out: Poly = {}
        for v, p in terms.items():
            for w, q in terms.items():
                gram: Poly = {(): Fraction(1)}
                for x, y in zip(v, w, strict=True):
                    gram = mul(gram, {((inner(x, y), 1),): Fraction(1)})
                out = add(out, mul(gram, mul(p, q)))
        return out

    # words
    def words(self, data: Mapping[str, str], shape: tuple[str, str]) -> Words:
        out: Words = {}
        for text, coefficient in data.items():
            scalars: Monomial = ()
            letters: list[Letter] = []
            for token in text.split():
                name = token.rstrip("'")
                if name in self.matrices:
                    if len(token) - len(name) > 1:
                        raise Rejected(f"{token!r}: one prime at most")
                    letters.append((name, token != name and name not in self.symmetric))
                elif token != "1":
                    scalars = times(scalars, self.monomial(token))
            word = tuple(letters)
            found = self.shape(word, shape)
            if shape == ANY and not word:
                raise Rejected("the trace of an identity is its size, of which a trace fact knows nothing")
            if found != shape and not (shape == ANY and found[0] == found[1]):
                raise Rejected(f"{text!r} has shape {found}, not {shape}")
            out = add(out, {(scalars, word): rational(coefficient)})
        return out

    def shape(self, word: Word, empty: tuple[str, str]) -> tuple[str, str]:
        """Shape of a word; the empty word is an identity and takes the square shape it stands in."""
        if not word:
            if empty[0] != empty[1]:
                raise Rejected(f"an identity of shape {empty}")
            return empty
        sides = [self.matrices[n] if not t else self.matrices[n][::-1] for n, t in word]
        for (_, inside), (outside, _) in itertools.pairwise(sides):
            if inside != outside:
                raise Rejected(f"{show_word(word)}: shapes do not chain")
        return sides[0][0], sides[-1][1]

    def fact(self, data: Mapping[str, Any]) -> Fact:
        relation = data["is"]
        if set(data) not in ({"poly", "is"}, {"words", "is"}, {"words", "shape", "is"}):
            raise Rejected(f"a fact with {sorted(data)}")
        if "poly" in data:
            if relation not in ("=0", ">=0", ">0"):
                raise Rejected(f"relation {relation!r} for a polynomial")
            return Fact("poly", self.poly(data["poly"]), relation)
        traced = relation in ("trace=0", "trace>=0")
        if traced and "shape" in data:
            raise Rejected("a trace fact has no shape")
        rows, cols = ANY if traced else data["shape"]
        shape = ANY if traced else (size_name(rows), size_name(cols))
        if not traced and (relation not in ("=0", "psd") or (relation == "psd" and rows != cols)):
            raise Rejected(f"relation {relation!r} for words of shape {shape}")
        return Fact("words", self.words(data["words"], shape), relation, shape)

    def extended(
        self, scalars: Iterable[str] = (), vectors: Iterable[str] = (), **matrices: tuple[str, str]
    ) -> Context:
        """A context with new symbols; an old name is refused by the constructor."""
        fresh = {"scalars": [*self.scalars, *scalars], "vectors": [*self.vectors, *vectors]}
        if set(matrices) & set(self.matrices):
            raise Rejected("a new symbol has an old name")
        return Context({**fresh, "matrices": {**self.matrices, **matrices}, "symmetric": list(self.symmetric)})


def known_keys(data: Mapping[str, Any], *known: str) -> None:
    """A key that is not read might be read differently by a person."""
    if not set(data) <= set(known):
        raise Rejected(f"unknown keys {sorted(set(data) - set(known))}")


def many(names: Any) -> list[Any]:
    if not isinstance(names, list | tuple):
        raise Rejected(f"{names!r}: no list of names")
    return list(names)


def size_name(name: Any) -> str:
    """The name of a size: a word, so that it is never one of the checker's own signs, nor equal to another by conversion."""
    if not isinstance(name, str) or not re.fullmatch("[A-Za-z0-9_]+", name):
        raise Rejected(f"{name!r} cannot name a size")
    return name


def inner(x: str, y: str) -> str:
    return f"<{min(x, y)},{max(x, y)}>"


def rational(text: str) -> Fraction:
    if not isinstance(text, str) or not re.fullmatch("-?[0-9]+(/[0-9]+)?", text):
        raise Rejected(f"{text!r}: coefficients are strings such as '-3/4', never floating point")
    return Fraction(text)


def show_word(word: Word) -> str:
    return " ".join(n + "'" * t for n, t in word) or "1"


def show(p: Mapping[Any, Fraction]) -> str:
    """The first terms of a polynomial or of words, for messages."""
    names = []
    for key, c in list(p.items())[:4]:
        of_words = (
            len(key) == 2
            and (key[1] == () or isinstance(key[1][0], tuple))
            and (key[0] == () or isinstance(key[0][0], tuple))
        )
        monomial, word = key if of_words else (key, ())
        names.append(" ".join([str(c), *(f"{atom}^{k}" for atom, k in monomial), show_word(word) if of_words else ""]))
    return " + ".join(names) + (" + ..." if len(p) > 4 else "")


def word_mul(p: Words, q: Words) -> Words:
    out: Words = {}
    for (m, v), x in p.items():
        for (n, w), y in q.items():
            out = add(out, {(times(m, n), v + w): x * y})
    return out


def transpose(p: Words, context: Context) -> Words:
    """(AB)' = B'A'; symmetric letters stay as they are."""
    out: Words = {}
    for (m, word), c in p.items():
        flipped = tuple((n, (not t) and n not in context.symmetric) for n, t in reversed(word))
        out = add(out, {(m, flipped): c})
    return out


def sized(p: Words, size: str) -> Words:
    """Words whose trace is taken over one size: the trace of the empty word, ``I_size``, is a number like no other's."""
    tag: Monomial = ((f"@{size}", 1),)  # no declared symbol holds an @
    return {(times(m, () if w else tag), w): c for (m, w), c in p.items()}


def cyclic(p: Words, context: Context) -> Words:
    """Words up to what a trace does not see: one representative of all rotations and transposes."""
    out: Words = {}
    for (m, word), c in p.items():
        flipped = tuple((n, (not t) and n not in context.symmetric) for n, t in reversed(word))
        turns = [w[i:] + w[:i] for w in (word, flipped) for i in range(max(1, len(word)))]
        out = add(out, {(m, min(turns)): c})
    return out
