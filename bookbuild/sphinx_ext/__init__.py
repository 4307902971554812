"""What turns `jupyter-book build .` into this book's build.

Before Sphinx looks at a page, outdated notebooks are executed in parallel; myst-nb, which executes
nothing, reads what they gave (`chapters`). Then the directives `ledger`, `chapter-map`
and `status` read the same executions, `downloads` ships them, and `theme` repairs what the theme
leaves to third parties.
"""

import gc
from typing import Any

from sphinx.application import Sphinx

from bookbuild.sphinx_ext import (
    chapter_map,
    chapters,
    downloads,
    drawings,
    formulas,
    ledger,
    pictures,
    searching,
    social,
    status,
    styles,
    theme,
    typography,
    widgets,
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register configuration, events and directives."""
    # Python's usual threshold searches the tree of pages for garbage again and again as it is read.
    gc.set_threshold(200_000)
    app.add_config_value("book_package", "bnlib", "env")
    app.add_config_value("book_claims", "book/claims.toml", "env")
    app.add_config_value("book_jobs", 0, "")
    app.add_config_value("book_assets", "", "html")
    app.add_directive("ledger", ledger.Ledger)
    app.add_role("verdict", ledger.Verdict())
    app.add_directive("chapter-map", chapter_map.ChapterMap)
    app.add_directive("status", status.Status)
    app.add_directive("downloads", downloads.Downloads)
    # 850 and 950: before and after sphinx-external-toc (900) reads the table of contents.
    app.connect("config-inited", chapters.ignore_stray_files, priority=850)
    app.connect("config-inited", chapters.prepare, priority=950)
    app.connect("env-get-outdated", chapters.outdated)
    app.connect("source-read", chapters.hand_over)
    app.connect("env-updated", chapters.retitled)
    app.connect("env-updated", drawings.lighten_all)
    app.connect("doctree-resolved", theme.drop_thebe_nodes)
    app.connect("doctree-resolved", typography.keep_punctuation)
    app.connect("html-page-context", ledger.complete)
    app.connect("html-page-context", widgets.load)
    app.connect("html-page-context", downloads.link_chapter)
    app.connect("write-started", _finish)
    app.connect("build-finished", chapters.forget_after_warnings)
    formulas.setup(app)
    _dress(app)
    # env_version: raise it when pages that were built before must be built anew.
    safe = {"parallel_read_safe": True, "parallel_write_safe": True}
    return {"version": "1", "env_version": 3, **safe}


def _dress(app: Sphinx) -> None:
    """Connect what makes a page light, accessible and easy to find."""
    app.connect("config-inited", theme.configure)
    app.connect("doctree-resolved", theme.fold)
    app.connect("doctree-resolved", pictures.check_alt)
    app.connect("html-page-context", pictures.reserve_room)
    app.connect("config-inited", social.configure)
    app.connect("html-page-context", social.describe)
    app.connect("html-page-context", theme.trim_files, priority=900)


def _finish(app: Sphinx, builder: Any) -> None:
    """After a build that writes pages, write what is made of them."""
    downloads.ship(app, builder)
    for step in (downloads.finish, social.write_map, searching.write_texts):
        app.connect("build-finished", step)
    app.connect("build-finished", styles.bundle, priority=900)  # the theme writes colors at 500
