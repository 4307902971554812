"""Figures of learning rates: what is drawn where, and what cannot be drawn on a log axis."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from bnlib.chapters.learning_rate import figures


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def points(x, cells, held_out):
    rate = np.arange(len(x), dtype=float)
    columns = {"k_off": x, "max_trainable": rate, "cell": cells, "held_out": held_out}
    return pd.DataFrame(columns)


def test_losses_that_left_the_numbers_lie_hollow_at_the_ceiling_and_censored_lines_get_a_ring():
    lines = {"a": np.array([2.0, 1.0, np.nan]), "b": np.array([2.0, 1.0, 0.5])}
    at = figures.losses({2: lines}, [0.5, 1, 2], 1.2).axes[0]
    assert at.lines[0].get_ydata().tolist() == [2.0, 1.0, figures.CEILING]
    assert at.lines[1].get_xdata().tolist() == [2.0]
    assert at.lines[1].get_markerfacecolor() == "white"
    rings = [line for line in at.lines if line.get_markersize() == 11]
    assert [ring.get_ydata()[0] for ring in rings] == [0.5]


def test_rates_over_depth_are_drawn_as_rates():
    at = figures.over_depth([4, 8], {"bn": np.array([[1, 2], [0, 2], [1, 3]])}, 8.0).axes[0]
    assert at.lines[0].get_ydata().tolist() == [2.0, 4.0]
    assert [t.get_text() for t in at.get_xticklabels()] == ["4", "8"]


def test_an_infinite_predictor_is_drawn_at_the_right_edge_and_held_out_cells_are_open():
    _, ax = plt.subplots()
    table = points([1.0, -2.0, np.inf], ["a", "a", "b"], [False, False, True])
    figures.against_rate(ax, table, "k_off", log=True)
    assert ax.lines[1].get_xdata().tolist() == [2.0]
    assert ax.lines[1].get_markerfacecolor() == "white"
    assert ax.lines[0].get_ydata().tolist() == [1.0, 2.0]


def test_ticks_of_a_signed_predictor_leave_room_around_zero():
    _, ax = plt.subplots()
    figures.against_rate(ax, points([-1.0, 0.01, 0.1, 20.0], "a", False), "k_off", log=True)
    ticks = np.abs(ax.get_xticks())
    assert (ticks[ticks > 0] >= 0.5).all()


def test_correlations_have_a_row_a_name_and_the_halves_below_one_another():
    columns = ["estimate", "low", "high"]
    rows = pd.DataFrame([[0.5, 0.4, 0.6], [0.2, 0.1, 0.3]], ["k", "baseline"], columns)
    at = figures.forest({"exploration": rows, "held_out": rows - 0.1}).axes[0]
    first, second = (c.lines[0] for c in at.containers)
    assert first.get_xdata().tolist() == [0.5, 0.2]
    assert (second.get_ydata() > first.get_ydata()).all()
    assert at.get_ylim()[0] > at.get_ylim()[1]
    assert [text.get_text() for text in at.get_legend().get_texts()] == ["exploration", "held-out"]


def test_the_ladder_shows_every_seed_and_the_mean_and_growth_ends_where_models_diverge():
    free = pd.DataFrame({"none": [0, 0], "bn": [1, 3]})
    growth = {"bn": np.array([1.0, np.inf])}
    left, right = figures.ladder(free, {"bn": np.array([0, 2])}, [1, 2], growth).axes
    dots = [line for line in left.lines if line.get_marker() == "."]
    bars = [line.get_ydata()[0] for line in left.lines if line.get_marker() != "."]
    assert [len(line.get_xdata()) for line in dots] == [2, 2, 2]
    assert bars == [1.0, 4.0, 2.0]
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["norms free", "norms reset"]
    assert right.get_yscale() == "log"
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [1.0, np.nan])


def test_the_bound_of_an_effective_rate_is_one_step_late():
    rate, bound = np.array([[4.0], [2.0], [1.0]]), np.array([[3.0], [2.0], [1.0]])
    at = figures.effective([4.0], rate, bound).axes[0]
    assert at.lines[1].get_xdata().tolist() == [1, 2]
    assert at.lines[1].get_ydata().tolist() == [3.0, 2.0]


def test_marks_of_arms_carry_their_names():
    at = figures.arms({"bn": (0.2, 1.0)}).axes[0]
    assert at.texts[0].get_text() == "bn"
    assert at.lines[0].get_ydata() == [2.0]
