"""The book as one PDF: title, contents, parts and chapters, printed by Chromium."""

import html as markup
import io
import json
import logging
import re
from pathlib import Path
from typing import Any

from bookbuild.pages import Document, Page, tidy
from bookbuild.press import press

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


def print_book(book: Document, html: Path) -> bytes:
    """Print the document with bookmarks and tags. html: where its pictures are.

    Raises ValueError where there is no `chromium`, and for a picture that is not there.
    """
    document, formulas = _document(book), book.formulas()
    with press(document, html) as page:
        texts = [[formula.tex, formula.display] for formula in formulas]
        page.evaluate("formulas => press.typeset(formulas)", texts)
        page.evaluate("() => press.fit()")
        return _finish(page.pdf(prefer_css_page_size=True, outline=True, tagged=True), book)


def _document(book: Document) -> str:
    """The whole book as one HTML page; formulas are still TeX."""
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


def _flat(outline: list[Any]) -> list[Any]:
    parts = (_flat(entry) if isinstance(entry, list) else [entry] for entry in outline)
    return [item for part in parts for item in part]


def _headings(page: Page) -> list[str]:
    return [page.part, *(tidy(h.get_text()) for h in page.article.find_all(re.compile("^h[1-6]$")))]


def _squeezed(text: str) -> str:
    return "".join(text.split())
