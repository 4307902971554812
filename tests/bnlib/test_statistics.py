"""Intervals and shape statistics against hand values, scipy, and their own coverage."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bnlib import statistics


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_mean_interval_of_one_two_three_by_hand():
    # mean 2, sd 1, n = 3: half width t(0.975, 2) / sqrt(3), with t(0.975, 2) = 4.302652729749464
    found = statistics.mean_interval([1.0, 2.0, 3.0])
    half = 4.302652729749464 / np.sqrt(3)
    np.testing.assert_allclose(found, (2.0, 2.0 - half, 2.0 + half), rtol=1e-12)
    assert all(type(v) is float for v in found)


def test_mean_interval_covers_at_its_level(rng):
    found = statistics.mean_interval(rng.normal(size=(5, 20_000)))
    share = ((found.low <= 0) & (found.high >= 0)).mean()
    assert abs(share - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 20_000)  # four standard errors


@pytest.mark.parametrize("a", [[1.0], [], 3.0])
def test_an_interval_needs_two_repetitions(a):
    with pytest.raises(ValueError, match="a: expected 2 repetitions"):
        statistics.mean_interval(a)
    with pytest.raises(ValueError, match="a: expected 2 repetitions"):
        statistics.median_interval(a)


def test_non_finite_repetition_is_refused():
    with pytest.raises(ValueError, match="expected finite values, got 1 others"):
        statistics.mean_interval([1.0, np.nan, 2.0])


@pytest.mark.parametrize(
    # P(all n on one side) = 2 / 2^n: 1/32 at 6; at 10 also 1 of 10 on the other: 2 (1 + 10) / 2^10
    ("count", "place", "cover"),
    [(6, 1, 1 - 2 / 64), (10, 2, 1 - 22 / 1024), (20, 6, 0.9586)],
)
def test_a_median_lies_between_the_values_that_the_binomial_law_names(count, place, cover, rng):
    a = rng.exponential(size=(count, 20_000))
    interval, ordered = statistics.median_interval(a), np.sort(a, axis=0)
    np.testing.assert_array_equal(interval.low, ordered[place - 1])
    np.testing.assert_array_equal(interval.high, ordered[count - place])
    inside = (interval.low <= np.log(2)) & (np.log(2) <= interval.high)
    assert abs(inside.mean() - cover) < 4 * np.sqrt(cover * (1 - cover) / 20_000)  # standard errors
    inner = (ordered[place] <= np.log(2)) & (np.log(2) <= ordered[count - place - 1])
    assert inner.mean() < 0.95  # one value further in is too near
    np.testing.assert_array_equal(interval.estimate, np.median(a, axis=0))


def test_a_median_of_five_has_the_t_interval():
    a = [0.0, 1.0, 2.0, 4.0, 10.0]
    assert statistics.median_interval(a) == (2.0, *statistics.mean_interval(a)[1:])


def test_paired_difference_is_the_paired_t_test(rng):
    a, b = rng.normal(size=(2, 12))
    found, peer = statistics.paired_difference(a, b), stats.ttest_rel(a, b)
    peer_interval = peer.confidence_interval()
    np.testing.assert_allclose(found.p, peer.pvalue, rtol=1e-10)
    np.testing.assert_allclose(found[1:3], (peer_interval.low, peer_interval.high), rtol=1e-10)


def test_splits_of_one_data_set_widen_interval_and_p_as_nadeau_and_bengio_say(rng):
    a, b, overlap = *rng.normal(size=(2, 12)), 450 / 1347
    plain, corrected = (statistics.paired_difference(a, b, overlap=o) for o in (0.0, overlap))
    # variance s^2 (1/n + n_test / n_train) in the place of s^2 / n
    wider = np.sqrt(1 + 12 * overlap)
    np.testing.assert_allclose(
        corrected.high - corrected.estimate, wider * (plain.high - plain.estimate), rtol=1e-12
    )
    t = stats.ttest_rel(a, b).statistic / wider
    np.testing.assert_allclose(corrected.p, 2 * stats.t.sf(abs(t), 11), rtol=1e-10)
    assert corrected.estimate == plain.estimate


def test_the_mean_over_splits_varies_as_the_corrected_error_says():
    """Each data set of 90 values is split ten times; the score of a split is its test mean."""
    rng, tested, kept, sets = np.random.default_rng(4), 30, 60, 400
    errors, means = [], []
    for _ in range(sets):
        rows = rng.normal(size=tested + kept)
        scores = np.array([rng.permutation(rows)[:tested].mean() for _ in range(10)])
        interval = statistics.mean_interval(scores, overlap=tested / kept)
        errors.append((interval.high - interval.estimate) / stats.t.ppf(0.975, 9))
        means.append(interval.estimate)
    # Here the law is exact: s^2 is 1/30 - 1/90 on average, and s^2 (1/10 + 1/2) = 1/90 + s^2/10,
    # the variance of the mean over splits. Without the correction the ratio would be 0.41. Four
    # standard errors of a deviation from 400 data sets: 4 / sqrt(2 400) = 0.14.
    assert np.sqrt(np.mean(np.square(errors))) / np.std(means) == pytest.approx(1, abs=0.14)


def test_equivalence_is_the_pair_of_one_sided_tests(rng):
    a, b = rng.normal(size=(2, 12)) / 10
    sides = [
        stats.ttest_1samp(a - b, -0.3, alternative="greater").pvalue,
        stats.ttest_1samp(a - b, 0.3, alternative="less").pvalue,
    ]
    np.testing.assert_allclose(statistics.equivalence_p(a, b, 0.3), max(sides), rtol=1e-10)
    assert statistics.equivalence_p(a, b, 0.3, overlap=0.3) > max(sides)
    assert statistics.equivalence_p(a, a, 0.3) == 0


def test_equal_differences_give_a_point_not_a_warning():
    same = statistics.paired_difference([1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
    assert same == (0.0, 0.0, 0.0, 1.0)
    shifted = statistics.paired_difference([2.0, 3.0, 5.0], [1.0, 2.0, 4.0])
    assert shifted == (1.0, 1.0, 1.0, 0.0)


def test_pairs_must_match():
    with pytest.raises(ValueError, match=r"expected pairs, got shapes \(2,\) and \(3,\)"):
        statistics.paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 times 3 2 1 = 0.03 0.04 0.03, made monotone: 0.03 0.04 0.04
    np.testing.assert_allclose(statistics.holm([0.02, 0.01, 0.03]), [0.04, 0.03, 0.04], rtol=1e-12)


def test_equivalent_needs_the_whole_interval_within_the_margin():
    a = np.array([0.0, 0.2, -0.1, 0.1, -0.2])
    assert statistics.equivalent(a, np.zeros(5), margin=0.2)
    low, high = stats.ttest_1samp(a, 0).confidence_interval(0.90)
    assert not statistics.equivalent(a, np.zeros(5), margin=max(abs(low), high) * (1 - 1e-9))
    assert statistics.equivalent(a, np.zeros(5), margin=max(abs(low), high) * (1 + 1e-9))
    with pytest.raises(ValueError, match="expected margin > 0"):
        statistics.equivalent(a, a, margin=0.0)


def test_cluster_bootstrap_is_wider_than_one_that_ignores_clusters(rng):
    clusters = np.repeat(np.arange(20), 50)
    values = rng.normal(size=20)[clusters] + 0.1 * rng.normal(size=1000)
    honest = statistics.cluster_bootstrap(values, clusters, np.mean, rng=rng)
    naive = statistics.cluster_bootstrap(values, np.arange(1000), np.mean, resamples=500, rng=rng)
    assert honest.estimate == naive.estimate == values.mean()
    # 20 independent means instead of 1000 values: sqrt(50) = 7 times wider, up to sampling
    assert honest.high - honest.low > 4 * (naive.high - naive.low)


def test_cluster_bootstrap_refuses_what_it_cannot_resample(rng):
    with pytest.raises(ValueError, match="expected at least 2 clusters"):
        statistics.cluster_bootstrap([1.0, 2.0], [0, 0], np.mean, rng=rng)
    with pytest.raises(ValueError, match="expected a cluster per value, got 3 for 2"):
        statistics.cluster_bootstrap([1.0, 2.0], [0, 1, 2], np.mean, rng=rng)


def test_shape_of_two_points_by_hand():
    # -1 and 1: z the same; ks = 1/2 - Phi(-1), skew 0, kurtosis 1 - 3; none is *within* one sd
    found = statistics.shape([-1.0, 1.0])
    np.testing.assert_allclose(found[:3], (0.5 - stats.norm.cdf(-1), 0.0, -2.0), atol=1e-12)
    assert found.cover1 == 0.0


@pytest.mark.parametrize("ties", [False, True])
def test_shape_agrees_with_scipy(rng, ties):
    x = rng.exponential(size=(500, 3))
    x = np.round(x, 1) if ties else x
    found = statistics.shape(x)
    for k, column in enumerate(x.T):
        peer = stats.kstest(column, stats.norm(column.mean(), column.std()).cdf)
        np.testing.assert_allclose(found.ks[k], peer.statistic, rtol=1e-10)
        np.testing.assert_allclose(found.skew[k], stats.skew(column), rtol=1e-10)
        np.testing.assert_allclose(found.excess_kurtosis[k], stats.kurtosis(column), rtol=1e-10)


@settings(max_examples=40, deadline=None)
@given(shift=st.floats(-1e4, 1e4), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_shape_does_not_change_under_shift_and_stretch(shift, scale, seed):
    x = np.random.default_rng(seed).laplace(size=64)
    # x a + b is rounded by 2e-16 |b| / a of a standard deviation: at most 2e-9 here
    moved = statistics.shape(x * scale + shift)
    np.testing.assert_allclose(moved[:3], statistics.shape(x)[:3], atol=1e-7)


def test_constant_column_has_no_shape():
    with pytest.raises(ValueError, match="got a constant one"):
        statistics.shape(np.array([[1.0, 2.0], [1.0, 3.0]]))


def test_ks_reference_is_the_lilliefors_law():
    # Lilliefors' table: the 95 % point for n = 100 is 0.886 / sqrt(100), up to 2 %
    found = statistics.ks_reference(100, 2000, np.random.default_rng(3))
    assert found.shape == (2000,)
    assert (np.diff(found) >= 0).all()
    assert abs(np.quantile(found, 0.95) / 0.0886 - 1) < 0.05


def test_a_partial_correlation_by_hand_and_nothing_left_where_z_says_all():
    # (0.5 - 0.6 0.8) / sqrt((1 - 0.36)(1 - 0.64)) = 0.02 / 0.48
    assert statistics.partial_from(0.5, 0.6, 0.8) == pytest.approx(1 / 24)
    np.testing.assert_array_equal(
        statistics.partial_from([0.5, 1.0], [0.0, 1.0], 0.0), [0.5, np.nan]
    )


def test_intervals_as_text():
    interval = statistics.Interval(0.314, -0.2, 0.42)
    assert statistics.with_ends(interval, ".2f") == "0.31 [-0.20, 0.42]"
    listed = statistics.listed({"a": interval, 8: interval}, ".1f")
    assert listed == "a 0.3 [-0.2, 0.4], 8 0.3 [-0.2, 0.4]"


def test_the_sign_of_an_interval_is_0_where_it_has_0_even_at_an_end():
    low, high = np.array([1.0, -2.0, -1.0, 0.0, -1.0]), np.array([2.0, -1.0, 1.0, 1.0, 0.0])
    signs = statistics.sign(statistics.Interval(low, low, high))
    np.testing.assert_array_equal(signs, [1, -1, 0, 0, 0])


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_a_relative_gap_is_the_largest_difference_over_the_largest_expected_entry(kind):
    assert statistics.relative_gap(kind([1.0, -2.5]), kind([1.5, -2.0])) == 0.25
    assert statistics.relative_gap(kind([0.0, 4.0]), kind([-2.0, 4.0])) == 0.5


def test_rows_are_chosen_by_one_value_or_by_any_of_a_list():
    frame = pd.DataFrame({"arm": ["bn", "none", "bn"], "seed": [0, 0, 1]})
    assert list(statistics.rows_with(frame, arm="bn", seed=1).index) == [2]
    assert list(statistics.rows_with(frame, arm=["bn", "none"], seed=0).index) == [0, 1]
    assert statistics.rows_with(frame, arm=[]).empty


@pytest.mark.parametrize("y", [np.ones(9), np.full(10, 0.1), 0.1 * 3 + np.zeros(7), np.ones(1)])
def test_of_what_does_not_vary_nothing_is_explained(y):
    features = np.random.default_rng(0).normal(size=(len(y), 2))
    assert np.isnan(statistics.share_explained(features, y))
    assert not statistics.varies(y)
    assert not statistics.varies(y * (1 + 2**-52 * (np.arange(len(y)) % 2)))
    assert statistics.varies([1.0, 1 + 1e-9])


def test_holm_keeps_a_test_without_result_and_refuses_what_is_no_p_value():
    np.testing.assert_array_equal(statistics.holm([0.01, np.nan, 0.02]), [0.03, np.nan, 0.04])
    for p in ([-0.1, 0.5], [1.5]):
        with pytest.raises(ValueError, match="expected p-values in"):
            statistics.holm(p)


def test_a_cluster_without_a_name_is_refused():
    with pytest.raises(ValueError, match="got NaN"):
        statistics.cluster_bootstrap(
            [1.0, 2, 3], [0, 1, np.nan], np.mean, rng=np.random.default_rng(0)
        )
