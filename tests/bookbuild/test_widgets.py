"""Scripts of widgets; tests/browser/test_widgets.py sees which pages load them."""

from pathlib import Path

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


def test_the_widgets_of_a_page_are_found_once_in_order_and_one_without_a_script_is_refused():
    page = _page("<bn-identity>", "</bn-identity>", "<bn-gradient>", "<bn-identity>", "<div>")
    assert widgets.held(page) == ["identity", "gradient"]
    with pytest.raises(ValueError, match=r"expected a widget out of .*, got 'bn-chian'"):
        widgets.held(_page("<bn-chian>"))


def test_every_script_belongs_to_a_widget_and_every_widget_has_a_picture():
    scripts = {path.stem for path in (ASSETS / widgets.FOLDER).glob("*.js")}
    assert scripts == {widgets.SHARED, *widgets.NAMES}
    assert set(widgets.NAMES) == {path.stem for path in (ASSETS / widgets.FOLDER).glob("*.svg")}
    assert (ASSETS / widgets.STYLE).is_file()
