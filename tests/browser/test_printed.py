"""The book as PDF and as EPUB, looked at page by page: `make downloads` comes first."""

import io
import os
import posixpath
import re
import shutil
import subprocess
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from bs4 import BeautifulSoup
from built import HTML, ROOT
from PIL import Image
from pypdf import PdfReader

from bookbuild import pages, pdf

DPI = 40
MARGIN = 15  # mm: the printed margins are 20 mm wide
RAW_TEX = re.compile(r"\$\$|\\(?:frac|begin|end|left|right|hat|varepsilon|sqrt|tag|\(|\[)")

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def unavailable(reason):
    """Skip, with the reason; where CI is set there is no excuse."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set")
    pytest.skip(reason)


def made(kind):
    found = list((HTML / "downloads").glob(f"*.{kind}"))
    if len(found) != 1:
        unavailable(f"want one {kind}, found {len(found)}: run `make downloads` first")
    return found[0]


@pytest.fixture(scope="module")
def book():
    made("pdf")
    return pages.collect(ROOT, HTML)


@pytest.fixture(scope="module")
def reader():
    return PdfReader(made("pdf"))


@pytest.fixture(scope="module")
def text():
    done = subprocess.run(["pdftotext", made("pdf"), "-"], capture_output=True, check=True)
    return done.stdout.decode()


@pytest.fixture(scope="module")
def ink(tmp_path_factory):
    return dark(made("pdf"), tmp_path_factory.mktemp("pages"))


def dark(printed, folder):
    """Where each printed page is dark: a list of arrays of bool."""
    if shutil.which("pdftoppm") is None:
        unavailable("no `pdftoppm` on the path: install Debian's poppler-utils")
    subprocess.run(["pdftoppm", "-r", str(DPI), "-gray", printed, folder / "page"], check=True)
    return [np.asarray(Image.open(p)) < 200 for p in sorted(folder.glob("*.pgm"))]


@pytest.fixture(scope="module")
def epub():
    with zipfile.ZipFile(made("epub")) as file:
        yield file


def squeezed(words):
    return "".join(words.split())


def bookmarks(outline, level=0):
    for entry in outline:
        if isinstance(entry, list):
            yield from bookmarks(entry, level + 1)
        else:
            yield level, entry


def test_bookmarks_are_the_table_of_contents(book, reader):
    wanted = []
    for page in book.pages:
        wanted += [(0, page.part)] if page.part else []
        wanted += [(0 if page is book.pages[0] else 1, page.title)]
    sections = {tidy.get_text() for tidy in book.pages[0].article.find_all("h2")}
    found = [(level, item.title) for level, item in bookmarks(reader.outline) if level < 2]
    assert [(n, t) for n, t in found if t not in sections] == wanted


def test_bookmarks_lead_forward_through_the_book(reader):
    at = [reader.get_destination_page_number(item) for _, item in bookmarks(reader.outline)]
    assert None not in at
    assert at == sorted(at)
    assert 50 < len(reader.pages) < 600


def test_it_says_title_author_and_language_and_is_tagged(book, reader):
    assert reader.metadata.title == book.title
    assert reader.metadata.author == book.author
    assert reader.root_object["/Lang"] == book.language
    assert reader.root_object["/MarkInfo"]["/Marked"]
    assert "/StructTreeRoot" in reader.root_object


def test_every_internal_link_of_the_pdf_has_its_destination(reader):
    named = reader.named_destinations
    links = [
        annotation.get_object()
        for page in reader.pages
        for annotation in page.get("/Annots", [])
        if annotation.get_object()["/Subtype"] == "/Link"
    ]
    inside = [link for link in links if "/Dest" in link]
    assert len(inside) > 200
    assert [link["/Dest"] for link in inside if str(link["/Dest"]) not in named] == []
    outside = [str(link["/A"]["/URI"]) for link in links if "/A" in link]
    assert [uri for uri in outside if "book.invalid" in uri or uri.startswith("file")] == []


def test_the_text_of_every_chapter_can_be_searched(book, text):
    whole = squeezed(text)
    for page in book.pages:
        assert squeezed(page.title) in whole
        prose = [p for p in page.article.select("section > p") if not p.select_one(".math")]
        assert prose, page.docname
        found = [squeezed(p.get_text()) in whole for p in prose]
        # A paragraph that breaks across pages has a page number in it.
        assert np.mean(found) > 0.8, page.docname
    figures = {int(n) for p in book.pages for n in re.findall(r"Fig\. (\d+)\s", p.article.text)}
    assert figures <= {int(n) for n in re.findall(r"Fig\. (\d+)", text)}
    assert "ε" in text


def test_no_raw_tex_is_printed(book, text):
    code = squeezed("".join(pre.get_text() for p in book.pages for pre in p.article.select("pre")))
    raw = [line for line in text.splitlines() if RAW_TEX.search(line)]
    assert [line for line in raw if squeezed(line) not in code] == []


def beyond_the_margins(ink):
    """The numbers of the pages with ink at their left, right or upper edge."""
    edge = int(MARGIN / 25.4 * DPI)
    edges = [(page[:, :edge], page[:, -edge:], page[:edge]) for page in ink]
    return [n for n, parts in enumerate(edges, start=1) if any(part.any() for part in parts)]


def test_nothing_is_cut_at_the_edge_of_a_page(ink):
    assert beyond_the_margins(ink) == []


SMALL = r"""<h1>Small</h1><table id="wide"><tr>{cells}</tr></table>
<p>Let <span class="math" data-tex="q_7"></span> be.</p>
<img src="_images/p.svg" alt="A wide picture">"""


def small(tmp_path):
    """A document with a table that is much wider than paper."""
    cells = "<td style='white-space:nowrap'>wide cell</td>" * 40
    article = BeautifulSoup(
        f"<article>{SMALL.format(cells=cells)}</article>", "html.parser"
    ).article
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static/pygments.css").write_text("")
    return pages.Document("Small", "Nobody", "en", {}, [pages.Page("small", "", article)])


def test_what_is_wider_than_paper_is_shrunk_and_a_formula_is_text(tmp_path):
    if shutil.which("chromium") is None:
        unavailable("no `chromium` on the path: install Debian's package")
    document = small(tmp_path)
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images/p.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="3000" height="90">'
        '<rect width="3000" height="90"/></svg>'
    )
    printed = pdf.print_book(document, tmp_path)
    text = PdfReader(io.BytesIO(printed)).pages[-1].extract_text()
    assert text.count("wide cell") == 40
    assert "q7" in text
    (tmp_path / "small.pdf").write_bytes(printed)
    assert beyond_the_margins(dark(tmp_path / "small.pdf", tmp_path)) == []


def test_a_missing_picture_is_named_and_nothing_is_printed(tmp_path):
    if shutil.which("chromium") is None:
        unavailable("no `chromium` on the path: install Debian's package")
    document = small(tmp_path)
    with pytest.raises(ValueError, match=r"lacks .*_images/p\.svg"):
        pdf.print_book(document, tmp_path)


def test_every_page_of_the_epub_is_well_formed_without_raw_tex_and_its_links_resolve(epub):
    names = [name for name in epub.namelist() if name.endswith(".xhtml")]
    trees = {name: ElementTree.fromstring(epub.read(name)) for name in names}
    ids = {name: {e.get("id") for e in tree.iter() if e.get("id")} for name, tree in trees.items()}
    broken = []
    for name, tree in trees.items():
        assert not any(e.tag.endswith(("script", "}merror")) for e in tree.iter()), name
        for link in (e.get("href") for e in tree.iter() if e.tag.endswith("}a")):
            path, _, anchor = (link or "").partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            if "://" not in link and (target not in ids or (anchor and anchor not in ids[target])):
                broken.append((name, link))
        for code in [e for e in tree.iter() if e.tag.endswith(("}pre", "}code"))]:
            code.clear()
        assert not RAW_TEX.search("".join(tree.itertext())), name
        for picture in (e for e in tree.iter() if e.tag.endswith("}img")):
            assert len(picture.get("alt", "")) > 20
            assert posixpath.join(posixpath.dirname(name), picture.get("src")) in epub.namelist()
    assert broken == []


def test_the_epub_has_every_page_and_every_formula_of_the_book(book, epub):
    for page in book.pages:
        body = epub.read(f"EPUB/{page.name}.xhtml").decode()
        assert body.count("<math ") == len(page.article.select(".math")), page.docname
        assert page.title.split()[0] in body
