"""One layer that learns to reproduce its input: where the descent ends, and how it gets there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

from bnlib import identity

CHANNELS, RATE = 16, 0.1  # channels a seed, learning rate
STEPS = (0, 3, 10, 20, 30, 45, 60, 80, 100, 150, 200, 300)  # where `approach` looks


class Channels(NamedTuple):
    """Scales over a factor of a thousand, means of twice that size, and their generator."""

    sigma: np.ndarray  # (16 seeds,)
    mu: np.ndarray  # (16 seeds,)
    rng: np.random.Generator


class Ends(NamedTuple):
    """Where the descent ended, means over the 16 channels of a seed: (seeds, sizes)."""

    gamma: np.ndarray  # gamma / sigma after the last step
    training: np.ndarray  # error in training mode over the last tenth of the steps
    evaluation: np.ndarray  # error with exact population statistics after the last step


class Average(NamedTuple):
    """A descent with a constant step beside the moving average of the batches that it saw."""

    path: identity.Path  # batches of 16
    channels: Channels
    gap: float  # largest distance between the two, in sigma
    spread: np.ndarray  # (seeds,) standard deviation of gamma over that of s_m, after 200 steps


def channels(seed: int, seeds: int, stream: int) -> Channels:
    """16 channels a seed, from the generator (seed, 6, stream)."""
    rng = np.random.default_rng([seed, 6, stream])
    sigma = 10 ** rng.uniform(-1.5, 1.5, CHANNELS * seeds)
    return Channels(sigma, 2 * sigma * rng.standard_normal(CHANNELS * seeds), rng)


def ends(seed: int, seeds: int, steps: int, sizes: Sequence[int]) -> Ends:
    """Descend with batches of each size; the rate falls by 10 at half and at three quarters."""
    found = []
    for m in sizes:
        sigma, mu, rng = channels(seed, seeds, m)
        path = identity.descend(sigma, mu, m=m, steps=steps, lr=RATE, rng=rng, schedule="step")
        tail = (path.error[-steps // 10 :] / sigma**2).mean(axis=0)
        gamma, off = path.gamma[-1] / sigma, (path.beta[-1] - mu) / sigma
        found.append([_by_seed(v) for v in (gamma, tail, (gamma - 1) ** 2 + off**2)])
    return Ends(*np.moveaxis(np.array(found), 0, -1))


def average(seed: int, seeds: int, steps: int) -> Average:
    """SGD with a constant rate, and s_m averaged with the rate as weight from the same start."""
    drawn = channels(seed, seeds, 1)
    sigma, mu, rng = drawn
    path = identity.descend(sigma, mu, m=16, steps=steps, lr=RATE, rng=rng)
    start = np.full((1, sigma.size), 1 - RATE)
    moved = lfilter([RATE], [1, RATE - 1], path.batch_std, axis=0, zi=start)[0]
    gap = float((np.abs(path.gamma[1:] - moved) / sigma).max())
    moving, still = (_by_seed((v[200:] / sigma).var(axis=0)) for v in (path.gamma, path.batch_std))
    return Average(path, drawn, gap, np.sqrt(moving / still))


def approach(seed: int, seeds: int, optimizer: str) -> dict[str, np.ndarray]:
    """Distance to (sigma, mu) at STEPS over that at the start: medians over channels by sigma."""
    sigma, mu, rng = channels(seed, seeds, 2)
    path = identity.descend(sigma, mu, m=64, steps=STEPS[-1], lr=RATE, rng=rng, optimizer=optimizer)
    d = np.hypot(path.gamma / sigma - 1, (path.beta - mu) / sigma)[list(STEPS)]
    middle = (sigma >= 0.3) & (sigma <= 3)
    groups = {"σ < 0.3": sigma < 0.3, "0.3 to 3": middle, "σ > 3": sigma > 3}
    return {name: np.median((d / d[0])[:, group], axis=1) for name, group in groups.items()}


def _by_seed(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, CHANNELS).mean(axis=1)
