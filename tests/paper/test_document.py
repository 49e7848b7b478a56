"""The document: complete, self-contained, traceable; opened in a real browser where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from crossmodal.paper import build, document, trace, verdicts
from crossmodal.paper.mathml import fact_latex, prose, readable, to_mathml
from crossmodal.paper.results import typed_numbers
from crossmodal.paper.tex import prose_tex
from crossmodal.theory import registry
from crossmodal.theory.errors import InputError

from crossmodal import dashboard

FIGURES = ("t3_4_two_environments", "verdicts")

pytest.importorskip("latex2mathml", reason="the extra `paper` is not installed")


@pytest.fixture(scope="module")
def figures(features: Any) -> list[build.Built]:
    return [build.make(name, features, 0) for name in FIGURES]


@pytest.fixture(scope="module")
def page(figures: list[build.Built], features: Any) -> str:
    return document.page(figures, features, 0)


def without_links(page: str) -> str:
    return re.sub(r"</?a\b[^>]*>", "", page)


def test_claims_that_a_text_names_are_links(page: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "claims", lambda: ("S1", "T3.1", "T3.10"))
        assert document.linked("see T3.10, (T3.1): S1's, not S_1, T3.1.2, XS1 or S2") == (
            'see <a href="#T3-10">T3.10</a>, (<a href="#T3-1">T3.1</a>): <a href="#S1">S1</a>\'s, not S_1, T3.1.2, XS1 or S2'
        )
    figures = page.split('<section id="figures">')[1].split("</section>")[0]
    assert '<a href="#T3-4">T3.4</a>' in figures


def test_only_what_is_proved_is_called_an_identity() -> None:
    """P11 is an equality that is refuted, on the command line and on the page."""
    for claim, word in (("S2", "identity"), ("P11", "see claim")):
        assert {r.op for r in registry.get(claim).statement.relations} == {"=="}
        found = dashboard.check_claim(claim, dashboard.Settings(models=2, mutants=2))
        assert found.identity == (word == "identity")
        assert document.entry(found).tight == word


def test_every_claim_is_stated_in_full(page: str) -> None:
    page = without_links(page)
    for claim in map(registry.get, verdicts.claims()):
        article = page.split(f'<article id="{claim.id.replace(".", "-")}">')[1].split("</article>")[0]
        assert html.escape(claim.title) in article
        assert prose(claim.statement.text) in article
        assert article.count("<math") >= len(claim.statement.relations)
        for assumption in claim.statement.assumptions:
            assert f'<span class="name">{assumption.name}</span>' in article
            assert prose(assumption.text) in article
        for fact in claim.trust:
            assert prose(fact.statement) in article
        assert len(re.findall(r'<span class="rule">', article)) == len(document.proof(claim.id)[0])


def test_the_page_needs_nothing_beside_it(page: str) -> None:
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in page
    assert "@import" not in page
    assert "url(" not in page
    anchors = {link[1:] for link in links if link.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]*)"', page))


def test_no_number_is_typed_in_the_documents_own_text(page: str) -> None:
    assert typed_numbers(document.INTRODUCTION + document.TITLE + document.SUBTITLE) == []
    for template in ("page.html.j2", "paper.tex.j2"):
        source = (document.TEMPLATES / template).read_text(encoding="utf-8")
        source = re.sub(r"<style>.*?</style>|.*\\begin\{document\}", "", source, flags=re.S)  # sizes and colours
        source = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|<<.*?>>|<%.*?%>|<[^>]*>|\\[a-z]+(\[[^\]]*\])?(\{[^}]*\})?", "", source)
        assert not re.search(r"\d", source), template


def test_every_quoted_number_names_its_origin(page: str, figures: list[build.Built]) -> None:
    marked = re.findall(r'<data value="([^"]*)" title="([^"]*)">([^<]*)</data>', page)
    assert len(marked) > 10
    for field, origin, text in marked:
        figure = next(f for f in figures if f" {f.name}: " in origin)
        assert figure.data.provenance.line() in html.unescape(origin)
        assert text in figure.caption
        assert field in figure.data.values


def test_trace_finds_the_origin(tmp_path: Path, figures: list[build.Built], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / trace.FILE).write_text(trace.dumps(figures), encoding="utf-8")
    quoted = f"{figures[0].data['worst']:.6f}"
    (found,) = trace.trace(quoted, tmp_path)
    assert (found["figure"], found["field"], found["sources"]) == ("t3_4_two_environments", "worst", ["T3.4"])
    assert trace.main([quoted, str(tmp_path)]) == 0
    assert "worst of t3_4_two_environments, from T3.4" in capsys.readouterr().out
    assert trace.main(["0.123456", str(tmp_path)]) == 2
    assert trace.main([quoted, str(tmp_path / "nowhere")]) == 2
    assert trace.main([]) == 2
    with pytest.raises(InputError, match="as it is printed"):
        trace.trace("17", tmp_path)


def test_same_bytes(page: str, figures: list[build.Built], features: Any) -> None:
    assert document.page(figures, features, 0) == page
    assert document.paper_tex(figures, features, 0) == document.paper_tex(figures, features, 0)


def test_a_verdict_that_changed_changes_the_page(page: str, figures: list[build.Built], features: Any) -> None:
    """The table is the dashboard's, no copy of it."""
    from dataclasses import replace

    rows = verdicts.rows(features, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "rows", lambda *_: [replace(rows[0], verdict="UNDECIDED"), *rows[1:]])
        changed = document.page(figures, features, 0)
    before, after = (text.count('class="verdict UNDECIDED"') for text in (page, changed))
    assert after > before


