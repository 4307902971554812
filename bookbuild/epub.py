"""The book as EPUB 3: one XHTML file a page, formulas as MathML, no script.

The container is written by hand, in a few files: a mimetype, a package that lists every file, and
a table of contents. An unchanged book gives the same bytes.
"""

import html as markup
import io
import mimetypes
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from bookbuild.pages import Document, Page

_STYLE = "epub.css"
_OLDEST = (1980, 1, 1, 0, 0, 0)  # of a ZIP file; no member carries a time of its own
_CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="book/package.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>
"""
_XHTML = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" \
lang="{language}" xml:lang="{language}">
<head><meta charset="utf-8"/><title>{title}</title>
<link rel="stylesheet" type="text/css" href="{style}"/></head>
<body id="{name}">{body}</body></html>
"""
_PACKAGE = """<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" \
xml:lang="{language}">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:uuid:{identifier}</dc:identifier>
<dc:title>{title}</dc:title><dc:creator>{author}</dc:creator><dc:language>{language}</dc:language>
<meta property="dcterms:modified">{modified}</meta>
<meta property="schema:accessMode">textual</meta><meta property="schema:accessMode">visual</meta>
<meta property="schema:accessModeSufficient">textual</meta>
<meta property="schema:accessibilityFeature">alternativeText</meta>
<meta property="schema:accessibilityFeature">MathML</meta>
<meta property="schema:accessibilityFeature">tableOfContents</meta>
<meta property="schema:accessibilityHazard">none</meta>
</metadata>
<manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
{items}
</manifest>
<spine><itemref idref="nav"/>{spine}</spine></package>
"""
_LINK = re.compile(r'href="#(([\w.-]+?)(?:--[\w.-]+)?)"')
_FORMULA = re.compile("\ue000([0-9]+)\ue001")  # private use: in no text


def bind(book: Document, mathml: list[str], html: Path, modified: float) -> bytes:
    """The file. mathml: the book's formulas in order; html: where its pictures are."""
    formulas = book.formulas()
    signs = [_compact(sign, f.tex) for sign, f in zip(mathml, formulas, strict=True)]
    for number, formula in enumerate(formulas):
        formula.place.string = f"\ue000{number}\ue001"
        formula.place.attrs.pop("data-formula", None)
    pictures = sorted({str(i["src"]) for p in book.pages for i in p.article.select("img[src]")})
    members = {f"{page.name}.xhtml": _page(book, page, signs) for page in book.pages}
    members["nav.xhtml"] = _nav(book)
    members["package.opf"] = _package(book, members, pictures, modified)
    members[_STYLE] = Path(__file__).with_name(_STYLE).read_text(encoding="utf-8")
    content = {f"book/{name}": text.encode() for name, text in members.items()}
    return _zip(content | {f"book/{name}": (html / name).read_bytes() for name in pictures})


def _compact(mathml: str, tex: str) -> str:
    """Without what only MathJax reads and without line breaks; the TeX as text alternative."""
    short = re.sub(r"\s*\n\s*", "", re.sub(r' data-mjx-[\w-]+="[^"]*"', "", mathml))
    return short.replace("<math ", f'<math alttext="{markup.escape(" ".join(tex.split()))}" ', 1)


def _page(book: Document, page: Page, signs: list[str]) -> str:
    body = page.article.decode_contents()
    body = _LINK.sub(r'href="\2.xhtml#\1"', body)
    body = _FORMULA.sub(lambda match: signs[int(match[1])], body)
    return _xhtml(book, page.title, page.name, f"<section>{body}</section>")


def _xhtml(book: Document, title: str, name: str, body: str) -> str:
    title = markup.escape(title)
    return _XHTML.format(language=book.language, title=title, name=name, body=body, style=_STYLE)


def _nav(book: Document) -> str:
    """Title, author and contents: parts, and under each its pages."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for page in book.pages:
        if page.part:
            parts.append((markup.escape(page.part), []))
        link = f'<li><a href="{page.name}.xhtml">{markup.escape(page.title)}</a></li>'
        parts[-1][1].append(link)
    rows = [
        f"<li><span>{caption}</span><ol>{''.join(links)}</ol></li>" if caption else "".join(links)
        for caption, links in parts
    ]
    head = f"<h1>{markup.escape(book.title)}</h1><p>{markup.escape(book.author)}</p>"
    listed = f'<nav epub:type="toc" id="toc"><h2>Contents</h2><ol>{"".join(rows)}</ol></nav>'
    return _xhtml(book, book.title, "contents", head + listed)


def _package(book: Document, members: dict[str, str], pictures: list[str], modified: float) -> str:
    items = [f'<item id="style" href="{_STYLE}" media-type="text/css"/>']
    for page in book.pages:
        mathml = ' properties="mathml"' if "<math " in members[f"{page.name}.xhtml"] else ""
        kind = f'media-type="application/xhtml+xml"{mathml}'
        items.append(f'<item id="{page.name}" href="{page.name}.xhtml" {kind}/>')
    for number, name in enumerate(pictures):
        kind = f'media-type="{mimetypes.guess_type(name)[0]}"'
        items.append(f'<item id="picture-{number}" href="{name}" {kind}/>')
    return _PACKAGE.format(
        language=book.language,
        identifier=uuid5(NAMESPACE_URL, book.title),
        title=markup.escape(book.title),
        author=markup.escape(book.author),
        modified=datetime.fromtimestamp(modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        items="\n".join(items),
        spine="".join(f'<itemref idref="{page.name}"/>' for page in book.pages),
    )


def _zip(content: dict[str, bytes]) -> bytes:
    """The container: the mimetype first and not compressed, so that it stands at a known place."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(zipfile.ZipInfo("mimetype", _OLDEST), b"application/epub+zip")
        for name, data in {"META-INF/container.xml": _CONTAINER.encode(), **content}.items():
            info = zipfile.ZipInfo(name, _OLDEST)
            file.writestr(info, data, compress_type=zipfile.ZIP_DEFLATED)
    return out.getvalue()
