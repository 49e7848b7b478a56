"""The small checker: decides whether a certificate proves what it says.  Standard library only.

It shares no code with the derivations.  It reads JSON, multiplies polynomials with rational
coefficients and compares them; nothing is ever rounded, simplified or searched for.  Read it in one
sitting; whoever trusts these lines, those of `algebra` and the trust base printed with a claim may ignore the rest
of the project.  `SOUNDNESS.md` says why each rule is sound and which test fails without which check.

A certificate declares its symbols, states facts as hypotheses, and proves more facts step by step;
its goals repeat facts among those proved.  What is proved holds for all real values of the scalars,
for all vectors of *any* real inner-product space and for real matrices of *any* size that satisfy
the hypotheses.  Two kinds of facts:

* scalar facts, about a polynomial in the scalars and in inner products ``<x,y>``:
  ``{"poly": {"a^2 <x,y>": "2", "1": "-1/3"}, "is": "=0" | ">=0" | ">0"}``
* matrix facts, about a sum of words in letters and transposed letters, with scalars in front:
  ``{"words": {"eta A A'": "1", "1": "-1"}, "shape": ["T", "T"], "is": "=0" | "psd"}``,
  ``{"words": {"A A'": "1"}, "is": "trace=0" | "trace>=0"}``
  (the word ``1`` is the identity.  "trace" facts speak of the sum of the traces; their words are square, each of
  its own size, and they have no shape.  The word ``1`` is not among them: its trace is a size.)

Rules by which a step proves its fact ``g`` from facts already established:

========== =============================================================================================
ideal      ``g = sum_k p_k e_k`` for polynomials ``p_k`` and facts ``e_k = 0``
positive   ``g = sum_j c_j (product of facts >= 0) (product of squares) + sum_k p_k e_k`` with ``c_j > 0``;
           a square is ``||sum_k p_k w_k||^2`` with polynomials ``p_k`` and tensor words ``w_k = x@y@..``
           (the word ``1`` makes it the square of a polynomial).  Some term strictly positive: ``g > 0``.
refute     the same sum with the negation of ``g`` (fact name ``not``) among the facts is 0 although one of its
           terms is strictly positive: so ``g`` holds.
cases      ``g`` is proved three times: where a polynomial is negative, zero, positive.
sqrt       a new scalar ``r`` with ``r >= 0`` and ``r^2 = p``, for a fact ``p >= 0``.
inverse    a new scalar ``r`` with ``r > 0`` and ``r p = 1``, for a fact ``p > 0``.
vanish     ``<x,x> = 0`` gives ``<x,y> = 0``.
induction  ``g`` holds at the start of a declared recursion and is kept by every step of it: so it holds
           after any number of steps.
free       ``g = sum_j c_j left_j e_j right_j``, a matrix identity; for a trace fact up to cyclic
           rotation and transposition of words, plus polynomials times trace facts ``= 0``.
psd        ``g = sum_j c_j w_j' h_j w_j`` + equalities, with ``c_j > 0`` and ``h_j`` absent (identity) or a psd fact.
blocks     the induction for matrices that grow by a block row and column; proves several identities, of matrices or
           of traces, together.
trace      a new scalar ``r``, the trace of one word.
read       a scalar fact that is a trace fact, with every trace replaced by its scalar.
========== =============================================================================================

A recursion belongs to the model, not to the proof: it says how some symbols (its state) come about, at
the start and from step to step.  It is an assumption like the hypotheses: the state is one that is reached after some
number of steps (each recursion has its own number; none is possible where what is given about a step cannot be), and a
growing side is the sum of the sides of the blocks: one number for all of them, or, where ``fresh`` lists the side under
``sizes``, a number of its own for every step.  A scalar that a proof introduces is one number, made of the
state in whose scope it is introduced.  A symbol is in the state of one recursion at most, and a recursion speaks of declared
symbols, of those its steps bring in and of its own state: never of another one's, nor of what a proof introduces.

Every hypothesis, everything given about a step and every step must be named by another step or a goal, and not times
0, so that a certificate does not list an assumption that its argument never mentions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from .algebra import (
    ANY,
    ONE,
    Context,
    Fact,
    Grid,
    Monomial,
    Poly,
    Rejected,
    Subst,
    Word,
    Words,
    add,
    cyclic,
    inner,
    known_keys,
    many,
    mul,
    power,
    rational,
    show,
    show_word,
    size_name,
    sized,
    times,
    transpose,
    word_mul,
)

SCHEMA = "crossmodal-certificate/1"
STATEMENT = ("symbols", "recursions", "hypotheses", "goals")
FOR_READERS = ("claim", "title", "statement", "trust")  # not looked at


# -- the proof ----------------------------------------------------------------------------------------


class Scope:
    """Facts established so far, which of them were used, and the symbols and recursions they are about."""

    def __init__(self, context: Context, recursions: Mapping[str, Any], used: set[str] | None = None) -> None:
        self.context = context
        self.recursions = recursions
        self.used = used if used is not None else set()
        self.facts: dict[str, Fact] = {}
        self.invariant: dict[str, str] = {}  # facts that hold at every step of a recursion
        self.traces: dict[tuple[Monomial, Word], str] = {}

    def get(self, name: str, *relations: str) -> Fact:
        if name not in self.facts:
            raise Rejected(f"no fact {name!r} at this point")
        fact = self.facts[name]
        if relations and fact.relation not in relations:
            raise Rejected(f"fact {name!r} is {fact.relation!r}, needed {' or '.join(relations)}")
        self.used.add(name)
        return fact

    def put(self, name: str, fact: Fact) -> None:
        if not isinstance(name, str) or not name.isprintable():
            raise Rejected(f"{name!r} cannot name a fact")
        if name in self.facts or name == "not":
            raise Rejected(f"fact {name!r} is named twice")
        self.facts[name] = fact

    def inside(self, context: Context, keep: Iterable[str]) -> Scope:
        scope = Scope(context, self.recursions, self.used)
        scope.facts = {name: self.facts[name] for name in keep}
        scope.invariant = {name: r for name, r in self.invariant.items() if name in scope.facts}
        return scope

    def recursion(self, name: str, kind: str) -> Mapping[str, Any]:
        recursion: Mapping[str, Any] = self.recursions[name]
        if recursion["kind"] != kind:
            raise Rejected(f"recursion {name!r} is of kind {recursion['kind']!r}")
        self.used.add(f"recursion {name}")
        return recursion

    def constant(self, recursion: Mapping[str, Any]) -> list[str]:
        """Facts one may use at any step: about symbols outside the state, or proved for every step.

        Never one whose shape has a size that every step brings anew: outside, that name is another number.
        """
        moving, new = state_of(recursion, self.context), set(recursion["fresh"].get("sizes", ()))
        own = {n for n, r in self.invariant.items() if self.recursions[r] is recursion}
        found = [n for n, f in self.facts.items() if n in own or not mentions(f, moving)]
        return [n for n in found if new.isdisjoint(self.facts[n].shape or ())]


def moved(recursion: Mapping[str, Any]) -> set[str]:
    """The symbols for which a recursion says how they move."""
    return {*recursion["start"], *recursion.get("grow", ())}


def state_of(recursion: Mapping[str, Any], context: Context) -> set[str]:
    """The symbols that a recursion moves; for blocks also every letter with a growing side."""
    moving = moved(recursion)
    if recursion["kind"] == "blocks":
        moving |= {n for n, sides in context.matrices.items() if recursion["dim"] in sides}
    return moving


def declare_recursions(recursions: Mapping[str, Any], context: Context) -> None:
    """Each symbol moves in one recursion at most; none depends on another's state, and no start on its own.

    All of it is read here, over the declared symbols, so that no later extension of the context changes what it says.
    """
    seen: set[str] = set()
    for name, r in recursions.items():
        known_keys(
            r, "kind", "fresh", "start", "update", "given", *(("dim", "by", "grow") if r["kind"] == "blocks" else ())
        )
        known_keys(r["fresh"], "scalars", "vectors", "matrices", *(("sizes",) if r["kind"] == "blocks" else ()))
        moving = moved(r)
        if (
            set(r["start"]) != set(r["update"])
            or moving & seen
            or len(moving) != len(r["start"]) + len(r.get("grow", ()))
        ):
            raise Rejected(f"recursion {name!r}: start and update name different symbols, or a symbol moves twice")
        seen |= moving
    for name, r in recursions.items():
        moving = moved(r)
        if r["kind"] == "blocks":
            if size_name(r["by"]) == size_name(r["dim"]) or any(r["dim"] not in context.matrices[n] for n in r["grow"]):
                raise Rejected(f"recursion {name!r}: only a letter with side {r['dim']!r} grows")
            if any(r["dim"] in context.matrices[n] for n in r["start"]):
                raise Rejected(f"recursion {name!r}: a letter with side {r['dim']!r} must grow")
            if moving & context.symmetric:
                raise Rejected(f"recursion {name!r}: nothing keeps {sorted(moving & context.symmetric)} symmetric")
        elif r["kind"] != "scalars" or not moving <= context.scalars | context.vectors:
            raise Rejected(f"recursion {name!r}: unknown kind or undeclared symbol")
        at_start, in_a_step = said(r, context)
        others = set().union(*(state_of(other, context) for other in recursions.values() if other is not r))
        if any(mentions(f, others | state_of(r, context)) for f in at_start):
            raise Rejected(f"recursion {name!r}: the start depends on the state")
        if any(mentions(f, others) for f in in_a_step):
            raise Rejected(f"recursion {name!r} depends on the state of another")
        if any(mentions(f, state_of(r, context) - moving) for f in in_a_step):
            raise Rejected(f"recursion {name!r} reads a letter with a growing side, but does not say how it grows")


def said(recursion: Mapping[str, Any], context: Context) -> tuple[list[Fact], list[Fact]]:
    """Every expression of a recursion, at the start and in a step, as facts to be searched for symbols."""
    wider = widened(context, recursion)
    given = [wider.fact(g["fact"]) for g in recursion.get("given", ())]
    if recursion["kind"] == "blocks":
        start = [Fact("words", context.words(w, context.matrices[n]), "=0") for n, w in recursion["start"].items()]
        images = grown(recursion, context, wider).values()
        return start, given + [Fact("words", block, "=0") for rows in images for row in rows for block in row]
    return expressions(recursion["start"], context), given + expressions(recursion["update"], wider)


def expressions(data: Mapping[str, Any], context: Context) -> list[Fact]:
    """The polynomials of a substitution; those in front of a vector together with its length."""
    out = []
    for name, value in read_subst(data, context).items():
        if name in context.vectors:
            out += [mul(p, {((inner(v, v), 1),): Fraction(1)}) for v, p in value.items()]
        else:
            out.append(value)
    return [Fact("poly", p, "=0") for p in out]


def grown(recursion: Mapping[str, Any], context: Context, wider: Context) -> dict[str, Grid]:
    """What a step of a block recursion makes of each letter it moves."""
    dim, new, images = recursion["dim"], recursion["by"], {}
    for letter, blocks in recursion["grow"].items():
        rows, cols = ([dim, new] if side == dim else [side] for side in context.matrices[letter])
        if [len(row) for row in blocks] != [len(cols)] * len(rows):
            raise Rejected(f"{letter!r} has {len(rows)} x {len(cols)} blocks after a step")
        images[letter] = [[wider.words(blocks[i][j], (r, c)) for j, c in enumerate(cols)] for i, r in enumerate(rows)]
    for letter, words in recursion["update"].items():
        images[letter] = [[wider.words(words, context.matrices[letter])]]
    return images


def widened(context: Context, recursion: Mapping[str, Any]) -> Context:
    fresh = recursion["fresh"]
    sizes = {size_name(size) for size in many(fresh.get("sizes", ()))}
    if any(not sizes.isdisjoint(sides) for sides in context.matrices.values()):
        raise Rejected(f"a step brings its own {', '.join(sorted(sizes))}, but a letter that outlives it has that side")
    matrices = {n: (r, c) for n, (r, c) in fresh.get("matrices", {}).items()}
    return context.extended(many(fresh.get("scalars", ())), many(fresh.get("vectors", ())), **matrices)


def put_given(inside: Scope, recursion: Mapping[str, Any]) -> None:
    """What the model says of the symbols that a step brings in."""
    for given in recursion.get("given", ()):
        fact = inside.context.fact(given["fact"])
        if mentions(fact, state_of(recursion, inside.context)):
            raise Rejected("what is given about a step may not speak of the state")
        inside.put(given["name"], fact)


def prove(step: Mapping[str, Any], scope: Scope) -> None:
    """Check one step and add what it proves to the scope."""
    name, rule = step["name"], step["by"]["rule"]
    try:
        known_keys(step, "name", "text", "by", "facts" if rule == "blocks" else "fact")
        known_keys(step["by"], "rule", *READS.get(rule, ()))
        if rule in INTRODUCE:
            INTRODUCE[rule](name, step["by"], scope)
            return
        facts = (
            [scope.context.fact(f) for f in step["facts"]] if rule == "blocks" else [scope.context.fact(step["fact"])]
        )
        if rule not in RULES:
            raise Rejected(f"unknown rule {rule!r}")
        RULES[rule](facts if rule == "blocks" else facts[0], step["by"], scope)
    except Rejected as error:
        raise Rejected(f"{name}: {error}") from None
    for i, fact in enumerate(facts):
        label = f"{name}.{i + 1}" if rule == "blocks" else name
        scope.put(label, fact)
        if rule in ("induction", "blocks"):
            scope.invariant[label] = step["by"]["recursion"]


def equalities(by: Mapping[str, Any], scope: Scope) -> Poly:
    factors: dict[str, Poly] = {}
    for item in by.get("equalities", ()):
        factors[item["fact"]] = add(factors.get(item["fact"], {}), scope.context.poly(item["times"]))
    total: Poly = {}
    for name, factor in factors.items():
        fact = scope.get(name, "=0")
        if fact.kind != "poly":
            raise Rejected(f"{name!r} is no scalar fact")
        counts(factor, name)
        total = add(total, mul(factor, fact.value))
    return total


def positive_sum(by: Mapping[str, Any], scope: Scope, negation: Fact | None = None) -> tuple[Poly, bool]:
    """The sum of nonnegative terms and equalities, and whether one term is strictly positive."""
    total, strict = equalities(by, scope), False
    for term in by.get("terms", ()):
        c = rational(term["coef"])
        if c <= 0:
            raise Rejected(f"coefficient {c} of a nonnegative term")
        value, squares = dict(ONE), term.get("squares", ())
        is_strict = not squares
        for name in term.get("facts", ()):
            fact = negation if name == "not" and negation else scope.get(name, ">=0", ">0")
            if fact.kind != "poly":
                raise Rejected(f"{name!r} is no scalar fact")
            is_strict = is_strict and fact.relation == ">0"
            value = mul(value, fact.value)
        for square in squares:
            value = mul(value, scope.context.square(square))
        counts(value, *term.get("facts", ()))
        total, strict = add(total, value, c), strict or is_strict
    return total, strict


def by_ideal(goal: Fact, by: Mapping[str, Any], scope: Scope) -> None:
    need(goal, "poly", "=0")
    expect_zero(add(goal.value, equalities(by, scope), Fraction(-1)))


def by_positive(goal: Fact, by: Mapping[str, Any], scope: Scope) -> None:
    need(goal, "poly", ">=0", ">0")
    total, strict = positive_sum(by, scope)
    expect_zero(add(goal.value, total, Fraction(-1)))
    if goal.relation == ">0" and not strict:
        raise Rejected("no term is strictly positive")


def by_refute(goal: Fact, by: Mapping[str, Any], scope: Scope) -> None:
    need(goal, "poly", ">=0", ">0")
    negated = Fact("poly", add({}, goal.value, Fraction(-1)), ">0" if goal.relation == ">=0" else ">=0")
    total, strict = positive_sum(by, scope, negated)
    expect_zero(total)
    if not strict:
        raise Rejected("no term is strictly positive, so nothing is refuted")


def by_cases(goal: Fact, by: Mapping[str, Any], scope: Scope) -> None:
    on = scope.context.poly(by["on"])
    branches = {"negative": (add({}, on, Fraction(-1)), ">0"), "zero": (on, "=0"), "positive": (on, ">0")}
    for branch, (poly, relation) in branches.items():
        inside = scope.inside(scope.context, scope.facts)
        inside.traces = scope.traces
        inside.put(by.get("as", "case"), Fact("poly", poly, relation))
        run(by[branch], inside)
        if not by[branch] or inside.facts.get(by[branch][-1]["name"]) != goal:
            raise Rejected(f"case {branch!r} does not end with the goal")


def by_vanish(goal: Fact, by: Mapping[str, Any], scope: Scope) -> None:
    x, y = by["vector"], by["with"]
    zero = scope.get(by["fact"], "=0")
    if zero.value != scope.context.poly({f"<{x},{x}>": "1"}) or goal.value != scope.context.poly({f"<{x},{y}>": "1"}):
        raise Rejected("vanish needs <x,x> = 0 and gives <x,y> = 0")
    need(goal, "poly", "=0")


def by_induction(goal: Fact, by: Mapping[str, Any], scope: Scope) -> None:
    """The goal holds at the start of a recursion and passes from the hypothesis through one update.

    Outer facts are visible inside only where they do not speak of the state, or hold at every step.
    """
    need(goal, "poly", "=0", ">=0")
    recursion = scope.recursion(by["recursion"], "scalars")
    base = scope.inside(scope.context, scope.constant(recursion))
    run(by["base"], base)
    start = read_subst(recursion["start"], scope.context)
    ends_with(by["base"], base, goal._replace(value=substitute(goal.value, start)), "base")
    wider = widened(scope.context, recursion)
    inside = scope.inside(wider, scope.constant(recursion))
    inside.put("hypothesis", goal)
    put_given(inside, recursion)
    run(by["step"], inside)
    update = read_subst(recursion["update"], wider)
    ends_with(by["step"], inside, goal._replace(value=substitute(goal.value, update)), "step")


def mentions(fact: Fact, names: set[str]) -> bool:
    """Whether a fact speaks of one of the symbols: as a scalar, a letter, or a vector in an inner product."""
    for key in fact.value:
        monomial, word = key if fact.kind == "words" else (key, ())
        if any(n in names for n, _ in word) or any(not names.isdisjoint(a.strip("<>").split(",")) for a, _ in monomial):
            return True
    return False


def read_subst(data: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Scalars map to polynomials, vectors to ``{vector: polynomial}``."""
    for name, value in data.items():
        if name in context.vectors and not set(value) <= context.vectors:
            raise Rejected(f"{name!r} moves to undeclared vectors")
    return {
        name: {x: context.poly(p) for x, p in value.items()} if name in context.vectors else context.poly(value)
        for name, value in data.items()
    }


