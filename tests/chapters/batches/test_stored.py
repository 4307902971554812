"""What the stored table of the chapter is made of: weighed statistics, encoders, sizes."""

import numpy as np
import pytest
import torch

from bnlib.chapters.batches import convolutional, diagnosis, encoders


def test_weighing_a_row_by_its_share_of_the_batch_is_the_formula_of_the_page():
    norm = convolutional.Weighed(1).eval()
    norm.seen, norm.alpha = [torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)], 0.5
    x = torch.tensor([-2.0, 0.3, 1.0]).view(3, 1, 1, 1)
    expected = 0.5**0.5 * x / (1 + x**2 / 2) ** 0.5
    torch.testing.assert_close(norm(x), expected, atol=1e-4, rtol=1e-4)
    norm.alpha = 0.0
    torch.testing.assert_close(norm(x), x, atol=1e-4, rtol=1e-4)


def test_training_mode_is_batch_norm_over_images_and_positions_and_keeps_its_moments():
    norm, x = convolutional.Weighed(3), 1 + torch.randn(2, 3, 5, 5)
    usual = torch.nn.BatchNorm2d(3)
    torch.testing.assert_close(norm(x), usual(x), atol=1e-5, rtol=1e-4)
    (moments,) = norm.seen
    torch.testing.assert_close(moments[0].flatten(), x.mean((0, 2, 3)))
    torch.testing.assert_close(moments[1].flatten(), x.square().mean((0, 2, 3)))


def test_a_trained_network_is_evaluated_by_the_moments_of_its_last_batches_alone():
    rows = convolutional.evaluated(0, steps=2)
    assert [row["weight"] for row in rows] == [0.0, 0.5, 1.0, 1.5, None]
    x, y, *_ = convolutional.images(0)
    net = convolutional.trained(0, x[:500], y[:500], 2)
    assert len(net[1].seen) == 2 + convolutional.LOOKS
    assert x.shape[1:] == (1, 14, 14)


@pytest.mark.parametrize("arm", encoders.ARMS)
def test_every_arm_takes_its_statistics_from_its_rows(arm):
    z = torch.randn(encoders.GROUPS, encoders.ROWS, 5)
    order = torch.randperm(encoders.GROUPS * encoders.ROWS)
    out = encoders.normalized(arm, z, order)
    assert bool(out.mean(1).abs().max() < 1e-5) == (arm == "batch norm")
    axes = {"batch norm": 1, "synchronized": (0, 1), "layer norm": 2}
    if arm == "shuffled":
        out, axes = out.flatten(0, 1)[order].view_as(z), {arm: 1}
    if arm == "none":
        assert torch.equal(out, z)
    else:
        assert out.mean(axes[arm]).abs().max() < 1e-5


def test_views_share_companions_and_nothing_else():
    first, second = encoders.views(np.random.default_rng(0))
    assert torch.equal(first[:, 1:], second[:, 1:])
    assert abs(float((first[:, 0] * second[:, 0]).mean())) < 0.1


def test_an_encoder_without_other_rows_stays_at_chance_and_a_local_one_does_not():
    local, none = (encoders.trained(arm, 0, 60, 10) for arm in ("batch norm", "none"))
    assert np.mean(local["accuracy"]) > 0.05
    assert np.mean(none["accuracy"]) < 0.04
    assert np.mean(none["bits"]) < 0.1


def test_sizes_keep_the_cause_and_the_healthy_network_is_the_pages():
    assert set(diagnosis.SIZES) == set(diagnosis.CAUSES) - {"healthy"}
    for cause, sizes in diagnosis.SIZES.items():
        assert diagnosis.CAUSES[cause] in [diagnosis.Ill(**size) for size in sizes], cause
