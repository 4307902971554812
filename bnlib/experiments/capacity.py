"""Small tasks on which an arm without gamma, without beta or without either must fail or not.

Every function trains all seeds of one arm at once. The same seed has the same data, start and
batches in every arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from bnlib import floors, reference, training
from bnlib.activations import FUNCTIONS
from bnlib.networks.arms import AFFINE_ARMS
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.rows import Moments

FOUR = ("none", "gamma", "beta", "both")
Stats = dict[int, Moments]


class Fit(NamedTuple):
    """A trained network of every seed, its data, and exact population statistics."""

    net: SeedBatchedMLP
    stats: Stats
    x: np.ndarray  # (S, n, d)
    y: np.ndarray  # (S, n) or (S, n, k)

    def predict(self, x: Any) -> np.ndarray:
        """Outputs (S, n, k) in evaluation mode, on rows (n, d) or (S, n, d)."""
        with torch.no_grad():
            rows = torch.as_tensor(x, dtype=self.net.dtype)
            return self.net.forward(self.net.params, rows, stats=self.stats).numpy()

    def error(self) -> np.ndarray:
        """Mean squared error on the training sample, evaluation mode, (S,)."""
        return ((self.predict(self.x) - self.y) ** 2).mean((1, 2))


class Arms(NamedTuple):
    """The four arms on one task: their networks, a score of each seed, and what bounds it."""

    fits: dict[str, Fit]
    score: dict[str, np.ndarray]  # (S,): mean squared error, or share right
    limit: np.ndarray  # (S,): floor or ceiling without beta


def train(spec: Spec, seeds: Sequence[int], x: np.ndarray, y: np.ndarray, **recipe: Any) -> Fit:
    """Train from the seeds' own starts in float32; then recalibrate on the training rows.

    What was trained is looked at in float64: its algebra is exact whatever the training rounded.
    """
    net = SeedBatchedMLP(spec, seeds, torch.float32)
    training.train(net, x, y, **recipe)
    net.dtype, net.params = torch.float64, {k: v.double() for k, v in net.params.items()}
    return Fit(net, net.recalibrate(torch.as_tensor(x)), x, y)


def fit_wave(
    arm: str,
    activation: str,
    seeds: Sequence[int],
    *,
    width: int,
    steps: int,
    phase: float = 0.0,
    eps: float = 0.0,
) -> Fit:
    """Linear(1 -> width) - BN - activation - Linear on sin(3 x + phase), x uniform on (-2, 2).

    eps: 0 in theory; any other value gives units with small weights another slope.
    """
    x = np.stack([np.random.default_rng([seed, 10]).uniform(-2, 2, (1024, 1)) for seed in seeds])
    spec = Spec((1, width, 1), activation=activation, eps=eps, **AFFINE_ARMS[arm])
    recipe = {"optimizer": "adam", "schedule": "cosine", "loss": "mse"}
    return train(spec, seeds, x, np.sin(3 * x + phase), steps=steps, batch=128, lr=0.01, **recipe)


def wave_arms(activation: str, seeds: Sequence[int], *, width: int, steps: int) -> Arms:
    """`fit_wave` for the four arms; errors and floors on the training sample."""
    fits = {arm: fit_wave(arm, activation, seeds, width=width, steps=steps) for arm in FOUR}
    pairs = zip(fits["none"].x[..., 0], fits["none"].y[..., 0], strict=True)
    floor = np.array([floors.kink_floor(x, y, activation) for x, y in pairs])
    return Arms(fits, {arm: fit.error() for arm, fit in fits.items()}, floor)


def band_rows(seeds: Sequence[int], n: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
    """x (S, n, 1) uniform on (-3, 3), and label 1 where 1 < |x| < 2."""
    x = np.stack([np.random.default_rng([s, stream]).uniform(-3, 3, (n, 1)) for s in seeds])
    return x, ((np.abs(x) > 1) & (np.abs(x) < 2))[..., 0].astype(np.int64)


def fit_bands(arm: str, depth: int, seeds: Sequence[int], *, width: int, steps: int) -> Fit:
    """Linear(1 -> width) - BN - ReLU, `depth` times, and two logits, on 1200 rows of bands."""
    spec = Spec((1, *(width,) * depth, 2), **AFFINE_ARMS[arm])
    recipe = {"optimizer": "adam", "schedule": "cosine"}
    return train(
        spec, seeds, *band_rows(seeds, 1200, 11), steps=steps, batch=100, lr=0.02, **recipe
    )


def band_arms(depth: int, seeds: Sequence[int], *, width: int, steps: int) -> tuple[Arms, Arms]:
    """`fit_bands` for the four arms: shares right and ceilings on training and on fresh rows."""
    fits = {arm: fit_bands(arm, depth, seeds, width=width, steps=steps) for arm in FOUR}
    center, found = fits["none"].x.mean((1, 2)), []
    for x, y in (fits["none"][2:], band_rows(seeds, 1200, 16)):
        right = {arm: (fit.predict(x).argmax(-1) == y).mean(1) for arm, fit in fits.items()}
        cases = zip(x[..., 0], y, center, strict=True)
        found.append(Arms(fits, right, np.array([floors.band_ceiling(*case) for case in cases])))
    return found[0], found[1]


def kinks(fit: Fit) -> np.ndarray:
    """Where each unit of a one-dimensional first layer has pre-activation 0, (S, width).

    gamma (w x - mu) / tau + beta = 0    at    x = (mu - beta tau / gamma) / w
    """
    p, (mu, var) = fit.net.params, fit.stats[1]
    tau = (var + fit.net.spec.eps).sqrt()
    shift = p.get("beta1", torch.zeros_like(mu)) / p.get("gamma1", torch.ones_like(mu))
    return ((mu - shift * tau) / p["W1"][..., 0]).numpy()


def homogeneity(fit: Fit, scales: Sequence[float] = (0.1, 3.0, 10.0)) -> float:
    """Largest |f(c + t (x - c)) - f(c) - t (f(x) - f(c))| / (t max |f(x) - f(c)|), c the mean of x.

    0 up to rounding for one hidden ReLU layer without beta, whatever gamma is.
    """
    center = fit.x.mean(1, keepdims=True)
    base = fit.predict(center)
    rise = fit.predict(fit.x) - base
    size = np.abs(rise).max()
    moved = (fit.predict(center + t * (fit.x - center)) - base - t * rise for t in scales)
    return max(float(np.abs(m).max()) / (t * size) for m, t in zip(moved, scales, strict=True))


def random_features(
    arm: str, activation: str, x: np.ndarray, units: int, rng: np.random.Generator
) -> np.ndarray:
    """activation(gamma x_hat + beta) of random units on x (n,), eps = 0; gamma, beta ~ N(0, 9).

    (n, units).  The arm says which of gamma and beta are random; the others are 1 and 0.
    """
    weight, gamma, beta = rng.normal(size=(3, units)) * np.array([[1.0], [3.0], [3.0]])
    gamma = gamma if AFFINE_ARMS[arm].get("scale", True) else np.ones(units)
    beta = beta if AFFINE_ARMS[arm].get("shift", True) else np.zeros(units)
    y, _ = reference.forward(x[:, None] * weight, gamma, beta, eps=0.0)
    return FUNCTIONS[activation](y)


def fit_output(arm: str, seeds: Sequence[int], *, m: int, steps: int) -> Fit:
    """4 - 32 - 1 tanh network, BN on its output only, target 3 + 5 T on batches of m.

    T: tanh(x u) + x_1 / 2 on 2048 normal rows, standardized, so mean and spread are 3 and 5.
    """
    rngs = [np.random.default_rng([seed, 13]) for seed in seeds]
    x, u = (np.stack([rng.standard_normal(shape) for rng in rngs]) for shape in ((2048, 4), (4, 1)))
    t = np.tanh(x @ u) + x[..., :1] / 2
    y = 3 + 5 * (t - t.mean(1, keepdims=True)) / t.std(1, keepdims=True)
    norms: dict[str, Any] = {"norm": "none", "output_norm": "batch"}
    spec = Spec((4, 32, 1), activation="tanh", **norms, **AFFINE_ARMS[arm])
    return train(spec, seeds, x, y, steps=steps, batch=m, lr=0.02, optimizer="adam", loss="mse")


def batch_std(y: np.ndarray, m: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Mean of s_m over batches of m rows without repetition, in units of the std of y, (S,).

    y: (S, n, 1).  draws: permutations a seed, each cut into n // m batches.
    """
    rows = y[..., 0] / y.std(1)
    cut = y.shape[1] // m * m
    cuts = [rng.permuted(rows, axis=1)[:, :cut].reshape(len(y), -1, m) for _ in range(draws)]
    return np.mean([batches.std(2).mean(1) for batches in cuts], axis=0)
