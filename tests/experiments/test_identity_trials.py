"""The trials of the identity on single layers: what returns x, and what a layer removes."""

from itertools import product

import numpy as np
import pytest

from bnlib import identity
from bnlib.experiments import identity_trials as trials


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


def test_a_million_from_zero_centering_first_is_exact_and_a_mean_of_extra_digits_is_not():
    worst = trials.worst_errors(0, 4, [0, 1e6])
    assert set(worst) == set(product(("float64", "float32"), trials.KERNELS))
    assert worst["float64", "center first"][1] < 1e-12
    # A mean of more digits than beta can hold misses x by a spacing of x, about 1e-10 sigma here.
    assert worst["float64", "mean to extra digits"][1] > 1e-12
    assert worst["float64", "mean to extra digits"][0] < 1e-14
    one_seed = trials.worst_errors(0, 1, [1e6])
    assert all(one_seed[key][0] <= worst[key][1] for key in worst)  # the worst over more seeds


def test_stored_statistics_return_every_input_and_wrong_constants_do_not(monkeypatch):
    assert trials.stored_error(0) < 1e-12
    without = identity.restoring
    monkeypatch.setattr(identity, "restoring", lambda mu, var, *, eps: without(mu, var, eps=0.0))
    assert trials.stored_error(0) > 1e-6


@pytest.mark.parametrize("eps", [0.0, 1e-3])
def test_a_scale_that_forgets_eps_errs_by_the_law_at_every_variance(eps):
    squares = np.array([1.0, 1e-3, 1e-6])
    rms = trials.rms_without_eps(0, 2, squares, eps)
    assert rms.shape == (2, 3)
    np.testing.assert_allclose(rms, np.tile(identity.eps_error(squares, eps), (2, 1)), atol=1e-9)


def test_removed_shares_have_a_row_for_each_seed_and_a_column_for_each_size():
    shares = trials.removed_shares(3, 2, [2, 16], 0.5)
    alone = trials.removed_share(16, 0.5, np.random.default_rng([3, 7, 16, 1]))
    assert shares.shape == (2, 2)
    assert shares[1, 1] == alone
