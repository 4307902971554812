"""One style sheet out of those of the theme, the extensions and the book, without unused rules.

The theme brings four hundred kilobytes of rules and an icon font; the pages use a tenth.
"""

import re
from pathlib import Path

import lightningcss
from sphinx.application import Sphinx

SHEET = "all.css"
# Fixed order: later rules win. `*` stands for myst-nb's digest.
PARTS = (
    "basic.css",
    "styles/pydata-sphinx-theme.css",
    "pygments.css",
    "styles/sphinx-book-theme.css",
    "copybutton.css",
    "mystnb.*.css",
    "exercise.css",
    "sphinx-design.min.css",
    "icons.css",
    "book.css",
)
_WORD = re.compile(r"[A-Za-z_][\w-]*")
_NAMES = re.compile(r'(?:class|id)="([^"]*)"')
_SELECTED = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
_FONT = re.compile(r"@font-face\s*{[^}]*}")  # the book's fonts are the reader's
_BY_SCRIPT = {"search", "highlighted", "context"}  # scripts that are not read below set them


def bundle(app: Sphinx, error: Exception | None) -> None:
    """Write the sheet, from what all pages and scripts of the finished book mention."""
    if error or app.builder.name != "html":
        return
    static = Path(app.outdir) / "_static"
    files = [file for part in PARTS for file in sorted(static.glob(part))]
    css = "\n".join(file.read_text(encoding="utf-8") for file in files)
    (static / SHEET).write_text(shrink(css, _used(Path(app.outdir))), encoding="utf-8")


def shrink(css: str, used: set[str]) -> str:
    """The rules that can match: those of whose selectors one names used classes only."""
    unused = set(_SELECTED.findall(css)) - used
    return lightningcss.process_stylesheet(_FONT.sub("", css), unused_symbols=unused)


def _used(root: Path) -> set[str]:
    pages = (file.read_text(encoding="utf-8") for file in root.rglob("*.html"))
    used = {name for page in pages for names in _NAMES.findall(page) for name in names.split()}
    scripts = [*root.glob("_static/*.js"), *root.glob("_static/[sw]*/*.js")]
    skipped = {"fontawesome.js", "searchtools.js", "language_data.js"}
    texts = (file.read_text(encoding="utf-8") for file in scripts if file.name not in skipped)
    return used.union(_BY_SCRIPT, *map(_WORD.findall, texts))
