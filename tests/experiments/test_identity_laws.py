"""The error law against draws: the right one stays inside its intervals, a wrong one does not."""

from types import SimpleNamespace

import numpy as np
import pytest

from bnlib import identity
from bnlib.experiments import identity_laws, identity_trials
from bnlib.populations import POPULATIONS

SIZES = [2, 8, 64]


@pytest.fixture(scope="module")
def sums():
    return identity_laws.sample(0, 12, 4000, SIZES)


def test_a_sum_is_that_of_its_own_seed_population_and_size(sums):
    place, name = 2, list(POPULATIONS)[2]
    rng = np.random.default_rng([0, 5, place, 8, 7])
    alone = identity_trials.sample_errors(POPULATIONS[name], 8, 4000, rng)
    assert sums.error.shape == (12, len(POPULATIONS), len(SIZES))
    assert tuple(float(v[7, place, 1]) for v in sums) == alone


def test_formulas_are_the_laws_of_each_population():
    exact, leading = identity_laws.formulas(SIZES)
    assert exact[0].tolist() == [identity.gaussian_error(m) for m in SIZES]
    for place, population in enumerate(POPULATIONS.values()):
        law = identity.error(population.expected_std(8), tied=population.tied(8))
        assert exact[place, 1] == pytest.approx(law, rel=1e-5)
        assert leading[place, 2] == identity.leading_error(64, population.kurtosis)


def test_the_right_law_lies_inside_and_one_that_is_off_does_not(sums):
    exact, leading = identity_laws.formulas(SIZES)
    check = identity_laws.check(sums, exact)
    assert check.jointly.all()
    assert check.sound
    assert check.inside.mean() > 0.8
    assert not identity_laws.check(sums, 1.2 * exact).jointly.all()
    assert not identity_laws.check(sums, leading).jointly.all()  # at m = 2 it is 14 % off, and more
    assert max(check.broken) < len(SIZES)


def test_a_measured_error_that_is_not_that_of_its_draws_is_not_sound(sums):
    exact, _ = identity_laws.formulas(SIZES)
    for field in ("error", "std", "present"):
        off = sums._replace(**{field: 1.05 * getattr(sums, field)})
        assert not identity_laws.check(off, exact).sound


def test_the_best_gamma_and_its_floor_are_those_of_the_law(sums):
    best = identity_laws.best_constants(sums, SIZES)
    assert identity_laws.hits(best.gamma, best.a).all()
    assert identity_laws.hits(best.floor, best.lowest).all()
    assert not identity_laws.hits(best.gamma, np.ones(3))[:2].any()  # sigma is not the best
    assert best.balance < 1e-14


def test_an_interval_contains_its_ends_and_nothing_beyond():
    interval = SimpleNamespace(low=np.array([1.0, 1.0, 1.0]), high=np.array([2.0, 2.0, 2.0]))
    law = np.array([1.0, 2.0, np.nextafter(2.0, 3)])
    assert identity_laws.hits(interval, law).tolist() == [True, True, False]
