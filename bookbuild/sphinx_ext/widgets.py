"""The scripts and the style of the interactive figures, on the pages that hold one and no other.

A page holds a widget as raw HTML, `<bn-identity>` around a static picture. The scripts are classic
and deferred, so that a page works as a file; without scripts the picture stays. Only the builder
of the web pages loads them: print and EPUB keep the picture.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

FOLDER = "widgets"
STYLE = "widgets.css"
SHARED = "core"
NAMES = ("bend", "identity", "area", "chain", "gradient")
_HOLDER = re.compile(r"<bn-([a-z]+)>")


def held(doctree: nodes.document) -> list[str]:
    """The widgets that a page holds, in the order of the page.

    Raises ValueError for a name that has no script, which a reader would see as a plain picture.
    """
    raw = (node.astext() for node in doctree.findall(nodes.raw))
    names = list(dict.fromkeys(name for text in raw for name in _HOLDER.findall(text)))
    for name in names:
        if name not in NAMES:
            raise ValueError(f"expected a widget out of {sorted(NAMES)}, got 'bn-{name}'")
    return names


def load(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Add to one page what its widgets need; connected to `html-page-context`."""
    names = held(doctree) if doctree is not None and app.builder.name == "html" else []
    if not names:
        return
    app.add_css_file(STYLE)
    for script in (SHARED, *names):
        app.add_js_file(f"{FOLDER}/{script}.js", loading_method="defer")
