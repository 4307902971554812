"""What the cells of the page of misconceptions call: each function against an independent way."""

import numpy as np
import pytest
import torch

from bnlib import interactions
from bnlib.experiments import misconceptions
from bnlib.interactions import problem
from bnlib.networks.arms import AFFINE_ARMS

SEEDS = range(4)


def test_the_band_lies_on_one_side_of_the_mean_and_no_row_is_in_both_halves():
    rows = misconceptions.band_splits(SEEDS, rows=50)
    assert rows.x_train.shape == (4, 50, 1)
    low, high = misconceptions.BAND
    assert 0 < low < high < 1
    assert np.array_equal(rows.y_train, ((low < rows.x_train) & (rows.x_train < high))[..., 0])
    for train, test in zip(rows.x_train, rows.x_test, strict=True):
        assert not set(train.ravel()) & set(test.ravel())
    again = misconceptions.band_splits([3], rows=50)
    assert np.array_equal(again.x_test[0], rows.x_test[3])


def test_one_row_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        misconceptions.band_splits(SEEDS, rows=1)


def test_without_beta_one_hidden_layer_stays_below_its_ceiling_on_the_band_and_with_it_does_not():
    rows = misconceptions.band_splits(SEEDS)
    arms = {name: AFFINE_ARMS[name] for name in ("none", "both")}
    points = misconceptions.accuracies(rows, arms, (32,), steps=150)
    assert points["none"].max() < 90 < points["both"].min() <= 100


def test_the_turn_is_the_angle_between_gradients_taken_by_hand():
    at = problem("bn", 8, SEEDS, activation="tanh")
    params = dict(at.arm.params)
    loss, old = interactions.gradient(at.loss, params)
    step = 0.5 * loss / interactions.layer_dots(old, old).sum(1)
    for name in [name for name in params if int(name[-1]) < 5]:
        size = step[(...,) + (None,) * (params[name].ndim - 1)]
        params[name] = params[name] - size * old[name]
    _, new = interactions.gradient(at.loss, params)
    a, b = (torch.cat([g[k].flatten(1) for k in g if k.endswith("5")], 1) for g in (old, new))
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    found = misconceptions.gradient_turn("bn", "tanh", "start", SEEDS)
    assert np.allclose(np.cos(np.radians(found)), cosine, rtol=0, atol=1e-9)
    after = misconceptions.gradient_turn("bn", "tanh", "trained", SEEDS)
    assert after.mean() > found.mean() + 20


def test_gradients_grow_downwards_with_bn_and_not_without():
    growth = {arm: misconceptions.gradient_growth(arm, 16, SEEDS) for arm in ("bn", "none")}
    assert growth["bn"].min() > 0.8  # the wide law: 14 layers of log10(pi / (pi - 1)) / 2 = 1.17
    assert np.abs(growth["none"]).max() < 0.5


def _normal(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(size=shape)) for shape in shapes]


def test_two_forms_of_one_function_part_by_the_step_worked_by_hand():
    x, w, target = _normal(1, (16, 3), (3, 1), (16, 1))
    z, step = x @ w, 0.1
    before, after = misconceptions.two_coordinates(x, w, target, step=step)
    error, c, m = z - target, z - z.mean(), len(z)
    plain = x @ (w - step * 2 / m * x.T @ error) - step * 2 * error.mean()
    spread = c.square().mean().sqrt()
    x_hat = c / spread
    dy = 2 / m * error
    dz = dy - dy.mean() - x_hat * (dy * x_hat).mean()  # the gain gamma / spread is 1
    moved = x @ (w - step * x.T @ dz)
    hat = (moved - moved.mean()) / (moved - moved.mean()).square().mean().sqrt()
    normed = (spread - step * (dy * x_hat).sum()) * hat + z.mean() - step * dy.sum()
    assert before < 1e-12
    assert after == pytest.approx(float((plain - normed).abs().max()), rel=1e-9)


def test_units_of_one_input_span_three_relu_functions_without_beta_and_many_with_it():
    z = np.random.default_rng(2).normal(size=(200, 1)) * np.array([[1.0, -2.0, 0.5, 3.0, -1.0]])
    gamma, beta = np.array([1.0, 2.0, -0.5, 1.5, 3.0]), np.array([0.2, -0.4, 0.6, -0.8, 1.0])
    found = misconceptions.feature_ranks(z, {"gamma": (gamma, 0 * beta), "both": (gamma, beta)})
    assert found["gamma"]["relu"] == 3
    assert found["both"]["relu"] == 6


def test_lower_gradients_vanish_in_a_chain_of_numbers_only():
    assert misconceptions.lower_gradient(1, np.random.default_rng(3)) < 1e-12
    assert misconceptions.lower_gradient(3, np.random.default_rng(3)) > 0.1


def test_the_jacobian_is_that_of_differences():
    (x,) = _normal(4, (5,))
    found, h = misconceptions.jacobian(x), 1e-6
    for j in range(5):
        nudge = h * torch.eye(5, dtype=torch.float64)[j]
        up, down = ((a - a.mean()) / a.std(correction=0) for a in (x + nudge, x - nudge))
        assert torch.allclose(found[:, j], (up - down) / (2 * h), rtol=0, atol=1e-9)


def test_output_and_gradient_agree_with_a_directional_difference():
    x, w, target, along = _normal(5, (12, 4), (4, 1), (12, 1), (4, 1))

    def loss(weight):
        y, _ = misconceptions.output_and_gradient(x, target, weight, 1.5)
        return float((y - target).square().mean())

    y, grad = misconceptions.output_and_gradient(x, target, w, 1.5)
    assert float(y.std(correction=0)) == pytest.approx(1.5, rel=1e-12)
    slope = (loss(w + 1e-6 * along) - loss(w - 1e-6 * along)) / 2e-6
    assert slope == pytest.approx(float((grad * along).sum()), abs=1e-8)
