"""Figures of chains: what is drawn is what was given."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib.plots import chains as figures
from bnlib.plots import style


@pytest.fixture
def ax():
    with mpl.rc_context():
        style.use_style()
        _, ax = plt.subplots()
        yield ax
        ax.figure.canvas.draw()  # a bad label or limit warns only here
    plt.close("all")


def by_label(ax):
    return {line.get_label(): line for line in ax.lines}


def test_stems_tell_signs_apart_and_leave_out_what_is_below_the_floor(ax):
    assert figures.orders(ax, [2.0, -3.0, 0.5, -1e-9], floor=1e-3) is ax
    lines = by_label(ax)
    assert lines["positive"].get_xdata().tolist() == [2]
    assert lines["negative"].get_xdata().tolist() == [1]
    assert lines["negative"].get_markerfacecolor() == "white"
    assert lines["output before"].get_ydata()[0] == 2
    assert ax.get_yscale() == "log"
    with pytest.raises(ValueError, match="floor > 0"):
        figures.orders(ax, [1.0, 2.0], floor=0.0)


def test_errors_start_at_order_one_and_bounds_share_the_color_of_their_method(ax):
    found = {"a": [9, 1e-16, 0], "b": [9, 1e-9, 1e9], "b, bound": [9, 1e-8, 1e9]}
    figures.errors(ax, found)
    lines = by_label(ax)
    assert lines["a"].get_xdata().tolist() == [1, 2]
    assert lines["a"].get_ydata().tolist() == [1e-16, 1e-17]
    assert lines["b, bound"].get_color() == lines["b"].get_color() != lines["a"].get_color()
    assert ax.get_legend() is None


def test_medians_over_depth_come_with_bands_and_every_run(ax):
    band = np.array([1.0, 2.0]), np.array([0.5, 1.5]), np.array([2.0, 3.0])
    figures.over_depth(ax, [2, 4], {"median": band}, {"any": np.ones((3, 2))})
    assert by_label(ax)["median"].get_ydata().tolist() == [1, 2]
    assert len(ax.lines) == 4
    assert len(ax.collections) == 1


def test_clouds_stay_near_their_r_under_the_bound(ax):
    figures.under_bound(ax, {0.5: np.full(100, 0.1)}, ([0.1, 1.0], [0.01, 1.0]))
    dots = ax.lines[0]
    assert np.all(np.abs(np.log(dots.get_xdata() / 0.5)) <= np.log(1.12))
    assert dots.get_ydata().tolist() == [0.1] * 100
    assert by_label(ax)["$e^r-1-r$"].get_ydata().tolist() == [0.01, 1.0]


def test_the_leak_is_drawn_on_its_law(ax):
    figures.leak(ax, [9.0, 1.0], [0.1, 0.5])
    law = ax.lines[1]
    assert law.get_ydata() == pytest.approx([0.5, 0.1])


def test_both_arms_have_a_dot_for_each_seed_and_width(ax):
    errors = np.arange(12.0).reshape(3, 2, 2)
    law = np.array([0.5, 0.4]), np.array([0.3, 0.2]), np.array([0.7, 0.6])
    figures.frozen_and_trained(ax, [1, 4], errors, [1, 4], law)
    assert by_label(ax)["frozen"].get_ydata().tolist() == [0, 2, 4, 6, 8, 10]
    assert by_label(ax)["trained"].get_ydata().tolist() == [1, 3, 5, 7, 9, 11]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "4"]
