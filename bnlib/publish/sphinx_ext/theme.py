"""Repairs: MathJax from this machine instead of a CDN, and no Thebe.

MathJax comes out of the package sphinx-mathjax-offline, of which only the SVG renderer and the TeX
extensions that it loads on demand are copied. SVG, because glyphs then travel inside the script:
opened as a file, a page may not load fonts from another folder in Firefox.
"""

from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ext import add_global_html_resources
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

MATHJAX = "mathjax"
_PACKAGE = "sphinx-mathjax-offline"
_WANTED = ("tex-svg.js", "input/tex/extensions/*.js")
_NOTICE = """\
MathJax 3.2.2, https://www.mathjax.org
Copyright (c) 2009-2022 The MathJax Consortium

Licensed under the Apache License, Version 2.0 (the "License"); you may not use these files except
in compliance with the License. The text of the License follows.

"""


def configure(app: Sphinx, config: Config) -> None:
    """Point Sphinx to the copied MathJax."""
    config["mathjax_path"] = f"{MATHJAX}/tex-svg.js"


def copy_files(app: Sphinx) -> None:
    """Copy MathJax into the book, and myst-nb's style sheet, before any page is written.

    A page carries checksums of the files that are there when it is written. myst-nb copies its own
    at the end, so that pages of a first and of a second build would differ.
    """
    if app.builder.format != "html":
        return
    source = Path(str(distribution(_PACKAGE).locate_file(f"{_PACKAGE}/static/mathjax")))
    files = [path for pattern in _WANTED for path in source.glob(pattern)]
    if not files:
        raise ExtensionError(f"{_PACKAGE}: want MathJax in {source}, found nothing; reinstall it")
    target = Path(app.outdir) / "_static" / MATHJAX
    for path in files:
        _copy(path.read_bytes(), target / path.relative_to(source))
    add_global_html_resources(app, None)
    licence = Path(__file__).with_name("apache-2.0.txt").read_text(encoding="utf-8")
    _copy((_NOTICE + licence).encode(), target / "LICENSE.txt")


def drop_thebe_files(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Take Thebe's scripts and styles off a page: they declare a name twice and ask a CDN."""
    for kind in ("script_files", "css_files"):
        if kind in context:
            context[kind] = [file for file in context[kind] if not _is_thebe(file)]


def drop_thebe_nodes(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Remove Thebe's configuration from the page's body."""
    for node in list(doctree.findall(nodes.raw)):
        if any(mark in node.astext() for mark in ("x-thebe-config", "<script>kernelName =")):
            node.parent.remove(node)


def _is_thebe(file: Any) -> bool:
    text = f"{getattr(file, 'filename', file)} {getattr(file, 'attributes', '')}"
    return "thebe" in text.lower()


def _copy(content: bytes, target: Path) -> None:
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
