"""Ship each chapter as executed notebook, as stripped notebook and as data, with links to them.

The directive `downloads` stands for links to what belongs to the whole book; a chapter gets its own
links at its end.
"""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from bnlib.results import read_outputs
from bookbuild import downloads, store
from bookbuild import notebook as nb
from bookbuild.sphinx_ext import chapters, ledger

_TOLD = ("statement", "source", "kind", "fixed", "rule")  # of the register's entry on a claim


class Downloads(SphinxDirective):
    """A slot for links to the book's files."""

    def run(self) -> list[nodes.Node]:
        """Give the empty slot; it is filled when the files are there."""
        return [nodes.raw("", downloads.SLOT, format="html")]


def ship(app: Sphinx, builder: Any) -> None:
    """Write the files of this build, before its pages; a book printed from older pages goes."""
    if builder.format != "html":
        return
    html, book = Path(app.outdir), chapters.of(app).values()
    path = Path(app.srcdir) / app.config.book_claims
    register = ledger.register(path) if path.is_file() else []
    results = {chapter.slug: _results(chapter, register) for chapter in book}
    folder = html / downloads.FOLDER
    for chapter in book:
        files = {"-executed": chapter.ready, "": nb.read(chapter.path)}
        for kind, notebook in files.items():
            text = nbformat.writes(_introduced(app, notebook, chapter.slug))
            store.write_atomically(folder / f"{chapter.slug}{kind}.ipynb", f"{text}\n")
        store.write_atomically(folder / f"{chapter.slug}.json", _json(app, results[chapter.slug]))
    store.write_atomically(folder / downloads.ALL_RESULTS, _json(app, {"chapters": results}))
    for path in downloads.printed(html):
        path.unlink()


def link_chapter(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Put links to its files at the end of each chapter."""
    for slug in (c.slug for c in chapters.of(app).values() if c.docname == page):
        files = {
            f"{slug}-executed.ipynb": "executed notebook",
            f"{slug}.ipynb": "notebook without outputs",
            f"{slug}.json": "results as JSON",
        }
        links = downloads.links(Path(app.outdir), files, up="../" * page.count("/"))
        context["body"] += f'<div class="bn-downloads">{links}</div>'


def finish(app: Sphinx, error: Exception | None) -> None:
    """Link the files of the whole book, and let the theme's button give executed notebooks."""
    if error or app.builder.format != "html":
        return
    html = Path(app.outdir)
    for chapter in chapters.of(app).values():
        executed = html / downloads.FOLDER / f"{chapter.slug}-executed.ipynb"
        shutil.copyfile(executed, html / "_sources" / f"{chapter.docname}.ipynb")
    downloads.link_book(html)


def _introduced(app: Sphinx, notebook: Any, slug: str) -> Any:
    """The notebook with a first cell that says where it is from and what its code needs."""
    options = app.config.html_theme_options
    where = f"`git clone {url}`" if (url := options.get("repository_url")) else "get its source"
    package = app.config.book_package
    text = (
        f"*Chapter `{slug}` of the book “{app.config.project}”. Its code imports `{package}`, the "
        f"library that comes with the book: {where}, and in that folder run "
        '`pip install -c requirements.lock -e ".[book]"`.*'
    )
    whole = copy.deepcopy(notebook)
    whole.cells.insert(0, nbformat.v4.new_markdown_cell(text, id="about-this-file"))
    return whole


def _results(chapter: chapters.Chapter, register: list[dict[str, Any]]) -> dict[str, Any]:
    """What a chapter measured, with which parameters, and what that says of its claims."""
    records, claims = read_outputs(chapter.executed)
    told = {claim["id"]: {name: claim[name] for name in _TOLD} for claim in register}
    parameters = nb.parameters(nb.read(chapter.path))
    return {
        "chapter": chapter.slug,
        "page": f"{chapter.docname}.html",
        "key": chapter.stamp["key"],
        "parameters": {name: parameter.default for name, parameter in parameters.items()},
        "records": {name: _without(record, "key") for name, record in records.items()},
        "claims": {name: told.get(name, {}) | _without(c, "id") for name, c in claims.items()},
    }


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The entries that say something, without the one that is the key already."""
    return {key: value for key, value in values.items() if key != name and value not in (None, "")}


def _json(app: Sphinx, content: dict[str, Any]) -> str:
    whole = {"book": app.config.project, "versions": chapters.versions(), **content}
    return f"{json.dumps(whole, indent=1, ensure_ascii=False)}\n"
