"""Bars of signed parts."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from bnlib.plots.interactions import stacked


def test_parts_of_each_sign_follow_one_another_and_the_diamond_is_at_the_sum():
    ax = Figure().add_subplot()
    stacked(ax, ["a", "b"], {"one": [0.5, -1.0], "two": [0.25, 3.0], "three": [-0.5, -0.5]})
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(0.0, 0.5), (0.0, -1.0), (0.5, 0.25), (0.0, 3.0), (0.0, -0.5), (-1.0, -0.5)]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0.25, 1.5])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_yticks()[0] > ax.get_yticks()[1]


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan]])
def test_missing_and_non_finite_values_are_refused(values):
    with pytest.raises(ValueError, match="act: want 2 finite values"):
        stacked(Figure().add_subplot(), ["a", "b"], {"act": values})
