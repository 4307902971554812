"""One style sheet out of those of the theme, the extensions and the book, without unused rules.

The theme brings four hundred kilobytes of rules and an icon font; the pages use a tenth.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

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
_CLASS = re.compile(r'class="([^"]*)"')
_GROUP = re.compile(r":(?:not|is|where|has)\((?:[^()]|\([^()]*\))*\)")
_NAME = re.compile(r"\.(-?[A-Za-z_](?:[\w-]|\\.)*)")


def bundle(app: Sphinx, error: Exception | None) -> None:
    """Write the sheet, from what all pages and scripts of the finished book mention."""
    if error or app.builder.name != "html":
        return
    root = Path(app.outdir)
    files = [file for part in PARTS for file in sorted((root / "_static").glob(part))]
    used = _used(root)
    sheets = (shrink(file.read_text(encoding="utf-8"), used) for file in files)
    (root / "_static" / SHEET).write_text("\n".join(sheets), encoding="utf-8")


def shrink(css: str, used: set[str]) -> str:
    """The rules that can match: those of whose selectors one names used classes only."""
    plain = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    return "".join(_kept(plain, used))


def _kept(css: str, used: set[str]) -> Iterator[str]:
    for head, body in _rules(css):
        if body is None:
            yield f"{head};"
        elif head.startswith(("@media", "@supports", "@layer", "@container")):
            inner = "".join(_kept(body, used))
            yield f"{head}{{{inner}}}" if inner else ""
        elif head.startswith("@font-face"):
            continue  # the book's fonts are the reader's; the theme's draw icons
        elif head.startswith("@"):
            yield f"{head}{{{_tight(body)}}}"
        else:
            heads = [h.strip() for h in _split(head) if _matches(h, used)]
            yield f"{','.join(heads)}{{{_tight(body)}}}" if heads else ""


def _rules(css: str) -> Iterator[tuple[str, str | None]]:
    """Head and body of each rule; no body for a statement such as `@import`."""
    at, token = 0, re.compile(r"[{;]")
    while mark := token.search(css, at):
        head = css[at : mark.start()].strip()
        if mark[0] == ";":
            at = mark.end()
            yield head, None
            continue
        at = _closing(css, mark.start())
        yield head, css[mark.end() : at - 1]


def _closing(css: str, opening: int) -> int:
    depth, token = 0, re.compile(r"[{}]|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
    for found in token.finditer(css, opening):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if not depth:
            return found.end()
    start = css[opening : opening + 60]
    raise ValueError(f"expected balanced braces, got {start!r} without an end")


def _split(head: str) -> Iterable[str]:
    """Selectors of a list; commas inside brackets do not separate."""
    return re.findall(r"(?:[^,()\[\]]|\((?:[^()]|\([^()]*\))*\)|\[[^\]]*\])+", head)


def _matches(selector: str, used: set[str]) -> bool:
    return all(name in used for name in _NAME.findall(_GROUP.sub("", selector)))


def _tight(body: str) -> str:
    return re.sub(r"\s*([;{}])\s*", r"\1", " ".join(body.split())).strip("; ")


def _used(root: Path) -> set[str]:
    pages = (file.read_text(encoding="utf-8") for file in root.rglob("*.html"))
    classes = {name for page in pages for found in _CLASS.findall(page) for name in found.split()}
    scripts = [*root.glob("_static/*.js"), *root.glob("_static/[sw]*/*.js")]
    skipped = {"fontawesome.js", "searchtools.js", "language_data.js"}
    texts = (f.read_text(encoding="utf-8") for f in scripts if f.name not in skipped)
    return classes.union(*map(_WORD.findall, texts), {"search", "highlighted", "context"})