def substitute(poly: Poly, subst: Subst) -> Poly:
    out: Poly = {}
    for monomial, c in poly.items():
        value: Poly = {(): c}
        for atom, k in monomial:
            if atom.startswith("<"):
                x, y = atom[1:-1].split(",")
                left, right = subst.get(x, {x: ONE}), subst.get(y, {y: ONE})
                image: Poly = {}
                for a, p in left.items():
                    for b, q in right.items():
                        image = add(image, mul({((inner(str(a), str(b)), 1),): Fraction(1)}, mul(p, q)))  # type: ignore[arg-type]
            else:
                image = subst.get(atom, {((atom, 1),): Fraction(1)})  # type: ignore[assignment]
            value = mul(value, power(image, k))
        out = add(out, value)
    return out


def free_sum(by: Mapping[str, Any], scope: Scope, shape: tuple[str, str], *, trace: bool = False) -> Words:
    """``sum_j left_j e_j right_j`` of matrix facts ``e_j = 0`` (transposed where asked); under a trace also ``times_j t_j``
    of trace facts ``t_j = 0``."""
    context = scope.context
    total: Words = {}
    factors: dict[str, dict[Any, Fraction]] = {}  # what stands left and right of each fact, or in front of it
    for term in by.get("terms", ()):
        if trace and "times" in term:
            times_ = context.poly(term["times"])
            total = add(
                total, word_mul({(m, ()): x for m, x in times_.items()}, scope.get(term["fact"], "trace=0").value)
            )
            factors[term["fact"]] = add(factors.get(term["fact"], {}), times_)
            continue
        fact = scope.get(term["fact"], "=0")
        if fact.kind != "words" or fact.shape is None:
            raise Rejected(f"{term['fact']!r} is no matrix fact")
        value, (rows, cols) = fact.value, fact.shape
        if term.get("transpose", False):
            value, (rows, cols) = transpose(value, context), (cols, rows)
        ends = (size_name(term["ends"]),) * 2 if trace else shape
        left_shape, right_shape = (ends[0], rows), (cols, ends[1])
        left, right = context.words(term["left"], left_shape), context.words(term["right"], right_shape)
        product = word_mul(word_mul(left, value), right)
        total = add(total, sized(product, ends[0]) if trace else product)
        turned, known = term.get("transpose", False), factors.setdefault(term["fact"], {})
        for (m, v), x in left.items():
            factors[term["fact"]] = known = add(
                known, {(turned, times(m, n), v, w): x * y for (n, w), y in right.items()}
            )
    for name, factor in factors.items():
        counts(factor, name)
    return total


