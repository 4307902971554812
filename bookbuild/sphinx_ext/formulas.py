"""Formulas as drawings in the page, with MathML beside them for those who listen.

A page holds the outline of each glyph once; the drawings refer to it.
"""

import html
import re
from functools import cache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

from bookbuild.sphinx_ext.mathjax import Formula, Typesetter

RENDERER = "drawn"
logger = logging.getLogger(__name__)
_NARROW = 26  # ex: what fits a line of the smallest phone
_SCROLLS = " pst-scrollable-table-container"  # the theme's script makes it a stop of the tab key
_USED = re.compile(r'xlink:href="#(MJX-[^"]+)"')


def setup(app: Sphinx) -> None:
    """Register the renderer and the macros that a book may define."""
    app.add_config_value("book_macros", {}, "env")
    app.add_html_math_renderer(RENDERER, (visit_inline, None), (visit_display, None))
    app.connect("config-inited", _choose)
    app.connect("html-page-context", add_glyphs, priority=850)


def visit_inline(self: Any, node: nodes.math) -> None:
    """A formula in a line of text."""
    found = _typeset(self.builder.app, node, node.astext(), display=False)
    wide = f" math-wide{_SCROLLS}" if found and _width(found) > _NARROW else ""
    more = {"CLASS": f"math notranslate nohighlight{wide}", "data-tex": node.astext()}
    self.body.append(self.starttag(node, "span", "", **more))
    # The head of a column needs a name, and MathML gives none.
    plain = words(self.builder.app, node) if _inside(node, nodes.thead) else ""
    self.body.append(f"{_markup(found, plain)}</span>")
    raise nodes.SkipNode


def visit_display(self: Any, node: nodes.math_block) -> None:
    """A formula of its own, with its number and link if it has a label."""
    found = _typeset(self.builder.app, node, _source(node), display=True)
    least = {"style": f"--least: {found.least}"} if found and found.least else {}
    kind = f"math notranslate nohighlight{' math-full' if least else ''}{_SCROLLS}"
    more = {"CLASS": kind, "data-tex": _source(node), **least}
    self.body.append(self.starttag(node, "div", "", **more))
    if node.get("number"):
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(f"{_markup(found)}</div>\n")
    raise nodes.SkipNode


def add_glyphs(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Put the outlines that a page's formulas use at the end of its body.

    The lists of contents repeat formulas of headings, of this page and of others.
    """
    titles = " ".join(
        _markup(_typeset(app, node, node.astext(), display=False))
        for title in app.env.titles.values()
        for node in title.findall(nodes.math)
    )
    used = set(_USED.findall(f"{context.get('body', '')} {context.get('toc', '')} {titles}"))
    if not used:
        return
    glyphs = _setter(app).glyphs
    paths = "".join(f'<path id="{name}" d="{glyphs[name]}"/>' for name in sorted(used))
    context["body"] += (
        '<svg class="math-glyphs" aria-hidden="true" width="0" height="0" '
        f'xmlns="http://www.w3.org/2000/svg"><defs>{paths}</defs></svg>\n'
    )


def words(app: Sphinx, node: nodes.math) -> str:
    """The signs of a formula without their arrangement, as far as plain text can show them."""
    found = _typeset(app, node, node.astext(), display=False)
    return html.unescape(re.sub(r"<[^>]+>", "", found.mathml)) if found else node.astext()


def _choose(app: Sphinx, config: Config) -> None:
    config["html_math_renderer"] = RENDERER


@cache
def _setter(app: Sphinx) -> Typesetter:
    return Typesetter(app.config.book_macros)


def _typeset(app: Sphinx, node: nodes.Node, source: str, *, display: bool) -> Formula | None:
    try:
        return _setter(app).formula(source, display=display)
    except ValueError as error:
        logger.warning("formula %s", error, location=node)
        return None


def _markup(found: Formula | None, plain: str = "") -> str:
    if not found:
        return ""
    return f'{found.svg}<span class="math-text">{html.escape(plain) or found.mathml}</span>'


def _width(found: Formula) -> float:
    width = re.search(r' width="([\d.]+)ex"', found.svg)
    return float(width[1]) if width else 0.0


def _inside(node: nodes.Node | None, kind: type) -> bool:
    return node is not None and (isinstance(node, kind) or _inside(node.parent, kind))


def _source(node: nodes.math_block) -> str:
    """The TeX of a display; several lines are split, as Sphinx has it."""
    text = node.astext()
    whole = node.get("nowrap") or "amsmath" in node.get("classes", [])
    return text if whole or r"\\" not in text else rf"\begin{{split}}{text}\end{{split}}"
