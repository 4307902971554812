"""Debian's Chromium as a printing press: a page that shows one document.

MathJax runs in it, the same version that the pages use, so a formula looks as it does on screen.
Its fonts, unlike the drawings that the pages use, leave text in the PDF that can be searched. The
press reads files of this machine and nothing else: every other request is refused.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

from bookbuild.sphinx_ext.mathjax import FOLDER as MATHJAX

HOST = "http://book.invalid"
_WIDTH = 643  # CSS pixels between the margins of print.css: 210 mm - 2 * 20 mm
_FOLDERS = {
    "mathjax": MATHJAX,
    "fonts": Path(matplotlib.get_data_path()) / "fonts/ttf",  # whatever this machine has
    "bookbuild": Path(__file__).parent,
}


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
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
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
    first, _, rest = name.partition("/")
    path = _FOLDERS[first] / rest if first in _FOLDERS else html / name
    if name == "":
        route.fulfill(body=document, content_type="text/html; charset=utf-8")
    elif url.startswith(HOST) and path.is_file():
        route.fulfill(path=path)
    else:
        missing.append(url)
        route.abort()
