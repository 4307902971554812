"""Two domains with the same ten classes, shifts whose truth is known, and networks of the source.

Rows are 8 x 8 pictures, 64 numbers in [0, 1]. Every function gives all seeds at once, stacked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import expm
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional

from bnlib import data, training
from bnlib.data import Split
from bnlib.networks.arms import tiled
from bnlib.networks.seed_batched import SeedBatchedMLP, Statistics
from bnlib.networks.spec import Spec
from bnlib.rows import Moments

SPEC = Spec((64, 128, 128, 10))
LABELLED = 200  # rows with labels; as many again are set aside to choose rates
SOURCE: dict[str, Any] = {"batch": 64, "lr": 0.05, "momentum": 0.9, "schedule": "cosine"}


class Target(NamedTuple):
    """Rows of a target, by use: x (S, n, 64), y (S, n); float32 and whole numbers."""

    x: Tensor  # with labels, for tuning and for counting
    y: Tensor
    x_aside: Tensor  # with labels, to choose rates, the same for all arms
    y_aside: Tensor
    x_test: Tensor
    y_test: Tensor

    def first(self, count: int) -> Target:
        """With so many labelled rows; beyond those, the first tested ones get theirs."""
        more = max(0, count - self.x.shape[1])
        x, y = (
            torch.cat([labelled[:, :count], tested[:, :more]], 1)
            for labelled, tested in ((self.x, self.x_test), (self.y, self.y_test))
        )
        return self._replace(x=x, y=y, x_test=self.x_test[:, more:], y_test=self.y_test[:, more:])


class Trained(NamedTuple):
    """Networks of every seed and the statistics of the rows they were trained on."""

    net: SeedBatchedMLP
    stats: Statistics


def small(x: np.ndarray) -> np.ndarray:
    """Digits of 28 x 28 as 8 x 8, (n, 784) -> (n, 64): the box of 20 x 20 that holds the digit.

    Bilinear to 32 x 32, then means over 4 x 4, as the 8 x 8 digits were made of 32 x 32 bitmaps.
    """
    box = torch.from_numpy(x.reshape(-1, 1, 28, 28)[:, :, 4:24, 4:24].copy())
    wide = functional.interpolate(box, size=(32, 32), mode="bilinear", align_corners=False)
    return functional.avg_pool2d(wide, 4).flatten(1).numpy()


def splits(name: str, seeds: Sequence[int]) -> list[Split]:
    """The splits of "mnist" (3000 and 2000 rows) or "digits" (1347 and 450), one a seed."""
    if name == "digits":
        return [data.load("digits", seed) for seed in seeds]
    whole = [data.load("mnist5k", seed) for seed in seeds]
    return [s._replace(x_train=small(s.x_train), x_test=small(s.x_test)) for s in whole]


def source(
    name: str, seeds: Sequence[int], *, steps: int, trainable: Sequence[str] | None = None
) -> Trained:
    """One network a seed, trained on its own split of the source; trainable: kinds of numbers."""
    net = SeedBatchedMLP(SPEC, seeds, torch.float32)
    rows = splits(name, seeds)
    x, y = (np.stack([getattr(s, part) for s in rows]) for part in ("x_train", "y_train"))
    training.train(net, x, y, steps=steps, trainable=trainable, **SOURCE)
    return Trained(net, net.recalibrate(torch.as_tensor(x)))


def target(name: str, seeds: Sequence[int]) -> Target:
    """The rows of a domain: of "digits" all 1797, of "mnist" the 2000 that no source trained on."""
    if name == "digits":
        rows = [data.digits_split(seed, 2 * LABELLED) for seed in seeds]
        parts = [(np.vstack([s.x_train, s.x_test]), np.hstack([s.y_train, s.y_test])) for s in rows]
    else:
        parts = [(s.x_test, s.y_test) for s in splits(name, seeds)]
    return _by_use(*(np.stack(part) for part in zip(*parts, strict=True)))


def shifted(name: str, seeds: Sequence[int]) -> Target:
    """The source's own test rows under a shift of `SHIFTS`; "none" leaves them."""
    rows = splits("mnist", seeds)
    rngs = [np.random.default_rng([seed, 18]) for seed in seeds]
    change = SHIFTS[name]
    x = [change(s.x_test, rng) for s, rng in zip(rows, rngs, strict=True)]
    return _by_use(np.stack(x), np.stack([s.y_test for s in rows]))


def _by_use(x: np.ndarray, y: np.ndarray) -> Target:
    rows, labels, cut = torch.from_numpy(x).float(), torch.from_numpy(y), LABELLED
    places = slice(cut), slice(cut, 2 * cut), slice(2 * cut, None)
    return Target(*(part[:, place] for place in places for part in (rows, labels)))


def _rotated(angle: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """x -> mean + R (x - mean), R = exp(angle (G - G^T) / 8), a rotation that mixes all pixels."""

    def rotate(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        draws = rng.standard_normal((64, 64))
        return x.mean(0) + (x - x.mean(0)) @ expm(angle * (draws - draws.T) / 8).T

    return rotate


def _blurred(x: np.ndarray, _: np.random.Generator) -> np.ndarray:
    pictures = x.reshape(-1, 8, 8)
    return uniform_filter(pictures, 3, mode="constant", axes=(1, 2)).reshape(-1, 64)


SHIFTS: Mapping[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "none": lambda x, _: x,
    "contrast": lambda x, _: 0.4 * x + 0.3,
    "strong contrast": lambda x, _: 3 * x - 1,
    "negative": lambda x, _: 1 - x,
    "gains": lambda x, rng: x * rng.uniform(0.2, 2, 64),
    "rotation": _rotated(0.6),
    "small rotation": _rotated(0.4),
    "permutation": lambda x, rng: x[:, rng.permutation(64)],
    "noise": lambda x, rng: x + 0.2 * rng.standard_normal(x.shape),
    "blur": _blurred,
}


def copies(trained: Trained, count: int) -> Trained:
    """The networks `count` times over, copy k of seed s in row k S + s."""
    net, stats = trained
    many = SeedBatchedMLP(net.spec, net.seeds * count, net.dtype)
    many.params = {name: tiled(value, count) for name, value in net.params.items()}
    repeated = {i: Moments(*(tiled(v, count) for v in each)) for i, each in stats.items()}
    return Trained(many, repeated)
