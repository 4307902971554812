"""What the cells of the page of misconceptions call: each function against an independent way."""

import numpy as np
import pytest
import torch

from bnlib import interactions
from bnlib.experiments import ablation, misconceptions
from bnlib.experiments.interactions import problem

SEEDS = range(4)


def test_the_band_lies_on_one_side_of_the_mean_and_no_row_is_in_both_halves():
    rows = misconceptions.band_splits(SEEDS, rows=50)
    assert rows.x_train.shape == (4, 50, 1)
    low, high = misconceptions.BAND
    assert 0 < low < high < 1
    assert np.array_equal(rows.y_train, ((low < rows.x_train) & (rows.x_train < high))[..., 0])
    for train, test in zip(rows.x_train, rows.x_test, strict=True):
        assert not set(train.ravel()) & set(test.ravel())
    again = misconceptions.band_splits([3], rows=50)
    assert np.array_equal(again.x_test[0], rows.x_test[3])


def test_one_row_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        misconceptions.band_splits(SEEDS, rows=1)


def test_without_beta_one_hidden_layer_stays_below_its_ceiling_on_the_band_and_with_it_does_not():
    rows = misconceptions.band_splits(SEEDS)
    arms = {name: ablation.ARMS[name] for name in ("none", "both")}
    points = misconceptions.accuracies(rows, arms, (32,), steps=150)
    assert points["none"].max() < 90 < points["both"].min() <= 100


def test_the_turn_is_the_angle_between_gradients_taken_by_hand():
    at = problem("bn", 8, SEEDS, activation="tanh")
    params = dict(at.arm.params)
    loss, old = interactions.gradient(at.loss, params)
    step = 0.5 * loss / interactions.layer_dots(old, old).sum(1)
    for name in [name for name in params if int(name[-1]) < 5]:
        size = step[(...,) + (None,) * (params[name].ndim - 1)]
        params[name] = params[name] - size * old[name]
    _, new = interactions.gradient(at.loss, params)
    a, b = (torch.cat([g[k].flatten(1) for k in g if k.endswith("5")], 1) for g in (old, new))
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    found = misconceptions.gradient_turn("bn", "tanh", "start", SEEDS)
    assert np.allclose(np.cos(np.radians(found)), cosine, rtol=0, atol=1e-9)
    after = misconceptions.gradient_turn("bn", "tanh", "trained", SEEDS)
    assert after.mean() > found.mean() + 20


def test_gradients_grow_downwards_with_bn_and_not_without():
    growth = {arm: misconceptions.gradient_growth(arm, 16, SEEDS) for arm in ("bn", "none")}
    assert growth["bn"].min() > 0.8  # the wide law: 14 layers of log10(pi / (pi - 1)) / 2 = 1.17
    assert np.abs(growth["none"]).max() < 0.5
