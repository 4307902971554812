"""Gamma and beta absorbed into a linear layer, directly and through a ReLU."""

import numpy as np

from bnlib import absorption


def test_directly_before_a_linear_layer_both_constants_are_redundant():
    x_hat = np.array([[1.0, -2.0], [0.5, 3.0]])
    after = absorption.Linear(np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([0.5, 0.0]))
    gamma, beta = np.array([2.0, -3.0]), np.array([1.0, 0.25])
    got = absorption.into_next(gamma, beta, after)
    np.testing.assert_array_equal(got.weight, [[2, -6], [0, 3]])  # by hand
    np.testing.assert_array_equal(got.bias, [2.0, -0.25])
    np.testing.assert_allclose(got(x_hat), after(gamma * x_hat + beta), atol=1e-15)


def test_through_a_relu_positive_gamma_moves_on_negative_flips_the_row_and_zero_is_a_constant():
    rng = np.random.default_rng(0)
    x_hat = rng.normal(size=(20, 4))
    gamma, beta = np.array([2.0, -0.5, 0.0, 0.0]), np.array([0.3, -0.2, 1.5, -1.0])
    after = absorption.Linear(rng.normal(size=(3, 4)), rng.normal(size=3))
    got = absorption.through_relu(gamma, beta, after)
    want = after(np.maximum(gamma * x_hat + beta, 0))
    np.testing.assert_array_equal(got.sign, [1, -1, 1, 1])
    np.testing.assert_allclose(got.beta, [0.15, -0.4, 0, 0])
    np.testing.assert_array_equal(got.after.weight[:, 2:], 0)
    np.testing.assert_allclose(
        got.after(np.maximum(got.sign * x_hat + got.beta, 0)), want, atol=1e-14
    )
    assert np.abs(got.after(np.maximum(x_hat + got.beta, 0)) - want).max() > 1e-2
