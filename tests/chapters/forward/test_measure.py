"""Channels at the right places, shapes of distributions, laws at values known by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from bnlib.chapters.forward import Settings, decide, measure


def net(images, hook):
    """A stand-in with two layers; channel k of the stem holds k + the place's number."""
    places = torch.arange(16.0).reshape(1, 1, 4, 4) + 100 * torch.arange(3.0).reshape(1, 3, 1, 1)
    hook("_bn0", images.mean() * 0 + places.expand(len(images), -1, -1, -1), "pre")
    hook("_bn0", torch.full((len(images), 3, 4, 4), -1.0), "post")
    hook("_blocks.0._bn1", images[:, :2, :4, :4], "pre")


def test_rows_hold_distinct_places_and_the_same_ones_for_all_channels():
    inputs = measure.collect(net, torch.zeros(5, 3, 4, 4), positions=16, seed=0, batch=2)
    stem = inputs["stem", "_bn0"]
    assert stem.shape == (80, 3)
    assert set(inputs) == {("stem", "_bn0"), ("depthwise", "_blocks.0._bn1")}
    np.testing.assert_array_equal(stem[:, 1] - stem[:, 0], 100.0)
    np.testing.assert_array_equal(stem[:16, 0].sort().values, np.arange(16.0))


def test_too_few_places_are_refused():
    with pytest.raises(ValueError, match="expected 17 positions, got only 16"):
        measure.collect(net, torch.zeros(2, 3, 4, 4), positions=17, seed=0)


@pytest.fixture
def shapes():
    rng = np.random.default_rng(0)
    normal, spiky = rng.normal(size=(500, 4)), rng.exponential(size=(500, 4)) ** 4
    spiky[:, 1] = 3.0
    inputs = {
        ("wide", "a"): torch.tensor(normal[:, :2]),
        ("wide", "b"): torch.tensor(normal[:, 2:]),
        ("narrow", "c"): torch.tensor(1e-2 * spiky),
    }
    return measure.channel_shapes(inputs, {500: 0.04}, eps=1e-3)


def test_a_constant_channel_is_left_out_and_the_others_keep_their_numbers(shapes):
    assert shapes[shapes.group == "narrow"].channel.tolist() == [0, 2, 3]


def test_a_proved_law_holds_for_every_seed():
    for seed in range(40):
        given = Settings(seed=seed, draws=1000)
        rows = {m: measure.normal_rows(m, given)[1] for m in (2, 4, 8)}
        panel = pd.DataFrame.from_dict(rows, orient="index")
        assert decide.beta_marginal(panel, 5000).verdict == "holds", seed
