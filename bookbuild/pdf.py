"""The book as one PDF: title, contents, parts and chapters, printed by Chromium."""

import html as markup
import io
import json
import logging
import re
from typing import Any

from bookbuild.pages import Document, Page, tidy
from bookbuild.press import typeset

_FEW = 700  # characters: the next chapter begins on a page that has fewer
logging.getLogger("pypdf").setLevel(logging.ERROR)  # it counts objects otherwise than Chromium
_PAGE = """<!DOCTYPE html>
<html lang="{language}" data-theme="light"><head><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="/_static/pygments.css">
<link rel="stylesheet" href="/bookbuild/print.css">
<script>window.MathJax = {mathjax}</script><script src="/mathjax/tex-chtml.js"></script>
<script src="/bookbuild/print.js"></script>
</head><body>
<header><p class="book-title">{title}</p><p class="book-author">{author}</p></header>
<nav><p class="book-contents">Contents</p>{contents}</nav>
<main>{chapters}</main></body></html>
"""


def document(book: Document) -> str:
    """The whole book as one HTML page; formulas are still TeX and numbered."""
    for number, formula in enumerate(book.formulas()):
        formula.place["data-formula"] = str(number)
    mathjax = {
        "tex": {"macros": book.macros},
        "options": {"enableAssistiveMml": False, "enableMenu": False},
        "chtml": {"fontURL": "/mathjax/output/chtml/fonts/woff-v2", "matchFontHeight": False},
        "startup": {"typeset": False},
    }
    return _PAGE.format(
        language=book.language,
        title=markup.escape(book.title),
        author=markup.escape(book.author),
        mathjax=json.dumps(mathjax),
        contents=_contents(book.pages),
        chapters="".join(map(_chapter, book.pages)),
    )


def print_book(book: Document, page: Any) -> bytes:
    """Print the document that a page of Chromium shows, with bookmarks and tags.

    A chapter begins on a new page, unless the one before it ends with a few lines on a page of its
    own: that page would be nearly empty.
    """
    typeset(page, book.formulas())
    page.evaluate("() => press.fit()")
    running: set[str] = set()
    while True:
        printed = page.pdf(prefer_css_page_size=True, outline=True, tagged=True)
        short = _after_few_words(printed, book) - running
        if not short:
            return _finish(printed, book)
        page.evaluate("names => press.runOn(names)", sorted(short))
        running |= short


def _after_few_words(printed: bytes, book: Document) -> set[str]:
    """The chapters before which a page has a few words only."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(printed))
    starts = {page.name: reader.named_destinations[f"/{page.name}"] for page in book.pages[1:]}
    last = {n: (reader.get_destination_page_number(at) or 0) - 1 for n, at in starts.items()}
    return {name for name, at in last.items() if len(reader.pages[at].extract_text()) < _FEW}


def _flat(outline: list[Any]) -> list[Any]:
    parts = (_flat(entry) if isinstance(entry, list) else [entry] for entry in outline)
    return [item for part in parts for item in part]


def _finish(printed: bytes, book: Document) -> bytes:
    """Say who wrote it and open with the bookmarks; no dates, so that equal books are equal."""
    from pypdf import PdfWriter
    from pypdf.generic import NameObject, TextStringObject

    writer = PdfWriter(clone_from=io.BytesIO(printed))
    writer.metadata = {"/Title": book.title, "/Author": book.author, "/Creator": "bnlib"}
    writer.pdf_header = "%PDF-1.4"  # what Chromium writes; tags came with it
    writer.page_mode = "/UseOutlines"
    writer.create_viewer_preferences().display_doctitle = True
    titles = {_squeezed(text): text for page in book.pages for text in _headings(page)}
    for item in _flat(writer.outline):
        # Chromium loses the space where a heading breaks into lines.
        whole = titles.get(_squeezed(item.title), item.title)
        item.node[NameObject("/Title")] = TextStringObject(whole)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _headings(page: Page) -> list[str]:
    return [page.part, *(tidy(h.get_text()) for h in page.article.find_all(re.compile("^h[1-6]$")))]


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _chapter(page: Page) -> str:
    part = f'<h1 class="part">{markup.escape(page.part)}</h1>' if page.part else ""
    return f'<article id="{page.name}">{part}{page.article.decode_contents()}</article>'


def _contents(pages: list[Page]) -> str:
    rows = []
    for page in pages:
        if page.part:
            rows.append(f'<p class="book-part">{markup.escape(page.part)}</p>')
        rows.append(f'<p><a href="#{page.name}">{markup.escape(page.title)}</a></p>')
    return "".join(rows)
