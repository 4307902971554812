"""Execute the chapters that are outdated, and let every page know what was computed."""

import copy
import json
import platform
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import nbformat
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util import logging

from bnlib.results import CLAIM_MIME, RECORD_MIME
from bookbuild import notebook as nb
from bookbuild import sources, store
from bookbuild.execute import Run, describe, execute, plan

logger = logging.getLogger(__name__)
SHOWN = ("jupyter-book", "sphinx", "myst-nb", "papermill", "ipykernel", *sorted(sources.PACKAGES))


@dataclass(frozen=True)
class Chapter:
    """An executed notebook of the table of contents. stamp: key, outputs, seconds, cpu_seconds."""

    docname: str
    path: Path
    stored: Path
    stamp: dict[str, Any]

    @property
    def slug(self) -> str:
        """The bare name."""
        return self.path.stem

    @cached_property
    def executed(self) -> Any:
        """The notebook as the store has it."""
        return nbformat.v4.reads(self.stored.read_text(encoding="utf-8"))

    @cached_property
    def ready(self) -> Any:
        """Today's source with the stored outputs: same key, so the code cells correspond."""
        ready = nb.read(self.path)
        for cell, done in zip(nb.code_cells(ready), nb.code_cells(self.executed), strict=True):
            cell.outputs, cell.execution_count = done.outputs, done.execution_count
        return ready


_books: WeakKeyDictionary[Sphinx, dict[str, Chapter]] = WeakKeyDictionary()


def of(app: Sphinx) -> dict[str, Chapter]:
    """The chapters of this build by slug, in the order of the book."""
    return _books[app]


def versions() -> dict[str, str]:
    """Versions that the status page shows."""
    python = platform.python_version()
    found = {name: sources.installed(name) for name in SHOWN}
    return {"Python": python, **{name: value for name, value in found.items() if value}}


def ignore_stray_files(app: Sphinx, config: Config) -> None:
    """Keep sphinx-external-toc from excluding each file that the table of contents lacks.

    Its list is part of the configuration: any new file in the tree would change every page's
    inputs. `prepare` names the files that are included instead.
    """
    config["external_toc_exclude_missing"] = False


def prepare(app: Sphinx, config: Config) -> None:
    """Execute what is outdated, in parallel.

    Raises ExtensionError, which ends the build, after all other notebooks have been executed.
    """
    root = Path(app.srcdir)
    config["include_patterns"] = sorted(f"{_bare(name)}.*" for name in config.external_site_map)
    runs = {name: _plan(root, name, config) for name in _notebooks(root, config)}
    reports = execute(
        runs.values(), jobs=config.book_jobs or None, timeout=config.nb_execution_timeout
    )
    failed = [report for report in reports if not report.ok]
    if failed:
        raise ExtensionError("\n".join(["notebooks failed", *map(describe, failed)]))
    chapters = [_chapter(name, run) for name, run in runs.items()]
    _books[app] = {chapter.slug: chapter for chapter in chapters}


def hand_over(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give myst-nb, which executes nothing (`execute_notebooks: off`), the executed notebook.

    It does not know the MIME types that only the ledger reads, and would warn of them.
    """
    for chapter in of(app).values():
        if chapter.docname == docname:
            shown = copy.deepcopy(chapter.ready)
            for output in (output for cell in nb.code_cells(shown) for output in cell.outputs):
                for mime in (RECORD_MIME, CLAIM_MIME):
                    output.get("data", {}).pop(mime, None)
            source[0] = nbformat.writes(shown)


def outdated(app: Sphinx, env: Any, added: set[str], *_: set[str]) -> list[str]:
    """Pages to read again because an execution is another one, though their files did not change.

    That is the chapter itself, and every page that may show a number of it: all that paste any
    value (a page may have read it from anywhere), the ledger, the map and the status page.
    """
    now = {chapter.docname: chapter.stamp for chapter in of(app).values()}
    before, env.book_stamps = getattr(env, "book_stamps", None), (now, versions())
    if before == env.book_stamps:
        return []
    changed = {name for name in now if not before or before[0].get(name) != now[name]}
    changed |= {name for name in env.found_docs if _shows_values(env, name)}
    return sorted(changed - added)


def _shows_values(env: Any, docname: str) -> bool:
    text = Path(env.doc2path(docname)).read_text(encoding="utf-8")
    return bool(re.search(r"glue|\{(chapter-map|ledger|verdict|status|include)\}|\{\{", text))


def retitled(app: Sphinx, env: Any) -> list[str]:
    """All pages, if a title changed: each page has them in its table of contents."""
    now = {name: title.astext() for name, title in env.titles.items()}
    before, env.book_titles = getattr(env, "book_titles", now), now
    return [] if before == now else sorted(env.found_docs)


def forget_after_warnings(app: Sphinx, error: Exception | None) -> None:
    """After a build with warnings let the next one read every page again.

    An incremental build repeats no warning of a page that did not change: red, then green, with
    nothing repaired. Sphinx itself forgets only after an exception.
    """
    if app._warncount:
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)


def _notebooks(root: Path, config: Config) -> list[str]:
    names = map(_bare, config.external_site_map)
    return [name for name in names if (root / f"{name}.ipynb").is_file()]


def _bare(name: str) -> str:
    return name.removesuffix(".ipynb").removesuffix(".md")


def _plan(root: Path, docname: str, config: Config) -> Run:
    try:
        return plan(root / f"{docname}.ipynb", root=root, package=config.book_package)
    except ValueError as error:
        raise ExtensionError(str(error)) from error


def _chapter(docname: str, run: Run) -> Chapter:
    stamp = json.loads(run.path.read_bytes())["metadata"][store.STAMP]
    return Chapter(docname, run.notebook, run.path, stamp)