def test_latex(figures: list[build.Built], features: Any, tmp_path: Path) -> None:
    source = document.paper_tex(figures, features, 0)
    for claim in map(registry.get, verdicts.claims()):
        assert document.prose_tex(claim.statement.text) in source
        assert all(readable(r.latex) in source for r in claim.statement.relations)
    path = tmp_path / "paper.tex"
    path.write_text(source, encoding="utf-8")
    for figure in figures:
        build.write(figure, tmp_path)
    pdf, note = document.typeset(path)
    if pdf is None and "install latexmk" in note:
        pytest.skip("no LaTeX engine: the PDF is not built")
    assert pdf is not None, note
    assert pdf.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(("engine", "runs"), [("latexmk", 1), ("tectonic", 1), ("pdflatex", 4)])
def test_any_engine_will_do(engine: str, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        calls.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(document.shutil, "which", lambda name: name if name == engine else None)
    monkeypatch.setattr(document.subprocess, "run", run)
    assert document.typeset(tmp_path / "paper.tex") == (tmp_path / "paper.pdf", "")
    assert [c[0] for c in calls] == [engine] * runs
    monkeypatch.setattr(document.subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 1))
    pdf, note = document.typeset(tmp_path / "paper.tex")
    assert pdf is None
    assert f"{engine} failed on {tmp_path / 'paper.tex'}; paper.log says why" in note


def test_without_an_engine_the_note_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document.shutil, "which", lambda _: None)
    pdf, note = document.typeset(tmp_path / "paper.tex")
    assert pdf is None
    assert "latexmk, tectonic or pdflatex" in note


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        ("Con_{IT}^{2}", r"\mathrm{Con}_{\mathrm{IT}}^{2}"),
        (r"\operatorname{tr}\left(A B\right)", r"\operatorname{tr}\left(A B\right)"),
        ("Con_{TT tu}", r"\mathrm{Con}_{\mathrm{TT}\,\mathrm{tu}}"),
        (r"\mu_{T new}", r"\mu_{T\,\mathrm{new}}"),
        ("Con n_{s}", r"\mathrm{Con}\, n_{s}"),
        (r"\eta gram", r"\eta\, \mathrm{gram}"),
        (r"\langle one, won \rangle \le eps", r"\langle \mathrm{one}, \mathrm{won} \rangle \le \mathrm{eps}"),
        (r"P = 0 \text{ at the start}", r"P = 0 \text{ at the start}"),
        (r"A + - \eta B", r"A - \eta B"),
        ("e_{0}", "e_{0}"),
    ],
)
def test_names_of_several_letters(latex: str, expected: str) -> None:
    assert readable(latex) == expected
    assert "merror" not in to_mathml(latex)


