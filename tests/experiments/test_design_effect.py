"""The design effect: 1 for independent positions, all positions for copies of one."""

import numpy as np
import pytest
import torch

from bnlib.experiments import design_effect


def test_independent_positions_count_and_copied_ones_do_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 6, 32))
    single = np.repeat(rng.normal(size=(400, 6, 1)), 32, axis=2)
    free, bound = (
        design_effect.measure(design_effect.describe(x), 8, rng, batches=200)
        for x in (noise, single)
    )
    assert free.m == bound.m == 256
    assert free.effect == pytest.approx(1, abs=0.2)
    # Eight rows instead of 256; at m = 8 the Gaussian law is 4 % above its leading term.
    assert bound.effect == pytest.approx(32 * 1.04, rel=0.2)
    assert bound.rows == pytest.approx(1, rel=0.2)
    assert free.fits == 1
    assert bound.fits == 0


def test_inputs_are_described_by_image_and_constant_channels_left_out():
    x = np.random.default_rng(1).normal(size=(3, 4, 5)) + 100
    x[:, 1] = 7
    got = design_effect.describe(x, channels=2)
    kept = x[:, [0, 2]] - x[:, [0, 2]].mean(axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(got.mean, kept.mean(axis=2), atol=1e-12)
    np.testing.assert_allclose(got.var, kept.var(axis=2), rtol=1e-10)
    want = (kept**4).mean(axis=(0, 2)) / kept.var(axis=(0, 2)) ** 2
    np.testing.assert_allclose(got.kurtosis, want, rtol=1e-10)
    assert got.positions == 5


def test_layers_are_read_before_their_normalization_and_random_filters_stand_in():
    def net(images, hook):
        hook("first", images, "pre")
        hook("first", 0 * images, "post")
        hook("other", images, "pre")

    images = torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = design_effect.layer_inputs(net, images, {"first": "stem"})
    assert list(found) == ["stem"]
    assert found["stem"].mean.shape == (20, 3)
    np.testing.assert_allclose(found["stem"].var.mean(), 1, atol=0.05)
    stand_in = design_effect.random_inputs(images, seed=0)
    assert [v.positions for v in stand_in.values()] == [16, 16]


def test_the_comparison_measures_every_layer_with_every_number_of_images():
    x = np.random.default_rng(2).normal(size=(30, 3, 16))
    inputs = {"a": design_effect.describe(x), "b": design_effect.describe(x[:, :2] + 1)}
    table = design_effect.comparison(inputs, (2, 8), seed=4)
    assert table.index.tolist() == [("a", 2), ("a", 8), ("b", 2), ("b", 8)]
    alone = design_effect.measure(inputs["b"], 2, np.random.default_rng([4, 10, 2]))
    assert tuple(table.loc["b", 2]) == alone
    assert list(table.columns) == list(alone._fields)
