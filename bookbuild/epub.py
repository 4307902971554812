"""The book as EPUB 3: one XHTML file a page, formulas as MathML, no script."""

import html as markup
import mimetypes
import re
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from bs4 import BeautifulSoup
from ebooklib import epub

from bookbuild.pages import Document, Page
from bookbuild.sphinx_ext.mathjax import Typesetter

_STYLE = "epub.css"
_XHTML = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="{language}" xml:lang="{language}">
<head><meta charset="utf-8"/><title>{title}</title>
<link rel="stylesheet" type="text/css" href="{style}"/></head>
<body id="{name}"><section>{body}</section></body></html>
"""
_ACCESS = {
    "accessMode": ("textual", "visual"),
    "accessModeSufficient": ("textual",),
    "accessibilityFeature": ("alternativeText", "MathML", "tableOfContents"),
    "accessibilityHazard": ("none",),
}
_LINK = re.compile(r'href="#(([\w.-]+?)(?:--[\w.-]+)?)"')
_TAG = re.compile(r"\\tag\{([^}]*)\}")  # readers do not know labeled rows: a part of the formula


def bind(book: Document, html: Path, target: Path) -> None:
    """Write the file. html: where the book's pictures are."""
    bound = epub.EpubBook()
    bound.set_identifier(f"urn:uuid:{uuid5(NAMESPACE_URL, book.title)}")
    bound.set_title(book.title)
    bound.set_language(book.language)
    bound.add_author(book.author)
    for name, values in _ACCESS.items():
        for value in values:
            bound.add_metadata(None, "meta", value, {"property": f"schema:{name}"})
    _set_formulas(book)
    chapters = {page.name: _chapter(book, page) for page in book.pages}
    pictures = sorted({str(i["src"]) for p in book.pages for i in p.article.select("img[src]")})
    files = {_STYLE: Path(__file__).with_name(_STYLE), **{name: html / name for name in pictures}}
    for name, path in files.items():
        kind = mimetypes.guess_type(name)[0] or ""
        bound.add_item(epub.EpubItem(None, name, kind, path.read_bytes()))
    for item in (*chapters.values(), epub.EpubNcx(), epub.EpubNav()):
        bound.add_item(item)
    bound.spine = ["nav", *chapters.values()]
    bound.toc = _contents(book, chapters)
    epub.write_epub(target, bound, {"raise_exceptions": True})


def _set_formulas(book: Document) -> None:
    """Put MathML in the place of what the page shows for a formula; its TeX is the alternative."""
    setter = Typesetter(book.macros)
    for place, tex, display in book.formulas():
        text = _TAG.sub(r"\\qquad\\text{(\1)}", tex)
        mathml = BeautifulSoup(setter.formula(text, display=display).mathml, "html.parser")
        for formula in mathml.select("math"):
            formula["alttext"] = " ".join(tex.split())
        place.clear()
        place.append(mathml)


def _chapter(book: Document, page: Page) -> epub.EpubItem:
    """The page as it is: an EpubHtml would parse and indent it."""
    body = _LINK.sub(r'href="\2.xhtml#\1"', page.article.decode_contents())
    title = markup.escape(page.title)
    names = {"language": book.language, "style": _STYLE, "name": page.name}
    text = _XHTML.format(title=title, body=body, **names).encode()
    item = epub.EpubItem(page.name, f"{page.name}.xhtml", "application/xhtml+xml", text)
    if page.article.find("math"):
        vars(item)["properties"] = ["mathml"]  # the writer reads it of any item
    return item


def _contents(book: Document, chapters: dict[str, epub.EpubItem]) -> list:
    """Parts, and under each its pages."""
    contents: list = []
    for page in book.pages:
        link = epub.Link(chapters[page.name].file_name, page.title, page.name)
        if page.part:
            contents.append((epub.Section(page.part), []))
        if contents and isinstance(contents[-1], tuple):
            contents[-1][1].append(link)
        else:
            contents.append(link)
    return contents
