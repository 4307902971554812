"""Floors, ceilings and the nonlinear share of ReLU against hand values and closed forms."""

import numpy as np
import pytest
import torch

from bnlib import laws
from bnlib.activations import nonlinear_share
from bnlib.chapters.capacity import measure


@pytest.mark.parametrize(
    ("label", "ceiling"),
    [
        ([0, 1, 1, 1], 1.0),
        ([0, 0, 1, 0], 3 / 4),  # outwards 0, 1, 0: one threshold is too few
        ([1, 0, 0, 1], 1.0),
    ],
)
def test_band_ceiling_scans_one_threshold_a_side(label, ceiling):
    x = np.array([-1.0, 1.0, 2.0, 3.0])
    assert measure.band_ceiling(x, np.array(label), 0.0) == ceiling


def test_band_ceiling_of_dense_bands_is_the_derived_one():
    x = np.linspace(-3, 3, 6001)
    label = ((np.abs(x) > 1) & (np.abs(x) < 2)).astype(int)
    for center in (0.0, 0.3):
        assert measure.band_ceiling(x, label, center) == pytest.approx(2 / 3 + center / 6, abs=1e-3)


def test_output_floors_by_hand():
    least = [measure.output_floor(3.0, 5.0, arm) for arm in ("none", "gamma", "beta", "both")]
    assert least == [25.0, 9.0, 16.0, 0.0]
    assert measure.output_floor(3.0, 5.0, "both", 0.6) == pytest.approx(16.0)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_one_hot_logits_attain_the_logit_floor_of_equal_shares(k):
    floor = laws.logit_floor(np.full(k, 1 / k))
    assert floor == pytest.approx(np.log1p((k - 1) * np.exp(-k / np.sqrt(k - 1))), abs=1e-12)
    assert measure.one_hot_loss(k) == pytest.approx(floor, abs=1e-12)


@pytest.mark.parametrize("t", [-2.5, -1.0, 0.4, 3.0])
def test_relu_depends_on_beta_over_gamma_alone_and_quadrature_meets_the_closed_form(t):
    for gamma in (0.5, 3.0):
        assert nonlinear_share(measure.PHIS["ReLU"], gamma, gamma * t) == pytest.approx(
            measure.relu_share(t), abs=1e-5
        )


def test_kink_floor_is_zero_for_what_the_span_holds_and_a_hand_value_otherwise():
    x = np.array([-1.0, 0.0, 1.0])
    assert laws.kink_floor(x, np.abs(x), "relu") == pytest.approx(0, abs=1e-15)
    # |x| is even, tanh odd: only the constant is left, and the variance of (1, 0, 1) is 2/9.
    assert laws.kink_floor(x, np.abs(x), "tanh") == pytest.approx(2 / 9)
    with pytest.raises(ValueError, match=r"expected one of 'relu', 'tanh', got 'gelu'"):
        laws.kink_floor(x, x, "gelu")


def test_no_logits_of_unit_variance_beat_the_floor_of_unequal_shares_whatever_their_means():
    y = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    z = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    beta = torch.zeros(3, dtype=torch.float64)
    z, beta = z.requires_grad_(), beta.requires_grad_()
    optimizer = torch.optim.Adam([z, beta], lr=0.05)
    for _ in range(600):
        logits = (z - z.mean(0)) / z.std(0, correction=0) + beta
        loss = torch.nn.functional.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    floor = laws.logit_floor(np.array([0.6, 0.3, 0.1]))
    assert floor <= loss.item() < 1.25 * floor  # a bound, and not an empty one
