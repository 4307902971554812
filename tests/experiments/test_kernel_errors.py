"""Errors of float32 kernels."""

import numpy as np
import pytest

from bnlib.experiments import kernel_errors


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_far_mean_costs_torch_and_the_folded_order_digits_but_not_the_recentred_one(rng):
    x = (1e5 + rng.normal(size=(64, kernel_errors.CHANNELS))).astype(np.float32)
    errors = kernel_errors.forward_errors(x, eps=1e-5, digits=40)
    assert set(errors) == set(kernel_errors.METHODS)
    assert errors["recentred"] < 4e-7  # a few roundings of 6e-8
    for name in ("folded", "two-pass", "torch, rows", "torch, images"):
        assert errors[name] > 1e-4  # u |mu| / sigma is 6e-3


def test_every_method_is_accurate_at_a_mean_of_zero(rng):
    x = rng.normal(size=(64, kernel_errors.CHANNELS)).astype(np.float32)
    assert max(kernel_errors.forward_errors(x, eps=1e-5, digits=40).values()) < 2e-6


def test_hard_cases_break_the_plain_orders_and_not_the_recentred_one(rng):
    cases = kernel_errors.hard_cases(rng.normal(size=(64, kernel_errors.CHANNELS)))
    for x, eps in cases.values():
        assert x.dtype == np.float32
        errors = kernel_errors.forward_errors(x, eps=eps, digits=40)
        assert errors["recentred"] < 4e-7
    x, eps = cases["constant channel, 12345.678"]
    assert kernel_errors.forward_errors(x, eps=eps, digits=40)["recentred"] == 0
    x, eps = cases["values near 1e-25, ε = 0"]
    errors = kernel_errors.forward_errors(x, eps=eps, digits=40)
    assert np.isnan(errors["torch, rows"])  # torch refuses eps = 0
    assert errors["two-pass"] == np.inf