def test_facts_of_certificates() -> None:
    assert fact_latex({"words": {"Q1 Q2": "-1", "R'": "1/2"}, "shape": ["d", "d"], "is": "=0"}) == (
        r"\frac{1}{2} R^{T}-Q_{1} Q_{2} = 0"
    )
    assert (
        fact_latex({"words": {"1": "1", "M L": "-1"}, "shape": ["T", "T"], "is": "psd"}) == r"\mathbb{I}-M L \succeq 0"
    )
    assert fact_latex({"poly": {"1": "3", "c_12^2 <u,v>": "-2"}, "is": ">=0"}) == (
        r"3-2 c_{12}^{2} \langle u, v \rangle \ge 0"
    )
    assert fact_latex({"poly": {f"x_{k}": "1" for k in range(99)}, "is": "=0"}) == ""
    assert fact_latex({}) == ""


def test_prose() -> None:
    assert prose("r = -L' (I + L)^{-1} A e_0 <= c^2, |mu^I_t| < 1") == (
        "r = −L' (I + L)<sup>−1</sup> A e<sub>0</sub> ≤ c<sup>2</sup>, |μ<sup>I</sup><sub>t</sub>| &lt; 1"
    )
    assert prose("a <b> & beta") == "a &lt;b&gt; &amp; β"
    assert prose("|Con'_IT|, |L|_F^2, <u - mu, v>") == ("|Con'<sub>IT</sub>|, |L|<sub>F</sub><sup>2</sup>, ⟨u − μ, v⟩")
    assert prose("a >= b != c <=> sqrt(d) -> mu@nu") == "a ≥ b ≠ c ⇔ √(d) → μ⊗ν"
    assert prose("`two_levels` of cross-entropy") == "<code>two_levels</code> of cross-entropy"
    assert prose_tex("-mu^T_t <= 5% of `two_levels`") == (
        r"\ensuremath{-}\ensuremath{\mu}\textsuperscript{T}\textsubscript{t} \ensuremath{\le} 5\% of \texttt{two\_levels}"
    )


def test_the_build_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any, features: Any,
                                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Figures and origins are written, and a note says what to install."""

    def missing(*_: Any) -> str:
        raise InputError("latex2mathml is not installed", fix="pip install 'crossmodal[paper]'")

    monkeypatch.setattr(document, "page", missing)
    paths = build.write_document(figures, features, 0, tmp_path)
    assert [p.name for p in paths] == [trace.FILE]
    assert json.loads(paths[0].read_text(encoding="utf-8"))


BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser(page: str, tmp_path: Path, width: int, scheme: str) -> None:
    """Opened from disk: nothing logged, nothing requested, no sideways scrolling, pictures and formulas drawn."""
    sync = pytest.importorskip("playwright.sync_api", reason="NO BROWSER TEST: pip install playwright")
    if BROWSER is None:
        pytest.skip("NO BROWSER TEST: chromium is not installed")
    path = tmp_path / "index.html"
    path.write_text(page, encoding="utf-8")
    with sync.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, is_mobile=width < 500
        )
        tab = context.new_page()
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: said.append(request.url) if not request.url.startswith("data:") else None)
        tab.goto(path.as_uri())
        assert said == [path.as_uri()]
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert tab.evaluate(
            "[...document.querySelectorAll('#claims math')].some(m => m.getBoundingClientRect().height > 8)"
        )
        ink, ground = tab.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
        bright = {k: sum(map(int, re.findall(r"\d+", v)[:3])) for k, v in (("ink", ink), ("ground", ground))}
        assert (bright["ink"] < bright["ground"]) == (scheme == "light")
        assert abs(bright["ink"] - bright["ground"]) > 450  # of 765
        browser.close()


def test_symbols_stand_under_the_formulas(page: str) -> None:
    page = without_links(page)
    for claim in map(registry.get, verdicts.claims()):
        article = page.split(f'<article id="{claim.id.replace(".", "-")}">')[1].split("</article>")[0]
        shown = article.split('class="where symbols">')[1].split("</p>")[0]
        assert all(prose(meaning) in shown for meaning in claim.statement.symbols.values())
        assert shown.count("<math") == len(claim.statement.symbols)


def test_notation_comes_first(page: str) -> None:
    ours = without_links(page).split('<section id="notation">')[1]
    assert all(prose(text) in ours.split("</section>")[0] for _, text in document.NOTATION)
    assert '<section id="verdicts">' in ours
