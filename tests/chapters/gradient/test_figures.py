"""The chapter's pictures."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib import derivatives
from bnlib.chapters.gradient import figures, measure


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_values_are_black_fractions_and_gradients_red_ones():
    adjoints = {"x": np.array([[2 / 3], [-2 / 3], [0.0]])}
    (ax,) = figures.computational_graph({"v": 2 / 3}, adjoints).axes
    color = {t.get_text(): t.get_color() for t in ax.texts}
    assert color["2/3"] == figures.COLORS["exact"]
    assert color["(2/3, −2/3, 0)"] == figures.COLORS["gradient"]


def test_the_nodes_are_those_of_the_library():
    one = np.ones(1)
    _, adjoints = measure.backward_graph(np.eye(3, 1), np.eye(3, 1), one, one, eps=1.0)
    assert set(figures.NODES) == set(adjoints) | {"x", "gamma", "beta"}


def test_every_arrow_joins_nodes_and_only_y_is_an_end():
    starts, ends = ({edge[k] for edge in figures.EDGES} for k in (0, 1))
    assert starts | ends == set(figures.NODES)
    assert ends - starts == {"y"}
    assert starts - ends == {"x", "gamma", "beta"}


def test_local_derivatives_are_those_of_the_graph():
    """Multiply the derivatives along all ways from x to y and compare with a difference."""
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
        onward = [(e, d.strip("$")) for s, e, d, _ in figures.EDGES if s == node]
        return sum(np.dot(ways(end), local[label]) for end, label in onward)

    assert ways("x") == pytest.approx(derivatives.jacobian(x, gamma, eps=eps), abs=1e-12)


def test_terms_share_one_color_range_and_show_their_signs_and_entries():
    term = np.array([[0.25, -0.5], [0.001, 1.0]])
    axes = figures.jacobian_terms([term] * 4).axes
    assert [ax.images[0].get_clim() for ax in axes] == [(-1, 1)] * 4
    # A rounded zero has no sign and no decimals.
    texts = [[t.get_text() for t in ax.texts] for ax in axes]
    assert texts == [[".25", "−.50", "0", "1.00", sign] for sign in ("", "=", "−", "−")]


def test_small_batches_show_every_value():
    eps = np.array([1e-3, 1e-2])
    names = ("median", "mean", "mean square")
    law, drawn = (dict.fromkeys(names, values) for values in ([1.0, 2.0], [1.1, 0.9]))
    pairs = measure.Pairs(eps, law, drawn, 0.0)
    spreads = [(1.0, 2.0, 3.0, 2.5, 4.0), (5.0, 6.0, 7.0, 6.5, 8.0)]
    moved = {1e-5: [[1.0, 2.0], [3.0]], 1e-3: [[4.0], [5.0]]}
    fig = figures.batch_two(pairs, measure.spikes(), spreads, moved, (2, 8))
    _, moments, norms, movement = fig.axes
    assert [list(line.get_ydata()) for line in moments.lines] == [[1.0, 2.0], [1.1, 0.9]] * 3
    marks = {line.get_label(): list(line.get_ydata()) for line in norms.lines}
    assert marks == {"median": [2.0, 6.0], "mean": [2.5, 6.5], "largest": [4.0, 8.0]}
    first, second = movement.lines
    assert list(first.get_ydata()) == [1.0, 2.0, 3.0]
    assert first.get_xdata()[0] < 0 < second.get_xdata()[0]
    assert [t.get_text() for t in movement.get_xticklabels()] == ["2", "8"]
