"""The figures of the capacity chapter draw what they are given."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib.chapters.capacity import figures
from bnlib.chapters.capacity.decide import Compared
from bnlib.plots.style import COLORS


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_kinks_outside_the_range_are_not_drawn():
    x = np.linspace(-1, 1, 5)
    shown = {"x": x, "target": x, "fit": 0 * x, "kinks": np.array([-5, 0.5, 0.25]), "center": 0.1}
    ax = figures.kinks(dict.fromkeys(("none", "gamma", "beta", "both"), shown)).axes[0]
    ticks = ax.collections[0].get_segments()
    assert sorted(float(s[0][0]) for s in ticks) == [0.25, 0.5]
    assert ax.get_ylim()[0] < -1.2  # room for the ticks under the curve


def test_strips_show_every_seed_means_and_bounds():
    groups, ax = {"a": [1.0, 2.0, 3.0], "b": [2.0, 2.0, 2.0]}, plt.subplots()[1]
    figures.strips(ax, groups, means=[(2, 1, 3), (2, 2, 2)], bounds=[0.5, np.nan], label="floor")
    assert ax.lines[0].get_ydata().tolist() == [1.0, 2.0, 3.0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]
    assert ax.get_legend_handles_labels()[1] == ["floor"]


def test_forests_share_their_rows_and_the_values_of_this_run_lie_beside_them():
    arms = ("plain", "affine", "none", "gamma", "beta")
    table = [Compared("d", "relu-1", arm, -1.0, -2.0, 0.5, 0.2, "undecided") for arm in arms]
    ours = [row._replace(delta=-0.5, low=-3.0, high=2.0) for row in table]
    axes = figures.forest(table, ours).axes
    assert [ax.get_title() for ax in axes] == list(arms)
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["d, relu-1"]
    diamond = next(line for line in axes[0].lines if line.get_marker() == "D")
    assert (diamond.get_xdata()[0], diamond.get_color()) == (-0.5, COLORS["theory"])
