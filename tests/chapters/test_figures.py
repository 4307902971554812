"""What drawing computes. That every figure of every page can be drawn: tests/notebooks."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from bnlib import derivatives
from bnlib.chapters.capacity import figures as capacity
from bnlib.chapters.chains import figures as chains
from bnlib.chapters.covariate_shift import figures as shift
from bnlib.chapters.covariate_shift import measure as shift_measure
from bnlib.chapters.forward import figures as forward
from bnlib.chapters.gradient import figures as gradient
from bnlib.chapters.gradient import measure as gradient_measure
from bnlib.chapters.identity import figures as identity
from bnlib.chapters.interactions import figures as interactions
from bnlib.chapters.learning_rate import figures as rates
from bnlib.statistics import Interval

GRID = np.linspace(-3, 3, 61)
BELL = GRID, np.exp(-(GRID**2) / 2) / np.sqrt(2 * np.pi)


@pytest.fixture(autouse=True)
def ax():
    yield plt.subplots()[1]
    plt.close("all")


def heights(ax):
    return [patch.get_height() for patch in ax.patches]


def test_capacity_leaves_kinks_outside_the_range_out():
    x = np.linspace(-1, 1, 5)
    shown = {"x": x, "target": x, "fit": 0 * x, "kinks": np.array([-5, 0.5, 0.25]), "center": 0.1}
    panel = capacity.kinks(dict.fromkeys(("none", "gamma", "beta", "both"), shown)).axes[0]
    ticks = panel.collections[0].get_segments()
    assert sorted(float(s[0][0]) for s in ticks) == [0.25, 0.5]


def test_chains_tell_signs_apart_and_leave_out_what_is_below_the_floor(ax):
    chains.stems(ax, np.array([2.0, -3.0, 0.5, -1e-9]), floor=1e-3)
    orders = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert (orders["positive"], orders["negative"]) == ([2], [1])


def test_covariate_shift_draws_growth_from_layer_two_on_and_a_guide_of_slope_three():
    panel = shift.growth({"bn": np.array([[5.0, 4, 2, 1], [6, 4, 2, 1]])}, 2.0).axes[0]
    np.testing.assert_allclose(panel.lines[-1].get_xydata(), [[2, 4], [3, 2], [4, 1]])
    missed = {"left endpoint": np.array([8.0, 4.0, 2.0])}
    steps, arms = np.array([0.4, 0.2, 0.1]), dict.fromkeys(("none", "bn"), missed)
    theorem = shift_measure.Theorem({}, steps, arms, {}, 0.0, 0.0)
    x, y = np.log(shift.misses(theorem).axes[0].lines[-1].get_xydata()).T
    np.testing.assert_allclose(np.diff(y) / np.diff(x), 3)


def test_forward_lays_values_before_and_after_over_each_other_and_needs_two_of_them(ax):
    x = np.random.default_rng(1).exponential(size=400)
    forward.before_after(ax, x, (x - x.mean()) / x.std(), BELL, bins=20)
    _, right = (other for other in ax.figure.axes if other is not ax)
    shown = [a.patches[0].get_data().values / a.get_ylim()[1] for a in (ax, right)]
    np.testing.assert_allclose(shown[0], shown[1], rtol=1e-9)
    with pytest.raises(ValueError, match="two different values"):
        forward.before_after(ax, np.ones(9), np.zeros(9), BELL)


def test_forward_draws_atoms_as_shares_and_rows_as_a_density(ax):
    forward.law_of_rows(ax, np.array([-1.0, 1.0, 1.0, 1.0]), ((-1, 1), (0.5, 0.5)), BELL)
    assert heights(ax) == [0.25, 0.75]
    sample, t = np.random.default_rng(2).uniform(-1, 1, 300), np.linspace(-1, 1, 11)
    other = plt.subplots()[1]
    forward.law_of_rows(other, sample, (t, np.full(11, 0.5)), BELL, bins=10)
    assert sum(heights(other)) * 0.2 == pytest.approx(1.0)


def test_gradient_has_the_nodes_of_the_library_and_only_y_is_an_end():
    one = np.ones(1)
    _, adjoints = gradient_measure.backward_graph(np.eye(3, 1), np.eye(3, 1), one, one, eps=1.0)
    assert set(gradient.NODES) == set(adjoints) | {"x", "gamma", "beta"}
    starts, ends = ({edge[k] for edge in gradient.EDGES} for k in (0, 1))
    assert starts | ends == set(gradient.NODES)
    assert (ends - starts, starts - ends) == ({"y"}, {"x", "gamma", "beta"})


def test_gradient_writes_the_local_derivatives_of_its_graph():
    """Multiply the derivatives along all ways from x to y and compare with the Jacobian."""
    x, m, eps, gamma = np.array([1.0, 2.5, 4.0]), 3, 0.3, 1.7
    c = x - x.mean()
    tau = np.sqrt((c**2).mean() + eps)
    one, to_mean = np.ones((m, 1)), np.ones((1, m)) / m
    local = {"1": np.eye(m), "1/m": to_mean, "-1": -one, "2c": np.diag(2 * c), "i": np.eye(m) / tau}
    local |= {r"\frac{1}{2\tau}": 1 / (2 * tau), r"-\frac{1}{\tau^2}": -1 / tau**2}
    local |= {"c": c[:, None], r"\gamma": gamma * np.eye(m)}

    def ways(node):
        if node == "y":
            return np.eye(m)
        onward = [(e, d.strip("$")) for s, e, d, _ in gradient.EDGES if s == node]
        return sum(np.dot(ways(end), local[label]) for end, label in onward)

    assert ways("x") == pytest.approx(derivatives.jacobian(x, gamma, eps=eps), abs=1e-12)


def test_gradient_writes_entries_with_signs_and_a_rounded_zero_without():
    axes = gradient.jacobian_terms([np.array([[0.25, -0.5], [0.001, 1.0]])] * 4).axes
    texts = [[t.get_text() for t in panel.texts] for panel in axes]
    assert texts == [[".25", "−.50", "0", "1.00", sign] for sign in ("", "=", "−", "−")]


def test_identity_multiplies_error_and_interval_by_the_size():
    names = list(identity.POPULATIONS)
    ends = ([0.5, 0.2], [0.4, 0.1], [0.6, 0.3])
    point = Interval(*(np.tile(v, (len(names), 1)) for v in ends))
    axes = identity.error_times_size([2, 10], point, np.tile([0.4, 0.25], (len(names), 1))).axes
    exact, measured, limit = axes[0].lines
    np.testing.assert_allclose(exact.get_ydata(), [0.8, 2.5])
    np.testing.assert_allclose(measured.get_ydata(), [1.0, 2.0])
    assert limit.get_ydata() == [1.5, 1.5]
    assert axes[0].get_ylim() == pytest.approx((0, 3.6))  # the arm up to 10 x 0.3 fits


def test_interactions_lets_parts_of_each_sign_follow_one_another_to_their_sum(ax):
    parts = {"own": [0.5, -1.0], "act": [0.25, 3.0], "int": [-0.5, -0.5]}
    interactions.stacked(ax, ["a", "b"], parts)
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(0.0, 0.5), (0.0, -1.0), (0.5, 0.25), (0.0, 3.0), (0.0, -0.5), (-1.0, -0.5)]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0.25, 1.5])


def test_learning_rates_show_lost_losses_hollow_at_the_ceiling_and_ring_censored_lines():
    lines = {"a": np.array([2.0, 1.0, np.nan]), "b": np.array([2.0, 1.0, 0.5])}
    panel = rates.losses({2: lines}, [0.5, 1, 2], 1.2).axes[0]
    assert panel.lines[0].get_ydata().tolist() == [2.0, 1.0, rates.CEILING]
    hollow = panel.lines[1]
    assert (hollow.get_xdata().tolist(), hollow.get_markerfacecolor()) == ([2.0], "white")
    rings = [line for line in panel.lines if line.get_markersize() == 11]
    assert [ring.get_ydata()[0] for ring in rings] == [0.5]


def test_learning_rates_put_an_infinite_predictor_at_the_edge_and_held_out_cells_open(ax):
    columns = {"k_off": [1.0, -2.0, np.inf], "max_trainable": [0.0, 1, 2], "cell": [*"aab"]}
    table = pd.DataFrame(columns | {"held_out": [False, False, True]})
    rates.against_rate(ax, table, "k_off", log=True)
    assert ax.lines[1].get_xdata().tolist() == [2.0]
    assert ax.lines[1].get_markerfacecolor() == "white"
    assert ax.lines[0].get_ydata().tolist() == [1.0, 2.0]


def test_learning_rates_draw_the_bound_of_an_effective_rate_one_step_late():
    rate, bound = np.array([[4.0], [2.0], [1.0]]), np.array([[3.0], [2.0], [1.0]])
    panel = rates.effective([4.0], rate, bound).axes[0]
    assert panel.lines[1].get_xydata().tolist() == [[1, 3], [2, 2]]
