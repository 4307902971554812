"""The words of all pages as one script, so that the search has summaries without a server."""

import html
import json
import re
from pathlib import Path

from sphinx.application import Sphinx

_ARTICLE = re.compile(r'<article class="bd-article">(.*?)</article>', re.DOTALL)
_UNREAD = re.compile(r"<(svg|script|style)\b.*?</\1>|<a class=\"headerlink\".*?</a>", re.DOTALL)
_LONGEST = 11_000  # characters of a page: the API pages alone would weigh more than all others


def write_texts(app: Sphinx, error: Exception | None) -> None:
    """Write `searchtexts.js` beside the search index."""
    if error or app.builder.name != "html":
        return
    root = Path(app.outdir)
    pages = {name: root / f"{name}.html" for name in sorted(app.env.found_docs)}
    texts = {name: _words(p.read_text(encoding="utf-8")) for name, p in pages.items() if p.exists()}
    content = f"window.BOOK_TEXTS = {json.dumps(texts, ensure_ascii=False)};\n"
    (root / "searchtexts.js").write_text(content, encoding="utf-8")


def _words(page: str) -> str:
    found = _ARTICLE.search(page)
    bare = re.sub(r"<[^>]+>", "", _UNREAD.sub(" ", found[1] if found else ""))
    return " ".join(html.unescape(bare).split())[:_LONGEST]
