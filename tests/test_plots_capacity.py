"""The figures of the capacity chapter draw what they are given."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib.plots import capacity
from bnlib.plots.style import COLORS


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_kinks_outside_the_range_are_not_drawn(ax):
    x = np.linspace(-1, 1, 5)
    capacity.fit_over_kinks(ax, x, x, 0 * x, [-5.0, 0.5, 0.25], 0.1)
    ticks = ax.collections[0].get_segments()
    assert sorted(float(s[0][0]) for s in ticks) == [0.25, 0.5]
    assert ax.get_ylim()[0] < -1.2  # room for the ticks under the curve


def test_strips_show_every_seed_means_and_bounds(ax):
    groups = {"a": [1.0, 2.0, 3.0], "b": [2.0, 2.0, 2.0]}
    capacity.strips(ax, groups, means=[(2, 1, 3), (2, 2, 2)], bounds=[0.5, np.nan])
    assert ax.lines[0].get_ydata().tolist() == [1.0, 2.0, 3.0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]
    assert ax.get_legend_handles_labels()[1] == ["predicted"]


def test_forests_share_their_rows_and_own_values_lie_beside_them():
    row = {"data": "d", "architecture": "relu-1", "arm": "none"}
    table = [row | {"delta": -1.0, "low": -2.0, "high": 0.5}]
    own = [row | {"delta": -0.5, "low": -3.0, "high": 2.0}]
    fig, axes = plt.subplots(1, 2, sharey=True)
    capacity.difference_forests(axes, ["none", "gamma"], table, own, margin=0.5)
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["d, relu-1"]
    diamond = next(line for line in axes[0].lines if line.get_marker() == "D")
    assert (diamond.get_xdata()[0], diamond.get_color()) == (-0.5, COLORS["theory"])
    plt.close(fig)
