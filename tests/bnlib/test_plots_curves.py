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
