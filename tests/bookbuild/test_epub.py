"""The EPUB: what readers require of it, checked without a reader."""

import re
import zipfile
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup

from bookbuild import epub
from bookbuild.pages import Document, Page

XHTML = "{http://www.w3.org/1999/xhtml}"


def page(docname, part, body):
    article = BeautifulSoup(f"<article>{body}</article>", "html.parser").article
    assert article is not None
    return Page(docname, part, article)


@pytest.fixture
def book(tmp_path):
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images/p.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    home = page("index", "", '<h1>A &amp; B</h1><p><a href="#n-one--spot">there</a><br></p>')
    one = page(
        "n/one",
        "Part",
        '<h2 id="n-one--spot">One</h2><p><span class="math" data-tex="x&lt;y \\tag{7}">?</span>'
        '<a href="#index">home</a> <img src="_images/p.svg" alt="A picture"></p>',
    )
    epub.bind(Document("A & B", "Nobody", "en", {}, [home, one]), tmp_path, tmp_path / "a.epub")
    with zipfile.ZipFile(tmp_path / "a.epub") as file:
        return {name: file.read(name).decode() for name in file.namelist()}


def test_pages_are_well_formed_and_linked_and_a_formula_is_mathml_with_its_tex(book):
    for name in (name for name in book if name.endswith("xhtml")):
        ElementTree.fromstring(book[name])
    assert 'href="n-one.xhtml#n-one--spot"' in book["EPUB/index.xhtml"]
    assert 'href="index.xhtml#index"' in book["EPUB/n-one.xhtml"]
    assert '<body id="index">' in book["EPUB/index.xhtml"]
    assert 'alttext="x&lt;y \\tag{7}"' in book["EPUB/n-one.xhtml"]
    assert "<mi>x</mi>" in book["EPUB/n-one.xhtml"]
    assert "<mtext>(7)</mtext>" in book["EPUB/n-one.xhtml"], "readers know no labeled rows"


def test_the_package_tells_which_pages_have_mathml_and_the_contents_have_the_parts(book):
    package = book["EPUB/content.opf"]
    (one,) = re.findall(r"<item [^>]*n-one.xhtml[^>]*>", package)
    assert 'properties="mathml"' in one
    assert package.count('properties="mathml"') == 1
    nav = ElementTree.fromstring(book["EPUB/nav.xhtml"]).find(f".//{XHTML}nav")
    assert nav is not None
    assert [a.text for a in nav.iter(f"{XHTML}a")] == ["A & B", "One"]
    assert [span.text for span in nav.iter(f"{XHTML}span")] == ["Part"]
