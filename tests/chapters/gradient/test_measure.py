"""The Jacobian, what reaches the layers below, small batches, and float32 kernels."""

import numpy as np
import pytest
import torch

from bnlib import laws
from bnlib.chapters.gradient import measure


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def batch():
    _, x, y = measure.digits(2)
    return x[:, :16], y[:, :16]


def test_a_pairwise_batch_has_the_mean_loss_and_gradient_of_its_pairs(batch):
    x, y = batch
    net, plain = (measure.network(2, eps=1e-3, pairwise=p) for p in (True, False))
    together = measure.gradients(net, x, y)["W1"]
    alone = [measure.gradients(plain, x[:, k : k + 2], y[:, k : k + 2]) for k in range(0, 16, 2)]
    assert torch.allclose(together, torch.stack([g["W1"] for g in alone]).mean(0), atol=1e-12)


def test_pairs_do_not_matter_with_given_statistics(batch):
    x, _ = batch
    net, plain = (measure.network(2, eps=1e-3, pairwise=p) for p in (True, False))
    stats = plain.recalibrate(x)
    outputs = [n.forward(n.params, x, stats=stats) for n in (net, plain)]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_energy_that_passes_has_the_mean_of_the_law(share, rng):
    x = rng.normal(size=(4, 1))
    x = (x - x.mean()) / x.std() * np.ones(4000)
    passed = measure.energy_passed(x, rng, eps=1 / share - 1)
    # The standard deviation of one share is below 0.3.
    assert passed.mean() == pytest.approx(laws.energy_kept(4, share), abs=4 * 0.3 / np.sqrt(4000))


def test_slopes_of_a_power_law():
    x = np.array([1e-3, 1e-2, 1.0])
    assert measure.log_slope(x, 7 * x**-0.5) == pytest.approx(-0.5)
