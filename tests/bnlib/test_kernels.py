"""Five orders of operations: which lose digits at a large mean, and which do not."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from oracles import exact

from bnlib import kernels

U32 = 2.0**-24


def rows(offset, m=64, dtype=np.float32):
    rng = np.random.default_rng(21)
    x = (rng.normal(size=(m, 3)) + offset).astype(dtype)
    return x, np.array([1.2, -0.5, 2.0], dtype), np.array([0.3, 1.0, -0.2], dtype)


def error(method, offset):
    x, gamma, beta = rows(offset)
    y = kernels.forward_by(method, x, gamma, beta, eps=1e-5)
    assert y.dtype == np.float32
    return kernels.relative_error(y, kernels.exact(x, gamma, beta, eps=1e-5))


@pytest.mark.parametrize("method", kernels.METHODS)
def test_every_method_is_accurate_at_mean_zero(method):
    assert error(method, 0.0) < 16 * U32


@pytest.mark.parametrize("method", ["recentred", "float64 statistics"])
@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_centering_first_is_flat_in_the_offset(method, offset):
    assert error(method, offset) < 7 * U32


def test_one_pass_variance_fails_before_two_pass():
    assert not error("one-pass", 1e4) < 0.1  # (mu / sigma)^2 u = 6: no digit left, or NaN
    assert error("two-pass", 1e4) < 0.01


def test_an_unknown_method_is_refused_by_name():
    x, gamma, beta = rows(0.0)
    with pytest.raises(ValueError, match=r"method: expected one of .* got 'welford'"):
        kernels.forward_by("welford", x, gamma, beta, eps=1e-5)


def test_exact_values_agree_with_fractions():
    # x = (1, 2, 3), eps = 1/3 is not a float; eps = 1/4 gives tau^2 = 11/12
    x, dy = np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [0.0], [0.0]])
    gamma, beta = np.array([2.0]), np.array([1.0])
    y = kernels.exact(x, gamma, beta, eps=0.25)
    dx = exact.backward(dy, x, gamma, eps=0.25)
    with mpmath.workdps(60):
        tau = mpmath.sqrt(mpmath.mpf(11) / 12)
        assert abs(y[0, 0] - (1 - 2 / tau)) < mpmath.mpf(10) ** -58
        # dx = gamma / tau (dy - 1/3 + c / (3 tau^2)), where <dy c> = -1/3
        for k, c in enumerate((-1, 0, 1)):
            inside = Fraction(int(dy[k, 0])) - Fraction(1, 3) + Fraction(c, 3) * Fraction(12, 11)
            want = 2 / tau * inside.numerator / inside.denominator
            assert abs(dx[k, 0] - want) < mpmath.mpf(10) ** -58


def test_relative_error_measures_below_the_roundoff_of_what_it_measures():
    third = np.array([[1 / 3]])
    with mpmath.workdps(60):
        truth = np.array([[mpmath.mpf(1) / 3]], dtype=object)
    # 1/3 in binary is ...0101|0101: the float is low by a third of a unit in the last place
    assert kernels.relative_error(third, truth) == pytest.approx(2.0**-54, rel=1e-12)
