"""What reaches the layers below batch normalization."""

import numpy as np
import pytest
import torch

from bnlib import data, laws, training
from bnlib.experiments import lower_layers


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def splits():
    return [data.digits_split(seed) for seed in range(2)]


@pytest.fixture(scope="module")
def batch(splits):
    return tuple(torch.from_numpy(np.stack([s[k][:16] for s in splits])) for k in (0, 1))


def test_a_pairwise_batch_has_the_mean_loss_and_gradient_of_its_pairs(batch):
    x, y = batch
    net, plain = (lower_layers.network(2, eps=1e-3, pairwise=p) for p in (True, False))
    together = lower_layers.gradients(net, x, y)["W1"]
    alone = [
        lower_layers.gradients(plain, x[:, k : k + 2], y[:, k : k + 2]) for k in range(0, 16, 2)
    ]
    assert torch.allclose(together, torch.stack([g["W1"] for g in alone]).mean(0), atol=1e-12)


def test_training_sees_the_pairs(batch):
    x, y = batch
    order = torch.arange(16).expand(3, 2, 16)
    found = []
    for pairwise in (True, False):
        net = lower_layers.network(2, eps=1e-3, pairwise=pairwise)
        found.append(training.train(net, x, y, steps=3, batch=16, lr=0.1, order=order).loss)
    assert (np.abs(found[0] - found[1]) > 1e-3).all()


def test_pairs_do_not_matter_with_given_statistics(batch):
    x, _ = batch
    net, plain = (lower_layers.network(2, eps=1e-3, pairwise=p) for p in (True, False))
    stats = plain.recalibrate(x)
    outputs = [n.forward(n.params, x, stats=stats) for n in (net, plain)]
    assert torch.equal(*outputs)


def test_a_bias_before_bn_has_no_gradient_and_one_after_it_has(batch):
    net = lower_layers.network(2, eps=1e-5)
    assert lower_layers.bias_share(net, *batch) < 1e-13
    found = lower_layers.gradients(net, *batch)
    assert found["beta1"].abs().amin() < found["beta1"].abs().amax()
    assert found["beta1"].abs().amax() > 1e-3


def test_a_bias_before_a_padded_convolution_has_no_gradient(batch):
    x, y = batch
    generator = torch.Generator().manual_seed(0)
    share = lower_layers.convolution_bias_share(x[0].view(-1, 1, 8, 8), y[0], generator)
    assert share < 1e-13


@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.1])
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_weights_and_their_gradient_obey_the_identity_and_are_orthogonal_only_without_eps(
    eps, scale, batch
):
    found = lower_layers.weight_relations(2, *batch, eps=eps, scale=scale)
    assert max(found.identity, found.scaling) < 1e-12
    assert (found.cosine < 1e-12) == (eps == 0)


def test_squared_norms_grow_by_the_squared_step_without_eps(batch):
    growth = lower_layers.norm_growth(2, *batch, eps=0.0, steps=5, lr=0.5)
    assert growth.size.shape == (6, 2, 32)
    assert np.diff(growth.size, axis=0) == pytest.approx(growth.law, abs=1e-13)
    assert (growth.law > 0).any()


def test_an_arm_that_may_not_train_the_first_layer_does_not_move_it(splits):
    net = lower_layers.network(2, eps=1e-5)
    arm = lower_layers.train_arm(
        net, splits, steps=3, batch=4, lr=0.1, trainable=("gamma", "beta", "W2", "b2")
    )
    assert (arm.moved == 0).all()
    assert arm.norms.size == 0


def test_an_arm_reports_movement_norms_and_accuracy_a_seed(splits):
    net = lower_layers.network(2, eps=1e-5)
    start = net.params["W1"].clone()
    arm = lower_layers.train_arm(net, splits, steps=3, batch=4, lr=0.1)
    change = (net.params["W1"] - start).flatten(1).norm(dim=1) / start.flatten(1).norm(dim=1)
    assert arm.moved == pytest.approx(change.numpy())
    assert arm.norms.shape == (3, 2, 32)
    assert arm.accuracy.shape == arm.loss.shape == arm.unit.shape == (2,)


def test_norm_summary_of_known_numbers():
    found = lower_layers.norm_summary(np.arange(1.0, 201.0))
    assert list(found.values()) == pytest.approx([100.5, 100.5, 200.0, 399 / 20100])


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_energy_that_passes_has_the_mean_of_the_law(share, rng):
    x = rng.normal(size=(4, 1))
    x = (x - x.mean()) / x.std() * np.ones(4000)
    passed = lower_layers.energy_passed(x, rng, eps=1 / share - 1)
    # The standard deviation of one share is below 0.3.
    assert passed.mean() == pytest.approx(laws.energy_kept(4, share), abs=4 * 0.3 / np.sqrt(4000))


def test_two_rows_pass_little_and_two_images_nearly_everything(batch, rng):
    net = lower_layers.network(1, eps=1e-5)
    kept = lower_layers.length_kept_by_two(batch[0][0], net, rng)
    assert kept["rows"] < 0.01
    assert kept["images"] > 0.9
