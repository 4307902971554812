"""Closed forms against hand values, quadrature and descent."""

import numpy as np
import pytest
from scipy.integrate import quad

from bnlib import laws
from bnlib.chapters.gradient import derivatives


def test_noise_of_running_statistics_at_the_usual_weights():
    # by hand: sqrt(0.9/1.1), sqrt(0.1/1.9), sqrt(0.01/1.99)
    want = {0.9: 0.904534, 0.1: 0.229416, 0.01: 0.070888, 1.0: 1.0, 0.0: 0.0}
    for a, noise in want.items():
        assert laws.ema_noise(a) == pytest.approx(noise, abs=5e-7)


def test_one_momentum_is_the_complement_of_the_other():
    assert laws.convert_momentum(0.99, "old", "new") == pytest.approx(0.01, rel=1e-12)
    assert laws.convert_momentum(0.1, "new", "new") == 0.1
    with pytest.raises(ValueError, match="'keras'"):
        laws.convert_momentum(0.9, "keras", "new")


@pytest.mark.parametrize("law", [laws.ema_noise, lambda a: laws.convert_momentum(a, "new", "old")])
@pytest.mark.parametrize("a", [-0.1, 1.1, np.nan])
def test_a_weight_is_a_share(law, a):
    with pytest.raises(ValueError, match=r"in \[0, 1\], got"):
        law(a)


def test_expected_batch_std_of_two_and_three_rows_by_hand():
    # m = 2: s = |a - b| / 2, a - b ~ N(0, 2): E s = 1 / sqrt(pi).
    # m = 3: sqrt(2/3) Gamma(3/2) / Gamma(1) = sqrt(2/3) sqrt(pi) / 2.
    assert laws.expected_batch_std(2) == pytest.approx(1 / np.sqrt(np.pi), rel=1e-14)
    assert laws.expected_batch_std(3) == pytest.approx(np.sqrt(np.pi / 6), rel=1e-14)


@pytest.mark.parametrize("m", [2, 3, 64])
def test_the_bound_is_attained_by_one_row_that_differs(m):
    x = np.zeros(m)
    x[0] = 1
    assert (x[0] - x.mean()) / x.std() == pytest.approx(laws.x_hat_bound(m), rel=1e-12)


def test_the_penalty_shrinks_gamma_twice_and_other_rows_more():
    # by hand: 1/(1 + 6/32); sqrt(2) Gamma(1) / Gamma(3/2) / 5
    assert laws.penalty_gamma(8) == pytest.approx(32 / 38, rel=1e-14)
    assert laws.penalty_gamma(4, kurtosis=1.0) == pytest.approx(0.8, rel=1e-14)
    assert laws.other_rows_gamma(4) == pytest.approx(2 * np.sqrt(2 / np.pi) / 5, rel=1e-14)
    far = 10**6
    shrink = 1 - laws.expected_batch_std(far)
    assert (1 - laws.penalty_gamma(far)) / shrink == pytest.approx(2, abs=1e-3)
    assert far * (1 - laws.other_rows_gamma(far)) == pytest.approx(11 / 4, abs=1e-3)
    with pytest.raises(ValueError, match="m >= 4"):
        laws.other_rows_gamma(3)


def test_a_normalized_value_of_ten_needs_a_hundred_and_one_rows():
    assert laws.x_hat_bound(101) == 10.0
    assert laws.x_hat_bound(101, rho=0.25) == 5.0


@pytest.mark.parametrize("m", [4, 5, 8, 64])
def test_density_integrates_to_the_distribution_with_two_known_moments(m):
    end = laws.x_hat_bound(m)

    def moment(k):
        return quad(lambda t: t**k * laws.x_hat_pdf(t, m), -end, end, epsabs=1e-12)[0]

    assert moment(0) == pytest.approx(1, abs=1e-9)
    assert moment(2) == pytest.approx(1, abs=1e-9)
    assert moment(4) == pytest.approx(3 * (m - 1) / (m + 1), abs=1e-8)
    for t in (-1.2, 0.3, 1.1):
        below = quad(laws.x_hat_pdf, -end, t, args=(m,), epsabs=1e-12)[0]
        assert laws.x_hat_cdf(t, m) == pytest.approx(below, abs=1e-9)


def test_three_rows_pile_up_at_the_ends_and_four_are_uniform():
    t = np.linspace(-1.7, 1.7, 9)
    np.testing.assert_allclose(laws.x_hat_pdf(t, 4), 1 / (2 * np.sqrt(3)), rtol=1e-13)
    assert laws.x_hat_pdf(1.41, 3) > 5 * laws.x_hat_pdf(0.0, 3)
    # arcsine law on (-sqrt 2, sqrt 2)
    np.testing.assert_allclose(
        laws.x_hat_cdf(t[2:7], 3), 0.5 + np.arcsin(t[2:7] / np.sqrt(2)) / np.pi, rtol=1e-12
    )


def test_two_rows_are_two_atoms_without_a_density():
    np.testing.assert_array_equal(laws.x_hat_cdf([-1.01, -1, 0, 0.99, 1], 2), [0, 0.5, 0.5, 0.5, 1])
    with pytest.raises(ValueError, match="m >= 3 rows for this law, got 2"):
        laws.x_hat_pdf(0.0, 2)


def test_nothing_lies_outside_the_bound():
    assert laws.x_hat_pdf(9.0, 8) == 0
    np.testing.assert_array_equal(laws.x_hat_cdf([-9.0, 9.0], 8), [0, 1])


