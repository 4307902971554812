"""Figures of chains: what is drawn is what was given."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib.chapters.chains import figures
from bnlib.plots import style
from bnlib.statistics import Interval


@pytest.fixture(autouse=True)
def styled():
    with mpl.rc_context():
        style.use_style()
        yield
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()  # a bad label or limit warns only here
    plt.close("all")


@pytest.fixture
def ax():
    return plt.subplots()[1]


def by_label(ax):
    return {line.get_label(): line for line in ax.lines}


def test_stems_tell_signs_apart_and_leave_out_what_is_below_the_floor(ax):
    figures.stems(ax, np.array([2.0, -3.0, 0.5, -1e-9]), floor=1e-3)
    lines = by_label(ax)
    assert lines["positive"].get_xdata().tolist() == [2]
    assert lines["negative"].get_xdata().tolist() == [1]
    assert lines["negative"].get_markerfacecolor() == "white"
    assert lines["output before"].get_ydata()[0] == 2
    assert ax.get_yscale() == "log"


def test_errors_start_at_order_one_and_bounds_share_the_color_of_their_method(ax):
    ways = {"a": [9, 1e-16, 0], "b": [9, 1e-9, 1e9], "b, bound": [9, 1e-8, 1e9]}
    figures.error_lines(ax, {name: np.array(v) for name, v in ways.items()})
    lines = by_label(ax)
    assert lines["a"].get_xdata().tolist() == [1, 2]
    assert lines["a"].get_ydata().tolist() == [1e-16, 1e-17]
    assert lines["b, bound"].get_color() == lines["b"].get_color() != lines["a"].get_color()
    assert ax.get_legend() is None


def test_medians_over_depth_come_with_bands_and_every_run(ax):
    band = Interval(*map(np.array, ([1.0, 2.0], [0.5, 1.5], [2.0, 3.0])))
    figures.over_depth(ax, [2, 4], {"median": band}, [np.ones((3, 2))])
    assert by_label(ax)["median"].get_ydata().tolist() == [1, 2]
    assert len(ax.lines) == 4
    assert len(ax.collections) == 1


def test_matrices_have_a_row_for_each_kind_and_a_column_for_each_view():
    cells = {(kind, scale): Interval(*np.ones((3, 2))) for kind in "og" for scale in (1, 2)}
    axes = figures.matrices(
        [2, 4], {(what, "rule"): cells for what in ("gross", "net", "useful")}
    ).axes
    assert [ax.get_ylabel() for ax in axes] == ["o", "", "", "g", "", ""]
    assert [ax.get_yscale() for ax in axes[:3]] == ["log", "log", "symlog"]
    assert [len(ax.lines) for ax in axes] == [2] * 6


def test_clouds_stay_near_their_r_under_the_bound():
    (ax,) = figures.bound({0.5: np.full(100, 0.1)}, ([0.1, 1.0], [0.01, 1.0])).axes
    dots = ax.lines[0]
    assert np.all(np.abs(np.log(dots.get_xdata() / 0.5)) <= np.log(1.12))
    assert dots.get_ydata().tolist() == [0.1] * 100
    assert by_label(ax)["$e^r-1-r$"].get_ydata().tolist() == [0.01, 1.0]


def test_the_leak_is_drawn_with_its_law_and_both_arms_with_a_dot_for_each_seed_and_width():
    errors = np.arange(12.0).reshape(3, 2, 2)
    law = np.array([[1.0, 4.0], [0.5, 0.4], [0.3, 0.2], [0.7, 0.6]])
    leak = ([9.0, 1.0], [0.1, 0.5]), ([1.0, 9.0], [0.5, 0.1])
    left, right = figures.normalized(*leak, [1, 4], errors, law).axes
    assert left.lines[1].get_ydata().tolist() == [0.5, 0.1]
    assert by_label(right)["frozen"].get_ydata().tolist() == [0, 2, 4, 6, 8, 10]
    assert by_label(right)["trained"].get_ydata().tolist() == [1, 3, 5, 7, 9, 11]
    assert [text.get_text() for text in right.get_xticklabels()] == ["1", "4"]
