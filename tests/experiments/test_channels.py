"""Channels are collected at the right places and measured without changing what they are."""

import numpy as np
import pytest
import torch

from bnlib.experiments import channels


def net(images, hook):
    """A stand-in with two layers; channel k of the stem holds k + the place's number."""
    places = torch.arange(16.0).reshape(1, 1, 4, 4) + 100 * torch.arange(3.0).reshape(1, 3, 1, 1)
    hook("_bn0", images.mean() * 0 + places.expand(len(images), -1, -1, -1), "pre")
    hook("_bn0", torch.full((len(images), 3, 4, 4), -1.0), "post")
    hook("_blocks.0._bn1", images[:, :2, :4, :4], "pre")


def test_rows_hold_distinct_places_and_the_same_ones_for_all_channels():
    found = channels.collect(net, torch.zeros(5, 3, 4, 4), positions=16, seed=0, batch=2)
    stem = found["stem", "_bn0"]
    assert stem.shape == (80, 3)
    assert set(found) == {("stem", "_bn0"), ("depthwise", "_blocks.0._bn1")}
    np.testing.assert_array_equal(stem[:, 1] - stem[:, 0], 100.0)
    np.testing.assert_array_equal(stem[:16, 0].sort().values, np.arange(16.0))


def test_too_few_places_are_refused():
    with pytest.raises(ValueError, match="want 17 positions, got only 16"):
        channels.collect(net, torch.zeros(2, 3, 4, 4), positions=17, seed=0)


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    normal, spiky = rng.normal(size=(500, 4)), rng.exponential(size=(500, 4)) ** 4
    spiky[:, 1] = 3.0
    inputs = {
        ("wide", "a"): torch.tensor(normal[:, :2]),
        ("wide", "b"): torch.tensor(normal[:, 2:]),
        ("narrow", "c"): torch.tensor(1e-2 * spiky),
    }
    return channels.channel_shapes(inputs, {500: 0.04}, eps=1e-3)


def test_a_constant_channel_is_left_out_and_the_others_keep_their_numbers(found):
    assert found[found.group == "narrow"].channel.tolist() == [0, 2, 3]


def test_shapes_do_not_change_and_only_normal_channels_count_as_normal(found):
    assert found.change.max() <= 1e-10
    assert found.normal.tolist() == [True] * 4 + [False] * 3
    assert (found.normal == found.normal_before).all()


def test_rho_is_the_share_of_variance_that_eps_leaves(found):
    assert (found.rho[found.group == "wide"] > 0.99).all()
    assert found.rho.between(0, 1).all()


def test_the_summary_has_intervals_only_where_layers_can_be_resampled(found):
    table = channels.summarize(found, np.random.default_rng(1))
    assert table.loc["wide", "low"] <= table.KS["wide"] <= table.loc["wide", "high"]
    assert np.isnan(table.loc["narrow", "low"])
    assert table.channels.tolist() == [4, 3]
    assert table.layers.tolist() == [2, 1]