def by_free(goal: Fact, by: Mapping[str, Any], scope: Scope) -> None:
    need(goal, "words", "=0", "trace=0", "trace>=0")
    assert goal.shape is not None
    traced = goal.relation != "=0"
    rest = add(goal.value, free_sum(by, scope, goal.shape, trace=traced), Fraction(-1))
    if goal.relation == "trace>=0":
        rest = add(rest, hermitian_sum(by, scope, goal.shape, trace=True), Fraction(-1))
    expect_zero(cyclic(rest, scope.context) if traced else rest)


def hermitian_sum(by: Mapping[str, Any], scope: Scope, shape: tuple[str, str], *, trace: bool = False) -> Words:
    context = scope.context
    total: Words = {}
    for item in by.get("squares", ()):
        c, middle = rational(item["coef"]), item.get("fact")
        if c <= 0:
            raise Rejected(f"coefficient {c} of a nonnegative term")
        inside, size = size_name(item["rows"]), size_name(item["cols"])
        if not trace and size != shape[1]:
            raise Rejected("a square has another shape than the goal")
        word = context.words(item["word"], (inside, size))
        core: Words = {((), ()): Fraction(1)}
        if middle is not None:
            fact = scope.get(middle, "psd")
            if fact.shape != (inside, inside):
                raise Rejected(f"{middle!r} does not fit between the words")
            core = fact.value
        weight: Words = {((), ()): c}
        for name in item.get("weights", ()):
            scalar = scope.get(name, ">=0", ">0")
            if scalar.kind != "poly":
                raise Rejected(f"{name!r} is no scalar fact")
            weight = word_mul({(m, ()): x for m, x in scalar.value.items()}, weight)
        product = word_mul(weight, word_mul(word_mul(transpose(word, context), core), word))
        counts(product, *([middle] if middle is not None else []), *item.get("weights", ()))
        total = add(total, sized(product, size) if trace else product)
    return total


