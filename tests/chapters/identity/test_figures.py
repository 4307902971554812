"""What is drawn is what was measured."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from bnlib.chapters.identity import figures
from bnlib.chapters.identity.measure import POPULATIONS
from bnlib.statistics import Interval

BOUNDS = tuple(np.array(v) for v in ([0.5, 0.2], [0.4, 0.1], [0.6, 0.3]))  # at two batch sizes


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_cloud_shows_every_batch_and_the_two_points():
    clouds = {4: ([0.8, 1.1], [0.1, -0.2]), 64: ([1.0], [0.0])}
    dots, cross, ring = figures.clouds(clouds, np.array([0.9, 0.99])).axes[0].lines
    np.testing.assert_array_equal(dots.get_xydata(), [[0.8, 0.1], [1.1, -0.2]])
    assert (cross.get_xydata().tolist(), ring.get_xydata().tolist()) == ([[1, 0]], [[0.9, 0]])


def test_the_ladder_has_one_series_for_each_eps_in_its_own_unit():
    rms = {1e-5: np.array([[0.3, 0.2]] * 2), 1e-3: np.array([[0.2, 0.1]] * 2)}
    law = {eps: values[0] for eps, values in rms.items()}
    (ax,) = figures.without_eps(np.array([1.0, 0.1]), rms, law).axes
    assert names(ax) == ["formula", "ε = 1e-05", "ε = 1e-03"]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1e5, 1e4])


def test_the_error_and_its_laws_share_one_axis_with_the_slopes():
    law = {name: [0.5, 0.1] for name in ("fixed", "best", "evaluation", "leading")}
    point = Interval(*(v[None] for v in BOUNDS))  # one population
    (ax,) = figures.error_by_size([2, 8], point, [2, 8], law).axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert len(names(ax)) == 5  # measured, exact, leading, best, price
    assert [text.get_text() for text in ax.texts] == ["slope -1", "slope -2"]


def test_the_error_is_multiplied_by_the_size_and_stands_on_its_limit():
    count = len(POPULATIONS)
    point = Interval(*(np.tile(v, (count, 1)) for v in BOUNDS))
    axes = figures.error_times_size([2, 10], point, np.tile([0.4, 0.25], (count, 1))).axes
    assert len(axes) == count
    exact, measured, limit = axes[0].lines
    np.testing.assert_allclose(exact.get_ydata(), [0.8, 2.5])
    np.testing.assert_allclose(measured.get_ydata(), [1.0, 2.0])
    assert limit.get_ydata() == [1.5, 1.5]
    assert axes[0].get_ylim() == pytest.approx((0, 3.6))  # the arm up to 10 x 0.3 fits
    assert axes[0].get_legend() is None


def test_the_descent_is_drawn_on_its_law_and_below_sigma():
    (ax,) = figures.learned([2, 8], BOUNDS, range(2, 9), np.linspace(0.5, 0.9, 7)).axes
    assert names(ax) == [r"$a_m=\mathrm{E}\,s_m/\sigma$", "learned γ/σ"]
    assert list(ax.lines[-1].get_ydata()) == [1, 1]


def test_each_optimizer_has_a_panel_with_all_groups_and_the_rate():
    left = {name: {"near": [1, 0.5], "far": [1, 0.9]} for name in ("sgd", "adam")}
    axes = figures.paths([0, 3], left, np.array([1, 0.7])).axes
    assert [names(ax) for ax in axes] == [["near", "far"]] * 2
    assert list(axes[1].lines[-1].get_ydata()) == [1, 0.7]


def test_gradients_stand_beside_the_diagonal_and_removed_shares_beside_the_network():
    theory = {0.0: [0.5, 0.2], 0.5: [0.6, 0.3]}
    shares = [2, 8], dict.fromkeys(theory, BOUNDS), theory
    arriving = np.array([[1.0, -1.0]]), np.array([[0.5, 0.0]])
    network = [4], tuple(np.array([v]) for v in (0.9, 0.8, 1.0))
    left, right = figures.projection(arriving, shares, network).axes
    np.testing.assert_array_equal(left.lines[0].get_xydata(), [[1, 0.5], [-1, 0]])
    np.testing.assert_array_equal(left.lines[1].get_xydata(), [[-1, -1], [1, 1]])
    assert {"independent, $b=0$", "independent, $b=0.5$", "digits network"} <= set(names(right))
    assert right.containers[-1].lines[0].get_xydata().tolist() == [[4, 0.9]]


def test_trajectories_have_one_line_and_one_band_for_each_way_to_train():
    ways = dict.fromkeys(("a", "b"), Interval(*(np.full(100, v) for v in (0.5, 0.4, 0.6))))
    (ax,) = figures.trajectories(ways).axes
    assert names(ax) == ["a", "b"]
    assert len(ax.collections) == 2


def test_layers_carry_one_interval_for_each_number_of_images():
    index = pd.MultiIndex.from_product([["a, b", "c"], [2, 8]], names=["layer", "N"])
    effects = pd.DataFrame({"effect": [2, 1, 3, 1], "low": [1, 1, 2, 1], "high": 4}, index)
    (ax,) = figures.design(effects).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a\nb", "c"]
    assert names(ax) == ["$N=2$ images", "$N=8$ images"]
    assert list(ax.containers[0].lines[0].get_ydata()) == [2, 3]
