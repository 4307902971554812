"""Figures of learning rates: what is drawn where, and what cannot be drawn on a log axis."""

import numpy as np
from matplotlib.figure import Figure

from bnlib.plots import learning_rate as pictures


def ax():
    return Figure().add_subplot()


def test_losses_that_left_the_numbers_lie_hollow_at_the_ceiling_and_censored_lines_get_a_ring():
    at = pictures.losses(
        ax(), [0.5, 1, 2], {"a": [2.0, 1.0, np.nan], "b": [2.0, 1.0, 0.5]}, threshold=1.2
    )
    assert at.lines[0].get_ydata().tolist() == [2.0, 1.0, pictures.CEILING]
    assert at.lines[1].get_xdata().tolist() == [2.0]
    assert at.lines[1].get_markerfacecolor() == "white"
    rings = [line for line in at.lines if line.get_markersize() == 11]
    assert [ring.get_ydata()[0] for ring in rings] == [0.5]


def test_rates_over_depth_are_drawn_as_rates():
    at = pictures.over_depth(ax(), [4, 8], {"bn": ([1, 2], [0, 2], [1, 3])})
    assert at.lines[0].get_ydata().tolist() == [2.0, 4.0]
    assert [t.get_text() for t in at.get_xticklabels()] == ["4", "8"]


def test_an_infinite_predictor_is_drawn_at_the_right_edge_and_held_out_cells_are_open():
    at = pictures.against_rate(
        ax(), [1.0, -2.0, np.inf], [0, 1, 2], ["a", "a", "b"], [False, False, True], log=True
    )
    assert at.lines[1].get_xdata().tolist() == [2.0]
    assert at.lines[1].get_markerfacecolor() == "white"
    assert at.lines[0].get_ydata().tolist() == [1.0, 2.0]


def test_ticks_of_a_signed_predictor_leave_room_around_zero():
    x = [-1.0, 0.01, 0.1, 20.0]
    at = pictures.against_rate(ax(), x, [0, 1, 2, 3], ["a"] * 4, [False] * 4, log=True)
    ticks = np.abs(at.get_xticks())
    assert (ticks[ticks > 0] >= 0.5).all()


def test_correlations_have_a_row_a_name_and_leave_out_what_is_undefined():
    halves = {
        "exploration": ([0.5, np.nan], [0.4, np.nan], [0.6, np.nan]),
        "held-out": ([0.1, 0.2], [0.0, 0.1], [0.3, 0.3]),
    }
    at = pictures.correlations(ax(), ["k", "baseline"], halves)
    drawn = [c.lines[0].get_xdata().tolist() for c in at.containers]
    assert drawn == [[0.5], [0.1, 0.2]]
    assert at.get_ylim()[0] > at.get_ylim()[1]


def test_the_ladder_shows_every_seed_and_the_mean_of_the_logarithms():
    at = pictures.ladder(ax(), ["none", "bn"], [[0, 1], [0, 3]], {"bn": [0, 2]})
    dots = [line for line in at.lines if line.get_marker() == "."]
    bars = [line.get_ydata()[0] for line in at.lines if line.get_marker() != "."]
    assert [len(line.get_xdata()) for line in dots] == [2, 2, 2]
    assert bars == [1.0, 4.0, 2.0]
    assert {line.get_linestyle() for line in at.lines if line.get_marker() != "."} == {"-"}
    labels = [text.get_text() for text in at.get_legend().get_texts()]
    assert labels == ["norms free", "norms reset"]


def test_growth_and_effective_rates_have_logarithmic_axes_and_the_bound_is_one_step_late():
    assert pictures.growth(ax(), [1, 2], {"bn": [1.0, np.nan]}).get_yscale() == "log"
    found, bound = np.array([[4.0], [2.0], [1.0]]), np.array([[3.0], [2.0], [1.0]])
    at = pictures.effective(ax(), [4.0], found, bound)
    assert at.lines[1].get_xdata().tolist() == [1, 2]
    assert at.lines[1].get_ydata().tolist() == [3.0, 2.0]


def test_labeled_marks_carry_their_names():
    at = pictures.labeled(ax(), {"bn": 0.2}, {"bn": 1.0})
    assert at.texts[0].get_text() == "bn"
    assert at.lines[0].get_ydata() == [2.0]
