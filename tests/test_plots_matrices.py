"""Matrices as pictures."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib.plots import matrices


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_every_entry_is_written_in_its_cell(ax):
    matrices.heatmap(ax, [[0.25, -0.5], [0.001, 1.0]], limit=1.0)
    written = {tuple(t.get_position()): t.get_text() for t in ax.texts}
    # Positions are (column, row); a rounded zero has no sign and no decimals.
    assert written == {(0, 0): ".25", (1, 0): "−.50", (0, 1): "0", (1, 1): "1.00"}


def test_zero_has_the_middle_color_and_the_limit_the_last(ax):
    matrices.heatmap(ax, [[-2.0, 0.0, 2.0]], limit=2.0)
    image = ax.images[0]
    assert list(image.norm([-2.0, 0.0, 2.0])) == [0.0, 0.5, 1.0]


def test_an_empty_color_range_is_refused(ax):
    with pytest.raises(ValueError, match="limit > 0"):
        matrices.heatmap(ax, np.eye(2), limit=0.0)


def test_parts_share_one_color_range_and_show_their_signs():
    fig, axes = plt.subplots(1, 2)
    matrices.parts(axes, [np.eye(2), 3 * np.eye(2)], ["one", "three"], ["", "−"], limit=1.0)
    assert [ax.images[0].get_clim() for ax in axes] == [(-1.0, 1.0)] * 2
    assert [ax.get_title() for ax in axes] == ["one", "three"]
    assert axes[1].texts[-1].get_text() == "−"
    plt.close(fig)
