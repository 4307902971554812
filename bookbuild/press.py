"""Debian's Chromium as a printing press: a page that shows one document, with formulas set.

MathJax runs in it, the same version that the pages use, so a formula looks as it does on screen.
Its fonts, unlike the drawings that the pages use, leave text in the PDF that can be searched. The
press reads files of this machine and nothing else: every other request is refused.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from bookbuild.pages import Formula

HOST = "http://book.invalid"
_MATHJAX = "sphinx-mathjax-offline"
_WIDTH = 643  # CSS pixels between the margins of print.css: 210 mm - 2 * 20 mm
_ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def press(document: str, html: Path) -> Iterator[Any]:
    """A page of Chromium with a document; its pictures are looked up in the built book.

    Raises ValueError where there is no `chromium`, and for a file that the document lacks.
    """
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        raise ValueError("expected Debian's `chromium` on the path, got none: install it")
    missing: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGS)
        page = browser.new_page(viewport={"width": _WIDTH, "height": 900}, color_scheme="light")
        page.set_default_timeout(0)  # a long book on a busy machine takes minutes
        page.emulate_media(media="print")
        page.route("**/*", lambda route: _serve(route, document, html, missing))
        page.goto(f"{HOST}/", wait_until="load")
        if missing:
            raise ValueError(f"the book to print lacks {', '.join(missing)}: run `make book`")
        yield page
        browser.close()


def _serve(route: Any, document: str, html: Path, missing: list[str]) -> None:
    url = route.request.url
    name = url.removeprefix(f"{HOST}/").partition("?")[0]
    if name == "":
        route.fulfill(body=document, content_type="text/html; charset=utf-8")
    elif url.startswith(HOST) and (path := _find(name, html)):
        route.fulfill(path=path)
    else:
        missing.append(url)
        route.abort()


def _find(name: str, html: Path) -> Path | None:
    """A file of MathJax, a font of Matplotlib (the paper's, whatever this machine has), or ours."""
    import matplotlib

    folders = {
        "mathjax": Path(str(distribution(_MATHJAX).locate_file(f"{_MATHJAX}/static/mathjax"))),
        "fonts": Path(matplotlib.get_data_path()) / "fonts/ttf",
        "bookbuild": Path(__file__).parent,
    }
    first, _, rest = name.partition("/")
    path = folders[first] / rest if first in folders else html / name
    return path if path.is_file() else None


def typeset(page: Any, formulas: list[Formula]) -> None:
    """Set the formulas, whose elements carry their number as `data-formula`."""
    page.evaluate("formulas => press.typeset(formulas)", _numbered(formulas))


def mathml(page: Any, formulas: list[Formula]) -> list[str]:
    """The formulas as MathML; a tag stands in the formula, for want of readers that know it."""
    return page.evaluate("formulas => press.mathml(formulas)", _numbered(formulas))


def _numbered(formulas: list[Formula]) -> list[list[Any]]:
    return [[number, formula.tex, formula.display] for number, formula in enumerate(formulas)]
