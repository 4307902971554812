"""Trials of the identity on single layers: kernels, random batches, redundant constants.

Each function makes one measurement of the identity chapter; intervals and verdicts are the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib import absorption, identity, kernels, reference, running
from bnlib.gauge import Norm, fold_bn
from bnlib.populations import Population

KERNELS = {
    "center first": "two-pass",
    "folded": "folded",
    "mean to extra digits": "recentred",
    "PyTorch": "torch",
}


class Sums(NamedTuple):
    """Means over many batches at gamma = 1, beta = 0, in units of the population's variance.

    Numbers, or arrays over seeds, populations and batch sizes.
    """

    error: Any  # (y - x)^2
    std: Any  # s_m, computed as x_hat x
    present: Any  # x_hat^2: share of batches whose rows are not all equal
    energy: Any  # x^2


def restoring_error(x: np.ndarray, kernel: str, *, eps: float) -> np.ndarray:
    """max_m |y - x| of each channel, with the constants that restore this batch.

    kernel: one of KERNELS. The constants are made from the mean and variance that this kernel
    itself computes, rounded to the dtype of x: what a layer could store.
    """
    method, mu = KERNELS[kernel], x.mean(axis=0)
    var = np.square(x - mu).mean(axis=0)
    if method == "folded":  # its statistics are float64
        wide = x.astype(np.float64)
        mu = wide.mean(axis=0)
        var = np.square(wide - mu).mean(axis=0)
    elif method == "recentred":
        mu, var = reference.statistics(x)
    gamma, beta = (v.astype(x.dtype) for v in identity.restoring(mu, var, eps=eps))
    if method == "torch":
        args = (torch.tensor(v) for v in (x, beta, gamma, gamma, beta))
        y = torch.nn.functional.batch_norm(*args, training=True, eps=eps).numpy()
    else:
        y = kernels.forward_by(method, x, gamma, beta, eps=eps)
    return np.abs(y - x).max(axis=0)


def worst_errors(seed: int, seeds: int, offsets: Sequence[float]) -> dict[tuple[str, str], Any]:
    """Largest `restoring_error` in sigma at each |mu|/sigma of `offsets`, over seeds and channels.

    Keys are (dtype, kernel); 256 rows of 8 channels with scales over a factor of a hundred.
    """
    worst = {
        (kind, kernel): np.zeros(len(offsets))
        for kind in ("float64", "float32")
        for kernel in KERNELS
    }
    for (kind, kernel), most in worst.items():
        for (place, offset), k in product(enumerate(offsets), range(seeds)):
            rng = np.random.default_rng([seed, 1, k])
            sigma = 10 ** rng.uniform(-1, 1, 8)
            x = (sigma * (offset + rng.normal(size=(256, 8)))).astype(kind)
            error = (restoring_error(x, kernel, eps=1e-5) / sigma).max()
            most[place] = max(most[place], error)
    return worst


def stored_error(seed: int) -> float:
    """max |y - x| / sigma in evaluation for inputs up to 100 that the statistics never saw."""
    rng = np.random.default_rng([seed, 2])
    mean, var = rng.normal(size=8), rng.uniform(0.1, 4, 8)
    heavy, flat = rng.standard_cauchy((500, 8)).clip(-100, 100), rng.uniform(-100, 100, (500, 8))
    x = np.concatenate([heavy, flat])
    y = running.infer(x, *identity.restoring(mean, var, eps=1e-5), mean, var, eps=1e-5)
    return float((np.abs(y - x) / np.sqrt(var)).max())


def rms_without_eps(seed: int, seeds: int, squares: np.ndarray, eps: float) -> np.ndarray:
    """Root mean square of (y - x) / sigma with gamma = sigma, beta = mu: (seeds, len(squares)).

    squares: the batch variances, which 256 rows about 3 have exactly.
    """
    x = np.random.default_rng([seed, 3]).normal(size=(256, len(squares) * seeds))
    x = 3 + (x - x.mean(axis=0)) / x.std(axis=0) * np.tile(np.sqrt(squares), seeds)
    y = kernels.forward_by("two-pass", x, x.std(axis=0), x.mean(axis=0), eps=eps)
    rms = np.sqrt(np.square(y - x).mean(axis=0)) / x.std(axis=0)
    return rms.reshape(seeds, len(squares))


def sample_errors(population: Population, m: int, rows: int, rng: np.random.Generator) -> Sums:
    """Monte Carlo of `identity.error` with the real forward pass, eps = 0.

    rows: how many to draw, in batches of m; at least 40 batches are drawn.
    """
    x = population.draw(rng, (m, max(40, rows // m)))
    ones = np.ones(x.shape[1])
    y, tape = reference.forward(x, ones, 0 * ones, eps=0.0)
    means = (np.square(y - x), tape.x_hat * x, np.square(tape.x_hat), np.square(x))
    return Sums(*(float(v.mean()) for v in means))


def removed_share(m: int, b: float, rng: np.random.Generator, *, channels: int = 400) -> float:
    """Share of the energy of dy that does not pass a layer with y = x.

    Independent Gaussian x, and dy with mean b and variance 1; theory: (b^2 + 2/m) / (1 + b^2).
    """
    x, dy = rng.normal(size=(m, channels)), b + rng.normal(size=(m, channels))
    constants = identity.restoring(x.mean(axis=0), x.var(axis=0), eps=0.0)
    _, tape = reference.forward(x, *constants, eps=0.0)
    dx = reference.backward(dy, tape).dx
    return float(np.square(dy - dx).mean() / (1 + b * b))


def removed_shares(seed: int, seeds: int, sizes: Sequence[int], b: float) -> np.ndarray:
    """`removed_share` at each batch size: (seeds, sizes)."""
    grid = [[(m, np.random.default_rng([seed, 7, m, k])) for m in sizes] for k in range(seeds)]
    return np.array([[removed_share(m, b, rng) for m, rng in row] for row in grid])


def redundancy_gaps(rng: np.random.Generator, *, rate: float) -> dict[str, float]:
    """Largest change of the outputs when gamma (and beta) are moved into a neighboring layer.

    A random network of 8 inputs, 16 normalized units and 3 outputs, 64 rows, eps = 1e-5; one gamma
    is 0 and the others have both signs. The last entry compares outputs after one gradient step.
    """
    x, eps = rng.normal(size=(64, 8)), 1e-5
    before = absorption.Linear(rng.normal(size=(16, 8)), np.zeros(16))
    after = absorption.Linear(rng.normal(size=(3, 16)), rng.normal(size=3))
    gamma, beta = np.append(0.0, rng.normal(size=15)), rng.normal(size=16)
    ones, zeros, size = np.ones(16), np.zeros(16), np.abs(gamma)
    moved, kept = (absorption.through_relu(g, beta, after) for g in (gamma, size))
    flipped = absorption.Linear(before.weight * moved.sign[:, None], before.bias)

    def bn(first: absorption.Linear, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return reference.forward(first(x), scale, shift, eps=eps)[0]

    def relu(y: np.ndarray) -> np.ndarray:
        return np.maximum(y, 0)

    x_hat, z, goal = bn(before, ones, zeros), before(x), rng.normal(size=(64, 3))
    stored = (gamma, beta, z.mean(axis=0) + 1, 2 * z.var(axis=0))
    plain, signed, lifted = (bn(before, g, beta) for g in (gamma, gamma, size))
    own = _stepped(x_hat, size, beta, after, goal, rate)
    pairs = {
        "linear": (after(plain), absorption.into_next(gamma, beta, after)(x_hat)),
        "ReLU, γ > 0": (after(relu(lifted)), kept.after(relu(x_hat + kept.beta))),
        "ReLU, any γ, rows flipped": (
            after(relu(signed)),
            moved.after(relu(bn(flipped, ones, moved.beta))),
        ),
        "folded in evaluation": (
            running.infer(z, *stored, eps=eps),
            absorption.Linear(*fold_bn(*before, Norm(*stored, eps)))(x),
        ),
        "ReLU, γ < 0, no flip": (after(relu(signed)), moved.after(relu(x_hat + moved.beta))),
        "tanh": (after(np.tanh(lifted)), kept.after(np.tanh(x_hat + kept.beta))),
        "ReLU, γ > 0, after one step": (
            own,
            _stepped(x_hat, ones, kept.beta, kept.after, goal, rate),
        ),
    }
    return {name: float(np.abs(a - b).max()) for name, (a, b) in pairs.items()}


def _stepped(
    x_hat: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    after: absorption.Linear,
    goal: np.ndarray,
    rate: float,
) -> np.ndarray:
    """Outputs of after(relu(gamma x_hat + beta)) after one step on the squared error to goal."""
    params = [torch.tensor(v, requires_grad=True) for v in (gamma, beta, *after)]

    def outputs(p: Sequence[Tensor]) -> Tensor:
        return torch.relu(p[0] * torch.tensor(x_hat) + p[1]) @ p[2].T + p[3]

    loss = (outputs(params) - torch.tensor(goal)).square().mean()
    grads = torch.autograd.grad(loss, params)
    return outputs([p - rate * g for p, g in zip(params, grads, strict=True)]).detach().numpy()
