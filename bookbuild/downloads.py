"""What a reader can take away: the folder `downloads` of the built book, and the links to it.

A page has a slot for links. It is filled from the files that are there, after the build and again
after the book was printed: no link is dead, every size is right. A PDF or EPUB of other pages than
today's is removed.
"""

import re
from pathlib import Path
from typing import NamedTuple

from bookbuild import store

FOLDER = "downloads"
BOOK = "book"  # the scope of files that belong to no single chapter
ALL_RESULTS = "all-results.json"
_WRITTEN = "searchindex.js"  # Sphinx writes it whenever a page changed
_SLOT = re.compile(r'(<div class="bn-downloads" data-files="([\w-]+)">).*?(</div>)', re.DOTALL)
_PRINTED = ("pdf", "epub")


class File(NamedTuple):
    """A file to take away and the words that name it."""

    path: Path
    words: str

    @property
    def size(self) -> str:
        """As people read it: 71 kB, 2.3 MB."""
        size = self.path.stat().st_size
        return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"


def executed(slug: str) -> str:
    """The name of a chapter's notebook with outputs."""
    return f"{slug}-executed.ipynb"


def stripped(slug: str) -> str:
    """The name of a chapter's notebook without outputs."""
    return f"{slug}.ipynb"


def results(slug: str) -> str:
    """The name of a chapter's recorded values and verdicts."""
    return f"{slug}.json"


def slot(scope: str) -> str:
    """Where links will stand: to the files of a chapter by its slug, or to those of `BOOK`."""
    return f'<div class="bn-downloads" data-files="{scope}"></div>'


def fill(html: Path) -> None:
    """Put links into the slots of every page."""
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        up = "../" * (len(page.relative_to(html).parts) - 1)
        filled = _SLOT.sub(lambda m: f"{m[1]}{_links(html, m[2], up)}{m[3]}", text)  # noqa: B023
        if filled != text:
            store.write_atomically(page, filled)


def written(html: Path) -> float:
    """When the pages were last written, in seconds since 1970."""
    return (html / _WRITTEN).stat().st_mtime


def drop_outdated(html: Path) -> None:
    """Remove a book that was printed before its pages were written."""
    for kind in _PRINTED:
        for path in (html / FOLDER).glob(f"*.{kind}"):
            if path.stat().st_mtime < written(html):
                path.unlink()


def _files(html: Path, scope: str) -> list[File]:
    folder = html / FOLDER
    if scope != BOOK:
        return [
            File(folder / executed(scope), "executed notebook"),
            File(folder / stripped(scope), "notebook without outputs"),
            File(folder / results(scope), "results as JSON"),
        ]
    printed = [
        File(path, f"the book as {kind.upper()}")
        for kind in _PRINTED
        for path in sorted(folder.glob(f"*.{kind}"))
    ]
    return [*printed, File(folder / ALL_RESULTS, "the results of all chapters as JSON")]


def _links(html: Path, scope: str, up: str) -> str:
    links = [
        f'<a href="{up}{FOLDER}/{file.path.name}" download>{file.words} ({file.size})</a>'
        for file in _files(html, scope)
    ]
    what = "Download" if scope == BOOK else "Download this chapter"
    return f"<p>{what}: {', '.join(links)}.</p>"