def test_two_rows_keep_no_energy_without_eps_and_eps_lets_some_through():
    assert laws.energy_kept(2) == 0
    assert laws.energy_kept(8) == 0.75
    assert laws.energy_kept(8, rho=0.5) == (6 + 0.25) / 8
    with pytest.raises(ValueError, match="m >= 2"):
        laws.energy_kept(1)


def test_the_law_of_the_norm_is_the_recursion_for_small_steps():
    eta, decay, g2, q = 0.01, 0.01, 0.5, 3.0
    for _ in range(2000):
        q = (1 - eta * decay) ** 2 * q + eta**2 * g2 / q
    assert laws.norm4(eta, decay, g2, 9.0, 2000) == pytest.approx(q**2, rel=1e-3)
    assert laws.norm4(eta, 0.0, g2, 9.0, 10) == pytest.approx(9 + 2 * eta**2 * g2 * 10)


def test_the_gain_of_a_pair_is_a_spike_of_area_two():
    for eps in (1e-1, 1e-3):
        area = quad(laws.pair_gain, -np.inf, np.inf, args=(eps,), points=None)[0]
        assert area == pytest.approx(2, rel=1e-6)
        assert laws.pair_gain(0.0, eps) == pytest.approx(eps**-0.5)


def test_the_gain_of_a_pair_is_an_eigenvalue():
    values = derivatives.spectrum(np.array([0.9, 0.3]), 1.0, eps=0.01)
    assert values[1] == pytest.approx(laws.pair_gain(0.3, 0.01))


def test_mean_gain_does_not_vanish_with_eps_and_its_square_diverges():
    mean, square = (laws.pair_gain_moment(k, 1e-8) for k in (1, 2))
    assert mean == pytest.approx(2 / np.sqrt(np.pi), rel=1e-3)
    assert square == pytest.approx(3 * np.pi / 8 / np.sqrt(np.pi) / 1e-4, rel=1e-3)


def test_gate_rates_by_hand():
    gamma, beta = np.array([2.0, -2.0, 0.0, 0.0]), np.array([2.0, 2.0, 1.0, -1.0])
    np.testing.assert_allclose(laws.gate_rate(gamma, beta), [0.841344746, 0.841344746, 1, 0])
    np.testing.assert_allclose(laws.saturation_rate(gamma, beta), [0.022750132, 0.022750132, 0, 0])


def test_a_reflected_walk_has_the_moments_of_a_long_simulation_and_starts_as_a_rectified_normal():
    assert laws.reflected_moments(0) == pytest.approx((1 / np.sqrt(2 * np.pi), 0.5))
    by_hand = (1 + 2**-0.5) / np.sqrt(2 * np.pi), 1 + 1 / (2 * np.pi)
    assert laws.reflected_moments(1) == pytest.approx(by_hand)
    steps, x = np.random.default_rng(0).standard_normal((9, 200_000)), np.zeros(200_000)
    for xi in steps:
        x = np.maximum(0, x + xi)
    mean, second = laws.reflected_moments(8)
    assert x.mean() == pytest.approx(mean, abs=5 * x.std() / np.sqrt(x.size))
    assert (x**2).mean() == pytest.approx(second, abs=5 * (x**2).std() / np.sqrt(x.size))
    with pytest.raises(ValueError, match="number >= 0, got -1"):
        laws.reflected_moments(-1)


def test_shares_of_branches_add_up_to_the_variance_that_they_make():
    blocks = np.arange(1, 6)
    np.testing.assert_allclose(laws.branch_share("stream", blocks), 1 / (blocks + 1))
    for form, start, added in (("stream", 1.0, 0.25), ("v2", 1.0, 1 - 1 / np.pi)):
        variance = start + added * np.arange(6)
        share = laws.branch_share(form, blocks, 0.5)
        np.testing.assert_allclose(share, added / variance[1:])
    first = 1 / (1 + 0.5 - 1 / (2 * np.pi))
    np.testing.assert_allclose(laws.branch_share("v1", 1), first)
    assert laws.branch_share("v1", [[1, 2]]).shape == (1, 2)
    with pytest.raises(ValueError, match="numbers >= 1, got 0"):
        laws.branch_share("stream", [0])


def test_gradients_grow_like_a_power_with_norm_and_like_two_to_the_depth_without():
    c = np.pi / (np.pi - 1)
    products = [laws.gradient_growth("stream", n) for n in (1, 2)]
    np.testing.assert_allclose(products, [1 + c, (1 + c) * (1 + c / 2)])
    slope = np.log2(laws.gradient_growth("stream", 20000) / laws.gradient_growth("stream", 10000))
    assert slope == pytest.approx(c, abs=1e-3)
    assert laws.gradient_growth("none", 10) == 2**10
    assert laws.gradient_growth("stream", 10, gain=0) == 1
    with pytest.raises(ValueError, match="number >= 1, got 0"):
        laws.gradient_growth("none", 0)


@pytest.mark.parametrize(("form", "gain"), [("stream", 1.0), ("stream", 0.3), ("none", 0.5)])
def test_effective_depth_is_the_slope_of_the_growth_in_a_factor_on_the_branches(form, gain):
    q, h = laws.branch_gains(form, 7, gain), 1e-5
    growth = [np.log(1 + (1 + t) ** 2 * q).sum() for t in (h, -h)]
    slope = 0.5 * (growth[0] - growth[1]) / (2 * h)
    assert laws.effective_depth(form, 7, gain) == pytest.approx(slope, rel=1e-8)
    assert laws.effective_depth("none", 7) == 3.5
