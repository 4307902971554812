"""Declared parameters, refused overrides, imports."""

import pytest

from bnlib.parameters import Parameter
from bookbuild import notebook as nb

DECLARED = """\
seeds: int = 5  # independent splits [2, 100]
step: float = 0.1  # step size [1e-6, 10]
affine: bool = True  # with scale and shift
mode: str = "pre"  # where the layer stands {pre|post}
sizes: list = [
    2,
    8,
]  # batch sizes [2, 4096]
name: str = "digits"  # data; the interval [a, b] is explained below
"""


@pytest.fixture
def declared(tmp_path, write_notebook):
    path = write_notebook(tmp_path / "n.ipynb", "# Title", ("parameters", DECLARED), "x = 1")
    return nb.parameters(nb.read(path))


def test_a_declaration_gives_name_type_default_comment_and_what_is_allowed(declared):
    assert list(declared) == ["seeds", "step", "affine", "mode", "sizes", "name"]
    assert declared["seeds"] == Parameter(
        "seeds", "int", 5, "independent splits [2, 100]", low=2, high=100
    )
    assert declared["step"][4:6] == (1e-6, 10)
    assert declared["mode"].choices == ("pre", "post")
    assert (declared["sizes"].default, declared["sizes"].high) == ([2, 8], 4096)


def test_brackets_in_plain_words_are_no_range(declared):
    assert declared["name"][4:] == (None, None, (), None)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a: int = 2 * 3", "expected a literal"),
        ("a: int = other", "expected a literal"),
        ("a = 2", "name: type = literal"),
        ("a, b = 2, 3", "name: type = literal"),
        ("import os", "name: type = literal"),
        ("a: dict = {}", "expected a type out of"),
        ("a: int = 2.5", "expected int"),
        ("a: int = 1  # too small [2, 3]", r"\[2, 3\], got 1"),
        ("a: list = [1,", r"was never closed \(parameters cell, line 1\)"),
        ("a: int = = 1", r"invalid syntax \(parameters cell, line 1\)"),
        ("%%bash\necho", "invalid syntax"),
        ("a: int = 1\0", "null bytes"),
    ],
)
def test_the_parameters_cell_holds_typed_literals_only(line, why, tmp_path, write_notebook):
    path = write_notebook(tmp_path / "n.ipynb", ("parameters", line))
    with pytest.raises(ValueError, match=f"n.ipynb: .*{why}"), nb.named(path):
        nb.parameters(nb.read(path))


def test_a_second_parameters_cell_is_refused(tmp_path, write_notebook):
    path = write_notebook(tmp_path / "n.ipynb", ("parameters", "a: int = 1"), ("parameters", ""))
    with pytest.raises(ValueError, match="got 2"):
        nb.parameters(nb.read(path))


def test_imports_are_found_in_every_form():
    cell = """\
%matplotlib inline
import numpy as np
from lib import rows, data as d
def f():
    import lib.deep.inner as x
    try:
        from lib.plots.style import use_style
    except ImportError:
        from lib.networks import *
"""
    assert nb.imported(cell) == {
        "numpy", "lib.rows", "lib.data", "lib.deep.inner", "lib.plots.style.use_style",
        "lib.networks.*",
    }  # fmt: skip
    assert nb.imported("from . import a\nfrom ..b import c", "lib.x") == {"lib.x.a", "lib.b.c"}


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"nbformat": 4, "cells": 3}', "\udcff"])
def test_a_file_that_is_no_notebook_is_named(tmp_path, text):
    path = tmp_path / "n.ipynb"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"n\.ipynb: expected a Jupyter notebook"):
        nb.read(path)
