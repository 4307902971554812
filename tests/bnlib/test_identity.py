"""The identity: its constants, its error laws, and the descent that looks for it."""

import numpy as np
import pytest
from scipy.special import ndtr

from bnlib import identity, reference, running
from bnlib.rows import Moments

SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 1024)


@pytest.fixture
def rows():
    """Rows with unequal means and scales, one channel far from zero."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(9, 4)) * [0.3, 1.0, 7.0, 2.0] + [0.0, -1.0, 1e4, 5.0]


@pytest.mark.parametrize("eps", [0.0, 1e-5, 1.0])
def test_restoring_constants_return_x_with_the_same_statistics_and_with_no_others(rows, eps):
    mu, var = reference.statistics(rows)
    y, _ = reference.forward(rows, *identity.restoring(mu, var, eps=eps), eps=eps)
    # beta = 1e4 is rounded to half a spacing, and so is the sum.
    np.testing.assert_allclose(y, rows, rtol=0, atol=2 * np.spacing(1e4))
    other, _ = reference.forward(rows, *identity.restoring(mu, 1.1 * var, eps=eps), eps=eps)
    assert (np.abs(other - rows).max(axis=0) > 1e-3).all()


def test_in_evaluation_the_stored_statistics_restore_inputs_that_never_saw_them(rows):
    mean, var = np.array([3.0, -2.0, 0.5, 0.0]), np.array([0.1, 2.0, 5.0, 1e-4])
    y = running.infer(rows, *identity.restoring(mean, var, eps=1e-3), mean, var, eps=1e-3)
    np.testing.assert_allclose(y, rows, rtol=4e-16, atol=1e-14)


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
def test_forgetting_eps_shrinks_by_the_formula_and_by_nothing_at_eps_0(rows, eps):
    mu, var = reference.statistics(rows)
    y, _ = reference.forward(rows, np.sqrt(var), mu, eps=eps)
    rms = np.sqrt(np.square(y - rows).mean(axis=0) / var)
    np.testing.assert_allclose(rms, identity.eps_error(var, eps), atol=1e-11)
    assert identity.eps_error(np.array(0.3), 0.3) == pytest.approx(1 - 0.5**0.5)


@pytest.mark.parametrize("eps", [0.0, 0.2])
def test_the_error_of_a_batch_is_the_squared_distance_of_two_points(rows, eps):
    constants = identity.Constants(np.array([0.5, -1.0, 6.0, 0.0]), np.array([0.1, 0.0, 1e4, 4.0]))
    y, _ = reference.forward(rows, *constants, eps=eps)
    mu, var = reference.statistics(rows)
    measured = np.square(y - rows).mean(axis=0)
    got = identity.batch_error(mu, var, constants, eps=eps)
    np.testing.assert_allclose(got, measured, rtol=1e-9)
    if eps == 0:
        distance = (constants.gamma - np.sqrt(var)) ** 2 + (constants.beta - mu) ** 2
        np.testing.assert_allclose(got, distance, rtol=1e-9)


def test_a_constant_batch_leaves_only_the_error_of_its_mean():
    constants = identity.Constants(np.ones(1), np.array([1.0]))
    assert identity.batch_error(np.array([3.0]), np.zeros(1), constants, eps=0.0) == 4.0


def test_the_gaussian_law_has_the_values_worked_out_by_hand():
    # E|x1 - x2| / 2 = 1 / sqrt(pi) at m = 2; the others from the Gamma function at integers.
    assert identity.gaussian_error(2) == pytest.approx(2 - 2 / np.sqrt(np.pi), rel=1e-13)
    values = {4: 0.4042, 8: 0.1946, 16: 0.0955, 32: 0.0473, 64: 0.0235, 256: 0.0059}
    for m, value in values.items():
        assert identity.gaussian_error(m) == pytest.approx(value, abs=6e-5)


@pytest.mark.parametrize("m", SIZES)
def test_what_the_best_gamma_gains_in_training_it_costs_in_evaluation(m):
    fixed, best, evaluation = (identity.gaussian_error(m, mode) for mode in identity.MODES)
    assert fixed - best == pytest.approx(evaluation, abs=1e-14)
    assert identity.leading_error(m) == pytest.approx(1.5 / m)


def test_ties_have_their_own_law_and_two_points_at_m_2_give_one_half():
    pairs = np.array([[-1.0, -1.0, 1.0, 1.0], [-1.0, 1.0, -1.0, 1.0]])
    y, _ = reference.forward(pairs, np.ones(4), np.zeros(4), eps=0.0)
    assert np.square(y - pairs).mean() == 0.5
    assert identity.error(0.5, tied=0.5) == 0.5
    assert identity.error(0.5) == 1.0
    # The vertex of (1 - t) g^2 - 2 a g + 1 at t = a = 1/2.
    assert identity.error(0.5, mode="best", tied=0.5) == 0.5
    with pytest.raises(ValueError, match="mode: expected one of"):
        identity.error(0.5, mode="worst")


def test_the_step_of_the_descent_is_the_gradient_of_the_layer():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(7, 3)) * [0.1, 1.0, 20.0] + [0.0, 3.0, -5.0]
    point = np.array([[1.0, -0.5, 2.0], [0.0, 1.0, -4.0]])
    grad, (std, mean, error) = identity._step(x, point)
    y, tape = reference.forward(x, *point, eps=0.0)
    exact = reference.backward((y - x) / len(x), tape)
    np.testing.assert_allclose(grad, [exact.dgamma, exact.dbeta], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(grad, point - [std, mean], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(error, np.square(y - x).mean(axis=0), rtol=1e-12)


def test_sgd_with_a_constant_step_is_the_moving_average_of_the_batch_statistics():
    sigma, mu = np.array([0.1, 3.0]), np.array([1.0, -2.0])
    rng = np.random.default_rng(4)
    path = identity.descend(sigma, mu, m=5, steps=40, lr=0.2, rng=rng)
    gamma, beta = np.ones(2), np.zeros(2)
    for t in range(40):
        gamma = 0.8 * gamma + 0.2 * path.batch_std[t]
        beta = 0.8 * beta + 0.2 * path.batch_mean[t]
    np.testing.assert_allclose(path.gamma[-1], gamma, rtol=1e-12)
    np.testing.assert_allclose(path.beta[-1], beta, rtol=1e-12)


def test_an_unknown_optimizer_is_refused():
    how = {"m": 4, "steps": 1, "lr": 1, "rng": np.random.default_rng(), "optimizer": "x"}
    with pytest.raises(ValueError, match="optimizer: expected one of"):
        identity.descend(np.ones(1), np.zeros(1), **how)


def test_the_best_map_of_two_rows_is_a_gauss_curve_summed_up():
    x = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(identity.conditional_map(x, 2), 2 * ndtr(x) - 1, atol=1e-14)


@pytest.mark.parametrize("m", [3, 4, 16])
def test_the_best_map_is_the_mean_of_what_training_makes_of_a_value(m):
    rng, x = np.random.default_rng(m), np.array([-1.5, 0.3, 2.0])
    rows = np.concatenate(
        [np.broadcast_to(x, (1, 200_000, 3)), rng.normal(size=(m - 1, 200_000, 3))]
    )
    drawn = (x - rows.mean(0)) / rows.std(0)
    error = drawn.std(0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(0) - identity.conditional_map(x, m)) < 4 * error).all()


def test_weighing_a_row_is_normalizing_with_moments_that_it_entered():
    x, alpha = np.array([-3.0, 0.1, 2.0]), 0.2
    mean, square = alpha * x, 1 - alpha + alpha * x**2
    want = (x - mean) / np.sqrt(square - mean**2)
    np.testing.assert_allclose(identity.weighed(x, alpha), want)


def test_the_four_errors_have_their_known_values_and_order():
    for m, values in {
        2: (0.8716, 0.6817, 0.6740, 2 / 3),
        8: (0.1946, 0.1851, 0.1824, 0.1726),
    }.items():
        errors = identity.evaluation_errors(m)
        np.testing.assert_allclose(errors, values, atol=6e-5)
        assert sorted(errors, reverse=True) == list(errors)


def test_the_corrected_variance_makes_evaluation_the_best_straight_line():
    x, one = np.array([[1.5], [-0.2]]), np.ones(1)
    y = running.infer(x, one, 0 * one, 0 * one, identity.corrected(one, 4), eps=0.0)
    a = np.sqrt(2 / np.pi)  # sqrt(2 / 4) Gamma(2) / Gamma(3 / 2)
    np.testing.assert_allclose(y, a * x, rtol=1e-12)


def test_one_row_has_no_map():
    with pytest.raises(ValueError, match="expected m >= 2 rows, got 1"):
        identity.conditional_map(0.0, 1)


@pytest.mark.parametrize("eps", [0.0, 1e-5, 1.0])
def test_other_statistics_with_their_constants_are_the_same_layer(rows, eps):
    rng = np.random.default_rng(1)
    gamma, beta = rng.normal(size=(2, 4))
    old, new = (Moments(rng.normal(size=4), rng.uniform(0.1, 9, 4)) for _ in range(2))
    changed = identity.reparameterized(gamma, beta, old, new, eps=eps)
    wanted = running.infer(rows, gamma, beta, *old, eps=eps)
    y = running.infer(rows, *changed, *new, eps=eps)
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
    assert (np.sign(changed.gamma) == np.sign(gamma)).all()
