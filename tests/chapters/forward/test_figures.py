"""Figures of the forward chapter: counts, densities, shares and bands are read back."""

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib.chapters.forward import figures
from bnlib.chapters.forward.measure import Drift
from bnlib.statistics import Interval

BELL = (np.linspace(-3, 3, 61), np.exp(-(np.linspace(-3, 3, 61) ** 2) / 2) / np.sqrt(2 * np.pi))


@pytest.fixture
def ax():
    fig, axes = plt.subplots()
    yield axes
    plt.close(fig)


def counts(axes):
    return [patch.get_height() for patch in axes.patches]


def test_silhouettes_of_affine_images_have_the_same_counts():
    # Dyadic values, scale and shift: the affine image is exact, no value changes its bin.
    x = np.random.default_rng(0).integers(0, 81, 500) / 8.0
    fig = figures.pipeline([("input", x), ("input", x - 8), ("output", 4 * x - 32), ("input", x)])
    assert counts(fig.axes[0]) == counts(fig.axes[2])
    assert sum(counts(fig.axes[0])) == 500
    plt.close(fig)


def test_before_and_after_cover_each_other(ax):
    x = np.random.default_rng(1).exponential(size=400)
    figures.before_after(ax, x, (x - x.mean()) / x.std(), BELL, bins=20)
    top, right = (axes for axes in ax.figure.axes if axes is not ax)
    assert right.get_xlim() == top.get_xlim()
    filled, outlined = ax.patches[0].get_data(), right.patches[0].get_data()
    shown = [d.values / axes.get_ylim()[1] for d, axes in ((filled, ax), (outlined, right))]
    np.testing.assert_allclose(shown[0], shown[1], rtol=1e-9)


def test_a_constant_channel_is_refused_because_it_has_no_density(ax):
    with pytest.raises(ValueError, match="two different values"):
        figures.before_after(ax, np.ones(9), np.zeros(9), BELL)


def test_two_atoms_are_drawn_as_shares_and_not_as_densities(ax):
    figures.law_of_rows(ax, np.array([-1.0, 1.0, 1.0, 1.0]), ((-1, 1), (0.5, 0.5)), BELL)
    assert counts(ax) == [0.25, 0.75]


def test_bars_of_a_density_have_area_one_inside_the_support(ax):
    sample = np.random.default_rng(2).uniform(-1, 1, 300)
    t = np.linspace(-1, 1, 11)
    figures.law_of_rows(ax, sample, (t, np.full(11, 0.5)), BELL, bins=10)
    assert sum(counts(ax)) * 0.2 == pytest.approx(1.0)


def test_boxes_use_all_values_and_points_only_some(ax):
    groups = {"stem": np.arange(1000.0), "head": np.arange(7.0)}
    figures.boxes(ax, groups, (0.0, 2.0), dots=50)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["stem\n1000", "head\n7"]
    points = [line for line in ax.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in points] == [50, 7]
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_linewidth() == 2.5]
    assert medians == [499.5, 3.0]


def test_the_band_and_the_truth_follow_the_steps():
    panel = np.zeros((4, 3)), np.ones(4), np.arange(4.0), np.full(4, 2.0)
    drift = Drift(panel, panel, Interval(0, 0, 0))
    fig = figures.running({0.9: drift, 0.1: drift, 0.01: drift})
    for ax in fig.axes:
        assert len(ax.lines) == 5
        assert ax.lines[-1].get_ydata().tolist() == [2.0] * 4
        corners = ax.collections[0].get_paths()[0].vertices
        assert (corners[:, 1].min(), corners[:, 1].max()) == (-2.0, 4.0)
    plt.close(fig)
