"""The computational graph as a picture."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from bnlib import derivatives
from bnlib.plots import graph


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_values_are_black_fractions_and_gradients_red_ones(ax):
    graph.computational_graph(ax, {"v": 2 / 3}, {"x": np.array([[2 / 3], [-2 / 3], [0.0]])})
    color = {t.get_text(): t.get_color() for t in ax.texts}
    assert color["2/3"] == graph.COLORS["exact"]
    assert color["(2/3, −2/3, 0)"] == graph.COLORS["gradient"]


def test_an_unknown_node_is_refused_with_the_known_ones(ax):
    with pytest.raises(ValueError, match=r"'sigma'; the nodes are x, mu"):
        graph.computational_graph(ax, {"sigma": 1.0}, {})


def test_the_nodes_are_those_of_the_library():
    one = np.ones(1)
    _, adjoints = derivatives.backward_graph(np.eye(3, 1), np.eye(3, 1), one, one, eps=1.0)
    assert set(graph.NODES) == set(adjoints) | {"x", "gamma", "beta"}


def test_every_arrow_joins_nodes_and_only_y_is_an_end():
    starts, ends = ({edge[k] for edge in graph.EDGES} for k in (0, 1))
    assert starts | ends == set(graph.NODES)
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
        onward = [(e, d.strip("$")) for s, e, d, _ in graph.EDGES if s == node]
        return sum(np.dot(ways(end), local[label]) for end, label in onward)

    assert ways("x") == pytest.approx(derivatives.jacobian(x, gamma, eps=eps), abs=1e-12)
