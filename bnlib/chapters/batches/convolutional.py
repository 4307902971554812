"""A convolutional network trained on two images a batch, evaluated by weighed statistics (E2c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnlib import data
from bnlib.networks.batches import batch_order

IMAGES, STEPS, RATE, LOOKS = 2, 1500, 0.02, 200  # LOOKS: batches that the stored moments pool
WEIGHTS = (0.0, 0.5, 1.0, 1.5)  # alpha N
DRAWS, REFERENCE_ROWS = 8, 400
CHANNELS, STRIDES = (1, 8, 16, 16), (1, 2, 2)


class Weighed(nn.Module):
    """Batch norm whose evaluation gives an image's own moments the weight alpha in the stored ones.

    mean = (1 - alpha) stored + alpha own,  the same for the second moment, var = second - mean^2
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(channels, 1, 1))
        self.seen: list[Tensor] = []  # moments (2, c, 1, 1) of batches in training mode
        self.alpha = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w), normalized."""
        axes = (0, 2, 3) if self.training else (2, 3)
        own = torch.stack([x.mean(axes, keepdim=True), x.square().mean(axes, keepdim=True)])
        if self.training:
            self.seen.append(own.detach()[:, 0])
            first, second = own
        else:
            stored = torch.stack(self.seen).mean(0).unsqueeze(1)
            first, second = (1 - self.alpha) * stored + self.alpha * own
        rstd = (second - first.square() + 1e-5).rsqrt()
        return self.gamma * ((x - first) * rstd) + self.beta


def network(seed: int) -> nn.Sequential:
    """Three convolutions, each with norm and ReLU, the mean over positions, and a linear map."""
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for k, stride in enumerate(STRIDES):
        conv = nn.Conv2d(CHANNELS[k], CHANNELS[k + 1], 3, stride, padding=1, bias=False)
        parts += [conv, Weighed(CHANNELS[k + 1]), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[-1], 10))


def images(seed: int) -> Iterator[Tensor]:
    """The split of a seed: training pictures (n, 1, 14, 14), labels, and those of the test."""
    for part in data.load("mnist5k", seed):
        rows = torch.from_numpy(np.asarray(part))
        flat = rows.ndim == 1
        yield rows if flat else functional.avg_pool2d(rows.float().view(-1, 1, 28, 28), 2)


def evaluated(seed: int, steps: int = STEPS) -> list[dict[str, Any]]:
    """Accuracy in percent and loss on test rows at every weight; and with companions drawn."""
    x, y, x_test, y_test = images(seed)
    net = trained(seed, x, y, steps)
    norms = [part for part in net if isinstance(part, Weighed)]
    for norm in norms:
        norm.seen = norm.seen[-LOOKS:]
    rows = []
    net.eval()
    with torch.no_grad():
        for weight in WEIGHTS:
            for norm in norms:
                norm.alpha = weight / IMAGES
            logits = net(x_test).double()
            rows.append(scores(logits, y_test) | {"weight": weight, "kind": "weighed"})
        few = slice(REFERENCE_ROWS)
        p = companions(net.train(), x_test[few], x, seed)
        rows.append(scores(p.log(), y_test[few]) | {"weight": None, "kind": "companions"})
    return [{"seed": seed, **row} for row in rows]


def trained(seed: int, x: Tensor, y: Tensor, steps: int) -> nn.Sequential:
    """The network after training; its norms have then seen `LOOKS` more batches, not trained on."""
    net = network(seed)
    order = batch_order([seed], len(x), batch=IMAGES, steps=steps + LOOKS)[:, 0]
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=0.9)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for rows in order[:steps]:
        optimizer.zero_grad()
        functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
        cosine.step()
    with torch.no_grad():
        for rows in order[steps:]:
            net(x[rows])
    return net


def companions(net: nn.Sequential, test: Tensor, train: Tensor, seed: int) -> Tensor:
    """Mean probability (n, 10) of each test image beside drawn training images, training mode."""
    picks = np.random.default_rng([seed, 71]).integers(len(train), size=(len(test), DRAWS))
    means = []
    for image, mates in zip(test, picks, strict=True):
        logits = [net(torch.stack([image, train[mate]]))[0] for mate in mates]
        means.append(torch.stack(logits).double().softmax(1).mean(0))
    return torch.stack(means)


def scores(logits: Tensor, y: Tensor) -> dict[str, float]:
    """Accuracy in percent and mean cross-entropy."""
    right = 100 * float((logits.argmax(1) == y).double().mean())
    return {"accuracy": right, "loss": float(functional.cross_entropy(logits, y))}


def table(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The lines of all seeds."""
    return [row for seed in seeds for row in evaluated(seed)]
