"""Each rule of the checker accepts what it should, and rejects every near miss that would be unsound."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from crossmodal.theory import checker
from crossmodal.theory.checker import Rejected, check, check_text


def certificate(
    symbols: dict[str, Any], hypotheses: dict[str, Any], steps: list[Any], goals: list[str], **more: Any
) -> dict[str, Any]:
    facts = {s["name"]: s["fact"] for s in steps if "fact" in s} | dict(hypotheses.items())
    facts |= {f"{s['name']}.{k + 1}": f for s in steps for k, f in enumerate(s.get("facts", ()))}
    return {
        "schema": checker.SCHEMA, "symbols": symbols, "steps": steps, "goals": [{"name": g, "fact": facts[g]} for g in goals],
        "hypotheses": [{"name": k, "text": "", "fact": v} for k, v in hypotheses.items()], **more,
    }  # fmt: skip


def poly(relation: str, **terms: str) -> dict[str, Any]:
    return {"poly": {k.replace("_", " "): v for k, v in terms.items()}, "is": relation}


def step(name: str, fact: Any, /, **by: Any) -> dict[str, Any]:
    return {"name": name, "text": "", "fact": fact, "by": by}


AMGM = certificate(  # x^2 + y^2 - 2xy >= 0
    {"scalars": ["x", "y"]}, {},
    [step("goal", {"poly": {"x^2": "1", "y^2": "1", "x y": "-2"}, "is": ">=0"}, rule="positive",
          terms=[{"coef": "1", "squares": [{"1": {"x": "1", "y": "-1"}}]}])],
    ["goal"],
)  # fmt: skip

CAUCHY = certificate(  # |x|^2 |y|^2 - <x,y>^2 >= 0 by one tensor square
    {"vectors": ["x", "y"]}, {},
    [step("goal", {"poly": {"<x,x> <y,y>": "1", "<x,y>^2": "-1"}, "is": ">=0"}, rule="positive",
          terms=[{"coef": "1/2", "squares": [{"x@y": {"1": "1"}, "y@x": {"1": "-1"}}]}])],
    ["goal"],
)  # fmt: skip

ROOT = certificate(  # x <= y from x^2 <= y^2, y >= 0
    {"scalars": ["x", "y"]},
    {"sign": poly(">=0", y="1"), "squares": {"poly": {"y^2": "1", "x^2": "-1"}, "is": ">=0"}},
    [step("goal", poly(">=0", y="1", x="-1"), rule="refute",
          terms=[{"coef": "1", "facts": ["not", "not"]}, {"coef": "2", "facts": ["not", "sign"]}, {"coef": "1", "facts": ["squares"]}])],
    ["goal"],
)  # fmt: skip

CASES = certificate(  # x^4 >= 0, needlessly, by the sign of x
    {"scalars": ["x"]}, {},
    [step("goal", {"poly": {"x^4": "1"}, "is": ">=0"}, rule="cases", on={"x": "1"}, **{
        sign: [step(sign, {"poly": {"x^4": "1"}, "is": ">=0"}, rule="positive", terms=[{"coef": "1", "squares": [{"1": {"x^2": "1"}}]}])]
        for sign in ("negative", "zero", "positive")})],
    ["goal"],
)  # fmt: skip

VANISH = certificate(
    {"vectors": ["x", "y"]}, {"null": poly("=0", **{"<x,x>": "1"})},
    [step("goal", poly("=0", **{"<x,y>": "1"}), rule="vanish", fact="null", vector="x", **{"with": "y"})], ["goal"],
)  # fmt: skip

SUM = certificate(  # sum of k numbers a^2 is >= 0, for every k
    {"scalars": ["S"]}, {},
    [step("goal", poly(">=0", S="1"), rule="induction", recursion="sum",
          base=[step("b", {"poly": {}, "is": ">=0"}, rule="positive", terms=[])],
          step=[step("n", {"poly": {"S": "1", "a^2": "1"}, "is": ">=0"}, rule="positive",
                     terms=[{"coef": "1", "facts": ["hypothesis"]}, {"coef": "1", "squares": [{"1": {"a": "1"}}]}])])],
    ["goal"],
    recursions={"sum": {"kind": "scalars", "start": {"S": {}}, "update": {"S": {"S": "1", "a^2": "1"}},
                        "fresh": {"scalars": ["a"]}, "given": []}},
)  # fmt: skip

GIVEN = certificate(  # the same for numbers of which nonnegativity is given
    {"scalars": ["S"]}, {},
    [step("goal", poly(">=0", S="1"), rule="induction", recursion="sum",
          base=[step("b", {"poly": {}, "is": ">=0"}, rule="positive", terms=[])],
          step=[step("n", poly(">=0", S="1", a="1"), rule="positive",
                     terms=[{"coef": "1", "facts": ["hypothesis"]}, {"coef": "1", "facts": ["sign"]}])])],
    ["goal"],
    recursions={"sum": {"kind": "scalars", "start": {"S": {}}, "update": {"S": {"S": "1", "a": "1"}},
                        "fresh": {"scalars": ["a"]}, "given": [{"name": "sign", "fact": poly(">=0", a="1")}]}},
)  # fmt: skip

WALK = certificate(  # u = s w where u gains a w and s gains a at every step, w stays
    {"scalars": ["s"], "vectors": ["u", "v", "w"]}, {},
    [step("goal", poly("=0", **{"<u,v>": "1", "s <w,v>": "-1"}), rule="induction", recursion="walk",
          base=[step("b", poly("=0"), rule="ideal")],
          step=[step("n", poly("=0", **{"<u,v>": "1", "s <w,v>": "-1"}), rule="ideal", equalities=[{"fact": "hypothesis", "times": {"1": "1"}}])])],
    ["goal"],
    recursions={"walk": {"kind": "scalars", "start": {"u": {}, "s": {}}, "fresh": {"scalars": ["a"]}, "given": [],
                         "update": {"u": {"u": {"1": "1"}, "w": {"a": "1"}}, "s": {"s": "1", "a": "1"}}}},
)  # fmt: skip

INVERSE_ROOT = certificate(  # for x > 0: x^3 = (x sqrt(x))^2 >= 0, and y = 1 where x y = x
    {"scalars": ["x", "y"]}, {"x": poly(">0", x="1"), "same": {"poly": {"x y": "1", "x": "-1"}, "is": "=0"}},
    [{"name": "r", "text": "", "by": {"rule": "sqrt", "of": "x", "as": "r"}},
     {"name": "i", "text": "", "by": {"rule": "inverse", "of": "x", "as": "i"}},
     step("cube", {"poly": {"x^3": "1"}, "is": ">=0"}, rule="positive", terms=[{"coef": "1", "squares": [{"1": {"r x": "1"}}]}],
          equalities=[{"times": {"x^2": "-1"}, "fact": "r.square"}]),
     step("goal", {"poly": {"y": "1", "1": "-1"}, "is": "=0"}, rule="ideal",
          equalities=[{"times": {"i": "1"}, "fact": "same"}, {"times": {"1": "1", "y": "-1"}, "fact": "i.product"}])],
    ["cube", "goal"],
)  # fmt: skip

PROJECTOR = certificate(  # P = P' P is psd for a symmetric idempotent P
    {"matrices": {"P": ["d", "d"]}, "symmetric": ["P"]},
    {"idempotent": {"words": {"P P": "1", "P": "-1"}, "shape": ["d", "d"], "is": "=0"}},
    [step("goal", {"words": {"P": "1"}, "shape": ["d", "d"], "is": "psd"}, rule="psd",
          squares=[{"coef": "1", "word": {"P": "1"}, "rows": "d", "cols": "d"}],
          terms=[{"fact": "idempotent", "left": {"1": "-1"}, "right": {"1": "1"}}])],
    ["goal"],
)  # fmt: skip

CYCLE = certificate(  # tr(A B) = tr(B A), read as scalars
    {"matrices": {"A": ["n", "m"], "B": ["m", "n"]}}, {},
    [step("cycle", {"words": {"A B": "1", "B A": "-1"}, "is": "trace=0"}, rule="free", terms=[]),
     {"name": "t", "text": "", "by": {"rule": "trace", "words": {"A B": "1"}, "shape": ["n", "n"], "as": "t"}},
     step("goal", {"poly": {}, "is": "=0"}, rule="read", fact="cycle")],
    ["goal"],
)  # fmt: skip

BLOCKS = certificate(  # G = A A' for a Gram matrix that grows row by row
    {"matrices": {"A": ["T", "d"], "G": ["T", "T"]}}, {},
    [{"name": "all", "text": "", "facts": [{"words": {"G": "1", "A A'": "-1"}, "shape": ["T", "T"], "is": "=0"}],
      "by": {"rule": "blocks", "recursion": "rows", "base": [[]],
             "step": [[[[{"fact": "hypothesis.1", "left": {"1": "1"}, "right": {"1": "1"}}], []], [[], []]]]}}],
    ["all.1"],
    recursions={"rows": {"kind": "blocks", "dim": "T", "by": "k", "fresh": {"matrices": {"a": ["k", "d"]}},
                         "grow": {"A": [[{"A": "1"}], [{"a": "1"}]],
                                  "G": [[{"G": "1"}, {"A a'": "1"}], [{"a A'": "1"}, {"a a'": "1"}]]},
                         "start": {}, "update": {}, "given": []}},
)  # fmt: skip

ONE = {"left": {"1": "1"}, "right": {"1": "1"}}  # a fact by itself in a sum of words

EMPTY = certificate(  # rows that are zero, as it is given, make a zero matrix; N counts nothing
    {"matrices": {"A": ["T", "d"], "N": ["d", "d"]}}, {},
    [{"name": "all", "text": "", "facts": [{"words": {"A": "1"}, "shape": ["T", "d"], "is": "=0"}, {"words": {"N": "1"}, "shape": ["d", "d"], "is": "=0"}],
      "by": {"rule": "blocks", "recursion": "rows", "base": [[], []],
             "step": [[[[{"fact": "hypothesis.1", **ONE}]], [[{"fact": "null", **ONE}]]],
                      [[[{"fact": "hypothesis.2", **ONE}, {"fact": "null", "left": {"a'": "1"}, "right": {"1": "1"}}]]]]}}],
    ["all.1", "all.2"],
    recursions={"rows": {"kind": "blocks", "dim": "T", "by": "k", "fresh": {"matrices": {"a": ["k", "d"]}},
                         "grow": {"A": [[{"A": "1"}], [{"a": "1"}]]}, "start": {"N": {}}, "update": {"N": {"N": "1", "a' a": "1"}},
                         "given": [{"name": "null", "fact": {"words": {"a": "1"}, "shape": ["k", "d"], "is": "=0"}}]}},
)  # fmt: skip

TURNED = certificate(  # x (A B)' H (A B) psd for x >= 0 and H psd; A B = C gives B'A' = C'
    {"scalars": ["x"], "matrices": {"A": ["n", "m"], "B": ["m", "d"], "C": ["n", "d"], "H": ["n", "n"]}},
    {"x": poly(">=0", x="1"), "h": {"words": {"H": "1"}, "shape": ["n", "n"], "is": "psd"}, "c": {"words": {"A B": "1", "C": "-1"}, "shape": ["n", "d"], "is": "=0"}},
    [step("goal", {"words": {"x B' A' H A B": "1"}, "shape": ["d", "d"], "is": "psd"}, rule="psd",
          squares=[{"coef": "1", "word": {"A B": "1"}, "rows": "n", "cols": "d", "fact": "h", "weights": ["x"]}]),
     step("turned", {"words": {"B' A'": "1", "C'": "-1"}, "shape": ["d", "n"], "is": "=0"}, rule="free", terms=[{"fact": "c", "transpose": True, **ONE}])],
    ["goal", "turned"],
)  # fmt: skip

COUNTED = certificate(  # N, the sum of all a'a, is A'A
    {"matrices": {"A": ["T", "d"], "N": ["d", "d"]}}, {},
    [{"name": "all", "text": "", "facts": [{"words": {"N": "1", "A' A": "-1"}, "shape": ["d", "d"], "is": "=0"}],
      "by": {"rule": "blocks", "recursion": "rows", "base": [[]], "step": [[[[{"fact": "hypothesis.1", **ONE}]]]]}}],
    ["all.1"],
    recursions={"rows": {"kind": "blocks", "dim": "T", "by": "k", "fresh": {"matrices": {"a": ["k", "d"]}},
                         "grow": {"A": [[{"A": "1"}], [{"a": "1"}]]}, "start": {"N": {}}, "update": {"N": {"N": "1", "a' a": "1"}}, "given": []}},
)  # fmt: skip

TWICE = certificate(  # S >= 0 at every step, so its sum Q is
    {"scalars": ["S", "Q"]}, {},
    [step("S", poly(">=0", S="1"), rule="induction", recursion="r", base=[step("b", poly(">=0"), rule="positive", terms=[])],
          step=[step("n", poly(">=0", S="1", **{"a^2": "1"}), rule="positive", terms=[{"coef": "1", "facts": ["hypothesis"]}, {"coef": "1", "squares": [{"1": {"a": "1"}}]}])]),
     step("Q", poly(">=0", Q="1"), rule="induction", recursion="r", base=[step("b", poly(">=0"), rule="positive", terms=[])],
          step=[step("n", poly(">=0", Q="1", S="1"), rule="positive", terms=[{"coef": "1", "facts": ["hypothesis"]}, {"coef": "1", "facts": ["S"]}])])],
    ["Q"],
    recursions={"r": {"kind": "scalars", "start": {"S": {}, "Q": {}}, "update": {"S": {"S": "1", "a^2": "1"}, "Q": {"Q": "1", "S": "1"}},
                      "fresh": {"scalars": ["a"]}, "given": []}},
)  # fmt: skip

TRACED = certificate(  # L, strictly lower, has no trace; C counts what N does, and x times nothing is nothing
    {"scalars": ["x"], "matrices": {"L": ["T", "T"], "C": ["T", "T"], "A": ["T", "d"], "N": ["d", "d"]}}, {},
    [{"name": "all", "text": "", "facts": [{"words": {"L": "1"}, "is": "trace=0"}, {"words": {"C": "1", "N": "-1"}, "is": "trace=0"}],
      "by": {"rule": "blocks", "recursion": "rows", "base": [[], []],
             "step": [[{"fact": "hypothesis.1", "times": {"1": "1"}}], [{"fact": "hypothesis.2", "times": {"1": "1"}}]]}},
     step("goal", {"words": {"x L": "1", "C": "2", "N": "-2"}, "is": "trace=0"}, rule="free",
          terms=[{"fact": "all.1", "times": {"x": "1"}}, {"fact": "all.2", "times": {"1": "2"}}])],
    ["goal"],
    recursions={"rows": {"kind": "blocks", "dim": "T", "by": "k", "fresh": {"matrices": {"a": ["k", "d"]}},
                         "grow": {"A": [[{"A": "1"}], [{"a": "1"}]], "L": [[{"L": "1"}, {}], [{"a A'": "1"}, {}]],
                                  "C": [[{"C": "1"}, {"A a'": "1"}], [{}, {"a a'": "1"}]]},
                         "start": {"N": {}}, "update": {"N": {"N": "1", "a' a": "1"}}, "given": []}},
)  # fmt: skip

SWAPPED = certificate(  # tr M = tr N, of which one starts at B C and the other at C B
    {"matrices": {"B": ["d", "e"], "C": ["e", "d"], "M": ["d", "d"], "N": ["e", "e"]}}, {},
    [{"name": "all", "text": "", "facts": [{"words": {"M": "1", "N": "-1"}, "is": "trace=0"}],
      "by": {"rule": "blocks", "recursion": "r", "base": [[]], "step": [[{"fact": "hypothesis.1", "times": {"1": "2"}}]]}}],
    ["all.1"],
    recursions={"r": {"kind": "blocks", "dim": "T", "by": "k", "fresh": {}, "grow": {}, "start": {"M": {"B C": "1"}, "N": {"C B": "1"}},
                      "update": {"M": {"M": "2"}, "N": {"N": "2"}}, "given": []}},
)  # fmt: skip

# The same with blocks of any size: every step brings a k of its own.
ANY_SIZE = {
    name: {**copy.deepcopy(base), "recursions": {"rows": {**base["recursions"]["rows"], "fresh": {"matrices": {"a": ["k", "d"]}, "sizes": ["k"]}}}}
    for name, base in (("blocks", BLOCKS), ("given blocks", EMPTY), ("counted", COUNTED), ("traced", TRACED))
}  # fmt: skip

STACKED = certificate(  # N, the sum of all a'a, is C'C, where every block a is square: all are of one size
    {"matrices": {"C": ["T", "k"], "N": ["k", "k"]}}, {},
    [{"name": "all", "text": "", "facts": [{"words": {"N": "1", "C' C": "-1"}, "shape": ["k", "k"], "is": "=0"}],
      "by": {"rule": "blocks", "recursion": "rows", "base": [[]], "step": [[[[{"fact": "hypothesis.1", **ONE}]]]]}}],
    ["all.1"],
    recursions={"rows": {"kind": "blocks", "dim": "T", "by": "k", "fresh": {"matrices": {"a": ["k", "k"]}},
                         "grow": {"C": [[{"C": "1"}], [{"a": "1"}]]}, "start": {"N": {}}, "update": {"N": {"N": "1", "a' a": "1"}}, "given": []}},
)  # fmt: skip

GOOD = {
    "stacked": STACKED, **{f"{name} of any size": c for name, c in ANY_SIZE.items()},
    "turned": TURNED, "counted": COUNTED, "twice": TWICE, "given": GIVEN, "vectors": WALK, "given blocks": EMPTY,
    "positive": AMGM, "tensor": CAUCHY, "refute": ROOT, "cases": CASES, "vanish": VANISH, "induction": SUM, "sqrt": INVERSE_ROOT,
    "psd": PROJECTOR, "trace": CYCLE, "blocks": BLOCKS, "traced": TRACED, "swapped": SWAPPED,
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_accepts(name: str) -> None:
    assert check(GOOD[name]) == [g["name"] for g in GOOD[name]["goals"]]
    assert check_text(json.dumps(GOOD[name])) == [g["name"] for g in GOOD[name]["goals"]]


def changed(base: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    out = copy.deepcopy(base)
    node = out
    for key in path[:-1]:
        node = node[key]
    if to is None:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return out


def everywhere(node: Any, name: str, to: Any) -> Any:
    """The same certificate with another name, wherever it stands."""
    if isinstance(node, dict):
        return {key: everywhere(value, name, to) for key, value in node.items()}
    if isinstance(node, list):
        return [everywhere(value, name, to) for value in node]
    return to if node == name else node


def test_another_name_is_as_good() -> None:
    assert check(everywhere(AMGM, "goal", "other")) == ["other"]
    check(everywhere(PROJECTOR, "d", "other"))


BAD = {
    "a sum of squares that is another polynomial": changed(AMGM, "steps", 0, "fact", "poly", "x y", to="2"),
    "a negative weight": changed(AMGM, "steps", 0, "by", "terms", 0, "coef", to="-1"),
    "a square called strictly positive": changed(AMGM, "steps", 0, "fact", "is", to=">0"),
    "a floating-point coefficient": changed(AMGM, "steps", 0, "by", "terms", 0, "coef", to=1.0),
    "a tensor square with a missing half": changed(CAUCHY, "steps", 0, "by", "terms", 0, "squares", 0, to={"x@y": {"1": "1"}}),
    "tensors of different degree in one square": changed(CAUCHY, "steps", 0, "by", "terms", 0, "squares", 0, "x", to={"1": "1"}),
    "Cauchy and Schwarz the wrong way round": changed(CAUCHY, "steps", 0, "fact", "poly", to={"<x,x> <y,y>": "-1", "<x,y>^2": "1"}),
    "a refutation without a strict term": changed(ROOT, "steps", 0, "by", "terms", to=[]),
    "a refutation of the wrong goal": changed(ROOT, "steps", 0, "fact", to=poly(">=0", x="1", y="-1")),
    "a fact used with a relation it lacks": changed(ROOT, "hypotheses", 0, "fact", "is", to="=0"),
    "a size of a step that is a sign": changed(ANY_SIZE["counted"], "recursions", "rows", "fresh", "sizes", to=["k", "@"]),
    "fresh symbols that say more than their names": changed(GIVEN, "recursions", "sum", "fresh", "scalars", to={"a": "in [0, 1]"}),
    "fresh symbols in one word": changed(GIVEN, "recursions", "sum", "fresh", "scalars", to="a"),
    "sizes of the steps of a sum": changed(SUM, "recursions", "sum", "fresh", "sizes", to=["k"]),
    "a hypothesis that is not used": changed(AMGM, "hypotheses", to=[{"name": "h", "text": "", "fact": poly(">=0", x="1")}]),
    "a goal that is assumed": changed(ROOT, "goals", to=[{"name": "sign", "fact": poly(">=0", y="1")}]),
    "no goal": changed(AMGM, "goals", to=[]),
    "a goal nobody proved": changed(AMGM, "goals", to=[{"name": "other", "fact": poly(">=0", x="1")}]),
    "a goal that states more than was proved": changed(AMGM, "goals", 0, "fact", "poly", "x^2", to="2"),
    "a goal listed twice": changed(AMGM, "goals", to=[AMGM["goals"][0]] * 2),
    "a case left out": changed(CASES, "steps", 0, "by", "zero", to=[]),
    "a case that ends elsewhere": changed(CASES, "steps", 0, "by", "zero", 0, "fact", "poly", to={"x^2": "1"}),
    "vanish without the vanishing": changed(VANISH, "hypotheses", 0, "fact", "is", to=">=0"),
    "vanish for another vector": changed(VANISH, "steps", 0, "by", "vector", to="y"),
    "an induction without its base": changed(SUM, "steps", 0, "by", "base", to=[]),
    "an induction whose step proves another goal": changed(SUM, "recursions", "sum", "update", to={"S": {"S": "1", "a": "1"}}),
    "a recursion that starts at its own state": changed(SUM, "recursions", "sum", "start", to={"S": {"S": "1"}}),
    "a symbol moved by two recursions": changed(SUM, "recursions", "again", to=SUM["recursions"]["sum"]),
    "the start below zero": changed(SUM, "recursions", "sum", "start", to={"S": {"1": "-1"}}),
    "the root of what may be negative": changed(INVERSE_ROOT, "hypotheses", 0, "fact", to=poly("=0", x="1")),
    "the inverse of what may vanish": changed(INVERSE_ROOT, "hypotheses", 0, "fact", "is", to=">=0"),
    "a new symbol with an old name": changed(INVERSE_ROOT, "steps", 1, "by", "as", to="r"),
    "idempotent but not symmetric": changed(PROJECTOR, "symbols", "symmetric", to=[]),
    "psd of the negative": changed(PROJECTOR, "steps", 0, "fact", "words", to={"P": "-1"}),
    "a trace of what does not close": changed(CYCLE, "steps", 0, "fact", "words", to={"A B": "1", "A": "-1"}),
    "words that do not chain": changed(CYCLE, "steps", 0, "fact", "words", to={"A A": "1", "B A": "-1"}),
    "a product called commutative": changed(CYCLE, "steps", 0, "fact", to={"words": {"A B": "1", "B A": "-1"}, "shape": ["n", "n"], "is": "=0"}),
    "a corner block forgotten": changed(BLOCKS, "recursions", "rows", "grow", "G", 1, 1, to={}),
    "a growing letter not grown": changed(BLOCKS, "recursions", "rows", "grow", "G", to=None),
    "the new block as large as all": changed(BLOCKS, "recursions", "rows", "by", to="T"),
    "a transposed block": changed(BLOCKS, "recursions", "rows", "grow", "G", 0, 1, to={"a A'": "1"}),
    "another schema": changed(AMGM, "schema", to="crossmodal-certificate/0"),
    "an undeclared symbol": changed(AMGM, "symbols", "scalars", to=["x"]),
    "a symbol declared twice": changed(AMGM, "symbols", "vectors", to=["x"]),
    "an unknown rule": changed(AMGM, "steps", 0, "by", "rule", to="trust me"),
    "a step without a rule": changed(AMGM, "steps", 0, "by", to={}),
    "an exponent in other digits": changed(AMGM, "steps", 0, "fact", "poly", to={"x^\u0662": "1", "y^2": "1", "x y": "-2"}),
    "a coefficient in other words": changed(AMGM, "steps", 0, "by", "terms", 0, "coef", to="1e0"),
    "a fact that says two things": changed(AMGM, "goals", 0, "fact", "words", to={"1": "1"}),
    "the trace of an identity": changed(CYCLE, "steps", 0, "fact", "words", to={"A B": "1", "B A": "-1", "1": "0"}),
    "an identity called a trace": changed(CYCLE, "steps", 1, "by", "words", to={"1": "1"}),
    "a symmetric letter that is moved": changed(BLOCKS, "symbols", "symmetric", to=["G"]),
    "a name that reads as a number": changed(AMGM, "symbols", "scalars", to=["x", "y", "2"]),
    "a name that is a fraction": changed(AMGM, "symbols", "scalars", to=["x", "y", "½"]),
    "a name that reads as a square": changed(AMGM, "symbols", "scalars", to=["x", "y", "x²"]),
    "a fact named by a number": everywhere(AMGM, "goal", 5),
    "a fact whose name steers a terminal": everywhere(AMGM, "goal", "\x1b[31mgoal"),
    "a size in other digits": everywhere(PROJECTOR, "d", "²"),
    "a name with a sign": changed(AMGM, "symbols", "scalars", to=["x", "y", "-y"]),
    "names as one word": changed(AMGM, "symbols", "scalars", to="xy"),
    "an unknown kind of symbol": changed(AMGM, "symbols", "symetric", to=[]),
    "a size that is a number": changed(PROJECTOR, "symbols", "matrices", "P", to=[5, 5]),
    "a size that is a sign": changed(PROJECTOR, "symbols", "matrices", to={"P": ["d", "d"], "Q": ["*", "*"]}),
    "a shape of three sides": changed(PROJECTOR, "steps", 0, "fact", "shape", to=["d", "d", "d"]),
    "an unknown part of a recursion": changed(SUM, "recursions", "sum", "begin", to={}),
    "scalars that grow": changed(SUM, "recursions", "sum", "grow", to={}),
    "an unknown kind of fresh symbol": changed(SUM, "recursions", "sum", "fresh", "letters", to=["a"]),
    "a block too many": changed(BLOCKS, "recursions", "rows", "grow", "A", to=[[{"A": "1"}], [{"a": "1"}], [{"zz": "1"}]]),
    "a row of blocks too few": changed(BLOCKS, "recursions", "rows", "grow", "A", to=[[{"A": "1"}]]),
    "a growing letter that is read but not grown": changed(
        changed(BLOCKS, "symbols", "matrices", "C", to=["T", "d"]), "recursions", "rows", "grow", "G", 0, 0, to={"G": "1", "C C'": "0", "C A'": "1"}
    ),
    "a negative exponent": changed(AMGM, "steps", 0, "fact", "poly", to={"x^-2": "1"}),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_rejects(name: str) -> None:
    with pytest.raises(Rejected):
        check(BAD[name])


def matrix(relation: str, shape: list[str], /, **words: str) -> dict[str, Any]:
    return {"words": words, "is": relation, **({"shape": shape} if shape else {})}


def of(fact: str, **more: Any) -> dict[str, Any]:
    return {"fact": fact, **ONE, **more}


def grows(dim: str, grow: Any, fresh: Any, **more: Any) -> dict[str, Any]:
    return {
        "kind": "blocks", "dim": dim, "by": "k", "fresh": {"matrices": fresh}, "grow": grow, "start": {}, "update": {}, "given": [], **more,
    }  # fmt: skip


def blocks(facts: list[Any], base: list[Any], steps: list[Any], recursion: str = "r") -> dict[str, Any]:
    return {"name": "all", "text": "", "facts": facts, "by": {"rule": "blocks", "recursion": recursion, "base": base, "step": steps}}  # fmt: skip


def forged(
    symbols: str, hypotheses: dict[str, Any], steps: Any, goals: list[str] | None = None, recursions: Any = None, **declared: Any
) -> dict[str, Any]:  # fmt: skip
    """`symbols` are scalars; a single step may stand for itself."""
    steps = steps if isinstance(steps, list) else [steps]
    return certificate({"scalars": symbols.split(), **declared}, hypotheses, steps, ["goal"] if goals is None else goals, recursions=recursions or {})  # fmt: skip


ONE_FACT = poly(">0", **{"1": "1"})
MINUS_ONE = poly(">=0", **{"1": "-1"})
A_TALL = {"matrices": {"A": ["T", "d"], "C": ["T", "d"], "M": ["d", "d"]}}
ROWS = {"A": [[{"A": "1"}], [{"a": "1"}]]}
TWO_SIZES = {"matrices": {"H": ["p", "p"], "B": ["q", "q"]}, "symmetric": ["H"]}
TAUTOLOGY = [step("b", poly("=0"), rule="ideal")]
SAME = [{"fact": "hypothesis", "times": {"1": "1"}}]


def swapped(**change: Any) -> dict[str, Any]:
    """For two matrices and a trace."""
    return forged("", {}, [
        step("sum", matrix("trace>=0", [], **{"A' A": "1"}), rule="free", terms=[], squares=[{"coef": "1", "word": {"A": "1"}, "rows": "n", "cols": "m"}]),
        {"name": "t", "text": "", "by": {"rule": "trace", "words": {"A' A": "1"}, "shape": ["m", "m"], "as": "t", **change}},
        step("goal", MINUS_ONE, rule="read", fact="sum")], matrices={"A": ["n", "m"]})  # fmt: skip


# Each is refused for one reason, so that no other check hides that this one is gone.
FORGED: dict[str, tuple[str, dict[str, Any]]] = {
    # what a rule proves
    "0 > 0, for 0 = 0": ("this rule proves", forged("", {}, step("goal", poly(">0"), rule="ideal"))),
    "x^2 = 0, for it is a square": (
        "this rule proves", forged("x", {}, step("goal", poly("=0", **{"x^2": "1"}), rule="positive", terms=[{"coef": "1", "squares": [{"1": {"x": "1"}}]}]))),
    "1 = 0, for it is not negative": (
        "this rule proves", forged("", {}, step("goal", poly("=0", **{"1": "1"}), rule="refute", terms=[{"coef": "1"}, {"coef": "1", "facts": ["not"]}]))),
    "<x,y> > 0, for it vanishes": (
        "this rule proves", changed(changed(VANISH, "steps", 0, "fact", "is", to=">0"), "goals", 0, "fact", "is", to=">0")),
    "an induction for > 0": ("this rule proves", forged("S", {}, step(
        "goal", poly(">0", S="1", **{"1": "1"}), rule="induction", recursion="r", base=[step("b", ONE_FACT, rule="positive", terms=[{"coef": "1"}])],
        step=[step("n", poly(">0", S="1", **{"1": "2"}), rule="positive", terms=[{"coef": "1"}, {"coef": "1", "facts": ["hypothesis"]}])]),
        recursions={"r": {"kind": "scalars", "start": {"S": {}}, "update": {"S": {"S": "1", "1": "1"}}, "fresh": {}, "given": []}})),
    "A B - B A psd, for its trace is 0": ("this rule proves", forged("", {}, step(
        "goal", matrix("psd", ["n", "n"], **{"A B": "1", "B A": "-1"}), rule="free", terms=[]), matrices={"A": ["n", "n"], "B": ["n", "n"]})),
    "A'A = 0, for it is psd": ("this rule proves", forged("", {}, step(
        "goal", matrix("=0", ["n", "n"], **{"A' A": "1"}), rule="psd", squares=[{"coef": "1", "word": {"A": "1"}, "rows": "n", "cols": "n"}]),
        matrices={"A": ["n", "n"]})),
    "psd by blocks": ("this rule proves", forged("", {}, blocks(
        [matrix("psd", ["T", "T"])], [[]], [[[[], []], [[], []]]]), ["all.1"], {"r": grows("T", ROWS, {"a": ["k", "d"]})}, **A_TALL)),
    "a trace that is not negative read as 0": ("this rule proves", changed(changed(
        swapped(), "steps", 2, "fact", to=poly("=0")), "goals", 0, "fact", to=poly("=0"))),
    "another fact read from a trace": ("left over", swapped()),
    # positive, refute, cases
    "-1 >= 0, by a weight of -1": ("coefficient -1", forged("", {}, step("goal", MINUS_ONE, rule="positive", terms=[{"coef": "-1"}]))),
    "0 > 0, by a weight of 0": ("coefficient 0", forged("", {}, step("goal", poly(">0"), rule="positive", terms=[{"coef": "0"}]))),
    "0 > 0, by a square": ("strictly", forged("", {}, step("goal", poly(">0"), rule="positive", terms=[{"coef": "1", "squares": [{"1": {}}]}]))),
    "y > 0 from y >= 0": ("strictly", forged("y", {"h": poly(">=0", y="1")}, step("goal", poly(">0", y="1"), rule="positive", terms=[{"coef": "1", "facts": ["h"]}]))),
    "x y > 0 from x >= 0 and y > 0": ("strictly", forged("x y", {"x": poly(">=0", x="1"), "y": poly(">0", y="1")}, step(
        "goal", poly(">0", x_y="1"), rule="positive", terms=[{"coef": "1", "facts": ["x", "y"]}]))),
    "-1 >= 0, refuted by 1 = 0": ("left over", forged("", {}, step("goal", MINUS_ONE, rule="refute", terms=[{"coef": "1"}]))),
    "-1 >= 0, refuted by nothing": ("nothing is refuted", forged("", {}, step("goal", MINUS_ONE, rule="refute", terms=[]))),
    "-x^2 > 0, its negation taken for strict": ("nothing is refuted", forged("x", {}, step(
        "goal", poly(">0", **{"x^2": "-1", "x": "0"}), rule="refute", terms=[{"coef": "1", "facts": ["not"]}],
        equalities=[{"fact": "zero", "times": {"1": "1"}}]), ) | {"hypotheses": [{"name": "zero", "text": "", "fact": poly("=0", **{"x^2": "-1"})}]}),
    "the negation outside a refutation": ("no fact 'not'", forged("", {}, step("goal", ONE_FACT, rule="positive", terms=[{"coef": "1", "facts": ["not"]}]))),
    "a case that proves nothing": ("does not end", forged("x", {}, step("goal", MINUS_ONE, rule="cases", on={"x": "1"}, negative=[], zero=[], positive=[]))),
    "cases that prove something else": ("does not end", forged("x", {}, step("goal", MINUS_ONE, rule="cases", on={"x": "1"}, **{
        sign: [step(sign, poly("=0"), rule="ideal")] for sign in ("negative", "zero", "positive")}))),
    "x = 0 by its cases, the negative one taken for the positive": ("left over", forged("x", {}, step("goal", poly(">=0", x="1"), rule="cases", on={"x": "1"}, **{
        sign: [step(sign, poly(">=0", x="1"), rule="positive", **(
            {"equalities": [{"fact": "case", "times": {"1": "1"}}]} if sign == "zero" else {"terms": [{"coef": "1", "facts": ["case"]}]}))]
        for sign in ("negative", "zero", "positive")}))),
    "vanish for a vector that does not": ("vanish needs", forged("", {"null": poly("=0", **{"<x,x>": "1"})}, step(
        "goal", poly("=0", **{"<y,z>": "1"}), rule="vanish", fact="null", vector="y", **{"with": "z"}), vectors=["x", "y", "z"])),
    "vanish for another product": ("vanish needs", forged("", {"null": poly("=0", **{"<x,x>": "1"})}, step(
        "goal", poly("=0", **{"<y,y>": "1"}), rule="vanish", fact="null", vector="x", **{"with": "y"}), vectors=["x", "y"])),
    # words
    "-I psd": ("coefficient -1", forged("", {}, step(
        "goal", matrix("psd", ["n", "n"], **{"1": "-1"}), rule="psd", squares=[{"coef": "-1", "word": {"1": "1"}, "rows": "n", "cols": "n"}]))),
    "-I_q psd, where p = 0": ("another shape", forged("", {"h": matrix("psd", ["p", "p"], **{"1": "-1"})}, step(
        "goal", matrix("psd", ["q", "q"], **{"1": "-1"}), rule="psd", squares=[{"coef": "1", "word": {"1": "1"}, "rows": "p", "cols": "p", "fact": "h"}]))),
    "tr H >= q from H >= I_p": ("does not fit", forged(
        "", {"h": matrix("psd", ["p", "p"], **{"H": "1", "1": "-1"}), "b": matrix("=0", ["q", "q"], **{"B B'": "1", "1": "-1"})}, step(
            "goal", matrix("trace>=0", [], **{"H": "1", "B B'": "-1"}), rule="free", terms=[of("b", left={"1": "-1"}, ends="q")],
            squares=[{"coef": "1", "word": {"1": "1"}, "rows": "q", "cols": "q", "fact": "h"}]), **TWO_SIZES)),
    "a middle that is no psd fact": ("needed psd", forged("", {"h": matrix("=0", ["p", "p"], H="1")}, step(
        "goal", matrix("psd", ["p", "p"], H="1"), rule="psd", squares=[{"coef": "1", "word": {"1": "1"}, "rows": "p", "cols": "p", "fact": "h"}]), **TWO_SIZES)),
    "a weight that may be negative": ("needed >=0", forged("x", {"x": poly("=0", x="1")}, step(
        "goal", matrix("psd", ["n", "n"], x="1"), rule="psd", squares=[{"coef": "1", "word": {"1": "1"}, "rows": "n", "cols": "n", "weights": ["x"]}]))),
    "H = 0 from H psd": ("needed =0", forged("", {"h": matrix("psd", ["p", "p"], H="1")}, step(
        "goal", matrix("=0", ["p", "p"], H="1"), rule="free", terms=[of("h")]), **TWO_SIZES)),
    "x = 0 from x >= 0": ("needed =0", forged("x", {"h": poly(">=0", x="1")}, step(
        "goal", poly("=0", x="1"), rule="ideal", equalities=[{"fact": "h", "times": {"1": "1"}}]))),
    "an equation used with a square": ("needed >=0", forged("x y", {"h": poly("=0", x="1"), "y": poly(">=0", y="1")}, step(
        "goal", poly(">=0", x_y="1"), rule="positive", terms=[{"coef": "1", "facts": ["h", "y"]}]))),
    "tr A B C = tr C B A": ("left over", forged("", {}, step(
        "goal", matrix("trace=0", [], **{"A B C": "1", "C B A": "-1"}), rule="free", terms=[]), matrices={n: ["n", "n"] for n in "ABC"})),
    "tr A'A = 0, by a square": ("left over", forged("", {}, step(
        "goal", matrix("trace=0", [], **{"A' A": "1"}), rule="free", terms=[], squares=[{"coef": "1", "word": {"A": "1"}, "rows": "n", "cols": "n"}]),
        matrices={"A": ["n", "n"]})),
    "A B = B A": ("left over", forged("", {}, step(
        "goal", matrix("=0", ["n", "n"], **{"A B": "1", "B A": "-1"}), rule="free", terms=[]), matrices={"A": ["n", "n"], "B": ["n", "n"]})),
    "A psd for any A": ("left over", forged("", {}, step("goal", matrix("psd", ["n", "n"], A="1"), rule="psd", squares=[]), matrices={"A": ["n", "n"]})),
    "B' = A from A = B": ("left over", forged("", {"h": matrix("=0", ["n", "n"], A="1", B="-1")}, step(
        "goal", matrix("=0", ["n", "n"], **{"A": "1", "B'": "-1"}), rule="free", terms=[of("h")]), matrices={"A": ["n", "n"], "B": ["n", "n"]})),
    "the trace of two words": ("of one word", swapped(words={"A' A": "1", "A' A A' A": "1"})),
    "the trace of twice a word": ("of one word", swapped(words={"A' A": "2"})),
    "the trace of an oblong": ("of one word", swapped(words={"A": "1"}, shape=["n", "m"])),
    # blocks and inductions
    "A = 0, for it has no rows at the start, though it has": ("only a letter with side", forged("", {}, blocks(
        [matrix("=0", ["d", "d"], M="1")], [[]], [[[[of("hypothesis.1")]]]]), ["all.1"], {"r": grows("T", {"M": [[{"M": "1"}]]}, {})}, **A_TALL)),
    "C'A = 0, for C does not grow": ("does not say how it grows", forged("", {}, blocks(
        [matrix("=0", ["d", "d"], **{"C' A": "1"})], [[]], [[[[of("hypothesis.1")]]]]), ["all.1"], {"r": grows("T", ROWS, {"a": ["k", "d"]})}, **A_TALL)),
    "M = 0, for it stays what it was, which is 1": ("left over", forged("", {}, blocks(
        [matrix("=0", ["d", "d"], M="1")], [[]], [[[[of("hypothesis.1")]]]]), ["all.1"],
        {"r": grows("T", {}, {}, start={"M": {"1": "1"}}, update={"M": {"M": "1"}})}, **A_TALL)),
    "A = 0, for no one looks at the new rows": ("left over", forged("", {}, blocks(
        [matrix("=0", ["T", "d"], A="1")], [[]], [[[[of("hypothesis.1")]], [[]]]]), ["all.1"], {"r": grows("T", ROWS, {"a": ["k", "d"]})}, **A_TALL)),
    "A = 0, for its last rows are": ("no fact 'last'", forged("", {"last": matrix("=0", ["T", "d"], A="1")}, blocks(
        [matrix("=0", ["d", "d"], M="1")], [[]], [[[[of("hypothesis.1"), of("last", left={"A'": "1"})]]]]), ["all.1"],
        {"r": grows("T", ROWS, {"a": ["k", "d"]}, start={"M": {}}, update={"M": {"M": "1", "A' A": "1"}})}, **A_TALL)),
    "M = 0, for the last N is": ("no fact 'last'", forged("", {"last": matrix("=0", ["d", "d"], N="1")}, blocks(
        [matrix("=0", ["d", "d"], M="1")], [[]], [[[[of("hypothesis.1"), of("last")]]]]), ["all.1"],
        {"r": grows("T", {}, {"a": ["d", "d"]}, start={"M": {}, "N": {}}, update={"M": {"M": "1", "N": "1"}, "N": {"a": "1"}})},
        matrices={"M": ["d", "d"], "N": ["d", "d"]})),
    "M = 0, for C, which has rows for every step, is 0 at last": ("no fact 'last'", forged("", {"last": matrix("=0", ["d", "d"], **{"C' C": "1", "M": "-1"})}, blocks(
        [matrix("=0", ["d", "d"], N="1")], [[]], [[[[of("hypothesis.1"), of("last")]]]]), ["all.1"],
        {"r": grows("T", {}, {}, start={"N": {}}, update={"N": {"N": "1", "M": "1"}})}, matrices={"C": ["T", "d"], "M": ["d", "d"], "N": ["d", "d"]})),
    "M = 0, given of rows as many as there are": ("may not speak of the state", forged("", {}, blocks(
        [matrix("=0", ["d", "d"], M="1")], [[]], [[[[of("hypothesis.1"), of("g")]]]]), ["all.1"],
        {"r": grows("T", ROWS, {"a": ["k", "d"], "z": ["T", "d"]}, start={"M": {}}, update={"M": {"M": "1", "z' z": "1"}},
                    given=[{"name": "g", "fact": matrix("=0", ["d", "d"], **{"z' z": "1"})}])}, **A_TALL)),
    "Q = 0, for the last <u,v> is": ("no fact 'last'", forged("", {"last": poly("=0", **{"<u,v>": "1"})}, step(
        "goal", poly("=0", Q="1"), rule="induction", recursion="r", base=TAUTOLOGY,
        step=[step("n", poly("=0", Q="1", **{"<u,v>": "1"}), rule="ideal", equalities=[*SAME, {"fact": "last", "times": {"1": "1"}}])]),
        recursions={"r": {"kind": "scalars", "start": {"Q": {}, "u": {}}, "fresh": {"vectors": ["a"]}, "given": [],
                          "update": {"Q": {"Q": "1", "<u,v>": "1"}, "u": {"a": {"1": "1"}}}}}) | {"symbols": {"scalars": ["Q"], "vectors": ["u", "v"]}}),
    "S = 0, for it is 0 at the start": ("does not end", forged("S", {}, step(
        "goal", poly("=0", S="1"), rule="induction", recursion="r", base=TAUTOLOGY, step=[step("n", poly("=0", S="1"), rule="ideal", equalities=SAME)]),
        recursions={"r": {"kind": "scalars", "start": {"S": {}}, "update": {"S": {"S": "1", "1": "1"}}, "fresh": {}, "given": []}})),
    "S = 0, for it does not change": ("does not end", forged("S", {}, step(
        "goal", poly("=0", S="1"), rule="induction", recursion="r", base=TAUTOLOGY, step=[step("n", poly("=0", S="1"), rule="ideal", equalities=SAME)]),
        recursions={"r": {"kind": "scalars", "start": {"S": {"1": "1"}}, "update": {"S": {"S": "1"}}, "fresh": {}, "given": []}})),
    "an induction without a base": ("does not end", forged("S", {}, step(
        "goal", poly("=0", S="1"), rule="induction", recursion="r", base=[], step=[step("n", poly("=0", S="1"), rule="ideal", equalities=SAME)]),
        recursions={"r": {"kind": "scalars", "start": {"S": {}}, "update": {"S": {"S": "1"}}, "fresh": {}, "given": []}})),
    "an induction over blocks": ("is of kind", forged("", {}, step(
        "goal", poly("=0"), rule="induction", recursion="r", base=TAUTOLOGY, step=[step("n", poly("=0"), rule="ideal")]),
        recursions={"r": grows("T", ROWS, {"a": ["k", "d"]})}, **A_TALL)),
    "Q = 0, for an invariant is given another meaning": ("named twice", forged("S Q", {"last": poly("=0", S="1")}, [
        step("fake", poly("=0"), rule="induction", recursion="r", base=TAUTOLOGY, step=[step("n", poly("=0"), rule="ideal")]),
        step("fake", poly("=0", S="1"), rule="ideal", equalities=[{"fact": "last", "times": {"1": "1"}}]),
        step("goal", poly("=0", Q="1"), rule="induction", recursion="r", base=TAUTOLOGY,
             step=[step("n", poly("=0", S="1"), rule="ideal", equalities=[{"fact": "fake", "times": {"1": "1"}}])])],
        recursions={"r": {"kind": "scalars", "start": {"S": {}, "Q": {}}, "update": {"S": {"a": "1"}, "Q": {"S": "1"}},
                          "fresh": {"scalars": ["a"]}, "given": []}})),
    "a fact called not": ("named twice", forged("x", {"not": poly(">=0", x="1")}, step("goal", poly(">=0", x="1"), rule="positive", terms=[{"coef": "1", "facts": ["not"]}]))),
    # what a recursion says
    "S = 0, a sum of T, which moves, though no one says from where": ("name different symbols", forged("S T", {"last": poly("=0", T="1")}, step(
        "goal", poly("=0", S="1"), rule="induction", recursion="r", base=TAUTOLOGY,
        step=[step("n", poly("=0", S="1", T="1"), rule="ideal", equalities=[*SAME, {"fact": "last", "times": {"1": "1"}}])]),
        recursions={"r": {"kind": "scalars", "start": {"S": {}}, "update": {"S": {"S": "1", "T": "1"}, "T": {"T": "1", "1": "1"}}, "fresh": {}, "given": []}})),
    "a letter that grows and is started": ("moves twice", forged("", {}, blocks([], [], []), [], {"r": grows(
        "T", ROWS, {"a": ["k", "d"]}, start={"A": {}}, update={"A": {"A": "1"}})}, **A_TALL)),
    "a letter with a growing side that is started": ("must grow", forged("", {}, blocks([], [], []), [], {"r": grows(
        "T", {}, {}, start={"C": {}}, update={"C": {"C": "1"}})}, **A_TALL)),
    "a growing letter read, not grown": ("reads a letter with a growing side", forged("", {}, blocks([], [], []), [], {"r": grows(
        "T", {}, {}, start={"M": {}}, update={"M": {"C' C": "1"}})}, **A_TALL)),
    "a recursion of an unknown kind": ("unknown kind", forged("S", {}, step("goal", poly("=0"), rule="ideal"), recursions={
        "r": {"kind": "words", "start": {"S": {}}, "update": {"S": {}}, "fresh": {}, "given": []}})),
    "1 = 0: a recursion moves what the proof chooses": ("undeclared symbol", forged("", {}, [
        step("one", ONE_FACT, rule="positive", terms=[{"coef": "1"}]),
        {"name": "z", "text": "", "by": {"rule": "sqrt", "of": "one", "as": "Z"}},
        step("zero", poly("=0", **{"Z": "1"}), rule="induction", recursion="r", base=TAUTOLOGY, step=[step("n", poly("=0"), rule="ideal")]),
        step("goal", poly("=0", **{"1": "1"}), rule="ideal", equalities=[{"fact": "zero", "times": {"Z": "1"}}, {"fact": "z.square", "times": {"1": "-1"}}])],
        recursions={"r": {"kind": "scalars", "start": {"Z": {}}, "update": {"Z": {}}, "fresh": {}, "given": []}})),
    "given of a step and of the state": ("may not speak of the state", changed(GIVEN, "recursions", "sum", "given", 0, "fact", to=poly(">=0", a="1", S="-1"))),
    "A = 0: a new block with the name of an old one": ("old name", forged("", {"null": matrix("=0", ["k", "d"], C="1")}, blocks(
        [matrix("=0", ["T", "d"], A="1")], [[]], [[[[of("hypothesis.1")]], [[of("null")]]]]), ["all.1"],
        {"r": grows("T", {"A": [[{"A": "1"}], [{"C": "1"}]]}, {"C": ["k", "d"]})}, matrices={"A": ["T", "d"], "C": ["k", "d"]})),
    # what a string says
    "x^-3 >= 0": ("exponent", forged("x", {}, step("goal", poly(">=0", **{"x^-3": "1"}), rule="positive", terms=[{"coef": "1", "squares": [{"1": {"x^-3": "1"}}]}]))),
    "A'' = A'": ("one prime", forged("", {}, step("goal", matrix("=0", ["n", "n"], **{"A''": "1", "A'": "-1"}), rule="free", terms=[]), matrices={"A": ["n", "n"]})),
    "a word of another shape": ("has shape", forged("", {}, step("goal", matrix("=0", ["n", "n"], A="0"), rule="free", terms=[]), matrices={"A": ["n", "m"]})),
    "a word that is no product": ("do not chain", forged("", {}, step("goal", matrix("=0", ["n", "m"], **{"A A": "0"}), rule="free", terms=[]), matrices={"A": ["n", "m"]})),
    "a trace of an oblong": ("has shape", forged("", {}, step("goal", matrix("trace=0", [], A="0"), rule="free", terms=[]), matrices={"A": ["n", "m"]})),
    "a product with what is no vector": ("not two declared vectors", forged("s", {}, step("goal", poly("=0", **{"<s,x>": "0"}), rule="ideal"), vectors=["x"])),
    "a product of what is no vector": ("not two declared vectors", forged("s", {}, step("goal", poly("=0", **{"<x,s>": "0"}), rule="ideal"), vectors=["x"])),
    "the length of what is no vector": ("not declared vectors", forged("s", {}, step("goal", poly(">=0"), rule="positive", terms=[{"coef": "1", "squares": [{"s": {}}]}]))),
    "a square of two degrees": ("different degree", forged("", {}, step(
        "goal", poly(">=0"), rule="positive", terms=[{"coef": "1", "squares": [{"x": {}, "x@x": {}}]}]), vectors=["x"])),
    "an unknown relation": ("relation '<=0'", forged("", {}, step("goal", poly("<=0"), rule="ideal"))),
    "an unknown relation of words": ("relation '>=0'", forged("", {}, step("goal", matrix(">=0", ["n", "n"]), rule="psd"))),
    "an oblong called psd": ("relation 'psd'", forged("", {}, step("goal", matrix("psd", ["n", "m"]), rule="psd"))),
    "a trace with a shape": ("has no shape", forged("", {}, step("goal", matrix("trace=0", ["n", "n"]), rule="free"))),
    "an oblong called symmetric": ("no square matrix", forged("", {}, step("goal", poly("=0"), rule="ideal"), matrices={"A": ["n", "m"]}, symmetric=["A"])),
    "a symmetric letter that is none": ("is no square", forged("", {}, step("goal", poly("=0"), rule="ideal"), symmetric=["A"])),
    "a number of rows": ("name a size", forged("", {}, step("goal", poly("=0"), rule="ideal"), matrices={"A": ["*", "d"]})),
    "a number of columns": ("name a size", forged("", {}, step("goal", poly("=0"), rule="ideal"), matrices={"A": ["d", 5]})),
    "a fact of numbers of rows": ("name a size", forged("", {}, step("goal", matrix("=0", ["*", "d"]), rule="free"))),
    "a fact of numbers of columns": ("name a size", forged("", {}, step("goal", matrix("=0", ["d", "*"]), rule="free"))),
    "a block of any size": ("name a size", forged("", {}, blocks([], [], []), [], {"r": grows("T", ROWS, {"a": ["k", "d"]}, by="*")}, **A_TALL)),
    "a square over any rows": ("name a size", changed(swapped(), "steps", 0, "by", "squares", 0, "rows", to="*")),
    "a square over any columns": ("name a size", changed(swapped(), "steps", 0, "by", "squares", 0, "cols", to="*")),
    "a trace over any size": ("name a size", forged("", {"h": matrix("=0", ["p", "p"], H="1")}, step(
        "goal", matrix("trace=0", [], H="1"), rule="free", terms=[of("h", ends="*")]), **TWO_SIZES)),
    # what a certificate is
    "no step and no goal": ("no goal", forged("", {}, [], [])),
    "a goal that is a hypothesis": ("is assumed", forged("x", {"goal": poly(">=0", x="1")}, [])),
    "a goal that is more than its step": ("states another fact", forged("x", {"h": poly(">=0", x="1")}, step(
        "goal", poly(">=0", x="1"), rule="positive", terms=[{"coef": "1", "facts": ["h"]}])) | {"goals": [{"name": "goal", "fact": poly(">0", x="1")}]}),
    "more than is read": ("unknown keys .*'assumptions'", changed(GIVEN, "assumptions", to=[])),
    "more in a hypothesis than is read": ("unknown keys .*'unless'", forged("x", {"h": poly(">=0", x="1")}, step(
        "goal", poly(">=0", x="1"), rule="positive", terms=[{"coef": "1", "facts": ["h"]}])) | {
            "hypotheses": [{"name": "h", "fact": poly(">=0", x="1"), "unless": "x < 0"}]}),
    "more in a goal than is read": ("unknown keys .*'if'", forged("x", {"h": poly(">=0", x="1")}, step(
        "goal", poly(">=0", x="1"), rule="positive", terms=[{"coef": "1", "facts": ["h"]}])) | {
            "goals": [{"name": "goal", "fact": poly(">=0", x="1"), "if": "h"}]}),
    "more in a step than is read": ("unknown keys .*'facts'", forged("x", {"h": poly(">=0", x="1")}, [
        step("goal", poly(">=0", x="1"), rule="positive", terms=[{"coef": "1", "facts": ["h"]}]) | {"facts": []}])),
    "more in a rule than is read": ("unknown keys .*'facts'", forged("x", {"h": poly(">=0", x="1")}, [
        step("goal", poly(">=0", x="1"), rule="positive", terms=[{"coef": "1", "facts": ["h"]}], facts=["h"])])),
    "an unknown rule that proves": ("unknown rule", forged("x", {}, step("goal", poly(">=0", x="1"), rule="trust me"))),
    # more of the same, one for every way in which a rule could be read
    "-x >= 0, whatever x > 0 says": ("'positive' does not end", forged("x", {}, step("goal", poly(">=0", x="-1"), rule="cases", on={"x": "1"}, positive=[],
        negative=[step("n", poly(">=0", x="-1"), rule="positive", terms=[{"coef": "1", "facts": ["case"]}])],
        zero=[step("z", poly(">=0", x="-1"), rule="positive", equalities=[{"fact": "case", "times": {"1": "-1"}}])]))),
    "x^2 > 0, for x = 0 is a case of x > 0": ("needed >=0", forged("x", {}, step("goal", poly(">0", **{"x^2": "1"}), rule="cases", on={"x": "1"}, **{
        sign: [step(sign, poly(">0", **{"x^2": "1"}), rule="positive", terms=[{"coef": "1", "facts": ["case", "case"]}])]
        for sign in ("negative", "zero", "positive")}))),
    "0 > 0, for a root is positive": ("strictly", forged("", {}, [
        step("zero", poly(">=0"), rule="positive", terms=[]),
        {"name": "r", "text": "", "by": {"rule": "sqrt", "of": "zero", "as": "r"}},
        step("goal", poly(">0"), rule="positive", terms=[{"coef": "1", "facts": ["r.sign", "r.sign"]}], equalities=[{"fact": "r.square", "times": {"1": "-1"}}])])),
    "the root of an equation": ("needed >=0", forged("x", {"x": poly("=0", x="1")}, [
        {"name": "r", "text": "", "by": {"rule": "sqrt", "of": "x", "as": "r"}}, step("goal", poly("=0"), rule="ideal", equalities=[{"fact": "r.square", "times": {}}])])),
    "an equation read as one of traces": ("needed trace=0", forged("", {"h": matrix("=0", ["p", "p"], H="1")}, [
        {"name": "t", "text": "", "by": {"rule": "trace", "words": {"H": "1"}, "shape": ["p", "p"], "as": "t"}},
        step("positive", poly(">=0", t="1"), rule="read", fact="h"), step("goal", poly(">=0"), rule="positive", terms=[{"coef": "1", "facts": ["positive"], "squares": [{"1": {}}]}])],
        **TWO_SIZES)),
    "tr H = 0 from x tr H = 0": ("left over", forged("x", {"h": matrix("trace=0", [], **{"x H": "1"})}, [
        {"name": "t", "text": "", "by": {"rule": "trace", "words": {"H": "1"}, "shape": ["p", "p"], "as": "t"}},
        step("zero", poly("=0", t="1"), rule="read", fact="h"), step("goal", poly("=0"), rule="ideal", equalities=[{"fact": "zero", "times": {}}])], **TWO_SIZES)),
    "tr K >= tr H from K >= I_q and H <= I_p": ("left over", forged(
        "", {"k": matrix("psd", ["q", "q"], **{"K": "1", "1": "-1"}), "h": matrix("psd", ["p", "p"], **{"H": "-1", "1": "1"})}, step(
            "goal", matrix("trace>=0", [], K="1", H="-1"), rule="free", terms=[],
            squares=[{"coef": "1", "word": {"1": "1"}, "rows": size, "cols": size, "fact": fact} for size, fact in (("q", "k"), ("p", "h"))]),
        matrices={"K": ["q", "q"], "H": ["p", "p"]})),
    "an oblong equation under a trace": ("an identity of shape", forged("", {"h": matrix("=0", ["n", "m"], A="1")}, step(
        "goal", matrix("trace=0", []), rule="free", terms=[of("h", ends="n"), of("h", left={"1": "-1"}, ends="n")]), matrices={"A": ["n", "m"]})),
    "x y A = y A": ("left over", forged("x y", {}, step("goal", matrix("=0", ["n", "n"], **{"x y A": "1", "y A": "-1"}), rule="free", terms=[]), matrices={"A": ["n", "n"]})),
    "A'A = M, which starts at 1": ("left over", forged("", {}, blocks(
        [matrix("=0", ["d", "d"], **{"M": "1", "A' A": "-1"})], [[]], [[[[of("hypothesis.1")]]]]), ["all.1"],
        {"r": grows("T", ROWS, {"a": ["k", "d"]}, start={"M": {"1": "1"}}, update={"M": {"M": "1", "a' a": "1"}})}, **A_TALL)),
    "0 = 0, so M, which starts at 1, is 0": ("left over", forged("", {}, blocks(
        [matrix("=0", ["d", "d"]), matrix("=0", ["d", "d"], M="1")], [[], []], [[[[]]], [[[of("hypothesis.2")]]]]), ["all.2"],
        {"r": grows("T", {}, {}, start={"M": {"1": "1"}}, update={"M": {"M": "1"}})}, **A_TALL)),
    "0 = 0, so M, which gains 1, is 0": ("left over", forged("", {}, blocks(
        [matrix("=0", ["d", "d"]), matrix("=0", ["d", "d"], M="1")], [[], []], [[[[]]], [[[of("hypothesis.2")]]]]), ["all.2"],
        {"r": grows("T", {}, {}, start={"M": {}}, update={"M": {"M": "1", "1": "1"}})}, **A_TALL)),
    "x M = M by blocks": ("left over", forged("x", {}, blocks(
        [matrix("=0", ["d", "d"], **{"x M": "1", "M": "-1"})], [[]], [[[[]]]]), ["all.1"],
        {"r": grows("T", {}, {}, start={"M": {}}, update={"M": {"a": "1"}}) | {"fresh": {"matrices": {"a": ["d", "d"]}}}}, **A_TALL)),
    "a block beside the last": ("blocks after a step", changed(BLOCKS, "recursions", "rows", "grow", "G", 0, to=[{"G": "1"}, {"A a'": "1"}, {"A a'": "1"}])),
    "Q = 0, for the last <t,u> is": ("no fact 'last'", forged("Q", {"last": poly("=0", **{"<t,u>": "1"})}, step(
        "goal", poly("=0", Q="1"), rule="induction", recursion="r", base=TAUTOLOGY,
        step=[step("n", poly("=0", Q="1", **{"<t,u>": "1"}), rule="ideal", equalities=[*SAME, {"fact": "last", "times": {"1": "1"}}])]),
        recursions={"r": {"kind": "scalars", "start": {"Q": {}, "u": {}}, "fresh": {"vectors": ["a"]}, "given": [],
                          "update": {"Q": {"Q": "1", "<t,u>": "1"}, "u": {"a": {"1": "1"}}}}}, vectors=["t", "u"])),
    "Q = 0, for T is 0 at every step of what does not move T": ("no fact 'zero'", forged("S T Q", {"last": poly("=0", T="1")}, [
        step("zero", poly("=0", T="1"), rule="induction", recursion="s", base=[step("b", poly("=0", T="1"), rule="ideal", equalities=[{"fact": "last", "times": {"1": "1"}}])],
             step=[step("n", poly("=0", T="1"), rule="ideal", equalities=SAME)]),
        step("goal", poly("=0", Q="1"), rule="induction", recursion="t", base=TAUTOLOGY,
             step=[step("n", poly("=0", Q="1", T="1"), rule="ideal", equalities=[*SAME, {"fact": "zero", "times": {"1": "1"}}])])],
        recursions={"s": {"kind": "scalars", "start": {"S": {}}, "update": {"S": {"S": "1", "1": "1"}}, "fresh": {}, "given": []},
                    "t": {"kind": "scalars", "start": {"T": {}, "Q": {}}, "update": {"T": {"a": "1"}, "Q": {"Q": "1", "T": "1"}}, "fresh": {"scalars": ["a"]}, "given": []}})),
    "Q = 0, for an invariant left outside lends its name": ("no fact 'fake'", forged("S T Q", {"last T": poly("=0", T="1"), "last S": poly("=0", S="1")}, [
        step("fake", poly("=0", T="1"), rule="induction", recursion="s", base=[step("b", poly("=0", T="1"), rule="ideal", equalities=[{"fact": "last T", "times": {"1": "1"}}])],
             step=[step("n", poly("=0", T="1"), rule="ideal", equalities=SAME)]),
        step("goal", poly("=0", Q="1"), rule="induction", recursion="t", step=[step("n", poly("=0", Q="1"), rule="ideal", equalities=SAME)], base=[
            step("fake", poly("=0", S="1"), rule="ideal", equalities=[{"fact": "last S", "times": {"1": "1"}}]),
            step("Q", poly("=0", Q="1"), rule="induction", recursion="s", base=TAUTOLOGY,
                 step=[step("n", poly("=0", S="1"), rule="ideal", equalities=[{"fact": "fake", "times": {"1": "1"}}])])])],
        recursions={"s": {"kind": "scalars", "start": {"S": {}, "Q": {}}, "update": {"S": {"a": "1"}, "Q": {"S": "1"}}, "fresh": {"scalars": ["a"]}, "given": []},
                    "t": {"kind": "scalars", "start": {"T": {}}, "update": {"T": {"T": "1", "1": "1"}}, "fresh": {}, "given": []}})),
    "a letter that moves by the state of another recursion": ("depends on the state of another", changed(SUM, "recursions", "other", to=grows(
        "T", {}, {}, start={"M": {}}, update={"M": {"S M": "1"}})) | {"symbols": {"scalars": ["S"], **A_TALL}}),
    "what is given of a block by the state of another recursion": ("depends on the state of another", changed(SUM, "recursions", "other", to=grows(
        "T", ROWS, {"a": ["k", "d"]}, given=[{"name": "g", "fact": matrix("=0", ["k", "d"], **{"S a": "1"})}])) | {"symbols": {"scalars": ["S"], **A_TALL}}),
    "a letter that moves by one that grows elsewhere": ("depends on the state of another", forged("", {}, [], [], {
        "one": grows("T", ROWS, {"a": ["k", "d"]}), "two": grows("U", {}, {}, start={"M": {}}, update={"M": {"M": "1", "C' C": "1"}})}, **A_TALL)),
    "a vector that moves by the state of another recursion": ("depends on the state of another", changed(SUM, "recursions", "other", to={
        "kind": "scalars", "start": {"u": {}}, "update": {"u": {"v": {"S": "1"}}}, "fresh": {}, "given": []}) | {"symbols": {"scalars": ["S"], "vectors": ["u", "v"]}}),
    "a vector that moves to one of another recursion": ("depends on the state of another", changed(WALK, "recursions", "other", to={
        "kind": "scalars", "start": {"v": {}}, "update": {"v": {"u": {"1": "1"}}}, "fresh": {}, "given": []})),
    # traces of blocks
    "tr M = 0, for it stays what it was, which is tr 1": ("left over", forged("", {}, blocks(
        [matrix("trace=0", [], M="1")], [[]], [[{"fact": "hypothesis.1", "times": {"1": "1"}}]]), ["all.1"],
        {"r": grows("T", {}, {}, start={"M": {"1": "1"}}, update={"M": {"M": "1"}})}, **A_TALL)),
    "tr M = 0, for it is at the start, and gains 1": ("left over", forged("", {}, blocks(
        [matrix("trace=0", [], M="1")], [[]], [[{"fact": "hypothesis.1", "times": {"1": "1"}}]]), ["all.1"],
        {"r": grows("T", {}, {}, start={"M": {}}, update={"M": {"M": "1", "1": "1"}})}, **A_TALL)),
    "tr L = 0, for no one looks at the last block": ("left over", changed(TRACED, "recursions", "rows", "grow", "L", 1, to=[{"a A'": "1"}, {"a a'": "1"}])),
    "tr L = 0, for no one looks at the first block": ("left over", changed(TRACED, "recursions", "rows", "grow", "L", 0, to=[{"L": "1", "A A'": "1"}, {}])),
    "tr C = tr N, for I_k and I_d are both called 1": ("left over", changed(
        changed(TRACED, "recursions", "rows", "grow", "C", 1, to=[{}, {"1": "1"}]), "recursions", "rows", "update", "N", to={"N": "1", "1": "1"})),
    "tr C = tr G, for I_k and I_T are both called 1": ("left over", forged("", {}, blocks(
        [matrix("trace=0", [], C="1", G="-1")], [[]], [[{"fact": "hypothesis.1", "times": {"1": "1"}}]]), ["all.1"],
        {"r": grows("T", {"C": [[{"C": "1"}, {}], [{}, {"1": "1"}]], "G": [[{"G": "1", "1": "1"}, {}], [{}, {}]]}, {})},
        matrices={"C": ["T", "T"], "G": ["T", "T"]})),
    "tr M = 0, for the last is": ("no fact 'last'", forged("", {"last": matrix("trace=0", [], M="1")}, blocks(
        [matrix("trace=0", [], M="1")], [[]], [[{"fact": "last", "times": {"1": "1"}}]]), ["all.1"],
        {"r": grows("T", {}, {}, start={"M": {}}, update={"M": {"M": "1", "1": "1"}})}, **A_TALL)),
    "tr A'A >= 0 by blocks": ("this rule proves", forged("", {}, blocks(
        [matrix("trace>=0", [], **{"A' A": "1"})], [[]], [[]]), ["all.1"], {"r": grows("T", ROWS, {"a": ["k", "d"]})}, **A_TALL)),
    "tr C'A = 0, for C does not grow": ("does not say how it grows", forged("", {}, blocks(
        [matrix("trace=0", [], **{"C' A": "1"})], [[]], [[]]), ["all.1"], {"r": grows("T", ROWS, {"a": ["k", "d"]})}, **A_TALL)),
    "x tr H = 0 from tr H >= 0": ("needed trace=0", forged("x", {"h": matrix("trace>=0", [], H="1")}, step(
        "goal", matrix("trace=0", [], **{"x H": "1"}), rule="free", terms=[{"fact": "h", "times": {"x": "1"}}]), **TWO_SIZES)),
    "x H = 0 from tr H = 0": ("needed =0", forged("x", {"h": matrix("trace=0", [], H="1")}, step(
        "goal", matrix("=0", ["p", "p"], **{"x H": "1"}), rule="free", terms=[{"fact": "h", "times": {"x": "1"}}]), **TWO_SIZES)),
    "a trace times 0": ("times 0: h", forged("x", {"h": matrix("trace=0", [], H="1")}, step(
        "goal", matrix("trace=0", []), rule="free", terms=[{"fact": "h", "times": {}}]), **TWO_SIZES)),
    "a trace times 1 and times -1": ("times 0: h", forged("x", {"h": matrix("trace=0", [], H="1")}, step(
        "goal", matrix("trace=0", []), rule="free", terms=[{"fact": "h", "times": {"1": c}} for c in ("1", "-1")]), **TWO_SIZES)),
    "tr H = 0 times another scalar": ("left over", forged("x", {"h": matrix("trace=0", [], H="1")}, step(
        "goal", matrix("trace=0", [], H="1"), rule="free", terms=[{"fact": "h", "times": {"x": "1"}}]), **TWO_SIZES)),
    # blocks of any size
    "blocks of any size above one another, as wide as they are high": (
        "brings its own k", changed(STACKED, "recursions", "rows", "fresh", "sizes", to=["k"])),
    "x A = 0, for x is 0 or another k is": ("no fact 'h'", forged("x", {"h": matrix("=0", ["k", "k"], x="1")}, blocks(
        [matrix("=0", ["T", "d"], **{"x A": "1"})], [[]], [[[[of("hypothesis.1")]], [[of("h", right={"a": "1"})]]]]), ["all.1"],
        {"r": grows("T", ROWS, {"a": ["k", "d"]}) | {"fresh": {"matrices": {"a": ["k", "d"]}, "sizes": ["k"]}}}, **A_TALL)),
    "x A = 0, for x I_k is 0 at every step": ("no fact 'h'", forged("x", {"h": matrix("=0", ["k", "k"], x="1")}, blocks(
        [matrix("=0", ["k", "k"], x="1"), matrix("=0", ["T", "d"], **{"x A": "1"})], [[of("h")], []],
        [[[[of("hypothesis.1")]]], [[[of("hypothesis.2")]], [[of("hypothesis.1", right={"a": "1"})]]]]), ["all.2"],
        {"r": grows("T", ROWS, {"a": ["k", "d"]}) | {"fresh": {"matrices": {"a": ["k", "d"]}, "sizes": ["k"]}}}, **A_TALL)),
    # what is multiplied by 0
    "an equation times 0": ("times 0: h", forged("x", {"h": poly("=0", x="1")}, step("goal", poly("=0"), rule="ideal", equalities=[{"fact": "h", "times": {}}]))),
    "an equation times 1 and times -1": ("times 0: h", forged("x", {"h": poly("=0", x="1")}, step(
        "goal", poly("=0"), rule="ideal", equalities=[{"fact": "h", "times": {"x": "1"}}, {"fact": "h", "times": {"x": "-1"}}]))),
    "an inequality times the square of 0": ("times 0: h", forged("x", {"h": poly(">=0", x="1")}, step(
        "goal", poly(">=0"), rule="positive", terms=[{"coef": "1", "facts": ["h"], "squares": [{"1": {}}]}]))),
    "an equation of matrices times 0": ("times 0: h", forged("", {"h": matrix("=0", ["p", "p"], H="1")}, step(
        "goal", matrix("=0", ["p", "p"]), rule="free", terms=[of("h", left={})]), **TWO_SIZES)),
    "an equation of matrices times 1 and times -1": ("times 0: h", forged("x", {"h": matrix("=0", ["p", "p"], H="1")}, step(
        "goal", matrix("=0", ["p", "p"]), rule="free", terms=[of("h", left={"x H": "1"}), of("h", left={"H": "-1"}, right={"x": "1"})]), **TWO_SIZES)),
    "a psd fact between zeros": ("times 0: h", forged("", {"h": matrix("psd", ["p", "p"], H="1")}, step(
        "goal", matrix("psd", ["p", "p"]), rule="psd", squares=[{"coef": "1", "word": {}, "rows": "p", "cols": "p", "fact": "h"}]), **TWO_SIZES)),
    "a weight of zeros": ("times 0: x", forged("x", {"x": poly(">=0", x="1")}, step(
        "goal", matrix("psd", ["p", "p"]), rule="psd", squares=[{"coef": "1", "word": {}, "rows": "p", "cols": "p", "weights": ["x"]}]), **TWO_SIZES)),
    "what is given and not used": ("never used: more", changed(SUM, "recursions", "sum", "given", to=[{"name": "more", "fact": poly(">=0", a="1")}])),
    "a step that is not used": ("never used: idle", forged("", {}, [step("idle", poly("=0"), rule="ideal"), step("goal", poly("=0"), rule="ideal")])),
    "one over zero": ("ZeroDivisionError", changed(AMGM, "steps", 0, "by", "terms", 0, "coef", to="1/0")),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_refuses_for_its_reason(name: str) -> None:
    why, bad = FORGED[name]
    with pytest.raises(Rejected, match=why):
        check(bad)


def test_a_step_moves_both_sides_of_a_product() -> None:
    """u -> u + s w and s -> s + 1 in <u,u> and in s^2 <t,u>."""
    one = checker.ONE
    s, moves = {(("s", 1),): one[()]}, {"s": {(("s", 1),): one[()], (): one[()]}}
    moved = checker.substitute({(("<u,u>", 1),): one[()]}, {"u": {"u": one, "w": s}})
    assert moved == {(("<u,u>", 1),): 1, (("<u,w>", 1), ("s", 1)): 2, (("<w,w>", 1), ("s", 2)): 1}
    moved = checker.substitute({(("<t,u>", 1), ("s", 2)): one[()]}, {"u": {"w": one}, **moves})
    assert moved == {(("<t,w>", 1), ("s", 2)): 1, (("<t,w>", 1), ("s", 1)): 2, (("<t,w>", 1),): 1}


def test_nothing_hides_behind_a_key_that_occurs_twice() -> None:
    text = json.dumps(AMGM)
    assert check_text(text) == ["goal"]
    with pytest.raises(Rejected, match="occurs twice"):
        check_text(text.replace('"goals"', '"goals": [], "goals"'))


def test_two_recursions_cannot_prove_a_contradiction() -> None:
    """S = sum of squares from 0, and S = a constant -1: the second would contradict the first."""
    bad = copy.deepcopy(SUM)
    bad["recursions"]["other"] = {
        "kind": "scalars",
        "start": {"S": {"1": "-1"}},
        "update": {"S": {"S": "1"}},
        "fresh": {},
        "given": [],
    }
    with pytest.raises(Rejected, match="twice"):
        check(bad)


def test_induction_does_not_see_facts_about_the_final_state() -> None:
    """A hypothesis about S after the last step must not serve as a fact about S at every step."""
    bad = certificate(
        {"scalars": ["S"]}, {"final": poly(">=0", S="1")},
        [step("goal", poly(">=0", S="1"), rule="induction", recursion="walk",
              base=[step("b", {"poly": {}, "is": ">=0"}, rule="positive", terms=[])],
              step=[step("n", {"poly": {"S": "1", "a": "1"}, "is": ">=0"}, rule="positive", terms=[{"coef": "1", "facts": ["final"]}])])],
        ["goal"],
        recursions={"walk": {"kind": "scalars", "start": {"S": {}}, "update": {"S": {"S": "1", "a": "1"}}, "fresh": {"scalars": ["a"]}, "given": []}},
    )  # fmt: skip
    with pytest.raises(Rejected, match="no fact 'final'"):
        check(bad)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"schema": 1, "schema": 2}',
        '{"schema": "crossmodal-certificate/1"}',
        "null",
        "[" * 10**5,
        "1" * 5000,
    ],
    ids=range(8),
)
def test_malformed_text_is_rejected(text: str) -> None:
    with pytest.raises(Rejected):
        check_text(text)


def counted(name: str, **more: Any) -> dict[str, Any]:
    """Scalars that start at 0 and gain 1 at every step."""
    return {
        "kind": "scalars",
        "start": {name: {}},
        "update": {name: {name: "1", "1": "1"}},
        "fresh": {},
        "given": [],
        **more,
    }


def nested(name: str, fact: Any, recursion: str) -> dict[str, Any]:
    """An induction that needs nothing but its hypothesis."""
    same = [{"fact": "hypothesis", "times": {"1": "1"}}]
    return step(name, fact, rule="induction", recursion=recursion, base=[step(f"{name}.b", {"poly": {}, "is": "=0"}, rule="ideal")],
                step=[step(f"{name}.n", fact, rule="ideal", equalities=same)])  # fmt: skip


def test_a_recursion_does_not_read_the_state_of_another() -> None:
    """T starts where S stands: inside the step of S that is S before the step, outside it is the last S."""
    level = poly("=0", T="1", S="-1")
    goal = {"poly": {"S^2": "1", "S T": "-1", "S": "-1"}, "is": "=0"}
    bad = certificate(
        {"scalars": ["S", "T"]}, {},
        [step("product", goal, rule="induction", recursion="R1", base=[step("b", {"poly": {}, "is": "=0"}, rule="ideal")], step=[
            nested("inner", level, "R2"),
            step("n", {"poly": {"S^2": "1", "S": "1", "S T": "-1", "T": "-1"}, "is": "=0"}, rule="ideal",
                 equalities=[{"fact": "inner", "times": {"S": "-1", "1": "-1"}}])]),
         nested("top", level, "R2"),
         step("goal", poly("=0", S="1"), rule="ideal",
              equalities=[{"fact": "product", "times": {"1": "-1"}}, {"fact": "top", "times": {"S": "-1"}}])],
        ["goal"],
        recursions={"R1": counted("S"), "R2": counted("T", start={"T": {"S": "1"}}, update={"T": {"T": "1"}})},
    )  # fmt: skip
    with pytest.raises(Rejected, match=r"R2.*state"):
        check(bad)


@pytest.mark.parametrize(
    "more",
    [
        {"start": {"T": {"S": "1"}}},
        {"update": {"T": {"T": "1", "S": "1"}}},
        {"fresh": {"scalars": ["a"]}, "given": [{"name": "g", "fact": poly(">=0", a="1", S="-1")}]},
    ],
    ids=["start", "update", "given"],
)
def test_no_part_of_a_recursion_reads_another_state(more: Any) -> None:
    bad = copy.deepcopy(SUM)
    bad["symbols"]["scalars"].append("T")
    bad["recursions"]["other"] = counted("T")
    with pytest.raises(Rejected, match="never used: other"):
        check(bad)
    bad["recursions"]["other"] |= more
    with pytest.raises(Rejected, match=r"other.*state"):
        check(bad)


@pytest.mark.parametrize("part", ["start", "update"])
def test_a_vector_moves_to_declared_vectors_only(part: str) -> None:
    """`a` comes with a step of the first recursion; a nested induction would find it there."""
    bad = copy.deepcopy(SUM)
    bad["symbols"]["vectors"] = ["u"]
    still = {"u": {"u": {"1": "1"}}}
    bad["recursions"]["turn"] = {"kind": "scalars", "start": {"u": {}}, "update": still, "fresh": {}, "given": []} | {
        part: {"u": {"a": {"1": "1"}}}
    }
    with pytest.raises(Rejected, match="undeclared vectors"):
        check(bad)


def test_a_step_cannot_call_itself_an_induction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact about the last state with the name of a recursion beside its rule is no invariant, even where that is let through."""
    bad = certificate(
        {"scalars": ["S", "Q"]}, {"final": poly("=0", S="1")},
        [step("fake", poly("=0", S="1"), rule="ideal", equalities=[{"fact": "final", "times": {"1": "1"}}], recursion="walk"),
         step("goal", poly("=0", Q="1"), rule="induction", recursion="walk", base=[step("b", {"poly": {}, "is": "=0"}, rule="ideal")],
              step=[step("n", poly("=0", S="1"), rule="ideal", equalities=[{"fact": "fake", "times": {"1": "1"}}])])],
        ["goal"],
        recursions={"walk": {"kind": "scalars", "start": {"S": {}, "Q": {}}, "update": {"S": {"a": "1"}, "Q": {"S": "1"}},
                             "fresh": {"scalars": ["a"]}, "given": []}},
    )  # fmt: skip
    with pytest.raises(Rejected, match=r"unknown keys .*'recursion'"):
        check(bad)
    monkeypatch.setitem(checker.READS, "ideal", ("equalities", "recursion"))
    with pytest.raises(Rejected, match="no fact 'fake'"):
        check(bad)


