"""Pages with a widget get its scripts, deferred and in order; other pages and builders get none."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docutils import nodes
from docutils.utils import new_document

from bookbuild.sphinx_ext import widgets

ASSETS = Path(__file__).parents[2] / "book/assets"


def _page(*html: str) -> nodes.document:
    document = new_document("page")
    document += nodes.paragraph("", "Prose about <bn-chain>, which is no markup.")
    document += [nodes.raw("", text, format="html") for text in html]
    return document


def _loaded(doctree: Any, builder: str = "html") -> list[Any]:
    seen: list[Any] = []
    app: Any = SimpleNamespace(
        builder=SimpleNamespace(name=builder),
        add_css_file=lambda name: seen.append(name),
        add_js_file=lambda name, **options: seen.append((name, options)),
    )
    widgets.load(app, "page", "page.html", {}, doctree)
    return seen


def test_a_page_loads_the_style_and_the_deferred_scripts_of_its_widgets_once_in_order():
    seen = _loaded(_page("<bn-identity>", "</bn-identity>", "<bn-gradient>", "<bn-identity>"))
    deferred = {"loading_method": "defer"}
    names = ("core", "sample", "identity", "gradient")
    assert seen == ["widgets.css", *((f"widgets/{name}.js", deferred) for name in names)]


def test_a_page_without_a_widget_loads_nothing():
    assert _loaded(_page("<div>")) == []
    assert _loaded(None) == []


def test_print_and_epub_keep_the_pictures():
    assert _loaded(_page("<bn-chain>"), builder="singlehtml") == []
    assert _loaded(_page("<bn-chain>"), builder="epub") == []


def test_a_widget_without_a_script_is_refused():
    with pytest.raises(ValueError, match=r"expected a widget out of .*, got 'bn-chian'"):
        _loaded(_page("<bn-chian>"))


def test_every_script_belongs_to_a_widget_and_every_widget_has_a_picture():
    wanted = {*widgets.SHARED, *(name for names in widgets.SCRIPTS.values() for name in names)}
    assert wanted == {path.stem for path in (ASSETS / widgets.FOLDER).glob("*.js")}
    assert set(widgets.SCRIPTS) == {path.stem for path in (ASSETS / widgets.FOLDER).glob("*.svg")}
    assert (ASSETS / widgets.STYLE).is_file()