def by_psd(goal: Fact, by: Mapping[str, Any], scope: Scope) -> None:
    need(goal, "words", "psd")
    assert goal.shape is not None
    total = add(hermitian_sum(by, scope, goal.shape), free_sum(by, scope, goal.shape))
    expect_zero(add(goal.value, total, Fraction(-1)))


def by_blocks(goals: list[Fact], by: Mapping[str, Any], scope: Scope) -> None:
    """Identities of matrices or traces for every size, by induction: size 0, then one more block row and column.

    At size 0 a letter with a growing side vanishes from every product, and an equation between matrices
    without entries holds.  Inside the step the goals are the facts ``hypothesis.k``.  The trace of a block matrix is the
    sum of the traces of the blocks on its diagonal.
    """
    context, recursion = scope.context, scope.recursion(by["recursion"], "blocks")
    dim, new, grow = recursion["dim"], recursion["by"], recursion["grow"]
    letters = {x for g in goals for _, w in g.value for x, _ in w}
    for letter in letters - set(grow):
        if dim in context.matrices[letter]:
            raise Rejected(f"{letter!r} has a growing side, but the recursion does not say how it grows")
    base = scope.inside(context, scope.constant(recursion))
    nothing: dict[str, Grid] = {n: [[{}]] for n in grow}
    start: dict[str, Grid] = {n: [[context.words(w, context.matrices[n])]] for n, w in recursion["start"].items()}
    for k, goal in enumerate(goals):
        need(goal, "words", "=0", "trace=0")
        assert goal.shape is not None
        if goal.relation == "trace=0":
            value = block_trace(goal.value, {**nothing, **start}, context, [dim])
            proof = free_sum({"terms": by["base"][k]}, base, ANY, trace=True)
            expect_zero(cyclic(add(value, proof, Fraction(-1)), context))
        elif dim not in goal.shape:
            value = block_value(goal.value, {**nothing, **start}, context, (1, 1))[0][0]
            expect_zero(add(value, free_sum({"terms": by["base"][k]}, base, goal.shape), Fraction(-1)))
    wider = widened(context, recursion)
    inside = scope.inside(wider, scope.constant(recursion))
    for k, goal in enumerate(goals):
        inside.put(f"hypothesis.{k + 1}", goal)
    put_given(inside, recursion)
    images = grown(recursion, context, wider)
    for k, goal in enumerate(goals):
        assert goal.shape is not None
        if goal.relation == "trace=0":
            value = block_trace(goal.value, images, wider, [dim, new])
            proof = free_sum({"terms": by["step"][k]}, inside, ANY, trace=True)
            expect_zero(cyclic(add(value, proof, Fraction(-1)), wider))
            continue
        rows, cols = ([dim, new] if side == dim else [side] for side in goal.shape)
        grid = block_value(goal.value, images, wider, (len(rows), len(cols)))
        for i, r in enumerate(rows):
            for j, c in enumerate(cols):
                proof = free_sum({"terms": by["step"][k][i][j]}, inside, (r, c))
                expect_zero(add(grid[i][j], proof, Fraction(-1)))