@pytest.mark.parametrize("other", ["n", "m"])
def test_identities_of_two_sizes_do_not_cancel_in_a_trace(other: str) -> None:
    """A A' = I and B B' = I: their traces are equal where the two identities have one size, and only there."""
    facts = {
        "a": {"words": {"A A'": "1", "1": "-1"}, "shape": ["n", "n"], "is": "=0"},
        "b": {"words": {"B B'": "1", "1": "-1"}, "shape": [other, other], "is": "=0"},
    }
    terms = [
        {"fact": "a", "left": {"1": "1"}, "right": {"1": "1"}, "ends": "n"},
        {"fact": "b", "left": {"1": "-1"}, "right": {"1": "1"}, "ends": other},
    ]
    proof = certificate(
        {"matrices": {"A": ["n", "d"], "B": [other, "d"]}}, facts,
        [step("goal", {"words": {"A A'": "1", "B B'": "-1"}, "is": "trace=0"}, rule="free", terms=terms)], ["goal"],
    )  # fmt: skip
    if other == "n":
        assert check(proof) == ["goal"]
    else:
        with pytest.raises(Rejected, match="@m"):
            check(proof)


def test_a_square_under_a_trace_counts_its_own_size() -> None:
    """tr A A' >= 0 plus tr I_m, minus the identity of size n."""
    squares = [
        {"coef": "1", "word": {"A'": "1"}, "rows": "d", "cols": "n"},
        {"coef": "1", "word": {"1": "1"}, "rows": "m", "cols": "m"},
    ]
    bad = certificate(
        {"matrices": {"A": ["n", "d"], "B": ["n", "d"]}},
        {"b": {"words": {"B B'": "1", "1": "-1"}, "shape": ["n", "n"], "is": "=0"}},
        [step("goal", {"words": {"A A'": "1", "B B'": "1"}, "is": "trace>=0"}, rule="free", squares=squares,
              terms=[{"fact": "b", "left": {"1": "1"}, "right": {"1": "1"}, "ends": "n"}])],
        ["goal"],
    )  # fmt: skip
    with pytest.raises(Rejected, match="left over"):
        check(bad)


