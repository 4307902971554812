"""A figure has as many axes as its parameter says."""

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from bnlib.plots import distributions


def test_panels_are_exactly_as_many_as_asked_for():
    fig, axes = distributions.panels(5, 4)
    assert len(axes) == 5
    assert fig.axes == axes
    plt.close(fig)
