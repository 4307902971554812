"""Docstrings as plain text."""

import docutils.core

from bookbuild.docstrings import plain


def shown(*lines):
    """The text of the docstring as docutils reads it; any complaint is an error."""
    settings = {"halt_level": 2, "report_level": 2}
    tree = docutils.core.publish_doctree("\n".join(plain(list(lines))), settings_overrides=settings)
    return tree.astext()


def test_what_looks_like_markup_is_shown_as_it_stands():
    line = "x_hat_ of |x| and a * b, *c, d: e"
    assert shown(line) == line


def test_code_between_backticks_stays_code_and_may_touch_a_letter_or_break_a_line():
    words = shown("Networks are `A_b`s; `two", "words`.").split()
    assert words == ["Networks", "are", "A_bs;", "two", "words."]
    assert shown("end ``{glue}`key:.3f` `` here") == "end {glue}`key:.3f` here"


def test_an_indented_display_keeps_its_lines_with_and_without_blank_lines_around():
    assert shown("Before", "    a_ = |b|", "", "      c * d", "after") == (
        "Before\n\na_ = |b|\n\n  c * d\n\nafter"
    )