def test_a_goal_does_not_speak_of_what_the_proof_chose() -> None:
    """The root of 1 is 1; "x = 1 for every x" is not what that proves, whether or not x is declared."""
    bad = certificate(
        {"scalars": []}, {},
        [step("one", poly(">0", **{"1": "1"}), rule="positive", terms=[{"coef": "1"}]),
         {"name": "r", "text": "", "by": {"rule": "sqrt", "of": "one", "as": "x"}},
         step("goal", {"poly": {"x^2": "1", "1": "-1"}, "is": "=0"}, rule="ideal", equalities=[{"fact": "r.square", "times": {"1": "1"}}])],
        ["goal"],
    )  # fmt: skip
    with pytest.raises(Rejected, match="undeclared scalar 'x'"):
        check(bad)
    bad["symbols"]["scalars"] = ["x"]
    with pytest.raises(Rejected, match="declared twice"):
        check(bad)


@pytest.mark.parametrize("sizes", [("identity", "not square"), ("p", "q"), ("5", 5)])
def test_an_identity_is_square(sizes: tuple[Any, Any]) -> None:
    """H - I_p psd under a "square" of an identity of p rows and q columns would be tr H >= q."""
    p, q = sizes
    bad = certificate(
        {"matrices": {"H": [p, p], "B": [q, q]}, "symmetric": ["H"]},
        {"h": {"words": {"H": "1", "1": "-1"}, "shape": [p, p], "is": "psd"}, "b": {"words": {"B B'": "1", "1": "-1"}, "shape": [q, q], "is": "=0"}},
        [step("goal", {"words": {"H": "1", "B B'": "-1"}, "is": "trace>=0"}, rule="free",
              squares=[{"coef": "1", "word": {"1": "1"}, "rows": p, "cols": q, "fact": "h"}],
              terms=[{"fact": "b", "left": {"1": "-1"}, "right": {"1": "1"}, "ends": q}])],
        ["goal"],
    )  # fmt: skip
    with pytest.raises(Rejected, match=r"an identity of shape|cannot name a size"):
        check(bad)


def test_sizes_given_as_numbers_do_not_hide_what_grows() -> None:
    """With sides "5" and a recursion over 5 nothing would be seen to grow."""
    square = {"words": {"M": "1", "C' C": "-1"}, "shape": ["d", "d"], "is": "=0"}
    bad = certificate(
        {"matrices": {"C": ["5", "d"], "M": ["d", "d"]}}, {},
        [{"name": "all", "text": "", "facts": [square], "by": {"rule": "blocks", "recursion": "r", "base": [[]], "step": [
            [[[{"fact": "hypothesis.1", "left": {"1": "1"}, "right": {"1": "1"}}]]]]}}],
        ["all.1"],
        recursions={"r": {"kind": "blocks", "dim": 5, "by": "k", "fresh": {"matrices": {"a": ["k", "d"]}}, "grow": {},
                          "start": {"M": {"C' C": "1"}}, "update": {"M": {"M": "1"}}, "given": []}},
    )  # fmt: skip
    with pytest.raises(Rejected, match="cannot name a size"):
        check(bad)
    bad["recursions"]["r"]["dim"] = "5"
    with pytest.raises(Rejected, match="the start depends on the state"):
        check(bad)
