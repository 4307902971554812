"""How many independent rows the positions of a convolutional layer are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from bnlib import identity, statistics

LAYERS = {  # normalizations of EfficientNet-Lite0 from the first to the last, and what they follow
    "_bn0": "stem",
    "_blocks.1._bn1": "depthwise, early",
    "_blocks.7._bn1": "depthwise, middle",
    "_blocks.14._bn0": "expand, late",
    "_blocks.14._bn2": "project, late",
    "_bn1": "head",
}


class Inputs(NamedTuple):
    """Statistics of one layer's inputs, image by image; the images are the population."""

    mean: np.ndarray  # (n, c), of each image about the channel's mean
    var: np.ndarray  # (n, c), biased
    kurtosis: np.ndarray  # (c,), of all positions of all images
    positions: int  # H W


class Effect(NamedTuple):
    """Of batches of N whole images, medians over channels."""

    m: int  # N H W
    error: float  # E(y - x)^2 / sigma^2 with the population's constants
    effect: float  # that error over the leading term for m independent rows
    low: float  # 95 % percentile interval, batches resampled
    high: float
    rows: float  # independent rows that one image is worth, H W / effect
    fits: float  # share of channels with an effect in [0.5, 2]


def describe(x: np.ndarray, *, channels: int = 64, least: float = 1e-6) -> Inputs:
    """The first `channels` channels of x (n, c, positions) whose variance exceeds `least`."""
    x = x[:, np.flatnonzero(x.var(axis=(0, 2)) > least)[:channels]].astype(np.float64)
    c = x - x.mean(axis=(0, 2), keepdims=True)
    square = c * c
    kurtosis = (square * square).mean(axis=(0, 2)) / square.mean(axis=(0, 2)) ** 2
    return Inputs(c.mean(axis=2), c.var(axis=2), kurtosis, x.shape[2])


def layer_inputs(
    net: Callable[..., Any], images: torch.Tensor, names: Mapping[str, str], *, widest: int = 192
) -> dict[str, Inputs]:
    """`describe` for the inputs of the normalizations `names` (hook name -> name to use) of a net.

    net(images, hook=...) calls hook(name, tensor, "pre"), as `EfficientNetLite` does. Only the
    first `widest` channels are kept in memory.
    """
    taken: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def keep(name: str, tensor: torch.Tensor, when: str) -> None:
        if when == "pre" and name in taken:
            taken[name].append(tensor[:, :widest].flatten(2).numpy())

    with torch.no_grad():
        for part in images.split(8):
            net(part, hook=keep)
    return {names[name]: describe(np.concatenate(parts)) for name, parts in taken.items()}


def random_inputs(images: torch.Tensor, *, seed: int) -> dict[str, Inputs]:
    """The same of 32 random filters of two sizes, stride 8: needs no trained network."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for size in (3, 7):
        filters = torch.randn(32, 3, size, size, generator=generator)
        maps = torch.nn.functional.conv2d(images / 128 - 1, filters, stride=8)
        found[f"random {size}x{size}"] = describe(maps.flatten(2).numpy())
    return found


def measure(inputs: Inputs, images: int, rng: np.random.Generator, *, batches: int = 12) -> Effect:
    """The error law with whole images as batches, drawn at random with replacement.

        effect = D / ((1 + (kurtosis - 1) / 4) / (N H W))

    Consequence: 1 in the limit of many independent rows; N H W / effect are worth as much.
    """
    m = images * inputs.positions
    chosen = rng.integers(0, len(inputs.mean), (batches, images))
    errors = identity.image_errors(inputs.mean, inputs.var, chosen)
    ratio = errors * m / identity.leading_error(1, inputs.kurtosis)
    typical = statistics.cluster_bootstrap(
        ratio,
        np.arange(batches),
        lambda r: float(np.median(r.mean(axis=0))),
        resamples=1000,
        rng=rng,
    )
    mean = ratio.mean(axis=0)
    error, fits = np.median(errors.mean(axis=0)), ((mean >= 0.5) & (mean <= 2)).mean()
    return Effect(m, float(error), *typical, inputs.positions / typical.estimate, float(fits))


def comparison(inputs: Mapping[str, Inputs], sizes: Sequence[int], *, seed: int) -> pd.DataFrame:
    """`measure` for every layer and number of images a batch: the fields of Effect are columns."""
    grid = enumerate(product(inputs, sizes))
    effects = {
        (layer, n): measure(inputs[layer], n, np.random.default_rng([seed, 10, place]))
        for place, (layer, n) in grid
    }
    return pd.DataFrame(effects, index=list(Effect._fields)).T.rename_axis(["layer", "N"])
