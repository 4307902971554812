"""The comma behind a formula: on its line."""

import pytest
from docutils import nodes
from docutils.utils import new_document

from bookbuild.sphinx_ext import typography


def paragraph(*parts):
    document = new_document("page")
    document += nodes.paragraph("", "", *parts)
    typography.keep_punctuation(None, document, "page")
    return document[0]


@pytest.mark.parametrize("marks", [",", ".", ").", "%"])
def test_marks_directly_behind_a_formula_share_its_box_and_the_text_is_unchanged(marks):
    text = nodes.Text(f"{marks} and on")
    found = paragraph(nodes.Text("with "), nodes.math("", "a"), text)
    assert found.astext() == f"with a{marks} and on"
    assert found[1]["classes"] == ["nobr"]
    assert found[1].astext() == f"a{marks}"


def test_a_formula_before_a_word_a_formula_or_nothing_stays_as_it_is():
    found = paragraph(nodes.math("", "a"), nodes.Text(" b, "), nodes.math("", "c"))
    assert [type(node) for node in found] == [nodes.math, nodes.Text, nodes.math]
    found = paragraph(nodes.math("", "a"), nodes.emphasis("", "", nodes.Text(", no")))
    assert isinstance(found[0], nodes.math)
