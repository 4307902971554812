"""The backward pass node by node, and for the unbiased variance, against the whole and torch."""

import numpy as np
import pytest
import torch

from bnlib import reference
from bnlib.chapters.gradient import measure

U64 = 2.0**-53


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def inputs(rng, m, c=3):
    gamma = np.array([1.7, 0.0, -0.6])[:c]
    return rng.normal(size=(m, c)), rng.normal(0.7, 1.3, (m, c)), gamma, rng.normal(size=c)


@pytest.mark.parametrize("m", [2, 3, 8])
@pytest.mark.parametrize("eps", [1e-5, 1.0])
def test_nine_steps_collapse_to_the_closed_form(m, eps, rng):
    dy, x, gamma, beta = inputs(rng, m)
    steps, _ = measure.backward_graph(dy, x, gamma, beta, eps=eps)
    _, tape = reference.forward(x, gamma, beta, eps=eps)
    # the nine steps cancel down from terms of size gamma rstd max|dy| sqrt(m)
    size = np.abs(gamma * tape.rstd).max() * np.abs(dy).max() * m
    for a, b in zip(steps, reference.backward(dy, tape), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=64 * U64 * max(size, 1))


def test_every_node_has_the_adjoint_that_autograd_finds(rng):
    dy, x, gamma, beta = inputs(rng, 5)
    _, found = measure.backward_graph(dy, x, gamma, beta, eps=0.3)
    leaf, g = torch.tensor(x, requires_grad=True), torch.tensor(gamma)
    node = {"mu": leaf.mean(0)}
    node["c"] = leaf - node["mu"]
    node["q"] = node["c"] ** 2
    node["v"] = node["q"].mean(0)
    node["tau"] = (node["v"] + 0.3).sqrt()
    node["i"] = 1 / node["tau"]
    node["x_hat"] = node["c"] * node["i"]
    node["z"] = g * node["x_hat"]
    node["y"] = node["z"] + torch.tensor(beta)
    assert found.keys() == node.keys()
    want = torch.autograd.grad(node["y"], list(node.values()), torch.tensor(dy))
    for name, adjoint in zip(node, want, strict=True):
        # sums of five terms of size about 1
        np.testing.assert_allclose(found[name], adjoint, rtol=0, atol=128 * U64, err_msg=name)


@pytest.mark.parametrize("m", [2, 3, 8])
def test_unbiased_variance_has_another_gradient(m, rng):
    dy, x, gamma, beta = inputs(rng, m)
    ours = measure.backward_unbiased(dy, x, gamma, eps=0.3)
    t = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    y = t[1] * (t[0] - t[0].mean(0)) / (t[0].var(0, unbiased=True) + 0.3).sqrt() + t[2]
    for a, b in zip(ours, torch.autograd.grad(y, t, torch.tensor(dy)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=256 * U64)
    # its eigenvalue along x_hat is gamma eps / tau_u^3
    tau = np.sqrt(x.var(0, ddof=1) + 0.3)
    x_hat = (x - x.mean(0)) / tau
    np.testing.assert_allclose(
        (x_hat * ours.dx).sum(0), gamma * 0.3 / tau**3 * ours.dgamma, atol=256 * U64
    )
    biased = reference.backward(dy, reference.forward(x, gamma, beta, eps=0.3)[1])
    assert np.abs(biased.dx - ours.dx).max() > 1e-3