def block_value(value: Words, images: Mapping[str, Grid], context: Context, size: tuple[int, int]) -> Grid:
    """Substitute block matrices for letters and multiply out; ``size`` is the number of blocks of the result."""
    out: Grid = [[{} for _ in range(size[1])] for _ in range(size[0])]
    for (scalars, word), c in value.items():
        grid: Grid = [[{((), ()): Fraction(1)} if i == j else {} for j in range(size[0])] for i in range(size[0])]
        for name, flipped in word:
            image = images.get(name, [[{((), ((name, False),)): Fraction(1)}]])
            if flipped:
                image = [[transpose(row[j], context) for row in image] for j in range(len(image[0]))]
            grid = block_mul(grid, image)
        for i in range(size[0]):
            for j in range(size[1]):
                out[i][j] = add(out[i][j], word_mul({(scalars, ()): c}, grid[i][j]))
    return out


def block_trace(value: Words, images: Mapping[str, Grid], context: Context, split: list[str]) -> Words:
    """Substitute block matrices in words that stand for their traces; ``split`` are the sides of the blocks, the growing one first."""
    total: Words = {}
    for key, c in value.items():
        side, _ = context.shape(key[1], ANY)
        sides = split if side == split[0] else [side]
        grid = block_value({key: c}, images, context, (len(sides), len(sides)))
        for i, size in enumerate(sides):
            total = add(total, sized(grid[i][i], size))
    return total


