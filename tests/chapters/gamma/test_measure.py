"""The theorems of the gamma chapter, and the best gamma against independent computations."""

import numpy as np
import pytest
import torch

from bnlib import laws
from bnlib.chapters.gamma import Settings, measure


def new(activation="relu", eps=0.0):
    return measure.network(range(2), 16, activation, eps)


@pytest.mark.parametrize("k", measure.FACTORS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_scaled_start_with_the_squared_rate_is_the_same_run(k, momentum):
    assert measure.start_gap(new, 20, k, momentum=momentum) <= 1e-12


def test_it_is_another_run_at_the_last_norm_with_tanh_or_with_an_offset():
    assert measure.start_gap(new, 20, 0.5, sites=measure.LAST) > 1e-3
    assert measure.start_gap(lambda: new("tanh"), 20, 0.5) > 1e-3
    assert measure.start_gap(lambda: new(eps=1e-5), 20, 0.5) > 1e-9
    assert measure.apart(measure.path(new(), 20, start=0.5), measure.path(new(), 20)) > 1e-3


def test_decay_is_a_growing_rate_but_at_the_last_norm():
    assert measure.decay_gap(new, 20, measure.INNER) <= 1e-12
    assert measure.decay_gap(new, 20, measure.LAST) > 1e-3


def test_a_path_is_plain_descent_with_decay_by_hand():
    net = new()
    before = {name: value.clone() for name, value in net.params.items()}
    measure.path(net, 1, factor=lambda step: 3.0, decay=0.5)
    plain = new()
    measure.path(plain, 1)
    step = plain.params["gamma1"] - before["gamma1"]
    want = before["gamma1"] + 3 * step - 3 * measure.RATE * 0.5 * before["gamma1"]
    torch.testing.assert_close(net.params["gamma1"], want)
    torch.testing.assert_close(net.params["gamma3"], plain.params["gamma3"])


def test_starts_change_the_layers_that_they_name():
    given = Settings(seeds=2, width=16, steps=5, rates=[-2])
    loss = {name: measure.best_losses(name, "relu", given) for name in measure.STARTS}
    assert all(values.shape == (1, 2) for values in loss.values())
    assert len({values.tobytes() for values in loss.values()}) == len(measure.STARTS)


@pytest.mark.parametrize("m", [8, 64])
def test_the_quadrature_of_the_batch_std_meets_the_closed_form(m):
    gaussian = measure.expected_std(measure.LAWS["Gaussian"], m)
    assert gaussian == pytest.approx(laws.expected_batch_std(m), abs=2e-6)


@pytest.mark.parametrize("name", measure.LAWS)
def test_the_quadrature_meets_draws_and_the_law_its_two_moments(name):
    law = measure.LAWS[name]
    x = law.draw(np.random.default_rng(3), (400_000, 8))
    assert (x**2).mean() == pytest.approx(1, abs=6e-3)
    assert (x**4).mean() == pytest.approx(law.kurtosis, rel=0.02)
    assert x.std(1).mean() == pytest.approx(measure.expected_std(law, 8), abs=2e-3)


def test_own_rows_are_the_mean_std_and_other_rows_a_held_out_fit():
    law = measure.LAWS["Gaussian"]
    own, other = measure.best_gamma(law, 8, np.random.default_rng(4), 2000, 0.9999)
    assert own.low < laws.expected_batch_std(8) < own.high
    assert other.low < laws.other_rows_gamma(8) < other.high < own.low
