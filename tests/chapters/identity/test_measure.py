"""Single layers: what returns x, the law against draws, the descent, and what a layer removes."""

from itertools import product

import numpy as np
import pytest

from bnlib import identity, laws, statistics
from bnlib.chapters.identity import measure
from bnlib.chapters.identity.measure import POPULATIONS
from bnlib.verdicts import inside

SIZES = [2, 8, 64]


@pytest.mark.parametrize(("b", "m"), [(0.0, 2), (0.5, 16)])
def test_the_removed_share_is_that_of_the_theory(b, m):
    shares = measure.removed_shares(0, 20, [m], b)
    theory = (b * b + 2 / m) / (1 + b * b)
    # Five standard errors, and rounding where m = 2 removes everything.
    assert np.mean(shares) == pytest.approx(theory, abs=5 * np.std(shares) / 20**0.5 + 1e-12)


def test_a_million_from_zero_centering_first_is_exact_and_a_mean_of_extra_digits_is_not():
    worst = measure.worst_errors(0, 4, [0, 1e6])
    assert list(worst.index) == list(product(("float64", "float32"), measure.KERNELS))
    assert worst.loc[("float64", "center first"), 1e6] < 1e-12
    # A mean of more digits than beta can hold misses x by a spacing of x, about 1e-10 sigma here.
    assert worst.loc[("float64", "mean to extra digits"), 1e6] > 1e-12
    assert worst.loc[("float64", "mean to extra digits"), 0] < 1e-14
    one_seed = measure.worst_errors(0, 1, [1e6])
    assert (one_seed[1e6] <= worst[1e6]).all()  # the worst over more seeds


def test_removed_shares_have_a_row_for_each_seed_and_a_column_for_each_size():
    shares = measure.removed_shares(3, 2, [2, 16], 0.5)
    assert shares.shape == (2, 2)
    assert shares[1, 1] == measure.removed_shares(3, 2, [16], 0.5)[1, 0]  # each has its own draws
    assert np.unique(shares).size == 4


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


def test_a_sum_is_that_of_its_own_seed_population_and_size(sums):
    place, name = 2, list(POPULATIONS)[2]
    rng = np.random.default_rng([0, 5, place, 8, 7])
    alone = measure.sample_errors(POPULATIONS[name], 8, 4000, rng)
    assert sums.error.shape == (12, len(POPULATIONS), len(SIZES))
    assert tuple(float(v[7, place, 1]) for v in sums) == alone


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


def test_the_best_gamma_and_its_floor_are_those_of_the_law(sums):
    (gamma, floor), law = measure.best_constants(sums), measure.gaussian_laws(SIZES)
    assert inside(law["std"], gamma).all()
    assert inside(law["best"], floor).all()
    assert not inside(np.ones(3), gamma)[:2].any()  # sigma is not the best
    table = measure.best_table(SIZES, gamma, floor)
    assert table.loc[8, "best γ/σ"] == measure.shown([v[1] for v in gamma])
    assert table.loc[8, "1 − a²"] == pytest.approx(1 - laws.expected_batch_std(8) ** 2, abs=5e-5)


def test_each_stream_draws_its_own_channels_over_a_factor_of_a_thousand():
    first, again, other = (measure.channels(0, 20, stream) for stream in (1, 1, 2))
    np.testing.assert_array_equal(first[:2], again[:2])
    sigma, mu, _ = first
    assert sigma.shape == mu.shape == (320,)
    assert not np.array_equal(sigma, other[0])
    assert sigma.min() < 0.1
    assert sigma.max() > 10


def test_the_descent_ends_at_the_expected_batch_std_below_sigma():
    reached = measure.ends(0, 6, 600, [2, 8])
    assert {values.shape for values in reached} == {(6, 2)}
    learned = statistics.mean_interval(reached.gamma, 1 - 0.05 / 2)
    a = np.array([laws.expected_batch_std(m) for m in (2, 8)])
    assert inside(a, learned).all()
    assert (learned.high < 1).all()
    np.testing.assert_allclose(reached.training.mean(axis=0), 1 - a**2, rtol=0.1)
    # The last rate still moves beta: the residue is a little above (1 - a)^2.
    np.testing.assert_allclose(reached.evaluation.mean(axis=0), (1 - a) ** 2, rtol=0.2)
    assert list(measure.residues(reached, [2, 8])["(1 − a)²"]) == list(((1 - a) ** 2).round(5))


def test_with_a_constant_rate_sgd_is_the_moving_average_with_its_noise():
    average = measure.average(0, 6, 800)
    assert average.gap < 1e-12
    assert average.spread.shape == (6,)
    assert average.spread.mean() == pytest.approx(laws.ema_noise(measure.RATE), rel=0.1)
    assert average.path.batch_std.shape == (800, average.sigma.size)


def test_sgd_treats_all_scales_alike_and_adam_brings_far_channels_late():
    sgd, adam = (measure.approach(0, 6, optimizer) for optimizer in ("sgd", "adam"))
    at = measure.STEPS.index(30)
    assert all(values[0] == 1 for values in (*sgd.values(), *adam.values()))
    np.testing.assert_allclose([values[at] for values in sgd.values()], 0.9**30, rtol=0.6)
    assert adam["σ > 3"][at] > 10 * sgd["σ > 3"][at]
