"""The backward pass node by node against torch, and the graph that is drawn of it."""

import numpy as np
import pytest
import torch

from bnlib.chapters.gradient import derivatives, figures, measure

U64 = 2.0**-53
EPS = 0.3


@pytest.fixture
def rows():
    rng = np.random.default_rng(12)
    return rng.normal(size=(5, 3)), rng.normal(0.7, 1.3, (5, 3)), rng.normal(size=3)


def test_every_node_and_input_has_the_adjoint_that_autograd_finds(rows):
    dy, x, beta = rows
    gamma = np.array([1.7, 0.0, -0.6])
    inputs, adjoints = measure.backward_graph(dy, x, gamma, beta, eps=EPS)
    leaf, g, b = (torch.tensor(a, requires_grad=True) for a in (x, gamma, beta))
    node = {"mu": leaf.mean(0)}
    node["c"] = leaf - node["mu"]
    node["q"] = node["c"] ** 2
    node["v"] = node["q"].mean(0)
    node["tau"] = (node["v"] + EPS).sqrt()
    node["i"] = 1 / node["tau"]
    node["x_hat"] = node["c"] * node["i"]
    node["z"] = g * node["x_hat"]
    node["y"] = node["z"] + b
    assert adjoints.keys() == node.keys()
    want = torch.autograd.grad(node["y"], [*node.values(), leaf, g, b], torch.tensor(dy))
    found = [*(adjoints[name] for name in node), *inputs]
    for name, ours, theirs in zip([*node, "x", "gamma", "beta"], found, want, strict=True):
        # sums of five terms of size about 1
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=128 * U64, err_msg=name)


def test_the_graph_has_the_nodes_of_the_library_and_only_y_is_an_end(rows):
    dy, x, beta = rows
    _, adjoints = measure.backward_graph(dy, x, beta, beta, eps=EPS)
    assert set(figures.NODES) == set(adjoints) | {"x", "gamma", "beta"}
    starts, ends = ({edge[k] for edge in figures.EDGES} for k in (0, 1))
    assert starts | ends == set(figures.NODES)
    assert (ends - starts, starts - ends) == ({"y"}, {"x", "gamma", "beta"})


def test_the_graph_shows_local_derivatives_whose_products_along_all_ways_are_the_jacobian():
    x, m, gamma = np.array([1.0, 2.5, 4.0]), 3, 1.7
    c = x - x.mean()
    tau = np.sqrt((c**2).mean() + EPS)
    one, to_mean = np.ones((m, 1)), np.ones((1, m)) / m
    local = {"1": np.eye(m), "1/m": to_mean, "-1": -one, "2c": np.diag(2 * c), "i": np.eye(m) / tau}
    local |= {r"\frac{1}{2\tau}": 1 / (2 * tau), r"-\frac{1}{\tau^2}": -1 / tau**2}
    local |= {"c": c[:, None], r"\gamma": gamma * np.eye(m)}

    def ways(node):
        if node == "y":
            return np.eye(m)
        onward = [(e, d.strip("$")) for s, e, d, _ in figures.EDGES if s == node]
        return sum(np.dot(ways(end), local[label]) for end, label in onward)

    assert ways("x") == pytest.approx(derivatives.jacobian(x, gamma, eps=EPS), abs=1e-12)
