"""The document: one HTML page that needs nothing beside it, and the same in LaTeX.

Every claim is stated in full from its object in `theory/claims/` and its proof from the certificate derived now, so that
text and code cannot disagree.  Numbers come from the figures' data and the dashboard's rows; each carries its origin.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .. import __version__
from ..show import recursions_of, relations_of, sections, symbols_of
from ..theory import registry
from ..theory.certify import derive, path_of
from ..theory.claim import Claim
from ..theory.errors import not_installed
from . import verdicts
from .build import Built
from .mathml import fact_latex, prose, readable, shortened, to_mathml
from .results import provenance, quoted
from .tabular import BuiltTable
from .tex import prose_tex, tex

TEMPLATES = Path(__file__).parent
TITLE = "Cross-modal contributions in continual vision-language models"
SUBTITLE = "Every claim with its proof, its verdict and what it measures"
INTRODUCTION = (
    "A vision-language model learns one environment after another.  How alike the images and texts of two environments are, "
    "their contribution scores, is said to govern loss drift, forgetting and the best order of learning (Sekeh and Wisell, "
    "Understanding Cross-Modal Contributions in Continual Vision-Language Models: A Theoretical Perspective).  Of that paper a summary, the abstract and a third party's digest were at hand, not its proofs: "
    "what it says is told here in our paraphrase of these.  This document states each claim exactly and gives its verdict.  PROVED: a small independent checker accepts the certificate, "
    "in exact rationals, given the facts listed as its trust base.  REFUTED: an exact witness violates the claim.  UNDECIDED: "
    "neither.  Statements and proofs "
    "are printed from the objects that are checked; figures and tables from what is computed, stored or recorded, each with its origin."
)

NOTATION = (
    ("environments", "An environment t is a distribution of images, texts and labels.  Encoders turn an image and a text into features u and v, "
     "unit vectors of one space; mu^I_t and mu^T_t are their means in t.  A fused feature is z = p u + q v, a concatenated one [p u ; q v]."),
    ("scores", "Con_{a->b}(s,t), short Con_II, Con_IT, Con_TI and Con_TT: the contribution score, the mean of <a, b> with modality a (I: image, T: text) "
     "from s and b from t, drawn independently; sigma = 1 - Con.  CLV(t) is the mean of <u, v> over matched pairs of t.  Dispersion: the standard deviation of "
     "Con_IT(s,t) over all s != t."),
    ("losses", "LOSS = CE + lambda CLIP: the cross-entropy of a linear head W and the contrastive loss, in which tau is the inverse temperature (CLIP's logit scale).  A "
     "residual is prediction less target, K(s,t) the mean of <z, z'> with z from s and z' from t, eta a step size."),
    ("forgetting", "F_s: the loss of s at the end less that just after s was learnt, in total the sum over environments, in other places the mean, as is said there.  "
     "e_0 is the initial error of the head; where the target is isotropic forgetting is an expectation over e_0 with E[e_0 e_0'] = I/d.  A least-norm learner goes to "
     "the nearest head that fits the environment exactly.  The rule is the paper's: take the order whose neighbours' scores have the least sum, its cumulative "
     "consecutive contribution; the regret of an order is its forgetting over that of the best, less one."),
    ("predictors", "Of the forgetting of an order, before training.  Cumulative: the sum of a score, or of its square, over neighbours.  Rank one and fourth order: an environment as one "
     "direction, its mean image feature made a unit vector, an isotropic target, learnt in full or by half steps (eta = 1/2).  Class blocks: an environment as the span of its class "
     "prototypes, the mean images of its classes.  Class prototypes: the head trained on these alone; refined, on more of them, the means of groups within classes."),
    ("signs", "A' is the transpose of a matrix, x' and t' may be a second sample or environment; |x| is the length of a vector, |A| the spectral norm of a matrix, |A|_F "
     "its Frobenius norm, and A <= B between symmetric matrices says that B - A is positive semidefinite.  In a proof over_k stands for one over a denominator of "
     "the statement and root_k for one of its square roots."),
    ("names", "S: scores; T1: drift of the loss; T2: the contribution balance factor, a mask on gradients; T3: forgetting and order; O: robustness to order; G: "
     "generalisation; D: out-of-distribution (OOD) detection; C: coalitions of modalities; P: the paper's claims in our paraphrase.  Experiments: E1 drift, E2 the sweep of "
     "lambda, E3 all orders, E4 backward transfer, E5 OOD by pairs and E6 along an order, E7 similarity, E8 coalitions; K0 to K5 are kernels.  Frozen, full and lora: encoders "
     "that are not trained, in full, or by low-rank updates.  MCM: the largest softmax probability over class prompts.  bwt and fwt: backward and forward transfer.  Under its formulas every claim says what its letters are: the same letter may be something else in another claim, and where "
     "one of a series is listed, F_123 or A_1, the others are alike."),
    ("checks", "Mutants: altered certificates, all of which the checker must reject.  Exact models: instances in rationals on which the claim was evaluated.  Tight: "
     "an instance is known on which a right side one percent smaller would be too small.  Trusts: facts that are cited, not proved.  On the features: whether it "
     "holds there, slack being the right side less the left, and by how much an assumption is violated."),
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step of a proof: its name, rule and reason, and what it establishes (LaTeX; "" where too long)."""

    name: str
    rule: str
    reason: str
    formulas: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A claim as the templates see it."""

    claim: Claim
    row: Any
    steps: tuple[Step, ...]
    sections: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def tight(self) -> str:
        """One word for the table; the section `tight` says more."""
        return "yes" if self.row.tight else "identity" if self.row.identity else "see claim"

    @property
    def anchor(self) -> str:
        return self.claim.id.replace(".", "-")


def entries(features: Any, seed: int) -> list[Entry]:
    """Every claim with its dashboard row and proof."""
    return [entry(row) for row in verdicts.rows(features, seed)]


def entry(row: Any) -> Entry:
    claim = registry.get(row.claim)
    steps, rest = proof(claim.id, as_stored=row.certificate == "accepted")
    return Entry(claim, row, steps, rest)


@cache
def proof(claim_id: str, as_stored: bool = False) -> tuple[tuple[Step, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    """Steps and all other sections of a claim; `as_stored` where the derived certificate is known to be the stored one."""
    claim = registry.get(claim_id)
    certificate: dict[str, Any] | None = None
    if as_stored:
        certificate = json.loads(path_of(claim_id).read_text(encoding="utf-8"))
    elif claim.derive is not None:
        certificate = derive(claim)
    steps = []
    for step in certificate["steps"] if certificate else ():
        facts = step.get("facts") or [step.get("fact", {})]
        found = tuple(text for fact in facts if (text := fact_latex(fact)))
        steps.append(Step(step["name"], step["by"]["rule"], step["text"], found))
    rest = tuple(
        (t, tuple(named(t, line) for line in body)) for t, body in sections(claim, certificate) if t != "proof"
    )
    return tuple(steps), rest


def named(title: str, line: str) -> str:
    """A line of a section with the names of relations and assumptions marked as such, so that two_levels is no subscript."""
    if title == "assumptions used":
        return re.sub(r"\b(?!none\b)\w+", r"`\g<0>`", line)
    return re.sub(r"^[a-z]\w*(?=: )", r"`\g<0>`", line) if title == "fails without" else line


# -- the page --------------------------------------------------------------------------------------------------


def page(figures: Sequence[Built], features: Any, seed: int, tables: Sequence[BuiltTable] = ()) -> str:
    """The HTML page.

    Args:
        figures: to embed, each with its SVG.
        features, seed: what the verdicts are measured on; see `crossmodal.paper.verdicts`.
        tables: to print after the figures.

    Raises:
        InputError: an optional package is not installed.
    """
    return fill("page.html.j2", figures, features, seed, tables)


def fill(template: str, figures: Sequence[Built], features: Any, seed: int, tables: Sequence[BuiltTable]) -> str:
    found = entries(features, seed)
    engine = environment(html_page=template.endswith(".html.j2"))
    text = engine.get_template(template).render(
        title=TITLE, subtitle=SUBTITLE, introduction=INTRODUCTION, notation=NOTATION, entries=found, figures=figures, tables=tables, counts=counts(found),
        origin=provenance([e.claim.id for e in found], features, seed), version=__version__,
    )  # fmt: skip
    return str(text)


def counts(found: Sequence[Entry]) -> dict[str, int]:
    return {v: sum(e.row.verdict == v for e in found) for v in ("PROVED", "REFUTED", "UNDECIDED")}


def environment(*, html_page: bool) -> Any:
    """The template engine; on the page everything is escaped, in LaTeX the filter `tex` does it."""
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError:
        raise not_installed("jinja2", "paper") from None
    loader = jinja2.FileSystemLoader(TEMPLATES)
    strict = jinja2.StrictUndefined
    shared = {
        "recursions_of": recursions_of,
        "relations_of": relations_of,
        "shortened": shortened,
        "symbols_of": symbols_of,
    }
    if html_page:
        out = jinja2.Environment(loader=loader, autoescape=True, undefined=strict, trim_blocks=True, lstrip_blocks=True)
        page_filters: dict[str, Callable[[Any], Any]] = {
            "alt": alt,
            "block": lambda latex: Markup(to_mathml(latex, display=True)),
            "inline": lambda latex: Markup(to_mathml(latex)),
            "caption": lambda built: Markup(caption_html(built)),
            "image": image,
            "linked": lambda text: Markup(linked(html.escape(text, quote=False))),
            "prose": lambda text: Markup(linked(prose(text))),
        }
        out.filters |= page_filters
        out.globals |= shared
        return out
    out = jinja2.Environment(
        loader=loader, undefined=strict, trim_blocks=True, lstrip_blocks=True, block_start_string="<%", block_end_string="%>",
        variable_start_string="<<", variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
    )  # fmt: skip
    out.globals |= shared
    filters: dict[str, Callable[[Any], Any]] = {
        "tex": tex,
        "caption": lambda built: tex(built.caption, formulas=True),
        "prose": prose_tex,
        "readable": readable,
        "widths": widths,
    }
    out.filters |= filters
    return out


def image(built: Built) -> str:
    """A figure as a URI that holds the whole picture."""
    return "data:image/svg+xml;base64," + base64.b64encode(built.images["svg"]).decode()


def linked(text: str) -> str:
    """HTML with the id of every claim in it, outside of tags, as a link to the claim."""
    ids = "|".join(re.escape(c) for c in sorted(verdicts.claims(), key=len, reverse=True))
    return re.sub(
        rf"(?<![\w.<])({ids})(?![\w]|\.\d)", lambda m: f'<a href="#{m[1].replace(".", "-")}">{m[1]}</a>', text
    )


def alt(caption: str) -> str:
    """What a figure shows, for those who do not see it: the caption's first sentence, its formulas in plain characters."""
    return re.sub(r"[${}\\]", "", re.split(r"\.(?=\s)", caption)[0]).strip()


