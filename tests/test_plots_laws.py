"""Figures of the identity chapter: what is drawn is what was given."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib.plots import laws


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_a_cloud_shows_every_batch_and_the_two_points(ax):
    laws.cloud(ax, [0.8, 1.1], [0.1, -0.2], 0.9)
    dots, cross, ring = ax.lines
    np.testing.assert_array_equal(dots.get_xydata(), [[0.8, 0.1], [1.1, -0.2]])
    assert (cross.get_xydata().tolist(), ring.get_xydata().tolist()) == ([[1, 0]], [[0.9, 0]])


def test_lines_keep_their_names_and_dashes(ax):
    laws.lines(ax, [1, 2], {"a": ([3, 4], "batch", ":"), "b": ([5, 6], "running", "--")})
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert [line.get_linestyle() for line in ax.lines] == [":", "--"]


def test_gradients_passed_on_stand_beside_the_diagonal(ax):
    laws.passed_on(ax, [[1.0, -1.0]], [[0.5, 0.0]])
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 0.5], [-1, 0]])
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[-1, -1], [1, 1]])


def test_groups_carry_one_interval_for_each_series(ax):
    laws.by_group(ax, ["a, b", "c"], {"N=2": ([2, 3], [1, 2], [4, 5]), "N=8": ([1, 1],) * 3})
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a\nb", "c"]
    assert len(ax.containers) == 2
    assert len(ax.get_legend().get_texts()) == 2
