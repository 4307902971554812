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


def test_measured_dots_carry_their_intervals_and_one_outside_its_own_is_refused(ax):
    curves.measured_on_theory(ax, [1, 2], [3, 4], [2, 3.5], [3.5, 6], [1, 2], [3, 5])
    assert ax.lines[0].get_ydata().tolist() == [3, 5]
    dots, _, (bars,) = ax.containers[0]
    assert dots.get_ydata().tolist() == [3, 4]
    np.testing.assert_allclose([s[:, 1] for s in bars.get_segments()], [[2, 3.5], [3.5, 6]])
    with pytest.raises(ValueError, match=r"got 2.0, 1.0, 3.0 at position 1"):
        curves.measured_on_theory(ax, [1, 2], [1, 1], [0, 2], [2, 3], [], [])


def test_error_below_the_floor_is_hollow_on_the_floor(ax):
    curves.error_lines(ax, [1, 10, 100], {"a": [1e-3, 0, 1e-1], "b": [1e-6] * 3})
    assert ax.lines[0].get_ydata().tolist() == [1e-3, 1e-17, 1e-1]
    hollow = ax.lines[1]
    assert (hollow.get_xdata().tolist(), hollow.get_markerfacecolor()) == ([10], "white")
    assert len(ax.lines[3].get_xdata()) == 0


def test_slope_guide_has_its_slope(ax):
    ax.set(xscale="log", yscale="log")
    curves.slope_guide(ax, (10, 1000), 2.0, -0.5)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2.0, 0.2])


def test_forest_reads_from_the_top_and_fills_what_leaves_zero_out(ax):
    curves.forest(ax, ["a", "b", "c"], [0, 1, -2], [-1, 0.2, -3], [1, 1.8, -1], margin=0.5)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    apart, near = (container[0] for container in ax.containers)
    assert apart.get_xdata().tolist() == [1, -2]
    assert (near.get_xdata().tolist(), near.get_markerfacecolor()) == ([0], "white")


def test_line_family_draws_seeds_thin_and_bands_where_given(ax):
    lines = {"batch": np.arange(6.0).reshape(2, 3), "one": [1, 2, 3]}
    curves.line_family(ax, [0, 1, 2], lines, bands={"one": ([0, 1, 2], [2, 3, 4])})
    assert len(ax.lines) == 3
    assert ax.lines[0].get_linewidth() < ax.lines[2].get_linewidth()
    assert len(ax.collections) == 1
