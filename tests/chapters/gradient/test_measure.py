"""The Jacobian, what reaches the layers below, small batches, and float32 kernels."""

import numpy as np
import pytest
import torch

from bnlib import laws, training
from bnlib.chapters.gradient import Settings, measure


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


def test_a_sweep_trains_each_rate_and_seed_as_a_run_of_its_own():
    given = Settings(seeds=3, steps=50)
    swept, splits = measure.sweep_rates(given, 2), measure.digits(3)[0]
    x, y, x_test, y_test = (np.stack(part) for part in zip(*splits, strict=True))
    for steps, factor in ((50, 2), (50 * measure.LONGER, 0.5)):
        net = measure.network(3, eps=1e-5)
        how = {"steps": steps, "batch": 2, "lr": 0.1 * factor}
        training.train(net, x, y, trainable=measure.ABOVE, **how)
        loss = training.losses(net, x_test, y_test, stats=net.recalibrate(torch.from_numpy(x)))
        at = list(measure.FACTORS).index(factor)
        assert swept[steps].fixed[1][at] == pytest.approx(loss, rel=1e-9)
        assert (abs(swept[steps].trained[1][at] - loss) > 1e-3).all()


def test_an_arm_takes_the_rate_of_its_lowest_mean_training_loss():
    train, test = np.array([[1.0, 3], [2, 1]]), np.array([[5.0, 6], [7, 8]])
    swept = measure.Swept((train, test), (train[::-1], test))
    assert swept.best == (1, 0)
    assert swept.own_gain.tolist() == [-2, -2]