def caption_html(built: Built | BuiltTable) -> str:
    """A caption with formulas as MathML and every quoted number marked with its origin."""
    values: Mapping[str, Any] = built.data.values
    origin = html.escape(f"{built.name}: {built.data.provenance.line()}", quote=True)
    parts = []
    for piece in re.split(r"(\$[^$]*\$|\{[^}]*\})", built.template):
        if piece.startswith("$"):
            parts.append(to_mathml(piece[1:-1]))
        elif piece.startswith("{"):
            ((name, _),) = quoted(piece)
            text = html.escape(piece.format(**values))
            parts.append(f'<data value="{html.escape(name, quote=True)}" title="{name} of {origin}">{text}</data>')
        else:
            parts.append(linked(html.escape(piece)))
    return "".join(parts)


# -- LaTeX -----------------------------------------------------------------------------------------------------

PAGE, COLUMN = 125, 1.6  # characters of \\scriptsize on a line, and those that the space between two columns takes


def widths(table: BuiltTable) -> str:
    """Columns of a table for LaTeX as shares of the page: room for the longest word of each, the rest by the longest cells."""
    columns = list(zip(table.columns, *table.printed, strict=True))
    words = [max(len(w) for text in column for w in text.split() or [""]) + 0.7 for column in columns]
    more = [max(map(len, column[1:])) - word for column, word in zip(columns, words, strict=True)]
    more = [max(0.0, m) for m in more]
    spare = max(0.0, PAGE - COLUMN * len(columns) - sum(words))
    shares = [COLUMN + w + spare * m / (sum(more) or 1) for w, m in zip(words, more, strict=True)]
    return "".join(rf"L{{{s / sum(shares):.4f}}}" for s in shares)