def block_mul(a: Grid, b: Grid) -> Grid:
    out: Grid = [[{} for _ in b[0]] for _ in a]
    for i, row in enumerate(a):
        for j in range(len(b[0])):
            for k, entry in enumerate(row):
                out[i][j] = add(out[i][j], word_mul(entry, b[k][j]))
    return out


def introduce_sqrt(name: str, by: Mapping[str, Any], scope: Scope) -> None:
    poly = scope.get(by["of"], ">=0", ">0").value
    scope.context = scope.context.extended([by["as"]])
    r: Poly = {((by["as"], 1),): Fraction(1)}
    scope.put(f"{name}.sign", Fact("poly", r, ">=0"))
    scope.put(f"{name}.square", Fact("poly", add(mul(r, r), poly, Fraction(-1)), "=0"))


def introduce_inverse(name: str, by: Mapping[str, Any], scope: Scope) -> None:
    poly = scope.get(by["of"], ">0").value
    scope.context = scope.context.extended([by["as"]])
    r: Poly = {((by["as"], 1),): Fraction(1)}
    scope.put(f"{name}.sign", Fact("poly", r, ">0"))
    scope.put(f"{name}.product", Fact("poly", add(mul(r, poly), ONE, Fraction(-1)), "=0"))


def introduce_trace(name: str, by: Mapping[str, Any], scope: Scope) -> None:
    rows, cols = map(size_name, by["shape"])
    shape = (rows, cols)
    words = cyclic(scope.context.words(by["words"], shape), scope.context)
    if len(words) != 1 or shape[0] != shape[1] or next(iter(words.items()))[1] != 1 or not next(iter(words))[1]:
        raise Rejected("a trace is taken of one word of square shape, which is no identity")
    scope.context = scope.context.extended([by["as"]])
    scope.traces = {**scope.traces, next(iter(words)): by["as"]}


