"""A residual network with linear bottlenecks, small enough to train: which shifts get a gradient.

    stem    W (40 -> 16), norm                                     no activation
    block   W (16 -> 64), norm, ReLU, W (64 -> 16), norm, + skip   three of them
    head    W (16 -> 64), norm, ReLU, W (64 -> 10), bias

All S networks, one a seed, are one tensor program: rows are (S, m, c) as in `networks`.
Drop-connect multiplies the branch of a block by 0 or 1/(1 - p), one draw for each row and block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib.data import mnist1d_split
from bnlib.networks.batches import batch_order
from bnlib.networks.seed_batched import normalize
from bnlib.training import seed_losses

Params = Mapping[str, Tensor]
EPS, BLOCKS = 1e-5, 3
_SHAPES = {"stem": (16, 40), "head": (64, 16), "out": (10, 64)}
_SHAPES |= {f"expand{k}": (64, 16) for k in range(BLOCKS)}
_SHAPES |= {f"project{k}": (16, 64) for k in range(BLOCKS)}
NORMED = tuple(name for name in _SHAPES if name != "out")


class Toy(NamedTuple):
    """After training: (S,) each, unless said otherwise."""

    shift: np.ndarray  # largest |beta| of a projection in a block
    stem_shift: np.ndarray  # largest |beta| of the stem, which drop-connect never multiplies
    mean: np.ndarray  # largest |mean| at the input of an expansion's normalization
    beta_mu: np.ndarray  # (S, 3), correlation of beta and mean in each expansion
    accuracy: np.ndarray


def initial_params(seeds: int) -> dict[str, Tensor]:
    """Weights N(0, 2 / fan_in) before a ReLU, N(0, 1 / fan_in) elsewhere; gamma 1, beta 0."""
    params = {}
    rngs = [np.random.default_rng([seed, 43]) for seed in range(seeds)]
    for name, shape in _SHAPES.items():
        gain = 2.0 if name.startswith(("expand", "head")) else 1.0
        draws = np.stack([rng.standard_normal(shape) for rng in rngs])
        params[f"{name}.W"] = torch.from_numpy(draws * np.sqrt(gain / shape[1]))
        params[f"{name}.beta"] = torch.zeros(seeds, shape[0], dtype=torch.float64)
        if name != "out":
            params[f"{name}.gamma"] = torch.ones(seeds, shape[0], dtype=torch.float64)
    return params


def forward(
    params: Params, x: Tensor, kept: Tensor | None = None, means: dict[str, Tensor] | None = None
) -> Tensor:
    """Outputs (S, m, 10) in training mode.

    kept: factors of the branches (3, S, m), 1 unless given.  means: receives the batch mean (S, c)
    at the input of every normalization.
    """

    def layer(name: str, a: Tensor) -> Tensor:
        z = torch.bmm(a, params[f"{name}.W"].transpose(1, 2))
        if means is not None:
            means[name] = z.mean(1)
        gamma, beta = params[f"{name}.gamma"], params[f"{name}.beta"]
        return normalize("batch", z, gamma, beta, None, EPS)

    stream = layer("stem", x)
    for k in range(BLOCKS):
        branch = layer(f"project{k}", torch.relu(layer(f"expand{k}", stream)))
        stream = stream + (branch if kept is None else branch * kept[k, :, :, None])
    features = torch.relu(layer("head", stream))
    return torch.baddbmm(params["out.beta"][:, None], features, params["out.W"].transpose(1, 2))


def _kept(shape: tuple[int, int], drop: float, rng: np.random.Generator) -> Tensor | None:
    """Factors of the branches for S networks and m rows, or None without drop-connect."""
    if drop == 0:
        return None
    return torch.from_numpy((rng.random((BLOCKS, *shape)) >= drop) / (1 - drop))


def _data(seeds: int, rows: int) -> tuple[Tensor, ...]:
    splits = [mnist1d_split(seed, n_train=rows) for seed in range(seeds)]
    parts = zip(*splits, strict=True)
    return tuple(torch.from_numpy(np.stack(part)) for part in parts)


def _gradients(params: dict[str, Tensor], x: Tensor, y: Tensor, kept: Any) -> dict[str, Tensor]:
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    loss = seed_losses(forward(leaves, x, kept), y, "cross-entropy").sum()
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return dict(zip(leaves, grads, strict=True))


def first_gradient(seeds: int, *, drop: float, rows: int = 256) -> np.ndarray:
    """Largest |dbeta| of a projection over the largest gradient in its layer, at the start: (S,).

    The layer is the weight, gamma and beta of the projection; float64.
    """
    x, y, *_ = _data(seeds, rows)
    grads = _gradients(
        initial_params(seeds), x, y, _kept((seeds, rows), drop, np.random.default_rng(44))
    )
    ratios = []
    for k in range(BLOCKS):
        of = [
            grads[f"project{k}.{part}"].flatten(1).abs().amax(1) for part in ("beta", "W", "gamma")
        ]
        ratios.append(of[0] / torch.stack(of).amax(0))
    return torch.stack(ratios).amax(0).numpy()


def train(seeds: int, *, drop: float, steps: int, rows: int = 2000, lr: float = 0.05) -> Toy:
    """SGD with momentum 0.9, batches of 64, cosine rate, in float64."""
    x, y, x_test, y_test = _data(seeds, rows)
    params, rng = initial_params(seeds), np.random.default_rng(45)
    velocity = {name: torch.zeros_like(value) for name, value in params.items()}
    order, which = (
        batch_order(range(seeds), rows, batch=64, steps=steps),
        torch.arange(seeds)[:, None],
    )
    for step, at in enumerate(order):
        grads = _gradients(params, x[which, at], y[which, at], _kept((seeds, 64), drop, rng))
        rate = lr * (1 + np.cos(np.pi * step / steps)) / 2
        with torch.no_grad():
            for name, value in params.items():
                velocity[name].mul_(0.9).add_(grads[name])
                value.sub_(rate * velocity[name])
    return _seen(params, x, x_test, y_test)


@torch.no_grad()
def _seen(params: Params, x: Tensor, x_test: Tensor, y_test: Tensor) -> Toy:
    means: dict[str, Tensor] = {}
    forward(params, x, means=means)
    right = (forward(params, x_test).argmax(2) == y_test).double().mean(1)
    expand = [f"expand{k}" for k in range(BLOCKS)]
    shift = [params[f"project{k}.beta"].abs().amax(1) for k in range(BLOCKS)]
    pairs = [(params[f"{name}.beta"], means[name]) for name in expand]
    beta_mu = [[np.corrcoef(b, m)[0, 1] for b, m in zip(*pair, strict=True)] for pair in pairs]
    return Toy(
        torch.stack(shift).amax(0).numpy(),
        params["stem.beta"].abs().amax(1).numpy(),
        torch.stack([means[name].abs().amax(1) for name in expand]).amax(0).numpy(),
        np.array(beta_mu).T,
        right.numpy(),
    )
