"""Single layers: what returns x, the law against draws, the descent, and what a layer removes."""

import numpy as np
import pytest

from bnlib import identity
from bnlib.chapters.identity import measure
from bnlib.chapters.identity.measure import POPULATIONS

SIZES = [2, 8, 64]


@pytest.mark.parametrize(("b", "m"), [(0.0, 2), (0.5, 16)])
def test_the_removed_share_is_that_of_the_theory(b, m):
    shares = measure.removed_shares(0, 20, [m], b)
    theory = (b * b + 2 / m) / (1 + b * b)
    # Five standard errors, and rounding where m = 2 removes everything.
    assert np.mean(shares) == pytest.approx(theory, abs=5 * np.std(shares) / 20**0.5 + 1e-12)


def test_a_layer_that_returns_its_rows_passes_on_nothing_shared_and_nothing_along_them():
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 5, 3)) + 1
    dx = measure.passed_on(x, dy)
    np.testing.assert_allclose([dx.sum(axis=0), (dx * x).sum(axis=0)], 0, atol=1e-13)


def test_intervals_are_shown_with_their_ends():
    assert measure.shown((0.25, 0.125, 1.0, "p"), 2) == "0.25 [0.12, 1.00]"


@pytest.fixture(scope="module")
def sums():
    return measure.sample(0, 12, 4000, SIZES)


def test_formulas_are_the_laws_of_each_population():
    exact, leading = measure.formulas(SIZES)
    assert exact[0].tolist() == [identity.gaussian_error(m) for m in SIZES]
    for place, population in enumerate(POPULATIONS.values()):
        law = identity.error(population.expected_std(8), tied=population.tied(8))
        assert exact[place, 1] == pytest.approx(law, rel=1e-5)
        assert leading[place, 2] == identity.leading_error(64, population.kurtosis)


def test_the_right_law_lies_inside_and_one_that_is_off_does_not(sums):
    exact, leading = measure.formulas(SIZES)
    check = measure.check(sums, exact)
    assert check.jointly.all()
    assert check.sound
    assert check.inside.mean() > 0.8
    assert not measure.check(sums, 1.2 * exact).jointly.all()
    assert not measure.check(sums, leading).jointly.all()  # at m = 2 it is 14 % off, and more
    assert max(check.broken) < len(SIZES)


def test_a_measured_error_that_is_not_that_of_its_draws_is_not_sound(sums):
    exact, _ = measure.formulas(SIZES)
    for field in ("error", "std", "present"):
        off = sums._replace(**{field: 1.05 * getattr(sums, field)})
        assert not measure.check(off, exact).sound
