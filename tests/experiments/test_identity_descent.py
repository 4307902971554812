"""The descent towards y = x: its end, its noise, and the way there."""

import numpy as np
import pytest

from bnlib import laws, statistics
from bnlib.experiments import identity_descent as descent


def test_each_stream_draws_its_own_channels_over_a_factor_of_a_thousand():
    first, again, other = (descent.channels(0, 20, stream) for stream in (1, 1, 2))
    np.testing.assert_array_equal(first.sigma, again.sigma)
    assert first.sigma.shape == first.mu.shape == (320,)
    assert not np.array_equal(first.sigma, other.sigma)
    assert first.sigma.min() < 0.1
    assert first.sigma.max() > 10


def test_the_descent_ends_at_the_expected_batch_std_below_sigma():
    ends = descent.ends(0, 6, 600, [2, 8])
    assert ends.gamma.shape == ends.training.shape == ends.evaluation.shape == (6, 2)
    found = statistics.mean_interval(ends.gamma, 1 - 0.05 / 2)
    for m, low, high in zip((2, 8), found.low, found.high, strict=True):
        assert low <= laws.expected_batch_std(m) <= high < 1
    a = np.array([laws.expected_batch_std(m) for m in (2, 8)])
    np.testing.assert_allclose(ends.training.mean(axis=0), 1 - a**2, rtol=0.1)
    # The last rate still moves beta: the residue is a little above (1 - a)^2.
    np.testing.assert_allclose(ends.evaluation.mean(axis=0), (1 - a) ** 2, rtol=0.2)


def test_with_a_constant_rate_sgd_is_the_moving_average_with_its_noise():
    found = descent.average(0, 6, 800)
    assert found.gap < 1e-12
    assert found.spread.shape == (6,)
    assert found.spread.mean() == pytest.approx(laws.ema_noise(descent.RATE), rel=0.1)
    assert found.path.batch_std.shape == (800, found.channels.sigma.size)


def test_sgd_treats_all_scales_alike_and_adam_brings_far_channels_late():
    sgd, adam = (descent.approach(0, 6, optimizer) for optimizer in ("sgd", "adam"))
    at = descent.STEPS.index(30)
    assert all(values[0] == 1 for values in (*sgd.values(), *adam.values()))
    np.testing.assert_allclose([values[at] for values in sgd.values()], 0.9**30, rtol=0.6)
    assert adam["σ > 3"][at] > 10 * sgd["σ > 3"][at]