def by_read(goal: Fact, by: Mapping[str, Any], scope: Scope) -> None:
    fact = scope.get(by["fact"], "trace=0", "trace>=0")
    need(goal, "poly", "=0" if fact.relation == "trace=0" else ">=0")
    total: Poly = {}
    for (scalars, word), c in cyclic(fact.value, scope.context).items():
        if ((), word) not in scope.traces:
            raise Rejected(f"no scalar is the trace of {show_word(word)}")
        total = add(total, {times(scalars, ((scope.traces[(), word], 1),)): c})
    expect_zero(add(goal.value, total, Fraction(-1)))


RULES: dict[str, Any] = {
    "ideal": by_ideal,
    "positive": by_positive,
    "refute": by_refute,
    "cases": by_cases,
    "vanish": by_vanish,
    "induction": by_induction,
    "free": by_free,
    "psd": by_psd,
    "blocks": by_blocks,
    "read": by_read,
}
READS = {  # what a step says under "by"
    "ideal": ("equalities",),
    "positive": ("terms", "equalities"),
    "refute": ("terms", "equalities"),
    "cases": ("on", "as", "negative", "zero", "positive"),
    "vanish": ("fact", "vector", "with"),
    "sqrt": ("of", "as"),
    "inverse": ("of", "as"),
    "trace": ("words", "shape", "as"),
    "read": ("fact",),
    "free": ("terms", "squares"),
    "psd": ("terms", "squares"),
    "induction": ("recursion", "base", "step"),
    "blocks": ("recursion", "base", "step"),
}
INTRODUCE: dict[str, Any] = {"sqrt": introduce_sqrt, "inverse": introduce_inverse, "trace": introduce_trace}


