"""Repairs of the theme: fewer files, none that blocks a page, none of a third party.

The templates beside this module replace those of the theme that fail an accessibility check.
"""

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ext import add_global_html_resources
from sphinx.application import Sphinx
from sphinx.builders.html._assets import _JavaScript
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.locale import admonitionlabels

from bookbuild.sphinx_ext import styles

TEMPLATES = Path(__file__).with_name("templates")
# Thebe asks a CDN; a folded solution is a `details` element; no page has tabs.
_DROPPED = ("thebe", "togglebutton", "design-tabs")
_CORNER = re.compile(r"<th[^>]*>(?:<p></p>)?</th>")
_INLINE = ("toggle", "DOCUMENTATION_OPTIONS", "thebe")
_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
_MARK = re.compile(r'<span class="(?:n|w|o|p|default_value|sig-paren)">([^<]*)</span>')


# The boxes that the theme's script measures, and a list that names none.
_MEASURES = '["pre",".nboutput > .output_area",".cell_output > .output",'
_CALM = '["bn-none"]||['


# Before anything is laid out: has somebody come for a heading, or come back to where they were?
ARRIVAL = (
    'if(location.hash||performance.getEntriesByType("navigation")[0]?.type!=="navigate")'
    'document.documentElement.dataset.reading=""'
)


class Folded(nodes.General, nodes.Element):
    """What a click on its title opens: `details`, which needs no script."""


def configure(app: Sphinx, config: Config) -> None:
    """Let our templates come first; have a page laid out at once for who jumps into it."""
    config["templates_path"] = [str(TEMPLATES), *config.templates_path]
    app.add_js_file(None, body=ARRIVAL, priority=100)


def copy_files(app: Sphinx) -> None:
    """Copy myst-nb's style sheet into the book before any page is written.

    A page carries checksums of the files that are there when it is written. myst-nb copies its own
    at the end, so that pages of a first and of a second build would differ.
    """
    if app.builder.format == "html":
        (Path(app.outdir) / "_static").mkdir(parents=True, exist_ok=True)
        add_global_html_resources(app, None)


def restyled(app: Sphinx, env: Any, *_: set[str]) -> list[str]:
    """All pages, if a file that they share is another one: each carries its checksum.

    Sphinx looks at pages only, and would publish neither the file nor a page.
    """
    folders = [Path(app.srcdir) / name for name in app.config.html_static_path]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    now = [(str(path), sha256(path.read_bytes()).hexdigest()) for path in files]
    before, env.book_assets = getattr(env, "book_assets", now), now
    return [] if before == now else sorted(env.found_docs)


def calm_script(app: Sphinx, error: Exception | None) -> None:
    """Keep the theme's script from measuring every box of a page at once.

    It does so before the page can be used, for what `book.js` does bit by bit. Raises
    ExtensionError where the script is not the one that this was written for.
    """
    script = Path(app.outdir) / "_static" / "scripts" / "pydata-sphinx-theme.js"
    if error or app.builder.name != "html" or not script.is_file():
        return
    text = script.read_text(encoding="utf-8")
    if _CALM in text:
        return
    if _MEASURES not in text:
        raise ExtensionError(f"{script.name}: expected {_MEASURES!r} in it; is it another version?")
    script.write_text(text.replace(_MEASURES, _CALM), encoding="utf-8")


def trim_files(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave the scripts that a page uses, all deferred, and the sheets that the bundle lacks."""
    scripts = context.get("script_files", [])
    context["script_files"] = [_deferred(script) for script in scripts if not _unused(script)]
    sheets = context.get("css_files", [])
    context["css_files"] = [sheet for sheet in sheets if not _bundled(sheet)]
    if "body" in context:
        context["body"] = _plainer(context["body"])


def drop_thebe_nodes(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Remove Thebe's configuration from the page's body."""
    for node in list(doctree.findall(nodes.raw)):
        if any(mark in node.astext() for mark in ("x-thebe-config", "<script>kernelName =")):
            node.parent.remove(node)


def fold(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn each admonition of class `dropdown` into an element that opens without a script."""
    if app.builder.format != "html":
        return
    boxes = [node for node in doctree.findall(nodes.Element) if isinstance(node, nodes.Admonition)]
    for node in boxes:
        if "dropdown" not in node.get("classes", []):
            continue
        title, *rest = _titled(node)
        classes = [name for name in node["classes"] if name != "dropdown"]
        kind = type(node).__name__.removesuffix("_node")
        box = Folded("", *rest, ids=node["ids"], classes=[*classes, kind, "admonition"])
        box["title"] = title
        node.replace_self(box)


def visit_folded(self: Any, node: Folded) -> None:
    """Open the element, and give its title."""
    self.body.append(self.starttag(node, "details"))
    self.body.append('<summary class="admonition-title">')
    for child in node["title"].children:
        child.walkabout(self)
    self.body.append("</summary>\n")


def depart_folded(self: Any, node: Folded) -> None:
    """Close the element."""
    self.body.append("</details>\n")


def _titled(node: nodes.Element) -> list[nodes.Node]:
    """An admonition's children; those of a named kind have no title of their own.

    The title becomes a control, and a link inside a control is neither.
    """
    if not isinstance(node[0], nodes.title):
        return [nodes.title("", admonitionlabels[node.tagname]), *node.children]
    for link in list(node[0].findall(nodes.reference)):
        link.replace_self(link.children)
    return list(node.children)


def _unused(script: Any) -> bool:
    body = script.attributes.get("body")
    if body is not None:
        return any(mark in body for mark in _INLINE)
    return any(mark in f"{script.filename} {script.attributes}" for mark in _DROPPED)


def _deferred(script: Any) -> Any:
    attributes = dict(script.attributes)
    if "body" in attributes or {"defer", "async"} & attributes.keys():
        return script
    return _JavaScript(script.filename, priority=script.priority, defer="defer", **attributes)


def _bundled(sheet: Any) -> bool:
    name = str(sheet.filename).removeprefix("_static/").partition("?")[0]
    return any(Path(name).match(part) for part in (*styles.PARTS, "*thebe*", "togglebutton.css"))


def _plainer(body: str) -> str:
    """Without roles that contradict each other, in lists of citations, and idle marks of words.

    The marks are a tenth of the API page, and no rule of the book's sheet needs them.
    """
    plain = re.sub(r'(<div[^>]*) role="(?:list|doc-biblioentry)"', r"\1", body)
    plain = _CORNER.sub("<td></td>", plain)  # the corner of a table heads nothing
    plain = re.sub(r'<span class="pre">([^<]*)</span>', r"\1", plain)
    return _SIGNATURE.sub(lambda found: _MARK.sub(r"\1", found[0]), plain)
