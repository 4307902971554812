"""Docstrings as plain text, and the list of modules on the API page."""

from pathlib import Path

import docutils.core
import pytest

from bookbuild.docstrings import list_modules, plain, public_modules


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


def test_a_page_lists_the_named_modules_and_those_of_the_named_packages_in_order():
    page = list_modules("% modules: b p\n\n% modules: a\n", ["a", "b", "p.x", "p.y"], "lib")
    shown = [line.split()[-1] for line in page.splitlines() if "automodule" in line]
    assert shown == ["lib.b", "lib.p.x", "lib.p.y", "lib.a"]


def test_a_page_that_names_no_module_is_refused():
    with pytest.raises(
        ValueError, match=r"expected modules of lib, got {'a': \['a'\], 'gone': \[\]}"
    ):
        list_modules("% modules: a gone\n", ["a"], "lib")


def test_private_modules_and_packages_that_define_nothing_are_not_public(tmp_path):
    files = ("a.py", "_b.py", "__main__.py", "__init__.py", "p/__init__.py", "p/c.py", "_q/d.py")
    for name in (*files, "r/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "r/__init__.py").write_text("def f():\n    pass\n")
    assert public_modules(tmp_path) == ["a", "p.c", "r"]


def test_the_api_page_names_every_public_module_of_the_library_and_no_other():
    root = Path(__file__).parents[2]
    modules = public_modules(root / "bnlib")
    page = list_modules((root / "book/api.md").read_text(), modules, "bnlib")
    shown = [line.split()[-1] for line in page.splitlines() if "automodule" in line]
    assert sorted(shown) == [f"bnlib.{name}" for name in modules]
