"""The built pages as one document: order, unique ids, links that stay inside, nothing folded."""

import pytest

from bookbuild import pages

CONFIG = """\
title: A & B
author: Nobody
sphinx: {config: {language: en, book_macros: {E: "\\\\operatorname{E}"}}}
"""
TOC = """\
format: jb-book
root: book/index
parts:
  - caption: First
    chapters:
      - file: notebooks/one
      - file: notebooks/two
"""
INDEX = r"""<html><body><nav>Menu</nav><article>
<section id="a-b"><h1>A &amp; B<a class="headerlink" href="#a-b">#</a></h1>
<p>To <a href="../notebooks/one.html">one</a>, its <a href="../notebooks/one.html#x">spot</a>,
<a href="../genindex.html">the index</a>, <a href="#a-b">itself</a>, <a href="https://e.org/">out</a>.</p>
<p>Let <span class="math" data-tex="x &lt; \E y"><svg></svg></span>.</p>
<img src="../_images/p.svg" alt="A picture">
</section></article></body></html>"""
ONE = r"""<article><section id="one"><h1>One,
long</h1><h2 id="x">Spot</h2><span id="x"></span>
<div class="cell tag_hide-input"><details class="hide"><summary>Show code</summary>
<div class="cell_input">SECRET = 1</div></details><div class="cell_output">shown</div></div>
<details><summary>Solution</summary><p>Folded.</p>
<div class="cell"><div class="cell_input">solved = 1</div></div></details>
<bn-widget><p><img src="../_images/w.svg" alt="A static picture"></p><button>Go</button></bn-widget>
<div class="math" data-tex="a = b"><svg></svg></div><svg class="math-glyphs"></svg>
<div class="bn-downloads" >Links</div>
<pre><span class="k">def</span> <span class="n">f</span></pre>
<script>let a;</script></section></article>"""
FILES = {
    "book/index": INDEX,
    "notebooks/one": ONE,
    "notebooks/two": "<article><h1>Two</h1></article>",
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text(TOC)
    for name, text in FILES.items():
        (tmp_path / "html" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "html" / f"{name}.html").write_text(text)
    return tmp_path


@pytest.fixture
def book(root):
    return pages.collect(root, root / "html")


def test_pages_come_in_the_order_of_the_contents_under_their_parts(book):
    assert [(p.docname, p.part, p.title) for p in book.pages] == [
        ("book/index", "", "A & B"),
        ("notebooks/one", "First", "One, long"),
        ("notebooks/two", "", "Two"),
    ]
    assert (book.title, book.author, book.language) == ("A & B", "Nobody", "en")


def test_headings_below_a_part_are_one_level_lower(book):
    assert [h.name for h in book.pages[0].article.find_all(["h1", "h2", "h3"])] == ["h1"]
    assert [h.name for h in book.pages[1].article.find_all(["h1", "h2", "h3"])] == ["h2", "h3"]


def test_ids_are_unique_and_links_stay_inside_the_document(book):
    ids = [e["id"] for page in book.pages for e in page.article.select("[id]")]
    assert ids == ["book-index--a-b", "notebooks-one--one", "notebooks-one--x"]
    links = {a.get_text(): a["href"] for a in book.pages[0].article.select("a")}
    assert links == {
        "one": "#notebooks-one",
        "spot": "#notebooks-one--x",
        "itself": "#book-index--a-b",
        "out": "https://e.org/",
    }
    assert "the index" in book.pages[0].article.get_text()


def test_a_link_to_an_id_that_is_not_there_is_plain_text(root):
    path = root / "html/book/index.html"
    path.write_text(INDEX.replace("one.html#x", "one.html#gone"))
    index = pages.collect(root, root / "html").pages[0].article
    assert "spot" in index.get_text()
    assert "gone" not in str(index)


def test_what_is_for_a_screen_is_taken_out_and_what_was_folded_is_open(book):
    article = book.pages[1].article
    text = article.get_text()
    assert "shown" in text
    assert "Folded." in text
    assert "solved = 1" in text
    for gone in ("SECRET", "Show code", "Links", "Go", "let a"):
        assert gone not in text
    assert not article.find(["details", "summary", "bn-widget", "button", "script"])
    assert [i["src"] for i in article.select("img")] == ["_images/w.svg"]
    assert str(article.pre) == "<pre>def f</pre>"


def test_formulas_are_found_in_order_as_tex_and_the_glyphs_of_a_page_are_left_out(book):
    found = [(formula.tex, formula.display) for formula in book.formulas()]
    assert found == [(r"x < \E y", False), ("a = b", True)]
    assert book.macros == {"E": r"\operatorname{E}"}
    assert not any(page.article.select(".math-glyphs") for page in book.pages)


def test_a_page_that_is_not_built_is_named(root):
    (root / "html/notebooks/two.html").unlink()
    with pytest.raises(ValueError, match=r"two\.html, found none: run `make book` first"):
        pages.collect(root, root / "html")
