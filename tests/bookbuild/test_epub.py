"""The EPUB container: what readers require of it, checked without a reader."""

import io
import re
import zipfile
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup

from bookbuild import epub
from bookbuild.pages import Document, Page

XHTML = "{http://www.w3.org/1999/xhtml}"
OPF = "{http://www.idpf.org/2007/opf}"
MATHML = "<math xmlns='http://www.w3.org/1998/Math/MathML'>".replace("'", '"')
SIGN = f'{MATHML}\n  <mi data-mjx-variant="-tex-script">x</mi>\n</math>'


def page(docname, part, body):
    article = BeautifulSoup(f"<article>{body}</article>", "html.parser").article
    assert article is not None
    return Page(docname, part, article)


def document():
    home = page("index", "", '<h1>A &amp; B</h1><p><a href="#n-one--spot">there</a><br></p>')
    one = page(
        "n/one",
        "Part",
        '<h2 id="n-one--spot">One</h2>'
        '<p><span class="math" data-tex="x&lt;&quot;y&quot;">?</span> '
        '<a href="#index">home</a> <img src="_images/p.svg" alt="A picture"></p>',
    )
    return Document("A & B", "Nobody", "en", {}, [home, one])


@pytest.fixture
def html(tmp_path):
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images/p.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    return tmp_path


@pytest.fixture
def book(html):
    return zipfile.ZipFile(io.BytesIO(epub.bind(document(), [SIGN], html, 0.0)))


def test_the_type_comes_first_and_is_not_compressed(book):
    first = book.infolist()[0]
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    assert book.read("mimetype") == b"application/epub+zip"
    assert b'full-path="book/package.opf"' in book.read("META-INF/container.xml")


def test_every_file_is_listed_and_every_listed_file_is_there(book):
    package = ElementTree.fromstring(book.read("book/package.opf"))
    listed = {item.get("href") for item in package.iter(f"{OPF}item")}
    files = {name.removeprefix("book/") for name in book.namelist() if name.startswith("book/")}
    assert listed == files - {"package.opf"}
    ids = {item.get("id") for item in package.iter(f"{OPF}item")}
    assert [i.get("idref") for i in package.iter(f"{OPF}itemref")] == ["nav", "index", "n-one"]
    assert {i.get("idref") for i in package.iter(f"{OPF}itemref")} <= ids


def test_links_between_pages_lead_to_an_id_of_the_right_file(book):
    assert b'href="n-one.xhtml#n-one--spot"' in book.read("book/index.xhtml")
    assert b'href="index.xhtml#index"' in book.read("book/n-one.xhtml")
    assert b'<body id="index">' in book.read("book/index.xhtml")


def test_pages_are_well_formed_and_a_formula_is_mathml_with_its_tex_as_alternative(book):
    for name in (n for n in book.namelist() if n.endswith(".xhtml")):
        ElementTree.fromstring(book.read(name))
    text = book.read("book/n-one.xhtml").decode()
    assert '<math alttext="x&lt;&quot;y&quot;"' in text
    assert "<mi>x</mi>" in text
    assert "\\(" not in text
    package = book.read("book/package.opf").decode()
    assert re.search(r'href="n-one.xhtml"[^>]+properties="mathml"', package)
    assert not re.search(r'href="index.xhtml"[^>]+properties="mathml"', package)


def test_the_contents_have_the_parts_and_their_pages(book):
    nav = ElementTree.fromstring(book.read("book/nav.xhtml")).find(f".//{XHTML}nav")
    assert nav is not None
    assert [a.text for a in nav.iter(f"{XHTML}a")] == ["A & B", "One"]
    assert [span.text for span in nav.iter(f"{XHTML}span")] == ["Part"]


def test_the_same_book_gives_the_same_bytes(html):
    first, second = (epub.bind(document(), [SIGN], html, 0.0) for _ in range(2))
    assert first == second
