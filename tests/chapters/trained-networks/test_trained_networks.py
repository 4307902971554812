"""Shipped networks in other gauges, the intervention on gamma, and the shift without a gradient."""

import numpy as np
import pytest

from bnlib.chapters.trained_networks import measure
from bnlib.networks.efficientnet import layout, shipped_state_dict


@pytest.mark.parametrize(("name", "skips"), [("lite0", 9), ("lite1", 14), ("lite2", 14)])
def test_seven_stages_begin_without_a_skip_and_four_of_them_with_a_stride(name, skips):
    layers = layout(shipped_state_dict(name))
    assert sum(layer.skip for layer in layers) == skips
    assert [layer.stride for layer in layers if layer.conv.endswith("depthwise_conv")].count(2) == 4
    assert list(map(measure.role_of, layers)).count("project, no skip") == 7


def test_log_slopes_recover_an_exponent_and_count_what_they_leave_out():
    rng = np.random.default_rng(0)
    a = np.exp(rng.normal(size=500))
    slopes = measure.log_slopes(np.append(-a, [1e-3, 1]), np.append(a**0.5, [1, 0]))
    assert slopes == pytest.approx((0.5, 0.5, 2))
    noisy = measure.log_slopes(a, a**0.5 * np.exp(0.3 * rng.normal(size=500)))
    assert noisy.ols == pytest.approx(0.5, abs=0.05)
    assert np.isnan(measure.log_slopes(np.ones(5), a[:5]).ols)


def test_permutation_and_partial_correlation():
    rng = np.random.default_rng(0)
    z, other, noise = rng.normal(size=(3, 400))
    a, b = z + 0.1 * noise, z + 0.1 * rng.normal(size=400)
    assert measure.permutation_p(a, b, shuffles=99, rng=rng) == 0.01
    assert measure.permutation_p(a, other, shuffles=99, rng=rng) > 0.01
    assert abs(measure.partial_correlation(a, b, z)) < 0.2 < measure.correlation(a, b)


@pytest.mark.parametrize("constant", [np.ones(9), np.full(9, 0.1) * 3, np.zeros(9)])
def test_what_does_not_vary_has_no_correlation_and_no_p(constant):
    rng = np.random.default_rng(0)
    b = rng.normal(size=9)
    for pair in ((constant, b), (b, constant), (b[:2], b[:2]), (b * np.nan, b)):
        assert np.isnan(measure.permutation_p(*pair, rng=rng))
        assert np.isnan(measure.correlation(*pair))
        assert np.isnan(measure.correlation(*pair, rank=True)) or np.isnan(pair[0]).any()
