"""The Jacobian and its spectrum against torch, and differences against polynomials."""

import numpy as np
import pytest
import torch

from bnlib.chapters.gradient import derivatives

U64 = 2.0**-53


@pytest.fixture
def rng():
    return np.random.default_rng(12)


@pytest.mark.parametrize("m", [2, 3, 8, 64])
@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.5])
@pytest.mark.parametrize("gamma", [1.3, -0.7, 0.0])
def test_spectrum_is_that_of_the_jacobian_of_autograd(m, eps, gamma, rng):
    x = rng.normal(2, 1.5, m)

    def plain(x):
        return gamma * (x - x.mean()) / (x.var(correction=0) + eps).sqrt()

    theirs = torch.autograd.functional.jacobian(plain, torch.from_numpy(x)).numpy()
    ours = derivatives.jacobian(x, gamma, eps=eps)
    bound = 1e-12 * max(abs(gamma) / np.sqrt(x.var() + eps), 1e-300)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)
    np.testing.assert_array_equal(ours, ours.T)
    exact = derivatives.spectrum(x, gamma, eps=eps)
    assert exact.shape == (m,)
    np.testing.assert_allclose(np.linalg.eigvalsh(ours), exact, rtol=0, atol=bound)


def test_a_constant_channel_has_gain_one_over_root_eps_on_all_but_the_constants():
    found = derivatives.spectrum(np.full(4, 0.1), 2.0, eps=0.25)
    np.testing.assert_allclose(found, [0, 4, 4, 4], rtol=4 * U64)


def test_one_channel_is_wanted_where_one_channel_is_meant():
    with pytest.raises(ValueError, match=r"x of shape \(m,\), got \(4, 1\)"):
        derivatives.jacobian(np.ones((4, 1)), 1.0, eps=0.1)


def test_nested_differences_are_exact_for_polynomials_of_their_order():
    def f(p):
        return float(p[0] ** 2 * p[1] + 3 * p[1] ** 2 + p[0])

    p, d, e = np.array([1.0, 2.0]), np.array([1.0, -1.0]), np.array([0.5, 2.0])
    assert derivatives.directional(f, p, [], 0.1) == f(p)
    # f = x^2 y + 3 y^2 + x: gradient (5, 13), third derivative along d: 6 d_x^2 d_y = -6
    first = derivatives.directional(f, p, [d], 2.0**-4)
    assert first == pytest.approx(5 - 13 + 2.0**-8 * -6 / 6, rel=1e-13)
    # Hessian ((4, 2), (2, 6)): d H e = (2, -4) . (0.5, 2); a cubic has no fourth derivative
    second = derivatives.directional(f, p, [d, e], 2.0**-4)
    assert second == pytest.approx(2 * 0.5 - 4 * 2, rel=1e-12)


def test_difference_error_falls_as_the_square_of_the_step_until_rounding():
    p, d = np.array([0.3]), np.array([1.0])

    def error(h):
        return abs(derivatives.directional(lambda q: float(np.exp(q[0])), p, [d], h) - np.exp(0.3))

    assert error(1e-2) / error(1e-3) == pytest.approx(100, rel=0.01)
    assert error(1e-12) > error(1e-5)
