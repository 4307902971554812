"""Are positions rows? Digits, photographs and noise in one small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from bnlib import data, training
from bnlib.chapters.identity.networks import batch_effects, describe
from bnlib.statistics import mean_interval
from bnlib.verdicts import simultaneous

SHAPES = ((8, 1, 2, 2), (16, 8, 2, 2), (10, 16 * 7 * 7))  # two convolutions, the linear map
SIZES = (2, 8)  # images in a batch
STEPS, BATCH, RATE = 200, 64, 0.1
CROPS = 512  # of the two photographs
IMAGES = ("digits", "photographs", "noise, first draw", "noise, second draw")
STATEMENTS = 20  # ten cells of the digits and ten of the noise


def inputs(filters: Sequence[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """What both normalizations get, (n, c, h, w), of images (n, 1, 28, 28).

    Windows lie side by side: positions of independent pixels stay independent.
    """
    first = functional.conv2d(images, filters[0], stride=2)
    return first, functional.conv2d(_activated(first), filters[1], stride=2)


@training.one_thread()
def trained(filters: Sequence[Tensor], rows: data.Split, seed: int) -> list[Tensor]:
    """The filters after some steps of SGD on digits, gamma and beta left at 1 and 0."""
    weights, rng = [weight.clone().requires_grad_() for weight in filters], _rng(seed, 1)
    for _ in range(STEPS):
        pick = rng.integers(len(rows.x_train), size=BATCH)
        x, y = _square(rows.x_train[pick]), torch.from_numpy(rows.y_train[pick])
        top = _activated(inputs(weights, x)[1]).flatten(1)
        loss = functional.cross_entropy(functional.linear(top, weights[2]), y)
        for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.data -= RATE * slope
    return [weight.detach() for weight in weights]


@training.one_thread()
def effects(seed: int) -> pd.DataFrame:
    """Design effect of every kind of images, layer and N: its mean over channels and over batches.

    Each image is in one batch, so that batches are independent; t-intervals at a level at which
    `STATEMENTS` hold together.  rows: independent rows that one image is worth.
    """
    rows, rng = data.load("mnist5k", seed), _rng(seed, 0)
    random = [torch.from_numpy(rng.normal(0, (2 / np.prod(s[1:])) ** 0.5, s)) for s in SHAPES]
    digits = _square(np.concatenate([rows.x_train, rows.x_test]))
    crops = data.photo_crops(CROPS, size=28, seed=seed).mean(dim=1, keepdim=True).double() / 255
    draws = [each.standard_normal(digits.shape) for each in (rng, _rng(seed, 2))]
    kinds = digits, crops, *map(torch.from_numpy, draws)
    nets, cells = {"random": random, "trained": trained(random, rows, seed)}, {}
    for kind, images in zip(IMAGES, kinds, strict=True):
        layers = {"pixels": images}
        for name, net in nets.items():
            layers[f"first, {name}"], layers[f"second, {name}"] = inputs(net, images)
        described = {layer: describe(x.flatten(2).numpy()) for layer, x in layers.items()}
        for (layer, seen), n in product(described.items(), SIZES):
            batches = rng.permutation(len(images))[: len(images) // n * n].reshape(-1, n)
            ratio = batch_effects(seen, batches)[1].mean(axis=1)
            effect = mean_interval(ratio, simultaneous(STATEMENTS))
            worth = seen.positions / effect.estimate
            cells[kind, layer, n] = effect._asdict() | {"rows": worth}
    return pd.DataFrame(cells).T.rename_axis(["images", "layer", "N"])


def _activated(x: Tensor) -> Tensor:
    return torch.relu(functional.batch_norm(x, None, None, training=True))


def _square(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows).reshape(-1, 1, 28, 28)


def _rng(seed: int, place: int) -> np.random.Generator:
    return np.random.default_rng([seed, 14, place])
