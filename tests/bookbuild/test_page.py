"""An executed notebook as one page: its numbers in the sentences, its figures inside."""

import re

import nbformat
import pytest
import yaml
from click.testing import CliRunner
from nbformat import v4

from bnlib.__main__ import main
from bnlib.results import CLAIM_MIME, RECORD_MIME
from bookbuild.cli_page import MACROS

PROSE = r"""# A title

The gap is {glue:text}`gap:.1f` %: {verdict}`gap-small`. See {doc}`notation <notation>`, $x^2$.

:::{admonition} In short
:class: in-short
All **well**.
:::
"""


def output(data):
    return v4.new_output("display_data", data)


@pytest.fixture
def page(tmp_path):
    record = {"key": "gap", "value": 3.14159, "low": None, "high": None, "unit": "percent"}
    claim = {"id": "gap-small", "verdict": "holds", "evidence": "3 < 4"}
    outputs = [
        output({RECORD_MIME: record, "text/plain": "gap = 3.14159 percent"}),
        output({CLAIM_MIME: claim, "text/html": "<p>holds: 3 &lt; 4</p>"}),
        output({"image/svg+xml": "<?xml version='1.0'?><!DOCTYPE svg><svg><path/></svg>"}),
        output({"image/png": "iVBORw0KGgo="}),
        v4.new_output("stream", text="a < b"),
    ]

    def write(outputs=tuple(outputs)):
        cells = [v4.new_markdown_cell(PROSE), v4.new_code_cell("1 < 2", outputs=list(outputs))]
        nbformat.write(v4.new_notebook(cells=cells), tmp_path / "out.ipynb")
        return CliRunner().invoke(main, ["page", str(tmp_path / "out.ipynb")])

    write.path = tmp_path / "out.html"
    return write


def test_the_page_has_numbers_verdicts_formulas_and_figures(page):
    assert page().exit_code == 0
    text = page.path.read_text(encoding="utf-8")
    assert "The gap is 3.1 %: holds. See notation, " in text
    assert "<msup" in text
    short = text.split("In short")[1]
    assert re.match(r"</strong>\s*<p>All <strong>well</strong>", short)
    assert "<pre>gap = 3.14159 percent</pre>" in text
    assert "<p>holds: 3 &lt; 4</p>" in text
    assert "<div><svg><path/></svg></div>" in text
    assert "data:image/png;base64,iVBORw0KGgo=" in text
    assert "<pre>1 &lt; 2</pre>" in text
    assert "<pre>a &lt; b</pre>" in text
    assert not re.search(r"\{glue|\{verdict|:::|src=\"(?!data:)|<script|<link", text)


def test_a_notebook_that_was_not_executed_is_refused(page):
    result = page(())
    assert result.exit_code == 1
    assert "out.ipynb: expected an executed notebook, got no outputs" in result.output
    assert not page.path.exists()


def test_the_macros_are_those_of_the_book(request):
    config = yaml.safe_load((request.config.rootpath / "_config.yml").read_text(encoding="utf-8"))
    assert config["sphinx"]["config"]["book_macros"] == MACROS