def paper_tex(figures: Sequence[Built], features: Any, seed: int, tables: Sequence[BuiltTable] = ()) -> str:
    """The LaTeX source, arguments as of `page`; it includes the figures' PDF files from its own folder."""
    return fill("paper.tex.j2", figures, features, seed, tables)


def typeset(source: Path) -> tuple[Path | None, str]:
    """PDF of a LaTeX file by latexmk, tectonic or pdflatex, whichever is found first: (path, "") or (None, why not).

    The date inside is fixed, so that the same source gives the same bytes.
    """
    options = ["-interaction=nonstopmode", "-halt-on-error"]
    # pdflatex alone runs until the numbers of pages stand: references, the widths of tables, the last page.
    engines = {
        "latexmk": (["-pdf", *options, "-quiet"], 1),
        "tectonic": (["--chatter", "minimal"], 1),
        "pdflatex": (options, 4),
    }
    engine = next(filter(shutil.which, engines), None)
    if engine is None:
        return None, f"no PDF of the document: install latexmk, tectonic or pdflatex, then run it on {source}"
    arguments, runs = engines[engine]
    clock = {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
    for _ in range(runs):
        done = subprocess.run(
            [engine, *arguments, source.name], cwd=source.parent, env={**os.environ, **clock}, capture_output=True
        )
        if done.returncode != 0:
            why = source.with_suffix(".log").name
            return None, f"no PDF of the document: {engine} failed on {source}; {why} says why"
    for suffix in (".aux", ".fdb_latexmk", ".fls", ".log", ".out", ".toc"):
        source.with_suffix(suffix).unlink(missing_ok=True)
    return source.with_suffix(".pdf"), ""
