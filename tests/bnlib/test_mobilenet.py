"""MobileNetV2: its layers in order, their strides and skips; statistics taken anew."""

import pytest
import torch
from torch import nn

from bnlib.networks.mobilenet import DEVIATION, MEAN, MobileNetV2

BLOCKS = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)


class Block(nn.Module):
    def __init__(self, before, after, expansion, stride):
        super().__init__()
        wide = before * expansion
        parts = [] if expansion == 1 else [normed(before, wide, 1, 1, 1)]
        parts += [normed(wide, wide, 3, stride, wide), nn.Conv2d(wide, after, 1, bias=False)]
        self.conv = nn.Sequential(*parts, nn.BatchNorm2d(after))
        self.skip = stride == 1 and before == after

    def forward(self, x):
        return x + self.conv(x) if self.skip else self.conv(x)


def normed(before, after, size, stride, groups):
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6())


class Usual(nn.Module):
    """The network written down layer by layer, as its paper's table has it."""

    def __init__(self):
        super().__init__()
        parts, width = [normed(3, 32, 3, 2, 1)], 32
        for expansion, after, repeats, stride in (*BLOCKS, (6, 320, 1, 1)):
            for k in range(repeats):
                parts.append(Block(width, after, expansion, stride if k == 0 else 1))
                width = after
        self.features = nn.Sequential(*parts, normed(320, 1280, 1, 1, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 10))

    def forward(self, x):
        return self.classifier(self.features((x / 255 - MEAN) / DEVIATION).mean((2, 3)))


def test_it_computes_what_the_network_written_layer_by_layer_does_in_both_modes():
    torch.manual_seed(0)
    usual, x = Usual().eval(), 255 * torch.rand(4, 3, 64, 64)
    for name, value in usual.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(0.1 + torch.rand(value.shape))
    net = MobileNetV2({name: value.clone() for name, value in usual.state_dict().items()})
    with torch.no_grad():
        torch.testing.assert_close(net(x), usual(x))
        anew = net.recalibrated(x)
        usual.train()
        usual.classifier.eval()
        torch.testing.assert_close(anew(x), usual(x), rtol=1e-3, atol=1e-3)
    name = "features.0.1.running_mean"
    assert not torch.equal(anew.weights[name], net.weights[name])


def test_another_state_dict_is_refused():
    with pytest.raises(ValueError, match="expected the state dict of a MobileNetV2"):
        MobileNetV2({"weight": torch.ones(1)})
