"""The nonlinear share of an activation."""

import numpy as np
import pytest
from scipy.special import erf

from bnlib.activations import nonlinear_share


def relu(u):
    return np.maximum(u, 0)


def test_gelu_has_the_share_that_its_moments_give():
    def gelu(u):
        return u * (1 + erf(u / np.sqrt(2))) / 2

    variance = 1 / 3 + 1 / (2 * np.sqrt(3) * np.pi) - 1 / (4 * np.pi)
    assert nonlinear_share(gelu) == pytest.approx(1 - 0.25 / variance, abs=1e-9)


def test_tanh_is_sigmoid_at_twice_the_constants_and_rises_to_that_of_the_sign():
    def sigmoid(u):
        return 1 / (1 + np.exp(-u))

    assert nonlinear_share(np.tanh, 0.7, 0.3) == pytest.approx(nonlinear_share(sigmoid, 1.4, 0.6))
    assert nonlinear_share(np.tanh, 0.01) < 1e-6
    assert nonlinear_share(np.tanh, 3000.0) == pytest.approx(1 - 2 / np.pi, abs=1e-3)


def test_a_line_has_no_nonlinear_share_and_a_constant_has_none_to_speak_of():
    assert nonlinear_share(lambda u: 3 * u - 1, 2.0, 5.0) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="constant"):
        nonlinear_share(relu, 0.0, -1.0)
