"""Repairs of the theme: fewer files, none that blocks a page, none of a third party.

The templates beside this module replace those of the theme that fail an accessibility check.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.locale import admonitionlabels

from bookbuild.sphinx_ext import widgets

TEMPLATES, STATIC = (Path(__file__).with_name(name) for name in ("templates", "static"))
# Thebe asks a CDN; a folded solution is a `details` element; no page has tabs.
_UNUSED = re.compile(r"thebe|toggle|design-tabs|DOCUMENTATION_OPTIONS\.")
_VIEWPORT = re.compile(r'<meta name="viewport"[^>]*>')
_TWICE = re.compile(r' id="(?:exercise|solution)-content"')  # of each exercise; no link needs it
_CORNER = re.compile(r"<th[^>]*>(?:<p></p>)?</th>")
_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
_MARK = re.compile(r'<span class="(?:n|w|o|p|default_value|sig-paren)">([^<]*)</span>')


def configure(app: Sphinx, config: Config) -> None:
    """Let our templates come first, and have every page written again when an asset is another one.

    Each page carries the assets' checksums, and Sphinx looks at pages only.
    """
    config["templates_path"] = [str(TEMPLATES), *config.templates_path]
    config["html_static_path"] = [*config.html_static_path, str(STATIC)]
    folders = [Path(app.srcdir) / name for name in config.html_static_path]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    content = [(str(path), path.read_bytes()) for path in files]
    config["book_assets"] = sha256(repr(content).encode()).hexdigest()


def trim_files(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave the scripts that a page uses, all deferred, and the sheet that `styles` leaves out."""
    scripts = {f"{s.filename} {s.attributes}": s for s in context.get("script_files", [])}
    context["script_files"] = [s for name, s in scripts.items() if not _UNUSED.search(name)]
    for script in context["script_files"]:
        if not {"body", "defer", "async"} & script.attributes.keys():
            script.attributes["defer"] = "defer"
    sheets = context.get("css_files", [])
    context["metatags"] = _VIEWPORT.sub("", context.get("metatags", ""))  # the theme writes one
    context["css_files"] = [sheet for sheet in sheets if widgets.STYLE in str(sheet.filename)]
    if "body" in context:
        context["body"] = _plainer(context["body"])


def drop_thebe_nodes(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Remove Thebe's configuration from the page's body."""
    for node in list(doctree.findall(nodes.raw)):
        if any(mark in node.astext() for mark in ("x-thebe-config", "<script>kernelName =")):
            node.parent.remove(node)


def fold(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn admonitions of class `dropdown`, and sections of class `fold`, into `details`.

    Those open without a script, and print opens them all.
    """
    if app.builder.format != "html":
        return
    for section in [node for node in doctree.findall(nodes.section) if "fold" in node["classes"]]:
        title, *rest = section.children
        level = sum(isinstance(node, nodes.section) for node in _ancestors(section)) + 1
        heading = f'<details class="fold"><summary><h{level}>', *title.children
        summary = *heading, f"</h{level}></summary>"  # no link to itself: it would be in a control
        section[:] = [*map(_raw, summary), *rest, _raw("</details>")]
    boxes = [node for node in doctree.findall(nodes.Element) if isinstance(node, nodes.Admonition)]
    for node in boxes:
        if "dropdown" not in node.get("classes", []):
            continue
        title, *rest = _titled(node)
        classes = {*node["classes"], type(node).__name__.removesuffix("_node"), "admonition"}
        name = "".join(f' id="{name}"' for name in node["ids"][:1])
        opening = f'<details class="{" ".join(sorted(classes))}"{name}>'
        summary = f'{opening}<summary class="admonition-title">', *title.children, "</summary>"
        parent, at = node.parent, node.parent.index(node)
        parent[at : at + 1] = [*map(_raw, summary), *rest, _raw("</details>")]


def _ancestors(node: nodes.Node) -> Iterator[nodes.Node]:
    while node.parent is not None:
        node = node.parent
        yield node


def _raw(part: nodes.Node | str) -> nodes.Node:
    return nodes.raw("", part, format="html") if isinstance(part, str) else part


def _titled(node: nodes.Element) -> list[nodes.Node]:
    """An admonition's children; those of a named kind have no title of their own.

    The title becomes a control, and a link inside a control is neither.
    """
    if not isinstance(node[0], nodes.title):
        return [nodes.title("", admonitionlabels[node.tagname]), *node.children]
    for link in list(node[0].findall(nodes.reference)):
        link.replace_self(link.children)
    return list(node.children)


def _plainer(body: str) -> str:
    """Without roles that contradict each other, in lists of citations, and idle marks of words.

    The marks are a tenth of the API page, and no rule of the book's sheet needs them.
    """
    plain = re.sub(r'(<div[^>]*) role="(?:list|doc-biblioentry)"', r"\1", body)
    plain = _TWICE.sub("", plain)
    plain = _CORNER.sub("<td></td>", plain)  # the corner of a table heads nothing
    plain = re.sub(r'<span class="pre">([^<]*)</span>', r"\1", plain)
    return _SIGNATURE.sub(lambda found: _MARK.sub(r"\1", found[0]), plain)
