"""Running statistics, inference and merging, against torch and pooling; and test_battery.py."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnlib import running

EPS64 = np.finfo(np.float64).eps


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def batches(rng, sizes=(4, 9, 2), c=3):
    return [rng.normal(2, 3, (m, c)) for m in sizes]


def updated(new_weight, data):
    r = running.fresh(data[0].shape[1])
    for x in data:
        r = running.update(r, x.mean(0), x.var(0), len(x), new_weight=new_weight)
    return r


@pytest.mark.parametrize("new_weight", [0.1, 1.0, 0.0, None])
def test_running_statistics_equal_those_of_torch(new_weight, rng):
    data = batches(rng)
    theirs = torch.nn.BatchNorm1d(3, momentum=new_weight, dtype=torch.float64)
    for x in data:
        theirs(torch.from_numpy(x))
    ours = updated(new_weight, data)
    # a few roundings a batch
    np.testing.assert_allclose(ours.mean, theirs.running_mean, rtol=32 * EPS64, atol=32 * EPS64)
    np.testing.assert_allclose(ours.var, theirs.running_var, rtol=32 * EPS64)
    assert ours.count == theirs.num_batches_tracked == 3


def test_an_empty_batch_changes_no_statistic_but_one_row_is_refused(rng):
    r, nan = updated(0.1, batches(rng)), np.full(3, np.nan)
    assert running.update(r, nan, nan, 0, new_weight=0.1) is r
    with pytest.raises(ValueError, match="expected m >= 2 rows for an unbiased variance, got 1"):
        running.update(r, r.mean, r.var, 1, new_weight=0.1)


def test_nan_in_a_channel_stays_in_that_channel(rng):
    r = running.update(
        running.fresh(2), np.array([np.nan, 1.0]), np.array([1.0, np.inf]), 2, new_weight=0.5
    )
    np.testing.assert_array_equal(r.mean, [np.nan, 0.5])
    np.testing.assert_array_equal(r.var, [1.5, np.inf])


@pytest.mark.parametrize("weight", [-0.1, 1.1, np.nan])
def test_a_weight_outside_zero_and_one_is_refused(weight):
    with pytest.raises(ValueError, match=r"new_weight: expected a share in \[0, 1\], got"):
        running.update(running.fresh(1), np.ones(1), np.ones(1), 4, new_weight=weight)


def test_a_wrong_channel_count_is_refused_everywhere(rng):
    x, two, three = rng.normal(size=(4, 3)), np.ones(2), np.ones(3)
    with pytest.raises(ValueError, match=r"mu: expected shape \(3,\).*got \(2,\)"):
        running.update(running.fresh(3), two, three, 4, new_weight=0.1)
    with pytest.raises(ValueError, match=r"gamma: expected shape \(3,\)"):
        running.infer(x, two, three, three, three, eps=0.1)
    with pytest.raises(ValueError, match=r"var: expected shape \(3,\), got \(2,\)"):
        running.infer(x, three, three, three, two, eps=0.1)
    with pytest.raises(ValueError, match="same channels"):
        running.merge(running.pooled(x), running.pooled(x[:, :2]))


def test_inference_takes_a_single_row_and_none(rng):
    x, gamma, beta, mean, var = rng.normal(size=(5, 3)), *rng.uniform(0.5, 2, (4, 3))
    y = running.infer(x, gamma, beta, mean, var, eps=0.3)
    np.testing.assert_array_equal(running.infer(x[:1], gamma, beta, mean, var, eps=0.3), y[:1])
    assert running.infer(x[:0], gamma, beta, mean, var, eps=0.3).shape == (0, 3)


def test_inference_keeps_float32_and_its_digits_at_a_large_mean(rng):
    # The float64 mean is between two float32 numbers; x - mean is still known to a few ulps.
    x = (1e6 + rng.normal(size=(50, 2))).astype(np.float32)
    mean, var, one = x.mean(0, dtype=np.float64), np.ones(2), np.ones(2, np.float32)
    y = running.infer(x, one, one, mean, var, eps=0.0)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, x - mean + 1, rtol=0, atol=4 * 2**-24 * np.abs(y).max())


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_merged_moments_equal_those_of_all_rows_in_any_order(sizes, seed):
    rng = np.random.default_rng(seed)
    data = [rng.normal(3, 2, (m, 2)) for m in sizes]
    pooled = running.pooled(np.concatenate(data))
    for order in (data, data[::-1]):
        merged = running.Pooled(0, np.zeros(2), np.zeros(2))
        for x in order:
            merged = running.merge(merged, running.pooled(x))
        # at most 36 rows of size about 10, a few roundings a merge
        assert merged.count == pooled.count
        np.testing.assert_allclose(merged.mean, pooled.mean, rtol=0, atol=64 * EPS64 * 10)
        np.testing.assert_allclose(merged.m2, pooled.m2, rtol=0, atol=64 * EPS64 * 36 * 100)


def test_moments_are_accurate_at_a_large_mean_and_exact_for_a_constant(rng):
    x = 1e11 + rng.normal(size=(64, 1))
    shifted = x - 1e11  # exact
    found = running.pooled(x)
    np.testing.assert_allclose(found.m2, ((shifted - shifted.mean()) ** 2).sum(), rtol=64 * EPS64)
    constant = running.pooled(np.full((7, 1, 3), 0.1, np.float32))
    assert (constant.count, constant.m2[0], constant.mean[0]) == (21, 0.0, np.float32(0.1))
    assert running.pooled(np.array([[np.inf, 1.0], [1.0, 2.0]])).m2[1] == 0.5


def test_a_variance_of_zero_without_eps_gives_beta_and_no_gradient():
    x, ones, beta = np.array([[0.0, 1.0], [3.0, 2.0]]), np.ones(2), np.full(2, 0.25)
    mean, var = np.zeros(2), np.array([0.0, 1.0])
    y = running.infer(x, ones, beta, mean, var, eps=0.0)
    np.testing.assert_array_equal(y, [[0.25, 1.25], [0.25, 2.25]])
    dx = running.infer_backward(np.ones_like(x), x, ones, mean, var, eps=0.0).dx
    np.testing.assert_array_equal(dx, [[0.0, 1.0], [0.0, 1.0]])
