"""Pictures of small batches."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib.plots import small_batches


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_moments_show_a_line_and_dots_for_every_name(ax):
    eps = np.array([1e-3, 1e-2])
    small_batches.moments_of_gain(ax, eps, {"mean": [1.0, 1.0]}, {"mean": [1.1, 0.9]})
    line, dots = ax.lines
    assert list(line.get_ydata()) == [1.0, 1.0]
    assert list(dots.get_ydata()) == [1.1, 0.9]
    assert ax.texts[0].get_text() == "mean"


def test_norms_show_median_mean_and_largest(ax):
    small_batches.norm_quantiles(ax, (2, 8), [[[1.0, 2.0], [3.0, 10.0]], [4.0, 4.0]], 1e-9)
    shown = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert shown == {"median": [2.5, 4.0], "mean": [4.0, 4.0], "largest": [10.0, 4.0]}
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2", "8"]


def test_every_seed_is_a_dot_and_series_stand_apart(ax):
    small_batches.dots_by_size(ax, (2, 3), {"a": [[1.0, 2.0], [3.0]], "b": [[4.0], [5.0]]})
    first, second = ax.lines
    assert list(first.get_ydata()) == [1.0, 2.0, 3.0]
    assert first.get_xdata()[0] < 0 < second.get_xdata()[0]
