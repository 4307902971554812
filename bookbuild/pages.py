"""The built pages as one document: articles in the order of the book, every link inside it.

The PDF and the EPUB are made of this. A page's ids get the page's name as a prefix, so that they
stay unique; links between pages become links between ids; what only works on a screen (buttons,
scripts, folded boxes, hidden code) is taken out or opened.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

_GONE = (
    ".headerlink, script, style, link, button, template, nav, .bn-downloads, .toctree-wrapper, "
    ".math-glyphs, "
    ".tag_hide-input > .cell_input, .tag_hide-cell > .cell_input, details.hide:has(.cell_input)"
)
_NOT_PRINTED = {"border", "valign", "halign", "loading", "aria-labelledby", "aria-describedby"}
_NO_NAME = re.compile(r"[^\w.-]")
_CUSTOM = re.compile(r"^[a-z]+-")


class Page(NamedTuple):
    """One page. part: the caption of the part that it opens, or nothing."""

    docname: str
    part: str
    article: Tag

    @property
    def name(self) -> str:
        """A name for ids and files."""
        return name_of(self.docname)

    @property
    def title(self) -> str:
        """The text of its first heading."""
        heading = self.article.find(["h1", "h2"])
        return tidy(heading.get_text()) if heading else self.docname


class Formula(NamedTuple):
    """A formula as TeX, in the order of the book; `place` is its element."""

    place: Tag
    tex: str
    display: bool


class Document(NamedTuple):
    """The pages, with the title, author and language that `_config.yml` gives the book."""

    title: str
    author: str
    language: str
    macros: dict[str, Any]
    pages: list[Page]

    def formulas(self) -> list[Formula]:
        """All formulas; what the page shows for one may be typeset, its TeX stands beside it."""
        places = [place for page in self.pages for place in page.article.select(".math[data-tex]")]
        return [Formula(place, str(place["data-tex"]), place.name == "div") for place in places]


def collect(root: Path, html: Path) -> Document:
    """Read the built pages of a book. Raises ValueError for a page that is not built."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    order = list(contents(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))))
    names = [docname for docname, _ in order]
    pages = [Page(docname, part, _article(html, docname)) for docname, part in order]
    ids = {page.docname: _unique_ids(page) for page in pages}
    for page in pages:
        _link(page, ids)
        _shift_headings(page, 0 if page.docname == names[0] else 1)
    sphinx = config.get("sphinx", {}).get("config", {})
    macros = sphinx.get("book_macros", {})
    language = sphinx.get("language", "en")
    return Document(config["title"], config["author"], language, macros, pages)


def contents(toc: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every page of `_toc.yml` with the caption of the part that begins with it, or nothing."""
    yield toc["root"], ""
    for part in toc["parts"]:
        caption = part["caption"]
        for chapter in part["chapters"]:
            yield chapter["file"], caption
            caption = ""


def tidy(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def name_of(docname: str) -> str:
    """`notebooks/chains` as a name for ids and files."""
    return docname.replace("/", "-")


def _article(html: Path, docname: str) -> Tag:
    path = html / f"{docname}.html"
    if not path.is_file():
        raise ValueError(f"expected the built page {path}, found none: run `make book` first")
    article = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").select_one("article")
    if article is None:
        raise ValueError(f"{path}: expected an <article>, found none")
    _clean(article)
    for picture in article.select("img[src]"):
        picture["src"] = posixpath.normpath(
            posixpath.join(posixpath.dirname(docname), str(picture["src"]))
        )
    return article


def _clean(article: Tag) -> None:
    for element in article.select(_GONE):
        if not element.decomposed:
            element.decompose()
    for element in article.select("details"):
        element.name = "div"
    for element in article.select("summary"):
        if element.find(["h2", "h3", "h4"]):
            element.unwrap()
        else:
            element.name = "p"
    for element in article.find_all(_CUSTOM):  # a widget: its static picture stays
        element.name = "div"
    for code in article.select("pre, .sig"):  # colors mean nothing on paper, and weigh megabytes
        for element in code.select(":not([id], .sig-name)"):
            element.unwrap()
        code.smooth()
    for cell in article.select(".cell"):
        if not cell.decomposed and not cell.get_text(strip=True) and not cell.find("img"):
            cell.decompose()
    for element in article.find_all(True):
        for name in _NOT_PRINTED & element.attrs.keys():
            del element[name]


def _unique_ids(page: Page) -> set[str]:
    """Prefix the ids of a page; of two equal ones the second goes. Returns the new ids."""
    seen: set[str] = set()
    for element in page.article.select("[id]"):
        new = _id(page.docname, str(element["id"]))
        if new in seen:
            del element["id"]
        else:
            element["id"] = new
            seen.add(new)
    return seen


def _id(docname: str, anchor: str) -> str:
    return f"{name_of(docname)}--{_NO_NAME.sub('-', anchor)}"


def _link(page: Page, ids: dict[str, set[str]]) -> None:
    """Point links into the document; one that leads to no page of it becomes plain text."""
    for link in page.article.select("a"):
        parts = urlsplit(str(link.get("href", "")))
        if parts.scheme or parts.netloc:
            continue
        target = _target(page.docname, unquote(parts.path))
        anchor = _id(target, unquote(parts.fragment)) if parts.fragment else name_of(target)
        if target in ids and (anchor in ids[target] or not parts.fragment) and link.get("href"):
            link["href"] = f"#{anchor}"
        else:
            link.unwrap()


def _target(docname: str, path: str) -> str:
    if not path:
        return docname
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(docname), path))
    return whole.removesuffix(".html")


def _shift_headings(page: Page, by: int) -> None:
    for heading in page.article.find_all(re.compile("^h[1-6]$")):
        heading.name = f"h{min(6, int(heading.name[1]) + by)}"
