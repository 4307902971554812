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


def test_the_error_and_its_laws_share_one_axis_with_the_slopes(ax):
    law = {name: [0.5, 0.1] for name in ("fixed", "best", "evaluation", "leading")}
    laws.error_by_size(ax, [2, 8], ([0.5, 0.2], [0.4, 0.1], [0.6, 0.3]), [2, 8], law)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert len(ax.get_legend().get_texts()) == 5  # measured, exact, leading, best, price
    assert [text.get_text() for text in ax.texts] == ["slope -1", "slope -2"]


def test_the_error_is_multiplied_by_the_size_and_stands_on_its_limit(ax):
    laws.error_times_size(ax, [2, 10], ([0.5, 0.2], [0.4, 0.1], [0.6, 0.3]), [0.4, 0.25], 1.5)
    exact, measured, limit = ax.lines
    np.testing.assert_allclose(exact.get_ydata(), [0.8, 2.5])
    np.testing.assert_allclose(measured.get_ydata(), [1.0, 2.0])
    assert limit.get_ydata() == [1.5, 1.5]
    assert ax.get_ylim() == pytest.approx((0, 3.6))  # the arm up to 10 x 0.3 fits
    assert ax.get_legend() is None


def test_the_ladder_has_one_series_for_each_eps_in_its_own_unit(ax):
    rms = {0.1: [0.3, 0.2], 0.01: [0.2, 0.1]}
    laws.eps_ladder(ax, np.array([1.0, 0.1]), rms, {**rms, 0.0: [0, 0]})
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["formula", "ε = 1e-01", "ε = 1e-02"]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [10, 1])


def test_removed_shares_stand_beside_those_of_the_network(ax):
    bounds = ([0.5, 0.2], [0.4, 0.1], [0.6, 0.3])
    theory = {0.0: [0.5, 0.2], 0.5: [0.6, 0.3]}
    laws.removed(ax, [2, 8], dict.fromkeys(theory, bounds), theory, ([4], ([0.9], [0.8], [1.0])))
    names = {text.get_text() for text in ax.get_legend().get_texts()}
    assert {"independent, $b=0$", "independent, $b=0.5$", "digits network"} <= names
    assert ax.containers[-1].lines[0].get_xydata().tolist() == [[4, 0.9]]
