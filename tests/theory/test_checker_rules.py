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

GOOD = {
    "positive": AMGM, "tensor": CAUCHY, "refute": ROOT, "cases": CASES, "vanish": VANISH, "induction": SUM, "sqrt": INVERSE_ROOT,
    "psd": PROJECTOR, "trace": CYCLE, "blocks": BLOCKS,
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


def test_a_step_cannot_call_itself_an_induction() -> None:
    """A fact about the last state with the name of a recursion beside its rule is no invariant."""
    bad = certificate(
        {"scalars": ["S", "Q"]}, {"final": poly("=0", S="1")},
        [step("fake", poly("=0", S="1"), rule="ideal", equalities=[{"fact": "final", "times": {"1": "1"}}], recursion="walk"),
         step("goal", poly("=0", Q="1"), rule="induction", recursion="walk", base=[step("b", {"poly": {}, "is": "=0"}, rule="ideal")],
              step=[step("n", poly("=0", S="1"), rule="ideal", equalities=[{"fact": "fake", "times": {"1": "1"}}])])],
        ["goal"],
        recursions={"walk": {"kind": "scalars", "start": {"S": {}, "Q": {}}, "update": {"S": {"a": "1"}, "Q": {"S": "1"}},
                             "fresh": {"scalars": ["a"]}, "given": []}},
    )  # fmt: skip
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
