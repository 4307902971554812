"""Six populations: what is claimed of them, and their expected batch deviation."""

from math import comb

import numpy as np
import pytest

from bnlib import laws
from bnlib.chapters.identity.measure import POPULATIONS


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_draws_have_mean_0_variance_1_and_the_stated_kurtosis(name):
    population = POPULATIONS[name]
    x = population.draw(np.random.default_rng(0), (1000, 1000))
    # Five standard errors; the fourth moment of t5 has no variance, so it is only bounded.
    assert abs(x.mean()) < 5e-3
    assert abs((x**2).mean() - 1) < 5 * np.sqrt((population.kurtosis - 1) / x.size) + 1e-12
    slack = 2.5 if name == "Student t5" else 0.15
    assert (x**4).mean() == pytest.approx(population.kurtosis, abs=slack)


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_near_is_the_expectation_of_a_bell_around_a(name):
    population = POPULATIONS[name]
    x = population.draw(np.random.default_rng(1), (400000,))
    for u, a in ((0.3, 0.0), (2.0, 0.9), (30.0, -0.7)):
        bell = np.exp(-u * (x - a) ** 2)
        got = float(population.near(np.array([[u]]), np.array([[a]]))[0, 0])
        assert got == pytest.approx(bell.mean(), abs=5 * bell.std() / np.sqrt(x.size) + 1e-12)


@pytest.mark.parametrize("m", [2, 3, 8, 64, 1024])
def test_the_quadrature_meets_the_closed_forms_of_gaussian_and_two_points(m):
    gauss, coin = POPULATIONS["Gaussian"], POPULATIONS["two-point"]
    assert gauss.expected_std(m) == pytest.approx(laws.expected_batch_std(m), abs=2e-8)
    flips = np.arange(m + 1)
    chances = np.array([comb(m, k) / 2**m for k in range(m + 1)])
    exact = float(chances @ (2 * np.sqrt(flips / m * (1 - flips / m))))
    assert coin.expected_std(m) == pytest.approx(exact, abs=2e-8)


def test_only_atoms_tie():
    tied = {name: population.tied(3) for name, population in POPULATIONS.items()}
    assert tied["two-point"] == 0.25
    assert tied["ReLU(Gaussian)"] == 0.125
    assert tied["Gaussian"] == tied["uniform"] == tied["Laplace"] == tied["Student t5"] == 0
    with pytest.raises(ValueError, match="m >= 2"):
        POPULATIONS["Gaussian"].expected_std(1)
