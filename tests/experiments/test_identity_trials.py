"""The trials of the identity chapter: what is inserted, and what it must and must not change."""

import numpy as np
import pytest
import torch

from bnlib.experiments import identity_trials as trials
from bnlib.experiments import teacher
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
    stats = trials.first_moments(plain, x)
    training = trials.change(plain, trials.insert(plain, "batch", stats), x, y)
    assert training.output.max() < 1e-13
    assert training.gradient.min() > 1e-2
    frozen = trials.insert(plain, "frozen", stats)
    evaluation = trials.change(plain, frozen, x[:, :7], y[:, :7], trials.without_bias(plain, stats))
    assert evaluation.output.max() < 1e-13
    assert evaluation.gradient.max() < 1e-12
    assert evaluation.removed.max() < 1e-24


def test_trained_without_gamma_the_frozen_layer_is_the_plain_network(setting):
    plain, x, y = setting
    stats = trials.first_moments(plain, x)
    frozen = trials.insert(plain, "frozen", stats)
    how = {"x": x, "y": y, "steps": 5, "batch": 10, "lr": 0.3}
    given = {"stats": trials.without_bias(plain, stats), "trainable": ["W", "beta", "b"]}
    with_layer = trials.trajectory(frozen, **how, **given)
    without = trials.trajectory(plain, **how)
    assert with_layer.shape == (6, 2, 30)
    assert float((without[-1] - without[0]).norm()) > 1e-2
    torch.testing.assert_close(with_layer, without, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("b", "m"), [(0.0, 2), (0.5, 16)])
def test_the_removed_share_is_that_of_the_theory(b, m):
    shares = [trials.removed_share(m, b, np.random.default_rng(k)) for k in range(20)]
    theory = (b * b + 2 / m) / (1 + b * b)
    # Five standard errors, and rounding where m = 2 removes everything.
    assert np.mean(shares) == pytest.approx(theory, abs=5 * np.std(shares) / 20**0.5 + 1e-12)


@pytest.mark.parametrize("kernel", list(trials.KERNELS))
def test_every_kernel_restores_centered_rows_to_rounding(kernel):
    x = np.random.default_rng(1).normal(size=(64, 3))
    assert trials.restoring_error(x, kernel, eps=1e-5).max() < 1e-14
    assert trials.restoring_error(x.astype(np.float32), kernel, eps=1e-5).max() < 1e-5


def test_a_student_that_starts_as_its_teacher_comes_nearer_with_larger_batches():
    school = teacher.teachers(2, [0, 1], rows=512)
    assert not torch.equal(school.weight[0], school.weight[1])
    few, many = (teacher.study(school, "γ, β", m=m, steps=200) for m in (4, 64))
    assert few.d.shape == (2, 16)
    assert np.median(many.d) < np.median(few.d)
    assert (many.mse < few.mse).all()
