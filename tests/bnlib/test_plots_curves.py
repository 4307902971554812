"""Shared curves: what is drawn is what was given."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib.plots import curves, style


@pytest.fixture
def ax():
    with mpl.rc_context():
        style.use_style()
        _, ax = plt.subplots()
        yield ax
        ax.figure.canvas.draw()  # a bad label or limit warns only here
    plt.close("all")


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_measured_dots_carry_their_intervals(ax, scale):
    ax.set(xscale=scale, yscale=scale)
    returned = curves.measured_on_theory(ax, [1, 2], [3, 4], [2, 3.5], [3.5, 6], [1, 2], [3, 4])
    assert returned is ax
    theory, dots = ax.lines[0], ax.containers[0]
    assert theory.get_ydata().tolist() == [3, 4]
    assert dots[0].get_ydata().tolist() == [3, 4]
    ends = [segment[:, 1].tolist() for segment in dots[2][0].get_segments()]
    np.testing.assert_allclose(ends, [[2, 3.5], [3.5, 6]])
    assert sorted(names(ax)) == ["measured", "theory"]


def test_second_pair_of_measured_and_theory_looks_different(ax):
    for series in (0, 1):
        curves.measured_on_theory(ax, [1], [1], [0], [2], [0, 1], [0, 1], series=series)
    first, second = (container[0] for container in ax.containers)
    assert first.get_marker() != second.get_marker()
    lines = [line for line in ax.lines if line.get_label() == "theory"]
    assert lines[0].get_linestyle() != lines[1].get_linestyle()


def test_estimate_outside_its_interval_is_refused(ax):
    with pytest.raises(ValueError, match=r"got 2.0, 1.0, 3.0 at position 1"):
        curves.measured_on_theory(ax, [1, 2], [1, 1], [0, 2], [2, 3], [], [])


def test_error_below_the_floor_is_hollow_on_the_floor(ax):
    curves.error_lines(ax, [1, 10, 100], {"a": [1e-3, 0, 1e-1], "b": [1e-6] * 3})
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert names(ax) == ["a", "b"]
    assert ax.lines[0].get_ydata().tolist() == [1e-3, 1e-17, 1e-1]
    hollow = ax.lines[1]
    assert hollow.get_xdata().tolist() == [10]
    assert hollow.get_markerfacecolor() == "white"
    assert len(ax.lines[3].get_xdata()) == 0


def test_slope_guide_has_its_slope_and_name(ax):
    ax.set(xscale="log", yscale="log")
    curves.slope_guide(ax, (10, 1000), 2.0, -0.5)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2.0, 0.2])
    assert ax.texts[0].get_text() == "slope -0.5"


def test_forest_reads_from_the_top_and_fills_what_leaves_zero_out(ax):
    low, high = [-1, 0.2, -3], [1, 1.8, -1]
    curves.forest(ax, ["a", "b", "c"], [0, 1, -2], low, high, margin=0.5)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    apart, near = (container[0] for container in ax.containers)
    assert apart.get_xdata().tolist() == [1, -2]
    assert near.get_xdata().tolist() == [0]
    assert near.get_markerfacecolor() == "white"
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    np.testing.assert_allclose([band.x0, band.x1], [-0.5, 0.5])


def test_forest_where_all_rows_contain_zero(ax):
    curves.forest(ax, ["a"], [0.0], [-1.0], [1.0])
    assert len(ax.patches) == 0


def test_line_family_draws_seeds_thin_and_bands_where_given(ax):
    lines = {"batch": np.arange(6.0).reshape(2, 3), "one": [1, 2, 3]}
    curves.line_family(ax, [0, 1, 2], lines, bands={"one": ([0, 1, 2], [2, 3, 4])}, markers=True)
    assert names(ax) == ["batch", "one"]
    assert len(ax.lines) == 3
    assert ax.lines[0].get_color() == style.COLORS["batch"]
    assert ax.lines[0].get_linewidth() < ax.lines[2].get_linewidth()
    assert ax.lines[2].get_marker() not in ("None", None)
    assert len(ax.collections) == 1
