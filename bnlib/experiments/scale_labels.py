"""A label that only the scale of the data carries: shared by a whole batch, or one a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bnlib import training
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

NORMS: dict[str, dict[str, Any]] = {
    "plain": {"norm": "none"},
    "BN": {"norm": "batch", "input_norm": "batch"},
    "LayerNorm": {"norm": "none", "input_norm": "layer"},
}
DESIGNS = ("batch", "sample")
CHANCE = {("BN", "batch"), ("LayerNorm", "batch"), ("LayerNorm", "sample")}
"""Where theory allows no better than chance, in training and in evaluation mode."""


def batches(
    design: str, seeds: Sequence[int], count: int, stream: int, *, m: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """x (S, count m, 32): 16 normal numbers times 1 or 3, with their sizes; y (S, count m).

    design "batch": one scale for each batch of m rows; "sample": one for each row.
    """
    rngs = [np.random.default_rng([seed, stream]) for seed in seeds]
    repeat = m if design == "batch" else 1
    y = np.stack([np.repeat(rng.integers(0, 2, count * m // repeat), repeat) for rng in rngs])
    x = np.stack([rng.standard_normal((count * m, 16)) for rng in rngs]) * (1 + 2 * y)[..., None]
    return np.concatenate([x, np.abs(x)], axis=2), y


def accuracies(
    norm: str, design: str, seeds: Sequence[int], *, steps: int, m: int = 64, tests: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    """Share right on `tests` fresh batches, in training and in evaluation mode, (S,) each.

    64 hidden ReLU units, gamma and beta trained. Every step has a fresh batch. In training mode a
    test batch brings its own statistics; evaluation uses exact ones over all training rows.
    """
    net = SeedBatchedMLP(Spec((32, 64, 2), **NORMS[norm]), seeds, torch.float32)
    x, y = batches(design, seeds, steps, 14, m=m)
    order = torch.arange(steps * m).view(steps, 1, m).expand(-1, len(seeds), -1)
    training.train(net, x, y, order=order, steps=steps, batch=m, lr=0.01, optimizer="adam")
    stats = net.recalibrate(torch.as_tensor(x))
    x, y = batches(design, seeds, tests, 15, m=m)
    of_batches = np.split(x, tests, axis=1), np.split(y, tests, axis=1)
    live = [training.accuracy(net, *batch) for batch in zip(*of_batches, strict=True)]
    return np.mean(live, axis=0), training.accuracy(net, x, y, stats=stats)
