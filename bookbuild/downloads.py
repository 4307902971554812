"""What a reader can take away: the folder `downloads` of the built book, and the links to it."""

import re
from pathlib import Path

from bookbuild import store

FOLDER = "downloads"
ALL_RESULTS = "all-results.json"
SLOT = '<div class="bn-downloads" data-scope="book"></div>'  # of the links to the whole book
_SLOT = re.compile(f"({SLOT.removesuffix('</div>')}).*?(</div>)", re.DOTALL)


def size(path: Path) -> str:
    """As people read it: 71 kB, 2.3 MB."""
    count = path.stat().st_size
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"


def links(html: Path, files: dict[str, str], *, up: str) -> str:
    """A paragraph of links to files of the folder, given as name: words. up: the way to `html`."""
    found = [
        f'<a href="{up}{FOLDER}/{name}" download>{words} ({size(html / FOLDER / name)})</a>'
        for name, words in files.items()
    ]
    return f"<p>Download: {', '.join(found)}.</p>"


def printed(html: Path) -> list[Path]:
    """The book as PDF and as EPUB, as far as it was printed."""
    return [path for kind in ("pdf", "epub") for path in (html / FOLDER).glob(f"*.{kind}")]


def link_book(html: Path) -> None:
    """Link the files of the whole book where a page has a slot: no link is dead."""
    files = {path.name: f"the book as {path.suffix[1:].upper()}" for path in printed(html)}
    files[ALL_RESULTS] = "the results of all chapters as JSON"
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        up = "../" * (len(page.relative_to(html).parts) - 1)
        filled = _SLOT.sub(rf"\g<1>{links(html, files, up=up)}\g<2>", text)
        if filled != text:
            store.write_atomically(page, filled)
