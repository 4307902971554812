"""The landscape around a point: hand values, units, refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.small_networks import SEEDS, X, Y, loss_of, network, scalar, step_of
from torch.nn import functional as F

from bnlib import interactions as ia
from bnlib import landscape as ls
from bnlib.networks import arms


def product(p):
    return p["w1"] * p["w2"]


# Covariate shift


def test_shift_of_a_product_by_hand():
    params = scalar(w1=3.0, w2=-2.0)
    _, grads = ia.gradient(product, params)
    found = ls.ics_change(product, params, grads, 0.1)
    # g = (-2, 3); layer 1 moves to 3.2, so layer 2's gradient becomes 3.2
    np.testing.assert_allclose(found.norm, [[0.0, 0.2]], atol=1e-14)
    np.testing.assert_allclose(found.relative, [[0.0, 0.2 / 3]], atol=1e-14)
    np.testing.assert_allclose(found.cosine, [[1.0, 1.0]], atol=1e-14)
    np.testing.assert_allclose(found.projection, [[0.0, 0.6]], atol=1e-14)


def test_layers_above_and_the_layer_itself_stay_where_they_are():
    params = scalar(w1=1.0, w2=2.0, w3=3.0)

    def loss(p):
        return p["w1"] * p["w2"] + p["w2"] ** 2 + p["w2"] * p["w3"]

    _, grads = ia.gradient(loss, params)
    found = ls.ics_change(loss, params, grads, 0.1)
    # g = (2, 8, 2): layer 2 sees layer 1 move by -0.2, layer 3 sees layer 2 move by -0.8
    np.testing.assert_allclose(found.norm, [[0.0, 0.2, 0.8]], atol=1e-14)


@settings(max_examples=15, deadline=None)
@given(c=st.floats(0.2, 5.0), factor=st.floats(0.2, 5.0))
def test_relative_shift_and_cosine_ignore_the_units_of_loss_and_parameters(c, factor):
    params, loss = network("bn")
    value, grads, squares = step_of(params, loss)
    base = ls.ics_change(loss, params, grads, 0.3 * value / squares)

    def other(p):  # theta = c phi, and another unit of the loss
        return factor * loss({k: c * v for k, v in p.items()})

    phi = {k: v / c for k, v in params.items()}
    value, grads, squares = step_of(phi, other)
    found = ls.ics_change(other, phi, grads, 0.3 * value / squares)
    torch.testing.assert_close(found.relative, base.relative, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.cosine, base.cosine, rtol=1e-6, atol=1e-9)


# The path along the gradient


def bowl(p):
    return 0.5 * (torch.tensor([1.0, 4.0], dtype=torch.float64) * p["w1"] ** 2).sum(1)


def test_path_of_a_quadratic_by_hand():
    params = {"w1": torch.tensor([[1.0, 1.0]], dtype=torch.float64)}
    _, grads = ia.gradient(bowl, params)  # g = (1, 4), H g = (1, 16)
    found = ls.gradient_path(bowl, params, grads, [0.1, 0.5])
    np.testing.assert_allclose(
        found.loss[:, 0], [0.5 * 0.81 + 2 * 0.36, 0.5 * 0.25 + 2], atol=1e-14
    )
    np.testing.assert_allclose(found.change[:, 0], [0.1 * 257**0.5, 0.5 * 257**0.5], atol=1e-14)
    np.testing.assert_allclose(found.smoothness[:, 0], [(257 / 17) ** 0.5] * 2, atol=1e-13)
    # gradients at a = 0.1: (0.9, 2.4)
    cosine = (0.9 + 9.6) / (17**0.5 * (0.81 + 5.76) ** 0.5)
    assert float(found.cosine[0, 0]) == pytest.approx(cosine)


# Gradients of the layers' outputs


def test_gradient_norms_of_layers_are_those_of_shifts_of_their_outputs():
    arm = arms.build("none", (4, 3, 3, 3), SEEDS, X)
    found = ls.layer_gradient_norms(arm.params, X, Y, arm.spec)
    # without norm a row of b_l is added to every row of z_l: its gradient is the sum over rows
    assert found.shape == (2, 3)
    _, grads = ia.gradient(lambda p: loss_of(arm.logits(p, X)), arm.params)
    output = (torch.softmax(arm.logits(arm.params, X), -1) - F.one_hot(Y, 3)) / 12
    torch.testing.assert_close(found[:, 2], output.square().sum((1, 2)))
    torch.testing.assert_close(output.sum(1), grads["b3"])


# Refusals


@pytest.mark.parametrize("step", [math.nan, math.inf, torch.tensor([0.1, -math.inf])])
def test_steps_that_are_not_finite_are_refused(step):
    params, loss = network()
    _, grads = ia.gradient(loss, params)
    with pytest.raises(ValueError, match="finite step"):
        ls.ics_change(loss, params, grads, step)


def test_gradients_that_do_not_fit_are_refused():
    params, loss = network()
    _, grads = ia.gradient(loss, params)
    grads.pop("W2")
    with pytest.raises(
        ValueError, match=r"gradient for every parameter and no other, got \['W2'\]"
    ):
        ls.ics_change(loss, params, grads, 0.1)


@pytest.mark.parametrize("steps", [[], [0.0, 0.1], [-0.1], [math.inf], [math.nan]])
def test_paths_without_distance_are_refused(steps):
    params, loss = network()
    _, grads = ia.gradient(loss, params)
    with pytest.raises(ValueError, match="steps: expected"):
        ls.gradient_path(loss, params, grads, steps)


def test_gradients_of_outputs_need_norms_before_the_activation():
    arm = arms.build("bn", (4, 3, 3), SEEDS, X)
    spec = type(arm.spec)((4, 3, 3), order="post")
    with pytest.raises(ValueError, match="expected 'pre', got 'post'"):
        ls.layer_gradient_norms(arm.params, X, Y, spec)


# Smoothness in units


def test_smoothness_of_a_quadratic_by_hand():
    h, theta = 3.0, 2.0
    params = {"W1": torch.full((1, 1, 1), theta, dtype=torch.float64)}

    def bowl(p):
        return h * p["W1"].flatten(1).square().sum(1) / 2

    raw = ls.smoothness(bowl, params, "raw", [0.1, 0.2])
    at = [h * theta**2 / 2 * (1 - a * h) ** 2 for a in (0.1, 0.2)]
    assert float(raw["range"]) == pytest.approx(at[0] - at[1])
    assert float(raw["change"]) == pytest.approx(0.2 * h * h * theta)
    assert float(raw["smoothness"]) == pytest.approx(h)
    matched = ls.smoothness(bowl, params, "matched", [0.5, 1.0])
    assert float(matched["smoothness"]) == pytest.approx(0.5)
    assert float(matched["change"]) == pytest.approx(0.5)
    assert float(matched["range"]) == pytest.approx(0.75**2 - 0.5**2)
    assert float(matched["kept"]) == pytest.approx(0.75)


@pytest.mark.parametrize("scale", [10.0, 0.1])
def test_a_scale_that_bn_does_not_see_moves_raw_smoothness_only(scale):
    params, loss = network(eps=1e-14)
    scaled = params | {k: scale * params[k] for k in ("W1", "W2")}
    before, after = (
        {unit: ls.smoothness(loss, p, unit, [0.1])["smoothness"] for unit in ls.UNITS}
        for p in (params, scaled)
    )
    unit = "layer-normalized"
    torch.testing.assert_close(before[unit], after[unit], rtol=1e-6, atol=0)
    assert ((after["raw"] < before["raw"]) == (scale > 1)).all()
    assert ((after["matched"] / before["matched"]).log().abs() > 0.05).all()
    with pytest.raises(ValueError, match="unit: expected one of"):
        ls.smoothness(loss, params, "cooked", [0.1])