def counts(factor: Mapping[Any, Fraction], *facts: str) -> None:
    """What is multiplied by 0 is not used, whatever names it."""
    if facts and not factor:
        raise Rejected(f"times 0: {', '.join(facts)}")


def need(fact: Fact, kind: str, *relations: str) -> None:
    if fact.kind != kind or fact.relation not in relations:
        raise Rejected(
            f"this rule proves {kind} facts of relation {' or '.join(relations)}, not {fact.kind} {fact.relation}"
        )


def expect_zero(rest: Mapping[Any, Fraction]) -> None:
    if rest:
        raise Rejected(f"the identity fails; left over: {show(rest)}")


def ends_with(steps: list[Any], scope: Scope, goal: Fact, where: str) -> None:
    if not steps or scope.facts.get(steps[-1]["name"]) != goal:
        raise Rejected(f"the {where} does not end with its goal")


def run(steps: Iterable[Mapping[str, Any]], scope: Scope) -> None:
    for step in steps:
        prove(step, scope)


def check(certificate: Mapping[str, Any]) -> list[str]:
    """Check a certificate.

    Args:
        certificate: the decoded JSON.

    Returns:
        the names of the goals, all of them proved.

    Raises:
        Rejected: it is not a proof, or it lists a hypothesis or a step it does not use.
    """
    try:
        if certificate.get("schema") != SCHEMA:
            raise Rejected(f"schema {certificate.get('schema')!r}, expected {SCHEMA!r}")
        known_keys(certificate, *STATEMENT, *FOR_READERS, "schema", "steps")
        recursions = certificate.get("recursions", {})
        scope = Scope(Context(certificate["symbols"]), recursions)
        # read before any step: a goal speaks of all values of the declared symbols, not of those a proof has chosen
        for named in (*certificate["hypotheses"], *certificate["goals"]):
            known_keys(named, "name", "fact", "text")
        stated = {g["name"]: scope.context.fact(g["fact"]) for g in certificate["goals"]}
        declare_recursions(recursions, scope.context)
        for hypothesis in certificate["hypotheses"]:
            scope.put(hypothesis["name"], scope.context.fact(hypothesis["fact"]))
        run(certificate["steps"], scope)
        goals = list(stated)
        if not goals or len(goals) != len(certificate["goals"]):
            raise Rejected("no goal, or one named twice")
        hypotheses = {h["name"] for h in certificate["hypotheses"]}
        for goal in goals:
            if goal in hypotheses:
                raise Rejected(f"goal {goal!r} is assumed, not proved")
            if scope.get(goal) != stated[goal]:
                raise Rejected(f"goal {goal!r} states another fact than the step of that name proves")
        hypotheses |= {g["name"] for r in recursions.values() for g in r.get("given", ())}
        idle = sorted(hypotheses - scope.used) + [r for r in recursions if f"recursion {r}" not in scope.used]
        for step in certificate["steps"]:
            if step["by"]["rule"] != "trace" and not any(
                name == step["name"] or name.startswith(step["name"] + ".") for name in scope.used
            ):
                idle.append(step["name"])
        if idle:
            raise Rejected(f"never used: {', '.join(idle)}")
        return goals
    except Rejected:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        RecursionError,
        ZeroDivisionError,
        AssertionError,
    ) as error:
        raise Rejected(f"malformed certificate ({type(error).__name__}: {error})") from None


def check_text(text: str) -> list[str]:
    """Check a certificate given as JSON text; duplicate keys are refused, so that nothing hides behind another."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({k for k, _ in pairs}) != len(pairs):
            raise Rejected("a key occurs twice in one object")
        return dict(pairs)

    try:
        certificate = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # no JSON, an integer of thousands of digits, brackets without end
        raise Rejected(f"not JSON: {error}") from None
    return check(certificate)
