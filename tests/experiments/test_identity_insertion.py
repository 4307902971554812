"""A layer inserted so that it changes no output: what it must and must not change."""

import numpy as np
import pytest
import torch

from bnlib import training
from bnlib.experiments import identity_insertion as insertion
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec


@pytest.fixture
def setting():
    rng = np.random.default_rng(0)
    x, y = torch.tensor(rng.normal(size=(2, 40, 5))), torch.tensor(rng.integers(0, 3, (2, 40)))
    plain = SeedBatchedMLP(Spec((5, 6, 3), "tanh", norm="none"), range(2))
    plain.params["b1"] = torch.tensor(rng.normal(size=(2, 6)))  # a zero would hide a lost bias
    return plain, x, y


def test_an_inserted_layer_changes_no_output_and_in_training_mode_the_gradient_below(setting):
    plain, x, y = setting
    stats = insertion.first_moments(plain, x)
    training = insertion.change(plain, insertion.insert(plain, "batch", stats), x, y)
    assert training.output.max() < 1e-13
    assert training.gradient.min() > 1e-2
    frozen = insertion.insert(plain, "frozen", stats)
    evaluation = insertion.change(
        plain, frozen, x[:, :7], y[:, :7], insertion.without_bias(plain, stats)
    )
    assert evaluation.output.max() < 1e-13
    assert evaluation.gradient.max() < 1e-12
    assert evaluation.removed.max() < 1e-24


def test_trained_without_gamma_the_frozen_layer_is_the_plain_network(setting):
    plain, x, y = setting
    stats = insertion.first_moments(plain, x)
    frozen = insertion.insert(plain, "frozen", stats)
    how = {"x": x, "y": y, "steps": 5, "batch": 10, "lr": 0.3}
    given = {"stats": insertion.without_bias(plain, stats), "trainable": ["W", "beta", "b"]}
    with_layer = insertion.trajectory(frozen, **how, **given)
    without = insertion.trajectory(plain, **how)
    assert with_layer.shape == (6, 2, 30)
    assert float((without[-1] - without[0]).norm()) > 1e-2
    torch.testing.assert_close(with_layer, without, rtol=0, atol=1e-13)


@pytest.fixture
def on(setting):
    plain, x, y = setting
    return insertion.Setting(plain, x[:, :30], y[:, :30], x, y)


def test_changes_are_none_in_evaluation_and_of_the_gradient_alone_in_training(on):
    found = insertion.changes(on, 8)
    assert max(change.output.max() for change in found.values()) < 1e-13
    assert found["evaluation"].gradient.max() < 1e-12
    assert found["training"].gradient.min() > 1e-2
    assert insertion.changes(on, 30)["training"].removed.shape == (2,)


def test_paths_part_unless_statistics_are_frozen_and_gamma_rests(on):
    on = on._replace(x=torch.cat([on.x] * 3, dim=1), y=torch.cat([on.y] * 3, dim=1))
    found = insertion.partings(on, steps=4)
    batch, frozen, resting = found.values()
    assert batch.shape == (2, 4)
    assert batch[:, 0].min() > 1e-2  # the first gradient is already another one
    assert frozen[:, 0].max() < 1e-12 < frozen[:, -1].min()
    assert resting.max() < 1e-12


def test_the_test_loss_moves_in_training_mode_only_and_over_whole_batches(on):
    still, moved = insertion.loss_changes(on, (4, 15))
    assert np.abs(still).max() < 1e-13
    assert list(moved) == [4, 15]
    assert np.abs(moved[4]).min() > 1e-4
    # Forty rows hold two batches of fifteen: the last ten rows must not count.
    outputs = on.plain.forward(on.plain.params, on.x_test[:, :30])
    loss = training.seed_losses(outputs, on.y_test[:, :30], "cross-entropy")
    np.testing.assert_allclose(insertion._test_loss(on, on.plain, 15), loss.numpy(), rtol=1e-13)


def test_every_seed_has_its_own_digits_and_its_own_network():
    on = insertion.on_digits(2)
    assert on.x.shape[0] == on.y_test.shape[0] == 2
    assert not torch.equal(on.x[0], on.x[1])
    assert not torch.equal(on.plain.params["W1"][0], on.plain.params["W1"][1])
    assert on.plain.spec.norm == "none"
