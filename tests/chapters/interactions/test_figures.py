"""Figures of the interactions chapter: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bnlib.chapters.interactions import figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_parts_of_each_sign_follow_one_another_and_the_diamond_is_at_the_sum():
    ax = Figure().add_subplot()
    parts = {"own": [0.5, -1.0], "act": [0.25, 3.0], "int": [-0.5, -0.5]}
    figures.stacked(ax, ["a", "b"], parts)
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(0.0, 0.5), (0.0, -1.0), (0.5, 0.25), (0.0, 3.0), (0.0, -0.5), (-1.0, -0.5)]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0.25, 1.5])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_yticks()[0] > ax.get_yticks()[1]


def test_an_arm_is_drawn_over_ascending_depths_whatever_their_order():
    index = pd.MultiIndex.from_product([["start", "trained"], ["bn"], [8, 2]])
    estimate = np.array([0.8, 0.2, 0.9, 0.3])
    rows = pd.DataFrame(
        {"estimate": estimate, "low": estimate - 0.1, "high": estimate + 0.1}, index
    )
    fig = figures.over_depth(rows, ["bn"])
    line = fig.axes[1].lines[0]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([2, 8], [0.3, 0.9])


def test_participation_has_a_mark_a_seed_and_a_panel_a_direction():
    arms = ["none", "orthogonal", "frozen", "bn"]
    steps = pd.DataFrame({"arm": np.repeat(arms, 2), "n-eff": range(8), "int": range(8)})
    fig = figures.participation({"gradient": steps, "layer-normalized": steps})
    assert [ax.get_title() for ax in fig.axes] == ["gradient", "layer-normalized"]
    assert [line.get_label() for line in fig.axes[0].lines] == arms
    assert fig.axes[0].lines[3].get_ydata().tolist() == [6, 7]
