"""Rank correlations against scipy, hand values, and what a common cause leaves of them."""

import numpy as np
import pytest
from scipy import stats

from bnlib.chapters.learning_rate import measure


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_that_of_scipy_with_average_ranks(rng, ties):
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    x = np.round(x) if ties else x
    np.testing.assert_allclose(measure.spearman(x, y), stats.spearmanr(x, y).statistic)


def test_spearman_by_hand_takes_infinity_as_the_top_rank_and_sees_order_only():
    # ranks 1 2 3 4 against 1 3 2 4: 1 - 6 (1 + 1) / (4 * 15) = 0.8
    assert measure.spearman([0.0, 1.0, 5.0, np.inf], [1.0, 9.0, 2.0, 10.0]) == pytest.approx(0.8)
    assert measure.spearman([1.0, 2.0, 3.0], [-1.0, -4.0, -9.0]) == pytest.approx(-1)


def test_spearman_of_a_single_value_is_undefined_and_nan_is_refused():
    assert np.isnan(measure.spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="without NaN"):
        measure.spearman([1.0, np.nan], [1.0, 2.0])


@pytest.mark.parametrize("grid", [0.0, 0.5, 2.0])
def test_tau_is_that_of_scipy_also_with_ties(rng, grid):
    for share, rate in rng.normal(size=(30, 2, 6)):
        rate = np.round(rate / grid) if grid else rate
        theirs = stats.kendalltau(-share, rate).statistic
        assert measure._tau(share, rate) == (0.0 if np.isnan(theirs) else theirs)


def test_partial_spearman_is_the_correlation_of_what_z_leaves_of_the_ranks(rng):
    z = rng.normal(size=60)
    x, y = z + rng.normal(size=60), z + rng.normal(size=60)
    ranks = [stats.rankdata(v) for v in (x, y, z)]
    left = [r - np.polyval(np.polyfit(ranks[2], r, 1), ranks[2]) for r in ranks[:2]]
    found = measure.partial_spearman(x, y, z)
    np.testing.assert_allclose(found, np.corrcoef(*left)[0, 1])
    assert found < measure.spearman(x, y)


def test_partial_spearman_is_undefined_where_z_says_all(rng):
    x, y = rng.normal(size=(2, 9))
    assert np.isnan(measure.partial_spearman(x, y, 2 * x))


def test_within_groups_a_common_cause_of_the_group_is_gone(rng):
    group = np.repeat([2, 0, 1], 50)
    x, y = 10 * group + rng.normal(size=150), 10 * group + rng.normal(size=150)
    inside = measure.within_group(x, y, group)
    assert measure.spearman(x, y) > 0.8
    assert np.abs(inside).max() < 0.4
    np.testing.assert_allclose(inside[0], stats.spearmanr(x[50:100], y[50:100]).statistic)
