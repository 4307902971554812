"""Heat maps of blocks, growth over layers, bands."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from bnlib.plots import landscape


def test_every_block_is_written_in_its_cell_with_one_scale_for_all_panels():
    ax = Figure().add_subplot()
    landscape.block_map(ax, [[12.34, 0.5], [0.5, 3.0]], limit=20.0, text="share 10 %")
    assert [t.get_text() for t in ax.texts] == ["12.3", "0.5", "0.5", "3"]
    assert ax.images[0].get_clim() == (0.0, 20.0)
    assert ax.get_xlabel() == "share 10 %"
    assert [t.get_color() for t in ax.texts] == ["white", "black", "black", "black"]


@pytest.mark.parametrize(("norms", "limit"), [([[-1.0]], 1.0), ([[1.0]], 0.0), ([[np.nan]], 1.0)])
def test_negative_norms_and_empty_scales_are_refused(norms, limit):
    with pytest.raises(ValueError, match="norms >= 0 and limit > 0"):
        landscape.block_map(Figure().add_subplot(), norms, limit=limit)


def test_growth_draws_every_seed_and_the_line_from_layer_two_on():
    ax = Figure().add_subplot()
    landscape.growth(ax, {"bn": np.array([[5.0, 4, 2, 1], [6, 4, 2, 1]])}, 2.0, "theory")
    assert len(ax.lines) == 3
    np.testing.assert_allclose(ax.lines[-1].get_xdata(), [2, 3, 4])
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [4, 2, 1])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["bn", "theory"]


def test_a_band_lies_around_its_line():
    ax = Figure().add_subplot()
    landscape.bands(ax, [0, 1], {"none": ([0, 1], [1, 2], [2, 3]), "bn": ([0, 0], [0, 0], [1, 1])})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1, 2])
    assert len(ax.collections) == 2
